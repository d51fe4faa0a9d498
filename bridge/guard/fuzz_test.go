package guard

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"switchbridge/flow"
)

// randomDecision makes answers of all qualities about tcpPacket(80).
func randomDecision(rng *rand.Rand) flow.Decision {
	packet := tcpPacket(80).Match
	pick := func(list ...flow.PortNo) flow.PortNo { return list[rng.IntN(len(list))] }
	actions := func() (list []flow.Action) {
		for range rng.IntN(3) {
			a := flow.OutputTo(pick(portA, portB, portB, flow.PortNormal, flow.PortFlood, flow.PortController, flow.PortTable, 99))
			if rng.IntN(6) == 0 {
				a = flow.Action{Type: flow.ActionType(rng.IntN(20)), ID: 1, Value: 1, IPProto: []uint8{0, 6, 17}[rng.IntN(3)], Addr: netip.MustParseAddr("10.0.0.3")}
			}
			list = append(list, a)
		}
		return list
	}
	var d flow.Decision
	n := rng.IntN(7)
	if rng.IntN(20) == 0 {
		n = 60 + rng.IntN(10)
	}
	wild, chain := rng.IntN(2) == 0, rng.IntN(3) == 0
	for range n {
		some, more := flow.Field(rng.Uint32()), flow.Field(rng.Uint32())
		m := packet.Keep(some | more) // three of four fields
		switch rng.IntN(8) {
		case 0:
			m.SetL4Dst(22)
		case 1:
			m.SetIPDst(netip.PrefixFrom(netip.MustParseAddr("10.0.0.2"), rng.IntN(33)))
		case 2:
			m.Fields |= flow.Field(1 << rng.IntN(26))
		case 3:
			m.Fields |= flow.Field(rng.Uint32())
			m.IPDSCP, m.VLANMask, m.EthSrcMask = uint8(rng.Uint32()), uint16(rng.Uint32()), flow.MAC{byte(rng.Uint32())}
		}
		timeout := []time.Duration{0, time.Second, 30 * time.Second, 300 * time.Second, 2 * time.Hour}
		if wild {
			timeout = append(timeout, -1, 1<<40, time.Hour*24)
		}
		r := flow.Rule{
			Priority: uint16(1 + rng.IntN(4)), IdleTimeout: timeout[rng.IntN(len(timeout))], HardTimeout: timeout[rng.IntN(len(timeout))],
			Match: m, Actions: actions(), Cookie: rng.Uint64(), BufferID: rng.Uint32(), CoversIncomplete: rng.IntN(3) == 0,
		}
		if wild && rng.IntN(8) == 0 {
			r.Command = flow.Command(rng.IntN(6))
		}
		if wild && rng.IntN(8) == 0 {
			r.Priority = uint16(rng.IntN(61000))
		}
		if rng.IntN(16) == 0 {
			r.Flags = flow.RuleFlags(1 << rng.IntN(16))
		}
		if rng.IntN(16) == 0 {
			r.Meter = uint32(rng.IntN(3))
		}
		switch {
		case chain && rng.IntN(2) == 0:
			r.Goto, r.Actions = 1, nil
			if rng.IntN(2) == 0 {
				r.Actions = []flow.Action{{Type: flow.SetEthDst, MAC: macB}}
			}
		case chain:
			r.Table = 1
			r.Match = r.Match.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldIPDst)
			if rng.IntN(2) == 0 {
				r.Match.SetEthDst(macB, flow.MACExact)
			}
		case rng.IntN(4) == 0:
			r.Table, r.Goto = uint8(rng.IntN(3)), uint8(rng.IntN(4))
		}
		d.Rules = append(d.Rules, r)
	}
	if rng.IntN(4) == 0 {
		d.HasPacketOut, d.PacketOut = true, actions()
	}
	return d
}

// moody is a switch that refuses some rules and looks some up first; which, it
// says the same way whenever it is asked.
type moody struct {
	seed        uint64
	fits, order bool
}

func (s moody) chance(n uint64, v ...any) bool {
	h := fnv.New64a()
	fmt.Fprint(h, s.seed)
	fmt.Fprint(h, v...)
	return h.Sum64()>>7%n == 0
}

