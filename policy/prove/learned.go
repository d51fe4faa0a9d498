package prove

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
	"switchbridge/policy/sourceguard"
)

// What a source guard has learned is one more cell of a walk: bindings, each with a clock. The guard itself, as it is compiled, is asked about each event of the walk, so
// that what it learns of a packet is said nowhere again. Of times two count, since it asks for no other: a binding in the first half of its life, and one in the
// second, which is renewed by who shows it.
//
// A guard only takes events away from machines. So what a walk without one does not find is not there, and what it finds is looked for again with the
// guard, whose bindings come about by the events of the walk and by those of others: stations that take an address first, and servers that give one.

// learns is a source guard that learns.
type learns struct {
	*sources
	at     int // its place in the chain
	rule   int // of the packets of which it looks something up
	link   policy.Machines
	behind bool // it stands behind the machines
}

// learned is a binding, as a store has it.
type learned struct {
	key, data string // since noon
	life      int64  // milliseconds
	old       bool   // in the second half of its life
	clock     int
}

var noon = Start

// limit is until when it stays what it is.
func (l *learned) limit() int64 {
	if l.old {
		return l.life
	}
	return l.life/2 + 1
}

// asked is the packet of an event, as the guard is asked about it.
type asked struct {
	ev   *flow.Event
	keys []string
}

// gate is a machine before the guard, as a packet meets it.
type gate struct {
	cell   int // the machine's, of the packet's key
	packet flow.Match
	hits   [][]hit // the transitions that it tries, by state
}

// terms are those of the packets of which something is looked up.
func (l *learns) terms(c *chain) []term { return c.of(&c.rules[l.rule]) }

// newWard adds the cell of what the guard has learned, with the events that nothing but the guard looks at. about is what becomes of the walk's packet.
func (w *walk) newWard(about flow.Verdict) error {
	w.ward = len(w.cells)
	w.self = &event{at: *w.at, sw: w.sw}
	none := &automaton{Machine: &machine.Machine{Key: machine.Network}, index: -1}
	c := &cell{automaton: none, moves: make([][]move, 1), after: make([]deadline, 1)}
	w.cells = append(w.cells, c)
	events := []*event{w.self}
	for _, c := range w.cells {
		if w.p.chain.learns.behind { // nothing that moves a machine hangs on the guard
			break
		}
		for _, moves := range c.moves {
			for i := range moves {
				for j := range moves[i].events {
					if e := &moves[i].events[j]; e.words == "" {
						events = append(events, e)
					}
				}
			}
		}
	}
	var binds []event
	add := func(at *point, sw flow.DPID, line string) bool {
		e := event{at: *at, sw: sw, line: line}
		e.at[switchPlace] = number(uint64(sw), 64)
		if !w.guarded(&e.at) {
			return false
		}
		if slices.ContainsFunc(binds, func(o event) bool { return o.at == e.at && o.line == e.line && o.sw == e.sw }) {
			return true
		}
		if a := w.p.concerned(&e.at); a != nil && w.p.chain.learns.behind {
			if e.gate = w.newGate(a, &e.at, sw); e.gate == nil {
				return false
			}
		}
		binds = append(binds, e)
		return true
	}
	if w.guarded(w.at) {
		add(w.at, w.sw, "")
	}
	if about == flow.Deny {
		w.others(add)
	}
	for _, e := range events {
		w.gives(e, add)
	}
	for i := range binds {
		c.moves[0] = append(c.moves[0], move{events: binds[i : i+1]})
	}
	return w.gather(w.ward + 1)
}

// newGate returns the machine that a packet meets before it comes to the guard; nil where that is of more keys than are gone through.
func (w *walk) newGate(a *automaton, at *point, sw flow.DPID) *gate {
	g := &gate{packet: packet(at)}
	if g.cell = w.cell(a, &g.packet, sw); g.cell < 0 {
		return nil
	}
	for _, s := range a.slots {
		if w.other(a, &machine.When{Machine: s.machine, Key: s.key}, &g.packet, sw) < 0 {
			return nil
		}
	}
	g.hits = w.hits(g.cell, at, &g.packet, sw)
	return g
}

// opens reports whether an event comes to the guard that stands behind machines, and moves none of them: one that does changes nothing else.
func (w *walk) opens(cells []standing, e *event) bool {
	g := e.gate
	if g == nil {
		return true
	}
	moved, denied := w.tried(cells, g.cell, g.hits[cells[g.cell].state], e)
	if denied || len(moved) > 0 {
		return false
	}
	_, action := w.item(cells, g.cell, &e.at, &g.packet, e.sw)
	return action.Next
}

// guarded reports whether a packet gets to the guard, if the machines before it pass it on.
func (w *walk) guarded(at *point) bool {
	c := w.p.chain
	for i := range c.rules {
		r := &c.rules[i]
		if r.Entry.Chain < 0 || r.Entry.Chain >= c.learns.at {
			break
		}
		for j := range c.of(r) {
			if !r.passes && r.automaton == nil && c.of(r)[j].covers(at) {
				return false
			}
		}
	}
	return !slices.ContainsFunc(slices.Concat(frames, incomplete), func(t *term) bool { return t.covers(at) })
}

