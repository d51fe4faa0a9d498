package fastlytest

import (
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"
)

// memory is the guest's linear memory. Everything that it says is checked here.
type memory struct{ api.Memory }

// bytes returns what the guest has at ptr. It must not be kept.
func (m memory) bytes(ptr, size uint32) ([]byte, status) {
	if b, ok := m.Read(ptr, size); ok {
		return b, statusOK
	}
	return nil, statusInval
}

// text returns a copy of what the guest has at ptr.
func (m memory) text(ptr, size uint32) (string, status) {
	b, s := m.bytes(ptr, size)
	return string(b), s
}

func (m memory) putUint32(ptr, v uint32) status {
	if ptr%4 != 0 {
		return statusBadAlign
	}
	if !m.WriteUint32Le(ptr, v) {
		return statusInval
	}
	return statusOK
}

func (m memory) putUint64(ptr uint32, v uint64) status {
	if ptr%8 != 0 {
		return statusBadAlign
	}
	if !m.WriteUint64Le(ptr, v) {
		return statusInval
	}
	return statusOK
}

// put copies v into a buffer of the guest's and says how long it is. Of what doesn't fit nothing is
// copied, and the guest is told what is needed.
func (m memory) put(v string, ptr, size, written uint32) status {
	buf, s := m.bytes(ptr, size)
	if s != statusOK {
		return s
	}
	if len(v) > len(buf) {
		if s := m.putUint32(written, uint32(len(v))); s != statusOK {
			return s
		}
		return statusBufferLength
	}
	copy(buf, v)
	return m.putUint32(written, uint32(len(v)))
}

// record returns size bytes of a structure whose members are read with its little-endian methods.
func (m memory) record(ptr, size, align uint32) (record, status) {
	if ptr%align != 0 {
		return nil, statusBadAlign
	}
	b, s := m.bytes(ptr, size)
	return b, s
}

type record []byte

func (r record) uint32(at int) uint32 { return binary.LittleEndian.Uint32(r[at:]) }
func (r record) uint64(at int) uint64 { return binary.LittleEndian.Uint64(r[at:]) }
