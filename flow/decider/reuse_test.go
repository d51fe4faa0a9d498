package decider

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
)

// promising is a function that answers each packet by a rule of the packet's own values, and says for which others that holds.
type promising struct {
	reuse  flow.Reuse
	answer func(*flow.Event, *flow.Decision) // has the last word; may be nil
	policy flow.PolicyVersion
	err    error

	mu    sync.Mutex
	asked int
}

var version5 = flow.PolicyVersion{Serial: 5, Hash: 1}

// ruleFields are what the rules of a promising function match.
const ruleFields = flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthType | flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Dst

func promise(f flow.Field) *promising {
	return &promising{reuse: flow.Reuse{For: 5 * time.Second, Fields: f}, policy: version5}
}

func (p *promising) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ev.Type == flow.EventPacketIn {
		p.asked++
	}
	if d.Policy = p.policy; p.err != nil || ev.PacketIn == nil {
		return p.err
	}
	d.Verdict, d.Reason, d.Reuse = flow.Allow, fmt.Sprint("answer ", p.asked), p.reuse
	d.Rules = append(d.Rules, flow.Rule{Priority: 100, HardTimeout: 300 * time.Second, IdleTimeout: 30 * time.Second, Match: ev.PacketIn.Match.Keep(ruleFields),
		Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}})
	if p.answer != nil {
		p.answer(ev, d)
	}
	return nil
}

// memo is a Reuse in front of a function, which notes what became of the answers.
type memo struct {
	*Reuse
	t        *testing.T
	f        *promising
	gateway  flow.PolicyVersion
	outcomes map[ReuseOutcome]int
}

func newMemo(t *testing.T, f *promising, limits ReuseLimits) *memo {
	m := &memo{t: t, f: f, outcomes: make(map[ReuseOutcome]int)}
	m.Reuse = NewReuse(f, limits, func() flow.PolicyVersion { return m.gateway })
	m.OnOutcome = func(o ReuseOutcome) { m.outcomes[o]++ }
	return m
}

// ask asks about a packet and reports whether the function was called.
func (m *memo) ask(ev *flow.Event) (d *flow.Decision, called bool) {
	m.t.Helper()
	before := m.f.asked
	d = new(flow.Decision)
	if err := m.Decide(m.t.Context(), ev, d); err != nil && m.f.err == nil {
		m.t.Fatal(err)
	}
	if (d.Reused != 0) != (m.f.asked == before) {
		m.t.Errorf("the function was called: %t, the decision says that it is the answer of %d", m.f.asked != before, d.Reused)
	}
	if d.Reuse.For != 0 || d.Reuse.Reply != nil {
		m.t.Errorf("the decision still says what is done already: %+v", d.Reuse)
	}
	return d, m.f.asked != before
}

func (m *memo) wants(what string, ev *flow.Event, call bool) *flow.Decision {
	m.t.Helper()
	d, called := m.ask(ev)
	if called != call {
		m.t.Errorf("%s: the function is called: %t, want %t", what, called, call)
	}
	return d
}

// at is an event of a packet on another port of another switch, which shows what f has changed in it.
func at(port flow.PortNo, dpid flow.DPID, f func(*flow.Event)) *flow.Event {
	ev := packetEvent(tcpPacket(80))
	ev.PacketIn.Match.InPort, ev.Switch.DPID, ev.XID = port, dpid, 7
	if f != nil {
		f(ev)
	}
	return ev
}

const tcpDst = flow.FieldIPDst | flow.FieldL4Dst

