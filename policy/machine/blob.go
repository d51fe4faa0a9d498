package machine

import (
	"math"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/wire"
)

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) {
	if more := slices.ContainsFunc(c.Machines, func(m Machine) bool { return m.alternates() }); more {
		w.Uint(0)
		w.Uint(uint64(len(c.Machines)))
		for i := range c.Machines {
			c.Machines[i].write(w)
			c.Machines[i].writeMore(w)
		}
		return
	}
	w.Uint(uint64(len(c.Machines)))
	for i := range c.Machines {
		c.Machines[i].write(w)
	}
}

// alternates reports whether one of the machine's conditions has alternatives.
func (m *Machine) alternates() (more bool) {
	m.conditionLists(func(or *[]header.Condition) { more = more || len(*or) > 0 })
	return more
}

// conditionLists calls do with the alternatives of each condition, in the file's order.
func (m *Machine) conditionLists(do func(*[]header.Condition)) {
	do(&m.Or)
	for i := range m.States {
		for j := range m.States[i].Rules {
			do(&m.States[i].Rules[j].Or)
		}
	}
	for i := range m.Transitions {
		if p := m.Transitions[i].Packet; p != nil {
			do(&p.Or)
		}
	}
}

// writeMore writes the alternatives of all conditions, behind what there was before there were any.
func (m *Machine) writeMore(w *wire.Writer) {
	m.conditionLists(func(or *[]header.Condition) {
		w.Uint(uint64(len(*or)))
		for i := range *or {
			(*or)[i].Write(w)
		}
	})
}

func (m *Machine) readMore(r *wire.Reader) {
	m.conditionLists(func(or *[]header.Condition) {
		for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
			*or = append(*or, header.ReadCondition(r))
		}
	})
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	c := &Config{}
	n := r.Count(8)
	more := n == 0 // without any machine the entry says nothing: a function that is older than alternatives refuses it
	if more {
		n = r.Count(8)
	}
	for ; n > 0 && r.Err() == nil; n-- {
		m := readMachine(r)
		if more {
			m.readMore(r)
		}
		c.Machines = append(c.Machines, m)
	}
	return c
}

// write writes a machine. Its hash, by which values know it, is of these bytes: what changes them has every state start again.
func (m *Machine) write(w *wire.Writer) {
	w.Text(m.Name)
	m.For.Write(w)
	w.Byte(byte(m.Key))
	w.Uint(uint64(m.Forget / time.Millisecond))
	w.Byte(byte(m.OnError))
	w.Byte(byte(m.Start))
	w.Uint(uint64(len(m.States)))
	for i := range m.States {
		s := &m.States[i]
		w.Text(s.Name)
		w.Uint(uint64(len(s.Rules)))
		for j := range s.Rules {
			rule := &s.Rules[j]
			w.Text(rule.Name)
			rule.Match.Write(w)
			writeWhen(w, rule.When)
			rule.Action.write(w)
		}
		s.Action.write(w)
	}
	w.Uint(uint64(len(m.Transitions)))
	for i := range m.Transitions {
		m.Transitions[i].write(w)
	}
}

func readMachine(r *wire.Reader) (m Machine) {
	m.Name = r.Text()
	m.For = header.ReadCondition(r)
	m.Key = Key(r.Byte())
	m.Forget = readTime(r)
	m.OnError = OnError(r.Byte())
	m.Start = int(r.Byte())
	for n := r.Count(3); n > 0 && r.Err() == nil; n-- {
		s := State{Name: r.Text()}
		for n := r.Count(4); n > 0 && r.Err() == nil; n-- {
			s.Rules = append(s.Rules, Rule{Name: r.Text(), Match: header.ReadCondition(r), When: readWhen(r), Action: readAction(r)})
		}
		s.Action = readAction(r)
		m.States = append(m.States, s)
	}
	for n := r.Count(4); n > 0 && r.Err() == nil; n-- {
		m.Transitions = append(m.Transitions, readTransition(r))
	}
	return m
}

// readTime reads milliseconds. Validate bounds them.
func readTime(r *wire.Reader) time.Duration {
	return time.Duration(r.Uint(math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}

func (a *Action) write(w *wire.Writer) {
	if a.Next {
		w.Byte(1)
		return
	}
	w.Byte(0)
	a.Action.Write(w)
}

func readAction(r *wire.Reader) (a Action) {
	if r.Byte() != 0 {
		a.Next = true
		return a
	}
	a.Action = header.ReadAction(r)
	return a
}

func writeWhen(w *wire.Writer, list []When) {
	w.Uint(uint64(len(list)))
	for i := range list {
		w.Text(list[i].Machine)
		w.Text(list[i].Key)
		w.Uint(uint64(list[i].In))
	}
}

func readWhen(r *wire.Reader) (list []When) {
	for n := r.Count(3); n > 0 && r.Err() == nil; n-- {
		list = append(list, When{r.Text(), r.Text(), Set(r.Uint(math.MaxUint64))})
	}
	return list
}

// write writes a transition: what triggers it says what follows.
func (t *Transition) write(w *wire.Writer) {
	w.Uint(uint64(t.From))
	w.Byte(byte(t.To))
	w.Byte(byte(t.On))
	writeWhen(w, t.When)
	switch t.On {
	case OnPacket:
		t.Packet.write(w)
	case OnTime:
		w.Uint(uint64(t.After / time.Millisecond))
	case OnPort:
		w.Byte(byte(t.Ports))
	case OnRemoved:
		w.Byte(byte(t.Removed))
	}
}

func readTransition(r *wire.Reader) (t Transition) {
	t.From = Set(r.Uint(math.MaxUint64))
	t.To = int(r.Byte())
	t.On = Trigger(r.Byte())
	t.When = readWhen(r)
	switch t.On {
	case OnPacket:
		t.Packet = readPacket(r)
	case OnTime:
		t.After = readTime(r)
	case OnPort:
		t.Ports = PortEvents(r.Byte())
	case OnRemoved:
		t.Removed = RemovedReasons(r.Byte())
	}
	return t
}

func (p *Packet) write(w *wire.Writer) {
	p.Match.Write(w)
	w.Byte(byte(p.Flags.Set))
	w.Byte(byte(p.Flags.Clear))
	if p.Quotes != nil {
		w.Byte(1)
		p.Quotes.Write(w)
	} else {
		w.Byte(0)
	}
	if w.Uint(uint64(p.Count)); p.Count != 0 {
		w.Uint(uint64(p.Distinct))
		w.Uint(uint64(p.Within / time.Millisecond))
	}
}

func readPacket(r *wire.Reader) *Packet {
	p := &Packet{Match: header.ReadCondition(r), Flags: Flags{Set: flow.TCPFlags(r.Byte()), Clear: flow.TCPFlags(r.Byte())}}
	if r.Byte() != 0 {
		quotes := header.ReadCondition(r)
		p.Quotes = &quotes
	}
	if p.Count = uint32(r.Uint(math.MaxUint32)); p.Count != 0 {
		p.Distinct = flow.Field(r.Uint(math.MaxUint32))
		p.Within = readTime(r)
	}
	return p
}
