package ofp

import (
	"fmt"
	"net/netip"

	"switchbridge/flow"
)

// matchLen10 is the length of struct ofp_match (OpenFlow 1.0.0, 5.2.3).
const matchLen10 = 40

// Wildcard bits, OFPFW_*. The two address wildcards are numbers of six bits: how many low
// bits of the address are ignored. 32 and more means all of them.
const (
	wildInPort  = 1 << 0
	wildVLAN    = 1 << 1
	wildEthSrc  = 1 << 2
	wildEthDst  = 1 << 3
	wildEthType = 1 << 4
	wildIPProto = 1 << 5
	wildTPSrc   = 1 << 6
	wildTPDst   = 1 << 7
	wildIPSrc   = 8 // shift
	wildIPDst   = 14
	wildVLANPCP = 1 << 20
	wildIPTOS   = 1 << 21
	wildAll     = 1<<22 - 1
)

const vlanNone10 = 0xffff // OFP_VLAN_NONE

// check10 returns why 1.0 can't express m, or nil. A field without its prerequisite is an
// error, too: 1.0 ignores such a field, and the rule would match more packets (OpenFlow
// 1.0.0, 3.4).
func check10(m *flow.Match) error {
	const v = flow.OpenFlow10
	if rest := m.Fields &^ flow.Fields10; rest != 0 {
		return unsupported(v, "a match on "+rest.String())
	}
	if m.Has(flow.FieldEthSrc) && !macExactOrAny(m.EthSrcMask) {
		return unsupported(v, "a match on masked eth_src")
	}
	if m.Has(flow.FieldEthDst) && !macExactOrAny(m.EthDstMask) {
		return unsupported(v, "a match on masked eth_dst")
	}
	if m.Has(flow.FieldInPort) {
		if _, ok := port16(m.InPort); !ok {
			return unsupported(v, "in_port "+m.InPort.String())
		}
	}
	if err := checkVID(m); err != nil {
		return err
	}
	if err := checkVLAN10(m); err != nil {
		return err
	}
	ports, icmp := m.Fields&flow.NeedPorts.Fields(), m.Fields&flow.NeedICMP.Fields()
	if f := m.Fields&flow.NeedIP.Fields() | ports | icmp; f != 0 && (!m.Has(flow.FieldEthType) || m.EthType != flow.EthTypeIPv4) {
		if m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeIPv6 {
			return unsupported(v, "a match on "+f.String()+" of IPv6")
		}
		return prerequisite(f, "eth_type 0x0800")
	}
	if f := m.Fields & flow.NeedARP.Fields(); f != 0 && (!m.Has(flow.FieldEthType) || m.EthType != flow.EthTypeARP) {
		return prerequisite(f, "eth_type 0x0806")
	}
	if m.Has(flow.FieldARPOp) && m.ARPOp > 0xff {
		return unsupported(v, fmt.Sprintf("arp_op %d", m.ARPOp))
	}
	if ports != 0 {
		if m.Has(flow.FieldIPProto) && m.IPProto == flow.ProtoSCTP {
			return unsupported(v, "a match on "+ports.String()+" of SCTP")
		}
		if !m.Has(flow.FieldIPProto) || m.IPProto != flow.ProtoTCP && m.IPProto != flow.ProtoUDP {
			return prerequisite(ports, "ip_proto 6 or 17")
		}
	}
	if icmp != 0 && (!m.Has(flow.FieldIPProto) || m.IPProto != flow.ProtoICMP) {
		return prerequisite(icmp, "ip_proto 1")
	}
	for rest := m.Fields & flow.Prefix.Fields(); rest != 0; rest &= rest - 1 {
		f := rest & -rest
		if p := f.Info().Prefix(m); !p.Addr().Is4() {
			return fmt.Errorf("match: %v %v is not an IPv4 prefix", f, p)
		}
	}
	return nil
}

