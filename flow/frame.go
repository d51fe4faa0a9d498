package flow

import (
	"encoding/binary"
	"net/netip"
)

// ParseFrame returns the match that a whole Ethernet frame fills exactly, as
// [Parser.Parse] does with Open vSwitch's default settings.
func ParseFrame(data []byte, inPort PortNo) Match {
	return Parser{}.Parse(data, len(data), inPort)
}

// Parser reads frames as Open vSwitch classifies them. The zero value is one
// for its default settings.
type Parser struct {
	// VLANLimit is how many VLAN tags the switch takes off a frame before it
	// looks at the EtherType: 1 (or 0, the same) or 2. Open vSwitch calls it
	// other_config:vlan-limit.
	VLANLimit uint8
}

// Parse returns the match that a frame fills exactly: in_port and every header
// field that a rule of the switch can tell the frame by. size is the frame's
// length on the wire, larger than len(data) where the switch sent only a part of
// it; a smaller one counts as len(data). Parse never fails. A field that the
// switch does not see, or that data is too short to show, is absent; which of
// these the frame's protocols promise, [Match.Missing] says.
//
// The switch does not see
//   - the ports, or the ICMP type and code, of any IP fragment, also of the
//     first (OpenFlow's fragment mode "normal"; 1.0.0, 3.4). A later fragment of
//     IPv6 has ip_proto 44;
//   - anything of an IPv4 or IPv6 header that claims to be longer than the frame;
//   - more than the addresses of an IPv6 packet with a chain of extension headers
//     (0, 43, 44, 51, 60) that is cut short. It follows an authentication header
//     in IPv6, and not in IPv4, where ip_proto is 51;
//   - the ports of a TCP, UDP or SCTP header that is cut short, or of a TCP
//     header whose data offset can't be;
//   - an ARP operation over 255, and any field of ARP that is not for Ethernet
//     and IPv4;
//   - the target of a neighbour solicitation or advertisement that has the same
//     link-layer address option twice, or a code other than 0.
//
// It does not look at the version in an IP header, nor at checksums. A packet
// without a VLAN tag has the field vlan_vid with the value VLANNone. Of several
// tags the outer one counts; a tag beyond VLANLimit is the frame's EtherType,
// and nothing behind it is seen.
func (p Parser) Parse(data []byte, size int, inPort PortNo) (m Match) {
	m.Fields = FieldInPort
	m.InPort = inPort
	if len(data) < 14 {
		return m
	}
	size = max(size, len(data)) - 14
	m.Fields = FieldInPort | FieldEthDst | FieldEthSrc | FieldVLAN
	m.EthDst, m.EthSrc = MAC(data[0:6]), MAC(data[6:12])
	m.EthDstMask, m.EthSrcMask = MACExact, MACExact
	m.VLANMask = VLANExact
	ethType := binary.BigEndian.Uint16(data[12:])
	rest := data[14:]
	if ethType == EthTypeVLAN || ethType == EthTypeQinQ {
		if ethType, rest = m.parseVLAN(ethType, rest, size, max(1, int(p.VLANLimit))); rest == nil {
			return m // the tag is cut off, and the EtherType with it
		}
		size -= len(data) - 14 - len(rest)
	}
	if ethType < 0x0600 { // an 802.3 length: OpenFlow 1.0's OFP_DL_TYPE_NOT_ETH_TYPE
		ethType = 0x05ff
		if size >= 8 {
			if len(rest) < 8 {
				return m // whether it is SNAP is not to be seen
			}
			if snap := binary.BigEndian.Uint64(rest); snap>>16 == 0xaaaa03000000 && uint16(snap) >= 0x0600 { // SNAP with OUI 0
				ethType, rest, size = uint16(snap), rest[8:], size-8
			}
		}
	}
	m.Fields |= FieldEthType
	m.EthType = ethType
	switch ethType {
	case EthTypeARP:
		m.parseARP(rest)
	case EthTypeIPv4:
		m.parseIPv4(rest, size)
	case EthTypeIPv6:
		m.parseIPv6(rest, size)
	}
	return m
}

