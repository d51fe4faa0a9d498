// Package mac is the policy that denies devices by their Ethernet addresses, those on a list or all others. README.md describes it for
// users.
package mac

import (
	"cmp"
	"fmt"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Name is the policy's name in files and reasons.
const Name = "mac"

// Direction says which of a packet's addresses are looked up.
type Direction uint8

const (
	Src Direction = iota
	Dst
	Both
)

var directionNames = [...]string{"src", "dst", "both"}

func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// Denied says which addresses are denied.
type Denied uint8

const (
	Listed Denied = iota
	Unlisted
)

var deniedNames = [...]string{"listed", "unlisted"}

func (d Denied) String() string {
	if int(d) < len(deniedNames) {
		return deniedNames[d]
	}
	return fmt.Sprintf("denied %d", uint8(d))
}

// Prefix is an address, or those of a vendor, which begin with the same bits.
type Prefix struct {
	Addr flow.MAC
	Bits uint8 // minBits to 48
}

// minBits is the length of a vendor's part (IEEE's MA-L; MA-M is of 28 bits, MA-S of 36).
const minBits = 24

func (p Prefix) String() string {
	switch {
	case p.Bits == 48:
		return p.Addr.String()
	case p.Bits%8 == 0:
		return p.Addr.String()[:p.Bits/8*3-1]
	}
	return fmt.Sprintf("%s/%d", p.Addr, p.Bits)
}

func number(a flow.MAC) (n uint64) {
	for _, b := range a {
		n = n<<8 | uint64(b)
	}
	return n
}

// Config is the policy's source form.
type Config struct {
	Match Direction
	Deny  Denied
	Lists []List

	Reject bool // senders are told
	Log    bool // decisions are logged
}

// List is a set of prefixes from one place.
type List struct {
	Name     string // the file as the policy names it; empty: inline
	Prefixes []Prefix
}

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// Validate implements [policy.Source].
func (c *Config) Validate([]policy.Source) error {
	if int(c.Match) >= len(directionNames) {
		return fmt.Errorf("match: %v", c.Match)
	}
	if int(c.Deny) >= len(deniedNames) {
		return fmt.Errorf("deny: %v", c.Deny)
	}
	n := 0
	for i := range c.Lists {
		n += len(c.Lists[i].Prefixes)
		for _, p := range c.Lists[i].Prefixes {
			if p.Bits < minBits || p.Bits > 48 || number(p.Addr)<<(16+p.Bits) != 0 {
				return fmt.Errorf("list %q: %s/%d is not an Ethernet address or the first %d bits and more of one", c.Lists[i].Name, p.Addr, p.Bits, minBits)
			}
		}
	}
	if c.Deny == Unlisted && n == 0 {
		return fmt.Errorf("deny: unlisted without an address on a list denies every packet: want at least one")
	}
	return nil
}

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	l := &link{match: c.Match, deny: c.Deny, denied: policy.Outcome{Verdict: flow.Deny, NoReply: true, Reject: c.Reject, Log: c.Log}}
	for i := range c.Lists {
		l.lists = append(l.lists, c.Lists[i].Name)
		for _, p := range c.Lists[i].Prefixes {
			l.entries = append(l.entries, entry{first: number(p.Addr), bits: p.Bits, list: uint32(i)})
		}
	}
	slices.SortStableFunc(l.entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.first, b.first), int(a.bits)-int(b.bits)) })
	kept := l.entries[:0]
	for _, e := range l.entries {
		if n := len(kept); n == 0 || !kept[n-1].contains(e.first) {
			kept = append(kept, e)
		}
	}
	l.entries = slices.Clip(kept)
	return l
}

// entry is one prefix.
type entry struct {
	first uint64
	bits  uint8
	list  uint32
}

func (e *entry) contains(n uint64) bool { return (e.first^n)>>(48-e.bits) == 0 }

// link is the compiled policy. Its entries are sorted and disjoint: a prefix within another adds nothing.
type link struct {
	match   Direction
	deny    Denied
	denied  policy.Outcome // but for its reason, and what it hangs on
	entries []entry
	lists   []string
}

// lookup returns the entry that holds n, or nil.
func (l *link) lookup(n uint64) *entry {
	low, high := 0, len(l.entries)
	for low < high { // the number of entries that start at or before n
		if mid := (low + high) / 2; n < l.entries[mid].first {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low > 0 && l.entries[low-1].contains(n) {
		return &l.entries[low-1]
	}
	return nil
}

// Decide implements [policy.Link]. A packet that does not show an address that is looked up is denied.
func (l *link) Decide(p policy.Packet) (out policy.Outcome) {
	if l.match != Dst {
		l.side(&p, flow.FieldEthSrc, p.Match.EthSrc, &out)
	}
	if l.match != Src && out.Verdict == flow.NoVerdict {
		l.side(&p, flow.FieldEthDst, p.Match.EthDst, &out)
	}
	return out
}

// side looks one address up.
func (l *link) side(p *policy.Packet, f flow.Field, a flow.MAC, out *policy.Outcome) {
	out.Depends |= f
	if !p.Match.Has(f) || p.Missing&f != 0 {
		l.refuse(out, missingReason)
		return
	}
	e := l.lookup(number(a))
	switch {
	case l.deny == Listed && e != nil:
		l.refuse(out, l.reason(a, e))
	case l.deny == Unlisted && e == nil && !(f == flow.FieldEthDst && a.Multicast()): // a group is nobody's device
		l.refuse(out, Name+": "+a.String()+" is not listed")
	}
}

// refuse makes out that of a packet that is denied.
func (l *link) refuse(out *policy.Outcome, reason string) {
	depends := out.Depends
	*out = l.denied
	out.Depends, out.Reason = depends, reason
}

const missingReason = Name + ": the packet's Ethernet addresses are missing"

func (l *link) reason(a flow.MAC, e *entry) string {
	s := Name + ": " + a.String()
	if e.bits < 48 {
		s += " of " + Prefix{address(e.first), e.bits}.String()
	}
	if name := l.lists[e.list]; name != "" {
		s += " in " + name
	}
	return s
}

func address(n uint64) (a flow.MAC) {
	for i := range a {
		a[i] = byte(n >> (40 - 8*i))
	}
	return a
}

// Proactive implements [policy.Link]: a list is looked up when packets come.
func (*link) Proactive(_ *policy.Connected, rules []flow.Rule) []flow.Rule { return rules }
