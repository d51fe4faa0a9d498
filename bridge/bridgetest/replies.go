package bridgetest

import (
	"slices"
	"sync"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// The conversations that the cases about replies are made of. The client is at port 1, the server at port 2, whom the policy lets answer; an
// attacker is at port 3.
var (
	client, server, attacker = frames.Host(1), frames.Host(2), frames.Host(3)

	sshAnswer = frames.TCP(server.At(22), client.At(40000), frames.SYN|frames.ACK, nil)
	sshData   = frames.TCP(server.At(22), client.At(40000), frames.PSH|frames.ACK, []byte("from the server"))
	webAnswer = frames.TCP(server.At(80), client.At(40000), frames.SYN|frames.ACK, nil)
)

// policy is a function that lets everybody ask the server for some services, and denies all else unless it is an answer to that.
type policy struct {
	version flow.PolicyVersion
	asks    func(*flow.Match) bool
	brief   bool // conversations idle out after a thirtieth of the time
	wide    bool // the rule of an answer is for all that the server says to the client
}

// talk is the policy of most cases.
func talk(ev *flow.Event, d *flow.Decision) error {
	return policy{version: version(1), asks: asks}.decide(ev, d)
}

// asks reports whether a packet with headers m is allowed to ask.
func asks(m *flow.Match) bool {
	switch {
	case m.Fields&flow.FieldIPDst == 0 || m.IPDst.Addr() != server.IP:
		return false
	case m.IPProto == flow.ProtoTCP:
		return m.L4Dst == 22 || m.L4Dst == 80 || m.L4Dst == 1883
	case m.IPProto == flow.ProtoUDP:
		return m.L4Dst == 53 || m.L4Dst == 5004
	case m.IPProto == flow.ProtoICMP:
		return m.ICMPType == 8
	}
	return false
}

func (p policy) decide(ev *flow.Event, d *flow.Decision) error {
	d.Policy = p.version
	pi := ev.PacketIn
	if pi == nil {
		return nil
	}
	exact, ok := flow.RuleMatch(ev.Switch, pi)
	one := func(actions ...flow.Action) []flow.Rule {
		if !ok {
			return nil
		}
		idle := flow.ConversationIdle
		if exact.IPProto == flow.ProtoTCP {
			idle = flow.ConversationIdleTCP
		}
		if p.brief {
			idle /= 30
		}
		return []flow.Rule{{Priority: 100, IdleTimeout: idle, HardTimeout: flow.ConversationHard, Match: exact, Actions: actions}}
	}
	if p.asks(&pi.Match) {
		d.Verdict, d.Reason, d.Rules = flow.Allow, "test: asks", one(flow.OutputTo(2))
		return nil
	}
	d.Verdict, d.Reason, d.Rules = flow.Deny, "test: no question", one()
	if q, ok := pi.Match.Question(); ok && p.asks(&q) {
		d.IfReply = &flow.Reply{Reason: "test: answers", Rules: one(flow.OutputTo(1))}
		if p.wide {
			d.IfReply.Rules = []flow.Rule{between(ev, 100, flow.OutputTo(1))}
		}
	}
	if pi.Match.ICMPError() {
		d.Rules, d.HasPacketOut = nil, true // what it quotes no rule can tell
	}
	if q, ok := pi.Quoted(); ok {
		if p.asks(&q) {
			d.Verdict, d.PacketOut = flow.Allow, []flow.Action{flow.OutputTo(1)}
		} else if q, ok := q.Question(); ok && p.asks(&q) {
			d.IfReply = &flow.Reply{Reason: "test: about an answer", HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(2)}}
		}
	}
	return nil
}

// verdict returns what became of the latest packet that was asked about.
func (r *rig) verdict() flow.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.records) - 1; i >= 0; i-- {
		if r.records[i].event == flow.EventPacketIn {
			return r.records[i].verdict
		}
	}
	return flow.NoVerdict
}