func (s moody) Fit(r *flow.Rule, _ *flow.Match) error {
	if !s.fits && s.chance(6, r.Table, r.Priority, r.Match) {
		return errors.New("this switch can't express it")
	}
	return nil
}

func (s moody) FitActions(list []flow.Action, _ *flow.Match) error {
	if !s.fits && s.chance(8, flow.ActionsString(list)) {
		return errors.New("this switch can't do it")
	}
	return nil
}

// Before has two classes, as the exact and the ternary table are.
func (s moody) Before(a, b *flow.Rule) bool {
	exact := func(r *flow.Rule) bool { return r.Match.Has(flow.FieldL4Dst | flow.FieldIPSrc) }
	return s.order && exact(a) && !exact(b)
}

// tops returns the rules that a table may give packet p: no other that covers it
// is looked up before one of these, and of two with one priority none is.
func tops(sw Switch, rules []flow.Rule, table uint8, p *flow.Match) (list []*flow.Rule) {
	ahead := func(a, b *flow.Rule) bool {
		return sw.Before(a, b) || !sw.Before(b, a) && a.Priority > b.Priority
	}
	covering := func(r *flow.Rule) bool { return r.Command == flow.Add && r.Table == table && r.Match.Covers(p) }
next:
	for i := range rules {
		r := &rules[i]
		if !covering(r) {
			continue
		}
		for j := range rules {
			if covering(&rules[j]) && ahead(&rules[j], r) {
				continue next
			}
		}
		list = append(list, r)
	}
	return list
}

// walk takes a packet through the tables: whether it is sent anywhere, and
// whether that is certain, since each table had one rule to give or the last a miss.
func walk(sw Switch, rules []flow.Rule, p flow.Match) (sent, denied bool) {
	for table := uint8(0); ; {
		list := tops(sw, rules, table, &p)
		if len(list) != 1 {
			return sent, false
		}
		r := list[0]
		for _, a := range r.Actions {
			switch a.Type {
			case flow.Output, flow.Unsupported:
				sent = true
			case flow.SetVLANVID:
				p.SetVLAN(flow.VLANPresent|uint16(a.Value), flow.VLANExact)
			case flow.SetEthSrc:
				p.SetEthSrc(a.MAC, flow.MACExact)
			case flow.SetEthDst:
				p.SetEthDst(a.MAC, flow.MACExact)
			case flow.SetIPSrc:
				p.SetIPSrc(netip.PrefixFrom(a.Addr, a.Addr.BitLen()))
			case flow.SetIPDst:
				p.SetIPDst(netip.PrefixFrom(a.Addr, a.Addr.BitLen()))
			case flow.SetL4Src:
				p.SetL4Src(uint16(a.Value))
			case flow.SetL4Dst:
				p.SetL4Dst(uint16(a.Value))
			}
		}
		if r.Goto <= table {
			return sent, !sent
		}
		table = r.Goto
	}
}

// neighbour makes a packet that satisfies a rule's match, or nearly.
func neighbour(rng *rand.Rand, m *flow.Match) flow.Match {
	p := tcpPacket(uint16(rng.IntN(2))*58 + 22).Match
	p.InPort = flow.PortNo(1 + rng.IntN(2))
	c := m.Canonical()
	for rest := c.Fields &^ p.Fields; rest != 0; rest &= rest - 1 {
		p.Fields |= rest & -rest // its value is 0, which many matches ask for
	}
	p.IPDSCP, p.IPECN, p.ICMPType, p.ARPOp, p.VLANPCP = c.IPDSCP, c.IPECN, c.ICMPType, c.ARPOp, c.VLANPCP
	p.Metadata, p.TunnelID, p.FlowLabel, p.ARPSPA, p.ARPTPA, p.NDTarget = c.Metadata, c.TunnelID, c.FlowLabel, c.ARPSPA, c.ARPTPA, c.NDTarget
	if c.Has(flow.FieldIPDst) && c.IPDst.IsValid() {
		p.IPDst = netip.PrefixFrom(c.IPDst.Addr(), c.IPDst.Addr().BitLen())
	}
	if c.Has(flow.FieldL4Dst) {
		p.L4Dst = c.L4Dst
	}
	if c.Has(flow.FieldInPort) {
		p.InPort = c.InPort
	}
	switch rng.IntN(8) {
	case 4:
		p.SetEthDst(macA, flow.MACExact)
	case 0:
		p.InPort = 3 - p.InPort
	case 1:
		p.L4Dst ^= 1
	case 2:
		p.IPDst = netip.MustParsePrefix("10.0.0.3/32")
	case 3:
		p.IPProto = flow.ProtoUDP
	}
	return p
}

