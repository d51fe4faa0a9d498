package mapping_test

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

// goWords are what an error that speaks of Go's types, and not of the file, has.
var goWords = regexp.MustCompile(`\b(mapping|pipeline|yaml|flow|v1|p4bridge)\.\w|\bu?int(8|16|32|64)?\b|\bstruct\b|\bGo\b|unmarshal|!!|rawT|nameList|\[\]\w|reflect`)

// Errors of a file speak of its line, its place and what would be right.
func TestErrorsInTheFilesWords(t *testing.T) {
	text, err := os.ReadFile("switchbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"an unknown key in a digest":    {"  name: miss_t\n", "  name: miss_t\n  data: x\n", `digest "miss_t": unknown key "data"; known keys: name, fields, tagged, implied`},
		"an unknown key in a table":     {"    table: flow\n", "    table: flow\n    keys: {}\n", `table "flow": unknown key "keys"; known keys: openflow, table, priority, fields, tagged, always, implied, actions, default_action`},
		"an unknown key in an action":   {"drop: {action: drop}", "drop: {act: drop}", `table "acl": actions: drop: unknown key "act"; known keys: action, params`},
		"an unknown key of the file":    {"flood_group: 1", "floodgroup: 1", `unknown key "floodgroup"; known keys: pipeline, tables,`},
		"an unknown key in a section":   {"  reason: reason", "  why: reason", `packet_in: unknown key "why"; known keys: in_port, reason, fields, tagged`},
		"an unknown key of a priority":  {"{min: 40000}", "{low: 40000}", `table "acl": priority: unknown key "low"; known keys: min, max`},
		"a word for a number":           {"openflow: 0", "openflow: zero", `table "acl": openflow: "zero" is no number from 0 to 255`},
		"a number too large":            {"openflow: 0", "openflow: 256", `table "acl": openflow: "256" is no number from 0 to 255`},
		"a negative number":             {"min: 40000", "min: -1", `table "acl": priority: min: "-1" is no number from 0 to 65535`},
		"a list for a number":           {"flood_group: 1", "flood_group: [1]", `flood_group: a list is no number from 0 to 4294967295`},
		"a word for a header's value":   {"{send: 2}", "{send: two}", `packet_out: normal: send: "two" is no number`},
		"a list for a name":             {"  reason: reason", "  reason: [reason]", "packet_in: reason: want a name"},
		"a section for a name":          {"table: flow_exact", "table: {name: flow_exact}", "table: table: want a name"},
		"a section for a list of names": {"vlan: [vlan_vid]", "vlan: {vlan_vid: 1}", `table "acl": fields: vlan: want a name, or a list of names`},
		"a list in a list of names":     {"vlan: [vlan_vid]", "vlan: [[vlan_vid]]", `table "acl": fields: vlan: want a name, or a list of names`},
		"a list for a section":          {"drop: {action: drop}", "drop: [drop]", `table "acl": actions: drop: want a section of action, params, only, not a list`},
		"a list for values":             {"output: {send: 0}", "output: [send]", "packet_out: output: want names with values, not a list"},
		"a word for a list of tables":   {"tables:\n", "tables: none\nunused:\n", `tables: want a list, not "none"`},
		"a key twice":                   {"flood_group: 1", "flood_group: 1\nflood_group: 2", "flood_group"},
		"no YAML":                       {"flood_group: 1", "flood_group: [", "line"},
		"implied and told":              {"  name: miss_t\n", "  name: miss_t\n  implied: {eth_type: 0x0800}\n", "digest miss_t: implied: eth_type is what member eth_type tells"},
		"implied and too wide":          {"  name: miss_t\n", "  name: miss_t\n  implied: {ip_dscp: 64}\n", "digest miss_t: implied: value 64 does not fit in 6 bits"},
		"implied and unknown":           {"  name: miss_t\n", "  name: miss_t\n  implied: {ethertype: 0x0800}\n", `digest miss_t: implied: "ethertype" is no OXM name`},
		"a table without keys":          {"table: flow_exact", "table: miss", "table miss: it has no keys, and so no entries"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if changed == string(text) {
				t.Fatal("the case changes nothing")
			}
			f, err := mapping.Parse(strings.NewReader(changed), "user.yaml")
			if err == nil {
				_, err = f.Bind(p4src.Switchbridge())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "user.yaml:") {
				t.Fatalf("error %v, want one that begins with the file and says %q", err, c.want)
			}
			if bad := goWords.FindString(strings.ReplaceAll(err.Error(), "user.yaml", "")); bad != "" {
				t.Errorf("%q speaks of Go: %q", err, bad)
			}
		})
	}
	if f, err := mapping.Parse(strings.NewReader("tables: &a\n  - {table: x, <<: {openflow: 1}}\ndigest: {<<: *a}\n"), "user.yaml"); err == nil {
		t.Errorf("a merged list passed: %v", f)
	}
}

