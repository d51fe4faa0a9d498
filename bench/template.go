package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
)

// Where things are in the messages that the load consists of. A PACKET_IN
// starts with its buffer_id in both versions (OpenFlow 1.0.0, 5.4.1; 1.3.5,
// 7.4.1).
const (
	offXID      = 4
	offBufferID = 8

	batchBytes = 32 << 10 // of PACKET_INs in one write
)

// bufferIDs bounds the buffers that a fake switch names: 24 bits, so that
// OFP_NO_BUFFER never comes up.
const bufferIDs = 1 << 24

// target is the host that all of the load's packets go to. It announces itself
// first, so that a learning controller answers with a rule and not with a flood.
func target(sw int) frames.Endpoint {
	return frames.Endpoint{MAC: flow.MAC{0x02, 0xfe, byte(sw >> 16), byte(sw >> 8), byte(sw), 0}, IP: netip.AddrFrom4([4]byte{10, 255, byte(sw >> 8), byte(sw)})}
}

// batch is a row of PACKET_INs of one size, ready to be written. Each stamp
// gives them the next buffers and source addresses.
type batch struct {
	msgs   []byte
	stride int // bytes of a message
	offMAC int // of the low four bytes of the source address in a message
	sw     uint32
	macs   uint32 // source addresses before they repeat

	next uint32 // number of the next packet
}

// newBatch makes the load of switch number sw: TCP SYNs of 60 bytes, the least
// that Ethernet carries, to target(sw).
func newBatch(v flow.Protocol, sw, macs int) (*batch, error) {
	from := frames.Host(1).At(1024)
	frame := frames.TCP(from, target(sw).At(80), frames.SYN, make([]byte, 6))
	p := flow.PacketIn{TotalLen: len(frame), Data: frame}
	p.Match.SetInPort(1)
	one, err := ofp.AppendPacketIn(nil, v, 0, &p)
	if err != nil {
		return nil, fmt.Errorf("make the load's PACKET_IN: %w", err)
	}
	b := &batch{stride: len(one), sw: uint32(sw), macs: uint32(max(macs, 1))}
	b.offMAC = len(one) - len(frame) + 6 + 2
	for len(b.msgs)+len(one) <= batchBytes {
		b.msgs = append(b.msgs, one...)
	}
	for m := b.msgs; len(m) > 0; m = m[b.stride:] { // the two bytes above the varying ones: locally administered
		m[b.offMAC-2], m[b.offMAC-1] = 0x02, byte(sw)
	}
	return b, nil
}

// stamp returns n PACKET_INs, at most as many as the batch holds, to be sent
// before stamp is called again.
func (b *batch) stamp(n int) []byte {
	out := b.msgs[:min(n*b.stride, len(b.msgs))]
	for m := out; len(m) > 0; m = m[b.stride:] {
		binary.BigEndian.PutUint32(m[offXID:], b.next+1)
		binary.BigEndian.PutUint32(m[offBufferID:], b.next%bufferIDs)
		binary.BigEndian.PutUint32(m[b.offMAC:], b.next%b.macs)
		b.next++
	}
	return out
}

// size is how many messages one stamp gives at most.
func (b *batch) size() int { return len(b.msgs) / b.stride }

// answer is what the load needs to know of a message from the controller.
type answer struct {
	kind   ofp.Type // TypeFlowMod or TypePacketOut
	buffer uint32
}

// Wire numbers of the two messages that count (OpenFlow 1.0.0, 5.1; 1.3.5, 7.1.1).
const (
	wirePacketOut = 13
	wireFlowMod   = 14
)

// parseAnswer reports whether a whole message is an answer to a PACKET_IN, by
// its header and fixed part alone. As in cbench, a FLOW_MOD that deletes and a
// PACKET_OUT with LLDP are not.
func parseAnswer(msg []byte) (a answer, ok bool) {
	v10 := msg[0] == byte(flow.OpenFlow10)
	switch msg[1] {
	case wireFlowMod:
		var command byte
		switch {
		case v10 && len(msg) >= 72: // OpenFlow 1.0.0, 5.3.3
			command, a.buffer = msg[57], binary.BigEndian.Uint32(msg[64:])
		case !v10 && len(msg) >= 56: // OpenFlow 1.3.5, 7.3.4.1
			command, a.buffer = msg[25], binary.BigEndian.Uint32(msg[32:])
		default:
			return a, false
		}
		a.kind = ofp.TypeFlowMod
		return a, flow.Command(command) <= flow.ModifyStrict
	case wirePacketOut:
		data := 0
		switch {
		case v10 && len(msg) >= 16: // OpenFlow 1.0.0, 5.3.6
			data = 16 + int(binary.BigEndian.Uint16(msg[14:]))
		case !v10 && len(msg) >= 24: // OpenFlow 1.3.5, 7.3.7
			data = 24 + int(binary.BigEndian.Uint16(msg[16:]))
		default:
			return a, false
		}
		a.kind, a.buffer = ofp.TypePacketOut, binary.BigEndian.Uint32(msg[offBufferID:])
		lldp := len(msg) >= data+14 && binary.BigEndian.Uint16(msg[data+12:]) == flow.EthTypeLLDP
		return a, !lldp
	}
	return a, false
}
