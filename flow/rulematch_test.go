package flow_test

import (
	"bytes"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/policytest"
)

// packetIn is what a session makes of a frame.
func packetIn(frame []byte, port flow.PortNo) *flow.PacketIn {
	m := flow.ParseFrame(frame, port)
	return &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame, Incomplete: m.Missing()}
}

const exactTCP = "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
	"ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=443"

func TestRuleMatch(t *testing.T) {
	const none = "none"
	for _, row := range []struct {
		packet string
		cut    int                 // bytes that are seen; 0 is all
		change func([]byte) []byte // of the frame
		want10 string              // empty: as in 1.3
		want13 string
	}{
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", want13: exactTCP},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", change: func(b []byte) []byte { b[15] = 0xb9; return b }, want13: exactTCP}, // DSCP and ECN are no conversation's
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443 vlan 7",
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x1007/0x1fff,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=443"},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", cut: 37, want13: none},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", cut: 24, want13: none},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", cut: 13, want13: none},
		{packet: "fragment 10.0.0.1 > 10.0.0.2", want13: none},
		{packet: "tcp 10.0.0.1:0 > 10.0.0.2:0", want13: none}, // as fragments have
		{packet: "icmp 10.0.0.1 > 10.0.0.2 type 8",
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=1,ip_src=10.0.0.1,ip_dst=10.0.0.2,icmp_type=8,icmp_code=0"},
		{packet: "icmp 10.0.0.1 > 10.0.0.2 type 128", change: func(b []byte) []byte { b[23] = flow.ProtoICMPv6; return b }, // ICMPv6 in IPv4
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=58,ip_src=10.0.0.1,ip_dst=10.0.0.2"},
		{packet: "udp [2001:db8::1]:1 > [2001:db8::2]:53", want10: none,
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_proto=17,ip_src=2001:db8::1,ip_dst=2001:db8::2,l4_src=1,l4_dst=53"},
		{packet: "icmpv6 2001:db8::1 > 2001:db8::2 type 135", want10: none, // no nd_target
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff,ip_proto=58,ip_src=2001:db8::1,ip_dst=2001:db8::2,icmp_type=135,icmp_code=0"},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", change: func(b []byte) []byte { b[23] = flow.ProtoSCTP; return b }, want10: none,
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=132,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=443"},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443", change: func(b []byte) []byte { b[23] = 47; return b },
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=47,ip_src=10.0.0.1,ip_dst=10.0.0.2"},
		{packet: "arp 10.0.0.1 > 10.0.0.2", // no arp_sha, no arp_tha
			want13: "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2"},
		{packet: "arp 10.0.0.1 > 10.0.0.2", change: func(b []byte) []byte { b[20] = 1; return b }, want13: none}, // operation 257
		{packet: "lldp",
			want13: "in_port=1,eth_src=02:00:00:00:00:00,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc,vlan_vid=0x0000/0x1fff"},
		{packet: "tcp 10.0.0.1:40000 > 10.0.0.2:443 vlan 7", change: func(b []byte) []byte { // a second tag
			return bytes.Join([][]byte{b[:12], {0x88, 0xa8, 0, 9}, b[12:]}, nil)
		}, want13: none},
	} {
		frame, port, err := policytest.Packet(row.packet)
		if err != nil {
			t.Fatal(err)
		}
		if row.cut > 0 {
			frame = frame[:row.cut]
		}
		if row.change != nil {
			frame = row.change(frame)
		}
		p := packetIn(frame, port)
		for _, sw := range []*flow.Switch{{Protocol: flow.OpenFlow10}, {Protocol: flow.OpenFlow13}, nil,
			{Protocol: flow.P4Runtime, Matchable: []flow.Field{flow.FieldInPort, flow.Conversation}}, {Protocol: flow.P4Runtime}} {
			want := row.want13
			switch {
			case sw != nil && sw.Protocol == flow.OpenFlow10 && row.want10 != "":
				want = row.want10
			case sw != nil && sw.Protocol == flow.P4Runtime && sw.Matchable == nil:
				want = none
			}
			m, ok := flow.RuleMatch(sw, p)
			got := none
			if ok {
				got = m.String()
			}
			if got != want {
				t.Errorf("%s, %d bytes, %+v:\n got %s\nwant %s", row.packet, len(frame), sw, got, want)
			}
			if ok && (!m.Covers(&p.Match) || m != m.Canonical()) {
				t.Errorf("%s: %v does not cover the packet, or is not canonical", row.packet, m)
			}
		}
	}
}

// TestRuleMatchOfPrograms: a rule is of one P4 table, and none that loses a field
// is narrow enough.
func TestRuleMatchOfPrograms(t *testing.T) {
	frame, port, err := policytest.Packet("tcp 10.0.0.1:40000 > 10.0.0.2:443")
	if err != nil {
		t.Fatal(err)
	}
	p := packetIn(frame, port)
	whole := p.Match.Fields & flow.Conversation
	for _, row := range []struct {
		tables []flow.Field
		want   bool
	}{
		{[]flow.Field{whole}, true},
		{[]flow.Field{flow.FieldEthSrc, whole | flow.FieldARPOp}, true},
		{[]flow.Field{whole &^ flow.FieldL4Src}, false},
		{[]flow.Field{whole &^ flow.FieldL4Src, whole &^ flow.FieldL4Dst}, false},
	} {
		if _, ok := flow.RuleMatch(&flow.Switch{Protocol: flow.P4Runtime, Matchable: row.tables}, p); ok != row.want {
			t.Errorf("tables of %v: %v, want %v", row.tables, ok, row.want)
		}
	}
	// What the digest does not have counts for nothing, and is no header that is missing.
	digest := &flow.PacketIn{BufferID: flow.NoBuffer, Match: p.Match.Keep(flow.FieldInPort | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldEthType)}
	sw := &flow.Switch{Protocol: flow.P4Runtime, Matchable: []flow.Field{digest.Match.Fields}}
	if m, ok := flow.RuleMatch(sw, digest); !ok || m != digest.Match {
		t.Errorf("a digest's: %v, %v", m, ok)
	}
	sw.Matchable = []flow.Field{digest.Match.Fields | flow.FieldL4Dst}
	if m, ok := flow.RuleMatch(sw, digest); ok {
		t.Errorf("a digest without the port that the table can match: %v", m)
	}
	sw.Matchable = []flow.Field{digest.Match.Fields}
	digest.Incomplete = flow.FieldIPProto
	if m, ok := flow.RuleMatch(sw, digest); ok {
		t.Errorf("an incomplete digest's: %v", m)
	}
}
