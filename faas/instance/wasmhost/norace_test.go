//go:build !race

package wasmhost

const thinned = 1