// others are stations that take the addresses of the walk's packet first, at another port or as another station.
func (w *walk) others(add func(at *point, sw flow.DPID, line string) bool) {
	l := w.p.chain.learns
	from := func(mac flow.MAC, port flow.PortNo) *point {
		at := *w.at
		at[place(flow.FieldInPort)] = number(uint64(port), 32)
		for _, f := range []flow.Field{flow.FieldEthSrc, flow.FieldARPSHA, flow.FieldNDSLL} {
			if i := place(f); f == flow.FieldEthSrc || w.packet.Has(f) && !zero(at[i]) {
				at[i] = macWord(mac)
			}
		}
		return &at
	}
	port := l.free(w.sw, w.packet.InPort)
	taken := false // an Ethernet address can be, which is enough
	for _, f := range []flow.Field{flow.FieldEthSrc, flow.FieldARPSHA, flow.FieldNDSLL} {
		m, _ := f.Info().MAC(&w.packet)
		if at := macWord(m); !w.packet.Has(f) || zero(at) || l.listedMACs.hull(at, at) != outside {
			continue
		}
		taken = add(from(m, port), w.sw, "") || taken
		frame := point{}
		frame[place(flow.FieldInPort)], frame[place(flow.FieldEthSrc)] = number(uint64(port), 32), macWord(m)
		frame[place(flow.FieldEthDst)], frame[ethType] = macWord(flow.MAC{2, 0, 0, 0, 0, 2}), number(0x88b5, 16)
		taken = add(&frame, w.sw, "") || taken
	}
	if taken {
		return
	}
	for _, port := range []flow.PortNo{port, w.packet.InPort} {
		add(from(l.stranger(w.packet.EthSrc), port), w.sw, "")
	}
	n := 0
	for i := range l.Bindings { // who may use what is nobody's
		if b := &l.Bindings[i]; b.HasMAC && len(b.Addresses) == 0 && n < 16 {
			sw := w.sw
			if !b.Every {
				sw = b.Switch
			}
			for _, port := range b.Ports {
				add(from(b.MAC, port), sw, "")
			}
			if n++; b.Every {
				add(from(b.MAC, b.Ports[0]), sw+1, "")
			}
		}
	}
}

// oneOfAll reports whether the events that a ward has are as few as those of all packets that are like the walk's: it gives its sender one Ethernet address and
// one address at the most, nothing but the guard looks at the packets that bind these, and no others lead to it.
func (w *walk) oneOfAll() bool {
	m := &w.packet
	several := m.EthType == flow.EthTypeARP ||
		m.EthType == flow.EthTypeIPv6 && m.IPProto == flow.ProtoICMPv6 && m.ICMPType >= 133 && m.ICMPType <= 137
	return len(w.cells) == 1 && !several && w.p.chain.learns.at == 0
}

// free returns a port of a switch that the policy says nothing of, and which is not the one of the packet.
func (l *learns) free(sw flow.DPID, but flow.PortNo) flow.PortNo {
	class := l.class(sw)
	for port := flow.PortNo(1); ; port++ {
		at := number(uint64(port), 32)
		if port != but && l.trusted[class].hull(at, at) == outside && l.bound[class].hull(at, at) == outside {
			return port
		}
	}
}

func (l *learns) class(sw flow.DPID) int {
	if i := slices.Index(l.switches, sw); i >= 0 {
		return i
	}
	return len(l.switches)
}

// stranger is a station that is not listed, and not the one.
func (l *learns) stranger(but flow.MAC) flow.MAC {
	for n := byte(0x51); ; n++ {
		m := flow.MAC{2, 0, 0, 0, 5, n}
		if at := macWord(m); m != but && l.listedMACs.hull(at, at) == outside {
			return m
		}
	}
}

// gives adds what a DHCP server gives the station of an event, whose address it has to give.
func (w *walk) gives(e *event, add func(at *point, sw flow.DPID, line string) bool) {
	l := w.p.chain.learns
	if l.Learn != sourceguard.DHCP {
		return
	}
	m := packet(&e.at)
	a := m.IPSrc.Addr()
	switch {
	case m.EthType == flow.EthTypeARP:
		if a = m.ARPSPA.Addr(); a.IsUnspecified() {
			a = m.ARPTPA.Addr()
		}
	case m.EthType != flow.EthTypeIPv4:
		return
	}
	server := netip.MustParseAddr("10.0.0.53")
	for s := prefixSpan(netip.PrefixFrom(server, 32)); l.listed[0].hull(s.first, s.last) != outside; s = prefixSpan(netip.PrefixFrom(server, 32)) {
		server = server.Next()
	}
	line := func(sw flow.DPID, text string, args ...any) {
		text = fmt.Sprintf(text, args...)
		m, err := policytest.ParsePacket(text)
		if err != nil {
			return
		}
		at := pointOf(&m)
		at[minutePlace] = w.at[minutePlace]
		at[sayPlace] = number(saysDHCP, 2)
		add(&at, sw, text)
	}
	line(e.sw, "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 eth_src %v in_port %v", m.EthSrc, m.InPort)
	frame := point{}
	for _, f := range []flow.Field{flow.FieldInPort, flow.FieldEthSrc, flow.FieldEthDst} {
		frame[place(f)] = e.at[place(f)]
	}
	frame[ethType] = number(0x88b5, 16)
	add(&frame, e.sw, "")
	for i := range l.Trusted {
		t := &l.Trusted[i]
		sw := t.Switch
		if t.Every {
			sw = e.sw
		}
		line(sw, "dhcp %v:67 > %v:68 type 5 arp_sha %v eth_src %v in_port %v", server, a, m.EthSrc, l.stranger(m.EthSrc), t.Ports[0])
	}
}

