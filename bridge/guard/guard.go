package guard

import (
	"fmt"
	"time"

	"switchbridge/flow"
)

// Switch answers the guard's questions about the switch that a rule is for.
type Switch interface {
	// Fit returns why the switch can't hold r, in the words of its protocol, or "". It may
	// add what r needs, but never makes r match more. packet is nil for a proactive rule.
	Fit(r *flow.Rule, packet *flow.Match) error

	// FitActions returns why the switch can't do this with a packet whose headers are
	// packet, or "".
	FitActions(actions []flow.Action, packet *flow.Match) error

	// Before reports whether a is looked up before b whatever their priorities
	// (P4: exact tables before ternary ones).
	Before(a, b *flow.Rule) bool
}

// Equipped is a [Switch] that knows which of the configured meters it has.
type Equipped interface {
	HasMeter(id uint32) bool // asked only of meters that are configured
}

// Anything is a Switch that holds every rule, in the order of priorities.
type Anything struct{}

func (Anything) Fit(*flow.Rule, *flow.Match) error           { return nil }
func (Anything) FitActions([]flow.Action, *flow.Match) error { return nil }
func (Anything) Before(_, _ *flow.Rule) bool                 { return false }

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

// Numbers are the tables in the set, the lowest first.
func (s *TableSet) Numbers() (numbers []uint8) {
	for n := range 256 {
		if s.Has(uint8(n)) {
			numbers = append(numbers, uint8(n))
		}
	}
	return numbers
}

// DefaultHardTimeout is the default of [Guardrails.HardTimeout].
const DefaultHardTimeout = 300 * time.Second

// Guardrails are the configured bounds. Nobody writes to them once they are in use, and
// any goroutine may use them.
type Guardrails struct {
	Tables      TableSet
	MinPriority uint16
	MaxPriority uint16
	MaxRules    int // in one function's answer

	// A rule that answers a packet and has no hard_timeout gets HardTimeout, so that traffic
	// can't keep the rule for ever. 0: it gets none. A hard_timeout above MaxHardTimeout is
	// shortened to it. 0: none is shortened.
	HardTimeout    time.Duration
	MaxHardTimeout time.Duration

	// MaxConversation replaces MaxHardTimeout for a rule that matches only the packet's own
	// conversation, because replies pass only while that rule is there. 0: MaxHardTimeout
	// applies to such a rule as well.
	MaxConversation time.Duration

	ProactiveWide bool     // proactive rules with actions may match everything
	Meters        []uint32 // the ids of the meters that the gateway defines

	// Off switches rails off by name, for tests and for experiments.
	Off map[Rail]bool
}

// Default returns the guardrails of a gateway whose configuration says nothing about them.
func Default() *Guardrails {
	return &Guardrails{Tables: Tables(0, 1), MinPriority: 1, MaxPriority: 60000, MaxRules: 64,
		HardTimeout: DefaultHardTimeout, MaxHardTimeout: time.Hour}
}

// Violation is one refusal.
type Violation struct {
	Rail     Rail
	Rule     string // the rule's text, or the PACKET_OUT's actions
	Detail   string // what is wrong with it
	Function string // who answered so; empty where there is only one function
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Rail, v.Detail, v.Rule) }

// LogArgs returns v as the attributes of a log record.
func (v Violation) LogArgs() []any {
	args := []any{"rail", string(v.Rail), "detail", v.Detail, "rule", v.Rule}
	if v.Function != "" {
		args = append(args, "function", v.Function)
	}
	return args
}

// Outcome is the result of [Guardrails.Check]. It belongs to the caller. Callers use it
// again for the next check, which then allocates nothing.
type Outcome struct {
	// Actions say what the switch does with the packet; empty: it drops the packet. They
	// are d.PacketOut or the actions of d.Rules[Rule], not a copy.
	Actions []flow.Action

	// Rule is the index of the rule whose actions these are, in d.Rules as they are after
	// the check. It is -1 if they are d.PacketOut, or if nothing says what to do.
	Rule int

	// Violations are in the order of the answer's rules, then the PACKET_OUT's.
	Violations []Violation

	check check
}

