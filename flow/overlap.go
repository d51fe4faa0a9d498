package flow

import "net/netip"

// prefixesApart reports whether no address is in both. One that is not valid
// has no addresses to speak of, so it is not apart from anything.
func prefixesApart(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && !a.Overlaps(b) }

// Inside reports whether every packet that satisfies m satisfies o, too. Both are
// canonical. Prerequisites count where they are written out ([Match.Complete]).
func (m *Match) Inside(o *Match) bool {
	if !o.Covers(m) { // as if m's values were a packet's: they are masked, so this says nothing of m's masks
		return false
	}
	return m.masksInside(o)
}

// Vacuous returns the fields of m that ask for nothing, since all of their bits
// are masked out.
func (m *Match) Vacuous() (f Field) {
	for rest := m.Fields & MaskedFields; rest != 0; rest &= rest - 1 {
		x, empty := (rest & -rest).Info(), false
		switch x.Kind {
		case Number64, VLANTag:
			_, mask := x.Number(m)
			empty = mask == 0
		case MaskedMAC:
			_, mask := x.MAC(m)
			empty = mask == MAC{}
		case Prefix:
			empty = x.Prefix(m).Bits() == 0
		}
		if empty {
			f |= x.Field
		}
	}
	return f
}
