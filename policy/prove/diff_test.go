package prove

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/header"
	"switchbridge/policy/policytest"
)

// mutate returns the policy with one rule dropped, turned or moved, or one more.
func mutate(p *policy.Policy, r *rand.Rand, chosen flow.Field) *policy.Policy {
	n := *p
	n.Chain = slices.Clone(p.Chain)
	i := r.IntN(len(n.Chain))
	h, ok := n.Chain[i].(*header.Config)
	if !ok {
		n.Chain = slices.Delete(n.Chain, i, i+1)
		return &n
	}
	c := &header.Config{Rules: slices.Clone(h.Rules)}
	j := r.IntN(len(c.Rules))
	switch r.IntN(4) {
	case 0:
		c.Rules = slices.Delete(c.Rules, j, j+1)
	case 1:
		c.Rules[j].Action.Deny = !c.Rules[j].Action.Deny
	case 2:
		one := c.Rules[j]
		c.Rules = append(slices.Delete(c.Rules, j, j+1), one)
	default:
		rule := header.Rule{Name: "new", Priority: 150, Match: smallCondition(r, chosen)}
		if rule.Match.Validate() == nil {
			c.Rules = append(c.Rules, rule)
		}
	}
	n.Chain[i] = c
	return &n
}

// Every packet that two policies decide differently is in a change, and no other one is. Examples are such packets.
func TestDiffIsExact(t *testing.T) { diffIsExact(t, 60) }

func TestLongDiffIsExact(t *testing.T) {
	testlong.Need(t)
	diffIsExact(t, 1000)
}

func diffIsExact(t *testing.T, seeds uint64) {
	t.Parallel()
	differ, equal := 0, 0
	for seed := range seeds {
		p, chosen := smallPolicy(seed)
		n := mutate(p, rand.New(rand.NewPCG(seed, 9)), chosen)
		if !smallEnough(p, &chosen) || !smallEnough(n, &chosen) {
			continue
		}
		list, _, err := Diff(p, n, nil, nil, 0)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		was, is := compile(p), compile(n)
		found := map[[2]string]bool{}
		for _, c := range list {
			m, err := policytest.ParsePacket(c.Example.Words)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := was.decide(&m)
			b, _ := is.decide(&m)
			if a == b {
				t.Errorf("seed %d: example %s gets %v in both", seed, c.Example.Words, a)
			}
			found[[2]string{c.Old, c.New}] = true
		}
		real := map[[2]string]bool{}
		any := false
		a, _ := newChain(p)
		b, _ := newChain(n)
		smallPackets(chosen, func(m *flow.Match) {
			va, _ := was.decide(m)
			vb, _ := is.decide(m)
			if va == vb {
				return
			}
			any = true
			at := pointOf(m)
			ra, rb := a.decide(&at), b.decide(&at)
			real[[2]string{ra.name(ra.treats(p), nil), rb.name(rb.treats(n), nil)}] = true
		})
		if any {
			differ++
		} else {
			equal++
		}
		if len(real) != len(found) {
			t.Errorf("seed %d: changes %v, found %v", seed, real, found)
			continue
		}
		for k := range real {
			if !found[k] {
				t.Errorf("seed %d: %v is not among the changes %v", seed, k, found)
			}
		}
	}
	if least := int(seeds) / 10; differ < least || equal < least {
		t.Errorf("%d policies differ from their mutants, %d do not: the test tries too little", differ, equal)
	}
}

const office = `
chain:
  - blocklist: {addresses: [10.0.0.66, 192.0.2.0/24]}
  - header:
      rules:
        - {name: ssh, priority: 200, match: {ip_src: 10.0.0.0/24, ip_dst: 10.0.1.9, tcp_dst: 22}, action: allow}
        - {name: no-tcp, match: {ip_dst: 10.0.1.0/24, ip_proto: tcp}, action: deny}
  - forward: {}
`

// Changes are written in the words of policies.
func TestDiffText(t *testing.T) {
	for _, tt := range []struct{ name, from, to, want string }{
		{"an address more", "[10.0.0.66, ", "[10.0.0.66, 10.0.0.67, ", "ip_src 10.0.0.67, ip_dst 10.0.1.9, tcp_dst 22"},
		{"a prefix less", ", 192.0.2.0/24", "", "arp_tpa 192.0.2.0/24"},
		{"a rule turned", "22}, action: allow", "22}, action: deny", "ip_src 10.0.0.0/24, ip_dst 10.0.1.9, tcp_dst 22"},
		{"a wider range", "tcp_dst: 22", "tcp_dst: 22-24", "ip_src 10.0.0.0/24, ip_dst 10.0.1.9, tcp_dst 23-24 (except blocklist)"},
		{"another mode", "forward: {}", "forward: {mode: flood}", "every packet"},
	} {
		if !strings.Contains(office, tt.from) {
			t.Fatal(tt.from)
		}
		old, changed := document(t, office), document(t, strings.Replace(office, tt.from, tt.to, 1))
		list, _, err := Diff(old.Policy, changed.Policy, old.Line, changed.Line, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			s := c.Packets
			if len(c.Except) > 0 {
				s += " (except " + strings.Join(c.Except, ", ") + ")"
			}
			got = append(got, s)
			t.Log(tt.name+":", s, "|", c.Old, "->", c.New, "|", c.Example.Words)
		}
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// To be told is a difference, though no packet changes verdict.
func TestDiffOfReject(t *testing.T) {
	with := func(a header.Action) *policy.Policy {
		return &policy.Policy{Install: policy.DefaultInstall, Chain: []policy.Source{&header.Config{Rules: []header.Rule{{Name: "all", Priority: 100, Action: a}}}}}
	}
	deny, reject := with(header.Action{Deny: true}), with(header.Action{Deny: true, Reject: true})
	list, _, err := Diff(deny, reject, nil, nil, 0)
	if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].Old, "deny by") || !strings.HasPrefix(list[0].New, "reject by") {
		t.Errorf("%+v (%v)", list, err)
	}
	if list, _, err := Diff(reject, reject, nil, nil, 0); err != nil || len(list) != 0 {
		t.Errorf("the same: %+v (%v)", list, err)
	}
}
