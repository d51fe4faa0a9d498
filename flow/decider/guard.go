package decider

import (
	"context"
	"fmt"
	"time"

	"switchbridge/flow"
)

// Rail names a guardrail, for counters and log lines.
type Rail string

// The guardrails, in the order in which a rule meets them. A rule is refused by
// the first that it does not pass.
const (
	RailTooManyRules Rail = "too-many-rules" // the answer has more than MaxRules: none of them is taken
	RailCommand      Rail = "command"        // not ADD
	RailTable        Rail = "table"          // not a configured table, or a goto to one, or a goto backwards
	RailPriority     Rail = "priority"
	RailTimeout      Rail = "bad-timeout" // OpenFlow can't say it: not whole seconds from 0 to 65535
	RailNoTimeout    Rail = "no-timeout"  // neither idle_timeout nor hard_timeout, on a rule that answers a packet
	RailMatch        Rail = "bad-match"   // fields out of range, in contradiction, or without a prerequisite
	RailNotCovering  Rail = "not-covering"
	RailTooWide      Rail = "too-wide" // names neither in_port nor the whole eth_src
	RailController   Rail = "output-controller"
	RailOutputTable  Rail = "output-table"
	RailUnknownPort  Rail = "unknown-port"
	RailExperimenter Rail = "experimenter" // an action that has no name here
	RailExposed      Rail = "exposed"      // passes, but would get packets that a refused rule above it was to have

	RailPacketOutController   Rail = "packet-out-controller"
	RailPacketOutTable        Rail = "packet-out-table"
	RailPacketOutUnknownPort  Rail = "packet-out-unknown-port"
	RailPacketOutExperimenter Rail = "packet-out-experimenter"
)

// Rails has every name, for metrics that want their series from the start.
func Rails() []Rail {
	return []Rail{
		RailTooManyRules, RailCommand, RailTable, RailPriority, RailTimeout, RailNoTimeout, RailMatch, RailNotCovering,
		RailTooWide, RailController, RailOutputTable, RailUnknownPort, RailExperimenter, RailExposed,
		RailPacketOutController, RailPacketOutTable, RailPacketOutUnknownPort, RailPacketOutExperimenter,
	}
}

// packetOut is the name that an action's rail has in a PACKET_OUT.
var packetOut = map[Rail]Rail{
	RailController: RailPacketOutController, RailOutputTable: RailPacketOutTable,
	RailUnknownPort: RailPacketOutUnknownPort, RailExperimenter: RailPacketOutExperimenter,
}

// Violation is one refusal.
type Violation struct {
	Rail   Rail
	Rule   string // the rule's text, or the PACKET_OUT's actions
	Detail string // what is wrong with it, or empty where the name says all
}

func (v Violation) String() string {
	if v.Detail == "" {
		return fmt.Sprintf("%s: %s", v.Rail, v.Rule)
	}
	return fmt.Sprintf("%s: %s: %s", v.Rail, v.Detail, v.Rule)
}

// TableSet is a set of table numbers. The zero value is empty.
type TableSet [4]uint64

// Tables makes a TableSet.
func Tables(numbers ...uint8) (s TableSet) {
	for _, n := range numbers {
		s[n>>6] |= 1 << (n & 63)
	}
	return s
}

// Has reports whether table n is in the set.
func (s *TableSet) Has(n uint8) bool { return s[n>>6]>>(n&63)&1 != 0 }

// Guardrails bound what a controller's answer may do to a switch, whatever the
// controller. They are read-only once in use and safe for concurrent use.
//
// A rule in answer to a packet must name in_port or the whole eth_src, cover
// that packet and end by itself. One shape is free of the first two, since it
// can't be otherwise: what a switch learns from a packet, which is a rule in a
// table other than 0 with eth_dst (and at most the VLAN) of the packet's own
// unicast source, whose one action is output to the port it came in by.
//
// A rule in answer to anything else is proactive: it is bound by none of the
// three, and lives until its policy version goes, unless it has a timeout.
type Guardrails struct {
	Tables      TableSet
	MinPriority uint16
	MaxPriority uint16
	MaxRules    int // in one answer

	// HardTimeout is given to every rule that answers a packet and has only an
	// idle_timeout, so that traffic can't keep a rule for ever; 0 gives none.
	HardTimeout time.Duration
}

// DefaultGuardrails returns what holds where nothing is configured.
func DefaultGuardrails() *Guardrails {
	return &Guardrails{Tables: Tables(0, 1), MinPriority: 1, MaxPriority: 60000, MaxRules: 64, HardTimeout: 300 * time.Second}
}

// maxTimeout is what OpenFlow's 16 bits hold (1.3.5, 7.3.4.1).
const maxTimeout = 65535 * time.Second

