package decider

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// only is a Pattern of one switch.
type only flow.DPID

func (o only) Matches(d flow.DPID) bool { return flow.DPID(o) == d }

// named is a Decider whose rules and reason say who it is.
type named struct {
	cookie  uint64
	version flow.PolicyVersion
	err     error
	asked   atomic.Int32
}

func (n *named) Decide(_ context.Context, _ *flow.Event, d *flow.Decision) error {
	n.asked.Add(1)
	if n.err != nil {
		return n.err
	}
	d.Rules = append(d.Rules, flow.Rule{Cookie: n.cookie})
	d.Reason, d.Policy = "r"+string(rune('0'+n.cookie)), n.version
	d.Handshake = append(d.Handshake, byte(n.cookie))
	return nil
}

func who(d *flow.Decision) (list []uint64) {
	for i := range d.Rules {
		list = append(list, d.Rules[i].Cookie)
	}
	return list
}

func TestRoutes(t *testing.T) {
	web := flow.Match{}
	web.SetL4Dst(80)
	r := NewRoutes([]Route{
		{Name: "web", Match: web, Decider: &named{cookie: 1}},
		{Name: "port", Switches: []Pattern{only(0x1a)}, Ports: []flow.PortNo{portB}, Decider: &named{cookie: 2}},
		{Name: "arp", Switches: []Pattern{only(0x2a), only(0x1a)}, EthTypes: []uint16{flow.EthTypeARP}, Decider: &named{cookie: 3}},
		{Name: "udp", IPProtos: []uint8{flow.ProtoUDP}, Decider: &named{cookie: 4}},
		{Name: "elsewhere", Switches: []Pattern{only(0x3a)}, Decider: &named{cookie: 5}},
	}, &named{cookie: 6})
	on := func(dpid flow.DPID, e *flow.Event) *flow.Event { e.Switch.DPID = dpid; return e }
	packet := func(dpid flow.DPID, port flow.PortNo, pi *flow.PacketIn) *flow.Event {
		pi.Match.InPort = port
		return on(dpid, packetEvent(pi))
	}
	udp := tcpPacket(53)
	udp.Match.IPProto = flow.ProtoUDP
	removed := func(m flow.Match) *flow.Event {
		return &flow.Event{Type: flow.EventFlowRemoved, Switch: testSwitch(), FlowRemoved: &flow.FlowRemoved{Match: m}}
	}
	for name, tc := range map[string]struct {
		ev   *flow.Event
		want []uint64
	}{
		"packet, first of two that fit":   {packet(0x1a, portB, tcpPacket(80)), []uint64{1}},
		"packet, by switch and port":      {packet(0x1a, portB, tcpPacket(22)), []uint64{2}},
		"packet, the port elsewhere":      {packet(0x2a, portB, tcpPacket(22)), []uint64{6}},
		"packet, by EtherType":            {packet(0x2a, portA, arpPacket(portA)), []uint64{3}},
		"packet, by protocol":             {packet(0x1a, portA, udp), []uint64{4}},
		"packet, by switch alone":         {packet(0x3a, portA, tcpPacket(22)), []uint64{5}},
		"packet, none fits":               {packet(0x1a, portA, tcpPacket(22)), []uint64{6}},
		"connected":                       {&flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}, []uint64{1, 2, 3, 4, 6}},
		"policy check":                    {&flow.Event{Type: flow.EventPolicyCheck}, []uint64{1, 2, 3, 4, 5, 6}},
		"port, of one route":              {&flow.Event{Type: flow.EventPortStatus, Switch: testSwitch(), PortStatus: &flow.PortStatus{Port: flow.Port{No: portB}}}, []uint64{1, 2, 3, 4, 6}},
		"port, not of it":                 {&flow.Event{Type: flow.EventPortStatus, Switch: testSwitch(), PortStatus: &flow.PortStatus{Port: flow.Port{No: portA}}}, []uint64{1, 3, 4, 6}},
		"removed rule, TCP port 22":       {removed(tcpPacket(22).Match), []uint64{6}},
		"removed rule, TCP port 80":       {removed(tcpPacket(80).Match), []uint64{1, 6}},
		"removed rule that was wide":      {removed(flow.Match{}), []uint64{1, 2, 3, 4, 6}},
		"handshake before the DPID is in": {&flow.Event{Type: flow.EventHandshake}, []uint64{1, 2, 3, 4, 5, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			var d flow.Decision
			if err := r.Decide(t.Context(), tc.ev, &d); err != nil || d.Failure != nil {
				t.Fatal(err, d.Failure)
			}
			if got := who(&d); !slices.Equal(got, tc.want) {
				t.Errorf("went to %v, want %v", got, tc.want)
			}
			if len(d.Handshake) != 1 || uint64(d.Handshake[0]) != tc.want[0] {
				t.Errorf("handshake %v", d.Handshake)
			}
		})
	}
}