// check is the state of one Check. It is part of the Outcome because the functions of
// the rails are called through a table: what they are given lies on the heap.
type check struct {
	g          *Guardrails
	d          *flow.Decision
	sw         Switch
	desc       *flow.Switch // may be nil
	mem        *Memory
	packet     *flow.Match // nil: the rules are proactive
	frame      flow.Match  // P4: the headers of the whole packet; its program names some of them
	incomplete flow.Field
	has        traits // of every rule of the answer

	// About the rule that is checked now.
	within func(*flow.Rule) error
	covers bool // the packet, as the rule came
	cut    bool // a rail has shortened its life

	rules []fate // one for each of d.Rules; empty until a rule is refused or shortened
	gone  []bool
}

// fate says whether one rule stays, and why not.
type fate struct {
	rail   Rail
	detail string
	cut    bool
}

// off reports whether a rail is switched off.
func (c *check) off(name Rail) bool { return len(c.g.Off) > 0 && c.g.Off[name] }

// Check removes the rules that may not be installed from d, and fills out. It completes
// each rule that stays: with the prerequisites of its match, in canonical form, and with a
// hard_timeout if it answers a packet. It clears what the gateway sets itself (cookie,
// buffer_id).
//
// The packet itself is handled as the answer said. If the rule that said so is removed,
// d.PacketOut says it instead; only if that is forbidden, too, is the packet dropped. A
// removed deny doesn't widen the rules that stay: see [Fall].
//
// sw may be nil, which means [Anything], and mem may be nil. Check allocates nothing
// unless it refuses something.
func (g *Guardrails) Check(ev *flow.Event, d *flow.Decision, sw Switch, mem *Memory, out *Outcome) {
	if sw == nil {
		sw = Anything{}
	}
	c := &out.check
	c.g, c.d, c.sw, c.desc, c.mem = g, d, sw, ev.Switch, mem
	c.packet, c.incomplete, c.has, c.within, c.rules, c.gone = nil, 0, 0, nil, c.rules[:0], c.gone[:0]
	rails := ofEvent(ev)
	if pi := ev.PacketIn; pi != nil {
		if c.packet, c.incomplete = &pi.Match, pi.Incomplete; c.incomplete != 0 {
			c.has |= hides
		}
		c.frame = flow.Match{}
		if ev.Switch != nil && ev.Switch.Protocol == flow.P4Runtime && len(pi.Data) > 0 && len(d.Rules) > 0 {
			c.frame = flow.Parser{}.Parse(pi.Data, pi.TotalLen, pi.Match.InPort)
		}
	}
	if !mem.empty() {
		c.has |= remembers
	}

	decisive, first := -1, -1           // the rule that decides about the packet: among all tables, and in the first
	strays, firstStrays := false, false // whether that rule, completed, no longer covers the packet
	parts, start := d.Parts, 0
	for i := range d.Rules {
		if i == start { // a function's first rule
			end := len(d.Rules)
			c.within = nil
			for len(parts) > 0 && parts[0].End <= i {
				parts = parts[1:]
			}
			if len(parts) > 0 {
				end, c.within = min(parts[0].End, len(d.Rules)), parts[0].Within
			}
			start = end
			if n := end - i; n > g.MaxRules && !c.off(RailTooManyRules) {
				c.refuse(i, RailTooManyRules, fmt.Sprintf("%d rules where %d are allowed, this one first", n, g.MaxRules))
				for j := i + 1; j < end; j++ {
					c.refuse(j, "", "")
				}
			}
		}
		r := &d.Rules[i]
		c.cut = false
		c.covers = c.packet != nil && concerns(&r.Match, c.packet)
		if (c.covers || c.beyond(&r.Match)) && r.Command == flow.Add {
			if decisive < 0 || r.Outranks(&d.Rules[decisive]) {
				decisive = i
			}
			if first < 0 || r.Table < d.Rules[first].Table || r.Table == d.Rules[first].Table && r.Outranks(&d.Rules[first]) {
				first = i
			}
		}
		if c.fell(i) {
			continue
		}
		fields := r.Match.Fields
		if rail, detail := c.rule(rails, r); rail != "" {
			c.refuse(i, rail, detail)
			continue
		}
		if decisive == i || first == i {
			gone := !r.Match.Has(fields) || !coversIn(r.Match.Fields&^fields, &r.Match, c.packet)
			strays, firstStrays = decisive == i && gone || decisive != i && strays, first == i && gone || first != i && firstStrays
		}
		if c.cut && len(d.Rules) > 1 {
			c.grow()
			c.rules[i].cut = true
		}
		r.Cookie, r.CookieMask, r.OutPort, r.BufferID = 0, 0, 0, flow.NoBuffer
	}
	if len(d.Rules) > 1 {
		c.answer(rails)
	}
	if first >= 0 && first != decisive && !d.Rules[first].Passes() {
		decisive, strays = first, firstStrays // the switch would not look into the other tables
	}
	c.verdict(rails, decisive, strays, out)
}

