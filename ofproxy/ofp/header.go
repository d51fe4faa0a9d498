package ofp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"switchbridge/flow"
)

// DefaultAddress is where switches of the same machine look for a controller, at
// OpenFlow's port (OpenFlow 1.3.5, 6.3.1).
const DefaultAddress = "127.0.0.1:6653"

var be = binary.BigEndian

// HeaderLen is the length of the header that every message starts with.
const HeaderLen = 8

// maxLen is the greatest length that the header's 16 bits can hold.
const maxLen = 0xffff

// Type is a message's type, whatever number its version gives it.
type Type uint8

// The types of both versions. StatsRequest and StatsReply are 1.3's
// MULTIPART_REQUEST and MULTIPART_REPLY; Experimenter is 1.0's VENDOR.
const (
	TypeUnknown Type = iota
	TypeHello
	TypeError
	TypeEchoRequest
	TypeEchoReply
	TypeExperimenter
	TypeFeaturesRequest
	TypeFeaturesReply
	TypeGetConfigRequest
	TypeGetConfigReply
	TypeSetConfig
	TypePacketIn
	TypeFlowRemoved
	TypePortStatus
	TypePacketOut
	TypeFlowMod
	TypeGroupMod
	TypePortMod
	TypeTableMod
	TypeStatsRequest
	TypeStatsReply
	TypeBarrierRequest
	TypeBarrierReply
	TypeQueueGetConfigRequest
	TypeQueueGetConfigReply
	TypeRoleRequest
	TypeRoleReply
	TypeGetAsyncRequest
	TypeGetAsyncReply
	TypeSetAsync
	TypeMeterMod
)

var typeNames = [...]string{"UNKNOWN", "HELLO", "ERROR", "ECHO_REQUEST", "ECHO_REPLY", "EXPERIMENTER", "FEATURES_REQUEST", "FEATURES_REPLY",
	"GET_CONFIG_REQUEST", "GET_CONFIG_REPLY", "SET_CONFIG", "PACKET_IN", "FLOW_REMOVED", "PORT_STATUS", "PACKET_OUT", "FLOW_MOD", "GROUP_MOD",
	"PORT_MOD", "TABLE_MOD", "STATS_REQUEST", "STATS_REPLY", "BARRIER_REQUEST", "BARRIER_REPLY", "QUEUE_GET_CONFIG_REQUEST",
	"QUEUE_GET_CONFIG_REPLY", "ROLE_REQUEST", "ROLE_REPLY", "GET_ASYNC_REQUEST", "GET_ASYNC_REPLY", "SET_ASYNC", "METER_MOD"}

// String returns the specification's name without OFPT_, such as "PACKET_IN".
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// OpenFlow 1.0.0, 5.1, and 1.3.5, 7.1.1, enum ofp_type. The first fifteen are
// the same in both, and in the versions between and after them.
var (
	types10 = [...]Type{TypeHello, TypeError, TypeEchoRequest, TypeEchoReply, TypeExperimenter, TypeFeaturesRequest, TypeFeaturesReply,
		TypeGetConfigRequest, TypeGetConfigReply, TypeSetConfig, TypePacketIn, TypeFlowRemoved, TypePortStatus, TypePacketOut, TypeFlowMod,
		TypePortMod, TypeStatsRequest, TypeStatsReply, TypeBarrierRequest, TypeBarrierReply, TypeQueueGetConfigRequest, TypeQueueGetConfigReply}
	types13 = [...]Type{TypeHello, TypeError, TypeEchoRequest, TypeEchoReply, TypeExperimenter, TypeFeaturesRequest, TypeFeaturesReply,
		TypeGetConfigRequest, TypeGetConfigReply, TypeSetConfig, TypePacketIn, TypeFlowRemoved, TypePortStatus, TypePacketOut, TypeFlowMod,
		TypeGroupMod, TypePortMod, TypeTableMod, TypeStatsRequest, TypeStatsReply, TypeBarrierRequest, TypeBarrierReply,
		TypeQueueGetConfigRequest, TypeQueueGetConfigReply, TypeRoleRequest, TypeRoleReply, TypeGetAsyncRequest, TypeGetAsyncReply,
		TypeSetAsync, TypeMeterMod}

	codes10, codes13 = inverse(types10[:]), inverse(types13[:])
)

func inverse(types []Type) (codes [TypeMeterMod + 1]uint8) {
	for i := range codes {
		codes[i] = 0xff // a type that the version lacks; no version has this number
	}
	for code, t := range types {
		codes[t] = uint8(code)
	}
	return codes
}

