package flow

import (
	"encoding/binary"
	"net/netip"
)

// maxExtensions bounds the walk over IPv6 extension headers.
const maxExtensions = 8

// ParseFrame returns the match that an Ethernet frame fills exactly: in_port
// and every header field that is present and whole. It never fails: a frame cut
// short, or one that lies about its lengths, gives the fields up to there. A
// later IP fragment has no layer-4 fields. A packet without a VLAN tag has the
// field vlan_vid with the value VLANNone; the outer tag of several counts and
// the EtherType is the innermost one's.
func ParseFrame(data []byte, inPort PortNo) Match {
	var m Match
	m.SetInPort(inPort)
	if len(data) < 14 {
		return m
	}
	m.Fields |= FieldEthDst | FieldEthSrc | FieldVLAN
	m.EthDst, m.EthSrc = MAC(data[0:6]), MAC(data[6:12])
	m.EthDstMask, m.EthSrcMask = MACExact, MACExact
	m.VLAN, m.VLANMask = VLANNone, VLANExact
	ethType := binary.BigEndian.Uint16(data[12:])
	rest := data[14:]
	for tags := 0; (ethType == EthTypeVLAN || ethType == EthTypeQinQ) && len(rest) >= 4; tags++ {
		if tci := binary.BigEndian.Uint16(rest); tags == 0 {
			m.VLAN = VLANPresent | tci&0x0fff
			m.VLANPCP = uint8(tci >> 13)
			m.Fields |= FieldVLANPCP
		}
		ethType = binary.BigEndian.Uint16(rest[2:])
		rest = rest[4:]
	}
	if ethType < 0x0600 { // an 802.3 length: OpenFlow 1.0's OFP_DL_TYPE_NOT_ETH_TYPE
		ethType = 0x05ff
		if len(rest) >= 8 && rest[0] == 0xaa && rest[1] == 0xaa && rest[2] == 3 && rest[3]|rest[4]|rest[5] == 0 {
			ethType = binary.BigEndian.Uint16(rest[6:]) // SNAP with OUI 0
			rest = rest[8:]
		}
	}
	m.SetEthType(ethType)
	switch ethType {
	case EthTypeARP:
		m.parseARP(rest)
	case EthTypeIPv4:
		m.parseIPv4(rest)
	case EthTypeIPv6:
		m.parseIPv6(rest)
	}
	return m
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// parseARP reads RFC 826's packet for Ethernet and IPv4.
func (m *Match) parseARP(b []byte) {
	if len(b) < 28 || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != EthTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return
	}
	m.Fields |= FieldARPOp | FieldARPSHA | FieldARPSPA | FieldARPTHA | FieldARPTPA
	m.ARPOp = binary.BigEndian.Uint16(b[6:])
	m.ARPSHA = MAC(b[8:14])
	m.ARPSPA = host(netip.AddrFrom4([4]byte(b[14:18])))
	m.ARPTHA = MAC(b[18:24])
	m.ARPTPA = host(netip.AddrFrom4([4]byte(b[24:28])))
}

func (m *Match) parseIPv4(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	header := int(b[0]&0x0f) * 4
	m.setIP(b[1], host(netip.AddrFrom4([4]byte(b[12:16]))), host(netip.AddrFrom4([4]byte(b[16:20]))))
	m.SetIPProto(b[9])
	if header < 20 || header > len(b) {
		return
	}
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // a later fragment
		return
	}
	m.parseL4(b[9], b[header:])
}

func (m *Match) parseIPv6(b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	word := binary.BigEndian.Uint32(b)
	m.setIP(uint8(word>>20), host(netip.AddrFrom16([16]byte(b[8:24]))), host(netip.AddrFrom16([16]byte(b[24:40]))))
	m.Fields |= FieldFlowLabel
	m.FlowLabel = word & 0xfffff
	next, rest := b[6], b[40:]
	for range maxExtensions {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 || len(rest) < 8+int(rest[1])*8 {
				m.SetIPProto(next)
				return
			}
			next, rest = rest[0], rest[8+int(rest[1])*8:]
		case 44: // fragment
			if len(rest) < 8 {
				m.SetIPProto(next)
				return
			}
			later := binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0
			next, rest = rest[0], rest[8:]
			if later {
				m.SetIPProto(next)
				return
			}
		default:
			m.SetIPProto(next)
			m.parseL4(next, rest)
			return
		}
	}
	m.SetIPProto(next)
}

func (m *Match) setIP(tos uint8, src, dst netip.Prefix) {
	m.Fields |= FieldIPDSCP | FieldIPECN | FieldIPSrc | FieldIPDst
	m.IPDSCP, m.IPECN = tos>>2, tos&3
	m.IPSrc, m.IPDst = src, dst
}

func (m *Match) parseL4(proto uint8, b []byte) {
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoSCTP:
		if len(b) >= 4 {
			m.SetL4Src(binary.BigEndian.Uint16(b))
			m.SetL4Dst(binary.BigEndian.Uint16(b[2:]))
		}
	case ProtoICMP:
		if len(b) >= 2 {
			m.SetICMP(b[0], b[1])
		}
	case ProtoICMPv6:
		if len(b) < 2 {
			return
		}
		m.SetICMP(b[0], b[1])
		if (b[0] == 135 || b[0] == 136) && len(b) >= 24 { // neighbour solicitation and advertisement, RFC 4861, 4.3 and 4.4
			m.Fields |= FieldNDTarget
			m.NDTarget = netip.AddrFrom16([16]byte(b[8:24]))
		}
	}
}
