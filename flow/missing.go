package flow

const (
	portFields = FieldL4Src | FieldL4Dst
	icmpFields = FieldICMPType | FieldICMPCode
	ipFields   = FieldIPProto | FieldIPSrc | FieldIPDst
	arpFields  = FieldARPOp | FieldARPSPA | FieldARPTPA
	ethFields  = FieldEthSrc | FieldEthDst | FieldEthType | FieldVLAN
)

// Missing returns the fields that a packet with headers m has but does not
// show: what its EtherType and protocol promise, and a fragment or a frame cut
// short withholds. A field that such a packet can't have is not missing.
func (m *Match) Missing() Field {
	var want Field
	switch {
	case !m.Has(FieldEthType):
		want = ethFields | ipFields | arpFields | portFields | icmpFields
	case m.EthType == EthTypeARP:
		want = arpFields
	case m.EthType == EthTypeIPv4 || m.EthType == EthTypeIPv6:
		want = ipFields
		switch {
		case !m.Has(FieldIPProto):
			want |= portFields | icmpFields
		case m.EthType == EthTypeIPv6 && extensionHeader(m.IPProto):
			want |= portFields | icmpFields | FieldIPProto // the chain of headers was not walked to its end
			return want &^ (m.Fields &^ FieldIPProto)
		case m.IPProto == ProtoTCP || m.IPProto == ProtoUDP || m.IPProto == ProtoSCTP:
			want |= portFields
		case m.IPProto == ProtoICMP && m.EthType == EthTypeIPv4,
			m.IPProto == ProtoICMPv6 && m.EthType == EthTypeIPv6:
			want |= icmpFields
		}
	}
	return want &^ m.Fields
}

// extensionHeader reports whether an IPv6 next-header value is an extension
// that more headers follow.
func extensionHeader(proto uint8) bool {
	switch proto {
	case 0, 43, 44, 60:
		return true
	}
	return false
}
