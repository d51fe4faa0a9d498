package mapping_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// someProgram is a program of somebody's with as many keys as a case wants: pairs
// of a name and "width KIND".
func someProgram(keys ...string) string {
	var b strings.Builder
	b.WriteString(`
pkg_info { name: "mine" arch: "v1model" }
tables {
  preamble { id: 1 name: "ingress.rules" alias: "rules" }
`)
	for i := 0; i+1 < len(keys); i += 2 {
		width, kind, _ := strings.Cut(keys[i+1], " ")
		if width == "text" {
			fmt.Fprintf(&b, "  match_fields { id: %d name: %q match_type: %s type_name { name: \"port_t\" } }\n", i/2+1, keys[i], kind)
		} else {
			fmt.Fprintf(&b, "  match_fields { id: %d name: %q bitwidth: %s match_type: %s }\n", i/2+1, keys[i], width, kind)
		}
	}
	b.WriteString(`
  action_refs { id: 9 } action_refs { id: 10 } action_refs { id: 11 } action_refs { id: 12 } action_refs { id: 13 }
  const_default_action_id: 9
  size: 16
}
tables {
  preamble { id: 2 name: "ingress.exact" alias: "exact" }
  match_fields { id: 1 name: "dst" bitwidth: 48 match_type: EXACT }
  action_refs { id: 9 } action_refs { id: 10 }
  const_default_action_id: 9
  size: 16
}
tables {
  preamble { id: 3 name: "ingress.routes" alias: "routes" }
  match_fields { id: 1 name: "dst" bitwidth: 32 match_type: LPM }
  action_refs { id: 9 } action_refs { id: 11 }
  const_default_action_id: 9
  size: 16
}
actions { preamble { id: 9 name: "ingress.deny" alias: "deny" } }
actions { preamble { id: 10 name: "ingress.send" alias: "send" } params { id: 1 name: "to" bitwidth: 9 } }
actions { preamble { id: 11 name: "ingress.ask" alias: "ask" } params { id: 1 name: "why" bitwidth: 16 } params { id: 2 name: "mac" bitwidth: 48 } }
actions { preamble { id: 12 name: "ingress.named" alias: "named" } params { id: 1 name: "to" type_name { name: "port_t" } } }
actions { preamble { id: 13 name: "ingress.odd" alias: "odd" } params { id: 1 name: "huge" bitwidth: 5000 } }
controller_packet_metadata {
  preamble { id: 20 name: "packet_in" alias: "packet_in" }
  metadata { id: 1 name: "port" bitwidth: 9 }
  metadata { id: 2 name: "_pad" bitwidth: 7 }
  metadata { id: 3 name: "vlan" bitwidth: 12 }
  metadata { id: 4 name: "kind" bitwidth: 16 }
}
controller_packet_metadata {
  preamble { id: 21 name: "packet_out" alias: "packet_out" }
  metadata { id: 1 name: "port" bitwidth: 9 }
  metadata { id: 2 name: "reserved" bitwidth: 9 }
  metadata { id: 3 name: "filler" bitwidth: 9 annotations: "@padding" }
  metadata { id: 4 name: "flag" bitwidth: 1 }
}
digests { preamble { id: 30 name: "seen" alias: "seen" } type_spec { struct { name: "seen_t" } } }
type_info {
  structs { key: "seen_t" value {
    members { name: "port" type_spec { new_type { name: "number_t" } } }
    members { name: "tagged" type_spec { bool {} } }
    members { name: "vlan" type_spec { bitstring { bit { bitwidth: 12 } } } }
    members { name: "way" type_spec { serializable_enum { name: "way_t" } } }
    members { name: "delta" type_spec { bitstring { int { bitwidth: 8 } } } }
    members { name: "which" type_spec { enum { name: "which_t" } } }
  } }
  new_types { key: "port_t" value { translated_type { uri: "mine" sdn_string {} } } }
  new_types { key: "number_t" value { original_type { bitstring { bit { bitwidth: 9 } } } } }
  serializable_enums { key: "way_t" value { underlying_type { bitwidth: 16 } } }
}
`)
	return b.String()
}