// TestReuseKeys asks about one packet, and then about others: which of them the answer is used for.
func TestReuseKeys(t *testing.T) {
	set := func(f func(*flow.Match)) func(*flow.Event) {
		return func(ev *flow.Event) { f(&ev.PacketIn.Match) }
	}
	other := netip.MustParsePrefix("10.0.0.9/32")
	for _, row := range []struct {
		name   string
		hangs  flow.Field
		sw     bool
		first  func(*flow.Event)
		second *flow.Event
		call   bool
	}{
		{"the next switch of the path", tcpDst, false, nil, at(9, 2, nil), false},
		{"what the answer does not hang on", tcpDst, false, nil, at(1, 0x1a, set(func(m *flow.Match) { m.L4Src, m.IPSrc, m.EthSrc = 1, other, flow.MAC{2, 9} })), false},
		{"what it hangs on", tcpDst, false, nil, at(1, 0x1a, set(func(m *flow.Match) { m.L4Dst = 81 })), true},
		{"what that stands on: UDP", tcpDst, false, nil, at(1, 0x1a, set(func(m *flow.Match) { m.IPProto = flow.ProtoUDP })), true},
		{"another source, where it counts", tcpDst | flow.FieldIPSrc, false, nil, at(1, 0x1a, set(func(m *flow.Match) { m.IPSrc = other })), true},
		{"forged headers on another port, where ports count", tcpDst | flow.FieldInPort, false, nil, at(3, 0x1a, nil), true},
		{"the same port of another switch", tcpDst | flow.FieldInPort, false, nil, at(1, 2, nil), false},
		{"another switch, where that counts", tcpDst, true, nil, at(1, 2, nil), true},
		{"the same switch, where that counts", tcpDst, true, nil, at(3, 0x1a, nil), false},
		{"the port of another switch, where both count", tcpDst | flow.FieldInPort, true, nil, at(1, 2, nil), true},
		{"a field more", tcpDst, false, nil, at(1, 0x1a, set(func(m *flow.Match) { m.Fields |= flow.FieldIPECN })), true},
		{"a field less", tcpDst, false, set(func(m *flow.Match) { m.Fields |= flow.FieldIPDSCP }), at(1, 0x1a, nil), true},
		{"a packet that has not what it hangs on", flow.FieldL4Dst, false, set(arp), at(1, 0x1a, nil), true},
		{"two packets that have not what it hangs on", flow.FieldL4Dst, false, set(arp), at(4, 2, set(arp)), false},
		{"a switch of another version", tcpDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.Switch.Protocol = flow.OpenFlow10 }), true},
		{"a P4 switch", tcpDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.Switch.Protocol = flow.P4Runtime }), true},
		{"a P4 switch of another program", tcpDst, false, p4(flow.FieldIPDst), at(1, 2, p4(flow.FieldIPDst|flow.FieldInPort)), true},
		{"a P4 switch of the same program", tcpDst, false, p4(flow.FieldIPDst), at(1, 2, p4(flow.FieldIPDst)), false},
		{"another table", tcpDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.PacketIn.TableID = 1 }), true},
		{"another reason", tcpDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.PacketIn.Reason = flow.ReasonAction }), true},
		{"sent by another rule", tcpDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.PacketIn.Cookie = 5 }), true},
		{"another tunnel", tcpDst, false, tunnel(1), at(1, 2, tunnel(2)), true},
		{"the same tunnel", tcpDst, false, tunnel(1), at(1, 2, tunnel(1)), false},
		{"other metadata", tcpDst, false, metadata(1), at(1, 2, metadata(2)), true},
		{"a packet that hides its ports", flow.FieldIPDst, false, nil, at(1, 2, func(ev *flow.Event) { *ev.PacketIn = *fragment() }), true},
		{"a packet that a gateway says is incomplete", flow.FieldIPDst, false, nil, at(1, 2, func(ev *flow.Event) { ev.PacketIn.Incomplete = flow.FieldIPECN }), true},
		{"two packets that hide their ports", flow.FieldIPDst, false, func(ev *flow.Event) { *ev.PacketIn = *fragment() }, at(1, 2, func(ev *flow.Event) { *ev.PacketIn = *fragment() }), true},
		{"two ICMP errors, which quote what is not in their headers", flow.FieldIPDst, false, set(icmpError), at(1, 2, set(icmpError)), true},
		{"a VLAN tag, which it does not hang on", tcpDst, false, nil, at(1, 2, set(tagged(5))), false},
		{"a VLAN tag, where that counts", tcpDst | flow.FieldVLAN, false, nil, at(1, 0x1a, set(tagged(5))), true},
		{"another VLAN, where that counts", tcpDst | flow.FieldVLAN, false, set(tagged(4)), at(1, 0x1a, set(tagged(5))), true},
		{"a tag within a tag, which hides all", flow.FieldEthDst, false, nil, at(1, 2, set(func(m *flow.Match) {
			*m = m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
			m.SetEthType(flow.EthTypeQinQ)
		})), true},
		{"a question for another neighbour, where that counts", flow.FieldNDTarget, false, set(neighbour("fd00::2")), at(1, 2, set(neighbour("fd00::3"))), true},
		{"a question for another neighbour, where only who asks counts", flow.FieldIPSrc, false, set(neighbour("fd00::2")), at(1, 2, set(neighbour("fd00::3"))), false},
		{"a neighbour's answer for a question", flow.FieldNDTarget, false, set(neighbour("fd00::2")), at(1, 2, set(func(m *flow.Match) {
			neighbour("fd00::2")(m)
			m.SetICMP(136, 0)
		})), true},
		{"another's MAC in ARP, where only its address counts", flow.FieldARPSPA, false, set(arp), at(1, 2, set(func(m *flow.Match) { arp(m); m.EthSrc[5]++ })), false},
		{"another's MAC in ARP, where that counts", flow.FieldARPSPA | flow.FieldEthSrc, false, set(arp), at(1, 2, set(func(m *flow.Match) { arp(m); m.EthSrc[5]++ })), true},
		{"masked headers of a digest", tcpDst, false, set(func(m *flow.Match) { m.IPDst = netip.MustParsePrefix("10.0.0.0/24") }), at(1, 2, nil), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := promise(row.hangs)
			f.reuse.Switch = row.sw
			m := newMemo(t, f, ReuseLimits{})
			m.wants("the first packet", at(1, 0x1a, row.first), true)
			d := m.wants("the second", row.second, row.call)
			if want := row.second.PacketIn.Match.Keep(ruleFields); len(d.Rules) != 1 || d.Rules[0].Match != want {
				t.Errorf("rules %v, want one that matches %v", d.Rules, want)
			}
			if d.Policy != version5 || d.Verdict != flow.Allow {
				t.Errorf("decision %+v", d)
			}
			if m.outcomes[Reused] == 1 == row.call {
				t.Errorf("outcomes %v", m.outcomes)
			}
		})
	}
}

func arp(m *flow.Match) {
	*m = m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
	m.SetEthType(flow.EthTypeARP)
	m.Fields |= flow.FieldARPOp
	m.ARPOp = 1
	m.SetARPSPA(netip.MustParsePrefix("10.0.0.1/32"))
	m.SetARPTPA(netip.MustParsePrefix("10.0.0.2/32"))
}

// tagged puts a packet into a VLAN.
func tagged(vid uint16) func(*flow.Match) {
	return func(m *flow.Match) { m.VLAN = flow.VLANPresent | vid }
}

