package header

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
)

// oracle decides as the README says, word for word: of the rules that match,
// the one of the highest priority, the first among equals.
func oracle(c *Config, m *flow.Match) int {
	best := -1
	for i, list := range c.Conditions() {
		if slices.ContainsFunc(list, func(c Condition) bool { return c.covers(m) }) && (best < 0 || c.Rules[i].Priority > c.Rules[best].Priority) {
			best = i
		}
	}
	return best
}

// Small alphabets, so that rules overlap and packets hit them.
var (
	macs     = []flow.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {0x33, 0x33, 0, 0, 0, 1}, flow.MACExact}
	macMasks = []flow.MAC{flow.MACExact, {1}, {0xff, 0xff}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}}
	vlans    = []uint16{flow.VLANNone, flow.VLANPresent, flow.VLANPresent | 7, flow.VLANPresent | 8}
	ports    = []uint16{0, 1, 22, 80, 443, 1023, 1024, 8080, 65535}
	icmps    = []uint8{0, 3, 8, 128, 135}
	v4s      = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.128.1"), netip.MustParseAddr("192.168.0.1")}
	v6s      = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:0:1::1"), netip.MustParseAddr("fe80::1")}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func coin(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func randomPrefix(r *rand.Rand, addrs []netip.Addr) netip.Prefix {
	a := pick(r, addrs)
	p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
	return p
}

func randomCondition(r *rand.Rand) (c Condition) {
	m := &c.Header
	if coin(r, 4) {
		m.SetInPort(flow.PortNo(1 + r.IntN(3)))
	}
	if coin(r, 5) {
		m.SetEthSrc(pick(r, macs), pick(r, macMasks))
	}
	if coin(r, 5) {
		m.SetEthDst(pick(r, macs), pick(r, macMasks))
	}
	if coin(r, 5) {
		mask := flow.VLANExact
		if coin(r, 3) {
			mask = flow.VLANPresent
		}
		m.SetVLAN(pick(r, vlans), mask)
	}
	addrs := v4s
	if coin(r, 3) {
		addrs = v6s
	}
	switch r.IntN(6) {
	case 0: // ARP
		m.SetEthType(flow.EthTypeARP)
		if coin(r, 2) {
			m.Fields |= flow.FieldARPOp
			m.ARPOp = uint16(1 + r.IntN(2))
		}
		if coin(r, 2) {
			m.SetARPSPA(randomPrefix(r, v4s))
		}
		if coin(r, 2) {
			m.SetARPTPA(randomPrefix(r, v4s))
		}
	case 1:
		if coin(r, 2) {
			m.SetEthType(pick(r, []uint16{flow.EthTypeLLDP, flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP, 0x05ff}))
		}
	default:
		if coin(r, 2) {
			m.SetIPSrc(randomPrefix(r, addrs))
		}
		if coin(r, 2) {
			m.SetIPDst(randomPrefix(r, addrs))
		}
		switch r.IntN(4) {
		case 0:
			m.SetIPProto(pick(r, []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP}))
			if coin(r, 2) {
				c.Src = randomRange(r)
			}
			if coin(r, 2) {
				c.Dst = randomRange(r)
			}
		case 1:
			m.SetIPProto(flow.ProtoICMP)
			if m.Has(flow.FieldIPSrc|flow.FieldIPDst) && m.IPSrc.Addr().Is6() || m.Has(flow.FieldIPSrc) && m.IPSrc.Addr().Is6() || m.Has(flow.FieldIPDst) && m.IPDst.Addr().Is6() {
				m.SetIPProto(flow.ProtoICMPv6)
			}
			m.SetICMP(pick(r, icmps), 0)
		case 2:
			m.SetIPProto(pick(r, []uint8{flow.ProtoTCP, flow.ProtoICMP, flow.ProtoICMPv6, 50}))
		}
	}
	for rest := rareFields; rest != 0; rest &= rest - 1 {
		f := rest & -rest
		if !coin(r, 20) {
			continue
		}
		if coin(r, 2) { // alone, as few others have all that it needs
			c = Condition{}
			if f&flow.NeedNeighbor.Fields() != 0 {
				m.SetIPProto(flow.ProtoICMPv6)
				m.SetICMP(cmp.Or(f.Info().ICMPType, 135), 0)
			}
		}
		setRare(r, m, f)
	}
	return c
}

// setRare gives a field outside of a conversation one of a few values.
func setRare(r *rand.Rand, m *flow.Match, f flow.Field) {
	switch x := f.Info(); x.Kind {
	case flow.Address:
		x.SetMAC(m, pick(r, macs), flow.MACExact)
	case flow.IPv6:
		x.SetAddr(m, pick(r, v6s))
	default:
		x.SetNumber(m, r.Uint64N(3), 0)
	}
}

