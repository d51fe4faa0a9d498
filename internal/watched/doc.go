// Package watched keeps what was read from files that may change while a
// program runs: tokens, certificates, policies, the configuration. There is one
// way for all of them. Contents are compared, not times; what can't be used
// changes nothing; and why it can't is in the log, in a metric and in the
// readiness page's text until it is mended.
package watched
