package prove

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/header"
)

// A rule is touched by a change of policy if one of its packets is decided differently, or one that they answer, and as denied if one is not let
// pass any more. Every packet that is decided differently is in a region. Brute force over all packets of small fields is the judge.
func TestDeltaIsExact(t *testing.T) { deltaIsExact(t, 80) }

func TestLongDeltaIsExact(t *testing.T) {
	testlong.Need(t)
	deltaIsExact(t, 500)
}

func deltaIsExact(t *testing.T, seeds uint64) {
	t.Parallel()
	var counts [flow.Denied + 1]int
	for seed := range seeds {
		p, chosen := smallPolicy(seed)
		if seed%2 == 0 { // rules of several conditions look at too many fields for brute force, as a rule
			for _, s := range p.Chain {
				if h, ok := s.(*header.Config); ok {
					for i := range h.Rules {
						h.Rules[i].Or = nil
					}
				}
			}
		}
		r := rand.New(rand.NewPCG(seed, 9))
		n := mutate(p, r, chosen)
		if !smallEnough(p, &chosen) || !smallEnough(n, &chosen) {
			continue
		}
		d, err := NewDelta(p, n, 0)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		regions, _ := d.Regions(1 << 10)
		was, is := compile(p), compile(n)
		type change struct {
			flow.Match
			denied bool
		}
		var all []flow.Match
		var differ []change
		smallPackets(chosen, func(m *flow.Match) {
			all = append(all, *m)
			va, _ := was.decide(m)
			vb, _ := is.decide(m)
			if va == vb {
				return
			}
			differ = append(differ, change{*m, vb == flow.Deny})
			if !slices.ContainsFunc(regions, func(r flow.Region) bool { return r.Match.Covers(m) }) {
				t.Errorf("seed %d: %v is decided differently and in none of the regions %v", seed, m, regions)
			}
		})
		for range 30 {
			m := all[r.IntN(len(all))]
			if r.IntN(3) > 0 {
				m = m.Keep(flow.Field(r.Uint32()) | flow.FieldEthType | flow.FieldIPProto | flow.FieldVLAN) // so that what is left has what it needs
			}
			want := func(m *flow.Match) (t flow.Touch) {
				for i := range differ {
					switch {
					case !m.Covers(&differ[i].Match):
					case differ[i].denied:
						return flow.Denied
					default:
						t = flow.Changed
					}
				}
				return t
			}
			least := want(&m)
			if q, ok := m.Question(); ok {
				least = max(least, want(&q))
			}
			got := d.Touches(&m)
			counts[got]++
			// The packets that m's answer are beyond the small ones, so of them only what is found counts.
			if own := d.touches(&m); got < least || m.Missing() == 0 && own != want(&m) {
				t.Errorf("seed %d: a rule for %v is touched as %v, its own packets as %v, want %v and %v", seed, &m, got, own, least, want(&m))
			}
		}
	}
	for touch, n := range counts {
		if n < int(seeds)/2 {
			t.Errorf("%d rules are touched as %d: the test tries too little", n, touch)
		}
	}
}

// hosts are rules of decisions by a large policy, one a conversation.
func hosts(n int) (list []flow.Match) {
	r := rand.New(rand.NewPCG(3, 4))
	for range n {
		var m flow.Match
		m.SetInPort(1)
		m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
		m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
		m.SetEthType(flow.EthTypeIPv4)
		m.SetVLAN(flow.VLANNone, flow.VLANExact)
		m.SetIPProto(flow.ProtoTCP)
		for _, set := range []func(netip.Prefix){m.SetIPSrc, m.SetIPDst} {
			set(netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a000000|r.Uint32()>>8))), 32))
		}
		m.SetL4Src(uint16(1024 + r.IntN(60000)))
		m.SetL4Dst(uint16(r.IntN(1024)))
		list = append(list, m)
	}
	return list
}

// With 10,000 entries, 100,000 addresses and 10,000 rules in switches, one changed entry is found and each rule looked at while a person waits.
func TestDeltaOfLargePolicies(t *testing.T) { deltaOfLargePolicies(t, 10_000, 1000) }

func TestLongDeltaOfLargePolicies(t *testing.T) {
	testlong.Need(t)
	deltaOfLargePolicies(t, 100_000, 10_000)
}

func deltaOfLargePolicies(t *testing.T, addresses, rules int) {
	t.Parallel()
	p := large(addresses, rules)
	n := *p
	n.Serial, n.Chain = 2, slices.Clone(p.Chain)
	h := *p.Chain[1].(*header.Config)
	h.Rules = slices.Clone(h.Rules)
	at := &h.Rules[rules*7/10].Action
	at.Deny = !at.Deny
	n.Chain[1] = &h
	start := time.Now()
	d, err := NewDelta(p, &n, 0)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Since(start)
	touched := 0
	for _, m := range hosts(rules) {
		if d.Touches(&m) != flow.Untouched {
			touched++
		}
	}
	took := time.Since(start)
	if regions, ok := d.Regions(256); !ok || touched == rules {
		t.Errorf("%d regions, %d rules touched", len(regions), touched)
	}
	t.Logf("compared in %v, with %d rules in %v, of which %d are touched", made, rules, took, touched)
}

// Policies that install different rules, and those that decide by states, are not compared.
func TestDeltaIsRefused(t *testing.T) {
	p := large(0, 3)
	n := *p
	n.Install.Rule = policy.InstallHostPair
	if _, err := NewDelta(p, &n, 0); err == nil {
		t.Error("policies that install different rules are compared")
	}
}