// neighbour makes headers a question for an IPv6 neighbour.
func neighbour(target string) func(*flow.Match) {
	return func(m *flow.Match) {
		*m = m.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN)
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPProto(flow.ProtoICMPv6)
		m.SetIPSrc(netip.MustParsePrefix("fd00::1/128"))
		m.SetIPDst(netip.MustParsePrefix("ff02::1:ff00:2/128"))
		m.SetICMP(135, 0)
		m.Fields |= flow.FieldNDTarget
		m.NDTarget = netip.MustParseAddr(target)
	}
}

func icmpError(m *flow.Match) {
	*m = m.Keep(^(flow.FieldL4Src | flow.FieldL4Dst))
	m.SetIPProto(flow.ProtoICMP)
	m.SetICMP(3, 1)
}

func p4(f flow.Field) func(*flow.Event) {
	return func(ev *flow.Event) {
		ev.Switch.Protocol, ev.Switch.Matchable = flow.P4Runtime, []flow.Field{f}
	}
}

func tunnel(id uint64) func(*flow.Event) {
	return func(ev *flow.Event) { flow.FieldTunnelID.Info().SetNumber(&ev.PacketIn.Match, id, ^uint64(0)) }
}

func metadata(v uint64) func(*flow.Event) {
	return func(ev *flow.Event) { flow.FieldMetadata.Info().SetNumber(&ev.PacketIn.Match, v, ^uint64(0)) }
}

