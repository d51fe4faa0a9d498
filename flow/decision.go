package flow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Decider answers events: the controller itself, in process or behind HTTPS,
// and every decorator around it.
//
// Decide fills d, which the caller has reset and owns; it may append to d's
// slices and must not keep them. It returns nil when d holds a decision, and
// otherwise an error that is, or wraps, one of the [ErrorKind] values; an error
// of no kind counts as [Unavailable]. Decide is called by several goroutines at
// a time and returns soon after ctx is done.
type Decider interface {
	Decide(ctx context.Context, ev *Event, d *Decision) error
}

// Defaults of the bounds for questions to a Decider that is not [Local].
const (
	DefaultTimeout     = 5 * time.Second // of an event, repeats included
	DefaultConcurrency = 256             // events at a time
)

// Local is a Decider that answers within microseconds and never waits for a
// network: a session calls it on its own goroutine, since a hop would cost more
// than the decision.
type Local interface {
	Decider
	Local() bool
}

// IsLocal reports whether d is a [Local] that says so.
func IsLocal(d Decider) bool {
	l, ok := d.(Local)
	return ok && l.Local()
}

// Recaller is a Decider that has the answers to some packets at hand.
type Recaller interface {
	Decider
	// Recall answers ev as Decide does, if nobody need be asked, and reports whether it has. It never waits; where it is false, d is as it was.
	Recall(ev *Event, d *Decision) bool
}

// Recall reports whether d is a [Recaller] that has answered ev.
func Recall(d Decider, ev *Event, dec *Decision) bool {
	r, ok := d.(Recaller)
	return ok && r.Recall(ev, dec)
}

// DeciderFunc makes a function a Decider.
type DeciderFunc func(ctx context.Context, ev *Event, d *Decision) error

func (f DeciderFunc) Decide(ctx context.Context, ev *Event, d *Decision) error { return f(ctx, ev, d) }

// Verdict sums a decision up for records and metrics; what is done follows from
// Rules and PacketOut alone.
type Verdict uint8

const (
	NoVerdict Verdict = iota
	Allow
	Deny
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "none"
}

// ParseVerdict is the inverse of [Verdict.String]; the empty string is NoVerdict.
func ParseVerdict(s string) (Verdict, error) {
	switch s {
	case "allow":
		return Allow, nil
	case "deny":
		return Deny, nil
	case "none", "":
		return NoVerdict, nil
	}
	return 0, fmt.Errorf("verdict %q: want allow, deny or none", s)
}

// Limits of the contract, version 1.
const (
	MaxBody  = 1 << 20 // bytes of a request's or an answer's body
	MaxState = 4 << 10 // bytes of travelling state, for each value of a key: a flow, say, or a source

	MaxTravelling  = 8  // states that one value of a key may have, and that one answer may bring
	MaxTravelName  = 40 // bytes of a state's name: letters, digits, - . _
	MaxTravelEvent = int(StateKeys) * MaxTravelling
)

// PolicyVersion identifies a policy: a serial that only grows, and a hash of
// its content. The zero value means that none was given.
type PolicyVersion struct {
	Serial uint64
	Hash   uint32
}

// IsZero reports whether no version was given.
func (v PolicyVersion) IsZero() bool { return v == PolicyVersion{} }

// String returns "<serial>-<hash, 8 hex digits>", the Switchbridge-Policy header's form.
func (v PolicyVersion) String() string { return fmt.Sprintf("%d-%08x", v.Serial, v.Hash) }

// Tag is the 16 bits of the version that cookies carry (bits 47 to 32). It is
// never 0 nor 0xffff, which stand for rules that are of no version.
func (v PolicyVersion) Tag() uint16 {
	x := v.Serial*0x9e3779b97f4a7c15 ^ uint64(v.Hash)*0xff51afd7ed558ccd
	return min(max(1, uint16(x>>48)^uint16(x>>24)), 0xfffe)
}

// ParsePolicyVersion is the inverse of [PolicyVersion.String]; the empty string
// is the zero version.
func ParsePolicyVersion(s string) (PolicyVersion, error) {
	if s == "" {
		return PolicyVersion{}, nil
	}
	serial, hash, ok := strings.Cut(s, "-")
	v, err := strconv.ParseUint(serial, 10, 64)
	h, err2 := strconv.ParseUint(hash, 16, 32)
	if !ok || err != nil || err2 != nil || len(hash) != 8 {
		return PolicyVersion{}, fmt.Errorf("policy version %q: want <serial>-<8 hexadecimal digits>", s)
	}
	return PolicyVersion{Serial: v, Hash: uint32(h)}, nil
}

