// Package blocklist is the policy that denies what comes from, or goes to, a
// listed address. README.md describes it for users.
package blocklist

import (
	"fmt"
	"net/netip"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Name is the policy's name in files and reasons.
const Name = "blocklist"

// Direction says which of a packet's addresses are looked up.
type Direction uint8

const (
	Both Direction = iota
	Src
	Dst
)

var directionNames = [...]string{"both", "src", "dst"}

func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// ParseDirection is the inverse of [Direction.String].
func ParseDirection(s string) (Direction, error) {
	for i, name := range directionNames {
		if s == name {
			return Direction(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want src, dst or both", s)
}

// Config is the policy's source form.
type Config struct {
	Match Direction
	Lists []List

	Reject bool // senders are told
	Log    bool // decisions are logged
}

// List is a set of prefixes from one place.
type List struct {
	Name     string // the file as the policy names it; empty: inline
	Prefixes []netip.Prefix
}

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// Validate implements [policy.Source].
func (c *Config) Validate([]policy.Source) error {
	if int(c.Match) >= len(directionNames) {
		return fmt.Errorf("match: %v", c.Match)
	}
	for i := range c.Lists {
		for _, p := range c.Lists[i].Prefixes {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("list %q: %v is not an IPv4 or IPv6 prefix", c.Lists[i].Name, p)
			}
		}
	}
	return nil
}

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	l := &link{match: c.Match, denied: policy.Outcome{Verdict: flow.Deny, NoReply: true, Reject: c.Reject, Log: c.Log}}
	var v4, v6 []entry
	for i := range c.Lists {
		l.lists = append(l.lists, c.Lists[i].Name)
		for _, p := range c.Lists[i].Prefixes {
			e := entry{first: key(policy.AddressOf(p.Masked().Addr())), bits: uint8(p.Bits()), list: uint32(i)}
			if p.Addr().Is4() {
				v4 = append(v4, e)
			} else {
				v6 = append(v6, e)
			}
		}
	}
	l.v4, l.v6 = newTable(v4), newTable(v6)
	return l
}

// link is the compiled policy.
type link struct {
	match  Direction
	denied policy.Outcome // but for its reason, and what it hangs on
	v4, v6 table
	lists  []string
}

// Decide implements [policy.Link]. What it looks at of an IP packet are its
// addresses, of an ARP packet those of sender and target, and of IPv6's neighbour
// discovery the target too, so that a listed host can't even be found. A packet
// whose addresses are missing is denied.
func (l *link) Decide(p policy.Packet) (out policy.Outcome) {
	m := p.Match
	src, dst := flow.FieldIPSrc, flow.FieldIPDst
	srcIP, dstIP := &m.IPSrc, &m.IPDst
	if m.EthType == flow.EthTypeARP && m.Has(flow.FieldEthType) {
		src, dst = flow.FieldARPSPA, flow.FieldARPTPA
		srcIP, dstIP = &m.ARPSPA, &m.ARPTPA
	}
	if l.match != Dst && l.side(&p, src, srcIP, key(p.Src), &out) {
		return out
	}
	if l.match != Src && l.side(&p, dst, dstIP, key(p.Dst), &out) {
		return out
	}
	if m.EthType == flow.EthTypeIPv6 && len(l.v6.entries) > 0 {
		l.target(&p, &out)
	}
	return out
}

// ICMPv6 types of neighbour discovery (RFC 4861, 4.3 and 4.4).
const (
	solicitation  = 135
	advertisement = 136
)

// target looks up the target of a neighbour solicitation or advertisement. A
// solicitation's target counts as a destination, like the target of an ARP request; an
// advertisement's counts as a source.
func (l *link) target(p *policy.Packet, out *policy.Outcome) {
	m := p.Match
	out.Depends |= flow.FieldNDTarget
	if !m.Has(flow.FieldIPProto|flow.FieldICMPType) || m.IPProto != flow.ProtoICMPv6 {
		return // nor has a fragment one: hosts don't take discovery in fragments (RFC 6980, 5)
	}
	switch m.ICMPType {
	case solicitation:
		if l.match == Src {
			return
		}
	case advertisement:
		if l.match == Dst {
			return
		}
	default:
		return
	}
	switch {
	case m.Has(flow.FieldNDTarget):
		if e := l.v6.lookup(key(policy.AddressOf(m.NDTarget))); e != nil {
			l.deny(out, l.reason(m.NDTarget, e))
		}
	case p.Missing&flow.FieldNDTarget != 0:
		l.deny(out, missingReason)
	}
}

// side looks one address up, as k, and reports whether that decided.
func (l *link) side(p *policy.Packet, f flow.Field, address *netip.Prefix, k key, out *policy.Outcome) bool {
	out.Depends |= f
	if p.Missing&f != 0 {
		l.deny(out, missingReason)
		return true
	}
	if !p.Match.Has(f) {
		return false
	}
	t := &l.v6
	if address.Addr().Is4() {
		t = &l.v4
	}
	e := t.lookup(k)
	if e == nil {
		return false
	}
	l.deny(out, l.reason(address.Addr(), e))
	return true
}

// deny makes out the outcome of a denied packet.
func (l *link) deny(out *policy.Outcome, reason string) {
	depends := out.Depends
	*out = l.denied
	out.Depends, out.Reason = depends, reason
}

const missingReason = Name + ": the packet's addresses are missing"

// reason names the address. It is the only part of Decide that allocates.
func (l *link) reason(a netip.Addr, e *entry) string {
	buf := make([]byte, 0, 128)
	buf = append(buf, Name+": "...)
	buf = a.AppendTo(buf)
	if int(e.bits) < a.BitLen() {
		prefix, _ := a.Prefix(int(e.bits)) // of the address's own family, so it can't fail
		buf = append(buf, " of "...)
		buf = prefix.AppendTo(buf)
	}
	if name := l.lists[e.list]; name != "" {
		buf = append(buf, " in "...)
		buf = append(buf, name...)
	}
	return string(buf)
}

// Proactive implements [policy.Link]: a list is looked up when packets come,
// and a switch's table is no place for 100,000 addresses.
func (*link) Proactive(_ *policy.Connected, rules []flow.Rule) []flow.Rule { return rules }