// bindSome binds a mapping of the table rules to such a program.
func bindSome(t testing.TB, program, text string) (*mapping.Mapping, error) {
	t.Helper()
	p, err := pipeline.Load([]byte(program), nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := mapping.Parse(strings.NewReader(text), "mine.yaml")
	if err != nil {
		return nil, err
	}
	return f.Bind(p)
}

func someTable(fields, more string) string {
	return "tables:\n  - openflow: 0\n    table: rules\n    fields: {" + fields + "}\n    actions: {drop: deny, output: {action: send, params: {to: port}}}\n" + more
}

// Every kind of key, with every mask that a field can have: what is written reads
// back as the same rule, and what a kind can't say is refused.
func TestEveryKindReadsBack(t *testing.T) {
	var any flow.Match
	ip := func(p string) (m flow.Match) {
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPDst(netip.MustParsePrefix(p))
		return m
	}
	mac := func(mask flow.MAC) (m flow.Match) {
		m.SetEthType(flow.EthTypeIPv4)
		m.SetEthDst(flow.MAC{2, 4, 6, 8, 10, 12}, mask)
		return m
	}
	prefix, odd := flow.MAC{0xff, 0xff}, flow.MAC{0xff, 0, 0xff}
	any.SetEthType(flow.EthTypeIPv4)
	for _, c := range []struct {
		kind  string
		match flow.Match
		keys  int    // 0: refused
		why   string // of a refusal
	}{
		{"EXACT", ip("10.1.2.3/32"), 1, ""}, {"EXACT", ip("10.0.0.0/8"), 0, "a mask, where the key is compared exactly"}, {"EXACT", any, 0, "the rule does not say it"},
		{"LPM", ip("10.1.2.3/32"), 1, ""}, {"LPM", ip("10.0.0.0/8"), 1, ""}, {"LPM", any, 0, ""},
		{"TERNARY", ip("10.1.2.3/32"), 1, ""}, {"TERNARY", ip("10.0.0.0/8"), 1, ""}, {"TERNARY", any, 0, ""},
		{"RANGE", ip("10.1.2.3/32"), 1, ""}, {"RANGE", ip("10.0.0.0/8"), 1, ""}, {"RANGE", any, 0, ""},
		{"OPTIONAL", ip("10.1.2.3/32"), 1, ""}, {"OPTIONAL", ip("10.0.0.0/8"), 0, "as a whole or not at all"}, {"OPTIONAL", any, 0, ""},
		{"EXACT", mac(flow.MACExact), 1, ""}, {"EXACT", mac(prefix), 0, "a mask, where the key is compared exactly"},
		{"LPM", mac(flow.MACExact), 1, ""}, {"LPM", mac(prefix), 1, ""}, {"LPM", mac(odd), 0, "the mask is not a prefix"},
		{"TERNARY", mac(flow.MACExact), 1, ""}, {"TERNARY", mac(odd), 1, ""},
		{"RANGE", mac(flow.MACExact), 1, ""}, {"RANGE", mac(prefix), 1, ""}, {"RANGE", mac(odd), 0, "the mask is not a range"},
		{"OPTIONAL", mac(flow.MACExact), 1, ""}, {"OPTIONAL", mac(odd), 0, "as a whole or not at all"},
	} {
		t.Run(fmt.Sprint(c.kind, " ", &c.match), func(t *testing.T) {
			field, width := "key: ipv4_dst", "32 "
			if c.match.Has(flow.FieldEthDst) {
				field, width = "key: eth_dst", "48 "
			}
			m, err := bindSome(t, someProgram("key", width+c.kind), someTable(field, "    implied: {eth_type: 0x0800}\n"))
			if err != nil {
				t.Fatal(err)
			}
			rule := flow.Rule{Priority: 7, Match: c.match, Actions: []flow.Action{flow.OutputTo(3)}}
			e, _, err := m.Entry(&rule, nil)
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Fatalf("error %v, want %q", err, c.why)
				}
				return
			}
			if err != nil || len(e.GetMatch()) != c.keys {
				t.Fatalf("%v, %v; want %d keys", e, err, c.keys)
			}
			got, shown, _ := m.Rule(e)
			if !shown || got.Match != c.match.Canonical() || got.Actions[0] != rule.Actions[0] {
				t.Errorf("%v reads back as %v (shown: %v)", e, &got, shown)
			}
		})
	}
}

// A range that is no prefix, and a mask that a field can't have, are no rule: they
// are not read as something wider.
func TestWhatIsNoRule(t *testing.T) {
	m, err := bindSome(t, someProgram("proto", "8 RANGE", "dport", "16 TERNARY", "to", "48 RANGE"), someTable("proto: ip_proto, dport: [tcp_dst, udp_dst], to: eth_dst", "    implied: {eth_type: 0x0800}\n"))
	if err != nil {
		t.Fatal(err)
	}
	ports := &p4v1.FieldMatch{FieldId: 2, FieldMatchType: &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{Value: []byte{16}, Mask: []byte{0xff, 0xf0}}}}
	between := func(low, high byte) *p4v1.FieldMatch {
		return &p4v1.FieldMatch{FieldId: 1, FieldMatchType: &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: []byte{low}, High: []byte{high}}}}
	}
	for name, match := range map[string][]*p4v1.FieldMatch{
		"6 to 17": {between(6, 17)}, "4 to 7": {between(4, 7)}, "ports 16 to 31": {between(6, 6), ports},
		"stations 0 to 5": {{FieldId: 3, FieldMatchType: &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: []byte{0}, High: []byte{5}}}}},
	} {
		e := &p4v1.TableEntry{TableId: 1, Priority: 5, Match: match, Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: 9}}}}
		if r, shown, drops := m.Rule(e); shown || !drops {
			t.Errorf("%s is shown as %v, drops: %v", name, &r, drops)
		}
	}
}

