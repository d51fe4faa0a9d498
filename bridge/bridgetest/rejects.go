package bridgetest

import (
	"bytes"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// refuses denies every packet, each conversation by a rule of its own, and has senders told.
func refuses(ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn != nil {
		d.Verdict, d.Reject, d.Reason = flow.Deny, true, "test: refused"
		d.Rules = append(d.Rules, rule(ev, 100))
	}
	return nil
}

// told returns what leaves by ports when a frame has come in by one, the frame itself aside.
func (r *rig) told(port flow.PortNo, frame []byte) (out []Frame) {
	r.Helper()
	r.peer.Out()
	before := r.count(flow.EventPacketIn)
	r.peer.Inject(port, frame)
	r.eventually("the packet is asked about", func() bool { return r.count(flow.EventPacketIn) > before })
	for end := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		r.settle()
		for _, f := range r.peer.Out() {
			if bytes.Equal(f.Data, frame) {
				r.Errorf("the refused packet leaves by port %v", f.Port)
				continue
			}
			out = append(out, f)
		}
		if len(out) > 0 || r.target.Simulated || time.Now().After(end) {
			return out
		}
	}
}

var rejectCases = []testCase{{
	name:   "who is refused is told so, at the own port alone",
	answer: refuses,
	needs:  func(t *Target) bool { return !t.Digests },
	run: func(r *rig) {
		for _, row := range []struct {
			what  string
			frame []byte
			want  func(m *flow.Match) bool
		}{
			{"TCP", web, func(m *flow.Match) bool { return m.IPProto == flow.ProtoTCP && m.L4Src == 80 && m.L4Dst == 40000 }},
			{"UDP", dns, func(m *flow.Match) bool { return m.IPProto == flow.ProtoICMP && m.ICMPType == 3 && m.ICMPCode == 13 }},
			{"long UDP", frames.UDP(frames.Host(1).At(40001), frames.Host(2).At(53), make([]byte, 1200)), func(m *flow.Match) bool { return m.ICMPType == 3 }},
		} {
			got := r.told(1, row.frame)
			if len(got) != 1 || got[0].Port != 1 {
				r.Errorf("%s: %d frames leave: %v", row.what, len(got), got)
				continue
			}
			in, m := flow.ParseFrame(row.frame, 1), flow.ParseFrame(got[0].Data, 1)
			if !row.want(&m) || m.EthDst != in.EthSrc || m.EthSrc != in.EthDst || m.IPDst != in.IPSrc || m.IPSrc != in.IPDst {
				r.Errorf("%s is answered by %v", row.what, m)
			}
		}
		r.want("the next packet of the conversation", web, 0, false)
	},
}, {
	name:   "what nothing may answer is refused without a word",
	answer: refuses,
	run: func(r *rig) {
		everybody := frames.Host(2)
		everybody.MAC = frames.Broadcast
		for what, frame := range map[string][]byte{
			"a reset":     frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(80), frames.RST, nil),
			"a broadcast": frames.UDP(frames.Host(1).At(68), everybody.At(67), []byte("anybody?")),
			"a pong":      frames.Pong(frames.Host(1), frames.Host(2), 1, 1),
		} {
			if got := r.told(1, frame); len(got) != 0 {
				r.Errorf("%s is answered by %v", what, got)
			}
		}
	},
}, {
	name: "nobody is told of a packet that passes",
	answer: func(ev *flow.Event, d *flow.Decision) error {
		d.Reject = true
		return toTwo(ev, d)
	},
	run: func(r *rig) {
		r.want("the packet", web, 2, true)
		if got := r.peer.Out(); slices.ContainsFunc(got, func(f Frame) bool { return f.Port == 1 }) {
			r.Errorf("its sender gets %v", got)
		}
	},
}}
