package flow

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MAC is an Ethernet address.
type MAC [6]byte

// MACExact is the mask that compares every bit.
var MACExact = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// String returns the six bytes as hexadecimal with colons between.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Multicast reports whether the group bit is set; the broadcast address has it too.
func (m MAC) Multicast() bool { return m[0]&1 != 0 }

// And returns m with every bit cleared that mask does not have.
func (m MAC) And(mask MAC) MAC {
	for i := range m {
		m[i] &= mask[i]
	}
	return m
}

// ParseMAC reads six hexadecimal bytes with colons between.
func ParseMAC(s string) (m MAC, err error) {
	parts := strings.Split(s, ":")
	if len(parts) != len(m) {
		return m, fmt.Errorf("MAC address %q: want six bytes such as 02:00:00:00:00:01", s)
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) > 2 {
			return MAC{}, fmt.Errorf("MAC address %q: want six bytes such as 02:00:00:00:00:01", s)
		}
		m[i] = byte(v)
	}
	return m, nil
}

// EtherTypes that the match knows the insides of.
const (
	EthTypeIPv4 = 0x0800
	EthTypeARP  = 0x0806
	EthTypeVLAN = 0x8100
	EthTypeIPv6 = 0x86dd
	EthTypeQinQ = 0x88a8
	EthTypeLLDP = 0x88cc
)

// IP protocol numbers that the match knows the insides of.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// VLAN values (OpenFlow 1.3.5, 7.2.3.7): a tag's presence is bit 12.
const (
	VLANNone    uint16 = 0x0000 // the packet has no tag
	VLANPresent uint16 = 0x1000 // the packet has a tag; with VLANMask VLANPresent: any tag
	VLANExact   uint16 = 0x1fff // the mask that compares tag and VID
)

// Match is a condition over a packet's headers. Only the fields whose bit is in
// Fields count; every other member has its zero value, so that == compares two
// matches (see [Match.Canonical]).
//
// OXM's tcp_src, udp_src and sctp_src are one field here, L4Src, told apart by
// IPProto; ipv4_src and ipv6_src are IPSrc, told apart by EthType; likewise
// the ICMP fields. So a prerequisite (OpenFlow 1.3.5, 7.2.3.8) is a field of
// its own, completed by [Match.Complete].
type Match struct {
	Fields Field

	InPort     PortNo
	EthDst     MAC
	EthDstMask MAC // MACExact unless masked
	EthSrc     MAC
	EthSrcMask MAC
	EthType    uint16
	VLAN       uint16 // VLANNone, or VLANPresent|VID
	VLANMask   uint16 // VLANExact unless masked
	VLANPCP    uint8

	IPDSCP   uint8 // six bits
	IPECN    uint8 // two bits
	IPProto  uint8
	ICMPType uint8
	ICMPCode uint8
	IPSrc    netip.Prefix // of the family that EthType says
	IPDst    netip.Prefix
	L4Src    uint16
	L4Dst    uint16

	ARPOp  uint16
	ARPSPA netip.Prefix
	ARPTPA netip.Prefix
	ARPSHA MAC
	ARPTHA MAC

	FlowLabel    uint32 // twenty bits
	NDTarget     netip.Addr
	Metadata     uint64
	MetadataMask uint64
	TunnelID     uint64
	TunnelMask   uint64
	NDSLL        MAC // the source's own address in a neighbour solicitation, or 0 where it says none
}

// Has reports whether every field in f is set.
func (m *Match) Has(f Field) bool { return m.Fields&f == f }

// Setters that keep a field's bit, value and mask together.

