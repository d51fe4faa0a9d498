package mac

import (
	"fmt"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 4 }

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	n := 0
	for i := range c.Lists {
		n += len(c.Lists[i].Prefixes)
	}
	side := map[Direction]string{Both: "from or to", Src: "from", Dst: "to"}[c.Match]
	if c.Deny == Unlisted {
		return fmt.Sprintf("denies packets %s Ethernet addresses that are not among the %d listed addresses and prefixes", side, n)
	}
	return fmt.Sprintf("denies packets %s %d listed Ethernet addresses and prefixes", side, n)
}

// Examples implements [policy.Kind].
func (Kind) Examples() []policy.Example {
	vendor := Prefix{flow.MAC{0xb8, 0x27, 0xeb}, 24}
	return []policy.Example{
		{
			Entry:   &Config{Lists: []List{{Name: "lab.txt", Prefixes: []Prefix{vendor, {flow.MAC{2, 0, 0, 0, 0, 99}, 48}}}}},
			Packets: []string{"icmp 10.0.0.99 > 10.0.0.2 type 8", "arp 10.0.0.99 > 10.0.0.2"},
		},
		{
			Entry:   &Config{Match: Both, Deny: Unlisted, Lists: []List{{Prefixes: []Prefix{{flow.MAC{2}, 36}}}}},
			Packets: []string{"tcp 10.0.0.1:40000 > 10.0.0.2:443", "lldp"},
		},
	}
}
