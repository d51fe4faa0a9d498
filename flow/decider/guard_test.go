package decider

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

// goodRule passes every guardrail for tcpPacket(80).
func goodRule() flow.Rule {
	r := flow.Rule{Priority: 100, IdleTimeout: 30 * time.Second, Actions: []flow.Action{flow.OutputTo(portB)}}
	r.Match.SetInPort(portA)
	r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	return r
}

func TestGuardRefusesRule(t *testing.T) {
	for _, tc := range []struct {
		rail  Rail
		spoil func(*flow.Rule)
	}{
		{RailCommand, func(r *flow.Rule) { r.Command = flow.Delete }},
		{RailCommand, func(r *flow.Rule) { r.Command = flow.ModifyStrict }},
		{RailTable, func(r *flow.Rule) { r.Table = 5 }},
		{RailTable, func(r *flow.Rule) { r.Goto = 9 }},
		{RailTable, func(r *flow.Rule) { r.Table, r.Goto = 1, 1 }},
		{RailPriority, func(r *flow.Rule) { r.Priority = 0 }},
		{RailPriority, func(r *flow.Rule) { r.Priority = 60001 }},
		{RailTimeout, func(r *flow.Rule) { r.IdleTimeout = 300 * time.Millisecond }},
		{RailTimeout, func(r *flow.Rule) { r.HardTimeout = 65536 * time.Second }},
		{RailTimeout, func(r *flow.Rule) { r.HardTimeout = -time.Second }},
		{RailNoTimeout, func(r *flow.Rule) { r.IdleTimeout = 0 }},
		{RailMatch, func(r *flow.Rule) { r.Match.SetEthType(flow.EthTypeARP) }},
		{RailMatch, func(r *flow.Rule) { r.Match.Fields |= flow.FieldIPDSCP; r.Match.IPDSCP = 64 }},
		{RailMatch, func(r *flow.Rule) { r.Match.Fields |= flow.FieldIPSrc }},
		{RailMatch, func(r *flow.Rule) { r.Match.SetARPSPA(netip.MustParsePrefix("fe80::1/128")) }},
		{RailNotCovering, func(r *flow.Rule) { r.Match.SetL4Dst(22) }},
		{RailNotCovering, func(r *flow.Rule) { r.Match.SetInPort(portB) }},
		{RailTooWide, func(r *flow.Rule) { r.Match = r.Match.Keep(flow.FieldIPDst) }},
		{RailTooWide, func(r *flow.Rule) { r.Match = flow.Match{} }},
		{RailTooWide, func(r *flow.Rule) {
			r.Match = flow.Match{}
			r.Match.SetEthSrc(macA, flow.MAC{0xff, 0xff, 0xff})
		}},
		{RailController, func(r *flow.Rule) { r.Actions = append(r.Actions, flow.OutputTo(flow.PortController)) }},
		{RailOutputTable, func(r *flow.Rule) { r.Actions[0].Port = flow.PortTable }},
		{RailUnknownPort, func(r *flow.Rule) { r.Actions[0].Port = 99 }},
		{RailUnknownPort, func(r *flow.Rule) { r.Actions[0].Port = flow.PortAny }},
		{RailUnknownPort, func(r *flow.Rule) { r.Actions[0].Port = flow.PortMax + 5 }},
		{RailExperimenter, func(r *flow.Rule) { r.Actions[0] = flow.Action{Type: flow.Unsupported, ID: 0xffff} }},
		{RailExperimenter, func(r *flow.Rule) { r.Actions[0] = flow.Action{} }},
	} {
		r := goodRule()
		tc.spoil(&r)
		t.Run(fmt.Sprintf("%s/%s", tc.rail, r.String()), func(t *testing.T) {
			ev := packetEvent(tcpPacket(80))
			d := flow.Decision{Rules: []flow.Rule{goodRule(), r}}
			d.Rules[0].Priority, d.Rules[0].Table = 60000, 1 // not exposed by any of them
			got := DefaultGuardrails().Check(ev, &d)
			text := fmt.Sprintf("table=%d,priority=%d,", r.Table, r.Priority)
			if len(got) != 1 || got[0].Rail != tc.rail || !strings.HasPrefix(got[0].Rule, text) {
				t.Fatalf("violations %v, want one of %s naming %s", got, tc.rail, r.String())
			}
			if len(d.Rules) != 1 || d.Rules[0].Priority != 60000 {
				t.Fatalf("rules that stay: %v", d.Rules)
			}
			if d.HasPacketOut && r.Priority < 60000 {
				t.Fatalf("PACKET_OUT pinned to %v though the rule that decides stays", d.PacketOut)
			}
		})
	}
}

