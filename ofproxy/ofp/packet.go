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
	InPort   flow.PortNo // the port it came in by; 0 or PortController if there is none
	Actions  []flow.Action
	Data     []byte

	// Match has the packet's headers if Data doesn't show them: those of the PACKET_IN, if
	// the switch keeps the packet. nil: Data shows them. They tell which protocol's port an
	// action rewrites, and are not part of the message.
	Match *flow.Match
}

// AppendPacketOut appends a PACKET_OUT. It writes Data only if there is no buffer. If v
// can't express p, it returns the error of [FitPacketOut].
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

// headers returns the packet's headers, as far as the actions need them.
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

// headersOfPacket returns the headers of a packet that may have more than it shows.
func headersOfPacket(m *flow.Match) headers {
	h := headersOf(m)
	h.known = m.Missing()&(flow.FieldEthType|flow.FieldVLAN|flow.FieldIPProto) == 0 && m.Has(flow.FieldVLAN)
	return h
}

// needsHeaders reports whether it depends on the packet's headers if an action is possible.
func needsHeaders(list []flow.Action) bool {
	for i := range list {
		switch list[i].Type {
		case flow.Output, flow.SetQueue, flow.SetEthSrc, flow.SetEthDst:
		default:
			return true
		}
	}
	return false
}

// ParsePacketOut reads a PACKET_OUT into p. It uses the memory of p.Actions again. p.Data
// is a part of msg.
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
// 5.4.1; 1.3.5, 7.4.1). If there is Data, the frame shows the match, and the message has
// only in_port, metadata, tunnel_id, a VLAN tag that the switch has removed, and the
// EtherType behind two tags. Without Data (a P4 digest) a message of 1.3 has every field;
// 1.0 can express in_port only.
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
			switch tags := vlanTags(p.Data); {
			case tags == 0 && p.Match.VLAN&p.Match.VLANMask&flow.VLANPresent != 0:
				m.SetVLAN(p.Match.VLAN, p.Match.VLANMask)
				if p.Match.Has(flow.FieldVLANPCP) {
					m.Fields |= flow.FieldVLANPCP
					m.VLANPCP = p.Match.VLANPCP
				}
			case tags > 1 && p.Match.Has(flow.FieldEthType) && !isTag(p.Match.EthType):
				m.SetEthType(p.Match.EthType)
			}
			b = appendMatch13(b, &m)
		}
		b = pad(b, 2)
	}
	b = append(b, p.Data...)
	return end(b, start)
}

// vlanTags returns how many VLAN tags a frame begins with: 0, 1, or 2 for more.
func vlanTags(frame []byte) int {
	switch {
	case len(frame) < 14 || !isTag(be.Uint16(frame[12:])):
		return 0
	case len(frame) < 18 || !isTag(be.Uint16(frame[16:])):
		return 1
	}
	return 2
}

func isTag(ethType uint16) bool { return ethType == flow.EthTypeVLAN || ethType == flow.EthTypeQinQ }

// ParsePacketIn is [ParsePacketInVLANs] for a switch that reads headers behind at most one
// VLAN tag. That is Open vSwitch's default.
func ParsePacketIn(msg []byte, p *flow.PacketIn) error { return ParsePacketInVLANs(msg, 1, p) }

// ParsePacketInVLANs reads a PACKET_IN into p. Match has the headers that a [flow.Parser]
// with the given VLAN limit finds in the frame. In 1.3 it also has these fields of the
// message: in_port, metadata and tunnel_id; vlan_vid and vlan_pcp if the frame has no tag,
// since some switches remove it; and an eth_type behind two tags, which shows that the
// switch has read that far. If there is no frame, Match has all of the message's fields
// that package flow has. A total_len below the frame's length is corrected. Incomplete has
// the fields that Match lacks. Data is a part of msg.
func ParsePacketInVLANs(msg []byte, limit uint8, p *flow.PacketIn) error {
	v, b, err := body(msg, TypePacketIn, packetInLen10)
	if err != nil {
		return err
	}
	if v == flow.OpenFlow10 {
		p.BufferID, p.TotalLen = be.Uint32(b), int(be.Uint16(b[4:]))
		p.Reason, p.TableID, p.Cookie = flow.Reason(b[8]), 0, 0
		p.Data = b[packetInLen10:]
		p.Match = flow.Parser{VLANLimit: limit}.Parse(p.Data, p.TotalLen, port32(be.Uint16(b[6:])))
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
		if err := packetMatch13(oxms, limit, p); err != nil {
			return err
		}
	}
	p.TotalLen = max(p.TotalLen, len(p.Data))
	p.Incomplete = p.Match.Missing()
	return nil
}

// besideFrame are the fields of a PACKET_IN that its frame may not show.
const besideFrame uint64 = 1<<oxmInPort | 1<<oxmMetadata | 1<<oxmTunnelID | 1<<oxmVLAN | 1<<oxmVLANPCP | 1<<oxmEthType

// packetMatch13 fills p.Match from the message's fields and p.Data.
func packetMatch13(oxms []byte, limit uint8, p *flow.PacketIn) error {
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
		if !known || frame && besideFrame>>x.field&1 == 0 || x.inexpressible() != nil {
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
	p.Match = flow.Parser{VLANLimit: limit}.Parse(p.Data, p.TotalLen, sent.InPort)
	p.Match.Fields |= sent.Fields & fieldsPipeline
	p.Match.Metadata, p.Match.MetadataMask = sent.Metadata, sent.MetadataMask
	p.Match.TunnelID, p.Match.TunnelMask = sent.TunnelID, sent.TunnelMask
	if sent.Fields&(flow.FieldVLAN|flow.FieldEthType) != 0 {
		tagsBesideFrame(p, &sent)
	}
	return nil
}

// tagsBesideFrame adds the VLAN tag that the message names to p.Match.
func tagsBesideFrame(p *flow.PacketIn, sent *flow.Match) {
	m := &p.Match
	if sent.Has(flow.FieldEthType) && isTag(m.EthType) && !isTag(sent.EthType) {
		deeper := flow.Parser{VLANLimit: 2}.Parse(p.Data, p.TotalLen, m.InPort)
		if deeper.EthType == sent.EthType {
			deeper.Fields |= m.Fields & fieldsPipeline
			deeper.Metadata, deeper.MetadataMask = m.Metadata, m.MetadataMask
			deeper.TunnelID, deeper.TunnelMask = m.TunnelID, m.TunnelMask
			*m = deeper
		}
	}
	if m.Has(flow.FieldVLAN) && m.VLAN == flow.VLANNone && sent.VLANMask == flow.VLANExact && sent.VLAN&flow.VLANPresent != 0 && vlanTags(p.Data) == 0 {
		m.VLAN = sent.VLAN
		if sent.Has(flow.FieldVLANPCP) {
			m.Fields |= flow.FieldVLANPCP
			m.VLANPCP = sent.VLANPCP
		}
	}
}
