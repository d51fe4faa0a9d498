package ofp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"switchbridge/flow"
)

// dice chooses one of n; a test's random numbers or a fuzzer's bytes.
type dice func(n int) int

func diceOf(rng *rand.Rand) dice { return rng.IntN }

// diceOfBytes is for a fuzzer: its bytes, then zeros.
func diceOfBytes(b []byte) dice {
	return func(n int) int {
		v := 0
		for range 2 {
			if v <<= 8; len(b) > 0 {
				v |= int(b[0])
				b = b[1:]
			}
		}
		return v % n
	}
}

func choose[T any](d dice, of ...T) T { return of[d(len(of))] }

// anyRule makes rules of which many are impossible, each for few reasons.
func (d dice) anyRule() flow.Rule {
	r := flow.Rule{
		Table: choose[uint8](d, 0, 0, 0, 0, 0, 1, 200, 253, 255), Priority: uint16(d(65536)), Cookie: uint64(d(1 << 16)),
		CookieMask:  choose[uint64](d, 0, 0, 0, 1),
		IdleTimeout: choose(d, 0, time.Second, -time.Second, 18*time.Hour, 19*time.Hour), HardTimeout: choose(d, 0, 1500*time.Millisecond),
		Flags: choose[flow.RuleFlags](d, 0, 0, flow.SendFlowRemoved, flow.CheckOverlap, flow.ResetCounts|flow.NoByteCounts, 1<<5, 1<<15),
		Meter: choose[uint32](d, 0, 0, 0, 0, 1, 0xffffffff), OutPort: choose(d, 0, flow.PortAny, 70000), Match: d.anyMatch(),
	}
	if d(6) == 0 {
		r.Goto = choose(d, r.Table+1, r.Table, 253, 255)
	}
	if d(2) == 0 { // nothing that 1.0 lacks
		r.Table, r.Goto, r.Meter, r.CookieMask = 0, 0, 0, 0
		r.Flags &= flags10
		r.Match.Fields &= flow.Fields10
		r.Match = r.Match.Canonical()
	}
	r.Actions = d.anyActions(&r.Match)
	return r
}

