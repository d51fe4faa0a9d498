package prove

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/ovs"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/mac"
	"switchbridge/policy/policytest"
)

// court is an Open vSwitch that has a whole policy as rules: what it does with a packet is what the policy means, whoever says
// otherwise. Port 10 is where allowed packets go.
type court struct {
	t  *testing.T
	sw *ovs.Switchd
	c  *ovs.Control
}

func newCourt(t *testing.T) *court {
	s := ovs.Start(t, ovs.Options{Dummy: true})
	s.AddBridge("br0", ovs.Bridge{})
	for _, port := range []uint32{1, 2, 3, 4, 9, 10} {
		s.AddPort("br0", fmt.Sprint("p", port), port)
	}
	return &court{t, s, s.Control()}
}

// install gives the switch the policy's entries, the first with the highest priority. It returns the place of each cookie.
func (c *court) install(p *policy.Policy) (places []Entry) {
	c.t.Helper()
	var flows []string
	priority := 60000
	add := func(at Entry, action string, matches ...string) {
		places = append(places, at)
		priority--
		for _, m := range matches {
			flows = append(flows, fmt.Sprintf("cookie=%#x,priority=%d,%s actions=%s", len(places), priority, m, action))
		}
	}
	for i, s := range p.Chain {
		switch s := s.(type) {
		case *header.Config:
			for _, j := range s.Order() {
				action := "output:10"
				if s.Rules[j].Action.Deny {
					action = "drop"
				}
				for _, cond := range s.Conditions()[j] {
					add(Entry{i, j}, action, conditionFlows(&cond)...)
				}
			}
		case *blocklist.Config:
			var list []string
			for _, p := range s.Lists[0].Prefixes {
				if s.Match != blocklist.Dst {
					if p.Addr().Is4() {
						list = append(list, "ip,nw_src="+p.String(), "arp,arp_spa="+p.String())
					} else {
						list = append(list, "ipv6,ipv6_src="+p.String(), "icmp6,icmp_type=136,icmp_code=0,nd_target="+p.String())
					}
				}
				if s.Match != blocklist.Src {
					if p.Addr().Is4() {
						list = append(list, "ip,nw_dst="+p.String(), "arp,arp_tpa="+p.String())
					} else {
						list = append(list, "ipv6,ipv6_dst="+p.String(), "icmp6,icmp_type=135,icmp_code=0,nd_target="+p.String())
					}
				}
			}
			add(Entry{i, -1}, "drop", list...)
		case *mac.Config:
			var list []string
			for _, p := range s.Lists[0].Prefixes {
				if s.Match != mac.Dst {
					list = append(list, "dl_src="+p.Addr.String())
				}
				if s.Match != mac.Src {
					list = append(list, "dl_dst="+p.Addr.String())
				}
			}
			add(Entry{i, -1}, "drop", list...)
		case *forward.Config:
			add(Entry{i, -1}, "output:10", "")
		}
	}
	add(Entry{-1, -1}, "drop", "")
	file := filepath.Join(c.t.TempDir(), "flows")
	if err := os.WriteFile(file, []byte(strings.Join(flows, "\n")+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.sw.Ofctl("del-flows", "br0")
	c.sw.Ofctl("add-flows", "br0", file)
	return places
}

// conditionFlows writes a condition as ovs-ofctl reads it.
func conditionFlows(c *header.Condition) []string {
	m := &c.Header
	var parts []string
	v6 := m.EthType == flow.EthTypeIPv6
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		x := (rest & -rest).Info()
		v, mask := x.Number(m)
		switch x.Field {
		case flow.FieldInPort:
			parts = append(parts, fmt.Sprintf("in_port=%d", v))
		case flow.FieldEthSrc, flow.FieldEthDst:
			a, mask := x.MAC(m)
			parts = append(parts, fmt.Sprintf("%s=%v/%v", map[flow.Field]string{flow.FieldEthSrc: "dl_src", flow.FieldEthDst: "dl_dst"}[x.Field], a, mask))
		case flow.FieldVLAN:
			parts = append(parts, fmt.Sprintf("vlan_tci=%#04x/%#04x", v, mask))
		case flow.FieldEthType:
			parts = append(parts, fmt.Sprintf("dl_type=%#04x", v))
		case flow.FieldIPProto:
			parts = append(parts, fmt.Sprintf("nw_proto=%d", v))
		case flow.FieldIPSrc:
			parts = append(parts, map[bool]string{false: "nw_src=", true: "ipv6_src="}[v6]+m.IPSrc.String())
		case flow.FieldIPDst:
			parts = append(parts, map[bool]string{false: "nw_dst=", true: "ipv6_dst="}[v6]+m.IPDst.String())
		case flow.FieldARPSPA:
			parts = append(parts, "arp_spa="+m.ARPSPA.String())
		case flow.FieldARPTPA:
			parts = append(parts, "arp_tpa="+m.ARPTPA.String())
		case flow.FieldICMPType:
			parts = append(parts, fmt.Sprintf("icmp_type=%d", v))
		case flow.FieldICMPCode:
			parts = append(parts, fmt.Sprintf("icmp_code=%d", v))
		case flow.FieldNDTarget:
			parts = append(parts, "nd_target="+m.NDTarget.String())
			if !m.Has(flow.FieldICMPCode) {
				parts = append(parts, "icmp_code=0")
			}
		default:
			panic(x.Name)
		}
	}
	slices.SortStableFunc(parts, func(a, b string) int { // ovs-ofctl wants what a field needs before it
		return needed(b) - needed(a)
	})
	list := []string{strings.Join(parts, ",")}
	if c.OpenFamily() {
		list = []string{"dl_type=0x0800," + list[0], "dl_type=0x86dd," + list[0]}
	}
	if c.Dst == nil {
		return list
	}
	var ports []string
	for port := int(c.Dst.First); port <= int(c.Dst.Last); port++ {
		for _, l := range list {
			ports = append(ports, fmt.Sprintf("%s,tp_dst=%d", l, port))
		}
	}
	return ports
}

func needed(part string) int {
	for i, name := range []string{"icmp_code", "icmp_type", "nw_proto", "dl_type"} {
		if strings.HasPrefix(part, name) {
			return i + 1
		}
	}
	return 0
}

// try asks the switch about a packet: whether it would forward it, and the cookie of the rule that it meets.
func (c *court) try(words string) (forwards bool, cookie int) {
	c.t.Helper()
	frame, port, err := policytest.Packet(words)
	if err != nil {
		c.t.Fatal(err)
	}
	tr, err := c.c.Trace("br0", uint32(port), frame)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(tr.Rules) > 0 {
		fmt.Sscanf(tr.Rules[0].Cookie, "0x%x", &cookie)
	}
	return tr.Forwards(), cookie
}

// installable leaves out what the court has no words for.
func installable(p *policy.Policy) bool {
	return !slices.ContainsFunc(p.Chain, func(s policy.Source) bool {
		m, ok := s.(*mac.Config)
		return ok && m.Deny == mac.Unlisted
	})
}

// For each entry that decides something, the packet that the search finds meets that very entry in the switch, and a packet that is said to break
// a promise is forwarded or dropped as was said.
func TestOpenVSwitchAgrees(t *testing.T) {
	c := newCourt(t)
	alive, broken := 0, 0
	for seed := range uint64(25) {
		p, chosen := smallPolicy(seed)
		if !installable(p) {
			continue
		}
		places := c.install(p)
		prover, err := New(p, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range prover.chain.rules {
			r := &prover.chain.rules[i]
			for _, term := range prover.chain.of(r) {
				region, ok := newRegion(term.atoms)
				if !ok {
					continue
				}
				region.not = slices.Concat(frames, incomplete)
				at, _, err := prover.find(&region, prover.chain.before(r))
				if err != nil {
					t.Fatal(err)
				}
				if at == nil {
					continue
				}
				alive++
				m := packet(at)
				if m.InPort > 10 { // no such port is in the switch
					t.Fatalf("%v: no small port", m)
				}
				words := policytest.Words(&m)
				forwards, cookie := c.try(words)
				if forwards != (r.verdict == flow.Allow) || cookie == 0 || places[cookie-1] != r.Entry {
					t.Errorf("seed %d: %s: %s should meet it, and is forwarded: %v, by the entry of cookie %d", seed, r.label, words, forwards, cookie)
				}
			}
		}
		r := rand.New(rand.NewPCG(seed, 5))
		for range 5 {
			o := smallPromise(r, &chosen)
			got, err := prover.Keeps(&o)
			if err != nil {
				t.Fatal(err)
			}
			if got == nil {
				continue
			}
			broken++
			if forwards, _ := c.try(got.Words); forwards != (got.Verdict == flow.Allow) {
				t.Errorf("seed %d: %s gets %v, and is forwarded: %v", seed, got.Words, got.Verdict, forwards)
			}
		}
	}
	if alive < 60 || broken < 20 {
		t.Errorf("%d entries and %d counterexamples are too few", alive, broken)
	}
}

const guarded = `
chain:
  - blocklist: {addresses: [10.9.9.9]}
  - header:
      rules:
        - {name: guests, priority: 900, match: {in_port: 3, ip_dst: 10.1.0.0/24}, action: deny}
        - {name: dns, priority: 500, match: {ip_dst: 10.1.0.53, udp_dst: 53}, action: allow}
        - {name: web, priority: 500, match: {ip_dst: 10.1.0.10, tcp_dst: 440-443}, action: allow}
        - {name: admin, priority: 500, match: {ip_src: 10.0.0.4, ip_dst: 10.1.0.0/24, tcp_dst: 22}, action: allow}
        - {name: servers, priority: 200, match: {ip_dst: 10.1.0.0/24}, action: deny}
        - {name: no-ipv6, priority: 200, match: {eth_type: ipv6}, action: deny}
  - forward: {}
promises:
  - never: {in_port: 3, to: 10.1.0.0/24}
  - only: {to: 10.1.0.11, from: 10.0.0.4}
  - never: {from: 10.9.9.9}
  - never: {eth_type: ipv6}
  - never: {to: 10.1.0.0/24, tcp_dst: 23}
  - never: {to: 10.1.0.0/24, tcp_dst: 300-400}
`

// A rule that is dropped, or one whose condition is wider, turns proofs into counterexamples, each of which the switch confirms. Where a
// promise is kept, the switch forwards none of many packets that it is about.
func TestMutantsOnOpenVSwitch(t *testing.T) {
	doc := document(t, guarded)
	prover, err := New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range doc.Promises {
		if got, err := prover.Keeps(&doc.Promises[i]); got != nil || err != nil {
			t.Fatalf("%s: %v, %v", doc.Promises[i].Text, got, err)
		}
	}
	c := newCourt(t)
	h := doc.Policy.Chain[1].(*header.Config)
	type mutant struct {
		name string
		p    *policy.Policy
	}
	var mutants []mutant
	with := func(name string, at int, s policy.Source) {
		p := *doc.Policy
		p.Chain = slices.Clone(p.Chain)
		if s == nil {
			p.Chain = slices.Delete(p.Chain, at, at+1)
		} else {
			p.Chain[at] = s
		}
		mutants = append(mutants, mutant{name, &p})
	}
	with("no blocklist", 0, nil)
	for i := range h.Rules {
		with("no "+h.Rules[i].Name, 1, &header.Config{Rules: slices.Delete(slices.Clone(h.Rules), i, i+1)})
		wider := slices.Clone(h.Rules)
		m := &wider[i].Match
		for _, f := range []flow.Field{flow.FieldIPSrc, flow.FieldIPDst} {
			if m.Header.Has(f) {
				p := f.Info().Prefix(&m.Header)
				w, _ := p.Addr().Prefix(p.Bits() - 4)
				f.Info().SetPrefix(&m.Header, w)
			}
		}
		with("wider "+h.Rules[i].Name, 1, &header.Config{Rules: wider})
		if m.Dst != nil {
			ports := slices.Clone(h.Rules)
			ports[i].Match.Dst = &header.PortRange{First: m.Dst.First / 2, Last: m.Dst.Last + 1}
			with("more ports of "+h.Rules[i].Name, 1, &header.Config{Rules: ports})
		}
	}
	broken := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 1))
	for _, m := range mutants {
		c.install(m.p)
		prover, err := New(m.p, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range doc.Promises {
			o := &doc.Promises[i]
			got, err := prover.Keeps(o)
			if err != nil {
				t.Fatal(err)
			}
			if got != nil {
				broken[m.name] = true
				if forwards, _ := c.try(got.Words); !forwards {
					t.Errorf("%s: %s: the switch does not forward %s", m.name, o.Text, got.Words)
				}
				continue
			}
			for range 20 {
				words := probe(r)
				at, err := policytest.ParsePacket(words)
				if err != nil {
					t.Fatal(err)
				}
				if forwards, _ := c.try(words); forwards && breaks(o, &at, flow.Allow) {
					t.Errorf("%s: %s is said to hold, and the switch forwards %s", m.name, o.Text, words)
				}
			}
		}
	}
	for _, name := range []string{"no blocklist", "no guests", "no servers", "no no-ipv6", "wider admin", "more ports of admin", "more ports of web"} {
		if !broken[name] {
			t.Errorf("mutant %q breaks no promise; those that do: %v", name, broken)
		}
	}
}

// probe is a packet near the guarded policy's entries.
func probe(r *rand.Rand) string {
	src := []string{"10.0.0.4", "10.0.0.5", "10.9.9.9", "10.1.0.10"}[r.IntN(4)]
	dst := []string{"10.1.0.10", "10.1.0.11", "10.1.0.53", "10.2.0.1"}[r.IntN(4)]
	port := []int{22, 23, 53, 80, 300, 440, 443, 444}[r.IntN(8)]
	return fmt.Sprintf("%s %s:40000 > %s:%d in_port %d", []string{"tcp", "udp"}[r.IntN(2)], src, dst, port, 1+r.IntN(4))
}