func typeOf(v flow.Protocol, code uint8) Type {
	types := types13[:]
	switch v {
	case flow.OpenFlow10:
		types = types10[:]
	case flow.OpenFlow13:
	default: // a version of which only HELLO, ERROR and ECHO are read
		types = types13[:TypeExperimenter]
	}
	if int(code) < len(types) {
		return types[code]
	}
	return TypeUnknown
}

func codeOf(v flow.Protocol, t Type) uint8 {
	if v == flow.OpenFlow10 {
		return codes10[t]
	}
	return codes13[t]
}

// Header is what every message starts with (OpenFlow 1.3.5, 7.1; the same in
// all versions).
type Header struct {
	Version flow.Protocol // the wire version, which may be one that is not spoken here
	Type    Type          // TypeUnknown where Version has no such type
	Length  int           // of the whole message, header included
	XID     uint32
}

// ParseHeader reads the header of the message that b starts with. b must have 8 bytes.
// A length below 8 is an error: the start of the next message is then unknown.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("header: %d bytes of %d", len(b), HeaderLen)
	}
	h := Header{Version: flow.Protocol(b[0]), Length: int(be.Uint16(b[2:])), XID: be.Uint32(b[4:])}
	h.Type = typeOf(h.Version, b[1])
	if h.Length < HeaderLen {
		return h, fmt.Errorf("header: length %d is under %d", h.Length, HeaderLen)
	}
	return h, nil
}

// PutXID sets the xid of a whole message.
func PutXID(msg []byte, xid uint32) { be.PutUint32(msg[4:], xid) }

// UnsupportedError says that a version of the protocol can't express something, or that a
// received message has something that package flow can't express.
type UnsupportedError struct {
	Protocol flow.Protocol
	What     string // such as "masked eth_src"
}

func (e *UnsupportedError) Error() string {
	return e.Protocol.String() + " and the gateway have no common way to express " + e.What
}

func unsupported(v flow.Protocol, what string) error { return &UnsupportedError{v, what} }

// errTooLong is the error of a message with more than 65,535 bytes. Its length would wrap,
// and the switch could not find the start of the next message.
var errTooLong = errors.New("the message is longer than the 65535 bytes that its header can say")

// begin appends a header whose length end fills in.
func begin(b []byte, v flow.Protocol, t Type, xid uint32) []byte {
	b = append(b, uint8(v), codeOf(v, t), 0, 0)
	return be.AppendUint32(b, xid)
}

// end fills in the length of the message that starts at b[start:].
func end(b []byte, start int) ([]byte, error) {
	n := len(b) - start
	if n > maxLen {
		return b[:start], errTooLong
	}
	be.PutUint16(b[start+2:], uint16(n))
	return b, nil
}

// mustEnd is end for messages whose length is bounded by construction.
func mustEnd(b []byte, start int) []byte {
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// body checks that msg is one whole message of type t with at least min bytes
// after its header, in a version that we speak, and returns these bytes.
func body(msg []byte, t Type, min int) (flow.Protocol, []byte, error) {
	h, err := ParseHeader(msg)
	switch {
	case err != nil:
		return 0, nil, err
	case h.Version != flow.OpenFlow10 && h.Version != flow.OpenFlow13:
		return 0, nil, fmt.Errorf("%v: wire version %#02x is not spoken here", t, uint8(h.Version))
	case h.Type != t:
		return 0, nil, fmt.Errorf("%v (%d) where %v is wanted", h.Type, msg[1], t)
	case h.Length != len(msg):
		return 0, nil, fmt.Errorf("%v: length %d of a message of %d bytes", t, h.Length, len(msg))
	case len(msg)-HeaderLen < min:
		return 0, nil, short(t, len(msg)-HeaderLen, min)
	}
	return h.Version, msg[HeaderLen:], nil
}

// eitherOf returns which of two types a message is of.
func eitherOf(msg []byte, a, b Type) (Type, error) {
	h, err := ParseHeader(msg)
	if err == nil && h.Type != a && h.Type != b {
		err = fmt.Errorf("%v (%d) where %v or %v is wanted", h.Type, msg[1], a, b)
	}
	return h.Type, err
}

func short(what any, have, want int) error {
	return fmt.Errorf("%v: cut short: %d of at least %d bytes", what, have, want)
}

// pad appends n zero bytes, at most eight.
func pad(b []byte, n int) []byte { return append(b, make([]byte, 8)[:n]...) }

// padTo8 pads what starts at b[start:] to a multiple of 8 bytes.
func padTo8(b []byte, start int) []byte { return pad(b, -(len(b)-start)&7) }

func aligned(n int) int { return (n + 7) &^ 7 }
