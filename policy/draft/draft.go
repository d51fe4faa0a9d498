// Package draft writes policies that a program proposes and a person reads, each line with what speaks for it: drafts of what was observed
// ([Suggest]), and of devices' profiles (package mud).
package draft

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode"
)

// Condition is one field of a header rule's match, as policies have it.
type Condition struct{ Field, Value string }

// Rule is a header rule.
type Rule struct {
	Name     string // made unique, and to what policies take for a name, where it is written
	Priority int    // 0: the default
	Match    []Condition
	Deny     bool
	Replies  bool
	Evidence string // one line
}

// Section is rules that belong together, under a comment.
type Section struct {
	Title string
	Rules []Rule
}

// Machine is text of one machine of the policy, indented as in a list of machines, and what speaks for it.
type Machine struct {
	Evidence string
	Text     string
}

// Group is a name for hosts, and what speaks for it.
type Group struct {
	Name     string // as policies take one
	Hosts    []netip.Addr
	Evidence string // one line
}

// Policy is a draft.
type Policy struct {
	Head     []string // comments at its beginning
	Groups   []Group
	Machines []Machine
	Sections []Section
	Forward  bool // what reaches the end is allowed
}

// WriteTo writes the draft as a policy file.
func (p *Policy) WriteTo(w io.Writer) (int64, error) {
	c := &counted{Writer: w}
	out := bufio.NewWriter(c)
	for _, line := range p.Head {
		fmt.Fprintln(out, strings.TrimRight("# "+Line(line), " "))
	}
	fmt.Fprintf(out, "serial: 1\n")
	if len(p.Groups) > 0 {
		fmt.Fprintf(out, "groups:\n")
		for _, g := range p.Groups {
			var hosts []string
			for _, h := range g.Hosts {
				hosts = append(hosts, quoted(h.String()))
			}
			fmt.Fprintf(out, "  # %s\n  %s: [%s]\n", Line(g.Evidence), g.Name, strings.Join(hosts, ", "))
		}
	}
	fmt.Fprintf(out, "chain:\n")
	if len(p.Machines) > 0 {
		fmt.Fprintf(out, "  - machine:\n      machines:\n")
		for _, m := range p.Machines {
			fmt.Fprintf(out, "        # %s\n%s", Line(m.Evidence), m.Text)
		}
	}
	fmt.Fprintf(out, "  - header:\n      rules:\n")
	names := make(map[string]bool)
	for _, s := range p.Sections {
		if len(s.Rules) > 0 && s.Title != "" {
			fmt.Fprintf(out, "        # %s\n", Line(s.Title))
		}
		for i := range s.Rules {
			s.Rules[i].write(out, names)
		}
	}
	err := out.Flush()
	return c.n, err
}

// Line is a text as it can stand in a comment. What profiles say of devices is their makers' to choose, and YAML has five ways to end a line: what
// stood behind one would be a part of the policy.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

type counted struct {
	io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

func (r *Rule) write(w io.Writer, names map[string]bool) {
	var match []string
	for _, c := range r.Match {
		match = append(match, c.Field+": "+quoted(c.Value))
	}
	action := "allow"
	if r.Deny {
		action = "deny"
	}
	text := "{name: " + unique(r.Name, names)
	if r.Priority != 0 {
		text += fmt.Sprintf(", priority: %d", r.Priority)
	}
	text += ", match: {" + strings.Join(match, ", ") + "}, action: " + action
	if r.Replies {
		text += ", replies: allow"
	}
	fmt.Fprintf(w, "        - %s}", text)
	if r.Evidence != "" {
		fmt.Fprintf(w, " # %s", Line(r.Evidence))
	}
	fmt.Fprintln(w)
}

// quoted is a value in a flow mapping: one with colons would be a mapping of its own.
func quoted(v string) string {
	if strings.Contains(v, ":") {
		return `"` + v + `"`
	}
	return v
}

// maxName is how long a rule's name may be.
const maxName = 64

// unique makes a name of text.
func unique(text string, names map[string]bool) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return '-'
	}, text)
	if name == "" {
		name = "rule"
	}
	name = name[:min(len(name), maxName-6)]
	for one, n := name, 2; ; n++ {
		if !names[one] {
			names[one] = true
			return one
		}
		one = fmt.Sprintf("%s-%d", name, n)
	}
}

// Address is the condition that a field is an address or in a prefix.
func Address(field string, p netip.Prefix) Condition {
	if p.IsSingleIP() {
		return Condition{field, p.Addr().String()}
	}
	return Condition{field, p.String()}
}

// Basics are rules for what every device does to be on a network at all: ARP, neighbour discovery, DHCP.
func Basics() Section {
	icmp := func(name, v string) Rule {
		return Rule{Name: name, Match: []Condition{{"icmpv6_type", v}}}
	}
	return Section{Title: "what every device does to be on a network", Rules: []Rule{
		{Name: "arp", Match: []Condition{{"eth_type", "arp"}}},
		icmp("nd-router-solicitation", "133"), icmp("nd-router-advertisement", "134"), icmp("nd-solicitation", "135"), icmp("nd-advertisement", "136"),
		{Name: "dhcp", Match: []Condition{{"udp_src", "68"}, {"udp_dst", "67"}}},
		{Name: "dhcp-answer", Match: []Condition{{"udp_src", "67"}, {"udp_dst", "68"}}},
	}}
}
