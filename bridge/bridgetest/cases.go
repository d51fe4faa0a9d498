package bridgetest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// testCase is one thing that must hold on every switch.
type testCase struct {
	name       string
	config     func(*bridge.Config)
	answer     func(ev *flow.Event, d *flow.Decision) error
	needs      func(*Target) bool // nil: every target has it
	remoteOnly bool
	idles      bool // waits for rules to idle out: once is enough where that takes real time
	run        func(r *rig)
}

// The packets that cases are about. Host n is at port n.
var (
	web = frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(80), 2, nil)
	ssh = frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(22), 2, nil)
	dns = frames.UDP(frames.Host(1).At(40000), frames.Host(2).At(53), []byte("question"))
)

const conversation = flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN |
	flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst

// toTwo allows each conversation, by a rule of its own to port 2.
func toTwo(ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn == nil {
		return nil
	}
	d.Verdict, d.Reason = flow.Allow, "test: to 2"
	d.Rules = append(d.Rules, rule(ev, 100, flow.OutputTo(2)))
	return nil
}

// rule is one for the conversation of a packet.
func rule(ev *flow.Event, priority uint16, actions ...flow.Action) flow.Rule {
	return flow.Rule{Priority: priority, IdleTimeout: 60 * time.Second, Match: ev.PacketIn.Match.Keep(conversation), Actions: actions}
}

// between is a rule for all that the packet's hosts send each other by the
// protocol of the packet.
func between(ev *flow.Event, priority uint16, actions ...flow.Action) flow.Rule {
	m := ev.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthType | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst)
	return flow.Rule{Priority: priority, IdleTimeout: 60 * time.Second, Match: m, Actions: actions}
}

func version(serial uint64) flow.PolicyVersion {
	return flow.PolicyVersion{Serial: serial, Hash: uint32(serial)}
}

// allowHTTP is a proactive rule.
func allowHTTP(priority uint16) flow.Rule {
	var m flow.Match
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetL4Dst(80)
	return flow.Rule{Priority: priority, Match: m, Actions: []flow.Action{flow.OutputTo(2)}}
}

