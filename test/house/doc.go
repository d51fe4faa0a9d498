// Package house holds what the repository promises about itself: which packages
// may import which, that links in documents lead somewhere, that each folder has
// a sentence, and that a default is the same wherever it is told. It runs
// nothing of the gateway, so that `make check` is quick.
package house
