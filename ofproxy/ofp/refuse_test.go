package ofp

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

func rule(set func(m *flow.Match)) flow.Rule { return flow.Rule{Match: match(set)} }

// TestInexpressible gives rules that a version has no way to say: each is an
// UnsupportedError that names the culprit, and nothing is appended.
func TestInexpressible(t *testing.T) {
	ipv6 := func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv6) }
	act := func(a ...flow.Action) flow.Rule { return flow.Rule{Actions: a} }
	for _, tt := range []struct {
		name string
		v    flow.Protocol
		r    flow.Rule
		want string
	}{
		{"IPv6 address", v10, rule(func(m *flow.Match) { ipv6(m); m.SetIPSrc(pfx("2001:db8::1/128")) }), "ip_src of IPv6"},
		{"IPv6 protocol", v10, rule(func(m *flow.Match) { ipv6(m); m.SetIPProto(flow.ProtoTCP) }), "ip_proto of IPv6"},
		{"IPv6 label", v10, rule(func(m *flow.Match) { ipv6(m); m.Fields |= flow.FieldFlowLabel }), "ipv6_flabel"},
		{"ECN", v10, rule(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.Fields |= flow.FieldIPECN }), "ip_ecn"},
		{"SCTP", v10, rule(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoSCTP); m.SetL4Dst(1) }), "l4_dst of SCTP"},
		{"ARP hardware address", v10, rule(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.Fields |= flow.FieldARPSHA }), "arp_sha"},
		{"ARP operation", v10, rule(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.Fields |= flow.FieldARPOp; m.ARPOp = 256 }), "arp_op 256"},
		{"masked source", v10, rule(func(m *flow.Match) { m.SetEthSrc(macA, flow.MAC{0xff}) }), "masked eth_src"},
		{"masked destination", v10, rule(func(m *flow.Match) { m.SetEthDst(macA, flow.MAC{0xff}) }), "masked eth_dst"},
		{"any tag", v10, rule(func(m *flow.Match) { m.SetVLAN(flow.VLANPresent, flow.VLANPresent) }), "vlan_vid 0x1000/0x1000"},
		{"some VIDs", v10, rule(func(m *flow.Match) { m.SetVLAN(flow.VLANPresent|4, flow.VLANPresent|4) }), "vlan_vid"},
		{"metadata", v10, rule(func(m *flow.Match) { m.Fields |= flow.FieldMetadata }), "metadata"},
		{"tunnel", v10, rule(func(m *flow.Match) { m.Fields |= flow.FieldTunnelID }), "tunnel_id"},
		{"large in_port", v10, rule(func(m *flow.Match) { m.SetInPort(0xff01) }), "in_port 65281"},
		{"table", v10, flow.Rule{Table: 1}, "table 1"},
		{"every table, but no delete", v10, flow.Rule{Table: 0xff}, "table 255"},
		{"meter", v10, flow.Rule{Meter: 4}, "meter 4"},
		{"goto", v10, flow.Rule{Goto: 2}, "table 2"},
		{"cookie mask", v10, flow.Rule{Command: flow.Delete, CookieMask: 1}, "cookie"},
		{"flags", v10, flow.Rule{Flags: flow.NoByteCounts}, "flags 0x10"},
		{"out_port", v10, flow.Rule{Command: flow.Delete, OutPort: 70000}, "out_port 70000"},
		{"output to a large port", v10, act(flow.OutputTo(70000)), "port 70000"},
		{"output to no port", v10, act(flow.OutputTo(flow.PortAny)), "port ANY"},
		{"output to no port", v13, act(flow.OutputTo(flow.PortAny)), "port ANY"},
		{"output to port 0", v13, act(flow.OutputTo(0)), "port 0"},
		{"queue of NORMAL", v10, act(flow.Action{Type: flow.SetQueue, ID: 1}, flow.OutputTo(flow.PortNormal)), "queue of port NORMAL"},
		{"push", v10, act(flow.Action{Type: flow.PushVLAN, Value: flow.EthTypeQinQ}), "push_vlan"},
		{"TTL", v10, act(flow.Action{Type: flow.DecTTL}), "dec_nw_ttl"},
		{"IPv6 rewrite", v10, act(flow.Action{Type: flow.SetIPDst, Addr: netip.MustParseAddr("::1")}), "SET_IP_DST ::1"},
		{"unsupported action", v10, act(flow.Action{Type: flow.Unsupported, ID: 0xffff}), "unsupported:65535"},
		{"unsupported action", v13, act(flow.Action{Type: flow.Unsupported, ID: 0xffff}), "unsupported:65535"},
	} {
		t.Run(tt.v.String()+" "+tt.name, func(t *testing.T) {
			b, err := AppendFlowMod([]byte("x"), tt.v, 1, &tt.r, flow.NoBuffer)
			var u *UnsupportedError
			if !errors.As(err, &u) || u.Protocol != tt.v || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want an UnsupportedError with %q", err, tt.want)
			}
			if string(b) != "x" {
				t.Errorf("something was appended: % x", b)
			}
		})
	}
}

