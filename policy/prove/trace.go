package prove

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/eval"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
	"switchbridge/policy/promise"
	"switchbridge/policy/sourceguard"
)

// Moment is one event of a trace.
type Moment struct {
	At    time.Duration // since the first one
	event string
	Line  string // as expectations write it, with the time since the one before
	Words string // the packet; empty: an event that is none
	Got   string // what was decided
}

// Start is when traces begin that hang on no hours: when expectations do.
var Start = eval.Start

// switches returns the switches to which a packet may come that are not alike: some one, and those that the machines name.
func (c *chain) switches() []flow.DPID {
	list := []flow.DPID{1}
	add := func(when []machine.When) {
		for _, w := range when {
			o := c.automaton(w.Machine)
			if w.Key == "" || o.Key != machine.Port && o.Key != machine.Switch {
				continue
			}
			if _, sw := named(o.Key, w.Key); !slices.Contains(list, sw) {
				list = append(list, sw)
			}
		}
	}
	for _, a := range c.machines {
		for i := range a.Transitions {
			add(a.Transitions[i].When)
		}
		for i := range a.States {
			for j := range a.States[i].Rules {
				add(a.States[i].Rules[j].When)
			}
		}
	}
	return list
}

// reached looks for the fewest events, less than limit, after which a packet gets a verdict, the packet included; where exactly, in the states of the
// point, and past what a source guard has learned. Like the packet in what leads to it are those that meet the term like, of the packets that nothing decides before
// the rule that decides this one.
func (p *Prover) reached(at *point, v flow.Verdict, u *promise.Unless, limit int, exactly bool) (c *Counterexample, like *term, err error) {
	var shared []atom
	for _, sw := range p.switchesOf(at) {
		why := "" // a walk that assumes nothing may miss something
		for _, assume := range []bool{false, true} {
			w, err := p.newWalk(at, sw, assume)
			if err == nil && u != nil {
				w.unless = w.other(nil, &machine.When{Machine: u.Machine, Key: u.Key}, &w.packet, sw)
			}
			if err == nil {
				err = w.gather(0)
			}
			if err != nil {
				return nil, nil, err
			}
			guard := p.chain.learns
			reads := w.guards && slices.ContainsFunc(guard.terms(p.chain), func(t term) bool { return t.covers(at) })
			denies := reads && v == flow.Deny && !exactly // what a guard learns denies more, and allows nothing
			w.mayDeny = denies
			var ungiven []atom
			found, err := w.look(limit, v, u, exactly)
			w.mayDeny = false
			if err == nil && guard != nil && !assume && found != nil {
				least := found.events + 1
				if denies { // what is not denied at once is after an event at the earliest
					least = max(least, 2)
				}
				w.seen = make(map[string][]*node)
				about := v
				if exactly {
					about = flow.Allow // by the guard
				}
				if err = w.newWard(about); err == nil {
					found, err = w.look(limit, v, u, exactly)
				}
				if err == nil {
					if found == nil && about == flow.Allow && w.own < 0 {
						ungiven, _ = w.nobodyGives()
					}
					if ungiven == nil && (found == nil || found.events+1 > least) && !w.oneOfAll() {
						p.coarse = true
					}
					if ungiven == nil && found == nil && limit == maxEvents {
						p.doubt("what " + sourceguard.Name + " learns may keep its packets and those that lead to them from coming together")
					}
				}
			}
			if err != nil {
				return nil, nil, err
			}
			if ungiven != nil {
				shared = append(shared, ungiven...)
			} else if denies && found == nil && !guard.behind && limit == maxEvents {
				// Whatever entry decides it: no state lets it count. To a state that it moves a machine to the same packet comes a second time.
				shared = append(shared, w.similar()...)
			} else {
				shared = append(shared, w.like()...)
			}
			switch {
			case found != nil && !assume:
				var other *Counterexample
				if other, err = w.replay(found, v, u); err != nil {
					return nil, nil, err
				}
				c, limit = other, len(other.Trace)
			case found != nil:
				p.doubt(why)
			case w.loose != "":
				p.doubt(w.loose)
			case w.doubt != "" && !assume:
				why = w.doubt
				continue
			}
			break
		}
	}
	return c, &term{shared, nobody}, nil
}

