package mapping_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

func ours(t testing.TB) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Default().Bind(p4src.Switchbridge())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func l2acl(t testing.TB) *mapping.Mapping {
	t.Helper()
	r, err := os.Open("../../p4src/example/l2acl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := mapping.Parse(r, "l2acl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Bind(p4src.L2ACL())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var a, b = flow.MAC{2, 0, 0, 0, 0, 1}, flow.MAC{2, 0, 0, 0, 0, 2}

// packet is what a frame of TCP over IPv4 fills, as far as our program sees it.
func packet() flow.Match {
	var m flow.Match
	m.SetInPort(1)
	m.SetEthSrc(a, flow.MACExact)
	m.SetEthDst(b, flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	m.SetEthType(flow.EthTypeIPv4)
	m.SetIPProto(flow.ProtoTCP)
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetIPDst(netip.MustParsePrefix("10.0.0.2/32"))
	m.SetL4Src(1234)
	m.SetL4Dst(80)
	return m
}

func with(set func(*flow.Match)) flow.Match {
	m := packet()
	set(&m)
	return m
}

// Each rule goes to the table that can hold it, and an entry reads back as the
// match it came from.
func TestEntry(t *testing.T) {
	out := []flow.Action{flow.OutputTo(2)}
	for name, c := range map[string]struct {
		rule  flow.Rule
		table string
		keys  int
		err   string
	}{
		"a whole flow":        {flow.Rule{Priority: 100, Match: packet(), Actions: out}, "flow_exact", 10, ""},
		"a whole flow, high":  {flow.Rule{Priority: 50000, Match: packet(), Actions: out}, "acl", 10, ""},
		"a prefix":            {flow.Rule{Priority: 100, Match: with(func(m *flow.Match) { m.SetIPSrc(netip.MustParsePrefix("10.0.0.0/8")) }), Actions: out}, "flow", 10, ""},
		"any source":          {flow.Rule{Priority: 100, Match: with(func(m *flow.Match) { m.SetIPSrc(netip.MustParsePrefix("0.0.0.0/0")) }), Actions: out}, "flow", 9, ""},
		"a port of addresses": {flow.Rule{Priority: 100, Match: packet().Keep(flow.FieldInPort | flow.FieldEthSrc), Actions: out}, "flow", 2, ""},
		"no condition":        {flow.Rule{Priority: 1, Actions: nil}, "flow", 0, ""},
		"ARP, whole": {flow.Rule{Priority: 100, Match: func() flow.Match {
			m := packet().Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
			m.SetEthType(flow.EthTypeARP)
			m.Fields |= flow.FieldARPOp
			m.ARPOp = 1
			m.SetARPSPA(netip.MustParsePrefix("10.0.0.1/32"))
			m.SetARPTPA(netip.MustParsePrefix("10.0.0.2/32"))
			return m
		}(), Actions: out}, "flow_exact", 10, ""},
		"LLDP, whole": {flow.Rule{Priority: 100, Match: func() flow.Match {
			m := packet().Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
			m.SetEthType(flow.EthTypeLLDP)
			return m
		}(), Actions: out}, "flow_exact", 10, ""},
		"back where it came from": {flow.Rule{Priority: 100, Match: packet(), Actions: []flow.Action{flow.OutputTo(flow.PortIn)}}, "flow_exact", 10, ""},

		"a field without a key":  {flow.Rule{Priority: 100, Match: with(func(m *flow.Match) { m.Fields |= flow.FieldIPDSCP; m.IPDSCP = 46 }), Actions: out}, "", 0, "no key for ip_dscp"},
		"a port too large":       {flow.Rule{Priority: 100, Match: packet(), Actions: []flow.Action{flow.OutputTo(512)}}, "", 0, "parameter port: value 0x0200 has 10 bits"},
		"an in_port too large":   {flow.Rule{Priority: 100, Match: with(func(m *flow.Match) { m.SetInPort(600) }), Actions: out}, "", 0, "key in_port"},
		"two outputs":            {flow.Rule{Priority: 100, Match: packet(), Actions: []flow.Action{flow.OutputTo(1), flow.OutputTo(2)}}, "", 0, `no P4 action is mapped for "output,output"`},
		"a goto":                 {flow.Rule{Priority: 100, Match: packet(), Goto: 1}, "", 0, "goto 1"},
		"a meter":                {flow.Rule{Priority: 100, Match: packet(), Meter: 3}, "", 0, "meter 3"},
		"another OpenFlow table": {flow.Rule{Table: 5, Priority: 100, Match: packet()}, "", 0, "OpenFlow table 5 is mapped to none"},
		"priority 0":             {flow.Rule{Match: packet().Keep(flow.FieldInPort)}, "", 0, "priority 0"},
		"a contradiction":        {flow.Rule{Priority: 1, Match: with(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) })}, "", 0, "eth_type"},
		"output to TABLE":        {flow.Rule{Priority: 100, Match: packet(), Actions: []flow.Action{flow.OutputTo(flow.PortTable)}}, "", 0, "output:TABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ours(t)
			c.rule.Cookie, c.rule.IdleTimeout = 0x0007123400000001, 30*time.Second
			e, table, err := m.Entry(&c.rule, nil)
			if c.err != "" {
				if !errors.Is(err, mapping.ErrNoFit) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one that says %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if table.P4.Name != c.table || len(e.GetMatch()) != c.keys {
				t.Errorf("table %s with %d keys, want %s with %d", table.P4.Name, len(e.GetMatch()), c.table, c.keys)
			}
			if e.GetControllerMetadata() != c.rule.Cookie || e.GetIdleTimeoutNs() != 30e9 {
				t.Errorf("cookie %#x, idle timeout %d", e.GetControllerMetadata(), e.GetIdleTimeoutNs())
			}
			if (e.GetPriority() > 0) != table.P4.Priority {
				t.Errorf("priority %d", e.GetPriority())
			}
			got, _, ok := m.Match(e)
			want := c.rule.Match.Canonical()
			if want.Has(flow.FieldIPSrc) && want.IPSrc.Bits() == 0 {
				want.Fields &^= flow.FieldIPSrc // "any" says nothing
				want = want.Canonical()
			}
			if !ok || got != want {
				t.Errorf("reads back as %v, want %v", got, want)
			}
		})
	}
}

// The user's program: other names, widths and kinds, and an action that rewrites.
func TestSecondProgram(t *testing.T) {
	m := l2acl(t)
	pair := packet().Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst)
	e, table, err := m.Entry(&flow.Rule{Priority: 10, Match: pair, IdleTimeout: time.Minute,
		Actions: []flow.Action{{Type: flow.SetEthDst, MAC: a}, flow.OutputTo(3)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	act := e.GetAction().GetAction()
	if table.P4.Name != "pairs" || act.GetActionId() != p4src.L2ACL().Table("pairs").Action("redirect").ID || len(act.GetParams()) != 2 ||
		string(act.GetParams()[0].GetValue()) != string(a[:]) || act.GetParams()[1].GetValue()[0] != 3 {
		t.Errorf("table %s, action %v", table.P4.Name, act)
	}

	var acl flow.Match
	acl.SetEthType(flow.EthTypeIPv4)
	acl.SetIPSrc(netip.MustParsePrefix("10.1.0.0/16"))
	acl.SetIPProto(flow.ProtoUDP)
	e, table, err = m.Entry(&flow.Rule{Table: 1, Priority: 10, Match: acl}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, fm := range e.GetMatch() {
		switch {
		case fm.GetExact() != nil:
			kinds = append(kinds, "exact")
		case fm.GetTernary() != nil:
			kinds = append(kinds, "ternary")
		case fm.GetRange() != nil:
			kinds = append(kinds, "range")
		}
	}
	if table.P4.Name != "access_list" || strings.Join(kinds, " ") != "exact ternary range" {
		t.Errorf("table %s, keys %v", table.P4.Name, kinds)
	}

	acl = flow.Match{}
	acl.SetEthType(flow.EthTypeIPv6)
	if _, _, err = m.Entry(&flow.Rule{Table: 1, Priority: 10, Match: acl}, nil); err == nil || !strings.Contains(err.Error(), "eth_type 0x800 only") {
		t.Errorf("IPv6 in a table that knows IPv4 only: %v", err)
	}
	if _, _, err = m.Entry(&flow.Rule{Priority: 10, Match: pair, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}}, nil); err == nil {
		t.Error("a flood, which nothing maps, was not refused")
	}
}

// Every mistake in a file is named with its line and entry.
func TestBindRefuses(t *testing.T) {
	text, err := os.ReadFile("switchbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"an unknown table":         {"table: flow_exact", "table: flows", `P4Info has no table "flows"; it has [acl flow flow_exact l2 miss]`},
		"an unknown key":           {"      vlan: [vlan_vid]", "      vlans: [vlan_vid]", `table acl: it has no key "vlans"`},
		"an unknown field":         {"[vlan_vid]", "[vlan]", `"vlan" is no OXM name`},
		"an unknown action":        {"{action: next}", "{action: normal}", `action normal: no action "normal"; entries can have`},
		"an unknown parameter":     {"params: {port: port}}", "params: {egress: port}}", `P4 action output has no parameter "egress"`},
		"an unknown source":        {"params: {port: port}}", "params: {port: eth_dst}}", `"eth_dst" is not among what the actions give`},
		"an unknown list":          {"      drop: {action: drop}", "      dropp: {action: drop}", `"dropp" is no action`},
		"an unknown digest":        {"name: miss_t", "name: miss", `P4Info has no digest "miss"`},
		"an unknown header field":  {"reason: reason", "reason: why", `header packet_in has no field "why"`},
		"a value too wide":         {"{send: 2}", "{send: 9}", "value 9 does not fit in 3 bits"},
		"a miss that can't be":     {"digest: miss_digest", "digest: output", `no action "output"; table miss can have`},
		"an l2 table of two keys":  {"table: l2", "table: flow_exact", "as its only key"},
		"another program":          {"pipeline: switchbridge", "pipeline: other", `is for "other"`},
		"a range that is none":     {"{min: 40000}", "{min: 40000, max: 3}", "min 40000 is above max 3"},
		"an exact key left out":    {"      eth_type: [eth_type]\n", "", "table flow_exact: key eth_type is compared exactly and has no field"},
		"an unknown top-level key": {"flood_group: 1", "floodgroup: 1", "floodgroup"},
		"a number for a list":      {"openflow: 0", "openflow: zero", "zero"},
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
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "user.yaml") {
				t.Errorf("error %v, want one that names user.yaml and says %q", err, c.want)
			}
		})
	}
	if _, err := mapping.Parse(strings.NewReader(""), "user.yaml"); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := mapping.Default().Bind(p4src.L2ACL()); err == nil {
		t.Error("our mapping fits another program")
	}
}

