package controller_test

import (
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy/policytest"
)

const answered = `
chain:
  - header:
      rules:
        - {name: web, priority: 9, match: {ip_dst: 10.0.0.2, tcp_dst: 80}, action: {output: 2}, replies: allow}
        - {name: dns, priority: 9, match: {ip_dst: 10.0.0.2, udp_dst: 53}, action: allow, replies: allow}
        - {name: ping, priority: 9, match: {ip_dst: 10.0.0.2, icmp_type: 8}, action: allow, replies: allow}
        - {name: ssh, priority: 9, match: {ip_dst: 10.0.0.2, tcp_dst: 22}, action: allow}
        - {name: six, priority: 9, match: {ip_dst: "2001:db8::2", tcp_dst: 80}, action: allow, replies: allow}
`

const refusing = `
chain:
  - header:
      rules:
        - {name: web, priority: 9, match: {ip_dst: 10.0.0.2, tcp_src: 40000}, action: reject, replies: deny}
        - {name: out, priority: 8, match: {in_port: 1}, action: allow, replies: allow}
        - {name: else, priority: 7, action: reject}
`

// TestReplies has what a policy that lets replies in says of each packet, and what it would say if that is a reply.
func TestReplies(t *testing.T) {
	const there = "in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6,ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=80"
	const back = "in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6,ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=80,l4_dst=40000"
	const none = "default: no policy of the chain decides"
	answered := "install: host-pair" + answered
	ports := answered + `
        - {name: from-one, priority: 9, match: {in_port: 1, tcp_dst: 8080}, action: allow, replies: allow}
        - {name: from-three, priority: 8, match: {in_port: 3, tcp_dst: 8081}, action: allow, replies: allow}
        - {name: from-four, priority: 8, match: {in_port: 4, tcp_dst: 8081}, action: allow}
`
	for _, row := range []struct {
		name, policy string
		proto        flow.Protocol
		packet, want string
		reply        string // empty: none
	}{
		{"a question has a rule of its own, whatever install says", answered, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:80",
			"allow (header: web)\nrule table=0,priority=100," + there + " idle=2m0s hard=1h0m0s actions=output:2", ""},
		{"who is rejected is told about each conversation, for a while", "install: host-pair" + refusing, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:80",
			"reject (header: web)\nrule table=0,priority=100," + there + " hard=2s actions=drop", ""},
		{"who is rejected may be answering", refusing, of13, "tcp 10.0.0.2:80 > 10.0.0.1:40001 port 2",
			"reject (header: else)\nrule table=0,priority=100," + strings.Replace(back, "40000", "40001", 1) + " hard=2s actions=drop",
			"allow (header: out (a reply))\nrule table=0,priority=100," + strings.Replace(back, "40000", "40001", 1) + " idle=2m0s hard=1h0m0s actions=output:NORMAL"},
		{"without rules each packet is told", "install: none" + refusing, of13, "tcp 10.0.0.1:40000 > 10.0.0.2:80", "reject (header: web)\npacket drop", ""},
		{"what answers a packet that is rejected is none", refusing, of13, "tcp 10.0.0.2:80 > 10.0.0.1:40000 port 2",
			"reject (header: else)\nrule table=0,priority=100," + back + " hard=2s actions=drop", ""},
		{"an answer is denied unless it is one, and the deny lives two seconds", answered, of13, "tcp 10.0.0.2:80 > 10.0.0.1:40000 port 2",
			"deny (" + none + ")\nrule table=0,priority=100," + back + " hard=2s actions=drop",
			"allow (header: web (a reply))\nrule table=0,priority=100," + back + " idle=2m0s hard=1h0m0s actions=output:NORMAL"},
		{"UDP idles out sooner", answered, of10, "udp 10.0.0.1:40000 > 10.0.0.2:53",
			"allow (header: dns)\nrule table=0,priority=100,in_port=1,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=17," +
				"ip_src=10.0.0.1,ip_dst=10.0.0.2,l4_src=40000,l4_dst=53 idle=1m0s hard=1h0m0s actions=output:NORMAL", ""},
		{"what no question could have brought has a deny that covers no answer", answered, of13, "tcp 10.0.0.2:81 > 10.0.0.1:40000 port 2",
			"deny (" + none + ")\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=81,l4_dst=40000 idle=30s hard=5m0s actions=drop", ""},
		{"an entry without replies lets none in", answered, of13, "tcp 10.0.0.2:22 > 10.0.0.1:40000 port 2",
			"deny (" + none + ")\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=22,l4_dst=40000 idle=30s hard=5m0s actions=drop", ""},
		{"each echo reply is asked about, since a rule would let fragments through", answered, of13, "icmp 10.0.0.2 > 10.0.0.1 type 0 port 2",
			"deny (" + none + "; no rule: fragments would match icmp_type,icmp_code 0 too)\npacket drop",
			"allow (header: ping (a reply); no rule: fragments would match icmp_type,icmp_code 0 too)\npacket output:NORMAL"},
		{"an echo request is no answer", answered, of13, "icmp 10.0.0.2 > 10.0.0.1 type 8 port 2",
			"deny (" + none + ")\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=1," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,icmp_type=8,icmp_code=0 idle=30s hard=5m0s actions=drop", ""},
		{"a fragment shows no ports, and no rule of it may stand in an answer's way", answered, of13, "fragment 10.0.0.2 > 10.0.0.1 port 2",
			"deny (" + none + "; no rule: the packet does not show l4_src,l4_dst)\npacket drop", ""},
		{"a fragment of what may be answered has no rule, which would open all ports", "install: host-pair\nchain: [{header: {rules: [{name: to-two, match: {ip_dst: 10.0.0.2}, action: allow, replies: allow}]}}]", of13,
			"fragment 10.0.0.1 > 10.0.0.2", "allow (header: to-two; no rule: the packet does not show l4_src,l4_dst)\npacket output:NORMAL", ""},
		{"over IPv6 a 1.0 switch can't hold the rule of a question", answered, of10, "tcp [2001:db8::2]:80 > [2001:db8::1]:40000 port 2",
			"deny (" + none + "; no rule: OpenFlow 1.0 can't match ip_proto,ip_dst,l4_dst here)\npacket drop", ""},
		{"a question may have come by any port that the chain names", ports, of13, "tcp 10.0.0.2:8080 > 10.0.0.1:40000 port 2",
			"deny (" + none + ")\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=8080,l4_dst=40000 hard=2s actions=drop",
			"allow (header: from-one (a reply))\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=8080,l4_dst=40000 idle=2m0s hard=1h0m0s actions=output:NORMAL"},
		{"but not where one of them lets no replies in", ports, of13, "tcp 10.0.0.2:8081 > 10.0.0.1:40000 port 2",
			"deny (" + none + ")\nrule table=0,priority=100,in_port=2,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=8081,l4_dst=40000 idle=30s hard=5m0s actions=drop", ""},
		{"a deny may say that it means answers, too", "chain: [{header: {rules: [{name: no, priority: 200, match: {in_port: 3}, action: deny, replies: deny}]}}, {forward: {replies: allow}}]", of13,
			"tcp 10.0.0.2:80 > 10.0.0.1:40000 port 3", "deny (header: no)\nrule table=0,priority=100,in_port=3,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=80,l4_dst=40000 idle=30s hard=5m0s actions=drop", ""},
		{"a blocked host answers nothing", "chain: [{blocklist: {match: src, addresses: [10.0.0.2]}}, {forward: {replies: allow}}]", of13,
			"tcp 10.0.0.2:80 > 10.0.0.1:40000 port 3", "deny (blocklist: 10.0.0.2)\nrule table=0,priority=100,in_port=3,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,eth_type=0x0800,vlan_vid=0x0000/0x1fff,ip_proto=6," +
				"ip_src=10.0.0.2,ip_dst=10.0.0.1,l4_src=80,l4_dst=40000 idle=30s hard=5m0s actions=drop", ""},
		{"install none has no say in conversations", "install: none\nchain: [{header: {rules: [{name: web, match: {tcp_dst: 80}, action: allow, replies: allow}]}}]", of13,
			"tcp 10.0.0.1:40000 > 10.0.0.2:80", "allow (header: web)\nrule table=0,priority=100," + there + " idle=2m0s hard=1h0m0s actions=output:NORMAL", ""},
		{"learn learns from both directions", "chain: [{header: {rules: [{name: no, match: {ip_src: 10.0.0.2}, action: deny}]}}, {forward: {mode: learn, replies: allow}}]", of13,
			"tcp 10.0.0.2:80 > 10.0.0.1:40000 port 2", "deny (header: no)\nrule table=0,priority=100," + back + " hard=2s actions=drop",
			"allow (forward: learn (a reply))\nrule table=0,priority=100," + back + " idle=2m0s hard=1h0m0s actions=drop,goto:1\n" +
				"rule table=1,priority=100,eth_dst=02:00:00:00:00:02 hard=1h0m0s actions=output:2\npacket output:FLOOD"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newController(t, row.policy)
			ev, d := decide(t, c, row.packet, row.proto)
			if got := policytest.Whole(d); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			got := ""
			if r := d.IfReply; r != nil {
				own := flow.Decision{Verdict: flow.Allow, Reason: r.Reason, Rules: r.Rules, HasPacketOut: r.HasPacketOut, PacketOut: r.PacketOut, Policy: d.Policy}
				got = policytest.Whole(&own)
				if v := violations(c, ev, &own); v != nil {
					t.Errorf("the guardrails refuse %v", v)
				}
			}
			if got != row.reply {
				t.Errorf("as a reply\ngot  %s\nwant %s", got, row.reply)
			}
			if v := violations(c, ev, d); v != nil {
				t.Errorf("the guardrails refuse %v", v)
			}
			var j flow.Judgement
			if c.Judge(ev, &j) && row.reply != "" {
				t.Error("the short form of an answer leaves the reply out")
			}
		})
	}
}

