package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/flowtest"
	"switchbridge/internal/frames"
)

// The event and the rule that the tests ask about.
var (
	testSwitch  = flowtest.Switch
	tcpPacket   = flowtest.TCP
	packetEvent = flowtest.Event
	goodRule    = flowtest.Rule

	macA, macB = flowtest.MACA, flowtest.MACB
)

const portA, portB = flowtest.PortA, flowtest.PortB

// run checks d on a switch that holds everything.
func run(g *Guardrails, ev *flow.Event, d *flow.Decision) []Violation {
	var out Outcome
	g.Check(ev, d, nil, nil, &out)
	return out.Violations
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
			got := run(Default(), ev, &d)
			text := fmt.Sprintf("table=%d,priority=%d,", r.Table, r.Priority)
			if len(got) != 1 || got[0].Rail != tc.rail || !strings.HasPrefix(got[0].Rule, text) {
				t.Fatalf("violations %v, want one of %s naming %s", got, tc.rail, r.String())
			}
			if len(d.Rules) != 1 || d.Rules[0].Priority != 60000 {
				t.Fatalf("rules that stay: %v", d.Rules)
			}
			if d.HasPacketOut && r.Priority < 60000 && r.Passes() {
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
	if v := run(Default(), packetEvent(tcpPacket(80)), &d); v != nil {
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
	if v := run(Default(), ev, &d); v != nil {
		t.Fatalf("a proactive rule without port, timeout or packet: %v", v)
	}
	if d.Rules[0].HardTimeout != 0 || d.Rules[0].Match.EthType != flow.EthTypeIPv4 {
		t.Fatalf("rule is now %v", d.Rules[0].String())
	}
	// The other rails still apply.
	d.Rules[0].Actions = []flow.Action{flow.OutputTo(flow.PortController)}
	if v := run(Default(), ev, &d); len(v) != 1 || v[0].Rail != RailController || d.HasPacketOut {
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
			v := run(Default(), packetEvent(pi), &d)
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
	v := run(Default(), packetEvent(tcpPacket(80)), &d)
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
			run(Default(), ev, &d)
			got, _ := d.PacketActions(&ev.PacketIn.Match)
			if d.HasPacketOut != tc.pin || !slices.Equal(got, tc.want) {
				t.Fatalf("packet: pinned %v, actions %v; want %v, %v", d.HasPacketOut, got, tc.pin, tc.want)
			}
		})
	}
}

// A deny that can't be installed must not leave its packets to the allow below.
// noRules is a switch that holds none.
type noRules struct{ Anything }

func (noRules) Fit(*flow.Rule, *flow.Match) error { return errors.New("it holds no rules") }

// If a rule of the answer denies the packet, the packet is dropped, also if no switch could
// hold that rule, and also if another rule has the same priority.
func TestGuardKeepsDenial(t *testing.T) {
	tagged := tcpPacket(80)
	tagged.Match.SetVLAN(flow.VLANPresent|7, flow.VLANExact)
	vid := func(vlan uint16) flow.Rule {
		r := deny200()
		r.Match.SetVLAN(vlan, flow.VLANExact)
		return r
	}
	later, low := goodRule(), deny200()
	later.Table, later.Priority, low.Priority = 1, 300, 50
	ask := goodRule()
	ask.Actions = []flow.Action{flow.OutputTo(flow.PortController)}
	for name, tc := range map[string]struct {
		rules []flow.Rule
		drops bool
	}{
		"a VID without the bit for a tag":   {[]flow.Rule{goodRule(), vid(7)}, true},
		"another VID":                       {[]flow.Rule{goodRule(), vid(8)}, false},
		"to the gateway at equal priority":  {[]flow.Rule{goodRule(), ask}, true},
		"to the gateway, and then one more": {[]flow.Rule{ask, goodRule()}, true},
		"in the first table":                {[]flow.Rule{later, low, goodRule()}, false},
		"in the first table, above":         {[]flow.Rule{later, deny200(), goodRule()}, true},
	} {
		d := flow.Decision{Rules: tc.rules}
		var out Outcome
		Default().Check(packetEvent(tagged), &d, noRules{}, nil, &out)
		if drops := len(out.Actions) == 0; drops != tc.drops {
			t.Errorf("%s: the packet's actions are %v; is it to be dropped: %v", name, out.Actions, tc.drops)
		}
	}
}

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
	higher := goodRule()
	higher.Priority = 300
	d := flow.Decision{Rules: []flow.Rule{lower, below, deny, higher, apart}}
	v := run(Default(), packetEvent(tcpPacket(80)), &d)
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
	above := goodRule()
	above.Priority = 101
	d = flow.Decision{Rules: []flow.Rule{first, deny, above}}
	v = run(Default(), packetEvent(tcpPacket(80)), &d)
	if len(v) != 2 || v[0].Rail != RailExposed || v[1].Rail != RailNoTimeout || len(d.Rules) != 1 || d.Rules[0].Goto != 0 {
		t.Fatalf("violations %v, rules %v", v, d.Rules)
	}
}