// A VLAN's 12 bits say nothing of the tag: the mapping says how it is known, and
// what can't be said is refused.
func TestVLANOfTwelveBits(t *testing.T) {
	vlan := func(v, mask uint16) (m flow.Match) {
		m.SetVLAN(v, mask)
		return m
	}
	none, any, twenty := vlan(0, 0x1fff), vlan(0x1000, 0x1000), vlan(0x1014, 0x1fff)
	for form, c := range map[string]struct {
		keys   []string
		fields string
		tagged string
		fit    map[string]flow.Match // written and read back
		not    map[string]flow.Match
	}{
		"by a key":           {[]string{"vlan", "12 TERNARY", "has", "1 TERNARY"}, "vlan: vlan_vid", "has", map[string]flow.Match{"none": none, "any": any, "20": twenty, "prefix": vlan(0x1010, 0x1ff0)}, nil},
		"by a key, exact":    {[]string{"vlan", "12 EXACT", "has", "1 EXACT"}, "vlan: vlan_vid", "has", map[string]flow.Match{"none": none, "20": twenty}, map[string]flow.Match{"any": any, "prefix": vlan(0x1010, 0x1ff0)}},
		"by a key alone":     {[]string{"has", "1 TERNARY"}, "", "has", map[string]flow.Match{"none": none, "any": any}, map[string]flow.Match{"20": twenty}},
		"nonzero":            {[]string{"vlan", "12 TERNARY"}, "vlan: vlan_vid", "nonzero", map[string]flow.Match{"none": none, "20": twenty}, map[string]flow.Match{"any": any, "prefix": vlan(0x1010, 0x1ff0), "0": vlan(0x1000, 0x1fff)}},
		"always":             {[]string{"vlan", "12 TERNARY"}, "vlan: vlan_vid", "always", map[string]flow.Match{"20": twenty, "prefix": vlan(0x1010, 0x1ff0)}, map[string]flow.Match{"none": none, "no tag or 0": vlan(0, 0x0fff)}},
		"all thirteen":       {[]string{"vlan", "13 TERNARY"}, "vlan: vlan_vid", "", map[string]flow.Match{"none": none, "any": any, "20": twenty}, nil},
		"as wide as the TCI": {[]string{"vlan", "16 TERNARY"}, "vlan: vlan_vid", "", map[string]flow.Match{"none": none, "any": any, "20": twenty}, nil},
	} {
		t.Run(form, func(t *testing.T) {
			more := ""
			if c.tagged != "" {
				more = "    tagged: " + c.tagged + "\n"
			}
			m, err := bindSome(t, someProgram(c.keys...), someTable(c.fields, more))
			if err != nil {
				t.Fatal(err)
			}
			for name, match := range c.fit {
				e, _, err := m.Entry(&flow.Rule{Priority: 5, Match: match}, nil)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if got, _, ok := m.Match(e); !ok || got != match {
					t.Errorf("%s: %v reads back as %v (%v), want %v", name, e.GetMatch(), got, ok, match)
				}
			}
			for name, match := range c.not {
				if e, _, err := m.Entry(&flow.Rule{Priority: 5, Match: match}, nil); !errors.Is(err, mapping.ErrNoFit) {
					t.Errorf("%s: %v, which is another rule", name, e.GetMatch())
				}
			}
		})
	}
	if _, err := bindSome(t, someProgram("vlan", "12 TERNARY"), someTable("vlan: vlan_vid", "")); err == nil || !strings.Contains(err.Error(), "mine.yaml:4: table rules: key vlan is 12 bits wide and does not say whether there is a VLAN tag; add `tagged:") {
		t.Errorf("a key of 12 bits without a word: %v", err)
	}
}

