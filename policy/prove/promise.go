package prove

import (
	"fmt"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
	"switchbridge/policy/promise"
)

// Counterexample is a packet that breaks a promise.
type Counterexample struct {
	Trace  []Moment // the events that lead to it, and the packet
	Fewest bool     // no fewer events lead to a packet that breaks the promise

	Packet  flow.Match
	Words   string // the packet as "policy explain" and expectations take it
	Verdict flow.Verdict
	Reason  string
}

// Keeps decides whether the policy keeps a promise: nil for proved, or a packet that breaks it, with the fewest events that lead to it where it hangs on
// machines. The controller was asked about all of them, and decides them so.
func (p *Prover) Keeps(o *promise.Promise) (*Counterexample, error) {
	broken := flow.Allow
	if o.Kind == promise.Always {
		broken = flow.Deny
	}
	first, rest := alternatives(o.Parts), [][]atom(nil)
	if o.Kind == promise.Only {
		first, rest = alternatives(o.Parts[:1]), alternatives(o.Parts[1:])
	}
	var other []*term // what may be allowed of an only
	for _, atoms := range rest {
		other = append(other, &term{atoms, nobody})
	}
	p.undecided, p.coarse = nil, false
	var best *Counterexample
	limit, given, kept := maxEvents, p.search.budget, 0
	err := p.decidedAs(first, other, broken, func(at *point, r *rule) (like *term, err error) {
		stateless := len(p.chain.machines) == 0 || o.Unless == nil && r.automaton == nil && p.concerned(at) == nil
		if l := p.chain.learns; l != nil && stateless { // what it denies besides, it denies
			stateless = r.Entry.Chain >= 0 && r.Entry.Chain < l.at || r.verdict == flow.Deny
		}
		if stateless {
			best, err = p.replay(at, p.alone(at), broken, nil)
			return nil, err
		}
		if like, err := p.unreached(at, limit); like != nil || err != nil {
			return like, err
		}
		c, like, err := p.reached(at, broken, o.Unless, limit, false)
		if l := p.chain.learns; l != nil && like != nil && r == &p.chain.rules[l.rule] && (c != nil || limit < maxEvents) {
			like.owner = here // another entry may deny what is like the packet after fewer events
		}
		if c != nil {
			if best == nil { // what is left is for other questions
				kept = max(0, p.search.budget-max(forFewer, 8*(given-p.search.budget)))
				p.search.budget -= kept
			}
			if best, limit = c, len(c.Trace); limit == 1 {
				return nil, nil // there is none with fewer events
			}
		}
		return like, err
	})
	if kept > 0 {
		p.search.budget = max(p.search.budget, 0) + kept
	}
	switch {
	case best != nil:
		best.Fewest = len(best.Trace) == 1 || err == nil && p.undecided == nil && !p.coarse
		return best, nil
	case err != nil:
		return nil, err
	}
	return nil, p.undecided
}

// forFewer is how many conditions are looked at, at least, for fewer events than those that were found: about a second.
const forFewer = 1 << 24

// maxEvents bounds the events of a counterexample.
const maxEvents = 1 << 20

// alternatives returns the packets that meet all parts: those that meet one of the lists of atoms.
func alternatives(parts []promise.Part) (list [][]atom) {
	list = [][]atom{nil}
	for i := range parts {
		part := &parts[i]
		var one [][]atom
		if part.Hosts != nil {
			one = ends(part.Hosts)
		} else {
			for j := range part.Fields {
				one = append(one, condition(&part.Fields[j])...)
			}
		}
		var both [][]atom
		for _, a := range list {
			for _, b := range one {
				both = append(both, append(a[:len(a):len(a)], b...))
			}
		}
		list = both
	}
	return list
}

// ends returns what hosts send, or what is for them.
func ends(h *promise.Hosts) (list [][]atom) {
	ip, eth := flow.FieldIPSrc, flow.FieldEthSrc
	if h.To {
		ip, eth = flow.FieldIPDst, flow.FieldEthDst
	}
	var families [2][]span
	for _, p := range h.Prefixes {
		c := cube{addressOf(p.Masked().Addr()), leading(p.Bits())}
		family := 0
		if p.Addr().Is6() {
			family = 1
		}
		families[family] = append(families[family], span{c.value, c.last()})
	}
	for i, ethType := range []uint64{flow.EthTypeIPv4, flow.EthTypeIPv6} {
		if len(families[i]) == 0 {
			continue
		}
		hosts := among(ip, newSet(families[i]))
		if len(h.Prefixes) == 1 { // as bits, which narrow the box that is searched
			p := h.Prefixes[0]
			hosts = atom{field: place(ip), bits: cube{addressOf(p.Masked().Addr()), leading(p.Bits())}}
		}
		list = append(list, []atom{is(flow.FieldEthType, ethType), hosts})
	}
	if len(h.MACs) > 0 {
		var spans []span
		for _, a := range h.MACs {
			c := cube{macWord(a), leading(48)}
			spans = append(spans, span{c.value, c.last()})
		}
		list = append(list, []atom{among(eth, newSet(spans))})
	}
	return list
}

