package controller_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"switchbridge/bridge/guard"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

func newController(t testing.TB, text string) *controller.Controller {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	return controller.New(p)
}

func decide(t testing.TB, c *controller.Controller, packet string, p flow.Protocol) (*flow.Event, *flow.Decision) {
	t.Helper()
	ev, err := policytest.Event(packet, p)
	if err != nil {
		t.Fatal(err)
	}
	d := &flow.Decision{}
	if err := c.Decide(t.Context(), ev, d); err != nil {
		t.Fatalf("%s: %v", packet, err)
	}
	return ev, d
}

const (
	of10 = flow.OpenFlow10
	of13 = flow.OpenFlow13
	p4   = flow.P4Runtime
)

const normal = "chain: [{forward: {mode: normal}}]\n"

const telnet = `
chain:
  - header:
      rules:
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
  - forward: {mode: normal}
`

const block6 = `
chain:
  - blocklist: {addresses: ["2001:db8:bad::/48"]}
  - forward: {mode: normal}
`

const block = `
chain:
  - blocklist: {addresses: [10.0.0.3]}
  - forward: {mode: normal}
`

const (
	ssh     = "tcp 10.0.0.1:40000 > 10.0.0.2:22"
	sshRule = "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
		"ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=22"
)

// TestDecisions has one row for each way that a decision comes about, written
// out in full.
func TestDecisions(t *testing.T) {
	tests := []struct {
		name   string
		policy string
		proto  flow.Protocol
		packet string
		want   string
	}{
		{"exact flow", normal, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,` + sshRule + ` idle=30s hard=5m0s actions=output:NORMAL`},
		{"what is installed is configurable", "idle_timeout: 0\nhard_timeout: 10\npriority: 7\ntable: 3\n" + normal, of13, ssh, `
allow (forward: normal)
rule table=3,priority=7,` + sshRule + ` hard=10s actions=output:NORMAL`},
		{"host pair", "install: host-pair\n" + normal, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x0800,ip_src=10.0.0.1,ip_dst=10.0.0.2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"host pair of ARP", "install: host-pair\n" + normal, of13, "arp 10.0.0.1 > 10.0.0.2", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x0806,arp_spa=10.0.0.1,arp_tpa=10.0.0.2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"host pair without network addresses", "install: host-pair\n" + normal, of13, "lldp", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:00,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc idle=30s hard=5m0s actions=output:NORMAL`},
		{"MAC pair", "install: mac-pair\n" + normal, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s actions=output:NORMAL`},
		{"as wide as may be", "install: widest\n" + normal, of10, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01 idle=30s hard=5m0s actions=output:NORMAL`},
		{"no wider than what was looked at", "install: widest\n" + telnet, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_type=0x0800,ip_proto=6,l4_dst=22 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a packet that can't have what was looked at", "install: widest\n" + telnet, of13, "arp 10.0.0.1 > 10.0.0.2", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_type=0x0806 idle=30s hard=5m0s actions=output:NORMAL`},
		{"nothing installed", "install: none\n" + normal, of13, ssh, `
allow (forward: normal)
packet output:NORMAL`},
		{"nothing installed, denied", "install: none\n" + telnet, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:23", `
deny (header: no-telnet)
packet drop`},

		{"a denied flow gets a drop rule", telnet, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:23", `
deny (header: no-telnet)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=23 idle=30s hard=5m0s actions=drop`},
		{"a host pair is narrowed by a rule on ports", "install: host-pair\n" + telnet, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x0800,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_dst=22 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a MAC pair is narrowed by a blocklist", "install: mac-pair\n" + block, of13, ssh, `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,ip_src=10.0.0.1,ip_dst=10.0.0.2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a source that is listed decides alone", "install: mac-pair\n" + block, of13, "tcp 10.0.0.3:40000 > 10.0.0.2:22", `
deny (blocklist: 10.0.0.3)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:03,eth_dst=02:00:00:00:00:02,eth_type=0x0800,ip_src=10.0.0.3 idle=30s hard=5m0s actions=drop`},
		{"a protocol without ports is told apart by ip_proto", "install: host-pair\n" + telnet, of13, "icmp 10.0.0.1 > 10.0.0.2 type 8", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x0800,ip_proto=1,ip_src=10.0.0.1,ip_dst=10.0.0.2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a packet without addresses by its EtherType", "install: mac-pair\n" + block, of13, "lldp", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:00,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc idle=30s hard=5m0s actions=output:NORMAL`},

		{"a fragment, ports do not count", normal, of13, "fragment 10.0.0.1 > 10.0.0.2", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a fragment, ports count", telnet, of13, "fragment 10.0.0.1 > 10.0.0.2", `
deny (header: no-telnet may apply, but the packet does not show l4_dst; no rule: the packet does not show l4_dst)
packet drop`},
		{"ports of zero look like a fragment's", telnet, of13, "tcp 10.0.0.1:0 > 10.0.0.2:0", `
allow (forward: normal; no rule: fragments would match l4_src,l4_dst 0 too)
packet output:NORMAL`},
		{"one port of zero is enough where the other is left out", "install: host-pair\n" + telnet, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:0", `
allow (forward: normal; no rule: fragments would match l4_dst 0 too)
packet output:NORMAL`},
		{"a port of zero beside another", telnet, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:0", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=0 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a blocklist of IPv6 looks at whom discovery asks for", "install: host-pair\n" + block6, of13, "nd 2001:db8::1 > 2001:db8::2", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x86dd,ip_proto=58,ip_src=2001:db8::1,ip_dst=ff02::1:ff00:2,icmp_type=135,icmp_code=0,ipv6_nd_target=2001:db8::2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"no rule of another ICMPv6 covers discovery", "install: host-pair\n" + block6, of13, "icmpv6 2001:db8::1 > 2001:db8::2 type 128", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x86dd,ip_proto=58,ip_src=2001:db8::1,ip_dst=2001:db8::2,icmp_type=128,icmp_code=0 idle=30s hard=5m0s actions=output:NORMAL`},
		{"nor one of TCP", "install: host-pair\n" + block6, of13, "tcp [2001:db8::1]:1 > [2001:db8::2]:2", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_type=0x86dd,ip_proto=6,ip_src=2001:db8::1,ip_dst=2001:db8::2 idle=30s hard=5m0s actions=output:NORMAL`},
		{"an echo reply has type and code 0", "chain: [{header: {rules: [{name: pong, match: {icmp_type: 0}, action: allow}]}}]", of13, "icmp 10.0.0.1 > 10.0.0.2 type 0", `
allow (header: pong; no rule: fragments would match icmp_type,icmp_code 0 too)
packet output:NORMAL`},
		{"a field beside the conversation is in the rule", "chain: [{header: {rules: [{name: voice, match: {ip_dscp: 0}, action: allow}]}}]", of13, "tcp 10.0.0.1:40000 > 10.0.0.2:22", `
allow (header: voice)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_dscp=0,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=22 idle=30s hard=5m0s actions=output:NORMAL`},
		{"a packet without a tag has no priority", "install: mac-pair\nchain: [{header: {rules: [{name: gold, match: {vlan_pcp: 0}, action: deny}]}}, {forward: {mode: normal}}]", of13, "lldp", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:00,eth_dst=01:80:c2:00:00:0e,vlan_vid=0x0000/0x1fff idle=30s hard=5m0s actions=output:NORMAL`},

		{"no policy decides", "chain: [{blocklist: {addresses: [10.0.0.3]}}]", of13, "lldp", `
deny (default: no policy of the chain decides)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:00,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc,vlan_vid=0x0000/0x1fff idle=30s hard=5m0s actions=drop`},
		{"the first policy that decides wins", `
chain:
  - header: {rules: [{name: first, match: {ip_src: 10.0.0.3}, action: allow}]}
  - blocklist: {addresses: [10.0.0.3]}
  - forward: {mode: flood}`, of13, "arp 10.0.0.3 > 10.0.0.1", `
deny (blocklist: 10.0.0.3)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:03,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,vlan_vid=0x0000/0x1fff,arp_op=1,arp_spa=10.0.0.3,arp_tpa=10.0.0.1 idle=30s hard=5m0s actions=drop`},
		{"allowed by a header rule, forwarded as forward says", `
install: host-pair
chain:
  - header: {rules: [{name: first, match: {ip_src: 10.0.0.3}, action: allow}]}
  - blocklist: {addresses: [10.0.0.3]}
  - forward: {mode: flood}`, of13, "icmp 10.0.0.3 > 10.0.0.1", `
allow (header: first)
rule table=0,priority=100,in_port=1,eth_type=0x0800,ip_src=10.0.0.3,ip_dst=10.0.0.1 idle=30s hard=5m0s actions=output:FLOOD`},

		{"output", "chain: [{header: {rules: [{action: {output: [2, LOCAL]}}]}}]\ninstall: mac-pair", of13, ssh, `
allow (header: rule 1)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s actions=output:2,output:LOCAL`},
		{"queue and meter", "chain: [{header: {rules: [{action: {set-queue: 4, meter: 2}}]}}]\ninstall: mac-pair", of13, ssh, `
allow (header: rule 1)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s meter=2 actions=set_queue:4,output:NORMAL`},
		{"OpenFlow 1.0 has no meters", "chain: [{header: {rules: [{action: {meter: 2}}]}}]", of10, ssh, `
allow (header: rule 1; no rule: OpenFlow 1.0 has no meters, and queues for ports only)
packet output:NORMAL`},
		{"OpenFlow 1.0 has no queue before NORMAL", "chain: [{header: {rules: [{action: {set-queue: 2}}]}}]", of10, ssh, `
allow (header: rule 1; no rule: OpenFlow 1.0 has no meters, and queues for ports only)
packet output:NORMAL`},
		{"OpenFlow 1.0 has queues of ports", "chain: [{header: {rules: [{action: {set-queue: 2, output: 3}}]}}]\ninstall: mac-pair", of10, ssh, `
allow (header: rule 1)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s actions=set_queue:2,output:3`},

		{"IPv6 in OpenFlow 1.3", normal, of13, "tcp [2001:db8::1]:40000 > [2001:db8::2]:22 vlan 7 port 3", `
allow (forward: normal)
rule table=0,priority=100,in_port=3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x1007/0x1fff,ip_proto=6,ip_src=2001:db8::1,ip_dst=2001:db8::2,l4_src=40000,l4_dst=22 idle=30s hard=5m0s actions=output:NORMAL`},
		{"IPv6 in OpenFlow 1.0, layer 3 does not count", normal, of10, "tcp [2001:db8::1]:40000 > [2001:db8::2]:22", `
allow (forward: normal)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,vlan_vid=0x0000/0x1fff idle=30s hard=5m0s actions=output:NORMAL`},
		{"IPv6 in OpenFlow 1.0, addresses count", block, of10, "tcp [2001:db8::1]:40000 > [2001:db8::2]:22", `
allow (forward: normal; no rule: OpenFlow 1.0 can't match ip_src,ip_dst here)
packet output:NORMAL`},
		{"IPv4 in OpenFlow 1.0", telnet, of10, ssh, `
allow (forward: normal)
rule table=0,priority=100,` + sshRule + ` idle=30s hard=5m0s actions=output:NORMAL`},

		{"learn", "chain: [{forward: {mode: learn}}]", of13, ssh, `
allow (forward: learn)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01 idle=30s hard=5m0s actions=drop,goto:1
rule table=1,priority=100,eth_dst=02:00:00:00:00:01 hard=5m0s actions=output:1
packet output:FLOOD`},
		{"learn, allowed by a header rule that looks at more", `
chain:
  - header: {rules: [{name: web, match: {tcp_dst: 22}, action: allow}]}
  - forward: {mode: learn}`, of13, ssh, `
allow (header: web)
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_type=0x0800,ip_proto=6,l4_dst=22 idle=30s hard=5m0s actions=drop,goto:1
rule table=1,priority=100,eth_dst=02:00:00:00:00:01 hard=5m0s actions=output:1
packet output:FLOOD`},
		{"learn nothing of a group address", "chain: [{forward: {mode: learn}}]", of13, "icmp 224.0.0.1 > 10.0.0.1", `
allow (forward: learn)
packet output:FLOOD`},
		{"learn nothing of what can't be told apart", `
chain:
  - header: {rules: [{name: web, match: {tcp_dst: 22, ip_dst: 10.0.0.9}, action: deny}]}
  - forward: {mode: learn}`, of13, "fragment 10.0.0.1 > 10.0.0.2", `
allow (forward: learn; no rule: the packet does not show l4_dst)
packet output:FLOOD`},
		{"learn on OpenFlow 1.0", "install: mac-pair\nchain: [{forward: {mode: learn}}]", of10, ssh, `
allow (forward: normal (learn needs OpenFlow 1.3))
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s actions=output:NORMAL`},
		{"learn on P4", "install: mac-pair\nchain: [{forward: {mode: learn}}]", p4, ssh, `
allow (forward: normal (learn needs OpenFlow 1.3))
rule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02 idle=30s hard=5m0s actions=output:NORMAL`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newController(t, tt.policy)
			ev, d := decide(t, c, tt.packet, tt.proto)
			if got, want := policytest.Whole(d), strings.TrimSpace(tt.want); got != want {
				t.Errorf("%s\n got %s\nwant %s", tt.packet, got, want)
			}
			if d.Policy != c.Version() {
				t.Errorf("version %v, want %v", d.Policy, c.Version())
			}
			if v := violations(c, ev, d); v != nil {
				t.Errorf("the guardrails refuse %v", v)
			}
		})
	}
}

