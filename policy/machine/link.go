package machine

import (
	"slices"
	"strings"
	"sync"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/wire"
)

// link is the compiled policy.
type link struct {
	scopes   *header.Table // what the machines are for
	owners   []int32       // the machine of each of these
	machines []machine
	noticed  [triggers][]int // the machines that events without a packet can move

	named sync.Once // fills kinds, which no guest needs
	kinds map[string]Key
}

// machine is a compiled machine.
type machine struct {
	*Machine
	hash   uint64
	states []state
	need   []Key                // the keys of what it reads on packets, as far as the packet itself gives them
	on     [triggers]*triggered // nil: nothing more than the own state is read, and no transition made
}

// triggered is what there is to one kind of trigger.
type triggered struct {
	reads       []read     // states of other machines
	others      []*machine // whose they are
	transitions []int
}

// readsOn returns the states of other machines that are read on a trigger.
func (m *machine) readsOn(on Trigger) (reads []read, others []*machine) {
	if t := m.on[on]; t != nil {
		return t.reads, t.others
	}
	return nil, nil
}

// state is a compiled state.
type state struct {
	unsettled string // what is said of a rule that is not installed
	rules     rules
	otherwise policy.Outcome
	packet    []transition // that packets make from here
	fields    flow.Field   // that packet's conditions look at

	after   int64 // milliseconds; 0: time alone leads nowhere
	timeout int   // the state that it leads to
}

// transition is a compiled transition that a packet makes.
type transition struct {
	*Packet
	index  int // in Machine.Transitions; alternatives have the same one, and stand together
	match  *header.Condition
	quotes *header.Condition // nil: none
	when   []condition
}

// rules are a state's.
type rules struct {
	match    []*header.Condition
	table    *header.Table // finds the first of match; nil where they are few
	outcomes []policy.Outcome
	when     [][]condition
}

// few is how many conditions are tried one after the other: a table takes more memory, and no less time.
const few = 8

// condition is a compiled When.
type condition struct {
	read int // index in what the machine reads on the trigger
	in   Set
}

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	l := &link{machines: make([]machine, len(c.Machines))}
	var scopes []header.Condition
	for i := range c.Machines {
		each(&c.Machines[i].For, c.Machines[i].Or, func(scope *header.Condition) {
			scopes, l.owners = append(scopes, *scope), append(l.owners, int32(i))
		})
		l.machines[i].compile(&c.Machines[i])
		for on := OnPort; on < triggers; on++ {
			if t := l.machines[i].on[on]; t != nil && len(t.transitions) > 0 {
				l.noticed[on] = append(l.noticed[on], i)
			}
		}
	}
	l.scopes = header.NewTable(scopes)
	index := make(map[string]*machine, len(l.machines))
	for i := range l.machines {
		index[l.machines[i].Name] = &l.machines[i]
	}
	for i := range l.machines {
		m := &l.machines[i]
		for on, t := range m.on {
			if t == nil {
				continue
			}
			for _, r := range t.reads {
				other := index[r.machine]
				t.others = append(t.others, other)
				if r.key == "" && Trigger(on) == OnPacket {
					m.need = append(m.need, other.Key)
				}
			}
		}
	}
	return l
}

func (m *machine) compile(source *Machine) {
	m.Machine = source
	for on, reads := range source.reads() {
		if len(reads) > 0 {
			m.on[on] = &triggered{reads: reads}
		}
	}
	w := wire.NewWriter(nil)
	if source.write(w); source.alternates() {
		source.writeMore(w)
	}
	m.hash = hashOf(w.Bytes())
	m.states = make([]state, len(source.States))
	for i := range m.states {
		from := &source.States[i]
		s := &m.states[i]
		in := source.Name + " in " + from.Name
		s.unsettled = in + " may move by such a packet"
		s.otherwise = from.Action.outcome(Name + ": " + in)
		s.rules.compile(m, from, Name+": "+in)
	}
	for i := range source.Transitions {
		t := &source.Transitions[i]
		if t.On != OnPacket && t.On != OnTime {
			if m.on[t.On] == nil {
				m.on[t.On] = &triggered{}
			}
			m.on[t.On].transitions = append(m.on[t.On].transitions, i)
		}
		when := m.conditions(t.When, t.On)
		for at := range m.states {
			if !t.From.has(at) {
				continue
			}
			s := &m.states[at]
			switch t.On {
			case OnPacket:
				one := transition{Packet: t.Packet, index: i, when: when}
				if t.Packet.Quotes != nil {
					one.quotes = t.Packet.Quotes.Completed()
					s.fields |= errorFields
				}
				s.fields |= t.Packet.Distinct
				each(&t.Packet.Match, t.Packet.Or, func(c *header.Condition) {
					one.match = c.Completed()
					s.fields |= one.match.Fields()
					s.packet = append(s.packet, one)
				})
			case OnTime:
				s.after, s.timeout = t.After.Milliseconds(), t.To
			}
		}
	}
}

// errorFields say whether a packet is an ICMP error.
const errorFields = flow.FieldEthType | flow.FieldIPProto | flow.FieldICMPType | flow.FieldICMPCode

func (r *rules) compile(m *machine, from *State, reason string) {
	for i := range from.Rules {
		rule := &from.Rules[i]
		outcome, when := rule.Action.outcome(reason+": "+from.Label(i)), m.conditions(rule.When, OnPacket)
		each(&rule.Match, rule.Or, func(c *header.Condition) {
			r.match, r.outcomes, r.when = append(r.match, c.Completed()), append(r.outcomes, outcome), append(r.when, when)
		})
	}
	if len(r.match) > few {
		list := make([]header.Condition, len(r.match))
		for i := range r.match {
			list[i] = *r.match[i]
		}
		r.table = header.NewTable(list)
	}
}