func (m *Match) SetInPort(p PortNo)  { m.Fields |= FieldInPort; m.InPort = p }
func (m *Match) SetEthType(t uint16) { m.Fields |= FieldEthType; m.EthType = t }
func (m *Match) SetVLAN(v, mask uint16) {
	m.Fields |= FieldVLAN
	m.VLAN, m.VLANMask = v&mask, mask
}
func (m *Match) SetEthSrc(a, mask MAC) {
	m.Fields |= FieldEthSrc
	m.EthSrc, m.EthSrcMask = a.And(mask), mask
}
func (m *Match) SetEthDst(a, mask MAC) {
	m.Fields |= FieldEthDst
	m.EthDst, m.EthDstMask = a.And(mask), mask
}
func (m *Match) SetIPProto(p uint8)       { m.Fields |= FieldIPProto; m.IPProto = p }
func (m *Match) SetIPSrc(p netip.Prefix)  { m.Fields |= FieldIPSrc; m.IPSrc = p.Masked() }
func (m *Match) SetIPDst(p netip.Prefix)  { m.Fields |= FieldIPDst; m.IPDst = p.Masked() }
func (m *Match) SetL4Src(p uint16)        { m.Fields |= FieldL4Src; m.L4Src = p }
func (m *Match) SetL4Dst(p uint16)        { m.Fields |= FieldL4Dst; m.L4Dst = p }
func (m *Match) SetARPSPA(p netip.Prefix) { m.Fields |= FieldARPSPA; m.ARPSPA = p.Masked() }
func (m *Match) SetARPTPA(p netip.Prefix) { m.Fields |= FieldARPTPA; m.ARPTPA = p.Masked() }
func (m *Match) SetICMP(typ, code uint8) {
	m.Fields |= FieldICMPType | FieldICMPCode
	m.ICMPType, m.ICMPCode = typ, code
}

// Canonical returns m with the members of absent fields zeroed and values
// masked, so that equal conditions are equal under ==.
func (m Match) Canonical() Match {
	m.Normalize()
	return m
}

// Complete adds the prerequisites that follow from the fields present
// (OpenFlow 1.3.5, 7.2.3.8): eth_type for addresses, ip_proto for ports and
// ICMP. Where a field allows two answers (a port without ip_proto, a protocol
// without eth_type), the packet that asked decides; packet may be nil for a
// proactive rule. It fails where nothing decides, or where present fields
// contradict each other, naming them. It only ever narrows a match.
func (m *Match) Complete(packet *Match) error {
	var by Field                               // the one that says the eth_type, where that is not given
	ethType := func(t uint16, f Field) error { // which a field of f needs
		f &= -f
		switch {
		case !m.Has(FieldEthType):
			m.SetEthType(t)
			by = f
		case m.EthType == t:
		case by != 0:
			return fmt.Errorf("match: %v is of %s, and %v of %s: a packet is of one of them", by, ethTypeWord(m.EthType), f, ethTypeWord(t))
		default:
			return fmt.Errorf("match: eth_type is %s, and %v needs %s", ethTypeWord(m.EthType), f, ethTypeWord(t))
		}
		return nil
	}

	if f := m.Fields & NeedARP.Fields(); f != 0 {
		if err := ethType(EthTypeARP, f); err != nil {
			return err
		}
	}
	addresses := NeedIP.Fields() & Prefix.Fields()
	for rest := m.Fields & addresses; rest != 0; rest &= rest - 1 {
		f := rest & -rest
		prefix := f.Info().Prefix(m)
		if !prefix.IsValid() {
			return fmt.Errorf("match: %v is not a valid prefix", f)
		}
		t := uint16(EthTypeIPv6)
		if prefix.Addr().Is4() {
			t = EthTypeIPv4
		}
		if err := ethType(t, f); err != nil {
			return err
		}
	}
	if f := m.Fields & (NeedIPv6.Fields() | NeedNeighbor.Fields()); f != 0 {
		if err := ethType(EthTypeIPv6, f); err != nil {
			return err
		}
	}
	if f := m.Fields & NeedNeighbor.Fields(); f != 0 {
		if m.Has(FieldIPProto) && m.IPProto != ProtoICMPv6 {
			return fmt.Errorf("match: %v needs ip_proto %d, not %d", f&-f, ProtoICMPv6, m.IPProto)
		}
		m.SetIPProto(ProtoICMPv6)
	}
	ports, icmp := m.Fields&NeedPorts.Fields(), m.Fields&NeedICMP.Fields()
	if !m.Has(FieldIPProto) && ports|icmp != 0 {
		if packet == nil || !packet.Has(FieldIPProto) {
			return fmt.Errorf("match: %v without ip_proto", ports|icmp)
		}
		m.IPProto = packet.IPProto
		m.Fields |= FieldIPProto
	}
	switch {
	case ports != 0 && m.IPProto != ProtoTCP && m.IPProto != ProtoUDP && m.IPProto != ProtoSCTP:
		return fmt.Errorf("match: %v needs ip_proto 6, 17 or 132, not %d", ports, m.IPProto)
	case icmp != 0 && m.IPProto != ProtoICMP && m.IPProto != ProtoICMPv6:
		return fmt.Errorf("match: %v needs ip_proto 1 or 58, not %d", icmp, m.IPProto)
	}
	if icmp != 0 {
		t := uint16(EthTypeIPv4)
		if m.IPProto == ProtoICMPv6 {
			t = EthTypeIPv6
		}
		if err := ethType(t, icmp); err != nil {
			return err
		}
	}
	if f := m.Fields & NeedIP.Fields() &^ addresses; f != 0 {
		if !m.Has(FieldEthType) {
			if packet == nil || !packet.Has(FieldEthType) {
				return fmt.Errorf("match: %v without eth_type", f)
			}
			m.SetEthType(packet.EthType)
		}
		if m.EthType != EthTypeIPv4 && m.EthType != EthTypeIPv6 {
			return fmt.Errorf("match: %v needs eth_type 0x0800 or 0x86dd, not %#04x", f, m.EthType)
		}
	}
	if m.Has(FieldVLANPCP) && (!m.Has(FieldVLAN) || m.VLAN&VLANPresent == 0) {
		if m.Has(FieldVLAN) {
			return fmt.Errorf("match: vlan_pcp of a packet without a tag")
		}
		m.SetVLAN(VLANPresent, VLANPresent)
	}
	return nil
}

