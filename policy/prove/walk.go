package prove

import (
	"encoding/binary"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/machine"
)

// walk goes through all that the machines which decide about one packet can come to, by any packets and events at any times.
//
// What decides is few cells: the state of the packet's own key, those that its machine reads, and those that moved them. Packets of other keys move none of
// these. Of the packets that have a cell's key, only those count that try different transitions, so each such kind is one move; of
// packets whose different values are counted, as many as are counted. Times are zones of clocks, so no time is left out and none tried out.
//
// This is exact where each state that a cell's transition asks about is known by the cell's key or by what the transition asks of the packet. Where it is not, as where
// a network's machine moves by a packet of any host that another machine calls bad, the walk takes the states of the packet that it has at hand. If that finds
// nothing, another walk assumes that the others may be in every state: if that finds nothing, there is nothing.
type walk struct {
	p      *Prover
	at     *point
	packet flow.Match
	sw     flow.DPID // to which the packet comes
	own    int       // the cell that the packet moves; -1: it concerns no machine, or is decided before them
	assume bool      // what is not known may be
	any    bool      // it is of no one packet: each cell is any of its machine's
	doubt  string    // why something may be there that was not found, unless another walk assumes it; empty: it is not
	loose  string    // why something may be there that is not found

	cells   []*cell
	used    map[int]bool // rules that keep packets from machines
	pool    [places][]word
	unless  int    // the cell that a promise names; -1: none
	ward    int    // the cell of what a source guard has learned; -1: none
	guards  bool   // a source guard that learns looks at the packet, if the machines before it pass it on
	mayDeny bool   // a source guard may deny the packet at any time
	self    *event // the packet, as one of the events
	seen    map[string][]*node
	room    int // bytes that nodes may still take
}

// newWalk returns a walk for a packet that comes to a switch. It gathers the cells.
func (p *Prover) newWalk(at *point, sw flow.DPID, assume bool) (*walk, error) {
	w := &walk{p: p, at: at, packet: packet(at), sw: sw, own: -1, assume: assume, used: make(map[int]bool), unless: -1, ward: -1, seen: make(map[string][]*node)}
	w.guards = p.chain.learns != nil && w.guarded(at)
	w.start(p.concerned(at))
	return w, p.search.spent()
}

// start gathers the cells that a machine's decision about the walk's packet reads.
func (w *walk) start(a *automaton) {
	if a != nil {
		w.own = w.cell(a, &w.packet, w.sw)
		for _, s := range a.slots {
			w.other(a, &machine.When{Machine: s.machine, Key: s.key}, &w.packet, w.sw)
		}
	}
}

// concerned returns the machine that decides about a packet, or passes it on; nil where none does.
func (p *Prover) concerned(at *point) *automaton {
	c := p.chain
	if len(c.machines) == 0 || slices.ContainsFunc(c.reach(), func(t *term) bool { return t.covers(at) }) {
		return nil
	}
	for _, a := range c.machines {
		for _, atoms := range a.scope {
			if t := (term{atoms: atoms}); t.covers(at) {
				return a
			}
		}
	}
	return nil
}

// reach returns the terms of what is decided before the machines.
func (c *chain) reach() []*term {
	if c.reaching == nil {
		c.reaching = []*term{}
		for i := 0; i < len(c.rules) && c.rules[i].automaton == nil; i++ {
			if r := &c.rules[i]; r.verdict != flow.NoVerdict { // what may pass does
				for j := range c.of(r) {
					c.reaching = append(c.reaching, &c.of(r)[j])
				}
			}
		}
	}
	return c.reaching
}

func (s *search) spent() error {
	if s.budget < 0 {
		return ErrBudget
	}
	return nil
}

// node is what the cells are in, at the moment after an event.
type node struct {
	cells  []standing
	zone   zone
	born   []int // by clock, after how many steps it began
	parent *node
	by     step
	depth  int // steps
	events int // of them that are no time that passes
}

// standing is the state of one cell.
type standing struct {
	state            int
	entered, written int // clocks; idle: none
	windows          []window
	learned          []learned // by a source guard, by their keys
}

// idle is the clock that there is not; begins the one that begins now.
const idle, begins = -1, 0

// window is what a transition has counted.
type window struct {
	transition int
	entries    []counted
}

type counted struct {
	clock int
	value word
}

// maxRoom is about how much memory the nodes of one walk take, and nodeSize what one takes besides its times.
const maxRoom, nodeSize = 1 << 29, 1 << 10

// step is what led to a node: an event of a cell, or its time.
type step struct {
	cell  int
	event *event // nil: time
	clock int    // of the parent, whose time is over
	first int    // clock of the parent that must not be over before it; idle: none
}

