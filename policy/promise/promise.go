// Package promise is what a policy file says must hold of its own policy, for policy/prove to prove. A promise is no part of the policy: no
// gateway or function reads it.
package promise

import (
	"fmt"
	"net/netip"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/policy/syntax"
)

// Kind says what is promised.
type Kind uint8

const (
	Never  Kind = iota + 1 // no such packet is allowed
	Always                 // each such packet is allowed
	Only                   // of the packets that meet the first condition, only those are allowed that meet the others
)

var kindNames = [...]string{Never: "never", Always: "always", Only: "only"}

func (k Kind) String() string { return kindNames[k] }

// Promise is about complete packets: those that show all that they have.
type Promise struct {
	Kind  Kind
	Line  int
	Text  string // as a person writes it
	Parts []Part // of Only, the first is what the promise is about

	Unless *Unless // nil: always
}

// Part is one condition: hosts at one end of a packet, or fields of headers.
type Part struct {
	Hosts  *Hosts             // nil: Fields
	Fields []header.Condition // of which a packet meets one
}

// Hosts are those that send a packet, or those that it is for: by the addresses of an IP packet, or by Ethernet addresses.
type Hosts struct {
	To       bool
	Prefixes []netip.Prefix
	MACs     []flow.MAC
}

// Unless is when a promise does not count: while a machine is in one of some states, as the packet is decided. Its key is that of the packet where it is empty.
type Unless = machine.When

// Parse reads the promises of a policy file, which has this chain.
func Parse(f *syntax.File, n *syntax.Node, chain []policy.Source) (list []Promise) {
	var machines *machine.Config
	for _, s := range chain {
		if c, ok := s.(*machine.Config); ok {
			machines = c
		}
	}
	for i, item := range f.Sequence(n, "promises") {
		where := fmt.Sprintf("promise %d", i+1)
		var p Promise
		kind := func(k Kind) syntax.Field {
			return syntax.Key(k.String(), func(n *syntax.Node) {
				if p.Kind != 0 {
					f.Errorf(n, "%s: %v and %v in one promise: give each its own", where, p.Kind, k)
				}
				p.Kind, p.Line, p.Parts = k, item.Line, parts(f, n, where+": "+k.String(), k)
				p.Text = k.String() + ": " + text(n) + p.Text
			})
		}
		faults := len(f.Errs)
		f.Mapping(item, where, kind(Never), kind(Always), kind(Only), syntax.Key("unless", func(n *syntax.Node) {
			when := machine.ParseWhen(f, n, where+": unless", machines)
			p.Unless = &when
			p.Text += " unless: " + text(n)
		}))
		switch {
		case len(f.Errs) > faults:
		case p.Kind == 0:
			f.Errorf(item, "%s: want never, always or only", where)
		case len(p.Parts) == 0:
			f.Errorf(item, "%s: %v: want at least one condition: from, to, or a field", where, p.Kind)
		case p.Kind == Only && len(p.Parts) < 2:
			f.Errorf(item, "%s: only: want a condition that says which packets are meant, then conditions that they must meet, such as {to: 10.0.0.9, from: 10.0.0.1}", where)
		default:
			list = append(list, p)
		}
	}
	return list
}

// parts reads a mapping of conditions in its order. Fields of headers are one condition, except what an only is about.
func parts(f *syntax.File, n *syntax.Node, where string, k Kind) (list []Part) {
	if n.Shape != syntax.Mapping {
		f.Mapping(n, where) // says what is wrong
		return nil
	}
	fields := func(content []*syntax.Node) {
		if len(content) == 0 {
			return
		}
		var part Part
		for _, c := range header.ParseConditions(f, &syntax.Node{Shape: syntax.Mapping, Line: n.Line, Content: content}, where) {
			if err := c.Validate(); err != nil {
				f.Errorf(n, "%s: %v", where, err)
			}
			part.Fields = append(part.Fields, *c.Completed())
		}
		list = append(list, part)
	}
	var rest []*syntax.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		switch {
		case name.Value != "from" && name.Value != "to":
			if rest = append(rest, name, value); k == Only && i == 0 {
				fields(rest)
				rest = nil
			}
		case seen[name.Value]:
			f.Errorf(name, "%s: %s is given twice", where, name.Value)
		default:
			seen[name.Value] = true
			if g, ok := f.Hosts(value, where+": "+name.Value); ok {
				list = append(list, Part{Hosts: &Hosts{To: name.Value == "to", Prefixes: g.Prefixes, MACs: g.MACs}})
			}
		}
	}
	fields(rest)
	return list
}

// text writes a node in one line, as YAML has it.
func text(n *syntax.Node) string {
	s := ""
	switch n.Shape {
	case syntax.Mapping:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				s += ", "
			}
			s += n.Content[i].Value + ": " + text(n.Content[i+1])
		}
		return "{" + s + "}"
	case syntax.Sequence:
		for i, c := range n.Content {
			if i > 0 {
				s += ", "
			}
			s += text(c)
		}
		return "[" + s + "]"
	}
	return n.Value
}
