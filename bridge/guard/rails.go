package guard

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
)

// Rail names a guardrail, for counters, log lines and [Guardrails.Off].
type Rail string

const (
	RailTooManyRules   Rail = "too-many-rules"
	RailCommand        Rail = "command"
	RailMatch          Rail = "bad-match"
	RailNotExpressible Rail = "not-expressible"
	RailTable          Rail = "table"
	RailPriority       Rail = "priority"
	RailTimeout        Rail = "bad-timeout"
	RailNoTimeout      Rail = "no-timeout"
	RailNotCovering    Rail = "not-covering"
	RailTooWide        Rail = "too-wide"
	RailProactiveWide  Rail = "proactive-wide"
	RailIncomplete     Rail = "incomplete"
	RailRoute          Rail = "route"
	RailFlags          Rail = "flags"
	RailMeter          Rail = "meter"
	RailHardTimeout    Rail = "hard-timeout"
	RailController     Rail = "output-controller"
	RailOutputTable    Rail = "output-table"
	RailUnknownPort    Rail = "unknown-port"
	RailOutputs        Rail = "outputs"
	RailExperimenter   Rail = "experimenter"
	RailSetField       Rail = "set-field"
	RailForeign        Rail = "foreign"
	RailShielded       Rail = "shielded"
	RailOrder          Rail = "order"
	RailExposed        Rail = "exposed"
)

// Events is a set of the event types whose answers a rail binds.
type Events uint8

const (
	OnPacketIn Events = 1 << iota
	OnSwitchConnected
	OnFlowRemoved
	OnPortStatus
	OnError

	// OnOthers are the events whose answers are proactive: there is no packet.
	OnOthers = OnSwitchConnected | OnFlowRemoved | OnPortStatus | OnError
	OnAll    = OnPacketIn | OnOthers
)

var eventNames = [...]string{"packet_in", "switch_connected", "flow_removed", "port_status", "error"}

