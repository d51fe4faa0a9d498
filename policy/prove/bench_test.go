package prove

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/promise"
)

// large is a policy as large as they come: addresses on a list, and an access list in which addresses are whole, prefixes or left out, and ports one or
// a range.
func large(addresses, rules int) *policy.Policy {
	r := rand.New(rand.NewPCG(1, 2))
	list := blocklist.List{Name: "list"}
	addr := func() netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, r.Uint32())))
	}
	for range addresses {
		list.Prefixes = append(list.Prefixes, netip.PrefixFrom(addr(), 32))
	}
	h := &header.Config{}
	for range rules {
		var c header.Condition
		inside := func() netip.Prefix {
			a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a000000|r.Uint32()>>8)))
			p, _ := a.Prefix([]int{0, 16 + r.IntN(9), 24, 32}[r.IntN(4)])
			return p
		}
		for c.Header.SetIPSrc(inside()); c.Header.IPDst.Bits()+c.Header.IPSrc.Bits() < 16; {
			c.Header.SetIPDst(inside())
		}
		if r.IntN(4) > 0 {
			c.Header.SetIPProto([]uint8{flow.ProtoTCP, flow.ProtoUDP}[r.IntN(2)])
			first := uint16(r.IntN(1024))
			c.Dst = &header.PortRange{First: first, Last: first + uint16(r.IntN(2)*r.IntN(1000))}
		}
		h.Rules = append(h.Rules, header.Rule{Priority: 100, Match: c, Action: header.Action{Deny: r.IntN(2) == 0}})
	}
	return &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{
		&blocklist.Config{Lists: []blocklist.List{list}}, h, &forward.Config{Mode: policy.Normal}}}
}

// BenchmarkNever is the search for what can never decide.
func BenchmarkNever(b *testing.B) {
	for _, bb := range []struct {
		name             string
		addresses, rules int
	}{{"1000 rules", 0, 1000}, {"10000 rules", 0, 10_000}, {"100000 addresses and 10000 rules", 100_000, 10_000}} {
		p := large(bb.addresses, bb.rules)
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				prover, err := New(p, 0)
				if err != nil {
					b.Fatal(err)
				}
				list, err := prover.Never()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(list)), "never")
				b.ReportMetric(float64(DefaultBudget-prover.search.budget), "steps")
			}
		})
	}
}

// BenchmarkKeeps is a promise that holds of a large policy, about many of its rules.
func BenchmarkKeeps(b *testing.B) {
	p := large(100_000, 10_000)
	h := p.Chain[1].(*header.Config)
	var ssh, all header.Condition
	ssh.Header.SetIPProto(flow.ProtoTCP)
	ssh.Dst = &header.PortRange{First: 22, Last: 22}
	all.Header.SetIPDst(netip.MustParsePrefix("10.0.0.0/8"))
	all.Header.SetIPProto(flow.ProtoTCP)
	all.Dst = ssh.Dst
	h.Rules = append(h.Rules, header.Rule{Priority: 60000, Match: all, Action: header.Action{Deny: true}})
	o := promise.Promise{Kind: promise.Never, Parts: []promise.Part{{Fields: []header.Condition{*ssh.Completed()}}, {Hosts: &promise.Hosts{To: true, Prefixes: []netip.Prefix{all.Header.IPDst}}}}}
	for b.Loop() {
		prover, err := New(p, 0)
		if err != nil {
			b.Fatal(err)
		}
		if c, err := prover.Keeps(&o); c != nil || err != nil {
			b.Fatal(c, err)
		}
	}
}

// BenchmarkDiff is one of 10,000 rules turned.
func BenchmarkDiff(b *testing.B) {
	p, n := large(100_000, 10_000), large(100_000, 10_000)
	r := &n.Chain[1].(*header.Config).Rules[5000]
	r.Action.Deny = !r.Action.Deny
	for b.Loop() {
		list, _, err := Diff(p, n, nil, nil, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(list)), "changes")
	}
}
