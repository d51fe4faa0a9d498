package flow_test

import (
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/policytest"
)

// A frame that is made of a packet's headers has these headers, whatever it is of; of what is not a whole packet's none is made.
func TestFrameOf(t *testing.T) {
	for _, line := range []string{
		"tcp 10.0.0.1:40000 > 10.0.0.2:22 vlan 7 vlan_pcp 3", "tcp [2001:db8::1]:1 > [2001:db8::2]:2 ip_dscp 46 ipv6_flabel 0x12345", "udp 10.0.0.1:53 > 10.0.0.2:5353",
		"sctp 10.0.0.1:1 > 10.0.0.2:2", "icmp 10.0.0.1 > 10.0.0.2 type 8", "icmpv6 2001:db8::1 > 2001:db8::2 type 128", "arp 10.0.0.1 > 10.0.0.2", "nd 2001:db8::1 > 2001:db8::2",
		"na 2001:db8::1 > 2001:db8::2", "lldp", "eth eth_type 0x88b5", "eth eth_type 0x05ff", "ip 10.0.0.1 > 10.0.0.2 ip_proto 47", "ip 2001:db8::1 > 2001:db8::2 ip_proto 47",
		"fragment 10.0.0.1 > 10.0.0.2",
	} {
		m, err := policytest.ParsePacket(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, keep := range []flow.Field{flow.AllFields, flow.Conversation | flow.FieldVLAN | flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA | flow.FieldNDTarget} {
			if keep != flow.AllFields && m.Missing() != 0 {
				continue
			}
			want := m.Keep(keep)
			frame, ok := flow.FrameOf(&want, flow.SYN)
			if got := flow.ParseFrame(frame, want.InPort); !ok || got.Keep(want.Fields) != want {
				t.Errorf("%s: %v, %v, want %v", line, ok, got, want)
			}
		}
		for _, less := range []flow.Field{flow.FieldEthSrc, flow.FieldL4Src | flow.FieldARPSPA | flow.FieldICMPType | flow.FieldIPSrc | flow.FieldEthType} {
			part := m.Keep(^less)
			if part == m {
				continue
			}
			if frame, ok := flow.FrameOf(&part, 0); ok {
				t.Errorf("%s without %v: %x", line, less, frame)
			}
		}
	}
	m, _ := policytest.ParsePacket("tcp 10.0.0.1:40000 > 10.0.0.2:22")
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.0/24"))
	if _, ok := flow.FrameOf(&m, 0); ok {
		t.Error("a frame of a prefix")
	}
}

func TestTCPFlagsText(t *testing.T) {
	for f := flow.TCPFlags(0); f < flow.ACK<<1; f++ {
		if got, err := flow.ParseTCPFlags(f.String()); err != nil || got != f {
			t.Errorf("%v is read as %v, %v", f, got, err)
		}
	}
	if got := (flow.SYN | flow.ACK | flow.CWR).String(); got != "syn+ack" {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"", "syn+", "SYN", "urg"} {
		if _, err := flow.ParseTCPFlags(s); err == nil {
			t.Errorf("%q is read", s)
		}
	}
}