// clocks calls each with all clocks of a node in their order, and what they are of.
func (w *walk) clocks(cells []standing, each func(clock *int, limit int64, cell int, kind byte)) {
	for i := range cells {
		s, c := &cells[i], w.cells[i]
		if s.entered != idle {
			each(&s.entered, c.after[s.state].after, i, 'e')
		}
		if s.written != idle {
			each(&s.written, c.Forget.Milliseconds(), i, 'w')
		}
		for j := range s.windows {
			for k := range s.windows[j].entries {
				each(&s.windows[j].entries[k].clock, c.Transitions[s.windows[j].transition].Packet.Within.Milliseconds(), i, 'c')
			}
		}
		for j := range s.learned {
			each(&s.learned[j].clock, s.learned[j].limit(), i, 'l')
		}
	}
}

func cloned(cells []standing) []standing {
	cells = slices.Clone(cells)
	for i := range cells {
		cells[i].learned = slices.Clone(cells[i].learned)
		cells[i].windows = slices.Clone(cells[i].windows)
		for j := range cells[i].windows {
			cells[i].windows[j].entries = slices.Clone(cells[i].windows[j].entries)
		}
	}
	return cells
}

// next returns the node that a step leads to; nil where it has been seen. at is when it may come, and cells name the clocks of n.
func (w *walk) next(n *node, at *zone, cells []standing, by step) *node {
	for i := range cells { // clocks that nothing hangs on
		s, c := &cells[i], w.cells[i]
		if i == w.ward {
			continue
		}
		if c.after[s.state].after == 0 {
			s.entered = idle
		}
		s.windows = slices.DeleteFunc(s.windows, func(v window) bool { return len(v.entries) == 0 })
		if c.Forget == 0 || s.state == c.Start && s.entered == idle && len(s.windows) == 0 {
			s.written = idle
		}
	}
	o := &node{cells: cells, parent: n, by: by, depth: n.depth + 1, events: n.events, born: []int{0}}
	if by.event != nil {
		o.events++
	}
	list := []int{0}
	w.clocks(cells, func(clock *int, _ int64, _ int, _ byte) {
		born := o.depth
		if *clock != begins {
			born = n.born[*clock]
		}
		list, o.born = append(list, *clock), append(o.born, born)
		*clock = len(list) - 1
	})
	o.zone = at.pick(list)
	w.p.search.budget -= 64 + o.zone.n*o.zone.n
	if w.room -= nodeSize + 8*o.zone.n*o.zone.n; w.room < 0 {
		w.p.search.budget = -1
	}
	key := w.discrete(cells)
	for _, seen := range w.seen[key] {
		if seen.zone.has(&o.zone) {
			return nil
		}
	}
	w.seen[key] = append(w.seen[key], o)
	return o
}

// discrete is a node without its times.
func (w *walk) discrete(cells []standing) string {
	var b []byte
	for i := range cells {
		s := &cells[i]
		b = append(b, byte(s.state))
		for _, c := range []int{s.entered, s.written} {
			b = append(b, map[bool]byte{true: 1, false: 0}[c != idle])
		}
		b = binary.AppendUvarint(b, uint64(len(s.windows)))
		for _, v := range s.windows {
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(v.transition)), uint64(len(v.entries)))
			for _, e := range v.entries {
				b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, e.value.Hi), e.value.Lo)
			}
		}
		for _, l := range s.learned {
			b = append(append(append(b, l.key...), l.data...), map[bool]byte{true: 1, false: 0}[l.old])
		}
	}
	return string(b)
}

// run goes through the nodes, those of few events first. visit is told of each node and of the times at which an event can come, and says whether to stop.
func (w *walk) run(limit int, visit func(n *node, at *zone) bool) error {
	root := &node{zone: startZone(), born: []int{0}}
	for i, c := range w.cells {
		s := standing{entered: idle, written: idle}
		if i != w.ward {
			s.state = c.Start
		}
		root.cells = append(root.cells, s)
	}
	w.room = maxRoom
	type ready struct {
		n      *node
		before zone // the times at which an event can come
	}
	now, later := []*node{root}, []ready(nil)
	for len(now) > 0 || len(later) > 0 {
		if len(now) == 0 { // what events lead to comes after all that time alone leads to: to what both do, it is fewer events
			for i := 0; i < len(later) && w.p.search.budget >= 0; i++ {
				now = append(now, w.moves(later[i].n, &later[i].before)...)
			}
			later = nil
			continue
		}
		n := now[0]
		now = now[1:]
		if err := w.p.search.spent(); err != nil {
			return err
		}
		until := n.zone.clone() // the moment at which the first time is over included
		until.pass()
		limits := []int64{0}
		w.clocks(n.cells, func(clock *int, limit int64, _ int, _ byte) { limits = append(limits, limit) })
		possible := true
		for i := 1; i < until.n; i++ {
			possible = possible && until.within(i, 0, limits[i])
		}
		if !possible {
			continue
		}
		before := until.clone()
		free := true
		for i := 1; i < before.n; i++ {
			free = free && before.within(i, 0, limits[i]-1)
		}
		if free {
			if visit(n, &before) {
				return nil
			}
			if n.events+2 < limit { // the packet itself comes after that
				later = append(later, ready{n, before})
			}
		}
		now = append(now, w.over(n, &until, limits)...)
	}
	return w.p.search.spent()
}

