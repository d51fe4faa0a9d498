package ofp

import (
	"testing"
	"time"

	"switchbridge/flow"
)

var hotRule = flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, HardTimeout: 300 * time.Second, Cookie: 1, Match: tcpMatch,
	Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}

var hotOut = PacketOut{BufferID: flow.NoBuffer, InPort: 1, Actions: hotRule.Actions, Data: frame}

// hot are the messages of one decision.
func hot(t testing.TB, v flow.Protocol) []struct {
	name string
	run  func() error
} {
	b := make([]byte, 0, 512)
	in := packetIn(frame, nil)
	msg, err := AppendPacketIn(nil, v, 1, &in)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := AppendFlowMod(nil, v, 1, &hotRule, flow.NoBuffer)
	if err != nil {
		t.Fatal(err)
	}
	var p flow.PacketIn
	r := flow.Rule{Actions: make([]flow.Action, 0, 4)}
	return []struct {
		name string
		run  func() error
	}{
		{"ParsePacketIn", func() error { return ParsePacketIn(msg, &p) }},
		{"AppendPacketIn", func() error { _, err := AppendPacketIn(b, v, 1, &in); return err }},
		{"AppendFlowMod", func() error { _, err := AppendFlowMod(b, v, 1, &hotRule, flow.NoBuffer); return err }},
		{"ParseFlowMod", func() error { return ParseFlowMod(mod, &r) }},
		{"AppendPacketOut", func() error { _, err := AppendPacketOut(b, v, 1, &hotOut); return err }},
	}
}

func BenchmarkHot(b *testing.B) {
	for _, v := range []flow.Protocol{v10, v13} {
		for _, h := range hot(b, v) {
			b.Run(h.name+"/"+v.String(), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := h.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestHotMessagesDontAllocate(t *testing.T) {
	for _, v := range []flow.Protocol{v10, v13} {
		for _, h := range hot(t, v) {
			if n := testing.AllocsPerRun(100, func() {
				if err := h.run(); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %v: %v allocations", h.name, v, n)
			}
		}
	}
}