// TestQuotedPackets has ICMP errors judged by what they quote: no rule ever comes of them.
func TestQuotedPackets(t *testing.T) {
	c := newController(t, answered)
	client, server := frames.Host(1), frames.Host(2)
	router := frames.Endpoint{MAC: server.MAC, IP: frames.Host(200).IP}
	question := frames.TCP(client.At(40000), server.At(80), frames.ACK, make([]byte, 100))
	answer := frames.TCP(server.At(80), client.At(40000), frames.ACK, make([]byte, 100))
	other := frames.TCP(client.At(40000), server.At(23), frames.ACK, nil)
	for _, row := range []struct {
		name    string
		frame   []byte
		verdict flow.Verdict
		reply   bool
	}{
		{"about a question", frames.TooBig(router, question, 1280), flow.Allow, false},
		{"about an answer", frames.TooBig(client, answer, 1280), flow.Deny, true},
		{"about what is denied", frames.TooBig(router, other, 1280), flow.Deny, false},
		{"with a tag", frames.Tagged(frames.TooBig(router, question, 1280), 7, 0), flow.Allow, false},
		{"that is cut short", frames.TooBig(router, question, 1280)[:14+20+8+20+2], flow.Deny, false},
	} {
		for _, proto := range []flow.Protocol{of10, of13, p4} {
			ev := &flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(proto), PacketIn: &flow.PacketIn{
				BufferID: flow.NoBuffer, TotalLen: len(row.frame), Data: row.frame, Match: flow.ParseFrame(row.frame, 2)}}
			ev.PacketIn.Incomplete = ev.PacketIn.Match.Missing()
			var d flow.Decision
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			if d.Verdict != row.verdict || (d.IfReply != nil) != row.reply || len(d.Rules) != 0 || d.IfReply != nil && (len(d.IfReply.Rules) != 0 || len(d.IfReply.PacketOut) == 0) {
				t.Errorf("an error %s, %v: %s, reply %+v", row.name, proto, policytest.Whole(&d), d.IfReply)
			}
		}
	}
}

