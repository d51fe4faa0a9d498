package flow

import "net/netip"

const (
	portFields = FieldL4Src | FieldL4Dst
	icmpFields = FieldICMPType | FieldICMPCode
	l4Fields   = portFields | icmpFields | FieldNDTarget
	ipFields   = FieldIPProto | FieldIPSrc | FieldIPDst
	arpFields  = FieldARPOp | FieldARPSPA | FieldARPTPA
	ethFields  = FieldEthSrc | FieldEthDst | FieldEthType | FieldVLAN
)

// Missing returns the fields that a packet with headers m has but does not
// show: what its EtherType and protocol promise, and a fragment, a header cut
// short, or a VLAN tag that the switch does not look behind withholds. A field
// that such a packet can't have is not missing. A switch takes a missing field
// for 0, so that its rules can't tell such packets apart by it.
//
// vlan_pcp, ip_dscp, ip_ecn, ipv6_flabel, arp_sha and arp_tha are never listed: a
// frame that lacks one lacks eth_type, ip_proto or arp_spa too, and a P4 digest
// has none of them. Nor has a digest an ipv6_nd_target, so that the target of
// neighbour discovery is only missing where m has an ipv6_flabel.
func (m *Match) Missing() Field {
	if m.Fields&FieldEthType == 0 {
		return (ethFields | ipFields | arpFields | l4Fields) &^ m.Fields
	}
	var want Field
	switch m.EthType {
	case EthTypeARP:
		want = arpFields
	case EthTypeIPv4:
		want = ipFields
		switch {
		case m.Fields&FieldIPProto == 0:
			want |= portFields | icmpFields
		case m.IPProto == ProtoTCP || m.IPProto == ProtoUDP || m.IPProto == ProtoSCTP:
			want |= portFields
		case m.IPProto == ProtoICMP:
			want |= icmpFields
		}
	case EthTypeIPv6:
		want = ipFields
		switch {
		case m.Fields&FieldIPProto == 0:
			want |= l4Fields
		case extensionHeader(m.IPProto): // the last header's number is not to be seen: a later fragment
			return (want | l4Fields) &^ (m.Fields &^ FieldIPProto)
		case m.IPProto == ProtoTCP || m.IPProto == ProtoUDP || m.IPProto == ProtoSCTP:
			want |= portFields
		case m.IPProto == ProtoICMPv6:
			want |= icmpFields
			if m.Fields&FieldFlowLabel != 0 && (m.Fields&icmpFields != icmpFields || discovery(m.ICMPType, m.ICMPCode)) {
				want |= FieldNDTarget
			}
		}
	case EthTypeVLAN, EthTypeQinQ:
		want = ipFields | arpFields | l4Fields
	}
	return want &^ m.Fields
}

// Unseen returns [Match.Missing] and every other field outside of a conversation
// that a packet with headers m may have, as far as its other headers tell, and
// does not show. A P4 digest has many of them.
func (m *Match) Unseen() Field {
	f := m.Missing()
	unknown := m.Fields&FieldEthType == 0 || m.EthType == EthTypeVLAN || m.EthType == EthTypeQinQ
	ipv6 := unknown || m.EthType == EthTypeIPv6
	discovers := m.Fields&icmpFields != icmpFields || discovery(m.ICMPType, m.ICMPCode)
	for need, may := range [...]bool{
		NeedTag:      m.Fields&FieldVLAN == 0 || m.VLAN&VLANPresent != 0,
		NeedIP:       ipv6 || m.EthType == EthTypeIPv4,
		NeedIPv6:     ipv6,
		NeedARP:      unknown || m.EthType == EthTypeARP,
		NeedNeighbor: ipv6 && discovers && (m.Fields&FieldIPProto == 0 || m.IPProto == ProtoICMPv6 || extensionHeader(m.IPProto)),
	} {
		has := Need(need).Fields()
		if Need(need) == NeedNeighbor {
			has = m.discovers()
		}
		if may {
			f |= has &^ Conversation &^ m.Fields
		}
	}
	return f
}

// Seen returns the headers m of a frame as a switch's rules see them: with 0 in
// the fields that the frame has and does not show. What is behind a VLAN tag that
// the switch leaves on stays absent, since no rule can ask for it.
func (m Match) Seen() Match {
	if m.Fields&FieldEthType == 0 {
		return m
	}
	f, zero := m.Missing(), host(netip.IPv4Unspecified())
	switch m.EthType {
	case EthTypeARP:
		f |= NeedARP.Fields()
	case EthTypeIPv4:
		f |= FieldIPDSCP | FieldIPECN
	case EthTypeIPv6:
		f |= FieldIPDSCP | FieldIPECN | NeedIPv6.Fields()
		if f&FieldNDTarget != 0 && discovery(m.ICMPType, m.ICMPCode) {
			f |= m.discovers()
		}
		zero = host(netip.IPv6Unspecified())
	default:
		return m
	}
	if f &^= m.Fields; f == 0 {
		return m
	}
	m.Fields |= f
	for rest := f & (Prefix.Fields() | IPv6.Fields()); rest != 0; rest &= rest - 1 {
		if x := (rest & -rest).Info(); x.Kind == Prefix {
			x.SetPrefix(&m, zero)
		} else {
			x.SetAddr(&m, netip.IPv6Unspecified())
		}
	}
	return m
}

// extensionHeader reports whether an IPv6 next-header value is an extension
// that more headers follow.
func extensionHeader(proto uint8) bool {
	switch proto {
	case 0, 43, 44, 51, 60:
		return true
	}
	return false
}