func (e Events) String() string {
	if e == OnAll {
		return "all events"
	}
	var names []string
	for i, name := range eventNames {
		if e>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// eventsOf returns the set that has ev alone.
func eventsOf(ev *flow.Event) Events {
	switch {
	case ev.PacketIn != nil:
		return OnPacketIn
	case ev.Type == flow.EventFlowRemoved:
		return OnFlowRemoved
	case ev.Type == flow.EventPortStatus:
		return OnPortStatus
	case ev.Type == flow.EventError:
		return OnError
	}
	return OnSwitchConnected // and every other event that has an answer
}

// Members says which parts of an answer a rail checks.
type Members uint8

const (
	Rules      Members = 1 << iota
	PacketOuts         // the answer's own, and the actions of a removed rule for the packet itself
)

func (m Members) String() string {
	return [...]string{"", "rules", "PACKET_OUT", "rules and PACKET_OUT"}[m&3]
}

// Row is one guardrail.
type Row struct {
	Name    Rail
	Default string // what applies by default, in words
	Events  Events
	Binds   Members
	Why     string // one sentence

	// Shortens says that the rail shortens a rule's life and refuses nothing.
	Shortens bool

	// One of these functions makes the check and returns what is wrong, or "". Two rails
	// have none: too-many-rules counts a function's rules, and exposed is Fall.

	rule  func(c *check, r *flow.Rule) string // each rule by itself
	among func(c *check, i int) string        // rule i beside the answer's other rules, when all are complete

	// list checks a list of actions. m has the known headers of the packets that the
	// actions are for; withheld are the fields that these packets have and m lacks.
	list func(c *check, list []flow.Action, m *flow.Match, withheld flow.Field) string

	// when has traits: the rail is called only for a rule or a list of actions that has one
	// of them, which saves calls. 0: it is called for all.
	when traits
}

// Rails has every guardrail, in the order in which they check a rule. Documentation,
// metrics and tests are made from this table.
var Rails = []Row{
	{Name: RailTooManyRules, Default: "64 rules in a function's answer", Events: OnAll, Binds: Rules,
		Why: "A longer answer is a mistake of the function, so the gateway installs none of its rules."},
	{Name: RailCommand, Default: "ADD only", Events: OnAll, Binds: Rules, rule: command, when: odd,
		Why: "A function only adds rules; the gateway itself modifies and deletes them."},
	{Name: RailMatch, Default: "a match that OpenFlow can say", Events: OnAll, Binds: Rules, rule: match,
		Why: "The switch would refuse a match with a contradiction, a value out of range or a missing prerequisite, or read it as a wider one."},
	{Name: RailNotExpressible, Default: "what the switch's protocol and program can hold", Events: OnAll, Binds: Rules | PacketOuts, rule: notExpressible,
		Why: "If the switch can't hold a rule, the rules that it shields must not be installed without it."},
	{Name: RailTable, Default: "tables 0 and 1; a goto leads to a later one of them", Events: OnAll, Binds: Rules, rule: table,
		Why: "Another controller or the operator may use the other tables."},
	{Name: RailPriority, Default: "1 to 60000", Events: OnAll, Binds: Rules, rule: priority,
		Why: "Priority 0 is the entry that sends misses to the gateway, and above the range are the operator's own rules."},
	{Name: RailTimeout, Default: "whole seconds from 0 to 65535", Events: OnAll, Binds: Rules, rule: badTimeout,
		Why: "OpenFlow has no other timeouts."},
	{Name: RailNoTimeout, Default: "idle_timeout or hard_timeout is given", Events: OnPacketIn, Binds: Rules, rule: noTimeout,
		Why: "A rule that answers one packet must end by itself."},
	{Name: RailNotCovering, Default: "the match covers the packet that asked, or is a learning switch's: in a later table, for packets to the asking packet's source", Events: OnPacketIn, Binds: Rules, rule: notCovering,
		Why: "The function was asked about this packet, so its rule must be about this packet."},
	{Name: RailTooWide, Default: "the match has a whole eth_src, or in_port; with in_port, a rule with actions also needs a header of the packet", Events: OnPacketIn, Binds: Rules, rule: tooWide,
		Why: "One packet must not open the network for others, and one packet of a port must not open the port for everything behind it."},
	{Name: RailProactiveWide, Default: "the match of a rule with actions has a header of the packet, unless `guardrails.proactive_wide` is set", Events: OnOthers, Binds: Rules, rule: proactiveWide,
		Why: "After a rule that allows everything on a switch or a port, the gateway would not be asked there any more; a deny may be as wide as it likes, and so may a rule in a table to which only a goto leads."},
	{Name: RailIncomplete, Default: "`covers_incomplete` for a rule with actions; a deny without it lives 2 s at most", Events: OnPacketIn, Binds: Rules, rule: incomplete, when: hides,
		Why: "A packet that hides headers, such as a fragment, must not bring a rule that allows packets which the function would deny by these headers."},
	{Name: RailRoute, Default: "the match lies inside the function's route", Events: OnAll, Binds: Rules, rule: route, when: routed,
		Why: "A function decides only about packets that the gateway asks it about."},
	{Name: RailFlags, Default: "SEND_FLOW_REM, CHECK_OVERLAP, RESET_COUNTS, NO_PKT_COUNTS, NO_BYT_COUNTS", Events: OnAll, Binds: Rules, rule: flags, when: odd,
		Why: "Other bits have no meaning, or another meaning in each version."},
	{Name: RailMeter, Default: "the meters of `openflow.meters`", Events: OnAll, Binds: Rules, rule: meter, when: odd,
		Why: "If the meter does not exist, the packet is dropped; it must not pass without the meter."},
	{Name: RailForeign, Default: "not the table, priority and match of a rule that the gateway did not install", Events: OnAll, Binds: Rules, rule: foreign, when: remembers,
		Why: "ADD would replace a rule of the other controller."},
	{Name: RailShielded, Default: "not below a deny that the switch has refused", Events: OnAll, Binds: Rules, rule: shielded, when: remembers,
		Why: "If the switch refuses a deny, later answers must not allow what it denies."},
	{Name: RailHardTimeout, Default: "300 s for a rule that names none, cut to 3600 s; `guardrails.max_conversation` is the cap of a rule for one conversation", Events: OnPacketIn, Binds: Rules, rule: hardTimeout, Shortens: true,
		Why: "Traffic must not keep a rule for ever; if the gateway shortens a rule, it also shortens the rules below it that would live longer."},
	{Name: RailController, Default: "no output to CONTROLLER", Events: OnAll, Binds: Rules | PacketOuts, list: outputController, when: toController,
		Why: "Only the gateway decides which packets come to it, and one that comes to it again would cause another question."},
	{Name: RailOutputTable, Default: "no output to TABLE", Events: OnAll, Binds: Rules | PacketOuts, list: outputTable, when: toTable,
		Why: "If the switch looks the packet up again and finds no rule, it sends it to the gateway again, without end."},
	{Name: RailUnknownPort, Default: "ports that the switch has", Events: OnAll, Binds: Rules | PacketOuts, list: unknownPort, when: toPort,
		Why: "The packet would be lost, or would reach a host that is connected there later."},
	{Name: RailOutputs, Default: "64 outputs; ALL, FLOOD and NORMAL once each", Events: OnAll, Binds: Rules | PacketOuts, list: outputs, when: several,
		Why: "One packet must not become a storm."},
	{Name: RailExperimenter, Default: "the contract's actions", Events: OnAll, Binds: Rules | PacketOuts, list: experimenter, when: unknown,
		Why: "The gateway can't know what other actions do."},
	{Name: RailSetField, Default: "actions that fit the packets: ports of the rule's protocol, addresses of its family, a tag that is there", Events: OnAll, Binds: Rules | PacketOuts, list: setField, when: rewrites,
		Why: "If a packet does not have the header, the switch refuses the action, or writes over another header."},
	{Name: RailOrder, Default: "a rule with actions is looked up after every deny above it, and after every higher rule with other actions", Events: OnAll, Binds: Rules, among: order,
		Why: "If the switch does not go by priority, or two rules have the same priority, a packet could match a rule that another rule should overrule."},
	{Name: RailExposed, Default: "not below a rule of the answer that is not installed, nor, with actions, beside one", Events: OnAll, Binds: Rules,
		Why: "Without the refused rule above it, a rule would get that rule's packets, so it is installed together with that rule or not at all."},
}

// Names returns the name of every rail that refuses something, for metrics that have
// all their series from the start.
func Names() []Rail {
	var names []Rail
	for i := range Rails {
		if !Rails[i].Shortens {
			names = append(names, Rails[i].Name)
		}
	}
	return names
}

// traits are properties of a rule or a list of actions that decide which rails are
// called for it.
type traits uint8

const (
	odd       traits = 1 << iota // a command other than ADD, flags, a meter
	hides                        // it answers an incomplete packet
	routed                       // its function is asked about some packets only
	remembers                    // the session remembers something

	allRules = iota // how many there are
)

const (
	toPort       traits = 1 << iota // output to a port of the switch's, or to no port at all
	toController                    //
	toTable                         //
	several                         // more than one action
	rewrites                        // writes, adds or takes off headers
	unknown                         // an action without a name

	allLists = iota
)

// bound are the rails of one event type, by what they check and by traits.
type bound struct {
	rule               [1 << allRules][]*Row
	actions, packetOut [1 << allLists][]*Row
	among              []*Row
}

var byEvent = func() (list [len(eventNames)]bound) {
	add := func(to [][]*Row, r *Row) {
		for has := range to {
			if r.when == 0 || r.when&traits(has) != 0 {
				to[has] = append(to[has], r)
			}
		}
	}
	for i := range Rails {
		r := &Rails[i]
		for e := range list {
			if r.Events>>e&1 == 0 {
				continue
			}
			b := &list[e]
			switch {
			case r.rule != nil:
				add(b.rule[:], r)
			case r.among != nil:
				b.among = append(b.among, r)
			case r.list != nil:
				if r.Binds&Rules != 0 {
					add(b.actions[:], r)
				}
				if r.Binds&PacketOuts != 0 {
					add(b.packetOut[:], r)
				}
			}
		}
	}
	return list
}()

func ofEvent(ev *flow.Event) *bound {
	e := 0
	for one := eventsOf(ev); one > 1; one >>= 1 {
		e++
	}
	return &byEvent[e]
}

func command(_ *check, r *flow.Rule) string {
	if r.Command != flow.Add {
		return r.Command.String() + " where only ADD is allowed"
	}
	return ""
}

// match completes the match besides.
func match(c *check, r *flow.Rule) string {
	if detail := inRange(&r.Match); detail != "" {
		return detail
	}
	fields := r.Match.Fields
	r.Match.Normalize()
	if rest := fields &^ r.Match.Fields; rest != 0 {
		return fmt.Sprintf("match: fields %#x are not known", uint32(rest))
	}
	if err := r.Match.Complete(c.packet); err != nil {
		return err.Error()
	}
	return ""
}

func notExpressible(c *check, r *flow.Rule) string {
	if c.off(RailNotExpressible) {
		return ""
	}
	if err := c.sw.Fit(r, c.packet); err != nil {
		return err.Error()
	}
	return ""
}

func table(c *check, r *flow.Rule) string {
	switch {
	case !c.g.Tables.Has(r.Table):
		return fmt.Sprintf("table %d is not configured", r.Table)
	case r.Goto == 0:
		return ""
	case !c.g.Tables.Has(r.Goto):
		return fmt.Sprintf("goto: table %d is not configured", r.Goto)
	case r.Goto <= r.Table:
		return fmt.Sprintf("goto: table %d does not follow table %d", r.Goto, r.Table)
	}
	return ""
}

func priority(c *check, r *flow.Rule) string {
	if r.Priority < c.g.MinPriority || r.Priority > c.g.MaxPriority {
		return fmt.Sprintf("want %d to %d", c.g.MinPriority, c.g.MaxPriority)
	}
	return ""
}

// maxTimeout is what OpenFlow's 16 bits hold (1.3.5, 7.3.4.1).
const maxTimeout = 65535 * time.Second

func badTimeout(_ *check, r *flow.Rule) string {
	if sayable(r.IdleTimeout) && sayable(r.HardTimeout) {
		return ""
	}
	return "want whole seconds from 0 to 65535"
}

func sayable(timeout time.Duration) bool {
	return timeout == 0 || timeout > 0 && timeout <= maxTimeout && timeout%time.Second == 0
}

func noTimeout(_ *check, r *flow.Rule) string {
	if r.IdleTimeout == 0 && r.HardTimeout == 0 {
		return "neither idle_timeout nor hard_timeout"
	}
	return ""
}

func notCovering(c *check, r *flow.Rule) string {
	if c.covers || learned(r, c.packet) {
		return ""
	}
	return "the packet is " + c.packet.String()
}

func tooWide(c *check, r *flow.Rule) string {
	m := &r.Match
	if m.Has(flow.FieldEthSrc) && m.EthSrcMask == flow.MACExact {
		return ""
	}
	switch {
	case learned(r, c.packet):
		return ""
	case !m.Has(flow.FieldInPort):
		return "want in_port or a whole eth_src"
	case !narrow(m) && r.Forwards():
		return "with actions, want a header of the packet beside in_port"
	}
	return ""
}

// narrow reports whether m asks for a header of the packet, and not only for the port
// that it came in by. The absence of a VLAN tag doesn't count, and neither does a mask
// that leaves half of all addresses.
func narrow(m *flow.Match) bool {
	const weighed = flow.FieldInPort | flow.FieldMetadata | flow.FieldTunnelID | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN
	if m.Fields&^weighed != 0 {
		return true
	}
	address := func(f flow.Field, a, mask flow.MAC) bool {
		return m.Has(f) && (mask.And(flow.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}) != flow.MAC{} || a.Multicast())
	}
	return address(flow.FieldEthDst, m.EthDst, m.EthDstMask) || address(flow.FieldEthSrc, m.EthSrc, m.EthSrcMask) ||
		m.Has(flow.FieldVLAN) && m.VLAN&m.VLANMask&flow.VLANPresent != 0
}

// learned reports whether r is what a learning switch would install for packet: a rule
// in a table other than 0 that matches eth_dst, and at most the VLAN, and sends packets
// for the packet's own unicast source to the port that the packet came in by. Such a
// rule doesn't cover the packet and needs no in_port.
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

// proactiveWide lets a rule be wide in a table to which only a goto leads: the
// rule that sends packets there is itself held to what it may match. That is so
// in OpenFlow 1.3; in P4 the order of tables is the program's.
func proactiveWide(c *check, r *flow.Rule) string {
	if c.g.ProactiveWide || r.Table != 0 && c.protocol() == flow.OpenFlow13 || narrow(&r.Match) || !r.Forwards() {
		return ""
	}
	return "with actions, want a header of the packet (guardrails.proactive_wide lifts this)"
}

// incompleteLife is the timeout of a deny that answers an incomplete packet: it may match
// more packets than was meant.
const incompleteLife = 2 * time.Second

func incomplete(c *check, r *flow.Rule) string {
	switch {
	case c.incomplete == 0 || r.CoversIncomplete:
		return ""
	case r.Forwards():
		return "the packet does not show " + c.incomplete.String() + ", and the rule does not say covers_incomplete"
	case !c.off(RailIncomplete) && (r.HardTimeout == 0 || r.HardTimeout > incompleteLife):
		r.HardTimeout, c.cut = incompleteLife, true
	}
	return ""
}

// route allows the rule that a learning switch would install for the packet ([learned]),
// although it doesn't cover the packet: it sends packets to the host that has asked, and
// packets reach it only by a goto.
func route(c *check, r *flow.Rule) string {
	if c.within == nil || c.packet != nil && learned(r, c.packet) {
		return ""
	}
	if err := c.within(r); err != nil {
		return err.Error()
	}
	return ""
}

func flags(_ *check, r *flow.Rule) string {
	const known = flow.SendFlowRemoved | flow.CheckOverlap | flow.ResetCounts | flow.NoPacketCounts | flow.NoByteCounts
	if rest := r.Flags &^ known; rest != 0 {
		return fmt.Sprintf("flags %#x are not known", uint16(rest))
	}
	return ""
}

// maxMeter is the last number of a meter that can be made (OpenFlow 1.3.5, 7.3.4.4, OFPM_MAX).
const maxMeter = 0xffff0000

func meter(c *check, r *flow.Rule) string {
	switch {
	case r.Meter == 0:
		return ""
	case r.Meter > maxMeter:
		return fmt.Sprintf("meter %#x is a reserved number", r.Meter)
	case !slices.Contains(c.g.Meters, r.Meter):
		return fmt.Sprintf("the gateway defines no meter %d", r.Meter)
	}
	if e, ok := c.sw.(Equipped); ok && !e.HasMeter(r.Meter) {
		return fmt.Sprintf("the switch has no meter %d", r.Meter)
	}
	return ""
}

func foreign(c *check, r *flow.Rule) string { return c.mem.foreignTo(r) }

func shielded(c *check, r *flow.Rule) string {
	if c.mem.denies.Load() == 0 || !r.Forwards() {
		return ""
	}
	return c.mem.shielding(r, c.sw)
}

func hardTimeout(c *check, r *flow.Rule) string {
	if c.off(RailHardTimeout) {
		return ""
	}
	limit := c.g.MaxHardTimeout
	if own := c.g.MaxConversation; own > 0 && own != limit && ofConversation(&r.Match, c.packet) {
		limit = own
	}
	if r.HardTimeout == 0 && c.g.HardTimeout > 0 {
		r.HardTimeout, c.cut = c.g.HardTimeout, true
	}
	if limit > 0 && (r.HardTimeout == 0 || r.HardTimeout > limit) {
		r.HardTimeout, c.cut = limit, true
	}
	return ""
}

// ofConversation reports whether m matches the packet's conversation and no other.
func ofConversation(m, packet *flow.Match) bool {
	return packet.Converses() && m.Has(flow.FieldInPort) && m.Keep(flow.Conversation) == packet.Keep(flow.Conversation)
}

// order refuses a rule with actions if the answer means another rule to be looked up
// before it, and the switch may look this one up first.
func order(c *check, i int) string {
	rules := c.d.Rules
	r := &rules[i]
	if !r.Forwards() {
		return ""
	}
	for j := range rules {
		o := &rules[j]
		if j == i || o.Table != r.Table || o.Priority < r.Priority || o.Command != flow.Add || c.fell(j) {
			continue
		}
		if o.Priority == r.Priority {
			// It is undefined which of two rules the switch takes (OpenFlow 1.3.5, 5.3). If
			// both match the same packets, it takes the later one. A goto may lead to a deny.
			if o.Forwards() && o.Goto == r.Goto || c.sw.Before(o, r) || !r.Match.Overlaps(&o.Match) {
				continue
			}
			return "it has the priority of " + o.String()
		}
		if c.sw.Before(r, o) && !sameEffect(r, o) && r.Match.Overlaps(&o.Match) {
			return "the switch looks it up before " + o.String()
		}
	}
	return ""
}

func sameEffect(a, b *flow.Rule) bool {
	return a.Goto == b.Goto && a.Meter == b.Meter && slices.Equal(a.Actions, b.Actions)
}

func (c *check) protocol() flow.Protocol {
	if c.desc == nil {
		return 0
	}
	return c.desc.Protocol
}

// inRange names a value in m that has more bits than its field, or returns "". Decoders
// refuse most of these; answers of a controller in the same process pass no decoder.
func inRange(m *flow.Match) string {
	ip := flow.NeedIP.Fields() & flow.Prefix.Fields()
	for rest := m.Fields & ip; rest != 0; rest &= rest - 1 {
		if f := rest & -rest; !f.Info().Prefix(m).IsValid() {
			return fmt.Sprintf("match: %v is no prefix", f)
		}
	}
	if f := m.Beyond(); f != 0 {
		bits := f.Info().Bits
		return fmt.Sprintf("match: %v has %s bits", f, cmp.Or(bitsOf[bits], strconv.Itoa(int(bits))))
	}
	if m.Has(flow.FieldVLAN) && (m.VLAN|m.VLANMask)&^flow.VLANExact != 0 {
		return "match: vlan_vid has thirteen bits"
	}
	for rest := m.Fields & flow.Prefix.Fields() &^ ip; rest != 0; rest &= rest - 1 {
		f := rest & -rest
		if p := f.Info().Prefix(m); !p.IsValid() || !p.Addr().Is4() {
			return fmt.Sprintf("match: %v is no IPv4 prefix", f)
		}
	}
	for rest := m.Fields & flow.IPv6.Fields(); rest != 0; rest &= rest - 1 {
		if f := rest & -rest; !f.Info().Addr(m).Is6() {
			return fmt.Sprintf("match: %v is no IPv6 address", f)
		}
	}
	return ""
}

// bitsOf has the widths of the fields that are not whole bytes.
var bitsOf = map[uint8]string{2: "two", 3: "three", 6: "six", 20: "twenty"}
