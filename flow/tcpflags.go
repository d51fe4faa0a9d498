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

// Layer4 returns the header and the data that follow the packet's IP header, as far as Data shows them: a part of it, nil where Match has no whole IP
// header. Of a fragment it is data that a Match shows nothing of.
func (p *PacketIn) Layer4() []byte {
	b, m := p.Data, &p.Match
	if !m.Has(FieldIPProto | FieldIPSrc) {
		return nil
	}
	at := 12
	for ; at+2 <= len(b) && isTag(binary.BigEndian.Uint16(b[at:])); at += 4 {
	}
	if at+2 > len(b) {
		return nil
	}
	if binary.BigEndian.Uint16(b[at:]) < 0x0600 { // SNAP
		at += 8
	}
	at += 2
	var end int // of the IP packet; what follows is padding
	switch {
	case at+20 > len(b):
		return nil
	case m.EthType == EthTypeIPv4:
		end = at + int(binary.BigEndian.Uint16(b[at+2:]))
		at += int(b[at]&0x0f) * 4
	case at+40 > len(b):
		return nil
	default:
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
	}
	if end = min(end, len(b)); at > end {
		return nil
	}
	return b[at:end]
}
