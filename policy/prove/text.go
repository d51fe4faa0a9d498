package prove

import (
	"fmt"
	"net/netip"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy/header"
	"switchbridge/policy/policytest"
)

// Text of regions is in the names of fields that policies have. What a value means depends on what else is known of the packet: the family of
// an address, the protocol of a port.

// known is what of a box names depend on.
func (b *box) known() (m flow.Match) {
	for _, f := range []flow.Field{flow.FieldEthType, flow.FieldIPProto} {
		x := f.Info()
		if c := b[place(f)]; c.mask == not(word{}) {
			x.SetNumber(&m, c.value.Hi>>(64-x.Bits), 0)
		}
	}
	return m
}

// name is how policies call a field of packets of which m is known.
func name(x *flow.FieldInfo, m *flow.Match) string {
	if x.Need == flow.NeedPorts || x.Need == flow.NeedICMP && m.IPProto == flow.ProtoICMPv6 {
		if o, ok := x.OXMOf(m); ok {
			return o.Name
		}
	}
	return x.Name
}

var typeNames = map[uint64]string{flow.EthTypeIPv4: "ipv4", flow.EthTypeIPv6: "ipv6", flow.EthTypeARP: "arp", flow.EthTypeLLDP: "lldp"}

var protoNames = map[uint64]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp", flow.ProtoICMP: "icmp", flow.ProtoICMPv6: "icmpv6"}

// value writes one value of a field.
func value(x *flow.FieldInfo, w word, m *flow.Match) string {
	v := w.Hi >> (64 - min(x.Bits, 64))
	switch {
	case x.Kind == flow.Address || x.Kind == flow.MaskedMAC:
		return macOf(w).String()
	case x.Kind == flow.Prefix:
		return addressIn(w, m.EthType != flow.EthTypeIPv6).String()
	case x.Kind == flow.IPv6:
		return addressIn(w, false).String()
	case x.Kind == flow.PortNumber:
		return flow.PortNo(v).String()
	case x.Field == flow.FieldVLAN && v == uint64(flow.VLANNone):
		return "none"
	case x.Field == flow.FieldVLAN:
		return fmt.Sprint(v &^ uint64(flow.VLANPresent))
	case x.Field == flow.FieldEthType && typeNames[v] != "":
		return typeNames[v]
	case x.Field == flow.FieldIPProto && protoNames[v] != "":
		return protoNames[v]
	}
	return fmt.Sprintf(x.Verb, v)
}

// cubeText writes the values of a cube.
func cubeText(x *flow.FieldInfo, c cube, m *flow.Match) string {
	width := leading(int(x.Bits))
	n := ones(and(c.mask, width))
	switch {
	case x.Kind == flow.Prefix:
		a := addressIn(c.value, m.EthType != flow.EthTypeIPv6)
		if p := netip.PrefixFrom(a, min(ones(c.mask), a.BitLen())); !p.IsSingleIP() {
			return p.String()
		}
		return a.String()
	case x.Field == flow.FieldVLAN && n == 1:
		return "any"
	case and(c.mask, width) == width:
		return value(x, c.value, m)
	case x.Kind == flow.MaskedMAC || x.Kind == flow.Address:
		return macOf(c.value).String() + "/" + macOf(c.mask).String()
	case x.Kind == flow.IPv6:
		return netip.PrefixFrom(addressIn(c.value, false), n).String()
	}
	return value(x, c.value, m) + "-" + value(x, and(c.last(), width), m)
}

// maxRanges is how many ranges of a set are written.
const maxRanges = 4

// setText writes the ranges of a set.
func setText(x *flow.FieldInfo, s set, m *flow.Match) string {
	var list []string
	for i, r := range s {
		if i == maxRanges {
			list = append(list, fmt.Sprintf("%d more", len(s)-i))
			break
		}
		list = append(list, spanText(x, r, m))
	}
	return strings.Join(list, ", ")
}

func spanText(x *flow.FieldInfo, r span, m *flow.Match) string {
	for n := 128; n >= 0; n-- { // a prefix, if there is one
		if c := (cube{r.first, leading(n)}); and(r.first, c.mask) == r.first && c.last() == r.last {
			return cubeText(x, c, m)
		} else if less(r.last, c.last()) {
			break
		}
	}
	return value(x, r.first, m) + "-" + value(x, and(r.last, leading(int(x.Bits))), m)
}

