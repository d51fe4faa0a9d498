package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// ends are the fields that say who speaks to whom. Whether a packet can be a reply depends on them, whichever fields the chain looks at.
const ends = flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN | flow.FieldIPProto | ipFields |
	flow.FieldICMPType | flow.FieldICMPCode

// converse changes the chain's outcome where the policy lets replies in. A packet that may be answered gets a rule for its conversation only. A
// denied packet whose question the chain would allow is denied unless it is a reply. The rule of a deny covers only packets for which both is the same.
// alone says that no rule may be made for the packet.
func (c *Controller) converse(ev *flow.Event, p *policy.Packet, out *policy.Outcome, rec *policy.Recollection, proto flow.Protocol) (reply *flow.Reply, alone bool) {
	m := p.Match
	if out.Verdict == flow.Allow {
		if out.Replies {
			out.Depends |= flow.Conversation
		}
		return nil, false
	}
	if out.NoReply {
		return nil, false
	}
	if m.ICMPError() {
		return c.quoted(ev, p, out, rec, proto), len(ev.PacketIn.Data) > 0
	}
	if m.Fields&ipFields != 0 && flow.Expressible(proto, m)&ipFields != ipFields {
		return nil, false // no rule of a question can be in this switch
	}
	out.Depends |= ends
	q, ok := m.Question()
	if !ok || p.Missing != 0 {
		if p.Missing&l4Fields != 0 {
			out.Depends |= l4Fields // what does not show its ports may be a part of anything
		}
		return nil, false
	}
	reason, hangs, opened := c.opens(&q, ev, rec)
	out.Switch = out.Switch || hangs.Switch
	if hangs.Limited {
		out.Limit(hangs.Left)
	}
	if hangs.NoRule != "" && rec.Unsettled == "" {
		rec.Unsettled = hangs.NoRule
	}
	if !opened {
		out.Depends |= turned(hangs.Depends)
		return nil, false
	}
	out.Depends |= flow.Conversation
	return c.reply(p, reason+" (a reply)", out, rec, proto, false), false
}

// strict denies a TCP segment without SYN if the entry that allows it says tcp: strict. The segment may still belong to an open conversation; that
// is found out as for any denied packet. unseen says that the event has left out the segment's flags.
func (c *Controller) strict(p *policy.Packet, out *policy.Outcome) (denied, unseen bool) {
	if !out.Strict || p.Match.IPProto != flow.ProtoTCP || out.Verdict != flow.Allow {
		return false, false
	}
	why := " (tcp: strict), but the packet does not show tcp_flags"
	if flags, ok := p.In.ReadTCPFlags(); ok {
		if flags&(flow.SYN|flow.ACK|flow.RST|flow.FIN) == flow.SYN {
			return false, false
		}
		why = " (tcp: strict), and this is no SYN"
	} else if p.In.Withheld {
		return false, true
	}
	*out = policy.Outcome{Verdict: flow.Deny, Reason: out.Reason + why, Depends: out.Depends | flow.FieldIPProto, Switch: out.Switch, Left: out.Left, Limited: out.Limited}
	return true, false
}

// quoted decides about an ICMP error that the chain denies. The error is let in if its destination may send the packet that the error quotes. If
// the quoted packet is a reply, the error is let in if that reply's conversation is open.
func (c *Controller) quoted(ev *flow.Event, p *policy.Packet, out *policy.Outcome, rec *policy.Recollection, proto flow.Protocol) *flow.Reply {
	asked, n := ev.PacketIn.Questions()
	if n == 0 {
		return nil
	}
	if reason, _, opened := c.opens(&asked[0], ev, rec); opened {
		*out = policy.Outcome{Verdict: flow.Allow, Reason: reason + " (an ICMP error about it)"}
		return nil
	}
	if n > 1 {
		if reason, _, opened := c.opens(&asked[1], ev, rec); opened {
			return c.reply(p, reason+" (an ICMP error about a reply)", out, rec, proto, true)
		}
	}
	return nil
}

