package guard

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

// trial is an answer that exactly one rail refuses.
type trial struct {
	g   *Guardrails
	ev  *flow.Event
	d   flow.Decision
	sw  Switch
	mem *Memory
}

// rule is the one that the trial is about, the last.
func (t *trial) rule() *flow.Rule { return &t.d.Rules[len(t.d.Rules)-1] }

// events has an event of each kind.
func events() map[Events]*flow.Event {
	return map[Events]*flow.Event{
		OnPacketIn:        packetEvent(tcpPacket(80)),
		OnSwitchConnected: {Type: flow.EventSwitchConnected, Switch: testSwitch()},
		OnFlowRemoved:     {Type: flow.EventFlowRemoved, Switch: testSwitch(), FlowRemoved: &flow.FlowRemoved{}},
		OnPortStatus:      {Type: flow.EventPortStatus, Switch: testSwitch(), PortStatus: &flow.PortStatus{}},
		OnError:           {Type: flow.EventError, Switch: testSwitch(), Error: &flow.SwitchError{}},
	}
}

// picky is a switch that looks rules up in an order of its own.
type picky struct {
	Anything
	before func(a, b *flow.Rule) bool
}

func (p picky) Before(a, b *flow.Rule) bool { return p.before(a, b) }

func exactFirst(a, b *flow.Rule) bool {
	return a.Match.Has(flow.FieldL4Dst) && !b.Match.Has(flow.FieldL4Dst)
}

// deny200 is wider than goodRule and above it.
func deny200() flow.Rule {
	r := goodRule()
	r.Priority, r.Actions = 200, nil
	r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/24"))
	return r
}

func allow(priority uint16, port uint16) flow.Rule {
	r := goodRule()
	r.Priority = priority
	r.Match.SetIPProto(flow.ProtoTCP)
	r.Match.SetL4Dst(port)
	return r
}

