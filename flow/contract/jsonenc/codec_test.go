package jsonenc_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"switchbridge/flow"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/internal/frames"
)

var codec jsonenc.Codec

func matchOf(f func(m *flow.Match)) flow.Match {
	var m flow.Match
	f(&m)
	return m
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// matches are rows of a match as struct and as text. Several texts of one
// match have the canonical one first.
var matches = []struct {
	match flow.Match
	texts []string
}{
	{flow.Match{}, []string{`{}`}},
	{matchOf(func(m *flow.Match) { m.SetInPort(3) }), []string{`{"in_port":3}`, `{"in_port":"3"}`, `{"in_port":"0x3"}`}},
	{matchOf(func(m *flow.Match) { m.SetInPort(flow.PortLocal) }), []string{`{"in_port":"LOCAL"}`, `{"in_port":"OFPP_LOCAL"}`, `{"in_port":4294967294}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x0800) }), []string{`{"eth_type":2048}`, `{"eth_type":"0x0800"}`, `{"dl_type":"0x800"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact) }),
		[]string{`{"eth_src":"02:00:00:00:00:01"}`, `{"dl_src":"2:0:0:0:0:1"}`, `{"eth_src":"02:00:00:00:00:01/ff:ff:ff:ff:ff:ff"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthDst(flow.MAC{1}, flow.MAC{1}) }),
		[]string{`{"eth_dst":"01:00:00:00:00:00/01:00:00:00:00:00"}`, `{"dl_dst":"ff:ff:ff:ff:ff:ff/01:00:00:00:00:00"}`}},
	{matchOf(func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact) }), []string{`{"vlan_vid":"0x0000"}`, `{"vlan_vid":"0x0"}`}},
	{matchOf(func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|10, flow.VLANExact) }),
		[]string{`{"vlan_vid":10}`, `{"vlan_vid":"10"}`, `{"vlan_vid":"0x100a"}`, `{"dl_vlan":10}`, `{"vlan_vid":"0x100a/0x1fff"}`}},
	{matchOf(func(m *flow.Match) { m.SetVLAN(flow.VLANPresent, flow.VLANPresent) }), []string{`{"vlan_vid":"0x1000/0x1000"}`, `{"vlan_vid":"4096/4096"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x0800); m.SetIPSrc(pfx("10.0.0.0/24")) }),
		[]string{`{"eth_type":2048,"ipv4_src":"10.0.0.0/24"}`, `{"ipv4_src":"10.0.0.1/24"}`, `{"ipv4_src":"10.0.0.9/255.255.255.0"}`, `{"nw_src":"10.0.0.0/24"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x0800); m.SetIPDst(pfx("10.0.0.1/32")) }),
		[]string{`{"eth_type":2048,"ipv4_dst":"10.0.0.1"}`, `{"ipv4_dst":"10.0.0.1/32"}`, `{"nw_dst":"10.0.0.1/255.255.255.255"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x0800); m.SetIPDst(pfx("0.0.0.0/0")) }), []string{`{"eth_type":2048,"ipv4_dst":"0.0.0.0/0"}`, `{"ipv4_dst":"1.2.3.4/0.0.0.0"}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x86dd); m.SetIPSrc(pfx("2001:db8::/32")) }),
		[]string{`{"eth_type":34525,"ipv6_src":"2001:db8::/32"}`, `{"ipv6_src":"2001:db8::1/ffff:ffff::"}`}},
	{matchOf(func(m *flow.Match) { m.SetIPProto(6); m.SetL4Src(1); m.SetL4Dst(65535) }), []string{`{"ip_proto":6,"tcp_src":1,"tcp_dst":65535}`, `{"tcp_src":1,"tcp_dst":65535}`, `{"nw_proto":6,"tp_src":1,"tp_dst":"65535"}`}},
	{matchOf(func(m *flow.Match) { m.SetIPProto(17); m.SetL4Dst(53) }), []string{`{"ip_proto":17,"udp_dst":53}`}},
	{matchOf(func(m *flow.Match) { m.SetIPProto(132); m.SetL4Src(5) }), []string{`{"ip_proto":132,"sctp_src":5}`}},
	{matchOf(func(m *flow.Match) { m.SetL4Dst(53) }), []string{`{"tp_dst":53}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x0800); m.SetIPProto(1); m.SetICMP(8, 0) }),
		[]string{`{"eth_type":2048,"ip_proto":1,"icmpv4_type":8,"icmpv4_code":0}`, `{"icmpv4_type":8,"icmpv4_code":0}`}},
	{matchOf(func(m *flow.Match) { m.SetEthType(0x86dd); m.SetIPProto(58); m.SetICMP(128, 0) }), []string{`{"eth_type":34525,"ip_proto":58,"icmpv6_type":128,"icmpv6_code":0}`}},
	{matchOf(func(m *flow.Match) {
		m.SetEthType(0x86dd)
		m.SetIPProto(58)
		m.Fields |= flow.FieldNDTarget | flow.FieldFlowLabel
		m.NDTarget, m.FlowLabel = netip.MustParseAddr("fe80::1"), 0xfffff
	}), []string{`{"eth_type":34525,"ip_proto":58,"ipv6_flabel":1048575,"ipv6_nd_target":"fe80::1"}`, `{"ipv6_flabel":"0xfffff","ipv6_nd_target":"fe80::1"}`}},
	{matchOf(func(m *flow.Match) {
		m.SetEthType(0x0806)
		m.SetARPSPA(pfx("10.0.0.1/32"))
		m.SetARPTPA(pfx("10.0.0.0/8"))
		m.Fields |= flow.FieldARPOp | flow.FieldARPSHA | flow.FieldARPTHA
		m.ARPOp, m.ARPSHA = 1, flow.MAC{2, 0, 0, 0, 0, 1}
	}), []string{`{"eth_type":2054,"arp_op":1,"arp_spa":"10.0.0.1","arp_tpa":"10.0.0.0/8","arp_sha":"02:00:00:00:00:01","arp_tha":"00:00:00:00:00:00"}`}},
	{matchOf(func(m *flow.Match) {
		m.Fields |= flow.FieldMetadata | flow.FieldTunnelID | flow.FieldVLANPCP | flow.FieldIPDSCP | flow.FieldIPECN | flow.FieldVLAN
		m.VLAN, m.VLANMask, m.VLANPCP, m.IPDSCP, m.IPECN = 0x1000, 0x1fff, 7, 63, 3
		m.Metadata, m.MetadataMask = 0x10, 0xf0
		m.TunnelID, m.TunnelMask = 1<<63, ^uint64(0)
	}), []string{`{"vlan_vid":0,"vlan_pcp":7,"ip_dscp":63,"ip_ecn":3,"metadata":"0x10/0xf0","tunnel_id":"0x8000000000000000"}`,
		`{"metadata":"16/240","tunnel_id":9223372036854775808,"dl_vlan":0,"dl_vlan_pcp":7,"ip_dscp":"63","ip_ecn":3}`}},
}