// nowhere is a port number that no switch has.
const nowhere flow.PortNo = 0

// opens reports whether the chain allows the packet q by an entry that lets replies in, wherever it comes by: it may have come by any port,
// so the chain is asked about each that it names and about one that it doesn't. Some of them may be denied, but none allowed by an entry
// that lets no replies in. hangs says what that was found out by; its NoRule, that a state can't be used which counts. ev is the event of the
// packet that may be let in, and rec what there was to recall of it.
func (c *Controller) opens(q *flow.Match, ev *flow.Event, rec *policy.Recollection) (reason string, hangs policy.Outcome, ok bool) {
	m := *q
	m.SetInPort(nowhere)
	var all []string
	if c.remembers() {
		all = c.StateKeys(ev, nil)
	}
	for i := 0; ; i++ {
		p := policy.NewPacket(&m)
		p.Supposed, p.Now = true, ev.Time
		var asked *flow.Event
		var by policy.Recollection
		if c.remembers() {
			asked = c.recalled(ev, &m, rec.Change, all)
		}
		out := c.ask(p, asked, &by)
		hangs.Depends |= out.Depends
		if by.Limited {
			hangs.Limit(by.Left)
		}
		if hangs.NoRule = by.Unsettled; hangs.NoRule != "" {
			return "", hangs, false
		}
		hangs.Switch = hangs.Switch || out.Switch
		if out.Limited {
			hangs.Limit(out.Left)
		}
		if out.Verdict == flow.Allow {
			if !out.Replies {
				return "", hangs, false
			}
			reason, ok = out.Reason, true
		}
		if i == len(c.inPorts) || out.Depends&flow.FieldInPort == 0 {
			return reason, hangs, ok
		}
		m.InPort = c.inPorts[i]
	}
}

// turned exchanges source and destination in a set of fields: it returns the fields of a reply that have the values of the question's fields in f.
func turned(f flow.Field) flow.Field {
	t := f &^ (flow.FieldInPort | macFields | ipFields | flow.FieldL4Src | flow.FieldL4Dst)
	for _, pair := range [...][2]flow.Field{{flow.FieldEthSrc, flow.FieldEthDst}, {flow.FieldIPSrc, flow.FieldIPDst}, {flow.FieldL4Src, flow.FieldL4Dst}} {
		if f&pair[0] != 0 {
			t |= pair[1]
		}
		if f&pair[1] != 0 {
			t |= pair[0]
		}
	}
	return t
}

// reply is what becomes of p if it is a reply. It goes as packets go of which the chain says no more than that they are allowed: an output,
// a queue or a meter is of the question's direction. Its rule must not hide what the chain, which denies p, remembers or can't match.
func (c *Controller) reply(p *policy.Packet, reason string, denied *policy.Outcome, rec *policy.Recollection, proto flow.Protocol, alone bool) *flow.Reply {
	out := policy.Outcome{Verdict: flow.Allow, Reason: reason, Replies: true, Depends: flow.Conversation, NoRule: denied.NoRule}
	rec = limited(rec, denied)
	rests := policy.Recollection{Unsettled: rec.Unsettled, Limited: rec.Limited, Left: rec.Left}
	var d flow.Decision
	var j flow.Judgement
	learn, own := c.effect(&j, p, &out, &rests, proto, 0, alone)
	c.spell(&j, p.Match, learn, own, &d)
	return &flow.Reply{Rules: d.Rules, HasPacketOut: d.HasPacketOut, PacketOut: d.PacketOut, Reason: d.Reason}
}

// timeouts returns the timeouts of a rule for p.
func (c *Controller) timeouts(p *policy.Packet, out *policy.Outcome) (idle, hard time.Duration) {
	switch {
	case out.Reject:
		return 0, flow.RejectLife
	case !out.Replies || !p.Match.Converses():
		return c.install.IdleTimeout, c.install.HardTimeout
	case p.Match.IPProto == flow.ProtoTCP:
		return flow.ConversationIdleTCP, flow.ConversationHard
	}
	return flow.ConversationIdle, flow.ConversationHard
}
