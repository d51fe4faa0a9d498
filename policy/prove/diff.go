package prove

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/policy/sourceguard"
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
// none of the changes gets the same, in every state of the machines. Each change has an example, about which both policies were asked.
//
// Machines can be compared where the same packets move them in the same way in both policies: then they are in the same states in both, and what they
// decide in each state is compared. What is decided by others is not among the changes; uncompared says whose it is, and why.
func Diff(before, after *policy.Policy, oldLines, newLines Lines, budget int) (list []Change, uncompared []string, err error) {
	a, b, err := pair(before, after, budget)
	if err != nil {
		return nil, nil, err
	}
	err = a.differences(b, func(ra, rb *rule, r *region, at *point, trace *Counterexample) error {
		c, err := a.change(b, ra, rb, r, at, trace)
		if err != nil {
			return err
		}
		c.Old = ra.name(ra.treats(a.chain.policy), oldLines)
		c.New = rb.name(rb.treats(b.chain.policy), newLines)
		list = append(list, c)
		return nil
	})
	return list, a.uncompared, err
}

// pair returns provers of two policies, of which both know what of their machines can't be compared.
func pair(before, after *policy.Policy, budget int) (a, b *Prover, err error) {
	slots := make(map[string][]slot)
	for _, p := range []*policy.Policy{before, after} {
		for _, s := range p.Chain {
			c, ok := s.(*machine.Config)
			for i := 0; ok && i < len(c.Machines); i++ {
				m := &c.Machines[i]
				for _, one := range slotsOf(m) {
					if !slices.Contains(slots[m.Name], one) {
						slots[m.Name] = append(slots[m.Name], one)
					}
				}
			}
		}
	}
	if budget == 0 {
		budget = DefaultBudget
	}
	var both [2]*Prover
	for i, p := range []*policy.Policy{before, after} {
		c, err := newChainAt(p, itemPlace+uint8(i), slots)
		if err != nil {
			return nil, nil, err
		}
		both[i] = &Prover{chain: c, search: search{budget: budget}}
	}
	a, b = both[0], both[1]
	for _, c := range []*chain{a.chain, b.chain} {
		for i := range c.rules {
			if r := &c.rules[i]; r.verdict == flow.NoVerdict && !r.passes {
				return nil, nil, fmt.Errorf("undecided: %s decides by more than the packets' headers", r.label)
			}
		}
	}
	if a.chain.hours && b.chain.hours && !slices.Equal(a.chain.zone, b.chain.zone) {
		return nil, nil, fmt.Errorf("undecided: the hours of the policies are in different time zones")
	}
	if a.chain.hours || b.chain.hours {
		if !a.chain.hours {
			a.chain.zone = b.chain.zone
		}
		b.chain.zone = a.chain.zone
		for _, one := range both {
			one.chain.hours, one.timed = true, true
		}
	}
	return a, b, a.compare(b)
}

// compare finds the machines that can't be compared, and whether what source guards learn can't.
func (p *Prover) compare(o *Prover) (err error) {
	a, b := p.chain.learns, o.chain.learns
	if a != nil && !a.behind || b != nil && !b.behind { // it may stand before machines
		if p.wardsApart, err = p.compareWards(o); err != nil {
			return err
		}
	}
	if err := p.compareMachines(o); err != nil {
		return err
	}
	if p.wardsApart == "" {
		p.wardsApart, err = p.compareWards(o)
	}
	o.wardsApart = p.wardsApart
	return err
}

// compareWards says why what source guards learn can't be compared; empty: they know the same at all times. What machines before them do is known.
func (p *Prover) compareWards(o *Prover) (why string, err error) {
	a, b := p.chain.learns, o.chain.learns
	switch {
	case a == nil && b == nil:
		return "", nil
	case a == nil || b == nil:
		return "only one of the policies learns", nil
	case a.behind != b.behind:
		return "machines stand before it in one of the policies alone", nil
	case !sameGuards(a.Config, b.Config):
		return "what it binds or how it learns is another", nil
	}
	for _, m := range p.chain.machines {
		if a.behind && p.apart[m.Name] != "" {
			return "machine " + m.Name + " stands before it, and " + p.apart[m.Name], nil
		}
	}
	for _, one := range [][2]*Prover{{p, o}, {o, p}} {
		at, err := one[0].guardedAlone(one[1])
		if err != nil {
			return "", err
		}
		if at != nil {
			return "packets such as " + words(at) + " come to it in one of the policies alone", nil
		}
	}
	return "", nil
}