func (d dice) anyMatch() (m flow.Match) {
	if d(20) == 0 { // a neighbour's address, which wants more than others do
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPProto(flow.ProtoICMPv6)
		m.Fields |= flow.FieldNDTarget | choose(d, flow.FieldICMPType, flow.FieldICMPType, flow.FieldICMPType|flow.FieldICMPCode, 0)
		m.ICMPType, m.ICMPCode, m.NDTarget = choose[uint8](d, 135, 136, 128), choose[uint8](d, 0, 1), netip.MustParseAddr("2001:db8::1")
		return m.Canonical()
	}
	some := func(f func()) {
		if d(5) == 0 {
			f()
		}
	}
	wrong := func() bool { return d(24) == 0 }
	ipv4 := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(d(256)), 1}), choose(d, 32, 32, 24, 9, 0))
	}
	ipv6 := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(d(256))}), choose(d, 128, 64, 33, 0))
	}
	mac := func() flow.MAC { return flow.MAC{2, 0, 0, 0, 0, byte(d(256))} }
	mask := func() flow.MAC {
		return choose(d, flow.MACExact, flow.MACExact, flow.MACExact, flow.MAC{}, flow.MAC{1}, flow.MAC{0xff, 0, 0xff})
	}
	some(func() { m.SetInPort(choose(d, 1, 48, 0xfeff, flow.PortLocal, flow.PortController)) })
	some(func() { m.SetEthSrc(mac(), mask()) })
	some(func() { m.SetEthDst(mac(), mask()) })
	some(func() {
		m.SetVLAN(choose(d, flow.VLANNone, flow.VLANPresent, flow.VLANPresent|5, flow.VLANPresent|4095, 5, 0x3005),
			choose[uint16](d, flow.VLANExact, flow.VLANExact, 0xffff, flow.VLANPresent, flow.VLANPresent|0xff, 0x0fff, 0))
		if d(2) == 0 {
			m.Fields |= flow.FieldVLANPCP
			m.VLANPCP = choose[uint8](d, 0, 7, 8)
		}
	})
	if wrong() {
		m.Fields |= flow.FieldVLANPCP
	}
	some(func() {
		m.Fields, m.Metadata, m.MetadataMask = m.Fields|flow.FieldMetadata, 5, choose[uint64](d, 1<<64-1, 7, 0)
	})
	some(func() {
		m.Fields, m.TunnelID, m.TunnelMask = m.Fields|flow.FieldTunnelID, 5, choose[uint64](d, 1<<64-1, 7, 0)
	})
	ethType := choose[uint16](d, flow.EthTypeIPv4, flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP, flow.EthTypeLLDP, flow.EthTypeVLAN, 0x0123, ethTypeLength, 0)
	if ethType != 0 {
		m.SetEthType(ethType)
	}
	family := ipv4
	if ethType == flow.EthTypeIPv6 != wrong() {
		family = ipv6
	}
	if ethType == flow.EthTypeIPv4 || ethType == flow.EthTypeIPv6 || wrong() {
		some(func() { m.SetIPSrc(family()) })
		some(func() { m.SetIPDst(family()) })
		some(func() { m.Fields, m.IPDSCP = m.Fields|flow.FieldIPDSCP, choose[uint8](d, 0, 46, 63, 64) })
		some(func() { m.Fields, m.IPECN = m.Fields|flow.FieldIPECN, choose[uint8](d, 0, 3, 4) })
		proto := choose[uint8](d, flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP, flow.ProtoICMP, flow.ProtoICMPv6, 2)
		if d(4) != 0 {
			m.SetIPProto(proto)
		}
		if hasPorts(proto) != wrong() {
			some(func() { m.SetL4Src(uint16(d(65536))) })
			some(func() { m.SetL4Dst(uint16(d(65536))) })
		}
		if (ethType == flow.EthTypeIPv4 && proto == flow.ProtoICMP || ethType == flow.EthTypeIPv6 && proto == flow.ProtoICMPv6) != wrong() {
			some(func() { m.Fields, m.ICMPType = m.Fields|flow.FieldICMPType, choose[uint8](d, 135, 136, 8, 255) })
			some(func() { m.Fields, m.ICMPCode = m.Fields|flow.FieldICMPCode, choose[uint8](d, 0, 1) })
			if d(3) == 0 && (proto == flow.ProtoICMPv6 || wrong()) {
				m.Fields |= flow.FieldNDTarget
				if !wrong() {
					m.NDTarget = ipv6().Addr()
				}
			}
		}
	}
	if ethType == flow.EthTypeIPv6 || wrong() {
		some(func() { m.Fields, m.FlowLabel = m.Fields|flow.FieldFlowLabel, choose[uint32](d, 0, 0xfffff, 0x100000) })
	}
	if ethType == flow.EthTypeARP || wrong() {
		address := func() netip.Prefix {
			if wrong() {
				return choose(d, netip.Prefix{}, ipv6())
			}
			return ipv4()
		}
		some(func() { m.Fields, m.ARPOp = m.Fields|flow.FieldARPOp, choose[uint16](d, 1, 2, 255, 256) })
		some(func() { m.Fields |= flow.FieldARPSPA; m.ARPSPA = address() })
		some(func() { m.Fields |= flow.FieldARPTPA; m.ARPTPA = address() })
		some(func() { m.Fields, m.ARPSHA = m.Fields|flow.FieldARPSHA, mac() })
		some(func() { m.Fields, m.ARPTHA = m.Fields|flow.FieldARPTHA, mac() })
	}
	return m
}

