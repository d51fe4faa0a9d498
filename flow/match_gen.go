// Code generated from flow.Fields by TestGenerated. DO NOT EDIT.
// go test -run TestGenerated -update

package flow

import "net/netip"

// Fields that a mask may leave bits out of, and those that OpenFlow 1.0's match has a place for.
const (
	MaskedFields = FieldEthDst | FieldEthSrc | FieldVLAN | FieldIPSrc | FieldIPDst | FieldARPSPA | FieldARPTPA | FieldMetadata | FieldTunnelID

	Fields10 = FieldInPort | FieldEthDst | FieldEthSrc | FieldEthType | FieldVLAN | FieldVLANPCP | FieldIPDSCP | FieldIPProto | FieldIPSrc | FieldIPDst | FieldL4Src | FieldL4Dst | FieldICMPType | FieldICMPCode | FieldARPOp | FieldARPSPA | FieldARPTPA
)

// Fields returns the fields of a kind.
func (k Kind) Fields() Field {
	switch k {
	case 0:
		return 0
	case 1:
		return FieldVLANPCP | FieldIPDSCP | FieldIPECN | FieldIPProto | FieldICMPType | FieldICMPCode
	case 2:
		return FieldEthType | FieldL4Src | FieldL4Dst | FieldARPOp
	case 3:
		return FieldFlowLabel
	case 4:
		return FieldMetadata | FieldTunnelID
	case 5:
		return FieldInPort
	case 6:
		return FieldVLAN
	case 7:
		return FieldARPSHA | FieldARPTHA | FieldNDSLL
	case 8:
		return FieldEthDst | FieldEthSrc
	case 9:
		return FieldIPSrc | FieldIPDst | FieldARPSPA | FieldARPTPA
	case 10:
		return FieldNDTarget
	}
	return 0
}

// Fields returns the fields that have a need.
func (n Need) Fields() Field {
	switch n {
	case 0:
		return FieldInPort | FieldEthDst | FieldEthSrc | FieldEthType | FieldVLAN | FieldMetadata | FieldTunnelID
	case 1:
		return FieldVLANPCP
	case 2:
		return FieldIPDSCP | FieldIPECN | FieldIPProto | FieldIPSrc | FieldIPDst
	case 3:
		return FieldFlowLabel
	case 4:
		return FieldARPOp | FieldARPSPA | FieldARPTPA | FieldARPSHA | FieldARPTHA
	case 5:
		return FieldL4Src | FieldL4Dst
	case 6:
		return FieldICMPType | FieldICMPCode
	case 7:
		return FieldNDTarget | FieldNDSLL
	}
	return 0
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
		case FieldNDSLL:
			m.NDSLL = MAC{}
		}
	}
	return m
}

// Normalize makes m canonical where it is.
func (m *Match) Normalize() {
	var c Match
	c.Fields = m.Fields & AllFields
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
		case FieldNDSLL:
			c.NDSLL = m.NDSLL
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
		case FieldNDSLL:
			ok = m.NDSLL == p.NDSLL
		}
		if !ok {
			return false
		}
	}
	return true
}