// Decision is the answer to an event.
//
// For a packet: HasPacketOut says that PacketOut (empty: drop) is done with it.
// Without it the packet takes the actions of the highest-priority rule that
// covers it, and where none does it is dropped. A goto counts as no actions.
type Decision struct {
	Rules        []Rule
	HasPacketOut bool
	PacketOut    []Action

	Verdict Verdict
	Reason  string // policy and entry that decided, such as "header: allow-ssh"
	Policy  PolicyVersion

	// IfReply, beside a deny, is what becomes of the packet instead if it is a
	// reply; nil: nothing.
	IfReply *Reply

	// Reject says that the sender of the packet, which is dropped, is told so: by a TCP reset or an ICMP error, which the gateway makes
	// ([PacketIn.Rejection]) and sends to the port that the packet came by.
	Reject bool

	// Log says that the entry that decided wants the decision in the gateway's log, whatever else is logged, within the log's rate.
	Log bool

	// Reuse says for which other packets the answer holds.
	Reuse Reuse

	// Reused is the number ([Event.XID]) of the decision whose answer the gateway has used again; 0: the function was asked.
	Reused uint32

	// Calls is how many requests the gateway sent to functions for the answer,
	// repeats and hedges too. 0: it was decided in the gateway's process, or by an
	// earlier answer.
	Calls int

	// Failure is set where the controller gave no answer and the gateway's fail
	// mode answered in its place: what the controller failed with.
	Failure error

	State    []byte // a state without a name, at most MaxState bytes; nil: nothing to bring back
	StateKey StateKey

	// Travel are states that are to come back with later events of their keys, in the place of what came by the same name and kind of key. Those
	// that are not named here stay as they are.
	Travel []Travelling

	// Change is what becomes of one of [Event.States]; nil where none of them changes. The host of the controller carries it out.
	Change *StateChange

	// Stateful says that decisions of this function may write a store: an event that may have reached it must not be sent again.
	Stateful bool

	// Read are the versions of the states that the decision rests on, after Change. The host of the controller says so. What decisions
	// on lower versions of these states left in switches is removed before anything of this one is carried out, and a decision on a
	// lower version than was seen already is asked for again.
	Read []StateVersion

	// Revoke are the states whose rules go before anything of the decision is carried out, whatever versions they rest on.
	Revoke []uint64

	Handshake []byte // EventHandshake: the messages to pass on to the switch

	Entries []Entry // P4 only: table entries beside Rules

	// Parts says which function Rules came from, where there are several. They
	// are in the order of Rules; without any, all rules are of one function.
	Parts []Part
}

// Word is the verdict as policies write it: reject for a deny of which the sender is told.
func (d *Decision) Word() string {
	if d.Verdict == Deny && d.Reject {
		return "reject"
	}
	return d.Verdict.String()
}

// Part is a run of a decision's rules that one function answered with.
type Part struct {
	Function string // its name, for people
	End      int    // index after its last rule; the first part begins at 0, each other where the one before ends

	// Within returns why a rule is beyond what the function is asked about; nil
	// where the function may decide about everything.
	Within func(*Rule) error
}

// Reset empties d for another event and keeps its slices' memory.
func (d *Decision) Reset() {
	*d = Decision{Rules: d.Rules[:0], PacketOut: d.PacketOut[:0], State: d.State[:0], Travel: d.Travel[:0], Handshake: d.Handshake[:0], Parts: d.Parts[:0], Read: d.Read[:0], Revoke: d.Revoke[:0]}
}

// PacketActions returns what happens to the packet with headers p, and the index of
// the rule in d.Rules that says so: the one of the highest priority that covers the
// packet. The index is -1 if PacketOut says it, or nothing does. If rules are in
// several tables, a deny in the first one decides. If several rules have the same
// priority, a deny among them decides: OpenFlow doesn't define which one a switch
// takes.
func (d *Decision) PacketActions(p *Match) (actions []Action, rule int) {
	if d.HasPacketOut {
		return d.PacketOut, -1
	}
	rule, first := -1, -1
	for i := range d.Rules {
		r := &d.Rules[i]
		if r.Command != Add || !r.Match.Covers(p) {
			continue
		}
		if rule < 0 || r.Outranks(&d.Rules[rule]) {
			rule = i
		}
		if first < 0 || r.Table < d.Rules[first].Table || r.Table == d.Rules[first].Table && r.Outranks(&d.Rules[first]) {
			first = i
		}
	}
	if rule < 0 {
		return nil, -1
	}
	if !d.Rules[first].Passes() {
		rule = first
	}
	return d.Rules[rule].Actions, rule
}

// ErrorKind says what an undecided event means for its packet.
type ErrorKind uint8

const (
	// Unavailable: no answer (429, 5xx, timeout, no connection). Fail mode applies.
	Unavailable ErrorKind = iota
	// Refused: the function answered 4xx. The packet is dropped and the event never repeated.
	Refused
	// Invalid: the answer can't be understood or breaks the contract. The packet is dropped.
	Invalid
	// Overload: the gateway itself had no place for the event. The packet is dropped.
	Overload
)

func (k ErrorKind) String() string {
	return [...]string{"unavailable", "refused", "invalid", "overload"}[k&3]
}

// Error says why there is no decision.
type Error struct {
	Kind ErrorKind
	Err  error
}

func (e *Error) Error() string { return e.Kind.String() + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] of the given kind.
func Errorf(kind ErrorKind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of err; one without a kind is [Unavailable].
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unavailable
}