func TestGuardCompletesRule(t *testing.T) {
	r := goodRule()
	r.Match.IPDst = netip.PrefixFrom(netip.MustParseAddr("10.0.0.77"), 24) // not canonical
	r.Match.SetL4Dst(80)
	r.Cookie, r.CookieMask, r.BufferID, r.OutPort = 1, 2, 3, 4
	d := flow.Decision{Rules: []flow.Rule{r}}
	if v := DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d); v != nil {
		t.Fatal(v)
	}
	got := d.Rules[0]
	want := goodRule()
	want.Match = flow.Match{}
	want.Match.SetInPort(portA)
	want.Match.SetEthType(flow.EthTypeIPv4)
	want.Match.SetIPProto(flow.ProtoTCP)
	want.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/24"))
	want.Match.SetL4Dst(80)
	if got.Match != want.Match {
		t.Errorf("match %v, want %v", got.Match, want.Match)
	}
	if got.HardTimeout != 300*time.Second || got.IdleTimeout != 30*time.Second {
		t.Errorf("timeouts %v and %v", got.IdleTimeout, got.HardTimeout)
	}
	if got.Cookie != 0 || got.CookieMask != 0 || got.OutPort != 0 || got.BufferID != flow.NoBuffer {
		t.Errorf("the gateway's members were left as they came: %+v", got)
	}
}

func TestGuardProactive(t *testing.T) {
	r := flow.Rule{Priority: 1}
	r.Match.SetIPSrc(netip.MustParsePrefix("203.0.113.0/24"))
	d := flow.Decision{Rules: []flow.Rule{r}}
	ev := &flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}
	if v := DefaultGuardrails().Check(ev, &d); v != nil {
		t.Fatalf("a proactive rule without port, timeout or packet: %v", v)
	}
	if d.Rules[0].HardTimeout != 0 || d.Rules[0].Match.EthType != flow.EthTypeIPv4 {
		t.Fatalf("rule is now %v", d.Rules[0].String())
	}
	// The other rails hold all the same.
	d.Rules[0].Actions = []flow.Action{flow.OutputTo(flow.PortController)}
	if v := DefaultGuardrails().Check(ev, &d); len(v) != 1 || v[0].Rail != RailController || d.HasPacketOut {
		t.Fatalf("violations %v, decision %+v", v, d)
	}
}

