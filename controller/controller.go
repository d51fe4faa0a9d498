// Package controller decides events by a policy: [flow.Decider] as a pure
// function, with no clock, no network and no state. The same code runs inside
// the gateway, behind HTTPS and in a WebAssembly guest.
//
// # What a decision installs
//
// The controller asks the links of the policy's chain in order. Each link says
// which fields it looked at. A rule matches the fields of the configured
// granularity (exact flow, host pair, MAC pair) and every field that a link
// looked at. So no packet takes a rule that the chain might have decided
// otherwise. If one of these fields can't be matched, because the packet doesn't
// show it or the switch's protocol has no such field, the controller installs no
// rule and answers for this packet alone. It makes a rule for an incomplete packet,
// such as a fragment, only if the verdict depends on no missing field; the rule then
// says CoversIncomplete.
package controller

import (
	"context"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/state"
)

// Controller is an immutable compiled policy, used by any number of goroutines.
type Controller struct {
	policy  *policy.Policy
	version flow.PolicyVersion
	install policy.Install
	links   []policy.Link
	mode    policy.ForwardMode // of packets that are allowed and no more is said
	memory
	memories []policy.Machines // of each link the same, where its decisions rest on states, or nil
}

var (
	_ flow.Local     = (*Controller)(nil)
	_ state.Machines = (*Controller)(nil)
)

// New compiles p, which must be valid (see [policy.Policy.Validate]) and must
// not change afterwards. It takes time in proportion to the policy's size.
func New(p *policy.Policy) *Controller {
	c := &Controller{policy: p, version: p.Version(), install: p.Install, mode: p.Mode(), memory: memoryOf(p)}
	for _, s := range p.Chain {
		l := s.Compile()
		m, ok := l.(policy.Machines)
		if c.links, c.memories = append(c.links, l), append(c.memories, m); ok {
			c.memory.links = append(c.memory.links, m)
		}
	}
	return c
}

// Version returns the version of the policy.
func (c *Controller) Version() flow.PolicyVersion { return c.version }

// Policy returns the policy, which is read only.
func (c *Controller) Policy() *policy.Policy { return c.policy }

// Local implements [flow.Local].
func (*Controller) Local() bool { return true }

// Decide implements [flow.Decider]. It never waits and ignores ctx. It allocates
// only to grow d's slices, and for a reason that names something of the packet, such
// as a listed address or a missing field.
func (c *Controller) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	d.Policy = c.version
	switch ev.Type {
	case flow.EventPacketIn:
		if ev.PacketIn == nil {
			return flow.Errorf(flow.Refused, "%v without a packet", ev.Type)
		}
		return c.packetIn(ev, d)
	case flow.EventSwitchConnected:
		conn := policy.Connected{Switch: ev.Switch, Install: &c.install, Mode: c.mode.In(protocol(ev.Switch))}
		for _, l := range c.links {
			d.Rules = l.Proactive(&conn, d.Rules)
		}
		c.notice(ev, d)
	case flow.EventHandshake:
		return handshake(ev, d)
	case flow.EventFlowRemoved, flow.EventPortStatus:
		c.notice(ev, d)
	case flow.EventError, flow.EventPolicyCheck:
		// The version is the whole answer.
	default:
		return flow.Errorf(flow.Refused, "%v is not one that the controller knows", ev.Type)
	}
	return nil
}

func protocol(sw *flow.Switch) flow.Protocol {
	if sw == nil {
		return flow.OpenFlow13
	}
	return sw.Protocol
}

// errWithheld refuses an event whose encoding has left out a part of the packet that the decision depends on. The host asks again in an encoding that has it.
var errWithheld = flow.Errorf(flow.Refused, "the decision hangs on parts of the packet that the event leaves out")

func (c *Controller) packetIn(ev *flow.Event, d *flow.Decision) error {
	var j flow.Judgement
	learn, own, reply, ok := c.judge(ev, &j)
	if !ok {
		return errWithheld
	}
	c.spell(&j, &ev.PacketIn.Match, learn, own, d)
	d.IfReply = reply
	return nil
}

// spell fills d, which is reset, with the decision about a packet that has the headers m.
func (c *Controller) spell(j *flow.Judgement, m *flow.Match, learn bool, own []flow.Action, d *flow.Decision) {
	j.Spell(m, d)
	if learn {
		// The rule's actions are those of the next table, and so not the packet's.
		d.HasPacketOut, d.PacketOut = true, append(d.PacketOut[:0], own...)
		if len(d.Rules) > 0 {
			c.learn(d, m, j)
		}
	}
}

// Judge is Decide for a packet_in whose decision is no more than j can say. It reports false for
// any other event. It allocates no more than Decide does.
func (c *Controller) Judge(ev *flow.Event, j *flow.Judgement) bool {
	if ev.Type != flow.EventPacketIn || ev.PacketIn == nil {
		return false
	}
	*j = flow.Judgement{}
	learn, _, reply, ok := c.judge(ev, j)
	return ok && !learn && reply == nil && j.Reuse.Reply == nil
}

