package policy

import "switchbridge/flow"

const (
	portFields = flow.FieldL4Src | flow.FieldL4Dst
	icmpFields = flow.FieldICMPType | flow.FieldICMPCode
	ipFields   = flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst
	arpFields  = flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA
	ethFields  = flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN
)

// Missing returns the fields that a packet with headers p has but does not
// show: what its EtherType and protocol promise, and a fragment or a frame cut
// short withholds. A field that such a packet can't have is not missing.
func Missing(p *flow.Match) flow.Field {
	var want flow.Field
	switch {
	case !p.Has(flow.FieldEthType):
		want = ethFields | ipFields | arpFields | portFields | icmpFields
	case p.EthType == flow.EthTypeARP:
		want = arpFields
	case p.EthType == flow.EthTypeIPv4 || p.EthType == flow.EthTypeIPv6:
		want = ipFields
		switch {
		case !p.Has(flow.FieldIPProto):
			want |= portFields | icmpFields
		case p.EthType == flow.EthTypeIPv6 && extensionHeader(p.IPProto):
			want |= portFields | icmpFields | flow.FieldIPProto // the chain of headers was not walked to its end
			return want &^ (p.Fields &^ flow.FieldIPProto)
		case p.IPProto == flow.ProtoTCP || p.IPProto == flow.ProtoUDP || p.IPProto == flow.ProtoSCTP:
			want |= portFields
		case p.IPProto == flow.ProtoICMP && p.EthType == flow.EthTypeIPv4,
			p.IPProto == flow.ProtoICMPv6 && p.EthType == flow.EthTypeIPv6:
			want |= icmpFields
		}
	}
	return want &^ p.Fields
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
