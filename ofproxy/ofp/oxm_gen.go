// Code generated from flow.Fields by TestGenerated. DO NOT EDIT.
// go test -run TestGenerated -update

package ofp

import "switchbridge/flow"

// oxmLen is the length of a field's value, without a mask; 0: package flow does not have the field.
var oxmLen = [...]uint8{0: 4, 2: 8, 3: 6, 4: 6, 5: 2, 6: 2, 7: 1, 8: 1, 9: 1, 10: 1, 11: 4, 12: 4, 13: 2, 14: 2, 15: 2, 16: 2, 17: 2, 18: 2, 19: 1, 20: 1, 21: 2, 22: 4, 23: 4, 24: 6, 25: 6, 26: 16, 27: 16, 28: 4, 29: 1, 30: 1, 31: 16, 32: 6, 38: 8}

// Fields that may have a mask, by the specification and in package flow, and those whose mask must be a prefix.
const (
	maskable = 1<<2 | 1<<3 | 1<<4 | 1<<6 | 1<<11 | 1<<12 | 1<<22 | 1<<23 | 1<<26 | 1<<27 | 1<<38
	prefixes = 1<<11 | 1<<12 | 1<<22 | 1<<23 | 1<<26 | 1<<27
)

// protoOf returns the ip_proto of a port's or an ICMP field.
func protoOf(field uint8) uint8 {
	switch field {
	case 13:
		return 6
	case 14:
		return 6
	case 15:
		return 17
	case 16:
		return 17
	case 17:
		return 132
	case 18:
		return 132
	case 19:
		return 1
	case 20:
		return 1
	case 29:
		return 58
	case 30:
		return 58
	case 31:
		return 58
	case 32:
		return 58
	}
	return 0
}

func appendOXMs(b []byte, m *flow.Match) []byte {
	if m.Fields&flow.FieldInPort != 0 {
		b = oxm32(b, 0, uint32(m.InPort))
	}
	if m.Fields&flow.FieldMetadata != 0 {
		b = oxm64(b, 2, m.Metadata, m.MetadataMask)
	}
	if m.Fields&flow.FieldEthDst != 0 {
		b = oxmMAC(b, 3, m.EthDst, m.EthDstMask)
	}
	if m.Fields&flow.FieldEthSrc != 0 {
		b = oxmMAC(b, 4, m.EthSrc, m.EthSrcMask)
	}
	if m.Fields&flow.FieldEthType != 0 {
		b = oxm16(b, 5, m.EthType)
	}
	if m.Fields&flow.FieldVLAN != 0 {
		b = oxmVLANs(b, 6, m.VLAN, m.VLANMask)
	}
	if m.Fields&flow.FieldVLANPCP != 0 {
		b = oxm8(b, 7, m.VLANPCP&0x7)
	}
	if m.Fields&flow.FieldIPDSCP != 0 {
		b = oxm8(b, 8, m.IPDSCP&0x3f)
	}
	if m.Fields&flow.FieldIPECN != 0 {
		b = oxm8(b, 9, m.IPECN&0x3)
	}
	if m.Fields&flow.FieldIPProto != 0 {
		b = oxm8(b, 10, m.IPProto)
	}
	if m.Fields&flow.FieldIPSrc != 0 {
		b = oxmPrefix(b, 11, 26, m.IPSrc)
	}
	if m.Fields&flow.FieldIPDst != 0 {
		b = oxmPrefix(b, 12, 27, m.IPDst)
	}
	if m.Fields&(flow.FieldL4Src|flow.FieldL4Dst) != 0 {
		n, n2 := uint8(13), uint8(14)
		switch m.IPProto {
		case 17:
			n, n2 = 15, 16
		case 132:
			n, n2 = 17, 18
		}
		if m.Fields&flow.FieldL4Src != 0 {
			b = oxm16(b, n, m.L4Src)
		}
		if m.Fields&flow.FieldL4Dst != 0 {
			b = oxm16(b, n2, m.L4Dst)
		}
	}
	if m.Fields&(flow.FieldICMPType|flow.FieldICMPCode) != 0 {
		n, n2 := uint8(19), uint8(20)
		switch m.IPProto {
		case 58:
			n, n2 = 29, 30
		}
		if m.Fields&flow.FieldICMPType != 0 {
			b = oxm8(b, n, m.ICMPType)
		}
		if m.Fields&flow.FieldICMPCode != 0 {
			b = oxm8(b, n2, m.ICMPCode)
		}
	}
	if m.Fields&flow.FieldARPOp != 0 {
		b = oxm16(b, 21, m.ARPOp)
	}
	if m.Fields&flow.FieldARPSPA != 0 {
		b = oxmPrefix(b, 22, 22, m.ARPSPA)
	}
	if m.Fields&flow.FieldARPTPA != 0 {
		b = oxmPrefix(b, 23, 23, m.ARPTPA)
	}
	if m.Fields&flow.FieldARPSHA != 0 {
		b = oxmMAC(b, 24, m.ARPSHA, flow.MACExact)
	}
	if m.Fields&flow.FieldARPTHA != 0 {
		b = oxmMAC(b, 25, m.ARPTHA, flow.MACExact)
	}
	if m.Fields&flow.FieldFlowLabel != 0 {
		b = oxm32(b, 28, m.FlowLabel&0xfffff)
	}
	if m.Fields&flow.FieldNDTarget != 0 {
		b = oxmIPv6(b, 31, m.NDTarget)
	}
	if m.Fields&flow.FieldNDSLL != 0 {
		b = oxmMAC(b, 32, m.NDSLL, flow.MACExact)
	}
	if m.Fields&flow.FieldTunnelID != 0 {
		b = oxm64(b, 38, m.TunnelID, m.TunnelMask)
	}
	return b
}

