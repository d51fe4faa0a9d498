package machine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind]. Its items are the machines.
func (Kind) Parse(f *syntax.File, n *syntax.Node) (_ policy.Source, machines []*syntax.Node) {
	p := parser{File: f, c: &Config{}}
	f.Mapping(n, Name, syntax.Key("machines", func(n *syntax.Node) {
		lines := make(map[string]int)
		for i, item := range f.Sequence(n, "machine: machines") {
			m := p.machine(item, fmt.Sprintf("machine: machine %d", i+1))
			if first, taken := lines[m.Name]; taken && m.Name != "" {
				f.Errorf(item, "machine %s: the name is that of the machine on line %d", m.Name, first)
			}
			lines[m.Name] = item.Line
			p.c.Machines = append(p.c.Machines, m)
			machines = append(machines, item)
		}
	}))
	for _, resolve := range p.later { // what names machines that come later in the file
		resolve(p.c.index())
	}
	return p.c, machines
}

// parser reads one entry.
type parser struct {
	*syntax.File
	c     *Config
	later []func(index map[string]*Machine)
}

// child returns the value of a mapping's key, or nil.
func child(n *syntax.Node, key string) *syntax.Node {
	if n.Shape == syntax.Mapping {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

func (p *parser) machine(n *syntax.Node, where string) (m Machine) {
	if name := child(n, "name"); name != nil && name.Shape == syntax.Scalar {
		where = "machine " + name.Value
	}
	at := func(key string) string { return where + ": " + key }
	// Transitions name states, whatever the order in the file.
	if states := child(n, "states"); states != nil {
		m.States = p.states(states, at("states"))
	}
	var start, key, forget *syntax.Node
	p.Mapping(n, where,
		syntax.Key("name", func(n *syntax.Node) { m.Name, _ = syntax.Parsed(p.File, n, at("name"), parseName) }),
		syntax.Key("for", func(n *syntax.Node) { m.For, m.Or = p.match(n, at("for")) }),
		syntax.Key("key", func(n *syntax.Node) { key = n; m.Key, _ = syntax.Parsed(p.File, n, at("key"), parseKey) }),
		syntax.Key("forget", func(n *syntax.Node) { forget = n; m.Forget, _ = syntax.Parsed(p.File, n, at("forget"), parseForget) }),
		syntax.Key("on_error", func(n *syntax.Node) { m.OnError, _ = syntax.Parsed(p.File, n, at("on_error"), parseOnError) }),
		syntax.Key("start", func(n *syntax.Node) { start = n; m.Start = p.state(n, at("start"), &m) }),
		syntax.Key("states", func(*syntax.Node) {}),
		syntax.Key("transitions", func(n *syntax.Node) {
			for i, item := range p.Sequence(n, at("transitions")) {
				m.Transitions = append(m.Transitions, p.transition(item, fmt.Sprintf("%s: transition %d", where, i+1), &m))
			}
		}),
	)
	switch {
	case n.Shape != syntax.Mapping:
	case m.Name == "" && child(n, "name") == nil:
		p.Errorf(n, "%s: want a name", where)
	case key == nil:
		p.Errorf(n, "%s: want a key: %s", where, keyNames())
	case start == nil:
		p.Errorf(n, "%s: want a start, the name of a state", where)
	case len(m.States) == 0 && child(n, "states") == nil:
		p.Errorf(n, "%s: want states", where)
	case forget == nil && many(m.Key):
		p.Errorf(n, "%s: want forget, since packets make a state for every %v: a time such as 1h, or never", where, m.Key)
	}
	return m
}

// match reads a match, which may name groups and have lists of values. A host's name would change what is written, and with it the machine.
func (p *parser) match(n *syntax.Node, where string) (first header.Condition, or []header.Condition) {
	p.Fixed = "its addresses may change, and a machine that changes begins all its states again: want addresses"
	list := header.ParseConditions(p.File, n, where)
	if p.Fixed = ""; len(list) == 0 {
		return first, nil
	}
	return list[0], list[1:]
}

func parseKey(s string) (Key, error) {
	k, err := flow.ParseStateKey(s)
	if s == "" || err != nil {
		return 0, fmt.Errorf("%q: want one of %s", s, keyNames())
	}
	return k, nil
}

func keyNames() string {
	names := make([]string, flow.StateKeys)
	for k := range flow.StateKeys {
		names[k] = k.String()
	}
	return strings.Join(names, ", ")
}

func parseForget(s string) (time.Duration, error) {
	if s == "never" {
		return 0, nil
	}
	return parseTime(s)
}

func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond || d > maxTime || d%time.Millisecond != 0 {
		return 0, fmt.Errorf("%q: want a time from 1ms to %dh, such as 30s or 2h", s, maxTime/time.Hour)
	}
	return d, nil
}

func parseOnError(s string) (OnError, error) {
	if i := slices.Index(onErrorNames[:], s); i >= 0 {
		return OnError(i), nil
	}
	return 0, fmt.Errorf("%q: want %s", s, strings.Join(onErrorNames[:], " or "))
}

// state returns the index of a state that n names.
func (p *parser) state(n *syntax.Node, where string, m *Machine) int {
	i, _ := syntax.Parsed(p.File, n, where, func(s string) (int, error) {
		if i := m.stateNamed(s); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("%.60q is no state of the machine", s)
	})
	return i
}

func (m *Machine) stateNamed(s string) int {
	return slices.IndexFunc(m.States, func(state State) bool { return state.Name == s })
}

// set reads a state, a list of them, or any.
func (p *parser) set(n *syntax.Node, where string, m *Machine) (set Set) {
	if n.Shape == syntax.Scalar && n.Value == "any" && m.stateNamed("any") < 0 {
		return Set(1)<<len(m.States) - 1
	}
	list := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		list = n.Content
	}
	for _, n := range list {
		set |= 1 << p.state(n, where, m)
	}
	return set
}

