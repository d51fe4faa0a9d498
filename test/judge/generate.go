package judge

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// Kind is what a case is about, and with it what counts as denied.
type Kind string

const (
	// Answers have rules of every sort, denies above allows. What the answer denies may not pass.
	Answers Kind = "answers"
	// Incomplete packets are answered with a rule made of the event's match, by a function that denies TCP
	// port 22 and allows the rest. Port 22 may not pass without being asked about.
	Incomplete Kind = "incomplete"
	// Wide: events other than PACKET_IN are answered with an allow of everything, by a function that denies
	// port 22 when it is asked. Port 22 may not pass without being asked about.
	Wide Kind = "wide"
	// Broad: a packet to another port is answered with an allow of all that comes by its port, or of all that
	// goes to its host, by a function that denies port 22 when it is asked.
	Broad Kind = "broad"
	// Stray: a packet is answered with an allow of another host's packets, by the same function.
	Stray Kind = "stray"
	// Routed: a function that is asked about one port of the switch allows a host whatever port it is at.
	// Elsewhere a function decides that denies port 22.
	Routed Kind = "routed"
	// Foreign: somebody else's deny is in the switch before the gateway connects, and the answer has an
	// allow of equal match and priority. What the deny denies may not pass.
	Foreign Kind = "foreign"
	// Outranked is Foreign with a deny above the priorities that are a function's, and an allow above it.
	Outranked Kind = "outranked"
	// Table is Foreign with a deny in a table that is not a function's, and an allow above it there.
	Table Kind = "table"
	// Refused: the switch refuses some rules of a sound answer, since its table is full or a rule of somebody
	// else overlaps. The function's next answer has the allows alone. What a deny of the first denies may not
	// pass, be it in the switch or not.
	Refused Kind = "refused"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{Answers, Incomplete, Wide, Broad, Stray, Routed, Foreign, Outranked, Table, Refused}
}

// Case is one event and how the function answers it.
type Case struct {
	Seed   uint64
	Kind   Kind
	Twists []string // what is odd about it, for people
	Event  flow.EventType

	// Packet is the event's, or, where the event has none, one that neighbours are made of.
	Packet Packet
	// Shown is how many bytes of the packet the PACKET_IN has; -1 is all.
	Shown int
	// Foreign are rules of somebody else, which are in the switch when the gateway connects.
	Foreign []flow.Rule
	// Room is how many rules more the switch's first table takes; -1 is as many as there are.
	Room int
	// Route, if not 0, is the port that the function is asked about. Another is asked about the others.
	Route flow.PortNo

	answer func(packet *flow.Match) *flow.Decision
	// next is what the function says the next time, to an event without a packet; nil: nothing.
	next func(packet *flow.Match) *flow.Decision
}

// DeniedPort is what functions deny that know one rule.
const DeniedPort DeniesPort = 22

// Options narrow what is generated.
type Options struct {
	Kinds []Kind // nil: all
	// Twist, if not "", is one that every answer of kind Answers has.
	Twist string
}

// Generate returns the case of a seed.
func Generate(seed uint64, o Options) *Case {
	r := rand.New(rand.NewPCG(seed, 0x6a75646765))
	kinds := o.Kinds
	if kinds == nil {
		kinds = append([]Kind{Answers, Answers, Answers, Answers, Answers, Answers, Answers, Incomplete}, Kinds()...)
	}
	c := &Case{Seed: seed, Kind: pick(r, kinds), Event: flow.EventPacketIn, Shown: -1, Room: -1}
	g := &generator{r: r, c: c, always: o.Twist}
	others := []flow.EventType{flow.EventSwitchConnected, flow.EventFlowRemoved, flow.EventPortStatus, flow.EventError, flow.EventFlowRemoved, flow.EventPortStatus}
	switch c.Kind {
	case Answers:
		if once(r, 3) {
			c.Event = pick(r, others)
		}
		c.Packet = RandomPacket(r, !once(r, 4))
		c.answer = g.rules
	case Incomplete:
		g.incompletePacket()
		c.answer = g.echo
	case Wide:
		c.Event = pick(r, others)
		c.Packet = RandomPacket(r, true)
		c.answer = g.wide
	case Broad, Stray, Routed:
		g.innocentPacket()
		c.answer = map[Kind]func(*flow.Match) *flow.Decision{Broad: g.broad, Stray: g.stray, Routed: g.routed}[c.Kind]
		if c.Kind == Routed {
			c.Route = c.Packet.Port
		}
	case Foreign, Outranked, Table:
		c.Event = pick(r, others)
		c.Packet = RandomPacket(r, true)
		c.answer = g.foreign()
	case Refused:
		c.Event = pick(r, []flow.EventType{flow.EventPacketIn, flow.EventPacketIn, flow.EventSwitchConnected, flow.EventFlowRemoved, flow.EventPortStatus})
		c.Packet = RandomPacket(r, true)
		g.refused()
	}
	return c
}

