package header

import (
	"runtime"
	"slices"
	"strings"
	"sync"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// link is the compiled policy. A condition's rank is its rule's place by priority, then by
// order in the file, and then its own place in the rule. A policy may have a million rules and a few different actions, so
// what a condition has for itself is 8 bytes and its rule's name.
type link struct {
	rules     []compiled       // by rank
	reasons   string           // of all rules, one after the other
	outcomes  []policy.Outcome // each different one, without a reason
	proactive []proactiveRule  // by rank
	index

	// segments are there instead of index where some rules hang on more than a packet's headers.
	segments []segment
}

type compiled struct {
	outcome uint32
	end     uint32 // of its reason
}

// outcome is what a rule decides; its Reason is missing.
func (l *link) outcome(rank int32) *policy.Outcome { return &l.outcomes[l.rules[rank].outcome] }

func (l *link) reason(rank int32) string {
	start := uint32(0)
	if rank > 0 {
		start = l.rules[rank-1].end
	}
	return l.reasons[start:l.rules[rank].end]
}

// index finds the first of a list of conditions that a packet satisfies.
type index struct {
	fields []flow.Field // of each condition
	used   flow.Field   // of all
	whole  *classifier

	// partial[i] leaves out the fields of levels[i]. It finds the rules that a packet
	// may match which doesn't show these fields.
	partial [len(levels)]*classifier
}

// levels are the sets of fields that a packet may lack: those that a P4 digest has no
// place for; layer 4 (of a later fragment); the protocol, too (behind more IPv6
// extension headers than are followed); all of layer 3 (of a frame cut short);
// everything but in_port.
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
	flat := c.ranked()
	l := &link{rules: make([]compiled, len(flat))}
	var reasons strings.Builder
	known := make(map[string]uint32) // outcomes, by their actions as a compiled policy has them
	var action []byte
	for rank, at := range flat {
		r := &c.Rules[at.rule]
		w := wire.NewWriter(action[:0])
		r.Action.Write(w)
		action = w.Bytes()
		outcome, ok := known[string(action)]
		if !ok {
			outcome = uint32(len(l.outcomes))
			known[string(action)] = outcome
			l.outcomes = append(l.outcomes, r.Action.outcome())
		}
		reasons.WriteString(Name + ": ")
		c.writeLabel(&reasons, int(at.rule))
		l.rules[rank] = compiled{outcome, uint32(reasons.Len())}
		if r.Proactive {
			l.proactive = append(l.proactive, proactiveRule{rank: int32(rank), priority: r.Priority, cond: *c.conditionAt(at)})
		}
	}
	l.reasons = reasons.String()
	if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.guarded() }) {
		l.index = newIndex(len(flat), func(rank int) *Condition { return c.conditionAt(flat[rank]) })
		return l
	}
	for first := 0; first < len(flat); {
		r, end := &c.Rules[flat[first].rule], first
		for end < len(flat) && c.Rules[flat[end].rule].sameGuard(r) {
			end++
		}
		s := segment{index: newIndex(end-first, func(rank int) *Condition { return c.conditionAt(flat[first+rank]) }), first: int32(first)}
		if r.guarded() {
			s.guard = &guard{r.Flags, r.Hours, c.Zone}
		}
		l.segments = append(l.segments, s)
		first = end
	}
	return l
}

// place is where a condition is: in which rule, and which of the rule's.
type place struct{ rule, condition int32 }

// ranked returns the places of all conditions by rank.
func (c *Config) ranked() (list []place) {
	for _, i := range c.Order() {
		for j := range c.Rules[i].conditions() {
			list = append(list, place{int32(i), int32(j)})
		}
	}
	return list
}

// conditionAt returns a condition with its prerequisites.
func (c *Config) conditionAt(at place) *Condition {
	return c.Rules[at.rule].condition(int(at.condition)).Completed()
}

// outcome is what a rule with this action decides, without its reason.
func (a *Action) outcome() policy.Outcome {
	if a.Deny {
		return policy.Outcome{Verdict: flow.Deny, NoReply: a.NoReply, Reject: a.Reject, Log: a.Log}
	}
	return policy.Outcome{Verdict: flow.Allow, Replies: a.Replies, Strict: a.Strict, Log: a.Log, Treatment: a.Treatment()}
}

// newIndex takes the conditions of n ranks, with prerequisites. It asks for each more than once,
// from several goroutines.
func newIndex(n int, at func(rank int) *Condition) (x index) {
	x.fields = make([]flow.Field, n)
	for rank := range x.fields {
		x.fields[rank] = at(rank).fields()
		x.used |= x.fields[rank]
	}
	var builders []*builder
	builderOf := func(drop flow.Field) *builder {
		for _, b := range builders {
			if b.drop == drop {
				return b
			}
		}
		b := newBuilder(drop)
		builders = append(builders, b)
		return b
	}
	builderOf(0)
	for _, drop := range levels {
		builderOf(drop & x.used)
	}
	fill := func(b *builder) {
		for rank := range x.fields {
			b.add(int32(rank), at(rank))
		}
	}
	var all sync.WaitGroup
	for _, b := range builders {
		if runtime.GOMAXPROCS(0) > 1 { // not in WebAssembly
			all.Go(func() { fill(b) })
		} else {
			fill(b)
		}
	}
	all.Wait()
	made := make(map[flow.Field]*classifier)
	for _, b := range builders {
		made[b.drop] = b.build()
	}
	x.whole = made[0]
	for i, drop := range levels {
		x.partial[i] = made[drop&x.used]
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
			Reason:  l.reason(rank) + " may apply, but the packet does not show " + hidden.String(),
			Depends: depends,
		}
	}
	if rank == noRule {
		return policy.Outcome{Depends: depends}
	}
	out := *l.outcome(rank)
	out.Reason, out.Depends = l.reason(rank), depends
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
