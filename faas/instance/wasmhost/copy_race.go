//go:build race

package wasmhost

// copyBlocks makes dst equal src, which are whole blocks. It assigns arrays, since the race detector watches copy even in a function with
// go:norace: then megabytes take a hundred times as long. It does not see what guests do anyway.
//
//go:norace
func copyBlocks(dst, src []byte) {
	type block = [1 << blockBits]byte
	for ; len(src) > 0; dst, src = dst[len(block{}):], src[len(block{}):] {
		*(*block)(dst) = *(*block)(src)
	}
}
