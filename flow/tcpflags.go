package flow

import "encoding/binary"

// TCPFlags are the low eight bits of a TCP header's flags (RFC 9293, 3.1).
type TCPFlags uint8

// The flags, by their bits on the wire.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// ReadTCPFlags returns the flags of a TCP packet, as they were told or from its data. ok is false where they are not to be seen, as in
// fragments and P4 digests. No rule of a switch can match them, so they are in no [Match].
func (p *PacketIn) ReadTCPFlags() (flags TCPFlags, ok bool) {
	if p.HasTCPFlags {
		return p.TCPFlags, true
	}
	if !p.Match.Has(FieldL4Src) || p.Match.IPProto != ProtoTCP {
		return 0, false
	}
	b := p.Layer4()
	if len(b) < 14 {
		return 0, false
	}
	return TCPFlags(b[13]), true
}

// layer3 returns where the header behind a frame's Ethernet header and VLAN tags begins, which may be behind the frame's end, and whether
// it comes behind one of 802.3 and SNAP.
func layer3(frame []byte) (at int, snap bool) {
	at = 12
	for ; at+2 <= len(frame) && isTag(binary.BigEndian.Uint16(frame[at:])); at += 4 {
	}
	if snap = at+2 <= len(frame) && binary.BigEndian.Uint16(frame[at:]) < 0x0600; snap {
		at += 8
	}
	return at + 2, snap
}

// Layer4 returns the header and the data that follow the packet's IP header, as far as Data shows them: a part of it, nil where Match has no whole IP
// header. Of a fragment it is data that a Match shows nothing of.
func (p *PacketIn) Layer4() []byte {
	at, end := p.layer4()
	if end = min(end, len(p.Data)); at > end {
		return nil
	}
	return p.Data[at:end]
}

// layer4 returns where what follows the packet's IP header begins, and where it ends, padding left out; either may be behind the end of Data.
// Where there is none, the end is before the beginning.
func (p *PacketIn) layer4() (at, end int) {
	b, m := p.Data, &p.Match
	if at, _ = layer3(b); !m.Has(FieldIPProto | FieldIPSrc) {
		return at, 0
	}
	switch {
	case at+20 > len(b):
		return at, 0
	case m.EthType == EthTypeIPv4:
		return at + int(b[at]&0x0f)*4, at + int(binary.BigEndian.Uint16(b[at+2:]))
	case at+40 > len(b):
		return at, 0
	}
	next := b[at+6]
	end = at + 40 + int(binary.BigEndian.Uint16(b[at+4:]))
	for at += 40; extensionHeader(next) && at+8 <= len(b); {
		length := 8 + int(b[at+1])*8
		switch next {
		case 44:
			length = 8
		case 51:
			length = 8 + int(b[at+1])*4
		}
		next, at = b[at], at+length
	}
	return at, end
}
