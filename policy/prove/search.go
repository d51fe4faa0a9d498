package prove

import "switchbridge/flow"

// search looks for a packet of a region that no term of a list covers. It goes down into halves of the region until one of them is
// covered by one term, or only terms are left that look at a single field each, whose values are then looked for field by field. So it
// ends with a packet or with the proof that there is none, and the terms that the proof rests on.
//
// Nothing is ever built of the whole list: a union of 10,000 entries as a decision diagram has millions of nodes, where the question about one entry
// concerns the few that overlap it.
type search struct {
	budget int // terms that may still be looked at; below 0: the search gave up
	used   map[int]bool
	prefer *[len(flow.Fields)][]word // values that a packet should rather have
	point  [len(flow.Fields)]word
	stack  [][]*term // by depth
}

// single is a term of which one condition is open.
type single struct {
	atom *atom
	term *term
}

// uncovered finds a packet in b that meets all of must and is covered by no term of terms. Where found is false and the budget is not
// used up there is none, and s.used has the owners of the terms that cover the region.
func (s *search) uncovered(b *box, must []*atom, terms []*term) (found bool) {
	if s.used == nil {
		s.used = make(map[int]bool)
	}
	list := make([]*term, 0, len(must)+len(terms))
	for _, a := range must {
		turned := *a
		turned.not = !a.not
		list = append(list, &term{atoms: []atom{turned}, owner: nobody})
	}
	return s.find(b, append(list, terms...), 0)
}

// nobody owns terms that are no entry's.
const nobody = -1

// find leaves a packet in s.point.
func (s *search) find(b *box, terms []*term, depth int) bool {
	if s.budget -= len(terms) + 1; s.budget < 0 {
		return false
	}
	if depth == len(s.stack) {
		s.stack = append(s.stack, nil)
	}
	kept := s.stack[depth][:0]
	var (
		singles         [len(flow.Fields)][]single
		fields          flow.Field
		best            *atom
		fewest, fewBits int
	)
	for _, t := range terms {
		n, open := 0, 0
		var first *atom
		for i := range t.atoms {
			a := &t.atoms[i]
			switch a.of(b[a.field]) {
			case outside:
				n = -1
			case across:
				n++
				if o := a.open(b[a.field]); first == nil || o < open {
					first, open = a, o
				}
			}
			if n < 0 {
				break
			}
		}
		switch {
		case n < 0:
			continue
		case n == 0:
			s.used[t.owner] = true
			return false
		case n == 1:
			singles[first.field] = append(singles[first.field], single{first, t})
			fields |= 1 << first.field
		case best == nil || n < fewest || n == fewest && open < fewBits:
			best, fewest, fewBits = first, n, open
		}
		kept = append(kept, t)
	}
	s.stack[depth] = kept
	for i := range singles {
		if best != nil && len(singles[i]) == 0 {
			continue
		}
		v, ok := s.value(b[i], i, singles[i])
		if !ok {
			return false
		}
		s.point[i] = v
	}
	if best == nil {
		return true
	}
	// The half that does not meet the condition comes first: there its term covers nothing.
	half, c := *b, &b[best.field]
	bit := best.split(*c)
	half[best.field] = cube{value: or(c.value, bit), mask: or(c.mask, bit)}
	other := *b
	other[best.field].mask = or(c.mask, bit)
	if best.set == nil && !zero(and(best.bits.value, bit)) == !best.not {
		half, other = other, half
	}
	return s.find(&half, kept, depth+1) || s.find(&other, kept, depth+1)
}

// value finds one of c that meets none of the conditions.
func (s *search) value(c cube, field int, list []single) (word, bool) {
	if s.prefer != nil {
	next:
		for _, v := range s.prefer[field] {
			if !c.has(v) {
				continue
			}
			for i := range list {
				if list[i].atom.of(cube{v, not(word{})}) == inside {
					continue next
				}
			}
			return v, true
		}
	}
	return s.gap(c, list)
}

func (s *search) gap(c cube, list []single) (word, bool) {
	if s.budget -= len(list) + 1; s.budget < 0 {
		return word{}, false
	}
	var open []single
	for _, o := range list {
		switch o.atom.of(c) {
		case inside:
			s.used[o.term.owner] = true
			return word{}, false
		case across:
			open = append(open, o)
		}
	}
	if len(open) == 0 {
		return c.value, true
	}
	bit := open[0].atom.split(c)
	for _, o := range open[1:] {
		if b := o.atom.split(c); less(bit, b) {
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
