package judge

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"switchbridge/flow"
)

// Packet is a packet that is to be, by what its frame shall say.
type Packet struct {
	Port           flow.PortNo
	EthDst, EthSrc flow.MAC
	Tags           []Tag // outermost first
	EthType        uint16

	// ARP's and IP's addresses.
	Src, Dst netip.Addr
	ARPOp    uint16
	SHA, THA flow.MAC

	Version   uint8 // of IP, where it isn't the EtherType's
	TOS       uint8 // DSCP and ECN
	FlowLabel uint32
	Extension []uint8 // IPv6 extension headers: 0, 43, 60, 51
	Fragment  Fragment
	Proto     uint8
	L4Src     uint16 // or the ICMP type
	L4Dst     uint16 // or the ICMP code
	NDTarget  netip.Addr
	LinkLayer flow.MAC // of an option of neighbour discovery, which has none where it is zero

	Cut int // the frame ends after so many bytes; 0: it is whole
}

// Tag is a VLAN tag.
type Tag struct{ Type, TCI uint16 }

// Fragment says which part of its datagram a packet is.
type Fragment uint8

const (
	Whole Fragment = iota
	First
	Later
)

// Frame writes the packet. Checksums are zero: Open vSwitch doesn't look at them.
func (p *Packet) Frame() []byte {
	b := make([]byte, 0, 128)
	b = append(b, p.EthDst[:]...)
	b = append(b, p.EthSrc[:]...)
	for _, t := range p.Tags {
		b = binary.BigEndian.AppendUint16(b, t.Type)
		b = binary.BigEndian.AppendUint16(b, t.TCI)
	}
	b = binary.BigEndian.AppendUint16(b, p.EthType)
	switch p.EthType {
	case flow.EthTypeARP:
		b = p.arp(b)
	case flow.EthTypeIPv4:
		b = p.ipv4(b)
	case flow.EthTypeIPv6:
		b = p.ipv6(b)
	default:
		b = append(b, make([]byte, 46)...)
	}
	if p.Cut != 0 && p.Cut < len(b) {
		b = b[:max(p.Cut, 14)]
	}
	return b
}

func (p *Packet) arp(b []byte) []byte {
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, p.ARPOp)
	b = append(b, p.SHA[:]...)
	b = append(b, as4(p.Src)...)
	b = append(b, p.THA[:]...)
	return append(b, as4(p.Dst)...)
}

func as4(a netip.Addr) []byte {
	if !a.Is4() {
		return []byte{10, 0, 0, 9}
	}
	return a.AsSlice()
}

func as16(a netip.Addr) []byte {
	b := a.As16()
	return b[:]
}

func (p *Packet) ipv4(b []byte) []byte {
	version := byte(4)
	if p.Version != 0 {
		version = p.Version & 0xf
	}
	l4 := p.l4()
	fragment := map[Fragment]uint16{Whole: 0, First: 0x2000, Later: 0x00b9}[p.Fragment]
	b = append(b, version<<4|5, p.TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(l4)))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, 64, p.Proto, 0, 0)
	b = append(b, as4(p.Src)...)
	b = append(b, as4(p.Dst)...)
	return append(b, l4...)
}

func (p *Packet) ipv6(b []byte) []byte {
	version := uint32(6)
	if p.Version != 0 {
		version = uint32(p.Version & 0xf)
		if p.Version == VersionZero {
			version = 0
		}
	}
	next, rest := p.Proto, p.l4()
	if p.Fragment != Whole {
		head := []byte{next, 0, 0, 1, 0, 0, 0, 7}
		if p.Fragment == Later {
			head[2], head[3] = 5, 0xc8
		}
		next, rest = 44, append(head, rest...)
	}
	for i := len(p.Extension) - 1; i >= 0; i-- {
		head := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		if p.Extension[i] == 51 { // AH counts in words of four bytes, less two
			head[1] = 1
			head = append(head, 0, 0, 0, 1)
		}
		next, rest = p.Extension[i], append(head, rest...)
	}
	b = binary.BigEndian.AppendUint32(b, version<<28|uint32(p.TOS)<<20|p.FlowLabel&0xfffff)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	b = append(b, next, 64)
	b = append(b, as16(p.Src)...)
	b = append(b, as16(p.Dst)...)
	return append(b, rest...)
}

// VersionZero is the version nibble 0, which Packet's zero value can't say.
const VersionZero uint8 = 0x10