// ruleTrials spoil an answer that has goodRule alone.
var ruleTrials = map[Rail]map[string]func(t *trial){
	RailTooManyRules:   {"two where one is allowed": func(t *trial) { t.g.MaxRules = 1; t.d.Rules = append(t.d.Rules, allow(300, 80)) }},
	RailCommand:        {"DELETE": func(t *trial) { t.rule().Command = flow.Delete }},
	RailNotExpressible: {"the switch says so": func(t *trial) { t.sw = unfit{"OpenFlow 1.0 can't express it"} }},
	RailMatch: {
		"six bits": func(t *trial) {
			for _, m := range []*flow.Match{&t.rule().Match, t.packet()} {
				m.SetEthType(flow.EthTypeIPv4)
				m.Fields |= flow.FieldIPDSCP
				m.IPDSCP = 64
			}
		},
		"a field that is none": func(t *trial) {
			for _, m := range []*flow.Match{&t.rule().Match, t.packet()} {
				m.Fields |= 1 << 30
			}
		},
	},
	RailTable: {
		"not configured":      func(t *trial) { t.rule().Table = 5 },
		"goto not configured": func(t *trial) { t.rule().Goto = 9 },
		"goto backwards":      func(t *trial) { t.rule().Table, t.rule().Goto = 1, 1 },
	},
	RailPriority: {
		"0":     func(t *trial) { t.rule().Priority = 0 },
		"60001": func(t *trial) { t.rule().Priority = 60001 },
	},
	RailTimeout: {
		"a part of a second": func(t *trial) { t.rule().IdleTimeout = 300 * time.Millisecond },
		"negative":           func(t *trial) { t.rule().HardTimeout = -time.Second },
		"seventeen bits":     func(t *trial) { t.rule().IdleTimeout = 65536 * time.Second },
	},
	RailNoTimeout: {"none": func(t *trial) { t.rule().IdleTimeout = 0 }},
	RailNotCovering: {
		"another port":    func(t *trial) { t.rule().Match.SetL4Dst(22) },
		"another in_port": func(t *trial) { t.rule().Match.SetInPort(portB) },
	},
	RailTooWide: {
		"neither port nor sender": func(t *trial) { t.rule().Match = t.rule().Match.Keep(flow.FieldIPDst) },
		"a deny of everything":    func(t *trial) { t.rule().Match, t.rule().Actions = flow.Match{}, nil },
		"half a sender": func(t *trial) {
			t.rule().Match = flow.Match{}
			t.rule().Match.SetEthSrc(macA, flow.MAC{0xff, 0xff, 0xff})
		},
		"a port alone": func(t *trial) { t.rule().Match = t.rule().Match.Keep(flow.FieldInPort) },
		"a port at the highest priority": func(t *trial) {
			t.rule().Priority, t.rule().Match = 60000, t.rule().Match.Keep(flow.FieldInPort)
		},
		"a port that leads on": func(t *trial) {
			r := t.rule()
			r.Match, r.Actions, r.Goto = r.Match.Keep(flow.FieldInPort), nil, 1
		},
		"a port without a tag": func(t *trial) {
			t.rule().Match = t.rule().Match.Keep(flow.FieldInPort)
			t.rule().Match.SetVLAN(flow.VLANNone, flow.VLANExact)
		},
		"a port to any host": func(t *trial) {
			t.rule().Match = t.rule().Match.Keep(flow.FieldInPort)
			t.rule().Match.SetEthDst(flow.MAC{}, flow.MAC{1})
		},
	},
	RailProactiveWide: {
		"everything":            func(t *trial) { t.rule().Match = flow.Match{} },
		"a port":                func(t *trial) { t.rule().Match = t.rule().Match.Keep(flow.FieldInPort) },
		"everything, by a goto": func(t *trial) { r := t.rule(); r.Match, r.Actions, r.Goto = flow.Match{}, nil, 1 },
		"hosts": func(t *trial) {
			t.rule().Match = flow.Match{}
			t.rule().Match.SetEthSrc(flow.MAC{}, flow.MAC{1})
		},
		"a later table of P4": func(t *trial) {
			t.rule().Match, t.rule().Table, t.ev.Switch.Protocol = flow.Match{}, 1, flow.P4Runtime
		},
	},
	RailIncomplete: {"a fragment": func(t *trial) { t.ev.PacketIn.Incomplete = flow.FieldL4Src | flow.FieldL4Dst }},
	RailRoute: {"not asked about it": func(t *trial) {
		t.d.Parts = []flow.Part{{Function: "iot", End: 1, Within: func(*flow.Rule) error { return errors.New("asked about in_port 3 only") }}}
	}},
	RailFlags: {"all": func(t *trial) { t.rule().Flags = 0xffff }},
	RailMeter: {
		"not defined": func(t *trial) { t.rule().Meter = 7 },
		"reserved":    func(t *trial) { t.rule().Meter = 0xfffffffd; t.g.Meters = []uint32{0xfffffffd} },
		"not in the switch": func(t *trial) {
			t.rule().Meter, t.g.Meters, t.sw = 7, []uint32{7}, equipped{}
		},
	},
	RailForeign: {"another's rule": func(t *trial) {
		r := *t.rule()
		r.Match.SetEthType(flow.EthTypeIPv4)
		r.Cookie = 0xbeef
		t.mem.Foreign(func(yield func(*flow.Rule)) { yield(&r) })
	}},
	RailShielded: {"below a refused deny": func(t *trial) { r := deny200(); t.mem.Refused(&r) }},
	RailHardTimeout: {
		"none":     func(*trial) {},
		"too long": func(t *trial) { t.rule().HardTimeout = 2 * time.Hour },
	},
	RailController:   {"": func(t *trial) { t.rule().Actions = append(t.rule().Actions, flow.OutputTo(flow.PortController)) }},
	RailOutputTable:  {"": func(t *trial) { t.rule().Actions[0].Port = flow.PortTable }},
	RailUnknownPort:  {"99": func(t *trial) { t.rule().Actions[0].Port = 99 }, "ANY": func(t *trial) { t.rule().Actions[0].Port = flow.PortAny }},
	RailOutputs:      {"65": func(t *trial) { t.rule().Actions = slices.Repeat(t.rule().Actions, 65) }, "FLOOD twice": func(t *trial) { t.rule().Actions = twice(flow.PortFlood) }},
	RailExperimenter: {"unsupported": func(t *trial) { t.rule().Actions[0] = flow.Action{Type: flow.Unsupported, ID: 0xffff} }, "nothing": func(t *trial) { t.rule().Actions[0] = flow.Action{} }},
	RailSetField: {"UDP of TCP": func(t *trial) {
		*t.rule() = allow(100, 80)
		t.rule().Actions = append([]flow.Action{{Type: flow.SetL4Dst, Value: 53, IPProto: flow.ProtoUDP}}, t.rule().Actions...)
	}},
	RailOrder: {
		"an exact allow below a masked deny": func(t *trial) {
			t.d.Rules, t.sw = []flow.Rule{deny200(), allow(100, 80)}, picky{before: exactFirst}
		},
		"an exact allow below another way": func(t *trial) {
			other := deny200()
			other.Actions = []flow.Action{flow.OutputTo(portA)}
			t.d.Rules, t.sw = []flow.Rule{other, allow(100, 80)}, picky{before: exactFirst}
		},
		"of the priority of a deny": func(t *trial) { t.d.Rules = []flow.Rule{deny200(), allow(200, 80)} },
	},
	RailExposed: {
		"below a refused deny": func(t *trial) { t.d.Rules = append([]flow.Rule{deny200()}, t.d.Rules...); t.d.Rules[0].Flags = 0xffff },
		"beside a refused deny": func(t *trial) {
			t.d.Rules = append([]flow.Rule{deny200()}, t.d.Rules...)
			t.d.Rules[0].Flags, t.d.Rules[0].Priority = 0xffff, 100
		},
		"looked up after a refused one": func(t *trial) {
			deny := allow(50, 80)
			deny.Actions, deny.Flags = nil, 0xffff
			t.d.Rules, t.sw = append([]flow.Rule{deny}, t.d.Rules...), picky{before: exactFirst}
		},
		"a goto to where one is missing": func(t *trial) {
			deny := deny200()
			deny.Table, deny.Flags = 1, 0xffff
			t.d.Rules = append([]flow.Rule{deny}, t.d.Rules...)
			t.rule().Goto, t.rule().Actions = 1, nil
		},
		"the same, to another address": func(t *trial) {
			deny := deny200()
			deny.Match.SetIPDst(netip.MustParsePrefix("192.0.2.1/32"))
			deny.Table, deny.Flags, t.g.Off[RailNotCovering] = 1, 0xffff, true
			t.d.Rules = append([]flow.Rule{deny}, t.d.Rules...)
			t.rule().Goto, t.rule().Match.EthType = 1, flow.EthTypeIPv4
			t.rule().Match.Fields |= flow.FieldEthType
			t.rule().Actions = []flow.Action{{Type: flow.SetIPDst, Addr: netip.MustParseAddr("192.0.2.1")}}
		},
	},
}

