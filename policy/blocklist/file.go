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
	addresses, files, each := syntax.Lists(f, Name, syntax.ParsePrefix, parseLine)
	f.Mapping(n, Name,
		syntax.Key("match", func(n *syntax.Node) { c.Match, _ = syntax.Parsed(f, n, "blocklist: match", ParseDirection) }),
		addresses, files,
	)
	each(func(name string, list []netip.Prefix) { c.Lists = append(c.Lists, List{Name: name, Prefixes: list}) })
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
