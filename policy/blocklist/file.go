package blocklist

import (
	"errors"
	"net/netip"

	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind].
func (Kind) Parse(f *syntax.File, n *syntax.Node) (policy.Source, []*syntax.Node) {
	c := &Config{}
	lists, each := syntax.Lists(f, Name, syntax.ParsePrefix, syntax.ParsePrefix, prefixesOf)
	f.Mapping(n, Name, append([]syntax.Field{
		syntax.Key("match", func(n *syntax.Node) { c.Match, _ = syntax.Parsed(f, n, "blocklist: match", ParseDirection) }),
		syntax.Key("action", func(n *syntax.Node) { c.Reject = f.Rejects(n, Name+": action") }),
		syntax.Key("log", func(n *syntax.Node) { c.Log = f.Boolean(n, Name+": log") }),
	}, lists...)...)
	each(func(name string, list []netip.Prefix) { c.Lists = append(c.Lists, List{Name: name, Prefixes: list}) })
	return c, nil
}

func prefixesOf(g *syntax.Group) ([]netip.Prefix, error) {
	if len(g.MACs) > 0 {
		return nil, errors.New("it has Ethernet addresses, which are for a mac entry")
	}
	if len(g.Services) > 0 {
		return nil, errors.New("it has services: want a group of addresses")
	}
	return g.Prefixes, nil
}
