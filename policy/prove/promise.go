package prove

import (
	"context"
	"fmt"
	"slices"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policytest"
	"switchbridge/policy/promise"
)

// Counterexample is a packet that breaks a promise.
type Counterexample struct {
	Packet  flow.Match
	Words   string // the packet as "policy explain" and expectations take it
	Verdict flow.Verdict
	Reason  string
}

// Keeps decides whether the policy keeps a promise: nil for proved, or a packet that breaks it. The controller was asked about that packet,
// and decides it so.
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
	at, err := p.decidedAs(first, other, broken)
	if at == nil || err != nil {
		return nil, err
	}
	return p.replay(at, broken)
}

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

// decidedAs looks for a complete packet that meets one of the lists, is covered by no term of other, and gets a verdict. Where such a packet may
// get to an entry that hangs on more than the packet, and there is no other packet, it fails.
func (p *Prover) decidedAs(lists [][]atom, other []*term, v flow.Verdict) (*point, error) {
	var undecided error
	for _, atoms := range lists {
		var before []*term // what gets the other verdict. What gets this one as well covers nothing: its packets would do, too.
		for i := range p.chain.rules {
			r := &p.chain.rules[i]
			terms := p.chain.of(r)
			for j := range terms {
				if r.verdict != v && r.verdict != flow.NoVerdict {
					before = append(before, &terms[j])
					continue
				}
				region, ok := newRegion(atoms, terms[j].atoms)
				if !ok {
					continue
				}
				region.not = append(append(other[:len(other):len(other)], frames...), incomplete...)
				at, _, err := p.find(&region, before)
				if err != nil {
					return nil, err
				}
				if r.verdict == flow.NoVerdict {
					if at != nil && undecided == nil {
						m := packet(at)
						undecided = fmt.Errorf("undecided: %s decides packets such as %s by more than what they show", r.label, policytest.Words(&m))
					}
					before = append(before, &terms[j])
					continue
				}
				if at != nil {
					return plainer(at, func(at *point) bool {
						whole := term{atoms: atoms}
						return whole.covers(at) && !slices.ContainsFunc(region.not, func(t *term) bool { return t.covers(at) }) && p.chain.decide(at).verdict == v
					}), nil
				}
			}
		}
	}
	return nil, undecided
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

// replay asks the controller about a packet that is said to get a verdict.
func (p *Prover) replay(at *point, v flow.Verdict) (*Counterexample, error) {
	m := packet(at)
	c := &Counterexample{Packet: m, Words: policytest.Words(&m)}
	ev, err := policytest.Event(c.Words, flow.OpenFlow13)
	if err != nil {
		return nil, fmt.Errorf("a packet was found that can't be made: %w", err)
	}
	if ev.PacketIn.Match != m {
		return nil, fmt.Errorf("a packet was found that can't be made: %v becomes %v", m, ev.PacketIn.Match)
	}
	if p.controller == nil {
		p.controller = controller.New(p.chain.policy)
	}
	var d flow.Decision
	if err := p.controller.Decide(context.Background(), ev, &d); err != nil {
		return nil, err
	}
	if c.Verdict, c.Reason = d.Verdict, d.Reason; d.Verdict != v {
		return nil, fmt.Errorf("%s was found as a packet that gets %v, and the controller says %s", c.Words, v, policytest.Sum(&d))
	}
	return c, nil
}
