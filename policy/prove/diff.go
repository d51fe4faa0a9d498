package prove

import (
	"fmt"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Change is packets that two policies decide differently.
type Change struct {
	Packets string   // what they have in common
	Except  []string // entries that decide a part of them before, in one of the policies: that part is not among them
	Old     string   // what the old policy does with them, and by which entry
	New     string
	Example Counterexample
}

// Diff returns exactly the packets that two policies treat differently: by verdict, or by what an allowed packet goes through. A packet in
// none of the changes gets the same. Each change has an example, about which both policies were asked.
func Diff(before, after *policy.Policy, oldLines, newLines Lines, budget int) (list []Change, err error) {
	a, b, err := pair(before, after, budget)
	if err != nil {
		return nil, err
	}
	err = a.differences(b, func(ra, rb *rule, r *region, at *point) error {
		c, err := a.change(b, ra, rb, r, at)
		if err != nil {
			return err
		}
		c.Old = ra.name(ra.treats(a.chain.policy), oldLines)
		c.New = rb.name(rb.treats(b.chain.policy), newLines)
		list = append(list, c)
		return nil
	})
	return list, err
}

// pair returns provers of two policies that decide by what packets show.
func pair(before, after *policy.Policy, budget int) (a, b *Prover, err error) {
	if a, err = New(before, budget); err != nil {
		return nil, nil, err
	}
	if b, err = New(after, budget); err != nil {
		return nil, nil, err
	}
	for _, c := range []*chain{a.chain, b.chain} {
		for i := range c.rules {
			if c.rules[i].verdict == flow.NoVerdict {
				return nil, nil, fmt.Errorf("undecided: %s decides by more than what packets show", c.rules[i].label)
			}
		}
	}
	return a, b, nil
}

// differences calls each for the packets that p's rule ra decides and o's rule rb, where the two treat them differently
// and there are such packets; at is one of them.
func (p *Prover) differences(o *Prover, each func(ra, rb *rule, r *region, at *point) error) error {
	// A packet whose deciding entry stays what it is and where it is, in both policies, gets the same. So one of two entries is always a changed one.
	keptA, keptB := common(p.chain, o.chain)
	for i := range p.chain.rules {
		for j := range o.chain.rules {
			ra, rb := &p.chain.rules[i], &o.chain.rules[j]
			if keptA[i] && keptB[j] || same(p.chain, o.chain, ra, rb) {
				continue
			}
			if err := p.differ(o, ra, rb, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Prover) differ(o *Prover, ra, rb *rule, each func(ra, rb *rule, r *region, at *point) error) error {
	tas, tbs := p.chain.of(ra), o.chain.of(rb)
	for i := range tas {
		for j := range tbs {
			r, ok := newRegion(tas[i].atoms, tbs[j].atoms)
			if !ok {
				continue
			}
			r.not = slices.Concat(frames, incomplete)
			at, _, err := p.find(&r, p.chain.before(ra), o.chain.before(rb))
			if err == nil && at != nil {
				err = each(ra, rb, &r, at)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// treats says what a rule does, and its name.
func (r *rule) treats(p *policy.Policy) string { return r.effectIn(p) + " by " + r.label }

// effectIn says what a rule of a policy does.
func (r *rule) effectIn(p *policy.Policy) string {
	s := r.word()
	if r.verdict == flow.Allow {
		if e, ok := r.effect.Effect(p.Mode(), flow.OpenFlow13, p.Install.Table); ok {
			s += " " + flow.ActionsString(e.Actions)
			if e.Meter != 0 {
				s += fmt.Sprintf(" meter:%d", e.Meter)
			}
			if e.Goto != 0 {
				s += fmt.Sprintf(" goto:%d", e.Goto)
			}
		}
	}
	return s + r.replies
}

// same reports whether two rules treat packets alike.
func same(a, b *chain, ra, rb *rule) bool {
	return ra.effectIn(a.policy) == rb.effectIn(b.policy)
}

// change says which packets r has, of which at is one, that ra decides in the one policy and rb in the other.
func (p *Prover) change(o *Prover, ra, rb *rule, r *region, at *point) (c Change, err error) {
	at = plainer(at, func(at *point) bool { return p.chain.decide(at) == ra && o.chain.decide(at) == rb })
	example, err := p.replay(at, ra.verdict)
	if err == nil {
		_, err = o.replay(at, rb.verdict)
	}
	if err != nil {
		return c, err
	}
	c.Example = *example
	for _, one := range []struct {
		chain *chain
		rule  *rule
	}{{p.chain, ra}, {o.chain, rb}} {
		for _, t := range r.without(one.chain.before(one.rule)) {
			if name := one.chain.rules[t.owner].label; !slices.Contains(c.Except, name) {
				c.Except = append(c.Except, name)
			}
		}
	}
	c.Packets = r.text()
	return c, nil
}

// without takes from the sets that r's packets must be in what terms cover of them, and returns the terms that cover another part of r.
func (r *region) without(terms []*term) (rest []*term) {
next:
	for _, t := range terms {
		var open []*atom
		for i := range t.atoms {
			a := &t.atoms[i]
			switch a.of(r.box[a.field]) {
			case outside:
				continue next
			case across:
				open = append(open, a)
			}
		}
		// A set of hosts from which others are taken is written as what is left of it.
		if len(open) == 1 {
			for i, must := range r.must {
				if must.field == open[0].field && must.set != nil && !must.not && !open[0].not {
					left := *must
					left.set = must.set.minus(open[0].ranges())
					r.must[i] = &left
					continue next
				}
			}
		}
		// A term that has no packet of the sets in common covers nothing.
		for _, a := range open {
			for _, must := range r.must {
				if must.field == a.field && must.set != nil && !must.not && !a.not && len(must.set.minus(a.ranges())) == len(must.set) && must.set.equal(must.set.minus(a.ranges())) {
					continue next
				}
			}
		}
		rest = append(rest, t)
	}
	return rest
}

// ranges returns the values of an atom that is not negated, where its bits are the leading ones.
func (a *atom) ranges() set {
	if a.set != nil {
		return a.set
	}
	if a.bits.mask != leading(ones(a.bits.mask)) {
		return nil
	}
	return set{{a.bits.value, a.bits.last()}}
}

func (s set) equal(o set) bool { return slices.Equal(s, o) }

// minus returns what is in s and not in o.
func (s set) minus(o set) (left set) {
	i := 0
	for _, r := range s {
		for i < len(o) && less(o[i].last, r.first) {
			i++
		}
		j, done := i, false
		for ; j < len(o) && !less(r.last, o[j].first); j++ {
			if less(r.first, o[j].first) {
				left = append(left, span{r.first, prev(o[j].first)})
			}
			if !less(o[j].last, r.last) {
				done = true
				break
			}
			r.first = next(o[j].last)
		}
		if !done {
			left = append(left, r)
		}
	}
	return left
}

// maxTable bounds what is compared to find what two policies have in common.
const maxTable = 1 << 22

// common says which rules of two policies are the same, in the same order.
func common(a, b *chain) (inA, inB []bool) {
	keys := func(c *chain) (list []string) {
		for i := range c.rules {
			r := &c.rules[i]
			text := r.effectIn(c.policy)
			for _, t := range c.of(r) {
				text += fmt.Sprint(t.atoms)
			}
			list = append(list, text)
		}
		return list
	}
	ka, kb := keys(a), keys(b)
	inA, inB = make([]bool, len(ka)), make([]bool, len(kb))
	first := 0
	for first < min(len(ka), len(kb)) && ka[first] == kb[first] {
		inA[first], inB[first] = true, true
		first++
	}
	lastA, lastB := len(ka), len(kb)
	for lastA > first && lastB > first && ka[lastA-1] == kb[lastB-1] {
		lastA, lastB = lastA-1, lastB-1
		inA[lastA], inB[lastB] = true, true
	}
	ka, kb = ka[first:lastA], kb[first:lastB]
	if len(ka)*len(kb) > maxTable {
		return inA, inB // they have more in common, which only costs time
	}
	longest := make([][]int32, len(ka)+1) // of a common subsequence from i and j on
	longest[len(ka)] = make([]int32, len(kb)+1)
	for i := len(ka) - 1; i >= 0; i-- {
		longest[i] = make([]int32, len(kb)+1)
		for j := len(kb) - 1; j >= 0; j-- {
			if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); ka[i] == kb[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(ka) && j < len(kb); {
		switch {
		case ka[i] == kb[j]:
			inA[first+i], inB[first+j] = true, true
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return inA, inB
}