// For reports whether a switch of a version can be asked.
func (c *Case) For(v flow.Protocol) bool { return c.Kind != Table || v != flow.OpenFlow10 }

// Answer is what the function says. packet is the event's, as the gateway tells it; nil without one.
func (c *Case) Answer(packet *flow.Match) *flow.Decision {
	return c.answer(packet)
}

type generator struct {
	r      *rand.Rand
	c      *Case
	always string
}

// plainFields are those that both versions of OpenFlow have, of a packet that is not IPv6.
const plainFields = flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN | flow.FieldVLANPCP | flow.FieldIPDSCP |
	flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | portFields | icmpFields | flow.FieldARPOp | flow.FieldARPSPA | flow.FieldARPTPA

// some returns a match on some of the packet's fields, n in eight of them, with their prerequisites.
func (g *generator) some(p *flow.Match, n int) flow.Match {
	keep := flow.FieldInPort
	if once(g.r, 3) && p.Has(flow.FieldEthSrc) {
		keep = flow.FieldEthSrc
	}
	for f := flow.FieldInPort; f <= flow.FieldTunnelID; f <<= 1 {
		if f&plainFields != 0 && g.r.IntN(8) < n {
			keep |= f
		}
	}
	keep &= p.Fields
	if keep&(portFields|icmpFields) != 0 {
		keep |= flow.FieldIPProto
	}
	if keep&(flow.FieldIPProto|flow.FieldIPDSCP|flow.FieldIPSrc|flow.FieldIPDst|flow.FieldARPOp|flow.FieldARPSPA|flow.FieldARPTPA) != 0 {
		keep |= flow.FieldEthType
	}
	if keep&flow.FieldVLANPCP != 0 {
		keep |= flow.FieldVLAN
	}
	m := p.Canonical().Keep(keep & p.Fields)
	g.widen(&m)
	return m
}

// widen shortens prefixes.
func (g *generator) widen(m *flow.Match) {
	for _, p := range []struct {
		f    flow.Field
		addr *netip.Prefix
	}{{flow.FieldIPSrc, &m.IPSrc}, {flow.FieldIPDst, &m.IPDst}, {flow.FieldARPSPA, &m.ARPSPA}, {flow.FieldARPTPA, &m.ARPTPA}} {
		if m.Has(p.f) && once(g.r, 3) {
			*p.addr = netip.PrefixFrom(p.addr.Addr(), pick(g.r, []int{0, 8, 24, 30, p.addr.Addr().BitLen() - 1})).Masked()
		}
	}
}

var out = flow.OutputTo

func (g *generator) forward() []flow.Action {
	lists := [][]flow.Action{
		{out(flow.PortNormal)}, {out(flow.PortNormal)}, {out(flow.PortFlood)}, {out(flow.PortAll)}, {out(2)}, {out(3)}, {out(2), out(3)},
		{{Type: flow.SetVLANVID, Value: 7}, out(2)}, {{Type: flow.PopVLAN}, out(3)}, {{Type: flow.SetEthDst, MAC: mac(3)}, out(2)},
		{{Type: flow.SetQueue, ID: 1}, out(2)}, {out(flow.PortIn)},
	}
	return slices.Clone(pick(g.r, lists))
}