// Rows of ofctl_rest's names of 1.0, whatever the order.
func init() {
	arp := matchOf(func(m *flow.Match) {
		m.SetEthType(0x0806)
		m.SetARPSPA(pfx("10.0.0.1/32"))
		m.SetARPTPA(pfx("10.0.0.0/8"))
		m.Fields |= flow.FieldARPOp
		m.ARPOp = 2
	})
	icmp := matchOf(func(m *flow.Match) { m.SetEthType(0x0800); m.SetIPProto(1); m.SetICMP(8, 1) })
	icmpv6 := matchOf(func(m *flow.Match) { m.SetEthType(0x86dd); m.SetIPProto(58); m.SetICMP(135, 0) })
	sha := matchOf(func(m *flow.Match) {
		m.SetEthType(0x0806)
		m.Fields |= flow.FieldARPSHA
		m.ARPSHA = flow.MAC{2}
		m.SetARPSPA(pfx("10.0.0.1/32"))
	})
	matches = append(matches, []struct {
		match flow.Match
		texts []string
	}{
		{arp, []string{`{"eth_type":2054,"arp_op":2,"arp_spa":"10.0.0.1","arp_tpa":"10.0.0.0/8"}`,
			`{"dl_type":2054,"nw_src":"10.0.0.1","nw_dst":"10.0.0.0/8","nw_proto":2}`,
			`{"nw_proto":2,"nw_src":"10.0.0.1","nw_dst":"10.9.0.0/255.0.0.0","dl_type":2054}`,
			`{"nw_src":"10.0.0.1","eth_type":"0x0806","arp_tpa":"10.0.0.0/8","arp_op":2}`}},
		{sha, []string{`{"eth_type":2054,"arp_spa":"10.0.0.1","arp_sha":"02:00:00:00:00:00"}`, `{"nw_src":"10.0.0.1","arp_sha":"02:00:00:00:00:00"}`}},
		{icmp, []string{`{"eth_type":2048,"ip_proto":1,"icmpv4_type":8,"icmpv4_code":1}`,
			`{"dl_type":2048,"nw_proto":1,"tp_src":8,"tp_dst":1}`, `{"tp_dst":1,"tp_src":"8","nw_proto":"1"}`, `{"tp_src":8,"icmpv4_code":1}`}},
		{icmpv6, []string{`{"eth_type":34525,"ip_proto":58,"icmpv6_type":135,"icmpv6_code":0}`,
			`{"dl_type":34525,"nw_proto":58,"tp_src":135,"tp_dst":0}`, `{"tp_dst":0,"ip_proto":58,"tp_src":135}`}},
	}...)
}

func TestMatches(t *testing.T) {
	_, schema := schemas(t)
	for _, row := range matches {
		d := flow.Decision{Rules: []flow.Rule{{Match: row.match}}}
		b, err := codec.AppendDecision(nil, &flow.Event{}, &d)
		if err != nil {
			t.Errorf("%v: %v", row.match, err)
			continue
		}
		if want := `{"flows":[{"priority":0,"match":` + row.texts[0] + `,"actions":[]}]}`; string(b) != want {
			t.Errorf("%v is written\n%s, want\n%s", row.match, b, want)
		}
		for _, text := range row.texts {
			body := []byte(`{"flows":[{"match":` + text + `}]}`)
			valid(t, schema, body)
			var d flow.Decision
			if err := codec.ParseDecision(body, &flow.Event{}, &d); err != nil {
				t.Errorf("%s: %v", text, err)
			} else if d.Rules[0].Match != row.match {
				t.Errorf("%s is read as\n%v, want\n%v", text, d.Rules[0].Match, row.match)
			}
		}
	}
}

func TestActions(t *testing.T) {
	_, schema := schemas(t)
	for _, row := range []struct {
		action flow.Action
		texts  []string
	}{
		{flow.OutputTo(2), []string{`{"type":"OUTPUT","port":2}`, "\r{\t\"type\" : \"OUT\\u0050UT\" ,\n\"port\":2 } ", `{"port":"2","type":"OUTPUT"}`}},
		{flow.OutputTo(flow.PortNormal), []string{`{"type":"OUTPUT","port":"NORMAL"}`, `{"type":"OUTPUT","port":4294967290}`, `{"type":"OUTPUT","port":"OFPP_NORMAL"}`}},
		{flow.Action{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}, []string{`{"type":"OUTPUT","port":"CONTROLLER","max_len":65535}`}},
		{flow.Action{Type: flow.SetQueue, ID: 4}, []string{`{"type":"SET_QUEUE","queue_id":4}`}},
		{flow.Action{Type: flow.PushVLAN, Value: 0x8100}, []string{`{"type":"PUSH_VLAN","ethertype":33024}`, `{"type":"PUSH_VLAN","ethertype":"0x8100"}`}},
		{flow.Action{Type: flow.PopVLAN}, []string{`{"type":"POP_VLAN"}`}},
		{flow.Action{Type: flow.DecTTL}, []string{`{"type":"DEC_NW_TTL"}`}},
		{flow.Action{Type: flow.SetVLANVID, Value: 10}, []string{`{"type":"SET_FIELD","field":"vlan_vid","value":4106}`, `{"type":"SET_FIELD","field":"vlan_vid","value":10}`}},
		{flow.Action{Type: flow.SetVLANPCP, Value: 7}, []string{`{"type":"SET_FIELD","field":"vlan_pcp","value":7}`}},
		{flow.Action{Type: flow.SetIPDSCP, Value: 46}, []string{`{"type":"SET_FIELD","field":"ip_dscp","value":46}`}},
		{flow.Action{Type: flow.SetEthSrc, MAC: flow.MAC{2}}, []string{`{"type":"SET_FIELD","field":"eth_src","value":"02:00:00:00:00:00"}`}},
		{flow.Action{Type: flow.SetEthDst, MAC: flow.MAC{2}}, []string{`{"type":"SET_FIELD","field":"eth_dst","value":"02:00:00:00:00:00"}`}},
		{flow.Action{Type: flow.SetIPSrc, Addr: netip.MustParseAddr("10.0.0.1")}, []string{`{"type":"SET_FIELD","field":"ipv4_src","value":"10.0.0.1"}`}},
		{flow.Action{Type: flow.SetIPDst, Addr: netip.MustParseAddr("2001:db8::1")}, []string{`{"type":"SET_FIELD","field":"ipv6_dst","value":"2001:db8::1"}`}},
		{flow.Action{Type: flow.SetL4Src, Value: 80, IPProto: 6}, []string{`{"type":"SET_FIELD","field":"tcp_src","value":80}`}},
		{flow.Action{Type: flow.SetL4Dst, Value: 80, IPProto: 17}, []string{`{"type":"SET_FIELD","field":"udp_dst","value":80}`}},
		{flow.Action{Type: flow.SetL4Dst, Value: 80, IPProto: 132}, []string{`{"type":"SET_FIELD","field":"sctp_dst","value":80}`}},
		{flow.Action{Type: flow.SetL4Dst, Value: 80}, []string{`{"type":"SET_FIELD","field":"tp_dst","value":80}`}},
	} {
		d := flow.Decision{HasPacketOut: true, PacketOut: []flow.Action{row.action}}
		b, err := codec.AppendDecision(nil, &flow.Event{}, &d)
		if want := `{"packet_out":{"actions":[` + row.texts[0] + `]}}`; err != nil || string(b) != want {
			t.Errorf("%v is written\n%s (%v), want\n%s", row.action, b, err, want)
		}
		for _, text := range row.texts {
			body := []byte(`{"packet_out":{"actions":[` + text + `]}}`)
			valid(t, schema, body)
			var d flow.Decision
			if err := codec.ParseDecision(body, &flow.Event{}, &d); err != nil {
				t.Errorf("%s: %v", text, err)
			} else if d.PacketOut[0] != row.action {
				t.Errorf("%s is read as %v, want %v", text, d.PacketOut[0], row.action)
			}
		}
	}
}

