package compact

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/fieldgen"
)

var _ = flag.Bool("update", false, "write match_gen.go anew")

// What is written and read of a field, by its kind; P is its place. Addresses of
// IP and ARP share their places, so match.go has them.
var (
	writes = map[flow.Kind]string{
		flow.Number8: "r[P] = m.V", flow.Number16: "le.PutUint16(r[P:], m.V)", flow.Number32: "le.PutUint32(r[P:], m.V)",
		flow.Number64: "le.PutUint64(r[P:], m.V)", flow.PortNumber: "le.PutUint32(r[P:], uint32(m.V))", flow.VLANTag: "le.PutUint16(r[P:], m.V)",
		flow.Address: "*(*flow.MAC)(r[P:]) = m.V", flow.MaskedMAC: "*(*flow.MAC)(r[P:]) = m.V",
		flow.IPv6: "if m.Fields&flow.F != 0 {\n*(*[16]byte)(r[P:]) = m.V.As16()\n}",
	}
	reads = map[flow.Kind]string{
		flow.Number8: "m.V = r[P]", flow.Number16: "m.V = le.Uint16(r[P:])", flow.Number32: "m.V = le.Uint32(r[P:])",
		flow.Number64:   "if m.V = le.Uint64(r[P:]); m.Fields&flow.F != 0 {\nm.M = ^uint64(0)\n}",
		flow.PortNumber: "m.V = flow.PortNo(le.Uint32(r[P:]))",
		flow.VLANTag:    "if m.V = le.Uint16(r[P:]); m.Fields&flow.F != 0 {\nm.M = flow.VLANExact\n}",
		flow.Address:    "m.V = flow.MAC(r[P:])",
		flow.MaskedMAC:  "if m.V = flow.MAC(r[P:]); m.Fields&flow.F != 0 {\nm.M = flow.MACExact\n}",
		flow.IPv6:       "if m.Fields&flow.F != 0 {\nm.V = netip.AddrFrom16([16]byte(r[P:]))\n}",
	}
	unfit = map[flow.Kind]string{ // when a match has a value that has no room
		flow.Number64: "m.M != ^uint64(0)", flow.VLANTag: "m.M != flow.VLANExact", flow.MaskedMAC: "m.M != flow.MACExact",
		flow.IPv6: `(!m.V.Is6() || m.V.Zone() != "")`,
	}
)

// TestGenerated holds match_gen.go against the table of fields.
func TestGenerated(t *testing.T) {
	var b strings.Builder
	b.WriteString("package compact\n\nimport (\n\"net/netip\"\n\n\"switchbridge/flow\"\n)\n\n")
	rows := func(has func(x *flow.FieldInfo) bool) (list []*flow.FieldInfo) {
		for i := range flow.Fields {
			if x := &flow.Fields[i]; x.Compact != 0 && has(x) {
				list = append(list, x)
			}
		}
		return list
	}
	set := func(has func(x *flow.FieldInfo) bool) string {
		var names []string
		for _, x := range rows(has) {
			names = append(names, "flow."+fieldgen.Name(x))
		}
		return strings.Join(names, "|")
	}
	addresses := func(n flow.Need) func(x *flow.FieldInfo) bool {
		return func(x *flow.FieldInfo) bool { return x.Kind == flow.Prefix && x.Need == n }
	}
	isWide := func(x *flow.FieldInfo) bool { return x.Compact >= narrow }
	fmt.Fprintf(&b, "const (\nwideFields = %s\n\nallFields = %s\n\nipFields = %s\narpFields = %s\n)\n\n", set(isWide),
		set(func(*flow.FieldInfo) bool { return true }), set(addresses(flow.NeedIP)), set(addresses(flow.NeedARP)))
	b.WriteString("// fits reports whether m has only fields and values that have a place.\nfunc fits(m *flow.Match) bool {\nreturn m.Fields&^allFields == 0")
	for _, x := range rows(func(x *flow.FieldInfo) bool { return unfit[x.Kind] != "" }) {
		b.WriteString(fieldgen.Expand(x, " &&\n!(m.Fields&flow.F != 0 && "+unfit[x.Kind]+")"))
	}
	b.WriteString("\n}\n")
	for _, f := range []struct {
		name, head string
		wide       bool
		lines      map[flow.Kind]string
	}{
		{"putNarrow", "_ = r[narrow-1]", false, writes}, {"putWide", "_ = r[wide-1]", true, writes},
		{"getNarrow", "_ = r[narrow-1]", false, reads}, {"getWide", "_ = r[wide-1]", true, reads},
	} {
		fmt.Fprintf(&b, "\nfunc %s(r []byte, m *flow.Match) {\n%s\n", f.name, f.head)
		for _, x := range rows(func(x *flow.FieldInfo) bool { return isWide(x) == f.wide && x.Kind != flow.Prefix }) {
			b.WriteString(strings.ReplaceAll(fieldgen.Expand(x, f.lines[x.Kind]), "[P", fmt.Sprintf("[%d", x.Compact)) + "\n")
		}
		b.WriteString("}\n")
	}
	fieldgen.Check(t, "match_gen.go", b.String())
}