// rules is an answer of kind Answers: denies above allows, and what twists make of it.
func (g *generator) rules(packet *flow.Match) *flow.Decision {
	r := g.r
	p := packet
	if p == nil || !p.Has(flow.FieldEthType) {
		whole := g.c.Packet
		whole.Cut, whole.Fragment = 0, Whole
		m := flow.ParseFrame(whole.Frame(), whole.Port)
		p = &m
	}
	d := new(flow.Decision)
	timeouts := []time.Duration{10 * time.Second, 60 * time.Second, 300 * time.Second}
	add := func(m flow.Match, priority uint16, actions []flow.Action) {
		rule := flow.Rule{Priority: priority, Match: m, Actions: actions, HardTimeout: pick(r, timeouts), BufferID: flow.NoBuffer}
		if packet == nil && once(r, 2) {
			rule.HardTimeout = 0
		}
		d.Rules = append(d.Rules, rule)
	}
	low := pick(r, []uint16{1, 10, 100, 1000})
	for range 1 + r.IntN(2) {
		add(g.some(p, pick(r, []int{0, 1, 2})), low+uint16(r.IntN(3)), g.forward())
	}
	for range 1 + r.IntN(3) {
		m := g.some(p, pick(r, []int{2, 3, 5}))
		if packet == nil && once(r, 3) || once(r, 8) {
			m = g.another(m) // one that the packet does not meet
		}
		add(m, low+3+uint16(r.IntN(100)), nil)
	}
	for i := range 1 + r.IntN(3) {
		t := pick(r, twists)
		if i == 0 && g.always != "" {
			t = twists[slices.IndexFunc(twists, func(t twist) bool { return t.name == g.always })]
		}
		g.twist(d, p, t)
	}
	if once(r, 2) {
		for i := range d.Rules {
			d.Rules[i].CoversIncomplete = true
		}
	}
	r.Shuffle(len(d.Rules), func(i, j int) { d.Rules[i], d.Rules[j] = d.Rules[j], d.Rules[i] })
	if once(r, 3) {
		d.HasPacketOut = true
		if once(r, 2) {
			d.PacketOut = g.forward()
		}
	}
	return d
}

// another changes one value of a match.
func (g *generator) another(m flow.Match) flow.Match {
	switch {
	case m.Has(flow.FieldL4Dst) && once(g.r, 2):
		m.L4Dst = 22
	case m.Has(flow.FieldIPDst) && m.IPDst.Addr().Is4():
		m.SetIPDst(netip.PrefixFrom(host4(3), 32))
	case m.Has(flow.FieldEthDst):
		m.SetEthDst(mac(3), flow.MACExact)
	default:
		m.SetEthSrc(mac(4), flow.MACExact)
	}
	return m
}

// twist makes one thing odd: mostly of a deny, which then may fall out of the answer.
func (g *generator) twist(d *flow.Decision, p *flow.Match, t twist) {
	var denies, allows []*flow.Rule
	for i := range d.Rules {
		if r := &d.Rules[i]; len(r.Actions) == 0 && r.Goto == 0 {
			denies = append(denies, r)
		} else {
			allows = append(allows, r)
		}
	}
	if len(denies) == 0 || len(allows) == 0 {
		return
	}
	t.make(g, d, pick(g.r, denies), pick(g.r, allows), p)
	g.c.Twists = append(g.c.Twists, t.name)
}

type twist struct {
	name string
	make func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) // deny and allow are rules of d
}

