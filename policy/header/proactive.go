package header

import (
	"fmt"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// DefaultMaxProactive bounds what proactive rules become on a switch, which
// matches one port or all, and IPv4 and IPv6 apart. A gateway takes 64 rules in
// one answer unless it is configured otherwise; some are left for forward.
const DefaultMaxProactive = 60

// proactiveRule is a rule that switches get as they connect.
type proactiveRule struct {
	rank     int32
	priority uint16
	cond     Condition // with prerequisites
}

// checkProactive refuses a proactive rule that would make a switch decide
// otherwise than the chain: packets that it matches are never asked about, so
// no other policy and no other rule may have a say in them.
func (c *Config) checkProactive(earlier []policy.Source) error {
	if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Proactive }) {
		return nil
	}
	limit, total := c.MaxProactive, 0
	if limit == 0 {
		limit = DefaultMaxProactive
	}
	conditions := c.Conditions()
	for i := range c.Rules {
		r := &c.Rules[i]
		if !r.Proactive {
			continue
		}
		fail := func(format string, args ...any) error {
			return &policy.ItemError{Index: i, Item: c.Label(i), Err: fmt.Errorf("proactive: "+format, args...)}
		}
		n := 0
		for j := range conditions[i] {
			n += conditions[i][j].expansions()
		}
		if total += n; total > limit {
			return fail("it becomes %d rules in a switch, %d together with the rules before it, and max_proactive is %d", n, total, limit)
		}
		for _, s := range earlier {
			if o, ok := s.(*Config); ok {
				for j, list := range o.Conditions() {
					if overlap(list, conditions[i]) {
						return fail("rule %s of an earlier header policy may match the same packets", o.Label(j))
					}
				}
				continue
			}
			if r, ok := s.(policy.Remembering); ok && r.Remembers() {
				return fail("the chain asks %s first, which must see the packets", s.Name())
			}
			if !r.Action.Deny {
				return fail("the chain asks %s first; a rule that allows must come before it", s.Name())
			}
		}
		for j := range c.Rules {
			o := &c.Rules[j]
			if i == j || o.Priority < r.Priority || o.Proactive && o.Priority > r.Priority || o.Action.equal(&r.Action) {
				continue
			}
			if j > i && o.Priority == r.Priority && !o.Proactive {
				continue // r comes first in the chain, too
			}
			if overlap(conditions[j], conditions[i]) {
				if o.Proactive {
					return fail("rule %s has the same priority and may match the same packets: a switch could take either", c.Label(j))
				}
				return fail("rule %s comes first, may match the same packets and is not proactive", c.Label(j))
			}
		}
	}
	return nil
}

// overlap reports whether a packet may meet a condition of each list. If it can't tell, it returns true.
func overlap(a, b []Condition) bool {
	return slices.ContainsFunc(a, func(c Condition) bool {
		return slices.ContainsFunc(b, func(o Condition) bool { return c.overlaps(&o) })
	})
}

func (a *Action) equal(b *Action) bool {
	if a.Deny != b.Deny || a.Reject != b.Reject || a.Replies != b.Replies || a.Strict != b.Strict || a.NoReply != b.NoReply || a.SetQueue != b.SetQueue || a.Queue != b.Queue || a.Meter != b.Meter || len(a.Output) != len(b.Output) {
		return false
	}
	for i := range a.Output {
		if a.Output[i] != b.Output[i] {
			return false
		}
	}
	return true
}

// Proactive implements [policy.Link]. A rule that the switch's protocol can't
// express is left to misses, and so is every later one that it overlaps, which
// would else decide in its place.
func (l *link) Proactive(c *policy.Connected, rules []flow.Rule) []flow.Rule {
	protocol := flow.OpenFlow13
	if c.Switch != nil {
		protocol = c.Switch.Protocol
	}
	var skipped []*Condition
next:
	for i := range l.proactive {
		p := &l.proactive[i]
		cond, out := &p.cond, l.outcome(p.rank)
		for _, s := range skipped {
			if s.overlaps(cond) {
				skipped = append(skipped, cond)
				continue next
			}
		}
		rule := flow.Rule{Table: c.Install.Table, Priority: p.priority, BufferID: flow.NoBuffer}
		if out.Verdict == flow.Allow {
			effect, ok := out.Effect(c.Mode, protocol, rule.Table)
			if !ok {
				skipped = append(skipped, cond)
				continue
			}
			rule.Meter, rule.Goto, rule.Actions = effect.Meter, effect.Goto, effect.Actions
		}
		start := len(rules)
		for _, m := range cond.expand() {
			if m.Fields&^flow.Expressible(protocol, &m) != 0 {
				rules = rules[:start]
				skipped = append(skipped, cond)
				continue next
			}
			rule.Match = m
			rules = append(rules, rule)
		}
	}
	return rules
}

// expansions returns how many rules of a switch the condition becomes.
func (c *Condition) expansions() int {
	n := 1
	if c.OpenFamily() {
		n = 2
	}
	for _, r := range []*PortRange{c.Src, c.Dst} {
		if r != nil && *r != AnyPort {
			n *= r.size()
		}
	}
	return n
}

// OpenFamily reports whether the condition is of IPv4 and IPv6 packets alike.
func (c *Condition) OpenFamily() bool {
	return needsIP(&c.Header) && !c.Header.Has(flow.FieldEthType)
}

// expand returns the matches of switches' rules that together cover the condition.
func (c *Condition) expand() []flow.Match {
	list := []flow.Match{c.Header}
	if c.OpenFamily() {
		v6 := c.Header
		list[0].SetEthType(flow.EthTypeIPv4)
		v6.SetEthType(flow.EthTypeIPv6)
		list = append(list, v6)
	}
	list = expandPorts(list, c.Src, (*flow.Match).SetL4Src)
	return expandPorts(list, c.Dst, (*flow.Match).SetL4Dst)
}

func expandPorts(list []flow.Match, r *PortRange, set func(*flow.Match, uint16)) []flow.Match {
	if r == nil || *r == AnyPort {
		return list
	}
	out := make([]flow.Match, 0, len(list)*r.size())
	for _, m := range list {
		for p := int(r.First); p <= int(r.Last); p++ {
			one := m
			set(&one, uint16(p))
			out = append(out, one)
		}
	}
	return out
}
