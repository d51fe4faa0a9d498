package contract_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/policy/policytest"
)

// packet is what a gateway says of one of policytest's packets, of which the
// switch sent n bytes where n is not 0.
func packet(t testing.TB, line string, n int) *flow.PacketIn {
	t.Helper()
	frame, port, err := policytest.Packet(line)
	if err != nil {
		t.Fatal(err)
	}
	size := len(frame)
	if n > 0 {
		frame = frame[:n]
	}
	m := flow.Parser{}.Parse(frame, size, port)
	return &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: size, Match: m, Data: frame, Incomplete: m.Missing()}
}

func fragment() *flow.PacketIn {
	p := &flow.PacketIn{Incomplete: flow.FieldL4Src | flow.FieldL4Dst}
	p.Match.SetEthType(flow.EthTypeIPv4)
	p.Match.SetIPProto(flow.ProtoTCP)
	return p
}

// TestFieldNames has what a packet lacks, as the contract says it, and reads it
// again.
func TestFieldNames(t *testing.T) {
	const (
		ports = "tcp_src,udp_src,sctp_src,tcp_dst,udp_dst,sctp_dst"
		all   = "eth_dst,eth_src,eth_type,vlan_vid,ip_proto,ipv4_src,ipv6_src,ipv4_dst,ipv6_dst," + ports +
			",icmpv4_type,icmpv6_type,icmpv4_code,icmpv6_code,arp_op,arp_spa,arp_tpa,ipv6_nd_target"
	)
	endless := &flow.PacketIn{}
	endless.Match.SetEthType(flow.EthTypeIPv6)
	endless.Match.SetIPProto(60) // the chain of headers goes on
	endless.Match.Fields |= flow.FieldIPSrc | flow.FieldIPDst
	endless.Incomplete = endless.Match.Missing()
	strange := &flow.PacketIn{Incomplete: flow.FieldL4Dst} // a port of a protocol that has none: said all the same
	strange.Match.SetIPProto(47)
	for _, row := range []struct {
		name string
		p    *flow.PacketIn
		want string
	}{
		{"TCP", packet(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", 0), ""},
		{"TCP without ports", packet(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", 37), "tcp_src,tcp_dst"},
		{"a fragment", packet(t, "fragment 10.0.0.1 > 10.0.0.2", 0), "tcp_src,tcp_dst"},
		{"UDP over IPv6 without ports", packet(t, "udp [2001:db8::1]:1 > [2001:db8::2]:2", 57), "udp_src,udp_dst"},
		{"ICMP without a type", packet(t, "icmp 10.0.0.1 > 10.0.0.2 type 8", 35), "icmpv4_type,icmpv4_code"},
		{"ICMPv6 without a type", packet(t, "icmpv6 2001:db8::1 > 2001:db8::2 type 135", 55), "icmpv6_type,icmpv6_code,ipv6_nd_target"},
		{"half an ARP packet", packet(t, "arp 10.0.0.1 > 10.0.0.2", 41), "arp_op,arp_spa,arp_tpa"},
		{"half an IPv4 header", packet(t, "tcp 10.0.0.1:1 > 10.0.0.2:2", 24), "ip_proto,ipv4_src,ipv4_dst," + ports + ",icmpv4_type,icmpv4_code"},
		{"half an IPv6 header", packet(t, "udp [2001:db8::1]:1 > [2001:db8::2]:2", 24), "ip_proto,ipv6_src,ipv6_dst," + ports + ",icmpv6_type,icmpv6_code,ipv6_nd_target"},
		{"half an Ethernet header", packet(t, "lldp", 13), all},
		{"extension headers without end", endless, "ip_proto," + ports + ",icmpv6_type,icmpv6_code,ipv6_nd_target"},
		{"a port where there is none", strange, "tcp_dst,udp_dst,sctp_dst"},
		{"no packet", nil, ""},
	} {
		text := contract.IncompleteText(row.p)
		if text != row.want {
			t.Errorf("%s: %q, want %q", row.name, text, row.want)
		}
		if row.p == nil {
			continue
		}
		back := flow.Event{PacketIn: &flow.PacketIn{Incomplete: ^flow.Field(0)}}
		if contract.SetMembers(&back, "covers_incomplete", text); back.PacketIn.Incomplete != row.p.Incomplete {
			t.Errorf("%s: %q is read as %v, want %v", row.name, text, back.PacketIn.Incomplete, row.p.Incomplete)
		}
	}
	for f := flow.Field(1); f.String() != ""; f <<= 1 {
		names := slices.Collect(contract.FieldNames(f, new(flow.Match)))
		if len(names) == 0 {
			t.Errorf("%v has no name in the contract", f)
		}
		for _, name := range names {
			if contract.FieldNamed(name) != f {
				t.Errorf("%s is %v, want %v", name, contract.FieldNamed(name), f)
			}
		}
	}
}

// TestAccepts: every member has a name, and a name that is not known here is
// passed over.
func TestAccepts(t *testing.T) {
	names := slices.Collect(contract.AcceptNames(flow.AcceptsAll))
	var back flow.Accepts
	for i, name := range names {
		if contract.AcceptNamed(name) != 1<<i {
			t.Errorf("%q is %b, want bit %d", name, contract.AcceptNamed(name), i)
		}
		back |= contract.AcceptNamed(name)
	}
	if back != flow.AcceptsAll {
		t.Errorf("%q are %b, want %b", names, back, flow.AcceptsAll)
	}
	if got := contract.AcceptsText(flow.AcceptsAll); got != strings.Join(names, ",") || contract.AcceptsText(0) != "" {
		t.Errorf("all is %q, want %q; nothing is %q", got, names, contract.AcceptsText(0))
	}
	for text, want := range map[string]flow.Accepts{
		"covers_incomplete":                       flow.AcceptsCoversIncomplete,
		" teleport ,\tcovers_incomplete,, levity": flow.AcceptsCoversIncomplete,
		"teleport":          0,
		"COVERS_INCOMPLETE": 0,
	} {
		var ev flow.Event
		if contract.SetMembers(&ev, text, ""); ev.Accepts != want {
			t.Errorf("%q is read as %b, want %b", text, ev.Accepts, want)
		}
	}
}

// TestWhoseWordCounts: a gateway that says what it accepts says what is missing,
// too; where none does, what was found in the body stays.
func TestWhoseWordCounts(t *testing.T) {
	const found = flow.FieldL4Src | flow.FieldL4Dst
	for _, row := range []struct {
		accepts, incomplete string
		want                flow.Field
	}{
		{"", "", found},
		{"", "tcp_dst", flow.FieldL4Dst},
		{"covers_incomplete", "", 0},
		{"something_new", "", 0},
		{"covers_incomplete", "arp_op, a_new_one", flow.FieldARPOp},
	} {
		for _, contentType := range []string{contract.TypeOpenFlow, contract.TypeJSON} {
			h := http.Header{}
			for name, v := range map[string]string{contract.HeaderAccepts: row.accepts, contract.HeaderIncomplete: row.incomplete} {
				if v != "" {
					h.Set(name, v)
				}
			}
			want := row.want
			if contentType == contract.TypeJSON { // has both in its body alone
				want = found
			}
			ev := flow.Event{PacketIn: &flow.PacketIn{Incomplete: found}}
			if err := contract.GetMembers(h, contentType, &ev); err != nil || ev.PacketIn.Incomplete != want {
				t.Errorf("%s %v: %v (%v), want %v", contentType, h, ev.PacketIn.Incomplete, err, want)
			}
		}
	}
	if err := contract.GetMembers(http.Header{contract.HeaderIncomplete: {"tcp_dst"}}, contract.TypeOpenFlow, new(flow.Event)); err != nil {
		t.Errorf("an event without a packet: %v", err)
	}
}

// TestCoversIncompleteHeader: it is of the whole answer, so only an answer of
// which every rule covers incomplete packets has it, and only for a gateway that
// takes it.
func TestCoversIncompleteHeader(t *testing.T) {
	covers, not := flow.Rule{CoversIncomplete: true}, flow.Rule{}
	all := flow.AcceptsAll
	for _, row := range []struct {
		accepts     flow.Accepts
		contentType string
		rules       []flow.Rule
		want        bool
	}{
		{all, contract.TypeOpenFlow, []flow.Rule{covers, covers}, true},
		{all, contract.TypeOpenFlow, []flow.Rule{covers, not}, false},
		{all, contract.TypeOpenFlow, nil, false},
		{0, contract.TypeOpenFlow, []flow.Rule{covers}, false},
		{all, contract.TypeJSON, []flow.Rule{covers}, false},
	} {
		h := http.Header{}
		contract.PutDecision(h, row.contentType, &flow.Event{Accepts: row.accepts}, &flow.Decision{Rules: row.rules})
		if got := slices.Collect(maps.Keys(h)); (len(got) == 1) != row.want || row.want && h.Get(contract.HeaderCoversIncomplete) != "true" {
			t.Errorf("%s, %d rules, accepts %b: headers %v", row.contentType, len(row.rules), row.accepts, h)
		}
	}
	for value, want := range map[string][]bool{"": {true, false}, "true": {true, true}, "false": {false, false}} {
		d := flow.Decision{Rules: []flow.Rule{covers, not}}
		if err := contract.GetDecision(http.Header{contract.HeaderCoversIncomplete: {value}}, &d); err != nil ||
			d.Rules[0].CoversIncomplete != want[0] || d.Rules[1].CoversIncomplete != want[1] {
			t.Errorf("%q: %v, %+v", value, err, d.Rules)
		}
	}
}

// TestDocumentedFields holds the page's table of a match's fields, and the schema's
// match, against flow.Fields.
func TestDocumentedFields(t *testing.T) {
	var want, old []string
	for i := range flow.Fields {
		for _, o := range flow.Fields[i].OXM {
			want = append(want, o.Name)
		}
		if name := flow.Fields[i].Name10; name != "" && !slices.Contains(old, name) {
			old = append(old, name)
		}
	}
	slices.Sort(want)
	slices.Sort(old)

	page, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "| field | value |\n|---|---|\n")
	table, rest, _ := strings.Cut(rest, "\n\n")
	names := regexp.MustCompile("`([a-z0-9_]+)`")
	documented := func(text string) (list []string) {
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	var cells string
	for line := range strings.Lines(table) {
		cells += strings.Split(line, "|")[1]
	}
	if got := documented(cells); !slices.Equal(got, want) {
		t.Errorf("docs/contract.md has the fields\n%q, want\n%q", got, want)
	}
	_, old10, _ := strings.Cut(rest, "in matches only:")
	old10, _, _ = strings.Cut(old10, ".")
	if got := documented(old10); !slices.Equal(got, old) {
		t.Errorf("docs/contract.md has OpenFlow 1.0's names\n%q, want\n%q", got, old)
	}

	schema, err := os.ReadFile("../../docs/contract.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Defs struct {
			Match struct {
				Properties map[string]any `json:"properties"`
			} `json:"match"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	var got []string
	for name := range s.Defs.Match.Properties {
		if !slices.Contains(old, name) {
			got = append(got, name)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("docs/contract.schema.json has the fields\n%q, want\n%q", got, want)
	}
}
