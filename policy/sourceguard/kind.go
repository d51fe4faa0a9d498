package sourceguard

import (
	"fmt"
	"net/netip"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 6 }

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	s := fmt.Sprintf("denies packets with a sender's address that is bound to another port, by %d bindings", len(c.Bindings))
	if c.Others == Deny {
		return s + "; ports that are not listed are denied"
	}
	if c.Learn == Nothing {
		return s + "; ports that are not listed may use what is not bound"
	}
	from := "first seen"
	if c.Learn == DHCP {
		from = "given by DHCP, or first seen where that gives none"
	}
	return s + "; at ports that are not listed it learns what is " + from + ", for " + c.For.String()
}

// Examples implements [policy.Kind]. The second one has hosts where packets of tests come from.
func (Kind) Examples() []policy.Example {
	host := func(n byte, port flow.PortNo) Binding {
		v6 := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n})
		return Binding{Place: Place{Every: true, Ports: []flow.PortNo{port}}, HasMAC: true, MAC: flow.MAC{2, 0, 0, 0, 0, n},
			Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 32), netip.PrefixFrom(v6, 128)}}
	}
	net := Binding{Place: Place{Switch: 1, Ports: []flow.PortNo{4, flow.PortLocal}}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}
	return []policy.Example{
		{
			Entry:   &Config{Bindings: []Binding{host(77, 3), net}, Trusted: []Place{{Every: true, Ports: []flow.PortNo{5}}}},
			Packets: []string{"tcp 10.0.0.77:40000 > 10.0.0.2:443", "arp 10.0.0.77 > 10.0.0.2", "nd 2001:db8::4d > 2001:db8::2", "udp 10.9.1.1:53 > 10.0.0.1:53"},
		},
		{
			Entry: &Config{Bindings: []Binding{host(1, 1), host(2, 2)}, Others: Deny},
			Packets: []string{"tcp 10.0.0.1:40000 > 10.0.0.2:443", "nd 2001:db8::1 > 2001:db8::2", "udp 0.0.0.0:68 > 255.255.255.255:67", "arp 0.0.0.0 > 10.0.0.1",
				"tcp 10.0.0.2:40000 > 10.0.0.1:443", "lldp"},
		},
		{
			Entry: &Config{Learn: DHCP, For: defaultFor, Trusted: []Place{{Every: true, Ports: []flow.PortNo{2}}}},
			Packets: []string{"dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 eth 7", "dhcp 10.0.0.53:67 > 10.0.0.7:68 type 5 lease 3600 port 2",
				"tcp 10.0.0.7:40000 > 10.0.0.1:443", "nd 2001:db8::1 > 2001:db8::2"},
		},
	}
}
