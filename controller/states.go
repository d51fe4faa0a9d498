package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/state"
)

// memory is the links of a chain whose decisions rest on states, and nil for each other one. The states of an event are those of the first,
// then of the next.
type memory []policy.Machines

// StateKeys implements [state.Machines]. It allocates nothing where no link remembers anything.
func (list memory) StateKeys(ev *flow.Event, keys []string) []string {
	for _, m := range list {
		if m != nil {
			keys = m.StateKeys(ev, keys)
		}
	}
	return keys
}

// Travels implements [state.Machines].
func (list memory) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	for _, m := range list {
		if m == nil {
			continue
		}
		if name, kind, ok = m.Travels(key); ok {
			break
		}
	}
	return name, kind, ok
}

// Travels implements [state.Machines].
func (c *Controller) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	return memory(c.memories).Travels(key)
}

// StateKeys implements [state.Machines].
func (c *Controller) StateKeys(ev *flow.Event, keys []string) []string {
	return memory(c.memories).StateKeys(ev, keys)
}

// Stateful reports whether decisions of the policy rest on states.
func (c *Controller) Stateful() bool { return c.remembers }

// StateOf returns the name of the state that a value of a key means at a time, for people.
func (c *Controller) StateOf(key string, data []byte, at time.Time) string {
	for _, m := range c.memories {
		if m == nil {
			continue
		}
		if name := m.StateOf(key, data, at); name != "" {
			return name
		}
	}
	return "no machine's"
}

// Keys says which states the decisions of a policy read, for hosts whose controller is elsewhere, such as in a guest. It keeps nothing
// of the policy but the links that remember.
type Keys struct {
	version flow.PolicyVersion
	memory
}

var _ state.Machines = (*Keys)(nil)

// KeysOf returns the Keys of a valid policy.
func KeysOf(p *policy.Policy) *Keys {
	k := &Keys{version: p.Version()}
	for _, s := range p.Chain {
		if r, ok := s.(policy.Remembering); ok && r.Remembers() {
			k.memory = append(k.memory, s.Compile().(policy.Machines))
		}
	}
	return k
}

// Version returns the version of the policy.
func (k *Keys) Version() flow.PolicyVersion { return k.version }

// Stateful reports whether decisions of the policy rest on states.
func (k *Keys) Stateful() bool { return k.memory != nil }

// recall asks a link that rests on states, of which those before it have read so many, and returns how many are read then. One event changes one
// state: where an earlier link has changed one and this one would change another, the packet is dropped, and its sender's next one finds
// the first change made.
func recall(m policy.Machines, p policy.Packet, ev *flow.Event, rec *policy.Recollection, before int) (policy.Outcome, int) {
	out, own := m.DecideBy(p, of(ev, before))
	if own.Change != nil && rec.Change != nil {
		rec.Unsettled = "two states would change"
		return policy.Outcome{Verdict: flow.Deny, Reason: "two states would change by one packet: the next one will be decided", Depends: out.Depends}, before
	}
	rec.Add(&own, before)
	return out, before + own.Read
}

// of returns an event with the states from a link's first one on.
func of(ev *flow.Event, before int) *flow.Event {
	if before == 0 {
		return ev
	}
	own := *ev
	own.States = ev.States[min(before, len(ev.States)):]
	return &own
}

// notice has the links take note of an event that is no packet.
func (c *Controller) notice(ev *flow.Event, d *flow.Decision) {
	var rec policy.Recollection
	read := 0
	for _, m := range c.memories {
		if m == nil {
			continue
		}
		own := m.Notice(of(ev, read))
		if own.Change == nil || rec.Change == nil {
			rec.Add(&own, read)
		}
		read += own.Read
	}
	d.Change, d.Reason = rec.Change, rec.Note
}