// moves returns the nodes that events lead to.
func (w *walk) moves(n *node, at *zone) (list []*node) {
	for i, c := range w.cells {
		for j := range c.moves[n.cells[i].state] {
			if m := &c.moves[n.cells[i].state][j]; !m.ward || w.ward >= 0 {
				list = append(list, w.moved(n, at, i, m)...)
			}
		}
	}
	return list
}

// over returns the nodes that time alone leads to.
func (w *walk) over(n *node, until *zone, limits []int64) (list []*node) {
	w.clocks(n.cells, func(clock *int, limit int64, i int, kind byte) {
		if kind == 'l' && len(w.cells) == 1 {
			return // without machines time gives nothing that was not there before
		}
		at, first := until.clone(), idle
		if !at.within(0, *clock, -limit) {
			return
		}
		if forget := n.cells[i].written; kind != 'w' && forget != idle { // a state that is forgotten leads nowhere
			if first = forget; !at.within(forget, 0, limits[forget]-1) {
				return
			}
		}
		cells := cloned(n.cells)
		s := &cells[i]
		switch kind {
		case 'e':
			w.enter(i, s, w.cells[i].after[s.state].to)
		case 'w':
			*s = standing{state: w.cells[i].Start, entered: idle, written: idle}
		case 'l':
			at := slices.IndexFunc(s.learned, func(l learned) bool { return l.clock == *clock })
			if s.learned[at].old {
				s.learned = slices.Delete(s.learned, at, at+1)
			} else {
				s.learned[at].old = true
			}
		default:
			for j := range s.windows {
				s.windows[j].entries = slices.DeleteFunc(s.windows[j].entries, func(e counted) bool { return e.clock == *clock })
			}
		}
		if o := w.next(n, &at, cells, step{cell: i, clock: *clock, first: first}); o != nil {
			list = append(list, o)
		}
	})
	return list
}

// enter moves a cell into a state.
func (w *walk) enter(cell int, s *standing, to int) {
	s.state, s.entered = to, begins
	s.windows = slices.DeleteFunc(s.windows, func(v window) bool { return !has(w.cells[cell].Transitions[v.transition].From, to) })
}

// moved returns the nodes that a move leads to.
func (w *walk) moved(n *node, at *zone, cell int, m *move) (list []*node) {
	var fresh []string // events with a value that is counted nowhere: one is as good as another
	for i := range m.events {
		e := &m.events[i]
		if len(m.events) > 1 && !w.counts(n, e) {
			if slices.Contains(fresh, e.alike) {
				continue
			}
			fresh = append(fresh, e.alike)
		}
		if w.ward >= 0 && e.words == "" && (cell == w.ward || !w.p.chain.learns.behind) {
			if cell == w.ward && !w.opens(n.cells, e) {
				continue
			}
			passes, changed := w.passes(n.cells, e)
			if changed != nil { // then nothing else changes by it
				cells := cloned(n.cells)
				cells[w.ward].learned = changed
				if o := w.next(n, at, cells, step{cell: w.ward, event: e}); o != nil {
					list = append(list, o)
				}
			}
			if !passes || changed != nil {
				continue
			}
		}
		moved, _ := w.tried(n.cells, cell, m.hits, e)
		for _, cells := range moved {
			if o := w.next(n, at, cells, step{cell: cell, event: e}); o != nil {
				list = append(list, o)
			}
		}
	}
	return list
}

// counts reports whether a value of an event is in a window.
func (w *walk) counts(n *node, e *event) bool {
	for i := range n.cells {
		for _, v := range n.cells[i].windows {
			if d := w.cells[i].Transitions[v.transition].Packet.Distinct; d != 0 {
				at := place(d)
				if slices.ContainsFunc(v.entries, func(c counted) bool { return c.value == e.at[at] }) {
					return true
				}
			}
		}
	}
	return false
}