// looks returns how many packets were looked for with the outcome.
func (r *rig) looks(outcome string) (n int) {
	families, err := r.metrics.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "switchbridge_reply_looks_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// elapse lets time pass for the switch's rules. Where neither is simulated, it is a thirtieth of d.
func (r *rig) elapse(d time.Duration) {
	switch {
	case r.target.Elapse != nil:
		r.target.Elapse(d)
	case r.target.Simulated:
		time.Sleep(d)
	default:
		time.Sleep(d / 30)
	}
}

// timed is the policy of cases that go through idle timeouts.
func (r *rig) timed() policy {
	return policy{version: version(1), asks: asks, brief: r.target.Elapse == nil && !r.target.Simulated}
}

// denied lets the time pass that a deny of what might have been a reply lives.
func (r *rig) denied() {
	if r.target.Elapse != nil {
		r.target.Elapse(3 * time.Second)
	} else {
		time.Sleep(3*time.Second + 500*time.Millisecond) // P4's are ended once a second
	}
}

// restart has another gateway process take the place of this one.
func (r *rig) restart() {
	r.Helper()
	before := r.count(flow.EventSwitchConnected)
	cfg := r.config
	cfg.Versions = nil
	next, err := bridge.New(cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.bridge = next
	r.peer.Restart(next)
	r.eventually("the next gateway asks about the switch", func() bool { return r.count(flow.EventSwitchConnected) > before })
	r.settle()
}

// swept waits until the rules of the first version are gone, for packets too.
func (r *rig) swept() {
	r.Helper()
	r.eventually("the old rules are gone", func() bool {
		return len(r.find(func(f *flow.Rule) bool { return f.Priority == 100 && len(f.Actions) > 0 })) == 0
	})
	if r.target.Elapse != nil {
		r.target.Elapse(time.Second)
	}
	r.settle()
}

var replyCases = []testCase{{
	name:   "a reply passes by the rule of its question, and nothing else does",
	answer: talk,
	run: func(r *rig) {
		r.wantFrom(2, "an answer that nobody asked for", sshAnswer, 0, true)
		r.settle()
		for _, f := range r.find(func(f *flow.Rule) bool { return f.Priority == 100 && len(f.Actions) == 0 }) {
			if f.HardTimeout == 0 || f.HardTimeout > flow.ReplyLife {
				r.Errorf("a deny of what might be a reply lives on: %s", f.String())
			}
		}
		r.denied()
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.wantFrom(2, "what follows", sshData, 1, false)
		r.want("what the client says then", ssh, 2, false)
		if v := r.verdict(); v != flow.Allow {
			r.Errorf("the record of the answer says %v", v)
		}
		r.wantFrom(2, "an answer from another port of the server", webAnswer, 0, true)
		r.wantFrom(2, "an answer to another port of the client", frames.TCP(server.At(22), client.At(40001), frames.ACK, nil), 0, true)
		r.wantFrom(3, "the answer from another station", frames.TCP(attacker.At(22), client.At(40000), frames.ACK, nil), 0, true)
		r.wantFrom(2, "UDP of the same ports", frames.UDP(server.At(22), client.At(40000), nil), 0, true)
	},
}, {
	name:   "a reply to a question that an earlier gateway process was asked about passes",
	answer: talk,
	run: func(r *rig) {
		r.want("the question", ssh, 2, true)
		r.settle()
		r.restart()
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.wantFrom(2, "an answer that nobody asked for", webAnswer, 0, true)
		if found, none := r.looks("found"), r.looks("none"); found != 1 || none != 1 {
			r.Errorf("%d rules were found in the switch and %d not, want 1 and 1", found, none)
		}
	},
}, {
	name:  "a reply passes after its own rule idled out",
	idles: true,
	run: func(r *rig) {
		r.answers(r.timed().decide)
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		for range 3 { // the server says nothing
			r.elapse(60 * time.Second)
			r.want("what the client says", ssh, 2, false)
		}
		r.restart() // so that nothing is remembered
		r.wantFrom(2, "what the server says then", sshData, 1, true)
	},
}, {
	name:  "an idle session lives for its time, and data opens it again afterwards",
	idles: true,
	run: func(r *rig) {
		r.answers(r.timed().decide)
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.elapse(80 * time.Second)
		r.wantFrom(2, "what the server says after 80 s", sshData, 1, false)
		r.elapse(240 * time.Second)
		r.wantFrom(2, "what the server says after four minutes", sshData, 0, true)
		r.denied()
		r.want("what the client says", frames.TCP(client.At(40000), server.At(22), frames.PSH|frames.ACK, []byte("x")), 2, true)
		r.settle()
		r.wantFrom(2, "what the server says to that", sshData, 1, true)
	},
}, {
	name:  "a session with a keepalive of a minute costs its two questions",
	idles: true,
	run: func(r *rig) {
		r.answers(r.timed().decide)
		ping := frames.TCP(client.At(40000), server.At(1883), frames.PSH|frames.ACK, []byte{0xc0, 0})
		pong := frames.TCP(server.At(1883), client.At(40000), frames.PSH|frames.ACK, []byte{0xd0, 0})
		r.want("the first ping", ping, 2, true)
		r.wantFrom(2, "its answer", pong, 1, true)
		r.settle()
		for range 3 {
			r.elapse(60 * time.Second)
			r.want("a ping", ping, 2, false)
			r.wantFrom(2, "its answer", pong, 1, false)
		}
	},
}, {
	name:  "a stream in one direction keeps that direction's rule",
	idles: true,
	run: func(r *rig) {
		r.answers(r.timed().decide)
		there := frames.UDP(client.At(40000), server.At(5004), []byte("stream"))
		back := frames.UDP(server.At(5004), client.At(40000), []byte("stream"))
		r.want("the first packet", there, 2, true)
		r.settle()
		for range 4 {
			r.elapse(30 * time.Second)
			r.want("the stream", there, 2, false)
		}
		r.wantFrom(2, "the first answer, after two minutes", back, 1, true)
		r.settle()
		for range 4 {
			r.elapse(30 * time.Second)
			r.wantFrom(2, "a stream of answers alone", back, 1, false)
		}
		r.elapse(150 * time.Second)
		r.restart()
		r.wantFrom(2, "an answer after both rules idled out", back, 0, true)
	},
}, {
	name:   "what a policy change denies is denied at once in the middle of a conversation",
	answer: talk,
	run: func(r *rig) {
		r.want("the question", ssh, 2, true)
		r.settle()
		r.answers(policy{version: version(2), asks: func(m *flow.Match) bool { return asks(m) && m.L4Dst != 22 }}.decide)
		r.wantFrom(2, "the answer", sshAnswer, 0, true) // the rule of the question is in the switch still
		r.bridge.Versions().Checked(version(2))
		r.bridge.PolicyChanged()
		r.swept()
		r.want("the question", ssh, 0, true)
		r.want("a question that the new policy allows", web, 2, true)
		r.wantFrom(2, "its answer", webAnswer, 1, true)
	},
}, {
	name:   "a policy change that allows a conversation does not interrupt it",
	config: inForce,
	answer: talk,
	run: func(r *rig) {
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.answers(policy{version: version(2), asks: asks}.decide)
		r.bridge.Versions().Checked(version(2))
		r.bridge.PolicyChanged()
		r.eventually("the rules are asked about", func() bool { return r.rehearsed() >= 2 })
		r.settle()
		r.want("what the client says", ssh, 2, false)
		r.eventually("what the server says passes", func() bool { // the packet of a digest is lost
			ports, _ := r.inject(2, sshData, func(ports []flow.PortNo, _ bool) bool { return len(ports) > 0 })
			return slices.Equal(ports, []flow.PortNo{1})
		})
	},
}, {
	name:   "path MTU discovery works through a drop, and forged errors don't pass",
	answer: talk,
	needs:  func(t *Target) bool { return !t.Digests }, // which show no quote
	run: func(r *rig) {
		r.want("the question", web, 2, true)
		data := frames.TCP(server.At(80), client.At(40000), frames.ACK, make([]byte, 1400))
		r.wantFrom(2, "a large answer", data, 1, true)
		r.settle()
		about := frames.TooBig(client, data, 1280)
		r.want("an error about the answer, from the client's side", about, 2, true)
		r.settle()
		r.want("another", about, 2, true) // each is asked about
		router := frames.Endpoint{MAC: server.MAC, IP: frames.Host(200).IP}
		r.wantFrom(2, "an error about the question, from a router behind the server's port", frames.TooBig(router, web, 1280), 1, true)

		r.wantFrom(3, "an error about the answer from another port", about, 0, true)
		r.want("an error about an answer that was none", frames.TooBig(client, frames.TCP(server.At(80), client.At(40001), frames.ACK, nil), 1280), 0, true)
		r.wantFrom(2, "an error about a packet that is denied", frames.TooBig(router, frames.TCP(client.At(40000), server.At(23), frames.SYN, nil), 1280), 0, true)
		lie := frames.TooBig(router, web, 1280)
		copy(lie[30:34], attacker.IP.AsSlice()) // for a host that did not send what it quotes
		r.wantFrom(2, "an error to another host than the quoted packet's sender", lie, 0, true)
		if rules := r.find(func(f *flow.Rule) bool { return f.Priority == 100 && f.Match.IPProto == flow.ProtoICMP }); len(rules) > 0 {
			r.Errorf("an ICMP error brought a rule:\n%s", r.rules())
		}
	},
}, {
	name:   "who forges addresses opens nothing on the own port, and with an accomplice on a second port does",
	answer: talk,
	run: func(r *rig) {
		r.wantFrom(3, "a question in the client's name", ssh, 2, true)
		r.settle()
		r.wantFrom(3, "an answer in the server's name from the same port", sshAnswer, 0, true)
		r.denied()
		r.restart()
		r.wantFrom(3, "the same, looked up in the switch", sshAnswer, 0, true)
		// Addresses are not tied to ports here. Who wants them to be needs more than replies.
		r.wantFrom(4, "an answer from a second port", sshAnswer, 1, true)
	},
}, {
	name: "the rule of a reply rests on the states of its question and of its own, and goes with either",
	run: func(r *rig) {
		var mu sync.Mutex
		versions := []uint64{1, 1} // of the client's state and of the server's
		shut := false              // the client, in its newest state
		moves := func(i int, closes bool) {
			mu.Lock()
			defer mu.Unlock()
			versions[i]++
			shut = closes
		}
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if err := talk(ev, d); err != nil || ev.PacketIn == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			d.Read = append(d.Read, flow.StateVersion{Key: 1, Version: versions[0]})
			if ev.PacketIn.Match.InPort == 2 {
				d.Read = append(d.Read, flow.StateVersion{Key: 2, Version: versions[1]})
			}
			if shut {
				d.Verdict, d.IfReply = flow.Deny, nil
				for i := range d.Rules {
					d.Rules[i].Actions = nil
				}
			}
			return nil
		})
		passing := func(n int) func() bool { // so many of the decisions' rules let packets pass
			return func() bool {
				return len(slices.DeleteFunc(r.decided(), func(f flow.Rule) bool { return len(f.Actions) == 0 })) == n
			}
		}
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.wantFrom(2, "what follows", sshData, 1, false)

		moves(1, false)
		r.wantFrom(2, "an answer that moves the server's state", frames.TCP(server.At(22), client.At(40001), frames.ACK, nil), 0, true)
		r.eventually("the rule of the answer goes, and that of the question stays", passing(1))
		r.wantFrom(2, "the next answer", sshData, 1, true)
		r.settle()

		moves(0, true)
		r.want("a packet that moves the client's state", web, 0, true)
		r.eventually("the rules of the conversation go", passing(0))
		r.wantFrom(2, "an answer to who is shut out", sshAnswer, 0, true)
		r.want("what who is shut out says", ssh, 0, true)

		moves(0, false)
		r.want("a packet that moves the client's state back", frames.UDP(client.At(40000), server.At(53), nil), 2, true)
		r.eventually("what denied goes", func() bool {
			return !slices.ContainsFunc(r.decided(), func(f flow.Rule) bool { return len(f.Actions) == 0 })
		})
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
	},
}, {
	name: "multicast is never turned round",
	run: func(r *rig) {
		group := frames.Endpoint{MAC: flow.MAC{1, 0, 0x5e, 0, 0, 5}, IP: frames.Host(5).IP, Port: 40000}
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			d.Policy = version(1)
			if ev.PacketIn != nil {
				if exact, ok := flow.RuleMatch(ev.Switch, ev.PacketIn); ok && asks(&ev.PacketIn.Match) {
					d.Rules = append(d.Rules, flow.Rule{Priority: 100, IdleTimeout: time.Minute, Match: exact, Actions: []flow.Action{flow.OutputTo(2)}})
					return nil
				}
				d.HasPacketOut, d.IfReply = true, &flow.Reply{HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(1)}}
			}
			return nil
		})
		r.want("a question with a group for its source", frames.UDP(group, server.At(53), nil), 2, true)
		r.settle()
		r.wantFrom(2, "an answer to the group", frames.UDP(server.At(53), group, nil), 0, true)
	},
}, {
	name: "a proactive rule opens nothing",
	run: func(r *rig) {
		r.answers(func(ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventSwitchConnected {
				d.Policy = version(1)
				m := flow.ParseFrame(ssh, 1)
				d.Rules = append(d.Rules, flow.Rule{Priority: 300, IdleTimeout: time.Minute, HardTimeout: time.Hour, Match: m.Keep(flow.Conversation), Actions: []flow.Action{flow.OutputTo(2)}})
				return nil
			}
			return talk(ev, d)
		})
		r.peer.Reconnect()
		r.eventually("the rule is there", func() bool { return len(r.decided()) == 1 })
		r.want("a packet that it covers", ssh, 2, false)
		r.wantFrom(2, "what answers it", sshAnswer, 0, true)
	},
}, {
	name:   "the rule of an answer is of its conversation alone, whatever the function says",
	answer: policy{version: version(1), asks: asks, wide: true}.decide,
	run: func(r *rig) {
		r.want("the question", ssh, 2, true)
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.wantFrom(2, "another conversation of the same hosts", webAnswer, 0, true)
	},
}, {
	name:   "a flood of what nobody asked for has the switch asked at a bounded rate, and an answer passes in its midst",
	answer: talk,
	needs:  func(t *Target) bool { return !t.Buffers }, // the flood takes them all
	run: func(r *rig) {
		r.want("the question", ssh, 2, true)
		r.settle()
		r.restart() // so that the answer needs a look
		start := time.Now()
		const flood = 1500
		for i := range flood {
			r.peer.Inject(3, frames.TCP(server.At(22), client.At(uint16(20000+i)), frames.ACK, nil)) // in the server's name
			if i == flood/2 {
				r.peer.Inject(2, sshAnswer)
			}
		}
		passed := false
		r.eventually("the answer passes", func() bool {
			for _, f := range r.peer.Out() {
				passed = passed || f.Port == 1 && string(f.Data) == string(sshAnswer)
			}
			if r.target.Digests { // the packet is lost; its rule is there
				passed = len(r.find(func(f *flow.Rule) bool { return len(f.Actions) > 0 && f.Match.L4Src == 22 })) > 0
			}
			return passed
		})
		r.settle()
		looks, most := r.looks("found")+r.looks("none")+r.looks("failed"), 100+int(200*time.Since(start).Seconds())+1
		if looks > most {
			r.Errorf("%d looks into the switch in %v, want %d at most", looks, time.Since(start), most)
		}
		if asked := r.count(flow.EventPacketIn); asked > looks+100 && r.looks("shed") == 0 {
			r.Errorf("%d packets were asked about and %d looked for, and none is counted as shed", asked, looks)
		}
		r.Logf("%d looks, %d shed, %d asked in %v", looks, r.looks("shed"), r.count(flow.EventPacketIn), time.Since(start))
	},
}}
