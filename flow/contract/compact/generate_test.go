package compact

import (
	"fmt"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/codegen"
)

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
	f := codegen.New("compact", "net/netip", "switchbridge/flow")
	placed := func(has func(x *flow.FieldInfo) bool) func(x *flow.FieldInfo) bool {
		return func(x *flow.FieldInfo) bool { return x.Compact != 0 && has(x) }
	}
	set := func(has func(x *flow.FieldInfo) bool) string { return codegen.Set("flow.", placed(has)) }
	addresses := func(n flow.Need) func(x *flow.FieldInfo) bool {
		return func(x *flow.FieldInfo) bool { return x.Kind == flow.Prefix && x.Need == n }
	}
	isWide := func(x *flow.FieldInfo) bool { return x.Compact >= narrow }
	f.Printf("\nconst (\nwideFields = %s\n\nallFields = %s\n\nipFields = %s\narpFields = %s\n)\n\n", set(isWide),
		set(func(*flow.FieldInfo) bool { return true }), set(addresses(flow.NeedIP)), set(addresses(flow.NeedARP)))
	f.Printf("// fits reports whether m has only fields and values that have a place.\nfunc fits(m *flow.Match) bool {\nreturn m.Fields&^allFields == 0")
	for _, x := range codegen.Rows(placed(func(x *flow.FieldInfo) bool { return unfit[x.Kind] != "" })) {
		f.Printf("%s", codegen.Expand(x, " &&\n!(m.Fields&flow.F != 0 && "+unfit[x.Kind]+")"))
	}
	f.Printf("\n}\n")
	for _, way := range []struct {
		name, head string
		wide       bool
		lines      map[flow.Kind]string
	}{
		{"putNarrow", "_ = r[narrow-1]", false, writes}, {"putWide", "_ = r[wide-1]", true, writes},
		{"getNarrow", "_ = r[narrow-1]", false, reads}, {"getWide", "_ = r[wide-1]", true, reads},
	} {
		f.Printf("\nfunc %s(r []byte, m *flow.Match) {\n%s\n", way.name, way.head)
		for _, x := range codegen.Rows(placed(func(x *flow.FieldInfo) bool { return isWide(x) == way.wide && x.Kind != flow.Prefix })) {
			f.Row(x, strings.ReplaceAll(way.lines[x.Kind], "[P", fmt.Sprintf("[%d", x.Compact)))
		}
		f.Printf("}\n")
	}
	f.Check(t, "match_gen.go")
}