// parseVLAN takes up to limit tags off b, what is seen of size bytes behind the
// EtherType t of the first, and returns the EtherType behind them and the rest;
// nil where that is not seen. A tag without an EtherType behind it is none.
func (m *Match) parseVLAN(t uint16, b []byte, size, limit int) (uint16, []byte) {
	for tags := 0; (t == EthTypeVLAN || t == EthTypeQinQ) && tags < limit && size >= 4; tags++ {
		if len(b) < 4 {
			if tags == 0 {
				m.Fields &^= FieldVLAN
				m.VLANMask = 0
			}
			return 0, nil
		}
		if tags == 0 {
			tci := binary.BigEndian.Uint16(b)
			m.VLAN = VLANPresent | tci&0x0fff
			m.VLANPCP = uint8(tci >> 13)
			m.Fields |= FieldVLANPCP
		}
		t, b, size = binary.BigEndian.Uint16(b[2:]), b[4:], size-4
	}
	return t, b
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// parseARP reads RFC 826's packet for Ethernet and IPv4.
func (m *Match) parseARP(b []byte) {
	if len(b) < 28 || binary.BigEndian.Uint64(b)>>16 != 0x000108000604 {
		return
	}
	m.Fields |= FieldARPSHA | FieldARPSPA | FieldARPTHA | FieldARPTPA
	if op := binary.BigEndian.Uint16(b[6:]); op <= 0xff {
		m.Fields |= FieldARPOp
		m.ARPOp = op
	}
	m.ARPSHA = MAC(b[8:14])
	m.ARPSPA = host(netip.AddrFrom4([4]byte(b[14:18])))
	m.ARPTHA = MAC(b[18:24])
	m.ARPTPA = host(netip.AddrFrom4([4]byte(b[24:28])))
}

// parseIPv4 reads a packet of which b is seen, in size bytes of a frame.
func (m *Match) parseIPv4(b []byte, size int) {
	if len(b) < 20 {
		return
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > total || total > size {
		return
	}
	m.setIP(b[1], host(netip.AddrFrom4([4]byte(b[12:16]))), host(netip.AddrFrom4([4]byte(b[16:20]))))
	m.Fields |= FieldIPProto
	m.IPProto = b[9]
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || header > len(b) { // MF or an offset: a fragment
		return
	}
	m.parseL4(b[9], b[header:min(total, len(b))], total-header)
}

// parseIPv6 reads a packet of which b is seen, in size bytes of a frame.
func (m *Match) parseIPv6(b []byte, size int) {
	if len(b) < 40 {
		return
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if payload > size-40 {
		return
	}
	word := binary.BigEndian.Uint32(b)
	src, dst := host(netip.AddrFrom16([16]byte(b[8:24]))), host(netip.AddrFrom16([16]byte(b[24:40])))
	next, rest, size := b[6], b[40:min(40+payload, len(b))], payload
	fragment := false
	for extensionHeader(next) {
		if len(rest) < 8 {
			m.Fields |= FieldIPSrc | FieldIPDst
			m.IPSrc, m.IPDst = src, dst
			return
		}
		length := 8 + int(rest[1])*8
		switch next {
		case 44: // fragment
			length = 8
			offset := binary.BigEndian.Uint16(rest[2:])
			if offset&0xfff8 != 0 { // a later one
				m.setIP(uint8(word>>20), src, dst)
				m.Fields |= FieldFlowLabel | FieldIPProto
				m.FlowLabel, m.IPProto = word&0xfffff, 44
				return
			}
			fragment = fragment || offset != 0
		case 51: // authentication
			length = 8 + int(rest[1])*4
		}
		if length > len(rest) {
			m.Fields |= FieldIPSrc | FieldIPDst
			m.IPSrc, m.IPDst = src, dst
			return
		}
		next, rest, size = rest[0], rest[length:], size-length
	}
	m.setIP(uint8(word>>20), src, dst)
	m.Fields |= FieldFlowLabel | FieldIPProto
	m.FlowLabel, m.IPProto = word&0xfffff, next
	if !fragment {
		m.parseL4(next, rest, size)
	}
}

func (m *Match) setIP(tos uint8, src, dst netip.Prefix) {
	m.Fields |= FieldIPDSCP | FieldIPECN | FieldIPSrc | FieldIPDst
	m.IPDSCP, m.IPECN = tos>>2, tos&3
	m.IPSrc, m.IPDst = src, dst
}

// parseL4 reads a header of which b is seen, in size bytes of an IP packet.
func (m *Match) parseL4(proto uint8, b []byte, size int) {
	switch proto {
	case ProtoTCP:
		if size < 20 || len(b) < 4 {
			return
		}
		if len(b) > 12 {
			if header := int(b[12]>>4) * 4; header < 20 || header > size {
				return
			}
		}
	case ProtoUDP:
		if size < 8 || len(b) < 4 {
			return
		}
	case ProtoSCTP:
		if size < 12 || len(b) < 4 {
			return
		}
	case ProtoICMP:
		if size >= 8 && len(b) >= 2 && m.EthType == EthTypeIPv4 {
			m.SetICMP(b[0], b[1])
		}
		return
	case ProtoICMPv6:
		if size >= 8 && len(b) >= 2 && m.EthType == EthTypeIPv6 {
			m.parseICMPv6(b, size)
		}
		return
	default:
		return
	}
	m.Fields |= FieldL4Src | FieldL4Dst
	m.L4Src, m.L4Dst = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}

// parseICMPv6 reads type, code and, in neighbour discovery, the target and the
// option that says who asks (RFC 4861, 4.3 and 4.4). All options must be seen to
// their end.
func (m *Match) parseICMPv6(b []byte, size int) {
	m.SetICMP(b[0], b[1])
	if !discovery(b[0], b[1]) || len(b) < 24 {
		return
	}
	var link [3]MAC // the source's (1) and the target's (2) link-layer address
	for options, rest := b[24:], size-24; rest >= 8; {
		if len(options) < 2 {
			return
		}
		kind, length := options[0], int(options[1])*8
		if length == 0 || length > rest {
			break
		}
		if length > len(options) {
			return
		}
		if length == 8 && (kind == 1 || kind == 2) {
			if link[kind] != (MAC{}) { // one of zeros is taken for none
				return
			}
			link[kind] = MAC(options[2:8])
		}
		options, rest = options[length:], rest-length
	}
	m.Fields |= FieldNDTarget
	m.NDTarget = netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == 135 {
		FieldNDSLL.Info().SetMAC(m, link[1], MACExact)
	}
}

// discovery reports whether an ICMPv6 message is a neighbour solicitation or
// advertisement.
func discovery(kind, code uint8) bool { return (kind == 135 || kind == 136) && code == 0 }