// nobodyGives reports whether the walk's packet is denied until a DHCP server gives its address, and no server's word gets to the guard.
// like are the conditions of packets of which that is so for the same reason.
func (w *walk) nobodyGives() (like []atom, ok bool) {
	l := w.p.chain.learns
	root := make([]standing, len(w.cells))
	if passes, _ := w.passes(root, w.self); passes || l.Learn != sourceguard.DHCP {
		return nil, false
	}
	word := [][]atom{{is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldIPProto, flow.ProtoUDP), is(flow.FieldL4Src, 67), is(flow.FieldL4Dst, 68)}}
	for _, atoms := range all(word, l.sources.at(func(class int) set { return l.trusted[class] })) {
		r, ok := newRegion(atoms)
		if !ok {
			continue
		}
		r.not = frames
		if at, _, err := w.p.find(&r, incomplete, w.p.chain.before(&w.p.chain.rules[l.rule])); at != nil || err != nil {
			return nil, false
		}
	}
	like = []atom{is(flow.FieldEthType, uint64(w.packet.EthType))}
	from, none := place(flow.FieldIPSrc), atom{field: place(flow.FieldIPSrc), bits: cube{mask: leading(32)}}
	if w.packet.EthType == flow.EthTypeARP {
		from, none = place(flow.FieldARPSPA), is(flow.FieldARPSPA, 0)
		if none.covers(w.at) {
			like, from, none = append(like, none), place(flow.FieldARPTPA), is(flow.FieldARPTPA, 0)
		}
	}
	like = append(append(like, negated(none)), outOf(from, l.listed[0])...)
	for _, open := range l.open() {
		if all := slices.Concat(like, open); (&term{atoms: all}).covers(w.at) {
			return all, true
		}
	}
	return nil, false
}

// ask makes the packet of an event, once.
func (w *walk) ask(e *event) *asked {
	if e.asked != nil {
		return e.asked
	}
	e.asked = &asked{}
	line := e.line
	if line == "" {
		line = words(&e.at)
	}
	ev, err := policytest.Event(line, flow.OpenFlow13)
	if err != nil {
		w.doubt = "an event was found that can't be made: " + err.Error()
		return e.asked
	}
	ev.Switch.DPID, ev.Time = e.sw, noon
	e.asked.ev, e.asked.keys = ev, w.p.chain.learns.link.StateKeys(ev, nil)
	return e.asked
}

// passes asks the guard about an event: whether it passes, and what is known then, where that changes.
func (w *walk) passes(cells []standing, e *event) (passes bool, changed []learned) {
	a := w.ask(e)
	if a.ev == nil {
		return false, nil
	}
	known := cells[w.ward].learned
	w.p.search.budget -= 256
	ev := *a.ev
	for _, key := range a.keys {
		s := flow.State{Key: key}
		for i := range known {
			if l := &known[i]; l.key == key {
				since := noon
				if l.old {
					since = noon.Add(-time.Duration(l.life-l.life/4) * time.Millisecond)
				}
				s.Data, _, _ = sourceguard.Renewed([]byte(l.data), since)
			}
		}
		ev.States = append(ev.States, s)
	}
	p := policy.NewPacket(&ev.PacketIn.Match)
	p.Switch, p.In, p.Now = ev.Switch, ev.PacketIn, ev.Time
	out, rec := w.p.chain.learns.link.DecideBy(p, &ev)
	switch {
	case out.Verdict == flow.Deny:
		return false, nil
	case rec.Change == nil:
		return true, nil
	}
	data, life, _ := sourceguard.Renewed(rec.Change.Data, noon)
	one := learned{key: a.keys[rec.Change.Index], data: string(data), life: life.Milliseconds(), clock: begins}
	at, found := slices.BinarySearchFunc(known, one, func(a, b learned) int { return strings.Compare(a.key, b.key) })
	changed = slices.Clone(known)
	if found {
		changed[at] = one
	} else {
		changed = slices.Insert(changed, at, one)
	}
	return true, changed
}
