package prove

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy/header"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/promise"
)

// meets is a promise's part, word for word.
func meets(part *promise.Part, m *flow.Match) bool {
	h := part.Hosts
	if h == nil {
		return slices.ContainsFunc(part.Fields, func(c header.Condition) bool {
			return c.Header.Covers(m) && (c.Dst == nil || m.Has(flow.FieldL4Dst) && c.Dst.First <= m.L4Dst && m.L4Dst <= c.Dst.Last) &&
				(c.Src == nil || m.Has(flow.FieldL4Src) && c.Src.First <= m.L4Src && m.L4Src <= c.Src.Last)
		})
	}
	a, f, eth := m.IPSrc.Addr(), flow.FieldIPSrc, m.EthSrc
	if h.To {
		a, f, eth = m.IPDst.Addr(), flow.FieldIPDst, m.EthDst
	}
	for _, p := range h.Prefixes {
		if m.Has(f) && p.Contains(a) {
			return true
		}
	}
	for _, mac := range h.MACs {
		if mac == eth {
			return true
		}
	}
	return false
}

// breaks reports whether a packet that gets a verdict breaks a promise.
func breaks(o *promise.Promise, m *flow.Match, v flow.Verdict) bool {
	if (o.Kind == promise.Always) == (v == flow.Allow) {
		return false
	}
	all := true
	for i := range o.Parts {
		if o.Kind == promise.Only && i == 0 {
			if !meets(&o.Parts[0], m) {
				return false
			}
			continue
		}
		all = all && meets(&o.Parts[i], m)
	}
	return all != (o.Kind == promise.Only)
}

func smallPromise(r *rand.Rand, chosen *flow.Field) (o promise.Promise) {
	o.Kind = promise.Never + promise.Kind(r.IntN(3))
	hosts := func() {
		h := &promise.Hosts{To: r.IntN(2) == 0}
		if h.MACs = []flow.MAC{smallMAC(r.IntN(8))}; r.IntN(4) > 0 {
			h.MACs = nil
			for range 1 + r.IntN(2) {
				h.Prefixes = append(h.Prefixes, smallPrefix(r, r.IntN(3) == 0))
			}
			*chosen |= flow.FieldIPSrc | flow.FieldIPDst
		} else {
			*chosen |= map[bool]flow.Field{false: flow.FieldEthSrc, true: flow.FieldEthDst}[h.To]
		}
		o.Parts = append(o.Parts, promise.Part{Hosts: h})
	}
	fields := func() {
		for {
			c, or := smallCondition(r, *chosen), smallCondition(r, *chosen)
			if c.Validate() != nil || or.Validate() != nil {
				continue
			}
			part := promise.Part{Fields: []header.Condition{*c.Completed()}}
			if r.IntN(3) == 0 {
				part.Fields = append(part.Fields, *or.Completed())
			}
			o.Parts = append(o.Parts, part)
			return
		}
	}
	switch r.IntN(3) {
	case 0:
		hosts()
		fields()
	case 1:
		fields()
		hosts()
	default:
		hosts()
		hosts()
	}
	return o
}

// A promise is proved if no packet of all breaks it, and what is said to break it does.
func TestPromisesAreExact(t *testing.T) { promisesAreExact(t, 120) }

func TestLongPromisesAreExact(t *testing.T) {
	testlong.Need(t)
	promisesAreExact(t, 1500)
}

func promisesAreExact(t *testing.T, seeds uint64) {
	t.Parallel()
	count := map[string]int{}
	for seed := range seeds {
		p, chosen := smallPolicy(seed)
		o := smallPromise(rand.New(rand.NewPCG(seed, 3)), &chosen)
		if !smallEnough(p, &chosen) {
			continue
		}
		prover, err := New(p, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := prover.Keeps(&o)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		l, broken := compile(p), false
		smallPackets(chosen, func(m *flow.Match) {
			if !broken {
				v, _ := l.decide(m)
				broken = breaks(&o, m, v)
			}
		})
		switch {
		case (got != nil) != broken:
			t.Errorf("seed %d: %v: counterexample %v, broken %v", seed, o.Kind, got, broken)
		case got != nil:
			m, err := policytest.ParsePacket(got.Words)
			if v, _ := l.decide(&m); err != nil || !breaks(&o, &m, v) {
				t.Errorf("seed %d: %q (%v) breaks nothing: %v", seed, got.Words, err, v)
			}
		}
		count[fmt.Sprint(o.Kind, broken)]++
	}
	for _, k := range []promise.Kind{promise.Never, promise.Always, promise.Only} {
		if least := int(seeds) / 60; count[fmt.Sprint(k, false)] < least || count[fmt.Sprint(k, true)] < least {
			t.Errorf("%v: too few of %v are tried", k, count)
		}
	}
	t.Log(count)
}

// document reads a policy and its promises.
func document(t testing.TB, text string) *policyfile.Document {
	t.Helper()
	doc, err := parsed(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return doc
}

func parsed(text string) (*policyfile.Document, error) {
	return policyfile.ParseDocument(strings.NewReader(text), "policy.yaml", ".")
}

// Every packet that a search finds can be made, and its words mean it: whatever fields it has.
func TestPacketsOfRules(t *testing.T) {
	for _, match := range []string{
		"{}", "{in_port: LOCAL}", "{in_port: 70000}", "{eth_src: 01:00:00:00:00:00/01:00:00:00:00:00}", "{vlan_vid: 0}", "{vlan_vid: any, vlan_pcp: 5}", "{vlan_vid: 4095}",
		"{eth_type: 0x05ff}", "{eth_type: 0x05ff, vlan_vid: 3}", "{eth_type: 0x8847}", "{eth_type: lldp}", "{eth_type: ipv6}", "{ip_src: 10.0.0.0/8, ip_dst: 224.0.0.1}",
		"{ip_proto: 47}", "{ip_proto: icmpv6}", "{ip_proto: icmp}", "{eth_type: ipv4, ip_proto: 58}", "{eth_type: ipv6, ip_proto: 1}", "{eth_type: ipv6, ip_proto: 59}",
		"{tcp_src: 0, tcp_dst: 0}", "{udp_dst: 60000-65535}", "{sctp_dst: 5}", "{icmp_type: 255, icmp_code: 7}", "{icmpv6_type: 135, ipv6_nd_target: 2001:db8::9}",
		"{icmpv6_type: 135, ipv6_nd_sll: 02:00:00:00:00:07}", "{icmpv6_type: 136, ipv6_nd_target: fe80::1}", "{icmpv6_type: 135, icmpv6_code: 3}", "{ip_dscp: 46, ip_ecn: 3}",
		"{ipv6_flabel: 0xabcde}", "{arp_op: reply, arp_spa: 10.0.0.0/30, arp_tha: 02:00:00:00:00:09}", "{arp_op: 0}", "{arp_sha: 02:00:00:00:00:09}", "{ip_dst: \"ff02::1\"}",
	} {
		doc := document(t, "chain: [{header: {rules: [{name: it, match: "+match+", action: allow}]}}]\npromises: [{never: {in_port: 1}}]\n")
		h := doc.Policy.Chain[0].(*header.Config)
		prover, err := New(doc.Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		o := promise.Promise{Kind: promise.Never, Parts: []promise.Part{{Fields: h.Conditions()[0]}}}
		c, err := prover.Keeps(&o)
		if err != nil || c == nil {
			t.Errorf("%s: %v, %v", match, c, err)
			continue
		}
		if !strings.HasPrefix(c.Reason, "header: it") {
			t.Errorf("%s: %s: %s", match, c.Words, c.Reason)
		}
		t.Log(match, "=>", c.Words)
	}
}