func randomRange(r *rand.Rand) *PortRange {
	a, b := pick(r, ports), pick(r, ports)
	if coin(r, 2) {
		b = a
	}
	if coin(r, 3) {
		a, b = uint16(r.Uint32()), uint16(r.Uint32())
	}
	return &PortRange{min(a, b), max(a, b)}
}

// randomPacket fills a match as flow.ParseFrame does: a packet's headers that
// fit each other, exact.
func randomPacket(r *rand.Rand) flow.Match {
	m := randomConversation(r)
	for rest := m.Unseen() & rareFields; rest != 0; rest &= rest - 1 {
		setRare(r, &m, rest&-rest)
	}
	return m
}

func randomConversation(r *rand.Rand) (m flow.Match) {
	host := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	m.SetInPort(flow.PortNo(1 + r.IntN(3)))
	m.SetEthSrc(pick(r, macs), flow.MACExact)
	m.SetEthDst(pick(r, macs), flow.MACExact)
	m.SetVLAN(pick(r, vlans), flow.VLANExact)
	addrs := v4s
	switch r.IntN(8) {
	case 0:
		m.SetEthType(pick(r, []uint16{flow.EthTypeLLDP, 0x05ff}))
		return m
	case 1:
		m.SetEthType(flow.EthTypeARP)
		m.Fields |= flow.FieldARPOp
		m.ARPOp = uint16(1 + r.IntN(2))
		m.SetARPSPA(host(pick(r, v4s)))
		m.SetARPTPA(host(pick(r, v4s)))
		return m
	case 2, 3:
		m.SetEthType(flow.EthTypeIPv6)
		addrs = v6s
	default:
		m.SetEthType(flow.EthTypeIPv4)
	}
	m.SetIPSrc(host(pick(r, addrs)))
	m.SetIPDst(host(pick(r, addrs)))
	switch r.IntN(4) {
	case 0:
		m.SetIPProto(flow.ProtoICMP)
		if addrs[0].Is6() {
			m.SetIPProto(flow.ProtoICMPv6)
		}
		m.SetICMP(pick(r, append(icmps, 135, 135, 136, 136)), uint8(r.IntN(2)))
	case 1:
		m.SetIPProto(50)
	default:
		m.SetIPProto(pick(r, []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP}))
		port := func() uint16 {
			if coin(r, 3) {
				return uint16(r.Uint32())
			}
			return pick(r, ports)
		}
		m.SetL4Src(port())
		m.SetL4Dst(port())
	}
	return m
}

func randomConfig(r *rand.Rand, n int) *Config {
	c := &Config{}
	for len(c.Rules) < n {
		rule := Rule{
			Name:     fmt.Sprint("r", len(c.Rules)),
			Priority: uint16(1 + r.IntN(n)),
			Match:    randomCondition(r),
			Action:   Action{Deny: coin(r, 2)},
		}
		for coin(r, 4) {
			rule.Or = append(rule.Or, randomCondition(r))
		}
		if rule.validate() == nil { // such as ICMP within IPv6
			c.Rules = append(c.Rules, rule)
		}
	}
	return c
}

// The classifier gives what the oracle gives, and what it says the answer
// hangs on is true: a packet that agrees in those fields gets the same answer.
func TestAgainstOracle(t *testing.T) {
	var hit flow.Field // fields of rules that decided
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := randomConfig(r, 1+r.IntN(120))
		if err := c.Validate(nil); err != nil {
			t.Fatal(err)
		}
		link := c.Compile()
		hits := 0
		packets := make([]flow.Match, 120)
		outcomes := make([]policy.Outcome, len(packets))
		for i := range packets {
			packets[i] = randomPacket(r)
			m := &packets[i]
			out := link.Decide(policy.NewPacket(m))
			outcomes[i] = out
			want := oracle(c, m)
			if want < 0 {
				if out.Verdict != flow.NoVerdict {
					t.Fatalf("seed %d: %v: %q, want no verdict", seed, m, out.Reason)
				}
				continue
			}
			hits++
			for i := range c.Rules[want].conditions() {
				hit |= c.Rules[want].condition(i).fields()
			}
			verdict := flow.Allow
			if c.Rules[want].Action.Deny {
				verdict = flow.Deny
			}
			if out.Reason != "header: "+c.Rules[want].Name || out.Verdict != verdict {
				t.Fatalf("seed %d: %v: %v by %q, want %v by rule %q", seed, m, out.Verdict, out.Reason, verdict, c.Rules[want].Name)
			}
		}
		if hits == 0 {
			t.Errorf("seed %d: no packet hit a rule", seed)
		}
		for i := range packets {
			dep := outcomes[i].Depends
			for j := range packets {
				if packets[i].Keep(dep) == packets[j].Keep(dep) && outcomes[i].Reason != outcomes[j].Reason {
					t.Fatalf("seed %d: %v and %v agree in %v, but are decided by %q and %q",
						seed, packets[i], packets[j], dep, outcomes[i].Reason, outcomes[j].Reason)
				}
			}
		}
	}
	if hit != ruleFields {
		t.Errorf("no rule on %v decided", ruleFields&^hit)
	}
}