// TestReuseNotKept has answers that say they may be used again, and may not.
func TestReuseNotKept(t *testing.T) {
	rule := func(f func(*flow.Rule)) func(*flow.Event, *flow.Decision) {
		return func(_ *flow.Event, d *flow.Decision) { f(&d.Rules[0]) }
	}
	actions := func(list ...flow.Action) func(*flow.Event, *flow.Decision) {
		return rule(func(r *flow.Rule) { r.Actions = list })
	}
	for _, row := range []struct {
		name   string
		answer func(*flow.Event, *flow.Decision)
		want   ReuseOutcome
		sw     ReuseOutcome // where the answer is for the same switch
	}{
		{"a drop", actions(), Kept, Kept},
		{"NORMAL", actions(flow.OutputTo(flow.PortNormal)), Kept, Kept},
		{"FLOOD", actions(flow.OutputTo(flow.PortFlood)), Kept, Kept},
		{"a port", actions(flow.OutputTo(2)), NotActions, Kept},
		{"ALL", actions(flow.OutputTo(flow.PortAll)), NotActions, Kept},
		{"IN_PORT", actions(flow.OutputTo(flow.PortIn)), NotActions, Kept},
		{"LOCAL", actions(flow.OutputTo(flow.PortLocal)), NotActions, Kept},
		{"CONTROLLER", actions(flow.OutputTo(flow.PortController)), NotActions, Kept},
		{"a queue", actions(flow.Action{Type: flow.SetQueue, ID: 1}, flow.OutputTo(flow.PortNormal)), NotActions, Kept},
		{"a set field", actions(flow.Action{Type: flow.SetIPDSCP, Value: 1}, flow.OutputTo(flow.PortNormal)), NotActions, Kept},
		{"a group, or what else is not known", actions(flow.Action{Type: flow.Unsupported, ID: 22}), NotActions, Kept},
		{"a meter", rule(func(r *flow.Rule) { r.Meter = 1 }), NotActions, Kept},
		{"a further table", rule(func(r *flow.Rule) { r.Goto = 1 }), NotActions, Kept},
		{"the packet's own actions", func(_ *flow.Event, d *flow.Decision) {
			d.HasPacketOut, d.PacketOut = true, append(d.PacketOut, flow.OutputTo(2))
		}, NotActions, Kept},
		{"a wider address", rule(func(r *flow.Rule) { r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.0/24")) }), NotRules, NotRules},
		{"another address", rule(func(r *flow.Rule) { r.Match.SetIPDst(netip.MustParsePrefix("10.0.0.3/32")) }), NotRules, NotRules},
		{"a masked MAC", rule(func(r *flow.Rule) { r.Match.SetEthSrc(macA, flow.MAC{0xff}) }), NotRules, NotRules},
		{"a field that the packet has not", rule(func(r *flow.Rule) { r.Match.Fields |= flow.FieldIPDSCP }), NotRules, NotRules},
		{"another rule's end", rule(func(r *flow.Rule) { r.Command = flow.Delete }), NotRules, NotRules},
		{"many rules", func(_ *flow.Event, d *flow.Decision) {
			for range maxReuseRules {
				d.Rules = append(d.Rules, d.Rules[0])
			}
		}, NotRules, NotRules},
		{"a state that travels", func(_ *flow.Event, d *flow.Decision) { d.State = append(d.State, 1) }, NotState, NotState},
		{"a state that it rests on", func(_ *flow.Event, d *flow.Decision) { d.Read = append(d.Read, flow.StateVersion{Key: 1, Version: 1}) }, NotState, NotState},
		{"a revoked state", func(_ *flow.Event, d *flow.Decision) { d.Revoke = append(d.Revoke, 1) }, NotState, NotState},
		{"a change of state", func(_ *flow.Event, d *flow.Decision) { d.Change = &flow.StateChange{} }, NotState, NotState},
		{"what hangs on the switch's rules", func(_ *flow.Event, d *flow.Decision) { d.IfReply = &flow.Reply{} }, NotReply, NotReply},
		{"P4 entries", func(_ *flow.Event, d *flow.Decision) { d.Entries = []flow.Entry{{}} }, NotEntries, NotEntries},
		{"a fail mode's", func(_ *flow.Event, d *flow.Decision) { d.Failure = context.Canceled }, NotFailure, NotFailure},
		{"an incomplete packet", func(ev *flow.Event, d *flow.Decision) { ev.PacketIn.Incomplete = flow.FieldL4Src }, NotIncomplete, NotIncomplete},
		{"no promise", func(_ *flow.Event, d *flow.Decision) { d.Reuse = flow.Reuse{} }, "", ""},
	} {
		for _, sw := range []bool{false, true} {
			f, want := promise(tcpDst), row.want
			f.answer = row.answer
			if f.reuse.Switch = sw; sw {
				want = row.sw
			}
			m := newMemo(t, f, ReuseLimits{})
			m.wants(row.name, at(1, 0x1a, nil), true)
			if want != "" && m.outcomes[want] != 1 || want == "" && len(m.outcomes) != 0 {
				t.Errorf("%s, for one switch %t: %v, want %s", row.name, sw, m.outcomes, want)
			}
			m.wants(row.name+", again", at(1, 0x1a, nil), want != Kept)
		}
	}
}

// TestReuseFailMode: what the fail mode answers in a function's place is never used again, and neither is an error.
func TestReuseFailMode(t *testing.T) {
	f := promise(tcpDst)
	f.err = flow.Errorf(flow.Unavailable, "no")
	m := newMemo(t, f, ReuseLimits{})
	fail := &FailMode{Next: m, Default: Standalone}
	for range 2 {
		d := new(flow.Decision)
		if err := fail.Decide(t.Context(), at(1, 1, nil), d); err != nil || d.Failure == nil {
			t.Errorf("%v, %+v", err, d)
		}
	}
	if f.asked != 2 {
		t.Errorf("the function was asked %d times about two packets", f.asked)
	}
	f.err = nil
	m.wants("there again", at(1, 1, nil), true)
	m.wants("and now once more", at(1, 1, nil), false)
}

// TestReuseForgets has what makes all be forgotten.
func TestReuseForgets(t *testing.T) {
	six, four := flow.PolicyVersion{Serial: 6, Hash: 1}, flow.PolicyVersion{Serial: 4, Hash: 1}
	check := func(v flow.PolicyVersion) func(*memo) {
		return func(m *memo) {
			before := m.f.policy
			m.f.policy = v
			ev := &flow.Event{Type: flow.EventPolicyCheck}
			if err := m.Decide(m.t.Context(), ev, new(flow.Decision)); err != nil {
				m.t.Fatal(err)
			}
			m.f.policy = before
		}
	}
	other := func(f func(*flow.Event, *flow.Decision)) func(*memo) { // an answer about another packet
		return func(m *memo) {
			m.f.answer = f
			m.ask(at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 9999 }))
			m.f.answer = nil
		}
	}
	of := func(v flow.PolicyVersion) func(*memo) {
		return other(func(_ *flow.Event, d *flow.Decision) { d.Policy = v })
	}
	gateway := func(v flow.PolicyVersion) func(*memo) { return func(m *memo) { m.gateway = v } }
	for _, row := range []struct {
		name    string
		between []func(*memo)
		call    bool
		keeps   bool // afterwards, what the function says with its version of before is kept
	}{
		{"nothing", nil, false, true},
		{"another answer of the same version", []func(*memo){other(nil)}, false, true},
		{"a policy check of the same version", []func(*memo){check(version5)}, false, true},
		{"two of them", []func(*memo){check(version5), check(version5)}, false, true},
		{"the gateway goes by a newer policy", []func(*memo){gateway(six)}, true, true},
		{"a rollback at the gateway", []func(*memo){gateway(six), gateway(four)}, true, true},
		{"a policy check brings a newer one", []func(*memo){check(six)}, true, false},
		{"a policy check brings an older one", []func(*memo){check(version5), check(four)}, true, true},
		{"an answer of an older one, which has been taken back", []func(*memo){of(four)}, true, true},
		{"an answer of a newer one, and nobody checks", []func(*memo){of(six)}, true, false},
		{"an answer of a newer one, which no check has brought", []func(*memo){check(version5), of(six)}, true, true},
		{"an answer without a version", []func(*memo){of(flow.PolicyVersion{})}, true, true},
		{"a state is revoked", []func(*memo){other(func(_ *flow.Event, d *flow.Decision) { d.Revoke = append(d.Revoke, 7) })}, true, true},
		{"a reload", []func(*memo){func(m *memo) { m.Forget() }}, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMemo(t, promise(tcpDst), ReuseLimits{})
			m.gateway = version5
			m.wants("first", at(1, 1, nil), true)
			for _, f := range row.between {
				f(m)
			}
			m.wants("afterwards", at(1, 1, nil), row.call)
			m.wants("then", at(1, 1, nil), !row.keeps)
		})
	}
}

