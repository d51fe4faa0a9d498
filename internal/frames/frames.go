// Package frames makes Ethernet frames, for tests, generated captures and load.
//
// The builders return whole frames, without padding and frame check sequence,
// whose lengths and checksums are right. They panic where the two addresses are
// not of one family: the caller's own mistake. Frames that are wrong on purpose,
// or random, are their makers' (test/judge, flow's tests), and those that people
// write as a line of text are policy/policytest's.
package frames

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"switchbridge/flow"
)

// Endpoint is one side of a packet. Port counts for TCP and UDP only.
type Endpoint struct {
	MAC  flow.MAC
	IP   netip.Addr
	Port uint16
}

// Host returns the nth of a lab's hosts: 02:00:00:00:00:n and 10.0.0.n, as
// Mininet numbers them; n is at most 254.
func Host(n uint8) Endpoint {
	return Endpoint{MAC: flow.MAC{2, 0, 0, 0, 0, n}, IP: netip.AddrFrom4([4]byte{10, 0, 0, n})}
}

// At returns e with the given port.
func (e Endpoint) At(port uint16) Endpoint {
	e.Port = port
	return e
}

// TCP flags (RFC 9293, 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

const etherLen = 14

// Broadcast is Ethernet's address of everybody.
var Broadcast = flow.MACExact

// ARPRequest asks, by broadcast, who has target (RFC 826).
func ARPRequest(from Endpoint, target netip.Addr) []byte {
	return arp(1, from, Endpoint{IP: target}, Broadcast)
}

// ARPReply answers to's question with from's address.
func ARPReply(from, to Endpoint) []byte { return arp(2, from, to, to.MAC) }

// GratuitousARP announces from's own address to everybody (RFC 5944, 4.6).
func GratuitousARP(from Endpoint) []byte { return ARPRequest(from, from.IP) }

func arp(op uint16, from, to Endpoint, dst flow.MAC) []byte {
	b := ether(make([]byte, 0, etherLen+28), from.MAC, dst, flow.EthTypeARP)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	for _, e := range []Endpoint{from, to} {
		ip := e.IP.As4()
		b = append(b, e.MAC[:]...)
		b = append(b, ip[:]...)
	}
	return b
}

// TCP is a segment over IPv4 or IPv6, as the addresses are.
func TCP(from, to Endpoint, flags uint8, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, from.Port)
	binary.BigEndian.PutUint16(b[2:], to.Port)
	b[12] = 5 << 4 // header length in words
	b[13] = flags
	binary.BigEndian.PutUint16(b[14:], 0xffff)
	return ip(from, to, flow.ProtoTCP, append(b, payload...), 16)
}

// UDP is a datagram over IPv4 or IPv6, as the addresses are.
func UDP(from, to Endpoint, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, from.Port)
	binary.BigEndian.PutUint16(b[2:], to.Port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return ip(from, to, flow.ProtoUDP, append(b, payload...), 6)
}

// Ping is an ICMP or ICMPv6 echo request, as the addresses are.
func Ping(from, to Endpoint, id, seq uint16) []byte { return echo(from, to, 8, 128, id, seq) }

// Pong is the echo reply that answers a [Ping] from to to from.
func Pong(from, to Endpoint, id, seq uint16) []byte { return echo(from, to, 0, 129, id, seq) }

func echo(from, to Endpoint, type4, type6 uint8, id, seq uint16) []byte {
	b := make([]byte, 8, 64)
	b[0] = type4
	proto := uint8(flow.ProtoICMP)
	if from.IP.Is6() {
		b[0], proto = type6, flow.ProtoICMPv6
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	b = b[:cap(b)] // 56 bytes of data, as ping sends
	return ip(from, to, proto, b, 2)
}

// TooBig tells the sender of a frame without a tag that a router on its way can't send the packet on as it is: ICMP fragmentation needed,
// or ICMPv6 packet too big. It quotes the IP header and the eight bytes behind it (RFC 792, RFC 4443).
func TooBig(router Endpoint, frame []byte, mtu uint16) []byte {
	to, header := Endpoint{MAC: flow.MAC(frame[6:12])}, 20
	b := []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	proto := uint8(flow.ProtoICMP)
	if router.IP.Is6() {
		header, b[0], b[1], proto = 40, 2, 0, flow.ProtoICMPv6
		to.IP = netip.AddrFrom16([16]byte(frame[etherLen+8:]))
	} else {
		to.IP = netip.AddrFrom4([4]byte(frame[etherLen+12:]))
	}
	return ip(router, to, proto, append(b, frame[etherLen:etherLen+header+8]...), 2)
}

// NeighborSolicitation asks who has target (RFC 4861, 4.3), to its
// solicited-node multicast address.
func NeighborSolicitation(from Endpoint, target netip.Addr) []byte {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	to := Endpoint{MAC: flow.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]}, IP: group}
	b := make([]byte, 8, 32)
	b[0] = 135
	b = append(b, t[:]...)
	b = append(b, 1, 1) // source link-layer address
	b = append(b, from.MAC[:]...)
	return ip(from, to, flow.ProtoICMPv6, b, 2)
}