// look goes through the walk for the fewest events after which its packet gets a verdict.
func (w *walk) look(limit int, v flow.Verdict, u *promise.Unless, exactly bool) (found *node, err error) {
	hits := w.hits(w.own, w.at, &w.packet, w.sw)
	err = w.run(limit, func(n *node, _ *zone) bool {
		for _, o := range w.after(n.cells, hits) {
			got, states := w.verdict(o.cells)
			if o.verdict != flow.NoVerdict {
				got = o.verdict
			}
			if exactly && (o.guards || states != and(w.at[statesPlace], w.told())) {
				continue
			}
			if got == v && !(u != nil && has(u.In, o.cells[w.unless].state)) {
				found = n
				return true
			}
		}
		return false
	})
	return found, err
}

// switchesOf returns the switches to which a packet may come that are not alike.
func (p *Prover) switchesOf(at *point) []flow.DPID {
	if p.chain.bySwitch {
		return []flow.DPID{at.toSwitch()}
	}
	return p.chain.switches()
}

func (p *point) toSwitch() flow.DPID { return flow.DPID(p[switchPlace].Hi) }

// doubt notes why a promise can't be called proved.
func (p *Prover) doubt(why string) {
	if p.undecided == nil {
		p.undecided = fmt.Errorf("undecided: %s", why)
	}
}

// hits returns, by state, the transitions that a packet tries of the machine of a cell, which is the one that it concerns.
func (w *walk) hits(cell int, at *point, m *flow.Match, sw flow.DPID) (list [][]hit) {
	if cell < 0 {
		return nil
	}
	c := w.cells[cell]
	for s := range c.States {
		hits := []hit{}
		for i := range c.Transitions {
			t := &c.Transitions[i]
			met := func(atoms []atom) bool { return (&term{atoms: atoms}).covers(at) }
			if t.On != machine.OnPacket || !has(t.From, s) {
				continue
			}
			h := hit{Transition: t, index: i, when: []need{}}
			if !slices.ContainsFunc(tries(t), met) {
				if h.blind = t.Packet.Quotes != nil && slices.ContainsFunc(blind(t), met); !h.blind {
					continue
				}
			}
			for j := range t.When {
				h.when = append(h.when, need{cell: w.other(c.automaton, &t.When[j], m, sw), in: t.When[j].In, yes: true, no: true})
			}
			hits = append(hits, h)
		}
		list = append(list, hits)
	}
	return list
}

// fate is what becomes of the walk's own packet.
type fate struct {
	cells   []standing
	verdict flow.Verdict // of a guard, or of a machine that can't read it; NoVerdict: what the states say
	guards  bool         // it is the guard's
}

// after returns what cells come to by the walk's own packet.
func (w *walk) after(cells []standing, hits [][]hit) (list []fate) {
	behind := w.guards && w.p.chain.learns.behind
	if w.mayDeny && !behind {
		list = append(list, fate{cells, flow.Deny, true})
	}
	learning := false
	if w.guards && w.ward >= 0 && !behind {
		passes, changed := w.passes(cells, w.self)
		if !passes {
			return []fate{{cells, flow.Deny, true}}
		}
		learning = changed != nil
	}
	pass := func(cells []standing, moved bool) {
		if behind && w.comes(cells) {
			list = w.guarding(list, cells, moved)
		} else {
			list = append(list, fate{cells: cells})
		}
	}
	stays := true
	if w.own >= 0 {
		moved, denied := w.tried(cells, w.own, hits[cells[w.own].state], &event{at: *w.at})
		if denied {
			list = append(list, fate{cells, flow.Deny, false})
		}
		for _, moved := range moved {
			if learning { // two states would change by it
				return []fate{{cells, flow.Deny, true}}
			}
			pass(moved, true)
		}
		stays = !denied && len(moved) == 0 || w.mayDeny && !behind
	}
	if stays {
		pass(cells, false)
	}
	return list
}

// comes reports whether the machine before the guard passes the walk's packet on, in the states of cells.
func (w *walk) comes(cells []standing) bool {
	if w.own < 0 {
		return true
	}
	_, action := w.item(cells, w.own, w.at, &w.packet, w.sw)
	return action.Next
}

