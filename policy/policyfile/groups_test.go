package policyfile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy/header"
)

const grouped = `
groups:
  everybody: [guests, servers, router]
  guests: [10.0.2.0/24, 10.0.3.0/25, "2001:db8:2::/64"]
  servers: [10.0.1.0/28]
  router: "02:00:00:00:00:01"
  web: [tcp/80, tcp/443, udp/443]
  names: udp/53
  usual: [web, names, icmp]
chain:
  - header:
      rules:
        - {name: r, match: %s, action: allow}
`

// conditionsOf returns what a match means.
func conditionsOf(t *testing.T, match string) []header.Condition {
	t.Helper()
	p, err := Parse(strings.NewReader(fmt.Sprintf(grouped, match)), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	return p.Chain[0].(*header.Config).Conditions()[0]
}

// A match with groups, lists and not means what its words mean: each packet is looked at by a function that is written for the match.
func TestGroupsMean(t *testing.T) { groupsMean(t, 2, 5_000) }

// TestLongGroupsMean is TestGroupsMean with other packets.
func TestLongGroupsMean(t *testing.T) {
	testlong.Need(t)
	groupsMean(t, 3, 50_000)
}

func groupsMean(t *testing.T, seed uint64, n int) {
	prefixes := make(map[string]netip.Prefix)
	in := func(a netip.Prefix, list ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			p, ok := prefixes[s]
			if !ok {
				p = netip.MustParsePrefix(s)
				prefixes[s] = p
			}
			return p.Contains(a.Addr())
		})
	}
	r := rand.New(rand.NewPCG(1, seed))
	packets := make([]flow.Match, n)
	for i := range packets {
		packets[i] = somePacket(r)
	}
	guests := func(a netip.Prefix) bool { return in(a, "10.0.2.0/24", "10.0.3.0/25", "2001:db8:2::/64") }
	isWeb := func(m *flow.Match) bool {
		return m.IPProto == flow.ProtoTCP && (m.L4Dst == 80 || m.L4Dst == 443) || m.IPProto == flow.ProtoUDP && m.L4Dst == 443
	}
	hasIP := func(m *flow.Match) bool { return m.Has(flow.FieldIPSrc) }
	router := flow.MAC{2, 0, 0, 0, 0, 1}
	for match, want := range map[string]func(m *flow.Match) bool{
		"{from: guests}":              func(m *flow.Match) bool { return hasIP(m) && guests(m.IPSrc) },
		"{from: guests, to: servers}": func(m *flow.Match) bool { return hasIP(m) && guests(m.IPSrc) && in(m.IPDst, "10.0.1.0/28") },
		"{from: [router, 10.0.1.1]}":  func(m *flow.Match) bool { return m.EthSrc == router || hasIP(m) && in(m.IPSrc, "10.0.1.1/32") },
		"{ip_dst: guests, tcp_dst: [22, 80-443]}": func(m *flow.Match) bool {
			return hasIP(m) && guests(m.IPDst) && m.IPProto == flow.ProtoTCP && (m.L4Dst == 22 || m.L4Dst >= 80 && m.L4Dst <= 443)
		},
		"{eth_src: router, vlan_vid: [none, 7]}": func(m *flow.Match) bool {
			return m.EthSrc == router && (m.VLAN == flow.VLANNone || m.VLAN == flow.VLANPresent|7)
		},
		"{service: web}": func(m *flow.Match) bool { return hasIP(m) && isWeb(m) },
		"{service: usual, to: servers}": func(m *flow.Match) bool {
			return hasIP(m) && in(m.IPDst, "10.0.1.0/28") && (isWeb(m) || m.IPProto == flow.ProtoUDP && m.L4Dst == 53 || m.IPProto == flow.ProtoICMP)
		},
		"{not: {from: guests}}":       func(m *flow.Match) bool { return hasIP(m) && !guests(m.IPSrc) },
		"{not: {ip_src: 10.0.0.0/8}}": func(m *flow.Match) bool { return hasIP(m) && !in(m.IPSrc, "10.0.0.0/8") },
		"{not: {from: [guests, servers]}, to: servers}": func(m *flow.Match) bool {
			return hasIP(m) && !guests(m.IPSrc) && !in(m.IPSrc, "10.0.1.0/28") && in(m.IPDst, "10.0.1.0/28")
		},
		"{not: {from: router}}": func(m *flow.Match) bool { return m.EthSrc != router },
		"{not: {tcp_dst: [22, 80-443]}}": func(m *flow.Match) bool {
			return hasIP(m) && m.IPProto == flow.ProtoTCP && m.L4Dst != 22 && !(m.L4Dst >= 80 && m.L4Dst <= 443)
		},
		"{not: {service: web}, from: guests}": func(m *flow.Match) bool { return hasIP(m) && guests(m.IPSrc) && !isWeb(m) },
		"{not: {service: tcp}}":               func(m *flow.Match) bool { return hasIP(m) && m.IPProto != flow.ProtoTCP },
		"{not: {ip_proto: [tcp, udp]}}":       func(m *flow.Match) bool { return hasIP(m) && m.IPProto != flow.ProtoTCP && m.IPProto != flow.ProtoUDP },
		"{not: {vlan_vid: 7}}":                func(m *flow.Match) bool { return m.VLAN != flow.VLANPresent|7 },
		"{not: {vlan_vid: any}}":              func(m *flow.Match) bool { return m.VLAN == flow.VLANNone },
		"{not: {ip_dscp: 46}}":                func(m *flow.Match) bool { return hasIP(m) && m.IPDSCP != 46 },
		"{not: {icmp_type: 8}}": func(m *flow.Match) bool {
			return m.Has(flow.FieldICMPType) && m.IPProto == flow.ProtoICMP && m.ICMPType != 8
		},
		"{not: {arp_spa: servers}}": func(m *flow.Match) bool { return m.Has(flow.FieldARPSPA) && !in(m.ARPSPA, "10.0.1.0/28") },
		"{not: {arp_op: request}}":  func(m *flow.Match) bool { return m.Has(flow.FieldARPOp) && m.ARPOp != 1 },
		"{not: {from: guests, tcp_dst: 22}}": func(m *flow.Match) bool {
			return hasIP(m) && !guests(m.IPSrc) && m.IPProto == flow.ProtoTCP && m.L4Dst != 22
		},
	} {
		conditions := conditionsOf(t, match)
		met, unmet := 0, 0
		for _, m := range packets {
			got := slices.ContainsFunc(conditions, func(c header.Condition) bool { ok := meets(&c, &m); return ok })
			if got != want(&m) {
				t.Fatalf("%s: %v is of it: %v, want %v", match, m, got, !got)
			}
			if got {
				met++
			} else {
				unmet++
			}
		}
		if met < 20 || unmet < 20 {
			t.Errorf("%s: %d packets meet it and %d don't: that shows nothing", match, met, unmet)
		}
	}
}

