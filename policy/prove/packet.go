package prove

import (
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/header"
)

// ICMPv6 types of neighbour discovery (RFC 4861, 4.3 and 4.4).
const (
	solicitation  = 135
	advertisement = 136
)

// frames are what no frame's headers are: their terms cover it. incomplete are headers of packets that don't show all that they have;
// a switch's rules can't tell such packets apart, and what is promised is not about them.
var (
	frames = []*term{
		{[]atom{between(flow.FieldInPort, 0, 0)}, nobody},
		{[]atom{between(flow.FieldInPort, 0xffffff00, uint64(flow.PortLocal)-1)}, nobody},
		{[]atom{is(flow.FieldInPort, uint64(flow.PortAny))}, nobody},
		{[]atom{between(flow.FieldVLAN, 1, uint64(flow.VLANPresent)-1)}, nobody},
		{[]atom{between(flow.FieldEthType, 0, 0x05fe)}, nobody},
		{[]atom{is(flow.FieldEthType, flow.EthTypeVLAN)}, nobody},
		{[]atom{is(flow.FieldEthType, flow.EthTypeQinQ)}, nobody},
		{[]atom{numbers(minutePlace, header.Week, 1<<14-1)}, nobody},
	}
	unreal     = unquotable()
	incomplete = func() (list []*term) {
		// A packet of IPv6 whose last header is an extension is a later fragment, or has more of them than are walked.
		for _, proto := range []uint64{0, 43, 44, 51, 60} {
			list = append(list, &term{[]atom{is(flow.FieldEthType, flow.EthTypeIPv6), is(flow.FieldIPProto, proto)}, nobody})
		}
		return append(list, &term{[]atom{is(flow.FieldEthType, flow.EthTypeARP), between(flow.FieldARPOp, 0x100, 0xffff)}, nobody})
	}()
)

var ethType = place(flow.FieldEthType)

// preferred returns values of a field within a cube that people read easily: of a TCP packet between two hosts of a lab, or the first hosts of
// a network.
func preferred(field int, c cube, family word) []word {
	if field == int(quotedDst) && family == number(flow.EthTypeIPv6, 16) {
		return easy6[field]
	}
	if fieldAt(uint8(field))&flow.Prefix.Fields() == 0 {
		return easy[field]
	}
	list, last := easy[field], word{Hi: 1 << 32}
	if family == number(flow.EthTypeIPv6, 16) {
		list, last = easy6[field], word{Lo: 1}
	}
	host := last
	if f := fieldAt(uint8(field)); f == flow.FieldIPDst || f == flow.FieldARPTPA {
		host = word{Hi: last.Hi << 1, Lo: last.Lo << 1}
	}
	return append(list[:len(list):len(list)], or(c.value, andNot(host, c.mask)))
}

type values [places][]word

func (list *values) add(f flow.Field, v word) { list[place(f)] = append(list[place(f)], v) }

var easy, easy6 = func() (list, list6 values) {
	for f, v := range map[flow.Field][]uint64{
		flow.FieldInPort: {1}, flow.FieldVLAN: {uint64(flow.VLANNone), uint64(flow.VLANPresent | 1)}, flow.FieldEthType: {flow.EthTypeIPv4, flow.EthTypeIPv6},
		flow.FieldIPProto: {flow.ProtoTCP, flow.ProtoUDP}, flow.FieldL4Src: {40000}, flow.FieldL4Dst: {80, 443}, flow.FieldICMPType: {8}, flow.FieldARPOp: {1},
	} {
		for _, v := range v {
			list.add(f, number(v, f.Info().Bits))
		}
	}
	for i, f := range []flow.Field{flow.FieldEthSrc, flow.FieldEthDst, flow.FieldARPSHA} {
		list.add(f, macWord(flow.MAC{2, 0, 0, 0, 0, byte(i%2 + 1)}))
	}
	for f, hosts := range map[flow.Field][]string{
		flow.FieldIPSrc: {"10.0.0.1", "10.0.0.3", "192.0.2.1"}, flow.FieldIPDst: {"10.0.0.2", "10.0.0.4", "192.0.2.2"},
		flow.FieldARPSPA: {"10.0.0.1"}, flow.FieldARPTPA: {"10.0.0.2"},
	} {
		for _, v := range hosts {
			list.add(f, addressOf(netip.MustParseAddr(v)))
		}
	}
	for f, v := range map[flow.Field]string{flow.FieldIPSrc: "2001:db8::1", flow.FieldIPDst: "2001:db8::2"} {
		list6.add(f, addressOf(netip.MustParseAddr(v)))
	}
	list[quotedDst], list6[quotedDst] = list[place(flow.FieldIPDst)], list6[place(flow.FieldIPDst)]
	for at, f := range map[uint8]flow.Field{quotedProto: flow.FieldIPProto, quotedL4Src: flow.FieldL4Src, quotedL4Dst: flow.FieldL4Dst, quotedType: flow.FieldICMPType} {
		list[at] = list[place(f)]
	}
	list[switchPlace] = []word{number(1, 64)}
	list[flagsPlace] = []word{number(uint64(flow.SYN), 8), number(uint64(flow.SYN|flow.ACK), 8), number(uint64(flow.ACK), 8)}
	list.add(flow.FieldNDTarget, addressOf(netip.MustParseAddr("2001:db8::2")))
	return list, list6
}()