// packet is the one in hand, or one that nobody sees.
func (t *trial) packet() *flow.Match {
	if t.ev.PacketIn == nil {
		return new(flow.Match)
	}
	return &t.ev.PacketIn.Match
}

func twice(p flow.PortNo) []flow.Action { return []flow.Action{flow.OutputTo(p), flow.OutputTo(p)} }

// packetOutTrials are actions that one rail stops in a PACKET_OUT.
var packetOutTrials = map[Rail][]flow.Action{
	RailNotExpressible: {flow.OutputTo(portB)},
	RailController:     {flow.OutputTo(portB), flow.OutputTo(flow.PortController)},
	RailOutputTable:    {flow.OutputTo(flow.PortTable)},
	RailUnknownPort:    {flow.OutputTo(77)},
	RailOutputs:        twice(flow.PortAll),
	RailExperimenter:   {{Type: flow.Unsupported, ID: 0xffff}},
	RailSetField:       {{Type: flow.SetL4Dst, Value: 53, IPProto: flow.ProtoUDP}, flow.OutputTo(portB)},
}

// Every rail checks what its row says: for each event there is an answer that this rail
// refuses, and without the rail nothing refuses it.
func TestRails(t *testing.T) {
	for _, row := range Rails {
		if row.Default == "" || row.Why == "" || !strings.HasSuffix(row.Why, ".") || strings.Count(row.Why, ". ") > 0 || row.Events == 0 || row.Binds == 0 {
			t.Errorf("%s: a row without its words, or with more than one sentence", row.Name)
		}
		if len(ruleTrials[row.Name]) == 0 && row.Binds&Rules != 0 {
			t.Errorf("%s: no answer is tried on it", row.Name)
		}
		for kind, ev := range events() {
			if row.Events&kind == 0 {
				continue
			}
			for name := range ruleTrials[row.Name] {
				t.Run(fmt.Sprintf("%s/%v/%s", row.Name, kind, name), func(t *testing.T) {
					with, without := try(row.Name, ev, name, false), try(row.Name, ev, name, true)
					if row.Shortens {
						if len(with.violations) > 0 || !with.shortened || without.shortened {
							t.Errorf("shortened: %v; without the rail: %v; violations %v", with.shortened, without.shortened, with.violations)
						}
						return
					}
					if n := with.count(row.Name); n != 1 || with.stays {
						t.Errorf("with the rail: violations %v, stays: %v", with.violations, with.stays)
					}
					if n := without.count(row.Name); n != 0 || !without.stays || len(without.violations) != len(with.violations)-1 {
						t.Errorf("without the rail: violations %v, stays: %v", without.violations, without.stays)
					}
				})
			}
		}
		if row.Binds&PacketOuts == 0 {
			continue
		}
		t.Run(string(row.Name)+"/PACKET_OUT", func(t *testing.T) {
			for _, off := range []bool{false, true} {
				g := Default()
				g.Off = map[Rail]bool{row.Name: off}
				d := flow.Decision{Rules: []flow.Rule{goodRule()}, HasPacketOut: true, PacketOut: slices.Clone(packetOutTrials[row.Name])}
				var sw Switch
				if row.Name == RailNotExpressible {
					sw, d.Rules = unfit{"no such output"}, nil
				}
				var out Outcome
				g.Check(packetEvent(tcpPacket(80)), &d, sw, nil, &out)
				stopped := len(out.Violations) == 1 && out.Violations[0].Rail == row.Name && strings.HasPrefix(out.Violations[0].Rule, "PACKET_OUT ")
				if stopped == off || (len(out.Actions) == 0) == off || len(out.Violations) > 1 {
					t.Errorf("off: %v; violations %v, actions %v", off, out.Violations, out.Actions)
				}
				if !slices.Equal(out.Actions, d.PacketOut) || !d.HasPacketOut {
					t.Errorf("outcome %v is not the decision's %v", out.Actions, d.PacketOut)
				}
			}
		})
	}
	for name := range ruleTrials {
		if !slices.ContainsFunc(Rails, func(r Row) bool { return r.Name == name }) {
			t.Errorf("%s is tried and is no rail", name)
		}
	}
}