// A digest's members of any type are no matter unless the mapping wants them; of
// those that it can read are booleans, enums with values and new types.
func TestMembersOfADigest(t *testing.T) {
	bind := func(fields, tagged string) (*mapping.Mapping, error) {
		return bindSome(t, someProgram("port", "9 EXACT"), someTable("port: in_port", "")+"digest: {name: seen, fields: {"+fields+"}, tagged: "+tagged+"}\n")
	}
	m, err := bind("port: in_port, vlan: vlan_vid, way: eth_type", "tagged")
	if err != nil {
		t.Fatal(err)
	}
	bits := func(b ...byte) *p4v1.P4Data { return &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: b}} }
	for tagged, want := range map[bool]uint16{true: 0x1014, false: 0} {
		data := &p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: &p4v1.P4StructLike{Members: []*p4v1.P4Data{
			bits(3), {Data: &p4v1.P4Data_Bool{Bool: tagged}}, bits(20), {Data: &p4v1.P4Data_EnumValue{EnumValue: []byte{8, 0}}},
			bits(0xff), {Data: &p4v1.P4Data_Enum{Enum: "up"}},
		}}}}
		got, err := m.DigestMatch(data)
		if err != nil || got.InPort != 3 || got.EthType != 0x0800 || got.VLAN != want || got.VLANMask != flow.VLANExact {
			t.Errorf("tagged %v: %v, %v", tagged, got, err)
		}
	}
	for fields, want := range map[string]string{
		"port: in_port, delta: ip_proto": "member delta: it is a signed or a variable number",
		"port: in_port, which: ip_proto": "member which: it is no number",
	} {
		if _, err := bind(fields, "nonzero"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", fields, err, want)
		}
	}
}