// guarding adds what the guard behind the machines makes of the walk's packet; moved says that it has moved a machine.
func (w *walk) guarding(list []fate, cells []standing, moved bool) []fate {
	if w.ward < 0 {
		if w.mayDeny {
			list = append(list, fate{cells, flow.Deny, true})
		}
		return append(list, fate{cells: cells})
	}
	passes, changed := w.passes(cells, w.self)
	if !passes || moved && changed != nil { // two states would change by it
		return append(list, fate{cells, flow.Deny, true})
	}
	return append(list, fate{cells: cells})
}

// told are the bits of the states that the decision about the walk's packet reads.
func (w *walk) told() word {
	if w.own < 0 {
		return word{}
	}
	return leading(stateBits * (1 + len(w.cells[w.own].slots)))
}

// verdict is what becomes of the walk's packet where cells are in these states, and the states; NoVerdict where that hangs on more.
func (w *walk) verdict(cells []standing) (flow.Verdict, word) {
	at := *w.at
	at[statesPlace] = word{}
	if w.own >= 0 {
		a := w.cells[w.own].automaton
		at[statesPlace] = inState(-1, cells[w.own].state, stateBits).bits.value
		for i, s := range a.slots {
			state := cells[w.other(a, &machine.When{Machine: s.machine, Key: s.key}, &w.packet, w.sw)].state
			at[statesPlace] = or(at[statesPlace], inState(i, state, stateBits).bits.value)
		}
		item, _ := w.item(cells, w.own, &at, &w.packet, w.sw)
		at[w.p.chain.item] = number(item, uint8(bitsOf(itemPlace)))
	}
	return w.p.chain.decide(&at).verdict, at[statesPlace]
}

// item returns the rule by which a cell's machine decides about a packet, by its number, and what it does.
func (w *walk) item(cells []standing, cell int, at *point, m *flow.Match, sw flow.DPID) (item uint64, action *machine.Action) {
	a := w.cells[cell].automaton
	own := cells[cell].state
	s := &a.States[own]
	for k := range s.Rules {
		r := &s.Rules[k]
		if slices.ContainsFunc(anyOf(&r.Match, r.Or), func(atoms []atom) bool { return (&term{atoms: atoms}).covers(at) }) &&
			!slices.ContainsFunc(r.When, func(when machine.When) bool { return !has(when.In, cells[w.other(a, &when, m, sw)].state) }) {
			return a.starts[own] + uint64(k), &r.Action
		}
	}
	return a.starts[own] + uint64(len(s.Rules)), &s.Action
}

// related are fields whose values can be each other's in keys.
var related = []flow.Field{
	flow.FieldIPSrc | flow.FieldIPDst | flow.FieldARPSPA | flow.FieldARPTPA,
	flow.FieldEthSrc | flow.FieldEthDst,
	flow.FieldL4Src | flow.FieldL4Dst,
}

// like returns conditions of packets for which the machines come to the same, or to less: each value in their keys meets the same conditions, and they
// try the same transitions and rules.
func (w *walk) like() []atom {
	list := w.similar()
	if w.own < 0 { // it concerns no machine because of the term that decides it, or because it is no machine's
		c := w.p.chain
		for _, t := range c.list {
			if t.covers(w.at) {
				list = append(list, t.atoms...)
				break
			}
		}
		if len(c.machines) > 0 && !slices.ContainsFunc(c.reach(), func(t *term) bool { return t.covers(w.at) }) {
			list = append(list, atom{field: c.item, bits: cube{w.at[c.item], leading(bitsOf(itemPlace))}})
		}
	} else {
		at, mask := w.at, w.told()
		list = append(list, atom{field: w.p.chain.item, bits: cube{at[w.p.chain.item], leading(bitsOf(itemPlace))}},
			atom{field: statesPlace, bits: cube{and(at[statesPlace], mask), mask}})
	}
	return list
}

// maxLike bounds the conditions of a source guard that say which packets are alike.
const maxLike = 1024

