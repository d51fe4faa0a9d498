package flow

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// RejectLife is how long a rule of our own controller denies the conversation of a packet that was rejected. It is short, since what tells the
// sender so may get lost: the next packet is asked about again.
const RejectLife = 2 * time.Second

// The ICMP messages that say that a packet is administratively prohibited: destination unreachable, and its code.
const (
	icmpUnreachable, icmpProhibited     = 3, 13 // RFC 1812, 5.2.7.1
	icmpv6Unreachable, icmpv6Prohibited = 1, 1  // RFC 4443, 3.1
)

// How long an answer is at most: of IPv4 what every host takes (RFC 1812, 4.3.2.3), of IPv6 the least MTU (RFC 4443, 2.4 c).
const (
	maxICMP   = 576
	maxICMPv6 = 1280
)

// Rejection returns the frame that tells the sender of p that p was refused: a reset of its TCP connection, or an ICMP error that says
// administratively prohibited. It has the packet's own VLAN tags and comes, as it seems, from whom the packet was for. It is to be sent to the port
// by which p came.
//
// ok is false where there must be no answer: for packets to or from anything but a single host, fragments, resets of TCP, ICMP messages other
// than queries (RFC 1122, 3.2.2; RFC 4443, 2.4 e), and for what is no IP or not seen whole.
func (p *PacketIn) Rejection() (frame []byte, ok bool) {
	m, b := &p.Match, p.Data
	if p.Incomplete != 0 || m.Missing() != 0 || !m.Has(FieldEthSrc|FieldEthDst|FieldIPProto|FieldIPSrc|FieldIPDst) || !p.single() {
		return nil, false
	}
	at, snap := layer3(b)
	if snap {
		return nil, false
	}
	quote := b[min(at, len(b)):]
	var l4 []byte
	switch m.EthType {
	case EthTypeIPv4:
		if len(quote) < 20 || quote[0]>>4 != 4 || binary.BigEndian.Uint16(quote[6:])&0x3fff != 0 {
			return nil, false
		}
	case EthTypeIPv6:
		if len(quote) < 40 || quote[0]>>4 != 6 || fragmented(quote) {
			return nil, false
		}
	default:
		return nil, false
	}
	proto := m.IPProto
	switch {
	case proto == ProtoTCP:
		if l4, ok = p.reset(); !ok {
			return nil, false
		}
	case proto == ProtoICMP || proto == ProtoICMPv6:
		if _, query := answered(proto, m.ICMPType); !query || !m.Has(FieldICMPType) {
			return nil, false
		}
		fallthrough
	default:
		proto, l4 = prohibited(m.EthType, quote)
	}
	frame = append(frame, b[6:12]...)
	frame = append(frame, b[:6]...)
	frame = append(frame, b[12:at]...)
	return appendIP(frame, m, proto, l4), true
}

// single reports whether the packet is of one host and for one other.
func (p *PacketIn) single() bool {
	m := &p.Match
	src, dst := m.IPSrc.Addr(), m.IPDst.Addr()
	if m.EthSrc.Multicast() || m.EthDst.Multicast() || src == dst || !m.IPSrc.IsSingleIP() || !m.IPDst.IsSingleIP() {
		return false
	}
	for _, a := range []netip.Addr{src, dst} {
		if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4() && (a.As4()[0] >= 240 || a.As4()[0] == 0) {
			return false
		}
	}
	return true
}

// fragmented reports whether an IPv6 packet has a fragment header, or a chain of headers that is not seen to its end.
func fragmented(b []byte) bool {
	next := b[6]
	for b = b[40:]; extensionHeader(next); {
		if next == 44 || len(b) < 8 {
			return true
		}
		length := 8 + int(b[1])*8
		if next == 51 {
			length = 8 + int(b[1])*4
		}
		next, b = b[0], b[min(length, len(b)):]
	}
	return false
}

// reset returns the TCP header that resets the connection of p (RFC 9293, 3.5.2), without its checksum.
func (p *PacketIn) reset() (h []byte, ok bool) {
	b := p.Layer4()
	if len(b) < 20 || TCPFlags(b[13])&RST != 0 || int(b[12]>>4)*4 < 20 {
		return nil, false
	}
	h = make([]byte, 20)
	copy(h[0:], b[2:4])
	copy(h[2:], b[0:2])
	h[12] = 5 << 4
	if flags := TCPFlags(b[13]); flags&ACK != 0 {
		copy(h[4:], b[8:12])
		h[13] = byte(RST)
	} else {
		at, end := p.layer4()
		length := uint32(max(0, end-at-int(b[12]>>4)*4))
		if flags&SYN != 0 {
			length++
		}
		if flags&FIN != 0 {
			length++
		}
		binary.BigEndian.PutUint32(h[8:], binary.BigEndian.Uint32(b[4:])+length)
		h[13] = byte(RST | ACK)
	}
	return h, true
}

// prohibited returns the protocol and the message of the ICMP error about the IP packet that quote begins with, without its checksum.
func prohibited(ethType uint16, quote []byte) (proto uint8, message []byte) {
	message = make([]byte, 8, 8+len(quote))
	if ethType == EthTypeIPv4 {
		message[0], message[1] = icmpUnreachable, icmpProhibited
		return ProtoICMP, append(message, quote[:min(len(quote), int(binary.BigEndian.Uint16(quote[2:])), maxICMP-28)]...)
	}
	message[0], message[1] = icmpv6Unreachable, icmpv6Prohibited
	return ProtoICMPv6, append(message, quote[:min(len(quote), 40+int(binary.BigEndian.Uint16(quote[4:])), maxICMPv6-48)]...)
}

// appendIP appends the IP packet that answers one with headers m, and puts the checksum into its layer 4.
func appendIP(b []byte, m *Match, proto uint8, l4 []byte) []byte {
	src, dst := m.IPDst.Addr().AsSlice(), m.IPSrc.Addr().AsSlice()
	var pseudo uint32
	if proto != ProtoICMP {
		pseudo = sum(0, src) + sum(0, dst) + uint32(proto) + uint32(len(l4))
	}
	at := map[uint8]int{ProtoTCP: 16, ProtoICMP: 2, ProtoICMPv6: 2}[proto]
	binary.BigEndian.PutUint16(l4[at:], ^fold(sum(pseudo, l4)))
	const hops = 64
	if m.EthType == EthTypeIPv4 {
		h := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, hops, proto, 0, 0} // don't fragment
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
		h = append(append(h, src...), dst...)
		binary.BigEndian.PutUint16(h[10:], ^fold(sum(0, h)))
		b = append(b, h...)
	} else {
		b = append(b, 0x60, 0, 0, 0, byte(len(l4)>>8), byte(len(l4)), proto, hops)
		b = append(append(b, src...), dst...)
	}
	return append(b, l4...)
}

// sum adds the 16-bit words of b, of which there are less than 65,536, to s (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
