package jsonenc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// names are the fields that a match may have.
var names = func() map[string]*contract.MatchField {
	byName := make(map[string]*contract.MatchField, len(contract.MatchFields)+len(ryu10))
	for i := range contract.MatchFields {
		byName[contract.MatchFields[i].Name] = &contract.MatchFields[i]
	}
	for i := range ryu10 {
		byName[ryu10[i].Name] = &ryu10[i]
	}
	return byName
}()

// ryu10 are ofctl_rest's names of OpenFlow 1.0, for rules that are copied from there.
// What those that begin with nw_ and tp_ mean depends on the others: see ofctl.
var ryu10 = [...]contract.MatchField{
	{Name: "dl_src", Field: flow.FieldEthSrc},
	{Name: "dl_dst", Field: flow.FieldEthDst},
	{Name: "dl_type", Field: flow.FieldEthType},
	{Name: "dl_vlan", Field: flow.FieldVLAN},
	{Name: "dl_vlan_pcp", Field: flow.FieldVLANPCP},
	{Name: "nw_src", Field: flow.FieldIPSrc, EthType: flow.EthTypeIPv4},
	{Name: "nw_dst", Field: flow.FieldIPDst, EthType: flow.EthTypeIPv4},
	{Name: "nw_proto", Field: flow.FieldIPProto},
	{Name: "tp_src", Field: flow.FieldL4Src},
	{Name: "tp_dst", Field: flow.FieldL4Dst},
}

// ofctl are the names whose meaning depends on other members, in the order in
// which it is found: in 1.0 ARP's operation and addresses stand in IP's places,
// and ICMP's type and code in those of the ports (OpenFlow 1.0.0, 3.4).
var ofctl = [...]struct {
	name         string
	arp          string
	icmp, icmpv6 string
}{
	{name: "nw_src", arp: "arp_spa"},
	{name: "nw_dst", arp: "arp_tpa"},
	{name: "nw_proto", arp: "arp_op"},
	{name: "tp_src", icmp: "icmpv4_type", icmpv6: "icmpv6_type"},
	{name: "tp_dst", icmp: "icmpv4_code", icmpv6: "icmpv6_code"},
}

// parseMatch reads a match and adds what its names say of eth_type and ip_proto.
func parseMatch(raw json.RawMessage) (flow.Match, error) {
	p := matchParser{}
	var later [len(ofctl)]json.RawMessage
	err := members(raw, func(name string, v json.RawMessage) error {
		for i := range ofctl {
			if ofctl[i].name == name {
				later[i] = v
				return nil
			}
		}
		return p.member(name, name, v)
	})
	if err != nil {
		return p.m, err
	}
	for i, v := range later {
		if v == nil {
			continue
		}
		name := ofctl[i].name
		if err := p.member(name, p.meaning(i), v); err != nil {
			return p.m, at(name, err)
		}
	}
	m, implied, by := &p.m, &p.implied, &p.by
	if implied.EthType != 0 {
		if m.Has(flow.FieldEthType) && m.EthType != implied.EthType {
			return *m, at("eth_type", fmt.Errorf("%#04x, but %s needs %#04x", m.EthType, by[0], implied.EthType))
		}
		m.SetEthType(implied.EthType)
	}
	if implied.Proto != 0 {
		if m.Has(flow.FieldIPProto) && m.IPProto != implied.Proto {
			return *m, at("ip_proto", fmt.Errorf("%d, but %s needs %d", m.IPProto, by[1], implied.Proto))
		}
		m.SetIPProto(implied.Proto)
	}
	return m.Canonical(), nil
}

// matchParser is a match while its members are read.
type matchParser struct {
	m       flow.Match
	implied contract.MatchField
	by      [2]string // the names that implied eth_type and ip_proto
}

// meaning returns the name of 1.3 for what ofctl[i] stands for beside the other
// members, or its own.
func (p *matchParser) meaning(i int) string {
	x := &ofctl[i]
	ethType, proto := p.implied.EthType, p.implied.Proto
	if p.m.Has(flow.FieldEthType) {
		ethType = p.m.EthType
	}
	if p.m.Has(flow.FieldIPProto) {
		proto = p.m.IPProto
	}
	name := ""
	switch {
	case ethType == flow.EthTypeARP:
		name = x.arp
	case proto == flow.ProtoICMP:
		name = x.icmp
	case proto == flow.ProtoICMPv6:
		name = x.icmpv6
	}
	return cmp.Or(name, x.name)
}

// member reads the value of a member, which means what names has for meaning.
func (p *matchParser) member(name, meaning string, v json.RawMessage) error {
	x, ok := names[meaning]
	if !ok {
		return errors.New("unknown field")
	}
	if p.m.Has(x.Field) {
		return fmt.Errorf("%v was given by another name before", x.Field)
	}
	if x.EthType != 0 {
		if p.implied.EthType != 0 && p.implied.EthType != x.EthType {
			return fmt.Errorf("can't be together with %s: no packet has both", p.by[0])
		}
		p.implied.EthType, p.by[0] = x.EthType, name
	}
	if x.Proto != 0 {
		if p.implied.Proto != 0 && p.implied.Proto != x.Proto {
			return fmt.Errorf("can't be together with %s: no packet has both", p.by[1])
		}
		p.implied.Proto, p.by[1] = x.Proto, name
	}
	p.m.Fields |= x.Field
	return parseField(&p.m, x, v)
}

