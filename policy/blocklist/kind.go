package blocklist

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"switchbridge/policy"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 1 }

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	n := 0
	var files []string
	for i := range c.Lists {
		n += len(c.Lists[i].Prefixes)
		if c.Lists[i].Name != "" {
			files = append(files, c.Lists[i].Name)
		}
	}
	side := map[Direction]string{Both: "from or to", Src: "from", Dst: "to"}[c.Match]
	s := fmt.Sprintf("denies packets %s %d listed addresses and prefixes", side, n)
	if len(files) > 0 {
		s += ", those of " + strings.Join(files, ", ") + " included"
	}
	return s
}

// Examples implements [policy.Kind]. The second is as long as lists are.
func (Kind) Examples() []policy.Example {
	long := make([]netip.Prefix, 20_000)
	for i := range long {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i)*7)
		long[i] = netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	return []policy.Example{
		{Entry: &Config{Lists: []List{{Name: "bad.txt", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:bad::/48")}}}}},
		{Entry: &Config{Lists: []List{{Name: "long", Prefixes: long}}}},
	}
}
