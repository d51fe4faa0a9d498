package compact

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func exact(s string) netip.Prefix {
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

// packet is what every packet shows of its Ethernet header.
func packet(ethType uint16) (m flow.Match) {
	m.SetInPort(7)
	m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
	m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	m.SetEthType(ethType)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	return m
}

func ip(ethType uint16, proto uint8, src, dst string) flow.Match {
	m := packet(ethType)
	m.Fields |= flow.FieldIPDSCP | flow.FieldIPECN
	m.IPDSCP, m.IPECN = 46, 1
	m.SetIPProto(proto)
	m.SetIPSrc(exact(src))
	m.SetIPDst(exact(dst))
	return m
}

func tcp4() flow.Match {
	m := ip(flow.EthTypeIPv4, flow.ProtoTCP, "10.0.0.1", "10.0.0.2")
	m.SetL4Src(40000)
	m.SetL4Dst(22)
	return m
}

func matches() map[string]flow.Match {
	tcp6 := ip(flow.EthTypeIPv6, flow.ProtoTCP, "2001:db8::1", "2001:db8::2")
	tcp6.SetL4Src(1)
	tcp6.SetL4Dst(65535)
	tcp6.Fields |= flow.FieldFlowLabel
	tcp6.FlowLabel = 0xfffff
	icmp := ip(flow.EthTypeIPv4, flow.ProtoICMP, "10.0.0.1", "10.0.0.2")
	icmp.SetICMP(8, 1)
	tagged := tcp4()
	tagged.SetVLAN(flow.VLANPresent|100, flow.VLANExact)
	tagged.Fields |= flow.FieldVLANPCP
	tagged.VLANPCP = 5
	arp := packet(flow.EthTypeARP)
	arp.Fields |= flow.FieldARPOp | flow.FieldARPSHA | flow.FieldARPTHA
	arp.ARPOp, arp.ARPSHA, arp.ARPTHA = 2, flow.MAC{2, 0, 0, 0, 0, 1}, flow.MAC{2, 0, 0, 0, 0, 2}
	arp.SetARPSPA(exact("10.0.0.1"))
	arp.SetARPTPA(exact("10.0.0.2"))
	nd := ip(flow.EthTypeIPv6, flow.ProtoICMPv6, "fe80::1", "ff02::1:ff00:2")
	nd.SetICMP(135, 0)
	nd.Fields |= flow.FieldNDTarget
	nd.NDTarget = netip.MustParseAddr("fe80::2")
	tunnel := tcp4()
	tunnel.Fields |= flow.FieldMetadata | flow.FieldTunnelID
	tunnel.Metadata, tunnel.MetadataMask = 1<<63|5, ^uint64(0)
	tunnel.TunnelID, tunnel.TunnelMask = 1<<62|6, ^uint64(0)
	dstOnly := packet(flow.EthTypeIPv4)
	dstOnly.SetIPDst(exact("0.0.0.0"))
	zeros := packet(flow.EthTypeIPv6)
	zeros.SetIPSrc(exact("::"))
	return map[string]flow.Match{
		"nothing": {}, "tcp4": tcp4(), "tcp6": tcp6, "icmp": icmp, "vlan": tagged, "arp": arp, "lldp": packet(flow.EthTypeLLDP),
		"neighbour": nd, "tunnel": tunnel, "destination only": dstOnly, "zero source": zeros,
		"mapped": ip(flow.EthTypeIPv6, flow.ProtoTCP, "::ffff:10.0.0.1", "::ffff:10.0.0.2"),
	}
}

func newEvent(m flow.Match) *flow.Event {
	return &flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: 0xab, Protocol: flow.OpenFlow13},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Match: m}}
}

func blank() *flow.Event { return &flow.Event{Switch: new(flow.Switch), PacketIn: new(flow.PacketIn)} }

// A packet's bytes stay behind, and the event says so.
func TestWithheld(t *testing.T) {
	ev, got := newEvent(packet(flow.EthTypeLLDP)), blank()
	for _, data := range [][]byte{{1, 2, 3}, nil} {
		ev.PacketIn.Data = data
		b, ok := AppendEvent(nil, ev)
		if err := ParseEvent(b, got); !ok || err != nil || got.PacketIn.Withheld != (data != nil) || got.PacketIn.Data != nil {
			t.Errorf("%d bytes: fits %v, %v; withheld %v, data %x", len(data), ok, err, got.PacketIn.Withheld, got.PacketIn.Data)
		}
	}
}

