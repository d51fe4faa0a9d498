// Package machine is the policy that decides by what has been before: finite state machines, each with a state for every flow, host,
// port or whatever its key says. README.md describes it for users.
//
// A decision is a pure function of the event, the states that [Config.Compile]'s link asks for, and the event's time. Nothing is kept
// here: whoever hosts the controller reads the states and stores the one that changes.
package machine

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
)

// Name is the policy's name in files and reasons.
const Name = "machine"

// Config is the policy's source form. A packet concerns the first machine whose For it satisfies, and no other.
type Config struct{ Machines []Machine }

// Machine is one finite state machine.
type Machine struct {
	Name        string
	For         header.Condition
	Or          []header.Condition // the machine is for packets that meet one of these, too
	Key         Key
	Forget      time.Duration // after the last change of a state it is forgotten; 0 is never
	OnError     OnError
	Start       int // index of a state
	States      []State
	Transitions []Transition
}

// OnError says what becomes of a packet whose state can't be used.
type OnError uint8

const (
	Deny    OnError = iota
	Restart         // the start state holds
)

var onErrorNames = [...]string{"deny", "start"}

// State is what becomes of packets while a machine is in it: the first rule that matches decides, or else Action.
type State struct {
	Name   string
	Rules  []Rule
	Action Action
}

// Rule is an exception of a state.
type Rule struct {
	Name   string // empty: its place in the list stands for it
	Match  header.Condition
	Or     []header.Condition // the rule is about packets that meet one of these, too
	When   []When
	Action Action
}

// Action is what becomes of a packet.
type Action struct {
	Next          bool // the next link of the chain decides; the rest is zero
	header.Action      // Deny, or what an allowed packet goes through
}

// When asks that another machine be in one of some states.
type When struct {
	Machine string
	Key     string // of its states, as its keys are written; empty: that of the event
	In      Set
}

// Set is a set of states, by their indexes.
type Set uint64

func (s Set) has(state int) bool { return s>>state&1 != 0 }

// Trigger is what makes a transition.
type Trigger uint8

const (
	OnPacket  Trigger = iota
	OnTime            // After
	OnPort            // Ports
	OnRemoved         // Removed
	OnSwitch          // a switch is connected
	triggers
)

// Transition leads from any of some states to another one.
type Transition struct {
	From Set
	To   int
	On   Trigger

	When []When // of every trigger but OnTime

	Packet  *Packet       // OnPacket
	After   time.Duration // in the state, OnTime
	Ports   PortEvents
	Removed RemovedReasons
}

// Packet is what a packet must be to make a transition. All of it must hold.
type Packet struct {
	Match    header.Condition
	Or       []header.Condition // or this
	Flags    Flags
	Quotes   *header.Condition // of the packet that an ICMP error is about; nil: any packet
	Count    uint32            // so many packets, or values of Distinct, Within; 0: one packet is enough
	Distinct flow.Field        // 0: packets are counted
	Within   time.Duration
}

// Flags are those of a TCP header that must be there, and that must not.
type Flags = header.Flags

// PortEvents are bits for what happens to a port.
type PortEvents uint8

const (
	PortDown PortEvents = 1 << iota // it has no link, or is shut
	PortUp
	PortAdded
	PortDeleted
)

var portEvents = []string{"down", "up", "added", "deleted"} // by bit

// RemovedReasons are bits for why a rule went, by [flow.RemovedReason].
type RemovedReasons uint8

var removedReasons = []string{"idle", "hard", "delete"} // by bit

// Limits.
const (
	maxMachines    = 1 << 16
	maxStates      = 64
	maxTransitions = 1 << 10
	maxRules       = 1 << 20 // of all states of all machines
	maxWhen        = 8       // of one transition or rule
	maxReads       = 8       // states of other machines that one reads
	maxTime        = 366 * 24 * time.Hour
)

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// LooksAt returns the fields that some condition names.
func (c *Config) LooksAt() (fields flow.Field) {
	c.conditions(func(cond *header.Condition) { fields |= cond.Fields() })
	return fields
}