// arpless is a program of somebody's whose digest tells addresses and no
// EtherType.
const arpless = `
pkg_info { name: "mine" }
tables {
  preamble { id: 1 name: "ingress.conversations" alias: "conversations" }
  match_fields { id: 1 name: "port" bitwidth: 9 match_type: EXACT }
  match_fields { id: 2 name: "src" bitwidth: 32 match_type: TERNARY }
  match_fields { id: 3 name: "proto" bitwidth: 8 match_type: RANGE }
  match_fields { id: 4 name: "l4" bitwidth: 16 match_type: OPTIONAL }
  action_refs { id: 9 }
  size: 16
  idle_timeout_behavior: NOTIFY_CONTROL
}
actions { preamble { id: 9 name: "deny" alias: "deny" } }
digests {
  preamble { id: 7 name: "flow" alias: "flow" }
  type_spec { struct { name: "flow_t" } }
}
type_info { structs { key: "flow_t" value {
  members { name: "port" type_spec { bitstring { bit { bitwidth: 9 } } } }
  members { name: "src" type_spec { bitstring { bit { bitwidth: 32 } } } }
  members { name: "proto" type_spec { bitstring { bit { bitwidth: 8 } } } }
} } }
`

// A digest that is of IPv4 alone says so in the mapping, and then tells of an
// IPv4 packet; what the tables match on and it lacks, it withholds.
func TestImpliedOfADigest(t *testing.T) {
	p, err := pipeline.Load([]byte(arpless), nil)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(implied string) *mapping.Mapping {
		f, err := mapping.Parse(strings.NewReader(`
tables:
  - openflow: 0
    table: conversations
    fields: {port: in_port, src: ipv4_src, proto: ip_proto, l4: [tcp_dst, udp_dst]}
    implied: {eth_type: 0x0800}
    actions: {drop: {action: deny}}
digest:
  name: flow
  fields: {port: in_port, src: ipv4_src, proto: ip_proto}
`+implied), "mine.yaml")
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Bind(p)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	sample := func(proto byte) *p4v1.P4Data {
		s := new(p4v1.P4StructLike)
		for _, v := range [][]byte{{1}, {10, 0, 0, 1}, {proto}} {
			s.Members = append(s.Members, &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: v}})
		}
		return &p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: s}}
	}
	m := bind("  implied: {eth_type: 0x0800}\n")
	if advice := m.Advice(); len(advice) != 0 {
		t.Errorf("advice where nothing is wanted: %v", advice)
	}
	for proto, lacks := range map[byte]flow.Field{flow.ProtoTCP: flow.FieldL4Dst, flow.ProtoUDP: flow.FieldL4Dst, 89: 0, flow.ProtoICMP: 0} {
		var want flow.Match
		want.SetInPort(1)
		want.SetEthType(flow.EthTypeIPv4)
		want.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
		want.SetIPProto(proto)
		got, err := m.DigestMatch(sample(proto))
		if err != nil || got != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
		if have := m.Incomplete(&got); have != lacks {
			t.Errorf("protocol %d: it withholds %v, want %v", proto, have, lacks)
		}
	}

	without := bind("")
	if advice := without.Advice(); len(advice) != 1 || !strings.Contains(advice[0], `digest "flow"`) || !strings.Contains(advice[0], "implied: {eth_type: 0x0800}") {
		t.Errorf("advice %v, want the line that mends it", advice)
	}
	got, err := without.DigestMatch(sample(flow.ProtoTCP))
	if err != nil {
		t.Fatal(err)
	}
	if have := without.Incomplete(&got); have != flow.FieldEthType|flow.FieldIPSrc|flow.FieldIPProto|flow.FieldL4Dst {
		t.Errorf("without an EtherType it withholds %v", have)
	}
	if mapping := ours(t); len(mapping.Advice()) != 0 {
		t.Errorf("advice about our own: %v", mapping.Advice())
	}
}