// similar is like, of packets that need not be decided by the same rule.
func (w *walk) similar() (list []atom) {
	at := w.at
	type known struct {
		field uint8
		bits  cube
		set   *span
	}
	keyOf := func(a *atom) known {
		k := known{field: a.field, bits: a.bits}
		if a.set != nil {
			k.set = &a.set[0]
		}
		return k
	}
	exact := func(a atom) bool { return a.set == nil && !a.not && a.bits.mask == at.counts(a.field) }
	seen := make(map[known]bool)
	add := func(a atom) {
		if f := fieldAt(a.field); f != 0 && !w.packet.Has(f) {
			return // what comes with it says that packets of this kind don't have the field
		}
		if seen[keyOf(&a)] {
			return
		}
		seen[keyOf(&a)] = true
		a.not = false
		a.not = !a.covers(at)
		list = append(list, a)
	}
	var keys flow.Field
	for _, c := range w.cells {
		keys |= c.Key.Fields(&w.packet)
	}
	pool := func(atoms []atom) {
		for _, a := range atoms {
			f := fieldAt(a.field)
			group := f
			for _, r := range related {
				if r&f != 0 {
					group = r
				}
			}
			for rest := keys & group; rest != 0; rest &= rest - 1 {
				a.field = place(rest & -rest)
				add(a)
			}
		}
	}
	for _, a := range w.p.chain.machines {
		if !slices.ContainsFunc(w.cells, func(c *cell) bool { return c.index >= a.index }) {
			continue
		}
		for _, atoms := range a.scope {
			pool(atoms)
		}
		for i := range a.Transitions {
			t := &a.Transitions[i]
			if t.Packet == nil {
				continue
			}
			conditions := tries(t)
			if t.Packet.Quotes != nil {
				conditions = append(conditions, blind(t)...)
			}
			for _, atoms := range conditions {
				pool(atoms)
				if w.own < 0 || w.cells[w.own].automaton != a {
					continue
				}
				missing := slices.IndexFunc(atoms, func(a atom) bool { return (fieldAt(a.field) == 0 || w.packet.Has(fieldAt(a.field))) && !a.covers(at) })
				if missing >= 0 { // one reason is enough
					atoms = atoms[missing : missing+1]
				}
				for _, one := range atoms {
					add(one)
				}
			}
		}
	}
	for owner := range w.used {
		if owner == nobody {
			continue
		}
		for _, t := range w.p.chain.of(&w.p.chain.rules[owner]) {
			pool(t.atoms)
		}
	}
	for _, c := range w.cells {
		for _, atoms := range c.kinds {
			if c.named {
				pool(atoms)
			}
		}
	}
	if w.p.chain.bySwitch {
		for _, sw := range w.p.chain.switches() {
			add(onSwitch(sw))
		}
	}
	if w.ward >= 0 { // what the guard says and learns of one it says and learns of the others: the fewest conditions by which that is so
		l := w.p.chain.learns
		for _, t := range []uint64{flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP} {
			add(is(flow.FieldEthType, t))
		}
		for _, sw := range l.switches {
			add(onSwitch(sw))
		}
		// missing is a condition that the packet does not meet; nil where what is listed says already that it does not meet one.
		missing := func(t *term) (why *atom) {
			for i := range t.atoms {
				a := &t.atoms[i]
				if f := fieldAt(a.field); f != 0 && !w.packet.Has(f) || a.covers(at) {
					continue
				}
				if seen[keyOf(a)] || slices.ContainsFunc(list, func(o atom) bool { return o.field == a.field && exact(o) }) {
					return nil
				}
				if why == nil || a.rank() > why.rank() { // of addresses there are many
					why = a
				}
			}
			return why
		}
		var others []*term
		tell := func(t *term) {
			if !t.covers(at) {
				others = append(others, t)
				return
			}
			for _, a := range t.atoms {
				add(a)
			}
		}
		// A trusted port learns nothing, an open one what servers give, a listed one what its binding leaves open.
		for _, atoms := range slices.Concat(l.sources.at(func(class int) set { return l.trusted[class] }), l.sources.at(func(class int) set { return l.bound[class] })) {
			tell(&term{atoms: atoms})
		}
		c := w.p.chain
		for i := range c.rules {
			for j := range c.of(&c.rules[i]) {
				if c.rules[i].Entry.Chain == l.at {
					tell(&c.of(&c.rules[i])[j])
				}
			}
		}
		for _, t := range others {
			if why := missing(t); why != nil && len(list) < maxLike {
				add(*why)
			}
		}
		w.p.coarse = w.p.coarse || len(list) >= maxLike
	}
	for _, t := range []uint64{flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP} {
		pool([]atom{is(flow.FieldEthType, t)})
	}
	for _, t := range []uint64{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP} {
		pool([]atom{is(flow.FieldIPProto, t)})
	}
	// Where a value is known, no other condition on the field says more.
	var values []uint8
	for _, a := range list {
		if exact(a) {
			values = append(values, a.field)
		}
	}
	list = slices.DeleteFunc(list, func(a atom) bool { return !exact(a) && slices.Contains(values, a.field) })
	return list
}