func TestGuardLearnedRule(t *testing.T) {
	learn := func() flow.Rule {
		r := flow.Rule{Table: 1, Priority: 10, HardTimeout: 300 * time.Second, Actions: []flow.Action{flow.OutputTo(portA)}}
		r.Match.SetEthDst(macA, flow.MACExact)
		return r
	}
	for name, tc := range map[string]struct {
		rail  Rail
		spoil func(*flow.Rule)
	}{
		"what the packet shows":     {"", func(*flow.Rule) {}},
		"with its VLAN":             {"", func(r *flow.Rule) { r.Match.SetVLAN(flow.VLANNone, flow.VLANExact) }},
		"in the first table":        {RailNotCovering, func(r *flow.Rule) { r.Table = 0 }},
		"somebody else's address":   {RailNotCovering, func(r *flow.Rule) { r.Match.SetEthDst(flow.MAC{2, 9}, flow.MACExact) }},
		"many addresses":            {RailTooWide, func(r *flow.Rule) { r.Match.SetEthDst(macA, flow.MAC{0xff}) }},
		"to another port":           {RailNotCovering, func(r *flow.Rule) { r.Actions[0].Port = portB }},
		"to two ports":              {RailNotCovering, func(r *flow.Rule) { r.Actions = append(r.Actions, flow.OutputTo(portB)) }},
		"for ever":                  {RailNoTimeout, func(r *flow.Rule) { r.HardTimeout = 0 }},
		"with a VLAN it is not in":  {RailNotCovering, func(r *flow.Rule) { r.Match.SetVLAN(flow.VLANPresent|5, flow.VLANExact) }},
		"of a group address":        {RailNotCovering, func(r *flow.Rule) { r.Match.SetEthDst(flow.MAC{3}, flow.MACExact) }},
		"and another field of ours": {RailNotCovering, func(r *flow.Rule) { r.Match.SetInPort(portB) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := learn()
			tc.spoil(&r)
			d := flow.Decision{Rules: []flow.Rule{r}}
			pi := tcpPacket(80)
			if name == "of a group address" {
				pi.Match.SetEthSrc(flow.MAC{3}, flow.MACExact)
			}
			v := DefaultGuardrails().Check(packetEvent(pi), &d)
			if tc.rail == "" && v != nil || tc.rail != "" && (len(v) != 1 || v[0].Rail != tc.rail) {
				t.Fatalf("violations %v, want %q", v, tc.rail)
			}
		})
	}
}

func TestGuardTooManyRules(t *testing.T) {
	d := flow.Decision{Verdict: flow.Allow}
	for range 10000 {
		d.Rules = append(d.Rules, goodRule())
	}
	v := DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d)
	if len(v) != 1 || v[0].Rail != RailTooManyRules || len(d.Rules) != 0 {
		t.Fatalf("violations %v, %d rules stay", v, len(d.Rules))
	}
	if !d.HasPacketOut || !slices.Equal(d.PacketOut, goodRule().Actions) {
		t.Fatalf("the packet's verdict did not hold: %v %v", d.HasPacketOut, d.PacketOut)
	}
}

func TestGuardKeepsVerdict(t *testing.T) {
	wide := goodRule()
	wide.Match = flow.Match{} // too wide, but it says where the packet goes
	deny := goodRule()
	deny.Priority, deny.Actions = 65000, nil
	forbidden := goodRule()
	forbidden.Actions = []flow.Action{flow.OutputTo(portB), flow.OutputTo(flow.PortController)}
	for name, tc := range map[string]struct {
		d    flow.Decision
		pin  bool
		want []flow.Action
	}{
		"allow by a rule that goes":   {flow.Decision{Rules: []flow.Rule{wide}}, true, wide.Actions},
		"deny by a rule that goes":    {flow.Decision{Rules: []flow.Rule{goodRule(), deny}}, true, nil},
		"rule that is forbidden":      {flow.Decision{Rules: []flow.Rule{forbidden}}, true, nil},
		"PACKET_OUT of its own":       {flow.Decision{Rules: []flow.Rule{deny}, HasPacketOut: true, PacketOut: wide.Actions}, true, wide.Actions},
		"nothing that covers":         {flow.Decision{Rules: []flow.Rule{{Command: flow.Delete}}}, false, nil},
		"explicit drop stays a drop":  {flow.Decision{Rules: []flow.Rule{wide}, HasPacketOut: true}, true, nil},
		"nothing at all stays a drop": {flow.Decision{}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ev := packetEvent(tcpPacket(80))
			d := tc.d
			DefaultGuardrails().Check(ev, &d)
			got, _ := d.PacketActions(&ev.PacketIn.Match)
			if d.HasPacketOut != tc.pin || !slices.Equal(got, tc.want) {
				t.Fatalf("packet: pinned %v, actions %v; want %v, %v", d.HasPacketOut, got, tc.pin, tc.want)
			}
		})
	}
}

