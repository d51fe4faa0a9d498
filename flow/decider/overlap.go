package decider

import (
	"net/netip"

	"switchbridge/flow"
)

// overlap reports whether a packet could satisfy both a and b. Where it is not
// sure it says so: prerequisites that are not written out do not tell two
// matches apart.
func overlap(a, b *flow.Match) bool {
	for rest := a.Fields & b.Fields; rest != 0; rest &= rest - 1 {
		apart := false
		switch rest & -rest {
		case flow.FieldInPort:
			apart = a.InPort != b.InPort
		case flow.FieldEthDst:
			apart = a.EthDst.And(a.EthDstMask).And(b.EthDstMask) != b.EthDst.And(b.EthDstMask).And(a.EthDstMask)
		case flow.FieldEthSrc:
			apart = a.EthSrc.And(a.EthSrcMask).And(b.EthSrcMask) != b.EthSrc.And(b.EthSrcMask).And(a.EthSrcMask)
		case flow.FieldEthType:
			apart = a.EthType != b.EthType
		case flow.FieldVLAN:
			apart = (a.VLAN^b.VLAN)&a.VLANMask&b.VLANMask != 0
		case flow.FieldVLANPCP:
			apart = a.VLANPCP != b.VLANPCP
		case flow.FieldIPDSCP:
			apart = a.IPDSCP != b.IPDSCP
		case flow.FieldIPECN:
			apart = a.IPECN != b.IPECN
		case flow.FieldIPProto:
			apart = a.IPProto != b.IPProto
		case flow.FieldIPSrc:
			apart = prefixesApart(a.IPSrc, b.IPSrc)
		case flow.FieldIPDst:
			apart = prefixesApart(a.IPDst, b.IPDst)
		case flow.FieldL4Src:
			apart = a.L4Src != b.L4Src
		case flow.FieldL4Dst:
			apart = a.L4Dst != b.L4Dst
		case flow.FieldICMPType:
			apart = a.ICMPType != b.ICMPType
		case flow.FieldICMPCode:
			apart = a.ICMPCode != b.ICMPCode
		case flow.FieldARPOp:
			apart = a.ARPOp != b.ARPOp
		case flow.FieldARPSPA:
			apart = prefixesApart(a.ARPSPA, b.ARPSPA)
		case flow.FieldARPTPA:
			apart = prefixesApart(a.ARPTPA, b.ARPTPA)
		case flow.FieldARPSHA:
			apart = a.ARPSHA != b.ARPSHA
		case flow.FieldARPTHA:
			apart = a.ARPTHA != b.ARPTHA
		case flow.FieldFlowLabel:
			apart = a.FlowLabel != b.FlowLabel
		case flow.FieldNDTarget:
			apart = a.NDTarget != b.NDTarget
		case flow.FieldMetadata:
			apart = (a.Metadata^b.Metadata)&a.MetadataMask&b.MetadataMask != 0
		case flow.FieldTunnelID:
			apart = (a.TunnelID^b.TunnelID)&a.TunnelMask&b.TunnelMask != 0
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

// inRange says what of m no switch could be told, or "". Decoders refuse most
// of it; a controller in process has none in front of it.
func inRange(m *flow.Match) string {
	switch {
	case m.Has(flow.FieldIPDSCP) && m.IPDSCP > 0x3f:
		return "match: ip_dscp has six bits"
	case m.Has(flow.FieldIPECN) && m.IPECN > 3:
		return "match: ip_ecn has two bits"
	case m.Has(flow.FieldVLANPCP) && m.VLANPCP > 7:
		return "match: vlan_pcp has three bits"
	case m.Has(flow.FieldVLAN) && (m.VLAN|m.VLANMask)&^flow.VLANExact != 0:
		return "match: vlan_vid has thirteen bits"
	case m.Has(flow.FieldFlowLabel) && m.FlowLabel > 0xfffff:
		return "match: ipv6_flabel has twenty bits"
	case m.Has(flow.FieldARPSPA) && !(m.ARPSPA.IsValid() && m.ARPSPA.Addr().Is4()):
		return "match: arp_spa is no IPv4 prefix"
	case m.Has(flow.FieldARPTPA) && !(m.ARPTPA.IsValid() && m.ARPTPA.Addr().Is4()):
		return "match: arp_tpa is no IPv4 prefix"
	case m.Has(flow.FieldNDTarget) && !m.NDTarget.Is6():
		return "match: ipv6_nd_target is no IPv6 address"
	case m.Has(flow.FieldIPSrc) && !m.IPSrc.IsValid():
		return "match: ip_src is no prefix"
	case m.Has(flow.FieldIPDst) && !m.IPDst.IsValid():
		return "match: ip_dst is no prefix"
	}
	return ""
}