// TestRule has every member of a rule.
func TestRule(t *testing.T) {
	_, schema := schemas(t)
	body := []byte(`{"flows":[{"dpid":"00000000000000aa","command":"DELETE","table_id":"3","priority":9,"idle_timeout":1,"hard_timeout":65535,"flags":3,
		"cookie":"0xffffffffffffffff","cookie_mask":1,"buffer_id":7,"out_port":5,"match":{},"meter":null,
		"actions":[{"type":"METER","meter_id":4},{"type":"OUTPUT","port":1},{"type":"GOTO_TABLE","table_id":6}]},
		{"dpid":170,"meter":4,"goto_table":6,"actions":[{"type":"METER","meter_id":4}]}]}`)
	ev := &flow.Event{Switch: &flow.Switch{DPID: 0xaa}}
	want := []flow.Rule{
		{Command: flow.Delete, Table: 3, Priority: 9, IdleTimeout: time.Second, HardTimeout: 65535 * time.Second, Flags: 3,
			Cookie: ^uint64(0), CookieMask: 1, BufferID: 7, OutPort: 5, Meter: 4, Goto: 6, Actions: []flow.Action{flow.OutputTo(1)}},
		{Priority: jsonenc.DefaultPriority, BufferID: flow.NoBuffer, Meter: 4, Goto: 6},
	}
	var d flow.Decision
	if err := codec.ParseDecision(body, ev, &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.Rules, comparables); diff != "" {
		t.Error(diff)
	}
	again, err := codec.AppendDecision(nil, ev, &d)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, schema, again)
	want[0].BufferID = flow.NoBuffer // not a function's to say
	d.Reset()
	if err := codec.ParseDecision(again, ev, &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.Rules, comparables); diff != "" {
		t.Error(diff)
	}
}