// times returns the earliest times of a node's steps and of the event after it, in milliseconds since the beginning.
func (w *walk) times(n *node) []int64 {
	type bound struct {
		from, to int
		least    int64 // the time of to is at least that of from and this
	}
	var bounds []bound
	held := func(n *node, k int, by *step) {
		bounds = append(bounds, bound{k - 1, k, 0})
		w.clocks(n.cells, func(clock *int, limit int64, _ int, _ byte) {
			born := n.born[*clock]
			most := limit - 1
			if by != nil && by.event == nil {
				if most = limit; *clock == by.first {
					most--
				}
				if *clock == by.clock {
					bounds = append(bounds, bound{born, k, limit})
				}
			}
			bounds = append(bounds, bound{k, born, -most})
		})
	}
	held(n, n.depth+1, nil)
	for o := n; o.parent != nil; o = o.parent {
		held(o.parent, o.depth, &o.by)
	}
	at := make([]int64, n.depth+2)
	for again := true; again; {
		again = false
		for _, b := range bounds {
			if t := at[b.from] + b.least; t > at[b.to] {
				at[b.to], again = t, true
			}
		}
	}
	return at
}

// words writes a point as a packet.
func words(at *point) string {
	m := packet(at)
	s := policytest.Words(&m)
	switch say := at[sayPlace].Hi >> 62; {
	case say == saysLie && m.EthType == flow.EthTypeIPv6 && m.IPProto == flow.ProtoICMPv6 && m.ICMPType >= 133 && m.ICMPType <= 137:
		s += " arp_sha 01:00:00:00:00:01"
	case !zero(at[quotedPlace]):
		s += quoteWords(at, &m)
	case m.EthType == flow.EthTypeIPv6 && m.IPProto == flow.ProtoICMPv6 && m.ICMPType == solicitation && m.ICMPCode != 0 && m.IPSrc.Addr().IsUnspecified():
		s += " ipv6_nd_target " + addressIn(at[quotedDst], false).String()
	case say == saysDHCP && strings.HasPrefix(s, "udp ") && m.L4Dst == 67 && m.L4Src != 67:
		s = "dhcp" + strings.TrimPrefix(s, "udp") + " type 3"
	}
	if flags := flow.TCPFlags(at[flagsPlace].Hi >> 56); m.Has(flow.FieldL4Src) && m.IPProto == flow.ProtoTCP && flags != flow.SYN {
		s += " flags " + policytest.FlagWords(flags)
	}
	return s
}

// replay asks the controller about the events that lead to a node, and then about the walk's packet.
func (w *walk) replay(n *node, v flow.Verdict, u *promise.Unless) (*Counterexample, error) {
	times := w.times(n)
	trace := []Moment{{At: time.Duration(times[n.depth+1]) * time.Millisecond, Words: words(w.at)}}
	sw := []flow.DPID{w.sw}
	for o := n; o.parent != nil; o = o.parent {
		if e := o.by.event; e != nil {
			m := Moment{At: time.Duration(times[o.depth]) * time.Millisecond, event: e.words}
			if m.event == "" {
				if m.Words = e.line; m.Words == "" {
					m.Words = words(&e.at)
				}
			}
			trace, sw = slices.Insert(trace, 0, m), slices.Insert(sw, 0, e.sw)
		}
	}
	for i := range trace {
		m := &trace[i]
		if m.Words != "" {
			m.event = m.Words
		}
		if sw[i] != 1 {
			m.event += " switch " + sw[i].String()
		}
	}
	var key string
	if u != nil {
		key = u.Machine + "/" + w.cells[w.unless].value
	}
	return w.p.replay(w.at, trace, v, func(t *eval.Trial, now time.Time) bool {
		if u == nil {
			return true
		}
		a := w.cells[w.unless].automaton
		return !slices.ContainsFunc(a.States, func(s machine.State) bool {
			return s.Name == t.State(key, now) && has(u.In, slices.IndexFunc(a.States, func(o machine.State) bool { return o.Name == s.Name }))
		})
	})
}

