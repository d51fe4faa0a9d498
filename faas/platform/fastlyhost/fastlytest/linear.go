package fastlytest

import (
	"sync"

	"github.com/tetratelabs/wazero/experimental"
)

// memories are those of instances that have ended, empty again. Each is as large as one may become, so
// that it grows without being copied, as on the platform. Pages that no instance touched cost nothing.
var memories = sync.Pool{New: func() any { return new(linearMemory) }}

// linearMemory is an instance's memory.
type linearMemory struct {
	reserved []byte
	used     int
}

func allocate(_, limit uint64) experimental.LinearMemory {
	m := memories.Get().(*linearMemory)
	if uint64(len(m.reserved)) < limit {
		*m = linearMemory{reserved: make([]byte, limit)}
	}
	return m
}

// Reallocate implements experimental.LinearMemory.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		return nil
	}
	m.used = max(m.used, int(size))
	return m.reserved[:size]
}

// Free implements experimental.LinearMemory.
func (m *linearMemory) Free() {
	zero(m.reserved[:m.used])
	m.used = 0
	memories.Put(m)
}

// zero clears without the race detector, which takes a hundred times as long for megabytes.
//
//go:norace
func zero(b []byte) { clear(b) }