// A port that is a text to P4Runtime is known by its name.
func TestPortsByName(t *testing.T) {
	m, err := bindSome(t, someProgram("port", "text OPTIONAL", "dst", "48 TERNARY"), `
tables:
  - openflow: 0
    table: rules
    fields: {port: in_port, dst: eth_dst}
    actions: {output: {action: named, params: {to: port}}, drop: {action: ingress.deny}}
port_names: {1: Ethernet0, 2: Ethernet4}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := flow.Rule{Priority: 5, Actions: []flow.Action{flow.OutputTo(2)}}
	want.Match.SetInPort(1)
	e, _, err := m.Entry(&want, nil)
	if err != nil || string(e.GetMatch()[0].GetOptional().GetValue()) != "Ethernet0" || string(e.GetAction().GetAction().GetParams()[0].GetValue()) != "Ethernet4" {
		t.Fatalf("%v, %v", e, err)
	}
	if got, shown, _ := m.Rule(e); !shown || got.String() != want.String() {
		t.Errorf("it reads back as %v", &got)
	}
	want.Actions[0].Port = 7 // it has no name
	if e, _, err = m.Entry(&want, nil); err != nil {
		t.Fatal(err)
	}
	if got, shown, _ := m.Rule(e); !shown || got.String() != want.String() {
		t.Errorf("it reads back as %v", &got)
	}
}

// Parameters that the mapping gives are in every entry, and tell actions apart
// when they are read.
func TestConstantParameters(t *testing.T) {
	m, err := bindSome(t, someProgram("port", "9 EXACT", "dst", "48 TERNARY"), `
tables:
  - openflow: 0
    table: rules
    fields: {port: in_port, dst: eth_dst}
    actions:
      controller: {action: ask, params: {why: 0x10, mac: "02:00:00:00:00:01"}}
      normal: {action: ask, params: {why: 17, mac: 3}}
      flood: {action: send, params: {to: 500}}
      output: {action: send, params: {to: port}}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []flow.PortNo{flow.PortController, flow.PortNormal, flow.PortFlood, 4} {
		want := flow.Rule{Priority: 5, Actions: []flow.Action{flow.OutputTo(port)}}
		want.Match.SetInPort(1)
		e, _, err := m.Entry(&want, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, shown, _ := m.Rule(e); !shown || got.String() != want.String() {
			t.Errorf("%v reads back as %v", &want, &got)
		}
	}
}

// How a miss is had: by a default action, or an entry below all others, or not.
func TestWaysOfAMiss(t *testing.T) {
	program := someProgram("port", "9 TERNARY", "dst", "48 TERNARY", "has", "1 EXACT")
	table := "tables:\n  - {openflow: 0, table: rules, fields: {port: in_port, dst: eth_dst}, always: {has: 1}, actions: {drop: deny, output: {action: send, params: {to: port}}}}\n"
	m, err := bindSome(t, program, table+"miss: {table: rules, punt: {action: ask, params: {why: 1, mac: 0}}, drop: deny}\n")
	if err != nil {
		t.Fatal(err)
	}
	e := m.Miss.Entry(mapping.MissPunt)
	if e == nil || e.IsDefaultAction || e.Priority != 1 || len(e.Match) != 1 || e.Match[0].FieldId != 3 {
		t.Errorf("the miss is %v, want an entry of priority 1 that compares what every entry does", e)
	}
	if e := m.Miss.Entry(mapping.MissDrop); e != nil || !m.Miss.Can(mapping.MissDrop) {
		t.Errorf("what the program does by itself is written: %v", e)
	}
	// A rule of the lowest priority is above it.
	rule := flow.Rule{Priority: 1}
	rule.Match.SetInPort(1)
	low, _, err := m.Entry(&rule, nil)
	if err != nil || low.Priority != 2 {
		t.Fatalf("%v, %v", low, err)
	}
	if got, shown, _ := m.Rule(low); !shown || got.Priority != 1 {
		t.Errorf("it reads back as %v", &got)
	}
	for section, want := range map[string]string{
		"{table: exact, punt: {action: send, params: {to: 9}}}":             "the default action of table exact is fixed to deny, and no entry matches everything: key dst is compared exactly",
		"{table: rules, punt: {action: missing}}":                           `no action "missing"; table rules can have`,
		"{table: rules, punt: {action: ask, params: {why: 1}}}":             "parameter mac of P4 action ask is given nothing",
		"{table: rules, punt: {action: ask, params: {why: 70000, mac: 1}}}": "parameter why: value",
		"{punt: ask}": "miss: table is missing: the name of a P4 table",
		"{table: rules, by_itself: drop, drop: deny}": "the program does so by itself, says by_itself",
		"{by_itself: punting}":                        `by_itself: "punting" is no way to treat a miss`,
		"{table: rules, match: {nothing: 1}, punt: {action: ask, params: {why: 1, mac: 0}}}": `match: table rules has no key "nothing"`,
	} {
		if _, err := bindSome(t, program, table+"miss: "+section+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", section, err, want)
		}
	}
	m, err = bindSome(t, program, table+"miss: {table: routes, punt: {action: ask, params: {why: 1, mac: 0}}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if e := m.Miss.Entry(mapping.MissPunt); e == nil || len(e.Match) != 0 || e.Priority != 0 || e.IsDefaultAction {
		t.Errorf("of a table of prefixes it is %v, want the empty prefix", e)
	}
	m, err = bindSome(t, program, table+"miss: {by_itself: [digest, punt]}\n")
	if err != nil || m.Miss.Entry(mapping.MissPunt) != nil || !m.Miss.Can(mapping.MissDigest) || m.Miss.Can(mapping.MissFlood) {
		t.Errorf("by itself: %v, %v", m, err)
	}
}

// The type of service is one field to most programs, and two to OpenFlow. Each rule goes to the keys that can say it, is read back as it was, and a
// digest tells both.
func TestTypeOfService(t *testing.T) {
	bind := func(kind, oxms string) (*mapping.Mapping, error) {
		return bindSome(t, someProgram("kind", "16 EXACT", "tos", "8 "+kind),
			"tables:\n  - {openflow: 0, table: rules, fields: {kind: eth_type, tos: "+oxms+"}, actions: {drop: deny}}\n")
	}
	const both = "[ip_dscp, ip_ecn]"
	dscp, ecn := flow.FieldIPDSCP, flow.FieldIPECN
	for name, row := range map[string]struct {
		kind, oxms  string
		says        flow.Field // of DSCP 46 and ECN 1
		value, mask byte       // that the key compares
		want        string     // the error
	}{
		"ternary, DSCP":        {"TERNARY", both, dscp, 46 << 2, 0xfc, ""},
		"ternary, ECN":         {"TERNARY", both, ecn, 1, 0x03, ""},
		"ternary, both":        {"TERNARY", both, dscp | ecn, 46<<2 | 1, 0xff, ""},
		"ternary, neither":     {"TERNARY", both, 0, 0, 0, ""},
		"ternary, DSCP alone":  {"TERNARY", "ip_dscp", dscp, 46 << 2, 0xfc, ""},
		"an ECN without a key": {"TERNARY", "ip_dscp", dscp | ecn, 0, 0, "no key for ip_ecn"},
		"lpm, DSCP":            {"LPM", both, dscp, 46 << 2, 0xfc, ""},
		"lpm, ECN":             {"LPM", both, ecn, 0, 0, "key tos: ip_ecn: the mask is not a prefix"},
		"range, DSCP":          {"RANGE", both, dscp, 46 << 2, 0xfc, ""},
		"exact, both":          {"EXACT", both, dscp | ecn, 46<<2 | 1, 0xff, ""},
		"exact, DSCP":          {"EXACT", both, dscp, 0, 0, "key tos: ip_dscp: a mask, where the key is compared exactly"},
		"exact, DSCP alone":    {"EXACT", "ip_dscp", dscp, 0, 0, "key tos is compared as a whole, and is the type of service: it holds both ip_dscp and ip_ecn"},
		"optional, both":       {"OPTIONAL", both, dscp | ecn, 46<<2 | 1, 0xff, ""},
	} {
		m, err := bind(row.kind, row.oxms)
		rule := flow.Rule{Priority: 9}
		rule.Match.SetEthType(flow.EthTypeIPv4)
		rule.Match.IPDSCP, rule.Match.IPECN = 46, 1
		rule.Match.Fields |= row.says
		rule.Match = rule.Match.Canonical()
		var e *p4v1.TableEntry
		if err == nil {
			if !m.Tables[0].P4.Priority {
				rule.Priority = 0
			}
			e, _, err = m.Entry(&rule, nil)
		}
		if row.want != "" || err != nil {
			if err == nil || row.want == "" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: error %v, want %q", name, err, row.want)
			}
			continue
		}
		if got, _, ok := m.Match(e); !ok || got != rule.Match {
			t.Errorf("%s: %v reads back as %v, %t", name, &rule.Match, &got, ok)
		}
		var value, mask byte
		for _, f := range e.Match {
			if f.FieldId != 2 {
				continue
			}
			switch k := f.FieldMatchType.(type) {
			case *p4v1.FieldMatch_Exact_:
				value, mask = k.Exact.Value[0], 0xff
			case *p4v1.FieldMatch_Optional_:
				value, mask = k.Optional.Value[0], 0xff
			case *p4v1.FieldMatch_Ternary_:
				value, mask = k.Ternary.Value[0], k.Ternary.Mask[0]
			case *p4v1.FieldMatch_Lpm:
				value, mask = k.Lpm.Value[0], 0xff<<(8-k.Lpm.PrefixLen)
			case *p4v1.FieldMatch_Range_:
				value, mask = k.Range.Low[0], ^(k.Range.Low[0] ^ k.Range.High[0])
			}
		}
		if value != row.value || mask != row.mask {
			t.Errorf("%s: the key compares %#x/%#x, want %#x/%#x", name, value, mask, row.value, row.mask)
		}
	}
}

// What can't be meant is refused where it stands.
func TestMeaningsAreChecked(t *testing.T) {
	program := someProgram("a", "16 EXACT", "b", "48 TERNARY", "c", "9 OPTIONAL", "d", "8 TERNARY")
	whole := "a: eth_type, b: eth_src, c: in_port, d: ip_proto"
	table := func(fields, actions string) string {
		return "tables:\n  - openflow: 0\n    table: rules\n    fields: {" + fields + "}\n    actions: {" + actions + "}\n"
	}
	good := table(whole, "drop: deny")
	if _, err := bindSome(t, program, good); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		table("a: eth_src", "drop: deny"):                                                                            "mine.yaml:4: table rules: key a is 16 bits wide, and eth_src 48",
		table("a: eth_type, d: in_port, c: eth_dst", "drop: deny"):                                                   "key c is 9 bits wide, and eth_dst 48",
		table("a: eth_type, b: tcp_dst", "drop: deny"):                                                               "key b is 48 bits wide, and tcp_dst 16",
		table("a: eth_type, b: ip_dscp", "drop: deny"):                                                               "key b is 48 bits wide, and ip_dscp 6",
		table("a: tcp_dst, b: [eth_src, tcp_dst]", "drop: deny"):                                                     "b: tcp_dst is what key a holds",
		table("a: eth_type, e: in_port", "drop: deny"):                                                               `it has no key "e"; it has [a b c d]`,
		table(whole, `output: {action: deny}`):                                                                       "action output: P4 action deny does not take port, so it does something else",
		table(whole, `"output,set_eth_dst": {action: send, params: {to: port}}`):                                     "set_eth_dst comes after the packet was sent and changes nothing",
		table(whole, `"set_eth_dst,output": {action: send, params: {to: port}}`):                                     "P4 action send does not take eth_dst",
		table(whole, `"drop,output": {action: send, params: {to: port}}`):                                            "drop is a list of its own",
		table(whole, `set_eth_dst: {action: send, params: {to: eth_dst}}`):                                           "parameter to is 9 bits wide, and eth_dst wants 48",
		table(whole, `output: {action: ask, params: {why: port, mac: port}}`):                                        "parameter mac is 48 bits wide, and port wants 8 to 32",
		table(whole, `normal: {action: send, params: {to: port}}`):                                                   `parameter to: "port" is not among what the actions give: []`,
		table(whole, `normal: {action: send, params: {to: 512}}`):                                                    "parameter to: value 0x0200 has 10 bits",
		table(whole, `normal: {action: odd, params: {huge: 1}}`):                                                     "parameter huge: it is 5000 bits wide",
		table(whole, `set_eth_dst: {action: named, params: {to: eth_dst}}`):                                          "parameter to is a text in P4Runtime, and eth_dst a number",
		good + "packet_out: {port: reserved}\n":                                                                      "packet_out: port: field reserved of header packet_out is padding",
		good + "packet_out: {port: filler}\n":                                                                        "packet_out: port: field filler of header packet_out is padding",
		good + "packet_out: {port: flag}\n":                                                                          "packet_out: port: field flag of header packet_out is 1 bits wide, and a port's number at least 8",
		good + "packet_out: {in_port: port}\n":                                                                       "mine.yaml: packet_out: port is missing; header packet_out has the fields [filler flag port reserved]",
		good + "packet_in: {in_port: _pad}\n":                                                                        "packet_in: in_port: field _pad of header packet_in is padding",
		good + "packet_in: {in_port: port, fields: {vlan: vlan_vid}}\n":                                              "packet_in: field vlan is 12 bits wide and does not say",
		good + "clone: [{session: 3}]\n":                                                                             "clone: session 3 has no ports, and there is no cpu_port",
		good + "multicast: [{group: 3}, {group: 3}]\n":                                                               "multicast: group 3 is there twice",
		good + "counters: [none]\n":                                                                                  `counters: P4Info has no indirect counter "none"`,
		good + "setup: [{table: exact, each: port, match: {dst: port}, action: send}]\n":                             "setup: table exact: no P4 table can hold the rule: table exact: action send: parameter to: no value",
		good + "setup: [{table: exact, default_action: {action: send, params: {to: 1}}}]\n":                          "setup: table exact: default_action: it is fixed to deny",
		good + "setup: [{table: exact, match: {dst: 1}, one_of: [{action: send, params: {to: 1}}]}]\n":               "setup: table exact: one_of: its actions do not come from a selector",
		good + "setup: [{table: exact, match: {dst: 1}, action: send, params: {to: 1}, one_of: [{action: deny}]}]\n": "setup: table exact: action and one_of: an entry has one or the other",
	} {
		if _, err := bindSome(t, program, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v, want one that says %q", text, err, want)
		} else if bad := goWords.FindString(err.Error()); bad != "" {
			t.Errorf("%q speaks of Go: %q", err, bad)
		}
	}
}

