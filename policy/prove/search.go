package prove

import "slices"

// search looks for a packet of a region that no term of a list covers. It goes down into halves of the region until one of them is
// covered by one term, or only terms are left that look at a single field each, whose values are then looked for field by field. So it
// ends with a packet or with the proof that there is none, and the terms that the proof rests on.
//
// Nothing is ever built of the whole list: a union of 10,000 entries as a decision diagram has millions of nodes, where the question about one entry
// concerns the few that overlap it.
type search struct {
	budget int // terms that may still be looked at; below 0: the search gave up
	used   map[int]bool
	point  point

	terms  []*term
	levels []*level // by how often the region was halved
}

// level is what is left of the terms at a depth: indexes, which the garbage collector has no business with.
type level struct {
	kept    []int32
	singles [places][]single
}

// single is a term of which one condition is open.
type single struct {
	term int32
	atom int32
}

func (s *search) atom(o single) *atom { return &s.terms[o.term].atoms[o.atom] }

// uncovered finds a packet in b that meets all of must and is covered by no term of terms. Where found is false and the budget is not
// used up there is none, and s.used has the owners of the terms that cover the region.
func (s *search) uncovered(b *box, must []*atom, terms ...[]*term) (found bool) {
	if s.used == nil {
		s.used = make(map[int]bool)
	}
	s.terms = s.terms[:0]
	for _, a := range must {
		turned := *a
		turned.not = !a.not
		s.terms = append(s.terms, &term{atoms: []atom{turned}, owner: nobody})
	}
	for _, list := range terms {
		s.terms = append(s.terms, list...)
	}
	all := make([]int32, len(s.terms))
	for i := range all {
		all[i] = int32(i)
	}
	found, _ = s.find(b, all, 0)
	return found
}

// reasons are places, as bits, whose values a proof rests on that there is no packet.
type reasons uint64

func (t *term) reasons() (r reasons) {
	for i := range t.atoms {
		r |= 1 << t.atoms[i].field
	}
	return r
}

// nobody owns terms that are no entry's.
const nobody = -1

// find leaves a packet in s.point, or says what it rests on that there is none. Where that is not the place at which b was halved, the other half has none
// either: conditions that have nothing to do with each other are not tried with each other.
func (s *search) find(b *box, list []int32, depth int) (found bool, why reasons) {
	if s.budget -= len(list) + 1; s.budget < 0 {
		return false, 0
	}
	if depth == len(s.levels) {
		s.levels = append(s.levels, &level{})
	}
	l := s.levels[depth]
	l.kept = l.kept[:0]
	for i := range l.singles {
		l.singles[i] = l.singles[i][:0]
	}
	var best *atom
	var fewest, fewBits int
next:
	for _, index := range list {
		t := s.terms[index]
		n, at, open := 0, 0, 0
		for i := range t.atoms {
			a := &t.atoms[i]
			switch c := &b[a.field]; a.of(*c) {
			case outside:
				continue next
			case across:
				if n++; n == 1 {
					at, open = i, a.open(*c)
				} else if o := a.open(*c); o < open {
					at, open = i, o
				}
			}
		}
		if n == 0 {
			s.used[t.owner] = true
			return false, t.reasons()
		}
		switch a := &t.atoms[at]; {
		case n == 1:
			l.singles[a.field] = append(l.singles[a.field], single{index, int32(at)})
		case best == nil || n < fewest || n == fewest && open < fewBits:
			best, fewest, fewBits = a, n, open
		}
		l.kept = append(l.kept, index)
	}
	for i := range l.singles { // in the order of fields: eth_type comes before addresses
		v, ok := s.value(b[i], i, l.singles[i])
		if !ok {
			why = 1 << i
			for _, o := range l.singles[i] {
				why |= s.terms[o.term].reasons()
			}
			return false, why
		}
		s.point[i] = v
	}
	// These values meet no term of one field. Often they meet none of the others either.
	if best == nil || !slices.ContainsFunc(l.kept, func(i int32) bool { return s.terms[i].covers(&s.point) }) {
		return true, 0
	}
	s.budget -= len(l.kept)
	// The half that does not meet the condition comes first: there its term covers nothing.
	half, c := *b, &b[best.field]
	bit := best.split(*c)
	half[best.field] = cube{value: or(c.value, bit), mask: or(c.mask, bit)}
	other := *b
	other[best.field].mask = or(c.mask, bit)
	if best.set == nil && !zero(and(best.bits.value, bit)) == !best.not {
		half, other = other, half
	}
	at := reasons(1) << best.field
	if found, why = s.find(&half, l.kept, depth+1); found || why&at == 0 {
		return found, why
	}
	found, more := s.find(&other, l.kept, depth+1)
	if !found && more&at == 0 { // it holds of both halves
		return false, more
	}
	return found, why | more
}

// value finds one of c that meets none of the conditions.
func (s *search) value(c cube, field int, list []single) (word, bool) {
next:
	for _, v := range preferred(field, c, s.point[ethType]) {
		if !c.has(v) {
			continue
		}
		for i := range list {
			if s.atom(list[i]).of(cube{v, not(word{})}) == inside {
				continue next
			}
		}
		return v, true
	}
	return s.gap(c, list)
}

func (s *search) gap(c cube, list []single) (word, bool) {
	if s.budget -= len(list) + 1; s.budget < 0 {
		return word{}, false
	}
	var open []single
	for _, o := range list {
		switch s.atom(o).of(c) {
		case inside:
			s.used[s.terms[o.term].owner] = true
			return word{}, false
		case across:
			open = append(open, o)
		}
	}
	if len(open) == 0 {
		return c.value, true
	}
	bit := s.atom(open[0]).split(c)
	for _, o := range open[1:] {
		if b := s.atom(o).split(c); less(bit, b) {
			bit = b
		}
	}
	low, high := c, c
	low.mask, high.mask, high.value = or(c.mask, bit), or(c.mask, bit), or(c.value, bit)
	if v, ok := s.gap(low, open); ok {
		return v, true
	}
	return s.gap(high, open)
}
