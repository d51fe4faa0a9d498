package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// reuseFor is how long a gateway may use an answer for other packets. A gateway forgets its answers when it sees a newer policy; until then it may
// use those of the old policy for this long.
const reuseFor = 5 * time.Second

// reuse says in j for which other packets the answer holds: those that have the same values in all fields that the chain looked at. A deny
// depends on more fields, since the packet was also found to be no reply; hangs are the fields that were looked at for that.
//
// The answer is for this packet alone in these cases:
//
//   - It has no rule: something of the packet isn't known, or the policy wants to review every packet.
//   - It is for a switch that learns: it depends on the port.
//   - The policy has machines: it depends on states.
//   - It depends on TCP flags, which are no field.
func (c *Controller) reuse(j *flow.Judgement, ev *flow.Event, out *policy.Outcome, hangs flow.Field, learn bool) {
	if out.Strict && ev.PacketIn.Match.IPProto == flow.ProtoTCP {
		return // another switch's packet of this conversation may be none that opens it
	}
	if !j.Rule || learn || c.remembers() || ev.PacketIn.Incomplete != 0 || c.install.Rule == policy.InstallNone {
		return
	}
	rule := flow.Rule{Meter: j.Meter, Goto: j.Goto, Actions: j.Actions}
	holds := reuseFor
	if out.Limited {
		holds = min(holds, out.Left.Truncate(time.Second))
	}
	if holds <= 0 {
		return
	}
	j.Reuse = flow.Reuse{For: holds, Fields: hangs, Switch: out.Switch || !rule.Anywhere()}
	if out.Replies && !out.Switch && !out.Limited && ev.Accepts&flow.AcceptsReply != 0 {
		j.Reuse.Reply = c.answer(&ev.PacketIn.Match, protocol(ev.Switch), ev.Time)
	}
}

// answer returns the decision about a reply to an allowed packet with the headers m. It returns nil if the chain allows the reply anyway, or if more
// than the conversation's headers decides about it, such as the port by which it comes.
func (c *Controller) answer(m *flow.Match, proto flow.Protocol, now time.Time) *flow.Reply {
	back, ok := m.Answer()
	if !ok {
		return nil
	}
	p := policy.NewPacket(&back) // not one that is supposed: a source guard wants to know where it comes from, and nobody does
	p.Now = now
	out := c.ask(p, nil, &nothing)
	if out.Verdict == flow.Allow || out.Unseen || out.Limited || out.NoRule != "" || out.Depends&^(flow.Conversation&^flow.FieldInPort) != 0 {
		return nil
	}
	reply, _ := c.converse(&flow.Event{PacketIn: &flow.PacketIn{Match: back}, Time: now}, &p, &out, &nothing, proto)
	if out.Switch || out.Limited {
		return nil
	}
	return reply
}