// l4 is the transport header with some payload, or, of a later fragment, payload alone.
func (p *Packet) l4() []byte {
	if p.Fragment == Later {
		return []byte("the rest of a datagram, in the middle of which no header stands")
	}
	b := make([]byte, 32)
	switch p.Proto {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP:
		binary.BigEndian.PutUint16(b, p.L4Src)
		binary.BigEndian.PutUint16(b[2:], p.L4Dst)
		switch p.Proto {
		case flow.ProtoTCP:
			b[12], b[13] = 5<<4, 2
		case flow.ProtoUDP:
			b[5] = 32
		}
	case flow.ProtoICMP:
		b[0], b[1] = byte(p.L4Src), byte(p.L4Dst)
	case flow.ProtoICMPv6:
		b[0], b[1] = byte(p.L4Src), byte(p.L4Dst)
		if p.NDTarget.IsValid() {
			copy(b[8:24], as16(p.NDTarget))
			b = b[:24]
			if p.LinkLayer != (flow.MAC{}) {
				kind := byte(1) // the source's; an advertisement has the target's
				if p.L4Src == 136 {
					kind = 2
				}
				b = append(append(b, kind, 1), p.LinkLayer[:]...)
			}
		}
	}
	return b
}

// Satisfy changes what must change for the packet to meet m, as far as a packet can.
func (p *Packet) Satisfy(m *flow.Match) {
	f := m.Fields
	has := func(want flow.Field) bool { return f&want != 0 }
	if has(flow.FieldInPort) && m.InPort >= 1 && m.InPort <= 3 {
		p.Port = m.InPort
	}
	if has(flow.FieldEthDst) {
		p.EthDst = merge(p.EthDst, m.EthDst, m.EthDstMask)
	}
	if has(flow.FieldEthSrc) {
		p.EthSrc = merge(p.EthSrc, m.EthSrc, m.EthSrcMask)
	}
	if has(flow.FieldVLAN) {
		vlan := meantVLAN(m)
		switch {
		case m.VLANMask == 0:
		case vlan&flow.VLANPresent == 0 && m.VLANMask&flow.VLANPresent != 0:
			p.Tags = nil
		default:
			p.Tags = []Tag{{flow.EthTypeVLAN, vlan & 0xfff}}
		}
	}
	if has(flow.FieldVLANPCP) {
		if len(p.Tags) == 0 {
			p.Tags = []Tag{{flow.EthTypeVLAN, 5}}
		}
		p.Tags = []Tag{{p.Tags[0].Type, p.Tags[0].TCI&0xfff | uint16(m.VLANPCP&7)<<13}}
	}
	p.satisfyNetwork(m)
	if has(flow.FieldL4Src) {
		p.L4Src = m.L4Src
	}
	if has(flow.FieldL4Dst) {
		p.L4Dst = m.L4Dst
	}
	if has(flow.FieldICMPType) {
		p.L4Src = uint16(m.ICMPType)
	}
	if has(flow.FieldICMPCode) {
		p.L4Dst = uint16(m.ICMPCode)
	}
	if has(flow.FieldNDTarget) {
		p.L4Src, p.L4Dst, p.NDTarget = 135, 0, m.NDTarget
	}
	if has(flow.FieldL4Src | flow.FieldL4Dst | flow.FieldICMPType | flow.FieldICMPCode | flow.FieldNDTarget) {
		if p.Fragment == Later {
			p.Fragment = Whole
		}
		p.Cut = 0
	}
}

func (p *Packet) satisfyNetwork(m *flow.Match) {
	f := m.Fields
	if f&flow.FieldEthType != 0 {
		p.be(m.EthType)
	}
	if f&flow.FieldIPSrc != 0 && m.IPSrc.IsValid() {
		p.family(m.IPSrc.Addr())
		p.Src = within(p.Src, m.IPSrc)
	}
	if f&flow.FieldIPDst != 0 && m.IPDst.IsValid() {
		p.family(m.IPDst.Addr())
		p.Dst = within(p.Dst, m.IPDst)
	}
	if f&(flow.FieldARPOp|flow.FieldARPSPA|flow.FieldARPTPA|flow.FieldARPSHA|flow.FieldARPTHA) != 0 {
		p.be(flow.EthTypeARP)
	}
	if f&flow.FieldARPOp != 0 {
		p.ARPOp = m.ARPOp
	}
	if f&flow.FieldARPSPA != 0 {
		p.Src = within(p.Src, m.ARPSPA)
	}
	if f&flow.FieldARPTPA != 0 {
		p.Dst = within(p.Dst, m.ARPTPA)
	}
	if f&flow.FieldARPSHA != 0 {
		p.SHA = m.ARPSHA
	}
	if f&flow.FieldARPTHA != 0 {
		p.THA = m.ARPTHA
	}
	if f&flow.FieldIPDSCP != 0 {
		p.TOS = p.TOS&3 | m.IPDSCP<<2
	}
	if f&flow.FieldIPECN != 0 {
		p.TOS = p.TOS&^3 | m.IPECN&3
	}
	if f&flow.FieldFlowLabel != 0 {
		p.be(flow.EthTypeIPv6)
		p.FlowLabel = m.FlowLabel
	}
	if f&flow.FieldIPProto != 0 {
		p.Proto = m.IPProto
	}
}

// be makes the packet one of another EtherType, with addresses of its family.
func (p *Packet) be(ethType uint16) {
	if p.EthType == ethType {
		return
	}
	p.EthType, p.Cut, p.Version = ethType, 0, 0
	switch is4 := p.Src.Is4(); {
	case ethType == flow.EthTypeIPv6 && is4:
		p.Src, p.Dst = host6(1), host6(2)
	case ethType != flow.EthTypeIPv6 && !is4:
		p.Src, p.Dst = host4(1), host4(2)
	}
}