// tried returns what cells come to by an event: more than one where it is not known. It is empty where nothing changes. denied says that the machine may deny
// it for what it can't read.
func (w *walk) tried(cells []standing, cell int, hits []hit, e *event) (list [][]standing, denied bool) {
	var try func(s standing, changed bool, hits []hit)
	end := func(s standing, to int) {
		all := slices.Clone(cells)
		if to >= 0 {
			w.enter(cell, &s, to)
		} else if s.entered == idle {
			s.entered = begins
		}
		if all[cell] = s; w.cells[cell].Forget > 0 {
			all[cell].written = begins
		}
		list = append(list, cloned(all))
	}
	try = func(s standing, changed bool, hits []hit) {
		for i := range hits {
			h := &hits[i]
			yes, no := true, false
			for _, n := range h.when {
				if n.cell >= 0 {
					in := has(n.in, cells[n.cell].state)
					yes, no = yes && in, no || !in
				} else {
					yes, no = yes && n.yes, no || n.no
				}
			}
			if no = no || h.maybe; no && yes {
				try(cloned([]standing{s})[0], changed, hits[i+1:])
			}
			if !yes {
				continue
			}
			if h.blind {
				denied = true
				return
			}
			if h.Packet == nil || h.Packet.Count == 0 {
				end(s, h.To)
				return
			}
			changed = true
			if w.count(&s, h, e) {
				end(s, h.To)
				return
			}
		}
		if changed {
			end(s, -1)
		}
	}
	try(cloned([]standing{cells[cell]})[0], false, hits)
	return list, denied
}

// count takes an event into a window and reports whether the transition has seen enough.
func (w *walk) count(s *standing, h *hit, e *event) bool {
	at, found := slices.BinarySearchFunc(s.windows, h.index, func(v window, t int) int { return v.transition - t })
	if !found {
		s.windows = slices.Insert(s.windows, at, window{transition: h.index})
	}
	v := &s.windows[at]
	var value word
	if d := h.Packet.Distinct; d != 0 {
		value = e.at[place(d)]
		v.entries = slices.DeleteFunc(v.entries, func(c counted) bool { return c.value == value })
	}
	if v.entries = append(v.entries, counted{begins, value}); len(v.entries) < int(h.Packet.Count) {
		return false
	}
	v.entries = nil
	return true
}

// unreached returns a term of all packets that are decided in the states of the point, if no events lead to these, or none that are less than limit, whatever
// the packets' keys are. It returns nil where a walk for the packet itself has to find out.
func (p *Prover) unreached(at *point, limit int) (*term, error) {
	a := p.concerned(at)
	if a == nil {
		return nil, nil
	}
	least, err := p.least(a)
	if err != nil || least == nil {
		return nil, err
	}
	mask := leading(stateBits * (1 + len(a.slots)))
	states := and(at[statesPlace], mask)
	if n, ok := least[states]; ok && max(n, 1) < limit {
		return nil, nil
	}
	return &term{[]atom{numbers(p.chain.item, a.first, a.end-1), {field: statesPlace, bits: cube{states, mask}}}, nobody}, nil
}

// enough is what may be looked at for all packets of a machine together.
const enough = 1 << 22

// least returns after how few events a machine and those that it reads come to their states, as far as what all keys together can do says: never
// too many. It is nil where that takes too much.
func (p *Prover) least(a *automaton) (map[word]int, error) {
	if known, ok := p.leasts[a]; ok {
		return known, nil
	}
	before := p.search.budget
	p.search.budget = min(before, enough)
	given := p.search.budget
	least := make(map[word]int)
	w := &walk{p: p, at: new(point), sw: p.chain.switches()[0], own: -1, assume: true, any: true, used: make(map[int]bool), unless: -1, ward: -1, seen: make(map[string][]*node)}
	w.start(a)
	err := w.gather(0)
	if err == nil {
		err = w.run(maxEvents, func(n *node, _ *zone) bool {
			states := inState(own, n.cells[0].state, stateBits).bits.value
			for i, s := range a.slots {
				cell := w.other(a, &machine.When{Machine: s.machine, Key: s.key}, &w.packet, w.sw)
				states = or(states, inState(i, n.cells[cell].state, stateBits).bits.value)
			}
			if _, ok := least[states]; !ok {
				least[states] = n.events
			}
			return false
		})
	}
	if err != nil || w.loose != "" {
		least = nil
	}
	if p.search.budget = before - (given - p.search.budget); p.leasts == nil {
		p.leasts = make(map[*automaton]map[word]int)
	}
	p.leasts[a] = least
	return least, p.search.spent()
}
