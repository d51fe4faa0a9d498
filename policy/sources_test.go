package policy_test

import (
	"slices"
	"strings"
	"testing"

	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
)

// trusting is an entry that rests on sources, as far as need says.
type trusting struct {
	policy.Source
	need bool
}

func (t trusting) NeedsSources() bool { return t.need }

func TestWarnings(t *testing.T) {
	entry := func(entry string) policy.Source {
		p, err := policyfile.Parse(strings.NewReader("chain: [{"+entry+"}]\n"), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		return p.Chain[0]
	}
	guard := func(s string) policy.Source { return entry("sourceguard: " + s) }
	answered := entry("header: {rules: [{name: web, match: {tcp_dst: 443}, action: allow, replies: allow}]}")
	last := &forward.Config{Mode: policy.Normal}
	rests, doesNot := trusting{last, true}, trusting{last, false}
	const (
		unguarded = ": forward rests on who sent a packet, and no sourceguard stands before it: a host that forges another's addresses is taken for it"
		any       = ": a host there may use any address that is not bound elsewhere"
		behind    = ": trusted, so a host behind it may use any address that is not bound to another port of the switch"
	)
	whole := guard(`{bindings: [{port: 1, addresses: [10.0.0.1]}], others: deny}`)
	for name, tt := range map[string]struct {
		chain []policy.Source
		want  []string
	}{
		"nothing rests on sources":      {[]policy.Source{doesNot}, nil},
		"no guard":                      {[]policy.Source{last, rests}, []string{"chain entry 2" + unguarded}},
		"replies":                       {[]policy.Source{answered}, []string{"chain entry 1" + strings.Replace(unguarded, "forward", "header", 1)}},
		"a guard behind it":             {[]policy.Source{rests, whole}, []string{"chain entry 1" + unguarded}},
		"a guard before it":             {[]policy.Source{whole, rests}, nil},
		"a guard of some ports":         {[]policy.Source{guard(`{bindings: [{port: [1, 2], addresses: [10.0.0.1]}, {port: 3, switch: 2, addresses: [10.0.0.2]}]}`), rests}, []string{"chain entry 1: sourceguard does not cover all ports but ports 1 and 2, port 3 of switch 0000000000000002" + any}},
		"trusted ports":                 {[]policy.Source{guard(`{trusted: [4, [5, 6, 7]], others: deny}`)}, []string{"chain entry 1: sourceguard does not cover port 4, ports 5, 6 and 7" + behind}},
		"the same port in two bindings": {[]policy.Source{guard(`{bindings: [{port: 1, addresses: [10.0.0.1]}, {port: 1, addresses: [10.0.0.2]}]}`)}, []string{"chain entry 1: sourceguard does not cover all ports but port 1" + any}},
	} {
		p := &policy.Policy{Chain: tt.chain}
		if got := p.Warnings(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q\nwant %q", name, got, tt.want)
		}
	}
}

// A kind that can remember needs a store only where its entry does.
func TestStateful(t *testing.T) {
	for text, want := range map[string]bool{
		"forward: {mode: normal}":                                                  false,
		"sourceguard: {bindings: [{port: 1, addresses: [10.0.0.1]}]}":              false,
		"sourceguard: {learn: first}":                                              true,
		"machine: {machines: [{name: m, key: port, start: x, states: {x: deny}}]}": true,
	} {
		p, err := policyfile.Parse(strings.NewReader("chain: [{"+text+"}]\n"), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Stateful(); got != want {
			t.Errorf("%s: stateful %v, want %v", text, got, want)
		}
	}
}