// put adds a field's bit, value and mask to m.
func (x *rawOXM) put(m *flow.Match) error {
	switch x.field {
	case 0:
		m.Fields |= flow.FieldInPort
		m.InPort = flow.PortNo(be.Uint32(x.value))
	case 2:
		m.Fields |= flow.FieldMetadata
		m.Metadata, m.MetadataMask = x.value64()
	case 3:
		m.Fields |= flow.FieldEthDst
		m.EthDst, m.EthDstMask = x.mac()
	case 4:
		m.Fields |= flow.FieldEthSrc
		m.EthSrc, m.EthSrcMask = x.mac()
	case 5:
		m.Fields |= flow.FieldEthType
		m.EthType = be.Uint16(x.value)
	case 6:
		m.Fields |= flow.FieldVLAN
		m.VLAN, m.VLANMask = x.vlan()
	case 7:
		m.Fields |= flow.FieldVLANPCP
		m.VLANPCP = x.value[0] & 0x7
	case 8:
		m.Fields |= flow.FieldIPDSCP
		m.IPDSCP = x.value[0] & 0x3f
	case 9:
		m.Fields |= flow.FieldIPECN
		m.IPECN = x.value[0] & 0x3
	case 10:
		m.Fields |= flow.FieldIPProto
		m.IPProto = x.value[0]
	case 11, 26:
		m.Fields |= flow.FieldIPSrc
		m.IPSrc = x.prefix()
	case 12, 27:
		m.Fields |= flow.FieldIPDst
		m.IPDst = x.prefix()
	case 13, 15, 17:
		m.Fields |= flow.FieldL4Src
		m.L4Src = be.Uint16(x.value)
		return x.protocol(m)
	case 14, 16, 18:
		m.Fields |= flow.FieldL4Dst
		m.L4Dst = be.Uint16(x.value)
		return x.protocol(m)
	case 19, 29:
		m.Fields |= flow.FieldICMPType
		m.ICMPType = x.value[0]
		return x.protocol(m)
	case 20, 30:
		m.Fields |= flow.FieldICMPCode
		m.ICMPCode = x.value[0]
		return x.protocol(m)
	case 21:
		m.Fields |= flow.FieldARPOp
		m.ARPOp = be.Uint16(x.value)
	case 22:
		m.Fields |= flow.FieldARPSPA
		m.ARPSPA = x.prefix()
	case 23:
		m.Fields |= flow.FieldARPTPA
		m.ARPTPA = x.prefix()
	case 24:
		m.Fields |= flow.FieldARPSHA
		m.ARPSHA = flow.MAC(x.value)
	case 25:
		m.Fields |= flow.FieldARPTHA
		m.ARPTHA = flow.MAC(x.value)
	case 28:
		m.Fields |= flow.FieldFlowLabel
		m.FlowLabel = be.Uint32(x.value) & 0xfffff
	case 31:
		m.Fields |= flow.FieldNDTarget
		m.NDTarget = addr16(x.value)
	case 32:
		m.Fields |= flow.FieldNDSLL
		m.NDSLL = flow.MAC(x.value)
	case 38:
		m.Fields |= flow.FieldTunnelID
		m.TunnelID, m.TunnelMask = x.value64()
	}
	return nil
}

// otherFamily returns the first field of m whose address is not of its family, or 0.
func otherFamily(m *flow.Match, ipv4 bool) flow.Field {
	switch {
	case m.Fields&flow.FieldIPSrc != 0 && !family(m.IPSrc, ipv4):
		return flow.FieldIPSrc
	case m.Fields&flow.FieldIPDst != 0 && !family(m.IPDst, ipv4):
		return flow.FieldIPDst
	case m.Fields&flow.FieldARPSPA != 0 && !family(m.ARPSPA, true):
		return flow.FieldARPSPA
	case m.Fields&flow.FieldARPTPA != 0 && !family(m.ARPTPA, true):
		return flow.FieldARPTPA
	}
	return 0
}
