package ofp

import (
	"errors"
	"fmt"

	"switchbridge/flow"
)

// PacketOut is a packet that a switch is to send (OpenFlow 1.0.0, 5.3.6; 1.3.5,
// 7.3.7).
type PacketOut struct {
	BufferID uint32      // NoBuffer: Data is the packet
	InPort   flow.PortNo // the port it came in by; 0 or PortController where it came by none
	Actions  []flow.Action
	Data     []byte

	// Match has the packet's headers where they are known from elsewhere, such as
	// the PACKET_IN of a packet that the switch keeps; nil: Data shows them. It
	// tells which protocol's port an action rewrites, and is not part of the
	// message.
	Match *flow.Match
}

// AppendPacketOut appends a PACKET_OUT. Data goes only without a buffer. What v
// can't express fails as [FitPacketOut] says.
func AppendPacketOut(b []byte, v flow.Protocol, xid uint32, p *PacketOut) ([]byte, error) {
	h := p.headers(v)
	length, err := fitPacketOut(v, p, h)
	if err != nil {
		return b, err
	}
	start := len(b)
	b = begin(b, v, TypePacketOut, xid)
	b = be.AppendUint32(b, p.BufferID)
	if v == flow.OpenFlow10 {
		in := p.InPort
		if in == 0 {
			in = flow.PortAny // OFPP_NONE
		}
		port, _ := port16(in)
		b = be.AppendUint16(b, port)
		b = be.AppendUint16(b, uint16(length))
	} else {
		in := p.InPort
		if in == 0 || in == flow.PortAny {
			in = flow.PortController // OpenFlow 1.3.5, 7.3.7: not OFPP_ANY
		}
		b = be.AppendUint32(b, uint32(in))
		b = be.AppendUint16(b, uint16(length))
		b = pad(b, 6)
	}
	b = appendActions(b, v, p.Actions, h.proto)
	if p.BufferID == flow.NoBuffer {
		b = append(b, p.Data...)
	}
	return end(b, start)
}

// headers returns what is known of the packet, as far as its actions need it.
func (p *PacketOut) headers(v flow.Protocol) headers {
	if v == flow.OpenFlow10 || !needsHeaders(p.Actions) {
		return headers{}
	}
	if p.Match != nil {
		return headersOfPacket(p.Match)
	}
	m := flow.ParseFrame(p.Data, 0)
	return headersOfPacket(&m)
}

// headersOfPacket does not take for lacking what the packet just does not show.
func headersOfPacket(m *flow.Match) headers {
	h := headersOf(m)
	h.known = m.Missing()&(flow.FieldEthType|flow.FieldVLAN|flow.FieldIPProto) == 0 && m.Has(flow.FieldVLAN)
	return h
}

// needsHeaders reports whether an action needs more of a packet than that it is one.
func needsHeaders(list []flow.Action) bool {
	for i := range list {
		switch list[i].Type {
		case flow.Output, flow.SetQueue, flow.Group, flow.SetEthSrc, flow.SetEthDst:
		default:
			return true
		}
	}
	return false
}

// ParsePacketOut reads a PACKET_OUT into p, whose Actions keep their memory.
// Data aliases msg.
func ParsePacketOut(msg []byte, p *PacketOut) error {
	v, b, err := body(msg, TypePacketOut, 8)
	if err != nil {
		return err
	}
	got := PacketOut{BufferID: be.Uint32(b), Actions: p.Actions[:0]}
	n := 0
	if v == flow.OpenFlow10 {
		got.InPort, n = port32(be.Uint16(b[4:])), int(be.Uint16(b[6:]))
		b = b[8:]
	} else {
		if len(b) < 16 {
			return short(TypePacketOut, len(b), 16)
		}
		got.InPort, n = flow.PortNo(be.Uint32(b[4:])), int(be.Uint16(b[8:]))
		b = b[16:]
	}
	if n > len(b) {
		return fmt.Errorf("PACKET_OUT: %d bytes of actions, of %d left", n, len(b))
	}
	if got.Actions, err = parseActions(got.Actions, b[:n], v, 0); err != nil {
		return err
	}
	if got.BufferID == flow.NoBuffer {
		got.Data = b[n:]
	}
	*p = got
	return nil
}

const (
	packetInLen10 = 10 // after the header
	packetInLen13 = 16 // without match, padding and data
)

// fieldsPipeline are the match fields of a packet that are not in its frame.
const fieldsPipeline = flow.FieldInPort | flow.FieldMetadata | flow.FieldTunnelID

var errNoInPort = errors.New("PACKET_IN without in_port")

