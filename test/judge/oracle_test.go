package judge

import (
	"net/netip"
	"testing"
	"time"

	"switchbridge/flow"
)

func matching(set func(m *flow.Match)) (m flow.Match) {
	set(&m)
	return m
}

func TestSays(t *testing.T) {
	any := flow.Match{}
	port22 := matching(func(m *flow.Match) { m.SetEthType(flow.EthTypeIPv4); m.SetIPProto(flow.ProtoTCP); m.SetL4Dst(22) })
	bare22 := matching(func(m *flow.Match) { m.SetL4Dst(22) })
	vlan5 := matching(func(m *flow.Match) { m.SetVLAN(5, flow.VLANExact) })
	noMask := matching(func(m *flow.Match) { m.SetVLAN(5, 0) })
	normal, queue := []flow.Action{out(flow.PortNormal)}, []flow.Action{{Type: flow.SetQueue, ID: 1}}

	tests := []struct {
		name  string
		rules []flow.Rule
		after time.Duration
		tcp22 Verdict
		tcp80 Verdict
	}{
		{"nothing", nil, 0, Unsaid, Unsaid},
		{"deny above allow", []flow.Rule{{Priority: 1, Match: any, Actions: normal}, {Priority: 2, Match: port22}}, 0, Denied, Passes},
		{"deny below allow", []flow.Rule{{Priority: 2, Match: any, Actions: normal}, {Priority: 1, Match: port22}}, 0, Passes, Passes},
		{"a tie", []flow.Rule{{Priority: 2, Match: any, Actions: normal}, {Priority: 2, Match: port22}}, 0, Denied, Passes},
		{"a tie with a goto to a deny", []flow.Rule{{Priority: 2, Match: any, Actions: normal}, {Priority: 2, Match: port22, Goto: 1}, {Table: 1, Priority: 1, Match: any}, {Priority: 2, Match: vlan5, Actions: normal}}, 0, Denied, Passes},
		{"the later of two twins counts", []flow.Rule{{Priority: 2, Match: port22}, {Priority: 2, Match: port22, Actions: normal}}, 0, Passes, Unsaid},
		{"a queue alone is no way out", []flow.Rule{{Priority: 1, Match: any, Actions: normal}, {Priority: 2, Match: port22, Actions: queue}}, 0, Denied, Passes},
		{"a rule that takes another away denies nothing", []flow.Rule{{Command: flow.Delete, Priority: 2, Match: port22}}, 0, Unsaid, Unsaid},
		{"second table", []flow.Rule{{Priority: 1, Match: any, Goto: 1}, {Table: 1, Priority: 1, Match: any, Actions: normal}, {Table: 1, Priority: 2, Match: port22}}, 0, Denied, Passes},
		{"a second table that nothing leads to", []flow.Rule{{Priority: 1, Match: any, Actions: normal}, {Table: 1, Priority: 2, Match: port22}}, 0, Passes, Passes},
		{"prerequisites of the packet", []flow.Rule{{Priority: 2, Match: bare22}}, 0, Denied, Unsaid},
		{"a VLAN without its bit is meant all the same", []flow.Rule{{Priority: 2, Match: vlan5}}, 0, Denied, Denied},
		{"a mask without bits asks for nothing", []flow.Rule{{Priority: 2, Match: noMask}}, 0, Denied, Denied},
		{"a deny that has ended", []flow.Rule{{Priority: 1, Match: any, Actions: normal}, {Priority: 2, HardTimeout: 2 * time.Second, Match: port22}}, 3 * time.Second, Passes, Passes},
		{"a deny that has not", []flow.Rule{{Priority: 1, Match: any, Actions: normal}, {Priority: 2, HardTimeout: 4 * time.Second, Match: port22}}, 3 * time.Second, Denied, Passes},
	}
	packet := func(port uint16) flow.Match {
		p := Packet{Port: 1, EthSrc: mac(1), EthDst: mac(2), EthType: flow.EthTypeIPv4, Src: host4(1), Dst: host4(2), Proto: flow.ProtoTCP, L4Dst: port, Tags: []Tag{{flow.EthTypeVLAN, 5}}}
		return flow.ParseFrame(p.Frame(), p.Port)
	}
	tcp22, tcp80 := packet(22), packet(80)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := Meant(tt.rules, &tcp22)
			if got, _ := rules.Says(&tcp22, tt.after); got != tt.tcp22 {
				t.Errorf("of port 22: %v, want %v", got, tt.tcp22)
			}
			if got, _ := rules.Says(&tcp80, tt.after); got != tt.tcp80 {
				t.Errorf("of port 80: %v, want %v", got, tt.tcp80)
			}
		})
	}
}

// Every word that ofproto/trace prints is read; one that is new is an error.
func TestClassify(t *testing.T) {
	c, err := Classify("udp6,in_port=1,dl_vlan=3,dl_vlan_pcp=2,vlan_tci1=0x0000,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,ipv6_label=0x00001,nw_tos=40,nw_ecn=1,nw_ttl=64,nw_frag=no,tp_src=53,tp_dst=22")
	if err != nil {
		t.Fatal(err)
	}
	want := matching(func(m *flow.Match) {
		m.SetInPort(1)
		m.SetVLAN(flow.VLANPresent|3, flow.VLANExact)
		m.SetEthSrc(mac(1), flow.MACExact)
		m.SetEthDst(mac(2), flow.MACExact)
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPProto(flow.ProtoUDP)
		m.SetIPSrc(netip.PrefixFrom(host6(1), 128))
		m.SetIPDst(netip.PrefixFrom(host6(2), 128))
		m.SetL4Src(53)
		m.SetL4Dst(22)
		m.Fields |= flow.FieldVLANPCP | flow.FieldIPDSCP | flow.FieldIPECN | flow.FieldFlowLabel | flow.FieldMetadata | flow.FieldTunnelID
		m.VLANPCP, m.IPDSCP, m.IPECN, m.FlowLabel = 2, 10, 1, 1
	})
	if c.Match != want || c.Fragment {
		t.Errorf("%+v, want %+v", c, want)
	}
	if c, err = Classify("tcp,in_port=1,vlan_tci=0x0000,nw_frag=first,tp_src=1,tp_dst=22"); err != nil || !c.Fragment || c.Match.L4Dst != 0 {
		t.Errorf("a first fragment: %+v, %v; want port 0", c, err)
	}
	for _, text := range []string{"ct_state=trk,in_port=1", "sctp7,in_port=1", "tcp,tp_dst=x"} {
		if _, err := Classify(text); err == nil {
			t.Errorf("%q is read without an error", text)
		}
	}
}