// point is a packet by the value of each field, of which those count that the packet has, and what decides besides.
type point [places]word

// packet returns the headers with the values of a point: the fields that a frame of this EtherType and protocol shows.
func packet(p *point) (m flow.Match) {
	set := func(fields flow.Field) {
		for rest := fields; rest != 0; rest &= rest - 1 {
			x := (rest & -rest).Info()
			w := p[place(x.Field)]
			switch x.Kind {
			case flow.Address, flow.MaskedMAC:
				x.SetMAC(&m, macOf(w), flow.MACExact)
			case flow.Prefix:
				a := addressIn(w, m.EthType != flow.EthTypeIPv6)
				x.SetPrefix(&m, netip.PrefixFrom(a, a.BitLen()))
			case flow.IPv6:
				x.SetAddr(&m, addressIn(w, false))
			default:
				x.SetNumber(&m, w.Hi>>(64-x.Bits), x.Ones())
			}
		}
	}
	set(flow.FieldInPort | flow.FieldEthDst | flow.FieldEthSrc | flow.FieldEthType | flow.FieldVLAN)
	if m.VLAN&flow.VLANPresent != 0 {
		set(flow.NeedTag.Fields())
	}
	switch m.EthType {
	case flow.EthTypeARP:
		set(flow.NeedARP.Fields())
	case flow.EthTypeIPv4, flow.EthTypeIPv6:
		set(flow.NeedIP.Fields())
		v6 := m.EthType == flow.EthTypeIPv6
		if v6 {
			set(flow.NeedIPv6.Fields())
		}
		switch {
		case m.IPProto == flow.ProtoTCP || m.IPProto == flow.ProtoUDP || m.IPProto == flow.ProtoSCTP:
			set(flow.NeedPorts.Fields())
		case m.IPProto == flow.ProtoICMP && !v6:
			set(flow.NeedICMP.Fields())
		case m.IPProto == flow.ProtoICMPv6 && v6:
			set(flow.NeedICMP.Fields())
			if m.ICMPCode == 0 && m.ICMPType == solicitation {
				set(flow.NeedNeighbor.Fields())
			} else if m.ICMPCode == 0 && m.ICMPType == advertisement {
				set(flow.FieldNDTarget)
			}
		}
	}
	return m
}

// pointOf is packet's inverse.
func pointOf(m *flow.Match) (at point) {
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		a := atomOf((rest & -rest).Info(), m)
		at[a.field] = a.bits.value
	}
	return at
}

// decide returns the rule that decides a packet.
func (c *chain) decide(at *point) *rule {
	for _, t := range c.list {
		if t.covers(at) {
			return &c.rules[t.owner]
		}
	}
	return &c.rules[len(c.rules)-1] // which covers all
}

// covers reports whether a packet meets a term.
func (t *term) covers(p *point) bool {
	for i := range t.atoms {
		if !t.atoms[i].covers(p) {
			return false
		}
	}
	return true
}

// headers reports whether a packet's headers meet what a term asks of them.
func (t *term) headers(p *point) bool {
	return !slices.ContainsFunc(t.atoms, func(a atom) bool { return fieldAt(a.field) != 0 && !a.covers(p) })
}

func (a *atom) covers(p *point) bool { return a.of(cube{p[a.field], not(word{})}) == inside }
