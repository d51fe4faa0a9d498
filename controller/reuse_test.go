package controller_test

import (
	"fmt"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/policytest"
	"switchbridge/policy/wire"
)

// reuseOf is what an answer to a gateway that uses answers again says of that, as text.
func reuseOf(t *testing.T, c *controller.Controller, packet string, proto flow.Protocol, change func(*flow.Event)) (text string, d *flow.Decision) {
	t.Helper()
	ev, first := decide(t, c, packet, proto)
	if first.Reuse.For != 0 {
		t.Errorf("%s: said to a gateway that does not take it: %+v", packet, first.Reuse)
	}
	ev.Accepts = flow.AcceptsAll
	if change != nil {
		change(ev)
	}
	d = new(flow.Decision)
	if err := c.Decide(t.Context(), ev, d); err != nil {
		t.Fatal(err)
	}
	if len(d.Rules) != len(first.Rules) || d.Verdict != first.Verdict {
		t.Errorf("%s: with reuse it is %s, without %s", packet, policytest.Whole(d), policytest.Whole(first))
	}
	var j flow.Judgement
	if short := c.Judge(ev, &j); short {
		var spelled flow.Decision
		if j.Spell(&ev.PacketIn.Match, &spelled); fmt.Sprint(spelled.Reuse) != fmt.Sprint(d.Reuse) {
			t.Errorf("%s: in short %+v, in full %+v", packet, spelled.Reuse, d.Reuse)
		}
	} else if d.Reuse.For != 0 && d.Reuse.Reply == nil {
		t.Errorf("%s: the short form does not do", packet)
	}
	r := &d.Reuse
	if r.For == 0 {
		return "", d
	}
	if r.For != 5*time.Second {
		t.Errorf("%s: for %v", packet, r.For)
	}
	if text = r.Fields.String(); text == "" {
		text = "nothing"
	}
	if r.Switch {
		text += " switch"
	}
	if r.Reply != nil {
		text += " and " + r.Reply.Reason
	}
	return text, d
}