// judge fills j, which is zero, for a packet_in. learn says that j's rule sends packets to the switch's second table, where it learns; own are then the
// actions of the packet itself. reply is the decision to take if the packet is a reply. ok is false if the event has left out a part of the packet that the
// decision depends on.
func (c *Controller) judge(ev *flow.Event, j *flow.Judgement) (learn bool, own []flow.Action, reply *flow.Reply, ok bool) {
	m, protocol := &ev.PacketIn.Match, protocol(ev.Switch)
	p := policy.NewPacket(m)
	p.Missing |= ev.PacketIn.Incomplete &^ m.Fields // the gateway may know of more
	p.Switch, p.In, p.Now = ev.Switch, ev.PacketIn, ev.Time
	var by policy.Recollection
	rec, asked := &nothing, (*flow.Event)(nil)
	if c.remembers() {
		rec, asked = &by, ev
	}
	out := c.ask(p, asked, rec)
	if out.Unseen {
		return false, nil, nil, false
	}
	j.Change = rec.Change
	hangs := out.Depends
	alone, strict := false, false
	if c.replies {
		var unseen bool
		if strict, unseen = c.strict(&p, &out); unseen {
			return false, nil, nil, false
		}
		reply, alone = c.converse(ev, &p, &out, rec, protocol)
		if out.Verdict != flow.Allow {
			hangs = out.Depends
		}
	}
	if strict {
		out.NoRule = "tcp_flags"
	}
	learn, own = c.effect(j, &p, &out, limited(rec, &out), protocol, ev.PacketIn.Incomplete, alone)
	if reply != nil {
		j.IdleTimeout, j.HardTimeout = 0, flow.ReplyLife // a question may open the conversation at any moment
	} else if ev.Accepts&flow.AcceptsReuse != 0 {
		c.reuse(j, ev, &out, hangs, learn)
	}
	return learn, own, reply, true
}

// limited returns a copy of rec that ends no later than out does.
func limited(rec *policy.Recollection, out *policy.Outcome) *policy.Recollection {
	if !out.Limited {
		return rec
	}
	both := *rec
	both.Add(&policy.Recollection{Limited: true, Left: out.Left}, 0)
	return &both
}

// effect fills j, which is zero, with what out means for p and, if there is a rule, for packets like it.
func (c *Controller) effect(j *flow.Judgement, p *policy.Packet, out *policy.Outcome, rec *policy.Recollection, protocol flow.Protocol, incomplete flow.Field, alone bool) (learn bool, own []flow.Action) {
	j.Verdict, j.Reason, j.Policy, j.Reject = out.Verdict, out.Reason, c.version, out.Reject
	j.Log = out.Log
	if rec.Note != "" {
		j.Reason += "; " + rec.Note
	}
	mode := out.Mode
	if mode == 0 {
		mode = c.mode
	}
	learn = out.Verdict == flow.Allow && out.Actions == nil && mode.In(protocol) == policy.Learn
	if out.Mode == policy.Learn && !learn {
		j.Reason = noLearnReason
	}

	if alone {
		j.Reason += "; no rule: an ICMP error is judged by the packet that it quotes"
	} else {
		grain := fieldsOf(c.install.Rule, p.Match)
		if learn {
			grain = flow.FieldInPort | flow.FieldEthSrc
		}
		if out.Replies || out.Reject { // each conversation that is tried is told so
			grain = flow.Conversation
		}
		c.rule(j, p, out, rec, protocol, grain)
	}
	j.CoversIncomplete = j.Rule && incomplete != 0
	if j.Rule && !learn || out.Verdict != flow.Allow {
		return learn, nil
	}
	own = actionsOf(&out.Treatment, mode.In(protocol), protocol)
	if !j.Rule {
		j.Actions = own
	}
	return learn, own
}

// nothing is the recollection of a policy without machines.
var nothing policy.Recollection

const noLearnReason = "forward: normal (learn needs OpenFlow 1.3)"

// ask asks the chain's links in order. If none decides, the packet is denied. Links with machines read the states of ev and note in rec what they
// read; with ev nil they read none.
func (c *Controller) ask(p policy.Packet, ev *flow.Event, rec *policy.Recollection) policy.Outcome {
	var depends flow.Field
	var noRule string
	var bySwitch bool
	var until policy.Outcome // of which only Left counts
	read := 0                // states that earlier links have read
	for i, l := range c.links {
		var out policy.Outcome
		if m := c.memories[i]; m != nil && ev != nil {
			out, read = recall(m, p, ev, rec, read)
		} else {
			out = l.Decide(p)
		}
		depends |= out.Depends
		bySwitch = bySwitch || out.Switch
		if out.Limited {
			until.Limit(out.Left)
		}
		if noRule == "" {
			noRule = out.NoRule
		}
		if out.Verdict != flow.NoVerdict || out.Unseen {
			out.Depends, out.NoRule, out.Switch, out.Left, out.Limited = depends, noRule, bySwitch, until.Left, until.Limited
			return out
		}
	}
	return policy.Outcome{Verdict: flow.Deny, Reason: "default: no policy of the chain decides", Depends: depends, NoRule: noRule, Switch: bySwitch, Left: until.Left, Limited: until.Limited}
}

// actionsOf is what an allowed packet does on its own.
func actionsOf(t *policy.Treatment, mode policy.ForwardMode, p flow.Protocol) []flow.Action {
	actions := t.Actions
	if actions == nil {
		actions = policy.ActionsOf(mode)
	}
	if t.Before == nil || p == flow.OpenFlow10 && !policy.Queueable(actions) {
		return actions
	}
	return slices.Concat(t.Before, actions)
}
