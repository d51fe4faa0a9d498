package prove

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/mac"
)

// The small fields: each has few values that conditions of these tests ask for, and all of them are tried, with one beside them.
var (
	smallPorts = []flow.PortNo{1, 2, 3, 9}
	smallTypes = []uint16{flow.EthTypeIPv4, flow.EthTypeIPv6, flow.EthTypeARP, 0x88b5}
	smallProto = []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP, flow.ProtoICMPv6, 50}
)

// Conditions ask for the first 16 under masks of these four bits.
const smallMACs = 32

func smallMAC(n int) flow.MAC {
	return flow.MAC{2 | byte(n>>3&1), 0, 0, 0, byte(n >> 4), byte(n & 7)}
}

// Conditions ask for the first 8, and prefixes of up to 16 of them.
const smallAddrs = 10

func smallAddr(n int, v6 bool) netip.Addr {
	if n == smallAddrs-1 {
		n = 200
	}
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
}

func smallPrefix(r *rand.Rand, v6 bool) netip.Prefix {
	a := smallAddr(r.IntN(8), v6)
	p, _ := a.Prefix(a.BitLen() - r.IntN(5))
	return p
}

// smallPackets calls f with all packets that differ in the small fields which chosen has.
func smallPackets(chosen flow.Field, f func(*flow.Match)) {
	var m flow.Match
	values := func(field flow.Field, n int, set func(i int), next func()) {
		if chosen&field == 0 {
			n = 1
		}
		for i := range n {
			set(i)
			next()
		}
	}
	l4 := func() {
		had := m.Fields
		defer func() { m.Fields = had }()
		v4, v6 := m.EthType == flow.EthTypeIPv4, m.EthType == flow.EthTypeIPv6
		switch {
		case !v4 && !v6:
			f(&m)
		case m.IPProto == flow.ProtoTCP || m.IPProto == flow.ProtoUDP:
			m.SetL4Src(5)
			values(flow.FieldL4Dst, 17, func(i int) { m.SetL4Dst(uint16(i)) }, func() { f(&m) })
		case v4 && m.IPProto == flow.ProtoICMP, v6 && m.IPProto == flow.ProtoICMPv6:
			values(flow.FieldICMPType, 4, func(i int) { m.SetICMP(uint8(134+i), 0) }, func() {
				has := m.Fields
				defer func() { m.Fields = has }()
				if !v6 || m.ICMPType != solicitation && m.ICMPType != advertisement {
					f(&m)
					return
				}
				m.ICMPCode = 1
				f(&m)
				m.ICMPCode = 0
				if m.ICMPType == solicitation {
					flow.FieldNDSLL.Info().SetMAC(&m, flow.MAC{}, flow.MACExact)
				}
				values(flow.FieldNDTarget, smallAddrs, func(i int) { flow.FieldNDTarget.Info().SetAddr(&m, smallAddr(i, true)) }, func() { f(&m) })
			})
		default:
			f(&m)
		}
	}
	l3 := func() {
		had := m.Fields
		defer func() { m.Fields = had }()
		src, dst, v6 := flow.FieldIPSrc, flow.FieldIPDst, false
		switch m.EthType {
		case flow.EthTypeARP:
			src, dst = flow.FieldARPSPA, flow.FieldARPTPA
			flow.FieldARPOp.Info().SetNumber(&m, 1, 0)
		case flow.EthTypeIPv4:
		case flow.EthTypeIPv6:
			v6 = true
		default:
			f(&m)
			return
		}
		one := func(field flow.Field) func(int) {
			return func(i int) { a := smallAddr(i, v6); field.Info().SetPrefix(&m, netip.PrefixFrom(a, a.BitLen())) }
		}
		values(flow.FieldIPSrc, smallAddrs, one(src), func() {
			values(flow.FieldIPDst, smallAddrs, one(dst), func() {
				if m.EthType == flow.EthTypeARP {
					f(&m)
					return
				}
				for _, p := range smallProto {
					m.SetIPProto(p)
					l4()
				}
			})
		})
	}
	values(flow.FieldInPort, len(smallPorts), func(i int) { m.SetInPort(smallPorts[i]) }, func() {
		values(flow.FieldEthSrc, smallMACs, func(i int) { m.SetEthSrc(smallMAC(i), flow.MACExact) }, func() {
			values(flow.FieldEthDst, smallMACs, func(i int) { m.SetEthDst(smallMAC(i), flow.MACExact) }, func() {
				values(flow.FieldVLAN, 5, func(i int) {
					m.SetVLAN(flow.VLANNone, flow.VLANExact)
					m.Fields &^= flow.FieldVLANPCP
					if i > 0 {
						m.SetVLAN(flow.VLANPresent|uint16(i-1), flow.VLANExact)
						flow.FieldVLANPCP.Info().SetNumber(&m, 0, 0)
					}
				}, func() {
					for _, t := range smallTypes {
						m.SetEthType(t)
						l3()
					}
				})
			})
		})
	})
}