// A header may tell more than the frame shows, or less: its own fields count, the
// frame gives the others, and a header of another packet is no packet.
func TestHeaderAndFrame(t *testing.T) {
	m, err := bindSome(t, someProgram("port", "9 EXACT", "src", "32 TERNARY", "kind", "16 TERNARY", "vlan", "12 TERNARY"),
		someTable("port: in_port, src: ipv4_src, kind: eth_type, vlan: vlan_vid", "    tagged: nonzero\n")+`
packet_in: {in_port: port, fields: {vlan: vlan_vid, kind: eth_type}, tagged: nonzero}
cpu_port: 255
`)
	if err != nil {
		t.Fatal(err)
	}
	frame := frames.UDP(frames.Host(1).At(5), frames.Host(2).At(53), nil)
	in := func(port, vlan byte, kind uint16) *p4v1.PacketIn {
		return &p4v1.PacketIn{Payload: frame, Metadata: []*p4v1.PacketMetadata{
			{MetadataId: 1, Value: []byte{port}}, {MetadataId: 2, Value: []byte{0}}, {MetadataId: 3, Value: []byte{vlan}},
			{MetadataId: 4, Value: []byte{byte(kind >> 8), byte(kind)}}}}
	}
	pi, contradicted, err := m.Packet(in(3, 20, 0x0800))
	if err != nil || contradicted != flow.FieldVLAN || pi.Match.VLAN != 0x1014 || !pi.Match.Has(flow.FieldIPSrc) || pi.Match.InPort != 3 {
		t.Errorf("%v, contradicts %v, %v", pi.Match, contradicted, err)
	}
	if pi, contradicted, err = m.Packet(in(3, 0, 0x0800)); err != nil || contradicted != 0 || pi.Match.VLAN != 0 {
		t.Errorf("%v, contradicts %v, %v", pi.Match, contradicted, err)
	}
	if _, _, err = m.Packet(in(3, 0, 0x86dd)); !errors.Is(err, mapping.ErrContradiction) {
		t.Errorf("a header of another packet: %v", err)
	}
	if _, _, err = m.Packet(in(255, 0, 0x0800)); !errors.Is(err, mapping.ErrOwnPacket) {
		t.Errorf("a packet from the CPU port: %v", err)
	}
}

