// Package openflow is the contract's encoding application/openflow, the one of
// the paper: bodies are OpenFlow messages end to end, in the switch's version,
// each with its header.
//
// What an event's body holds follows from its type:
//
//	handshake         the one message that the switch sent: HELLO or FEATURES_REPLY
//	switch_connected  HELLO, FEATURES_REPLY and, in 1.3, the port description
//	packet_in         HELLO, FEATURES_REPLY, PACKET_IN
//	flow_removed      HELLO, FEATURES_REPLY, FLOW_REMOVED; likewise port_status and error
//	policy_check      nothing
//
// With a full handshake ([Codec].Full) the function has seen HELLO and
// FEATURES_REPLY in events of their own, and they don't go with packet_in,
// flow_removed, port_status and error: their body is the bare message, and the
// switch's DPID is in ce-source. A reader takes either form.
//
// Every message but a handshake's carries the gateway's own xid of the event,
// never zero, and the answer's FLOW_MODs and its one PACKET_OUT carry it too.
// An answer to a handshake's HELLO is HELLO and FEATURES_REQUEST, one to its
// FEATURES_REPLY is empty, which acknowledges it; the same two messages may
// stand in any answer, since a function that is asked for the whole handshake at
// once may well answer all of it, and are passed over there.
//
// A switch that speaks P4Runtime is presented as one of OpenFlow 1.3; a digest
// is a PACKET_IN without data whose match carries the digest's fields. Not in
// the bodies, but in headers, are verdict, reason, policy version, state, what
// the gateway accepts, what a packet lacks and what rules cover of that.
//
// Limits of the encoding: the events of a 1.3 switch but switch_connected say
// nothing of its ports, an error event nothing of the rule in words, and a
// PACKET_OUT can only release the packet of its event, not send another.
package openflow

import (
	"fmt"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/ofproxy/ofp"
)

// Codec implements [contract.Codec]. It has no state.
type Codec struct {
	// Full makes AppendEvent leave HELLO and FEATURES_REPLY to the handshake's
	// own events.
	Full bool
}

var _ contract.Codec = Codec{}

// ContentType implements [contract.Codec].
func (Codec) ContentType() string { return contract.TypeOpenFlow }

// wireVersion is the version that a switch's messages have.
func wireVersion(sw *flow.Switch) (flow.Protocol, error) {
	if sw == nil {
		return 0, fmt.Errorf("no switch")
	}
	switch sw.Protocol {
	case flow.OpenFlow10, flow.OpenFlow13:
		return sw.Protocol, nil
	case flow.P4Runtime:
		return flow.OpenFlow13, nil
	}
	return 0, fmt.Errorf("%v can't be presented as OpenFlow", sw.Protocol)
}

// split cuts the first whole message off body.
func split(body []byte) (h ofp.Header, msg, rest []byte, err error) {
	h, err = ofp.ParseHeader(body)
	if err != nil {
		return h, nil, nil, err
	}
	if h.Length > len(body) {
		return h, nil, nil, fmt.Errorf("%v: length %d, of %d bytes left", h.Type, h.Length, len(body))
	}
	return h, body[:h.Length], body[h.Length:], nil
}

func checkSize(body []byte) error {
	if len(body) > flow.MaxBody {
		return fmt.Errorf("body of %d bytes: want at most %d", len(body), flow.MaxBody)
	}
	return nil
}
