package prove

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Delta is for which packets two policies decide differently, and for which rules that decisions of the old one have left the new one has to
// be asked. It is safe for concurrent use.
type Delta struct {
	mu       sync.Mutex
	prover   *Prover
	regions  []delta
	changed  []term // of entries that are only in one of the policies
	question int    // budget of one question
}

// delta is packets that one rule decides in the old policy and another in the new one.
type delta struct {
	region
	before [][]*term // which decide a part of them before
	touch  flow.Touch
}

// questionBudget bounds what is looked at for one rule.
const questionBudget = 1 << 20

// NewDelta compares two policies, as [Diff] does. It fails where either decides by more than packets show, and where they install their rules
// differently.
func NewDelta(old, next *policy.Policy, budget int) (*Delta, error) {
	if a, b := old.Install, next.Install; a.Rule != b.Rule || a.Priority != b.Priority || a.Table != b.Table {
		return nil, fmt.Errorf("undecided: the policies install different rules")
	}
	a, b, err := pair(old, next, budget)
	if err != nil {
		return nil, err
	}
	d := &Delta{prover: a, question: questionBudget}
	err = a.differences(b, func(ra, rb *rule, r *region, _ *point, _ *Counterexample) error {
		touch := flow.Changed
		// What is denied now may have been let in as a reply; and what lost its replies may have some in the switch.
		if rb.verdict == flow.Deny || ra.replies != rb.replies {
			touch = flow.Denied
		}
		d.regions = append(d.regions, delta{*r, [][]*term{a.chain.before(ra), b.chain.before(rb)}, touch})
		return nil
	})
	if err == nil && len(a.uncompared) > 0 {
		err = fmt.Errorf("undecided: %s", a.uncompared[0])
	}
	if err != nil {
		return nil, err
	}
	keptA, keptB := common(a.chain, b.chain)
	for _, one := range []struct {
		chain *chain
		kept  []bool
	}{{a.chain, keptA}, {b.chain, keptB}} {
		for i := range one.chain.rules {
			if !one.kept[i] {
				d.changed = append(d.changed, one.chain.of(&one.chain.rules[i])...)
			}
		}
	}
	return d, nil
}

// Touches implements [flow.Scope], exactly for rules that show all that their packets have.
//
// A rule that leaves open what packets of its kind have, such as ports, covers packets that don't show it, too, about which the policies were not
// compared: it is touched where an entry that changed is about any of its packets.
func (d *Delta) Touches(m *flow.Match) (t flow.Touch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t = d.touches(m)
	if q, ok := m.Question(); ok && t != flow.Denied {
		t = max(t, d.touches(&q))
	}
	if t == flow.Untouched && m.Missing() != 0 {
		atoms := atomsOf(m)
		for i := range d.changed {
			if _, ok := newRegion(d.changed[i].atoms, atoms); ok {
				return flow.Changed
			}
		}
	}
	return t
}

func (d *Delta) touches(m *flow.Match) (t flow.Touch) {
	atoms := atomsOf(m)
	for i := range d.regions {
		one := &d.regions[i]
		if one.touch <= t {
			continue
		}
		r := region{box: one.box, must: one.must, not: one.not}
		if !r.narrow(atoms) {
			continue
		}
		d.prover.search.budget = d.question
		at, _, err := d.prover.find(&r, one.before...)
		if at != nil || err != nil {
			t = one.touch
		}
	}
	return t
}

// narrow leaves of r what meets atoms, and reports false where that is nothing.
func (r *region) narrow(atoms []atom) bool {
	r.must = slices.Clip(r.must)
	for i := range atoms {
		rest, ok := r.box.narrow(&atoms[i])
		if !ok {
			return false
		}
		if rest != nil {
			r.must = append(r.must, rest)
		}
	}
	return true
}

// atomsOf are the conditions of a match.
func atomsOf(m *flow.Match) (atoms []atom) {
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		if a := atomOf((rest & -rest).Info(), m); !zero(a.bits.mask) {
			atoms = append(atoms, a)
		}
	}
	return atoms
}

// Regions returns matches that have every packet which the change touches; ok is false where it would take more than max.
func (d *Delta) Regions(max int) (list flow.Regions, ok bool) {
	add := func(r *region, t flow.Touch) {
		one := flow.Region{Match: r.match(), Touch: t}
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	for i := range d.regions {
		add(&d.regions[i].region, d.regions[i].touch)
	}
	for i := range d.changed {
		if r, ok := newRegion(d.changed[i].atoms); ok {
			add(&r, flow.Changed)
		}
	}
	return list, len(list) <= max
}

// match returns a match that has all packets of r.
func (r *region) match() (m flow.Match) {
	known := r.box.known()
	for i := range flow.Fields {
		x, c := &flow.Fields[i], r.box[i]
		n := ones(c.mask)
		if x.Kind == flow.Prefix || x.Kind == flow.IPv6 {
			if n == 0 || c.mask != leading(n) || x.Kind == flow.IPv6 && n < 128 {
				continue
			}
			if v4 := known.EthType == flow.EthTypeIPv4 || known.EthType == flow.EthTypeARP; x.Kind == flow.IPv6 {
				x.SetAddr(&m, addressIn(c.value, false))
			} else if known.EthType != 0 {
				a := addressIn(c.value, v4)
				x.SetPrefix(&m, netip.PrefixFrom(a, min(n, a.BitLen())))
			}
			continue
		}
		width := leading(int(x.Bits))
		switch mask := and(c.mask, width); {
		case zero(mask):
		case x.Kind == flow.MaskedMAC || mask == width && x.Kind == flow.Address:
			x.SetMAC(&m, macOf(c.value), macOf(mask))
		case mask == width || x.Kind == flow.VLANTag || x.Kind == flow.Number64:
			x.SetNumber(&m, c.value.Hi>>(64-x.Bits), mask.Hi>>(64-x.Bits))
		}
	}
	return m
}
