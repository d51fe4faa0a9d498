package blocklist

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind].
func (Kind) Parse(f *syntax.File, n *syntax.Node) (policy.Source, []*syntax.Node) {
	c := &Config{}
	var inline List
	f.Mapping(n, Name,
		syntax.Key("match", func(n *syntax.Node) { c.Match, _ = syntax.Parsed(f, n, "blocklist: match", ParseDirection) }),
		syntax.Key("addresses", func(n *syntax.Node) {
			for i, a := range f.Sequence(n, "blocklist: addresses") {
				if p, ok := syntax.Parsed(f, a, fmt.Sprintf("blocklist: address %d", i+1), syntax.ParsePrefix); ok {
					inline.Prefixes = append(inline.Prefixes, p)
				}
			}
		}),
		syntax.Key("files", func(n *syntax.Node) {
			for _, item := range f.Sequence(n, "blocklist: files") {
				if name, ok := f.Scalar(item, "blocklist: files"); ok {
					c.Lists = append(c.Lists, List{Name: name, Prefixes: syntax.List(f, item, Name, name, parseLine)})
				}
			}
		}),
	)
	if len(inline.Prefixes) > 0 {
		c.Lists = append([]List{inline}, c.Lists...)
	}
	return c, nil
}

// parseLine reads an address or prefix of a list. A number after it (how many feeds list it, as IPsum writes) is ignored.
func parseLine(line string) (netip.Prefix, error) {
	words := strings.Fields(line)
	p, err := syntax.ParsePrefix(words[0])
	if err == nil && len(words) > 1 {
		if _, numErr := strconv.ParseUint(words[1], 10, 32); numErr != nil || len(words) > 2 {
			err = fmt.Errorf("%.40q: want one address a line", line)
		}
	}
	return p, err
}
