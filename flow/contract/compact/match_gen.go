// Code generated from flow.Fields by TestGenerated. DO NOT EDIT.
// go test -run TestGenerated -update

package compact

import (
	"net/netip"
	"switchbridge/flow"
)

const (
	wideFields = flow.FieldARPSHA | flow.FieldARPTHA | flow.FieldFlowLabel | flow.FieldNDTarget | flow.FieldMetadata | flow.FieldTunnelID | flow.FieldNDSLL

	allFields = flow.FieldInPort | flow.FieldEthDst | flow.FieldEthSrc | flow.FieldEthType | flow.FieldVLAN | flow.FieldVLANPCP | flow.FieldIPDSCP | flow.FieldIPECN | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Src | flow.FieldL4Dst | flow.FieldICMPType | flow.FieldICMPCode | flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA | flow.FieldARPSHA | flow.FieldARPTHA | flow.FieldFlowLabel | flow.FieldNDTarget | flow.FieldMetadata | flow.FieldTunnelID | flow.FieldNDSLL

	ipFields  = flow.FieldIPSrc | flow.FieldIPDst
	arpFields = flow.FieldARPSPA | flow.FieldARPTPA
)

// fits reports whether m has only fields and values that have a place.
func fits(m *flow.Match) bool {
	return m.Fields&^allFields == 0 &&
		!(m.Fields&flow.FieldEthDst != 0 && m.EthDstMask != flow.MACExact) &&
		!(m.Fields&flow.FieldEthSrc != 0 && m.EthSrcMask != flow.MACExact) &&
		!(m.Fields&flow.FieldVLAN != 0 && m.VLANMask != flow.VLANExact) &&
		!(m.Fields&flow.FieldNDTarget != 0 && (!m.NDTarget.Is6() || m.NDTarget.Zone() != "")) &&
		!(m.Fields&flow.FieldMetadata != 0 && m.MetadataMask != ^uint64(0)) &&
		!(m.Fields&flow.FieldTunnelID != 0 && m.TunnelMask != ^uint64(0))
}

func putNarrow(r []byte, m *flow.Match) {
	_ = r[narrow-1]
	le.PutUint32(r[4:], uint32(m.InPort))
	*(*flow.MAC)(r[8:]) = m.EthDst
	*(*flow.MAC)(r[14:]) = m.EthSrc
	le.PutUint16(r[20:], m.EthType)
	le.PutUint16(r[22:], m.VLAN)
	r[24] = m.VLANPCP
	r[25] = m.IPDSCP
	r[26] = m.IPECN
	r[27] = m.IPProto
	le.PutUint16(r[32:], m.L4Src)
	le.PutUint16(r[34:], m.L4Dst)
	r[28] = m.ICMPType
	r[29] = m.ICMPCode
	le.PutUint16(r[30:], m.ARPOp)
}

func putWide(r []byte, m *flow.Match) {
	_ = r[wide-1]
	*(*flow.MAC)(r[72:]) = m.ARPSHA
	*(*flow.MAC)(r[78:]) = m.ARPTHA
	le.PutUint32(r[84:], m.FlowLabel)
	if m.Fields&flow.FieldNDTarget != 0 {
		*(*[16]byte)(r[88:]) = m.NDTarget.As16()
	}
	le.PutUint64(r[104:], m.Metadata)
	le.PutUint64(r[112:], m.TunnelID)
	*(*flow.MAC)(r[120:]) = m.NDSLL
}

func getNarrow(r []byte, m *flow.Match) {
	_ = r[narrow-1]
	m.InPort = flow.PortNo(le.Uint32(r[4:]))
	if m.EthDst = flow.MAC(r[8:]); m.Fields&flow.FieldEthDst != 0 {
		m.EthDstMask = flow.MACExact
	}
	if m.EthSrc = flow.MAC(r[14:]); m.Fields&flow.FieldEthSrc != 0 {
		m.EthSrcMask = flow.MACExact
	}
	m.EthType = le.Uint16(r[20:])
	if m.VLAN = le.Uint16(r[22:]); m.Fields&flow.FieldVLAN != 0 {
		m.VLANMask = flow.VLANExact
	}
	m.VLANPCP = r[24]
	m.IPDSCP = r[25]
	m.IPECN = r[26]
	m.IPProto = r[27]
	m.L4Src = le.Uint16(r[32:])
	m.L4Dst = le.Uint16(r[34:])
	m.ICMPType = r[28]
	m.ICMPCode = r[29]
	m.ARPOp = le.Uint16(r[30:])
}

func getWide(r []byte, m *flow.Match) {
	_ = r[wide-1]
	m.ARPSHA = flow.MAC(r[72:])
	m.ARPTHA = flow.MAC(r[78:])
	m.FlowLabel = le.Uint32(r[84:])
	if m.Fields&flow.FieldNDTarget != 0 {
		m.NDTarget = netip.AddrFrom16([16]byte(r[88:]))
	}
	if m.Metadata = le.Uint64(r[104:]); m.Fields&flow.FieldMetadata != 0 {
		m.MetadataMask = ^uint64(0)
	}
	if m.TunnelID = le.Uint64(r[112:]); m.Fields&flow.FieldTunnelID != 0 {
		m.TunnelMask = ^uint64(0)
	}
	m.NDSLL = flow.MAC(r[120:])
}