// TestReuseChangedMeanwhile: an answer is not kept where something has changed between its question and it, though the answer itself shows nothing of that.
func TestReuseChangedMeanwhile(t *testing.T) {
	six := flow.PolicyVersion{Serial: 6, Hash: 1}
	another := func(f func(*flow.Decision)) func(*memo) { // is asked about, and answered first
		return func(m *memo) {
			m.f.answer = func(_ *flow.Event, d *flow.Decision) { f(d) }
			m.ask(at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 8888 }))
		}
	}
	for name, row := range map[string]struct {
		change func(*memo)
		want   ReuseOutcome
		back   func(*memo) // so that the function answers by what counts
	}{
		"a reload":                             {func(m *memo) { m.Forget() }, NotChanged, nil},
		"the gateway goes by a newer policy":   {func(m *memo) { m.gateway = six }, NotChanged, nil},
		"another answer revokes a state":       {another(func(d *flow.Decision) { d.Revoke = append(d.Revoke, 7) }), NotChanged, nil},
		"another answer is of an older policy": {another(func(d *flow.Decision) { d.Policy.Serial = 4 }), NotChanged, nil},
		"another answer is of a newer policy":  {another(func(d *flow.Decision) { d.Policy = six }), NotVersion, func(m *memo) { m.f.policy = six }},
		"a policy check brings a newer policy": {func(m *memo) {
			m.f.policy = six
			if err := m.Decide(m.t.Context(), &flow.Event{Type: flow.EventPolicyCheck}, new(flow.Decision)); err != nil {
				m.t.Error(err)
			}
			m.f.policy = version5
		}, NotVersion, func(m *memo) { m.f.policy = six }},
	} {
		t.Run(name, func(t *testing.T) {
			f := promise(tcpDst)
			m := newMemo(t, f, ReuseLimits{})
			m.gateway = version5
			m.wants("first", at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 9999 }), true)
			inner := m.next
			m.next = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
				err := inner.Decide(ctx, ev, d) // the answer is made, and on its way
				m.next = inner
				row.change(m)
				f.answer = nil
				return err
			})
			before := m.outcomes[row.want]
			d := new(flow.Decision)
			if err := m.Decide(t.Context(), at(1, 1, nil), d); err != nil || d.Reused != 0 {
				t.Fatalf("%v, %+v", err, d)
			}
			if m.outcomes[row.want] != before+1 {
				t.Errorf("outcomes %v, want %s", m.outcomes, row.want)
			}
			if row.back != nil {
				row.back(m)
			}
			m.wants("afterwards", at(1, 1, nil), true)
			m.wants("then", at(1, 1, nil), false)
		})
	}
}

// TestReuseNewest: without policy checks one answer with a great serial has no say for ever.
func TestReuseNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := promise(tcpDst)
		f.policy = flow.PolicyVersion{Serial: 1 << 60}
		m := newMemo(t, f, ReuseLimits{})
		m.ask(at(1, 1, nil))
		f.policy = version5
		m.wants("older, it seems", at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 9999 }), true)
		m.wants("and not kept", at(1, 1, nil), true)
		time.Sleep(newestFor + time.Second)
		m.wants("after a minute", at(1, 1, nil), true)
		m.wants("and kept", at(1, 1, nil), false)
	})
}

// TestReuseRoutes: what one function has said is for its own packets alone.
func TestReuseRoutes(t *testing.T) {
	a, b := promise(0), promise(0)
	ma, mb := newMemo(t, a, ReuseLimits{}), newMemo(t, b, ReuseLimits{})
	routes := NewRoutes([]Route{{Name: "two", Ports: []flow.PortNo{2}, Decider: ma}}, mb)
	for range 2 {
		for _, port := range []flow.PortNo{1, 2} {
			if err := routes.Decide(t.Context(), at(port, 1, nil), new(flow.Decision)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a.asked != 1 || b.asked != 1 {
		t.Errorf("the functions were asked %d and %d times", a.asked, b.asked)
	}
}

// TestReuseLife holds the memo's life, and that of the rules which it serves, against the clock.
func TestReuseLife(t *testing.T) {
	for _, row := range []struct {
		name       string
		life, hard time.Duration
		answered   time.Duration // the function takes so long
		after      time.Duration // since the question
		call       bool
		left       time.Duration // of the rule
	}{
		{"at once", 5 * time.Second, 300 * time.Second, 0, 0, false, 300 * time.Second},
		{"after a moment", 5 * time.Second, 300 * time.Second, 0, time.Millisecond, false, 299 * time.Second},
		{"to the end", 5 * time.Second, 300 * time.Second, 0, 5*time.Second - time.Nanosecond, false, 295 * time.Second},
		{"at the end", 5 * time.Second, 300 * time.Second, 0, 5 * time.Second, true, 300 * time.Second},
		{"from the question, not from the answer", 5 * time.Second, 300 * time.Second, 4 * time.Second, 5 * time.Second, true, 300 * time.Second},
		{"for an hour", time.Hour, 3600 * time.Second, 0, 59 * time.Second, false, 3541 * time.Second},
		{"which is a minute", time.Hour, 3600 * time.Second, 0, 60 * time.Second, true, 3600 * time.Second},
		{"a rule that ends sooner", 30 * time.Second, 10 * time.Second, 0, 9 * time.Second, false, time.Second},
		{"and is at its end", 30 * time.Second, 10 * time.Second, 0, 9*time.Second + time.Millisecond, true, 10 * time.Second},
		{"a rule whose end the gateway says", 30 * time.Second, 0, 0, 9 * time.Second, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := promise(tcpDst)
				f.reuse.For = row.life
				f.answer = func(_ *flow.Event, d *flow.Decision) {
					d.Rules[0].HardTimeout = row.hard
					time.Sleep(row.answered)
				}
				m := newMemo(t, f, ReuseLimits{})
				m.wants("first", at(1, 1, nil), true)
				f.answer = func(_ *flow.Event, d *flow.Decision) { d.Rules[0].HardTimeout = row.hard }
				time.Sleep(row.after - row.answered)
				d := m.wants("then", at(2, 2, nil), row.call)
				if got := d.Rules[0].HardTimeout; got != row.left {
					t.Errorf("the rule has %v left, want %v", got, row.left)
				}
				if got := d.Rules[0].IdleTimeout; got != 30*time.Second {
					t.Errorf("idle timeout %v", got)
				}
			})
		})
	}
}

