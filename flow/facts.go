package flow

import "encoding/binary"

// Facts are what a packet says beside the headers of a [Match]: no rule of a switch can look at them, so no [Match] has them.
type Facts struct {
	// TCPFlags are the low eight bits of a TCP header's flags (RFC 9293, 3.1), from FIN on; HasTCPFlags says that they were seen.
	TCPFlags    TCPFlags
	HasTCPFlags bool

	// Quoted are the headers of the packet that an ICMP error is about (RFC 792; RFC 4443, 3), as far as it quotes them; empty where
	// there is none.
	Quoted Match
}

// TCPFlags are flags of a TCP header.
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

// ICMPError reports whether m is an ICMP message that quotes the packet which it is about: in IPv4 destination unreachable, time
// exceeded and parameter problem, in IPv6 types 1 to 4.
func (m *Match) ICMPError() bool {
	if !m.Has(FieldICMPType) {
		return false
	}
	switch m.IPProto {
	case ProtoICMP:
		return m.ICMPType == 3 || m.ICMPType == 11 || m.ICMPType == 12
	case ProtoICMPv6:
		return m.ICMPType >= 1 && m.ICMPType <= 4
	}
	return false
}

// ReadFacts returns p.Facts, or f with what there is to find in the packet's data.
func (p *PacketIn) ReadFacts(f *Facts) *Facts {
	if p.Facts != nil {
		return p.Facts
	}
	*f = Facts{}
	b := layer4(p.Data, &p.Match)
	switch {
	case p.Match.Has(FieldL4Src) && p.Match.IPProto == ProtoTCP && len(b) > 13:
		f.TCPFlags, f.HasTCPFlags = TCPFlags(b[13]), true
	case p.Match.ICMPError() && len(b) > 8:
		// The quote is cut, so the sizes that its headers claim are believed.
		const most = 1 << 16
		switch q := &f.Quoted; b[8] >> 4 {
		case 4:
			q.SetEthType(EthTypeIPv4)
			q.parseIPv4(b[8:], most)
		case 6:
			q.SetEthType(EthTypeIPv6)
			q.parseIPv6(b[8:], most)
		}
	}
	return f
}

// layer4 returns what follows the IP header of a frame in which Parse found the headers m; nil where m has no whole IP header.
func layer4(b []byte, m *Match) []byte {
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
	switch {
	case at+20 > len(b):
		return nil
	case m.EthType == EthTypeIPv4:
		at += int(b[at]&0x0f) * 4
	case at+40 > len(b):
		return nil
	default:
		next := b[at+6]
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
	if at > len(b) {
		return nil
	}
	return b[at:]
}
