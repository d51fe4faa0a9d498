package machine

import (
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// recalled are the states that one decision rests on.
type recalled struct {
	now   int64
	read  int // states of the event
	own   value
	reads [maxReads]uint8 // the states of other machines

	restarts string // a state was of no use, and its machine starts again: the note of it
	left     int64  // milliseconds until time alone changes a state of another machine; -1: it does not

	matched bool // the packet satisfied the headers of a transition, and other machines' states were as it asks
}

// skew is how far in the future a state may be: clocks of gateways that share a store differ, and events overtake each other. A state from
// further away says that a clock was set back.
const skew = 5 * time.Second

// recall reads the states of an event. Where one of them can't be used, it says why and whose it is.
func (m *machine) recall(on Trigger, ev *flow.Event, r *recalled) (blame *machine, why fault) {
	_, others := m.readsOn(on)
	r.left = -1
	if r.read = 1 + len(others); len(ev.States) < r.read {
		return m, faultUnread
	}
	for i := range r.read {
		if flow.UnknownState(ev.States[i].Data) {
			return m, faultUnread
		}
	}
	if r.now = ev.Time.UnixMilli(); ev.Time.IsZero() || r.now <= 0 {
		return m, faultTime
	}
	if why = m.load(ev.States[0].Data, r.now, &r.own); why != "" {
		if m.OnError == Deny {
			return m, why
		}
		r.own = value{state: m.Start, serial: r.own.serial}
		r.restarts = m.Name + " starts again: " + string(why)
	}
	r.now = max(r.now, r.own.written)
	for i, other := range others {
		var v value
		if why = other.load(ev.States[1+i].Data, r.now, &v); why != "" {
			if other.OnError == Deny {
				return other, why
			}
			v = value{state: other.Start}
			r.restarts = other.Name + " starts again: " + string(why)
		}
		r.reads[i] = uint8(v.state)
		r.left = sooner(r.left, other.left(&v, r.now))
	}
	return nil, ""
}

// sooner returns the smaller of two times, of which -1 is never.
func sooner(a, b int64) int64 {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// load makes v what a state is now.
func (m *machine) load(data []byte, now int64, v *value) fault {
	*v = value{state: m.Start}
	if len(data) == 0 {
		return ""
	}
	if why := v.parse(data, m); why != "" {
		return why
	}
	if v.written > now+skew.Milliseconds() {
		return faultFuture
	}
	now = max(now, v.written)
	if forget := m.Forget.Milliseconds(); forget > 0 && now-v.written >= forget {
		*v = value{state: m.Start, serial: v.serial, written: v.written}
		return ""
	}
	if after := m.states[v.state].after; after > 0 && now-v.entered >= after {
		m.pass(v, now)
	}
	return ""
}

// pass moves v as far as time alone does.
func (m *machine) pass(v *value, now int64) {
	var entered [maxStates]int64 // when v came into each state
	for round := false; ; {
		s := &m.states[v.state]
		if s.after == 0 || now-v.entered < s.after {
			return
		}
		// Whole turns of a circle of states change nothing.
		if first := entered[v.state]; first != 0 && !round {
			round = true
			v.entered += (now - v.entered) / (v.entered - first) * (v.entered - first)
			continue
		}
		entered[v.state] = v.entered
		m.enter(v, s.timeout, v.entered+s.after)
	}
}

// enter moves v into a state. What it has counted goes on where that may still lead on.
func (m *machine) enter(v *value, to int, at int64) {
	v.state, v.entered = to, at
	kept := v.windows[:0]
	for _, w := range v.windows {
		if m.Transitions[w.transition].From.has(to) {
			kept = append(kept, w)
		}
	}
	v.windows = kept
}

// left returns how many milliseconds are left until time alone changes v; -1: it does not.
func (m *machine) left(v *value, now int64) int64 {
	until := int64(-1)
	if v.entered == 0 {
		return until
	}
	if forget := m.Forget.Milliseconds(); forget > 0 && v.state != m.Start {
		until = max(0, v.written+forget-now)
	}
	if after := m.states[v.state].after; after > 0 {
		until = sooner(until, max(0, v.entered+after-now))
	}
	return until
}

// hold reports whether other machines are in the states that conditions ask for.
func (r *recalled) hold(list []condition) bool {
	for _, c := range list {
		if !c.in.has(int(r.reads[c.read])) {
			return false
		}
	}
	return true
}

// deny is the outcome for a packet about which too little is known.
func (m *machine) deny(what string, depends flow.Field) policy.Outcome {
	return policy.Outcome{Verdict: flow.Deny, NoReply: true, Reason: Name + ": " + m.Name + what, Depends: depends}
}

// What is said of a rule that is not installed.
const (
	unknownState = "the state is not known"
	oldState     = "the event was decided before"
)

// DecideBy implements [policy.Machines]. A packet that moves the machine is decided in the state that it moves to.
func (l *link) DecideBy(p policy.Packet, ev *flow.Event) (out policy.Outcome, rec policy.Recollection) {
	m, hidden, depends := l.find(&p)
	if m == nil {
		out.Depends = depends
		return out, rec
	}
	if hidden != 0 {
		return m.deny(" may apply, but the packet does not show "+hidden.String(), depends), rec
	}
	out = m.decideBy(&p, ev, &rec, depends)
	return out, rec
}

// decideBy decides about a packet that the machine is for.
func (m *machine) decideBy(p *policy.Packet, ev *flow.Event, rec *policy.Recollection, depends flow.Field) policy.Outcome {
	need := m.needs(p.Match)
	depends |= need
	if p.Supposed {
		return m.suppose(p, ev, rec, need, depends)
	}
	if hidden := need &^ p.Match.Fields; hidden != 0 {
		rec.Unsettled = unknownState
		return m.deny(" has a state of its own for each "+m.Key.String()+", but the packet does not show "+hidden.String(), depends)
	}
	var r recalled
	blame, why := m.recall(OnPacket, ev, &r)
	if rec.Read = r.read; why != "" {
		rec.Unsettled = unknownState
		return blame.deny(": "+string(why), depends)
	}
	if r.restarts != "" {
		rec.Unsettled = unknownState
		rec.Note = r.restarts
	}
	v := &r.own
	id := eventID(ev)
	if state := v.sighting(id); state >= 0 { // a repeat gets the answer that it had
		if state != v.state {
			rec.Unsettled = oldState
		}
		v.state = state
		return m.decide(p, rec, &r, depends, false)
	}
	from := v.state
	to, counted, unseen := m.packet(p, ev.PacketIn, &r)
	switch {
	case unseen != "":
		rec.Unsettled = unknownState
		return m.deny(" in "+m.States[from].Name+" may move on, but the packet does not show "+unseen, depends|m.states[from].fields)
	case to >= 0:
		m.moved(&r, m.Transitions[to].To, rec)
	case counted && v.entered == 0:
		v.entered = r.now
	}
	if to >= 0 || counted {
		m.change(&r, id, rec)
	}
	return m.decide(p, rec, &r, depends, to < 0)
}

// suppose decides about a packet that nobody has sent, in the state that the machine is in. The one that it stands for has made its transition when it came.
func (m *machine) suppose(p *policy.Packet, ev *flow.Event, rec *policy.Recollection, need, depends flow.Field) policy.Outcome {
	if need&flow.FieldInPort != 0 {
		return m.deny(" has a state for each port, and only the switch knows by which one the packet came", depends)
	}
	if hidden := need &^ p.Match.Fields; hidden != 0 {
		return m.deny(" has a state of its own for each "+m.Key.String()+", but the packet does not show "+hidden.String(), depends)
	}
	var r recalled
	blame, why := m.recall(OnPacket, ev, &r)
	rec.Read = r.read
	switch {
	case why != "":
		if why != faultUnread {
			rec.Unsettled = unknownState
		}
		return blame.deny(": "+string(why), depends)
	case r.restarts != "": // where replies are let in by it, a state counts that is known
		rec.Unsettled = unknownState
		return m.deny(": "+r.restarts, depends)
	}
	return m.decide(p, rec, &r, depends, true)
}

// eventID is what a value remembers an event by; 0 where it has no id.
func eventID(ev *flow.Event) uint64 {
	if ev.ID == "" {
		return 0
	}
	return hashOf(ev.ID)
}

// packet tries the transitions that a packet can make. It returns the first one that it makes, or -1; whether something was counted; and, where a
// transition may be made by what the packet does not show, what that is.
func (m *machine) packet(p *policy.Packet, in *flow.PacketIn, r *recalled) (makes int, counted bool, unseen string) {
	last := -1 // the transition that the packet was counted for
	for i := range m.states[r.own.state].packet {
		t := &m.states[r.own.state].packet[i]
		if t.index == last {
			continue
		}
		ok, hidden := t.match.Test(p)
		if !ok || t.quotes != nil && !p.Match.ICMPError() && p.Missing&errorFields == 0 || !r.hold(t.when) {
			continue
		}
		if hidden |= t.Distinct & p.Missing; t.quotes != nil {
			hidden |= errorFields & p.Missing
		}
		if hidden != 0 {
			return -1, counted, hidden.String()
		}
		if t.Distinct&^p.Match.Fields != 0 {
			continue
		}
		r.matched = true
		if t.Flags != (Flags{}) {
			flags, ok := in.ReadTCPFlags()
			if !ok {
				return -1, counted, "tcp_flags"
			}
			if !t.Flags.Match(flags) {
				continue
			}
		}
		if t.quotes != nil {
			quoted, ok := in.Quoted()
			if !ok {
				return -1, counted, "the packet that it quotes"
			}
			if ok, _ := t.quotes.Test(&policy.Packet{Match: &quoted}); !ok {
				continue
			}
		}
		if t.Count == 0 {
			return t.index, counted, ""
		}
		var distinct []byte
		if t.Distinct != 0 {
			distinct = distinctValue(nil, p.Match, t.Distinct)
		}
		w := r.own.window(t.index)
		counted, last = true, t.index
		if w.count(t.Packet, r.now, distinct) {
			w.entries = nil
			return t.index, true, ""
		}
	}
	return -1, counted, ""
}

// moved moves the own state.
func (m *machine) moved(r *recalled, to int, rec *policy.Recollection) {
	if from := r.own.state; from != to {
		rec.Note = m.Name + " moves from " + m.States[from].Name + " to " + m.States[to].Name
	}
	m.enter(&r.own, to, r.now)
}

// change makes the own state what the store is to have.
func (m *machine) change(r *recalled, id uint64, rec *policy.Recollection) {
	v := &r.own
	v.serial++
	v.written = r.now
	v.sighted(id)
	c := new(changed)
	c.Data, c.TTL = v.append(c.room[:0], m), m.Forget
	rec.Change = &c.StateChange
}

// changed is a change with room for the bytes of a value that counts nothing. Each size of object that a guest makes is another page or two to put back
// after the event, so this is one.
type changed struct {
	flow.StateChange
	room [atIDs + 1 + maxIDs*idSize]byte
}

// decide says what becomes of a packet in the state that the machine is in now. tried says that the packet has tried its transitions.
func (m *machine) decide(p *policy.Packet, rec *policy.Recollection, r *recalled, depends flow.Field, tried bool) policy.Outcome {
	s := &m.states[r.own.state]
	depends |= s.fields
	if rec.Unsettled == "" && (tried && r.matched || !tried && s.moves(p, r)) {
		rec.Unsettled = s.unsettled
	}
	if left := sooner(r.left, m.left(&r.own, r.now)); left >= 0 {
		rec.Limited, rec.Left = true, time.Duration(left)*time.Millisecond
	}
	out, hidden, looked := s.rules.find(p, r)
	depends |= looked
	switch {
	case hidden != 0:
		return policy.Outcome{Verdict: flow.Deny, NoReply: true, Reason: out.Reason + " may apply, but the packet does not show " + hidden.String(), Depends: depends}
	case out == nil:
		out = &s.otherwise
	}
	decided := *out
	decided.Depends = depends
	return decided
}

// moves reports whether a packet that has p's headers may make a transition.
func (s *state) moves(p *policy.Packet, r *recalled) bool {
	for i := range s.packet {
		t := &s.packet[i]
		if ok, _ := t.match.Test(p); ok && (t.quotes == nil || p.Match.ICMPError() || p.Missing&errorFields != 0) && r.hold(t.when) {
			return true
		}
	}
	return false
}

// find returns the outcome of the first rule that decides about a packet; nil where none does. Where that hangs on what the packet does not show,
// hidden are these fields.
func (r *rules) find(p *policy.Packet, states *recalled) (out *policy.Outcome, hidden, looked flow.Field) {
	next := 0
	if r.table != nil {
		var at int
		at, hidden, looked = r.table.Find(p)
		switch {
		case at < 0:
			return nil, 0, looked
		case states.hold(r.when[at]):
			return &r.outcomes[at], hidden, looked
		}
		next = at + 1
		for _, c := range r.match[:next] { // where the first one might be, those before it count
			looked |= c.Fields()
		}
	}
	for i := next; i < len(r.match); i++ {
		looked |= r.match[i].Fields()
		if ok, hidden := r.match[i].Test(p); ok && states.hold(r.when[i]) {
			return &r.outcomes[i], hidden, looked
		}
	}
	return nil, 0, looked
}

// Notice implements [policy.Machines].
func (l *link) Notice(ev *flow.Event) (rec policy.Recollection) {
	p, on := noticed(ev)
	m := l.concerned(&p, on)
	if m == nil {
		return rec
	}
	if keysOf(m, on, ev.Switch, &p, nil) == nil {
		return rec // of a rule that went, which names no one flow, host or whatever has a state
	}
	var r recalled
	blame, why := m.recall(on, ev, &r)
	if rec.Read = r.read; why != "" {
		rec.Note = blame.Name + ": " + string(why)
		return rec
	}
	id := eventID(ev)
	if r.own.sighting(id) >= 0 {
		return rec
	}
	for _, i := range m.on[on].transitions {
		t := &m.Transitions[i]
		if t.From.has(r.own.state) && t.noticed(ev) && r.hold(m.conditions(t.When, on)) {
			m.moved(&r, t.To, &rec)
			m.change(&r, id, &rec)
			return rec
		}
	}
	return rec
}

// noticed reports whether an event makes the transition, which it may trigger.
func (t *Transition) noticed(ev *flow.Event) bool {
	switch t.On {
	case OnPort:
		port := ev.PortStatus
		var happened PortEvents
		switch {
		case port.Reason == flow.PortAdded:
			happened = PortAdded
		case port.Reason == flow.PortDeleted:
			happened = PortDeleted
		}
		if port.Reason == flow.PortDeleted || !port.Port.Up() {
			happened |= PortDown
		} else {
			happened |= PortUp
		}
		return t.Ports&happened != 0
	case OnRemoved:
		return t.Removed>>ev.FlowRemoved.Reason&1 != 0
	}
	return true
}

// StateOf implements [policy.Machines].
func (l *link) StateOf(key string, data []byte, at time.Time) string {
	name, _, _ := strings.Cut(key, "/")
	for i := range l.machines {
		if m := &l.machines[i]; m.Name == name {
			var v value
			if why := m.load(data, at.UnixMilli(), &v); why != "" {
				return string(why)
			}
			return m.States[v.state].Name
		}
	}
	return ""
}