// smallFields are what a test's conditions may look at, besides EtherType and protocol.
var smallFields = []flow.Field{flow.FieldInPort, flow.FieldEthSrc, flow.FieldEthDst, flow.FieldVLAN, flow.FieldIPSrc, flow.FieldIPDst, flow.FieldL4Dst, flow.FieldICMPType, flow.FieldNDTarget}

func smallCondition(r *rand.Rand, chosen flow.Field) (c header.Condition) {
	m := &c.Header
	some := func(f flow.Field) bool { return chosen&f != 0 && r.IntN(2) == 0 }
	if some(flow.FieldInPort) {
		m.SetInPort(smallPorts[r.IntN(3)])
	}
	for _, f := range []flow.Field{flow.FieldEthSrc, flow.FieldEthDst} {
		if some(f) {
			mask := flow.MACExact
			if r.IntN(2) == 0 {
				mask = flow.MAC{byte(r.IntN(2)), 0, 0, 0, 0, byte(r.IntN(8))}
				if mask == (flow.MAC{}) {
					mask = flow.MAC{1}
				}
			}
			f.Info().SetMAC(m, smallMAC(r.IntN(16)).And(mask), mask)
		}
	}
	if some(flow.FieldVLAN) {
		switch r.IntN(4) {
		case 0:
			m.SetVLAN(flow.VLANNone, flow.VLANExact)
		case 1:
			m.SetVLAN(flow.VLANPresent, flow.VLANPresent)
		default:
			m.SetVLAN(flow.VLANPresent|uint16(r.IntN(3)), flow.VLANExact)
		}
	}
	v6, ip := r.IntN(3) == 0, false
	for _, f := range []flow.Field{flow.FieldIPSrc, flow.FieldIPDst} {
		if some(f) {
			f.Info().SetPrefix(m, smallPrefix(r, v6))
			ip = true
		}
	}
	switch {
	case r.IntN(3) == 0:
		m.SetIPProto([]uint8{flow.ProtoTCP, flow.ProtoUDP}[r.IntN(2)])
		if some(flow.FieldL4Dst) {
			first := uint16(r.IntN(16))
			c.Dst = &header.PortRange{First: first, Last: first + uint16(r.IntN(16-int(first)))}
		}
	case some(flow.FieldICMPType) && v6:
		m.SetIPProto(flow.ProtoICMPv6)
		flow.FieldICMPType.Info().SetNumber(m, uint64(134+r.IntN(3)), 0)
		if m.ICMPType >= solicitation && some(flow.FieldNDTarget) {
			flow.FieldNDTarget.Info().SetAddr(m, smallAddr(r.IntN(8), true))
		}
	case some(flow.FieldICMPType):
		m.SetIPProto(flow.ProtoICMP)
		flow.FieldICMPType.Info().SetNumber(m, uint64(134+r.IntN(3)), 0)
	case r.IntN(4) == 0 && !ip:
		m.SetEthType(smallTypes[r.IntN(len(smallTypes))])
		if m.EthType == flow.EthTypeARP && some(flow.FieldIPSrc) {
			m.SetARPSPA(smallPrefix(r, false))
		}
	case r.IntN(4) == 0:
		m.SetIPProto(smallProto[r.IntN(len(smallProto))])
	}
	return c
}

// smallPolicy is a random one over a few small fields.
func smallPolicy(seed uint64) (p *policy.Policy, chosen flow.Field) {
	r := rand.New(rand.NewPCG(seed, 17))
	for range 1 + r.IntN(3) {
		chosen |= smallFields[r.IntN(len(smallFields))]
	}
	p = &policy.Policy{Serial: 1, Install: policy.DefaultInstall}
	for n := 1 + r.IntN(3); len(p.Chain) < n; {
		var s policy.Source
		switch r.IntN(5) {
		case 0:
			b := &blocklist.Config{Match: blocklist.Direction(r.IntN(3)), Lists: []blocklist.List{{}}}
			for range 1 + r.IntN(4) {
				b.Lists[0].Prefixes = append(b.Lists[0].Prefixes, smallPrefix(r, r.IntN(2) == 0))
			}
			s = b
		case 1:
			m := &mac.Config{Match: mac.Direction(r.IntN(3)), Deny: mac.Denied(r.IntN(2)), Lists: []mac.List{{}}}
			for range 1 + r.IntN(4) {
				m.Lists[0].Prefixes = append(m.Lists[0].Prefixes, mac.Prefix{Addr: smallMAC(r.IntN(8)), Bits: 48})
			}
			s = m
		default:
			h := &header.Config{}
			for i := range 1 + r.IntN(8) {
				rule := header.Rule{Name: fmt.Sprintf("r%d-%d", len(p.Chain), i), Priority: uint16(100 + r.IntN(2)), Match: smallCondition(r, chosen)}
				rule.Action.Deny = r.IntN(2) == 0
				for range r.IntN(3) { // as lists, groups and not are written out
					rule.Or = append(rule.Or, smallCondition(r, chosen))
				}
				h.Rules = append(h.Rules, rule)
			}
			s = h
		}
		if s.Validate(p.Chain) == nil {
			p.Chain = append(p.Chain, s)
		}
	}
	if r.IntN(2) == 0 {
		p.Chain = append(p.Chain, &forward.Config{Mode: policy.Normal})
	}
	return p, chosen
}