func TestGuardPacketOut(t *testing.T) {
	for rail, a := range map[Rail]flow.Action{
		RailController:   flow.OutputTo(flow.PortController),
		RailOutputTable:  flow.OutputTo(flow.PortTable),
		RailUnknownPort:  flow.OutputTo(77),
		RailExperimenter: {Type: flow.Unsupported, ID: 0xffff},
	} {
		d := flow.Decision{Rules: []flow.Rule{goodRule()}, HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(portB), a}}
		v := run(Default(), packetEvent(tcpPacket(80)), &d)
		if len(v) != 1 || v[0].Rail != rail || !d.HasPacketOut || len(d.PacketOut) != 0 || len(d.Rules) != 1 {
			t.Errorf("%s: violations %v, decision %+v", rail, v, d)
		}
	}
	d := flow.Decision{HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(flow.PortNormal), flow.OutputTo(flow.PortLocal), flow.OutputTo(flow.PortIn)}}
	if v := run(Default(), packetEvent(tcpPacket(80)), &d); v != nil || len(d.PacketOut) != 3 {
		t.Errorf("ports that every switch has: %v", v)
	}
}

// A digest has fewer headers than a frame. A rule that was completed with prerequisites
// still decides about the digest's packet.
func TestGuardDigest(t *testing.T) {
	var m flow.Match
	m.SetInPort(portA)
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	ev := packetEvent(&flow.PacketIn{BufferID: flow.NoBuffer, Match: m})
	ev.Switch = &flow.Switch{Protocol: flow.P4Runtime} // its ports are not known
	d := flow.Decision{Rules: []flow.Rule{goodRule()}}
	if v := run(Default(), ev, &d); v != nil {
		t.Fatal(v)
	}
	if got, _ := d.PacketActions(&m); !slices.Equal(got, goodRule().Actions) || len(d.Rules) != 1 || d.Rules[0].Match.EthType != flow.EthTypeIPv4 {
		t.Fatalf("packet takes %v; rules %v", got, d.Rules)
	}
}

// A function that has a P4 switch's whole frame may match a header that the switch's program does not read. Such a rule is not installed, and the packet itself is handled as the rule says.
func TestGuardBeyondDigest(t *testing.T) {
	a, b := frames.Host(1), frames.Host(2)
	frame := frames.ARPReply(a, b)
	whole := flow.ParseFrame(frame, portA)
	told := whole.Keep(^(flow.FieldARPSHA | flow.FieldARPTHA))
	other := whole
	other.ARPSHA = b.MAC
	for name, tt := range map[string]struct {
		match  flow.Match
		data   []byte
		passes bool
	}{
		"the frame's":     {whole, frame, true},
		"another address": {other, frame, false},
		"without a frame": {whole, nil, false},
	} {
		ev := packetEvent(&flow.PacketIn{BufferID: flow.NoBuffer, Match: told, Data: tt.data, TotalLen: len(tt.data)})
		ev.Switch = &flow.Switch{Protocol: flow.P4Runtime}
		r := goodRule()
		r.Match = tt.match
		d := flow.Decision{Rules: []flow.Rule{r}}
		if v := run(Default(), ev, &d); len(v) != 1 || len(d.Rules) != 0 {
			t.Errorf("%s: violations %v, rules %v", name, v, d.Rules)
		}
		if got, _ := d.PacketActions(&told); len(got) > 0 != tt.passes {
			t.Errorf("%s: the packet takes %v", name, got)
		}
	}
}

