package controller

import (
	"encoding/binary"

	"switchbridge/flow"
)

// OpenFlow's message types that a full handshake consists of (1.0, 5.1; 1.3.5, 7.1.1).
const (
	typeHello           = 0
	typeFeaturesRequest = 5
	typeFeaturesReply   = 6
	headerLen           = 8
)

// handshake answers one message of a switch: a HELLO with ours and a request
// for its features, and those with nothing, which is the acknowledgement.
func handshake(ev *flow.Event, d *flow.Decision) error {
	b := ev.Handshake
	if len(b) < headerLen {
		return flow.Errorf(flow.Refused, "handshake: %d bytes are no OpenFlow message", len(b))
	}
	switch b[1] {
	case typeHello:
		version := b[0]
		if ev.Switch != nil && ev.Switch.Protocol != 0 && ev.Switch.Protocol < flow.P4Runtime {
			version = byte(ev.Switch.Protocol) // what the gateway negotiated
		}
		version = min(version, byte(flow.OpenFlow13))
		for _, typ := range []byte{typeHello, typeFeaturesRequest} {
			d.Handshake = append(d.Handshake, version, typ, 0, headerLen)
			d.Handshake = binary.BigEndian.AppendUint32(d.Handshake, ev.XID)
		}
	case typeFeaturesReply:
	default:
		return flow.Errorf(flow.Refused, "handshake: message type %d is neither HELLO nor FEATURES_REPLY", b[1])
	}
	return nil
}