type result struct {
	violations []Violation
	stays      bool // the rule that the trial is about
	shortened  bool
}

func (r *result) count(rail Rail) (n int) {
	for _, v := range r.violations {
		if v.Rail == rail {
			n++
		}
	}
	return n
}

func try(rail Rail, ev *flow.Event, name string, off bool) result {
	e := *ev
	sw := *ev.Switch
	e.Switch = &sw
	if ev.PacketIn != nil {
		pi := *ev.PacketIn
		e.PacketIn = &pi
	}
	c := &trial{g: Default(), ev: &e, mem: new(Memory), d: flow.Decision{Rules: []flow.Rule{goodRule()}}}
	c.g.Off = map[Rail]bool{rail: off}
	ruleTrials[rail][name](c)
	last := *c.rule()
	var out Outcome
	c.g.Check(c.ev, &c.d, c.sw, c.mem, &out)
	r := result{violations: out.Violations}
	for i := range c.d.Rules {
		got := &c.d.Rules[i]
		if got.Priority == last.Priority && got.Table == last.Table && got.Command == last.Command && slices.Equal(got.Actions, last.Actions) && got.Goto == last.Goto {
			r.stays = true
			r.shortened = got.HardTimeout != last.HardTimeout
		}
	}
	return r
}

// The rails about width accept the rules that our own policies install, and denies.
func TestWidth(t *testing.T) {
	packet := tcpPacket(80).Match
	rule := func(table uint8, m flow.Match, actions ...flow.Action) flow.Rule {
		return flow.Rule{Table: table, Priority: 100, IdleTimeout: time.Second, Match: m, Actions: actions}
	}
	out := flow.OutputTo(portB)
	bpdus, tagged := flow.Match{}, packet.Keep(flow.FieldInPort)
	bpdus.SetEthDst(flow.MAC{1, 0x80, 0xc2}, flow.MAC{0xff, 0xff, 0xff})
	tagged.SetVLAN(flow.VLANPresent|5, flow.VLANExact)
	groups := flow.Match{}
	groups.SetEthDst(flow.MAC{1}, flow.MAC{1})
	for name, tc := range map[string]struct {
		on Events
		r  flow.Rule
	}{
		"mac-pair":                     {OnPacketIn, rule(0, packet.Keep(flow.FieldInPort|flow.FieldEthSrc|flow.FieldEthDst), out)},
		"host-pair":                    {OnPacketIn, rule(0, packet.Keep(flow.FieldInPort|flow.FieldEthType|flow.FieldIPSrc|flow.FieldIPDst), out)},
		"host-pair of IPv6 in 1.0":     {OnPacketIn, rule(0, packet.Keep(flow.FieldInPort|flow.FieldEthType), out)},
		"learn":                        {OnPacketIn, flow.Rule{Priority: 100, IdleTimeout: time.Second, Match: packet.Keep(flow.FieldInPort | flow.FieldEthSrc), Goto: 1}},
		"a sender":                     {OnPacketIn, rule(0, packet.Keep(flow.FieldEthSrc), out)},
		"a deny of a port":             {OnPacketIn, rule(0, packet.Keep(flow.FieldInPort))},
		"a queue and nothing more":     {OnPacketIn, rule(0, packet.Keep(flow.FieldInPort), flow.Action{Type: flow.SetQueue, ID: 1})},
		"a deny of everything":         {OnOthers, rule(0, flow.Match{})},
		"ARP":                          {OnOthers, rule(0, packet.Keep(flow.FieldEthType), out)},
		"bridges' own":                 {OnOthers, rule(0, bpdus, out)},
		"groups":                       {OnOthers, rule(0, groups, out)},
		"a VLAN of a port":             {OnOthers, rule(0, tagged, out)},
		"learn's flood, second table":  {OnOthers, rule(1, flow.Match{}, flow.OutputTo(flow.PortFlood))},
		"everything, where configured": {OnSwitchConnected, rule(0, flow.Match{}, out)},
	} {
		for kind, ev := range events() {
			if tc.on&kind == 0 {
				continue
			}
			g := Default()
			g.ProactiveWide = strings.Contains(name, "configured")
			d := flow.Decision{Rules: []flow.Rule{tc.r}}
			if v := run(g, ev, &d); len(v) > 0 {
				t.Errorf("%s in answer to %v: %v", name, kind, v)
			}
		}
	}
}

