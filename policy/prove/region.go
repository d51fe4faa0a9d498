package prove

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// word is a field's value, whose first bit is the topmost of 128. So an address, a port and a
// MAC are compared and split alike, and a prefix is a range of words.
type word = policy.Address

func and(a, b word) word    { return word{Hi: a.Hi & b.Hi, Lo: a.Lo & b.Lo} }
func or(a, b word) word     { return word{Hi: a.Hi | b.Hi, Lo: a.Lo | b.Lo} }
func andNot(a, b word) word { return word{Hi: a.Hi &^ b.Hi, Lo: a.Lo &^ b.Lo} }
func not(a word) word       { return word{Hi: ^a.Hi, Lo: ^a.Lo} }
func zero(a word) bool      { return a.Hi|a.Lo == 0 }
func less(a, b word) bool   { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }
func ones(a word) int       { return bits.OnesCount64(a.Hi) + bits.OnesCount64(a.Lo) }

// next is a+1; 0 after the last.
func next(a word) word {
	a.Lo++
	if a.Lo == 0 {
		a.Hi++
	}
	return a
}

// prev is a-1, of an a above 0.
func prev(a word) word {
	if a.Lo == 0 {
		a.Hi--
	}
	a.Lo--
	return a
}

// top returns the topmost bit of a, which is not 0.
func top(a word) word {
	if a.Hi != 0 {
		return word{Hi: 1 << (63 - bits.LeadingZeros64(a.Hi))}
	}
	return word{Lo: 1 << (63 - bits.LeadingZeros64(a.Lo))}
}

// leading is a mask of the first n bits.
func leading(n int) word {
	switch {
	case n <= 0:
		return word{}
	case n < 64:
		return word{Hi: ^uint64(0) << (64 - n)}
	case n == 64:
		return word{Hi: ^uint64(0)}
	}
	return word{Hi: ^uint64(0), Lo: ^uint64(0) << (128 - n)}
}

// number returns a value of so many bits as a word.
func number(v uint64, n uint8) word { return word{Hi: v << (64 - n)} }

func macWord(a flow.MAC) (w word) {
	for i, b := range a {
		w.Hi |= uint64(b) << (56 - 8*i)
	}
	return w
}

func macOf(w word) (a flow.MAC) {
	for i := range a {
		a[i] = byte(w.Hi >> (56 - 8*i))
	}
	return a
}

func addressOf(a netip.Addr) word { return policy.AddressOf(a) }

// addressIn is its inverse, for a family.
func addressIn(w word, v4 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], w.Hi)
	binary.BigEndian.PutUint64(b[8:], w.Lo)
	if v4 {
		return netip.AddrFrom4([4]byte(b[:]))
	}
	return netip.AddrFrom16(b)
}

// cube is the values that have the bits of value under mask.
type cube struct{ value, mask word }

// last is the largest value in c; c.value is the smallest.
func (c cube) last() word { return or(c.value, not(c.mask)) }

func (c cube) has(v word) bool { return and(v, c.mask) == c.value }

// set is values as ranges that are sorted, disjoint and not adjacent.
type set []span

type span struct{ first, last word }

// newSet takes ranges in any order.
func newSet(list []span) set {
	slices.SortFunc(list, func(a, b span) int {
		switch {
		case less(a.first, b.first):
			return -1
		case less(b.first, a.first):
			return 1
		}
		return 0
	})
	kept := list[:0]
	for _, s := range list {
		if n := len(kept); n > 0 && (!less(kept[n-1].last, s.first) || next(kept[n-1].last) == s.first) {
			if less(kept[n-1].last, s.last) {
				kept[n-1].last = s.last
			}
			continue
		}
		kept = append(kept, s)
	}
	return slices.Clip(kept)
}

// relation is how a region lies to a condition: all of it meets the condition, a part, or nothing.
type relation uint8

const (
	outside relation = iota
	inside
	across
)

func (r relation) negated(not bool) relation {
	if not && r != across {
		return inside + outside - r
	}
	return r
}

// hull says how the values from first to last lie to s.
func (s set) hull(first, last word) relation {
	i, n := 0, len(s)
	for i < n { // the number of ranges that end before first
		if mid := (i + n) / 2; less(s[mid].last, first) {
			i = mid + 1
		} else {
			n = mid
		}
	}
	switch {
	case i == len(s) || less(last, s[i].first):
		return outside
	case !less(first, s[i].first) && !less(s[i].last, last):
		return inside
	}
	return across
}