// TestPrerequisites gives matches that a switch would refuse, or, speaking 1.0,
// take for something wider.
func TestPrerequisites(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(m *flow.Match)
		want string
	}{
		{"address without eth_type", func(m *flow.Match) { m.SetIPSrc(pfx("10.0.0.1/32")) }, "ip_src needs eth_type"},
		{"protocol of ARP", func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.SetIPProto(6) }, "ip_proto needs eth_type"},
		{"port without ip_proto", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetL4Dst(80) }, "l4_dst needs ip_proto"},
		{"port of ICMP", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(1); m.SetL4Dst(80) }, "l4_dst needs ip_proto"},
		{"ICMP of TCP", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(6); m.SetICMP(1, 1) }, "icmp_type,icmp_code needs ip_proto"},
		{"ARP of IPv4", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetARPSPA(pfx("10.0.0.1/32")) }, "arp_spa needs eth_type 0x0806"},
		{"priority without a tag", func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact); m.Fields |= flow.FieldVLANPCP }, "vlan_pcp needs"},
		{"priority alone", func(m *flow.Match) { m.Fields |= flow.FieldVLANPCP }, "vlan_pcp needs"},
		{"a VID without the tag's bit", func(m *flow.Match) { m.SetVLAN(7, flow.VLANExact) }, "vlan_vid 0x0007 without"},
		{"no prefix", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.Fields |= flow.FieldIPDst }, "ip_dst"},
		{"the other family", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPDst(pfx("::1/128")) }, "ip_dst ::1/128"},
		{"ARP for IPv6", func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.SetARPTPA(pfx("::1/128")) }, "arp_tpa ::1/128"},
	} {
		for _, v := range []flow.Protocol{v10, v13} {
			r := rule(tt.set)
			if b, err := AppendFlowMod(nil, v, 1, &r, flow.NoBuffer); err == nil || !strings.Contains(err.Error(), tt.want) || len(b) != 0 {
				t.Errorf("%v, %s: error %v, want %q; appended % x", v, tt.name, err, tt.want, b)
			}
		}
	}
	for _, tt := range []struct {
		name string
		set  func(m *flow.Match)
		want string
	}{
		{"label of IPv4", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.Fields |= flow.FieldFlowLabel }, "ipv6_flabel needs"},
		{"target of TCP", func(m *flow.Match) {
			m.SetEthType(flow.EthTypeIPv6)
			m.SetIPProto(6)
			m.Fields |= flow.FieldNDTarget
		}, "ipv6_nd_target needs"},
		{"no target", func(m *flow.Match) {
			m.SetEthType(flow.EthTypeIPv6)
			m.SetIPProto(58)
			m.Fields |= flow.FieldNDTarget
		}, "not an IPv6 address"},
		{"ICMP over IPv6", func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv6); m.SetIPProto(1); m.SetICMP(8, 0) }, "needs ip_proto 1 of IPv4"},
	} {
		r := rule(tt.set)
		if _, err := AppendFlowMod(nil, v13, 1, &r, flow.NoBuffer); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestImpossibleValues(t *testing.T) {
	for _, a := range []flow.Action{
		{Type: flow.SetVLANVID, Value: 4096}, {Type: flow.SetVLANPCP, Value: 8}, {Type: flow.SetIPDSCP, Value: 64},
		{Type: flow.SetL4Src, Value: 65536, IPProto: 6}, {Type: flow.SetIPSrc}, {},
	} {
		for _, v := range []flow.Protocol{v10, v13} {
			p := PacketOut{BufferID: 1, Actions: []flow.Action{a}}
			if b, err := AppendPacketOut([]byte("x"), v, 1, &p); err == nil || string(b) != "x" {
				t.Errorf("%v: action %v becomes % x, error %v", v, a, b, err)
			}
		}
	}
	for _, a := range []flow.Action{{Type: flow.PushVLAN, Value: 0x0800}, {Type: flow.SetL4Dst, Value: 1}} {
		if _, err := AppendPacketOut(nil, v13, 1, &PacketOut{BufferID: 1, Actions: []flow.Action{a}}); err == nil {
			t.Errorf("action %v passes", a)
		}
	}
	if _, err := AppendFlowMod(nil, v13, 1, &flow.Rule{Table: 3, Goto: 3}, flow.NoBuffer); err == nil {
		t.Error("a goto to its own table passes")
	}
	if _, err := AppendPacketIn(nil, v13, 1, &flow.PacketIn{TotalLen: 1 << 16}); err == nil {
		t.Error("a packet of 64 KiB passes")
	}
}

// TestTooLong makes messages that don't go into the header's length.
func TestTooLong(t *testing.T) {
	long := make([]byte, 1<<16)
	many := make([]flow.Action, 1<<13)
	for i := range many {
		many[i] = flow.OutputTo(1)
	}
	entries := make([]FlowStats, 2000)
	for _, v := range []flow.Protocol{v10, v13} {
		for name, f := range map[string]func() ([]byte, error){
			"data": func() ([]byte, error) {
				return AppendPacketOut(nil, v, 1, &PacketOut{BufferID: flow.NoBuffer, Data: long})
			},
			"packet": func() ([]byte, error) {
				p := packetIn(long[:65500], nil)
				p.TotalLen = 65535
				p.Data = long[:65535]
				return AppendPacketIn(nil, v, 1, &p)
			},
			"actions":    func() ([]byte, error) { return AppendPacketOut(nil, v, 1, &PacketOut{BufferID: 1, Actions: many}) },
			"rule":       func() ([]byte, error) { return AppendFlowMod(nil, v, 1, &flow.Rule{Actions: many}, 1) },
			"statistics": func() ([]byte, error) { return AppendFlowStatsReply(nil, v, 1, entries, false) },
		} {
			if b, err := f(); !errors.Is(err, errTooLong) || len(b) != 0 {
				t.Errorf("%v, %s: %d bytes, error %v", v, name, len(b), err)
			}
		}
		for name, b := range map[string][]byte{"echo": AppendEchoRequest(nil, v, 1, long), "error": AppendError(nil, v, 1, 1, 1, long)} {
			if h, err := ParseHeader(b); err != nil || h.Length != len(b) || len(b) != maxLen {
				t.Errorf("%s: %d bytes with header %v, error %v", name, len(b), h, err)
			}
		}
	}
}

// TestManyPorts lists more ports than one message holds.
func TestManyPorts(t *testing.T) {
	ports := make([]flow.Port, 2500)
	for i := range ports {
		ports[i].No = flow.PortNo(i + 1)
	}
	var got []flow.Port
	rest, messages := AppendPortDescReply(nil, 7, ports), 0
	for more := true; more; messages++ {
		h, err := ParseHeader(rest)
		if err != nil {
			t.Fatal(err)
		}
		var some []flow.Port
		if some, more, err = ParsePortDescReply(rest[:h.Length]); err != nil {
			t.Fatal(err)
		}
		got, rest = append(got, some...), rest[h.Length:]
	}
	if len(rest) != 0 || messages != 3 || len(got) != len(ports) || got[2499] != ports[2499] {
		t.Errorf("%d ports in %d messages, %d bytes left", len(got), messages, len(rest))
	}
	sw := flow.Switch{Ports: ports}
	b := AppendFeaturesReply(nil, v10, 1, &sw)
	if err := ParseFeaturesReply(b, &sw); err != nil || len(sw.Ports) != maxPorts10 {
		t.Errorf("a FEATURES_REPLY has %d ports, error %v", len(sw.Ports), err)
	}
}

// TestReportOfAnything writes a FLOW_REMOVED with a match that nobody checked.
func TestReportOfAnything(t *testing.T) {
	r := flow.FlowRemoved{Match: flow.Match{Fields: 1<<24 - 1}}
	for _, v := range []flow.Protocol{v10, v13} {
		for _, p := range []netip.Prefix{{}, pfx("2001:db8::/32")} {
			r.Match.IPSrc, r.Match.IPDst, r.Match.ARPSPA, r.Match.ARPTPA = p, p, p, p
			if h, err := ParseHeader(AppendFlowRemoved(nil, v, 1, &r)); err != nil || h.Type != TypeFlowRemoved {
				t.Errorf("%v: %+v, error %v", v, h, err)
			}
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]uint16{
		0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 65535 * time.Second: 65535, 65535*time.Second + 1: 65535, math.MaxInt64: 65535,
		-1: 1, -time.Hour: 1, // never "never"
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %d, want %d", d, got, want)
		}
	}
}

func TestPortNumbers(t *testing.T) {
	for _, p := range []flow.PortNo{0, 1, portMax10, flow.PortIn, flow.PortTable, flow.PortNormal, flow.PortFlood, flow.PortAll, flow.PortController, flow.PortLocal, flow.PortAny} {
		if n, ok := port16(p); !ok || port32(n) != p {
			t.Errorf("port %v goes to %#x, %t, and back to %v", p, n, ok, port32(n))
		}
	}
	if n, _ := port16(flow.PortNormal); n != 0xfffa {
		t.Errorf("NORMAL is %#x in 1.0", n)
	}
	for _, p := range []flow.PortNo{portMax10 + 1, 0xffff, 1 << 16, flow.PortMax} {
		if n, ok := port16(p); ok {
			t.Errorf("port %v is %#x in 1.0", uint32(p), n)
		}
	}
}