// states reads a mapping of names to what is done in them.
func (p *parser) states(n *syntax.Node, where string) (list []State) {
	if n.Shape != syntax.Mapping {
		p.Errorf(n, "%s: want a mapping of names to what becomes of packets", where)
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		s := State{}
		s.Name, _ = syntax.Parsed(p.File, name, where, header.ParseName)
		where := where + ": " + name.Value
		if slices.ContainsFunc(list, func(o State) bool { return o.Name == s.Name }) {
			p.Errorf(name, "%s is given twice", where)
		}
		if value.Shape == syntax.Scalar || child(value, "action") == nil && child(value, "rules") == nil {
			s.Action = p.action(value, where)
		} else {
			log := false
			p.Mapping(value, where,
				syntax.Key("log", func(n *syntax.Node) { log = p.Boolean(n, where+": log") }),
				syntax.Key("rules", func(n *syntax.Node) {
					for i, item := range p.Sequence(n, where+": rules") {
						s.Rules = append(s.Rules, p.rule(item, fmt.Sprintf("%s: rule %d", where, i+1)))
					}
				}),
				syntax.Key("action", func(n *syntax.Node) { s.Action = p.action(n, where+": action") }))
			s.Action.Log = log
			if child(value, "action") == nil {
				p.Errorf(value, "%s: want an action for packets that no rule decides: allow, deny, next, or a mapping", where)
			}
		}
		list = append(list, s)
	}
	return list
}

func (p *parser) action(n *syntax.Node, where string) (a Action) {
	if n.Shape == syntax.Scalar && n.Value == "next" {
		a.Next = true
		return a
	}
	if n.Shape == syntax.Scalar && n.Value != "allow" && n.Value != "deny" && n.Value != "reject" {
		p.Errorf(n, "%s: %q: want allow, deny, reject, next, or a mapping with output, set-queue or meter", where, n.Value)
		return a
	}
	a.Action = header.ParseAction(p.File, n, where)
	return a
}