// TestReuseServesCopies: whoever is served may change what it got.
func TestReuseServesCopies(t *testing.T) {
	f := promise(tcpDst)
	f.answer = func(_ *flow.Event, d *flow.Decision) {
		d.HasPacketOut, d.PacketOut = true, append(d.PacketOut, flow.OutputTo(flow.PortNormal))
	}
	m := newMemo(t, f, ReuseLimits{})
	first, _ := m.ask(at(1, 1, nil))
	first.Rules[0].Actions[0].Port = 99
	first.PacketOut[0].Port = 99
	for range 2 {
		d := m.wants("then", at(1, 1, nil), false)
		if got := d.Rules[0].Actions[0].Port; got != flow.PortNormal || d.PacketOut[0].Port != flow.PortNormal || d.Rules[0].Priority != 100 {
			t.Fatalf("served %v, %v", &d.Rules[0], d.PacketOut)
		}
		d.Rules[0].Priority, d.PacketOut[0].Port = 1, 99
	}
}

// TestReuseBounded has a lying function answer many packets, each with a promise of its own.
func TestReuseBounded(t *testing.T) { reuseBounded(t, 50_000) }

// TestLongReuseBounded is that with a million.
func TestLongReuseBounded(t *testing.T) {
	testlong.Need(t)
	reuseBounded(t, 1_000_000)
}

func reuseBounded(t *testing.T, packets int) {
	f := promise(flow.FieldIPSrc)
	f.reuse.For = flow.MaxReuse
	m := newMemo(t, f, ReuseLimits{Entries: 1 << 10})
	ev := at(1, 1, nil)
	var d flow.Decision
	for i := range packets {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i))
		ev.PacketIn.Match.SetIPSrc(netip.PrefixFrom(netip.AddrFrom4(a), 32))
		f.reuse.Fields = flow.FieldIPSrc
		if i%10 == 0 {
			f.reuse.Fields |= flow.Field(i) & flow.AllFields
		}
		d.Reset()
		if err := m.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
	}
	if entries, bytes := m.Held(); entries != 1<<10 || bytes > 8<<20 {
		t.Errorf("%d answers, %d bytes", entries, bytes)
	}
	if m.outcomes[NotShapes] == 0 || len(m.view.Load().shapes) != maxShapes {
		t.Errorf("%d sets of fields, outcomes %v", len(m.view.Load().shapes), m.outcomes)
	}

	small := newMemo(t, promise(flow.FieldL4Dst), ReuseLimits{Bytes: 20_000})
	for port := range uint16(1000) {
		small.ask(at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = port + 1 }))
	}
	if entries, bytes := small.Held(); entries == 0 || bytes > 20_000 {
		t.Errorf("%d answers of %d bytes, more than 20,000", entries, bytes)
	}
}

// TestReuseKeepsNothingDead: answers that hold no more make room when the next one comes.
func TestReuseKeepsNothingDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemo(t, promise(flow.FieldL4Dst), ReuseLimits{})
		other := func(port uint16) *flow.Event {
			return at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = port })
		}
		for port := range uint16(100) {
			m.ask(other(port + 1))
		}
		time.Sleep(5 * time.Second)
		m.ask(other(1000))
		if entries, bytes := m.Held(); entries != 1 {
			t.Errorf("%d answers of %d bytes, of which one holds", entries, bytes)
		}
	})
}

// TestReuseShapesMakeRoom: sets of fields that nothing hangs on any more make room for others.
func TestReuseShapesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := promise(0)
		m := newMemo(t, f, ReuseLimits{})
		for i := range 3 {
			for j := range maxShapes + 4 {
				f.reuse.Fields = flow.FieldL4Src | flow.FieldL4Dst
				for bit, field := range []flow.Field{flow.FieldInPort, flow.FieldEthSrc, flow.FieldEthDst, flow.FieldVLAN, flow.FieldIPSrc, flow.FieldIPDst} {
					if (i*20+j)>>bit&1 != 0 {
						f.reuse.Fields |= field
					}
				}
				m.Decide(t.Context(), at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Src, ev.PacketIn.Match.L4Dst = uint16(1+j), uint16(1+i) }), new(flow.Decision))
			}
			time.Sleep(6 * time.Second)
		}
		if m.outcomes[NotShapes] != 3*4 || m.outcomes[Kept] != 3*maxShapes {
			t.Errorf("outcomes %v", m.outcomes)
		}
	})
}

// TestReuseConcurrent is for the race detector.
func TestReuseConcurrent(t *testing.T) {
	f := promise(tcpDst)
	r := NewReuse(f, ReuseLimits{Entries: 8}, func() flow.PolicyVersion { return version5 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				ev := at(flow.PortNo(i), 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = uint16(1 + j%16) })
				d := new(flow.Decision)
				if err := r.Decide(t.Context(), ev, d); err != nil || d.Rules[0].Match != ev.PacketIn.Match.Keep(ruleFields) {
					t.Errorf("%v, %v", err, d.Rules)
				}
				if j%50 == 0 {
					r.Forget()
				}
			}
		})
	}
	wg.Wait()
}

// back is an event of the packet that answers ev's, by a port of a switch.
func back(t *testing.T, ev *flow.Event, port flow.PortNo, dpid flow.DPID) *flow.Event {
	t.Helper()
	m, ok := ev.PacketIn.Match.Answer()
	if !ok {
		t.Fatal("nothing answers the packet")
	}
	m.SetInPort(port)
	b := packetEvent(&flow.PacketIn{BufferID: flow.NoBuffer, Match: m})
	b.Switch.DPID = dpid
	return b
}