func (d dice) anyActions(m *flow.Match) (list []flow.Action) {
	for range choose(d, 0, 1, 1, 2, 3, 5) {
		a := flow.Action{Type: flow.ActionType(choose(d, 1, 1, 1, 1, 1+d(int(flow.Unsupported)+1)))}
		switch a.Type {
		case flow.Output:
			a.Port = choose(d, 1, 2, 48, 0xfeff, flow.PortNormal, flow.PortIn, flow.PortFlood, flow.PortAll, flow.PortLocal, flow.PortController,
				flow.PortTable, flow.PortAny, 0)
			a.MaxLen = uint16(d(65536))
		case flow.SetQueue:
			a.ID = choose[uint32](d, 0, 1, 7, flow.NoQueue)
		case flow.PushVLAN:
			a.Value = choose[uint32](d, flow.EthTypeVLAN, flow.EthTypeQinQ, 0x0800)
		case flow.SetVLANVID:
			a.Value = choose[uint32](d, 0, 5, 4095, 4096)
		case flow.SetVLANPCP:
			a.Value = choose[uint32](d, 0, 7, 8)
		case flow.SetEthSrc, flow.SetEthDst:
			a.MAC = flow.MAC{2, 0, 0, 0, 0, 9}
		case flow.SetIPSrc, flow.SetIPDst:
			a.Addr = choose(d, netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9"), netip.Addr{})
		case flow.SetIPDSCP:
			a.Value = choose[uint32](d, 0, 63, 64)
		case flow.SetL4Src, flow.SetL4Dst:
			a.Value = choose[uint32](d, 0, 80, 65535, 65536)
			a.IPProto = choose(d, 0, m.IPProto, m.IPProto, flow.ProtoTCP)
		}
		list = append(list, a)
	}
	return list
}

// said is what a message says of a match: a field that no bit of a mask compares
// isn't there.
func said(m flow.Match) flow.Match {
	m.VLANMask &= flow.VLANExact
	drop := flow.Field(0)
	for _, f := range []struct {
		field flow.Field
		empty bool
	}{
		{flow.FieldEthSrc, m.EthSrcMask == flow.MAC{}}, {flow.FieldEthDst, m.EthDstMask == flow.MAC{}}, {flow.FieldVLAN, m.VLANMask == 0},
		{flow.FieldIPSrc, m.IPSrc.Bits() == 0}, {flow.FieldIPDst, m.IPDst.Bits() == 0}, {flow.FieldARPSPA, m.ARPSPA.Bits() == 0},
		{flow.FieldARPTPA, m.ARPTPA.Bits() == 0}, {flow.FieldMetadata, m.MetadataMask == 0}, {flow.FieldTunnelID, m.TunnelMask == 0},
	} {
		if f.empty {
			drop |= f.field
		}
	}
	m.Fields &^= drop
	return m.Canonical()
}

// said10 is said for 1.0, which says of a tag either the whole or its presence.
func said10(m flow.Match) flow.Match {
	m = said(m)
	if m.Has(flow.FieldVLAN) && m.VLANMask == flow.VLANPresent && m.VLAN == flow.VLANNone {
		m.VLANMask = flow.VLANExact
	}
	return m
}

// checkFit holds Fit to its promise for one rule: it says yes exactly where the
// rule can be written, and what is written is the rule, not a wider one.
func checkFit(t *testing.T, v flow.Protocol, r *flow.Rule) error {
	t.Helper()
	fit := Fit(v, r)
	b, err := AppendFlowMod([]byte("x"), v, 1, r, flow.NoBuffer)
	if fmt.Sprint(fit) != fmt.Sprint(err) {
		t.Fatalf("%v, %v: Fit says %v, AppendFlowMod %v", v, r, fit, err)
	}
	if err != nil {
		if string(b) != "x" {
			t.Fatalf("%v, %v: something was appended: % x", v, r, b)
		}
		return fit
	}
	var got flow.Rule
	if err := ParseFlowMod(b[1:], &got); err != nil {
		t.Fatalf("%v, %v: can't be read back: %v", v, r, err)
	}
	want := said(r.Match)
	if v == flow.OpenFlow10 {
		want = said10(r.Match)
	}
	if got.Match != want {
		t.Fatalf("%v: the match\n%v becomes\n%v", v, want, got.Match)
	}
	if len(got.Actions) != 0 && len(r.Actions) == 0 || v == flow.OpenFlow13 && len(got.Actions) != len(r.Actions) {
		t.Fatalf("%v: the actions %v become %v", v, r.Actions, got.Actions)
	}
	return nil
}

// checkFitActions does so for a PACKET_OUT.
func checkFitActions(t *testing.T, v flow.Protocol, actions []flow.Action, m *flow.Match) {
	t.Helper()
	p := PacketOut{BufferID: 7, Actions: actions, Match: m}
	fit := FitPacketOut(v, &p)
	if _, err := AppendPacketOut(nil, v, 1, &p); fmt.Sprint(fit) != fmt.Sprint(err) {
		t.Fatalf("%v, %v: FitPacketOut says %v, AppendPacketOut %v", v, actions, fit, err)
	}
	switch any := FitActions(v, actions); {
	case any != nil && fit == nil:
		t.Fatalf("%v, %v: FitActions says %v, FitPacketOut %v", v, actions, any, fit)
	case any == nil:
		for i := range actions { // of a packet that nothing is known of
			actions[i].IPProto = flow.ProtoTCP
		}
		p.Match = nil
		if _, err := AppendPacketOut(nil, v, 1, &p); err != nil {
			t.Fatalf("%v, %v: FitActions says yes, AppendPacketOut %v", v, actions, err)
		}
	}
}

// TestFit asks about many rules and counts, so that neither answer is rare.
func TestFit(t *testing.T) {
	for _, v := range []flow.Protocol{v10, v13} {
		d := diceOf(rand.New(rand.NewPCG(3, uint64(v))))
		yes, no := 0, 0
		for range 20000 {
			r := d.anyRule()
			if checkFit(t, v, &r) == nil {
				yes++
			} else {
				no++
			}
			m := d.anyMatch()
			checkFitActions(t, v, d.anyActions(&m), &m)
		}
		if yes < 1000 || no < 1000 {
			t.Errorf("%v: %d rules fit, %d don't", v, yes, no)
		}
	}
}

func FuzzFit(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := diceOfBytes(b)
		r := d.anyRule()
		for _, v := range []flow.Protocol{v10, v13} {
			checkFit(t, v, &r)
			checkFitActions(t, v, append([]flow.Action(nil), r.Actions...), &r.Match)
		}
	})
}