// Overlaps reports whether a packet could satisfy both m and o. Where it is not
// sure it says so: prerequisites that are not written out do not tell two
// matches apart.
func (m *Match) Overlaps(o *Match) bool {
	for rest := m.Fields & o.Fields; rest != 0; rest &= rest - 1 {
		apart := false
		switch rest & -rest {
		case FieldInPort:
			apart = m.InPort != o.InPort
		case FieldEthDst:
			apart = m.EthDst.And(m.EthDstMask).And(o.EthDstMask) != o.EthDst.And(o.EthDstMask).And(m.EthDstMask)
		case FieldEthSrc:
			apart = m.EthSrc.And(m.EthSrcMask).And(o.EthSrcMask) != o.EthSrc.And(o.EthSrcMask).And(m.EthSrcMask)
		case FieldEthType:
			apart = m.EthType != o.EthType
		case FieldVLAN:
			apart = (m.VLAN^o.VLAN)&m.VLANMask&o.VLANMask != 0
		case FieldVLANPCP:
			apart = m.VLANPCP != o.VLANPCP
		case FieldIPDSCP:
			apart = m.IPDSCP != o.IPDSCP
		case FieldIPECN:
			apart = m.IPECN != o.IPECN
		case FieldIPProto:
			apart = m.IPProto != o.IPProto
		case FieldIPSrc:
			apart = prefixesApart(m.IPSrc, o.IPSrc)
		case FieldIPDst:
			apart = prefixesApart(m.IPDst, o.IPDst)
		case FieldL4Src:
			apart = m.L4Src != o.L4Src
		case FieldL4Dst:
			apart = m.L4Dst != o.L4Dst
		case FieldICMPType:
			apart = m.ICMPType != o.ICMPType
		case FieldICMPCode:
			apart = m.ICMPCode != o.ICMPCode
		case FieldARPOp:
			apart = m.ARPOp != o.ARPOp
		case FieldARPSPA:
			apart = prefixesApart(m.ARPSPA, o.ARPSPA)
		case FieldARPTPA:
			apart = prefixesApart(m.ARPTPA, o.ARPTPA)
		case FieldARPSHA:
			apart = m.ARPSHA != o.ARPSHA
		case FieldARPTHA:
			apart = m.ARPTHA != o.ARPTHA
		case FieldFlowLabel:
			apart = m.FlowLabel != o.FlowLabel
		case FieldNDTarget:
			apart = m.NDTarget != o.NDTarget
		case FieldMetadata:
			apart = (m.Metadata^o.Metadata)&m.MetadataMask&o.MetadataMask != 0
		case FieldTunnelID:
			apart = (m.TunnelID^o.TunnelID)&m.TunnelMask&o.TunnelMask != 0
		case FieldNDSLL:
			apart = m.NDSLL != o.NDSLL
		}
		if apart {
			return false
		}
	}
	return true
}

// masksInside reports whether m compares every bit that o does, in o's fields.
func (m *Match) masksInside(o *Match) bool {
	for rest := o.Fields & MaskedFields; rest != 0; rest &= rest - 1 {
		in := true
		switch rest & -rest {
		case FieldEthDst:
			in = m.EthDstMask.And(o.EthDstMask) == o.EthDstMask
		case FieldEthSrc:
			in = m.EthSrcMask.And(o.EthSrcMask) == o.EthSrcMask
		case FieldVLAN:
			in = o.VLANMask&^m.VLANMask == 0
		case FieldIPSrc:
			in = m.IPSrc.Bits() >= o.IPSrc.Bits()
		case FieldIPDst:
			in = m.IPDst.Bits() >= o.IPDst.Bits()
		case FieldARPSPA:
			in = m.ARPSPA.Bits() >= o.ARPSPA.Bits()
		case FieldARPTPA:
			in = m.ARPTPA.Bits() >= o.ARPTPA.Bits()
		case FieldMetadata:
			in = o.MetadataMask&^m.MetadataMask == 0
		case FieldTunnelID:
			in = o.TunnelMask&^m.TunnelMask == 0
		}
		if !in {
			return false
		}
	}
	return true
}

// Beyond returns the first field of m whose number has more bits than the field, or 0.
func (m *Match) Beyond() Field {
	switch {
	case m.Fields&FieldVLANPCP != 0 && m.VLANPCP > 0x7:
		return FieldVLANPCP
	case m.Fields&FieldIPDSCP != 0 && m.IPDSCP > 0x3f:
		return FieldIPDSCP
	case m.Fields&FieldIPECN != 0 && m.IPECN > 0x3:
		return FieldIPECN
	case m.Fields&FieldFlowLabel != 0 && m.FlowLabel > 0xfffff:
		return FieldFlowLabel
	}
	return 0
}
