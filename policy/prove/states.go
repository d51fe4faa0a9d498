package prove

import (
	"slices"

	"switchbridge/policy/machine"
)

// Unreachable is a state that a machine never comes to, whatever happens.
type Unreachable struct {
	Entry   Entry
	Machine string
	State   string
}

// Text says what is wrong.
func (u *Unreachable) Text() string {
	return "machine " + u.Machine + " never comes to its state " + u.State
}

// Unreachable returns the states that machines never come to. What can't be decided is not among them.
func (p *Prover) Unreachable() (list []Unreachable, err error) {
	for _, a := range p.chain.machines {
		never, err := p.neverIn(a)
		if err != nil {
			return list, err
		}
		for s := range a.States {
			if has(never, s) {
				list = append(list, Unreachable{Entry{a.entry, a.index}, a.Name, a.States[s].Name})
			}
		}
	}
	return list, nil
}

// neverIn returns the states that a machine does not come to with any key.
func (p *Prover) neverIn(a *automaton) (never machine.Set, err error) {
	open := (machine.Set(1)<<len(a.States) - 1) &^ (1 << a.Start) // of which nobody knows yet
	least, err := p.least(a)
	if err != nil {
		return 0, err
	}
	come := a.comesTo()
	if least != nil {
		come = 1 << a.Start
		for states := range least {
			at := point{statesPlace: states}
			come |= 1 << at.stateIn(own)
		}
	}
	never = open &^ come
	open &= come
	blocked := slices.Concat(p.chain.impossible(nil), incomplete, p.chain.earlier(a, func(*automaton) bool { return true }))
	packets, known := false, true
	for _, atoms := range a.scope {
		for open != 0 || !packets {
			r, ok := newRegion(atoms)
			if !ok {
				break
			}
			r.not = blocked
			at, _, err := p.find(&r, p.chain.reach())
			if err != nil {
				return 0, err
			}
			if at == nil {
				break
			}
			packets = true
			var similar []atom
			for _, sw := range p.switchesOf(at) {
				w, err := p.newWalk(at, sw, false)
				if err == nil {
					err = w.gather(0)
				}
				if err == nil {
					err = w.run(maxEvents, func(n *node, _ *zone) bool {
						open &^= 1 << n.cells[w.own].state
						return open == 0
					})
				}
				if err != nil {
					return 0, err
				}
				known = known && w.doubt == "" && w.loose == ""
				similar = append(similar, w.similar()...)
			}
			blocked = append(blocked, &term{similar, nobody})
		}
	}
	switch {
	case !packets: // it can never decide at all
		return 0, nil
	case known:
		never |= open
	}
	return never, nil
}