// withReply has a function say what becomes of an answer.
func withReply(f func(*flow.Rule)) func(*flow.Event, *flow.Decision) {
	return func(ev *flow.Event, d *flow.Decision) {
		m, ok := ev.PacketIn.Match.Answer()
		if !ok {
			return
		}
		r := flow.Rule{Priority: 100, IdleTimeout: time.Minute, HardTimeout: time.Hour, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}
		if f != nil {
			f(&r)
		}
		d.Reuse.Reply = &flow.Reply{Rules: []flow.Rule{r}, Reason: "an answer"}
	}
}

// TestReuseReply: what a function says of answers beside a question's is what is said when they come, on every switch.
func TestReuseReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := promise(tcpDst)
		f.answer = withReply(nil)
		m := newMemo(t, f, ReuseLimits{})
		ask := at(1, 1, nil)
		m.wants("the question", ask, true)
		for dpid := range flow.DPID(8) {
			if dpid > 0 {
				m.wants("the question on another switch", at(1, 1+dpid, nil), false)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		for dpid := range flow.DPID(8) {
			d := m.wants("the answer", back(t, ask, 2, 1+dpid), false)
			if d.Verdict != flow.Deny || len(d.Rules) != 0 || !d.HasPacketOut || len(d.PacketOut) != 0 || d.IfReply == nil || d.Policy != version5 {
				t.Fatalf("an answer is %+v", d)
			}
			if r := d.IfReply; r.Reason != "an answer" || len(r.Rules) != 1 || r.Rules[0].HardTimeout != 3598*time.Second {
				t.Fatalf("if it is a reply: %+v", r)
			}
			d.IfReply.Rules[0].Priority = 0 // the bridge makes it exact in place
		}
		if m.outcomes[Replied] != 8 || m.outcomes[Reused] != 7 || m.outcomes[Kept] != 1 {
			t.Errorf("outcomes %v", m.outcomes)
		}
		// It is of this one conversation.
		other := at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Src++ })
		m.wants("another connection's question", other, true)
		m.wants("the same on the next switch", at(1, 2, func(ev *flow.Event) { ev.PacketIn.Match = other.PacketIn.Match }), false)
		m.wants("and its answer", back(t, other, 2, 2), false)
		m.wants("and there", back(t, other, 2, 1), false)
		for name, change := range map[string]func(*flow.Event){
			"another MAC":    func(ev *flow.Event) { ev.PacketIn.Match.EthSrc[5]++ },
			"another VLAN":   func(ev *flow.Event) { ev.PacketIn.Match.VLAN = flow.VLANPresent | 5 },
			"another tunnel": tunnel(3),
			"another version": func(ev *flow.Event) {
				ev.Switch.Protocol = flow.OpenFlow10
			},
			"incomplete": func(ev *flow.Event) { ev.PacketIn.Incomplete = flow.FieldL4Src },
		} {
			ev := back(t, ask, 2, 1)
			change(ev)
			f.answer = func(_ *flow.Event, d *flow.Decision) { d.Reuse = flow.Reuse{} }
			m.wants("an answer with "+name, ev, true)
		}
		f.answer = withReply(nil)
		time.Sleep(4 * time.Second)
		m.wants("an answer when the memo has ended", back(t, ask, 2, 1), true)
	})
}

// TestReuseReplyNotKept has replies that nobody may be served.
func TestReuseReplyNotKept(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*flow.Rule)
		sw     bool
		deny   bool
	}{
		"a port":                             {change: func(r *flow.Rule) { r.Actions[0].Port = 3 }},
		"a rule wider than the conversation": {change: func(r *flow.Rule) { r.Match.SetIPSrc(netip.MustParsePrefix("10.0.0.0/8")) }},
		"a rule of another":                  {change: func(r *flow.Rule) { r.Match.L4Src++ }},
		"a rule of a port":                   {change: func(r *flow.Rule) { r.Match.SetInPort(2) }},
		"a deny's":                           {deny: true},
	} {
		f := promise(tcpDst)
		f.answer = func(ev *flow.Event, d *flow.Decision) {
			withReply(row.change)(ev, d)
			if row.deny {
				d.Verdict = flow.Deny
			}
		}
		m := newMemo(t, f, ReuseLimits{})
		ask := at(1, 1, nil)
		m.wants(name, ask, true)
		m.wants(name+", the answer", back(t, ask, 2, 1), true)
		m.wants(name+", again", ask, false)
	}
}

// BenchmarkReuseUnused is what the memo costs where it never applies: a function that promises nothing, and one that promises for each packet what
// no other packet is like; beside the same function without a memo, in turn. ns/packet is what a packet takes more.
func BenchmarkReuseUnused(b *testing.B) {
	const batch = 1000
	for name, fields := range map[string]flow.Field{"no promise": 0, "no packet like it": flow.FieldIPSrc | flow.FieldIPDst | flow.FieldL4Dst} {
		b.Run(name, func(b *testing.B) {
			rule := goodRule()
			function := flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
				rule.Match = ev.PacketIn.Match.Keep(ruleFields)
				d.Verdict, d.Policy, d.Rules = flow.Allow, version5, append(d.Rules, rule)
				if fields != 0 {
					d.Reuse = flow.Reuse{For: 5 * time.Second, Fields: fields}
				}
				return nil
			})
			memo := NewReuse(function, ReuseLimits{}, func() flow.PolicyVersion { return version5 })
			ev, d := packetEvent(tcpPacket(80)), new(flow.Decision)
			asked := uint32(0)
			run := func(decider flow.Decider) time.Duration {
				start := time.Now()
				for range batch {
					asked++
					ev.PacketIn.Match.IPSrc = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(asked >> 16), byte(asked >> 8), byte(asked)}), 32)
					d.Reset()
					if flow.Recall(decider, ev, d) || decider.Decide(b.Context(), ev, d) != nil || d.Reused != 0 {
						b.Fatal("answered otherwise than by the function")
					}
				}
				return time.Since(start)
			}
			for range 100 { // as much as it remembers
				run(memo)
			}
			var with, without time.Duration
			for b.Loop() {
				with += run(memo)
				without += run(function)
			}
			b.ReportMetric(float64(with-without)/float64(b.N*batch), "ns/packet")
		})
	}
}