func TestBadDecisions(t *testing.T) {
	for _, row := range []struct{ body, explain string }{
		{``, "empty body"},
		{`null`, "want an object"},
		{`[]`, "want an object"},
		{" \n", "empty body"},
		{`{"flows":[]`, "unexpected end of JSON input"},
		{`{} {}`, "after top-level value"},
		{`{"flows":[1,]}`, "invalid character"},
		{`{"a\u0062":1,"ab":2}`, "ab: unknown member"},
		{`{"reason":"a","re\u0061son":"b"}`, "reason: occurs twice"},
		{`{"flow":[]}`, "flow: unknown member"},
		{`{"Flows":[]}`, "Flows: unknown member"},
		{`{"entries":[{"table":"acl"}]}`, "entries[0]: only a P4Runtime switch"},
		{`{"flows":[],"flows":[]}`, "flows: occurs twice"},
		{`{"flows":{}}`, "flows: "},
		{`{"flows":[{},[]]}`, "flows[1]: "},
		{`{"flows":[{"prio":1}]}`, "flows[0].prio: unknown member"},
		{`{"flows":[{"priority":65536}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":-1}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":1.5}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":1e2}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":true}]}`, "want a number"},
		{`{"flows":[{"priority":"ten"}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":"1_0"}]}`, "flows[0].priority: "},
		{`{"flows":[{"priority":""}]}`, "flows[0].priority: "},
		{`{"flows":[{"table_id":256}]}`, "flows[0].table_id: "},
		{`{"flows":[{"idle_timeout":70000}]}`, "flows[0].idle_timeout: "},
		{`{"flows":[{"command":"NUKE"}]}`, "flows[0].command: "},
		{`{"flows":[{"dpid":2}]}`, "flows[0].dpid: 0000000000000002 is not the switch that asked"},
		{`{"flows":[{"dpid":"xyz"}]}`, "flows[0].dpid: "},
		{`{"flows":[{"covers_incomplete":"true"}]}`, "flows[0].covers_incomplete: \"\\\"true\\\"\", want true or false"},
		{`{"flows":[{"covers_incomplete":1}]}`, "want true or false"},
		{`{"if_reply":[]}`, "if_reply: "},
		{`{"if_reply":{"verdict":"allow"}}`, "if_reply.verdict: unknown member"},
		{`{"if_reply":{"if_reply":{}}}`, "if_reply.if_reply: unknown member"},
		{`{"if_reply":{"flows":[{"prio":1}]}}`, "if_reply.flows[0].prio: unknown member"},
		{`{"if_reply":{"packet_out":{}}}`, "if_reply.packet_out: member \"actions\" is missing"},
		{`{"covers_incomplete":true}`, "covers_incomplete: unknown member"},
		{`{"states":[{"state":"a","version":1},{"state":"","version":1}]}`, "states[1]: state \"\""},
		{`{"states":[{"version":1}]}`, "states[0]: state \"\""},
		{`{"states":[{"state":"a","versoin":1}]}`, "states[0].versoin: unknown member"},
		{`{"states":[{"state":"a","version":-1}]}`, "states[0].version"},
		{`{"revoke":["a","b c"]}`, "revoke[1]: state \"b c\""},
		{`{"flows":[{"meter":0}]}`, "flows[0].meter: "},
		{`{"flows":[{"meter":1,"actions":[{"type":"METER","meter_id":2}]}]}`, "flows[0].actions[0].meter_id: 2, but 1 before"},
		{`{"flows":[{},{},{"match":{"ipv4_srcc":"10.0.0.1"}}]}`, "flows[2].match.ipv4_srcc: unknown field"},
		{`{"flows":[{"match":{"ipv4_src":"10.0.0.1/33"}}]}`, "flows[0].match.ipv4_src: "},
		{`{"flows":[{"match":{"ipv4_src":"10.0.0.1/255.0.255.0"}}]}`, "is not a prefix"},
		{`{"flows":[{"match":{"ipv4_src":"10.0.0.1/ffff::"}}]}`, "flows[0].match.ipv4_src: "},
		{`{"flows":[{"match":{"ipv4_src":"2001:db8::1"}}]}`, "is not an IPv4 address"},
		{`{"flows":[{"match":{"ipv6_src":"10.0.0.1"}}]}`, "is not an IPv6 address"},
		{`{"flows":[{"match":{"ipv6_src":"fe80::1%eth0"}}]}`, "is not an IPv6 address"},
		{`{"flows":[{"match":{"ipv4_src":"10.0.0.1","ipv6_dst":"::1"}}]}`, "can't be together with ipv4_src"},
		{`{"flows":[{"match":{"ipv4_src":"10.0.0.1","nw_src":"10.0.0.2"}}]}`, "nw_src: ip_src was given by another name"},
		{`{"flows":[{"match":{"tcp_src":1,"udp_dst":1}}]}`, "udp_dst: can't be together with tcp_src"},
		{`{"flows":[{"match":{"eth_type":2054,"ipv4_src":"10.0.0.1"}}]}`, "match.eth_type: 0x0806, but ipv4_src needs 0x0800"},
		{`{"flows":[{"match":{"ip_proto":17,"tcp_dst":22}}]}`, "match.ip_proto: 17, but tcp_dst needs 6"},
		{`{"flows":[{"match":{"dl_type":2054,"nw_src":"10.0.0.1","arp_spa":"10.0.0.1"}}]}`, "match.nw_src: arp_spa was given by another name"},
		{`{"flows":[{"match":{"dl_type":34525,"nw_src":"10.0.0.1"}}]}`, "match.eth_type: 0x86dd, but nw_src needs 0x0800"},
		{`{"flows":[{"match":{"dl_type":2048,"nw_proto":58,"tp_src":1}}]}`, "match.eth_type: 0x0800, but tp_src needs 0x86dd"},
		{`{"flows":[{"match":{"nw_proto":1,"tp_src":256}}]}`, "match.tp_src: "},
		{`{"flows":[{"match":{"dl_type":2054,"nw_proto":70000}}]}`, "match.nw_proto: "},
		{`{"flows":[{"match":{"nw_src":"10.0.0.1","nw_src":"10.0.0.2"}}]}`, "nw_src: occurs twice"},
		{`{"flows":[{"match":{"vlan_vid":4096}}]}`, "match.vlan_vid: VID 4096"},
		{`{"flows":[{"match":{"vlan_vid":"0x2000"}}]}`, "match.vlan_vid: "},
		{`{"flows":[{"match":{"vlan_pcp":8}}]}`, "want at most 7"},
		{`{"flows":[{"match":{"ip_dscp":64}}]}`, "want at most 63"},
		{`{"flows":[{"match":{"eth_src":"02:00:00:00:00"}}]}`, "match.eth_src: "},
		{`{"flows":[{"match":{"eth_src":5}}]}`, "want a string"},
		{`{"flows":[{"match":{"in_port":"WAN"}}]}`, "match.in_port: "},
		{`{"flows":[{"actions":[{}]}]}`, `flows[0].actions[0]: member "type" is missing`},
		{`{"flows":[{"actions":[{"type":"OUTPUT"}]}]}`, `flows[0].actions[0]: member "port" is missing`},
		{`{"flows":[{"actions":[{"type":"OUTPUT","port":1},{"type":"TELEPORT"}]}]}`, `flows[0].actions[1].type: unknown action "TELEPORT"`},
		{`{"flows":[{"actions":[{"type":"output","port":1}]}]}`, "unknown action"},
		{`{"flows":[{"actions":[{"type":"OUTPUT","port":1,"queue":2}]}]}`, "flows[0].actions[0].queue: unknown member"},
		{`{"flows":[{"actions":[{"type":"PUSH_VLAN","ethertype":2048}]}]}`, "actions[0].ethertype: "},
		{`{"flows":[{"actions":[{"type":"SET_FIELD","field":"icmpv4_type","value":1}]}]}`, "can't be set"},
		{`{"flows":[{"actions":[{"type":"SET_FIELD","field":"ipv4_src","value":"::1"}]}]}`, "actions[0].value: "},
		{`{"packet_out":{}}`, `packet_out: member "actions" is missing`},
		{`{"packet_out":{"actions":[],"in_port":1}}`, "packet_out.in_port: unknown member"},
		{`{"packet_out":{"actions":[{"type":"METER","meter_id":1}]}}`, "METER is of a rule"},
		{`{"state":"#"}`, "state: not base64"},
		{`{"state":"` + strings.Repeat("AAAA", 1366) + `"}`, "state: more than 4096 bytes"},
		{`{"state_key":"user"}`, "state_key: "},
		{`{"verdict":"maybe"}`, "verdict: "},
		{`{"policy":"7"}`, "policy: "},
		{`{"reason":1}`, "reason: "},
		{`{"flows":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "nested too deep"},
		{`{"flows":[` + strings.Repeat("{},", jsonenc.MaxFlows) + `{}]}`, "flows: more than 16384 elements"},
		{`{"reason":"` + strings.Repeat("x", flow.MaxBody) + `"}`, "larger than"},
	} {
		name := row.body
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			var d flow.Decision
			err := codec.ParseDecision([]byte(row.body), &flow.Event{Switch: &flow.Switch{DPID: 1}}, &d)
			if err == nil || !strings.Contains(err.Error(), row.explain) {
				t.Errorf("error %v, want one that says %q", err, row.explain)
			}
		})
	}
}

func TestBadEvents(t *testing.T) {
	for _, row := range []struct {
		typ           flow.EventType
		body, explain string
	}{
		{flow.EventPacketIn, ``, "empty body"},
		{flow.EventPacketIn, `{}`, `"packet_in" is missing`},
		{flow.EventPacketIn, `{"flow_removed":{}}`, `"packet_in" is missing`},
		{flow.EventFlowRemoved, `{}`, `"flow_removed" is missing`},
		{flow.EventPortStatus, `{}`, `"port_status" is missing`},
		{flow.EventError, `{}`, `"error" is missing`},
		{flow.EventHandshake, `{}`, `"handshake" is missing`},
		{flow.EventPacketIn, `{"switch":{"dpid":"02"},"packet_in":{}}`, "switch.dpid: 0000000000000002, but ce-source has 0000000000000001"},
		{flow.EventPacketIn, `{"switch":{"ports":[{},{"port_no":"x"}]},"packet_in":{}}`, "switch.ports[1].port_no: "},
		{flow.EventPacketIn, `{"packet_in":{"match":{"colour":1}}}`, "packet_in.match.colour: unknown field"},
		{flow.EventPacketIn, `{"packet_in":{"in_port":1,"match":{"in_port":2}}}`, "packet_in: in_port is 1, but 2"},
		{flow.EventPacketIn, `{"packet_in":{"reason":"bored"}}`, "packet_in.reason: "},
		{flow.EventPacketIn, `{"packet_in":{"reason":256}}`, "packet_in.reason: "},
		{flow.EventPacketIn, `{"packet_in":{"reason":[]}}`, "packet_in.reason: "},
		{flow.EventPacketIn, `{"packet_in":{"incomplete":"tcp_dst"}}`, "packet_in.incomplete: "},
		{flow.EventPacketIn, `{"packet_in":{"incomplete":["tcp_dst",1]}}`, "packet_in.incomplete[1]: "},
		{flow.EventPacketIn, `{"packet_in":{},"accepts":{}}`, "accepts: "},
		{flow.EventPacketIn, `{"packet_in":{"data":"!"}}`, "packet_in.data: not base64"},
		{flow.EventPortStatus, `{"port_status":{"port":{"hw_addr":1}}}`, "port_status.port.hw_addr: "},
		{flow.EventPacketIn, `{"packet_in":{` + manyMembers(300) + `}}`, "more than 256 members"},
	} {
		ev := flow.Event{Type: row.typ, Switch: &flow.Switch{DPID: 1}}
		err := codec.ParseEvent([]byte(row.body), &ev)
		if err == nil || !strings.Contains(err.Error(), row.explain) {
			t.Errorf("%.80s: error %v, want one that says %q", row.body, err, row.explain)
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"m` + strings.Repeat("x", i) + `":1`)
	}
	return b.String()
}