// Check removes from d the rules that may not be installed and returns why, in
// the order of the rules; the slice is nil when all may. It completes matches'
// prerequisites and makes them canonical, fills hard_timeouts, and clears what
// is the gateway's to say (cookie, buffer_id).
//
// The packet's verdict holds: where the rule that said what happens to it is
// removed, d.PacketOut says it instead. Only where that is forbidden too is the
// packet dropped. Nor does a removal widen what stays: a rule that would get
// packets which a removed rule of higher priority was to have is removed with it.
//
// It allocates nothing unless it refuses something.
func (g *Guardrails) Check(ev *flow.Event, d *flow.Decision) []Violation {
	var packet *flow.Match
	decisive := -1
	var actions []flow.Action
	if ev.PacketIn != nil {
		packet = &ev.PacketIn.Match
		actions, decisive = d.PacketActions(packet)
	}

	var refused []refusal
	if len(d.Rules) > g.MaxRules {
		refused = g.refuseAll(d)
	} else {
		refused = g.refuse(ev, d)
	}

	var violations []Violation
	for i := range refused {
		if v := refused[i].violation; v.Rail != "" {
			violations = append(violations, v)
		}
	}
	if packet != nil && d.HasPacketOut {
		if rail, detail := g.actions(ev.Switch, d.PacketOut); rail != "" {
			violations = append(violations, Violation{packetOut[rail], "PACKET_OUT " + flow.ActionsString(d.PacketOut), detail})
			d.PacketOut = d.PacketOut[:0]
		}
	}
	// Completed with its prerequisites the rule may ask for a header that a
	// digest does not tell; it said what happens to the packet all the same.
	if decisive >= 0 && (refused != nil && refused[decisive].gone || !d.Rules[decisive].Match.Covers(packet)) {
		d.HasPacketOut, d.PacketOut = true, d.PacketOut[:0]
		if rail, _ := g.actions(ev.Switch, actions); rail == "" {
			d.PacketOut = append(d.PacketOut, actions...)
		}
	}
	if refused != nil {
		d.Rules = remove(d.Rules, refused)
	}
	return violations
}

// refusal says of one rule whether it goes, and why where that is to be told.
type refusal struct {
	gone      bool
	violation Violation
}

// refuseAll refuses an answer that is too long to be meant. What a part of it
// would do alone nobody knows, so none is taken; one violation stands for all.
func (g *Guardrails) refuseAll(d *flow.Decision) []refusal {
	refused := make([]refusal, len(d.Rules))
	for i := range refused {
		refused[i].gone = true
	}
	refused[0].violation = Violation{RailTooManyRules, d.Rules[0].String(), fmt.Sprintf("%d rules where %d are allowed, this one first", len(d.Rules), g.MaxRules)}
	return refused
}

// refuse checks each rule by itself, then finds those that may not stay without
// a refused one. It returns nil if every rule passes.
func (g *Guardrails) refuse(ev *flow.Event, d *flow.Decision) []refusal {
	var refused []refusal
	var work []int
	for i := range d.Rules {
		r := &d.Rules[i]
		rail, detail := g.rule(ev, r)
		if rail == "" {
			continue
		}
		if refused == nil {
			refused = make([]refusal, len(d.Rules))
		}
		refused[i] = refusal{true, Violation{rail, r.String(), detail}}
		work = append(work, i)
	}
	for len(work) > 0 {
		gone := &d.Rules[work[0]]
		work = work[1:]
		for i := range d.Rules {
			if r := &d.Rules[i]; !refused[i].gone && exposes(gone, r) {
				refused[i] = refusal{true, Violation{RailExposed, r.String(), "without " + gone.String()}}
				work = append(work, i)
			}
		}
	}
	return refused
}

// exposes reports whether r would get packets that gone was to have: by lower
// priority in its table, or by sending them on to its table.
func exposes(gone, r *flow.Rule) bool {
	if gone.Command != flow.Add {
		return false
	}
	below := r.Table == gone.Table && r.Priority < gone.Priority
	before := r.Goto != 0 && r.Goto == gone.Table
	return (below || before) && overlap(&gone.Match, &r.Match)
}

// remove keeps the rules that are not refused, in order. It swaps rather than
// copies, so that no two members of the array share their slices.
func remove(rules []flow.Rule, refused []refusal) []flow.Rule {
	n := 0
	for i := range rules {
		if !refused[i].gone {
			rules[n], rules[i] = rules[i], rules[n]
			n++
		}
	}
	return rules[:n]
}