// sameGuards reports whether two source guards bind, learn and deny the same.
func sameGuards(a, b *sourceguard.Config) bool {
	x, y := *a, *b
	x.Log, y.Log = false, false
	return reflect.DeepEqual(&x, &y)
}

// guardedAlone looks for a packet by which p's source guard may learn something, and which does not come to o's.
func (p *Prover) guardedAlone(o *Prover) (*point, error) {
	mine, others := p.chain.before(&p.chain.rules[p.chain.learns.rule]), o.chain.before(&o.chain.rules[o.chain.learns.rule])
	void := slices.Concat(p.chain.impossible(nil), o.chain.impossible(nil), incomplete)
	first := p.alike(o)
	for _, t := range others {
		if t.owner < first {
			continue
		}
		for _, asks := range p.chain.learns.binds() {
			r, ok := newRegion(asks, t.atoms)
			if !ok {
				continue
			}
			r.not = void
			if at, _, err := p.find(&r, mine); at != nil || err != nil {
				return p.plain(at, slices.Concat(asks, t.atoms), void, mine), err
			}
		}
	}
	return nil, nil
}

// unread are terms of the packets about which a rule behind a source guard says too little, since what the guard knows of them can't be compared.
func (p *Prover) unread(r *rule) (terms []*term) {
	if l := p.chain.learns; l != nil && p.wardsApart != "" && (r.Entry.Chain > l.at || r.Entry.Chain < 0) {
		for _, atoms := range l.binds() {
			terms = append(terms, &term{atoms, nobody})
		}
	}
	return terms
}

// learnedOf reports whether what a source guard has learned decides whether a packet comes to a rule.
func (p *Prover) learnedOf(r *rule, at *point) bool {
	l := p.chain.learns
	return l != nil && p.wardsApart == "" && (r.Entry.Chain > l.at || r.Entry.Chain < 0) &&
		slices.ContainsFunc(l.terms(p.chain), func(t term) bool { return t.covers(at) })
}

// wardsUncompared notes that what source guards learn can't be compared, with a packet of which that is so.
func (p *Prover) wardsUncompared(o *Prover) error {
	for _, one := range []*Prover{p, o} {
		l := one.chain.learns
		if p.wardsApart == "" || l == nil {
			continue
		}
		easy := [][]atom{{is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldIPProto, flow.ProtoTCP)}, nil} // if there is one
		for _, asks := range all(easy, l.binds()) {
			r, ok := newRegion(asks)
			if !ok {
				continue
			}
			before := one.chain.before(&one.chain.rules[l.rule])
			r.not = slices.Concat(one.chain.impossible(nil), incomplete)
			at, _, err := one.find(&r, before)
			if err != nil {
				return err
			}
			if at = one.plain(at, asks, r.not, before); at != nil {
				p.uncompared = append(p.uncompared, fmt.Sprintf("%s: %s; by what it learns it decides packets such as %s", sourceguard.Name, p.wardsApart, words(at)))
				return nil
			}
		}
	}
	return nil
}

func (p *Prover) compareMachines(o *Prover) error {
	p.apart = make(map[string]string)
	for _, one := range [][2]*Prover{{p, o}, {o, p}} {
		for _, m := range one[0].chain.machines {
			n := one[1].chain.automaton(m.Name)
			switch {
			case n == nil:
				p.apart[m.Name] = "only one of the policies has it"
			case p.wardsApart != "":
				p.apart[m.Name] = "what " + sourceguard.Name + " lets come to it is another: " + p.wardsApart
			case !sameMoves(m.Machine, n.Machine):
				p.apart[m.Name] = "its transitions, its states or what it is for are others"
			default:
				at, err := one[0].movesAlone(one[1], m, n)
				if err != nil {
					return err
				}
				if at != nil {
					p.apart[m.Name] = "packets such as " + words(at) + " move it in one of the policies alone"
				}
			}
		}
	}
	for more := true; more; { // and what reads their states
		more = false
		for _, m := range p.chain.machines {
			for _, name := range m.readsOf() {
				if p.apart[m.Name] == "" && p.apart[name] != "" {
					p.apart[m.Name], more = "it reads the states of "+name, true
				}
			}
		}
	}
	return nil
}

