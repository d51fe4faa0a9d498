package ofp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/codegen"
)

// What is written and read of a field, by its kind. N is its number, V its
// member of a match and M its mask; & is for those that have fewer bits than
// they have room.
var (
	writes = map[flow.Kind]string{
		flow.Number8: "b = oxm8(b, N, m.V&)", flow.Number16: "b = oxm16(b, N, m.V&)", flow.Number32: "b = oxm32(b, N, m.V&)",
		flow.PortNumber: "b = oxm32(b, N, uint32(m.V))", flow.Number64: "b = oxm64(b, N, m.V, m.M)", flow.VLANTag: "b = oxmVLANs(b, N, m.V, m.M)",
		flow.Address: "b = oxmMAC(b, N, m.V, flow.MACExact)", flow.MaskedMAC: "b = oxmMAC(b, N, m.V, m.M)",
		flow.Prefix: "b = oxmPrefix(b, N, m.V)", flow.IPv6: "b = oxmIPv6(b, N, m.V)",
	}
	reads = map[flow.Kind]string{
		flow.Number8: "m.V = x.value[0]&", flow.Number16: "m.V = be.Uint16(x.value)&", flow.Number32: "m.V = be.Uint32(x.value)&",
		flow.PortNumber: "m.V = flow.PortNo(be.Uint32(x.value))", flow.Number64: "m.V, m.M = x.value64()", flow.VLANTag: "m.V, m.M = x.vlan()",
		flow.Address: "m.V = flow.MAC(x.value)", flow.MaskedMAC: "m.V, m.M = x.mac()",
		flow.Prefix: "m.V = x.prefix()", flow.IPv6: "m.V = addr16(x.value)",
	}
)

// TestGenerated holds oxm_gen.go against the table of fields.
func TestGenerated(t *testing.T) {
	expand := func(x *flow.FieldInfo, line, number string) string {
		and := ""
		if x.Bits < codegen.Room[x.Kind] {
			and = fmt.Sprintf("&%#x", x.Ones())
		}
		return codegen.Expand(x, strings.NewReplacer("&", and, "(b, N,", "(b, "+number+",").Replace(line))
	}
	type named struct {
		*flow.FieldInfo
		oxm *flow.OXM
	}
	var rows []*flow.FieldInfo // by their first numbers, which is an order of prerequisites
	var all []named
	for i := range flow.Fields {
		x := &flow.Fields[i]
		rows = append(rows, x)
		for j := range x.OXM {
			all = append(all, named{x, &x.OXM[j]})
		}
	}
	slices.SortFunc(rows, func(a, b *flow.FieldInfo) int { return int(a.OXM[0].Number) - int(b.OXM[0].Number) })
	slices.SortFunc(all, func(a, b named) int { return int(a.oxm.Number) - int(b.oxm.Number) })

	f := codegen.New("ofp", "switchbridge/flow")
	f.Printf("\n// oxmLen is the length of a field's value, without a mask; 0: package flow does not have the field.\nvar oxmLen = [...]uint8{")
	var maskable, prefixes []string
	for _, n := range all {
		length := max(n.Bits, codegen.Room[n.Kind]) / 8
		switch n.Kind {
		case flow.VLANTag:
			length = 2
		case flow.Prefix:
			if prefixes = append(prefixes, fmt.Sprint("1<<", n.oxm.Number)); n.oxm.EthType != flow.EthTypeIPv6 {
				length = 4
			}
		}
		if n.Field&flow.MaskedFields != 0 {
			maskable = append(maskable, fmt.Sprint("1<<", n.oxm.Number))
		}
		f.Printf("%d: %d, ", n.oxm.Number, length)
	}
	f.Printf("}\n\n// Fields that may have a mask, by the specification and in package flow, and those whose mask must be a prefix.\nconst (\nmaskable = %s\nprefixes = %s\n)\n\n",
		strings.Join(maskable, "|"), strings.Join(prefixes, "|"))

	f.Printf("// protoOf returns the ip_proto of a port's or an ICMP field.\nfunc protoOf(field uint8) uint8 {\nswitch field {\n")
	for _, n := range all {
		if n.oxm.Proto != 0 {
			f.Printf("case %d:\nreturn %d\n", n.oxm.Number, n.oxm.Proto)
		}
	}
	f.Printf("}\nreturn 0\n}\n\nfunc appendOXMs(b []byte, m *flow.Match) []byte {\n")
	write := func(x *flow.FieldInfo, number string) {
		f.WriteString(codegen.Expand(x, "if m.Fields&flow.F != 0 {\n") + expand(x, writes[x.Kind], number) + "\n}\n")
	}
	for i := 0; i < len(rows); i++ {
		x := rows[i]
		switch {
		case len(x.OXM) == 1 && x.Kind != flow.Prefix:
			write(x, fmt.Sprint(x.OXM[0].Number))
		case x.Kind == flow.Prefix: // the family says which; ARP has one
			write(x, fmt.Sprint(x.OXM[0].Number, ", ", x.OXM[len(x.OXM)-1].Number))
		default: // ip_proto says which of a pair's names
			i++
			y := rows[i]
			f.Printf("if m.Fields&%s != 0 {\nn, n2 := uint8(%d), uint8(%d)\nswitch m.IPProto {\n",
				codegen.Expand(x, "(flow.F")+codegen.Expand(y, "|flow.F)"), x.OXM[0].Number, y.OXM[0].Number)
			for j, o := range x.OXM[1:] {
				f.Printf("case %d:\nn, n2 = %d, %d\n", o.Proto, o.Number, y.OXM[j+1].Number)
			}
			f.Printf("}\n")
			write(x, "n")
			write(y, "n2")
			f.Printf("}\n")
		}
	}
	f.Printf("return b\n}\n\n// put adds a field's bit, value and mask to m.\nfunc (x *rawOXM) put(m *flow.Match) error {\nswitch x.field {\n")
	for _, x := range rows {
		var numbers []string
		for _, o := range x.OXM {
			numbers = append(numbers, fmt.Sprint(o.Number))
		}
		f.Printf("case %s:\n%s\n", strings.Join(numbers, ", "), codegen.Expand(x, "m.Fields |= flow.F\n")+expand(x, reads[x.Kind], ""))
		if len(x.OXM) > 1 && x.OXM[0].Proto != 0 {
			f.Printf("return x.protocol(m)\n")
		}
	}
	f.Printf("}\nreturn nil\n}\n\n// otherFamily returns the first field of m whose address is not of its family, or 0.\nfunc otherFamily(m *flow.Match, ipv4 bool) flow.Field {\nswitch {\n")
	for _, x := range rows {
		v4 := "ipv4"
		switch {
		case x.Kind != flow.Prefix:
			continue
		case len(x.OXM) == 1:
			v4 = fmt.Sprint(x.OXM[0].EthType != flow.EthTypeIPv6)
		}
		f.WriteString(codegen.Expand(x, "case m.Fields&flow.F != 0 && !family(m.V, "+v4+"):\nreturn flow.F\n"))
	}
	f.Printf("}\nreturn 0\n}\n")
	f.Check(t, "oxm_gen.go")
}