func (p *parser) rule(n *syntax.Node, where string) (r Rule) {
	log := false
	p.Mapping(n, where,
		syntax.Key("log", func(n *syntax.Node) { log = p.Boolean(n, where+": log") }),
		syntax.Key("name", func(n *syntax.Node) { r.Name, _ = syntax.Parsed(p.File, n, where+": name", header.ParseName) }),
		syntax.Key("match", func(n *syntax.Node) { r.Match, r.Or = p.match(n, where+": match") }),
		syntax.Key("when", func(n *syntax.Node) { r.When = p.when(n, where+": when") }),
		syntax.Key("action", func(n *syntax.Node) { r.Action = p.action(n, where+": action") }),
	)
	r.Action.Log = log
	if child(n, "action") == nil {
		p.Errorf(n, "%s: want an action", where)
	}
	return r
}

// when reads conditions on other machines: a mapping of their names to states, or to a key and states. The states are looked up once all machines
// are read.
func (p *parser) when(n *syntax.Node, where string) []When {
	if n.Shape != syntax.Mapping {
		p.Errorf(n, "%s: want a mapping of machines to their states", where)
		return nil
	}
	list := make([]When, len(n.Content)/2)
	for i := range list {
		name, value := n.Content[2*i], n.Content[2*i+1]
		w := &list[i]
		w.Machine, _ = p.Scalar(name, where)
		where, states := where+": "+w.Machine, value
		if value.Shape == syntax.Mapping {
			states = child(value, "state")
			p.Mapping(value, where,
				syntax.Key("key", func(n *syntax.Node) { w.Key, _ = p.Scalar(n, where+": key") }),
				syntax.Key("state", func(*syntax.Node) {}))
			if states == nil {
				p.Errorf(value, "%s: want a state", where)
				continue
			}
		}
		p.later = append(p.later, func(index map[string]*Machine) {
			other := index[w.Machine]
			if other == nil {
				p.Errorf(name, "%s: there is no such machine", where)
				return
			}
			w.In = p.set(states, where, other)
			if w.Key != "" {
				key, err := parseValue(other.Key, w.Key)
				if err != nil {
					p.Errorf(value, "%s: key: %v", where, err)
				}
				w.Key = key
			}
		})
	}
	return list
}

// ParseWhen reads a condition on the machines of an entry, {machine: NAME, state: STATES}, and a key where it is not that of a packet. c is nil where there are none.
func ParseWhen(f *syntax.File, n *syntax.Node, where string, c *Config) (w When) {
	p := parser{File: f}
	var m *Machine
	var key *syntax.Node
	p.Mapping(n, where, syntax.Key("machine", func(n *syntax.Node) {
		if w.Machine, _ = p.Scalar(n, where+": machine"); c != nil {
			m = c.index()[w.Machine]
		}
		if m == nil {
			p.Errorf(n, "%s: the chain has no machine %q", where, w.Machine)
		}
	}), syntax.Key("state", func(*syntax.Node) {}), syntax.Key("key", func(n *syntax.Node) { key = n }))
	switch states := child(n, "state"); {
	case n.Shape != syntax.Mapping || m == nil && child(n, "machine") != nil:
	case m == nil || states == nil:
		p.Errorf(n, "%s: want a machine and its state, such as {machine: sensor, state: motion}", where)
	default:
		w.In = p.set(states, where+": state", m)
		if key != nil {
			w.Key, _ = syntax.Parsed(f, key, where+": key", func(s string) (string, error) { return parseValue(m.Key, s) })
		}
	}
	return w
}