var cases = []testCase{{
	name:   "a packet is asked about once, and its conversation then passes",
	answer: toTwo,
	run: func(r *rig) {
		r.want("the first packet", web, 2, true)
		r.want("the second", web, 2, false)
		r.want("another conversation", ssh, 2, true)
		rules := r.decided()
		if len(rules) != 2 || rules[0].Cookie == rules[1].Cookie {
			r.Errorf("want two rules with cookies of their own:\n%s", r.rules())
		}
	},
}, {
	name: "a denied packet does not pass, nor does the next, which is not asked about",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			d.Verdict = flow.Deny
			d.Rules = append(d.Rules, rule(ev, 100))
		}
		return nil
	},
	run: func(r *rig) {
		r.want("the first packet", web, 0, true)
		r.want("the second", web, 0, false)
	},
}, {
	name: "a packet_out alone sends the packet and installs nothing",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(3)}
		}
		return nil
	},
	run: func(r *rig) {
		r.want("the first packet", web, 3, true)
		r.settle()
		r.want("the second", web, 3, true)
		if rules := r.decided(); len(rules) != 0 {
			r.Errorf("rules:\n%s", r.rules())
		}
	},
}, {
	name:   "no answer drops the packet and installs nothing",
	answer: func(ev *flow.Event, d *flow.Decision) error { return flow.Errorf(flow.Unavailable, "away") },
	run: func(r *rig) {
		r.want("the packet", web, 0, true)
		if rules := r.decided(); len(rules) != 0 {
			r.Errorf("rules:\n%s", r.rules())
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.ContainsFunc(r.records, func(rec record) bool { return rec.event == flow.EventPacketIn && rec.err != nil }) {
			r.Errorf("no record of it in %+v", r.records)
		}
	},
}, {
	name:  "what a deny shielded falls with it, where the switch can't hold the deny",
	needs: func(t *Target) bool { return t.Inexpressible != nil },
	run: func(r *rig) {
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn != nil {
				d.Rules = append(d.Rules, r.target.Inexpressible(&ev.PacketIn.Match), between(ev, 100, flow.OutputTo(2)))
			}
			return nil
		})
		r.want("an allowed packet", web, 2, true)
		if rules := r.find(func(f *flow.Rule) bool { return len(f.Actions) > 0 && bridge.Decision(f.Cookie) != 0 }); len(rules) != 0 {
			r.Errorf("the allow stays without the deny above it:\n%s", r.rules())
		}
		r.settle()
		if _, asked := r.inject(1, ssh, func(_ []flow.PortNo, asked bool) bool { return asked }); !asked {
			r.Error("the denied packet is not asked about")
		}
	},
}, {
	name:  "what a deny shielded is removed, where the switch refuses the deny",
	needs: func(t *Target) bool { return t.Room > 0 },
	run: func(r *rig) {
		r.peer.Fill()
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			d.HasPacketOut, d.PacketOut = true, []flow.Action{flow.OutputTo(2)}
			d.Rules = append(d.Rules, between(ev, 100, flow.OutputTo(2)))
			for i := range r.target.Room { // fills the table before the deny comes
				d.Rules = append(d.Rules, between(ev, uint16(50+i)))
			}
			d.Rules = append(d.Rules, rule(ev, 200))
			return nil
		})
		r.passes(web)
		r.eventually("the allow is gone", func() bool {
			return len(r.find(func(f *flow.Rule) bool { return len(f.Actions) > 0 && bridge.Decision(f.Cookie) != 0 })) == 0
		})
		r.settle()
		if _, asked := r.inject(1, ssh, func(_ []flow.PortNo, asked bool) bool { return asked }); !asked {
			r.Error("the denied packet is not asked about")
		}
		if !strings.Contains(r.logs.String(), "refuses a rule") {
			r.Error("the log does not say that the switch refuses a rule")
		}
	},
}, {
	name:  "a deny that was removed with a refused one shields on",
	needs: func(t *Target) bool { return t.Room > 0 },
	run: func(r *rig) {
		r.peer.Fill()
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			if r.count(flow.EventPacketIn) > 1 {
				d.Rules = append(d.Rules, rule(ev, 100, flow.OutputTo(2)))
				return nil
			}
			d.Rules = append(d.Rules, between(ev, 150))
			for i := range r.target.Room {
				d.Rules = append(d.Rules, between(ev, uint16(50+i)))
			}
			d.Rules = append(d.Rules, rule(ev, 200)) // which the switch refuses
			return nil
		})
		r.passes(web)
		r.eventually("the deny below the refused one is gone", func() bool {
			return strings.Contains(r.logs.String(), "refuses a rule") && len(r.find(func(f *flow.Rule) bool { return f.Priority == 150 })) == 0
		})
		r.settle()
		r.passes(ssh)
		r.settle()
		if rules := r.find(func(f *flow.Rule) bool { return len(f.Actions) > 0 && bridge.Decision(f.Cookie) != 0 }); len(rules) != 0 {
			r.Errorf("an allow of what the first answer denied:\n%s", r.rules())
		}
	},
}, {
	name:  "a refused rule is told to who subscribes to errors, with the decision's number",
	needs: func(t *Target) bool { return t.Room > 0 },
	config: func(c *bridge.Config) {
		c.Subscribe = map[flow.EventType]bool{flow.EventError: true}
	},
	run: func(r *rig) {
		r.peer.Fill()
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			for i := range r.target.Room + 1 {
				d.Rules = append(d.Rules, between(ev, uint16(50+i), flow.OutputTo(2)))
			}
			d.HasPacketOut = true
			return nil
		})
		r.passes(web)
		r.eventually("the error is told", func() bool { return r.count(flow.EventError) > 0 })
		e := r.last(flow.EventError).Error
		if e.XID != r.last(flow.EventPacketIn).XID || e.Rule == "" || e.Name == "" {
			r.Errorf("the error is %+v, the decision's number %d", e, r.last(flow.EventPacketIn).XID)
		}
		if n := r.count(flow.EventError); n != 1 {
			r.Errorf("%d errors are told, want 1", n)
		}
	},
}, {
	name:  "an exact allow under a masked deny of the same answer is not installed",
	needs: func(t *Target) bool { return t.ExactFirst },
	run: func(r *rig) {
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn != nil {
				d.Rules = append(d.Rules, between(ev, 200), rule(ev, 100, flow.OutputTo(2)))
			}
			return nil
		})
		r.want("the packet", web, 0, true)
		r.settle()
		r.want("the next", web, 0, false)
	},
}, {
	name:   "proactive rules are there before a packet comes",
	answer: func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(1)) },
	run: func(r *rig) {
		r.eventually("the rule is there", func() bool { return len(r.decided()) == 1 })
		r.want("a packet that it covers", web, 2, false)
	},
}, {
	name:   "a newer policy's proactive rules come in and the older ones' rules go",
	answer: func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(1)) },
	run: func(r *rig) {
		r.eventually("the first version is there", func() bool { return len(r.decided()) == 1 })
		old := r.decided()[0].Cookie
		r.answers(func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(2)) })
		r.passes(ssh) // brings the new version
		r.eventually("the second version took its place", func() bool {
			rules := r.find(func(f *flow.Rule) bool { return f.Priority == 300 })
			return len(rules) == 1 && rules[0].Cookie>>32 != old>>32
		})
		if n := r.count(flow.EventSwitchConnected); n != 2 {
			r.Errorf("the switch was asked about %d times, want 2", n)
		}
	},
}, {
	name:   "an older policy's answer decides its packet, and its rules live ten seconds",
	answer: func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(7)) },
	run: func(r *rig) {
		r.eventually("the first version is there", func() bool { return len(r.decided()) == 1 })
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			d.Policy = version(6)
			return toTwo(ev, d)
		})
		r.want("the packet", ssh, 2, true)
		for _, f := range r.find(func(f *flow.Rule) bool { return f.Priority == 100 }) {
			if f.HardTimeout == 0 || f.HardTimeout > bridge.StaleTimeout {
				r.Errorf("the rule lives %v: %s", f.HardTimeout, f.String())
			}
		}
		if n := r.count(flow.EventSwitchConnected); n != 1 {
			r.Errorf("the switch was asked about %d times, want 1: an older version sweeps nothing", n)
		}
	},
}, {
	name: "proactive rules without a version go after the next connect's answer",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		return proactive(ev, d, flow.PolicyVersion{})
	},
	run: func(r *rig) {
		r.eventually("the rule is there", func() bool { return len(r.decided()) == 1 })
		r.answers(nil)
		r.peer.Reconnect()
		r.eventually("the rule is gone", func() bool { return len(r.decided()) == 0 })
	},
}, {
	name:   "rules of an earlier policy are swept after a reconnect, others' are not touched",
	answer: func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(1)) },
	run: func(r *rig) {
		r.eventually("the rule is there", func() bool { return len(r.decided()) == 1 })
		foreign := allowHTTP(400)
		foreign.Match.SetL4Dst(8080)
		foreign.Cookie = 7
		r.peer.Load(foreign)
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			d.Policy = version(2)
			return nil
		})
		r.bridge.Versions().Checked(version(2)) // what rules are swept by
		r.peer.Reconnect()
		r.eventually("the rule is gone", func() bool { return len(r.decided()) == 0 })
		if n := len(r.find(func(f *flow.Rule) bool { return f.Cookie == 7 })); n != 1 {
			r.Errorf("somebody else's rule is there %d times:\n%s", n, r.rules())
		}
	},
}, {
	name: "no answer replaces somebody else's rule",
	run: func(r *rig) {
		foreign := allowHTTP(300)
		foreign.Actions, foreign.Cookie = nil, 0xabc
		r.peer.Load(foreign)
		r.answers(func(ev *flow.Event, d *flow.Decision) error { return proactive(ev, d, version(1)) })
		r.peer.Reconnect()
		r.eventually("the switch was asked about again", func() bool { return r.count(flow.EventSwitchConnected) >= 2 })
		r.settle()
		if rules := r.find(func(f *flow.Rule) bool { return f.Priority == 300 }); len(rules) != 1 || rules[0].Cookie != 0xabc {
			r.Errorf("somebody else's rule was replaced:\n%s", r.rules())
		}
		if !strings.Contains(r.logs.String(), "00abc") {
			r.Error("the log does not name the cookie of the rule that was in the way")
		}
	},
}, {
	name:   "the rules that bring packets to the gateway are put back when somebody removes them",
	answer: toTwo,
	config: func(c *bridge.Config) { c.LookInterval = 200 * time.Millisecond },
	run: func(r *rig) {
		r.want("a packet", web, 2, true)
		r.peer.Wipe()
		r.eventually("a packet is asked about again", func() bool {
			_, asked := r.passes(dns)
			return asked
		})
		r.eventually("the switch is governed", func() bool { return r.bridge.Ready() == nil })
	},
}, {
	name:       "packets with the same headers share one question",
	answer:     toTwo,
	remoteOnly: true,
	run: func(r *rig) {
		release := r.holds()
		before := r.count(flow.EventPacketIn)
		for range 5 {
			r.peer.Inject(1, web)
		}
		r.settle()
		release()
		const want = 5
		out := 0
		left := func() bool {
			for _, f := range r.peer.Out() {
				if f.Port == 2 && string(f.Data) == string(web) {
					out++
				}
			}
			return out >= want
		}
		if !r.target.Digests { // whose first packets are lost
			r.eventually("all packets leave by port 2", left)
		}
		r.settle()
		left()
		if n := r.count(flow.EventPacketIn) - before; n != 1 {
			r.Errorf("%d questions, want 1", n)
		}
		if out != want && !r.target.Digests {
			r.Errorf("%d packets left by port 2, want %d", out, want)
		}
	},
}, {
	name:       "the queue is bounded, and what finds no place is counted as dropped",
	answer:     toTwo,
	remoteOnly: true,
	config:     func(c *bridge.Config) { c.Workers, c.QueuePerSwitch = 2, 3 },
	run: func(r *rig) {
		release := r.holds()
		for i := range 20 {
			r.peer.Inject(1, frames.TCP(frames.Host(1).At(uint16(50000+i)), frames.Host(2).At(80), 2, nil))
		}
		r.settle()
		release()
		r.settle()
		if n := r.count(flow.EventPacketIn); n < 2 || n > 5 {
			r.Errorf("%d of 20 packets were asked about, want 2 to 5: a worker for half of the two, and a queue of three", n)
		}
		if !strings.Contains(r.logs.String(), "does not keep up") {
			r.Error("the log does not say that events are dropped")
		}
	},
}, {
	name:   "a configured rate holds packets back",
	answer: toTwo,
	config: func(c *bridge.Config) {
		n := 0
		c.Admit = func(*flow.Event, time.Time) error {
			if n++; n > 2 {
				return flow.Errorf(flow.Overload, "test: the rate")
			}
			return nil
		}
	},
	run: func(r *rig) {
		for i := range 10 {
			r.peer.Inject(1, frames.TCP(frames.Host(1).At(uint16(50000+i)), frames.Host(2).At(80), 2, nil))
		}
		r.settle()
		if n := r.count(flow.EventPacketIn); n != 2 {
			r.Errorf("%d packets were asked about, want 2", n)
		}
	},
}, {
	name:       "a decision has a deadline",
	answer:     toTwo,
	remoteOnly: true,
	config:     func(c *bridge.Config) { c.EventTimeout = 100 * time.Millisecond },
	run: func(r *rig) {
		defer r.holds()()
		r.peer.Inject(1, web)
		r.eventually("the decision is given up", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.ContainsFunc(r.records, func(rec record) bool { return rec.event == flow.EventPacketIn && rec.err != nil })
		})
	},
}, {
	name:       "what is pending when the gateway ends is decided, and nothing new is taken",
	answer:     toTwo,
	remoteOnly: true,
	run: func(r *rig) {
		release := r.holds()
		r.peer.Inject(1, web)
		r.settle()
		done := make(chan struct{})
		go func() { r.bridge.Drain(); close(done) }()
		r.settle()
		select {
		case <-done:
			r.Fatal("the end did not wait for the decision")
		default:
		}
		r.peer.Inject(1, ssh)
		r.settle()
		release()
		<-done
		r.settle()
		if rules := r.decided(); len(rules) != 1 {
			r.Errorf("want the pending decision's rule alone:\n%s", r.rules())
		}
		if n := r.count(flow.EventPacketIn); n != 1 {
			r.Errorf("%d packets were asked about, want 1", n)
		}
	},
}, {
	name:   "every decision has a record, whose cookie its rules carry",
	answer: toTwo,
	run: func(r *rig) {
		r.want("a packet", web, 2, true)
		rules := r.decided()
		r.mu.Lock()
		defer r.mu.Unlock()
		rec := r.records[len(r.records)-1]
		if len(rules) != 1 || rec.event != flow.EventPacketIn || rec.verdict != flow.Allow || rec.cookie != rules[0].Cookie || bridge.Decision(rec.cookie) != rec.xid {
			r.Errorf("record %+v, rules %v", rec, rules)
		}
	},
}, {
	name: "a rule that ends by itself is told to who subscribes",
	config: func(c *bridge.Config) {
		c.Subscribe = map[flow.EventType]bool{flow.EventFlowRemoved: true}
	},
	answer: func(ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			one := rule(ev, 100, flow.OutputTo(2))
			one.IdleTimeout, one.HardTimeout = 0, time.Second
			d.Rules = append(d.Rules, one)
		}
		return nil
	},
	needs: func(t *Target) bool { return !t.Simulated || t.ExactFirst }, // the fake OpenFlow switch has no timeouts
	run: func(r *rig) {
		r.want("a packet", web, 2, true)
		r.eventually("its end is told", func() bool { return r.count(flow.EventFlowRemoved) > 0 })
		fr := r.last(flow.EventFlowRemoved).FlowRemoved
		if fr.Reason != flow.RemovedHard || fr.Priority != 100 && fr.Priority != 0 || fr.Match.Fields == 0 {
			r.Errorf("told is %+v", fr)
		}
	},
}, {
	name: "a proactive rule that ends by itself is told to who subscribes",
	config: func(c *bridge.Config) {
		c.Subscribe = map[flow.EventType]bool{flow.EventFlowRemoved: true}
	},
	answer: func(ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			one := allowHTTP(300)
			one.HardTimeout = time.Second
			d.Rules = append(d.Rules, one)
		}
		return nil
	},
	needs: func(t *Target) bool { return !t.Simulated || t.ExactFirst }, // the fake OpenFlow switch has no timeouts
	run: func(r *rig) {
		r.eventually("its end is told", func() bool { return r.count(flow.EventFlowRemoved) > 0 })
		if fr := r.last(flow.EventFlowRemoved).FlowRemoved; fr.Reason != flow.RemovedHard || !r.bridge.Owns(fr.Cookie) {
			r.Errorf("told is %+v", fr)
		}
	},
}, {
	name: "an answer to another event is held to the guardrails, too",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventSwitchConnected {
			d.Policy = version(1)
			d.Rules = append(d.Rules, flow.Rule{Priority: 60000, Actions: []flow.Action{flow.OutputTo(2)}}) // everything
		}
		return nil
	},
	run: func(r *rig) {
		r.want("a packet", web, 0, true)
		if rules := r.decided(); len(rules) != 0 {
			r.Errorf("a rule for everything was installed:\n%s", r.rules())
		}
	},
}, {
	name: "a packet of which headers are missing brings no rule with actions",
	run: func(r *rig) {
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.PacketIn == nil {
				return nil
			}
			if ev.PacketIn.Match.Has(flow.FieldL4Dst) && ev.PacketIn.Match.L4Dst == 22 {
				d.Verdict = flow.Deny
				d.Rules = append(d.Rules, rule(ev, 100))
				return nil
			}
			d.Verdict = flow.Allow
			d.Rules = append(d.Rules, rule(ev, 100, flow.OutputTo(2))) // of a fragment: all TCP
			return nil
		})
		r.passes(fragment(web))
		if rules := r.find(func(f *flow.Rule) bool { return len(f.Actions) > 0 && bridge.Decision(f.Cookie) != 0 }); len(rules) != 0 {
			r.Errorf("a fragment brought a rule:\n%s", r.rules())
		}
		r.want("a packet that is denied", ssh, 0, true)
	},
}, {
	name: "a function that fails on everything costs nothing but its packets",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		return errors.New("a function that breaks the contract")
	},
	run: func(r *rig) {
		for range 3 {
			r.want("a packet", web, 0, true)
			r.settle()
		}
		r.answers(toTwo)
		r.want("a packet when it is mended", web, 2, true)
	},
}}

// proactive gives every new switch a rule for HTTP, and denies what is asked.
func proactive(ev *flow.Event, d *flow.Decision, v flow.PolicyVersion) error {
	d.Policy = v
	if ev.Type == flow.EventSwitchConnected {
		d.Rules = append(d.Rules, allowHTTP(300))
	}
	return nil
}

// fragment makes a later fragment of an IPv4 packet.
func fragment(frame []byte) []byte {
	f := slices.Clone(frame)
	f[14+6], f[14+7] = 0, 100 // offset 800 bytes
	sum := uint32(0)
	f[14+10], f[14+11] = 0, 0
	for i := 14; i < 34; i += 2 {
		sum += uint32(f[i])<<8 | uint32(f[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	f[14+10], f[14+11] = byte(^sum>>8), byte(^sum)
	return f
}