func checkVLAN10(m *flow.Match) error {
	if !m.Has(flow.FieldVLAN) {
		if m.Has(flow.FieldVLANPCP) {
			return prerequisite(flow.FieldVLANPCP, "vlan_vid")
		}
		return nil
	}
	untagged := m.VLAN&flow.VLANPresent == 0
	switch {
	case m.Has(flow.FieldVLANPCP) && untagged:
		return prerequisite(flow.FieldVLANPCP, "a vlan_vid with a tag")
	case m.VLANMask&flow.VLANExact == flow.VLANExact:
		return nil
	case untagged && m.VLANMask == flow.VLANPresent:
		return nil // no tag, said with a mask
	case !untagged && m.VLANMask == flow.VLANPresent && m.Has(flow.FieldVLANPCP):
		return nil // any tag of this priority
	case m.VLANMask == 0 && !m.Has(flow.FieldVLANPCP):
		return nil
	}
	return unsupported(flow.OpenFlow10, fmt.Sprintf("a match on vlan_vid %#04x/%#04x", m.VLAN, m.VLANMask))
}

func prerequisite(f flow.Field, needs string) error {
	return fmt.Errorf("match: %v needs %s", f, needs)
}

func macExactOrAny(mask flow.MAC) bool { return mask == flow.MACExact || mask == flow.MAC{} }

// appendMatch10 appends struct ofp_match, for a match that check10 has accepted.
func appendMatch10(b []byte, m *flow.Match) []byte {
	start := len(b)
	b = append(b, zero[:matchLen10]...)
	o := b[start:]
	wild := uint32(wildAll)
	if m.Has(flow.FieldInPort) {
		wild &^= wildInPort
		be.PutUint16(o[4:], uint16(m.InPort))
	}
	if m.Has(flow.FieldEthSrc) && m.EthSrcMask == flow.MACExact {
		wild &^= wildEthSrc
		copy(o[6:], m.EthSrc[:])
	}
	if m.Has(flow.FieldEthDst) && m.EthDstMask == flow.MACExact {
		wild &^= wildEthDst
		copy(o[12:], m.EthDst[:])
	}
	if m.Has(flow.FieldVLAN) {
		switch {
		case m.VLANMask&flow.VLANPresent != 0 && m.VLAN&flow.VLANPresent == 0:
			wild &^= wildVLAN
			be.PutUint16(o[18:], vlanNone10)
		case m.VLANMask&flow.VLANExact == flow.VLANExact:
			wild &^= wildVLAN
			be.PutUint16(o[18:], m.VLAN&0x0fff)
		}
	}
	if m.Has(flow.FieldVLANPCP) {
		wild &^= wildVLANPCP
		o[20] = m.VLANPCP & 7
	}
	if m.Has(flow.FieldEthType) {
		wild &^= wildEthType
		be.PutUint16(o[22:], m.EthType)
	}
	if m.Has(flow.FieldIPDSCP) {
		wild &^= wildIPTOS
		o[24] = m.IPDSCP << 2
	}
	switch {
	case m.Has(flow.FieldIPProto):
		wild &^= wildIPProto
		o[25] = m.IPProto
	case m.Has(flow.FieldARPOp):
		wild &^= wildIPProto
		o[25] = uint8(m.ARPOp)
	}
	switch {
	case m.Has(flow.FieldIPSrc):
		wild = putPrefix10(o[28:], m.IPSrc, wild, wildIPSrc)
	case m.Has(flow.FieldARPSPA):
		wild = putPrefix10(o[28:], m.ARPSPA, wild, wildIPSrc)
	}
	switch {
	case m.Has(flow.FieldIPDst):
		wild = putPrefix10(o[32:], m.IPDst, wild, wildIPDst)
	case m.Has(flow.FieldARPTPA):
		wild = putPrefix10(o[32:], m.ARPTPA, wild, wildIPDst)
	}
	switch {
	case m.Has(flow.FieldL4Src):
		wild &^= wildTPSrc
		be.PutUint16(o[36:], m.L4Src)
	case m.Has(flow.FieldICMPType):
		wild &^= wildTPSrc
		o[37] = m.ICMPType
	}
	switch {
	case m.Has(flow.FieldL4Dst):
		wild &^= wildTPDst
		be.PutUint16(o[38:], m.L4Dst)
	case m.Has(flow.FieldICMPCode):
		wild &^= wildTPDst
		o[39] = m.ICMPCode
	}
	be.PutUint32(o, wild)
	return b
}

var zero [64]byte