// TestFitLength asks about rules that are as long as a message, and longer.
func TestFitLength(t *testing.T) {
	for _, v := range []flow.Protocol{v10, v13} {
		r := hotRule
		a, most := flow.Action{Type: flow.PopVLAN}, maxLen/8
		if v == v13 {
			a, most = flow.OutputTo(1), maxLen/16
		}
		ok, long := 0, 0
		for n := most - 40; n < most+2; n++ {
			r.Actions = slices.Repeat([]flow.Action{a}, n)
			for _, r.Match = range []flow.Match{{}, tcpMatch, match(func(m *flow.Match) { m.SetEthSrc(macA, macB) })} {
				switch err := checkFit(t, v, &r); {
				case err == nil:
					ok++
				case errors.Is(err, errTooLong):
					long++
				}
			}
		}
		if ok == 0 || long == 0 {
			t.Errorf("%v: %d rules fit, %d are too long", v, ok, long)
		}
	}
}

// TestFitRefuses has what can be written, but what a switch refuses or does
// otherwise than was meant.
func TestFitRefuses(t *testing.T) {
	act := func(set func(m *flow.Match), a ...flow.Action) flow.Rule {
		r := flow.Rule{Actions: a}
		if set != nil {
			set(&r.Match)
		}
		return r
	}
	tcp := func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoTCP) }
	nd := func(f flow.Field, typ, code uint8) func(m *flow.Match) {
		return func(m *flow.Match) {
			m.SetEthType(flow.EthTypeIPv6)
			m.SetIPProto(flow.ProtoICMPv6)
			m.Fields |= flow.FieldNDTarget | f
			m.ICMPType, m.ICMPCode, m.NDTarget = typ, code, netip.MustParseAddr("2001:db8::1")
		}
	}
	tag := func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|5, flow.VLANExact) }
	push, pop := flow.Action{Type: flow.PushVLAN, Value: flow.EthTypeVLAN}, flow.Action{Type: flow.PopVLAN}
	vid, pcp := flow.Action{Type: flow.SetVLANVID, Value: 5}, flow.Action{Type: flow.SetVLANPCP, Value: 5}
	port := flow.Action{Type: flow.SetL4Dst, Value: 80}
	udp := flow.Action{Type: flow.SetL4Dst, Value: 80, IPProto: flow.ProtoUDP}
	ipv6 := flow.Action{Type: flow.SetIPDst, Addr: netip.MustParseAddr("2001:db8::1")}
	for _, tt := range []struct {
		name       string
		r          flow.Rule
		in10, in13 bool // whether it fits
	}{
		{"a VLAN's id without the bit of a tag", rule(func(m *flow.Match) { m.SetVLAN(5, flow.VLANExact) }), false, false},
		{"a priority without a tag", rule(func(m *flow.Match) { m.Fields |= flow.FieldVLANPCP }), false, false},
		{"a priority out of range", rule(func(m *flow.Match) { tag(m); m.Fields |= flow.FieldVLANPCP; m.VLANPCP = 8 }), false, false},
		{"a length as EtherType", rule(func(m *flow.Match) { m.SetEthType(0x05fe) }), false, true},
		{"802.3", rule(func(m *flow.Match) { m.SetEthType(0x05ff) }), true, true},
		{"ARP beyond what Open vSwitch takes", rule(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.Fields |= flow.FieldARPOp; m.ARPOp = 256 }), false, false},
		{"a DSCP of seven bits", rule(func(m *flow.Match) { tcp(m); m.Fields |= flow.FieldIPDSCP; m.IPDSCP = 64 }), false, false},
		{"a neighbour's address in solicitations", rule(nd(flow.FieldICMPType, 135, 0)), false, true},
		{"a neighbour's address in any ICMPv6", rule(nd(0, 0, 0)), false, false},
		{"a neighbour's address in echo requests", rule(nd(flow.FieldICMPType, 128, 0)), false, false},
		{"a neighbour's address of another code", rule(nd(flow.FieldICMPType|flow.FieldICMPCode, 135, 1)), false, false},
		{"to the first table", act(nil, flow.OutputTo(flow.PortTable)), false, false},
		{"a tag's id of packets without", act(nil, vid), true, false},
		{"a tag's id of packets with", act(tag, vid), true, true},
		{"a tag's id after a push", act(nil, push, vid, pcp), false, true},
		{"a tag's priority after a pop", act(tag, pop, pcp), true, false},
		{"two pops of one tag", act(tag, pop, pop), true, false},
		{"a third tag", act(tag, push, push), false, false},
		{"an address of no protocol", act(nil, flow.Action{Type: flow.SetIPDst, Addr: netip.MustParseAddr("10.0.0.1")}), true, false},
		{"IPv6's address of IPv4", act(tcp, ipv6), false, false},
		{"DSCP of any packet", act(nil, flow.Action{Type: flow.SetIPDSCP}), true, false},
		{"a TTL of any packet", act(nil, flow.Action{Type: flow.DecTTL}), false, false},
		{"a TTL of TCP", act(tcp, flow.Action{Type: flow.DecTTL}), false, true},
		{"a port of TCP", act(tcp, port), true, true},
		{"a port of UDP in TCP", act(tcp, udp), true, false},
		{"a port of UDP of any packet", act(nil, udp), true, false},
		{"the end of a queue", act(nil, flow.Action{Type: flow.SetQueue, ID: flow.NoQueue}, flow.OutputTo(1)), true, false},
		{"a goto backwards", flow.Rule{Table: 3, Goto: 2}, false, false},
		{"a goto beyond the last table", flow.Rule{Goto: 255}, false, false},
		{"every table", flow.Rule{Table: 255}, false, false},
		{"a meter of the switch's own", flow.Rule{Meter: 0xfffffffd}, false, false},
		{"a flag of later versions", flow.Rule{Flags: 1 << 5}, false, false},
		{"another's port in a rule that isn't a delete", flow.Rule{OutPort: 70000}, true, true},
	} {
		for v, want := range map[flow.Protocol]bool{v10: tt.in10, v13: tt.in13} {
			if err := checkFit(t, v, &tt.r); (err == nil) != want {
				t.Errorf("%v, %s: %v", v, tt.name, err)
			}
		}
	}
}

