package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Command is what a rule does to the table. Guardrails let only [Add] pass
// from a function; the others are the gateway's own.
type Command uint8

// The values are OpenFlow's (1.3.5, 7.3.4.1, enum ofp_flow_mod_command; the
// same in 1.0).
const (
	Add Command = iota
	Modify
	ModifyStrict
	Delete
	DeleteStrict
)

func (c Command) String() string {
	names := [...]string{"ADD", "MODIFY", "MODIFY_STRICT", "DELETE", "DELETE_STRICT"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("command %d", uint8(c))
}

// RuleFlags are OFPFF_* (OpenFlow 1.3.5, 7.3.4.1). 1.0 knows the first two.
type RuleFlags uint16

const (
	SendFlowRemoved RuleFlags = 1 << iota
	CheckOverlap
	ResetCounts
	NoPacketCounts
	NoByteCounts
)

// NoBuffer is the buffer_id of a packet that the switch did not keep (OFP_NO_BUFFER).
const NoBuffer uint32 = 0xffffffff

// NoQueue is what [SetQueue] says so that the outputs that follow are of no
// queue (OFPQ_ALL, which no queue has as its number).
const NoQueue uint32 = 0xffffffff

// Rule is one entry of a flow table. Actions empty and no goto means drop.
type Rule struct {
	Command     Command
	Table       uint8
	Priority    uint16
	IdleTimeout time.Duration // whole seconds on the wire, 0 is never, at most 65535 s
	HardTimeout time.Duration
	Flags       RuleFlags
	Cookie      uint64 // the gateway's; a function's value is overwritten
	CookieMask  uint64 // restricts MODIFY and DELETE (1.3)
	OutPort     PortNo // restricts DELETE; PortAny (or 0) does not
	BufferID    uint32 // as received in a FLOW_MOD; the gateway sets its own
	Match       Match
	Meter       uint32 // OpenFlow 1.3 meter that packets pass first; 0 is none
	Actions     []Action
	Goto        uint8 // OpenFlow 1.3: the table that follows; 0 is none

	// CoversIncomplete says that whoever made the rule knows that it answers a
	// packet of which headers are missing ([PacketIn.Incomplete]), and means it to
	// cover whatever those headers are.
	CoversIncomplete bool
}

// Passes reports whether a packet that the rule matches may go on: to a port, to
// a group or to another table. To the gateway alone it does not.
func (r *Rule) Passes() bool {
	for i := range r.Actions {
		switch a := &r.Actions[i]; a.Type {
		case Output:
			if a.Port != PortController {
				return true
			}
		case Unsupported:
			return true
		}
	}
	return r.Goto != 0
}

// Outranks reports whether r counts, of two rules that cover a packet: by its
// priority, and of equal ones if it does not let the packet pass.
func (r *Rule) Outranks(o *Rule) bool {
	return r.Priority > o.Priority || r.Priority == o.Priority && !r.Passes()
}

// Forwards reports whether a packet that the rule matches may go anywhere: to a
// port, to a group, or on to another table. A rule that only sets fields drops it.
func (r *Rule) Forwards() bool {
	if r.Goto != 0 {
		return true
	}
	for i := range r.Actions {
		switch r.Actions[i].Type {
		case Output, Unsupported:
			return true
		}
	}
	return false
}

// String writes the rule for a log line.
func (r *Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table=%d,priority=%d,%v", r.Table, r.Priority, r.Match)
	if r.Command != Add {
		fmt.Fprintf(&b, " %v", r.Command)
	}
	if r.IdleTimeout != 0 {
		fmt.Fprintf(&b, " idle=%v", r.IdleTimeout)
	}
	if r.HardTimeout != 0 {
		fmt.Fprintf(&b, " hard=%v", r.HardTimeout)
	}
	if r.Meter != 0 {
		fmt.Fprintf(&b, " meter=%d", r.Meter)
	}
	b.WriteString(" actions=")
	b.WriteString(ActionsString(r.Actions))
	if r.Goto != 0 {
		fmt.Fprintf(&b, ",goto:%d", r.Goto)
	}
	return b.String()
}

// ActionType says what an [Action] does.
type ActionType uint8

const (
	Output      ActionType = iota + 1 // Port, and MaxLen for PortController
	SetQueue                          // ID; holds for the outputs that follow, until another one. NoQueue ends it (OpenFlow 1.0)
	_                                 // 3, which encodings have kept free; nothing is made of groups
	PushVLAN                          // Value: EtherType (OpenFlow 1.3)
	PopVLAN                           //
	SetVLANVID                        // Value: the VID, 12 bits
	SetVLANPCP                        // Value
	SetEthSrc                         // MAC
	SetEthDst                         // MAC
	SetIPSrc                          // Addr
	SetIPDst                          // Addr
	SetIPDSCP                         // Value
	SetL4Src                          // Value; the protocol is the rule's IPProto
	SetL4Dst                          // Value
	DecTTL                            // OpenFlow 1.3
	Unsupported                       // one that the decoder could not name: ID is its OFPAT_* number; refused by guardrails
)

var actionNames = [...]string{"", "OUTPUT", "SET_QUEUE", "", "PUSH_VLAN", "POP_VLAN", "SET_VLAN_VID", "SET_VLAN_PCP", "SET_ETH_SRC",
	"SET_ETH_DST", "SET_IP_SRC", "SET_IP_DST", "SET_IP_DSCP", "SET_L4_SRC", "SET_L4_DST", "DEC_NW_TTL", "UNSUPPORTED"}

func (t ActionType) String() string {
	if int(t) < len(actionNames) && actionNames[t] != "" {
		return actionNames[t]
	}
	return fmt.Sprintf("action %d", uint8(t))
}

// Action is one step of what happens to a packet, in list order. The type says
// which of the other members count.
type Action struct {
	Type   ActionType
	MaxLen uint16 // Output to PortController: bytes to send, 0xffff is the whole packet
	Port   PortNo
	ID     uint32
	Value  uint32
	MAC    MAC
	Addr   netip.Addr
	// IPProto tells SetL4Src and SetL4Dst apart where OpenFlow 1.3 does
	// (tcp_src, udp_src, sctp_src).
	IPProto uint8
}

// OutputTo is the action that most lists consist of.
func OutputTo(p PortNo) Action { return Action{Type: Output, Port: p} }

func (a Action) String() string {
	switch a.Type {
	case Output:
		return "output:" + a.Port.String()
	case SetQueue, Unsupported:
		return fmt.Sprintf("%s:%d", strings.ToLower(a.Type.String()), a.ID)
	case SetEthSrc, SetEthDst:
		return fmt.Sprintf("%s:%v", strings.ToLower(a.Type.String()), a.MAC)
	case SetIPSrc, SetIPDst:
		return fmt.Sprintf("%s:%v", strings.ToLower(a.Type.String()), a.Addr)
	case PopVLAN, DecTTL:
		return strings.ToLower(a.Type.String())
	}
	return fmt.Sprintf("%s:%d", strings.ToLower(a.Type.String()), a.Value)
}

// ActionsString writes a list as ovs-ofctl does; an empty one is "drop".
func ActionsString(list []Action) string {
	if len(list) == 0 {
		return "drop"
	}
	s := make([]string, len(list))
	for i := range list {
		s[i] = list[i].String()
	}
	return strings.Join(s, ",")
}