// TestPlaces10 holds the places of OpenFlow 1.0's match against the table, whose
// code is written by hand: 1.0 gets no more fields.
func TestPlaces10(t *testing.T) {
	var needs = map[flow.Need]flow.Match{}
	for need, set := range map[flow.Need]func(m *flow.Match){
		flow.NeedNothing: func(*flow.Match) {},
		flow.NeedTag:     func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|1, flow.VLANExact) },
		flow.NeedIP:      func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4) },
		flow.NeedARP:     func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) },
		flow.NeedPorts:   func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoTCP) },
		flow.NeedICMP:    func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoICMP) },
	} {
		var m flow.Match
		set(&m)
		needs[need] = m
	}
	for i := range flow.Fields {
		x := &flow.Fields[i]
		m := needs[x.Need]
		plain := appendMatch10(nil, &m)
		switch x.Kind {
		case flow.Address, flow.MaskedMAC:
			x.SetMAC(&m, flow.MAC{0xff}, flow.MACExact)
		case flow.Prefix:
			x.SetPrefix(&m, netip.MustParsePrefix("255.0.0.0/8"))
		case flow.VLANTag:
			m.SetVLAN(flow.VLANPresent|0xfff, flow.VLANExact)
		case flow.IPv6:
			x.SetAddr(&m, netip.IPv6LinkLocalAllNodes())
		default:
			x.SetNumber(&m, min(x.Ones(), 0xff), 0)
		}
		if err := CheckMatch(v10, &m); (err == nil) != (x.Place10 != 0) {
			t.Errorf("%s has the place %d in 1.0: %v", x.Name, x.Place10, err)
		}
		if x.Place10 == 0 {
			continue
		}
		b := appendMatch10(nil, &m)
		if gone := be.Uint32(plain) &^ be.Uint32(b); gone&x.Wild10 == 0 || x.Kind != flow.Prefix && gone != x.Wild10 {
			t.Errorf("%s clears wildcard bits %#x, want %#x", x.Name, gone, x.Wild10)
		}
		width := (x.Bits + 7) / 8
		if x.Kind == flow.Prefix {
			width = 4
		}
		for at := 4; at < len(b); at++ {
			if in := at >= int(x.Place10) && at < int(x.Place10+width); b[at] != plain[at] && !in {
				t.Errorf("%s changes byte %d, want %d to %d", x.Name, at, x.Place10, x.Place10+width-1)
			}
		}
	}
}

// The names that messages have for fields are the table's where it has them.
func TestNames(t *testing.T) {
	for i := range flow.Fields {
		for _, o := range flow.Fields[i].OXM {
			if name := (&rawOXM{class: oxmClassBasic, field: o.Number}).name(); name != o.Name {
				t.Errorf("field %d is %s, and %s in the table", o.Number, name, o.Name)
			}
		}
	}
}