// TestQueueHolds reads and writes outputs and their queues in 1.0.
func TestQueueHolds(t *testing.T) {
	queue := func(id uint32) flow.Action { return flow.Action{Type: flow.SetQueue, ID: id} }
	toController := flow.Action{Type: flow.Output, Port: flow.PortController, MaxLen: 9}
	for _, tt := range []struct {
		actions []flow.Action
		want    []uint16 // type, port and queue of each action in the message
		read    []flow.Action
	}{
		{[]flow.Action{queue(3), flow.OutputTo(1), flow.OutputTo(2)}, []uint16{11, 1, 3, 11, 2, 3}, nil},
		{[]flow.Action{flow.OutputTo(1), queue(0), flow.OutputTo(2)}, []uint16{0, 1, 0, 11, 2, 0}, nil},
		{[]flow.Action{queue(3), flow.OutputTo(1), queue(4), flow.OutputTo(2)}, []uint16{11, 1, 3, 11, 2, 4}, nil},
		{[]flow.Action{queue(3), flow.OutputTo(1), toController, flow.OutputTo(2)}, []uint16{11, 1, 3, 0, 0xfffd, 9, 11, 2, 3}, nil},
		{[]flow.Action{queue(3), flow.OutputTo(1), queue(flow.NoQueue), flow.OutputTo(2)}, []uint16{11, 1, 3, 0, 2, 0}, nil},
		{[]flow.Action{queue(3), queue(4), flow.OutputTo(1), queue(5)}, []uint16{11, 1, 4}, []flow.Action{queue(4), flow.OutputTo(1)}},
	} {
		b, err := AppendFlowMod(nil, v10, 1, &flow.Rule{Actions: tt.actions}, flow.NoBuffer)
		if err != nil {
			t.Errorf("%v: %v", tt.actions, err)
			continue
		}
		var got []uint16
		for rest := b[HeaderLen+flowModLen10:]; len(rest) > 0; rest = rest[be.Uint16(rest[2:]):] {
			got = append(got, be.Uint16(rest), be.Uint16(rest[4:]))
			if be.Uint16(rest) == act10Enqueue {
				got = append(got, uint16(be.Uint32(rest[12:])))
			} else {
				got = append(got, be.Uint16(rest[6:]))
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v is written as %v, want %v", tt.actions, got, tt.want)
		}
		var r flow.Rule
		want := tt.read
		if want == nil {
			want = tt.actions
		}
		if err := ParseFlowMod(b, &r); err != nil || !reflect.DeepEqual(r.Actions, want) {
			t.Errorf("%v is read as %v, error %v", tt.actions, r.Actions, err)
		}
	}
	r := flow.Rule{Actions: []flow.Action{queue(3), flow.OutputTo(1), flow.OutputTo(flow.PortNormal)}}
	if err := Fit(v10, &r); err == nil {
		t.Error("a queue of NORMAL passes")
	}
}

// TestPacketOutProtocol rewrites a port of a packet that the switch has.
func TestPacketOutProtocol(t *testing.T) {
	udp := match(func(m *flow.Match) {
		m.SetVLAN(flow.VLANNone, flow.VLANExact)
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPProto(flow.ProtoUDP)
	})
	arp := match(func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact); m.SetEthType(flow.EthTypeARP) })
	cut := match(func(m *flow.Match) { m.SetInPort(1) })
	for _, tt := range []struct {
		name  string
		proto uint8 // of the action
		m     *flow.Match
		field uint8 // 0: refused
	}{
		{"what the event says", 0, &udp, oxmUDPDst},
		{"what the action says", flow.ProtoTCP, nil, oxmTCPDst},
		{"what the action says of a frame cut short", flow.ProtoTCP, &cut, oxmTCPDst},
		{"both at odds", flow.ProtoTCP, &udp, 0},
		{"of ARP", flow.ProtoTCP, &arp, 0},
		{"nothing", 0, nil, 0},
		{"nothing of a frame cut short", 0, &cut, 0},
	} {
		p := PacketOut{BufferID: 5, InPort: 1, Match: tt.m, Actions: []flow.Action{{Type: flow.SetL4Dst, Value: 80, IPProto: tt.proto}, flow.OutputTo(2)}}
		b, err := AppendPacketOut(nil, v13, 1, &p)
		switch {
		case tt.field == 0 && err == nil:
			t.Errorf("%s: sent", tt.name)
		case tt.field != 0 && (err != nil || b[HeaderLen+16+6] != tt.field<<1):
			t.Errorf("%s: error %v, message % x", tt.name, err, b)
		}
		if _, err := AppendPacketOut(nil, v10, 1, &p); err != nil {
			t.Errorf("%s, 1.0: %v", tt.name, err)
		}
	}
}

func fitCases(v flow.Protocol) map[string]func() error {
	rewriting := hotRule
	rewriting.Actions = []flow.Action{{Type: flow.SetEthDst, MAC: macA}, {Type: flow.SetIPDst, Addr: netip.MustParseAddr("10.0.0.9")},
		{Type: flow.SetL4Dst, Value: 8080}, flow.OutputTo(2)}
	p := hotOut
	return map[string]func() error{
		"rule":       func() error { return Fit(v, &hotRule) },
		"rewriting":  func() error { return Fit(v, &rewriting) },
		"actions":    func() error { return FitActions(v, hotRule.Actions) },
		"packet_out": func() error { return FitPacketOut(v, &p) },
	}
}

func TestFitDoesNotAllocate(t *testing.T) {
	for _, v := range []flow.Protocol{v10, v13} {
		for name, f := range fitCases(v) {
			if n := testing.AllocsPerRun(100, func() {
				if err := f(); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v, %s: %v allocations", v, name, n)
			}
		}
	}
}

func BenchmarkFit(b *testing.B) {
	for _, v := range []flow.Protocol{v10, v13} {
		for name, f := range fitCases(v) {
			b.Run(name+"/"+v.String(), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