// A controller uses the memory of all rules again for its next answer, also that of
// rules that were removed.
func TestGuardSharesNoMemory(t *testing.T) {
	bad := goodRule()
	bad.Table = 9
	d := flow.Decision{Rules: []flow.Rule{bad, goodRule(), goodRule()}}
	run(Default(), packetEvent(tcpPacket(80)), &d)
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

// Rules may come in any order of priority.
func TestGuardParts(t *testing.T) {
	within := func(*flow.Rule) error { return errors.New("not asked about it") }
	var d flow.Decision
	for i := range 6 {
		r := goodRule()
		r.Priority = uint16(100 + i) // the lowest first, so that nothing falls with another
		d.Rules = append(d.Rules, r)
	}
	d.Rules[0].Table = 7
	d.Parts = []flow.Part{{Function: "a", End: 2}, {Function: "empty", End: 2}, {Function: "b", End: 4, Within: within}, {Function: "c", End: 6}}
	g := Default()
	g.Off = map[Rail]bool{RailExposed: true}
	var out Outcome
	g.Check(packetEvent(tcpPacket(80)), &d, nil, nil, &out)
	var functions []string
	for _, v := range out.Violations {
		functions = append(functions, v.Function+" "+string(v.Rail))
	}
	if want := []string{"a table", "b route", "b route"}; !slices.Equal(functions, want) {
		t.Errorf("refused %v, want %v", functions, want)
	}
	var ends []int
	for _, p := range d.Parts {
		ends = append(ends, p.End)
	}
	if want := []int{1, 1, 1, 3}; !slices.Equal(ends, want) || len(d.Rules) != 3 {
		t.Errorf("parts end at %v of %d rules, want %v of 3", ends, len(d.Rules), want)
	}
	if out.Rule != 2 || d.Rules[2].Priority != 105 {
		t.Errorf("rule %d decides, want the last of %v", out.Rule, d.Rules)
	}
}

// If one function answers with too many rules, another function's rules are still installed.
func TestGuardTooManyOfOne(t *testing.T) {
	g := Default()
	g.MaxRules = 2
	var d flow.Decision
	for i := range 5 {
		r := goodRule()
		r.Priority = uint16(100 + i)
		d.Rules = append(d.Rules, r)
	}
	d.Parts = []flow.Part{{Function: "a", End: 3}, {Function: "b", End: 5}}
	var out Outcome
	g.Check(packetEvent(tcpPacket(80)), &d, nil, nil, &out)
	if len(out.Violations) != 1 || out.Violations[0].Function != "a" || len(d.Rules) != 2 || d.Rules[0].Priority != 103 {
		t.Errorf("violations %v, rules %v", out.Violations, d.Rules)
	}
}

// A deny that protects no other rule keeps its own timeouts. One that protects a rule does
// not end before that rule.
func TestGuardLives(t *testing.T) {
	rule := func(priority uint16, idle, hard time.Duration, port uint16, actions ...flow.Action) flow.Rule {
		r := goodRule()
		r.Priority, r.IdleTimeout, r.HardTimeout, r.Actions = priority, idle, hard, actions
		if port != 0 {
			r.Match.SetL4Dst(port)
		}
		return r
	}
	out, s := flow.OutputTo(portB), time.Second
	for name, tc := range map[string]struct {
		incomplete flow.Field
		rules      []flow.Rule
		want       []time.Duration
	}{
		"named":                             {0, []flow.Rule{rule(1, 0, 7*s, 0, out)}, []time.Duration{7 * s}},
		"not named":                         {0, []flow.Rule{rule(1, 9*s, 0, 0, out)}, []time.Duration{300 * s}},
		"too long":                          {0, []flow.Rule{rule(1, 0, 65535*s, 0, out)}, []time.Duration{3600 * s}},
		"the function's own difference":     {0, []flow.Rule{rule(2, 0, 5*s, 80), rule(1, 0, 50*s, 0, out)}, []time.Duration{5 * s, 50 * s}},
		"a deny cut, an allow below":        {0, []flow.Rule{rule(2, 9*s, 0, 80), rule(1, 0, 3600*s, 0, out)}, []time.Duration{300 * s, 300 * s}},
		"a deny cut, an allow above":        {0, []flow.Rule{rule(2, 9*s, 0, 80), rule(3, 0, 3600*s, 0, out)}, []time.Duration{300 * s, 3600 * s}},
		"a deny of an incomplete packet":    {flow.FieldL4Dst, []flow.Rule{rule(2, 9*s, 0, 0)}, []time.Duration{2 * s}},
		"a shorter one":                     {flow.FieldL4Dst, []flow.Rule{rule(2, 0, s, 0)}, []time.Duration{s}},
		"and what it shields":               {flow.FieldL4Dst, []flow.Rule{rule(2, 9*s, 0, 0), covers(rule(1, 0, 60*s, 0, out))}, []time.Duration{2 * s, 2 * s}},
		"a deny that covers the incomplete": {flow.FieldL4Dst, []flow.Rule{covers(rule(2, 0, 60*s, 0)), covers(rule(1, 0, 60*s, 0, out))}, []time.Duration{60 * s, 60 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			ev := packetEvent(tcpPacket(80))
			ev.PacketIn.Incomplete = tc.incomplete
			d := flow.Decision{Rules: tc.rules}
			if v := run(Default(), ev, &d); len(v) > 0 {
				t.Fatal(v)
			}
			for i := range d.Rules {
				if got := d.Rules[i].HardTimeout; got != tc.want[i] {
					t.Errorf("%s lives %v, want %v", d.Rules[i].String(), got, tc.want[i])
				}
			}
		})
	}
}

func covers(r flow.Rule) flow.Rule {
	r.CoversIncomplete = true
	return r
}

// A packet whose actions name a meter that is not there is dropped, and the refusal names the meter.
func TestGuardMeteredPacket(t *testing.T) {
	r := goodRule()
	r.Meter = 7
	for name, tc := range map[string]struct {
		sw     Switch
		meters []uint32
		rail   Rail
	}{
		"not configured":             {nil, []uint32{1}, RailMeter},
		"none":                       {nil, nil, RailMeter},
		"refused by the switch":      {equipped{}, []uint32{7}, RailMeter},
		"a protocol without meters":  {unfit{"meter 7: OpenFlow 1.0 has none"}, []uint32{7}, RailNotExpressible},
		"there":                      {nil, []uint32{3, 7}, ""},
		"there, as the switch knows": {equipped{meter: 7}, []uint32{3, 7}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := Default()
			g.Meters = tc.meters
			d := flow.Decision{Rules: []flow.Rule{r}}
			var out Outcome
			g.Check(packetEvent(tcpPacket(80)), &d, tc.sw, nil, &out)
			if tc.rail == "" {
				if len(out.Violations) != 0 || out.Rule != 0 || len(out.Actions) != 1 {
					t.Errorf("outcome %+v", out)
				}
				return
			}
			if len(out.Violations) != 1 || out.Violations[0].Rail != tc.rail || !strings.Contains(out.Violations[0].Detail, "meter 7") && tc.rail == RailMeter ||
				!strings.Contains(out.Violations[0].Detail, "dropped") || len(out.Actions) != 0 || out.Rule != -1 || !d.HasPacketOut {
				t.Errorf("violations %v, actions %v", out.Violations, out.Actions)
			}
		})
	}
}

