package guard

import "switchbridge/flow"

// Fall adds rules to gone. gone marks the rules of one answer that are not installed,
// for whatever reason, also because the switch has refused them. Without these rules
// others of the answer may not be in the switch either. Fall marks every rule that
//
//   - overlaps a gone rule of its table and has a lower priority, or has actions and the
//     same priority;
//   - sends packets on to a gone rule's table;
//   - has actions, overlaps a gone deny and is looked up after it, whatever the
//     priorities (before is [Switch.Before]; it may be nil);
//   - is shielded by a rule that Fall has marked.
//
// If in doubt it marks a rule: the gateway is then asked about its packets again.
func Fall(rules []flow.Rule, gone []bool, before func(a, b *flow.Rule) bool) {
	if before == nil {
		before = Anything{}.Before
	}
	fall(rules, gone, beforeFunc(before), nil)
}

// lookup is the part of a [Switch] that is about its order.
type lookup interface{ Before(a, b *flow.Rule) bool }

type beforeFunc func(a, b *flow.Rule) bool

func (f beforeFunc) Before(a, b *flow.Rule) bool { return f(a, b) }

// fall is Fall, and notes in fates, unless it is nil, why each rule fell.
func fall(rules []flow.Rule, gone []bool, sw lookup, fates []fate) {
	var room [64]int
	work := room[:0]
	for i := range rules {
		if gone[i] {
			work = append(work, i)
		}
	}
	for len(work) > 0 {
		above := &rules[work[0]]
		work = work[1:]
		for i := range rules {
			if gone[i] || !shields(above, &rules[i], sw) {
				continue
			}
			gone[i] = true
			work = append(work, i)
			if fates != nil {
				fates[i] = fate{rail: RailExposed, detail: "without " + above.String()}
			}
		}
	}
}

// shields reports whether, without above, r may get packets that above would have
// got, or that r would have sent on to above by a goto.
func shields(above, r *flow.Rule, sw lookup) bool {
	if above.Command != flow.Add {
		return false
	}
	if untaggedVID(&above.Match) {
		tagged := *above
		tagged.Match.VLAN |= flow.VLANPresent
		above = &tagged
	}
	if r.Table == above.Table {
		after := r.Priority < above.Priority
		switch {
		case after:
		case !r.Forwards(): // it may deny more than was meant, but no packet that above was sure to get
		case r.Priority == above.Priority:
			after = true
		default:
			after = !above.Forwards() && sw.Before(above, r)
		}
		return after && r.Match.Overlaps(&above.Match)
	}
	// A goto leads forward only, at once or by rules that are in the switch already.
	if r.Goto == 0 || r.Goto > above.Table || r.Table > above.Table {
		return false
	}
	if f := written(r.Actions); r.Match.Fields&f != 0 {
		sent := r.Match.Keep(^f) // these fields may have any value when packets get there
		return sent.Overlaps(&above.Match)
	}
	return r.Match.Overlaps(&above.Match)
}

// untaggedVID reports whether m has a VID without the bit that says "tagged". No packet
// matches that, so no switch takes it. The author meant packets with that VID.
func untaggedVID(m *flow.Match) bool {
	return m.Has(flow.FieldVLAN) && m.VLAN&flow.VLANPresent == 0 && m.VLANMask&flow.VLANPresent != 0 && m.VLAN&m.VLANMask != 0
}
