// Package header is the policy that decides by packets' headers, as an access
// list does. README.md describes it for users.
//
// Rules compile into a tuple space (Srinivasan, Suri and Varghese, SIGCOMM '99,
// the classifier that Open vSwitch uses too): rules that look at the same bits
// share a hash table, so that a decision costs a look-up for each such set of
// bits, not for each rule.
package header

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Name is the policy's name in files and reasons.
const Name = "header"

// Config is the policy's source form. Of the rules that match a packet, the one
// with the highest priority decides; among equals, the one that comes first.
type Config struct {
	Rules []Rule

	// Zone is what local time is, for the rules' hours; empty: UTC.
	Zone []Shift

	// MaxProactive is how many rules of a switch the proactive ones may become,
	// together; 0 is DefaultMaxProactive.
	MaxProactive int
}

// Rule is one line of the access list.
type Rule struct {
	Name      string // empty: its place in the list stands for it
	Comment   string
	Priority  uint16
	Match     Condition
	Or        []Condition // the packets that meet one of these are the rule's, too
	Flags     Flags       // of TCP
	Hours     []Span      // of the week, in Config.Zone; empty: always
	Action    Action
	Proactive bool // sent to every switch as it connects
}

// Action is what becomes of a packet that a rule matches.
type Action struct {
	Deny     bool          // and nothing else
	Reject   bool          // a denied packet's sender is told so
	Output   []flow.PortNo // empty: what the chain's forward says
	SetQueue bool
	Queue    uint32
	Meter    uint32 // 0: none
	Replies  bool   // what answers an allowed packet is allowed, too
	Strict   bool   // and of TCP only a SYN opens a conversation
	NoReply  bool   // a denied packet is denied even if it is an answer
	Log      bool   // decisions are in the gateway's log
}

// Name implements [policy.Source].
func (*Config) Name() string { return Name }

// maxEntries bounds what one policy may hold, counted after ranges are split.
const maxEntries = 1 << 20

// LooksAt returns the fields that some rule names.
func (c *Config) LooksAt() (fields flow.Field) {
	for i := range c.Rules {
		for j := range c.Rules[i].conditions() {
			fields |= c.Rules[i].condition(j).fields()
		}
	}
	return fields
}

// Replies reports whether some rule lets replies in.
func (c *Config) Replies() bool {
	return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Action.Replies })
}

// InPorts returns the ports that rules name.
func (c *Config) InPorts() (ports []flow.PortNo) {
	for i := range c.Rules {
		for j := range c.Rules[i].conditions() {
			if m := &c.Rules[i].condition(j).Header; m.Has(flow.FieldInPort) {
				ports = append(ports, m.InPort)
			}
		}
	}
	return ports
}

// Validate implements [policy.Source]. Its errors are of type [policy.ItemError].
func (c *Config) Validate(earlier []policy.Source) error {
	entries := 0
	for i := range c.Rules {
		r := &c.Rules[i]
		err := r.validate()
		if err == nil {
			err = r.validateGuard(c.Zone)
		}
		for j := range r.conditions() {
			entries += r.condition(j).entries()
		}
		if err == nil && entries > maxEntries {
			err = fmt.Errorf("with this rule the list has more than %d entries, counted after port ranges are split", maxEntries)
		}
		if err != nil {
			return &policy.ItemError{Index: i, Item: c.Label(i), Err: err}
		}
	}
	if n := c.segments(); n > maxSegments {
		return fmt.Errorf("its rules' hours and tcp_flags change %d times from one rule to the next, in the order of their priorities: want at most %d, so keep those of the same hours together", n, maxSegments)
	}
	return c.checkProactive(earlier)
}

// maxSegments bounds the look-ups of one decision.
const maxSegments = 64

// segments returns how many runs of rules there are that ask for the same flags and hours.
func (c *Config) segments() int {
	n, order := 1, c.Order()
	for i := 1; i < len(order); i++ {
		if !c.Rules[order[i]].sameGuard(&c.Rules[order[i-1]]) {
			n++
		}
	}
	return n
}

func (r *Rule) validate() error {
	if r.Priority < policy.MinPriority || r.Priority > policy.MaxPriority {
		return fmt.Errorf("priority %d: want %d to %d", r.Priority, policy.MinPriority, policy.MaxPriority)
	}
	for i := range r.conditions() {
		if err := r.condition(i).Validate(); err != nil {
			return err
		}
	}
	if r.Action.Replies && r.Proactive {
		return fmt.Errorf("replies: a proactive rule can't have it: a reply is let in by a rule that its own conversation caused")
	}
	if r.Action.Log && r.Proactive {
		return fmt.Errorf("log: the switch decides the packets of a proactive rule, so the gateway can't log them")
	}
	if r.Action.Reject && r.Proactive {
		return fmt.Errorf("reject: the switch itself drops the packets of a proactive rule, and tells no sender; write deny")
	}
	return r.Action.validate()
}

func (a *Action) validate() error {
	if a.Deny && (len(a.Output) > 0 || a.SetQueue || a.Meter != 0) {
		return fmt.Errorf("action: a denied packet takes no output, queue or meter")
	}
	if a.Reject && !a.Deny {
		return fmt.Errorf("action: only what is denied can be rejected")
	}
	if a.Deny && a.Replies || !a.Deny && a.NoReply {
		return fmt.Errorf("replies: use allow where the action allows: replies to these packets pass; use deny where the action denies: these packets are denied even if they are replies")
	}
	if a.Strict && !a.Replies {
		return fmt.Errorf("tcp: strict needs replies: allow beside it")
	}
	for _, p := range a.Output {
		switch {
		case p == flow.PortController || p == flow.PortTable || p == flow.PortAny || p == 0:
			return fmt.Errorf("action: output to %v is not allowed", p)
		case p.Reserved() && p < flow.PortIn:
			return fmt.Errorf("action: output to %d: no such reserved port", uint32(p))
		}
	}
	return nil
}

// Label returns the name of rule i, counted from 0, in errors and reasons.
func (c *Config) Label(i int) string {
	var b strings.Builder
	c.writeLabel(&b, i)
	return b.String()
}

func (c *Config) writeLabel(b *strings.Builder, i int) {
	if n := c.Rules[i].Name; n != "" {
		b.WriteString(n)
		return
	}
	b.WriteString("rule ")
	b.WriteString(strconv.Itoa(i + 1))
}

// conditions is how many the rule has, of which a packet meets one.
func (r *Rule) conditions() int { return 1 + len(r.Or) }

// condition is one of them.
func (r *Rule) condition(i int) *Condition {
	if i == 0 {
		return &r.Match
	}
	return &r.Or[i-1]
}

// Conditions returns what each rule matches, in the list's order: packets that meet one of its conditions. They have their prerequisites, which
// Validate has seen to be possible.
func (c *Config) Conditions() [][]Condition {
	list := make([][]Condition, len(c.Rules))
	for i := range c.Rules {
		r := &c.Rules[i]
		for j := range r.conditions() {
			list[i] = append(list[i], *r.condition(j).Completed())
		}
	}
	return list
}

// Order returns the places of the rules in the order in which they are asked:
// by priority, and in the list's order among equals.
func (c *Config) Order() []int {
	order := make([]int, len(c.Rules))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(c.Rules[b].Priority, c.Rules[a].Priority) })
	return order
}