// TestEventsMayGrow: a newer gateway's members are ignored.
// TestWhy: the reason of a decision is what the header of the other encoding could say, wherever it stands.
func TestWhy(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for text, want := range map[string]string{"header: web": "header: web", "two\\nlines \\u001b[2J": "two?lines ?[2J", "Z\u00fcrich": "Z?rich", long: long[:1024]} {
		var d flow.Decision
		ev := flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}, PacketIn: &flow.PacketIn{}, Accepts: flow.AcceptsAll}
		body := `{"reason":"` + text + `","if_reply":{"flows":[],"reason":"` + text + `"},"reuse":{"seconds":1,"fields":[]},"reply":{"flows":[],"reason":"` + text + `"}}`
		if err := codec.ParseDecision([]byte(body), &ev, &d); err != nil {
			t.Fatal(err)
		}
		if d.Reason != want || d.IfReply.Reason != want || d.Reuse.Reply.Reason != want {
			t.Errorf("%.40q: %.40q, %.40q, %.40q; want %.40q", text, d.Reason, d.IfReply.Reason, d.Reuse.Reply.Reason, want)
		}
	}
}

// TestReasons writes and reads reasons that have a name and such that have none.
func TestReasons(t *testing.T) {
	schema, _ := schemas(t)
	for _, row := range []struct {
		ev   flow.Event
		want string
		text string // another way to write it
	}{
		{flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{Reason: flow.ReasonAction}}, `"action"`, `1`},
		{flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{Reason: 7}}, `7`, `"7"`},
		{flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &flow.FlowRemoved{Reason: flow.RemovedGroup}}, `"group_delete"`, `3`},
		{flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &flow.FlowRemoved{Reason: 4}}, `4`, `"0x4"`},
		{flow.Event{Type: flow.EventPortStatus, PortStatus: &flow.PortStatus{Reason: flow.PortModified}}, `"modify"`, `2`},
		{flow.Event{Type: flow.EventPortStatus, PortStatus: &flow.PortStatus{Reason: 255}}, `255`, `"255"`},
	} {
		reason := func(ev *flow.Event) any {
			switch {
			case ev.PacketIn != nil:
				return ev.PacketIn.Reason
			case ev.FlowRemoved != nil:
				return ev.FlowRemoved.Reason
			}
			return ev.PortStatus.Reason
		}
		b, err := codec.AppendEvent(nil, &row.ev)
		member := `"reason":` + row.want
		if err != nil || !bytes.Contains(b, []byte(member)) {
			t.Errorf("%v is written %s, error %v", row.ev.Type, b, err)
			continue
		}
		for _, body := range [][]byte{b, bytes.Replace(b, []byte(member), []byte(`"reason":`+row.text), 1)} {
			got := flow.Event{Type: row.ev.Type}
			if err := codec.ParseEvent(body, &got); err != nil || reason(&got) != reason(&row.ev) {
				t.Errorf("%s is read as %v, error %v", body, reason(&got), err)
			}
		}
		valid(t, schema, b)
	}
}

func TestEventsMayGrow(t *testing.T) {
	ev := flow.Event{Type: flow.EventPacketIn}
	body := `{"weather":"fine","switch":{"dpid":"1","vendor":{"x":[1]}},"packet_in":{"in_port":3,"vlan":4}}`
	if err := codec.ParseEvent([]byte(body), &ev); err != nil || ev.PacketIn.Match.InPort != 3 || ev.Switch.DPID != 1 {
		t.Errorf("%v: %+v", err, ev)
	}
}

// TestRequestMembers writes and reads what an event says beside its packet.
func TestRequestMembers(t *testing.T) {
	const ports = flow.FieldL4Src | flow.FieldL4Dst
	schema, _ := schemas(t)
	whole, fragment := benchmarkEvent(), benchmarkEvent()
	fragment.PacketIn.Match = fragment.PacketIn.Match.Keep(^ports)
	fragment.PacketIn.Incomplete = ports
	fragment.Accepts = flow.AcceptsAll
	for _, row := range []struct {
		ev   *flow.Event
		want string // what is between match and data, and after the packet
	}{
		{whole, `"rule_match":{"in_port":1,"eth_src":"02:02:02:02:02:02","eth_dst":"02:02:02:02:02:02","eth_type":2048,"vlan_vid":"0x0000","ip_proto":6,` +
			`"ipv4_src":"10.0.0.1","ipv4_dst":"10.0.0.2","tcp_src":80,"tcp_dst":80}`},
		{fragment, `"incomplete":["tcp_src","tcp_dst"] and "accepts":["covers_incomplete","reply","revoke","reuse","travel","reject","log"]`},
	} {
		b, err := codec.AppendEvent(nil, row.ev)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, schema, b)
		_, text, _ := strings.Cut(string(b), `,"match":`)
		_, text, _ = strings.Cut(text, "},")
		between, after, _ := strings.Cut(text, `,"data":"`)
		_, after, _ = strings.Cut(after, `"}`)
		if after = strings.Trim(after, ",}"); after != "" {
			between += " and " + after
		}
		if between != row.want {
			t.Errorf("%s\nwant %s", between, row.want)
		}
		back := flow.Event{Type: flow.EventPacketIn}
		if err := codec.ParseEvent(b, &back); err != nil || back.Accepts != row.ev.Accepts || back.PacketIn.Incomplete != row.ev.PacketIn.Incomplete {
			t.Errorf("%s: accepts %b, incomplete %v (%v)", b, back.Accepts, back.PacketIn.Incomplete, err)
		}
	}
}