// If the rail order refuses a rule, the packet is still handled as the answer said, and
// the deny of higher priority stays.
func TestOrder(t *testing.T) {
	d := flow.Decision{Rules: []flow.Rule{allow(100, 80), deny200()}}
	d.Rules[1].Match = d.Rules[1].Match.Keep(flow.FieldInPort | flow.FieldEthType | flow.FieldIPDst)
	var out Outcome
	Default().Check(packetEvent(tcpPacket(80)), &d, picky{before: exactFirst}, nil, &out)
	if len(d.Rules) != 1 || d.Rules[0].Priority != 200 || len(out.Violations) != 1 || out.Violations[0].Rail != RailOrder || out.Rule != 0 || len(out.Actions) != 0 {
		t.Errorf("rules %v, outcome %+v", d.Rules, out)
	}
	// A rule above the deny may be looked up first, and so may a rule with the same actions as the one above it.
	same := deny200()
	same.Actions = goodRule().Actions
	for _, d := range []flow.Decision{{Rules: []flow.Rule{allow(300, 80), deny200()}}, {Rules: []flow.Rule{allow(100, 80), same}}} {
		Default().Check(packetEvent(tcpPacket(80)), &d, picky{before: exactFirst}, nil, &out)
		if len(d.Rules) != 2 || len(out.Violations) != 0 || out.Rule < 0 || len(out.Actions) != 1 {
			t.Errorf("rules %v, outcome %+v", d.Rules, out)
		}
	}
}