// TestCoversIncomplete: a rule says so exactly when it answers an incomplete
// packet, which it does where the chain has looked at nothing that is missing.
func TestCoversIncomplete(t *testing.T) {
	const learn = "install: mac-pair\nchain: [{forward: {mode: learn}}]"
	for _, tt := range []struct {
		name, policy string
		proto        flow.Protocol
		packet       string
		change       func(*flow.PacketIn)
		rules        int
		covers       bool
	}{
		{"a whole packet", normal, of13, ssh, nil, 1, false},
		{"a fragment, ports don't count", normal, of13, "fragment 10.0.0.1 > 10.0.0.2", nil, 1, true},
		{"the same in 1.0", normal, of10, "fragment 10.0.0.1 > 10.0.0.2", nil, 1, true},
		{"a fragment, its source decides", block + "\ninstall: mac-pair", of13, "fragment 10.0.0.3 > 10.0.0.2", nil, 1, true},
		{"a fragment, ports count", telnet, of13, "fragment 10.0.0.1 > 10.0.0.2", nil, 0, false},
		{"both rules of learn", learn, of13, "fragment 10.0.0.1 > 10.0.0.2", nil, 2, true},
		{"learn of a whole packet", learn, of13, ssh, nil, 2, false},
		{"nothing installed", "install: none\n" + normal, of13, "fragment 10.0.0.1 > 10.0.0.2", nil, 0, false},
		{"a digest of a program without ports", normal, p4, "fragment 10.0.0.1 > 10.0.0.2", func(p *flow.PacketIn) { p.Incomplete = 0 }, 1, false},
		{"a digest has no DSCP, and it counts", "chain: [{header: {rules: [{name: voice, match: {ip_dscp: 46}, action: deny}]}}, {forward: {mode: normal}}]", p4, ssh,
			func(p *flow.PacketIn) { p.Match = p.Match.Keep(flow.Conversation) }, 0, false},
		{"it counts for IP alone", "chain: [{header: {rules: [{name: voice, match: {ip_dscp: 46}, action: deny}]}}, {forward: {mode: normal}}]", p4, "arp 10.0.0.1 > 10.0.0.2",
			func(p *flow.PacketIn) { p.Match = p.Match.Keep(flow.Conversation) }, 1, false},
		{"more is missing than the headers promise", "chain: [{header: {rules: [{name: v, match: {vlan_vid: 7}, action: deny}]}}, {forward: {mode: normal}}]", of13, ssh,
			func(p *flow.PacketIn) { p.Match, p.Incomplete = p.Match.Keep(^flow.FieldVLAN), flow.FieldVLAN }, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newController(t, tt.policy)
			ev, err := policytest.Event(tt.packet, tt.proto)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(ev.PacketIn)
			}
			var d, short flow.Decision
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			if len(d.Rules) != tt.rules {
				t.Errorf("%s (%s): %d rules, want %d", d.Verdict, d.Reason, len(d.Rules), tt.rules)
			}
			for i := range d.Rules {
				if d.Rules[i].CoversIncomplete != tt.covers {
					t.Errorf("rule %v: covers incomplete packets %v, want %v", &d.Rules[i], d.Rules[i].CoversIncomplete, tt.covers)
				}
			}
			var j flow.Judgement
			if !c.Judge(ev, &j) {
				return
			}
			j.Spell(&ev.PacketIn.Match, &short)
			if len(short.Rules) != tt.rules || tt.rules > 0 && short.Rules[0].CoversIncomplete != tt.covers {
				t.Errorf("in short: %+v", short.Rules)
			}
		})
	}
}

