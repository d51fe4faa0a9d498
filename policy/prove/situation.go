package prove

import (
	"cmp"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
)

// What a machine decides hangs on its state and on those of machines that it reads. These states are bits beside a packet's headers, so that a question about
// all packets in all states is asked as one about packets is. Whether such states can come about at all, and by which packets, is another question (see
// walk.go).
//
// A packet concerns the first machine that it is for, and of that machine's state the first rule that it meets. No list of conditions that are
// met can say "the first", so the number of the rule, the item, is a field of its own: conditions say which numbers are impossible for a packet.

// stateBits are those of one machine's state.
const stateBits = 6

// maxSlots is how many states of other machines a decision reads, in two policies together.
const maxSlots = 16

// slot is a state of another machine that the decisions of a machine read: that of the packet's own key, or of the one that is named.
type slot struct{ machine, key string }

// automaton is a machine of the chain.
type automaton struct {
	*machine.Machine
	chain        *chain
	entry, index int      // of the chain, and of its machines
	scope        [][]atom // what it is for
	first, end   uint64   // its items, the end not included
	starts       []uint64 // the first item of each state: its rules, and what becomes of all other packets
	slots        []slot
	voids        []*term // impossible situations of its items
}

// at is which of the slots a condition on another machine reads.
func (a *automaton) at(w *machine.When) int {
	return slices.Index(a.slots, slot{w.Machine, w.Key})
}

// slotsOf returns what a machine's decisions read.
func slotsOf(m *machine.Machine) (list []slot) {
	for i := range m.States {
		for j := range m.States[i].Rules {
			for _, w := range m.States[i].Rules[j].When {
				if s := (slot{w.Machine, w.Key}); !slices.Contains(list, s) {
					list = append(list, s)
				}
			}
		}
	}
	return list
}

func has(s machine.Set, state int) bool { return s>>state&1 != 0 }

// own is the place of the packet's own machine's state among those of slots.
const own = -1

// inState is the condition that the state of a slot is the one of a number whose first bits count.
func inState(slot, state, bits int) atom {
	at := stateBits * (slot + 1)
	mask := andNot(leading(at+bits), leading(at))
	value := number(uint64(state), stateBits)
	if at >= 64 {
		value = word{Lo: value.Hi >> (at - 64)}
	} else {
		value = word{Hi: value.Hi >> at, Lo: value.Hi << (64 - at)}
	}
	return atom{field: statesPlace, bits: cube{and(value, mask), mask}}
}

// stateIn returns the state of a slot.
func (p *point) stateIn(slot int) int {
	at := stateBits * (slot + 1)
	w := p[statesPlace]
	if at < 64 {
		w.Hi = w.Hi<<at | w.Lo>>(64-at)
	} else {
		w.Hi = w.Lo << (at - 64)
	}
	return int(w.Hi >> (64 - stateBits))
}

// numbers is the condition that what is at a place is from first to last.
func numbers(place uint8, first, last uint64) atom {
	return ranged(place, uint8(bitsOf(place)), first, last)
}

// all are the conditions of one of each of the lists together.
func all(lists ...[][]atom) [][]atom {
	list := [][]atom{nil}
	for _, one := range lists {
		var both [][]atom
		for _, a := range list {
			for _, b := range one {
				both = append(both, slices.Concat(a, b))
			}
		}
		list = both
	}
	return list
}

// none are the conditions of what meets neither a condition of a machine nor one of those that stand beside it. Where they would be too many it
// returns none, so that more seems possible than is.
func none(first *header.Condition, or []header.Condition) [][]atom {
	n := &numbering{ids: make(map[atomKey]int32)}
	lists := n.of(misses(condition(first.Completed())))
	for i := range or {
		lists = n.both(lists, n.of(misses(condition(or[i].Completed()))))
		if len(lists) > maxMisses || n.work > maxWork {
			return nil
		}
	}
	all := make([][]atom, 0, len(lists))
	for _, list := range lists {
		var atoms []atom
		for _, id := range list {
			atoms = append(atoms, n.atoms[id])
		}
		all = append(all, atoms)
	}
	return all
}

// maxMisses is how many conditions none returns, and maxWork what it compares. One field with many values in several alternatives makes two.
const maxMisses, maxWork = 256, 1 << 24

// numbering numbers conditions on fields, so that lists of them are compared fast.
type numbering struct {
	ids   map[atomKey]int32
	atoms []atom
	work  int
}

// atomKey tells conditions apart whose sets are one range.
type atomKey struct {
	field       uint8
	not         bool
	bits        cube
	first, last word
	ranges      int
}

