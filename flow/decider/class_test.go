package decider

import (
	"testing"

	"switchbridge/flow"
)

func TestClassOf(t *testing.T) {
	l4 := func(ethType uint16, proto uint8, src, dst uint16) flow.Match {
		var m flow.Match
		m.SetEthType(ethType)
		m.SetIPProto(proto)
		m.SetL4Src(src)
		m.SetL4Dst(dst)
		return m
	}
	icmp6 := func(typ uint8) flow.Match {
		var m flow.Match
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPProto(flow.ProtoICMPv6)
		m.SetICMP(typ, 0)
		return m
	}
	eth := func(t uint16) (m flow.Match) { m.SetEthType(t); return m }
	for name, tc := range map[string]struct {
		m    flow.Match
		want Class
	}{
		"nothing":                 {flow.Match{}, Ordinary},
		"ARP":                     {eth(flow.EthTypeARP), Essentials},
		"LLDP":                    {eth(flow.EthTypeLLDP), Essentials},
		"IPv4 alone":              {eth(flow.EthTypeIPv4), Ordinary},
		"IPv6 alone":              {eth(flow.EthTypeIPv6), Ordinary},
		"DHCP request":            {l4(flow.EthTypeIPv4, flow.ProtoUDP, 68, 67), Essentials},
		"DHCP answer":             {l4(flow.EthTypeIPv4, flow.ProtoUDP, 67, 68), Essentials},
		"DHCP relay":              {l4(flow.EthTypeIPv4, flow.ProtoUDP, 67, 67), Essentials},
		"DHCPv6 request":          {l4(flow.EthTypeIPv6, flow.ProtoUDP, 546, 547), Essentials},
		"DHCPv6 answer":           {l4(flow.EthTypeIPv6, flow.ProtoUDP, 547, 546), Essentials},
		"a port that DHCP has":    {l4(flow.EthTypeIPv4, flow.ProtoUDP, 40000, 67), Ordinary},
		"TCP at DHCP's ports":     {l4(flow.EthTypeIPv4, flow.ProtoTCP, 68, 67), Ordinary},
		"DNS":                     {l4(flow.EthTypeIPv4, flow.ProtoUDP, 40000, 53), Ordinary},
		"router solicitation":     {icmp6(133), Essentials},
		"neighbour advertisement": {icmp6(136), Essentials},
		"redirect":                {icmp6(137), Essentials},
		"IPv6 ping":               {icmp6(128), Ordinary},
		"IPv6 ICMP without type":  {icmp6(133).Keep(flow.FieldEthType | flow.FieldIPProto), Ordinary},
	} {
		if got := ClassOf(&tc.m); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
