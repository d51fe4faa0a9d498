package guard

import (
	"testing"

	"switchbridge/flow"
)

func TestGuardAllocates(t *testing.T) {
	g := Default()
	g.Meters = []uint32{1}
	var mem Memory
	deny := goodRule()
	deny.Actions = nil
	deny.Match.SetL4Dst(22)
	mem.Refused(&deny)
	mem.Foreign(func(yield func(*flow.Rule)) { yield(&flow.Rule{Priority: 9}) })
	r := goodRule()
	r.Match.SetL4Dst(80)
	learn := flow.Rule{Table: 1, Priority: 10, HardTimeout: 1e9, Actions: []flow.Action{flow.OutputTo(portA)}}
	learn.Match.SetEthDst(macA, flow.MACExact)
	tagged := goodRule()
	tagged.Priority, tagged.Meter = 200, 1
	tagged.Actions = []flow.Action{{Type: flow.PushVLAN, Value: 0x8100}, {Type: flow.SetVLANVID, Value: 5}, {Type: flow.SetQueue, ID: 1}, flow.OutputTo(portB)}
	ev := packetEvent(tcpPacket(80))
	var out Outcome
	for name, d := range map[string]*flow.Decision{
		"one rule":   {Rules: []flow.Rule{r}},
		"PACKET_OUT": {HasPacketOut: true, PacketOut: tagged.Actions},
		"three":      {Rules: []flow.Rule{r, learn, tagged}, Parts: []flow.Part{{Function: "a", End: 3, Within: func(*flow.Rule) error { return nil }}}},
	} {
		rules := append([]flow.Rule(nil), d.Rules...)
		n := testing.AllocsPerRun(100, func() {
			copy(d.Rules, rules)
			g.Check(ev, d, equipped{meter: 1}, &mem, &out)
			if len(out.Violations) > 0 {
				t.Fatal(out.Violations)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for an answer that passes", name, n)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	g := Default()
	ev := packetEvent(tcpPacket(80))
	r := goodRule()
	r.Match.SetL4Dst(80)
	exact := goodRule()
	exact.Match = ev.PacketIn.Match
	for name, r := range map[string]flow.Rule{"wide": r, "exact": exact} {
		b.Run(name, func(b *testing.B) {
			d := flow.Decision{Rules: []flow.Rule{r}}
			var out Outcome
			b.ReportAllocs()
			for b.Loop() {
				d.Rules[0].Match = r.Match
				g.Check(ev, &d, Anything{}, nil, &out)
			}
		})
	}
}

// BenchmarkForeign is what a rule costs beside the rules of others.
func BenchmarkForeign(b *testing.B) {
	var mem Memory
	mem.Foreign(func(yield func(*flow.Rule)) { yield(&flow.Rule{Priority: 9}) })
	r := goodRule()
	for b.Loop() {
		if text := mem.foreignTo(&r); text != "" {
			b.Fatal(text)
		}
	}
}
