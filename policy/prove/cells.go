package prove

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
)

// Cells are what has states, and moves the events that change them, one of each kind.

// cell is what has a state: one value of one machine's key.
type cell struct {
	*automaton
	value string     // of the key, as stores have it
	kinds [][]atom   // headers of the packets that have it
	sw    flow.DPID  // where the key is of one switch
	named bool       // the policy names the value
	moves [][]move   // by state
	after []deadline // by state
}

// deadline is when time alone leads on from a state.
type deadline struct {
	after int64 // milliseconds; 0: never
	to    int
}

// move is events of one kind: those that try the same transitions.
type move struct {
	hits   []hit
	events []event // which differ in what is counted
	ward   bool    // it is one of a walk with a source guard alone
}

// event is one that can come.
type event struct {
	at    point
	words string // of what is no packet
	line  string // of a packet of which more is said than its headers
	asked *asked // of a source guard
	gate  *gate  // which it meets before a source guard
	sw    flow.DPID
	field uint8
	value word   // of the field that is counted, where there are several
	alike string // the moves that have an event of this value
}

// hit is a transition that an event tries.
type hit struct {
	*machine.Transition
	index int
	when  []need
	maybe bool // nobody knows whether it is one
	blind bool // it may be one by what the packet quotes, which can't be read: the packet is denied, and moves nothing
}

// need is what a transition asks of another cell.
type need struct {
	cell    int // -1: of an unknown one, which may meet it and may not
	in      machine.Set
	yes, no bool
}

// maxCells is how many cells are gone through together.
const maxCells = 16

// cell returns the index of the cell of a packet's key.
func (w *walk) cell(a *automaton, m *flow.Match, sw flow.DPID) int {
	if w.any {
		return w.add(a, "any", [][]atom{nil}, sw)
	}
	value, ok := a.Key.AppendValue(nil, &flow.Switch{DPID: sw}, m)
	if !ok {
		return -1
	}
	return w.add(a, string(value), kindsOf(a.Key, m), sw)
}

func (w *walk) add(a *automaton, value string, kinds [][]atom, sw flow.DPID) int {
	for i, c := range w.cells {
		if c.automaton == a && c.value == value {
			return i
		}
	}
	if len(w.cells) == maxCells {
		w.doubt = fmt.Sprintf("more than %d keys depend on each other's states", maxCells)
		return -1
	}
	c := &cell{automaton: a, value: value, kinds: kinds, sw: sw, moves: make([][]move, len(a.States)), after: make([]deadline, len(a.States))}
	for i := range a.Transitions {
		if t := &a.Transitions[i]; t.On == machine.OnTime {
			for s := range a.States {
				if has(t.From, s) {
					c.after[s] = deadline{t.After.Milliseconds(), t.To}
				}
			}
		}
	}
	w.cells = append(w.cells, c)
	return len(w.cells) - 1
}

// other returns the cell that a condition on another machine reads, of an event with headers m.
func (w *walk) other(a *automaton, when *machine.When, m *flow.Match, sw flow.DPID) int {
	o := w.p.chain.automaton(when.Machine)
	if when.Key == "" {
		return w.cell(o, m, sw)
	}
	m, sw = named(o.Key, when.Key)
	i := w.add(o, when.Key, kindsOf(o.Key, m), sw)
	if i >= 0 {
		w.cells[i].named = true
	}
	return i
}