func TestEvents(t *testing.T) {
	got := blank() // one for all: nothing of an event stays in the next
	for name, m := range matches() {
		ev := newEvent(m)
		ev.PacketIn.Incomplete = m.Missing()
		b, ok := AppendEvent(nil, ev)
		if !ok || len(b) > MaxEvent {
			t.Errorf("%s: fits %v, %d bytes", name, ok, len(b))
			continue
		}
		if err := ParseEvent(b, got); err != nil || !reflect.DeepEqual(got, ev) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got.PacketIn, ev.PacketIn)
		}
		malformed(t, name, b, func(b []byte) error { return ParseEvent(b, blank()) })
	}
}

// malformed cuts b everywhere, and makes it too long and of another version.
func malformed(t *testing.T, name string, b []byte, parse func([]byte) error) {
	t.Helper()
	for n := range b {
		if parse(b[:n:n]) == nil {
			t.Errorf("%s: cut to %d of %d bytes it is no error", name, n, len(b))
		}
	}
	if parse(append(bytes.Clone(b), 0)) == nil {
		t.Errorf("%s: a byte too many is no error", name)
	}
	other := bytes.Clone(b)
	other[0] = 99
	if parse(other) == nil {
		t.Errorf("%s: another version is no error", name)
	}
}

func TestEventsThatDoNotFit(t *testing.T) {
	for name, change := range map[string]func(*flow.Event){
		"another type":     func(ev *flow.Event) { ev.Type = flow.EventPortStatus },
		"no packet":        func(ev *flow.Event) { ev.PacketIn = nil },
		"no switch":        func(ev *flow.Event) { ev.Switch = nil },
		"state":            func(ev *flow.Event) { ev.State = []byte{1} },
		"eth_dst mask":     func(ev *flow.Event) { ev.PacketIn.Match.EthDstMask = flow.MAC{1} },
		"eth_src mask":     func(ev *flow.Event) { ev.PacketIn.Match.EthSrcMask = flow.MAC{1} },
		"vlan mask":        func(ev *flow.Event) { ev.PacketIn.Match.VLANMask = flow.VLANPresent },
		"ip_src prefix":    func(ev *flow.Event) { ev.PacketIn.Match.SetIPSrc(netip.MustParsePrefix("10.0.0.0/8")) },
		"ip_dst prefix":    func(ev *flow.Event) { ev.PacketIn.Match.SetIPDst(netip.MustParsePrefix("2001:db8::/32")) },
		"no ip_src prefix": func(ev *flow.Event) { ev.PacketIn.Match.IPSrc = netip.Prefix{} },
		"ip and arp":       func(ev *flow.Event) { ev.PacketIn.Match.SetARPSPA(exact("10.0.0.1")) },
		"unknown field":    func(ev *flow.Event) { ev.PacketIn.Match.Fields |= 1 << 31 },
		"ICMP error": func(ev *flow.Event) {
			ev.PacketIn.Match = ip(flow.EthTypeIPv4, flow.ProtoICMP, "10.0.0.1", "10.0.0.2")
			ev.PacketIn.Match.SetICMP(3, 4)
			ev.PacketIn.Data = make([]byte, 70)
		},
		"metadata mask": func(ev *flow.Event) {
			ev.PacketIn.Match.Fields |= flow.FieldMetadata
			ev.PacketIn.Match.MetadataMask = 1
		},
		"tunnel mask": func(ev *flow.Event) {
			ev.PacketIn.Match.Fields |= flow.FieldTunnelID
			ev.PacketIn.Match.TunnelMask = 1
		},
		"nd target of IPv4": func(ev *flow.Event) {
			ev.PacketIn.Match.Fields |= flow.FieldNDTarget
			ev.PacketIn.Match.NDTarget = netip.MustParseAddr("10.0.0.1")
		},
		"nd target with a zone": func(ev *flow.Event) {
			ev.PacketIn.Match.Fields |= flow.FieldNDTarget
			ev.PacketIn.Match.NDTarget = netip.MustParseAddr("fe80::1%eth0")
		},
	} {
		ev := newEvent(tcp4())
		change(ev)
		if b, ok := AppendEvent(nil, ev); ok {
			t.Errorf("%s: fits, %x", name, b)
		}
	}
}