func (p *Packet) family(a netip.Addr) {
	if a.Is4() {
		p.be(flow.EthTypeIPv4)
	} else {
		p.be(flow.EthTypeIPv6)
	}
}

func merge(have, want, mask flow.MAC) flow.MAC {
	for i := range have {
		have[i] = have[i]&^mask[i] | want[i]&mask[i]
	}
	return have
}

func within(a netip.Addr, want netip.Prefix) netip.Addr {
	if !want.IsValid() || want.Contains(a) {
		return a
	}
	return want.Addr()
}

func host4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

func host6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(n)})
}

func mac(n int) flow.MAC { return flow.MAC{2, 0, 0, 0, 0, byte(n)} }

// The values that packets and rules are made of are few, so that they meet.
var (
	ports    = []uint16{22, 22, 80, 443, 53, 40000, 0}
	protos   = []uint8{flow.ProtoTCP, flow.ProtoTCP, flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP, flow.ProtoSCTP, flow.ProtoICMPv6, 50}
	tos      = []uint8{0, 0, 1, 2, 0x28, 0x29}
	vids     = []uint16{0, 5, 7, 0xfff}
	lengths  = []int{14, 15, 16, 18, 20, 24, 28, 33, 34, 35, 36, 37, 38, 42, 46, 53, 54, 55, 56, 58, 61, 62}
	ethTypes = []uint16{flow.EthTypeIPv4, flow.EthTypeIPv4, flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeIPv6, flow.EthTypeARP, flow.EthTypeLLDP, 0x88b5}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// once is true once in n times.
func once(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// RandomPacket returns a packet of any kind. With whole it has all its headers.
func RandomPacket(r *rand.Rand, whole bool) Packet {
	p := Packet{
		Port: flow.PortNo(1 + r.IntN(3)), EthSrc: mac(1 + r.IntN(3)), EthDst: mac(1 + r.IntN(3)), EthType: pick(r, ethTypes),
		Src: host4(1 + r.IntN(3)), Dst: host4(1 + r.IntN(3)), ARPOp: 1 + uint16(r.IntN(2)), SHA: mac(1 + r.IntN(3)), THA: mac(1 + r.IntN(3)),
		TOS: pick(r, tos), Proto: pick(r, protos), L4Src: pick(r, ports), L4Dst: pick(r, ports),
	}
	if once(r, 12) {
		p.EthDst = flow.MACExact
	}
	if p.EthType == flow.EthTypeIPv6 {
		p.Src, p.Dst = host6(1+r.IntN(3)), host6(1+r.IntN(3))
		p.FlowLabel = uint32(r.IntN(2))
		if p.Proto == flow.ProtoICMPv6 && once(r, 2) {
			p.L4Src, p.L4Dst, p.NDTarget = 135, 0, host6(1+r.IntN(3))
		}
	}
	if once(r, 4) {
		p.Tags = []Tag{{flow.EthTypeVLAN, pick(r, vids) | uint16(r.IntN(3))<<13}}
		if once(r, 4) {
			p.Tags = []Tag{{flow.EthTypeQinQ, 7}, p.Tags[0]}
		}
	}
	if !whole && once(r, 2) {
		p.Mangle(r)
	}
	return p
}

// forge changes one of the addresses that say who sent the packet.
func (p *Packet) forge(r *rand.Rand) {
	n := 1 + r.IntN(3)
	switch r.IntN(4) {
	case 0:
		p.EthSrc = mac(n)
	case 1:
		p.SHA, p.LinkLayer = mac(n), mac(n)
	case 2:
		p.Port = flow.PortNo(n)
	case 3:
		if p.Src.Is4() {
			p.Src = host4(n)
		} else if p.Src.Is6() {
			p.Src = host6(n)
		}
	}
}

// Mangle takes headers from the packet, in one of the ways in which networks and senders do.
func (p *Packet) Mangle(r *rand.Rand) {
	switch r.IntN(6) {
	case 0:
		p.Fragment = First
	case 1:
		p.Fragment = Later
	case 2, 3:
		p.Cut = pick(r, lengths)
	case 4:
		p.Version = VersionZero
		if p.EthType == flow.EthTypeIPv4 {
			p.Version = 6
		}
	case 5:
		if p.EthType == flow.EthTypeIPv6 {
			for range 1 + r.IntN(3) {
				p.Extension = append(p.Extension, pick(r, []uint8{0, 43, 60, 51}))
			}
			if once(r, 4) {
				p.Extension = append(p.Extension, 60, 60, 60, 60, 60, 60, 60, 60)
			}
			if once(r, 3) {
				p.Fragment = Fragment(r.IntN(3))
			}
		} else {
			p.Cut = 24 // IPv4, after 10 bytes
		}
	}
}
