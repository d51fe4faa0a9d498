package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/state"
)

// Stateful reports whether the policy has machines.
func (c *Controller) Stateful() bool { return c.machines != nil }

// StateKeys implements [state.Machines]. It allocates nothing where the policy has no machines.
func (c *Controller) StateKeys(ev *flow.Event, keys []string) []string {
	if c.machines == nil {
		return keys
	}
	return c.machines.StateKeys(ev, keys)
}

// StateOf returns the name of the state that a value of a key means at a time, for people.
func (c *Controller) StateOf(key string, data []byte, at time.Time) string {
	if c.machines == nil {
		return ""
	}
	return c.machines.StateOf(key, data, at)
}

// Keys says which states the decisions of a policy read, for hosts whose controller is elsewhere, such as in a guest. It keeps nothing
// of the policy but its machines.
type Keys struct {
	version  flow.PolicyVersion
	machines policy.Machines // nil: none
}

var _ state.Machines = (*Keys)(nil)

// KeysOf returns the Keys of a valid policy.
func KeysOf(p *policy.Policy) *Keys {
	k := &Keys{version: p.Version()}
	for _, s := range p.Chain {
		if _, ok := s.(policy.Remembering); ok {
			k.machines = s.Compile().(policy.Machines)
		}
	}
	return k
}

// Version returns the version of the policy.
func (k *Keys) Version() flow.PolicyVersion { return k.version }

// Stateful reports whether the policy has machines.
func (k *Keys) Stateful() bool { return k.machines != nil }

// StateKeys implements [state.Machines].
func (k *Keys) StateKeys(ev *flow.Event, keys []string) []string {
	if k.machines == nil {
		return keys
	}
	return k.machines.StateKeys(ev, keys)
}

// askBy is ask for a chain that has machines.
func (c *Controller) askBy(p policy.Packet, ev *flow.Event) (out policy.Outcome, rec policy.Recollection) {
	var depends flow.Field
	for _, l := range c.links {
		if l == policy.Link(c.machines) {
			out, rec = c.machines.DecideBy(p, ev)
		} else {
			out = l.Decide(p)
		}
		depends |= out.Depends
		if out.Verdict != flow.NoVerdict {
			out.Depends = depends
			return out, rec
		}
	}
	return undecided(depends), rec
}

// notice has the machines take note of an event that is no packet.
func (c *Controller) notice(ev *flow.Event, d *flow.Decision) {
	if c.machines != nil {
		rec := c.machines.Notice(ev)
		d.Change, d.Reason = rec.Change, rec.Note
	}
}
