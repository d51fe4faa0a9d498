package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

const (
	macFields = flow.FieldEthSrc | flow.FieldEthDst
	ipFields  = flow.FieldIPSrc | flow.FieldIPDst
	arpFields = flow.FieldARPSPA | flow.FieldARPTPA
	l4Fields  = flow.FieldL4Src | flow.FieldL4Dst | flow.FieldICMPType | flow.FieldICMPCode
)

// fieldsOf returns the fields that a granularity asks for. A packet without
// network addresses has its Ethernet addresses stand for its hosts.
func fieldsOf(g policy.Granularity, p *flow.Match) flow.Field {
	switch g {
	case policy.InstallHostPair:
		if p.Fields&(ipFields|arpFields) != 0 {
			return flow.FieldInPort | ipFields | arpFields
		}
		return flow.FieldInPort | flow.FieldEthType | macFields
	case policy.InstallMACPair:
		return flow.FieldInPort | macFields
	case policy.InstallWidest:
		return flow.FieldInPort | flow.FieldEthSrc
	}
	return flow.Conversation
}

// rule adds the decision's rule to j, unless no rule can be narrow enough. If the policy's author may not
// expect that there is none, j's reason says why.
func (c *Controller) rule(j *flow.Judgement, p *policy.Packet, out *policy.Outcome, rec *policy.Recollection, proto flow.Protocol, grain flow.Field) {
	if c.install.Rule == policy.InstallNone && !out.Replies {
		return
	}
	idle, hard := c.timeouts(p, out)
	if rec.Limited {
		if left := rec.Left.Truncate(time.Second); hard == 0 || left < hard {
			hard = left
		}
	}
	switch {
	case rec.Unsettled != "":
		j.Reason += "; no rule: " + rec.Unsettled
		return
	case rec.Limited && hard == 0:
		j.Reason += "; no rule: a state changes within a second"
		return
	case out.NoRule != "":
		j.Reason += "; no rule: no switch can match " + out.NoRule
		return
	}
	fields, why := ruleFields(p, grain, out.Depends, proto)
	if why != "" {
		j.Reason += why
		return
	}
	if out.Verdict == flow.Allow {
		var ok bool
		if j.Effect, ok = out.Effect(c.mode, proto, c.install.Table); !ok {
			j.Effect = flow.Effect{}
			j.Reason += "; no rule: " + proto.String() + " has no meters, and queues for ports only"
			return
		}
	}
	j.Rule, j.Fields = true, fields
	j.Table, j.Priority = c.install.Table, c.install.Priority
	j.IdleTimeout, j.HardTimeout = idle, hard
}

// ruleFields returns the fields that a rule for p matches: those of grain that the
// protocol can express, and all that the verdict depends on. In place of a field that p
// can't have, such as a port of an ARP packet, the rule matches the eth_type or
// ip_proto that excludes it. If no rule is narrow enough, why says the reason.
func ruleFields(p *policy.Packet, grain, depends flow.Field, proto flow.Protocol) (fields flow.Field, why string) {
	hidden := depends & p.Missing
	if rare := depends &^ flow.Conversation &^ flow.FieldNDTarget; rare != 0 {
		hidden |= rare & p.Match.Unseen()
	}
	if hidden != 0 {
		return 0, "; no rule: the packet does not show " + hidden.String()
	}
	if p.Missing&flow.FieldEthType != 0 { // a rule on in_port alone is no flow's
		return 0, "; no rule: the packet has no whole Ethernet header"
	}
	have := p.Known()
	need := depends.Prerequisites()
	fields = (grain | need) & have
	fields = fields.Prerequisites() & have
	can := flow.Expressible(proto, p.Match)
	if lost := need & have &^ can; lost != 0 {
		return 0, "; no rule: " + proto.String() + " can't match " + lost.String() + " here"
	}
	fields &= can
	if fields&(flow.FieldInPort|flow.FieldEthSrc) == 0 {
		return 0, "; no rule: neither in_port nor eth_src is known"
	}
	// Switches take a fragment's ports, and its ICMP type and code, for 0, so a
	// rule on nothing but 0 would match fragments of every conversation between the
	// two hosts.
	if hidden := fields & l4Fields; depends&hidden != 0 && zero(p.Match, hidden) {
		return 0, "; no rule: fragments would match " + hidden.String() + " 0 too"
	}
	return fields, ""
}

// zero reports whether each of the fields f of layer 4 is 0.
func zero(m *flow.Match, f flow.Field) bool {
	return (f&flow.FieldL4Src == 0 || m.L4Src == 0) && (f&flow.FieldL4Dst == 0 || m.L4Dst == 0) &&
		(f&flow.FieldICMPType == 0 || m.ICMPType == 0) && (f&flow.FieldICMPCode == 0 || m.ICMPCode == 0)
}