func (c *chain) automaton(name string) *automaton {
	for _, a := range c.machines {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// named returns headers that have a value of a key as policies write it.
func named(k machine.Key, value string) (m *flow.Match, sw flow.DPID) {
	m = new(flow.Match)
	end := func(s string, ip, eth flow.Field) {
		if a, err := netip.ParseAddr(s); err == nil {
			ip.Info().SetPrefix(m, netip.PrefixFrom(a, a.BitLen()))
			if m.SetEthType(flow.EthTypeIPv4); a.Is6() {
				m.SetEthType(flow.EthTypeIPv6)
			}
		} else if a, err := flow.ParseMAC(s); err == nil {
			eth.Info().SetMAC(m, a, flow.MACExact)
		}
	}
	first, second, _ := strings.Cut(value, "/")
	switch k {
	case machine.Src:
		end(value, flow.FieldIPSrc, flow.FieldEthSrc)
	case machine.Dst:
		end(value, flow.FieldIPDst, flow.FieldEthDst)
	case machine.Pair:
		end(first, flow.FieldIPSrc, flow.FieldEthSrc)
		end(second, flow.FieldIPDst, flow.FieldEthDst)
	case machine.Port, machine.Switch:
		id, _ := strconv.ParseUint(first, 16, 64)
		no, _ := strconv.ParseUint(second, 10, 32)
		sw = flow.DPID(id)
		m.SetInPort(flow.PortNo(no))
	}
	return m, sw
}

// kindsOf returns the headers of packets that have the same value of a key as m.
func kindsOf(k machine.Key, m *flow.Match) (kinds [][]atom) {
	exactly := func(f flow.Field) atom { return atomOf(f.Info(), m) }
	same := func(a atom, f flow.Field) atom { a.field = place(f); return a }
	src, dst := flow.FieldEthSrc, flow.FieldEthDst
	arp := m.EthType == flow.EthTypeARP
	ip := m.EthType == flow.EthTypeIPv4 || m.EthType == flow.EthTypeIPv6
	if arp {
		src, dst = flow.FieldARPSPA, flow.FieldARPTPA
	} else if ip {
		src, dst = flow.FieldIPSrc, flow.FieldIPDst
	}
	switch {
	case k >= machine.Switch:
		return [][]atom{nil}
	case k == machine.Port:
		return [][]atom{{exactly(flow.FieldInPort)}}
	case k == machine.Flow || k == machine.Connection:
		fields := flow.FieldEthType | flow.FieldVLAN | src | dst
		if ip {
			fields |= flow.FieldIPProto | m.Fields&flow.NeedPorts.Fields()
		}
		var atoms, back []atom
		turned := map[flow.Field]flow.Field{src: dst, dst: src, flow.FieldL4Src: flow.FieldL4Dst, flow.FieldL4Dst: flow.FieldL4Src}
		for i := range flow.Fields {
			if f := flow.Fields[i].Field; fields&f != 0 {
				a := exactly(f)
				if atoms, back = append(atoms, a), append(back, a); turned[f] != 0 {
					back[len(back)-1] = same(a, turned[f])
				}
			}
		}
		if kinds = [][]atom{atoms}; k == machine.Connection {
			kinds = append(kinds, back)
		}
		return kinds
	}
	var ends []flow.Field
	if k != machine.Dst {
		ends = append(ends, src)
	}
	if k != machine.Src {
		ends = append(ends, dst)
	}
	with := func(turn func(f flow.Field) flow.Field, types ...atom) {
		for _, f := range ends {
			types = append(types, same(exactly(f), turn(f)))
		}
		kinds = append(kinds, types)
	}
	as := func(src, dst flow.Field) func(flow.Field) flow.Field {
		return func(f flow.Field) flow.Field {
			if f == ends[0] && k != machine.Dst {
				return src
			}
			return dst
		}
	}
	switch {
	case m.EthType == flow.EthTypeIPv6:
		with(as(src, dst), is(flow.FieldEthType, flow.EthTypeIPv6))
	case ip || arp:
		with(as(flow.FieldIPSrc, flow.FieldIPDst), is(flow.FieldEthType, flow.EthTypeIPv4))
		with(as(flow.FieldARPSPA, flow.FieldARPTPA), is(flow.FieldEthType, flow.EthTypeARP))
	default:
		var others []atom
		for _, t := range []uint64{flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP} {
			a := is(flow.FieldEthType, t)
			a.not = true
			others = append(others, a)
		}
		with(as(src, dst), others...)
	}
	return kinds
}

// gather finds the moves of all cells from one on, and so the cells that move them.
func (w *walk) gather(first int) error {
	for i := first; i < len(w.cells); i++ {
		c := w.cells[i]
		for s := range c.States {
			w.packets(c, s)
			w.notices(c, s)
			if err := w.p.search.spent(); err != nil {
				return err
			}
		}
	}
	in := make(map[word]string)
	w.counting(func(at string, e *event) { in[e.value] += at })
	w.counting(func(_ string, e *event) {
		e.alike = in[e.value] + fmt.Sprint(w.at[e.field] == e.value) // which the packet itself may have
	})
	return nil
}

// counting calls each with all events of which several values are counted, and the name of their move.
func (w *walk) counting(each func(at string, e *event)) {
	for i, c := range w.cells {
		for s := range c.moves {
			for j := range c.moves[s] {
				events := c.moves[s][j].events
				for k := range events {
					if len(events) > 1 {
						each(fmt.Sprint(i, s, j, " "), &events[k])
					}
				}
			}
		}
	}
}

// branch is packets that have a cell's key, of which some transitions are known to be tried, or not.
type branch struct {
	c     *cell
	state int
	atoms []atom
	nots  []*term
	hits  []hit
}

// packets finds the moves that packets make from a state.
func (w *walk) packets(c *cell, state int) {
	var list []int
	for i := range c.Transitions {
		if t := &c.Transitions[i]; t.On == machine.OnPacket && has(t.From, state) {
			list = append(list, i)
		}
	}
	its := [][]atom{nil}
	if w.p.chain.bySwitch && (c.Key == machine.Port || c.Key == machine.Switch) && !w.any {
		its[0] = []atom{onSwitch(c.sw)}
	}
	for _, atoms := range all(c.kinds, c.scope, its) {
		w.split(&branch{c: c, state: state, atoms: atoms, nots: w.p.chain.earlier(c.automaton, func(*automaton) bool { return true })}, list)
	}
}

// earlier returns the terms of what earlier machines are for.
func (c *chain) earlier(a *automaton, only func(*automaton) bool) (list []*term) {
	for _, o := range c.machines[:a.index] {
		if only(o) {
			for _, atoms := range o.scope {
				list = append(list, &term{atoms, nobody})
			}
		}
	}
	return list
}

// find finds a packet of a branch that the chain lets come to the machines.
func (w *walk) find(b *branch, more ...atom) (*point, *region) {
	r, ok := newRegion(b.atoms, more)
	if !ok {
		return nil, nil
	}
	r.not = b.nots
	at, used, err := w.p.find(&r, w.p.chain.frames(), incomplete, w.p.chain.reach())
	if at == nil || err != nil {
		for owner := range used {
			w.used[owner] = true
		}
		return nil, nil
	}
	for i := range at { // of an address of IPv4 the first bits count
		at[i] = and(at[i], at.counts(uint8(i)))
	}
	return w.p.plain(at, slices.Concat(b.atoms, more), b.nots, w.p.chain.frames(), incomplete, w.p.chain.reach()), &r
}

// counts is a mask of the bits that count of what is at a place.
func (p *point) counts(place uint8) word {
	if fieldAt(place)&flow.Prefix.Fields() != 0 && p[ethType] != number(flow.EthTypeIPv6, 16) {
		return leading(32)
	}
	return leading(bitsOf(place))
}

// split goes on with those packets of a branch that try the first of the transitions, and with the others.
func (w *walk) split(b *branch, list []int) {
	if at, _ := w.find(b); at == nil {
		return
	}
	if len(list) == 0 {
		if len(b.hits) > 0 {
			w.emit(b)
		}
		return
	}
	t := &b.c.Transitions[list[0]]
	conditions := tries(t)
	rest := &branch{c: b.c, state: b.state, atoms: b.atoms, nots: slices.Clip(b.nots), hits: b.hits}
	for _, atoms := range conditions {
		rest.nots = append(rest.nots, &term{atoms, nobody})
		one := &branch{c: b.c, state: b.state, atoms: slices.Concat(b.atoms, atoms), nots: b.nots, hits: append(b.hits[:len(b.hits):len(b.hits)], hit{Transition: t, index: list[0]})}
		if t.Packet.Count == 0 && len(t.When) == 0 {
			if at, _ := w.find(one); at != nil {
				w.emit(one) // it is made, and no other is tried
			}
			continue
		}
		w.split(one, list[1:])
	}
	if t.Packet.Quotes != nil {
		for _, atoms := range blind(t) {
			rest.nots = append(rest.nots, &term{atoms, nobody})
			if len(t.When) > 0 { // without, it moves nothing
				w.split(&branch{c: b.c, state: b.state, atoms: slices.Concat(b.atoms, atoms), nots: b.nots, hits: append(b.hits[:len(b.hits):len(b.hits)], hit{Transition: t, index: list[0], blind: true})}, list[1:])
			}
		}
	}
	w.split(rest, list[1:])
}

// tries are the conditions of packets that try a transition.
func tries(t *machine.Transition) [][]atom {
	if t.Packet.Quotes == nil {
		return headers(t)
	}
	return possible(all(headers(t), quotes(t)))
}

// headers are what tries asks of packets beside what they quote.
func headers(t *machine.Transition) [][]atom {
	p := t.Packet
	lists := [][][]atom{anyOf(&p.Match, p.Or)}
	if p.Flags != (header.Flags{}) {
		lists = append(lists, [][]atom{{flagged(p.Flags)}})
	}
	types := func(list ...uint64) (kinds [][]atom) {
		for _, t := range list {
			kinds = append(kinds, []atom{is(flow.FieldEthType, t)})
		}
		return kinds
	}
	switch x := p.Distinct; { // a packet without the field is not counted
	case x == 0:
	case x&(flow.FieldIPSrc|flow.FieldIPDst|flow.FieldIPProto) != 0:
		lists = append(lists, types(flow.EthTypeIPv4, flow.EthTypeIPv6))
	case x&flow.NeedPorts.Fields() != 0:
		var protos [][]atom
		for _, proto := range []uint64{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP} {
			protos = append(protos, []atom{is(flow.FieldIPProto, proto)})
		}
		lists = append(lists, types(flow.EthTypeIPv4, flow.EthTypeIPv6), protos)
	case x&flow.NeedARP.Fields() != 0:
		lists = append(lists, types(flow.EthTypeARP))
	case x&flow.NeedICMP.Fields() != 0:
		lists = append(lists, icmp())
	}
	if p.Quotes != nil {
		four, six := icmp()[0], icmp()[1]
		var kinds [][]atom
		for _, t := range []uint64{3, 11, 12} {
			kinds = append(kinds, append(four[:len(four):len(four)], is(flow.FieldICMPType, t)))
		}
		for _, t := range []uint64{1, 2, 3, 4} {
			kinds = append(kinds, append(six[:len(six):len(six)], is(flow.FieldICMPType, t)))
		}
		lists = append(lists, kinds)
	}
	return possible(all(lists...))
}

// possible leaves out conditions that contradict themselves.
func possible(lists [][]atom) (kept [][]atom) {
	for _, atoms := range lists {
		if _, ok := newRegion(atoms); ok {
			kept = append(kept, atoms)
		}
	}
	return kept
}

// icmp are the conditions of ICMP in each family.
func icmp() [][]atom {
	return [][]atom{
		{is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldIPProto, flow.ProtoICMP)},
		{is(flow.FieldEthType, flow.EthTypeIPv6), is(flow.FieldIPProto, flow.ProtoICMPv6)},
	}
}

// emit notes a move.
func (w *walk) emit(b *branch) {
	at, r := w.find(b)
	if at == nil {
		return
	}
	m := packet(at)
	sw := w.sw
	if b.c.Key == machine.Port || b.c.Key == machine.Switch {
		sw = b.c.sw
	} else if w.p.chain.bySwitch {
		sw = at.toSwitch()
	}
	hits := slices.Clone(b.hits)
	for i := range hits {
		if hits[i].when = w.needs(b.c, &hits[i], &m, &r.box, sw); hits[i].when == nil && len(hits[i].When) > 0 {
			return // of more cells than are gone through
		}
	}
	mv := move{hits: hits, events: w.values(b, at)}
	for i := range mv.events {
		if mv.events[i].sw = sw; sw == at.toSwitch() && w.p.chain.bySwitch {
			mv.events[i].sw = mv.events[i].at.toSwitch()
		}
	}
	b.c.moves[b.state] = append(b.c.moves[b.state], mv)
	if l := w.p.chain.learns; l != nil && !l.behind && !w.any && len(mv.events) == 1 {
		// The same by stations of which the guard learns nothing: fewer packets may do then.
		known := *b
		known.nots = slices.Clip(b.nots)
		for i := range l.terms(w.p.chain) {
			known.nots = append(known.nots, &l.terms(w.p.chain)[i])
		}
		w.emitBeside(&known, &mv)
		for _, atoms := range l.sources.at(func(class int) set { return l.trusted[class] }) {
			trusted := *b
			trusted.atoms = slices.Concat(b.atoms, atoms)
			w.emitBeside(&trusted, &mv)
		}
	}
}

// emitBeside notes a move of another example than mv's, for a walk with a source guard.
func (w *walk) emitBeside(b *branch, mv *move) {
	at, _ := w.find(b)
	if at == nil || *at == mv.events[0].at || slices.ContainsFunc(mv.hits, func(h hit) bool { return len(h.when) > 0 }) {
		return
	}
	e := event{at: *at, sw: mv.events[0].sw}
	if b.c.Key != machine.Port && b.c.Key != machine.Switch && w.p.chain.bySwitch {
		e.sw = at.toSwitch()
	}
	b.c.moves[b.state] = append(b.c.moves[b.state], move{hits: mv.hits, events: []event{e}, ward: true})
}

// needs says what a transition asks of other cells, of an event that has the headers m and is one of the box.
func (w *walk) needs(c *cell, h *hit, m *flow.Match, in *box, sw flow.DPID) (list []need) {
	list = []need{}
	for i := range h.When {
		when := &h.When[i]
		o := w.p.chain.automaton(when.Machine)
		known := when.Key != "" || o.Key == machine.Network || o.Key == c.Key ||
			!w.any && w.pinned(c, o.Key, m, in) // of no one packet, two values would have one cell
		if !known {
			w.doubt = fmt.Sprintf("machine %s moves by states of %s that its own key does not say", c.Name, o.Name)
		}
		n := need{cell: -1, in: when.In}
		if known || !w.assume {
			n.cell = w.other(c.automaton, when, m, sw)
		}
		if n.cell < 0 {
			if !w.assume {
				return nil
			}
			all := o.comesTo()
			n.yes, n.no = all&when.In != 0, all&^when.In != 0
		}
		list = append(list, n)
	}
	return list
}

// pinned reports whether all packets of a box that have a cell's key have the same value of another key.
func (w *walk) pinned(c *cell, k machine.Key, m *flow.Match, in *box) bool {
	if k >= machine.Port && c.Key != machine.Port && c.Key != machine.Switch {
		return false // they may come to any switch
	}
	for rest := k.Fields(m); rest != 0; rest &= rest - 1 {
		x := (rest & -rest).Info()
		width := leading(int(x.Bits))
		if x.Kind == flow.Prefix && m.EthType != flow.EthTypeIPv6 {
			width = leading(32)
		}
		if c := in[place(x.Field)]; and(c.mask, width) != width {
			return false
		}
	}
	return true
}

// comesTo returns the states that transitions lead to, whatever they ask for.
func (a *automaton) comesTo() (all machine.Set) {
	all = 1 << a.Start
	for more := true; more; {
		more = false
		for i := range a.Transitions {
			if t := &a.Transitions[i]; t.From&all != 0 && !has(all, t.To) {
				all |= 1 << t.To
				more = true
			}
		}
	}
	return all
}

// values returns packets of a branch: one, or as many of different values as a transition counts.
func (w *walk) values(b *branch, first *point) (list []event) {
	most := uint32(0)
	var counted []uint8
	for _, h := range b.hits {
		if d := h.Packet.Distinct; d != 0 {
			most = max(most, h.Packet.Count)
			if at := place(d); !slices.Contains(counted, at) {
				counted = append(counted, at)
			}
		}
	}
	if most == 0 {
		return []event{{at: *first}}
	}
	if len(counted) > 1 {
		w.loose = "machine " + b.c.Name + " counts values of two fields of the same packets"
	}
	field := counted[0]
	if len(w.pool[field]) == 0 {
		w.pool[field] = []word{w.at[field]}
	}
	bits := first.counts(field)
	known := len(w.pool[field])
	for i := 0; i < known; i++ {
		if at, _ := w.find(b, atom{field: field, bits: cube{w.pool[field][i], bits}}); at != nil {
			list = append(list, event{at: *at})
		}
	}
	fresh := 0
	defer func() {
		for i := range list {
			list[i].value, list[i].field = list[i].at[field], field
		}
	}()
	for len(list) < int(most) {
		others := *b
		others.nots = slices.Clip(b.nots)
		for _, v := range w.pool[field] {
			others.nots = append(others.nots, &term{[]atom{{field: field, bits: cube{v, bits}}}, nobody})
		}
		at, _ := w.find(&others)
		if at == nil {
			break
		}
		list, fresh = append(list, event{at: *at}), fresh+1
		w.pool[field] = append(w.pool[field], at[field])
	}
	if fresh > 0 && known > 1 {
		w.loose = "machine " + b.c.Name + " counts values of packets of several kinds"
	}
	return list
}

// notices finds the moves that events make which are no packets.
func (w *walk) notices(c *cell, state int) {
	sw := w.sw
	if c.Key == machine.Port || c.Key == machine.Switch {
		sw = c.sw
	}
	for on := machine.OnPort; on <= machine.OnSwitch; on++ {
		makes := func(a *automaton) bool {
			return slices.ContainsFunc(a.Transitions, func(t machine.Transition) bool { return t.On == on })
		}
		if !makes(c.automaton) {
			continue
		}
		earlier := w.p.chain.earlier(c.automaton, makes)
		for _, atoms := range all(c.kinds, c.scope) {
			r, ok := newRegion(atoms)
			if !ok {
				continue
			}
			r.not = earlier
			at, _, _ := w.p.find(&r, frames, incomplete)
			if at == nil {
				continue
			}
			m := packet(at)
			for _, e := range noticeable(on, &m) {
				mv := move{events: []event{{at: *at, words: e.words, sw: sw}}}
				for i := range c.Transitions {
					t := &c.Transitions[i]
					if t.On != on || !has(t.From, state) || t.Ports&e.ports == 0 && t.Removed&e.removed == 0 && on != machine.OnSwitch {
						continue
					}
					h := hit{Transition: t, index: i, maybe: on == machine.OnRemoved && len(earlier) > 0}
					if h.when = w.needs(c, &h, &m, &r.box, sw); h.when == nil {
						continue
					}
					mv.hits = append(mv.hits, h)
				}
				if len(mv.hits) > 0 {
					c.moves[state] = append(c.moves[state], mv)
				}
			}
		}
	}
}

// notice is an event that is no packet.
type notice struct {
	words   string
	ports   machine.PortEvents
	removed machine.RemovedReasons
}

// noticeable are the events of a trigger, of the port or of the rule's packets that m has.
func noticeable(on machine.Trigger, m *flow.Match) (list []notice) {
	switch on {
	case machine.OnPort:
		port := "event port " + m.InPort.String()
		return []notice{
			{words: port + " down", ports: machine.PortDown}, {words: port + " up", ports: machine.PortUp},
			{words: port + " added", ports: machine.PortAdded | machine.PortUp}, {words: port + " added down", ports: machine.PortAdded | machine.PortDown},
			{words: port + " deleted", ports: machine.PortDeleted | machine.PortDown},
		}
	case machine.OnRemoved:
		for i, reason := range []string{"idle", "hard", "delete"} {
			list = append(list, notice{words: "event removed " + reason + " " + policytest.Words(m), removed: 1 << i})
		}
		return list
	}
	return []notice{{words: "event switch"}}
}
