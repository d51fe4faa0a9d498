package bridgetest

import (
	"slices"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// inForce has the switches begin with the first version, which counts.
func inForce(c *bridge.Config) {
	c.Versions = new(bridge.Versions)
	c.Versions.Confirm(version(1))
}

// denying decides as toTwo does, and from version 2 on denies TCP port 22.
func denying(v flow.PolicyVersion) func(ev *flow.Event, d *flow.Decision) error {
	return func(ev *flow.Event, d *flow.Decision) error {
		d.Policy = v
		if ev.PacketIn == nil || v.Serial == 1 || ev.PacketIn.Match.L4Dst != 22 {
			return toTwo(ev, d)
		}
		d.Verdict, d.Reason = flow.Deny, "test: no"
		d.Rules = append(d.Rules, rule(ev, 100))
		return nil
	}
}

// three has three conversations in the switch, and returns their rules' cookies by port.
func (r *rig) three() map[uint16]uint64 {
	r.Helper()
	cookies := make(map[uint16]uint64)
	known := r.passing()
	for port, frame := range map[uint16][]byte{80: web, 22: ssh, 53: dns} {
		r.want("a packet", frame, 2, true)
		r.eventually("its rule is in the switch", func() bool {
			for cookie := range r.passing() {
				if !known[cookie] {
					known[cookie], cookies[port] = true, cookie
				}
			}
			return cookies[port] != 0
		})
	}
	return cookies
}

// passing are the cookies of rules by which packets pass: not every target tells what its rules match.
func (r *rig) passing() map[uint64]bool {
	list := make(map[uint64]bool)
	for _, f := range r.decided() {
		if len(f.Actions) > 0 {
			list[f.Cookie] = true
		}
	}
	return list
}

// rehearsed counts questions about packets of which nothing comes.
func (r *rig) rehearsed() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.asked {
		if r.asked[i].Rehearsal {
			n++
		}
	}
	return n
}

// spared checks that the rules of web and DNS are those that were there, and that SSH's has gone.
func (r *rig) spared(before map[uint16]uint64) {
	r.Helper()
	r.eventually("what is denied stops", func() bool { return !r.passing()[before[22]] })
	r.settle()
	if now := r.passing(); !now[before[80]] || !now[before[53]] {
		r.Errorf("of the rules %#x of web and %#x of DNS there are left:\n%s", before[80], before[53], r.rules())
	}
	r.want("what is allowed goes on", web, 2, false)
	r.want("what is denied", ssh, 0, true)
}

// now is the version that an answer names from here on.
func (r *rig) now(v flow.PolicyVersion) {
	r.answers(denying(v))
	r.bridge.Versions().Confirm(v)
}

var noSSH = func() flow.Regions {
	var m flow.Match
	m.SetIPProto(flow.ProtoTCP)
	m.SetL4Dst(22)
	return flow.Regions{{Match: m, Touch: flow.Denied}}
}()

var renewCases = []testCase{{
	name: "a change of policy whose reach is known takes what it denies at once, and asks about nothing else", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.now(version(2))
		r.bridge.PolicyChangedWithin(version(1), version(2), noSSH)
		r.spared(before)
		if n := r.rehearsed(); n != 0 {
			r.Errorf("the function was asked about %d rules that stay", n)
		}
	},
}, {
	name: "rules that may be decided otherwise are asked about, and go if they are", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.now(version(2))
		all := flow.Regions{{Touch: flow.Changed}}
		r.bridge.PolicyChangedWithin(version(1), version(2), all)
		r.spared(before)
		if n := r.rehearsed(); n != 3 {
			r.Errorf("the function was asked about %d rules, want 3", n)
		}
	},
}, {
	name: "a change of policy of which nothing is known has every rule asked about, and what is decided as before stays", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.now(version(2))
		r.bridge.PolicyChanged()
		r.spared(before)
		if n := r.rehearsed(); n != 3 {
			r.Errorf("the function was asked about %d rules, want 3", n)
		}
	},
}, {
	name: "a rule that is decided as before, and not for as long, goes", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.bridge.Versions().Confirm(version(2))
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			err := toTwo(ev, d)
			d.Policy = version(2)
			for i := range d.Rules {
				if ev.PacketIn.Match.L4Dst == 80 {
					d.Rules[i].HardTimeout = 100 * time.Second
				}
			}
			return err
		})
		r.bridge.PolicyChanged()
		r.eventually("it goes", func() bool { return !r.passing()[before[80]] })
		r.settle()
		if now := r.passing(); !now[before[22]] || !now[before[53]] {
			r.Errorf("of the rules %#x of SSH and %#x of DNS there are left:\n%s", before[22], before[53], r.rules())
		}
	},
}, {
	name: "rules of two policies ago are touched by the next change, too, and by one that does not follow the last all are asked about", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.bridge.Versions().Confirm(version(2))
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			err := denying(version(1))(ev, d)
			d.Policy = version(2)
			return err
		})
		r.bridge.PolicyChangedWithin(version(1), version(2), flow.Regions{})
		r.settle()
		r.eventually("the change is over", func() bool { return len(r.passing()) == 3 })
		r.now(version(3))
		r.bridge.PolicyChangedWithin(version(2), version(3), noSSH)
		r.spared(before)
		if n := r.rehearsed(); n != 0 {
			r.Errorf("the function was asked about %d rules that stay", n)
		}
		r.now(version(5))
		r.bridge.PolicyChangedWithin(version(4), version(5), flow.Regions{}) // nobody has said what lies between 3 and 4
		r.eventually("both are asked about", func() bool { return r.rehearsed() >= 2 })
	},
}, {
	name: "a rule about which the function gives no answer goes in the end", config: inForce, answer: denying(version(1)), needs: func(t *Target) bool { return t.Simulated }, // it takes seconds
	run: func(r *rig) {
		r.three()
		r.bridge.Versions().Confirm(version(2))
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.Rehearsal {
				return flow.Errorf(flow.Unavailable, "test: away")
			}
			return denying(version(2))(ev, d)
		})
		r.bridge.PolicyChanged()
		r.settle()
		if n := len(r.passing()); n != 3 {
			r.Errorf("%d rules are left while the function is away, want 3", n)
		}
		r.eventually("they go", func() bool { return len(r.passing()) == 0 })
	},
}, {
	name: "a change that follows another has what that did not come to asked about", config: inForce, answer: denying(version(1)), remoteOnly: true,
	run: func(r *rig) {
		before := r.three()
		r.now(version(2))
		release := r.holds() // the first questions are under way
		r.bridge.PolicyChanged()
		r.eventually("it is asked", func() bool { return r.rehearsed() > 0 })
		r.bridge.PolicyChanged() // the same policy once more, as a notice has it
		release()
		r.spared(before)
	},
}, {
	name: "after a reconnect what older policies have left goes", config: inForce, answer: denying(version(1)),
	run: func(r *rig) {
		before := r.three()
		r.now(version(2))
		r.bridge.PolicyChangedWithin(version(1), version(2), noSSH)
		r.eventually("what is denied stops", func() bool { return !r.passing()[before[22]] })
		r.peer.Reconnect()
		r.eventually("the others go", func() bool { return len(r.passing()) == 0 })
	},
}}

// all are the cases of the suite.
func all() []testCase { return slices.Concat(cases, replyCases, stateCases, renewCases, rejectCases) }