// text writes the region, without what it leaves out.
func (r *region) text() string {
	m := r.box.known()
	var parts []string
	for i := range flow.Fields {
		x := flow.Printed(i)
		at := place(x.Field)
		c := r.box[at]
		bounds := atom{field: at, bits: c}
		if c.mask == everything[at].mask {
			bounds.bits.mask = word{}
		}
		var sets []*atom
		for _, a := range r.must {
			if a.field != at {
				continue
			}
			one := *a
			if !a.not && a.set != nil && !zero(bounds.bits.mask) && bounds.ranges() != nil { // what is left of the set within the bits
				one.set, bounds.bits.mask = a.set.minus(a.set.minus(bounds.ranges())), word{}
			}
			sets = append(sets, &one)
		}
		if !zero(bounds.bits.mask) && !implied(x.Field, &r.box, r.must) {
			parts = append(parts, name(x, &m)+" "+cubeText(x, c, &m))
		}
		for _, a := range sets {
			parts = append(parts, a.text(&m))
		}
	}
	parts = append(parts, r.besides()...)
	if len(parts) == 0 {
		return "every packet"
	}
	return strings.Join(parts, ", ")
}

// implied reports whether the name of another condition says what this field is, too.
func implied(f flow.Field, b *box, must []*atom) bool {
	has := func(fields flow.Field) bool {
		for i := range flow.Fields {
			if flow.Fields[i].Field&fields != 0 && b[i].mask != everything[i].mask {
				return true
			}
		}
		for _, a := range must {
			if fieldAt(a.field)&fields != 0 {
				return true
			}
		}
		return false
	}
	switch f {
	case flow.FieldIPProto:
		return has(flow.NeedPorts.Fields())
	case flow.FieldEthType:
		return has(flow.FieldIPSrc | flow.FieldIPDst | flow.NeedARP.Fields())
	}
	return false
}

func (a *atom) text(m *flow.Match) string {
	x := &flow.Fields[a.field]
	s := ""
	if a.set != nil {
		s = setText(x, a.set, m)
	} else {
		s = cubeText(x, a.bits, m)
	}
	if a.not {
		return name(x, m) + " not " + s
	}
	return name(x, m) + " " + s
}

// besides writes what the region asks of its packets beside their headers.
func (r *region) besides() (parts []string) {
	if c := r.box[flagsPlace]; c.mask != everything[flagsPlace].mask {
		var names []string
		for i := range 8 {
			bit, name := number(1<<i, 8), policytest.FlagWords(1<<i)
			switch {
			case zero(and(c.mask, bit)):
			case zero(and(c.value, bit)):
				names = append(names, "no-"+name)
			default:
				names = append(names, name)
			}
		}
		parts = append(parts, "tcp_flags "+strings.Join(names, "+"))
	}
	if c := r.box[switchPlace]; c.mask != everything[switchPlace].mask {
		parts = append(parts, "switch "+flow.DPID(c.value.Hi).String())
	}
	for _, a := range r.must {
		if a.field == switchPlace {
			parts = append(parts, a.switches())
		}
	}
	n := bitsOf(minutePlace)
	week := set{{word{}, cube{number(header.Week-1, uint8(n)), leading(n)}.last()}}
	hours := week
	for _, a := range r.must {
		if a.field == minutePlace && a.set != nil {
			left := hours.minus(a.set)
			if !a.not {
				left = hours.minus(left)
			}
			hours = left
		}
	}
	if !hours.equal(week) {
		s := "in the hours "
		for i, h := range hours {
			if i == maxRanges {
				s += fmt.Sprintf(", and %d more", len(hours)-i)
				break
			}
			if i > 0 {
				s += ", "
			}
			s += clock(int(h.first.Hi>>(64-n))) + "-" + clock(int(h.last.Hi>>(64-n))+1)
		}
		parts = append(parts, s)
	}
	return parts
}

// switches writes a condition on the switch.
func (a *atom) switches() string {
	s := map[bool]string{false: "switch ", true: "switch not "}[a.not]
	for i, one := range a.ranges() {
		if i > 0 {
			s += ", "
		}
		s += flow.DPID(one.first.Hi).String()
		if one.first.Hi != one.last.Hi { // of switches that follow each other
			s += "-" + flow.DPID(one.last.Hi).String()
		}
	}
	return s
}

// clock writes a minute of the week.
func clock(minute int) string {
	days := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	return fmt.Sprintf("%s %02d:%02d", days[minute/1440%7], minute/60%24, minute%60)
}

// situation writes the states that a box is of.
func (a *automaton) situation(b *box) (s string) {
	at := point{statesPlace: b[statesPlace].value}
	known := func(slot int) bool {
		mask := inState(slot, 0, stateBits).bits.mask
		return and(b[statesPlace].mask, mask) == mask
	}
	if known(own) {
		s = ", while " + a.Name + " is in " + a.States[at.stateIn(own)].Name
	}
	for i, slot := range a.slots {
		if known(i) {
			s += fmt.Sprintf(", while %s is in %s", slot.machine, a.chain.automaton(slot.machine).States[at.stateIn(i)].Name)
		}
	}
	return s
}