// LLDP is a link's announcement of the given port (IEEE 802.1AB).
func LLDP(from flow.MAC, port uint16) []byte {
	b := ether(nil, from, flow.MAC{0x01, 0x80, 0xc2, 0, 0, 0x0e}, flow.EthTypeLLDP)
	b = append(b, 1<<1, 7, 4) // chassis id: a MAC address
	b = append(b, from[:]...)
	b = append(b, 2<<1, 3, 7, byte(port>>8), byte(port)) // port id, local
	b = append(b, 3<<1, 2, 0, 120)                       // time to live
	return append(b, 0, 0)
}

// Tagged returns frame with an 802.1Q tag as the outermost.
func Tagged(frame []byte, vid uint16, pcp uint8) []byte {
	b := append(make([]byte, 0, len(frame)+4), frame[:12]...)
	b = append(b, 0x81, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(pcp)<<13|vid&0x0fff)
	return append(b, frame[12:]...)
}

// LaterFragment returns an IPv4 frame, without a tag, as a fragment that is not the
// first of its datagram (RFC 791, 3.1): offset 1,480. What was its layer-4 header
// is data.
func LaterFragment(frame []byte) []byte {
	b := append(make([]byte, 0, len(frame)), frame...)
	header := b[etherLen : etherLen+20]
	binary.BigEndian.PutUint16(header[6:], 1480/8)
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], ^fold(onesSum(0, header)))
	return b
}

func ether(b []byte, src, dst flow.MAC, ethType uint16) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, ethType)
}

// ip wraps a layer-4 message, whose checksum is at byte sum, in a header of the
// addresses' family and an Ethernet header.
func ip(from, to Endpoint, proto uint8, l4 []byte, sum int) []byte {
	if from.IP.Is4() != to.IP.Is4() {
		panic(fmt.Sprintf("frames: a packet from %v to %v", from.IP, to.IP))
	}
	src, dst := from.IP.AsSlice(), to.IP.AsSlice()
	if proto == flow.ProtoICMP {
		binary.BigEndian.PutUint16(l4[sum:], ^fold(onesSum(0, l4)))
	} else { // RFC 9293, 3.1 and RFC 8200, 8.1: with a pseudo-header
		s := onesSum(0, src)
		s = onesSum(s, dst)
		c := ^fold(onesSum(s+uint32(proto)+uint32(len(l4)), l4))
		if c == 0 && proto == flow.ProtoUDP {
			c = 0xffff // RFC 768: 0 means that there is none
		}
		binary.BigEndian.PutUint16(l4[sum:], c)
	}

	b := make([]byte, 0, etherLen+40+len(l4))
	if from.IP.Is6() {
		b = ether(b, from.MAC, to.MAC, flow.EthTypeIPv6)
		b = append(b, 6<<4, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(l4)))
		b = append(b, proto, 64)
		b = append(b, src...)
		b = append(b, dst...)
		return append(b, l4...)
	}
	b = ether(b, from.MAC, to.MAC, flow.EthTypeIPv4)
	b = append(b, 4<<4|5, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(l4)))
	b = append(b, 0, 0, 0x40, 0, 64, proto, 0, 0) // don't fragment
	b = append(b, src...)
	b = append(b, dst...)
	binary.BigEndian.PutUint16(b[etherLen+10:], ^fold(onesSum(0, b[etherLen:])))
	return append(b, l4...)
}

// onesSum adds b's 16-bit words to s (RFC 1071), not yet folded.
func onesSum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
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
