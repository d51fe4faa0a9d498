// Package wire writes and reads what a compiled policy consists of: bytes, varints, texts and addresses, each as a mirror pair of
// [Writer] and [Reader]. It knows neither policies nor their kinds, and uses no reflection: guests link it.
package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"switchbridge/flow"
)

// Writer appends to bytes.
type Writer struct{ b []byte }

// NewWriter returns a writer that appends to b.
func NewWriter(b []byte) *Writer { return &Writer{b: b} }

// Bytes returns what was written, after what the writer began with.
func (w *Writer) Bytes() []byte { return w.b }

// Reader takes bytes apart. Once something is wrong, everything reads as zero: look at Err where a loop must end, and at the end.
type Reader struct {
	b   []byte
	at  int
	err error
}

// NewReader returns a reader of b, which it does not change.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first thing that was wrong.
func (r *Reader) Err() error { return r.err }

// At returns how many bytes were read.
func (r *Reader) At() int { return r.at }

// Left returns how many bytes follow.
func (r *Reader) Left() int { return len(r.b) - r.at }

// Failf says what is wrong with what is read. The first of it counts.
func (r *Reader) Failf(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// Byte writes one byte.
func (w *Writer) Byte(v byte) { w.b = append(w.b, v) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Raw(1); b != nil {
		return b[0]
	}
	return 0
}

// Raw writes bytes as they are.
func (w *Writer) Raw(v []byte) { w.b = append(w.b, v...) }

// Raw reads n bytes, of which it makes no copy; nil where there are not so many.
func (r *Reader) Raw(n int) []byte {
	if r.err != nil || n > len(r.b)-r.at {
		r.Failf("%d bytes wanted, %d left", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

// Uint writes a number as a varint.
func (w *Writer) Uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// Uint reads a number of at most limit.
func (r *Reader) Uint(limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || v > limit {
		r.Failf("number is cut short or more than %d", limit)
		return 0
	}
	r.at += n
	return v
}

// Count reads how many items follow, each of at least size bytes: no more than there are bytes for.
func (r *Reader) Count(size int) int {
	n := r.Uint(1 << 31)
	if left := len(r.b) - r.at; n*uint64(size) > uint64(left) {
		r.Failf("%d items in %d bytes", n, left)
		return 0
	}
	return int(n)
}

// Text writes a text and its length.
func (w *Writer) Text(s string) {
	w.Uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Text reads a text.
func (r *Reader) Text() string { return string(r.Raw(r.Count(1))) }

// Family returns 4 or 6, as prefixes are written with.
func Family(a netip.Addr) byte {
	if a.Is4() {
		return 4
	}
	return 6
}

// PrefixOf returns the first bits of an address. A length that the address does not have is wrong with what is read.
func (r *Reader) PrefixOf(addr netip.Addr, bits int) netip.Prefix {
	p := netip.PrefixFrom(addr, bits)
	if !p.IsValid() {
		r.Failf("%v/%d is no prefix", addr, bits)
	}
	return p
}

// Prefix writes an address with its length in bits.
func (w *Writer) Prefix(p netip.Prefix) {
	w.Byte(Family(p.Addr()))
	w.Byte(byte(p.Bits()))
	w.Raw(p.Addr().AsSlice())
}

// Prefix reads an address with its length.
func (r *Reader) Prefix() netip.Prefix {
	size := 4
	if r.Byte() == 6 {
		size = 16
	}
	bits := int(r.Byte())
	addr, _ := netip.AddrFromSlice(r.Raw(size))
	return r.PrefixOf(addr, bits)
}

// MAC writes an Ethernet address and its mask.
func (w *Writer) MAC(m, mask flow.MAC) {
	w.Raw(m[:])
	w.Raw(mask[:])
}

// MAC reads an Ethernet address and its mask.
func (r *Reader) MAC() (m, mask flow.MAC) {
	copy(m[:], r.Raw(len(m)))
	copy(mask[:], r.Raw(len(mask)))
	return m, mask
}

// Bit returns b where it is set, and 0 otherwise.
func Bit(b byte, set bool) byte {
	if set {
		return b
	}
	return 0
}