// A deny that can't be installed must not leave its packets to the allow below.
func TestGuardExposed(t *testing.T) {
	deny := goodRule()
	deny.Priority, deny.Actions, deny.IdleTimeout = 200, nil, 0
	deny.Match.SetL4Dst(80)
	below := goodRule() // would let port 80 through
	lower := goodRule()
	lower.Priority = 50
	apart := goodRule()
	apart.Priority = 20
	apart.Match = flow.Match{}
	apart.Match.SetEthSrc(macA, flow.MACExact)
	apart.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/30"))
	above := goodRule()
	above.Priority = 300
	d := flow.Decision{Rules: []flow.Rule{lower, below, deny, above, apart}}
	v := DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d)
	var rails []Rail
	for i := range v {
		rails = append(rails, v[i].Rail)
	}
	if want := []Rail{RailExposed, RailExposed, RailNoTimeout, RailExposed}; !slices.Equal(rails, want) {
		t.Fatalf("violations %v, want rails %v", v, want)
	}
	if len(d.Rules) != 1 || d.Rules[0].Priority != 300 {
		t.Fatalf("rules that stay: %v", d.Rules)
	}

	// Through a goto as well.
	first := goodRule()
	first.Goto = 1
	deny.Table = 1
	unrelated := goodRule()
	d = flow.Decision{Rules: []flow.Rule{first, deny, unrelated}}
	v = DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d)
	if len(v) != 2 || v[0].Rail != RailExposed || v[1].Rail != RailNoTimeout || len(d.Rules) != 1 || d.Rules[0].Goto != 0 {
		t.Fatalf("violations %v, rules %v", v, d.Rules)
	}
}

func TestGuardPacketOut(t *testing.T) {
	for rail, a := range map[Rail]flow.Action{
		RailPacketOutController:   flow.OutputTo(flow.PortController),
		RailPacketOutTable:        flow.OutputTo(flow.PortTable),
		RailPacketOutUnknownPort:  flow.OutputTo(77),
		RailPacketOutExperimenter: {Type: flow.Unsupported, ID: 0xffff},
	} {
		d := flow.Decision{Rules: []flow.Rule{goodRule()}, HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(portB), a}}
		v := DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d)
		if len(v) != 1 || v[0].Rail != rail || !d.HasPacketOut || len(d.PacketOut) != 0 || len(d.Rules) != 1 {
			t.Errorf("%s: violations %v, decision %+v", rail, v, d)
		}
	}
	d := flow.Decision{HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(flow.PortNormal), flow.OutputTo(flow.PortLocal), flow.OutputTo(flow.PortIn)}}
	if v := DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d); v != nil || len(d.PacketOut) != 3 {
		t.Errorf("ports that every switch has: %v", v)
	}
}

// A digest tells fewer headers than a frame; a rule completed with what it needs
// still decides the digest's packet.
func TestGuardDigest(t *testing.T) {
	var m flow.Match
	m.SetInPort(portA)
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	ev := packetEvent(&flow.PacketIn{BufferID: flow.NoBuffer, Match: m})
	ev.Switch = &flow.Switch{Protocol: flow.P4Runtime} // its ports are not known
	d := flow.Decision{Rules: []flow.Rule{goodRule()}}
	if v := DefaultGuardrails().Check(ev, &d); v != nil {
		t.Fatal(v)
	}
	if got, _ := d.PacketActions(&m); !slices.Equal(got, goodRule().Actions) || len(d.Rules) != 1 || d.Rules[0].Match.EthType != flow.EthTypeIPv4 {
		t.Fatalf("packet takes %v; rules %v", got, d.Rules)
	}
}

// A controller reuses the rules' memory for its next answer, beyond the ones
// that stay as well.
func TestGuardSharesNoMemory(t *testing.T) {
	bad := goodRule()
	bad.Table = 9
	d := flow.Decision{Rules: []flow.Rule{bad, goodRule(), goodRule()}}
	DefaultGuardrails().Check(packetEvent(tcpPacket(80)), &d)
	if len(d.Rules) != 2 {
		t.Fatalf("rules that stay: %v", d.Rules)
	}
	for i, r := range d.Rules[:3] {
		for j, other := range d.Rules[:i] {
			if &r.Actions[0] == &other.Actions[0] {
				t.Errorf("rules %d and %d share their actions", i, j)
			}
		}
	}
}