// twists are the ways in which an answer is odd.
var twists = []twist{
	{"nothing", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {}},

	// Fields that OpenFlow 1.0 has not.
	{"ip_ecn", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if !p.Has(flow.FieldIPECN) {
			return
		}
		deny.Match.SetEthType(p.EthType)
		deny.Match.Fields |= flow.FieldIPECN
		deny.Match.IPECN = p.IPECN
	}},
	{"ipv6", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.EthType == flow.EthTypeIPv6 && p.Has(flow.FieldIPSrc) {
			deny.Match.SetEthType(p.EthType)
			deny.Match.SetIPSrc(p.IPSrc)
		}
	}},
	{"ipv6_flabel", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldFlowLabel) {
			deny.Match.SetEthType(p.EthType)
			deny.Match.Fields |= flow.FieldFlowLabel
			deny.Match.FlowLabel = p.FlowLabel
		}
	}},
	{"ipv6_nd_target", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldNDTarget) {
			deny.Match.SetEthType(p.EthType)
			deny.Match.Fields |= flow.FieldNDTarget
			deny.Match.NDTarget = p.NDTarget
		}
	}},
	{"arp_sha", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldARPSHA) {
			deny.Match.SetEthType(p.EthType)
			deny.Match.Fields |= flow.FieldARPSHA
			deny.Match.ARPSHA = p.ARPSHA
		}
	}},
	{"sctp", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.EthType == flow.EthTypeIPv4 && p.IPProto == flow.ProtoSCTP && p.Has(flow.FieldL4Dst) {
			deny.Match.SetEthType(p.EthType)
			deny.Match.SetIPProto(p.IPProto)
			deny.Match.SetL4Dst(p.L4Dst)
		}
	}},
	{"masked_mac", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldEthDst) {
			deny.Match.SetEthDst(p.EthDst, flow.MAC{0xff, 0xff, 0xff, 0, 0, 0})
		}
	}},
	{"metadata", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Match.Fields |= pick(g.r, []flow.Field{flow.FieldMetadata, flow.FieldTunnelID})
		deny.Match.MetadataMask, deny.Match.TunnelMask = 1, 1
		deny.Match = deny.Match.Canonical()
	}},
	{"vlan_mask", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldVLAN) {
			deny.Match.Fields &^= flow.FieldVLANPCP
			deny.Match.SetVLAN(p.VLAN, pick(g.r, []uint16{flow.VLANPresent, flow.VLANPresent | 5, 0, 0xfff}))
			deny.Match = deny.Match.Canonical()
		}
	}},

	// Fields that no version has in this form.
	{"vlan_without_bit", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Match.Fields &^= flow.FieldVLANPCP
		deny.Match.SetVLAN(5, pick(g.r, []uint16{flow.VLANExact, 0xfff}))
		if p.VLAN&flow.VLANPresent != 0 && p.VLAN&0xfff != 0 {
			deny.Match.VLAN = p.VLAN & 0xfff
		}
	}},
	{"out_of_range", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		switch g.r.IntN(3) {
		case 0:
			deny.Match.Fields |= flow.FieldIPDSCP
			deny.Match.IPDSCP = 64 | p.IPDSCP
		case 1:
			deny.Match.Fields |= flow.FieldVLANPCP
			deny.Match.VLANPCP = 8 | p.VLANPCP
		case 2:
			deny.Match.SetVLAN(0x2000|p.VLAN, 0xffff)
		}
	}},
	{"arp_op", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.EthType == flow.EthTypeARP {
			deny.Match.SetEthType(p.EthType)
			deny.Match.Fields |= flow.FieldARPOp
			deny.Match.ARPOp = pick(g.r, []uint16{p.ARPOp, 256, 257})
		}
	}},
	{"in_port", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Match.SetInPort(pick(g.r, []flow.PortNo{flow.PortLocal, flow.PortController, flow.PortAny, flow.PortIn, 0xff00, 0, 70000}))
	}},
	{"contradiction", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Match.SetEthType(flow.EthTypeARP)
		deny.Match.SetIPProto(flow.ProtoTCP)
		deny.Match.SetL4Dst(22)
	}},
	{"icmp_of_the_other_family", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if p.Has(flow.FieldICMPType) {
			deny.Match.SetICMP(p.ICMPType, p.ICMPCode)
			deny.Match.Fields &^= flow.FieldIPProto | flow.FieldEthType
			deny.Match = deny.Match.Canonical()
		}
	}},
	{"no_prerequisites", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		keep := flow.FieldInPort | flow.FieldEthSrc | portFields | flow.FieldIPDSCP
		deny.Match = p.Canonical().Keep(keep & p.Fields)
	}},

	// What a switch refuses, or the gateway.
	{"meter", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) { deny.Meter = 99 }},
	{"meter_of_allow", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) { allow.Meter = 99 }},
	{"check_overlap", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Flags = flow.CheckOverlap
	}},
	{"flags", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Flags = pick(g.r, []flow.RuleFlags{flow.SendFlowRemoved, flow.ResetCounts, flow.NoPacketCounts, 0x8000, 0xffff})
	}},
	{"table", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Table = pick(g.r, []uint8{1, 2, 200, 254, 255})
	}},
	{"goto", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		table := pick(g.r, []uint8{1, 1, 2, 200})
		below := *deny
		below.Table = table
		deny.Goto = table
		d.Rules = append(d.Rules, below)
		if once(g.r, 2) {
			over := *allow
			over.Table, over.Match, over.Priority = table, g.some(p, 0), 1
			d.Rules = append(d.Rules, over)
		}
	}},
	{"goto_back", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Table, deny.Goto = 1, 1
	}},
	{"goto_allows", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		below := *allow
		below.Table = 1
		allow.Goto, allow.Actions = 1, nil
		deny.Table = 1
		deny.Priority = max(deny.Priority, below.Priority+1)
		d.Rules = append(d.Rules, below)
	}},
	{"priority", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Priority = pick(g.r, []uint16{60001, 65535})
	}},
	{"priority_zero", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) { allow.Priority = 0 }},
	{"equal_priority", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Priority = allow.Priority
	}},
	{"twin", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Priority, allow.Match = deny.Priority, deny.Match
	}},
	{"timeout", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.HardTimeout = pick(g.r, []time.Duration{-time.Second, 65536 * time.Second, 65537 * time.Second, 1500 * time.Millisecond, 1})
	}},
	{"no_timeout", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.HardTimeout, deny.IdleTimeout = 0, 0
	}},
	{"long_timeout", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.HardTimeout = 65535 * time.Second
	}},
	{"idle", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.IdleTimeout, deny.HardTimeout = 30*time.Second, 0
	}},
	{"command", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		away := *deny
		away.Command = pick(g.r, []flow.Command{flow.Delete, flow.DeleteStrict, flow.Modify, flow.ModifyStrict})
		if away.Command == flow.Modify || away.Command == flow.ModifyStrict {
			away.Actions = g.forward()
		}
		d.Rules = append(d.Rules, away)
	}},
	{"many", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		if once(g.r, 4) {
			for i := range 64 {
				more := *deny
				more.Priority += uint16(i)
				d.Rules = append(d.Rules, more)
			}
		}
	}},
	{"any", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) { deny.Match = flow.Match{} }},
	{"zero_mask", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Match = flow.Match{}
		allow.Match.SetEthSrc(flow.MAC{}, flow.MAC{})
	}},

	// Actions.
	{"queue_only", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Actions = []flow.Action{{Type: flow.SetQueue, ID: 1}}
	}},
	{"rewrite_only", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Actions = []flow.Action{{Type: flow.SetL4Dst, Value: 8080, IPProto: flow.ProtoUDP}}
	}},
	{"to_controller", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Actions = []flow.Action{{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}}
	}},
	{"set_field_of_another_protocol", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = append([]flow.Action{{Type: flow.SetL4Dst, Value: 8080, IPProto: pick(g.r, []uint8{flow.ProtoUDP, flow.ProtoTCP, 0})}}, out(2))
	}},
	{"set_address_of_another_family", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = []flow.Action{{Type: flow.SetIPDst, Addr: pick(g.r, []netip.Addr{host4(3), host6(3)})}, out(2)}
	}},
	{"output", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = []flow.Action{out(pick(g.r, []flow.PortNo{99, flow.PortTable, flow.PortAny, flow.PortLocal, 0}))}
	}},
	{"unnamed_action", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = []flow.Action{{Type: flow.Unsupported, ID: 0xffff}}
	}},
	{"queue_of_normal", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = []flow.Action{{Type: flow.SetQueue, ID: 1}, out(flow.PortNormal)}
	}},
	{"push", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		allow.Actions = []flow.Action{{Type: flow.PushVLAN, Value: flow.EthTypeVLAN}, {Type: flow.SetVLANVID, Value: 5}, out(2)}
	}},
	{"cookie_and_buffer", func(g *generator, d *flow.Decision, deny, allow *flow.Rule, p *flow.Match) {
		deny.Cookie, deny.CookieMask, deny.BufferID, deny.OutPort = 0x99, ^uint64(0), 7, 3
	}},
}

