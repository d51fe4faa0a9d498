package prove

import (
	"fmt"
	"slices"

	"switchbridge/policy"
	"switchbridge/policy/header"
)

// Fault is what is wrong with a policy that could run, and its line; 0 where the policy was compiled.
type Fault struct {
	Line int
	Msg  string
}

func (f Fault) Error() string { return f.Msg }

// Faults returns the entries that can never decide and the states that machines never come to, each as a person is told of it. Where the error is [ErrBudget], there may be more.
func (p *Prover) Faults(lines Lines) (list []Fault, err error) {
	never, err := p.Never()
	for i := range never {
		list = append(list, Fault{lines.of(never[i].Entry), never[i].Text(lines)})
	}
	if err != nil {
		return list, err
	}
	// They are looked for as long as it takes no long time: that a state is one of them is no reason to refuse a policy that nobody can check.
	given := p.search.budget
	p.search.budget = min(given, 16*enough)
	states, err := p.Unreachable()
	p.search.budget = given - (min(given, 16*enough) - p.search.budget)
	if err == ErrBudget && p.search.budget > 0 {
		err = nil
	}
	for i := range states {
		list = append(list, Fault{lines.of(states[i].Entry), states[i].Text()})
	}
	return list, err
}

func (l Lines) of(e Entry) int {
	if l == nil {
		return 0
	}
	return l(e.Chain, e.Item)
}

// Meters returns the rules of a policy that name a meter which is not among those that the gateway defines. A switch refuses such a
// rule, and each of its packets is asked about.
func Meters(p *policy.Policy, defined []uint32, lines Lines) (list []Fault) {
	for i, s := range p.Chain {
		h, ok := s.(*header.Config)
		if !ok {
			continue
		}
		for j := range h.Rules {
			if id := h.Rules[j].Action.Meter; id != 0 && !slices.Contains(defined, id) {
				list = append(list, Fault{lines.of(Entry{i, j}), fmt.Sprintf("header: %s: the gateway's configuration defines no meter %d (openflow.meters)", h.Label(j), id)})
			}
		}
	}
	return list
}