func parseField(m *flow.Match, x *contract.MatchField, v json.RawMessage) (err error) {
	switch x.Field {
	case flow.FieldInPort:
		m.InPort, err = portOf(v)
	case flow.FieldEthDst:
		m.EthDst, m.EthDstMask, err = maskedMAC(v)
	case flow.FieldEthSrc:
		m.EthSrc, m.EthSrcMask, err = maskedMAC(v)
	case flow.FieldEthType:
		m.EthType, err = uintOf[uint16](v)
	case flow.FieldVLAN:
		m.VLAN, m.VLANMask, err = vlanOf(v)
	case flow.FieldVLANPCP:
		m.VLANPCP, err = limited[uint8](v, 7)
	case flow.FieldIPDSCP:
		m.IPDSCP, err = limited[uint8](v, 63)
	case flow.FieldIPECN:
		m.IPECN, err = limited[uint8](v, 3)
	case flow.FieldIPProto:
		m.IPProto, err = uintOf[uint8](v)
	case flow.FieldIPSrc:
		m.IPSrc, err = prefixOf(v, x.EthType == flow.EthTypeIPv4)
	case flow.FieldIPDst:
		m.IPDst, err = prefixOf(v, x.EthType == flow.EthTypeIPv4)
	case flow.FieldL4Src:
		m.L4Src, err = uintOf[uint16](v)
	case flow.FieldL4Dst:
		m.L4Dst, err = uintOf[uint16](v)
	case flow.FieldICMPType:
		m.ICMPType, err = uintOf[uint8](v)
	case flow.FieldICMPCode:
		m.ICMPCode, err = uintOf[uint8](v)
	case flow.FieldARPOp:
		m.ARPOp, err = uintOf[uint16](v)
	case flow.FieldARPSPA:
		m.ARPSPA, err = prefixOf(v, true)
	case flow.FieldARPTPA:
		m.ARPTPA, err = prefixOf(v, true)
	case flow.FieldARPSHA:
		m.ARPSHA, err = macOf(v)
	case flow.FieldARPTHA:
		m.ARPTHA, err = macOf(v)
	case flow.FieldFlowLabel:
		m.FlowLabel, err = limited[uint32](v, 0xfffff)
	case flow.FieldNDTarget:
		var text string
		if text, err = stringOf(v); err == nil {
			m.NDTarget, err = addrOf(text, false)
		}
	case flow.FieldMetadata:
		m.Metadata, m.MetadataMask, err = masked64(v)
	case flow.FieldTunnelID:
		m.TunnelID, m.TunnelMask, err = masked64(v)
	}
	return err
}

func maskedMAC(raw json.RawMessage) (a, mask flow.MAC, err error) {
	text, err := stringOf(raw)
	if err != nil {
		return a, mask, err
	}
	value, m, masked := strings.Cut(text, "/")
	if a, err = flow.ParseMAC(value); err != nil || !masked {
		return a, flow.MACExact, err
	}
	mask, err = flow.ParseMAC(m)
	return a, mask, err
}

func masked64(raw json.RawMessage) (v, mask uint64, err error) {
	text, err := textOf(raw)
	if err != nil {
		return 0, 0, err
	}
	value, m, masked := strings.Cut(text, "/")
	if v, err = parseUint[uint64](value); err != nil || !masked {
		return v, ^uint64(0), err
	}
	mask, err = parseUint[uint64](m)
	return v, mask, err
}

// vlanOf reads vlan_vid as ofctl_rest does: a number, also as decimal text, is
// the VID of a tagged packet; hexadecimal text has the bit OFPVID_PRESENT
// (0x1000) itself, so that "0x0000" is a packet without a tag; and
// "0x1000/0x1000" is one with any tag.
func vlanOf(raw json.RawMessage) (v, mask uint16, err error) {
	text, err := textOf(raw)
	if err != nil {
		return 0, 0, err
	}
	value, m, masked := strings.Cut(text, "/")
	if v, err = parseUint[uint16](value); err != nil {
		return 0, 0, err
	}
	mask = flow.VLANExact
	if masked {
		if mask, err = parseUint[uint16](m); err != nil {
			return 0, 0, err
		}
	} else if !strings.HasPrefix(strings.ToLower(value), "0x") {
		if v > 0xfff {
			return 0, 0, fmt.Errorf("VID %d, want at most 4095", v)
		}
		v |= flow.VLANPresent
	}
	if v > flow.VLANExact || mask > flow.VLANExact {
		return 0, 0, fmt.Errorf("%q has bits above 0x1000", text)
	}
	return v, mask, nil
}