// TestWhoseWordCounts: what an event doesn't say of what is missing, the function
// finds out itself, unless its gateway is one that says it.
func TestWhoseWordCounts(t *testing.T) {
	const (
		ports    = flow.FieldL4Src | flow.FieldL4Dst
		fragment = `"match":{"in_port":1,"ip_proto":6,"ipv4_src":"10.0.0.1","ipv4_dst":"10.0.0.2"}`
	)
	for body, want := range map[string]flow.Field{
		`{"packet_in":{` + fragment + `}}`:                                                                     ports,
		`{"packet_in":{` + fragment + `},"switch":{"dpid":"1","protocol":"OpenFlow 1.0"}}`:                     ports,
		`{"packet_in":{` + fragment + `},"switch":{"dpid":"1","protocol":"P4Runtime"}}`:                        0, // a digest
		`{"packet_in":{` + fragment + `,"data":"AAA="},"switch":{"dpid":"1","protocol":"P4Runtime"}}`:          ports,
		`{"packet_in":{` + fragment + `,"incomplete":["tcp_dst"]},"switch":{"protocol":"P4Runtime"}}`:          flow.FieldL4Dst,
		`{"packet_in":{` + fragment + `,"incomplete":[]}}`:                                                     0,
		`{"packet_in":{` + fragment + `},"accepts":[]}`:                                                        0,
		`{"accepts":["levity"],"packet_in":{` + fragment + `}}`:                                                0,
		`{"packet_in":{"incomplete":["colour","udp_src"],"data":"AgAAAAACAgAAAAABiMw="},"accepts":["levity"]}`: flow.FieldL4Src,
	} {
		ev := flow.Event{Type: flow.EventPacketIn}
		if err := codec.ParseEvent([]byte(body), &ev); err != nil || ev.PacketIn.Incomplete != want {
			t.Errorf("%s: incomplete %v (%v), want %v", body, ev.PacketIn.Incomplete, err, want)
		}
	}
}

// TestCoversIncomplete: a rule says it to a gateway that takes it, and to no
// other, which would refuse the whole answer.
func TestCoversIncomplete(t *testing.T) {
	_, schema := schemas(t)
	d := flow.Decision{Rules: []flow.Rule{{CoversIncomplete: true}, {}}}
	for accepts, want := range map[flow.Accepts]string{
		0:               `{"flows":[{"priority":0,"match":{},"actions":[]},{"priority":0,"match":{},"actions":[]}]}`,
		flow.AcceptsAll: `{"flows":[{"priority":0,"match":{},"actions":[],"covers_incomplete":true},{"priority":0,"match":{},"actions":[]}]}`,
	} {
		b, err := codec.AppendDecision(nil, &flow.Event{Accepts: accepts}, &d)
		if err != nil || string(b) != want {
			t.Errorf("%s (%v), want\n%s", b, err, want)
		}
		valid(t, schema, b)
		var back flow.Decision
		if err := codec.ParseDecision(b, &flow.Event{}, &back); err != nil || back.Rules[0].CoversIncomplete != (accepts != 0) || back.Rules[1].CoversIncomplete {
			t.Errorf("%s: %+v (%v)", b, back.Rules, err)
		}
	}
	body := []byte(`{"flows":[{"covers_incomplete":false},{"covers_incomplete":null}]}`)
	valid(t, schema, body)
	var back flow.Decision
	if err := codec.ParseDecision(body, &flow.Event{}, &back); err != nil || back.Rules[0].CoversIncomplete || back.Rules[1].CoversIncomplete {
		t.Errorf("%s: %+v (%v)", body, back.Rules, err)
	}
}

// TestIfReply: an answer says what becomes of a reply to a gateway that takes it, and to no other.
func TestIfReply(t *testing.T) {
	_, schema := schemas(t)
	d := flow.Decision{HasPacketOut: true, IfReply: &flow.Reply{Rules: []flow.Rule{{}}, HasPacketOut: true, Reason: "yes"}}
	for accepts, want := range map[flow.Accepts]string{
		flow.AcceptsCoversIncomplete: `{"packet_out":{"actions":[]}}`,
		flow.AcceptsReply:            `{"packet_out":{"actions":[]},"if_reply":{"flows":[{"priority":0,"match":{},"actions":[]}],"packet_out":{"actions":[]},"reason":"yes"}}`,
	} {
		b, err := codec.AppendDecision(nil, &flow.Event{Accepts: accepts}, &d)
		if err != nil || string(b) != want {
			t.Errorf("%s (%v), want\n%s", b, err, want)
		}
		valid(t, schema, b)
		var back flow.Decision
		if err := codec.ParseDecision(b, &flow.Event{}, &back); err != nil || (back.IfReply != nil) != (accepts == flow.AcceptsReply) {
			t.Errorf("%s: %+v (%v)", b, back, err)
		} else if r := back.IfReply; r != nil && (len(r.Rules) != 1 || !r.HasPacketOut || r.Reason != "yes" || len(back.Rules) != 0) {
			t.Errorf("%s: %+v", b, back)
		}
	}
	var back flow.Decision
	if err := codec.ParseDecision([]byte(`{"if_reply":null}`), &flow.Event{}, &back); err != nil || back.IfReply != nil {
		t.Errorf("null: %+v (%v)", back.IfReply, err)
	}
}

// TestStates: what an answer rests on and revokes goes to a gateway that takes it, and to no other.
func TestStates(t *testing.T) {
	_, schema := schemas(t)
	d := flow.Decision{HasPacketOut: true, Read: []flow.StateVersion{{Key: 1, Version: 1<<64 - 1}}, Revoke: []uint64{2, 3}}
	for accepts, want := range map[flow.Accepts]string{
		0: `{"packet_out":{"actions":[]}}`,
		flow.AcceptsAll: `{"packet_out":{"actions":[]},"states":[{"state":"0000000000000001","version":"18446744073709551615"}],` +
			`"revoke":["0000000000000002","0000000000000003"]}`,
	} {
		b, err := codec.AppendDecision(nil, &flow.Event{Accepts: accepts}, &d)
		if err != nil || string(b) != want {
			t.Errorf("%s (%v), want\n%s", b, err, want)
		}
		valid(t, schema, b)
		var back flow.Decision
		if err := codec.ParseDecision(b, &flow.Event{}, &back); err != nil || accepts != 0 && (!slices.Equal(back.Read, d.Read) || !slices.Equal(back.Revoke, d.Revoke)) {
			t.Errorf("%s: %+v, %x (%v)", b, back.Read, back.Revoke, err)
		}
	}
}

