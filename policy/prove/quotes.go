package prove

import (
	"fmt"
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy/machine"
)

// The packet that an ICMP error quotes is a second packet beside the first. Some of it is the error's own headers, since it is quoted as the error's destination has sent it by the
// way that the error came: its Ethernet addresses and its source. The rest is places of its own. A quote that can't be read, or which the destination has not
// sent, is what quotedPlace says is none: a machine that looks at quotes denies it, and stays where it is.

// quoted are the places of a quoted packet's fields that are none of the error's.
var quoted = map[flow.Field]uint8{
	flow.FieldIPDst: quotedDst, flow.FieldIPProto: quotedProto, flow.FieldL4Src: quotedL4Src, flow.FieldL4Dst: quotedL4Dst,
	flow.FieldICMPType: quotedType, flow.FieldICMPCode: quotedCode,
}

// turnedRound are the error's fields that say what a quoted packet's are.
var turnedRound = map[flow.Field]flow.Field{
	flow.FieldEthSrc: flow.FieldEthDst, flow.FieldEthDst: flow.FieldEthSrc, flow.FieldIPSrc: flow.FieldIPDst,
	flow.FieldEthType: flow.FieldEthType, flow.FieldVLAN: flow.FieldVLAN,
}

// readable is the condition that what an error quotes can be read.
var readable = numbers(quotedPlace, 1, 1)

// quotes are the conditions of ICMP errors that quote a packet which meets t's condition.
func quotes(t *machine.Transition) (lists [][]atom) {
	for _, atoms := range condition(t.Packet.Quotes.Completed()) {
		list := []atom{readable}
		for _, a := range atoms {
			f := fieldAt(a.field)
			if to, ok := quoted[f]; ok {
				a.field = to
			} else {
				a.field = place(turnedRound[f])
			}
			list = append(list, a)
		}
		lists = append(lists, list)
	}
	return lists
}

// unquotable are readable quotes that there are not (see [flow.Match.Converses]).
func unquotable() (list []*term) {
	add := func(atoms ...atom) { list = append(list, &term{append(atoms, readable), nobody}) }
	four, six := is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldEthType, flow.EthTypeIPv6)
	group := cube{macWord(flow.MAC{1}), macWord(flow.MAC{1})}
	for _, f := range []flow.Field{flow.FieldEthSrc, flow.FieldEthDst} {
		add(atom{field: place(f), bits: group})
	}
	for _, at := range []uint8{place(flow.FieldIPDst), quotedDst} {
		add(four, inSet(at, set{prefixSpan(netip.MustParsePrefix("224.0.0.0/4"))}))
		add(six, inSet(at, newSet([]span{prefixSpan(netip.MustParsePrefix("ff00::/8")), prefixSpan(netip.MustParsePrefix("::ffff:224.0.0.0/100"))})))
	}
	proto := func(v uint64) atom { return numbers(quotedProto, v, v) }
	for _, one := range []struct {
		family atom
		proto  uint64
		types  []uint64 // that are asked and answered
	}{{four, flow.ProtoICMP, []uint64{0, 8, 13, 14, 15, 16, 17, 18}}, {six, flow.ProtoICMPv6, []uint64{128, 129}}} {
		add(one.family, proto(one.proto), negated(numbers(quotedCode, 0, 0)))
		var types []span
		for _, t := range one.types {
			types = append(types, spanOf(cube{number(t, 8), leading(8)}))
		}
		add(one.family, proto(one.proto), negated(atom{field: quotedType, set: newSet(types)}))
	}
	add(four, proto(flow.ProtoICMPv6))
	for _, extension := range []uint64{0, 43, 44, 51, 60} { // what follows one is quoted, or nothing
		add(six, proto(extension))
	}
	return list
}

// blind are the conditions of packets that may try a transition, and whose quotes can't be read.
func blind(t *machine.Transition) (lists [][]atom) {
	for _, atoms := range headers(t) {
		lists = append(lists, append(atoms[:len(atoms):len(atoms)], negated(readable)))
	}
	return lists
}

// quoteWords writes what a packet quotes, as expectations do.
func quoteWords(at *point, m *flow.Match) string {
	if !m.ICMPError() || zero(at[quotedPlace]) {
		return ""
	}
	v4 := m.EthType == flow.EthTypeIPv4
	src, dst := m.IPDst.Addr(), addressIn(at[quotedDst], v4)
	number := func(place uint8) uint64 { return at[place].Hi >> (64 - bitsOf(place)) }
	switch p := uint8(number(quotedProto)); {
	case slices.Contains([]uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP}, p):
		return fmt.Sprintf(" quotes %s %v > %v", protoNames[uint64(p)], netip.AddrPortFrom(src, uint16(number(quotedL4Src))), netip.AddrPortFrom(dst, uint16(number(quotedL4Dst))))
	case p == flow.ProtoICMP && v4 || p == flow.ProtoICMPv6 && !v4:
		return fmt.Sprintf(" quotes %s %v > %v type %d", protoNames[uint64(p)], src, dst, number(quotedType))
	default:
		return fmt.Sprintf(" quotes ip %v > %v ip_proto %d", src, dst, p)
	}
}
