package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Canonical returns b in P4Runtime's canonical form (1.3, 8.4): without leading
// zero bytes, at least one byte. It shares b's memory.
func Canonical(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

// Pad returns b as width bits, big-endian, with leading zero bytes as needed.
// It fails where b has more than width significant bits, or is empty.
func Pad(b []byte, width int) ([]byte, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("empty byte string where %d bits are wanted", width)
	}
	c := Canonical(b)
	if n := (len(c)-1)*8 + bits.Len8(c[0]); n > width {
		return nil, fmt.Errorf("value %#x has %d bits, more than the %d of its type", c, n, width)
	}
	size := (width + 7) / 8
	if len(c) == size {
		return c, nil
	}
	out := make([]byte, size)
	copy(out[size-len(c):], c)
	return out, nil
}

// Uint returns v in canonical form. It fails where v does not fit in width bits.
func Uint(v uint64, width int) ([]byte, error) {
	if bits.Len64(v) > width {
		return nil, fmt.Errorf("value %d does not fit in %d bits", v, width)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return Canonical(append([]byte(nil), b[:]...)), nil
}

// ToUint is the inverse of [Uint] for values of up to 64 bits.
func ToUint(b []byte) (uint64, error) {
	c := Canonical(b)
	if len(b) == 0 || len(c) > 8 {
		return 0, fmt.Errorf("byte string of %d bytes where up to 64 bits are wanted", len(b))
	}
	var v uint64
	for _, x := range c {
		v = v<<8 | uint64(x)
	}
	return v, nil
}

// Ones returns width one bits.
func Ones(width int) []byte {
	b := make([]byte, (width+7)/8)
	for i := range b {
		b[i] = 0xff
	}
	if r := width % 8; r != 0 {
		b[0] = 1<<r - 1
	}
	return b
}