// incompletePacket makes the case's packet one that lacks headers.
func (g *generator) incompletePacket() {
	r, c := g.r, g.c
	c.Packet = RandomPacket(r, true)
	c.Packet.Tags = nil
	if once(r, 4) {
		c.Packet.Tags = []Tag{{flow.EthTypeVLAN, 5}}
	}
	c.Packet.be(pick(r, []uint16{flow.EthTypeIPv4, flow.EthTypeIPv4, flow.EthTypeIPv6}))
	c.Packet.Proto = pick(r, []uint8{flow.ProtoTCP, flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP})
	c.Packet.L4Dst = pick(r, []uint16{22, 80, 443})
	if once(r, 4) {
		c.Shown = pick(r, []int{0, 0, 13, 14, 24, 34, 37})
		c.Twists = append(c.Twists, fmt.Sprintf("%d bytes shown", c.Shown))
		return
	}
	c.Packet.Mangle(r)
	c.Twists = append(c.Twists, fmt.Sprintf("fragment %d, cut after %d, version %d, extensions %v", c.Packet.Fragment, c.Packet.Cut, c.Packet.Version, c.Packet.Extension))
}

// echo answers as the contract advises: a rule of the event's match, for all but the denied port.
func (g *generator) echo(packet *flow.Match) *flow.Decision {
	d := new(flow.Decision)
	m := packet.Canonical()
	actions := g.forward()
	if DeniedPort.Denies(&Classified{Match: m}) {
		actions = nil
	}
	if !once(g.r, 3) { // as a function for OpenFlow 1.0 would have it
		m = m.Keep(m.Fields & plainFields &^ (flow.FieldIPDSCP | flow.FieldVLANPCP))
	}
	d.Rules = []flow.Rule{{Priority: 100, Match: m, Actions: actions, IdleTimeout: 60 * time.Second, BufferID: flow.NoBuffer}}
	return d
}

