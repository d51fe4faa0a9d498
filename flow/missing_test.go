package flow_test

import (
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/policytest"
)

func TestMissing(t *testing.T) {
	const (
		ports = flow.FieldL4Src | flow.FieldL4Dst
		icmp  = flow.FieldICMPType | flow.FieldICMPCode
		nd    = flow.FieldNDTarget
		ip    = flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst
		arp   = flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
		eth   = flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN
	)
	tests := []struct {
		packet string
		cut    int // bytes that are seen; 0 is all
		want   flow.Field
	}{
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 0, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 38, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 37, ports},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 33, ip | ports | icmp},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 14, ip | ports | icmp},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 13, eth | ip | arp | ports | icmp | nd},
		{"fragment 10.0.0.1 > 10.0.0.2", 0, ports},
		{"icmp 10.0.0.1 > 10.0.0.2 type 8", 0, 0},
		{"icmp 10.0.0.1 > 10.0.0.2 type 8", 35, icmp},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 135", 0, 0},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 135", 77, nd},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 135 code 1", 77, 0},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 128", 77, 0},
		{"icmpv6 2001:db8::1 > 2001:db8::2 type 135", 55, icmp | nd},
		{"udp [2001:db8::1]:1 > [2001:db8::2]:2", 53, ip | ports | icmp | nd},
		{"arp 10.0.0.1 > 10.0.0.2", 0, 0},
		{"arp 10.0.0.1 > 10.0.0.2", 41, arp},
		{"lldp", 0, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 vlan 7", 42, 0},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 vlan 7", 41, ports},
	}
	for _, tt := range tests {
		frame, port, err := policytest.Packet(tt.packet)
		if err != nil {
			t.Fatal(err)
		}
		size := len(frame)
		if tt.cut > 0 {
			frame = frame[:tt.cut]
		}
		m := flow.Parser{}.Parse(frame, size, port)
		if got := m.Missing(); got != tt.want {
			t.Errorf("%s, %d bytes: missing %v, want %v", tt.packet, len(frame), got, tt.want)
		}
	}
	// An extension header where the last header's number should be: the walk
	// ended before the chain did.
	var m flow.Match
	m.SetEthType(flow.EthTypeIPv6)
	m.Fields |= flow.FieldIPSrc | flow.FieldIPDst
	m.SetIPProto(60)
	if got, want := m.Missing(), flow.FieldIPProto|ports|icmp|nd; got != want {
		t.Errorf("extension headers without end: missing %v, want %v", got, want)
	}
	// What is behind a tag that the switch leaves on is hidden; the tag itself is the EtherType.
	m = flow.Match{}
	m.SetEthType(flow.EthTypeQinQ)
	if got, want := m.Missing(), ip|arp|ports|icmp|nd; got != want {
		t.Errorf("a second tag: missing %v, want %v", got, want)
	}
}