// InPorts returns the ports that conditions name.
func (c *Config) InPorts() (ports []flow.PortNo) {
	c.conditions(func(cond *header.Condition) {
		if cond.Header.Has(flow.FieldInPort) {
			ports = append(ports, cond.Header.InPort)
		}
	})
	return ports
}

// conditions calls do with all conditions on packets.
func (c *Config) conditions(do func(*header.Condition)) {
	for i := range c.Machines {
		m := &c.Machines[i]
		each(&m.For, m.Or, do)
		for j := range m.States {
			for k := range m.States[j].Rules {
				r := &m.States[j].Rules[k]
				each(&r.Match, r.Or, do)
			}
		}
		for j := range m.Transitions {
			if p := m.Transitions[j].Packet; p != nil {
				each(&p.Match, p.Or, do)
			}
		}
	}
}

// each calls do with a condition and its alternatives.
func each(first *header.Condition, or []header.Condition, do func(*header.Condition)) {
	do(first)
	for i := range or {
		do(&or[i])
	}
}

// valid says what is wrong with a condition or one of its alternatives.
func valid(first *header.Condition, or []header.Condition) (err error) {
	each(first, or, func(c *header.Condition) {
		if err == nil {
			err = c.Validate()
		}
	})
	return err
}

// fieldsOf returns what a condition and its alternatives look at.
func fieldsOf(first *header.Condition, or []header.Condition) (fields flow.Field) {
	each(first, or, func(c *header.Condition) { fields |= c.Fields() })
	return fields
}

// Remembers implements [policy.Remembering].
func (*Config) Remembers() bool { return true }

// Validate implements [policy.Source]. Its errors are of type [policy.ItemError].
func (c *Config) Validate(earlier []policy.Source) error {
	for _, s := range earlier {
		if _, second := s.(*Config); second {
			return fmt.Errorf("a chain has one machine entry at most: one packet moves one machine. Put all machines into one entry")
		}
	}
	if len(c.Machines) == 0 || len(c.Machines) > maxMachines {
		return fmt.Errorf("%d machines: want 1 to %d", len(c.Machines), maxMachines)
	}
	index, rules := c.index(), 0
	for i := range c.Machines {
		m := &c.Machines[i]
		err := m.validate(index)
		for j := range m.States {
			rules += len(m.States[j].Rules)
		}
		switch {
		case err != nil:
		case index[m.Name] != m:
			err = fmt.Errorf("another machine has the name")
		case rules > maxRules:
			err = fmt.Errorf("with this machine there are more than %d rules", maxRules)
		}
		if err != nil {
			return &policy.ItemError{Index: i, Item: fmt.Sprintf("machine %.40s", m.Name), Err: err}
		}
	}
	return nil
}

// index returns the machines by their names.
func (c *Config) index() map[string]*Machine {
	index := make(map[string]*Machine, len(c.Machines))
	for i := range c.Machines {
		index[c.Machines[i].Name] = &c.Machines[i]
	}
	return index
}

