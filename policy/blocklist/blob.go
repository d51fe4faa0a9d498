package blocklist

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Prefixes come back sorted and without their doubles.

// Bits beside the direction, in one byte. A function that doesn't know them reads a direction that there is not, and refuses the policy.
const (
	rejects = 0x80
	logs    = 0x40
)

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) {
	w.Byte(byte(c.Match) | wire.Bit(rejects, c.Reject) | wire.Bit(logs, c.Log))
	w.Uint(uint64(len(c.Lists)))
	for i := range c.Lists {
		w.Text(c.Lists[i].Name)
		writePrefixes(w, c.Lists[i].Prefixes)
	}
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	c := &Config{Match: Direction(b &^ (rejects | logs)), Reject: b&rejects != 0, Log: b&logs != 0}
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		c.Lists = append(c.Lists, List{Name: r.Text(), Prefixes: readPrefixes(r)})
	}
	return c
}

// writePrefixes writes groups of prefixes of one family and length, sorted: for IPv4 each as the
// difference to the one before, which takes 3 or 4 bytes.
func writePrefixes(w *wire.Writer, list []netip.Prefix) {
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	list = slices.Compact(list)
	var groups [][]netip.Prefix
	for first := 0; first < len(list); {
		end := first + 1
		for end < len(list) && list[end].Bits() == list[first].Bits() && list[end].Addr().BitLen() == list[first].Addr().BitLen() {
			end++
		}
		groups = append(groups, list[first:end])
		first = end
	}
	w.Uint(uint64(len(groups)))
	for _, g := range groups {
		w.Byte(wire.Family(g[0].Addr()))
		w.Byte(byte(g[0].Bits()))
		w.Uint(uint64(len(g)))
		last := uint32(0)
		for _, p := range g {
			if p.Addr().Is6() {
				w.Raw(p.Addr().AsSlice())
				continue
			}
			a := p.Addr().As4()
			v := binary.BigEndian.Uint32(a[:])
			w.Uint(uint64(v - last))
			last = v
		}
	}
}

func readPrefixes(r *wire.Reader) (list []netip.Prefix) {
	for groups := r.Count(3); groups > 0 && r.Err() == nil; groups-- {
		is6 := r.Byte() == 6
		bits := int(r.Byte())
		size := 1
		if is6 {
			size = 16
		}
		n := r.Count(size)
		list = slices.Grow(list, n)
		last := uint32(0)
		for ; n > 0 && r.Err() == nil; n-- {
			var addr netip.Addr
			if is6 {
				addr, _ = netip.AddrFromSlice(r.Raw(16))
			} else {
				last += uint32(r.Uint(0xffffffff))
				addr = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, last)))
			}
			list = append(list, r.PrefixOf(addr, bits))
		}
	}
	return list
}
