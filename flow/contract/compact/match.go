package compact

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"switchbridge/flow"
)

var le = binary.LittleEndian

const (
	narrow = 72  // bytes of a match
	wide   = 120 // of one with a field in wideFields

	wideFields = flow.FieldARPSHA | flow.FieldARPTHA | flow.FieldFlowLabel | flow.FieldNDTarget | flow.FieldMetadata | flow.FieldTunnelID

	allFields = wideFields | flow.FieldInPort | flow.FieldEthDst | flow.FieldEthSrc | flow.FieldEthType | flow.FieldVLAN | flow.FieldVLANPCP |
		flow.FieldIPDSCP | flow.FieldIPECN | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst |
		flow.FieldICMPType | flow.FieldICMPCode | flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
	ipFields  = flow.FieldIPSrc | flow.FieldIPDst
	arpFields = flow.FieldARPSPA | flow.FieldARPTPA

	src4 = 1 << 0 // the source address is IPv4
	dst4 = 1 << 1
)

// room is memory for a match that is written in place.
var room [wide]byte

// appendMatch appends m, which is canonical. It reports false for a match with masks, and for one
// of IP and ARP at once: no packet has either.
func appendMatch(b []byte, m *flow.Match) ([]byte, bool) {
	f := m.Fields
	if f&flow.FieldEthDst != 0 && m.EthDstMask != flow.MACExact || f&flow.FieldEthSrc != 0 && m.EthSrcMask != flow.MACExact ||
		f&flow.FieldVLAN != 0 && m.VLANMask != flow.VLANExact || f&ipFields != 0 && f&arpFields != 0 || f&^allFields != 0 {
		return b, false
	}
	size := narrow
	if f&wideFields != 0 {
		size = wide
	}
	start := len(b)
	b = append(b, room[:size]...)
	r := b[start:]
	le.PutUint32(r[0:], uint32(f))
	le.PutUint32(r[4:], uint32(m.InPort))
	*(*flow.MAC)(r[8:]) = m.EthDst
	*(*flow.MAC)(r[14:]) = m.EthSrc
	le.PutUint16(r[20:], m.EthType)
	le.PutUint16(r[22:], m.VLAN)
	r[24], r[25], r[26], r[27], r[28], r[29] = m.VLANPCP, m.IPDSCP, m.IPECN, m.IPProto, m.ICMPType, m.ICMPCode
	le.PutUint16(r[30:], m.ARPOp)
	le.PutUint16(r[32:], m.L4Src)
	le.PutUint16(r[34:], m.L4Dst)
	ok := true
	switch {
	case f&ipFields != 0:
		ok = putAddr(r, 40, f&flow.FieldIPSrc, &m.IPSrc, src4) && putAddr(r, 56, f&flow.FieldIPDst, &m.IPDst, dst4)
	case f&arpFields != 0:
		ok = putAddr(r, 40, f&flow.FieldARPSPA, &m.ARPSPA, src4) && putAddr(r, 56, f&flow.FieldARPTPA, &m.ARPTPA, dst4)
	}
	if size == wide {
		ok = ok && putWide(r, m)
	}
	if !ok {
		return b[:start], false
	}
	return b, true
}

func putAddr(r []byte, at int, has flow.Field, p *netip.Prefix, is4 byte) bool {
	if has == 0 {
		return true
	}
	a := p.Addr()
	if a.Is4() {
		r[36] |= is4
		*(*[4]byte)(r[at:]) = a.As4()
		return p.Bits() == 32
	}
	*(*[16]byte)(r[at:]) = a.As16()
	return p.Bits() == 128
}

func putWide(r []byte, m *flow.Match) bool {
	f := m.Fields
	if f&flow.FieldMetadata != 0 && m.MetadataMask != ^uint64(0) || f&flow.FieldTunnelID != 0 && m.TunnelMask != ^uint64(0) {
		return false
	}
	*(*flow.MAC)(r[72:]) = m.ARPSHA
	*(*flow.MAC)(r[78:]) = m.ARPTHA
	le.PutUint32(r[84:], m.FlowLabel)
	if f&flow.FieldNDTarget != 0 {
		if !m.NDTarget.Is6() || m.NDTarget.Zone() != "" {
			return false
		}
		*(*[16]byte)(r[88:]) = m.NDTarget.As16()
	}
	le.PutUint64(r[104:], m.Metadata)
	le.PutUint64(r[112:], m.TunnelID)
	return true
}

var (
	errShort  = errors.New("compact encoding: it ends too early")
	errFields = errors.New("compact encoding: fields that no match has")
)

// parseMatch reads a match into m and returns what follows it.
func parseMatch(r []byte, m *flow.Match) ([]byte, error) {
	if len(r) < narrow {
		return nil, errShort
	}
	f := flow.Field(le.Uint32(r))
	if f&^allFields != 0 || f&ipFields != 0 && f&arpFields != 0 {
		return nil, errFields
	}
	*m = flow.Match{}
	m.Fields = f
	m.InPort = flow.PortNo(le.Uint32(r[4:]))
	m.EthDst, m.EthSrc = flow.MAC(r[8:]), flow.MAC(r[14:])
	m.EthType = le.Uint16(r[20:])
	m.VLAN = le.Uint16(r[22:])
	m.VLANPCP, m.IPDSCP, m.IPECN, m.IPProto, m.ICMPType, m.ICMPCode = r[24], r[25], r[26], r[27], r[28], r[29]
	m.ARPOp = le.Uint16(r[30:])
	m.L4Src, m.L4Dst = le.Uint16(r[32:]), le.Uint16(r[34:])
	if f&flow.FieldEthDst != 0 {
		m.EthDstMask = flow.MACExact
	}
	if f&flow.FieldEthSrc != 0 {
		m.EthSrcMask = flow.MACExact
	}
	if f&flow.FieldVLAN != 0 {
		m.VLANMask = flow.VLANExact
	}
	switch {
	case f&ipFields != 0:
		getAddr(r, 40, f&flow.FieldIPSrc, &m.IPSrc, src4)
		getAddr(r, 56, f&flow.FieldIPDst, &m.IPDst, dst4)
	case f&arpFields != 0:
		getAddr(r, 40, f&flow.FieldARPSPA, &m.ARPSPA, src4)
		getAddr(r, 56, f&flow.FieldARPTPA, &m.ARPTPA, dst4)
	}
	if f&wideFields == 0 {
		return r[narrow:], nil
	}
	if len(r) < wide {
		return nil, errShort
	}
	m.ARPSHA, m.ARPTHA = flow.MAC(r[72:]), flow.MAC(r[78:])
	m.FlowLabel = le.Uint32(r[84:])
	if f&flow.FieldNDTarget != 0 {
		m.NDTarget = netip.AddrFrom16([16]byte(r[88:]))
	}
	if m.Metadata = le.Uint64(r[104:]); f&flow.FieldMetadata != 0 {
		m.MetadataMask = ^uint64(0)
	}
	if m.TunnelID = le.Uint64(r[112:]); f&flow.FieldTunnelID != 0 {
		m.TunnelMask = ^uint64(0)
	}
	return r[wide:], nil
}

func getAddr(r []byte, at int, has flow.Field, p *netip.Prefix, is4 byte) {
	switch {
	case has == 0:
	case r[36]&is4 != 0:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte(r[at:])), 32)
	default:
		*p = netip.PrefixFrom(netip.AddrFrom16([16]byte(r[at:])), 128)
	}
}