// TestTravel: states with names go to a gateway that takes them, and to no other, and come back with events.
func TestTravel(t *testing.T) {
	events, decisions := schemas(t)
	d := flow.Decision{Travel: []flow.Travelling{{Name: "scan", Key: flow.StateSrc, Version: 1<<64 - 1, TTL: 1500 * time.Millisecond, Data: []byte{1}}, {Name: "gone", Version: 2}}}
	for accepts, want := range map[flow.Accepts]string{
		flow.AcceptsAll &^ flow.AcceptsTravel: `{}`,
		flow.AcceptsTravel: `{"travel":[{"name":"scan","key":"src","version":"18446744073709551615","ttl":2,"data":"AQ=="},` +
			`{"name":"gone","key":"flow","version":"2"}]}`,
	} {
		b, err := codec.AppendDecision(nil, &flow.Event{Accepts: accepts}, &d)
		if err != nil || string(b) != want {
			t.Errorf("%s (%v), want\n%s", b, err, want)
		}
		valid(t, decisions, b)
		var back flow.Decision
		if err := codec.ParseDecision(b, &flow.Event{}, &back); err != nil || want != "{}" && (len(back.Travel) != 2 || back.Travel[0].TTL != 2*time.Second || back.Travel[1].Data != nil) {
			t.Errorf("%s: %+v (%v)", b, back.Travel, err)
		}
	}
	ev := flow.Event{Type: flow.EventPolicyCheck, Travel: d.Travel}
	b, err := codec.AppendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, events, b)
	back := flow.Event{Type: flow.EventPolicyCheck}
	if err := codec.ParseEvent(b, &back); err != nil || len(back.Travel) != 2 || string(back.Travel[0].Data) != "\x01" || back.Travel[1].Version != 2 {
		t.Errorf("%s: %+v (%v)", b, back.Travel, err)
	}
	if err := codec.ParseEvent([]byte(`{"travel":[{"name":"a","version":1,"later":{}}]}`), &back); err != nil {
		t.Errorf("a member of a later version: %v", err)
	}
	for answer, want := range map[string]string{
		`{"travel":[{"name":"a","version":1,"later":{}}]}`:                      "unknown",
		`{"travel":[{"name":"a"}]}`:                                             "no version",
		`{"travel":[{"name":"a","version":1,"key":"user"}]}`:                    "want one of flow",
		`{"travel":[{"name":"a","version":1,"ttl":9300000000}]}`:                "at most",
		`{"travel":[{"name":"a","version":1,"data":"?"}]}`:                      "not base64",
		`{"travel":[{"version":1}]}`:                                            "want a name",
		`{"travel":[{"name":"a","version":1},{"name":"a","version":1}]}`:        "twice",
		`{"travel":[` + strings.Repeat(`{"name":"a","version":1},`, 8) + `{}]}`: "travel",
	} {
		if err := codec.ParseDecision([]byte(answer), &flow.Event{}, new(flow.Decision)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
	}
}

// TestDataWithoutMatch: who writes an event by hand need not take the frame apart.
func TestDataWithoutMatch(t *testing.T) {
	ev := flow.Event{Type: flow.EventPacketIn}
	body := `{"packet_in":{"in_port":3,"data":"AgAAAAACAgAAAAABCAA="}}`
	if err := codec.ParseEvent([]byte(body), &ev); err != nil {
		t.Fatal(err)
	}
	if want := flow.ParseFrame(ev.PacketIn.Data, 3); ev.PacketIn.Match != want || ev.PacketIn.TotalLen != 14 || ev.PacketIn.BufferID != flow.NoBuffer {
		t.Errorf("%+v, want match %v", ev.PacketIn, want)
	}
}

// TestLaterFields: an event's match has the fields of the contract's first version and no other, which functions of that time refuse. Who
// knows others finds them in the data, unless the match tells of another packet.
func TestLaterFields(t *testing.T) {
	schema, err := os.ReadFile("../../../test/testdata/first/contract.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for i := range flow.Fields {
		for _, o := range flow.Fields[i].OXM {
			if first := bytes.Contains(schema, []byte(`"`+o.Name+`":`)); first == flow.Fields[i].Later {
				t.Errorf("%s: in the first version %t, later %t", o.Name, first, flow.Fields[i].Later)
			}
		}
	}
	frame := frames.NeighborSolicitation(frames.Endpoint{MAC: flow.MAC{2, 1}, IP: netip.MustParseAddr("fe80::1")}, netip.MustParseAddr("fe80::2"))
	ev := flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, 1)}}
	b, err := codec.AppendEvent(nil, &ev)
	if err != nil || bytes.Contains(b, []byte("ipv6_nd_sll")) {
		t.Fatalf("%v: %s", err, b)
	}
	for old, row := range map[string]struct {
		new  string
		want flow.Match
	}{
		"":                  {"", ev.PacketIn.Match},
		`"eth_src":"02:01:`: {`"eth_src":"02:02:`, matchOf(func(m *flow.Match) { *m = ev.PacketIn.Match.Keep(^flow.FieldNDSLL); m.EthSrc[1] = 2 })},
		`"data"`:            {`"dat"`, ev.PacketIn.Match.Keep(^flow.FieldNDSLL)},
	} {
		text := bytes.Replace(b, []byte(old), []byte(row.new), 1)
		back := flow.Event{Type: flow.EventPacketIn}
		if err := codec.ParseEvent(text, &back); err != nil {
			t.Fatal(err)
		}
		if back.PacketIn.Match != row.want {
			t.Errorf("%s for %s: %v\nwant %v", row.new, old, back.PacketIn.Match, row.want)
		}
	}
}

// TestFrames writes and reads the match of frames that OXM can't describe whole.
func TestFrames(t *testing.T) {
	v4 := append(bytes.Repeat([]byte{2}, 12), 8, 0, 0x45, 0, 0, 24, 0, 0, 0, 0, 64, 58, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 128, 0, 0, 0)
	ev := flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{Data: v4, Match: flow.ParseFrame(v4, 1)}}
	if !ev.PacketIn.Match.Has(flow.FieldIPProto) || ev.PacketIn.Match.IPProto != flow.ProtoICMPv6 {
		t.Fatal("the frame should have ICMPv6 under IPv4")
	}
	ev.PacketIn.Match.SetICMP(128, 0) // of an older gateway: ParseFrame has none
	b, err := codec.AppendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	back := flow.Event{Type: flow.EventPacketIn}
	if err := codec.ParseEvent(b, &back); err != nil {
		t.Fatal(err)
	}
	if want := ev.PacketIn.Match.Keep(^(flow.FieldICMPType | flow.FieldICMPCode)); back.PacketIn.Match != want {
		t.Errorf("match %v, want %v", back.PacketIn.Match, want)
	}
}

func TestWhatCantBeWritten(t *testing.T) {
	for name, d := range map[string]flow.Decision{
		"unsupported action": {Rules: []flow.Rule{{Actions: []flow.Action{{Type: flow.Unsupported, ID: 11}}}}},
		"long timeout":       {Rules: []flow.Rule{{IdleTimeout: 24 * time.Hour}}},
		"no prefix":          {Rules: []flow.Rule{{Match: flow.Match{Fields: flow.FieldIPSrc}}}},
		"which ICMP":         {Rules: []flow.Rule{{Match: flow.Match{Fields: flow.FieldICMPType}}}},
	} {
		if _, err := codec.AppendDecision(nil, &flow.Event{}, &d); err == nil || !strings.Contains(err.Error(), "flows[0]") {
			t.Errorf("%s: error %v, want one of flows[0]", name, err)
		}
	}
	for e := flow.EventPacketIn; e <= flow.EventError; e++ {
		if e == flow.EventSwitchConnected {
			continue
		}
		if _, err := codec.AppendEvent(nil, &flow.Event{Type: e}); err == nil {
			t.Errorf("%v without its content was written", e)
		}
	}
	if _, err := codec.AppendEvent(nil, &flow.Event{Type: 99}); err == nil {
		t.Error("an unknown event was written")
	}
}