// A digest that tells little takes nothing from a packet in hand.
func TestFrameBesideASmallDigest(t *testing.T) {
	m, err := bindSome(t, someProgram("port", "9 EXACT", "src", "32 TERNARY", "kind", "16 TERNARY"),
		someTable("port: in_port, src: ipv4_src, kind: eth_type", "")+"digest: {name: seen, fields: {port: in_port}}\npacket_in: {in_port: port}\n")
	if err != nil {
		t.Fatal(err)
	}
	pi, _, err := m.Packet(&p4v1.PacketIn{Payload: frames.UDP(frames.Host(1).At(5), frames.Host(2).At(53), nil), Metadata: []*p4v1.PacketMetadata{{MetadataId: 1, Value: []byte{3}}}})
	if err != nil || !pi.Match.Has(flow.FieldInPort|flow.FieldIPSrc|flow.FieldEthType) || pi.Incomplete != 0 {
		t.Errorf("%v, withheld %v, %v", pi.Match, pi.Incomplete, err)
	}
}

// What always stands in a key may be any value that entries have.
func TestAlways(t *testing.T) {
	m, err := bindSome(t, someProgram("port", "9 EXACT", "src", "32 TERNARY", "range", "16 RANGE"),
		"tables:\n  - {openflow: 0, table: rules, fields: {port: in_port}, always: {src: 10.0.1.0/255.255.255.0, range: 1..9}, actions: {drop: deny}}\n")
	if err != nil {
		t.Fatal(err)
	}
	rule := flow.Rule{Priority: 5}
	rule.Match.SetInPort(1)
	e, _, err := m.Entry(&rule, nil)
	if err != nil || len(e.Match) != 3 {
		t.Fatalf("%v, %v", e, err)
	}
	if got, shown, _ := m.Rule(e); !shown || got.Match != rule.Match {
		t.Errorf("it reads back as %v", &got)
	}
	other := proto.CloneOf(e)
	other.Match[1].GetTernary().Value = []byte{10, 0, 2, 0}
	if _, shown, _ := m.Rule(other); shown {
		t.Error("an entry without what ours always have is shown as ours")
	}
}