// rule returns the first rail that refuses r, and why, or "".
func (c *check) rule(rails *bound, r *flow.Rule) (Rail, string) {
	has := c.has
	if r.Command != flow.Add || r.Flags != 0 || r.Meter != 0 {
		has |= odd
	}
	if c.within != nil {
		has |= routed
	}
	for _, row := range rails.rule[has] {
		if detail := row.rule(c, r); detail != "" && !c.off(row.Name) {
			return row.Name, detail
		}
	}
	return c.list(&rails.actions, r.Actions, &r.Match, 0)
}

// list returns the first rail that refuses a list of actions, and why. m has the known
// headers of the packets that it is for; withheld are the fields that they have and m lacks.
func (c *check) list(rails *[1 << allLists][]*Row, list []flow.Action, m *flow.Match, withheld flow.Field) (Rail, string) {
	for _, row := range rails[traitsOf(list)] {
		if detail := row.list(c, list, m, withheld); detail != "" && !c.off(row.Name) {
			return row.Name, detail
		}
	}
	return "", ""
}

// fell reports whether rule i has fallen.
func (c *check) fell(i int) bool { return len(c.gone) > 0 && c.gone[i] }

// grow makes room for every rule's fate.
func (c *check) grow() {
	for n := len(c.d.Rules); len(c.rules) < n; {
		c.rules, c.gone = append(c.rules, fate{}), append(c.gone, false)
	}
}

// refuse notes that rule i falls; a rail that is "" has said so of another rule.
func (c *check) refuse(i int, rail Rail, detail string) {
	c.grow()
	c.gone[i] = true
	c.rules[i] = fate{rail: rail, detail: detail}
}

// answer compares the rules with each other. It removes those that may not stay without
// a removed one, and shortens the timeouts of those that may not outlive a shortened one.
func (c *check) answer(rails *bound) {
	for _, row := range rails.among {
		if c.off(row.Name) {
			continue
		}
		for i := range c.d.Rules {
			if c.fell(i) {
				continue
			}
			if detail := row.among(c, i); detail != "" {
				c.refuse(i, row.Name, detail)
			}
		}
	}
	if len(c.rules) == 0 {
		return
	}
	if !c.off(RailExposed) {
		fall(c.d.Rules, c.gone, c.sw, c.rules)
	}
	c.shorten()
}

// shorten bounds the timeouts of rules below one whose timeout was shortened: after that
// one has ended, its packets would go to them.
func (c *check) shorten() {
	rules := c.d.Rules
	var room [16]int
	work := room[:0]
	for i := range c.rules {
		if c.rules[i].cut && !c.gone[i] {
			work = append(work, i)
		}
	}
	for len(work) > 0 {
		above := &rules[work[len(work)-1]]
		work = work[:len(work)-1]
		for i := range rules {
			r := &rules[i]
			if !c.gone[i] && (r.HardTimeout == 0 || r.HardTimeout > above.HardTimeout) && shields(above, r, c.sw) {
				r.HardTimeout = above.HardTimeout
				work = append(work, i)
			}
		}
	}
}