func (m *Machine) validate(index map[string]*Machine) error {
	if _, err := parseName(m.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if err := valid(&m.For, m.Or); err != nil {
		return fmt.Errorf("for: %w", err)
	}
	if m.Key >= flow.StateKeys {
		return fmt.Errorf("key %d", m.Key)
	}
	if m.Forget < 0 || m.Forget > maxTime || m.Forget%time.Millisecond != 0 {
		return fmt.Errorf("forget %v: want at most %v, in whole milliseconds", m.Forget, maxTime)
	}
	if int(m.OnError) >= len(onErrorNames) {
		return fmt.Errorf("on_error %d", m.OnError)
	}
	if len(m.States) == 0 || len(m.States) > maxStates {
		return fmt.Errorf("%d states: want 1 to %d", len(m.States), maxStates)
	}
	if m.Start < 0 || m.Start >= len(m.States) {
		return fmt.Errorf("start: there is no such state")
	}
	names := make(map[string]bool, len(m.States))
	for i := range m.States {
		s := &m.States[i]
		if _, err := header.ParseName(s.Name); err != nil {
			return fmt.Errorf("state %d: %w", i+1, err)
		}
		if names[s.Name] {
			return fmt.Errorf("two states have the name %s", s.Name)
		}
		names[s.Name] = true
		if err := s.Action.validate(); err != nil {
			return fmt.Errorf("state %s: %w", s.Name, err)
		}
		for j := range s.Rules {
			if err := s.Rules[j].validate(index, m); err != nil {
				return fmt.Errorf("state %s: rule %s: %w", s.Name, s.Label(j), err)
			}
		}
	}
	if len(m.Transitions) > maxTransitions {
		return fmt.Errorf("%d transitions: want at most %d", len(m.Transitions), maxTransitions)
	}
	timed, size := Set(0), 0
	for i := range m.Transitions {
		t := &m.Transitions[i]
		err := t.validate(index, m)
		if err == nil && t.On == OnTime {
			if both := timed & t.From; both != 0 {
				err = fmt.Errorf("two transitions with after leave the state %s: want one", m.States[bits.TrailingZeros64(uint64(both))].Name)
			}
			timed |= t.From
		}
		if size += t.windowSize(); err == nil && size > maxWindows {
			err = fmt.Errorf("count: all counts of the machine together take up to %d bytes of a state: want at most %d", size, maxWindows)
		}
		if err != nil {
			return fmt.Errorf("transition %d: %w", i+1, err)
		}
	}
	for on, list := range m.reads() {
		if len(list) > maxReads {
			return fmt.Errorf("on %v it reads %d states of other machines: want at most %d", Trigger(on), len(list), maxReads)
		}
	}
	return nil
}

// Label is how errors and reasons name a rule.
func (s *State) Label(i int) string {
	if n := s.Rules[i].Name; n != "" {
		return n
	}
	return fmt.Sprintf("rule %d", i+1)
}

func (a *Action) validate() error {
	if a.Next && (a.Deny || len(a.Output) > 0 || a.SetQueue || a.Meter != 0 || a.Log) {
		return fmt.Errorf("action: next leaves the decision to the next entry of the chain, so it takes no output, queue, meter or log")
	}
	if a.Replies || a.NoReply {
		return fmt.Errorf("replies: only header and forward can let replies in")
	}
	return a.Action.Validate()
}

func (r *Rule) validate(index map[string]*Machine, m *Machine) error {
	if err := valid(&r.Match, r.Or); err != nil {
		return err
	}
	if err := checkWhen(index, m, r.When, OnPacket); err != nil {
		return err
	}
	return r.Action.validate()
}

func (t *Transition) validate(index map[string]*Machine, m *Machine) error {
	if t.From == 0 || t.From>>len(m.States) != 0 && len(m.States) < maxStates {
		return fmt.Errorf("from: want states of the machine")
	}
	if t.To < 0 || t.To >= len(m.States) {
		return fmt.Errorf("to: there is no such state")
	}
	if t.On >= triggers {
		return fmt.Errorf("trigger %d", t.On)
	}
	if (t.On == OnPacket) != (t.Packet != nil) || (t.On == OnTime) != (t.After != 0) || (t.On == OnPort) != (t.Ports != 0) || (t.On == OnRemoved) != (t.Removed != 0) {
		return fmt.Errorf("want one of after, port, rule_removed and switch, or none of them and a packet")
	}
	if err := checkWhen(index, m, t.When, t.On); err != nil {
		return err
	}
	switch t.On {
	case OnPacket:
		return t.Packet.validate()
	case OnTime:
		if t.After < time.Millisecond || t.After > maxTime || t.After%time.Millisecond != 0 {
			return fmt.Errorf("after %v: want 1ms to %v, in whole milliseconds", t.After, maxTime)
		}
		if len(t.When) > 0 {
			return fmt.Errorf("when: it can't stand beside after: when the time is over, the other machine's state is not known")
		}
		return nil
	case OnPort:
		if t.Ports >= 1<<len(portEvents) {
			return fmt.Errorf("port %d", t.Ports)
		}
	case OnRemoved:
		if t.Removed >= 1<<len(removedReasons) {
			return fmt.Errorf("rule %d", t.Removed)
		}
	}
	if lost := fieldsOf(&m.For, m.Or) &^ t.On.shows(); lost != 0 {
		return fmt.Errorf("%s: the event shows no %v, which for asks about", t.On, lost)
	}
	if !t.On.hasKey(m.Key) {
		return fmt.Errorf("%s: the event has no key %v", t.On, m.Key)
	}
	return nil
}

func (t *Packet) validate() error {
	if err := valid(&t.Match, t.Or); err != nil {
		return err
	}
	var err error
	ports := true // every alternative says whose ports are counted
	each(&t.Match, t.Or, func(c *header.Condition) {
		if err == nil {
			err = t.Flags.Validate(c)
		}
		ports = ports && c.Header.Has(flow.FieldIPProto)
	})
	if err != nil {
		return err
	}
	if t.Quotes != nil {
		if err := t.Quotes.Validate(); err != nil {
			return fmt.Errorf("quotes: %w", err)
		}
		if bad := t.Quotes.Fields() &^ quotedFields; bad != 0 {
			return fmt.Errorf("quotes: an ICMP error does not quote %v", bad)
		}
	}
	if t.Count == 0 {
		if t.Distinct != 0 || t.Within != 0 {
			return fmt.Errorf("distinct and within need a count")
		}
		return nil
	}
	if t.Count < 2 {
		return fmt.Errorf("count %d: want 2 or more", t.Count)
	}
	if t.Within < time.Millisecond || t.Within > maxTime || t.Within%time.Millisecond != 0 {
		return fmt.Errorf("within %v: want 1ms to %v, in whole milliseconds", t.Within, maxTime)
	}
	if t.Distinct&(t.Distinct-1) != 0 || t.Distinct&^distinctFields != 0 {
		return fmt.Errorf("distinct: values of %v can't be counted", t.Distinct)
	}
	if l4 := t.Distinct & (flow.FieldL4Src | flow.FieldL4Dst); l4 != 0 && !ports {
		return fmt.Errorf("distinct: %v needs a match with ip_proto", l4)
	}
	return nil
}

const (
	// quotedFields are those of a quoted packet that a condition may ask about.
	quotedFields = flow.Conversation &^ flow.FieldInPort

	distinctFields = flow.Conversation
)

func checkWhen(index map[string]*Machine, m *Machine, list []When, on Trigger) error {
	if len(list) > maxWhen {
		return fmt.Errorf("when: %d machines: want at most %d", len(list), maxWhen)
	}
	for i := range list {
		w := &list[i]
		other := index[w.Machine]
		if other == nil {
			return fmt.Errorf("when: there is no machine %.40q", w.Machine)
		}
		if other == m {
			return fmt.Errorf("when: machine %s is the one at hand: its own states are in from", m.Name)
		}
		if w.In == 0 || len(other.States) < maxStates && w.In>>len(other.States) != 0 {
			return fmt.Errorf("when: want states of machine %s", other.Name)
		}
		if w.Key == "" {
			if !on.hasKey(other.Key) {
				return fmt.Errorf("when: machine %s: the event has no key %v: say which one", other.Name, other.Key)
			}
		} else if fixed, err := parseValue(other.Key, w.Key); err != nil {
			return fmt.Errorf("when: machine %s: key: %w", other.Name, err)
		} else if fixed != w.Key {
			return fmt.Errorf("when: machine %s: key %q: write it %q", other.Name, w.Key, fixed)
		}
	}
	return nil
}

// read is a state of another machine that a decision asks for.
type read struct{ machine, key string }

// reads are the states of other machines that the machine's decisions ask for, by what triggers them.
func (m *Machine) reads() (list [triggers][]read) {
	add := func(when []When, on Trigger) {
		for i := range when {
			if r := (read{when[i].Machine, when[i].Key}); !slices.Contains(list[on], r) {
				list[on] = append(list[on], r)
			}
		}
	}
	for i := range m.States {
		for j := range m.States[i].Rules {
			add(m.States[i].Rules[j].When, OnPacket)
		}
	}
	for i := range m.Transitions {
		add(m.Transitions[i].When, m.Transitions[i].On)
	}
	return list
}