// BenchmarkReuseOn is a packet that an earlier answer is for.
func BenchmarkReuseOn(b *testing.B) {
	f := promise(tcpDst)
	r := NewReuse(f, ReuseLimits{}, func() flow.PolicyVersion { return version5 })
	ev, d := packetEvent(tcpPacket(80)), new(flow.Decision)
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		if err := r.Decide(b.Context(), ev, d); err != nil {
			b.Fatal(err)
		}
	}
	if f.asked > b.N/2+1 {
		b.Fatalf("asked %d times", f.asked)
	}
}

// TestReuseRejects: who is refused by an answer that is used again is told so as well, and the log, too, if the answer says so.
func TestReuseRejects(t *testing.T) {
	f := promise(tcpDst)
	f.answer = func(_ *flow.Event, d *flow.Decision) {
		d.Verdict, d.Reject, d.Log, d.Rules[0].Actions = flow.Deny, true, true, nil
	}
	m := newMemo(t, f, ReuseLimits{})
	if d := m.wants("the first", at(1, 1, nil), true); !d.Reject || !d.Log {
		t.Errorf("%+v", d)
	}
	if d := m.wants("the second", at(2, 2, nil), false); !d.Reject || !d.Log || d.Verdict != flow.Deny {
		t.Errorf("used again: %+v", d)
	}
}

// TestRecall: what is at hand is answered without asking, through routes and fail mode, as if it had been asked about; nothing else is.
func TestRecall(t *testing.T) {
	a, b := promise(tcpDst), promise(tcpDst)
	ma, mb := newMemo(t, a, ReuseLimits{}), newMemo(t, b, ReuseLimits{})
	chain := &FailMode{Next: NewRoutes([]Route{{Name: "two", Ports: []flow.PortNo{2}, Decider: ma}}, mb)}
	recall := func(ev *flow.Event) (*flow.Decision, bool) {
		d := new(flow.Decision)
		return d, flow.Recall(chain, ev, d)
	}
	for _, ev := range []*flow.Event{at(2, 1, nil), at(1, 1, nil), {Type: flow.EventPolicyCheck}, {Type: flow.EventSwitchConnected, Switch: new(flow.Switch)}} {
		if d, ok := recall(ev); ok || len(d.Rules)+len(d.Parts) > 0 {
			t.Errorf("%v: answered before anybody was asked: %+v", ev.Type, d)
		}
	}
	if err := chain.Decide(t.Context(), at(2, 1, nil), new(flow.Decision)); err != nil {
		t.Fatal(err)
	}
	if _, ok := recall(at(1, 2, nil)); ok {
		t.Error("one function's answer is given for a packet of another's")
	}
	if err := chain.Decide(t.Context(), at(1, 1, nil), new(flow.Decision)); err != nil {
		t.Fatal(err)
	}
	got, ok := recall(at(2, 7, nil))
	want := new(flow.Decision)
	if err := chain.Decide(t.Context(), at(2, 7, nil), want); err != nil {
		t.Fatal(err)
	}
	if !ok || a.asked+b.asked != 2 || got.Reused == 0 || len(got.Parts) != 1 || got.Parts[0].Function != "two" || got.Policy != want.Policy || got.Policy.IsZero() ||
		len(got.Rules) != 1 || got.Rules[0].Match != want.Rules[0].Match {
		t.Errorf("asked %d times; at hand %t: %+v, decided: %+v", a.asked+b.asked, ok, got, want)
	}
	// What is kept while a packet waits is found by the one that decides it.
	waits := at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 443 })
	if _, ok := recall(waits); ok {
		t.Error("an answer about another port is given")
	}
	for _, ev := range []*flow.Event{at(1, 2, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 443 }), waits} {
		if err := chain.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
			t.Fatal(err)
		}
	}
	if b.asked != 2 {
		t.Errorf("the function was asked %d times about two ports", b.asked)
	}
	if flow.Recall(a, at(2, 1, nil), new(flow.Decision)) {
		t.Error("a function that remembers nothing has an answer at hand")
	}
}

// TestReuseLooksUpWithoutWaiting: packets that have an answer wait for nobody who asks or whose answer is being kept.
func TestReuseLooksUpWithoutWaiting(t *testing.T) {
	m := newMemo(t, promise(tcpDst), ReuseLimits{})
	m.wants("first", at(1, 1, nil), true)
	m.mu.Lock() // as somebody in the middle of open or note
	defer m.mu.Unlock()
	found := make(chan bool)
	go func() { found <- m.Recall(at(2, 2, nil), new(flow.Decision)) }()
	select {
	case ok := <-found:
		if !ok {
			t.Error("no answer")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
}
