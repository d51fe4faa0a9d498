package flow

import (
	"fmt"
	"strings"
	"time"
)

// EventType says which member of an [Event] is set.
type EventType uint8

const (
	EventPacketIn        EventType = iota + 1
	EventSwitchConnected           // a switch is ready; proactive rules may come back
	EventFlowRemoved
	EventPortStatus
	EventError
	EventPolicyCheck // which policy version does the function have?
	EventHandshake   // with handshake: full, the controller's part of OpenFlow's handshake
)

var eventTypes = map[EventType]string{
	EventPacketIn:        "switchbridge.packet_in.v1",
	EventSwitchConnected: "switchbridge.switch_connected.v1",
	EventFlowRemoved:     "switchbridge.flow_removed.v1",
	EventPortStatus:      "switchbridge.port_status.v1",
	EventError:           "switchbridge.error.v1",
	EventPolicyCheck:     "switchbridge.policy_check.v1",
	EventHandshake:       "switchbridge.handshake.v1",
}

// Name returns the type as configurations name it, such as "port_status".
func (t EventType) Name() string {
	return strings.TrimSuffix(strings.TrimPrefix(t.String(), "switchbridge."), ".v1")
}

// String returns the CloudEvents type, such as "switchbridge.packet_in.v1".
func (t EventType) String() string {
	if s, ok := eventTypes[t]; ok {
		return s
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// ParseEventType is the inverse of [EventType.String].
func ParseEventType(s string) (EventType, error) {
	for t, name := range eventTypes {
		if name == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("event type %q is not one of version 1", s)
}

// Event is one thing a switch reported, on its way to a [Decider]. A Decider
// may read it until Decide returns and keeps nothing of it.
type Event struct {
	Type    EventType
	ID      string    // unique; a repeat of the same event has the same. Empty where nothing crosses a network
	Session string    // the switch's session (ce-subject)
	Time    time.Time // when the gateway had read the event

	// XID is the gateway's own, never zero, on everything that belongs to this
	// event and its answer.
	XID    uint32
	Switch *Switch

	PacketIn    *PacketIn    // EventPacketIn
	FlowRemoved *FlowRemoved // EventFlowRemoved
	PortStatus  *PortStatus  // EventPortStatus
	Error       *SwitchError // EventError
	Handshake   []byte       // EventHandshake: one OpenFlow message as the switch sent it (HELLO or FEATURES_REPLY)

	// State is what an earlier decision asked to be brought back without a name, opaque here.
	State []byte

	// Travel are the named states that earlier decisions asked to be brought back, at most one of a name and kind of key.
	Travel []Travelling

	// States are what the policy's machines know, in the order of the keys that the controller asked for. They are read and written by
	// the host of the controller and never cross the network between gateway and function.
	States []State

	// Rehearsal says that the event is asked about to learn the answer, and that nothing comes of it: whoever hosts the controller
	// writes no state.
	Rehearsal bool

	// Looked is a [Recaller]'s note that it has looked for an answer in vain, for its Decide. It crosses no network.
	Looked uint64

	// Accepts is what the gateway takes in an answer. Whoever asks over a wire sets
	// it; in process everything is taken.
	Accepts Accepts
}

// Headers returns the headers in the event, from which states take their keys: those of its packet, its port or its removed rule. It returns nil for
// other types of events.
func (ev *Event) Headers() *Match {
	switch {
	case ev.Type == EventPacketIn && ev.PacketIn != nil:
		return &ev.PacketIn.Match
	case ev.Type == EventFlowRemoved && ev.FlowRemoved != nil:
		return &ev.FlowRemoved.Match
	case ev.Type == EventPortStatus && ev.PortStatus != nil:
		m := new(Match)
		m.SetInPort(ev.PortStatus.Port.No)
		return m
	case ev.Type == EventSwitchConnected:
		return new(Match)
	}
	return nil
}

// Accepts are the members of an answer that were added to the contract after its
// first version. A function sends such a member only to a gateway that lists it.
type Accepts uint32

// Their names on the wire are in flow/contract.
const (
	AcceptsCoversIncomplete Accepts = 1 << iota // [Rule.CoversIncomplete]
	AcceptsReply                                // [Decision.IfReply]
	AcceptsRevoke                               // [Decision.Read] and [Decision.Revoke]
	AcceptsReuse                                // [Decision.Reuse]
	AcceptsTravel                               // [Decision.Travel]
	AcceptsReject                               // [Decision.Reject]
	AcceptsLog                                  // [Decision.Log]

	acceptsEnd
)

// AcceptsAll is every member that this program knows.
const AcceptsAll = acceptsEnd - 1

// Reason says why a switch sent a packet (OpenFlow 1.3.5, 7.4.1; the same in
// 1.0 up to ReasonAction).
type Reason uint8

const (
	ReasonNoMatch Reason = iota
	ReasonAction
	ReasonInvalidTTL
)

func (r Reason) String() string {
	switch r {
	case ReasonNoMatch:
		return "no_match"
	case ReasonAction:
		return "action"
	case ReasonInvalidTTL:
		return "invalid_ttl"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// PacketIn is a packet that a switch asks about (OpenFlow 1.3.5, 7.4.1), or a
// P4 digest, which has no Data.
type PacketIn struct {
	BufferID uint32 // NoBuffer where the switch kept nothing
	TotalLen int    // bytes of the packet on the wire; larger than len(Data) where the switch cut it
	Reason   Reason
	TableID  uint8
	Cookie   uint64 // of the rule that sent it (1.3)

	// Match is in_port and every header that ParseFrame found in Data, or the
	// digest's fields.
	Match Match
	Data  []byte

	// Withheld says that there is Data, or a time of the event, and that the encoding of the event left it behind. A decision that hangs on more of the packet than Match
	// must then be asked for in another encoding.
	Withheld bool

	// Incomplete has the fields that the packet's protocols have and that Match
	// lacks, since the switch can't tell them apart (a fragment) or the frame was
	// cut short ([Match.Missing]). Nothing with actions may be installed on the
	// strength of such a packet unless the rule says [Rule.CoversIncomplete].
	Incomplete Field

	// TCPFlags are those of the packet where they are told beside the headers, since there is no Data; see [PacketIn.ReadTCPFlags].
	TCPFlags    TCPFlags
	HasTCPFlags bool
}

// RemovedReason says why a rule went (OpenFlow 1.3.5, 7.4.2).
type RemovedReason uint8

const (
	RemovedIdle RemovedReason = iota
	RemovedHard
	RemovedDelete
	RemovedGroup
)

func (r RemovedReason) String() string {
	names := [...]string{"idle_timeout", "hard_timeout", "delete", "group_delete"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// FlowRemoved reports that a rule went (OpenFlow 1.3.5, 7.4.2).
type FlowRemoved struct {
	Reason   RemovedReason
	Table    uint8
	Priority uint16
	Cookie   uint64
	Match    Match
	Duration time.Duration
	Idle     time.Duration
	Hard     time.Duration
	Packets  uint64
	Bytes    uint64
}

// PortReason says what happened to a port (OpenFlow 1.3.5, 7.4.3).
type PortReason uint8

const (
	PortAdded PortReason = iota
	PortDeleted
	PortModified
)

func (r PortReason) String() string {
	names := [...]string{"add", "delete", "modify"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// PortStatus reports a change of a port (OpenFlow 1.3.5, 7.4.3).
type PortStatus struct {
	Reason PortReason
	Port   Port
}

// SwitchError is an error that a switch sent (OpenFlow 1.3.5, 7.4.4), tied to
// the decision whose message caused it.
type SwitchError struct {
	Type uint16
	Code uint16
	Name string // such as "BAD_MATCH: BAD_PREREQ", in the terms of the switch's version
	XID  uint32 // the decision's
	Rule string // the rule that it refused, if one
	Data []byte // the start of the offending message
}