// A digest looks like the frame that caused it.
func TestDigestLooksLikeTheFrame(t *testing.T) {
	m := ours(t)
	d := p4src.Switchbridge().Digest("miss_t")
	digest := func(values map[string][]byte) *p4v1.P4Data {
		s := new(p4v1.P4StructLike)
		for _, mem := range d.Members {
			v := values[mem.Name]
			if v == nil {
				v = []byte{0}
			}
			s.Members = append(s.Members, &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: pipeline.Canonical(v)}})
		}
		return &p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: s}}
	}
	got, err := m.DigestMatch(digest(map[string][]byte{
		"in_port": {1}, "eth_src": a[:], "eth_dst": b[:], "eth_type": {8, 0}, "ip_proto": {6},
		"ip_src": {10, 0, 0, 1}, "ip_dst": {10, 0, 0, 2}, "l4_src": {4, 0xd2}, "l4_dst": {80},
	}))
	if err != nil || got != packet() {
		t.Errorf("digest %v, %v; want %v", got, err, packet())
	}
	// A later fragment has no ports, and no frame would show ports of zero.
	got, err = m.DigestMatch(digest(map[string][]byte{"in_port": {1}, "eth_type": {8, 0}, "ip_proto": {17}}))
	if err != nil || got.Has(flow.FieldL4Src) || !got.Has(flow.FieldIPProto) {
		t.Errorf("a fragment's digest is %v, %v", got, err)
	}
	// An IPv4 packet whose address has bits where IPv6's are is of another layout.
	if _, err = m.DigestMatch(digest(map[string][]byte{"in_port": {1}, "eth_type": {8, 0}, "ip_src": {1, 0, 0, 0, 0}})); err == nil {
		t.Error("a source of 33 bits passed for IPv4's")
	}
}

