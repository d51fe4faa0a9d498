package bridge

import (
	"context"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// Switch is one switch's connection as a [Session] uses it. Its methods are
// called by several goroutines at a time.
type Switch interface {
	guard.Switch // Fit, FitActions, Before

	// Describe returns the switch's description, which is replaced when a port
	// changes and never modified.
	Describe() *flow.Switch

	// Write queues the changes and then the packet, which may be nil. No other
	// message comes between them. Every message carries xid. With confirm, the
	// protocol calls the session's Written with rule -1 when the switch has
	// dealt with all changes. After an error nothing is queued.
	//
	// The caller may use what a change points to again when Write returns; a
	// protocol that needs it longer copies it.
	Write(xid uint32, changes []Change, p *Packet, confirm bool) error

	// Flush sends what is queued. Its error ends the connection.
	Flush() error

	// List calls each for every rule in the switch that f selects. each must not
	// keep what it gets. List returns when it has called each for all of them, or
	// when ctx is done.
	List(ctx context.Context, f Filter, each func(*Installed) error) error

	// Standing are the rules that must always be in the switch: those that bring
	// packets to the gateway at all.
	Standing() []flow.Rule

	// DeletesByCookie reports whether one change can delete all rules whose
	// cookie matches a masked one (OpenFlow 1.3 can).
	DeletesByCookie() bool
}

// Change is one thing to do to the switch's tables. One of the members is set.
type Change struct {
	Rule   *flow.Rule  // Add; or Delete by a masked cookie, where the switch can
	Entry  *flow.Entry // P4 only: an entry that names its table itself
	Cookie uint64      // of Entry
	Remove *Installed  // a rule that is to go; one that is gone already, or replaced by another's, is none
}

// Packet is the packet that a decision is about, and what the switch does with it.
type Packet struct {
	In      *flow.PacketIn
	Actions []flow.Action // empty: drop it
	Rule    int           // index of the change whose rule says so and whose actions are all of it; -1: none
}

// Filter selects rules in a switch.
type Filter struct {
	Cookie, Mask uint64 // the rule's cookie has this value under Mask; a zero Mask selects all

	// Match, if not nil, selects the rules that match its fields with the same
	// values. They may match other fields, too. A protocol may leave out rules that
	// don't match in_port.
	Match *flow.Match
}

// Selects reports whether f selects a rule with a cookie.
func (f Filter) Selects(cookie uint64) bool { return cookie&f.Mask == f.Cookie&f.Mask }

// Installed is a rule in a switch.
type Installed struct {
	Rule     flow.Rule // its cookie included
	Duration time.Duration
	Packets  uint64
	Bytes    uint64

	// Handle is the protocol's own name for the rule, for Change.Remove. It is nil
	// if the protocol can find the rule by Rule alone.
	Handle any

	// Forwards says that the rule may send packets on. Hidden says that the rule
	// has conditions or actions that Rule can't express; such a rule is not the
	// gateway's. Text is then the rule in words.
	Forwards bool
	Hidden   bool
	Text     string
}

// Refusal is why a switch did not install a rule, or could not do what a
// message asked.
type Refusal struct {
	flow.SwitchError
	Full   bool // the table has no room
	Buffer bool // the packet's buffer is gone: there is nothing left to send
}