// An action that a program carries out for some packets alone is for rules that
// say so, and other rules of the table have its other actions.
func TestActionsForSomeRulesOnly(t *testing.T) {
	const text = "tables:\n  - openflow: 0\n    table: rules\n    fields: {vlan: vlan_vid, dst: eth_dst}\n    tagged: nonzero\n" +
		"    actions: {drop: deny, output: {action: send, params: {to: port}, only: {vlan_vid: 0}}}\n"
	program := someProgram("vlan", "12 TERNARY", "dst", "48 TERNARY")
	m, err := bindSome(t, program, text)
	if err != nil {
		t.Fatal(err)
	}
	rule := func(vlan, mask uint16, actions ...flow.Action) *flow.Rule {
		r := &flow.Rule{Priority: 9, Actions: actions}
		r.Match.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
		if mask != 0 {
			r.Match.SetVLAN(vlan, mask)
		}
		return r
	}
	for name, c := range map[string]struct {
		rule *flow.Rule
		fits bool
	}{
		"untagged, sent":    {rule(flow.VLANNone, flow.VLANExact, flow.OutputTo(2)), true},
		"tagged, sent":      {rule(flow.VLANPresent|20, flow.VLANExact, flow.OutputTo(2)), false},
		"any, sent":         {rule(0, 0, flow.OutputTo(2)), false},
		"tagged, dropped":   {rule(flow.VLANPresent|20, flow.VLANExact), true},
		"untagged, dropped": {rule(flow.VLANNone, flow.VLANExact), true},
		"whatever, dropped": {rule(0, 0), true},
	} {
		if _, _, err := m.Entry(c.rule, nil); (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), "P4 action send is for rules of vlan_vid 0x0 only") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range [][3]string{
		{"only: {vlan_vid: 0}", "only: {vlan: 0}", `only: "vlan" is no OXM name`},
		{"only: {vlan_vid: 0}", "only: {vlan_vid: 70000}", "does not fit in 13 bits"},
		{"actions:", "default_action: {action: deny, only: {vlan_vid: 0}}\n    actions:", "only: it can stand only with the actions of rules"},
	} {
		if _, err := bindSome(t, program, strings.Replace(text, c[0], c[1], 1)); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v", c[1], err)
		}
	}
}