func (w *writer) match(m *flow.Match) {
	w.open('{')
	if m.Has(flow.FieldInPort) {
		w.port("in_port", m.InPort)
	}
	if m.Has(flow.FieldEthSrc) {
		w.mac("eth_src", m.EthSrc, m.EthSrcMask)
	}
	if m.Has(flow.FieldEthDst) {
		w.mac("eth_dst", m.EthDst, m.EthDstMask)
	}
	w.number(m, flow.FieldEthType, "eth_type", uint64(m.EthType))
	if m.Has(flow.FieldVLAN) {
		w.vlan(m)
	}
	w.number(m, flow.FieldVLANPCP, "vlan_pcp", uint64(m.VLANPCP))
	w.number(m, flow.FieldIPDSCP, "ip_dscp", uint64(m.IPDSCP))
	w.number(m, flow.FieldIPECN, "ip_ecn", uint64(m.IPECN))
	w.number(m, flow.FieldIPProto, "ip_proto", uint64(m.IPProto))
	w.prefix(m, flow.FieldIPSrc, family(m.IPSrc)+"_src", m.IPSrc)
	w.prefix(m, flow.FieldIPDst, family(m.IPDst)+"_dst", m.IPDst)
	w.number(m, flow.FieldL4Src, transport(m)+"_src", uint64(m.L4Src))
	w.number(m, flow.FieldL4Dst, transport(m)+"_dst", uint64(m.L4Dst))
	if m.Fields&(flow.FieldICMPType|flow.FieldICMPCode) != 0 {
		name := icmp(m)
		if name == "" {
			w.fail("match: %v: ip_proto does not say which ICMP it is of", m.Fields&(flow.FieldICMPType|flow.FieldICMPCode))
		}
		w.number(m, flow.FieldICMPType, name+"_type", uint64(m.ICMPType))
		w.number(m, flow.FieldICMPCode, name+"_code", uint64(m.ICMPCode))
	}
	w.number(m, flow.FieldARPOp, "arp_op", uint64(m.ARPOp))
	w.prefix(m, flow.FieldARPSPA, "arp_spa", m.ARPSPA)
	w.prefix(m, flow.FieldARPTPA, "arp_tpa", m.ARPTPA)
	if m.Has(flow.FieldARPSHA) {
		w.mac("arp_sha", m.ARPSHA, flow.MACExact)
	}
	if m.Has(flow.FieldARPTHA) {
		w.mac("arp_tha", m.ARPTHA, flow.MACExact)
	}
	w.number(m, flow.FieldFlowLabel, "ipv6_flabel", uint64(m.FlowLabel))
	if m.Has(flow.FieldNDTarget) {
		w.string("ipv6_nd_target", m.NDTarget.String())
	}
	w.wide(m, flow.FieldMetadata, "metadata", m.Metadata, m.MetadataMask)
	w.wide(m, flow.FieldTunnelID, "tunnel_id", m.TunnelID, m.TunnelMask)
	w.close('}')
}

// family returns the first part of an address's name.
func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// transport returns the first part of a port's name; "tp", ofctl_rest's of 1.0,
// where the match doesn't say the protocol.
func transport(m *flow.Match) string {
	if m.Has(flow.FieldIPProto) {
		return transportOf(m.IPProto)
	}
	return "tp"
}

func transportOf(proto uint8) string {
	switch proto {
	case flow.ProtoTCP:
		return "tcp"
	case flow.ProtoUDP:
		return "udp"
	case flow.ProtoSCTP:
		return "sctp"
	}
	return "tp"
}

func icmp(m *flow.Match) string {
	switch {
	case m.Has(flow.FieldIPProto) && m.IPProto == flow.ProtoICMP:
		return "icmpv4"
	case m.Has(flow.FieldIPProto) && m.IPProto == flow.ProtoICMPv6:
		return "icmpv6"
	}
	return ""
}

func (w *writer) number(m *flow.Match, f flow.Field, name string, v uint64) {
	if m.Has(f) {
		w.uint(name, v)
	}
}

func (w *writer) prefix(m *flow.Match, f flow.Field, name string, p netip.Prefix) {
	switch {
	case !m.Has(f):
	case !p.IsValid():
		w.fail("match: %v is not a valid prefix", f)
	case p.IsSingleIP():
		w.string(name, p.Addr().String())
	default:
		w.string(name, p.String())
	}
}

func (w *writer) mac(name string, a, mask flow.MAC) {
	if mask == flow.MACExact {
		w.string(name, a.String())
		return
	}
	w.string(name, a.String()+"/"+mask.String())
}

func (w *writer) vlan(m *flow.Match) {
	switch {
	case m.VLANMask != flow.VLANExact:
		w.string("vlan_vid", fmt.Sprintf("0x%04x/0x%04x", m.VLAN, m.VLANMask))
	case m.VLAN&flow.VLANPresent == 0:
		w.string("vlan_vid", fmt.Sprintf("0x%04x", m.VLAN))
	default:
		w.uint("vlan_vid", uint64(m.VLAN&^flow.VLANPresent))
	}
}

// wide writes a 64-bit field.
func (w *writer) wide(m *flow.Match, f flow.Field, name string, v, mask uint64) {
	switch {
	case !m.Has(f):
	case mask == ^uint64(0):
		w.hex(name, v)
	default:
		w.string(name, fmt.Sprintf("%#x/%#x", v, mask))
	}
}