// It is undefined which of an allow and a goto with the same priority the switch takes, and
// the goto may lead to a deny.
func TestOrderOfGoto(t *testing.T) {
	leads, deny, again := deny200(), deny200(), allow(200, 80)
	leads.Goto, deny.Table, again.Goto = 1, 1, 1
	for name, tc := range map[string]struct {
		rules []flow.Rule
		stay  int
	}{
		"an allow beside it":  {[]flow.Rule{deny, leads, allow(200, 80)}, 1},
		"before it":           {[]flow.Rule{allow(200, 80), leads, deny}, 1},
		"one above it":        {[]flow.Rule{deny, leads, allow(201, 80)}, 3},
		"one that goes there": {[]flow.Rule{deny, leads, again}, 3},
	} {
		d := flow.Decision{Rules: tc.rules}
		if v := run(Default(), packetEvent(tcpPacket(80)), &d); len(d.Rules) != tc.stay {
			t.Errorf("%s: %d rules stay, want %d; %v", name, len(d.Rules), tc.stay, v)
		}
	}
}

// If rules for an incomplete packet are refused, the packet is still handled as the answer said.
func TestIncompleteVerdict(t *testing.T) {
	ev := packetEvent(tcpPacket(80))
	ev.PacketIn.Incomplete = flow.FieldL4Dst
	d := flow.Decision{Rules: []flow.Rule{goodRule()}}
	var out Outcome
	Default().Check(ev, &d, nil, nil, &out)
	if len(d.Rules) != 0 || out.Rule != -1 || !slices.Equal(out.Actions, goodRule().Actions) || !strings.Contains(out.Violations[0].Detail, "l4_dst") {
		t.Errorf("rules %v, outcome %+v", d.Rules, out)
	}
	d = flow.Decision{Rules: []flow.Rule{covers(goodRule())}}
	Default().Check(ev, &d, nil, nil, &out)
	if len(d.Rules) != 1 || out.Rule != 0 || len(out.Violations) != 0 {
		t.Errorf("rules %v, outcome %+v", d.Rules, out)
	}
}

var update = flag.Bool("update", false, "write the table of docs/contract.md")

const contractPage = "../../docs/contract.md"

// The contract's page has a line for each rail, in the table's order.
func TestContractPage(t *testing.T) {
	page, err := os.ReadFile(contractPage)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| guardrail | by default | binds | why |\n|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(page), head)
	if !ok {
		t.Fatalf("%s has no table that begins with %q", contractPage, head)
	}
	table, after, _ := strings.Cut(rest, "\n\n")
	var want strings.Builder
	for _, r := range Rails {
		fmt.Fprintf(&want, "| `%s` | %s | %v; %v | %s |\n", r.Name, r.Default, r.Binds, r.Events, r.Why)
	}
	if table+"\n" == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the guardrails are (go test ./bridge/guard -run ContractPage -update); want\n%s", contractPage, want.String())
	}
	if err := os.WriteFile(contractPage, []byte(before+head+strings.TrimSuffix(want.String(), "\n")+"\n\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The defaults that the table names are those of Default.
func TestDefaults(t *testing.T) {
	g := Default()
	for rail, want := range map[Rail]string{
		RailTooManyRules: fmt.Sprintf("%d rules", g.MaxRules), RailPriority: fmt.Sprintf("%d to %d", g.MinPriority, g.MaxPriority),
		RailHardTimeout: fmt.Sprintf("%.0f s for a rule that names none, cut to %.0f s", g.HardTimeout.Seconds(), g.MaxHardTimeout.Seconds()),
		RailTable:       "tables 0 and 1", RailOutputs: fmt.Sprint(maxOutputs), RailIncomplete: "2 s",
	} {
		i := slices.IndexFunc(Rails, func(r Row) bool { return r.Name == rail })
		if !strings.Contains(Rails[i].Default, want) {
			t.Errorf("%s: %q without %q", rail, Rails[i].Default, want)
		}
	}
	if g.Tables != Tables(0, 1) || incompleteLife != 2*time.Second {
		t.Error("defaults have changed")
	}
}