// readsOf returns the machines whose states a machine reads.
func (a *automaton) readsOf() (names []string) {
	for _, s := range a.slots {
		names = append(names, s.machine)
	}
	for i := range a.Transitions {
		for _, w := range a.Transitions[i].When {
			names = append(names, w.Machine)
		}
	}
	return names
}

// sameMoves reports whether the same events move two machines in the same way.
func sameMoves(a, b *machine.Machine) bool {
	x, y := *a, *b
	x.States, y.States = nil, nil
	return reflect.DeepEqual(x, y) && slices.EqualFunc(a.States, b.States, func(a, b machine.State) bool { return a.Name == b.Name })
}

// movesAlone looks for a packet that concerns machine m in p, and tries one of its transitions, but does not concern n in o.
func (p *Prover) movesAlone(o *Prover, m, n *automaton) (*point, error) {
	always := func(*automaton) bool { return true }
	mine, others := slices.Concat(p.chain.reach(), p.chain.earlier(m, always)), slices.Concat(o.chain.reach(), o.chain.earlier(n, always))
	void := slices.Concat(frames, incomplete)
	for _, t := range others {
		if slices.ContainsFunc(mine, func(s *term) bool { return reflect.DeepEqual(s.atoms, t.atoms) }) {
			continue
		}
		for i := range m.Transitions {
			if m.Transitions[i].Packet == nil {
				continue
			}
			for _, atoms := range all(m.scope, tries(&m.Transitions[i])) {
				r, ok := newRegion(atoms, t.atoms)
				if !ok {
					continue
				}
				r.not = void
				if at, _, err := p.find(&r, mine); at != nil || err != nil {
					return p.plain(at, slices.Concat(atoms, t.atoms), void, mine), err
				}
			}
		}
	}
	return nil, nil
}

// plain is plainer of what meets atoms and no term; nil of nil.
func (p *Prover) plain(at *point, atoms []atom, terms ...[]*term) *point {
	if at == nil {
		return nil
	}
	whole := term{atoms: atoms}
	return plainer(at, func(at *point) bool {
		return whole.covers(at) && !slices.ContainsFunc(slices.Concat(terms...), func(t *term) bool { return t.covers(at) })
	})
}

// isApart says why what two rules decide can't be compared.
func (p *Prover) isApart(ra, rb *rule) (name, why string) {
	for _, r := range []*rule{ra, rb} {
		if r.automaton != nil && p.apart[r.automaton.Name] != "" {
			return r.automaton.Name, p.apart[r.automaton.Name]
		}
	}
	if ra.automaton != nil && rb.automaton != nil && ra.automaton.Name != rb.automaton.Name {
		return ra.automaton.Name, "machine " + rb.automaton.Name + " decides some of its packets in the other policy"
	}
	return "", ""
}

