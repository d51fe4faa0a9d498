package header

import (
	"fmt"

	"switchbridge/flow"
	"switchbridge/policy"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 2 }

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	deny, proactive, replies := 0, 0, 0
	for i := range c.Rules {
		if c.Rules[i].Action.Deny {
			deny++
		}
		if c.Rules[i].Proactive {
			proactive++
		}
		if c.Rules[i].Action.Replies {
			replies++
		}
	}
	s := fmt.Sprintf("decides by headers: %d rules that allow, %d that deny", len(c.Rules)-deny, deny)
	if replies > 0 {
		s += fmt.Sprintf("; what answers packets of %d of them is let in", replies)
	}
	if proactive > 0 {
		s += fmt.Sprintf("; switches get %d of them beforehand", proactive)
	}
	return s
}

// Examples implements [policy.Kind].
func (Kind) Examples() []policy.Example {
	ssh := flow.Match{}
	ssh.SetEthType(flow.EthTypeIPv4)
	ssh.Fields |= flow.FieldIPProto
	ssh.IPProto = flow.ProtoTCP
	dns := ssh
	dns.IPProto = flow.ProtoUDP
	lldp := flow.Match{}
	lldp.SetEthType(flow.EthTypeLLDP)
	return []policy.Example{{Entry: &Config{Rules: []Rule{
		{Name: "no ssh", Priority: 200, Match: Condition{Header: ssh, Dst: &PortRange{First: 22, Last: 22}}, Action: Action{Deny: true, Reject: true}},
		{Name: "dns to port 4", Priority: 150, Match: Condition{Header: dns, Dst: &PortRange{First: 53, Last: 53}}, Action: Action{Output: []flow.PortNo{4}}},
		{Name: "no lldp", Priority: 100, Match: Condition{Header: lldp}, Action: Action{Deny: true}, Proactive: true},
	}}, Packets: []string{"tcp 10.0.0.1:40000 > 10.0.0.2:22"}}, {Entry: &Config{Rules: []Rule{
		{Name: "dns and its answers", Priority: 150, Match: Condition{Header: dns, Dst: &PortRange{First: 53, Last: 53}}, Action: Action{Replies: true}},
		{Name: "ssh, opened by a SYN", Priority: 150, Match: Condition{Header: ssh, Dst: &PortRange{First: 22, Last: 22}}, Action: Action{Replies: true, Strict: true}},
		{Name: "nothing else from 53", Priority: 100, Match: Condition{Header: dns, Src: &PortRange{First: 53, Last: 53}}, Action: Action{Deny: true}},
		{Name: "not even answers", Priority: 100, Match: Condition{Header: ssh, Src: &PortRange{First: 22, Last: 22}}, Action: Action{Deny: true, NoReply: true}},
	}}}}
}
