package mapping

import (
	"encoding/binary"
	mathbits "math/bits"
)

// bits is an unsigned number of up to 128 bits: the value or the mask of a header field.
// It needs no allocation.
type bits struct{ hi, lo uint64 }

// ones is a number of n one bits, up to 128.
func ones(n int) bits {
	switch {
	case n <= 0:
		return bits{}
	case n < 64:
		return bits{lo: 1<<n - 1}
	case n < 128:
		return bits{hi: 1<<(n-64) - 1, lo: ^uint64(0)}
	}
	return bits{^uint64(0), ^uint64(0)}
}

// fromBytes reads a big-endian number of at most 16 bytes.
func fromBytes(b []byte) bits {
	var full [16]byte
	copy(full[len(full)-len(b):], b)
	return bits{binary.BigEndian.Uint64(full[:8]), binary.BigEndian.Uint64(full[8:])}
}

func (b bits) and(o bits) bits { return bits{b.hi & o.hi, b.lo & o.lo} }
func (b bits) or(o bits) bits  { return bits{b.hi | o.hi, b.lo | o.lo} }
func (b bits) not() bits       { return bits{^b.hi, ^b.lo} }

// up returns b shifted left by n bits. The result must fit into 64 bits.
func (b bits) up(n int) bits { return bits{lo: b.lo << n} }

// width returns the number of bits that the number needs.
func (b bits) width() int {
	if b.hi != 0 {
		return 64 + mathbits.Len64(b.hi)
	}
	return mathbits.Len64(b.lo)
}

// append adds the number in canonical form (P4Runtime 1.3, 8.4): big-endian,
// without leading zero bytes, at least one byte.
func (b bits) append(to []byte) []byte {
	var full [16]byte
	binary.BigEndian.PutUint64(full[:8], b.hi)
	binary.BigEndian.PutUint64(full[8:], b.lo)
	n := max(1, (b.width()+7)/8)
	return append(to, full[len(full)-n:]...)
}

// bytes returns the number, big-endian, in as many bytes as width bits need.
func (b bits) bytes(width int) []byte {
	var full [16]byte
	binary.BigEndian.PutUint64(full[:8], b.hi)
	binary.BigEndian.PutUint64(full[8:], b.lo)
	return append([]byte(nil), full[len(full)-(width+7)/8:]...)
}
