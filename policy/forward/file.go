package forward

import (
	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind].
func (Kind) Parse(f *syntax.File, n *syntax.Node) (policy.Source, []*syntax.Node) {
	c := &Config{Mode: policy.Normal}
	f.Mapping(n, Name, syntax.Key("mode", func(n *syntax.Node) {
		if m, ok := syntax.Parsed(f, n, "forward: mode", policy.ParseForwardMode); ok {
			c.Mode = m
		}
	}), syntax.Key("replies", func(n *syntax.Node) { c.Answers = f.Allow(n, "forward: replies") }),
		syntax.Key("tcp", func(n *syntax.Node) { c.Strict = f.Strict(n, "forward: tcp") }),
		syntax.Key("log", func(n *syntax.Node) { c.Log = f.Boolean(n, "forward: log") }))
	return c, nil
}