// wide answers with an allow that names no header beyond the port, in one of several disguises.
func (g *generator) wide(*flow.Match) *flow.Decision {
	r := g.r
	var m flow.Match
	if once(r, 2) {
		m.SetInPort(g.c.Packet.Port)
	}
	disguise := pick(r, []string{"plain", "plain", "zero mask of eth_src", "zero mask of eth_dst", "zero mask of vlan_vid", "zero mask of metadata"})
	switch disguise {
	case "zero mask of eth_src":
		m.SetEthSrc(flow.MAC{}, flow.MAC{})
	case "zero mask of eth_dst":
		m.SetEthDst(flow.MAC{}, flow.MAC{})
	case "zero mask of vlan_vid":
		m.SetVLAN(0, 0)
	case "zero mask of metadata":
		m.Fields |= flow.FieldMetadata
	}
	g.c.Twists = append(g.c.Twists, disguise)
	d := new(flow.Decision)
	d.Rules = []flow.Rule{{Priority: pick(r, []uint16{1, 1000, 60000}), Match: m, Actions: g.forward(), BufferID: flow.NoBuffer}}
	if once(r, 4) {
		g.c.Twists = append(g.c.Twists, "by a second table")
		second := d.Rules[0]
		second.Table = 1
		d.Rules[0].Actions, d.Rules[0].Goto = nil, 1
		d.Rules = append(d.Rules, second)
	}
	return d
}

// innocentPacket is one that the function allows.
func (g *generator) innocentPacket() {
	g.c.Packet = RandomPacket(g.r, true)
	p := &g.c.Packet
	p.be(pick(g.r, []uint16{flow.EthTypeIPv4, flow.EthTypeIPv4, flow.EthTypeIPv6}))
	p.Proto, p.L4Src, p.L4Dst = pick(g.r, []uint8{flow.ProtoTCP, flow.ProtoUDP}), 40000, 80
}

// one is an answer of one rule.
func (g *generator) one(priority uint16, m flow.Match) *flow.Decision {
	return &flow.Decision{Rules: []flow.Rule{{Priority: priority, Match: m, Actions: g.everywhere(), IdleTimeout: time.Minute, BufferID: flow.NoBuffer}}}
}