// meets reports whether a complete packet meets a condition.
func meets(c *header.Condition, m *flow.Match) bool {
	return c.Header.Covers(m) && (c.Src == nil || m.Has(flow.FieldL4Src) && c.Src.First <= m.L4Src && m.L4Src <= c.Src.Last) &&
		(c.Dst == nil || m.Has(flow.FieldL4Dst) && c.Dst.First <= m.L4Dst && m.L4Dst <= c.Dst.Last)
}

// somePacket is one of values near those of the groups.
func somePacket(r *rand.Rand) (m flow.Match) {
	pick := func(list ...string) netip.Prefix {
		a := netip.MustParseAddr(list[r.IntN(len(list))])
		return netip.PrefixFrom(a, a.BitLen())
	}
	v4 := func() netip.Prefix {
		return pick("10.0.2.0", "10.0.2.255", "10.0.1.255", "10.0.3.127", "10.0.3.128", "10.0.1.0", "10.0.1.1", "10.0.1.15", "10.0.1.16", "9.255.255.255", "11.0.0.0", "0.0.0.0", "255.255.255.255")
	}
	v6 := func() netip.Prefix {
		return pick("2001:db8:2::", "2001:db8:2::ffff:ffff:ffff:ffff", "2001:db8:2:1::", "2001:db8:1:ffff::1", "::", "fe80::1")
	}
	m.SetInPort(1)
	m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, byte(r.IntN(3))}, flow.MACExact)
	m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 9}, flow.MACExact)
	m.SetVLAN([]uint16{flow.VLANNone, flow.VLANPresent | 7, flow.VLANPresent | 8, flow.VLANPresent}[r.IntN(4)], flow.VLANExact)
	switch r.IntN(6) {
	case 0:
		m.SetEthType(flow.EthTypeARP)
		m.Fields |= flow.FieldARPOp
		m.ARPOp = uint16(1 + r.IntN(2))
		m.SetARPSPA(v4())
		m.SetARPTPA(v4())
		return m
	case 1, 2:
		m.SetEthType(flow.EthTypeIPv6)
		m.SetIPSrc(v6())
		m.SetIPDst(v6())
	default:
		m.SetEthType(flow.EthTypeIPv4)
		m.SetIPSrc(v4())
		m.SetIPDst(v4())
	}
	m.Fields |= flow.FieldIPDSCP
	m.IPDSCP = []uint8{0, 46, 47}[r.IntN(3)]
	port := func() uint16 { return []uint16{22, 53, 79, 80, 443, 444, 0, 65535}[r.IntN(8)] }
	switch proto := []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP, 47}[r.IntN(6)]; proto {
	case flow.ProtoICMP:
		if m.EthType == flow.EthTypeIPv6 {
			proto = flow.ProtoICMPv6
		}
		m.SetIPProto(proto)
		m.SetICMP([]uint8{0, 8, 9}[r.IntN(3)], 0)
	case 47:
		m.SetIPProto(proto)
	default:
		m.SetIPProto(proto)
		m.SetL4Src(port())
		m.SetL4Dst(port())
	}
	return m
}