func TestSecondsRoundUp(t *testing.T) {
	d := flow.Decision{Rules: []flow.Rule{{IdleTimeout: time.Millisecond, HardTimeout: 1500 * time.Millisecond}}}
	b, err := codec.AppendDecision(nil, &flow.Event{}, &d)
	if err != nil || !bytes.Contains(b, []byte(`"idle_timeout":1,"hard_timeout":2`)) {
		t.Errorf("%s (%v)", b, err)
	}
}

// TestEscapedBase64: some languages escape every slash.
func TestEscapedBase64(t *testing.T) {
	var d flow.Decision
	if err := codec.ParseDecision([]byte(`{"state":"\/\/\/\/"}`), &flow.Event{}, &d); err != nil || string(d.State) != "\xff\xff\xff" {
		t.Errorf("state %x (%v)", d.State, err)
	}
}

// TestStrings: whatever a switch calls its port is JSON.
func TestStrings(t *testing.T) {
	for _, name := range []string{"eth0", `a"b\c`, "x\x00\n\xff", "grün", "<&>\u2028"} {
		b, err := codec.AppendEvent(nil, &flow.Event{Type: flow.EventSwitchConnected, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, Ports: []flow.Port{{Name: name}}}})
		if err != nil || !json.Valid(b) {
			t.Fatalf("%q: %s (%v)", name, b, err)
		}
		ev := flow.Event{Type: flow.EventSwitchConnected}
		if err := codec.ParseEvent(b, &ev); err != nil || ev.Switch.Ports[0].Name != strings.ToValidUTF8(name, "\ufffd") {
			t.Errorf("%q comes back as %q (%v)", name, ev.Switch.Ports[0].Name, err)
		}
	}
}

func FuzzParseDecision(f *testing.F) {
	for _, row := range matches {
		for _, text := range row.texts {
			f.Add([]byte(`{"flows":[{"match":` + text + `}]}`))
		}
	}
	f.Add([]byte(`{"flows":[{"table_id":1,"meter":2,"goto_table":3,"actions":[{"type":"SET_FIELD","field":"vlan_vid","value":10}]}],"packet_out":{"actions":[]}}`))
	f.Add([]byte(`{"flows":[{"covers_incomplete":true,"match":{"tcp_dst":1}},{"covers_incomplete":false}]}`))
	f.Add([]byte(`{"state":"AAEC","state_key":"src","verdict":"deny","reason":"x","policy":"1-00000001","handshake":"AA=="}`))
	_, schema := schemas(f)
	ev := &flow.Event{Switch: &flow.Switch{DPID: 1}, Accepts: flow.AcceptsAll}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d, back flow.Decision
		if codec.ParseDecision(body, ev, &d) != nil {
			return
		}
		b, err := codec.AppendDecision(nil, ev, &d)
		if err != nil {
			t.Fatalf("%+v was read but can't be written: %v", d, err)
		}
		valid(t, schema, b)
		if err := codec.ParseDecision(b, ev, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		again, err := codec.AppendDecision(nil, ev, &back)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("written\n%s, then\n%s (%v)", b, again, err)
		}
		for i := range d.Rules {
			if d.Rules[i].CoversIncomplete != back.Rules[i].CoversIncomplete {
				t.Fatalf("rule %d of %s: covers_incomplete %v", i, b, back.Rules[i].CoversIncomplete)
			}
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add(uint8(flow.EventPacketIn), []byte(`{"switch":{"dpid":"1","ports":[{"port_no":1}]},"packet_in":{"in_port":1,"data":"AgAAAAACAgAAAAABCAA="}}`))
	f.Add(uint8(flow.EventPacketIn), []byte(`{"accepts":["covers_incomplete","x"],"switch":{"dpid":"1","protocol":"OpenFlow 1.0"},"packet_in":{"incomplete":["tcp_src","arp_op","x"],"rule_match":{},"match":{"tcp_dst":1}}}`))
	f.Add(uint8(flow.EventPacketIn), []byte(`{"packet_in":{"match":{"in_port":1,"ip_proto":6,"ipv4_src":"10.0.0.1","ipv4_dst":"10.0.0.2"}}}`))
	f.Add(uint8(flow.EventFlowRemoved), []byte(`{"flow_removed":{"reason":"delete","cookie":"0x1","duration_sec":1,"match":{"tcp_dst":1}}}`))
	f.Add(uint8(flow.EventPortStatus), []byte(`{"port_status":{"reason":"add","port":{"name":"x"}}}`))
	f.Add(uint8(flow.EventError), []byte(`{"error":{"type":1,"data":"AA=="}}`))
	f.Add(uint8(flow.EventHandshake), []byte(`{"handshake":"AA=="}`))
	schema, _ := schemas(f)
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		ev := flow.Event{Type: flow.EventType(typ)}
		if codec.ParseEvent(body, &ev) != nil {
			return
		}
		ev.Accepts = flow.AcceptsAll // a gateway's word counts
		b, err := codec.AppendEvent(nil, &ev)
		if err != nil {
			if typ < uint8(flow.EventPacketIn) || typ > uint8(flow.EventHandshake) {
				return
			}
			t.Fatalf("%+v was read but can't be written: %v", ev, err)
		}
		valid(t, schema, b)
		back := flow.Event{Type: ev.Type}
		if err := codec.ParseEvent(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if back.Accepts != ev.Accepts || ev.PacketIn != nil && back.PacketIn.Incomplete != ev.PacketIn.Incomplete {
			t.Fatalf("%s: accepts %b, packet %+v; want %b, %+v", b, back.Accepts, back.PacketIn, ev.Accepts, ev.PacketIn)
		}
		again, err := codec.AppendEvent(nil, &back)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("written\n%s, then\n%s (%v)", b, again, err)
		}
	})
}

func benchmarkEvent() *flow.Event {
	data := append(bytes.Repeat([]byte{2}, 12), 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 80)
	data = append(data, make([]byte, 64)...)
	data[46] = 0x50 // the length of TCP's header
	return &flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, Ports: make([]flow.Port, 4)},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(data), Data: data, Match: flow.ParseFrame(data, 1)}}
}

func BenchmarkAppendEvent(b *testing.B) {
	ev := benchmarkEvent()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = codec.AppendEvent(buf[:0], ev)
	}
}

func BenchmarkParseEvent(b *testing.B) {
	body, err := codec.AppendEvent(nil, benchmarkEvent())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ev := flow.Event{Type: flow.EventPacketIn}
		codec.ParseEvent(body, &ev)
	}
}

func BenchmarkParseDecision(b *testing.B) {
	ev := benchmarkEvent()
	body, err := codec.AppendDecision(nil, ev, &flow.Decision{Rules: []flow.Rule{{Priority: 1, Match: ev.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(1)}}}})
	if err != nil {
		b.Fatal(err)
	}
	var d flow.Decision
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		codec.ParseDecision(body, ev, &d)
	}
}