// broad allows more than the packet, in one of several disguises.
func (g *generator) broad(packet *flow.Match) *flow.Decision {
	m := packet.Canonical()
	disguise := pick(g.r, []string{"in_port", "in_port and no tag", "in_port and half of eth_src", "eth_dst", "protocol"})
	g.c.Twists = append(g.c.Twists, disguise)
	switch disguise {
	case "in_port":
		m = m.Keep(flow.FieldInPort)
	case "in_port and no tag":
		m = m.Keep(flow.FieldInPort)
		m.SetVLAN(flow.VLANNone, flow.VLANExact)
		g.c.Packet.Tags = nil
	case "in_port and half of eth_src":
		m = m.Keep(flow.FieldInPort)
		m.SetEthSrc(packet.EthSrc, flow.MAC{1})
	case "eth_dst":
		m = m.Keep(flow.FieldEthDst)
	case "protocol":
		m = m.Keep(flow.FieldEthType | flow.FieldIPProto)
	}
	return g.one(100, m)
}

// stray allows what another host sends.
func (g *generator) stray(packet *flow.Match) *flow.Decision {
	m := packet.Keep(flow.FieldInPort)
	if once(g.r, 2) {
		m = packet.Keep(flow.FieldEthType | flow.FieldIPProto)
	}
	m.SetEthSrc(mac(4), flow.MACExact)
	return g.one(100, m)
}

// routed allows all that the packet's host sends, by whatever port it comes.
func (g *generator) routed(packet *flow.Match) *flow.Decision {
	keep := flow.FieldEthSrc
	for _, f := range []flow.Field{flow.FieldEthDst, flow.FieldEthType, flow.FieldVLAN} {
		if once(g.r, 3) {
			keep |= f
		}
	}
	return g.one(100, packet.Keep(keep&packet.Fields))
}

// everywhere are actions by which a packet leaves, whatever port it came by.
func (g *generator) everywhere() []flow.Action {
	return []flow.Action{out(pick(g.r, []flow.PortNo{flow.PortNormal, flow.PortFlood, flow.PortAll, flow.PortIn}))}
}

// plain makes a match one that either version can say.
func plain(m flow.Match) flow.Match {
	if _, err := ofp.AppendFlowMod(nil, flow.OpenFlow10, 1, &flow.Rule{Match: m}, flow.NoBuffer); err != nil {
		return m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldEthType | flow.FieldVLAN)
	}
	return m
}

// foreign puts somebody else's deny into the switch and answers with an allow of the same packets.
func (g *generator) foreign() func(*flow.Match) *flow.Decision {
	p := g.c.Packet
	whole := flow.ParseFrame(p.Frame(), p.Port)
	deny := flow.Rule{Priority: 500, Match: plain(g.some(&whole, 3)), Cookie: foreignCookie, BufferID: flow.NoBuffer}
	over := deny
	over.Cookie, over.Actions = 0, g.everywhere()
	switch g.c.Kind {
	case Outranked:
		deny.Priority, over.Priority = 61000, pick(g.r, []uint16{61001, 65535})
	case Table:
		const theirs = 5
		leads := deny
		leads.Priority, leads.Goto = 61000, theirs
		deny.Table, over.Table, over.Priority = theirs, theirs, 501
		g.c.Foreign = append(g.c.Foreign, leads)
	}
	g.c.Foreign = append(g.c.Foreign, deny)
	answer := flow.Decision{Rules: []flow.Rule{over}}
	return func(*flow.Match) *flow.Decision { return &answer }
}