// AppendPacketIn appends a PACKET_IN, as a switch sends it (OpenFlow 1.0.0,
// 5.4.1; 1.3.5, 7.4.1). The match of one with Data is in the frame, but for
// in_port, metadata and tunnel_id; without Data (a P4 digest) the message
// carries every field in 1.3, and 1.0 can't express any but in_port.
func AppendPacketIn(b []byte, v flow.Protocol, xid uint32, p *flow.PacketIn) ([]byte, error) {
	start := len(b)
	if p.TotalLen < 0 || p.TotalLen > 0xffff {
		return b, fmt.Errorf("PACKET_IN: total_len %d is not in 16 bits", p.TotalLen)
	}
	if !p.Match.Has(flow.FieldInPort) && (v == flow.OpenFlow10 || len(p.Data) > 0) {
		return b, errNoInPort
	}
	b = begin(b, v, TypePacketIn, xid)
	b = be.AppendUint32(b, p.BufferID)
	b = be.AppendUint16(b, uint16(p.TotalLen))
	if v == flow.OpenFlow10 {
		if rest := p.Match.Fields &^ flow.FieldInPort; len(p.Data) == 0 && rest != 0 {
			return b[:start], unsupported(v, "a packet without data of "+rest.String())
		}
		port, ok := port16(p.Match.InPort)
		if !ok {
			return b[:start], unsupported(v, "in_port "+p.Match.InPort.String())
		}
		b = be.AppendUint16(b, port)
		b = append(b, uint8(p.Reason), 0)
	} else {
		b = append(b, uint8(p.Reason), p.TableID)
		b = be.AppendUint64(b, p.Cookie)
		if len(p.Data) == 0 {
			if err := check13(&p.Match); err != nil {
				return b[:start], err
			}
			b = appendMatch13(b, &p.Match)
		} else {
			m := flow.Match{Fields: p.Match.Fields & fieldsPipeline, InPort: p.Match.InPort,
				Metadata: p.Match.Metadata, MetadataMask: p.Match.MetadataMask,
				TunnelID: p.Match.TunnelID, TunnelMask: p.Match.TunnelMask}
			b = appendMatch13(b, &m)
		}
		b = pad(b, 2)
	}
	b = append(b, p.Data...)
	return end(b, start)
}

// ParsePacketIn reads a PACKET_IN into p. Match holds what [flow.ParseFrame]
// finds in the frame and, in 1.3, the message's own in_port, metadata and
// tunnel_id; where there is no frame, all of the message's fields but those
// that our nouns lack. A total_len under the frame's is set right. Incomplete is
// what Match lacks. Data aliases msg.
func ParsePacketIn(msg []byte, p *flow.PacketIn) error {
	v, b, err := body(msg, TypePacketIn, packetInLen10)
	if err != nil {
		return err
	}
	if v == flow.OpenFlow10 {
		p.BufferID, p.TotalLen = be.Uint32(b), int(be.Uint16(b[4:]))
		p.Reason, p.TableID, p.Cookie = flow.Reason(b[8]), 0, 0
		p.Data = b[packetInLen10:]
		p.Match = flow.ParseFrame(p.Data, port32(be.Uint16(b[6:])))
	} else {
		if len(b) < packetInLen13 {
			return short(TypePacketIn, len(b), packetInLen13)
		}
		oxms, data, err := splitMatch13(b[packetInLen13:])
		if err != nil {
			return err
		}
		if len(data) < 2 {
			return short(TypePacketIn, len(data), 2)
		}
		p.BufferID, p.TotalLen = be.Uint32(b), int(be.Uint16(b[4:]))
		p.Reason, p.TableID, p.Cookie = flow.Reason(b[6]), b[7], be.Uint64(b[8:])
		p.Data = data[2:]
		if err := packetMatch13(oxms, p); err != nil {
			return err
		}
	}
	p.TotalLen = max(p.TotalLen, len(p.Data))
	p.Incomplete = p.Match.Missing()
	return nil
}

// packetMatch13 fills p.Match from the message's fields and p.Data.
func packetMatch13(oxms []byte, p *flow.PacketIn) error {
	frame := len(p.Data) > 0
	var sent flow.Match
	for len(oxms) > 0 {
		x, rest, err := nextOXM(oxms)
		if err != nil {
			return err
		}
		oxms = rest
		known, err := x.known()
		if err != nil {
			return err
		}
		if !known || frame && x.field != oxmInPort && x.field != oxmMetadata && x.field != oxmTunnelID || x.inexpressible() != nil {
			continue
		}
		if err := x.set(&sent); err != nil {
			return err
		}
	}
	if !frame {
		p.Match = sent
		return nil
	}
	if !sent.Has(flow.FieldInPort) {
		return errNoInPort
	}
	p.Match = flow.ParseFrame(p.Data, sent.InPort)
	p.Match.Fields |= sent.Fields
	p.Match.Metadata, p.Match.MetadataMask = sent.Metadata, sent.MetadataMask
	p.Match.TunnelID, p.Match.TunnelMask = sent.TunnelID, sent.TunnelMask
	return nil
}
