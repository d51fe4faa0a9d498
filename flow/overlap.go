package flow

import "net/netip"

// Overlaps reports whether a packet could satisfy both a and o. Where it is not
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
		}
		if apart {
			return false
		}
	}
	return true
}

// prefixesApart reports whether no address is in both. One that is not valid
// has no addresses to speak of, so it is not apart from anything.
func prefixesApart(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && !a.Overlaps(b) }

// Inside reports whether every packet that satisfies m satisfies o, too. Both are
// canonical. Prerequisites count where they are written out ([Match.Complete]).
func (m *Match) Inside(o *Match) bool {
	if !o.Covers(m) { // as if m's values were a packet's: they are masked, so this says nothing of m's masks
		return false
	}
	const masked = FieldEthDst | FieldEthSrc | FieldVLAN | FieldIPSrc | FieldIPDst | FieldARPSPA | FieldARPTPA | FieldMetadata | FieldTunnelID
	for rest := o.Fields & masked; rest != 0; rest &= rest - 1 {
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