// verdict says what happens to the packet, reports what was refused and removes
// it. decisive is the rule that said what happens, or -1; strays says that it
// no longer covers the packet.
func (c *check) verdict(rails *bound, decisive int, strays bool, out *Outcome) {
	d := c.d
	out.Actions, out.Rule, out.Violations = nil, -1, out.Violations[:0]

	drops := "" // why the packet may not go as the decisive rule says
	if decisive >= 0 && !d.HasPacketOut && c.fell(decisive) {
		// A packet that is to pass a meter does not go around it.
		if f, r := &c.rules[decisive], &d.Rules[decisive]; r.Meter != 0 && (f.rail == RailMeter || f.rail == RailNotExpressible) {
			drops = "; the packet, which was to pass the meter, is dropped"
			f.detail += drops
		}
	}
	for i := range c.rules {
		if f := &c.rules[i]; f.rail != "" {
			out.Violations = append(out.Violations, Violation{f.rail, d.Rules[i].String(), f.detail, function(d, i)})
		}
	}
	switch {
	case c.packet == nil:
	case d.HasPacketOut:
		if rail, detail := c.packetOut(rails, d.PacketOut); rail != "" {
			out.Violations = append(out.Violations, Violation{rail, "PACKET_OUT " + flow.ActionsString(d.PacketOut), detail, function(d, 0)})
			d.PacketOut = d.PacketOut[:0]
		}
		out.Actions = d.PacketOut
	case decisive < 0:
	case c.fell(decisive), strays:
		// The answer said what happens to the packet, and so it does. (A rule that
		// was completed may ask for a header that a digest does not tell.)
		actions := d.Rules[decisive].Actions
		d.HasPacketOut, d.PacketOut = true, d.PacketOut[:0]
		if drops == "" {
			if rail, _ := c.packetOut(rails, actions); rail == "" {
				d.PacketOut = append(d.PacketOut, actions...)
			}
		}
		out.Actions = d.PacketOut
	default:
		out.Rule = decisive
		for i := range decisive {
			if c.fell(i) {
				out.Rule--
			}
		}
	}
	if len(c.gone) > 0 {
		remove(d, c.gone)
	}
	if out.Rule >= 0 {
		out.Actions = d.Rules[out.Rule].Actions
	}
}

// concerns reports whether the author of m means it to cover p.
func concerns(m, p *flow.Match) bool {
	if untaggedVID(m) {
		tagged := *m
		tagged.VLAN |= flow.VLANPresent
		m = &tagged
	}
	return m.Covers(p)
}

// beyond reports whether m covers the packet by a header that is in its frame and that the P4 program does not tell, such as arp_sha. A
// function that was sent the frame may name it. No such rule is installed, but it says what becomes of the packet.
func (c *check) beyond(m *flow.Match) bool {
	return c.packet != nil && c.frame.Fields != 0 && m.Fields&^c.packet.Fields != 0 && concerns(m, &c.frame)
}

// coversIn reports whether m covers p in the given fields, which m has.
func coversIn(f flow.Field, m, p *flow.Match) bool {
	if f == 0 {
		return true
	}
	all := m.Fields
	m.Fields = f
	covers := m.Covers(p)
	m.Fields = all
	return covers
}

// packetOut returns the first rail that a PACKET_OUT of these actions does not pass.
func (c *check) packetOut(rails *bound, list []flow.Action) (Rail, string) {
	if len(list) == 0 {
		return "", ""
	}
	if err := c.sw.FitActions(list, c.packet); err != nil && !c.off(RailNotExpressible) {
		return RailNotExpressible, err.Error()
	}
	return c.list(&rails.packetOut, list, c.packet, c.incomplete)
}

// function names who answered with rule i.
func function(d *flow.Decision, i int) string {
	for p := range d.Parts {
		if i < d.Parts[p].End || p == len(d.Parts)-1 {
			return d.Parts[p].Function
		}
	}
	return ""
}

// remove keeps the rules that have not fallen, in order, and the parts that they
// are of. It swaps rather than copies, so that no two members of the array share
// their slices.
func remove(d *flow.Decision, gone []bool) {
	n, part := 0, 0
	for i := range d.Rules {
		for ; part < len(d.Parts) && d.Parts[part].End <= i; part++ {
			d.Parts[part].End = n
		}
		if !gone[i] {
			d.Rules[n], d.Rules[i] = d.Rules[i], d.Rules[n]
			n++
		}
	}
	for ; part < len(d.Parts); part++ {
		d.Parts[part].End = n
	}
	d.Rules = d.Rules[:n]
}