func everyAction() []flow.Action {
	return []flow.Action{
		{Type: flow.SetQueue, ID: 3}, {Type: flow.PushVLAN, Value: flow.EthTypeVLAN}, {Type: flow.PopVLAN},
		{Type: flow.SetVLANVID, Value: 100}, {Type: flow.SetVLANPCP, Value: 7}, {Type: flow.SetIPDSCP, Value: 46},
		{Type: flow.SetL4Src, Value: 80, IPProto: flow.ProtoTCP}, {Type: flow.SetL4Dst, Value: 65535, IPProto: flow.ProtoSCTP}, {Type: flow.DecTTL},
		{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}, flow.OutputTo(4),
	}
}

func rule(m flow.Match, actions ...flow.Action) flow.Rule {
	return flow.Rule{Priority: 100, BufferID: flow.NoBuffer, Match: m, IdleTimeout: time.Minute, Actions: actions}
}

func decisions() map[string]flow.Decision {
	full := rule(tcp4(), everyAction()...)
	full.CoversIncomplete = true
	full.Table, full.Goto, full.Meter, full.HardTimeout, full.Flags = 1, 2, 1<<31|9, 65535*time.Second, flow.SendFlowRemoved|flow.NoByteCounts
	policy := flow.PolicyVersion{Serial: 1<<63 | 7, Hash: 0xc0ffee}
	var several []flow.Rule
	for _, m := range matches() {
		several = append(several, rule(m, flow.OutputTo(3)), rule(m))
	}
	return map[string]flow.Decision{
		"nothing":              {},
		"deny":                 {Verdict: flow.Deny, Reason: "blocklist: 10.0.0.1", Policy: policy, Rules: []flow.Rule{rule(tcp4())}},
		"allow":                {Verdict: flow.Allow, Reason: "forward: normal", Policy: policy, Rules: []flow.Rule{full}},
		"several rules":        {Verdict: flow.Allow, Rules: several},
		"packet dropped":       {Verdict: flow.Deny, HasPacketOut: true},
		"packet's own actions": {Verdict: flow.Allow, HasPacketOut: true, PacketOut: everyAction(), Rules: []flow.Rule{full, rule(tcp4())}},
		"a reply": {Verdict: flow.Deny, Reason: "no", Policy: policy, Rules: []flow.Rule{rule(tcp4())},
			IfReply: &flow.Reply{Reason: "yes", Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(3))}}},
		"told":   {Verdict: flow.Deny, Reject: true, Reason: "x", Rules: []flow.Rule{rule(tcp4())}},
		"logged": {Verdict: flow.Allow, Log: true, Reason: "x", Rules: []flow.Rule{rule(tcp4())}},
		"again":  {Verdict: flow.Allow, Reason: "x", Reuse: flow.Reuse{For: 5 * time.Second, Fields: flow.FieldIPDst}, Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(3))}},
		"again, and its reply": {Verdict: flow.Allow, Reason: "x", Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(3))},
			Reuse: flow.Reuse{For: time.Second, Switch: true, Reply: &flow.Reply{Reason: "yes", Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(4))}}}},
		"a reply alone": {Verdict: flow.Deny, HasPacketOut: true, IfReply: &flow.Reply{HasPacketOut: true, PacketOut: everyAction()}},
	}
}

