package wasmhost

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// memory is the linear memory of one instance: an anonymous mapping of its greatest size, of which
// the guest can use the first size bytes. The mapping begins with the marks (see track.go); the
// guest's memory follows.
//
// It implements experimental.LinearMemory. Free only sets a flag: wazero frees the memory of a guest
// that a deadline has ended while the instance's owner still has slices of it. The owner unmaps it.
type memory struct {
	mapping []byte
	size    int
}

// newMemory maps room for limit bytes of guest memory. A page takes memory when it is first written.
func newMemory(limit uint64) (*memory, error) {
	mapping, err := unix.Mmap(-1, 0, int(reserved+max(limit, wasmPage)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of linear memory: %w", limit, err)
	}
	// Only a few pages of marks are used: a huge page of 2 MiB would be wasted.
	_ = unix.Madvise(mapping, unix.MADV_NOHUGEPAGE)
	return &memory{mapping: mapping}, nil
}

func (m *memory) Reallocate(size uint64) []byte {
	if m == nil || size > uint64(len(m.mapping)) {
		return nil
	}
	m.size = int(size)
	return m.mapping[:size:size]
}

func (m *memory) Free() {}

// bytes is the guest's memory.
func (m *memory) bytes() []byte {
	if m.size < reserved {
		return nil
	}
	return m.mapping[reserved:m.size]
}

// write writes b to the guest's memory, which must have room for it there.
func (m *memory) write(at uint32, b []byte) {
	copy(m.bytes()[at:], b)
	for block := uint64(at) >> blockBits; block <= (uint64(at)+uint64(len(b)))>>blockBits; block++ {
		m.mapping[block] = 1
	}
}

func (m *memory) unmap() {
	if m != nil && m.mapping != nil {
		_ = unix.Munmap(m.mapping)
		m.mapping, m.size = nil, 0
	}
}

// marks has one byte for each block of the guest's memory, and one more. A mark stands for its block
// and the two blocks beside it.
func (m *memory) marks(size int) []byte { return m.mapping[:size>>blockBits+1] }

// clearMarks begins tracking.
func (m *memory) clearMarks() { clear(m.marks(m.size - reserved)) }

// restore writes the marked blocks back, and returns how many bytes it has written.
func (m *memory) restore(image []byte) (restored int) {
	marks := m.marks(len(image))
	own := m.bytes()
	for at := 0; ; {
		next := bytes.IndexByte(marks[at:], 1)
		if next < 0 {
			return restored
		}
		at += next
		from := at
		for at < len(marks) && marks[at] != 0 {
			marks[at] = 0
			at++
		}
		start, end := max(from-1, 0)<<blockBits, min((at+1)<<blockBits, len(image))
		if start < end {
			copyBlocks(own[start:end], image[start:end])
			restored += end - start
		}
	}
}