// Before follows the program's graph, and without one the mapping's order.
func TestBefore(t *testing.T) {
	for name, m := range map[string]*mapping.Mapping{"by the device configuration": ours(t), "by the mapping": orderOnly(t)} {
		acl, exact, wide := m.Tables[0], m.Tables[1], m.Tables[2]
		for _, c := range []struct {
			a, b *mapping.Table
			want bool
		}{{acl, exact, true}, {exact, acl, false}, {exact, wide, true}, {wide, exact, false}, {acl, wide, true}, {wide, acl, false}, {wide, wide, false}} {
			if got := m.Before(c.a, c.b); got != c.want {
				t.Errorf("%s: %s before %s: %v", name, c.a.P4.Name, c.b.P4.Name, got)
			}
		}
	}
	m := l2acl(t)
	if m.Before(m.Tables[0], m.Tables[1]) || m.Before(m.Tables[1], m.Tables[0]) {
		t.Error("tables of two OpenFlow tables have an order among priorities")
	}
}

// orderOnly is our program as a target other than BMv2 would have it.
func orderOnly(t *testing.T) *mapping.Mapping {
	t.Helper()
	info, err := os.ReadFile("../../p4src/switchbridge.p4info.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.Load(info, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapping.Default().Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// An entry reads back as its rule; what a rule can't say is not shown.
func TestRuleReadsBack(t *testing.T) {
	m := ours(t)
	for _, actions := range [][]flow.Action{nil, {flow.OutputTo(2)}, {flow.OutputTo(flow.PortNormal)}, {flow.OutputTo(flow.PortFlood)}, {flow.OutputTo(flow.PortController)}} {
		want := flow.Rule{Priority: 50000, Match: packet(), Actions: actions, IdleTimeout: 5e9, Cookie: 9}
		e, _, err := m.Entry(&want, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, shown, drops := m.Rule(e)
		if !shown || drops != (len(actions) == 0) || got.String() != want.String() || got.Cookie != 9 {
			t.Errorf("%v (shown %v, drops %v), want %v", &got, shown, drops, &want)
		}
	}
	user := l2acl(t)
	e, _, err := mapping.Direct(p4src.L2ACL(), &flow.Entry{Table: "access_list", Priority: 5, Action: "deny", Match: map[string]string{"is_ip": "1", "proto": "6..17"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, shown, drops := user.Rule(e); shown || !drops {
		t.Errorf("a range of protocols is shown: %v, drops: %v", shown, drops)
	}
	var udp flow.Match
	udp.SetEthType(flow.EthTypeIPv4)
	udp.SetIPProto(flow.ProtoUDP)
	if e, _, err = user.Entry(&flow.Rule{Table: 1, Priority: 5, Match: udp}, nil); err != nil {
		t.Fatal(err)
	}
	if got, shown, _ := user.Rule(e); !shown || got.Match != udp {
		t.Errorf("one protocol in a range key reads back as %v", got.Match)
	}
}