func TestPacketOut(t *testing.T) {
	m := ours(t)
	for _, c := range []struct {
		actions []flow.Action
		want    int
		err     bool
	}{
		{nil, 0, false},
		{[]flow.Action{flow.OutputTo(2)}, 1, false},
		{[]flow.Action{flow.OutputTo(2), flow.OutputTo(flow.PortFlood)}, 2, false},
		{[]flow.Action{flow.OutputTo(flow.PortNormal)}, 1, false},
		{[]flow.Action{flow.OutputTo(flow.PortIn)}, 1, false},
		{[]flow.Action{flow.OutputTo(flow.PortController)}, 0, true},
		{[]flow.Action{flow.OutputTo(5000)}, 0, true},
		{[]flow.Action{{Type: flow.PopVLAN}}, 0, true},
	} {
		outs, err := m.PacketOuts([]byte("frame"), 1, c.actions)
		if len(outs) != c.want || (err != nil) != c.err {
			t.Errorf("%v: %d packets, %v", flow.ActionsString(c.actions), len(outs), err)
		}
	}
}

// FuzzDigest: whatever a switch sends, a match or an error comes of it.
func FuzzDigest(f *testing.F) {
	s := new(p4v1.P4StructLike)
	for range 10 {
		s.Members = append(s.Members, &p4v1.P4Data{Data: &p4v1.P4Data_Bitstring{Bitstring: []byte{8}}})
	}
	seed, _ := proto.Marshal(&p4v1.P4Data{Data: &p4v1.P4Data_Struct{Struct: s}})
	f.Add(seed)
	m := ours(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d p4v1.P4Data
		if proto.Unmarshal(raw, &d) != nil {
			return
		}
		if match, err := m.DigestMatch(&d); err == nil && match != match.Canonical() {
			t.Errorf("%v is not canonical", match)
		}
	})
}