func TestGuardDecorator(t *testing.T) {
	bad := goodRule()
	bad.Table = 9
	counts := make(map[Rail]int)
	g := &Guard{Next: answer(goodRule(), bad), OnViolation: func(ev *flow.Event, d *flow.Decision, v Violation) { counts[v.Rail]++ }}
	var d flow.Decision
	if err := g.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Rules) != 1 || counts[RailTable] != 1 || len(counts) != 1 {
		t.Fatalf("rules %v, counts %v", d.Rules, counts)
	}
	g.Next = failing(flow.Errorf(flow.Refused, "no"))
	if err := g.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); flow.KindOf(err) != flow.Refused {
		t.Fatalf("error %v", err)
	}
	if flow.IsLocal(g) || !flow.IsLocal(&Guard{Next: local{}}) {
		t.Fatal("Local is not what Next says")
	}
}

func TestRailsComplete(t *testing.T) {
	seen := make(map[Rail]bool)
	for _, r := range Rails() {
		if seen[r] {
			t.Errorf("%s twice", r)
		}
		seen[r] = true
	}
	for from, to := range packetOut {
		if !seen[from] || !seen[to] {
			t.Errorf("%s or %s is not in Rails", from, to)
		}
	}
}

// randomDecision makes answers of all qualities about tcpPacket(80).
func randomDecision(rng *rand.Rand) flow.Decision {
	packet := tcpPacket(80).Match
	pick := func(list ...flow.PortNo) flow.PortNo { return list[rng.IntN(len(list))] }
	actions := func() (list []flow.Action) {
		for range rng.IntN(3) {
			a := flow.OutputTo(pick(portA, portB, 99, flow.PortNormal, flow.PortFlood, flow.PortController, flow.PortTable, flow.PortAny))
			if rng.IntN(6) == 0 {
				a = flow.Action{Type: flow.ActionType(rng.IntN(20)), ID: 1, Value: 1}
			}
			list = append(list, a)
		}
		return list
	}
	var d flow.Decision
	n := rng.IntN(6)
	if rng.IntN(20) == 0 {
		n = 60 + rng.IntN(10)
	}
	for range n {
		some, more := flow.Field(rng.Uint32()), flow.Field(rng.Uint32())
		m := packet.Keep(some | more) // three of four fields
		switch rng.IntN(8) {
		case 0:
			m.SetL4Dst(22)
		case 1:
			m.SetIPDst(netip.PrefixFrom(netip.MustParseAddr("10.0.0.2"), rng.IntN(33)))
		case 2:
			m.Fields |= flow.Field(1 << rng.IntN(24))
		case 3:
			m.Fields |= flow.Field(rng.Uint32())
			m.IPDSCP, m.VLANMask, m.EthSrcMask = uint8(rng.Uint32()), uint16(rng.Uint32()), flow.MAC{byte(rng.Uint32())}
		}
		timeout := []time.Duration{0, time.Second, 30 * time.Second, 300 * time.Second, -1, 1 << 40, time.Hour * 24}
		r := flow.Rule{
			Priority: uint16(rng.IntN(61000)), IdleTimeout: timeout[rng.IntN(len(timeout))], HardTimeout: timeout[rng.IntN(len(timeout))],
			Match: m, Actions: actions(), Cookie: rng.Uint64(), BufferID: rng.Uint32(),
		}
		if rng.IntN(8) == 0 {
			r.Command = flow.Command(rng.IntN(6))
		}
		if rng.IntN(4) == 0 {
			r.Table, r.Goto = uint8(rng.IntN(4)), uint8(rng.IntN(4))
		}
		d.Rules = append(d.Rules, r)
	}
	if rng.IntN(4) == 0 {
		d.HasPacketOut, d.PacketOut = true, actions()
	}
	return d
}

