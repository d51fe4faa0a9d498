package blocklist

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/policytest"
)

func prefixes(t testing.TB, list ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func host(s string) netip.Prefix {
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

func ipPacket(src, dst string) flow.Match {
	var m flow.Match
	m.SetEthType(flow.EthTypeIPv4)
	if host(src).Addr().Is6() {
		m.SetEthType(flow.EthTypeIPv6)
	}
	m.SetIPProto(50)
	m.SetIPSrc(host(src))
	m.SetIPDst(host(dst))
	return m
}

func arpPacket(spa, tpa string) flow.Match {
	var m flow.Match
	m.SetEthType(flow.EthTypeARP)
	m.Fields |= flow.FieldARPOp
	m.ARPOp = 1
	m.SetARPSPA(host(spa))
	m.SetARPTPA(host(tpa))
	return m
}

// nd is neighbour discovery of a kind, as a frame shows it.
func nd(kind uint8, src, dst, target string) flow.Match {
	m := ipPacket(src, dst)
	m.Fields |= flow.FieldFlowLabel
	m.SetIPProto(flow.ProtoICMPv6)
	m.SetICMP(kind, 0)
	if target != "" {
		m.Fields |= flow.FieldNDTarget
		m.NDTarget = netip.MustParseAddr(target)
	}
	return m
}

func TestDecide(t *testing.T) {
	lists := []List{
		{Prefixes: prefixes(t, "10.0.0.3/32", "2001:db8:bad::/48")},
		{Name: "bad.txt", Prefixes: prefixes(t, "192.0.2.0/24", "192.0.2.7/32")},
	}
	const ip = flow.FieldIPSrc | flow.FieldIPDst
	var lldp, cut flow.Match
	lldp.SetEthType(flow.EthTypeLLDP)
	cut.SetEthType(flow.EthTypeIPv4)
	tests := []struct {
		name    string
		match   Direction
		packet  flow.Match
		reason  string // empty: passed on
		depends flow.Field
	}{
		{"neither", Both, ipPacket("10.0.0.1", "10.0.0.2"), "", flow.FieldIPSrc | flow.FieldIPDst},
		{"source", Both, ipPacket("10.0.0.3", "10.0.0.2"), "blocklist: 10.0.0.3", flow.FieldIPSrc},
		{"destination", Both, ipPacket("10.0.0.2", "10.0.0.3"), "blocklist: 10.0.0.3", flow.FieldIPSrc | flow.FieldIPDst},
		{"destination only, source listed", Dst, ipPacket("10.0.0.3", "10.0.0.2"), "", flow.FieldIPDst},
		{"source only, destination listed", Src, ipPacket("10.0.0.2", "10.0.0.3"), "", flow.FieldIPSrc},
		{"IPv6 in a prefix", Both, ipPacket("2001:db8::1", "2001:db8:bad::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", flow.FieldIPSrc | flow.FieldIPDst},
		{"the widest prefix is named, and its file", Both, ipPacket("192.0.2.7", "10.0.0.1"), "blocklist: 192.0.2.7 of 192.0.2.0/24 in bad.txt", flow.FieldIPSrc},
		{"ARP sender", Both, arpPacket("10.0.0.3", "10.0.0.1"), "blocklist: 10.0.0.3", flow.FieldARPSPA},
		{"ARP target", Both, arpPacket("10.0.0.1", "10.0.0.3"), "blocklist: 10.0.0.3", flow.FieldARPSPA | flow.FieldARPTPA},
		{"solicited", Both, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", "2001:db8:bad::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", ip | flow.FieldNDTarget},
		{"solicited, not listed", Both, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", "2001:db8::7"), "", ip | flow.FieldNDTarget},
		{"solicited by a listed one", Both, nd(solicitation, "2001:db8:bad::7", "ff02::1:ff00:7", "2001:db8::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", flow.FieldIPSrc},
		{"solicited, source only", Src, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", "2001:db8:bad::7"), "", flow.FieldIPSrc | flow.FieldNDTarget},
		{"solicited, destination only", Dst, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", "2001:db8:bad::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", flow.FieldIPDst | flow.FieldNDTarget},
		{"advertised", Both, nd(advertisement, "fe80::7", "2001:db8::1", "2001:db8:bad::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", ip | flow.FieldNDTarget},
		{"advertised, destination only", Dst, nd(advertisement, "fe80::7", "2001:db8::1", "2001:db8:bad::7"), "", flow.FieldIPDst | flow.FieldNDTarget},
		{"advertised, source only", Src, nd(advertisement, "fe80::7", "2001:db8::1", "2001:db8:bad::7"), "blocklist: 2001:db8:bad::7 of 2001:db8:bad::/48", flow.FieldIPSrc | flow.FieldNDTarget},
		{"a target that is hidden", Both, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", ""), missingReason, ip | flow.FieldNDTarget},
		{"a target that a P4 program does not have", Both, nd(solicitation, "2001:db8::1", "ff02::1:ff00:7", "").Keep(^flow.FieldFlowLabel), "", ip | flow.FieldNDTarget},
		{"an echo request's data are no target", Both, nd(128, "2001:db8::1", "2001:db8::2", ""), "", ip | flow.FieldNDTarget},
		{"no addresses at all", Both, lldp, "", flow.FieldIPSrc | flow.FieldIPDst},
		{"addresses cut off", Dst, cut, missingReason, flow.FieldIPDst},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&policytest.Denial{Entry: &Config{Match: tt.match, Lists: lists}, Packet: tt.packet, Reason: tt.reason, Depends: tt.depends}).Check(t)
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []*Config{
		{Match: 3},
		{Lists: []List{{Prefixes: []netip.Prefix{{}}}}},
		{Lists: []List{{Name: "x", Prefixes: prefixes(t, "::ffff:10.0.0.0/104")}}},
	} {
		if c.Validate(nil) == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// The table finds what a walk over all prefixes finds.
func TestTableAgainstWalk(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		v6 := seed%2 == 1
		random := func() netip.Addr {
			var b [16]byte
			for i := range b {
				b[i] = byte(r.IntN(3)) * byte(r.IntN(256)) // zeroes, so that prefixes nest
			}
			if v6 {
				return netip.AddrFrom16(b)
			}
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		var list []netip.Prefix
		var entries []entry
		for range r.IntN(300) {
			a := random()
			n := a.BitLen() - r.IntN(a.BitLen())/(1+r.IntN(8))
			if seed == 3 {
				n = 0
			}
			p, _ := a.Prefix(n)
			list = append(list, p)
			entries = append(entries, entry{first: key(policy.AddressOf(p.Addr())), bits: uint8(p.Bits())})
		}
		table := newTable(entries)
		check := func(a netip.Addr) {
			want := -1 // the shortest length of a prefix that holds a
			for _, p := range list {
				if p.Contains(a) && (want < 0 || p.Bits() < want) {
					want = p.Bits()
				}
			}
			got := -1
			if e := table.lookup(key(policy.AddressOf(a))); e != nil {
				got = int(e.bits)
			}
			if got != want {
				t.Fatalf("seed %d: %v is found in a prefix of %d bits, want %d (%v)", seed, a, got, want, list)
			}
		}
		for range 200 {
			check(random())
		}
		for _, p := range list {
			check(p.Addr())
			for _, a := range []netip.Addr{p.Addr().Prev(), p.Addr().Next()} {
				if a.IsValid() {
					check(a)
				}
			}
		}
	}
}

// BenchmarkDecide is the cost of a decision by the number of addresses, for
// packets that pass.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{500, 10_000, 120_430} {
		for _, family := range []string{"v4", "v6"} {
			r := rand.New(rand.NewPCG(1, 1))
			random := func() netip.Addr {
				var a [16]byte
				binary.BigEndian.PutUint64(a[:], 0x20010db8<<32|uint64(r.Uint32()))
				binary.BigEndian.PutUint64(a[8:], r.Uint64())
				if family == "v4" {
					return netip.AddrFrom4([4]byte(a[8:12]))
				}
				return netip.AddrFrom16(a)
			}
			var list List
			for range n {
				a := random()
				list.Prefixes = append(list.Prefixes, netip.PrefixFrom(a, a.BitLen()))
			}
			link := (&Config{Lists: []List{list}}).Compile()
			packets := make([]flow.Match, 4096)
			for i := range packets {
				packets[i] = ipPacket(random().String(), random().String())
			}
			b.Run(fmt.Sprintf("%s/entries=%d", family, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					link.Decide(policy.NewPacket(&packets[i&4095]))
					i++
				}
			})
		}
	}
}

func TestNestedPrefixesAreOne(t *testing.T) {
	var entries []entry
	for _, p := range prefixes(t, "10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8", "10.1.2.3/32") {
		entries = append(entries, entry{first: key(policy.AddressOf(p.Addr())), bits: uint8(p.Bits())})
	}
	table := newTable(entries)
	var got []uint8
	for _, e := range table.entries {
		got = append(got, e.bits)
	}
	if !slices.Equal(got, []uint8{8, 8}) {
		t.Errorf("lengths %v, want those of 10.0.0.0/8 and 11.0.0.0/8", got)
	}
}
