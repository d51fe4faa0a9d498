// Package httpclient is the [flow.Decider] that asks a function over HTTP, by
// the contract of docs/contract.md.
//
// An event is one POST within one deadline. What goes wrong on the way is
// repeated only where that is safe: a request of which nothing was sent always
// is, one that may have reached the function is only when the function's
// decisions write no store ([Config.Idempotent]). Repeats and hedges draw on
// budgets that are a share of the events, so that a function in trouble gets at
// most a tenth more load and not a multiple of it. A breaker per endpoint turns
// an endpoint that is down into an error of microseconds, and the next endpoint
// is asked instead.
//
// Nothing that the function sends is trusted: headers and body are bounded,
// compressed bodies and redirects are refused, and a token goes to the
// configured origins alone, since no redirect is ever followed.
//
// Connections are renewed every few minutes, all of an endpoint together and
// warmed before they are used: a connection never looks its name up again by
// itself, and a CDN steers by DNS.
package httpclient