// What a route's function may decide about is what it is asked about.
func TestRoutesParts(t *testing.T) {
	web := flow.Match{}
	web.SetL4Dst(80)
	web.SetIPDst(netip.MustParsePrefix("10.0.0.0/24"))
	r := NewRoutes([]Route{
		{Name: "ports", Ports: []flow.PortNo{3, portA}, Switches: []Pattern{only(0x1a)}, Decider: answer(goodRule(), goodRule())},
		{Name: "types", EthTypes: []uint16{flow.EthTypeARP, flow.EthTypeIPv6}, Decider: &named{err: flow.Errorf(flow.Unavailable, "away")}},
		{Name: "udp", IPProtos: []uint8{flow.ProtoUDP}, Decider: answer()},
		{Name: "match", Match: web, Decider: answer(goodRule())},
		{Name: "elsewhere", Switches: []Pattern{only(0x3a)}, Decider: answer(goodRule())},
	}, answer(goodRule()))
	var d flow.Decision
	if err := r.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil || len(d.Parts) != 1 || d.Parts[0].Function != "ports" || d.Parts[0].End != 2 {
		t.Fatalf("%v, parts %v", err, d.Parts)
	}
	d.Reset()
	if err := r.Decide(t.Context(), &flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}, &d); err != nil {
		t.Fatal(err)
	}
	type part struct {
		name   string
		end    int
		within string // what it says of a rule on TCP port 22 from port B
	}
	rule := goodRule()
	rule.Match.SetInPort(portB)
	rule.Match.SetEthType(flow.EthTypeIPv4)
	rule.Match.SetIPProto(flow.ProtoTCP)
	rule.Match.SetL4Dst(22)
	want := []part{{"ports", 2, "in_port 3, 1 only"}, {"udp", 2, "ip_proto 17 only"}, {"match", 3, "ip_dst=10.0.0.0/24,l4_dst=80 only"}, {"default", 4, ""}}
	var got []part
	for _, p := range d.Parts {
		one := part{name: p.Function, end: p.End}
		if p.Within != nil {
			if err := p.Within(&rule); err != nil {
				one.within = err.Error()
			}
		}
		got = append(got, one)
	}
	if len(got) != len(want) {
		t.Fatalf("parts %v, want %v", got, want)
	}
	for i := range want {
		if got[i].name != want[i].name || got[i].end != want[i].end || !strings.Contains(got[i].within, want[i].within) || (got[i].within == "") != (want[i].within == "") {
			t.Errorf("part %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestRouteWithin(t *testing.T) {
	net := flow.Match{}
	net.SetIPSrc(netip.MustParsePrefix("10.0.0.0/8"))
	net.SetEthType(flow.EthTypeIPv4)
	packet := tcpPacket(80).Match
	for name, tc := range map[string]struct {
		route Route
		match flow.Match
		in    bool
	}{
		"no bounds":            {Route{}, flow.Match{}, true},
		"its port":             {Route{Ports: []flow.PortNo{9, portA}}, packet, true},
		"another port":         {Route{Ports: []flow.PortNo{9}}, packet, false},
		"any port":             {Route{Ports: []flow.PortNo{portA}}, packet.Keep(flow.FieldEthSrc), false},
		"its type":             {Route{EthTypes: []uint16{flow.EthTypeIPv4}}, packet, true},
		"any type (MAC pair)":  {Route{EthTypes: []uint16{flow.EthTypeIPv4}}, packet.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst), false},
		"its protocol":         {Route{IPProtos: []uint8{flow.ProtoTCP}}, packet, true},
		"any protocol":         {Route{IPProtos: []uint8{flow.ProtoTCP}}, packet.Keep(flow.FieldEthType | flow.FieldIPSrc), false},
		"inside the match":     {Route{Match: net}, packet, true},
		"the match itself":     {Route{Match: net}, net, true},
		"wider than the match": {Route{Match: net}, packet.Keep(flow.FieldEthType), false},
	} {
		if err := tc.route.Within(&flow.Rule{Match: tc.match}); (err == nil) != tc.in {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoutesPartialFailure(t *testing.T) {
	good, away, refuses := &named{cookie: 1}, &named{err: flow.Errorf(flow.Unavailable, "away")}, &named{err: flow.Errorf(flow.Refused, "no")}
	connected := &flow.Event{Type: flow.EventSwitchConnected, Switch: testSwitch()}
	for name, tc := range map[string]struct {
		deciders []flow.Decider // the last is the fallback
		rules    int
		kind     flow.ErrorKind
		total    bool
	}{
		"one of three answers":          {[]flow.Decider{refuses, away, good}, 1, flow.Unavailable, false},
		"none, one may yet":             {[]flow.Decider{refuses, away}, 0, flow.Unavailable, true},
		"none, and none will":           {[]flow.Decider{refuses, refuses}, 0, flow.Refused, true},
		"one that is sure not to":       {[]flow.Decider{good, refuses}, 1, flow.Refused, false},
		"one that was busy is better":   {[]flow.Decider{refuses, failing(flow.Errorf(flow.Overload, "full"))}, 0, flow.Overload, true},
		"one that is away, then busy":   {[]flow.Decider{away, failing(flow.Errorf(flow.Overload, "full"))}, 0, flow.Unavailable, true},
		"a deadline has no kind of its": {[]flow.Decider{good, failing(context.DeadlineExceeded)}, 1, flow.Unavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			var list []Route
			last := len(tc.deciders) - 1
			for _, d := range tc.deciders[:last] {
				list = append(list, Route{Name: "a", Decider: d})
			}
			var d flow.Decision
			err := NewRoutes(list, tc.deciders[last]).Decide(t.Context(), connected, &d)
			if (err != nil) != tc.total || (d.Failure == nil) != tc.total || len(d.Rules) != tc.rules {
				t.Fatalf("error %v, failure %v, %d rules", err, d.Failure, len(d.Rules))
			}
			if err == nil {
				err = d.Failure
			}
			if flow.KindOf(err) != tc.kind || !strings.Contains(err.Error(), "route ") {
				t.Errorf("kind %v of %v, want %v", flow.KindOf(err), err, tc.kind)
			}
		})
	}
}

// Two functions whose policies change by themselves make one version that moves
// when either does.
func TestRoutesVersion(t *testing.T) {
	v := func(serial uint64) flow.PolicyVersion {
		return flow.PolicyVersion{Serial: serial, Hash: uint32(serial) * 77}
	}
	a, b := &named{version: v(100)}, &named{version: v(7)}
	r := NewRoutes([]Route{{Ports: []flow.PortNo{portB}, Decider: a}}, b)
	var seen bridge.Versions
	ask := func(port flow.PortNo) bridge.Freshness {
		t.Helper()
		pi := tcpPacket(80)
		pi.Match.InPort = port
		var d flow.Decision
		if err := r.Decide(t.Context(), packetEvent(pi), &d); err != nil {
			t.Fatal(err)
		}
		f, _ := seen.Observe(d.Policy)
		return f
	}
	check := func() bridge.Freshness {
		var d flow.Decision
		if err := r.Decide(t.Context(), &flow.Event{Type: flow.EventPolicyCheck}, &d); err != nil {
			t.Fatal(err)
		}
		f, _ := seen.Observe(d.Policy)
		return f
	}
	for i, step := range []struct {
		do   func()
		ask  func() bridge.Freshness
		want bridge.Freshness
	}{
		{func() {}, func() bridge.Freshness { return ask(portB) }, bridge.Unversioned}, // the other was not heard yet
		{func() {}, func() bridge.Freshness { return ask(portA) }, bridge.Newer},
		{func() {}, func() bridge.Freshness { return ask(portB) }, bridge.Same},
		{func() {}, check, bridge.Same},
		{func() { b.version = v(8) }, func() bridge.Freshness { return ask(portA) }, bridge.Newer},
		{func() {}, func() bridge.Freshness { return ask(portB) }, bridge.Same},
		{func() { b.version = v(7) }, func() bridge.Freshness { return ask(portA) }, bridge.Older}, // an edge that was not updated
		{func() { a.version = v(101) }, check, bridge.Older},                                       // the edge is still behind
		{func() { b.version = v(8) }, check, bridge.Newer},
		{func() { b.version = flow.PolicyVersion{} }, func() bridge.Freshness { return ask(portA) }, bridge.Same}, // no header: nothing new
		{func() { a.version = v(300) }, func() bridge.Freshness { return ask(portB) }, bridge.Newer},
	} {
		step.do()
		if got := step.ask(); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}

	plain := NewRoutes([]Route{{Ports: []flow.PortNo{portB}, Decider: &named{}}}, &named{})
	r = plain
	if got := check(); got != bridge.Unversioned {
		t.Errorf("functions that name no version: %v", got)
	}
}

func TestRoutesLocal(t *testing.T) {
	if !flow.IsLocal(NewRoutes([]Route{{Decider: local{}}}, local{})) {
		t.Error("all are local")
	}
	if flow.IsLocal(NewRoutes([]Route{{Decider: local{}}}, answer())) || flow.IsLocal(NewRoutes([]Route{{Decider: answer()}}, local{})) {
		t.Error("one is not local")
	}
}

func TestRoutesAllocates(t *testing.T) {
	none := local{func(context.Context, *flow.Event, *flow.Decision) error { return nil }}
	r := NewRoutes([]Route{{Switches: []Pattern{only(9)}, Decider: none}, {Ports: []flow.PortNo{portA}, Decider: none}}, none)
	ev, d := packetEvent(tcpPacket(80)), new(flow.Decision)
	if n := testing.AllocsPerRun(100, func() { r.Decide(t.Context(), ev, d) }); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
