package prove

import (
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy/machine"
)

// Never is an entry that can never decide: whatever packet comes, another entry decides it, or the entry is of no packet at all. It would change
// nothing if it were left out, so it is not what its author meant.
type Never struct {
	Entry Entry
	Label string // as reasons name it
	By    []Shadow
}

// Shadow is an entry that decides a part of what another one is of, before it.
type Shadow struct {
	Entry Entry
	Label string
}

// maxShadows bounds how many entries are tried one by one for whether the others do without it.
const maxShadows = 64

// Never returns the entries that can never decide. Packets that don't show all that they have count as well: whatever one of them
// shows, a complete one shows too. A machine decides if it does so in any state, or passes packets on.
func (p *Prover) Never() (list []Never, err error) {
	c := p.chain
	before := newStack(len(c.terms))
	void, machines := c.impossible(nil), 0 // what is decided before the machines
	for i := 0; i < len(c.rules); {
		first := &c.rules[i]
		n := 1 // rules of one entry: of a machine, those of all its states
		for ; first.automaton != nil && i+n < len(c.rules) && c.rules[i+n].automaton == first.automaton; n++ {
		}
		rules := c.rules[i : i+n]
		if first.automaton != nil && first.Item == 0 {
			machines = len(before.terms)
		}
		i += n
		terms := c.terms[first.first : rules[n-1].first+rules[n-1].terms]
		alive := first.Entry.Chain < 0 || len(terms) == 0 // an empty list may be filled later
		by := make(map[int]bool)
		for j := range terms {
			if alive {
				break
			}
			region, ok := newRegion(terms[j].atoms)
			if !ok {
				continue
			}
			region.not = void
			earlier := len(before.terms)
			if first.automaton != nil { // what other machines decide is none of its packets
				region.not, earlier = c.impossible(first), machines
			}
			at, used, err := p.find(&region, p.near(before, earlier, &region.box))
			if err != nil {
				return list, fmt.Errorf("%s: %w", first.entryLabel(), err)
			}
			alive = at != nil
			for owner := range used {
				by[owner] = true
			}
		}
		if !alive {
			shadows, err := p.fewest(terms, by)
			if err != nil {
				return list, err
			}
			list = append(list, Never{Entry: first.Entry, Label: first.entryLabel(), By: shadows})
			continue // what never decides covers nothing that is not covered before it
		}
		for j := range rules {
			if r := &rules[j]; r.verdict != flow.NoVerdict {
				for t := range c.of(r) {
					before.push(&c.of(r)[t])
				}
			}
		}
	}
	return list, nil
}

// stack is terms, and of each two conditions that many boxes lie outside of, all in one piece of memory: of 10,000 rules each is asked about all before it.
type stack struct {
	terms []*term
	heads [][2]head
}

// head is a condition on bits of a place; without a mask it is none.
type head struct {
	bits  cube
	field uint8
}

// meets reports whether some of a box meets the condition.
func (h *head) meets(b *box) bool {
	c := &b[h.field]
	both := and(h.bits.mask, c.mask)
	return and(h.bits.value, both) == and(c.value, both)
}

func newStack(n int) *stack { return &stack{make([]*term, 0, n), make([][2]head, 0, n)} }

func (s *stack) push(t *term) {
	var h [2]head
	n := 0
	for _, rank := range []int{0, 1} { // addresses tell most from each other
		for i := range t.atoms {
			if a := &t.atoms[i]; n < len(h) && a.set == nil && !a.not && a.rank() == rank {
				h[n] = head{a.bits, a.field}
				n++
			}
		}
	}
	s.terms, s.heads = append(s.terms, t), append(s.heads, h)
}

// near returns those of the first n terms that may cover a part of a box.
func (p *Prover) near(s *stack, n int, b *box) (list []*term) {
	p.search.budget -= n / 8
	for i := range s.heads[:n] {
		if h := &s.heads[i]; h[0].meets(b) && h[1].meets(b) {
			list = append(list, s.terms[i])
		}
	}
	return list
}

// entryLabel is how the rule's entry is called.
func (r *rule) entryLabel() string {
	if r.automaton != nil {
		return machine.Name + ": " + r.automaton.Name
	}
	return r.label
}

// fewest returns rules that cover the terms together, of which none can be left out.
func (p *Prover) fewest(terms []term, by map[int]bool) (list []Shadow, err error) {
	delete(by, nobody)
	owners := make([]int, 0, len(by))
	for o := range by {
		owners = append(owners, o)
	}
	slices.Sort(owners)
	for i := len(owners) - 1; i >= 0 && len(owners) <= maxShadows; i-- {
		without := slices.Delete(slices.Clone(owners), i, i+1)
		covered, err := p.covered(terms, without)
		if err != nil {
			return nil, err
		}
		if covered {
			owners = without
		}
	}
	for _, o := range owners {
		r := &p.chain.rules[o]
		if s := (Shadow{r.Entry, r.entryLabel()}); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list, nil
}

func (p *Prover) covered(terms []term, owners []int) (bool, error) {
	var by []*term
	for _, o := range owners {
		list := p.chain.of(&p.chain.rules[o])
		for i := range list {
			by = append(by, &list[i])
		}
	}
	for i := range terms {
		region, ok := newRegion(terms[i].atoms)
		if !ok {
			continue
		}
		region.not = p.chain.impossible(nil)
		if at, _, err := p.find(&region, by); err != nil || at != nil {
			return false, err
		}
	}
	return true, nil
}

// Lines says on which line of a policy file an entry of the chain is, or one of its items; 0 where there is none, as in a compiled
// policy. It is policyfile.Document's Line.
type Lines func(chain, item int) int

// maxNamed is how many entries an error names.
const maxNamed = 8

// Text says what is wrong, and names the entries that shadow this one by their lines.
func (n *Never) Text(lines Lines) string {
	switch {
	case len(n.By) > 0:
	case strings.HasPrefix(n.Label, machine.Name+": "):
		return n.Label + " can never decide: no packet is what it is for, or earlier machines are for all of them"
	default:
		return n.Label + " can never decide: no packet meets its match"
	}
	var names []string
	for i, s := range n.By {
		if i == maxNamed {
			names = append(names, fmt.Sprintf("%d more", len(n.By)-i))
			break
		}
		names = append(names, s.Entry.name(s.Label, lines))
	}
	last := len(names) - 1
	if last > 0 {
		return fmt.Sprintf("%s can never decide: %s and %s decide all its packets together, before it", n.Label, strings.Join(names[:last], ", "), names[last])
	}
	return fmt.Sprintf("%s can never decide: %s decides all its packets before it", n.Label, names[0])
}

func (e Entry) name(label string, lines Lines) string {
	if line := lines.of(e); line > 0 {
		return fmt.Sprintf("%s (line %d)", label, line)
	}
	if e.Chain < 0 || e.Item >= 0 {
		return label
	}
	return fmt.Sprintf("%s (chain entry %d)", label, e.Chain+1)
}
