package prove

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/mac"
	"switchbridge/policy/machine"
	"switchbridge/policy/sourceguard"
)

// Entry is a place in a policy: an entry of its chain, and one of a header entry's rules.
type Entry struct {
	Chain int // from 0; -1: the end of the chain
	Item  int // from 0; -1 where the entry decides as a whole
}

// chain is a policy as an ordered list of conditions: the first that a packet meets decides it. The last one is met by every packet.
type chain struct {
	policy *policy.Policy
	rules  []rule
	terms  []term  // of all rules, in their order; owners are indexes of rules
	list   []*term // of those that decide

	machines []*automaton
	item     uint8   // the place that says which item of the machines decides
	voids    []*term // packets in situations that there are not
	reaching []*term // what is decided before the machines
	hours    bool    // some rule has hours
	zone     []header.Shift
	bySwitch bool    // a source guard names switches
	quotes   bool    // a machine looks at what ICMP errors quote
	learns   *learns // nil: no source guard learns
	tooMany  error   // why the policy can't be written out
}

// rule is one that decides. Without a verdict it may decide its packets, either way, or pass them on: that hangs on more than is known
// here, such as what a source guard has learned.
type rule struct {
	Entry
	label   string
	verdict flow.Verdict
	effect  policy.Treatment // of what it allows
	reject  bool             // senders of what it denies are told so
	replies string           // what it says of them, for people
	first   int              // of its terms
	terms   int
	before  int // how many terms of the list come before its own

	automaton *automaton // whose rule it is, in a state
	state     int
	passes    bool // what it is of goes on to the next entry of the chain
	guarded   bool // it asks for flags or hours
}

// newChain reads a policy's entries. It fails where an entry is of a kind that it can't see into.
func newChain(p *policy.Policy) (*chain, error) { return newChainAt(p, itemPlace, nil) }

// newChainAt is newChain of a policy that is compared with another one: its items have a place of their own, and its machines the same slots as the other's.
func newChainAt(p *policy.Policy, item uint8, slots map[string][]slot) (*chain, error) {
	c := &chain{policy: p, item: item}
	for i, s := range p.Chain {
		at := Entry{i, -1}
		switch s := s.(type) {
		case *header.Config:
			c.header(i, s)
		case *blocklist.Config:
			c.add(at, blocklist.Name, flow.Deny, policy.Treatment{}, listed(s)...)
			c.last().reject = s.Reject
		case *mac.Config:
			c.add(at, mac.Name, flow.Deny, policy.Treatment{}, devices(s)...)
			c.last().reject = s.Reject
		case *forward.Config:
			c.add(at, forward.Name, flow.Allow, policy.Treatment{Mode: s.Mode}, nil)
			if s.Answers {
				c.last().replies = withReplies(s.Strict)
			}
		case *machine.Config:
			c.machine(i, s, slots)
		case *sourceguard.Config:
			c.sourceguard(i, s)
		default:
			return nil, fmt.Errorf("chain entry %d: what %s decides can't be proved", i+1, s.Name())
		}
	}
	if c.tooMany != nil {
		return nil, c.tooMany
	}
	c.add(Entry{-1, -1}, "the end of the chain", flow.Deny, policy.Treatment{}, nil)
	for i := range c.rules {
		r := &c.rules[i]
		r.before = len(c.list)
		for j := range c.of(r) {
			if !r.passes {
				c.list = append(c.list, &c.of(r)[j])
			}
		}
	}
	return c, nil
}

// maxTerms is how many conditions a policy may have when alternatives are written out with each other: some hundred megabytes.
const maxTerms = 1 << 20

// fits reports whether there is room for the conditions of one of each of the lists together.
func (c *chain) fits(label string, lists ...[][]atom) bool {
	n := 1
	for _, list := range lists {
		if n *= len(list); n > maxTerms-len(c.terms)-len(c.voids) {
			c.tooMany = fmt.Errorf("%w: %s: its alternatives are too many with each other", ErrBudget, label)
			return false
		}
	}
	return true
}

// add appends a rule that decides what meets all atoms of one of the lists.
func (c *chain) add(at Entry, label string, v flow.Verdict, effect policy.Treatment, conditions ...[]atom) {
	if !c.fits(label, conditions) {
		conditions = nil
	}
	c.rules = append(c.rules, rule{Entry: at, label: label, verdict: v, effect: effect, first: len(c.terms), terms: len(conditions)})
	for _, atoms := range conditions {
		c.terms = append(c.terms, term{atoms, len(c.rules) - 1})
	}
}