// violations are of the gateway's guardrails, with the tables and the meter that
// the policies use.
func violations(c *controller.Controller, ev *flow.Event, d *flow.Decision) []guard.Violation {
	g := guard.Default()
	table := c.Policy().Install.Table
	g.Tables, g.Meters = guard.Tables(table, table+1), []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9}
	var out guard.Outcome
	g.Check(ev, d, nil, nil, &out)
	return out.Violations
}

func TestProactive(t *testing.T) {
	const office = `
chain:
  - header:
      rules:
        - {name: no-v6-host, priority: 300, match: {ip_src: "2001:db8::66"}, action: deny, proactive: true}
        - {name: arp, priority: 50, match: {eth_type: arp}, action: allow, proactive: true}
        - {name: dns, priority: 200, match: {udp_dst: 53-54}, action: allow, proactive: true}
        - {name: reactive, match: {tcp_dst: 22}, action: deny}
`
	tests := []struct {
		name, policy string
		proto        flow.Protocol
		want         []string
	}{
		{"none", telnet, of13, nil},
		{"families and ranges", office, of13, []string{
			"table=0,priority=300,eth_type=0x86dd,ip_src=2001:db8::66 actions=drop",
			"table=0,priority=200,eth_type=0x0800,ip_proto=17,l4_dst=53 actions=output:NORMAL",
			"table=0,priority=200,eth_type=0x0800,ip_proto=17,l4_dst=54 actions=output:NORMAL",
			"table=0,priority=200,eth_type=0x86dd,ip_proto=17,l4_dst=53 actions=output:NORMAL",
			"table=0,priority=200,eth_type=0x86dd,ip_proto=17,l4_dst=54 actions=output:NORMAL",
			"table=0,priority=50,eth_type=0x0806 actions=output:NORMAL",
		}},
		{"OpenFlow 1.0 leaves out what it can't express, and what that would have overruled", office, of10, []string{
			"table=0,priority=50,eth_type=0x0806 actions=output:NORMAL",
		}},
		{"learn floods what the second table does not know", "table: 4\nchain: [{forward: {mode: learn}}]", of13, []string{
			"table=5,priority=1,any actions=output:FLOOD",
		}},
		{"learn, allowed beforehand", `
chain:
  - header: {rules: [{name: arp, match: {eth_type: arp}, action: allow, proactive: true}]}
  - forward: {mode: learn}`, of13, []string{
			"table=0,priority=100,eth_type=0x0806 actions=drop,goto:1",
			"table=1,priority=1,any actions=output:FLOOD",
		}},
		{"learn on OpenFlow 1.0", "chain: [{forward: {mode: learn}}]", of10, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newController(t, tt.policy)
			ev := &flow.Event{Type: flow.EventSwitchConnected, Switch: policytest.Switch(tt.proto)}
			var d flow.Decision
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range d.Rules {
				got = append(got, d.Rules[i].String())
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
			if v := violations(c, ev, &d); v != nil {
				t.Errorf("the guardrails refuse %v", v)
			}
		})
	}
}