// FuzzPacketIn: likewise for what comes to the CPU port.
func FuzzPacketIn(f *testing.F) {
	seed, _ := proto.Marshal(&p4v1.PacketIn{Payload: make([]byte, 60), Metadata: []*p4v1.PacketMetadata{{MetadataId: 1, Value: []byte{1}}}})
	f.Add(seed)
	m := ours(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p p4v1.PacketIn
		if proto.Unmarshal(raw, &p) != nil {
			return
		}
		if pi, _, err := m.Packet(&p); err == nil && !pi.Match.Has(flow.FieldInPort) {
			t.Error("a packet without in_port")
		}
	})
}

// FuzzMapping: a mapping file is a person's, and gives no more than errors.
func FuzzMapping(f *testing.F) {
	for _, file := range []string{"switchbridge.yaml", "../../p4src/example/l2acl.yaml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := mapping.Parse(strings.NewReader(text), "fuzz")
		if err == nil {
			_, _ = file.Bind(p4src.Switchbridge())
		} else if strings.Contains(err.Error(), "mapping.") && !strings.Contains(text, "mapping.") || strings.Contains(err.Error(), "unmarshal") && !strings.Contains(text, "unmarshal") {
			t.Errorf("an error speaks of Go: %v", err)
		}
	})
}

// TestRuleMatch: what an event offers for a rule, a table of the program holds.
func TestRuleMatch(t *testing.T) {
	arp := packet().Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
	arp.SetEthType(flow.EthTypeARP)
	arp.SetARPSPA(netip.MustParsePrefix("10.0.0.1/32"))
	arp.SetARPTPA(netip.MustParsePrefix("10.0.0.2/32"))
	arp.Fields |= flow.FieldARPOp
	arp.ARPOp = 1
	for _, row := range []struct {
		name    string
		m       *mapping.Mapping
		packet  flow.Match
		matched bool
	}{
		{"our program, TCP", ours(t), packet(), true},
		{"our program, ARP", ours(t), arp, true},
		{"l2acl, TCP, of which its first table has no address", l2acl(t), packet().Keep(l2acl(t).EventFields), false},
		{"l2acl, a port and two stations", l2acl(t), packet().Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst), true},
	} {
		sw := &flow.Switch{Protocol: flow.P4Runtime, Matchable: row.m.Matchable()}
		match, ok := flow.RuleMatch(sw, &flow.PacketIn{Match: row.packet})
		if ok != row.matched || ok && match != row.packet {
			t.Errorf("%s: %v, %v", row.name, match, ok)
			continue
		}
		if _, _, err := row.m.Entry(&flow.Rule{Priority: 100, Match: match}, nil); ok && err != nil {
			t.Errorf("%s: no table holds %v: %v", row.name, match, err)
		}
	}
}

// TestIncomplete: what the program never shows of a packet, no packet withholds.
func TestIncomplete(t *testing.T) {
	const ports = flow.FieldL4Src | flow.FieldL4Dst
	fragment, stations := packet().Keep(^ports), packet().Keep(flow.FieldInPort|flow.FieldEthSrc|flow.FieldEthDst)
	whole := packet()
	for _, row := range []struct {
		name  string
		m     *mapping.Mapping
		match flow.Match
		want  flow.Field
	}{
		{"our program, TCP", ours(t), whole, 0},
		{"our program, a fragment", ours(t), fragment, ports},
		{"l2acl, which has no ports", l2acl(t), fragment.Keep(l2acl(t).EventFields), 0},
		{"l2acl, two stations", l2acl(t), stations, flow.FieldEthType | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst},
	} {
		if got := row.m.Incomplete(&row.match); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func BenchmarkEntry(b *testing.B) {
	m := ours(b)
	r := flow.Rule{Priority: 100, Match: packet(), Actions: []flow.Action{flow.OutputTo(2)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.Entry(&r, nil); err != nil {
			b.Fatal(err)
		}
	}
}