// smallEnough adds the fields that lists look at, and reports whether all packets of the fields can be tried.
func smallEnough(p *policy.Policy, chosen *flow.Field) bool {
	for _, s := range p.Chain {
		switch s := s.(type) {
		case *mac.Config:
			*chosen |= map[mac.Direction]flow.Field{mac.Src: flow.FieldEthSrc, mac.Dst: flow.FieldEthDst, mac.Both: flow.FieldEthSrc | flow.FieldEthDst}[s.Match]
		case *blocklist.Config:
			*chosen |= flow.FieldIPSrc | flow.FieldIPDst | flow.FieldNDTarget | flow.FieldICMPType
		}
	}
	n := 1
	for f, size := range map[flow.Field]int{flow.FieldInPort: 4, flow.FieldEthSrc: smallMACs, flow.FieldEthDst: smallMACs, flow.FieldVLAN: 5,
		flow.FieldIPSrc: smallAddrs, flow.FieldIPDst: smallAddrs, flow.FieldL4Dst: 17, flow.FieldICMPType: 4, flow.FieldNDTarget: smallAddrs} {
		if *chosen&f != 0 {
			n *= size
		}
	}
	return n <= 20_000
}

// decided is where a packet is decided, as the chain's own links say.
type decided struct {
	chain  int
	reason string
}

func (d decided) is(r *rule) bool {
	return d.chain == r.Entry.Chain && (r.Entry.Item < 0 || d.reason == r.label)
}

// links decide packets by the compiled policy.
type links []policy.Link

func compile(p *policy.Policy) (l links) {
	for _, s := range p.Chain {
		l = append(l, s.Compile())
	}
	return l
}

func (l links) decide(m *flow.Match) (flow.Verdict, decided) { return l.ask(policy.NewPacket(m)) }

func (l links) ask(packet policy.Packet) (flow.Verdict, decided) {
	for i, link := range l {
		if out := link.Decide(packet); out.Verdict != flow.NoVerdict {
			return out.Verdict, decided{i, out.Reason}
		}
	}
	return flow.Deny, decided{chain: -1}
}

// What can never decide is what decides none of all packets.
func TestNeverIsExact(t *testing.T) { neverIsExact(t, 60) }

func TestLongNeverIsExact(t *testing.T) {
	testlong.Need(t)
	neverIsExact(t, 1000)
}

func neverIsExact(t *testing.T, seeds uint64) {
	t.Parallel()
	never, entries := 0, 0
	for seed := range seeds {
		p, chosen := smallPolicy(seed)
		if !smallEnough(p, &chosen) {
			continue
		}
		prover, err := New(p, 0)
		if err != nil {
			t.Fatal(err)
		}
		list, err := prover.Never()
		if err != nil {
			t.Fatal(err)
		}
		alive := map[decided]bool{}
		l := compile(p)
		smallPackets(chosen, func(m *flow.Match) {
			_, by := l.decide(m)
			alive[by] = true
		})
		for i := range prover.chain.rules {
			r := &prover.chain.rules[i]
			if r.Entry.Chain < 0 {
				continue
			}
			entries++
			lives := false
			for by := range alive {
				lives = lives || by.is(r)
			}
			found := slices.ContainsFunc(list, func(n Never) bool { return n.Entry == r.Entry })
			if found {
				never++
			}
			if found == lives {
				t.Errorf("seed %d: %s: never %v, decides %v", seed, r.label, found, lives)
			}
		}
	}
	if least := int(seeds) / 2; never < least || entries-never < least {
		t.Errorf("of %d entries %d never decide: the test tries too little", entries, never)
	}
	t.Logf("%d entries, of which %d never decide", entries, never)
}
