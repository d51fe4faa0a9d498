package header

import (
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
)

// link is the compiled policy. A condition's rank is that of its rule, by priority, then by
// order in the file, and then its place in the rule.
type link struct {
	outcomes   []policy.Outcome // by rank
	conditions []Condition      // by rank
	proactive  []proactiveRule  // by rank
	index

	// segments are there instead of index where some rules hang on more than a packet's headers.
	segments []segment
}

// index finds the first of a list of conditions that a packet satisfies.
type index struct {
	fields []flow.Field // of each condition
	used   flow.Field   // of all
	whole  *classifier

	// partial[i] leaves the fields of levels[i] out, to find the rules that a
	// packet may match of which those were not seen.
	partial [len(levels)]*classifier
}

// levels are what a packet may lack: fields that a P4 digest has no place for,
// layer 4 (a later fragment), the protocol too (more IPv6 extension headers than
// are walked), the whole of layer 3 (a frame cut short), everything but in_port.
var levels = [...]flow.Field{
	rareFields,
	rareFields | portFields,
	rareFields | portFields | flow.FieldIPProto,
	ruleFields &^ flow.FieldInPort &^ linkFields,
	ruleFields &^ flow.FieldInPort,
}

const (
	rareFields = ruleFields &^ flow.Conversation
	portFields = rangeFields | flow.FieldICMPType | flow.FieldICMPCode
	linkFields = flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN
)

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	l := &link{}
	conditions := c.Conditions()
	for _, i := range c.Order() {
		r := &c.Rules[i]
		label := c.Label(i)
		out := policy.Outcome{Verdict: flow.Allow, Reason: Name + ": " + label}
		if r.Action.Deny {
			out.Verdict, out.NoReply, out.Reject = flow.Deny, r.Action.NoReply, r.Action.Reject
		} else {
			out.Treatment, out.Replies = r.Action.Treatment(), r.Action.Replies
		}
		for _, condition := range conditions[i] {
			if r.Proactive {
				l.proactive = append(l.proactive, proactiveRule{rank: int32(len(l.conditions)), priority: r.Priority})
			}
			l.conditions = append(l.conditions, condition)
			l.outcomes = append(l.outcomes, out)
		}
	}

	if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.guarded() }) {
		l.index = newIndex(l.conditions)
		return l
	}
	l.split(c, conditions)
	return l
}

// split makes the segments.
func (l *link) split(c *Config, conditions [][]Condition) {
	first, order := 0, c.Order()
	for i := 0; i < len(order); {
		r, end := &c.Rules[order[i]], first
		for ; i < len(order) && c.Rules[order[i]].sameGuard(r); i++ {
			end += len(conditions[order[i]])
		}
		s := segment{index: newIndex(l.conditions[first:end]), first: int32(first)}
		if r.guarded() {
			s.guard = &guard{r.Flags, r.Hours, c.Zone}
		}
		l.segments = append(l.segments, s)
		first = end
	}
}

// newIndex takes conditions with prerequisites, by rank.
func newIndex(list []Condition) (x index) {
	x.fields = make([]flow.Field, len(list))
	for i := range list {
		x.fields[i] = list[i].fields()
		x.used |= x.fields[i]
	}
	x.whole = newClassifier(list, 0)
	made := map[flow.Field]*classifier{0: x.whole}
	for i, drop := range levels {
		drop &= x.used
		if made[drop] == nil {
			made[drop] = newClassifier(list, drop)
		}
		x.partial[i] = made[drop]
	}
	return x
}

// Treatment is what an allowed packet goes through.
func (a *Action) Treatment() policy.Treatment {
	t := policy.Treatment{Meter: a.Meter}
	if a.SetQueue {
		t.Before = []flow.Action{{Type: flow.SetQueue, ID: a.Queue}}
	}
	for _, p := range a.Output {
		t.Actions = append(t.Actions, flow.OutputTo(p))
	}
	return t
}

// Decide implements [policy.Link]. Where a field that the packet does not show
// might have made another rule decide, the packet is denied.
func (l *link) Decide(p policy.Packet) policy.Outcome {
	if l.segments != nil {
		return l.decideGuarded(&p)
	}
	rank, hidden, depends := l.find(&p)
	if hidden != 0 {
		return policy.Outcome{
			Verdict: flow.Deny,
			Reason:  l.outcomes[rank].Reason + " may apply, but the packet does not show " + hidden.String(),
			Depends: depends,
		}
	}
	if rank == noRule {
		return policy.Outcome{Depends: depends}
	}
	out := l.outcomes[rank]
	out.Depends = depends
	return out
}

// find returns the rank of the first rule that matches a packet, or noRule, and the
// fields that this hangs on. Where a rule comes before it that might match by
// fields that the packet does not show, it returns that one and these fields.
func (x *index) find(p *policy.Packet) (rank int32, hidden, depends flow.Field) {
	known, missing := p.Known(), p.Missing
	if x.used&rareFields != 0 {
		missing |= p.Match.Unseen()
	}
	var k key
	k.of(p, x.used)
	rank, depends = x.whole.lookup(&k, known)
	if missing &= x.used; missing != 0 {
		if maybe := x.level(missing).lookupHidden(&k, known, missing); maybe < rank {
			fields := x.fields[maybe]
			return maybe, fields & missing, depends | fields
		}
	}
	return rank, 0, depends
}

func (x *index) level(missing flow.Field) *classifier {
	for i, drop := range levels {
		if missing&^drop == 0 {
			return x.partial[i]
		}
	}
	return x.partial[len(levels)-1]
}
