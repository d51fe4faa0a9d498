package flow_test

import (
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/codegen"
)

// switches are what is done to each field of a match where every nanosecond
// counts, by the field's kind. V is the member, M its mask. They are written out
// for each field in match_gen.go: with offsets read from the table at run time,
// Canonical, Covers and Keep take 10 to 25 % longer.
var switches = []struct {
	head string // up to the switch
	kind map[flow.Kind]string
	any  string // of the other kinds
	tail string
}{
	{head: `// Keep returns m, which is canonical, with only the fields in f.
// It clears what is dropped, which is less than what [Match.Canonical] would copy; to have that one clear, too,
// would make it take 2.5 times as long (BenchmarkCanonical).
func (m Match) Keep(f Field) Match {
	gone := m.Fields &^ f
	m.Fields &= f
	for rest := gone; rest != 0; rest &= rest - 1 {
		switch rest & -rest {
`, kind: map[flow.Kind]string{
		flow.Number64: "m.V, m.M = 0, 0", flow.VLANTag: "m.V, m.M = 0, 0", flow.Address: "m.V = MAC{}", flow.MaskedMAC: "m.V, m.M = MAC{}, MAC{}",
		flow.Prefix: "m.V = netip.Prefix{}", flow.IPv6: "m.V = netip.Addr{}",
	}, any: "m.V = 0", tail: `}
	}
	return m
}`},
	{head: `// Normalize makes m canonical where it is.
func (m *Match) Normalize() {
	var c Match
	c.Fields = m.Fields & AllFields
	for rest := c.Fields; rest != 0; rest &= rest - 1 {
		switch rest & -rest {
`, kind: map[flow.Kind]string{
		flow.Number64: "c.V, c.M = m.V&m.M, m.M", flow.VLANTag: "c.V, c.M = m.V&m.M, m.M", flow.MaskedMAC: "c.V, c.M = m.V.And(m.M), m.M", flow.Prefix: "c.V = m.V.Masked()",
	}, any: "c.V = m.V", tail: `}
	}
	*m = c
}`},
	{head: `// Covers reports whether a packet whose headers are p (as [ParseFrame] fills
// them) satisfies m. A field that m asks for and the packet lacks does not match.
func (m *Match) Covers(p *Match) bool {
	if m.Fields&^p.Fields != 0 {
		return false
	}
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		ok := true
		switch rest & -rest {
`, kind: map[flow.Kind]string{
		flow.Number64: "ok = (m.V^p.V)&m.M == 0", flow.VLANTag: "ok = (m.V^p.V)&m.M == 0", flow.MaskedMAC: "ok = p.V.And(m.M) == m.V.And(m.M)",
		flow.Prefix: "ok = m.V.Contains(p.V.Addr())",
	}, any: "ok = m.V == p.V", tail: `}
		if !ok {
			return false
		}
	}
	return true
}`},
	{head: `// Overlaps reports whether a packet could satisfy both m and o. Where it is not
// sure it says so: prerequisites that are not written out do not tell two
// matches apart.
func (m *Match) Overlaps(o *Match) bool {
	for rest := m.Fields & o.Fields; rest != 0; rest &= rest - 1 {
		apart := false
		switch rest & -rest {
`, kind: map[flow.Kind]string{
		flow.Number64: "apart = (m.V^o.V)&m.M&o.M != 0", flow.VLANTag: "apart = (m.V^o.V)&m.M&o.M != 0",
		flow.MaskedMAC: "apart = m.V.And(m.M).And(o.M) != o.V.And(o.M).And(m.M)", flow.Prefix: "apart = prefixesApart(m.V, o.V)",
	}, any: "apart = m.V != o.V", tail: `}
		if apart {
			return false
		}
	}
	return true
}`},
	{head: `// masksInside reports whether m compares every bit that o does, in o's fields.
func (m *Match) masksInside(o *Match) bool {
	for rest := o.Fields & MaskedFields; rest != 0; rest &= rest - 1 {
		in := true
		switch rest & -rest {
`, kind: map[flow.Kind]string{
		flow.Number64: "in = o.M&^m.M == 0", flow.VLANTag: "in = o.M&^m.M == 0", flow.MaskedMAC: "in = m.M.And(o.M) == o.M", flow.Prefix: "in = m.V.Bits() >= o.V.Bits()",
	}, tail: `}
		if !in {
			return false
		}
	}
	return true
}`},
}

// TestGenerated holds match_gen.go against the table.
func TestGenerated(t *testing.T) {
	f := codegen.New("flow", "net/netip")
	set := func(has func(x *flow.FieldInfo) bool) string { return codegen.Set("", has) }
	f.Printf("\n// Fields that a mask may leave bits out of, and those that OpenFlow 1.0's match has a place for.\nconst (\n")
	f.Printf("MaskedFields = %s\n\n", set(func(x *flow.FieldInfo) bool { _, mask := x.Offsets(); return mask != 0 || x.Kind == flow.Prefix }))
	f.Printf("Fields10 = %s\n)\n\n", set(func(x *flow.FieldInfo) bool { return x.Place10 != 0 }))
	f.Printf("// Fields returns the fields of a kind.\nfunc (k Kind) Fields() Field {\nswitch k {\n")
	for k := range flow.IPv6 + 1 {
		f.Printf("case %d:\nreturn %s\n", k, set(func(x *flow.FieldInfo) bool { return x.Kind == k }))
	}
	f.Printf("}\nreturn 0\n}\n\n// Fields returns the fields that have a need.\nfunc (n Need) Fields() Field {\nswitch n {\n")
	for n := range flow.NeedNeighbor + 1 {
		f.Printf("case %d:\nreturn %s\n", n, set(func(x *flow.FieldInfo) bool { return x.Need == n }))
	}
	f.Printf("}\nreturn 0\n}\n")
	for _, s := range switches {
		f.Printf("\n%s", s.head)
		for i := range flow.Fields {
			x := &flow.Fields[i]
			line, ok := s.kind[x.Kind]
			if !ok {
				line = s.any
			}
			if line != "" {
				f.Row(x, "case F:\n"+line)
			}
		}
		f.Printf("%s\n", s.tail)
	}
	f.Printf("\n// Beyond returns the first field of m whose number has more bits than the field, or 0.\nfunc (m *Match) Beyond() Field {\nswitch {\n")
	for _, x := range codegen.Rows(func(x *flow.FieldInfo) bool { return x.Bits < codegen.Room[x.Kind] }) {
		f.Printf(codegen.Expand(x, "case m.Fields&F != 0 && m.V > %#x:\nreturn F\n"), x.Ones())
	}
	f.Printf("}\nreturn 0\n}\n")
	f.Check(t, "match_gen.go")
}
