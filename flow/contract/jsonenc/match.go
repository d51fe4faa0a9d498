package jsonenc

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
)

// name is what a member's name says.
type name struct {
	*flow.FieldInfo
	oxm flow.OXM
}

// names are the names that a match's members may have: OpenFlow 1.3's of
// flow.Fields, and ofctl_rest's of OpenFlow 1.0, for rules that are copied from
// there. What those that begin with nw_ and tp_ mean depends on the others: see
// later.
var names = func() map[string]name {
	byName := map[string]name{}
	for i := range flow.Fields {
		x := &flow.Fields[i]
		for _, o := range x.OXM {
			byName[o.Name] = name{x, o}
		}
		if x.Name10 != "" && x.Need != flow.NeedARP && x.Need != flow.NeedICMP {
			o := flow.OXM{Name: x.Name10}
			if x.Kind == flow.Prefix {
				o.EthType = flow.EthTypeIPv4
			}
			byName[x.Name10] = name{x, o}
		}
	}
	return byName
}()

// later are the names whose meaning depends on other members, in the order in
// which it is found: in 1.0 ARP's operation and addresses stand in IP's places,
// and ICMP's type and code in those of the ports (OpenFlow 1.0.0, 3.4).
var later = [...]string{"nw_src", "nw_dst", "nw_proto", "tp_src", "tp_dst"}

