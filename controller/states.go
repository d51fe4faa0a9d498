package controller

import (
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/state"
)

// StateKeys implements [state.Machines]. It allocates nothing where the policy has no machines.
func (c *Controller) StateKeys(ev *flow.Event, keys []string) []string {
	if c.machines == nil {
		return keys
	}
	return c.machines.StateKeys(ev, keys)
}

// Machines returns what says which states the decisions of a valid policy read, for hosts whose controller is elsewhere, such as in a
// guest; nil where they read none.
func Machines(p *policy.Policy) state.Machines {
	for _, s := range p.Chain {
		if _, ok := s.(policy.Remembering); ok {
			return s.Compile().(policy.Machines)
		}
	}
	return nil
}

// askBy is ask for a chain that has machines.
func (c *Controller) askBy(p policy.Packet, rec *policy.Recollection) policy.Outcome {
	var depends flow.Field
	for _, l := range c.links {
		var out policy.Outcome
		if l == policy.Link(c.machines) {
			out = c.machines.DecideBy(&p, rec)
		} else {
			out = l.Decide(p)
		}
		depends |= out.Depends
		if out.Verdict != flow.NoVerdict {
			out.Depends = depends
			return out
		}
	}
	return undecided(depends)
}

// notice has the machines take note of an event that is no packet.
func (c *Controller) notice(ev *flow.Event, d *flow.Decision) {
	if c.machines == nil {
		return
	}
	rec := policy.Recollection{Event: ev}
	c.machines.Notice(&rec)
	d.Change, d.Reason = rec.Change, rec.Note
}