// FuzzGuard holds to these properties:
//   - what stays passes every guardrail by itself, and is complete;
//   - the packet's outcome is what it was before, or a drop where that is forbidden;
//   - no packet that the answer denied, by its priorities or in the switch's own
//     order, gets a rule that forwards it, in any table and all the way through them;
//   - no packet gets another rule with actions than it could get before;
//   - no deny that was shortened ends before what it shields.
func FuzzGuard(f *testing.F) {
	for seed := range uint64(1024) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		one := func(n int) bool { return rng.IntN(n) == 0 }
		g := Default()
		g.Meters, g.ProactiveWide, g.Tables = []uint32{1}, one(3), Tables(0, 1, 2)
		kinds := []Events{OnPacketIn, OnSwitchConnected, OnFlowRemoved, OnPortStatus, OnError}
		kind := OnPacketIn
		if one(3) {
			kind = kinds[rng.IntN(len(kinds))]
		}
		ev := events()[kind]
		if ev.PacketIn != nil && one(4) {
			ev.PacketIn.Incomplete = flow.FieldL4Src | flow.FieldL4Dst
		}
		sw := moody{seed: seed, fits: one(2), order: one(2)}
		if one(4) {
			ev.Switch.Protocol = flow.OpenFlow10
		}
		var mem *Memory
		if one(3) {
			mem = new(Memory)
			other := randomDecision(rng)
			for i := range other.Rules {
				mem.Refused(&other.Rules[i])
			}
			mem.Foreign(func(yield func(*flow.Rule)) {
				for i := range other.Rules[:len(other.Rules)/2] {
					yield(&other.Rules[i])
				}
			})
		}
		d := randomDecision(rng)
		if one(3) {
			for end := 0; end < len(d.Rules); {
				end = min(len(d.Rules), end+1+rng.IntN(3))
				p := flow.Part{Function: fmt.Sprint("f", end), End: end}
				if one(3) {
					p.Within = func(r *flow.Rule) error {
						if sw.chance(3, "within", r.Priority, r.Match) {
							return errors.New("not its own")
						}
						return nil
					}
				}
				d.Parts = append(d.Parts, p)
			}
		}
		before := flow.Decision{Rules: slices.Clone(d.Rules), HasPacketOut: d.HasPacketOut, PacketOut: slices.Clone(d.PacketOut), Parts: slices.Clone(d.Parts)}
		for i := range before.Rules { // the guard completes what is the answer's: it means the same
			m := &before.Rules[i].Match
			if inRange(m) == "" && m.Fields == m.Canonical().Fields {
				*m = m.Canonical()
				var packet *flow.Match
				if ev.PacketIn != nil {
					packet = &ev.PacketIn.Match
				}
				m.Complete(packet)
			}
		}
		var verdict []flow.Action
		metered := false
		if ev.PacketIn != nil {
			var rule int
			verdict, rule = d.PacketActions(&ev.PacketIn.Match)
			metered = rule >= 0 && d.Rules[rule].Meter != 0
			verdict = slices.Clone(verdict)
		}

		var out Outcome
		g.Check(ev, &d, sw, mem, &out)
		if len(before.Rules) > len(d.Rules) && len(out.Violations) == 0 {
			t.Fatal("rules went without a word")
		}
		end := 0
		for i, p := range d.Parts {
			if p.End < end || p.End > len(d.Rules) || p.Function != before.Parts[i].Function {
				t.Fatalf("parts %v of %d rules", d.Parts, len(d.Rules))
			}
			end = p.End
		}

		// What stays passes by itself.
		for i := range d.Rules {
			r := &d.Rules[i]
			again := flow.Decision{Rules: []flow.Rule{*r}}
			for _, p := range d.Parts {
				if i < p.End {
					again.Parts = []flow.Part{{End: 1, Within: p.Within}}
					break
				}
			}
			var o Outcome
			g.Check(ev, &again, sw, mem, &o)
			if len(o.Violations) > 0 {
				t.Fatalf("%s stays, but alone it is refused: %v", r.String(), o.Violations)
			}
			if r.Match != again.Rules[0].Match || r.Match != r.Match.Canonical() {
				t.Fatalf("%v is not completed or not canonical", r.Match)
			}
			if ev.PacketIn == nil {
				continue
			}
			if r.HardTimeout == 0 || r.HardTimeout > g.MaxHardTimeout {
				t.Fatalf("%s may live for ever", r.String())
			}
			if ev.PacketIn.Incomplete != 0 && !r.CoversIncomplete && (r.Forwards() || r.HardTimeout > incompleteLife) {
				t.Fatalf("%s of an incomplete packet", r.String())
			}
		}

		// The packet's outcome.
		if ev.PacketIn != nil {
			var c check
			c.g, c.d, c.sw, c.desc, c.packet, c.incomplete = g, &d, sw, ev.Switch, &ev.PacketIn.Match, ev.PacketIn.Incomplete
			want := verdict
			actions, rule := d.PacketActions(&ev.PacketIn.Match)
			if !slices.Equal(actions, out.Actions) || rule != out.Rule {
				t.Fatalf("the outcome is %v by rule %d, the decision's %v by %d", out.Actions, out.Rule, actions, rule)
			}
			if rail, _ := c.packetOut(ofEvent(ev), want); rail != "" && rule < 0 {
				want = nil
			}
			if !slices.Equal(actions, want) && !(metered && len(actions) == 0) {
				t.Fatalf("the packet takes %v, want %v\nbefore %v\nafter %v", actions, want, before.Rules, d.Rules)
			}
		} else if len(out.Actions) > 0 || out.Rule != -1 {
			t.Fatalf("outcome %+v without a packet", out)
		}

		// No packet is let through that the answer denied, nor gets another's rule.
		show := func(rules []flow.Rule) (s string) {
			for i := range rules {
				s += "\n  " + rules[i].String()
			}
			return s
		}
		for n := range 4 * len(before.Rules) {
			p := neighbour(rng, &before.Rules[n%len(before.Rules)].Match)
			for table := range uint8(3) {
				was, is := tops(sw, before.Rules, table, &p), tops(sw, d.Rules, table, &p)
				for _, r := range is {
					if len(was) == 0 || !r.Forwards() {
						continue
					}
					same := func(o *flow.Rule) bool {
						return o.Priority == r.Priority && o.Match == r.Match && sameEffect(o, r)
					}
					deny := func(o *flow.Rule) bool { return !o.Forwards() }
					denied := slices.ContainsFunc(was, deny) || slices.ContainsFunc(tops(Anything{}, before.Rules, table, &p), deny)
					if denied || !slices.ContainsFunc(was, same) && r.Priority <= was[0].Priority {
						t.Fatalf("packet %v in table %d gets %s\nwhere it had %v\nbefore %s\nafter %s\nrefused %v", p, table, r.String(), was[0].String(), show(before.Rules), show(d.Rules), out.Violations)
					}
				}
			}
			_, denied := walk(sw, before.Rules, p)
			if sent, _ := walk(sw, d.Rules, p); denied && sent {
				t.Fatalf("packet %v was denied and goes out\nbefore %s\nafter %s\nrefused %v", p, show(before.Rules), show(d.Rules), out.Violations)
			}
		}

		// Lives.
		for i := range d.Rules {
			deny := &d.Rules[i]
			was := slices.IndexFunc(before.Rules, func(o flow.Rule) bool {
				return o.Table == deny.Table && o.Priority == deny.Priority && o.Match == deny.Match && o.IdleTimeout == deny.IdleTimeout && sameEffect(&o, deny)
			})
			if deny.Forwards() || was < 0 || before.Rules[was].HardTimeout != 0 && before.Rules[was].HardTimeout <= deny.HardTimeout {
				continue
			}
			for j := range d.Rules {
				r := &d.Rules[j]
				if deny.HardTimeout != 0 && r.Table == deny.Table && r.Priority <= deny.Priority && r.Forwards() && r.Match.Overlaps(&deny.Match) && (r.HardTimeout == 0 || r.HardTimeout > deny.HardTimeout) {
					t.Fatalf("%s outlives %s", r.String(), deny.String())
				}
			}
		}
	})
}