// A packet that hides some of its fields is decided as the whole packet would
// be, whatever it hides, or denied.
func TestHiddenFieldsFailClosed(t *testing.T) {
	hide := []flow.Field{
		rareFields,
		portFields,
		portFields | flow.FieldIPProto,
		^flow.FieldInPort &^ linkFields,
		^flow.FieldInPort,
	}
	definite, denied := 0, 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		c := randomConfig(r, 1+r.IntN(40))
		link := c.Compile()
		for range 200 {
			whole := randomPacket(r)
			cut := whole.Keep(^pick(r, hide))
			p := policy.NewPacket(&cut)
			hidden := whole.Fields &^ cut.Fields
			p.Missing |= hidden &^ rareFields // of which nobody says that they are missing
			out := link.Decide(p)
			want := link.Decide(policy.NewPacket(&whole))
			switch {
			case out.Verdict == want.Verdict && out.Reason == want.Reason:
				definite++
			case out.Verdict == flow.Deny && out.Depends&(hidden|cut.Unseen()) != 0:
				denied++
			default:
				t.Fatalf("seed %d: %v, of which %v is seen: %v (%s) hanging on %v, the whole packet: %v (%s)",
					seed, whole, cut, out.Verdict, out.Reason, out.Depends, want.Verdict, want.Reason)
			}
		}
	}
	if definite == 0 || denied == 0 {
		t.Errorf("%d decided for certain and %d denied: the test wants both", definite, denied)
	}
}

// Two conditions of which some packet satisfies both overlap.
func TestOverlaps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	c := randomConfig(r, 200)
	conditions := slices.Concat(c.Conditions()...)
	disjoint, both := 0, 0
	for range 3000 {
		m := randomPacket(r)
		var hit []int
		for i := range conditions {
			if conditions[i].covers(&m) {
				hit = append(hit, i)
			}
		}
		for _, i := range hit {
			for _, j := range hit {
				both++
				if !conditions[i].overlaps(&conditions[j]) {
					t.Fatalf("%+v and %+v both match %v", conditions[i], conditions[j], m)
				}
			}
		}
	}
	for i := range conditions {
		for j := range conditions {
			if !conditions[i].overlaps(&conditions[j]) {
				disjoint++
			}
			if conditions[i].overlaps(&conditions[j]) != conditions[j].overlaps(&conditions[i]) {
				t.Fatalf("%+v and %+v overlap one way only", conditions[i], conditions[j])
			}
		}
	}
	if both == 0 || disjoint == 0 {
		t.Errorf("%d overlaps seen, %d disjoint pairs: the test wants both", both, disjoint)
	}
}

// A rule's expansion for a switch matches exactly what the rule matches.
func TestExpand(t *testing.T) {
	tried, matched := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 4))
		cond := randomConfig(r, 1).Conditions()[0][0]
		if cond.expansions() > 600 {
			continue
		}
		tried++
		list := cond.expand()
		if len(list) != cond.expansions() {
			t.Fatalf("%+v becomes %d matches, counted %d", cond, len(list), cond.expansions())
		}
		for range 100 {
			m := randomPacket(r)
			n := 0
			for i := range list {
				if list[i].Covers(&m) {
					n++
				}
			}
			want := 0
			if cond.covers(&m) {
				want = 1
			}
			if n != want {
				t.Fatalf("%+v: %v is matched by %d of %v, want %d", cond, m, n, list, want)
			}
			matched += n
		}
	}
	if tried < 30 || matched < 30 {
		t.Errorf("%d conditions tried, %d packets matched: the test wants more", tried, matched)
	}
}

func TestPrefixes(t *testing.T) {
	for _, r := range []PortRange{{0, 0xffff}, {0, 0}, {0xffff, 0xffff}, {1, 0xfffe}, {80, 80}, {8000, 8080}, {1024, 0xffff}, {0, 1023}, {5, 6}} {
		list := prefixes(&r)
		if len(list) > 30 {
			t.Errorf("%v becomes %d blocks", r, len(list))
		}
		var blocks [1 << 16]int // how many each port is in
		for _, b := range list {
			for p := int(b.value); p <= int(b.value|^b.mask); p++ {
				blocks[p]++
			}
		}
		for p, n := range blocks {
			in := p >= int(r.First) && p <= int(r.Last)
			if in && n != 1 || !in && n != 0 {
				t.Fatalf("%v: port %d is in %d blocks", r, p, n)
			}
		}
	}
}