func (p *parser) transition(n *syntax.Node, where string, m *Machine) (t Transition) {
	at := func(key string) string { return where + ": " + key }
	var packet Packet
	var distinct, of *syntax.Node // of is the first key that is of packets
	ofPacket := func(key string, read func(n *syntax.Node)) syntax.Field {
		return syntax.Key(key, func(n *syntax.Node) {
			if of == nil {
				of = n
			}
			read(n)
		})
	}
	p.Mapping(n, where,
		syntax.Key("from", func(n *syntax.Node) { t.From = p.set(n, at("from"), m) }),
		syntax.Key("to", func(n *syntax.Node) { t.To = p.state(n, at("to"), m) }),
		ofPacket("match", func(n *syntax.Node) { packet.Match, packet.Or = p.match(n, at("match")) }),
		ofPacket("tcp_flags", func(n *syntax.Node) { packet.Flags = header.ParseFlags(p.File, n, at("tcp_flags")) }),
		ofPacket("quotes", func(n *syntax.Node) {
			quotes := header.ParseCondition(p.File, n, at("quotes"))
			packet.Quotes = &quotes
		}),
		ofPacket("count", func(n *syntax.Node) { packet.Count = uint32(p.Number(n, at("count"), 2, maxWindows)) }),
		ofPacket("distinct", func(n *syntax.Node) { distinct = n }),
		ofPacket("within", func(n *syntax.Node) { packet.Within, _ = syntax.Parsed(p.File, n, at("within"), parseTime) }),
		syntax.Key("when", func(n *syntax.Node) { t.When = p.when(n, at("when")) }),
		syntax.Key("after", func(n *syntax.Node) {
			t.On = OnTime
			t.After, _ = syntax.Parsed(p.File, n, at("after"), parseTime)
		}),
		syntax.Key("port", func(n *syntax.Node) { t.On, t.Ports = OnPort, PortEvents(p.words(n, at("port"), portEvents)) }),
		syntax.Key("rule_removed", func(n *syntax.Node) {
			t.On, t.Removed = OnRemoved, RemovedReasons(p.words(n, at("rule_removed"), removedReasons))
		}),
		syntax.Key("switch", func(n *syntax.Node) { t.On = OnSwitch; p.words(n, at("switch"), []string{"connected"}) }),
	)
	for _, key := range []string{"from", "to"} {
		if n.Shape == syntax.Mapping && child(n, key) == nil {
			p.Errorf(n, "%s: want %s", where, key)
		}
	}
	if t.On != OnPacket {
		if of != nil {
			p.Errorf(of, "%s: match, tcp_flags, quotes and count are for packets: they can't stand beside after, port, rule_removed or switch", where)
		}
		return t
	}
	t.Packet = &packet
	if distinct != nil {
		p.distinct(distinct, at("distinct"), &packet)
	}
	if packet.Flags != (Flags{}) {
		p.proto(n, at("tcp_flags"), &packet, flow.ProtoTCP)
	}
	if packet.Count != 0 && child(n, "within") == nil {
		p.Errorf(n, "%s: count needs within: the time in which packets are counted", where)
	}
	return t
}

// proto has a transition's match ask for a protocol.
func (p *parser) proto(n *syntax.Node, where string, t *Packet, proto uint8) {
	each(&t.Match, t.Or, func(c *header.Condition) {
		if h := &c.Header; h.Has(flow.FieldIPProto) && h.IPProto != proto {
			p.Errorf(n, "%s: match asks for ip_proto %d", where, h.IPProto)
		} else {
			h.SetIPProto(proto)
		}
	})
}

// distinct reads the field whose values are counted, by its name in a match.
func (p *parser) distinct(n *syntax.Node, where string, t *Packet) {
	name, ok := p.Scalar(n, where)
	if !ok {
		return
	}
	for i := range flow.Fields {
		x := &flow.Fields[i]
		if x.Field&distinctFields == 0 {
			continue
		}
		if x.Name == name && x.Need != flow.NeedPorts && x.Need != flow.NeedICMP {
			t.Distinct = x.Field
			return
		}
		for _, o := range x.OXM {
			if o.Name == name && o.Proto != 0 {
				t.Distinct = x.Field
				p.proto(n, where, t, o.Proto)
				return
			}
		}
	}
	p.Errorf(n, "%s: %q: want a field that tells conversations apart, such as tcp_dst, ip_dst or eth_src", where, name)
}

// words reads one of some words, or a list of them, as bits.
func (p *parser) words(n *syntax.Node, where string, words []string) (bits uint8) {
	list := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		list = n.Content
	}
	for _, n := range list {
		i, ok := syntax.Parsed(p.File, n, where, func(s string) (int, error) {
			if i := slices.Index(words, s); i >= 0 {
				return i, nil
			}
			return 0, fmt.Errorf("%q: want %s", s, strings.Join(words, ", "))
		})
		if ok {
			bits |= 1 << i
		}
	}
	return bits
}
