package controller

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// reuseFor is for how long an answer holds for other packets. A gateway forgets what it has when it sees a newer policy, so that this is
// how long an answer of the old one is used while nothing else is asked.
const reuseFor = 5 * time.Second

// reuse says in j for which other packets the answer holds: those that are the same in all that the chain looked at to come to it. A deny
// hangs on more, since it also means that the packet is no reply: hangs is what either looked at.
//
// Nothing is said where no rule comes of the answer, as then something is not known of the packet, or the policy wants each one reviewed;
// nothing of what a switch is to learn, which is of one port; nothing by a policy that remembers, whose answers rest on states; and
// nothing of what hangs on TCP flags, which fields don't tell.
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

// answer says what becomes of a packet that answers an allowed one with the headers m. It is nil where the chain allows it anyway, and where
// more than the headers of its conversation counts: by which port it comes, say.
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