// equipped is a switch that has one meter.
type equipped struct {
	Anything
	meter uint32
}

func (e equipped) HasMeter(id uint32) bool { return id == e.meter }

// unfit is a switch that holds nothing.
type unfit struct{ why string }

func (u unfit) Fit(*flow.Rule, *flow.Match) error           { return errors.New(u.why) }
func (u unfit) FitActions([]flow.Action, *flow.Match) error { return errors.New(u.why) }
func (unfit) Before(_, _ *flow.Rule) bool                   { return false }

func TestSetField(t *testing.T) {
	tcp := func(m *flow.Match) { m.SetL4Dst(80); m.SetIPProto(flow.ProtoTCP); m.SetEthType(flow.EthTypeIPv4) }
	v6 := func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv6) }
	tagged := func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|5, flow.VLANExact) }
	anyTag := func(m *flow.Match) { m.SetVLAN(flow.VLANPresent, flow.VLANPresent) }
	untagged := func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact) }
	arp := func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) }
	none := func(*flow.Match) {}
	v4addr, v6addr := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")
	vid, pcp, pop, push := flow.Action{Type: flow.SetVLANVID, Value: 7}, flow.Action{Type: flow.SetVLANPCP, Value: 7}, flow.Action{Type: flow.PopVLAN}, flow.Action{Type: flow.PushVLAN, Value: 0x8100}
	for _, tc := range []struct {
		name     string
		protocol flow.Protocol
		match    func(*flow.Match)
		withheld flow.Field
		actions  []flow.Action
		want     string // part of the detail; empty: it passes
	}{
		{"port of the protocol", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 8080, IPProto: flow.ProtoTCP}}, ""},
		{"port, protocol not said", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetL4Src, Value: 8080}}, ""},
		{"port of another protocol", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 8080, IPProto: flow.ProtoUDP}}, "set_l4_dst:8080 is of ip_proto 17, and the packets are of 6"},
		{"port of no protocol", flow.OpenFlow13, arp, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 8080}}, "needs packets of ip_proto 6, 17 or 132"},
		{"port of ICMP", flow.OpenFlow10, func(m *flow.Match) { m.SetIPProto(flow.ProtoICMP) }, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 1}}, "needs packets of ip_proto"},
		{"port that says ICMP", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 1, IPProto: 1}}, "which has no ports"},
		{"port that the packet withholds", flow.OpenFlow13, none, flow.FieldIPProto, []flow.Action{{Type: flow.SetL4Dst, Value: 1, IPProto: 6}}, ""},
		{"port out of range", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetL4Dst, Value: 1 << 16}}, "largest value is 65535"},
		{"address of the family", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetIPDst, Addr: v4addr}}, ""},
		{"address of the other", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetIPDst, Addr: v6addr}}, "eth_type 0x86dd"},
		{"address of IPv6", flow.OpenFlow13, v6, 0, []flow.Action{{Type: flow.SetIPSrc, Addr: v6addr}}, ""},
		{"address of ARP", flow.OpenFlow10, arp, 0, []flow.Action{{Type: flow.SetIPSrc, Addr: v4addr}}, "eth_type 0x0800"},
		{"address of anything", flow.OpenFlow13, none, 0, []flow.Action{{Type: flow.SetIPSrc, Addr: v4addr}}, "eth_type 0x0800"},
		{"no address", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.SetIPSrc}}, "has no address"},
		{"DSCP", flow.OpenFlow13, v6, 0, []flow.Action{{Type: flow.SetIPDSCP, Value: 46}}, ""},
		{"DSCP of ARP", flow.OpenFlow13, arp, 0, []flow.Action{{Type: flow.SetIPDSCP, Value: 46}}, "eth_type 0x0800 or 0x86dd"},
		{"DSCP of seven bits", flow.OpenFlow13, v6, 0, []flow.Action{{Type: flow.SetIPDSCP, Value: 64}}, "largest value is 63"},
		{"TTL", flow.OpenFlow13, tcp, 0, []flow.Action{{Type: flow.DecTTL}}, ""},
		{"TTL of ARP", flow.OpenFlow13, arp, 0, []flow.Action{{Type: flow.DecTTL}}, "dec_nw_ttl needs"},
		{"MAC addresses", flow.OpenFlow13, none, 0, []flow.Action{{Type: flow.SetEthDst, MAC: macA}, {Type: flow.SetEthSrc, MAC: macB}}, ""},
		{"VID of a tag", flow.OpenFlow13, tagged, 0, []flow.Action{vid, pcp}, ""},
		{"VID of any tag", flow.OpenFlow13, anyTag, 0, []flow.Action{vid}, ""},
		{"VID without a tag", flow.OpenFlow13, untagged, 0, []flow.Action{vid}, "needs packets with a VLAN tag"},
		{"VID, nobody knows", flow.OpenFlow13, none, 0, []flow.Action{vid}, "needs packets with a VLAN tag"},
		{"VID of a pushed tag", flow.OpenFlow13, untagged, 0, []flow.Action{push, vid, pcp}, ""},
		{"VID before the push", flow.OpenFlow13, untagged, 0, []flow.Action{vid, push}, "needs packets with a VLAN tag"},
		{"VID after the pop", flow.OpenFlow13, tagged, 0, []flow.Action{pop, vid}, "needs packets with a VLAN tag"},
		{"one pop too many", flow.OpenFlow13, tagged, 0, []flow.Action{push, pop, pop, pop}, "pop_vlan needs"},
		{"VID of 13 bits", flow.OpenFlow13, tagged, 0, []flow.Action{{Type: flow.SetVLANVID, Value: 0x1000}}, "largest value is 4095"},
		{"PCP of four bits", flow.OpenFlow13, tagged, 0, []flow.Action{{Type: flow.SetVLANPCP, Value: 8}}, "largest value is 7"},
		{"a tag of IPv4", flow.OpenFlow13, untagged, 0, []flow.Action{{Type: flow.PushVLAN, Value: 0x0800}}, "want 0x8100 or 0x88a8"},
		{"OpenFlow 1.0 makes the tag", flow.OpenFlow10, untagged, 0, []flow.Action{vid, pcp, pop}, ""},
		{"P4 may know it otherwise", flow.P4Runtime, none, 0, []flow.Action{vid}, ""},
		{"P4, too, without a tag", flow.P4Runtime, untagged, 0, []flow.Action{vid}, "needs packets with a VLAN tag"},
		{"a tag that the packet withholds", flow.OpenFlow13, none, flow.FieldVLAN, []flow.Action{vid}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m flow.Match
			tc.match(&m)
			c := check{g: Default(), sw: Anything{}, desc: &flow.Switch{Protocol: tc.protocol}}
			got := setField(&c, tc.actions, &m, tc.withheld)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
