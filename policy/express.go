package policy

import (
	"slices"

	"switchbridge/flow"
)

// Effect is what a rule in the given table does to the packets that t treats, where allow is the mode
// of the chain's forward link. It reports false for what the protocol can't do.
func (t *Treatment) Effect(allow ForwardMode, p flow.Protocol, table uint8) (e flow.Effect, ok bool) {
	if t.Meter != 0 && p != flow.OpenFlow13 {
		return e, false
	}
	e.Meter = t.Meter
	mode := t.Mode
	if mode == 0 {
		mode = allow
	}
	if mode == Learn && p == flow.OpenFlow13 && t.Actions == nil {
		// The queue holds for what the next table does, too.
		e.Actions, e.Goto = t.Before, table+1
		return e, true
	}
	e.Actions = t.Actions
	if e.Actions == nil {
		e.Actions = ActionsOf(mode.In(p))
	}
	if t.Before == nil {
		return e, true
	}
	if p == flow.OpenFlow10 && !Queueable(e.Actions) {
		return e, false
	}
	e.Actions = slices.Concat(t.Before, e.Actions)
	return e, true
}

// In returns what m means in a protocol. Learn needs OpenFlow 1.3's second table;
// in other protocols it is Normal, and the switch learns.
func (m ForwardMode) In(p flow.Protocol) ForwardMode {
	if m == Learn && p != flow.OpenFlow13 {
		return Normal
	}
	return m
}

// Queueable reports whether OpenFlow 1.0's ENQUEUE, which is an output too, can
// take the place of each output (1.0, 5.2.4: a physical port or IN_PORT).
func Queueable(actions []flow.Action) bool {
	for _, a := range actions {
		if a.Port.Reserved() && a.Port != flow.PortIn {
			return false
		}
	}
	return true
}
