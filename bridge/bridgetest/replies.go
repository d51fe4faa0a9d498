package bridgetest

import (
	"fmt"
	"testing"
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
	dnsAnswer = frames.UDP(server.At(53), client.At(40000), []byte("answer"))
)

// talk is a function that lets everybody ask the server for SSH, HTTP, MQTT and DNS, and denies all else unless it is an answer to that.
func talk(ev *flow.Event, d *flow.Decision) error { return talkAs(version(1), asks)(ev, d) }

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

func talkAs(v flow.PolicyVersion, asks func(*flow.Match) bool) func(ev *flow.Event, d *flow.Decision) error {
	return func(ev *flow.Event, d *flow.Decision) error {
		d.Policy = v
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
			return []flow.Rule{{Priority: 100, IdleTimeout: idle, HardTimeout: flow.ConversationHard, Match: exact, Actions: actions}}
		}
		if asks(&pi.Match) {
			d.Verdict, d.Reason, d.Rules = flow.Allow, "test: asks", one(flow.OutputTo(2))
			return nil
		}
		d.Verdict, d.Reason, d.Rules = flow.Deny, "test: no question", one()
		if q, ok := pi.Match.Question(); ok && asks(&q) {
			d.IfReply = &flow.Reply{Reason: "test: answers", Rules: one(flow.OutputTo(1))}
		}
		if q, ok := pi.Quoted(); ok {
			d.Rules, d.HasPacketOut = nil, true
			if asks(&q) {
				d.PacketOut = []flow.Action{flow.OutputTo(1)}
			} else if q, ok := q.Question(); ok && asks(&q) {
				d.IfReply = &flow.Reply{HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(2)}}
			}
		}
		return nil
	}
}

// last returns what became of the latest packet that was asked about.
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

// forgets waits until the gateway can't know from memory which rules it has installed.
func (r *rig) forgets() { r.pass(4 * time.Second) }

// pass lets time pass for the gateway, and for the switch where the two have one clock.
func (r *rig) pass(d time.Duration) { time.Sleep(d) }

// elapse lets time pass for the switch.
func (r *rig) elapse(d time.Duration) {
	if r.target.Elapse != nil {
		r.target.Elapse(d)
	} else {
		r.pass(d)
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

var replyCases = []testCase{{
	name:   "a reply passes by the rule of its question, and its conversation costs one question in each direction",
	answer: talk,
	run: func(r *rig) {
		r.wantFrom(2, "an answer that nobody asked for", sshAnswer, 0, true)
		r.wantFrom(2, "the same again", sshAnswer, 0, false) // by a deny that lives for two seconds
		r.want("the question", ssh, 2, true)
		r.elapse(3 * time.Second) // the deny is gone
		r.wantFrom(2, "the answer", sshAnswer, 1, true)
		r.settle()
		r.wantFrom(2, "what follows", sshData, 1, false)
		r.want("what the client says then", ssh, 2, false)
		if v := r.verdict(); v != flow.Allow {
			r.Errorf("the record says %v", v)
		}
	},
}}

var _ testing.TB
var _ = fmt.Sprint
