//go:build race

package wasmhost

// thinned is of how many cases the long tests run one: races don't show in more.
const thinned = 7