// parseMatch reads a match and adds what its names say of eth_type and ip_proto.
func parseMatch(raw json.RawMessage) (flow.Match, error) {
	p := matchParser{}
	var waiting [len(later)]json.RawMessage
	err := members(raw, func(name string, v json.RawMessage) error {
		if i := slices.Index(later[:], name); i >= 0 {
			waiting[i] = v
			return nil
		}
		return p.member(name, name, v)
	})
	if err != nil {
		return p.m, err
	}
	for i, v := range waiting {
		if v == nil {
			continue
		}
		if err := p.member(later[i], p.meaning(later[i]), v); err != nil {
			return p.m, at(later[i], err)
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
	implied flow.OXM  // its EthType and Proto
	by      [2]string // the names that implied eth_type and ip_proto
}

// meaning returns the name of 1.3 for what one of later stands for beside the
// other members, or its own.
func (p *matchParser) meaning(name10 string) string {
	ethType, proto := p.implied.EthType, p.implied.Proto
	if p.m.Has(flow.FieldEthType) {
		ethType = p.m.EthType
	}
	if p.m.Has(flow.FieldIPProto) {
		proto = p.m.IPProto
	}
	need := flow.NeedICMP
	if ethType == flow.EthTypeARP {
		need = flow.NeedARP
	}
	for rest := need.Fields(); rest != 0; rest &= rest - 1 {
		x := (rest & -rest).Info()
		if x.Name10 != name10 {
			continue
		}
		for _, o := range x.OXM {
			if o.Proto == 0 || o.Proto == proto {
				return o.Name
			}
		}
	}
	return name10
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
	if x.oxm.EthType != 0 {
		if p.implied.EthType != 0 && p.implied.EthType != x.oxm.EthType {
			return fmt.Errorf("can't be together with %s: no packet has both", p.by[0])
		}
		p.implied.EthType, p.by[0] = x.oxm.EthType, name
	}
	if x.oxm.Proto != 0 {
		if p.implied.Proto != 0 && p.implied.Proto != x.oxm.Proto {
			return fmt.Errorf("can't be together with %s: no packet has both", p.by[1])
		}
		p.implied.Proto, p.by[1] = x.oxm.Proto, name
	}
	p.m.Fields |= x.Field
	return parseField(&p.m, x, v)
}

func parseField(m *flow.Match, x name, v json.RawMessage) error {
	switch x.Kind {
	case flow.Number8:
		return narrow[uint8](m, x, v)
	case flow.Number16:
		return narrow[uint16](m, x, v)
	case flow.Number32:
		return narrow[uint32](m, x, v)
	case flow.Number64:
		n, mask, err := masked64(v)
		x.SetNumber(m, n, mask)
		return err
	case flow.PortNumber:
		port, err := portOf(v)
		x.SetNumber(m, uint64(port), 0)
		return err
	case flow.VLANTag:
		n, mask, err := vlanOf(v)
		x.SetNumber(m, uint64(n), uint64(mask))
		return err
	case flow.Address:
		a, err := macOf(v)
		x.SetMAC(m, a, flow.MACExact)
		return err
	case flow.MaskedMAC:
		a, mask, err := maskedMAC(v)
		x.SetMAC(m, a, mask)
		return err
	case flow.Prefix:
		p, err := prefixOf(v, x.oxm.EthType != flow.EthTypeIPv6)
		x.SetPrefix(m, p)
		return err
	case flow.IPv6:
		text, err := stringOf(v)
		if err != nil {
			return err
		}
		a, err := addrOf(text, false)
		x.SetAddr(m, a)
		return err
	}
	return fmt.Errorf("%s is of no kind that JSON has", x.Name)
}

// narrow reads a number that has as many bits as its field at most.
func narrow[T unsigned](m *flow.Match, x name, v json.RawMessage) error {
	n, err := limited(v, T(x.Ones()))
	x.SetNumber(m, uint64(n), 0)
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
	for i := range flow.Fields {
		x := flow.Printed(i)
		if m.Fields&x.Field == 0 {
			continue
		}
		o, ok := x.OXMOf(m)
		name := o.Name
		if !ok {
			switch x.Need {
			case flow.NeedPorts:
				name = x.Name10
			default:
				w.fail("match: %v: ip_proto does not say which ICMP it is of", m.Fields&x.Need.Fields())
			}
		}
		switch x.Kind {
		case flow.Number8, flow.Number16, flow.Number32:
			v, _ := x.Number(m)
			w.uint(name, v)
		case flow.Number64:
			w.wide(name, x, m)
		case flow.PortNumber:
			v, _ := x.Number(m)
			w.port(name, flow.PortNo(v))
		case flow.VLANTag:
			w.vlan(name, x, m)
		case flow.Address, flow.MaskedMAC:
			w.mac(name, x, m)
		case flow.Prefix:
			w.prefix(name, x, m)
		case flow.IPv6:
			w.string(name, x.Addr(m).String())
		}
	}
	w.close('}')
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

func (w *writer) prefix(name string, x *flow.FieldInfo, m *flow.Match) {
	switch p := x.Prefix(m); {
	case !p.IsValid():
		w.fail("match: %v is not a valid prefix", x.Field)
	case p.IsSingleIP():
		w.string(name, p.Addr().String())
	default:
		w.string(name, p.String())
	}
}

func (w *writer) mac(name string, x *flow.FieldInfo, m *flow.Match) {
	a, mask := x.MAC(m)
	if mask == flow.MACExact {
		w.string(name, a.String())
		return
	}
	w.string(name, a.String()+"/"+mask.String())
}

func (w *writer) vlan(name string, x *flow.FieldInfo, m *flow.Match) {
	switch v, mask := x.Number(m); {
	case mask != uint64(flow.VLANExact):
		w.string(name, fmt.Sprintf("0x%04x/0x%04x", v, mask))
	case v&uint64(flow.VLANPresent) == 0:
		w.string(name, fmt.Sprintf("0x%04x", v))
	default:
		w.uint(name, v&^uint64(flow.VLANPresent))
	}
}

// wide writes a 64-bit field.
func (w *writer) wide(name string, x *flow.FieldInfo, m *flow.Match) {
	v, mask := x.Number(m)
	if mask == ^uint64(0) {
		w.hex(name, v)
		return
	}
	w.string(name, fmt.Sprintf("%#x/%#x", v, mask))
}