// last is the rule that was added last.
func (c *chain) last() *rule { return &c.rules[len(c.rules)-1] }

func (c *chain) header(at int, h *header.Config) {
	conditions := h.Conditions()
	for _, i := range h.Order() {
		a := &h.Rules[i].Action
		v, effect := flow.Allow, a.Treatment()
		if a.Deny {
			v, effect = flow.Deny, policy.Treatment{}
		}
		var terms [][]atom
		zones := len(h.Rules[i].Hours) > 0 && c.hours && !slices.Equal(c.zone, h.Zone) // no file has two
		guard := c.guard(&h.Rules[i])
		for j := range conditions[i] {
			for _, atoms := range condition(&conditions[i][j]) {
				terms = append(terms, append(atoms, guard...))
			}
		}
		if zones {
			v = flow.NoVerdict
		} else if len(h.Rules[i].Hours) > 0 {
			c.zone = h.Zone
		}
		c.add(Entry{at, i}, "header: "+h.Label(i), v, effect, terms...)
		c.last().reject, c.last().guarded = a.Reject, len(guard) > 0
		switch {
		case a.Replies:
			c.last().replies = withReplies(a.Strict)
		case a.NoReply:
			c.last().replies = " even if it is a reply"
		}
	}
}

// withReplies is what is said of what may be answered. What is proved of a strict entry is so of the packets that open a conversation.
func withReplies(strict bool) string {
	if strict {
		return " with replies, over TCP of a SYN alone"
	}
	return " with replies"
}

// word is what the rule does, as files write it.
func (r *rule) word() string {
	if r.reject {
		return "reject"
	}
	return r.verdict.String()
}

// before returns the terms of all rules before one.
func (c *chain) before(r *rule) []*term { return c.list[:r.before] }

// of returns a rule's terms.
func (c *chain) of(r *rule) []term { return c.terms[r.first : r.first+r.terms] }

// anyOf are the packets that meet a condition of a machine, or one of those that stand beside it.
func anyOf(first *header.Condition, or []header.Condition) [][]atom {
	terms := condition(first.Completed())
	for i := range or {
		terms = append(terms, condition(or[i].Completed())...)
	}
	return terms
}

// condition returns the atoms of a rule with its prerequisites: one list, or one for each family where the rule is of both.
func condition(c *header.Condition) [][]atom {
	var atoms []atom
	m := &c.Header
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		if a := atomOf((rest & -rest).Info(), m); !zero(a.bits.mask) {
			atoms = append(atoms, a)
		}
	}
	for _, side := range []struct {
		field flow.Field
		ports *header.PortRange
	}{{flow.FieldL4Src, c.Src}, {flow.FieldL4Dst, c.Dst}} {
		if r := side.ports; r != nil && *r != header.AnyPort {
			atoms = append(atoms, between(side.field, uint64(r.First), uint64(r.Last)))
		}
	}
	if m.Fields&flow.NeedNeighbor.Fields() != 0 && !m.Has(flow.FieldICMPCode) {
		atoms = append(atoms, is(flow.FieldICMPCode, 0))
	}
	// What tells most rules from a packet comes first.
	slices.SortStableFunc(atoms, func(a, b atom) int { return cmp.Compare(a.rank(), b.rank()) })
	if !c.OpenFamily() {
		return [][]atom{atoms}
	}
	return [][]atom{
		append([]atom{is(flow.FieldEthType, flow.EthTypeIPv4)}, atoms...),
		append([]atom{is(flow.FieldEthType, flow.EthTypeIPv6)}, atoms...),
	}
}

func (a *atom) rank() int {
	if fieldAt(a.field)&(flow.Prefix.Fields()|flow.MaskedMAC.Fields()) != 0 {
		return 0
	}
	return 1
}

// place is a field's index in flow.Fields.
func place(f flow.Field) uint8 {
	for i := range flow.Fields {
		if flow.Fields[i].Field == f {
			return uint8(i)
		}
	}
	panic("prove: " + f.String() + " is not one field")
}