func TestOtherEvents(t *testing.T) {
	c := newController(t, "serial: 9\n"+normal)
	hello := []byte{4, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8, 0, 0, 0, 0x12}
	features := []byte{4, 6, 0, 32, 0, 0, 0, 2}
	tests := []struct {
		name  string
		event flow.Event
		want  string // the handshake's bytes
		err   string
	}{
		{name: "policy check", event: flow.Event{Type: flow.EventPolicyCheck}},
		{name: "flow removed", event: flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &flow.FlowRemoved{}}},
		{name: "port status", event: flow.Event{Type: flow.EventPortStatus, PortStatus: &flow.PortStatus{}}},
		{name: "error", event: flow.Event{Type: flow.EventError, Error: &flow.SwitchError{}}},
		{name: "hello", event: flow.Event{Type: flow.EventHandshake, XID: 7, Handshake: hello},
			want: "04000008000000070405000800000007"},
		{name: "hello, 1.0 negotiated", event: flow.Event{Type: flow.EventHandshake, XID: 7, Handshake: hello, Switch: policytest.Switch(of10)},
			want: "01000008000000070105000800000007"},
		{name: "hello of a later version", event: flow.Event{Type: flow.EventHandshake, XID: 7, Handshake: []byte{6, 0, 0, 8, 0, 0, 0, 1}},
			want: "04000008000000070405000800000007"},
		{name: "features", event: flow.Event{Type: flow.EventHandshake, Handshake: features}},
		{name: "short handshake", event: flow.Event{Type: flow.EventHandshake, Handshake: hello[:7]}, err: "7 bytes"},
		{name: "another message", event: flow.Event{Type: flow.EventHandshake, Handshake: []byte{4, 10, 0, 8, 0, 0, 0, 1}}, err: "type 10"},
		{name: "packet_in without a packet", event: flow.Event{Type: flow.EventPacketIn}, err: "without a packet"},
		{name: "unknown", event: flow.Event{Type: 99}, err: "event 99"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d flow.Decision
			err := c.Decide(t.Context(), &tt.event, &d)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || flow.KindOf(err) != flow.Refused {
					t.Errorf("error %v, want a refusal that says %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%x", d.Handshake); got != tt.want {
				t.Errorf("handshake %s, want %s", got, tt.want)
			}
			if d.Policy != c.Version() || d.Policy.Serial != 9 || len(d.Rules) > 0 || d.HasPacketOut {
				t.Errorf("decision %+v, want the version alone", d)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	if !flow.IsLocal(newController(t, normal)) {
		t.Error("the controller does not say that it is local")
	}
}

// A rule is as narrow as its decision: packets at random that it covers get
// the verdict and the actions of the packet that asked for it.
func TestRulesAreNoWiderThanDecisions(t *testing.T) {
	chains := []string{normal, telnet, block, "chain: [{forward: {mode: learn}}]", `
chain:
  - header:
      rules:
        - {name: a, priority: 9, match: {ip_src: 10.0.0.0/31, tcp_dst: 20-30}, action: allow}
        - {name: b, priority: 8, match: {eth_dst: "02:00:00:00:00:02", vlan_vid: none}, action: deny}
        - {name: c, priority: 7, match: {icmp_type: 8}, action: {output: 3}}
        - {name: d, priority: 6, match: {arp_tpa: 10.0.0.2}, action: deny}
        - {name: e, priority: 5, match: {in_port: 2, eth_type: ipv6}, action: {meter: 1}}
        - {name: f, priority: 4, match: {ip_proto: udp}, action: {set-queue: 1}}
  - blocklist: {match: dst, addresses: [10.0.0.3, "2001:db8::3"]}
  - forward: {mode: flood}`, answered, `
chain:
  - header:
      rules:
        - {name: in, priority: 9, match: {in_port: 1, tcp_dst: 22}, action: allow, replies: allow}
        - {name: out, priority: 8, match: {in_port: 2, ip_src: 10.0.0.0/31, tcp_dst: 22}, action: allow}
        - {name: no, priority: 7, match: {ip_dst: 10.0.0.3}, action: deny}
        - {name: never, priority: 7, match: {in_port: 2, ip_dst: 10.0.0.1}, action: deny, replies: deny}
        - {name: any, priority: 6, match: {ip_src: 10.0.0.3}, action: allow, replies: allow}`, `
chain:
  - blocklist: {addresses: [10.0.0.3]}
  - header: {rules: [{name: servers, match: {ip_src: 10.0.0.2}, action: deny}]}
  - forward: {mode: learn, replies: allow}`}
	hosts := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2", "2001:db8::3"}
	ports := []int{0, 22, 23, 80}
	r := rand.New(rand.NewPCG(1, 1))
	line := func() string {
		i, j := r.IntN(3), r.IntN(3)
		tail := fmt.Sprintf(" port %d", 1+r.IntN(2))
		if r.IntN(3) == 0 {
			tail += " vlan 7"
		}
		switch r.IntN(6) {
		case 0:
			return "arp " + hosts[i] + " > " + hosts[j] + tail
		case 1:
			return "icmp " + hosts[i] + " > " + hosts[j] + fmt.Sprintf(" type %d", [...]int{0, 3, 8}[r.IntN(3)]) + tail
		case 2:
			return "fragment " + hosts[i] + " > " + hosts[j] + tail
		case 3:
			return fmt.Sprintf("udp [%s]:%d > [%s]:%d%s", hosts[3+i], ports[r.IntN(4)], hosts[3+j], ports[r.IntN(4)], tail)
		default:
			return fmt.Sprintf("tcp %s:%d > %s:%d%s", hosts[i], ports[r.IntN(4)], hosts[j], ports[r.IntN(4)], tail)
		}
	}
	covered := 0
	for _, chain := range chains {
		for _, install := range []string{"flow", "host-pair", "mac-pair", "widest"} {
			c := newController(t, "install: "+install+"\n"+chain)
			for _, proto := range []flow.Protocol{of10, of13, p4} {
				type answer struct {
					line string
					ev   *flow.Event
					d    *flow.Decision
				}
				var answers []answer
				for range 60 {
					l := line()
					ev, d := decide(t, c, l, proto)
					answers = append(answers, answer{l, ev, d})
				}
				for _, a := range answers {
					if len(a.d.Rules) == 0 {
						if !a.d.HasPacketOut {
							t.Fatalf("%s: neither a rule nor a packet_out", a.line)
						}
						continue
					}
					rule := &a.d.Rules[0]
					if !rule.Match.Covers(&a.ev.PacketIn.Match) {
						t.Fatalf("%s: its rule %v does not cover it", a.line, rule)
					}
					for _, b := range answers {
						if !rule.Match.Covers(&b.ev.PacketIn.Match) {
							continue
						}
						covered++
						one, _ := a.d.PacketActions(&a.ev.PacketIn.Match)
						two, _ := b.d.PacketActions(&b.ev.PacketIn.Match)
						if a.d.Verdict != b.d.Verdict || (a.d.IfReply == nil) != (b.d.IfReply == nil) || flow.ActionsString(one) != flow.ActionsString(two) {
							t.Fatalf("%v %s %s: the rule %v of %q (%s) covers %q (%s)", proto, install, chain, rule,
								a.line, policytest.Whole(a.d), b.line, policytest.Whole(b.d))
						}
					}
				}
			}
		}
	}
	if covered < 5000 {
		t.Errorf("only %d packets were covered by a rule", covered)
	}
}