// here owns a term of what is like a packet as far as the rule says that it was found for, which says nothing of what other rules decide.
const here = -2

// decidedAs looks for complete packets that meet one of the lists, are covered by no term of other, and get a verdict in some situation. It hands each to
// take, which says whether that is enough, or else what else is like this one. Where such a packet may get to an entry that hangs on more than
// the packet and the states of machines, and none was enough, it fails.
func (p *Prover) decidedAs(lists [][]atom, other []*term, v flow.Verdict, take func(at *point, r *rule) (like *term, err error)) error {
	var undecided error
	besides := slices.Clip(slices.Concat(other, p.chain.impossible(nil), incomplete))
	// What is like a packet comes to where the packet came: what a rule before that decides is none of it, which the next list may have more of.
	type found struct {
		rule int
		like *term
	}
	var likes []found
	for _, atoms := range lists {
		var before []*term // what gets the other verdict. What gets this one as well covers nothing: its packets would do, too.
		for i := range p.chain.rules {
			r := &p.chain.rules[i]
			learns := p.chain.learns != nil && i == p.chain.learns.rule
			if r.passes && !(learns && v == flow.Deny) {
				continue
			}
			terms := p.chain.of(r)
			for j := range terms {
				if r.verdict != v && r.verdict != flow.NoVerdict {
					before = append(before, &terms[j])
					continue
				}
				kinds := append(r.enters(), nil)
				for len(kinds) > 0 {
					region, ok := newRegion(atoms, terms[j].atoms, kinds[0])
					if !ok {
						kinds = kinds[1:]
						continue
					}
					not := besides
					for _, l := range likes {
						if l.rule == i || l.rule < i && l.like.owner != here {
							not = append(not, l.like)
						}
					}
					region.not = not
					at, _, err := p.find(&region, before)
					if err != nil {
						return err
					}
					if at == nil {
						kinds = kinds[1:]
						continue
					}
					if r.verdict == flow.NoVerdict && !learns {
						if undecided == nil {
							m := packet(at)
							undecided = fmt.Errorf("undecided: %s decides packets such as %s by more than their headers", r.label, policytest.Words(&m))
						}
						break
					}
					whole := term{atoms: atoms}
					like, err := take(plainer(at, func(at *point) bool {
						by := p.chain.decide(at)
						decides := by.verdict == v && (by == r || p.chain.learns == nil) // what a guard learns may deny what another rule allows
						return whole.covers(at) && !slices.ContainsFunc(not, func(t *term) bool { return t.covers(at) }) && (decides || learns && terms[j].covers(at) &&
							!slices.ContainsFunc(before, func(t *term) bool { return t.covers(at) }))
					}), r)
					if err != nil || like == nil {
						return err
					}
					likes = append(likes, found{i, like})
				}
				if r.verdict == flow.NoVerdict && !learns {
					before = append(before, &terms[j])
				}
			}
		}
	}
	return undecided
}

// enters are the conditions of packets that may move the rule's machine into its state: they need the fewest events before them.
func (r *rule) enters() (list [][]atom) {
	if r.automaton == nil {
		return nil
	}
	for i := range r.automaton.Transitions {
		if t := &r.automaton.Transitions[i]; t.On == machine.OnPacket && t.To == r.state && t.Packet.Count == 0 {
			list = append(list, tries(t)...)
		}
	}
	return list
}

// plainer gives a packet the Ethernet addresses that its words mean where they say none, if it still is what was looked for.
func plainer(at *point, still func(*point) bool) *point {
	m := packet(at)
	base := m.Keep(^(flow.FieldEthSrc | flow.FieldEthDst | flow.FieldARPSHA | flow.FieldARPTHA | flow.FieldNDSLL))
	said, err := policytest.ParsePacket(policytest.Words(&base))
	if err != nil {
		return at
	}
	for _, f := range []flow.Field{flow.FieldEthSrc, flow.FieldEthDst, flow.FieldARPSHA, flow.FieldARPTHA, flow.FieldNDSLL} {
		if !m.Has(f) || !said.Has(f) {
			continue
		}
		other := *at
		a, _ := f.Info().MAC(&said)
		if other[place(f)] = macWord(a); still(&other) {
			at = &other
		}
	}
	return at
}