// is is the condition that a field has a value; among, that it has one of a set.
func is(f flow.Field, v uint64) atom {
	return atom{field: place(f), bits: cube{number(v, f.Info().Bits), leading(int(f.Info().Bits))}}
}

// between is the condition that a number is from first to last.
func between(f flow.Field, first, last uint64) atom {
	return ranged(place(f), f.Info().Bits, first, last)
}

func ranged(place, n uint8, first, last uint64) atom {
	if size := last - first + 1; size&(size-1) == 0 && first&(size-1) == 0 { // a prefix
		return atom{field: place, bits: cube{number(first, n), leading(int(n) - bits.TrailingZeros64(size))}}
	}
	return atom{field: place, set: set{{number(first, n), cube{number(last, n), leading(int(n))}.last()}}}
}

func among(f flow.Field, s set) atom { return atom{field: place(f), set: s} }

// atomOf returns the condition that m puts on a field.
func atomOf(x *flow.FieldInfo, m *flow.Match) atom {
	a := atom{field: place(x.Field)}
	switch x.Kind {
	case flow.Address, flow.MaskedMAC:
		v, mask := x.MAC(m)
		a.bits = cube{macWord(v), macWord(mask)}
	case flow.Prefix:
		p := x.Prefix(m)
		a.bits = cube{addressOf(p.Addr()), leading(p.Bits())}
	case flow.IPv6:
		a.bits = cube{addressOf(x.Addr(m)), leading(128)}
	default:
		v, mask := x.Number(m)
		a.bits = cube{number(v, x.Bits), number(mask, x.Bits)}
	}
	return a
}

// listed returns what a blocklist denies: packets with a listed source or destination, of either family and in ARP, and discovery of a
// listed target.
func listed(c *blocklist.Config) (conditions [][]atom) {
	var v4, v6 []span
	for i := range c.Lists {
		for _, p := range c.Lists[i].Prefixes {
			s := cube{addressOf(p.Masked().Addr()), leading(p.Bits())}
			if p.Addr().Is4() {
				v4 = append(v4, span{s.value, s.last()})
			} else {
				v6 = append(v6, span{s.value, s.last()})
			}
		}
	}
	add := func(s set, ethType uint64, f flow.Field, more ...atom) {
		conditions = append(conditions, append([]atom{is(flow.FieldEthType, ethType), among(f, s)}, more...))
	}
	s4, s6 := newSet(v4), newSet(v6)
	for _, side := range []struct {
		ip, arp flow.Field
		message uint64 // of neighbour discovery
		unless  blocklist.Direction
	}{
		{flow.FieldIPSrc, flow.FieldARPSPA, advertisement, blocklist.Dst},
		{flow.FieldIPDst, flow.FieldARPTPA, solicitation, blocklist.Src},
	} {
		if c.Match == side.unless {
			continue
		}
		if len(s4) > 0 {
			add(s4, flow.EthTypeIPv4, side.ip)
			add(s4, flow.EthTypeARP, side.arp)
		}
		if len(s6) > 0 {
			add(s6, flow.EthTypeIPv6, side.ip)
			add(s6, flow.EthTypeIPv6, flow.FieldNDTarget, is(flow.FieldIPProto, flow.ProtoICMPv6), is(flow.FieldICMPType, side.message), is(flow.FieldICMPCode, 0))
		}
	}
	return conditions
}

// devices returns what a mac entry denies.
func devices(c *mac.Config) (conditions [][]atom) {
	var list []span
	for i := range c.Lists {
		for _, p := range c.Lists[i].Prefixes {
			s := cube{macWord(p.Addr), leading(int(p.Bits))}
			list = append(list, span{s.value, s.last()})
		}
	}
	s := newSet(list)
	for _, side := range []struct {
		field  flow.Field
		unless mac.Direction
	}{{flow.FieldEthSrc, mac.Dst}, {flow.FieldEthDst, mac.Src}} {
		if c.Match == side.unless || len(s) == 0 {
			continue
		}
		a := among(side.field, s)
		if a.not = c.Deny == mac.Unlisted; !a.not {
			conditions = append(conditions, []atom{a})
			continue
		}
		atoms := []atom{a}
		if side.field == flow.FieldEthDst { // a group is nobody's device
			group := macWord(flow.MAC{1})
			atoms = append(atoms, atom{field: a.field, bits: cube{mask: group}})
		}
		conditions = append(conditions, atoms)
	}
	return conditions
}