// same reports whether two decisions are the same but for an empty slice in place of none.
func same(a, b *flow.Decision) bool {
	for _, replies := range [][2]*flow.Reply{{a.IfReply, b.IfReply}, {a.Reuse.Reply, b.Reuse.Reply}} {
		x, y := replies[0], replies[1]
		if (x == nil) != (y == nil) {
			return false
		}
		if x != nil && !same(&flow.Decision{Rules: x.Rules, HasPacketOut: x.HasPacketOut, PacketOut: x.PacketOut, Reason: x.Reason},
			&flow.Decision{Rules: y.Rules, HasPacketOut: y.HasPacketOut, PacketOut: y.PacketOut, Reason: y.Reason}) {
			return false
		}
	}
	plain := func(d *flow.Decision) flow.Decision {
		c := *d
		c.IfReply, c.Reuse.Reply = nil, nil
		c.Rules = append([]flow.Rule(nil), d.Rules...)
		for i := range c.Rules {
			c.Rules[i].Actions = append([]flow.Action(nil), c.Rules[i].Actions...)
		}
		c.PacketOut = append([]flow.Action(nil), d.PacketOut...)
		c.State, c.Handshake = append([]byte(nil), d.State...), append([]byte(nil), d.Handshake...)
		return c
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

func TestDecisions(t *testing.T) {
	var rd Reader
	var got flow.Decision
	for range 2 { // the second time from what the Reader keeps
		for name, d := range decisions() {
			b, ok := AppendDecision(nil, &d)
			if !ok {
				t.Errorf("%s: doesn't fit", name)
				continue
			}
			got.Reset()
			if err := rd.ParseDecision(b, &got); err != nil || !same(&got, &d) {
				t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, d)
			}
			malformed(t, name, b, func(b []byte) error { return new(Reader).ParseDecision(b, new(flow.Decision)) })
		}
	}
}

func TestReasonIsPrintable(t *testing.T) {
	for reason, want := range map[string]string{
		"a\x00b\r\nc":             "a?b??c",
		strings.Repeat("x", 2000): strings.Repeat("x", 1024),
	} {
		b, _ := AppendDecision(nil, &flow.Decision{Reason: reason})
		var d flow.Decision
		if err := new(Reader).ParseDecision(b, &d); err != nil || d.Reason != want {
			t.Errorf("%.20q: %q, %v", reason, d.Reason, err)
		}
	}
}

func TestDecisionsThatDoNotFit(t *testing.T) {
	first := func(change func(*flow.Rule)) func(*flow.Decision) {
		return func(d *flow.Decision) { change(&d.Rules[0]) }
	}
	action := func(a flow.Action) func(*flow.Decision) {
		return first(func(r *flow.Rule) { r.Actions = []flow.Action{a} })
	}
	for name, change := range map[string]func(*flow.Decision){
		"state":           func(d *flow.Decision) { d.State = []byte{1} },
		"handshake":       func(d *flow.Decision) { d.Handshake = []byte{1} },
		"entries":         func(d *flow.Decision) { d.Entries = make([]flow.Entry, 1) },
		"failure":         func(d *flow.Decision) { d.Failure = errors.New("no") },
		"256 rules":       func(d *flow.Decision) { d.Rules = make([]flow.Rule, 256) },
		"256 actions out": func(d *flow.Decision) { d.PacketOut = make([]flow.Action, 256) },
		"256 actions":     first(func(r *flow.Rule) { r.Actions = make([]flow.Action, 256) }),
		"reply": func(d *flow.Decision) {
			d.IfReply = &flow.Reply{Rules: []flow.Rule{{Command: flow.Delete}}}
		},
		"delete":       first(func(r *flow.Rule) { r.Command = flow.Delete }),
		"modify":       first(func(r *flow.Rule) { r.Command = flow.Modify }),
		"cookie":       first(func(r *flow.Rule) { r.Cookie = 1 }),
		"cookie mask":  first(func(r *flow.Rule) { r.CookieMask = 1 }),
		"out port":     first(func(r *flow.Rule) { r.OutPort = 1 }),
		"buffer":       first(func(r *flow.Rule) { r.BufferID = 0 }),
		"idle timeout": first(func(r *flow.Rule) { r.IdleTimeout = 65536 * time.Second }),
		"hard timeout": first(func(r *flow.Rule) { r.HardTimeout = -time.Second }),
		"prefix":       first(func(r *flow.Rule) { r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/24")) }),
		"mask":         first(func(r *flow.Rule) { r.Match.SetEthSrc(flow.MAC{1}, flow.MAC{1}) }),
		"set eth_src":  action(flow.Action{Type: flow.SetEthSrc}),
		"set eth_dst":  action(flow.Action{Type: flow.SetEthDst}),
		"set ip_src":   action(flow.Action{Type: flow.SetIPSrc}),
		"set ip_dst":   action(flow.Action{Type: flow.SetIPDst}),
		"unsupported":  action(flow.Action{Type: flow.Unsupported}),
		"no action":    action(flow.Action{}),
	} {
		d := flow.Decision{Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(1))}}
		change(&d)
		if b, ok := AppendDecision([]byte("before"), &d); ok || string(b) != "before" {
			t.Errorf("%s: fits %v, %x", name, ok, b)
		}
	}
}

func TestUnfit(t *testing.T) {
	if err := new(Reader).ParseDecision(AppendUnfit(nil), new(flow.Decision)); err != ErrUnfit {
		t.Errorf("%v, want ErrUnfit", err)
	}
}

// The forms, byte by byte as the package's documentation has them.
const (
	documentedMatch = `ff1f0000 07000000 020000000002 020000000001 0008 0000 00 2e 01 06 00 00 0000 409c 1600
		03 000000 0a000001 000000000000000000000000 0a000002 000000000000000000000000`
	documentedEvent    = `01 04 000000000000 ab00000000000000`
	documentedDecision = `01 01 01 01 01 000000 0700000000000000 eeffc000 05000000`
	documentedRule     = `6400 3c00 0000 0100 01 02 01 00 09000000`
	documentedAction   = `01 00 ffff fdffffff`
	documentedOut      = `01 00 0000 04000000`
)

func documented() (flow.Match, flow.Decision) {
	m := tcp4()
	m.Fields |= flow.FieldVLANPCP // as all the fields up to l4_dst
	r := rule(m, flow.Action{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff})
	r.Table, r.Goto, r.Meter, r.Flags = 1, 2, 9, flow.SendFlowRemoved
	return m, flow.Decision{Verdict: flow.Allow, HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(4)},
		Policy: flow.PolicyVersion{Serial: 7, Hash: 0xc0ffee}, Reason: "a: bc", Rules: []flow.Rule{r}}
}

