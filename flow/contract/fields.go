package contract

import (
	"iter"
	"strings"

	"switchbridge/flow"
)

// MatchField is one name of a match field, and what the name itself says of the
// packet; 0 is nothing.
type MatchField struct {
	Name    string
	Field   flow.Field
	EthType uint16
	Proto   uint8
}

// MatchFields are the names of OpenFlow 1.3.5, 7.2.3.7, table 11, that the
// contract has, and what follows from them (7.2.3.8): tcp_dst can't be said of a
// UDP packet. They are in the order of their fields' bits.
var MatchFields = [...]MatchField{
	{"in_port", flow.FieldInPort, 0, 0},
	{"eth_dst", flow.FieldEthDst, 0, 0},
	{"eth_src", flow.FieldEthSrc, 0, 0},
	{"eth_type", flow.FieldEthType, 0, 0},
	{"vlan_vid", flow.FieldVLAN, 0, 0},
	{"vlan_pcp", flow.FieldVLANPCP, 0, 0},
	{"ip_dscp", flow.FieldIPDSCP, 0, 0},
	{"ip_ecn", flow.FieldIPECN, 0, 0},
	{"ip_proto", flow.FieldIPProto, 0, 0},
	{"ipv4_src", flow.FieldIPSrc, flow.EthTypeIPv4, 0},
	{"ipv6_src", flow.FieldIPSrc, flow.EthTypeIPv6, 0},
	{"ipv4_dst", flow.FieldIPDst, flow.EthTypeIPv4, 0},
	{"ipv6_dst", flow.FieldIPDst, flow.EthTypeIPv6, 0},
	{"tcp_src", flow.FieldL4Src, 0, flow.ProtoTCP},
	{"udp_src", flow.FieldL4Src, 0, flow.ProtoUDP},
	{"sctp_src", flow.FieldL4Src, 0, flow.ProtoSCTP},
	{"tcp_dst", flow.FieldL4Dst, 0, flow.ProtoTCP},
	{"udp_dst", flow.FieldL4Dst, 0, flow.ProtoUDP},
	{"sctp_dst", flow.FieldL4Dst, 0, flow.ProtoSCTP},
	{"icmpv4_type", flow.FieldICMPType, flow.EthTypeIPv4, flow.ProtoICMP},
	{"icmpv6_type", flow.FieldICMPType, flow.EthTypeIPv6, flow.ProtoICMPv6},
	{"icmpv4_code", flow.FieldICMPCode, flow.EthTypeIPv4, flow.ProtoICMP},
	{"icmpv6_code", flow.FieldICMPCode, flow.EthTypeIPv6, flow.ProtoICMPv6},
	{"arp_op", flow.FieldARPOp, flow.EthTypeARP, 0},
	{"arp_spa", flow.FieldARPSPA, flow.EthTypeARP, 0},
	{"arp_tpa", flow.FieldARPTPA, flow.EthTypeARP, 0},
	{"arp_sha", flow.FieldARPSHA, flow.EthTypeARP, 0},
	{"arp_tha", flow.FieldARPTHA, flow.EthTypeARP, 0},
	{"ipv6_flabel", flow.FieldFlowLabel, flow.EthTypeIPv6, 0},
	{"ipv6_nd_target", flow.FieldNDTarget, flow.EthTypeIPv6, flow.ProtoICMPv6},
	{"metadata", flow.FieldMetadata, 0, 0},
	{"tunnel_id", flow.FieldTunnelID, 0, 0},
}

// FieldNames are the names that the fields in missing, which a packet with
// headers m does not show, have. Where eth_type or ip_proto itself is missing,
// they are those of every protocol that the packet may be of.
func FieldNames(missing flow.Field, m *flow.Match) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := missing; rest != 0; rest &= rest - 1 {
			field := rest & -rest
			named := false
			for _, anyProtocol := range [...]bool{false, true} { // no field is left out for want of a name that fits
				for i := range MatchFields {
					x := &MatchFields[i]
					if x.Field != field || !anyProtocol && !x.possible(missing, m) {
						continue
					}
					if named = true; !yield(x.Name) {
						return
					}
				}
				if named {
					break
				}
			}
		}
	}
}

// possible reports whether a packet of which m is known can have a field of this name.
func (x *MatchField) possible(missing flow.Field, m *flow.Match) bool {
	shown := m.Fields &^ missing
	return (x.EthType == 0 || shown&flow.FieldEthType == 0 || x.EthType == m.EthType) &&
		(x.Proto == 0 || shown&flow.FieldIPProto == 0 || x.Proto == m.IPProto)
}

// FieldNamed returns the field of a name; 0 for a name that the contract does not have.
func FieldNamed(name string) flow.Field {
	for i := range MatchFields {
		if MatchFields[i].Name == name {
			return MatchFields[i].Field
		}
	}
	return 0
}

// IncompleteText is the value of [HeaderIncomplete] for a packet; empty for a
// complete one.
func IncompleteText(p *flow.PacketIn) string {
	if p == nil || p.Incomplete == 0 {
		return ""
	}
	return join(FieldNames(p.Incomplete, &p.Match))
}

// parseIncomplete is IncompleteText's inverse. Names that are not known here
// are passed over: a newer gateway knows more fields.
func parseIncomplete(s string) (f flow.Field) {
	for name := range list(s) {
		f |= FieldNamed(name)
	}
	return f
}

func join(names iter.Seq[string]) string {
	var b []byte
	for name := range names {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	return string(b)
}

// list cuts a header's list into its elements.
func list(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.Trim(e, " \t"); e != "" && !yield(e) {
				return
			}
		}
	}
}
