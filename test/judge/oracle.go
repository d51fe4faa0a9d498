package judge

import (
	"slices"
	"time"

	"switchbridge/flow"
)

// Verdict is what an answer says of a packet.
type Verdict uint8

const (
	Unsaid Verdict = iota // no rule of the answer is about it
	Passes
	Denied
)

// Rules are a function's own, before any guardrail, in the sense that the contract gives them.
type Rules []flow.Rule

// Meant returns the rules of an answer as they are meant: a rule without the prerequisites of its fields
// has those of the packet that asked (docs/contract.md). Where nothing supplies them it is taken by the
// fields that it has.
func Meant(rules []flow.Rule, packet *flow.Match) Rules {
	meant := make(Rules, 0, len(rules))
	for _, r := range rules {
		if r.Command != flow.Add {
			continue // it takes rules away, and denies nothing
		}
		if m := r.Match.Canonical(); m.Complete(packet) == nil {
			r.Match = m
		}
		if r.Match.Has(flow.FieldVLAN) {
			r.Match.VLAN = meantVLAN(&r.Match)
		}
		// An ADD replaces a rule of equal match and priority.
		meant = slices.DeleteFunc(meant, func(have flow.Rule) bool {
			return have.Table == r.Table && have.Priority == r.Priority && have.Match.Canonical() == r.Match.Canonical()
		})
		meant = append(meant, r)
	}
	return meant
}

// meantVLAN is a match's VLAN where a VID without the bit for "has a tag" means the VID. OpenFlow 1.3
// can't say that, and Open vSwitch would take it for something else or refuse it.
func meantVLAN(m *flow.Match) uint16 {
	if m.VLAN&0xfff != 0 {
		return m.VLAN | flow.VLANPresent
	}
	return m.VLAN
}

// Says follows a packet through the rules, as a switch that could hold all of them would: in each table the
// rule of the highest priority counts, and of several a deny: a switch may take any of them (OpenFlow
// 1.3.5, 5.3), so the others may not be there. Rules that have ended after the given time don't count. by
// is the index of the rule that decides, or -1.
func (rules Rules) Says(p *flow.Match, after time.Duration) (v Verdict, by int) {
	return rules.says(p, 0, after)
}

func (rules Rules) says(p *flow.Match, table uint8, after time.Duration) (v Verdict, by int) {
	var top []int // of the highest priority
	for i := range rules {
		r := &rules[i]
		if r.Table != table || !lives(r, after) || !covers(&r.Match, p) || len(top) > 0 && r.Priority < rules[top[0]].Priority {
			continue
		}
		if len(top) > 0 && r.Priority > rules[top[0]].Priority {
			top = top[:0]
		}
		top = append(top, i)
	}
	v, by = Unsaid, -1
	for _, i := range top {
		switch r := &rules[i]; {
		case r.Goto == 0 && !forwards(r.Actions):
			return Denied, i
		case forwards(r.Actions):
			v, by = Passes, i
		case rewrites(r.Actions) || r.Goto <= table:
		default:
			switch there, who := rules.says(p, r.Goto, after); there {
			case Denied:
				return Denied, who
			case Passes:
				v, by = Passes, who
			}
		}
	}
	return v, by
}

// forwards reports whether a packet may leave by a list of actions. To the controller alone it doesn't.
func forwards(list []flow.Action) bool {
	for i := range list {
		switch a := &list[i]; a.Type {
		case flow.Output:
			if a.Port != flow.PortController {
				return true
			}
		case flow.Unsupported: // who knows
			return true
		}
	}
	return false
}

// rewrites reports whether the next table sees other headers than this one.
func rewrites(list []flow.Action) bool {
	for i := range list {
		if list[i].Type != flow.SetQueue {
			return true
		}
	}
	return false
}

func lives(r *flow.Rule, after time.Duration) bool {
	if after == 0 {
		return true // whatever its timeouts are, a deny that nobody could install denies at first
	}
	return (r.IdleTimeout == 0 || r.IdleTimeout > after) && (r.HardTimeout == 0 || r.HardTimeout > after)
}

// covers is flow's own Covers but for a mask of zero bits, which asks for nothing, not even that the field is there.
func covers(m, p *flow.Match) bool {
	q := *m
	if q.Has(flow.FieldVLAN) && q.VLANMask == 0 {
		q.Fields &^= flow.FieldVLAN
	}
	return q.Covers(p)
}

// DeniesPort is a function that denies one destination port, of whatever protocol and whatever hosts, and allows the rest.
type DeniesPort uint16

// Denies reports whether the function, asked about the whole packet, would deny it.
func (f DeniesPort) Denies(c *Classified) bool {
	m := &c.Match
	return m.Has(flow.FieldL4Dst) && m.L4Dst == uint16(f) && !c.Fragment
}
