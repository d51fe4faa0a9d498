package blob

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/header"
)

// The body's parts as mirror pairs of writer and reader.

type writer struct{ b []byte }

type reader struct {
	b   []byte
	at  int
	err error // the first; after it everything reads as zero
}

func (r *Reader) Failf(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (w *Writer) Byte(v byte) { w.B = append(w.B, v) }

func (r *Reader) Byte() byte {
	if b := r.Raw(1); b != nil {
		return b[0]
	}
	return 0
}

func (w *Writer) Raw(v []byte) { w.B = append(w.B, v...) }

func (r *Reader) Raw(n int) []byte {
	if r.err != nil || n > len(r.b)-r.at {
		r.Failf("%d bytes wanted, %d left", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (w *Writer) Uint(v uint64) { w.B = binary.AppendUvarint(w.B, v) }

// uint reads a number of at most limit.
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

// count reads how many items follow, each of at least size bytes: no more than there are bytes for.
func (r *Reader) Count(size int) int {
	n := r.Uint(1 << 31)
	if left := len(r.b) - r.at; n*uint64(size) > uint64(left) {
		r.Failf("%d items in %d bytes", n, left)
		return 0
	}
	return int(n)
}

func (w *Writer) Text(s string) {
	w.Uint(uint64(len(s)))
	w.B = append(w.B, s...)
}

func (r *Reader) Text() string { return string(r.Raw(r.Count(1))) }

func Family(a netip.Addr) byte {
	if a.Is4() {
		return 4
	}
	return 6
}

// prefix checks a prefix's length.
func (r *Reader) PrefixOf(addr netip.Addr, bits int) netip.Prefix {
	p := netip.PrefixFrom(addr, bits)
	if !p.IsValid() {
		r.Failf("%v/%d is no prefix", addr, bits)
	}
	return p
}

func (w *Writer) Prefix(p netip.Prefix) {
	w.Byte(Family(p.Addr()))
	w.Byte(byte(p.Bits()))
	w.Raw(p.Addr().AsSlice())
}

func (r *Reader) Prefix() netip.Prefix {
	size := 4
	if r.Byte() == 6 {
		size = 16
	}
	bits := int(r.Byte())
	addr, _ := netip.AddrFromSlice(r.Raw(size))
	return r.PrefixOf(addr, bits)
}

func (w *Writer) MAC(m, mask flow.MAC) {
	w.Raw(m[:])
	w.Raw(mask[:])
}

func (r *Reader) MAC() (m, mask flow.MAC) {
	copy(m[:], r.Raw(len(m)))
	copy(mask[:], r.Raw(len(mask)))
	return m, mask
}
