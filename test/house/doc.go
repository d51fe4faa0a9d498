// Package house holds what the repository promises about itself: which packages
// may import which, that links in documents lead somewhere, and that each folder
// has a sentence. It runs nothing of the gateway, so that `make check` is quick.
package house