// refused makes a sound answer of which the switch will refuse something, and one without the denies.
func (g *generator) refused() {
	r, c := g.r, g.c
	whole := flow.ParseFrame(c.Packet.Frame(), c.Packet.Port)
	low := pick(r, []uint16{1, 10, 100, 1000})
	life := pick(r, []time.Duration{60 * time.Second, 300 * time.Second})
	if c.Event != flow.EventPacketIn && once(r, 2) {
		life = 0
	}
	var allows, rules []flow.Rule
	for range 1 + r.IntN(2) {
		allows = append(allows, flow.Rule{Priority: low + uint16(r.IntN(3)), Match: plain(g.some(&whole, 2)), Actions: g.everywhere(), HardTimeout: life, BufferID: flow.NoBuffer})
	}
	for range 1 + r.IntN(3) {
		deny := flow.Rule{Priority: low + 3 + uint16(r.IntN(100)), Match: plain(g.some(&whole, pick(r, []int{2, 3, 5}))), HardTimeout: life, BufferID: flow.NoBuffer}
		if c.Event != flow.EventPacketIn && once(r, 3) {
			deny.Match = g.another(deny.Match)
		}
		rules = append(rules, deny)
	}
	overlaps := false
	if m := &rules[0].Match; once(r, 2) && !m.Has(flow.FieldEthDst) {
		// One of another VLAN's, of another host's: it decides about nothing that a packet here is.
		other := flow.Rule{Priority: rules[0].Priority, Match: *m, Cookie: foreignCookie, BufferID: flow.NoBuffer}
		other.Match.SetEthDst(mac(8), flow.MACExact)
		c.Foreign = []flow.Rule{other}
		rules[0].Flags |= flow.CheckOverlap
		c.Twists = append(c.Twists, "overlaps")
		overlaps = true
	}
	rules = append(rules, allows...)
	r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	if !overlaps || once(r, 4) {
		c.Room = 1 + r.IntN(len(rules)-1)
		c.Twists = append(c.Twists, fmt.Sprintf("room for %d of %d", c.Room, len(rules)))
	}
	c.answer = func(*flow.Match) *flow.Decision { return &flow.Decision{Rules: rules} }
	c.next = func(*flow.Match) *flow.Decision { return &flow.Decision{Rules: allows} }
}

const foreignCookie = 0xf0f0

// knowsOnePort reports whether the function denies a port and allows the rest.
func (c *Case) knowsOnePort() bool {
	switch c.Kind {
	case Incomplete, Wide, Broad, Stray, Routed:
		return true
	}
	return false
}

// covered makes a packet that an installed allow is for and no installed deny is: what an allow shows that it
// should not have, it shows to such a one. Where it finds none, it makes one that the allow is for.
func (c *Case) covered(r *rand.Rand, allow *flow.Match, installed Rules) (p Packet) {
	for range 12 {
		p = RandomPacket(r, true)
		if once(r, 3) {
			p = c.Packet
			p.Cut, p.Fragment, p.Version, p.Extension = 0, Whole, 0, nil
		}
		p.Tags = slices.Clone(p.Tags)
		if c.knowsOnePort() && once(r, 2) {
			p.Proto, p.L4Dst = flow.ProtoTCP, uint16(DeniedPort)
		}
		p.Satisfy(allow)
		m := flow.ParseFrame(p.Frame(), p.Port)
		if v, _ := installed.Says(&m, 0); v == Passes {
			break
		}
	}
	return p
}

// neighbour makes a packet near an installed allow and, if there is one, near a rule that denies. far keeps
// away from the event's packet, which rules above the allow are mostly about.
func (c *Case) neighbour(r *rand.Rand, allow, deny *flow.Match, far bool) Packet {
	p := c.Packet
	if far || once(r, 4) {
		p = RandomPacket(r, !once(r, 6))
	} else if !once(r, 4) {
		p.Cut, p.Fragment, p.Version = 0, Whole, 0
		p.Extension = nil
	}
	p.Tags = slices.Clone(p.Tags)
	p.Satisfy(allow)
	if deny != nil {
		p.Satisfy(deny)
		if once(r, 2) {
			p.Satisfy(allow)
		}
	}
	if c.knowsOnePort() && (!allow.Has(flow.FieldL4Dst) || once(r, 4)) && !once(r, 4) {
		if p.EthType != flow.EthTypeIPv4 && p.EthType != flow.EthTypeIPv6 {
			p.be(flow.EthTypeIPv4)
		}
		if p.Proto != flow.ProtoUDP && p.Proto != flow.ProtoSCTP {
			p.Proto = flow.ProtoTCP
		}
		p.L4Dst = uint16(DeniedPort)
	}
	if once(r, 4) {
		switch r.IntN(7) {
		case 0:
			p.Port = flow.PortNo(1 + r.IntN(3))
		case 1:
			p.TOS = pick(r, tos)
		case 2:
			p.Tags = nil
		case 3:
			p.L4Dst = pick(r, ports)
		case 4:
			p.Proto = pick(r, protos)
		case 5:
			p.Mangle(r)
		case 6:
			p.EthDst = mac(1 + r.IntN(3))
		}
	}
	return p
}
