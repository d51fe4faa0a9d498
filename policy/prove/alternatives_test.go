package prove

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
)

const manyAlternatives = `
chain:
  - machine:
      machines:
        - name: m
          for: {ip_src: 10.0.0.0/16}
          key: network
          start: a
          states:
            a: {action: deny, rules: [{name: ok, match: {ip_src: 10.0.0.7, tcp_dst: 100}, action: allow}]}
            b: {action: allow, rules: [{name: shut, match: {ip_src: 10.0.0.7, tcp_dst: 100}, action: deny}]}
          transitions:
            - {from: a, to: b, match: {udp_dst: 9}}
  - forward: {}
promises:
  - always: {from: 10.0.0.7, tcp_dst: 100}
    unless: {machine: m, state: b}
  - never: {from: 10.0.3.7, tcp_dst: 101}
    unless: {machine: m, state: a}
  - never: {from: 10.0.0.7, tcp_dst: 101}
    unless: {machine: m, state: b}
  - never: {from: 10.0.0.0/16, tcp_dst: 100}
  - always: {from: 10.0.3.7, tcp_dst: 101}
  - always: {from: 10.0.3.7, tcp_dst: 103}
    unless: {machine: m, state: a}
`

// withPairs gives rules of both states alternatives: a host and its own port each. What meets none of n is 2^n lists of conditions.
func withPairs(c *machine.Config, n int) {
	for s := range c.Machines[0].States {
		rule := &c.Machines[0].States[s].Rules[0]
		for i := 1; i < n; i++ {
			var one header.Condition
			one.Header.SetIPSrc(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(3 * i), 7}), 32))
			one.Header.SetIPProto(flow.ProtoTCP)
			one.Dst = &header.PortRange{First: uint16(100 + i), Last: uint16(100 + i)}
			rule.Or = append(rule.Or, one)
		}
	}
}

// A rule with so many alternatives that what meets none of them is not written out is decided all the same: more situations seem possible, and a walk says which are.
func TestManyAlternatives(t *testing.T) {
	beyond := 0
	for _, n := range []int{2, 5, 11} {
		doc := document(t, manyAlternatives)
		config := doc.Policy.Chain[0].(*machine.Config)
		withPairs(config, n)
		if err := config.Validate(nil); err != nil {
			t.Fatal(err)
		}
		rule := &config.Machines[0].States[0].Rules[0]
		if none(&rule.Match, rule.Or) == nil {
			beyond++
		}
		var lines []string
		for _, host := range []string{"0", "3", "30", "1"} {
			for _, port := range []int{100, 101, 103, 110} {
				lines = append(lines, fmt.Sprintf("tcp 10.0.%s.7:40000 > 10.1.0.1:%d", host, port))
			}
			lines = append(lines, fmt.Sprintf("udp 10.0.%s.7:40000 > 10.1.0.1:9", host))
		}
		b := newBrute(t, controller.New(doc.Policy), lines)
		fewest, whole := b.run(doc.Promises, config, 1000)
		if !whole {
			t.Fatal("not all is tried")
		}
		broken := 0
		check := func(what string, prover *Prover, fewest []int) {
			for i := range doc.Promises {
				c, err := prover.Keeps(&doc.Promises[i])
				n := 0
				if c != nil {
					n = len(c.Trace)
					broken++
				}
				if err != nil || n != fewest[i] || c != nil && !c.Fewest {
					t.Errorf("%s: %s: %+v, %v; by brute force after %d events", what, doc.Promises[i].Text, c, err, fewest[i])
				}
			}
		}
		prover, err := New(doc.Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprint(n, " alternatives"), prover, fewest)
		if broken == 0 || broken == len(doc.Promises) {
			t.Errorf("%d alternatives: %d promises are broken: this finds nothing", n, broken)
		}
		if never, err := prover.Never(); err != nil || len(never) > 0 {
			t.Errorf("%d alternatives: %+v, %v", n, never, err)
		}
		// A mutant: another port.
		rule.Match.Dst = &header.PortRange{First: 99, Last: 99}
		mutant := newBrute(t, controller.New(doc.Policy), append(lines, "tcp 10.0.0.7:40000 > 10.1.0.1:99"))
		if fewest, _ = mutant.run(doc.Promises, config, 1000); fewest[0] == 0 {
			t.Fatal("the mutant keeps the first promise")
		}
		if prover, err = New(doc.Policy, 0); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprint("the mutant of ", n), prover, fewest)
	}
	if beyond == 0 || beyond == 3 {
		t.Errorf("%d of the policies have more alternatives than are written out: want some", beyond)
	}
}

// A policy whose alternatives are too many with each other is refused before memory is taken for them.
func TestTooManyAlternatives(t *testing.T) {
	var hosts []string
	for i := range 3000 {
		hosts = append(hosts, fmt.Sprintf("10.%d.%d.7", i/250, i%250))
	}
	doc := document(t, "groups:\n  many: ["+strings.Join(hosts, ", ")+"]\nchain:\n  - machine:\n      machines:\n        - name: m\n          for: {from: many}\n          key: network\n"+
		"          start: a\n          states: {a: {action: next, rules: [{match: {from: many, tcp_dst: 80}, action: allow}]}}\n          transitions: []\n  - forward: {}\n")
	if _, err := New(doc.Policy, 0); !errors.Is(err, ErrBudget) || !strings.HasPrefix(err.Error(), "undecided: budget: machine: m in a") {
		t.Error(err)
	}
}
