package fastlytest

import (
	"context"

	"github.com/tetratelabs/wazero/experimental"
)

// memories are those of instances that have ended, empty again. Each is as large as one may become, so
// that it grows without being copied, as on the platform. Pages that no instance touched cost nothing.
// Under the race detector a sync.Pool would forget a quarter of them, and a new one of 128 MB takes long.
var memories = make(chan *linearMemory, 16)

// linearMemory is an instance's memory.
type linearMemory struct {
	reserved []byte
	used     int
}

// WithMemory has instances that are made with the context use these memories. Their runtime must bound memory to [MaxMemoryPages].
func WithMemory(ctx context.Context) context.Context {
	return experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate))
}

func allocate(_, limit uint64) experimental.LinearMemory {
	select {
	case m := <-memories:
		if uint64(len(m.reserved)) >= limit {
			return m
		}
	default:
	}
	return &linearMemory{reserved: make([]byte, limit)}
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
	select {
	case memories <- m:
	default:
	}
}

// zero clears without the race detector, which takes a hundred times as long for megabytes.
//
//go:norace
func zero(b []byte) { clear(b) }