// TestStrict has the segments that open a conversation, and those that don't, where only a SYN does.
func TestStrict(t *testing.T) {
	const strict = `
chain:
  - header:
      rules:
        - {name: web, match: {ip_dst: 10.0.0.2, tcp_dst: 80}, action: allow, replies: allow, tcp: strict}
        - {name: dns, match: {ip_dst: 10.0.0.2, udp_dst: 53}, action: allow, replies: allow, tcp: strict}
`
	const both = "chain: [{forward: {mode: normal, replies: allow, tcp: strict}}]"
	client, server := frames.Host(1).At(40000), frames.Host(2).At(80)
	for _, row := range []struct {
		name, policy string
		from         flow.PortNo
		frame        []byte
		verdict      flow.Verdict
		rule, reply  bool
		replyRule    bool
	}{
		{"a SYN", strict, 1, frames.TCP(client, server, frames.SYN, nil), flow.Allow, true, false, false},
		{"data", strict, 1, frames.TCP(client, server, frames.ACK|frames.PSH, []byte("x")), flow.Deny, false, false, false},
		{"a SYN with an ACK", strict, 1, frames.TCP(client, server, frames.SYN|frames.ACK, nil), flow.Deny, false, false, false},
		{"a SYN with a FIN", strict, 1, frames.TCP(client, server, frames.SYN|frames.FIN, nil), flow.Deny, false, false, false},
		{"no flags", strict, 1, frames.TCP(client, server, 0, nil), flow.Deny, false, false, false},
		{"UDP", strict, 1, frames.UDP(client, frames.Host(2).At(53), nil), flow.Allow, true, false, false},
		{"an answer", strict, 2, frames.TCP(server, client, frames.SYN|frames.ACK, nil), flow.Deny, true, true, true},
		{"a SYN, where both may ask", both, 2, frames.TCP(server, client, frames.SYN, nil), flow.Allow, true, false, false},
		{"an answer, where both may ask", both, 2, frames.TCP(server, client, frames.SYN|frames.ACK, nil), flow.Deny, false, true, true},
	} {
		for _, proto := range []flow.Protocol{of10, of13} {
			c := newController(t, row.policy)
			ev := &flow.Event{Type: flow.EventPacketIn, Accepts: flow.AcceptsAll, Switch: policytest.Switch(proto), PacketIn: &flow.PacketIn{
				BufferID: flow.NoBuffer, TotalLen: len(row.frame), Data: row.frame, Match: flow.ParseFrame(row.frame, row.from)}}
			var d flow.Decision
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			if d.Verdict != row.verdict || len(d.Rules) > 0 != row.rule || d.IfReply != nil != row.reply || row.reply && len(d.IfReply.Rules) > 0 != row.replyRule {
				t.Errorf("%s, %v: %s, as a reply %+v", row.name, proto, policytest.Whole(&d), d.IfReply)
			}
			if d.Reuse.For > 0 && row.frame[23] == flow.ProtoTCP && row.verdict == flow.Allow {
				t.Errorf("%s, %v: the answer is used for packets whose flags nobody looks at: %+v", row.name, proto, d.Reuse)
			}
			ev.PacketIn.Data = nil // as a digest is
			d.Reset()
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			if tcp := row.frame[23] == flow.ProtoTCP; tcp && (d.Verdict != flow.Deny || row.from == 1 && len(d.Rules) > 0) {
				t.Errorf("%s without its flags, %v: %s", row.name, proto, policytest.Whole(&d))
			}
			ev.PacketIn.Withheld = true
			if err := c.Decide(t.Context(), ev, &d); row.policy == both && err == nil {
				t.Errorf("%s, whose flags were left out, %v: %s", row.name, proto, policytest.Whole(&d))
			}
		}
	}
}
