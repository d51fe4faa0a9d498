package flow

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	ethernet = "020000000002 020000000001 "
	tcpSYN   = ethernet + "0800 45b80028 00010000 40060000 0a000001 0a000002 9c400016 00000000 00000000 50022000 00000000"
	udpFrag  = ethernet + "0800 4500001c 00010020 40110000 0a000001 0a000002 9c400035 000c0000" // fragment offset 256
	arpAsk   = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"
	tagged   = ethernet + "8100 a064 0800 4500001c 00010000 40010000 0a000001 0a000002 08000000 00010001"
	qinq     = ethernet + "88a8 0007 8100 0064 86dd 60012345 0008 3aff 20010db8000000000000000000000001 20010db8000000000000000000000002 80000000 00010001"
	first    = ethernet + "0800 45000028 00012000 40060000 0a000001 0a000002 9c400016 00000000 00000000 50022000 00000000"
	long     = ethernet + "0800 45000029 00010000 40060000 0a000001 0a000002 9c400016 00000000 00000000 50022000 00000000" // a byte more than there is
	later6   = ethernet + "86dd 60000000 0010 2c40 20010db8000000000000000000000001 20010db8000000000000000000000002 06000009 00000001 9c400016 00000000"
	auth6    = ethernet + "86dd 60000000 0014 3340 20010db8000000000000000000000001 20010db8000000000000000000000002 11010000 00000001 00000002 14e914e9 00080000"
	chain    = ethernet + "86dd 60000000 0008 0040 20010db8000000000000000000000001 20010db8000000000000000000000002 1109 000000000000"
	arpOp    = "ffffffffffff 020000000001 0806 0001 0800 06 04 0101 020000000001 0a000001 000000000000 0a000002"
	solicit  = "3333ff000002 020000000001 86dd 60000000 0018 3aff fe800000000000000000000000000001 ff0200000000000000000001ff000002 87000000 00000000 fe800000000000000000000000000002"
	hopByHop = ethernet + "86dd 60000000 0010 0040 20010db8000000000000000000000001 20010db8000000000000000000000002 1100 050200000000 14e914e9 00080000"
	lldp     = "0180c200000e 020000000001 88cc 0207"
	stp      = "0180c2000000 020000000001 0026 424203"
)