// rule returns the first rail that r does not pass, or "".
func (g *Guardrails) rule(ev *flow.Event, r *flow.Rule) (Rail, string) {
	var packet *flow.Match
	if ev.PacketIn != nil {
		packet = &ev.PacketIn.Match
	}
	switch {
	case r.Command != flow.Add:
		return RailCommand, r.Command.String() + " where only ADD is allowed"
	case !g.Tables.Has(r.Table):
		return RailTable, fmt.Sprintf("table %d is not configured", r.Table)
	case r.Goto != 0 && !g.Tables.Has(r.Goto):
		return RailTable, fmt.Sprintf("goto: table %d is not configured", r.Goto)
	case r.Goto != 0 && r.Goto <= r.Table:
		return RailTable, fmt.Sprintf("goto: table %d does not follow table %d", r.Goto, r.Table)
	case r.Priority < g.MinPriority || r.Priority > g.MaxPriority:
		return RailPriority, fmt.Sprintf("want %d to %d", g.MinPriority, g.MaxPriority)
	case !expressible(r.IdleTimeout) || !expressible(r.HardTimeout):
		return RailTimeout, "want whole seconds from 0 to 65535"
	case packet != nil && r.IdleTimeout == 0 && r.HardTimeout == 0:
		return RailNoTimeout, ""
	}
	if detail := inRange(&r.Match); detail != "" {
		return RailMatch, detail
	}
	r.Match = r.Match.Canonical()
	covers := packet != nil && r.Match.Covers(packet) // before prerequisites that a digest may not tell
	if err := r.Match.Complete(packet); err != nil {
		return RailMatch, err.Error()
	}
	if packet != nil && !learned(r, packet) {
		m := &r.Match
		switch {
		case !covers:
			return RailNotCovering, "the packet is " + packet.String()
		case !m.Has(flow.FieldInPort) && !(m.Has(flow.FieldEthSrc) && m.EthSrcMask == flow.MACExact):
			return RailTooWide, "want in_port or a whole eth_src"
		}
	}
	if rail, detail := g.actions(ev.Switch, r.Actions); rail != "" {
		return rail, detail
	}
	if packet != nil && r.HardTimeout == 0 {
		r.HardTimeout = g.HardTimeout
	}
	r.Cookie, r.CookieMask, r.OutPort, r.BufferID = 0, 0, 0, flow.NoBuffer
	return "", ""
}

func expressible(timeout time.Duration) bool {
	return timeout >= 0 && timeout <= maxTimeout && timeout%time.Second == 0
}

// learned reports whether r is what a switch that learns would note of packet.
func learned(r *flow.Rule, packet *flow.Match) bool {
	m := &r.Match
	switch {
	case r.Table == 0 || r.Goto != 0 || !packet.Has(flow.FieldEthSrc|flow.FieldInPort) || packet.EthSrc.Multicast():
		return false
	case m.Fields&^flow.FieldVLAN != flow.FieldEthDst || m.EthDst != packet.EthSrc || m.EthDstMask != flow.MACExact:
		return false
	case m.Has(flow.FieldVLAN) && (m.VLAN != packet.VLAN || m.VLANMask != flow.VLANExact):
		return false
	}
	return len(r.Actions) == 1 && r.Actions[0].Type == flow.Output && r.Actions[0].Port == packet.InPort
}

// actions returns the first rail that a list of actions does not pass, or "".
// A switch whose ports are not known (P4Runtime tells none) has them all.
func (g *Guardrails) actions(sw *flow.Switch, list []flow.Action) (Rail, string) {
	for i := range list {
		a := &list[i]
		switch a.Type {
		case flow.Output:
		case flow.SetQueue, flow.Group, flow.PushVLAN, flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP, flow.SetEthSrc, flow.SetEthDst,
			flow.SetIPSrc, flow.SetIPDst, flow.SetIPDSCP, flow.SetL4Src, flow.SetL4Dst, flow.DecTTL:
			continue
		default:
			return RailExperimenter, a.String()
		}
		switch a.Port {
		case flow.PortController:
			return RailController, ""
		case flow.PortTable:
			return RailOutputTable, ""
		case flow.PortIn, flow.PortNormal, flow.PortFlood, flow.PortAll:
			continue
		}
		known := sw != nil && len(sw.Ports) > 0
		if known && sw.Port(a.Port) == nil || !known && a.Port.Reserved() && a.Port != flow.PortLocal {
			return RailUnknownPort, "the switch has no port " + a.Port.String()
		}
	}
	return "", ""
}

// Guard is the decorator that holds another's answers to guardrails.
type Guard struct {
	Next  flow.Decider
	Rails *Guardrails // nil: DefaultGuardrails

	// OnViolation, if set, is told of each refusal. It is called before Decide
	// returns, by many goroutines, and keeps neither pointer.
	OnViolation func(ev *flow.Event, d *flow.Decision, v Violation)
}

var defaultRails = DefaultGuardrails()

// Decide asks Next. A refused rule is no error: the rest of the answer holds.
func (g *Guard) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if err := g.Next.Decide(ctx, ev, d); err != nil {
		return err
	}
	rails := g.Rails
	if rails == nil {
		rails = defaultRails
	}
	violations := rails.Check(ev, d)
	if g.OnViolation != nil {
		for _, v := range violations {
			g.OnViolation(ev, d, v)
		}
	}
	return nil
}

// Local reports whether Next is [flow.Local].
func (g *Guard) Local() bool { return flow.IsLocal(g.Next) }