// outcome is what an action decides, but for what it hangs on.
func (a *Action) outcome(reason string) policy.Outcome {
	switch {
	case a.Next:
		return policy.Outcome{}
	case a.Deny:
		return policy.Outcome{Verdict: flow.Deny, NoReply: true, Reject: a.Reject, Log: a.Log, Reason: reason}
	}
	return policy.Outcome{Verdict: flow.Allow, Log: a.Log, Reason: reason, Treatment: a.Treatment()}
}

// conditions returns the compiled form of what the machine asks of others on a trigger.
func (m *machine) conditions(list []When, on Trigger) (out []condition) {
	reads, _ := m.readsOn(on)
	for i := range list {
		out = append(out, condition{slices.Index(reads, read{list[i].Machine, list[i].Key}), list[i].In})
	}
	return out
}

// Decide implements [policy.Link]. Without states nothing is known.
func (l *link) Decide(p policy.Packet) policy.Outcome {
	out, _ := l.DecideBy(p, &flow.Event{})
	return out
}

// Proactive implements [policy.Link]: what a state allows now it may deny soon.
func (*link) Proactive(_ *policy.Connected, rules []flow.Rule) []flow.Rule { return rules }

// find returns the machine that a packet is for; nil where there is none. It is that of the first scope that the packet meets: a machine may have several. Where
// that hangs on what the packet does not show, hidden are these fields; looked are those that it was found out by.
func (l *link) find(p *policy.Packet) (m *machine, hidden, looked flow.Field) {
	at, hidden, looked := l.scopes.Find(p)
	if at < 0 {
		return nil, hidden, looked
	}
	return &l.machines[l.owners[at]], hidden, looked
}

// StateKeys implements [policy.Machines]. The first key is that of the machine that the event concerns.
func (l *link) StateKeys(ev *flow.Event, keys []string) []string {
	if ev.Type == flow.EventPacketIn {
		if ev.PacketIn == nil {
			return keys
		}
		p := policy.NewPacket(&ev.PacketIn.Match)
		p.Missing |= ev.PacketIn.Incomplete &^ ev.PacketIn.Match.Fields
		m, hidden, _ := l.find(&p)
		if m == nil || hidden != 0 {
			return keys
		}
		return keysOf(m, OnPacket, ev.Switch, &p, keys)
	}
	p, on := noticed(ev)
	if m := l.concerned(&p, on); m != nil {
		return keysOf(m, on, ev.Switch, &p, keys)
	}
	return keys
}

// SupposedKeys implements [policy.Machines]. A packet has none whose machine, or one that this one reads, has a state for each port.
func (l *link) SupposedKeys(p policy.Packet, keys []string) (_ []string, byPort bool) {
	m, hidden, looked := l.find(&p)
	if byPort = looked&flow.FieldInPort != 0; m == nil || hidden != 0 {
		return keys, byPort
	}
	if m.needs(p.Match)&flow.FieldInPort != 0 {
		return keys, byPort
	}
	return keysOf(m, OnPacket, p.Switch, &p, keys), byPort
}

// needs are the fields that the keys of what is read about a packet rest on.
func (m *machine) needs(packet *flow.Match) flow.Field {
	need := m.Key.Fields(packet)
	for _, k := range m.need {
		need |= k.Fields(packet)
	}
	return need
}

// Travels implements [policy.Machines]. A policy whose states of other keys than the event's are read is not given to who has them travel ([Config.CantTravel]).
func (l *link) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	l.named.Do(func() {
		l.kinds = make(map[string]Key, len(l.machines))
		for i := range l.machines {
			l.kinds[l.machines[i].Name] = l.machines[i].Key
		}
	})
	name, _, _ = strings.Cut(key, "/")
	kind, ok = l.kinds[name]
	return name, kind, ok
}

// keysOf appends the keys of what a machine's decision reads; none where the packet does not show one of them.
func keysOf(m *machine, on Trigger, sw *flow.Switch, p *policy.Packet, keys []string) []string {
	before := len(keys)
	var room [128]byte
	add := func(m *machine, k Key) bool {
		value, ok := k.AppendValue(room[:0], sw, p.Match)
		keys = append(keys, storeKey(m.Name, value))
		return ok
	}
	if !add(m, m.Key) {
		return keys[:before]
	}
	reads, others := m.readsOn(on)
	for i, r := range reads {
		other := others[i]
		if r.key != "" {
			keys = append(keys, storeKey(other.Name, []byte(r.key)))
		} else if !add(other, other.Key) {
			return keys[:before]
		}
	}
	return keys
}

// noticed returns what an event that is no packet shows, as a packet, and which transitions it may make.
func noticed(ev *flow.Event) (policy.Packet, Trigger) {
	p := policy.Packet{Match: ev.Headers()}
	switch {
	case p.Match == nil:
		p.Match = new(flow.Match)
	case ev.Type == flow.EventPortStatus:
		return p, OnPort
	case ev.Type == flow.EventFlowRemoved:
		return p, OnRemoved
	case ev.Type == flow.EventSwitchConnected:
		return p, OnSwitch
	}
	return p, OnPacket
}

// concerned returns the machine that an event without a packet concerns, or nil: the first that has such transitions and is for it.
func (l *link) concerned(p *policy.Packet, on Trigger) *machine {
	for _, i := range l.noticed[on] {
		m, concerned := &l.machines[i], false
		each(&m.For, m.Or, func(c *header.Condition) {
			ok, _ := c.Completed().Test(p)
			concerned = concerned || ok
		})
		if concerned {
			return m
		}
	}
	return nil
}