func putPrefix10(o []byte, p netip.Prefix, wild uint32, shift int) uint32 {
	if !p.Addr().Is4() { // only in a report that was not checked
		return wild
	}
	a := p.Masked().Addr().As4()
	copy(o, a[:])
	return wild&^(63<<shift) | uint32(32-p.Bits())<<shift
}

// parseMatch10 reads struct ofp_match. It ignores fields that dl_type or nw_proto exclude
// (1.0.0, 3.4). If dl_type or nw_proto is a wildcard, it keeps a field that needs it, so
// that the caller can add the prerequisite or refuse the match. A switch would ignore the
// field, and its rule would match more packets than was meant.
func parseMatch10(b []byte) (m flow.Match, err error) {
	wild := be.Uint32(b)
	exact := func(bit uint32) bool { return wild&bit == 0 }
	if exact(wildInPort) {
		m.SetInPort(port32(be.Uint16(b[4:])))
	}
	if exact(wildEthSrc) {
		m.SetEthSrc(flow.MAC(b[6:12]), flow.MACExact)
	}
	if exact(wildEthDst) {
		m.SetEthDst(flow.MAC(b[12:18]), flow.MACExact)
	}
	vlan := be.Uint16(b[18:])
	switch {
	case exact(wildVLAN) && vlan == vlanNone10:
		m.SetVLAN(flow.VLANNone, flow.VLANExact)
	case exact(wildVLAN):
		m.SetVLAN(flow.VLANPresent|vlan&0x0fff, flow.VLANExact)
	case exact(wildVLANPCP):
		m.SetVLAN(flow.VLANPresent, flow.VLANPresent)
	}
	if exact(wildVLANPCP) && m.VLAN&flow.VLANPresent != 0 {
		m.Fields |= flow.FieldVLANPCP
		m.VLANPCP = b[20] & 7
	}
	if exact(wildEthType) {
		m.SetEthType(be.Uint16(b[22:]))
	}
	switch {
	case m.Has(flow.FieldEthType) && m.EthType == flow.EthTypeARP:
		if exact(wildIPProto) {
			m.Fields |= flow.FieldARPOp
			m.ARPOp = uint16(b[25])
		}
		if p, ok := prefix10(b[28:], wild>>wildIPSrc); ok {
			m.SetARPSPA(p)
		}
		if p, ok := prefix10(b[32:], wild>>wildIPDst); ok {
			m.SetARPTPA(p)
		}
	case !m.Has(flow.FieldEthType) || m.EthType == flow.EthTypeIPv4:
		err = parseIP10(b, wild, &m)
	}
	return m, err
}

func parseIP10(b []byte, wild uint32, m *flow.Match) error {
	exact := func(bit uint32) bool { return wild&bit == 0 }
	if exact(wildIPTOS) {
		m.Fields |= flow.FieldIPDSCP
		m.IPDSCP = b[24] >> 2
	}
	if exact(wildIPProto) {
		m.SetIPProto(b[25])
	}
	if p, ok := prefix10(b[28:], wild>>wildIPSrc); ok {
		m.SetIPSrc(p)
	}
	if p, ok := prefix10(b[32:], wild>>wildIPDst); ok {
		m.SetIPDst(p)
	}
	src, dst := be.Uint16(b[36:]), be.Uint16(b[38:])
	switch {
	case !m.Has(flow.FieldIPProto) || m.IPProto == flow.ProtoTCP || m.IPProto == flow.ProtoUDP:
		if exact(wildTPSrc) {
			m.SetL4Src(src)
		}
		if exact(wildTPDst) {
			m.SetL4Dst(dst)
		}
	case m.IPProto == flow.ProtoICMP:
		if exact(wildTPSrc) {
			m.Fields |= flow.FieldICMPType
			m.ICMPType = uint8(src)
		}
		if exact(wildTPDst) {
			m.Fields |= flow.FieldICMPCode
			m.ICMPCode = uint8(dst)
		}
		if exact(wildTPSrc) && src > 0xff || exact(wildTPDst) && dst > 0xff {
			return fmt.Errorf("match: ICMP type %d, code %d: want at most 255", src, dst)
		}
	}
	return nil
}

func prefix10(b []byte, wild uint32) (netip.Prefix, bool) {
	if wild &= 63; wild < 32 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(32-wild)), true
	}
	return netip.Prefix{}, false
}