func TestDocumentedBytes(t *testing.T) {
	m, d := documented()
	event := unhex(t, documentedEvent+documentedMatch)
	if b, ok := AppendEvent(nil, newEvent(m)); !ok || !bytes.Equal(b, event) {
		t.Errorf("event\n got %x\nwant %x", b, event)
	}
	decision := append(unhex(t, documentedDecision+documentedRule+documentedMatch+documentedAction+documentedOut), "a: bc"...)
	if b, ok := AppendDecision(nil, &d); !ok || !bytes.Equal(b, decision) {
		t.Errorf("decision\n got %x\nwant %x", b, decision)
	}
}

func TestMalformedDecisions(t *testing.T) {
	_, d := documented()
	good, _ := AppendDecision(nil, &d)
	const match = decisionHeader + ruleHeader
	for name, change := range map[string]func([]byte){
		"verdict":        func(b []byte) { b[1] = 3 },
		"has packet_out": func(b []byte) { b[2] = 2 },
		"rules":          func(b []byte) { b[3] = 255 },
		"packet_out":     func(b []byte) { b[4] = 255 },
		"reply":          func(b []byte) { b[5] = 2 },
		"no reply":       func(b []byte) { b[5] = 1 },
		"reason":         func(b []byte) { b[23] = 0xff },
		"actions":        func(b []byte) { b[decisionHeader+10] = 255 },
		"covers":         func(b []byte) { b[decisionHeader+11] = 2 },
		"field":          func(b []byte) { b[match+3] = 0x80 },
		"wide":           func(b []byte) { b[match+2] |= byte(flow.FieldNDTarget >> 16) },
		"ip and arp":     func(b []byte) { b[match+2] |= byte(flow.FieldARPSPA >> 16) },
		"action":         func(b []byte) { b[match+narrow] = byte(flow.SetEthSrc) },
		"no action":      func(b []byte) { b[match+narrow] = 0 },
	} {
		b := bytes.Clone(good)
		change(b)
		if err := new(Reader).ParseDecision(b, new(flow.Decision)); err == nil || err == ErrUnfit {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReaderKeepsLittle(t *testing.T) {
	var rd Reader
	for i := range 4 * most {
		d := flow.Decision{Reason: fmt.Sprint("rule ", i), Rules: []flow.Rule{rule(tcp4(), flow.OutputTo(flow.PortNo(i)))}}
		if i%2 == 0 {
			d.Reason += strings.Repeat("x", 100<<10)
		}
		b, _ := AppendDecision(nil, &d)
		if err := rd.ParseDecision(b, new(flow.Decision)); err != nil {
			t.Fatal(err)
		}
	}
	size := 0
	for k, v := range rd.reasons {
		size += len(k) + len(v)
	}
	if len(rd.actions) > most || len(rd.reasons) > most || size > most*2*maxReason {
		t.Errorf("%d lists, %d reasons of %d bytes", len(rd.actions), len(rd.reasons), size)
	}
}

// A decision's own list of actions may be appended to and changed; those of the rules are shared.
func TestSharedActionsStay(t *testing.T) {
	var rd Reader
	d := flow.Decision{HasPacketOut: true, PacketOut: everyAction(), Rules: []flow.Rule{rule(tcp4(), everyAction()...)}}
	b, _ := AppendDecision(nil, &d)
	var got flow.Decision
	for range 3 {
		got.Reset()
		if err := rd.ParseDecision(b, &got); err != nil || !same(&got, &d) {
			t.Fatalf("%v: %+v", err, got)
		}
		clear(got.PacketOut)
		_ = append(got.Rules[0].Actions, flow.OutputTo(99))
		got.Rules[0] = flow.Rule{}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var rd Reader
	var b []byte
	var got flow.Decision
	m, d := documented()
	ev, into := newEvent(m), blank()
	if n := testing.AllocsPerRun(100, func() {
		b, _ = AppendEvent(b[:0], ev)
		if err := ParseEvent(b, into); err != nil {
			t.Fatal(err)
		}
		b, _ = AppendDecision(b[:0], &d)
		got.Reset()
		if err := rd.ParseDecision(b, &got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, m := range matches() {
		ev := newEvent(m)
		ev.PacketIn.Incomplete = m.Missing()
		b, _ := AppendEvent(nil, ev)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, again := blank(), blank()
		if ParseEvent(b, ev) != nil {
			return
		}
		second, ok := AppendEvent(nil, ev)
		if !ok || len(second) != len(b) {
			t.Fatalf("%x is read but not written: %x", b, second)
		}
		if err := ParseEvent(second, again); err != nil || !reflect.DeepEqual(ev, again) {
			t.Fatalf("%v: %x became %x", err, b, second)
		}
	})
}

// A reply has no reply, however deep a guest writes it.
func TestReplyOfReply(t *testing.T) {
	inner, _ := AppendDecision(nil, &flow.Decision{IfReply: &flow.Reply{}})
	outer, _ := AppendDecision(nil, &flow.Decision{IfReply: &flow.Reply{}})
	if err := new(Reader).ParseDecision(append(outer[:decisionHeader], inner...), new(flow.Decision)); err == nil {
		t.Error("a reply's reply is read")
	}
}

func FuzzParseDecision(f *testing.F) {
	f.Add([]byte{0})
	for _, d := range decisions() {
		b, _ := AppendDecision(nil, &d)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var rd Reader
		var d, again flow.Decision
		if rd.ParseDecision(b, &d) != nil {
			return
		}
		second, ok := AppendDecision(nil, &d)
		if !ok || len(second) > len(b)+2*maxReason {
			t.Fatalf("%x is read but not written: %x", b, second)
		}
		if err := rd.ParseDecision(second, &again); err != nil || !same(&d, &again) {
			t.Fatalf("%v: %x became %x", err, b, second)
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	nd := ip(flow.EthTypeIPv6, flow.ProtoICMPv6, "fe80::1", "fe80::2")
	nd.SetICMP(135, 0)
	nd.Fields |= flow.FieldNDTarget
	nd.NDTarget = netip.MustParseAddr("fe80::2")
	for name, m := range map[string]flow.Match{"tcp": tcp4(), "nd": nd} {
		ev, back := newEvent(m), blank()
		buf := make([]byte, 0, MaxEvent)
		b.Run(name+"/append", func(b *testing.B) {
			for b.Loop() {
				if _, ok := AppendEvent(buf, ev); !ok {
					b.Fatal("it doesn't fit")
				}
			}
		})
		msg, _ := AppendEvent(nil, ev)
		b.Run(name+"/parse", func(b *testing.B) {
			for b.Loop() {
				if err := ParseEvent(msg, back); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
