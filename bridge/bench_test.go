package bridge

import (
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
)

// BenchmarkPacketIn is what a session does about a packet that is decided in place, by a policy of header rules and a forward.
func BenchmarkPacketIn(b *testing.B) {
	var ssh flow.Match
	ssh.SetIPProto(flow.ProtoTCP)
	p := &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{
		&header.Config{Rules: []header.Rule{{Name: "no-ssh", Priority: 100, Match: header.Condition{Header: ssh, Dst: &header.PortRange{First: 22, Last: 22}}, Action: header.Action{Deny: true}}}},
		&forward.Config{Mode: policy.Normal},
	}}
	for name, port := range map[string]uint16{"allow": 80, "deny": 22} {
		b.Run(name, func(b *testing.B) {
			br, err := New(Config{Decider: controller.New(p)})
			if err != nil {
				b.Fatal(err)
			}
			s := br.NewSession(b.Context(), &deaf{flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}}, SessionOptions{})
			defer s.Close()
			frame := frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(port), frames.SYN, nil)
			pi := &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, 1)}
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				s.PacketIn(pi, now, nil)
			}
		})
	}
}
