package bridgetest

import (
	"sync"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// onStates decides as toTwo does, by rules that rest on states; where there is no state for the packet's port, the rule rests on none.
// With version 0 of a state the packet is denied and nothing is installed.
type onStates struct {
	mu     sync.Mutex
	states map[uint16][]flow.StateVersion // by the packet's tcp_dst or udp_dst
	deny   map[uint16]bool
	revoke map[uint16][]uint64
}

func (s *onStates) answer(ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Policy = version(1)
	port := ev.PacketIn.Match.L4Dst
	d.Read = append(d.Read, s.states[port]...)
	d.Revoke = append(d.Revoke, s.revoke[port]...)
	if s.deny[port] {
		d.Verdict, d.HasPacketOut = flow.Deny, true
		return nil
	}
	return toTwo(ev, d)
}

func (s *onStates) set(port uint16, states ...flow.StateVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil {
		s.states = make(map[uint16][]flow.StateVersion)
	}
	s.states[port] = states
}

// onlyLatest waits until the rule of the latest packet that was asked about is the only one of a decision.
func (r *rig) onlyLatest() {
	r.Helper()
	latest := r.last(flow.EventPacketIn).XID
	r.eventually("the other rules are gone", func() bool {
		rules := r.decided()
		return len(rules) == 1 && bridge.Decision(rules[0].Cookie) == latest
	})
}

// stateCases are what holds of rules that rest on a state.
var stateCases = []testCase{{
	name: "a newer state removes what an older one installed, before its packet is sent",
	run: func(r *rig) {
		s := &onStates{}
		r.answers(s.answer)
		s.set(80, flow.StateVersion{Key: 1, Version: 3})
		s.set(53, flow.StateVersion{Key: 2, Version: 1})
		r.want("web, while the state allows it", web, 2, true)
		r.want("dns, by another state", dns, 2, true)
		r.settle()
		r.want("web, by its rule", web, 2, false)
		if rules := r.decided(); len(rules) != 2 {
			r.Errorf("want two rules:\n%s", r.rules())
		}
		s.mu.Lock()
		s.deny = map[uint16]bool{22: true, 80: true}
		s.mu.Unlock()
		s.set(22, flow.StateVersion{Key: 1, Version: 4})
		s.set(80, flow.StateVersion{Key: 1, Version: 4})
		r.want("ssh, which moves the state", ssh, 0, true)
		r.eventually("the rule of the older state is gone", func() bool { return len(r.decided()) == 1 })
		r.want("web, which the newer state denies", web, 0, true)
		r.want("dns, whose state is as it was", dns, 2, false)
	},
}, {
	name: "the packet that moves a state is sent when the switch has confirmed",
	run: func(r *rig) {
		s := &onStates{}
		r.answers(s.answer)
		s.set(80, flow.StateVersion{Key: 1, Version: 1})
		r.want("web", web, 2, true)
		r.settle()
		s.set(22, flow.StateVersion{Key: 1, Version: 2})
		r.want("ssh", ssh, 2, true)
		r.onlyLatest()
		r.settle()
		r.want("ssh, by its rule", ssh, 2, false)
	},
}, {
	name: "an answer that rests on an older state than was seen is asked for again",
	run: func(r *rig) {
		s := &onStates{}
		r.answers(s.answer)
		s.set(22, flow.StateVersion{Key: 1, Version: 9})
		r.want("ssh", ssh, 2, true)
		r.settle()
		first := true
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if err := toTwo(ev, d); err != nil || ev.PacketIn == nil {
				return err
			}
			v := uint64(9)
			if first {
				first, v = false, 8
			}
			d.Read = append(d.Read, flow.StateVersion{Key: 1, Version: v})
			return nil
		})
		before := r.count(flow.EventPacketIn)
		r.want("web", web, 2, true)
		if n := r.count(flow.EventPacketIn) - before; n != 2 && !r.target.Digests {
			r.Errorf("the function was asked %d times, want 2", n)
		}
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			d.Read = append(d.Read, flow.StateVersion{Key: 1, Version: 1})
			return toTwo(ev, d)
		})
		r.want("dns, of which no answer is new enough", dns, 0, true)
		if rules := r.decided(); len(rules) > 2 {
			r.Errorf("an answer on an old state was carried out:\n%s", r.rules())
		}
	},
}, {
	name: "a state is revoked whatever its version",
	run: func(r *rig) {
		s := &onStates{}
		r.answers(s.answer)
		s.set(80, flow.StateVersion{Key: 7, Version: 5})
		r.want("web", web, 2, true)
		r.settle()
		s.mu.Lock()
		s.revoke = map[uint16][]uint64{22: {7, 8}}
		s.mu.Unlock()
		r.want("ssh", ssh, 2, true)
		r.onlyLatest()
		r.settle()
		r.want("web, again", web, 2, true)
	},
}, {
	name: "a connection that is new knows no states, so rules that rest on one go",
	run: func(r *rig) {
		s := &onStates{}
		r.answers(s.answer)
		r.bridge.Versions().Checked(version(1))
		s.set(80, flow.StateVersion{Key: 1, Version: 1})
		r.want("web, by a state", web, 2, true)
		r.want("ssh, by none", ssh, 2, true)
		r.settle()
		r.peer.Reconnect()
		r.onlyLatest()
	},
}}
