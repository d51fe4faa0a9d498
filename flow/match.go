package flow

import (
	"fmt"
	"math/bits"
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

// Field is one bit for each field of a [Match].
type Field uint32

const (
	FieldInPort Field = 1 << iota
	FieldEthDst
	FieldEthSrc
	FieldEthType
	FieldVLAN
	FieldVLANPCP
	FieldIPDSCP
	FieldIPECN
	FieldIPProto
	FieldIPSrc
	FieldIPDst
	FieldL4Src
	FieldL4Dst
	FieldICMPType
	FieldICMPCode
	FieldARPOp
	FieldARPSPA
	FieldARPTPA
	FieldARPSHA
	FieldARPTHA
	FieldFlowLabel
	FieldNDTarget
	FieldMetadata
	FieldTunnelID

	fieldEnd
)

var fieldNames = [...]string{
	"in_port", "eth_dst", "eth_src", "eth_type", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn", "ip_proto", "ip_src", "ip_dst",
	"l4_src", "l4_dst", "icmp_type", "icmp_code", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_flabel",
	"ipv6_nd_target", "metadata", "tunnel_id",
}

// String returns the field's name, or names joined by commas.
func (f Field) String() string {
	var names []string
	for rest := f & (fieldEnd - 1); rest != 0; rest &= rest - 1 {
		names = append(names, fieldNames[bits.TrailingZeros32(uint32(rest))])
	}
	return strings.Join(names, ",")
}

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

// Keep returns m, which is canonical, with only the fields in f.
// It clears what is dropped, which is less than what [Match.Canonical] would copy; to have that one clear, too,
// would make it take 2.5 times as long (BenchmarkCanonical).
func (m Match) Keep(f Field) Match {
	gone := m.Fields &^ f
	m.Fields &= f
	for rest := gone; rest != 0; rest &= rest - 1 {
		switch rest & -rest {
		case FieldInPort:
			m.InPort = 0
		case FieldEthDst:
			m.EthDst, m.EthDstMask = MAC{}, MAC{}
		case FieldEthSrc:
			m.EthSrc, m.EthSrcMask = MAC{}, MAC{}
		case FieldEthType:
			m.EthType = 0
		case FieldVLAN:
			m.VLAN, m.VLANMask = 0, 0
		case FieldVLANPCP:
			m.VLANPCP = 0
		case FieldIPDSCP:
			m.IPDSCP = 0
		case FieldIPECN:
			m.IPECN = 0
		case FieldIPProto:
			m.IPProto = 0
		case FieldIPSrc:
			m.IPSrc = netip.Prefix{}
		case FieldIPDst:
			m.IPDst = netip.Prefix{}
		case FieldL4Src:
			m.L4Src = 0
		case FieldL4Dst:
			m.L4Dst = 0
		case FieldICMPType:
			m.ICMPType = 0
		case FieldICMPCode:
			m.ICMPCode = 0
		case FieldARPOp:
			m.ARPOp = 0
		case FieldARPSPA:
			m.ARPSPA = netip.Prefix{}
		case FieldARPTPA:
			m.ARPTPA = netip.Prefix{}
		case FieldARPSHA:
			m.ARPSHA = MAC{}
		case FieldARPTHA:
			m.ARPTHA = MAC{}
		case FieldFlowLabel:
			m.FlowLabel = 0
		case FieldNDTarget:
			m.NDTarget = netip.Addr{}
		case FieldMetadata:
			m.Metadata, m.MetadataMask = 0, 0
		case FieldTunnelID:
			m.TunnelID, m.TunnelMask = 0, 0
		}
	}
	return m
}

// Canonical returns m with the members of absent fields zeroed and values
// masked, so that equal conditions are equal under ==.
func (m Match) Canonical() Match {
	m.Normalize()
	return m
}

// Normalize makes m canonical where it is.
func (m *Match) Normalize() {
	var c Match
	c.Fields = m.Fields & (fieldEnd - 1)
	for rest := c.Fields; rest != 0; rest &= rest - 1 {
		switch rest & -rest {
		case FieldInPort:
			c.InPort = m.InPort
		case FieldEthDst:
			c.EthDst, c.EthDstMask = m.EthDst.And(m.EthDstMask), m.EthDstMask
		case FieldEthSrc:
			c.EthSrc, c.EthSrcMask = m.EthSrc.And(m.EthSrcMask), m.EthSrcMask
		case FieldEthType:
			c.EthType = m.EthType
		case FieldVLAN:
			c.VLAN, c.VLANMask = m.VLAN&m.VLANMask, m.VLANMask
		case FieldVLANPCP:
			c.VLANPCP = m.VLANPCP
		case FieldIPDSCP:
			c.IPDSCP = m.IPDSCP
		case FieldIPECN:
			c.IPECN = m.IPECN
		case FieldIPProto:
			c.IPProto = m.IPProto
		case FieldIPSrc:
			c.IPSrc = m.IPSrc.Masked()
		case FieldIPDst:
			c.IPDst = m.IPDst.Masked()
		case FieldL4Src:
			c.L4Src = m.L4Src
		case FieldL4Dst:
			c.L4Dst = m.L4Dst
		case FieldICMPType:
			c.ICMPType = m.ICMPType
		case FieldICMPCode:
			c.ICMPCode = m.ICMPCode
		case FieldARPOp:
			c.ARPOp = m.ARPOp
		case FieldARPSPA:
			c.ARPSPA = m.ARPSPA.Masked()
		case FieldARPTPA:
			c.ARPTPA = m.ARPTPA.Masked()
		case FieldARPSHA:
			c.ARPSHA = m.ARPSHA
		case FieldARPTHA:
			c.ARPTHA = m.ARPTHA
		case FieldFlowLabel:
			c.FlowLabel = m.FlowLabel
		case FieldNDTarget:
			c.NDTarget = m.NDTarget
		case FieldMetadata:
			c.Metadata, c.MetadataMask = m.Metadata&m.MetadataMask, m.MetadataMask
		case FieldTunnelID:
			c.TunnelID, c.TunnelMask = m.TunnelID&m.TunnelMask, m.TunnelMask
		}
	}
	*m = c
}

// Covers reports whether a packet whose headers are p (as [ParseFrame] fills
// them) satisfies m. A field that m asks for and the packet lacks does not match.
func (m *Match) Covers(p *Match) bool {
	if m.Fields&^p.Fields != 0 {
		return false
	}
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		ok := true
		switch rest & -rest {
		case FieldInPort:
			ok = m.InPort == p.InPort
		case FieldEthDst:
			ok = p.EthDst.And(m.EthDstMask) == m.EthDst.And(m.EthDstMask)
		case FieldEthSrc:
			ok = p.EthSrc.And(m.EthSrcMask) == m.EthSrc.And(m.EthSrcMask)
		case FieldEthType:
			ok = m.EthType == p.EthType
		case FieldVLAN:
			ok = (m.VLAN^p.VLAN)&m.VLANMask == 0
		case FieldVLANPCP:
			ok = m.VLANPCP == p.VLANPCP
		case FieldIPDSCP:
			ok = m.IPDSCP == p.IPDSCP
		case FieldIPECN:
			ok = m.IPECN == p.IPECN
		case FieldIPProto:
			ok = m.IPProto == p.IPProto
		case FieldIPSrc:
			ok = m.IPSrc.Contains(p.IPSrc.Addr())
		case FieldIPDst:
			ok = m.IPDst.Contains(p.IPDst.Addr())
		case FieldL4Src:
			ok = m.L4Src == p.L4Src
		case FieldL4Dst:
			ok = m.L4Dst == p.L4Dst
		case FieldICMPType:
			ok = m.ICMPType == p.ICMPType
		case FieldICMPCode:
			ok = m.ICMPCode == p.ICMPCode
		case FieldARPOp:
			ok = m.ARPOp == p.ARPOp
		case FieldARPSPA:
			ok = m.ARPSPA.Contains(p.ARPSPA.Addr())
		case FieldARPTPA:
			ok = m.ARPTPA.Contains(p.ARPTPA.Addr())
		case FieldARPSHA:
			ok = m.ARPSHA == p.ARPSHA
		case FieldARPTHA:
			ok = m.ARPTHA == p.ARPTHA
		case FieldFlowLabel:
			ok = m.FlowLabel == p.FlowLabel
		case FieldNDTarget:
			ok = m.NDTarget == p.NDTarget
		case FieldMetadata:
			ok = (m.Metadata^p.Metadata)&m.MetadataMask == 0
		case FieldTunnelID:
			ok = (m.TunnelID^p.TunnelID)&m.TunnelMask == 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// Complete adds the prerequisites that follow from the fields present
// (OpenFlow 1.3.5, 7.2.3.8): eth_type for addresses, ip_proto for ports and
// ICMP. Where a field allows two answers (a port without ip_proto, a protocol
// without eth_type), the packet that asked decides; packet may be nil for a
// proactive rule. It fails where nothing decides, or where present fields
// contradict each other, naming them. It only ever narrows a match.
func (m *Match) Complete(packet *Match) error {
	need := func(f Field, have, want uint64, set func()) error {
		if m.Has(f) {
			if have != want {
				return fmt.Errorf("match: %v is %#x where its other fields need %#x", f, have, want)
			}
			return nil
		}
		set()
		m.Fields |= f
		return nil
	}
	ethType := func(t uint16) error {
		return need(FieldEthType, uint64(m.EthType), uint64(t), func() { m.EthType = t })
	}

	if m.Fields&(FieldARPOp|FieldARPSPA|FieldARPTPA|FieldARPSHA|FieldARPTHA) != 0 {
		if err := ethType(EthTypeARP); err != nil {
			return err
		}
	}
	for rest := m.Fields & (FieldIPSrc | FieldIPDst); rest != 0; rest &= rest - 1 {
		f, prefix := rest&-rest, &m.IPSrc
		if f == FieldIPDst {
			prefix = &m.IPDst
		}
		if !prefix.IsValid() {
			return fmt.Errorf("match: %v is not a valid prefix", f)
		}
		t := uint16(EthTypeIPv6)
		if prefix.Addr().Is4() {
			t = EthTypeIPv4
		}
		if err := ethType(t); err != nil {
			return err
		}
	}
	if m.Fields&(FieldFlowLabel|FieldNDTarget) != 0 {
		if err := ethType(EthTypeIPv6); err != nil {
			return err
		}
	}
	if m.Has(FieldNDTarget) {
		if err := need(FieldIPProto, uint64(m.IPProto), ProtoICMPv6, func() { m.IPProto = ProtoICMPv6 }); err != nil {
			return err
		}
	}
	if !m.Has(FieldIPProto) && m.Fields&(FieldL4Src|FieldL4Dst|FieldICMPType|FieldICMPCode) != 0 {
		if packet == nil || !packet.Has(FieldIPProto) {
			return fmt.Errorf("match: %v without ip_proto", m.Fields&(FieldL4Src|FieldL4Dst|FieldICMPType|FieldICMPCode))
		}
		m.IPProto = packet.IPProto
		m.Fields |= FieldIPProto
	}
	switch {
	case m.Fields&(FieldL4Src|FieldL4Dst) != 0 && m.IPProto != ProtoTCP && m.IPProto != ProtoUDP && m.IPProto != ProtoSCTP:
		return fmt.Errorf("match: %v needs ip_proto 6, 17 or 132, not %d", m.Fields&(FieldL4Src|FieldL4Dst), m.IPProto)
	case m.Fields&(FieldICMPType|FieldICMPCode) != 0 && m.IPProto != ProtoICMP && m.IPProto != ProtoICMPv6:
		return fmt.Errorf("match: %v needs ip_proto 1 or 58, not %d", m.Fields&(FieldICMPType|FieldICMPCode), m.IPProto)
	}
	if m.Fields&(FieldICMPType|FieldICMPCode) != 0 {
		t := uint16(EthTypeIPv4)
		if m.IPProto == ProtoICMPv6 {
			t = EthTypeIPv6
		}
		if err := ethType(t); err != nil {
			return err
		}
	}
	if m.Fields&(FieldIPProto|FieldIPDSCP|FieldIPECN) != 0 {
		if !m.Has(FieldEthType) {
			if packet == nil || !packet.Has(FieldEthType) {
				return fmt.Errorf("match: %v without eth_type", m.Fields&(FieldIPProto|FieldIPDSCP|FieldIPECN))
			}
			m.SetEthType(packet.EthType)
		}
		if m.EthType != EthTypeIPv4 && m.EthType != EthTypeIPv6 {
			return fmt.Errorf("match: %v needs eth_type 0x0800 or 0x86dd, not %#04x", m.Fields&(FieldIPProto|FieldIPDSCP|FieldIPECN), m.EthType)
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

// String writes the match as a person reads it: in_port=1,eth_type=0x0800,...
func (m Match) String() string {
	if m.Fields == 0 {
		return "any"
	}
	var b strings.Builder
	put := func(f Field, format string, args ...any) {
		if !m.Has(f) {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%v=", f)
		fmt.Fprintf(&b, format, args...)
	}
	masked := func(a, mask MAC) string {
		if mask == MACExact {
			return a.String()
		}
		return a.String() + "/" + mask.String()
	}
	prefix := func(p netip.Prefix) string {
		if p.IsSingleIP() {
			return p.Addr().String()
		}
		return p.String()
	}
	put(FieldInPort, "%v", m.InPort)
	put(FieldEthSrc, "%s", masked(m.EthSrc, m.EthSrcMask))
	put(FieldEthDst, "%s", masked(m.EthDst, m.EthDstMask))
	put(FieldEthType, "%#04x", m.EthType)
	put(FieldVLAN, "%#04x/%#04x", m.VLAN, m.VLANMask)
	put(FieldVLANPCP, "%d", m.VLANPCP)
	put(FieldIPDSCP, "%d", m.IPDSCP)
	put(FieldIPECN, "%d", m.IPECN)
	put(FieldIPProto, "%d", m.IPProto)
	put(FieldIPSrc, "%s", prefix(m.IPSrc))
	put(FieldIPDst, "%s", prefix(m.IPDst))
	put(FieldL4Src, "%d", m.L4Src)
	put(FieldL4Dst, "%d", m.L4Dst)
	put(FieldICMPType, "%d", m.ICMPType)
	put(FieldICMPCode, "%d", m.ICMPCode)
	put(FieldARPOp, "%d", m.ARPOp)
	put(FieldARPSPA, "%s", prefix(m.ARPSPA))
	put(FieldARPTPA, "%s", prefix(m.ARPTPA))
	put(FieldARPSHA, "%s", m.ARPSHA)
	put(FieldARPTHA, "%s", m.ARPTHA)
	put(FieldFlowLabel, "%#x", m.FlowLabel)
	put(FieldNDTarget, "%s", m.NDTarget)
	put(FieldMetadata, "%#x/%#x", m.Metadata, m.MetadataMask)
	put(FieldTunnelID, "%#x/%#x", m.TunnelID, m.TunnelMask)
	return b.String()
}