// replay asks the controller about the events of a trace, whose last one is a packet that is said to get a verdict. counts says whether the promise counts at
// the end.
func (p *Prover) replay(at *point, trace []Moment, v flow.Verdict, counts func(t *eval.Trial, now time.Time) bool) (*Counterexample, error) {
	last := &trace[len(trace)-1]
	m := packet(at)
	if said, err := policytest.ParsePacket(last.Words); err != nil || said != m {
		return nil, fmt.Errorf("undecided: a packet was found that can't be made: %v becomes %v (%v)", m, said, err)
	}
	if p.controller == nil {
		p.controller = controller.New(p.chain.policy)
	}
	c := &Counterexample{Packet: m, Words: last.Words}
	try := func(begin time.Time, prefix string) (bool, error) {
		trial := eval.NewTrial(p.controller)
		now := begin
		var d flow.Decision
		c.Trace = slices.Clone(trace)
		for i := range c.Trace {
			one := &c.Trace[i]
			ev, err := policytest.Event(one.event, flow.OpenFlow13)
			if err != nil {
				return false, fmt.Errorf("undecided: an event was found that can't be made: %w", err)
			}
			wait := one.At
			if i > 0 {
				wait -= c.Trace[i-1].At
			}
			now = now.Add(wait)
			ev.Time = now
			d.Reset()
			if err := trial.Decide(context.Background(), ev, &d); err != nil {
				return false, err
			}
			one.Got = policytest.Sum(&d)
			switch one.Line = one.event; {
			case i == 0:
				one.Line = prefix + one.Line
			case wait > 0:
				one.Line = "after " + wait.String() + ", " + one.Line
			}
		}
		c.Verdict, c.Reason = d.Verdict, d.Reason
		return d.Verdict == v && (counts == nil || counts(trial, now)), nil
	}
	var ok bool
	var err error
	if !p.timed {
		ok, err = try(Start, "")
	}
	if err == nil && !ok && p.chain.hours {
		if begin, prefix, found := p.chain.beginning(int(at[minutePlace].Hi>>(64-bitsOf(minutePlace))), last.At); found {
			ok, err = try(begin, prefix)
		}
	}
	if err == nil && !ok {
		why := "and the controller says " + c.Trace[len(trace)-1].Got
		if p.chain.hours && len(trace) > 1 {
			why = "but not in the hours that its events need"
		}
		err = fmt.Errorf("undecided: %s was found as a packet that gets %v after %d events, %s", last.event, v, len(trace)-1, why)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// beginning returns when a trace begins whose last event comes in a minute of the policy's week, and how expectations say that.
func (c *chain) beginning(minute int, last time.Duration) (begin time.Time, prefix string, ok bool) {
	for begin = Start; begin.Before(Start.Add(header.Week * time.Minute)); begin = begin.Add(time.Minute) {
		if header.MinuteOf(begin.Add(last), c.zone) == minute {
			days := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
			return begin, "at " + days[begin.Weekday()] + " " + begin.Format("15:04") + ", ", true
		}
	}
	return begin, "", false
}

// alone is the trace of a packet that hangs on nothing before it.
func (p *Prover) alone(at *point) []Moment {
	m := Moment{event: words(at), Words: words(at)}
	if sw := at.toSwitch(); p.chain.bySwitch && sw != 1 {
		m.event += " switch " + sw.String()
	}
	return []Moment{m}
}