// What is wrong with groups and the words that stand for several values is said with its line and what was expected.
func TestGroupErrors(t *testing.T) {
	chain := "chain: [{forward: {}}]\n"
	rule := func(match string) string {
		return "groups:\n  guests: [10.0.2.0/24]\n  web: [tcp/80]\n  cam: \"02:00:00:00:00:01\"\nchain:\n  - header:\n      rules:\n        - {name: x, action: deny, match: " + match + "}\n"
	}
	for name, row := range map[string]struct{ text, want string }{
		"not a mapping":    {"groups: [a]\n" + chain, "p.yaml:1: groups: want a mapping"},
		"name":             {"groups:\n  1st: [10.0.0.1]\n" + chain, `p.yaml:2: groups: "1st": want a name`},
		"a protocol's":     {"groups:\n  tcp: [10.0.0.1]\n" + chain, `p.yaml:2: groups: "tcp": want a name`},
		"twice":            {"groups:\n  a: [10.0.0.1]\n  a: [10.0.0.2]\n" + chain, "p.yaml:3: groups: a is given twice"},
		"empty":            {"groups:\n  a: []\n" + chain, "p.yaml:2: group a: want a list of addresses"},
		"both kinds":       {"groups:\n  a: [10.0.0.1, tcp/80]\n" + chain, "p.yaml:2: group a: it has hosts and services"},
		"itself":           {"groups:\n  a: [b]\n  b: [a]\n" + chain, "p.yaml:2: group a: it has itself among its members"},
		"unknown member":   {"groups:\n  guests: [10.0.0.1]\n  all: [gests]\n" + chain, `p.yaml:3: group all: "gests": want an address or prefix such as 10.0.0.0/8, an Ethernet address, a service such as tcp/443, a name such as www.example.org, or a group; did you mean guests?`},
		"bad prefix":       {"groups:\n  a: [10.0.0.1/8]\n" + chain, "p.yaml:2: group a: 10.0.0.1/8 has bits beyond its length"},
		"unknown group":    {rule("{from: gusts}"), `p.yaml:8: header: rule x: match: from: "gusts": want an address or prefix such as 10.0.0.0/8, an Ethernet address, a name such as www.example.org, a group, or a list of them; did you mean guests?`},
		"a service's":      {rule("{from: web}"), "p.yaml:8: header: rule x: match: from: web: want an address"},
		"hosts as service": {rule("{service: guests}"), "p.yaml:8: header: rule x: match: service: guests: want a service"},
		"no such address":  {rule("{ip_src: cam}"), "p.yaml:8: header: rule x: match: ip_src: group cam has no such address"},
		"an empty list":    {rule("{tcp_dst: []}"), "p.yaml:8: header: rule x: match: tcp_dst: want at least one value"},
		"one bad value":    {rule("{tcp_dst: [22, 99999], from: guests}"), `p.yaml:8: header: rule x: match: tcp_dst: "99999": want a port`},
		"contradiction":    {rule(`{from: guests, ip_dst: ["2001:db8::1"]}`), "p.yaml:8: header: rule x: match: match: ip_src is of ipv4, and ip_dst of ipv6"},
		"empty not":        {rule("{not: {}}"), "p.yaml:8: header: rule x: match: not: want a mapping"},
		"not of a port":    {rule("{not: {in_port: 1}}"), "p.yaml:8: header: rule x: match: not: in_port: packets with other values can't be listed; use a rule of higher priority"},
		"not everything":   {rule("{not: {tcp_dst: 0-65535}}"), "p.yaml:8: header: rule x: match: not: tcp_dst: every value is left out"},
		"not both":         {rule("{not: {from: [guests, cam]}}"), "p.yaml:8: header: rule x: match: not: from: it has IP and Ethernet addresses"},
		"too many":         {rule("{not: {vlan_vid: 1, ip_dscp: 1}}"), "p.yaml:8: header: rule x: match: it stands for more than 10000 conditions"},
		"twice in a match": {rule("{from: guests, from: guests}"), "p.yaml:8: header: rule x: match: from is given twice"},
		"a near key":       {rule("{tcp_dts: 22}"), `p.yaml:8: header: rule x: match: unknown key "tcp_dts": want one of`},
		"hours":            {"chain: [{header: {rules: [{action: deny, hours: 8-17}]}}]", `p.yaml:1: header: rule 1: hours: "8-17": want the time from when until when`},
		"no hours":         {"chain: [{header: {rules: [{action: deny, hours: \"08:00-08:00\"}]}}]", `p.yaml:1: header: rule 1: hours: "08:00-08:00": it ends when it begins`},
		"days":             {"chain: [{header: {rules: [{action: deny, days: monday}]}}]", `p.yaml:1: header: rule 1: days: "monday": want a day such as mon`},
		"time zone":        {"time_zone: Mars\nchain: [{forward: {}}]", `p.yaml:1: time_zone: "Mars": want a time zone such as Europe/Berlin`},
		"flags":            {"chain: [{header: {rules: [{action: deny, match: {ip_proto: tcp}, tcp_flags: sin}]}}]", `p.yaml:1: header: rule 1: tcp_flags: "sin": want one of fin, syn, rst, psh, ack, urg, ece, cwr, or no- and one of them; did you mean`},
		"flags of UDP":     {"chain: [{header: {rules: [{name: x, action: deny, match: {udp_dst: 1}, tcp_flags: syn}]}}]", "p.yaml:1: header: x: tcp_flags: want ip_proto tcp"},
	} {
		_, err := Parse(strings.NewReader(row.text), "p.yaml", ".")
		if err == nil || !strings.HasPrefix(err.Error(), row.want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s\n got %v\nwant %s", name, err, row.want)
		}
	}
	if _, err := Parse(strings.NewReader(rule("{tcp_dts: 22}")), "p.yaml", "."); err == nil || !strings.HasSuffix(err.Error(), "; did you mean tcp_dst?") {
		t.Errorf("the nearest right word is not said: %v", err)
	}
}
