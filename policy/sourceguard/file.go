package sourceguard

import (
	"fmt"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind]. Its items are the bindings.
func (Kind) Parse(f *syntax.File, n *syntax.Node) (_ policy.Source, bindings []*syntax.Node) {
	c := &Config{}
	given := false
	f.Mapping(n, Name,
		syntax.Key("bindings", func(n *syntax.Node) {
			for i, b := range f.Sequence(n, Name+": bindings") {
				c.Bindings = append(c.Bindings, parseBinding(f, b, fmt.Sprintf("%s: binding %d", Name, i+1)))
				bindings = append(bindings, b)
			}
		}),
		syntax.Key("trusted", func(n *syntax.Node) {
			for i, t := range f.Sequence(n, Name+": trusted") {
				p, where := Place{Every: true}, fmt.Sprintf("%s: trusted %d", Name, i+1)
				if t.Shape == syntax.Mapping {
					f.Mapping(t, where, placeKeys(f, &p, where)...)
				} else {
					parsePorts(f, t, &p, where)
				}
				c.Trusted = append(c.Trusted, p)
			}
		}),
		syntax.Key("others", func(n *syntax.Node) { c.Others, _ = syntax.Parsed(f, n, Name+": others", parseOthers) }),
		syntax.Key("learn", func(n *syntax.Node) { c.Learn, _ = syntax.Parsed(f, n, Name+": learn", parseLearn) }),
		syntax.Key("log", func(n *syntax.Node) { c.Log = f.Boolean(n, Name+": log") }),
		syntax.Key("for", func(n *syntax.Node) { c.For, given = syntax.Parsed(f, n, Name+": for", time.ParseDuration) }),
	)
	if c.Learn != Nothing && !given {
		c.For = defaultFor
	}
	return c, bindings
}

func parseBinding(f *syntax.File, n *syntax.Node, where string) (b Binding) {
	b.Every = true
	f.Mapping(n, where, append(placeKeys(f, &b.Place, where),
		syntax.Key("mac", func(n *syntax.Node) { b.MAC, b.HasMAC = syntax.Parsed(f, n, where+": mac", flow.ParseMAC) }),
		syntax.Key("addresses", func(n *syntax.Node) {
			for i, a := range f.Sequence(n, where+": addresses") {
				if p, ok := syntax.Parsed(f, a, fmt.Sprintf("%s: address %d", where, i+1), syntax.ParsePrefix); ok {
					b.Addresses = append(b.Addresses, p)
				}
			}
		}),
	)...)
	return b
}

// placeKeys read where something is; a place is one of every switch until one is named.
func placeKeys(f *syntax.File, p *Place, where string) []syntax.Field {
	return []syntax.Field{
		syntax.Key("switch", func(n *syntax.Node) {
			if sw, ok := syntax.Parsed(f, n, where+": switch", flow.ParseDPID); ok {
				p.Switch, p.Every = sw, false
			}
		}),
		syntax.Key("port", func(n *syntax.Node) { parsePorts(f, n, p, where+": port") }),
	}
}

// parsePorts reads a port or a list of them.
func parsePorts(f *syntax.File, n *syntax.Node, p *Place, where string) {
	ports := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		ports = n.Content
	}
	for _, n := range ports {
		if port, ok := syntax.Parsed(f, n, where, parsePort); ok {
			p.Ports = append(p.Ports, port)
		}
	}
}

func parsePort(s string) (flow.PortNo, error) {
	p, err := flow.ParsePort(s)
	if err == nil {
		err = checkPort(p)
	}
	return p, err
}

func parseOthers(s string) (Others, error) {
	for i, name := range othersNames {
		if s == name {
			return Others(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want next or deny", s)
}

func parseLearn(s string) (Learn, error) {
	for i, name := range learnNames[1:] {
		if s == name {
			return Learn(i + 1), nil
		}
	}
	return 0, fmt.Errorf("%q: want first or dhcp", s)
}
