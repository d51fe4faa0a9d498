// Package prove answers questions about all packets: what a policy's chain decides for a region of them, exactly and without trying
// packets out. It finds entries that can never decide, proves what a policy promises or finds a packet that breaks it, and says for which packets
// two policies decide differently.
//
// A region is what meets conditions on fields: bits under a mask, or values in or outside of ranges. Every question comes down to one: is there a packet in a region
// that none of a list of conditions covers (see [search])? The answer is a packet, which the controller is then asked about, or that there is
// none, or [ErrBudget] where the search gave up.
//
// What is said of a packet here is what [flow.ParseFrame] would show of its frame. Packets that show all that they have are the complete ones;
// promises are about them.
package prove

import (
	"errors"

	"switchbridge/controller"
	"switchbridge/policy"
)

// DefaultBudget is how many conditions are looked at before a question is given up: some seconds.
const DefaultBudget = 1 << 29

// ErrBudget says that a question was given up.
var ErrBudget = errors.New("undecided: budget")

// region is packets that meet all of a list of terms and none of another. It may be asked for what lies in it and outside of more terms.
type region struct {
	box  box
	must []*atom
	not  []*term
}

// newRegion returns the packets that meet all atoms; ok is false where there is none.
func newRegion(lists ...[]atom) (r region, ok bool) {
	r.box = everything
	for _, atoms := range lists {
		for i := range atoms {
			rest, ok := r.box.narrow(&atoms[i])
			if !ok {
				return r, false
			}
			if rest != nil {
				r.must = append(r.must, rest)
			}
		}
	}
	return r, true
}

// Prover asks about one policy. It is used by one goroutine at a time.
type Prover struct {
	chain  *chain
	search search

	timed     bool // examples come when they were found to come, even if another time would do
	leasts    map[*automaton]map[word]int
	undecided error // of the promise at hand, unless it is broken
	coarse    bool  // fewer events may lead to what breaks it

	apart      map[string]string // machines that can't be compared with those of another policy, and why
	wardsApart string            // why what source guards learn can't be compared; empty: it can
	uncompared []string          // the same, for people, where they decide something

	controller *controller.Controller // what packets are tried on; nil until one is
}

// New returns a prover of p, which is valid. budget bounds all that it is asked; 0 is [DefaultBudget]. It fails where an entry is of a kind
// that it can't see into.
func New(p *policy.Policy, budget int) (*Prover, error) {
	c, err := newChain(p)
	if err != nil {
		return nil, err
	}
	if budget == 0 {
		budget = DefaultBudget
	}
	return &Prover{chain: c, search: search{budget: budget}}, nil
}

// find looks for a packet of r outside of terms. used are the owners of the terms that cover r where there is none.
func (p *Prover) find(r *region, terms ...[]*term) (at *point, used map[int]bool, err error) {
	s := &p.search
	s.used = nil
	found := s.uncovered(&r.box, r.must, append([][]*term{r.not}, terms...)...)
	switch {
	case s.budget < 0:
		return nil, nil, ErrBudget
	case found:
		at := s.point
		return &at, s.used, nil
	}
	return nil, s.used, nil
}