// FuzzGuard holds to three properties: what stays passes every guardrail; the
// packet's outcome is what it was without the removals, or a drop where that is
// forbidden; and whatever packet takes a rule that stays would have taken it,
// or one like it, before.
func FuzzGuard(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed)
	}
	g := DefaultGuardrails()
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ev := packetEvent(tcpPacket(80))
		if rng.IntN(5) == 0 {
			ev = &flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}
		}
		d := randomDecision(rng)
		before := flow.Decision{Rules: slices.Clone(d.Rules), HasPacketOut: d.HasPacketOut, PacketOut: slices.Clone(d.PacketOut)}

		violations := g.Check(ev, &d)
		if len(before.Rules)-len(d.Rules) > 0 && len(violations) == 0 {
			t.Fatal("rules went without a word")
		}
		if len(d.Rules) > g.MaxRules {
			t.Fatalf("%d rules stay", len(d.Rules))
		}
		for i := range d.Rules {
			r := &d.Rules[i]
			again := flow.Decision{Rules: []flow.Rule{*r}}
			if v := g.Check(ev, &again); v != nil {
				t.Fatalf("%s stays, but alone it is refused: %v", r.String(), v)
			}
			if r.Match != again.Rules[0].Match || r.Match != r.Match.Canonical() {
				t.Fatalf("%v is not completed or not canonical", r.Match)
			}
			if ev.PacketIn != nil && r.HardTimeout == 0 {
				t.Fatalf("%s may live for ever", r.String())
			}
		}
		if ev.PacketIn != nil {
			want, _ := before.PacketActions(&ev.PacketIn.Match)
			if rail, _ := g.actions(ev.Switch, want); rail != "" {
				want = nil
			}
			if got, _ := d.PacketActions(&ev.PacketIn.Match); !slices.Equal(got, want) {
				t.Fatalf("the packet takes %v, want %v\nbefore %v\nafter %v", got, want, before.Rules, d.Rules)
			}
		}
		// No packet of the same host gets a rule of lower priority than before.
		for range 8 {
			p := tcpPacket(uint16(rng.IntN(2))*58 + 22).Match
			p.InPort = flow.PortNo(1 + rng.IntN(2))
			for table := range uint8(2) {
				was, is := top(before.Rules, table, &p), top(d.Rules, table, &p)
				if was != nil && is != nil && is.Priority < was.Priority {
					t.Fatalf("packet %v in table %d gets %s where it had %s", p, table, is.String(), was.String())
				}
			}
		}
	})
}

// top returns the rule that a table of rules gives packet p.
func top(rules []flow.Rule, table uint8, p *flow.Match) (best *flow.Rule) {
	for i := range rules {
		r := &rules[i]
		if r.Command == flow.Add && r.Table == table && r.Match.Covers(p) && (best == nil || r.Priority > best.Priority) {
			best = r
		}
	}
	return best
}

func TestGuardAllocates(t *testing.T) {
	g := DefaultGuardrails()
	ev := packetEvent(tcpPacket(80))
	r := goodRule()
	r.Match.SetL4Dst(80)
	d := flow.Decision{Rules: []flow.Rule{r}}
	if n := testing.AllocsPerRun(100, func() { d.Rules[0].Match = r.Match; g.Check(ev, &d) }); n != 0 {
		t.Errorf("%v allocations for an answer that passes", n)
	}
}

func BenchmarkGuard(b *testing.B) {
	g := &Guard{Next: local{func(context.Context, *flow.Event, *flow.Decision) error { return nil }}}
	ev := packetEvent(tcpPacket(80))
	r := goodRule()
	r.Match.SetL4Dst(80)
	d := flow.Decision{Rules: []flow.Rule{r}}
	b.ReportAllocs()
	for b.Loop() {
		d.Rules[0].Match = r.Match
		g.Decide(b.Context(), ev, &d)
	}
}
