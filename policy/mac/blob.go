package mac

import (
	"cmp"
	"slices"

	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Bits beside the direction, in one byte. A function that doesn't know them reads a direction that there is not, and refuses the policy.
const (
	rejects = 0x80
	logs    = 0x40
)

// Write implements [policy.Source]. Prefixes are written sorted and without their doubles, in groups of one length, each as the
// difference to the one before.
func (c *Config) Write(w *wire.Writer) {
	w.Byte(byte(c.Match) | wire.Bit(rejects, c.Reject) | wire.Bit(logs, c.Log))
	w.Byte(byte(c.Deny))
	w.Uint(uint64(len(c.Lists)))
	for i := range c.Lists {
		w.Text(c.Lists[i].Name)
		list := slices.Clone(c.Lists[i].Prefixes)
		slices.SortFunc(list, func(a, b Prefix) int {
			return cmp.Or(int(a.Bits)-int(b.Bits), cmp.Compare(number(a.Addr), number(b.Addr)))
		})
		list = slices.Compact(list)
		groups := slices.CompactFunc(slices.Clone(list), func(a, b Prefix) bool { return a.Bits == b.Bits })
		w.Uint(uint64(len(groups)))
		for _, g := range groups {
			n := 0
			for n < len(list) && list[n].Bits == g.Bits {
				n++
			}
			w.Byte(g.Bits)
			w.Uint(uint64(n))
			last := uint64(0)
			for _, p := range list[:n] {
				v := number(p.Addr) >> (48 - p.Bits)
				w.Uint(v - last)
				last = v
			}
			list = list[n:]
		}
	}
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	c := &Config{Match: Direction(b &^ (rejects | logs)), Reject: b&rejects != 0, Log: b&logs != 0, Deny: Denied(r.Byte())}
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		c.Lists = append(c.Lists, List{Name: r.Text(), Prefixes: readPrefixes(r)})
	}
	return c
}

func readPrefixes(r *wire.Reader) (list []Prefix) {
	for groups := r.Count(3); groups > 0 && r.Err() == nil; groups-- {
		bits := r.Byte()
		if bits < minBits || bits > 48 {
			r.Failf("%d bits of an Ethernet address: want %d to 48", bits, minBits)
			return nil
		}
		n := r.Count(1)
		list = slices.Grow(list, n)
		last := uint64(0)
		for ; n > 0 && r.Err() == nil; n-- {
			last += r.Uint(1<<bits - 1 - last)
			list = append(list, Prefix{address(last << (48 - bits)), bits})
		}
	}
	return list
}