func TestParseFrame(t *testing.T) {
	for _, row := range []struct{ name, frame, want string }{
		{"tcp", tcpSYN, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=46,ip_ecn=0,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=22"},
		{"later fragment has no ports", udpFrag, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=17,ip_src=10.0.0.1,ip_dst=10.0.0.2"},
		{"arp", arpAsk, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00"},
		{"vlan tag", tagged, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x1064/0x1fff,vlan_pcp=5,ip_dscp=0,ip_ecn=0,ip_proto=1,ip_src=10.0.0.1,ip_dst=10.0.0.2,icmp_type=8,icmp_code=0"},
		{"two tags: the inner one is the EtherType", qinq, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x8100,vlan_vid=0x1007/0x1fff,vlan_pcp=0"},
		{"first fragment has no ports", first, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2"},
		{"longer than the frame", long, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff"},
		{"later fragment of IPv6", later6, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=44,ip_src=2001:db8::1,ip_dst=2001:db8::2,ipv6_flabel=0x0"},
		{"authentication header", auth6, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=17,ip_src=2001:db8::1,ip_dst=2001:db8::2,l4_src=5353,l4_dst=5353,ipv6_flabel=0x0"},
		{"broken extension header", chain, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_src=2001:db8::1,ip_dst=2001:db8::2"},
		{"arp operation over 255", arpOp, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00"},
		{"neighbour solicitation", solicit, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=33:33:ff:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=58,ip_src=fe80::1,ip_dst=ff02::1:ff00:2,icmp_type=135,icmp_code=0,ipv6_flabel=0x0,ipv6_nd_target=fe80::2,ipv6_nd_sll=00:00:00:00:00:00"},
		{"extension header", hopByHop, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_ecn=0,ip_proto=17,ip_src=2001:db8::1,ip_dst=2001:db8::2,l4_src=5353,l4_dst=5353,ipv6_flabel=0x0"},
		{"lldp", lldp, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc,vlan_vid=0x0000/0x1fff"},
		{"802.3", stp, "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=01:80:c2:00:00:00,eth_type=0x05ff,vlan_vid=0x0000/0x1fff"},
		{"runt", "0200", "in_port=7"},
	} {
		t.Run(row.name, func(t *testing.T) {
			frame := unhex(t, row.frame)
			m := ParseFrame(frame, 7)
			if m.String() != row.want {
				t.Errorf("\n got %v\nwant %s", m, row.want)
			}
			if m != m.Canonical() {
				t.Errorf("not canonical: %+v", m)
			}
			if !m.Covers(&m) {
				t.Error("a packet's own match does not cover it")
			}
			// Cut anywhere by the switch, the fields that remain are those of the whole frame; what is gone and
			// the protocols promise is unseen.
			for n := range frame {
				cut := Parser{}.Parse(frame[:n], len(frame), 7)
				if keep := m.Keep(cut.Fields); cut != keep {
					t.Errorf("%d bytes: %v, want %v", n, cut, keep)
				}
				if lost := m.Fields &^ cut.Fields; lost&^cut.Unseen() != 0 || lost != 0 && cut.Missing() == 0 {
					t.Errorf("%d bytes: %v, of which %v is neither shown nor unseen", n, cut, lost&^cut.Unseen())
				}
			}
		})
	}
	frame := unhex(t, qinq)
	m := Parser{VLANLimit: 2}.Parse(frame, len(frame), 7)
	if want := "in_port=7,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x1007/0x1fff,vlan_pcp=0,ip_dscp=0,ip_ecn=0,ip_proto=58,ip_src=2001:db8::1,ip_dst=2001:db8::2,icmp_type=128,icmp_code=0,ipv6_flabel=0x12345"; m.String() != want {
		t.Errorf("two tags, both taken off\n got %v\nwant %s", m, want)
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range []string{tcpSYN, udpFrag, arpAsk, tagged, qinq, solicit, hopByHop, lldp, stp} {
		f.Add(unhex(f, s), uint32(1))
	}
	f.Fuzz(func(t *testing.T, frame []byte, port uint32) {
		m := ParseFrame(frame, PortNo(port))
		for n := range frame {
			if cut := (Parser{}).Parse(frame[:n], len(frame), PortNo(port)); cut != m.Keep(cut.Fields) || m.Fields&^cut.Fields&^cut.Unseen() != 0 {
				t.Fatalf("%x: cut to %d bytes it is %v, whole %v", frame, n, cut, m)
			}
		}
		if m != m.Canonical() || !m.Covers(&m) {
			t.Fatalf("%x: not canonical or does not cover itself: %v", frame, m)
		}
		if err := m.Complete(nil); err != nil && m.Has(FieldL4Src) {
			t.Fatalf("%x: %v", frame, err)
		}
	})
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestCovers(t *testing.T) {
	packet := ParseFrame(unhex(t, tcpSYN), 7)
	for _, row := range []struct {
		name string
		set  func(*Match)
		want bool
	}{
		{"any", func(m *Match) {}, true},
		{"in_port", func(m *Match) { m.SetInPort(7) }, true},
		{"other in_port", func(m *Match) { m.SetInPort(8) }, false},
		{"prefix", func(m *Match) { m.SetIPSrc(prefix("10.0.0.0/8")) }, true},
		{"other prefix", func(m *Match) { m.SetIPSrc(prefix("11.0.0.0/8")) }, false},
		{"IPv6 prefix of everything", func(m *Match) { m.SetIPSrc(prefix("::/0")) }, false},
		{"masked MAC", func(m *Match) { m.SetEthDst(MAC{2}, MAC{0xff}) }, true},
		{"untagged", func(m *Match) { m.SetVLAN(VLANNone, VLANExact) }, true},
		{"any tag", func(m *Match) { m.SetVLAN(VLANPresent, VLANPresent) }, false},
		{"field the packet lacks", func(m *Match) { m.Fields |= FieldARPOp }, false},
		{"port", func(m *Match) { m.SetL4Dst(22) }, true},
		{"other port", func(m *Match) { m.SetL4Dst(23) }, false},
	} {
		var m Match
		row.set(&m)
		if got := m.Covers(&packet); got != row.want {
			t.Errorf("%s: %v covers: %v", row.name, m, got)
		}
	}
}

func TestComplete(t *testing.T) {
	tcp := ParseFrame(unhex(t, tcpSYN), 7)
	six := ParseFrame(unhex(t, hopByHop), 7)
	for _, row := range []struct {
		name   string
		set    func(*Match)
		packet *Match
		want   string // the completed match, or the error
	}{
		{"address", func(m *Match) { m.SetIPSrc(prefix("10.0.0.1/32")) }, nil, "eth_type=0x0800,ip_src=10.0.0.1"},
		{"IPv6 address", func(m *Match) { m.SetIPDst(prefix("2001:db8::/32")) }, nil, "eth_type=0x86dd,ip_dst=2001:db8::/32"},
		{"ARP", func(m *Match) { m.SetARPSPA(prefix("10.0.0.1/32")) }, nil, "eth_type=0x0806,arp_spa=10.0.0.1"},
		{"port takes the packet's protocol", func(m *Match) { m.SetL4Dst(22) }, &tcp, "eth_type=0x0800,ip_proto=6,l4_dst=22"},
		{"port of an IPv6 packet", func(m *Match) { m.SetL4Dst(5353) }, &six, "eth_type=0x86dd,ip_proto=17,l4_dst=5353"},
		{"port of nothing", func(m *Match) { m.SetL4Dst(22) }, nil, "l4_dst without ip_proto"},
		{"protocol of nothing", func(m *Match) { m.SetIPProto(6) }, nil, "ip_proto without eth_type"},
		{"ICMPv6", func(m *Match) { m.SetIPProto(58); m.SetICMP(128, 0) }, nil, "eth_type=0x86dd,ip_proto=58,icmp_type=128,icmp_code=0"},
		{"contradiction", func(m *Match) { m.SetEthType(EthTypeARP); m.SetIPSrc(prefix("10.0.0.1/32")) }, nil, "eth_type is arp, and ip_src needs ipv4"},
		{"two families", func(m *Match) { m.SetIPSrc(prefix("10.0.0.1/32")); m.SetIPDst(prefix("::1/128")) }, nil, "ip_src is of ipv4, and ip_dst of ipv6: a packet is of one of them"},
		{"ports of ICMP", func(m *Match) { m.SetIPProto(1); m.SetL4Src(1) }, nil, "needs ip_proto 6, 17 or 132, not 1"},
		{"protocol of ARP", func(m *Match) { m.SetEthType(EthTypeARP); m.SetIPProto(1) }, nil, "needs eth_type 0x0800 or 0x86dd"},
		{"vlan_pcp", func(m *Match) { m.Fields |= FieldVLANPCP }, nil, "vlan_vid=0x1000/0x1000,vlan_pcp=0"},
	} {
		var m Match
		row.set(&m)
		err := m.Complete(row.packet)
		if got := m.String(); err != nil && !strings.Contains(err.Error(), row.want) || err == nil && got != row.want {
			t.Errorf("%s: %s, %v; want %s", row.name, got, err, row.want)
		}
	}
}

func TestPacketActions(t *testing.T) {
	packet := ParseFrame(unhex(t, tcpSYN), 7)
	var fits, other Match
	fits.SetInPort(7)
	other.SetInPort(8)
	d := Decision{Rules: []Rule{
		{Priority: 1, Match: fits, Actions: []Action{OutputTo(1)}},
		{Priority: 9, Match: other, Actions: []Action{OutputTo(2)}},
		{Priority: 5, Match: fits, Actions: []Action{OutputTo(PortNormal)}},
		{Priority: 8, Match: fits, Command: Delete},
	}}
	if got, rule := d.PacketActions(&packet); ActionsString(got) != "output:NORMAL" || rule != 2 {
		t.Errorf("rules only: %v by rule %d", got, rule)
	}
	for name, tt := range map[string]struct {
		more Rule
		want int
	}{
		"a deny of equal priority":     {Rule{Priority: 5, Match: fits}, 4},
		"to the gateway, equal":        {Rule{Priority: 5, Match: fits, Actions: []Action{OutputTo(PortController)}}, 4},
		"a goto of equal priority":     {Rule{Priority: 5, Match: fits, Goto: 1}, 2},
		"a later table's, higher":      {Rule{Table: 1, Priority: 6, Match: fits, Actions: []Action{OutputTo(3)}}, 4},
		"a later table's deny, higher": {Rule{Table: 1, Priority: 6, Match: fits}, 4},
		"a later table's, lower":       {Rule{Table: 1, Priority: 4, Match: fits}, 2},
	} {
		d := Decision{Rules: append(slices.Clone(d.Rules), tt.more)}
		if _, got := d.PacketActions(&packet); got != tt.want {
			t.Errorf("%s: it is rule %d, want %d", name, got, tt.want)
		}
	}
	two := Decision{Rules: []Rule{{Table: 1, Priority: 9, Match: fits, Actions: []Action{OutputTo(1)}}, {Priority: 2, Match: fits}, {Priority: 1, Match: fits, Goto: 1}}}
	if got, rule := two.PacketActions(&packet); len(got) != 0 || rule != 1 {
		t.Errorf("a deny in the first table: %v by rule %d", got, rule)
	}
	d.HasPacketOut = true
	if got, rule := d.PacketActions(&packet); len(got) != 0 || rule != -1 {
		t.Errorf("empty packet_out: %v by rule %d", got, rule)
	}
	d.Reset()
	if got, rule := d.PacketActions(&packet); len(got) != 0 || rule != -1 {
		t.Errorf("nothing: %v by rule %d", got, rule)
	}
}

func TestTextForms(t *testing.T) {
	for _, s := range []string{"1", "0x1", "00:00:00:00:00:00:00:01", "0000000000000001"} {
		if d, err := ParseDPID(s); err != nil || d.String() != "0000000000000001" {
			t.Errorf("ParseDPID(%q) = %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "g", "11112222333344445", "0x"} {
		if _, err := ParseDPID(s); err == nil {
			t.Errorf("ParseDPID(%q) is taken", s)
		}
	}
	for _, v := range []PolicyVersion{{Serial: 1, Hash: 2}, {Serial: math.MaxUint64, Hash: math.MaxUint32}} {
		if got, err := ParsePolicyVersion(v.String()); err != nil || got != v {
			t.Errorf("%v comes back as %v, %v", v, got, err)
		}
		if v.Tag() == 0 {
			t.Errorf("%v: tag 0 means no version", v)
		}
	}
	for _, s := range []string{"1", "1-", "-1", "x-00000000", "1-123", "1-123456789"} {
		if _, err := ParsePolicyVersion(s); err == nil {
			t.Errorf("ParsePolicyVersion(%q) is taken", s)
		}
	}
	for typ := EventPacketIn; typ <= EventHandshake; typ++ {
		if got, err := ParseEventType(typ.String()); err != nil || got != typ {
			t.Errorf("%v comes back as %v, %v", typ, got, err)
		}
	}
	for _, p := range []PortNo{1, PortNormal, PortLocal, PortIn} {
		if got, err := ParsePort(p.String()); err != nil || got != p {
			t.Errorf("%v comes back as %v, %v", p, got, err)
		}
	}
	r := Rule{Table: 1, Priority: 5, IdleTimeout: 30 * time.Second, Actions: []Action{OutputTo(1), {Type: SetQueue, ID: 2}}, Goto: 2}
	if got, want := r.String(), "table=1,priority=5,any idle=30s actions=output:1,set_queue:2,goto:2"; got != want {
		t.Errorf("rule: %q, want %q", got, want)
	}
	if err := Errorf(Refused, "status %d", 403); KindOf(err) != Refused || err.Error() != "refused: status 403" {
		t.Errorf("%v of kind %v", err, KindOf(err))
	}
}

func BenchmarkParseFrame(b *testing.B) {
	frame := unhex(b, tcpSYN)
	b.ReportAllocs()
	for b.Loop() {
		m := ParseFrame(frame, 1)
		_ = m.Fields
	}
}

// Keep is what it was before it only cleared what is dropped: Canonical of the fields that stay.
func TestKeep(t *testing.T) {
	whole := Match{ // every field at once, each with a value that shows
		Fields: fieldEnd - 1, InPort: 7, EthDst: MAC{2, 1}, EthDstMask: MAC{2, 1}, EthSrc: MAC{2, 2}, EthSrcMask: MACExact, EthType: EthTypeIPv4,
		VLAN: VLANPresent | 7, VLANMask: VLANExact, VLANPCP: 1, IPDSCP: 2, IPECN: 3, IPProto: ProtoTCP, ICMPType: 4, ICMPCode: 5,
		IPSrc: netip.MustParsePrefix("10.0.0.0/8"), IPDst: netip.MustParsePrefix("2001:db8::/32"), L4Src: 6, L4Dst: 7,
		ARPOp: 8, ARPSPA: netip.MustParsePrefix("10.0.0.1/32"), ARPTPA: netip.MustParsePrefix("10.0.0.2/32"), ARPSHA: MAC{3}, ARPTHA: MAC{4},
		FlowLabel: 9, NDTarget: netip.MustParseAddr("fe80::2"), Metadata: 10, MetadataMask: 0xff, TunnelID: 11, TunnelMask: 0xff, NDSLL: MAC{5},
	}
	check := func(m Match, f Field) {
		t.Helper()
		want := m
		want.Fields &= f
		if want, got := want.Canonical(), m.Keep(f); got != want {
			t.Errorf("keep %v of %v\n got %+v\nwant %+v", f, m.Fields, got, want)
		}
	}
	if whole != whole.Canonical() {
		t.Fatal("the match is not canonical")
	}
	for bit := Field(1); bit < fieldEnd; bit <<= 1 {
		check(whole, bit)
		check(whole, ^bit)
		one := whole
		one.Fields = bit
		check(one.Canonical(), bit)
		check(one.Canonical(), ^bit)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		some := whole
		some.Fields &= Field(r.Uint32())
		check(some.Canonical(), Field(r.Uint32()))
	}
}

func BenchmarkCanonical(b *testing.B) {
	m := ParseFrame(unhex(b, tcpSYN), 1)
	var c Match
	for b.Loop() {
		c = m.Canonical()
	}
	_ = c.Fields
}

// TestAppendKey: two matches have the same bytes if and only if what they keep of the fields is the same. Each member of a match that a field
// has is changed in turn.
func TestAppendKey(t *testing.T) {
	whole := Match{
		Fields: AllFields, InPort: 7, EthDst: MAC{2, 1}, EthDstMask: MACExact, EthSrc: MAC{2, 2}, EthSrcMask: MACExact, EthType: EthTypeIPv4,
		VLAN: VLANPresent | 7, VLANMask: VLANExact, VLANPCP: 1, IPDSCP: 2, IPECN: 3, IPProto: ProtoTCP, ICMPType: 4, ICMPCode: 5,
		IPSrc: netip.MustParsePrefix("10.0.0.0/8"), IPDst: netip.MustParsePrefix("2001:db8::/32"), L4Src: 6, L4Dst: 7,
		ARPOp: 8, ARPSPA: netip.MustParsePrefix("10.0.0.1/32"), ARPTPA: netip.MustParsePrefix("10.0.0.2/32"), ARPSHA: MAC{3}, ARPTHA: MAC{4},
		FlowLabel: 9, NDTarget: netip.MustParseAddr("fe80::2"), Metadata: 10, MetadataMask: 0xff, TunnelID: 11, TunnelMask: 0xff, NDSLL: MAC{5},
	}
	all := []Match{whole}
	v := reflect.ValueOf(whole)
	for i := 1; i < v.NumField(); i++ { // all but Fields
		for _, other := range others(t, v.Field(i).Interface()) {
			m := whole
			reflect.ValueOf(&m).Elem().Field(i).Set(reflect.ValueOf(other))
			all = append(all, m)
		}
	}
	for i := range Fields {
		m := whole
		m.Fields &^= Fields[i].Field
		all = append(all, m.Canonical())
	}
	parts := []Field{AllFields, 0, Conversation}
	for i := range Fields {
		parts = append(parts, Fields[i].Field, AllFields&^Fields[i].Field)
	}
	for _, f := range parts {
		for i := range all {
			for j := range i {
				a, b := &all[i], &all[j]
				if same, keys := a.Keep(f) == b.Keep(f), bytes.Equal(a.AppendKey(nil, f), b.AppendKey(nil, f)); same != keys {
					t.Fatalf("of %v: the same is %t, their keys %t\n%+v\n%+v", f, same, keys, a, b)
				}
			}
		}
	}
}

// others returns values of the type of v that are not v: another bit at each end, and another length.
func others(t *testing.T, v any) []any {
	switch v := v.(type) {
	case uint8:
		return []any{v ^ 1, v ^ 0x20}
	case uint16:
		return []any{v ^ 1, v ^ 0x8000}
	case uint32:
		return []any{v ^ 1, v ^ 1<<19}
	case PortNo:
		return []any{v ^ 1, v ^ 1<<31}
	case uint64:
		return []any{v ^ 1, v ^ 1<<63}
	case MAC:
		a, b := v, v
		a[0] ^= 1
		b[5] ^= 1
		return []any{a, b}
	case netip.Addr:
		return []any{netip.MustParseAddr("fe80::3"), netip.MustParseAddr("10.0.0.1")}
	case netip.Prefix:
		return []any{netip.PrefixFrom(v.Addr(), v.Bits()-1), netip.MustParsePrefix("11.0.0.0/8"), netip.MustParsePrefix("2001:db9::/32"), netip.MustParsePrefix("::a00:0/104")}
	}
	t.Fatalf("a member of type %T", v)
	return nil
}

func BenchmarkKeep(b *testing.B) {
	m := ParseFrame(unhex(b, tcpSYN), 1)
	const f = FieldInPort | FieldEthType | FieldIPProto | FieldIPSrc | FieldIPDst | FieldL4Dst
	var c Match
	for b.Loop() {
		c = m.Keep(f)
	}
	_ = c.Fields
}
