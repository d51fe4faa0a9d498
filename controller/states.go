package controller

import (
	"math"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/state"
)

// memory says which states a decision reads, and in which order: those of the first link, then those of the next. If the policy lets replies in,
// the states of the packets that the event's packet may answer follow, each state once.
type memory struct {
	links   []policy.Machines // whose decisions rest on states
	replies bool              // some entry lets them in
	inPorts []flow.PortNo     // that the chain names
}

// maxKeys is how many states an event may have before no further ones are added for the packets that it may answer. Their number depends on
// how many ports the policy names. [switchbridge/flow/contract.MaxStates] has room for all.
const maxKeys = 48

// StateKeys implements [state.Machines]. It allocates nothing where no link remembers anything.
func (x *memory) StateKeys(ev *flow.Event, keys []string) []string {
	if len(x.links) == 0 {
		return keys
	}
	first := len(keys)
	for _, m := range x.links {
		keys = m.StateKeys(ev, keys)
	}
	if !x.replies || ev.Type != flow.EventPacketIn || ev.PacketIn == nil {
		return keys
	}
	asked, n := ev.PacketIn.Questions()
	for i := range n {
		q := &asked[i]
		q.SetInPort(nowhere)
		for at := 0; ; at++ {
			var byPort bool
			if keys, byPort = x.supposed(ev.Switch, q, first, keys); !byPort || at == len(x.inPorts) {
				break
			}
			q.InPort = x.inPorts[at]
		}
	}
	return keys
}

// OwnKeys implements [state.Machines].
func (x *memory) OwnKeys(ev *flow.Event) int {
	if len(x.links) == 0 {
		return 0
	}
	if !x.replies { // all are, and to count them costs more than to say so
		return math.MaxInt
	}
	var keys []string
	for _, m := range x.links {
		keys = m.StateKeys(ev, keys)
	}
	return len(keys)
}

// supposed appends the keys of the states that are read about a packet which nobody has sent, unless they are among keys[first:].
func (x *memory) supposed(sw *flow.Switch, m *flow.Match, first int, keys []string) (_ []string, byPort bool) {
	p := policy.NewPacket(m)
	p.Supposed, p.Switch = true, sw
	for _, l := range x.links {
		before := len(keys)
		var by bool
		keys, by = l.SupposedKeys(p, keys)
		byPort = byPort || by
		kept := keys[:before]
		for _, key := range keys[before:] {
			if len(kept)-first < maxKeys && !slices.Contains(kept[first:], key) {
				kept = append(kept, key)
			}
		}
		keys = kept
	}
	return keys, byPort
}

// recalled returns ev as the links see it that are asked about the packet m, which nobody has sent: with the states that it hangs on, as the event's own
// packet leaves them. all are the event's keys.
func (x *memory) recalled(ev *flow.Event, m *flow.Match, change *flow.StateChange, all []string) *flow.Event {
	own := *ev
	own.States = nil
	keys, _ := x.supposed(ev.Switch, m, 0, nil)
	for _, key := range keys {
		s := flow.State{Data: flow.Unknown}
		if i := slices.Index(all, key); i >= 0 && i < len(ev.States) {
			if s = ev.States[i]; change != nil && change.Index == i {
				s.Data = change.Data
			}
		}
		own.States = append(own.States, s)
	}
	return &own
}

// Travels implements [state.Machines].
func (x *memory) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	for _, m := range x.links {
		if name, kind, ok = m.Travels(key); ok {
			break
		}
	}
	return name, kind, ok
}

// Stateful reports whether decisions of the policy rest on states.
func (c *Controller) Stateful() bool { return c.remembers() }

// remembers reports whether some link's decisions rest on states.
func (c *Controller) remembers() bool { return len(c.memory.links) > 0 }

// StateOf returns the name of the state that a value of a key means at a time, for people.
func (c *Controller) StateOf(key string, data []byte, at time.Time) string {
	for _, m := range c.memory.links {
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
	k := &Keys{version: p.Version(), memory: memoryOf(p)}
	for _, s := range p.Chain {
		if r, ok := s.(policy.Remembering); ok && r.Remembers() {
			k.links = append(k.links, s.Compile().(policy.Machines))
		}
	}
	return k
}

// memoryOf returns the memory of a policy, without links.
func memoryOf(p *policy.Policy) (x memory) {
	if x.replies = p.Replies(); x.replies {
		x.inPorts = p.InPorts()
	}
	return x
}

// Version returns the version of the policy.
func (k *Keys) Version() flow.PolicyVersion { return k.version }

// Stateful reports whether decisions of the policy rest on states.
func (k *Keys) Stateful() bool { return len(k.links) > 0 }

// recall asks a link with machines. before is how many of the event's states earlier links have read; recall returns how many are read now. One event
// changes one state: if an earlier link has changed one and this link would change another, the packet is dropped. The sender's next packet finds the
// first change made.
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

// notice passes an event other than a packet to the links with machines.
func (c *Controller) notice(ev *flow.Event, d *flow.Decision) {
	var rec policy.Recollection
	read := 0
	for _, m := range c.memory.links {
		own := m.Notice(of(ev, read))
		if own.Change == nil || rec.Change == nil {
			rec.Add(&own, read)
		}
		read += own.Read
	}
	d.Change, d.Reason = rec.Change, rec.Note
}