// differences calls each for the packets that p's rule ra decides and o's rule rb, where the two treat them differently
// and there are such packets; at is one of them, and trace leads to it where it hangs on machines.
func (p *Prover) differences(o *Prover, each func(ra, rb *rule, r *region, at *point, trace *Counterexample) error) error {
	// A packet whose deciding entry stays what it is and where it is, in both policies, gets the same. So one of two entries is always a changed one.
	keptA, keptB := common(p.chain, o.chain)
	first := p.alike(o)
	said := make(map[string]bool)
	if err := p.wardsUncompared(o); err != nil {
		return err
	}
	for i := range p.chain.rules {
		for j := range o.chain.rules {
			ra, rb := &p.chain.rules[i], &o.chain.rules[j]
			if keptA[i] && keptB[j] || ra.passes || rb.passes || min(i, j) < first && i != j {
				continue
			}
			name, why := "", ""
			if ra.automaton != nil || rb.automaton != nil {
				name, why = p.isApart(ra, rb)
			}
			switch {
			case why == "" && same(p.chain, o.chain, ra, rb) || why != "" && said[name]:
				continue
			case why != "":
				each := func(_, _ *rule, _ *region, at *point, _ *Counterexample) error {
					if said[name] {
						return nil
					}
					said[name] = true
					p.uncompared = append(p.uncompared, fmt.Sprintf("machine %s: %s; it decides packets such as %s", name, why, words(at)))
					return nil
				}
				if err := p.differ(o, ra, rb, false, each); err != nil {
					return err
				}
			default:
				if err := p.differ(o, ra, rb, true, each); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (p *Prover) differ(o *Prover, ra, rb *rule, reach bool, each func(ra, rb *rule, r *region, at *point, trace *Counterexample) error) error {
	tas, tbs := p.chain.of(ra), o.chain.of(rb)
	for i := range tas {
		for j := range tbs {
			if p.search.budget -= 8; p.search.budget < 0 { // lists of conditions are long, too
				return ErrBudget
			}
			r, ok := newRegion(tas[i].atoms, tbs[j].atoms)
			if !ok {
				continue
			}
			r.not = slices.Concat(p.chain.impossible(ra), o.chain.impossible(rb), incomplete, p.unread(ra), o.unread(rb))
			for {
				at, _, err := p.find(&r, p.chain.before(ra), o.chain.before(rb))
				if err != nil {
					return err
				}
				if at == nil {
					break
				}
				at = p.plain(at, slices.Concat(tas[i].atoms, tbs[j].atoms), r.not, p.chain.before(ra), o.chain.before(rb))
				var trace *Counterexample
				learned := p.learnedOf(ra, at) || o.learnedOf(rb, at)
				if in, v := p, ra.verdict; reach && (ra.automaton != nil || rb.automaton != nil || learned) {
					if ra.automaton == nil && rb.automaton != nil {
						in, v = o, rb.verdict
					}
					p.undecided, o.undecided = nil, nil
					in.search.budget = p.search.budget
					like, err := in.unreached(at, maxEvents)
					var c *Counterexample
					if err == nil && like == nil {
						c, like, err = in.reached(at, v, nil, maxEvents, true)
					}
					p.search.budget = in.search.budget
					switch {
					case err != nil:
						return err
					case c == nil && in.undecided != nil && learned:
						if len(p.uncompared) < maxNamed {
							p.uncompared = append(p.uncompared, fmt.Sprintf("%s: whether packets such as %s ever pass it is %v", sourceguard.Name, words(at), in.undecided))
						}
						r.not = append(r.not, like)
						continue
					case c == nil && in.undecided != nil:
						return in.undecided
					}
					if trace = c; c == nil { // these states never come about
						r.not = append(r.not, like)
						continue
					}
				}
				if err := each(ra, rb, &r, at, trace); err != nil {
					return err
				}
				break
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
func (p *Prover) change(o *Prover, ra, rb *rule, r *region, at *point, trace *Counterexample) (c Change, err error) {
	events := p.alone(at)
	if trace != nil {
		events = trace.Trace
	}
	example, err := p.replay(at, events, ra.verdict, nil)
	if err == nil {
		_, err = o.replay(at, events, rb.verdict, nil)
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
	for _, one := range []*rule{ra, rb} {
		if one.automaton != nil {
			c.Packets += one.automaton.situation(&r.box)
			break
		}
	}
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

// alike returns how many rules two policies begin with that are the same, those of machines that can be compared included: what one of them decides it decides in both.
func (p *Prover) alike(o *Prover) int {
	same := func(a, b *rule) bool {
		if a.label != b.label || a.passes != b.passes || a.terms != b.terms || !same(p.chain, o.chain, a, b) {
			return false
		}
		if (a.automaton == nil) != (b.automaton == nil) || a.automaton != nil && (a.automaton.Name != b.automaton.Name || p.apart[a.automaton.Name] != "") {
			return false
		}
		return slices.EqualFunc(p.chain.of(a), o.chain.of(b), func(s, t term) bool {
			return slices.EqualFunc(s.atoms, t.atoms, func(x, y atom) bool {
				at := y.field
				if at == o.chain.item {
					at = p.chain.item
				}
				return x.field == at && x.not == y.not && x.bits == y.bits && x.set.equal(y.set)
			})
		})
	}
	n := 0
	for n < min(len(p.chain.rules), len(o.chain.rules)) && same(&p.chain.rules[n], &o.chain.rules[n]) {
		n++
	}
	return n
}

// maxTable bounds what is compared to find what two policies have in common.
const maxTable = 1 << 22

// common says which rules of two policies are the same, in the same order.
func common(a, b *chain) (inA, inB []bool) {
	keys := func(c *chain) (list []string) {
		for i := range c.rules {
			r := &c.rules[i]
			var text strings.Builder
			text.WriteString(r.effectIn(c.policy))
			for _, t := range c.of(r) {
				fmt.Fprint(&text, t.atoms)
			}
			list = append(list, text.String())
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