// of returns lists of conditions as sorted numbers.
func (n *numbering) of(lists [][]atom) (all [][]int32) {
	for _, atoms := range lists {
		var list []int32
		for _, a := range atoms {
			k := atomKey{field: a.field, not: a.not, bits: a.bits, ranges: len(a.set)}
			if len(a.set) > 0 {
				k.first, k.last = a.set[0].first, a.set[len(a.set)-1].last
			}
			id, known := n.ids[k]
			if !known || len(a.set) > 1 {
				id = int32(len(n.atoms))
				n.ids[k], n.atoms = id, append(n.atoms, a)
			}
			list = append(list, id)
		}
		slices.Sort(list)
		all = append(all, slices.Compact(list))
	}
	return all
}

// both returns the lists that are met where one of each is, without those that another one is met with anyway.
func (n *numbering) both(a, b [][]int32) (kept [][]int32) {
	var lists [][]int32
	for _, x := range a {
		for _, y := range b {
			both := slices.Concat(x, y)
			slices.Sort(both)
			both = slices.Compact(both)
			n.work += 4 * len(both)
			lists = append(lists, both)
		}
	}
	slices.SortStableFunc(lists, func(a, b []int32) int { return cmp.Compare(len(a), len(b)) })
	for _, list := range lists {
		if len(kept) > maxMisses || n.work > maxWork {
			return kept
		}
		if !slices.ContainsFunc(kept, func(fewer []int32) bool { return n.within(fewer, list) }) {
			kept = append(kept, list)
		}
	}
	return kept
}

// within reports whether a sorted list has all of another.
func (n *numbering) within(fewer, list []int32) bool {
	i := 0
	for _, id := range list {
		if n.work++; i < len(fewer) && fewer[i] == id {
			i++
		}
	}
	return i == len(fewer)
}

// misses are the conditions of what does not meet one condition. It has two lists where it is the same of both families of addresses.
func misses(lists [][]atom) (list [][]atom) {
	rest := lists[0]
	if len(lists) == 2 {
		rest = rest[1:]
		neither := []atom{is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldEthType, flow.EthTypeIPv6)}
		neither[0].not, neither[1].not = true, true
		list = append(list, neither)
	}
	for _, a := range rest {
		a.not = !a.not
		list = append(list, []atom{a})
	}
	return list
}

// holds are the conditions that other machines are in the states that are asked for.
func (a *automaton) holds(list []machine.When, in func(name string) int) [][]atom {
	lists := [][][]atom{{nil}}
	for i := range list {
		var states [][]atom
		for s := range in(list[i].Machine) {
			if has(list[i].In, s) {
				states = append(states, []atom{inState(a.at(&list[i]), s, stateBits)})
			}
		}
		lists = append(lists, states)
	}
	return all(lists...)
}

// machine adds the rules of machines. What they read besides their own state is in slots.
func (c *chain) machine(at int, s *machine.Config, slots map[string][]slot) {
	states := func(name string) int {
		for i := range s.Machines {
			if s.Machines[i].Name == name {
				return len(s.Machines[i].States)
			}
		}
		return 0
	}
	item := uint64(0)
	for i := range s.Machines {
		a := &automaton{Machine: &s.Machines[i], chain: c, entry: at, index: i, scope: anyOf(&s.Machines[i].For, s.Machines[i].Or), first: item}
		if a.slots = slots[a.Name]; slots == nil {
			a.slots = slotsOf(a.Machine)
		}
		for j := range a.States {
			a.starts = append(a.starts, item)
			item += uint64(len(a.States[j].Rules)) + 1
			if a.quotes(j) {
				item++ // what becomes of packets whose quotes can't be read
				c.quotes = true
			}
		}
		a.end = item
		c.machines = append(c.machines, a)
	}
	nobodys := item // the number of packets that concern no machine
	c.void(numbers(c.item, nobodys+1, 1<<bitsOf(c.item)-1))
	for _, a := range c.machines {
		its := numbers(c.item, a.first, a.end-1)
		for _, atoms := range a.scope {
			c.void(append(atoms[:len(atoms):len(atoms)], numbers(c.item, a.end, nobodys))...)
		}
		for _, atoms := range none(&a.For, a.Or) {
			a.void(append(atoms, its)...)
		}
		for i, s := range a.slots {
			for n := states(s.machine); n < 1<<stateBits; { // what is no state
				bits, size := stateBits, 1
				for n&(2*size-1) == 0 && n+2*size <= 1<<stateBits {
					bits, size = bits-1, 2*size
				}
				a.void(its, inState(i, n, bits))
				n += size
			}
		}
		for j := range a.States {
			c.state(a, j, states)
		}
	}
}

