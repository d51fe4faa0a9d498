package bridge

import (
	"slices"
	"sync"

	"switchbridge/flow"
)

// Bounds of how many of a session's latest decisions an error can still be tied
// to. A session starts with one, since most idle switches never need more, and
// gets more as it decides more.
const (
	ledgerMin = 1
	ledgerMax = 256
)

// ledger remembers the rules of the latest decisions, so that a refusal by the
// switch can name the decision and the rule, and what must go with it.
type ledger struct {
	mu      sync.Mutex
	entries []ledgerEntry
	next    int
}

type ledgerEntry struct {
	xid    uint32
	event  flow.EventType
	reason string
	policy flow.PolicyVersion
	rules  []flow.Rule // as handed over
	gone   []bool      // refused or fallen since

	// The packet, where the switch holds it and one of the rules released it.
	buffered int // the rule's index; -1: none
	released bool
	pi       flow.PacketIn
	actions  []flow.Action
}

// note remembers a decision that has rules. It must come before the rules are
// written: the switch may refuse one while Write has not returned yet.
func (l *ledger) note(ev *flow.Event, d *flow.Decision, p *Packet) {
	l.mu.Lock()
	if l.next >= len(l.entries) && len(l.entries) < ledgerMax {
		l.entries = append(l.entries, make([]ledgerEntry, max(ledgerMin, len(l.entries)))...)
	}
	if l.next >= len(l.entries) {
		l.next = 0
	}
	e := &l.entries[l.next]
	l.next++
	e.fill(ev, d, p)
	l.mu.Unlock()
}

// fill overwrites e, and keeps its slices' memory.
func (e *ledgerEntry) fill(ev *flow.Event, d *flow.Decision, p *Packet) {
	e.xid, e.event, e.reason, e.policy = ev.XID, ev.Type, d.Reason, d.Policy
	e.rules = copyRules(e.rules, d.Rules)
	e.gone = e.gone[:0]
	e.buffered, e.released = -1, false
	if p != nil && p.Rule >= 0 && p.In.BufferID != flow.NoBuffer {
		e.buffered, e.released = p.Rule, true
		e.pi = *p.In
		e.pi.Data = nil // the switch has it
		e.actions = append(e.actions[:0], p.Actions...)
	}
}

// copyRules copies rules with memory of their own into what dst has.
func copyRules(dst, rules []flow.Rule) []flow.Rule {
	dst = slices.Grow(dst[:0], len(rules))[:len(rules)]
	for i := range rules {
		actions := append(dst[i].Actions[:0], rules[i].Actions...)
		dst[i] = rules[i]
		dst[i].Actions = actions
	}
	return dst
}

// find returns the decision with the given number. The caller holds mu.
func (l *ledger) find(xid uint32) *ledgerEntry {
	for i := range l.entries {
		if e := &l.entries[i]; e.xid == xid && xid != 0 {
			return e
		}
	}
	return nil
}

// look calls f with the rules of a decision and which of them released the
// packet from its buffer (-1: none).
func (l *ledger) look(xid uint32, f func(rules []flow.Rule, releasing int, buffer uint32)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(xid)
	if e == nil {
		return false
	}
	f(e.rules, e.buffered, e.pi.BufferID)
	return true
}

// take returns a copy of the decision with the given number.
func (l *ledger) take(xid uint32) (*ledgerEntry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(xid)
	if e == nil {
		return nil, false
	}
	c := *e
	c.rules = copyRules(nil, e.rules)
	c.actions = slices.Clone(e.actions)
	c.gone = append(make([]bool, 0, len(e.rules)), e.gone...)
	c.gone = c.gone[:len(e.rules)] // the rest are false
	return &c, true
}

// keep notes which rules of a decision are gone; its packet is dealt with.
func (l *ledger) keep(c *ledgerEntry, gone []bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.find(c.xid); e != nil {
		e.gone = append(e.gone[:0], gone...)
		e.released = e.released && !(c.buffered >= 0 && gone[c.buffered])
	}
}