// of says how the values of a cube lie to s. Where the mask has holes (of Ethernet addresses), the cube is split at its free bits above them. What lies below a field's
// bits, which width has, is no hole: a range of s has all of it.
func (s set) of(c cube, width word) relation {
	r := s.hull(c.value, c.last())
	if r != across {
		return r
	}
	if m := and(c.mask, width); m == leading(ones(m)) {
		return across
	}
	free := top(not(c.mask))
	c.mask = or(c.mask, free)
	r = s.of(c, width)
	if r == across {
		return r
	}
	c.value = or(c.value, free)
	if s.of(c, width) != r {
		return across
	}
	return r
}

// atom is a condition on one field: bits, or, where there is a set, one of its values, or none of them.
type atom struct {
	field uint8 // its place in a box
	not   bool
	bits  cube
	set   set
}

func (a *atom) of(c cube) relation {
	if a.set != nil {
		return a.set.of(c, widths[a.field]).negated(a.not)
	}
	switch both := and(a.bits.mask, c.mask); {
	case and(a.bits.value, both) != and(c.value, both):
		return outside.negated(a.not)
	case zero(andNot(a.bits.mask, c.mask)):
		return inside.negated(a.not)
	}
	return across
}

// split returns a bit that c leaves open and the condition looks at. Of a range that is the topmost open one, so that what is left
// stays a range.
func (a *atom) split(c cube) word {
	if a.set != nil {
		return top(not(c.mask))
	}
	return top(andNot(a.bits.mask, c.mask))
}

// open is how many bits decide whether a value of c meets the condition, at most.
func (a *atom) open(c cube) int {
	if a.set != nil {
		return ones(not(c.mask))
	}
	return ones(andNot(a.bits.mask, c.mask))
}

// term is packets that meet all of its conditions. Each condition on a field comes with what a packet must be to have the field.
type term struct {
	atoms []atom
	owner int // whose it is, for the caller
}

// Places behind those of flow.Fields are what decides about a packet besides its headers.
const (
	flagsPlace  = uint8(len(flow.Fields)) + iota // of TCP
	minutePlace                                  // of the week, in the policy's time zone, in which the packet comes
	statesPlace                                  // that the packet's machine reads (see situation.go)
	itemPlace                                    // which item of the machines decides
	otherPlace                                   // the same in another policy, which this one is compared with
	switchPlace                                  // to which the packet comes, where source guards name switches (see sources.go)
	sayPlace                                     // what it says behind its headers
	quotedPlace                                  // whether the packet that it quotes can be read (see quotes.go)
	quotedDst                                    // fields of that one
	quotedProto
	quotedL4Src
	quotedL4Dst
	quotedType
	quotedCode
	places
)

// bitsOf is how many bits a place has.
func bitsOf(place uint8) int {
	switch place {
	case flagsPlace:
		return 8
	case minutePlace:
		return 14
	case statesPlace:
		return stateBits * (1 + maxSlots)
	case itemPlace, otherPlace:
		return 24
	case switchPlace:
		return 64
	case sayPlace:
		return 2
	case quotedPlace:
		return 1
	case quotedDst:
		return 128
	case quotedL4Src, quotedL4Dst:
		return 16
	case quotedProto, quotedType, quotedCode:
		return 8
	}
	return int(flow.Fields[place].Bits)
}

// widths are masks of the bits that places have.
var widths = func() (w [places]word) {
	for i := range w {
		w[i] = leading(bitsOf(uint8(i)))
	}
	return w
}()

// fieldAt returns the field of a place, 0 where it is none's.
func fieldAt(place uint8) flow.Field {
	if int(place) < len(flow.Fields) {
		return flow.Fields[place].Field
	}
	return 0
}

// box is packets by the bits of each field, and of what decides besides.
type box [places]cube

// everything is the box that leaves all open that a field has.
var everything = func() (b box) {
	for i := range b {
		b[i].mask = not(leading(bitsOf(uint8(i))))
		if fieldAt(uint8(i))&flow.Prefix.Fields() != 0 {
			b[i].mask = word{} // of IPv4, the first 32 bits count
		}
	}
	return b
}()

// narrow leaves of b what meets the atom, and reports false where that is nothing. What is no cube is left to the caller as rest.
func (b *box) narrow(a *atom) (rest *atom, ok bool) {
	c := &b[a.field]
	switch a.of(*c) {
	case outside:
		return nil, false
	case inside:
		return nil, true
	}
	if a.set != nil || a.not {
		return a, true
	}
	c.value, c.mask = or(c.value, a.bits.value), or(c.mask, a.bits.mask)
	return nil, true
}
