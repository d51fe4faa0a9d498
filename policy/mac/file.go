package mac

import (
	"errors"
	"fmt"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind].
func (Kind) Parse(f *syntax.File, n *syntax.Node) (policy.Source, []*syntax.Node) {
	c := &Config{}
	lists, each := syntax.Lists(f, Name, parsePrefix, parsePrefix, prefixesOf)
	f.Mapping(n, Name, append([]syntax.Field{
		syntax.Key("deny", func(n *syntax.Node) { c.Deny, _ = syntax.Parsed(f, n, "mac: deny", parseDenied) }),
		syntax.Key("match", func(n *syntax.Node) { c.Match, _ = syntax.Parsed(f, n, "mac: match", parseDirection) }),
		syntax.Key("action", func(n *syntax.Node) { c.Reject = f.Rejects(n, Name+": action") }),
		syntax.Key("log", func(n *syntax.Node) { c.Log = f.Boolean(n, Name+": log") }),
	}, lists...)...)
	each(func(name string, list []Prefix) { c.Lists = append(c.Lists, List{Name: name, Prefixes: list}) })
	return c, nil
}

func prefixesOf(g *syntax.Group) (list []Prefix, err error) {
	if len(g.Prefixes)+len(g.Services) > 0 {
		return nil, errors.New("it has more than Ethernet addresses: want a group of those, and IP addresses in a blocklist")
	}
	for _, a := range g.MACs {
		list = append(list, Prefix{a, 48})
	}
	return list, nil
}

func parseDirection(s string) (Direction, error) {
	for i, name := range directionNames {
		if s == name {
			return Direction(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want src, dst or both", s)
}

func parseDenied(s string) (Denied, error) {
	for i, name := range deniedNames {
		if s == name {
			return Denied(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want listed or unlisted", s)
}

// parsePrefix reads an address, its first three to five bytes, or its first bits as address/length.
func parsePrefix(s string) (p Prefix, err error) {
	text, length, slash := strings.Cut(s, "/")
	bits := uint64(8 * (strings.Count(text, ":") + 1))
	if bits >= minBits && bits < 48 && !slash {
		text += strings.Repeat(":00", 6-int(bits/8))
	}
	p.Addr, err = flow.ParseMAC(text)
	if err == nil && slash {
		bits, err = flow.ParseNumber(length, 8)
	}
	if err != nil || bits < minBits || bits > 48 {
		return p, fmt.Errorf("%.40q: want an Ethernet address such as 02:00:00:00:00:01, its first bytes such as b8:27:eb, or its first 24 bits and more such as 70:b3:d5:12:30:00/36", s)
	}
	p.Bits = uint8(bits)
	if number(p.Addr)<<(16+p.Bits) != 0 {
		return p, fmt.Errorf("%s has bits beyond its length", s)
	}
	return p, nil
}