// ethTypeWord is how policies write an EtherType.
func ethTypeWord(t uint16) string {
	switch t {
	case EthTypeIPv4:
		return "ipv4"
	case EthTypeIPv6:
		return "ipv6"
	case EthTypeARP:
		return "arp"
	}
	return fmt.Sprintf("%#04x", t)
}

// NotDiscovery returns the fields of m that neighbour discovery has and no other
// packet (OpenFlow 1.3.5, 7.2.3.8; RFC 4861, 4.3 and 4.4), where m does not ask
// for such a packet, and what it would have to ask for. f is 0 where nothing is
// wrong.
func (m *Match) NotDiscovery() (f Field, want string) {
	f = m.Fields & NeedNeighbor.Fields()
	switch other := f &^ m.discovers(); {
	case f != 0 && (!m.Has(FieldICMPType) || m.ICMPType != 135 && m.ICMPType != 136):
		return f, "icmp_type 135 or 136"
	case f != 0 && m.Has(FieldICMPCode) && m.ICMPCode != 0:
		return f, "icmp_code 0"
	case other != 0:
		return other, fmt.Sprint("icmp_type ", (other & -other).Info().ICMPType)
	}
	return 0, ""
}

// discovers returns the fields that a message of neighbour discovery of m's type
// has, or one of any type where m has none.
func (m *Match) discovers() (f Field) {
	for rest := NeedNeighbor.Fields(); rest != 0; rest &= rest - 1 {
		if x := (rest & -rest).Info(); x.ICMPType == 0 || !m.Has(FieldICMPType) || x.ICMPType == m.ICMPType {
			f |= x.Field
		}
	}
	return f
}

// String writes the match as a person reads it: in_port=1,eth_type=0x0800,...
func (m Match) String() string {
	if m.Fields == 0 {
		return "any"
	}
	var b strings.Builder
	for i := range Fields {
		x := Printed(i)
		if m.Fields&x.Field == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(x.Name)
		b.WriteByte('=')
		switch x.Kind {
		case Number8, Number16, Number32:
			v, _ := x.Number(&m)
			fmt.Fprintf(&b, x.Verb, v)
		case PortNumber:
			v, _ := x.Number(&m)
			b.WriteString(PortNo(v).String())
		case Number64:
			v, mask := x.Number(&m)
			fmt.Fprintf(&b, "%#x/%#x", v, mask)
		case VLANTag:
			v, mask := x.Number(&m)
			fmt.Fprintf(&b, "%#04x/%#04x", v, mask)
		case Address, MaskedMAC:
			a, mask := x.MAC(&m)
			b.WriteString(a.String())
			if mask != MACExact {
				b.WriteString("/" + mask.String())
			}
		case Prefix:
			if p := x.Prefix(&m); p.IsSingleIP() {
				b.WriteString(p.Addr().String())
			} else {
				b.WriteString(p.String())
			}
		case IPv6:
			b.WriteString(x.Addr(&m).String())
		}
	}
	return b.String()
}