// state adds the rules of one state of a machine.
func (c *chain) state(a *automaton, j int, states func(name string) int) {
	s, first := &a.States[j], a.starts[j]
	last := first + uint64(len(s.Rules))
	in := inState(own, j, stateBits)
	other := in
	other.not = true
	beyond := last
	if a.quotes(j) {
		beyond++
	}
	a.void(numbers(c.item, first, beyond), other)
	add := func(item uint64, action *machine.Action, label string, lists [][]atom) {
		v, effect := flow.Allow, policy.Treatment{}
		switch {
		case action.Next:
			v = flow.NoVerdict
		case action.Deny:
			v = flow.Deny
		default:
			effect = action.Treatment()
		}
		if !c.fits(label, a.scope, lists) {
			return
		}
		c.add(Entry{a.entry, a.index}, label, v, effect, all(a.scope, lists, [][]atom{{in, numbers(c.item, item, item)}})...)
		r := c.last()
		r.automaton, r.state, r.passes, r.reject = a, j, action.Next, action.Reject
	}
	name := machine.Name + ": " + a.Name + " in " + s.Name
	for k := range s.Rules {
		r, item := &s.Rules[k], first+uint64(k)
		match, holds := anyOf(&r.Match, r.Or), a.holds(r.When, states)
		if !c.fits(name+": "+s.Label(k), match, holds) {
			return
		}
		for _, atoms := range all(match, holds) {
			a.void(append(atoms, numbers(c.item, item+1, last))...)
		}
		it := numbers(c.item, item, item)
		for _, atoms := range none(&r.Match, r.Or) {
			a.void(append(atoms, it)...)
		}
		for _, w := range r.When {
			for state := range states(w.Machine) {
				if !has(w.In, state) {
					a.void(it, inState(a.at(&w), state, stateBits))
				}
			}
		}
		add(item, &r.Action, name+": "+s.Label(k), all(match, holds))
	}
	add(last, &s.Action, name, [][]atom{nil})
	if beyond > last { // of which packets that is so a walk says
		it := numbers(c.item, beyond, beyond)
		a.void(it, readable)
		a.void(it, negated(is(flow.FieldEthType, flow.EthTypeIPv4)), negated(is(flow.FieldEthType, flow.EthTypeIPv6)))
		a.void(it, negated(is(flow.FieldIPProto, flow.ProtoICMP)), negated(is(flow.FieldIPProto, flow.ProtoICMPv6)))
		add(beyond, &machine.Action{Action: header.Action{Deny: true}}, name+": what can't be read of a quote", [][]atom{nil})
	}
}

// quotes reports whether a transition from a state looks at quotes.
func (a *automaton) quotes(state int) bool {
	return slices.ContainsFunc(a.Transitions, func(t machine.Transition) bool {
		return t.On == machine.OnPacket && has(t.From, state) && t.Packet.Quotes != nil
	})
}

// frames are terms of what no frame's headers are, and no error quotes.
func (c *chain) frames() []*term {
	if c.quotes {
		return slices.Concat(frames, unreal)
	}
	return frames
}

// void adds packets in situations that there are not.
func (c *chain) void(atoms ...atom) { c.voids = append(c.voids, &term{atoms, nobody}) }

func (a *automaton) void(atoms ...atom) { a.voids = append(a.voids, &term{atoms, nobody}) }

// impossible are terms of all that is no packet, and no situation, of packets that a rule decides; of all packets where it is nil.
func (c *chain) impossible(r *rule) []*term {
	list := slices.Concat(c.frames(), c.voids)
	for _, a := range c.machines {
		if r == nil || r.automaton == nil || r.automaton == a { // an item of a machine is in no situation of another one's
			list = append(list, a.voids...)
		}
	}
	return list
}

// guard returns what a rule of an access list asks of a packet beside its headers.
func (c *chain) guard(r *header.Rule) (atoms []atom) {
	if r.Flags != (header.Flags{}) {
		atoms = append(atoms, flagged(r.Flags))
	}
	if len(r.Hours) > 0 {
		c.hours = true
		var spans []span
		for _, h := range r.Hours {
			n := bitsOf(minutePlace)
			spans = append(spans, span{number(uint64(h.From), uint8(n)), cube{number(uint64(h.To)-1, uint8(n)), leading(n)}.last()})
		}
		atoms = append(atoms, atom{field: minutePlace, set: newSet(spans)})
	}
	return atoms
}

// flagged is the condition that a TCP packet has some flags and lacks others.
func flagged(f header.Flags) atom {
	return atom{field: flagsPlace, bits: cube{number(uint64(f.Set), 8), number(uint64(f.Set|f.Clear), 8)}}
}