// TestReuse has for which other packets the answer to one holds.
func TestReuse(t *testing.T) {
	const ssh = "chain: [{header: {rules: [{name: ssh, match: {tcp_dst: 22}, action: %s}]}}, {forward: {mode: %s}}]"
	const guarded = "chain: [{sourceguard: {bindings: [{port: 1, %smac: \"02:00:00:00:00:01\", addresses: [10.0.0.1]}]}}, {header: {rules: [{name: ask, match: {ip_src: 10.0.0.1}, action: allow, replies: allow}]}}]"
	incomplete := func(ev *flow.Event) { ev.PacketIn.Incomplete = flow.FieldIPECN }
	for _, row := range []struct {
		name, policy string
		proto        flow.Protocol
		packet, want string
		change       func(*flow.Event)
	}{
		{"what the chain looked at", fmt.Sprintf(ssh, "allow", "normal"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst", nil},
		{"also where nothing fits", fmt.Sprintf(ssh, "allow", "normal"), of13, "arp 10.0.0.1 > 10.0.0.2", "ip_proto,l4_dst", nil},
		{"a deny", fmt.Sprintf(ssh, "deny", "normal"), of10, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst", nil},
		{"a chain that looks at nothing", "chain: [{forward: {mode: flood}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "nothing", nil},
		{"a port is of one switch", fmt.Sprintf(ssh, "{output: 2}", "normal"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst switch", nil},
		{"a queue, too", fmt.Sprintf(ssh, "{set-queue: 1}", "normal"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst switch", nil},
		{"a meter, too", fmt.Sprintf(ssh, "{meter: 1}", "normal"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst switch", nil},
		{"learning is of one port", fmt.Sprintf(ssh, "deny", "learn"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:80", "", nil},
		{"what is denied is not learned", fmt.Sprintf(ssh, "deny", "learn"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_proto,l4_dst", nil},
		{"a policy that wants each packet reviewed", "install: none\n" + fmt.Sprintf(ssh, "allow", "normal"), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "", nil},
		{"who sends", "chain: [{blocklist: {match: src, addresses: [10.0.0.1]}}, {forward: {mode: normal}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_src", nil},
		{"a port that a packet comes by", "chain: [{header: {rules: [{name: one, match: {in_port: 1, tcp_dst: 22}, action: allow}]}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "in_port,ip_proto,l4_dst", nil},
		{"and one that does not come by it", "chain: [{header: {rules: [{name: one, match: {in_port: 1}, action: deny}]}}, {forward: {mode: normal}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22 port 3", "in_port", nil},
		{"a fragment", fmt.Sprintf(ssh, "allow", "normal"), of13, "fragment 10.0.0.1 > 10.0.0.2", "", nil},
		{"a packet that the gateway calls incomplete", "chain: [{blocklist: {match: src, addresses: [10.0.0.9]}}, {forward: {mode: normal}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "", incomplete},
		{"what a switch can't match", fmt.Sprintf(ssh, "allow", "normal"), of10, "tcp [2001:db8::1]:1 > [2001:db8::2]:22", "", nil},
		{"a question, and what becomes of its answer", answered, of13, "udp 10.0.0.1:40000 > 10.0.0.2:53", "eth_type,ip_proto,ip_dst,l4_dst and header: dns (a reply)", nil},
		{"of an echo request each answer goes alone", answered, of13, "icmp 10.0.0.1 > 10.0.0.2 type 8",
			"eth_type,ip_proto,ip_dst,l4_dst,icmp_type and header: ping (a reply); no rule: fragments would match icmp_type,icmp_code 0 too", nil},
		{"a question that goes out by a port", answered, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:80", "eth_type,ip_proto,ip_dst,l4_dst switch and header: web (a reply)", nil},
		{"a question that may not be answered", answered, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:22", "eth_type,ip_proto,ip_dst,l4_dst,icmp_type", nil},
		{"an answer hangs on the switch's rules", answered, of13, "udp 10.0.0.2:53 > 10.0.0.1:40000 port 2", "", nil},
		{"what is denied is no answer either", answered, of13, "tcp 10.0.0.2:81 > 10.0.0.1:40000 port 2",
			"eth_dst,eth_src,eth_type,vlan_vid,ip_proto,ip_src,ip_dst,l4_src,l4_dst,icmp_type,icmp_code", nil},
		{"answers that are allowed anyway", "chain: [{forward: {mode: normal, replies: allow}}]", of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "nothing", nil},
		{"answers that hang on their port", "chain: [{header: {rules: [{name: one, match: {in_port: 1, tcp_dst: 22}, action: allow, replies: allow}, {name: two, match: {in_port: 2, tcp_dst: 1}, action: deny}]}}]", of13,
			"tcp 10.0.0.1:1 > 10.0.0.2:22", "in_port,ip_proto,l4_dst", nil},
		{"answers that hang on what changes within a conversation", "chain: [{header: {rules: [{name: dscp, priority: 200, match: {ip_dscp: 46, tcp_dst: 9}, action: deny}, {name: one, match: {tcp_dst: 22}, action: allow, replies: allow}]}}]", of13,
			"tcp 10.0.0.1:1 > 10.0.0.2:22", "ip_dscp,ip_proto,l4_dst", nil},
		{"a source at a port of every switch, whose answers hang on their port", fmt.Sprintf(guarded, ""), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "in_port,eth_src,eth_type,ip_src", nil},
		{"a source at a port of one switch", fmt.Sprintf(guarded, "switch: 1, "), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22", "in_port,eth_src,eth_type,ip_src switch", nil},
		{"who is denied there", fmt.Sprintf(guarded, "switch: 1, "), of13, "tcp 10.0.0.1:1 > 10.0.0.2:22 port 3", "in_port,eth_src switch", nil},
		{"answers of a gateway that takes none", answered, of13, "udp 10.0.0.1:40000 > 10.0.0.2:53", "eth_type,ip_proto,ip_dst,l4_dst",
			func(ev *flow.Event) { ev.Accepts = flow.AcceptsReuse }},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, d := reuseOf(t, newController(t, row.policy), row.packet, row.proto, row.change)
			if got != row.want {
				t.Errorf("%q, want %q\n%s", got, row.want, policytest.Whole(d))
			}
		})
	}
}

// bySwitch is a link of a chain whose outcome hangs on the switch, as that of one that knows ports of several does.
type bySwitch struct{ verdict flow.Verdict }

func (bySwitch) Name() string                   { return "by-switch" }
func (bySwitch) Validate([]policy.Source) error { return nil }
func (bySwitch) Explain() string                { return "" }
func (b bySwitch) Compile() policy.Link         { return b }
func (bySwitch) Write(*wire.Writer)             {}
func (bySwitch) Replies() bool                  { return true }
func (b bySwitch) Decide(policy.Packet) policy.Outcome {
	return policy.Outcome{Verdict: b.verdict, Depends: flow.FieldInPort | flow.FieldEthSrc, Switch: true, Replies: true}
}
func (bySwitch) Proactive(_ *policy.Connected, rules []flow.Rule) []flow.Rule { return rules }

// TestReuseBySwitch: an outcome that hangs on the switch holds for that switch's packets alone, wherever in the chain that was found out.
func TestReuseBySwitch(t *testing.T) {
	forward := newController(t, "chain: [{forward: {mode: normal, replies: allow}}]").Policy().Chain[0]
	deny := newController(t, "chain: [{blocklist: {match: src, addresses: [10.0.0.1]}}]").Policy().Chain[0]
	for name, chain := range map[string][]policy.Source{
		"it decides":                        {bySwitch{flow.Allow}},
		"it has let pass what is allowed":   {bySwitch{}, forward},
		"it has let pass what is denied":    {bySwitch{}, deny},
		"it has let pass what nobody names": {bySwitch{}},
	} {
		c := controller.New(&policy.Policy{Install: policy.DefaultInstall, Chain: chain})
		ev, _ := decide(t, c, "tcp 10.0.0.1:1 > 10.0.0.2:22", of13)
		ev.Accepts = flow.AcceptsAll
		var d flow.Decision
		if err := c.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		if d.IfReply == nil && (!d.Reuse.Switch || d.Reuse.Fields&flow.FieldInPort == 0 || d.Reuse.Reply != nil) {
			t.Errorf("%s: %s: %+v", name, policytest.Whole(&d), d.Reuse)
		}
	}
}
