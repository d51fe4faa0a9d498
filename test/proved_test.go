package test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/flowtest"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/prove"
	"switchbridge/settings"
)

// TestTracesOnOpenVSwitch has a real switch and a gateway confirm what policy check says of machines: each packet of a trace that breaks a promise passes, or does
// not, as the trace says, and the last one passes that a promise denies, or is held back that it allows.
func TestTracesOnOpenVSwitch(t *testing.T) {
	doc, err := policyfile.ParseDocument(strings.NewReader(flowtest.Machines(1, 5)+`
promises:
  - never: {from: 10.0.0.2, to: 10.0.0.9, udp_dst: 5004}
  - always: {from: 10.0.0.7, to: 10.0.0.9, tcp_dst: 22}
  - never: {from: 10.0.0.2, to: 10.0.0.9, udp_dst: 5004}
    unless: {machine: sensor, state: motion}
`), "machines.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	prover, err := prove.New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	var broken []*prove.Counterexample
	for i, events := range []int{2, 5, 0} {
		c, err := prover.Keeps(&doc.Promises[i])
		switch {
		case err != nil:
			t.Fatal(err)
		case c == nil && events > 0 || c != nil && len(c.Trace) != events:
			t.Fatalf("%s: %+v, want %d events", doc.Promises[i].Text, c, events)
		case c != nil:
			broken = append(broken, c)
		}
	}
	for version := range protocols {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for _, c := range broken {
				s := newSite(t, version, settings.Native, "memory:")
				for i, m := range c.Trace {
					frame, port, err := policytest.Packet(m.Words)
					if err != nil {
						t.Fatal(err)
					}
					s.inject("br0", int(port), frame)
					if passes := strings.HasPrefix(m.Got, "allow"); passes {
						eventually(t, m.Line+" passes", func() bool { return s.hasLeft("br0", frame) })
						continue
					}
					if i != len(c.Trace)-1 || c.Verdict != flow.Deny {
						t.Fatalf("%+v: nobody would know when the switch has the answer", c.Trace)
					}
					// What comes behind it on the same session is answered after it.
					marker, _ := s.datagram(1, quiet)
					s.inject("br0", int(port), marker)
					eventually(t, "the next packet passes", func() bool { return s.hasLeft("br0", marker) })
					if s.hasLeft("br0", frame) {
						t.Errorf("%s passes", m.Line)
					}
				}
			}
		})
	}
}

// groupsPolicy keeps guests from servers, guardPolicy hosts from others' addresses, leasePolicy who has no lease from everything, doorPolicy who has not knocked from a door,
// and askPolicy lets one host ask and be answered. Each ends with a promise.
const (
	groupsPolicy = `
serial: 1
groups:
  guests: [10.0.0.0/25]
  servers: [10.0.1.10, 10.0.1.11]
  remote: [tcp/22, tcp/3389]
chain:
  - header: {rules: [{name: no-guests, match: {from: guests, to: servers, service: remote}, action: deny}]}
  - forward: {mode: flood}
promises:
  - never: {from: 10.0.0.5, to: [10.0.1.10, 10.0.1.11], tcp_dst: 22}
`
	guardPolicy = `
serial: 1
chain:
  - sourceguard:
      bindings:
        - {port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}
        - {port: 2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2]}
      others: deny
  - header: {rules: [{name: admin, match: {ip_src: 10.0.0.1, ip_dst: 10.0.0.9}, action: allow}, {name: rest, match: {ip_dst: 10.0.0.9}, action: deny}]}
  - forward: {mode: flood}
promises:
  - never: {in_port: 2, to: 10.0.0.9}
`
	leasePolicy = `
serial: 1
chain:
  - header: {rules: [{name: no-servers, match: {udp_src: 67, udp_dst: 68}, action: deny}]}
  - sourceguard: {learn: dhcp, trusted: [3], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}
  - forward: {mode: flood}
promises:
  - never: {in_port: 2, from: 10.0.0.0/24}
`
	doorPolicy = `
serial: 1
chain:
  - machine:
      machines:
        - name: door
          for: {ip_dst: 10.0.0.9}
          key: src
          forget: never
          start: shut
          states: {shut: deny, open: {output: 3}}
          transitions:
            - {from: shut, to: open, match: {ip_src: 10.0.0.4, udp_dst: 1}}
  - forward: {mode: flood}
promises:
  - never: {from: 10.0.0.1, to: 10.0.0.9}
`
	askPolicy = `
serial: 1
chain:
  - header:
      rules:
        - {name: web, priority: 200, match: {in_port: 1, tcp_dst: 80}, action: allow, replies: allow}
        - {name: secret, priority: 300, match: {ip_dst: 10.0.0.9}, action: deny}
        - {name: nothing-else, match: {eth_type: ipv4}, action: deny}
  - forward: {mode: flood}
promises:
  - never: {in_port: 2, eth_type: ipv4, ip_proto: tcp}
  - never: {to: 10.0.0.9}
`
)

// TestMutantsAreConfirmedByOpenVSwitch changes policies as a person may by mistake: an entry less, a wider mask. Each mutant breaks a promise that the policy keeps, by a packet that
// passes a real switch whose gateway has the mutant, after the events that lead to it, and by a rule, as ofproto/trace says; and does not pass where the
// gateway has the policy.
func TestMutantsAreConfirmedByOpenVSwitch(t *testing.T) {
	for _, row := range []struct {
		name, policy, old, new string
		passes                 string // of the policy and the mutant
		events                 int    // of the counterexample
		replies                bool   // the packet is a question, whose answer passes, too
	}{
		{name: "a member less in a group", policy: groupsPolicy, old: "[10.0.1.10, 10.0.1.11]\n  remote", new: "[10.0.1.11]\n  remote", passes: "tcp 10.0.0.5:40000 > 10.0.1.10:80", events: 1},
		{name: "a service less in a group", policy: groupsPolicy, old: "[tcp/22, tcp/3389]", new: "[tcp/3389]", passes: "tcp 10.0.0.5:40000 > 10.0.1.10:80", events: 1},
		{name: "a narrower group of those who are denied", policy: groupsPolicy, old: "10.0.0.0/25", new: "10.0.0.0/30", passes: "tcp 10.0.0.5:40000 > 10.0.1.10:80", events: 1},
		{name: "a port more of a binding", policy: guardPolicy, old: "{port: 1,", new: "{port: [1, 2],", passes: "tcp 10.0.0.1:40000 > 10.0.0.9:22", events: 1},
		{name: "no guard", policy: guardPolicy, old: guardPolicy[strings.Index(guardPolicy, "  - sourceguard"):strings.Index(guardPolicy, "  - header")], passes: "tcp 10.0.0.1:40000 > 10.0.0.9:22", events: 1},
		{name: "a guard that learns what it sees", policy: leasePolicy, old: "learn: dhcp", new: "learn: first", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:22", events: 1},
		{name: "no entry before the guard", policy: leasePolicy, old: "  - header: {rules: [{name: no-servers, match: {udp_src: 67, udp_dst: 68}, action: deny}]}\n", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:22", events: 3},
		{name: "a wider mask of who may knock", policy: doorPolicy, old: "10.0.0.4", new: "10.0.0.0/29", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:22", events: 1},
		{name: "another port to knock at", policy: doorPolicy, old: "match: {ip_src: 10.0.0.4, udp_dst: 1}", new: "match: {udp_dst: 1}, count: 2, within: 1h", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:22", events: 2},
		{name: "who may ask, and be answered", policy: askPolicy, old: "in_port: 1, ", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:80", events: 1, replies: true},
		{name: "an entry less beside one with replies", policy: askPolicy, old: "        - {name: secret, priority: 300, match: {ip_dst: 10.0.0.9}, action: deny}\n", passes: "tcp 10.0.0.1:40000 > 10.0.0.2:80", events: 1, replies: true},
	} {
		if !strings.Contains(row.policy, row.old) {
			t.Fatal(row.name)
		}
		mutant := strings.Replace(row.policy, row.old, row.new, 1)
		broken := proofs(t, row.name+", before", row.policy, nil)
		if len(broken) > 0 {
			t.Fatalf("%s: %+v: want a policy that keeps its promises", row.name, broken)
		}
		if broken = proofs(t, row.name, mutant, nil); len(broken) == 0 {
			t.Errorf("%s: it keeps all promises", row.name)
			continue
		}
		c := broken[0]
		if len(c.Trace) != row.events || c.Verdict != flow.Allow {
			t.Errorf("%s: %+v: want a packet that passes after %d events", row.name, c, row.events-1)
			continue
		}
		for _, version := range slices.Sorted(maps.Keys(protocols)) {
			t.Run(row.name+" "+version, func(t *testing.T) {
				t.Parallel()
				frame := func(words string) ([]byte, int) {
					frame, port, err := policytest.Packet(words)
					if err != nil {
						t.Fatal(err)
					}
					return frame, int(port)
				}
				last, port := frame(c.Words)
				good, _ := frame(row.passes)
				for _, policy := range []string{mutant, row.policy} {
					s := newSiteOf(t, version, settings.Native, "memory:", policy)
					control := s.sw.Control()
					forwards := func() bool {
						tr, err := control.Trace("br0", uint32(port), last)
						if err != nil {
							t.Fatal(err)
						}
						return tr.Forwards()
					}
					for i, m := range c.Trace {
						f, port := frame(m.Words)
						s.inject("br0", port, f)
						if policy == mutant && strings.HasPrefix(m.Got, "allow") {
							eventually(t, m.Line+" passes", func() bool { return s.wentOut("br0", port, f) })
						} else if i < len(c.Trace)-1 { // what comes behind it on the same session is answered after it
							s.inject("br0", 1, good)
							eventually(t, row.passes+" passes", func() bool { return s.hasLeft("br0", good) })
						}
					}
					if policy == mutant {
						eventually(t, "the switch passes it by a rule", func() bool {
							if forwards() {
								return true
							}
							s.inject("br0", port, last) // a guard learns one address of a packet
							return false
						})
						if row.replies {
							m := &c.Packet
							answer := fmt.Sprintf("tcp %v:%d > %v:%d flags syn+ack in_port %d", m.IPDst.Addr(), m.L4Dst, m.IPSrc.Addr(), m.L4Src, 3-m.InPort)
							f, port := frame(answer)
							s.inject("br0", port, f)
							eventually(t, answer+" passes as a reply", func() bool { return s.wentOut("br0", port, f) })
						}
						continue
					}
					marker, _ := frame(strings.Replace(row.passes, "40000", "40001", 1))
					s.inject("br0", 1, marker)
					eventually(t, row.passes+" passes", func() bool { return s.hasLeft("br0", marker) })
					if s.wentOut("br0", port, last) || forwards() {
						t.Errorf("%s passes where the policy denies it", c.Words)
					}
				}
			})
		}
	}
}

// wentOut reports whether a frame that came in at a port has left a bridge by another one.
func (s *site) wentOut(bridge string, port int, frame []byte) bool {
	for i, p := range s.ports[bridge] {
		if i+1 != port && slices.ContainsFunc(p.Sent(), func(f []byte) bool { return bytes.Equal(f, frame) }) {
			return true
		}
	}
	return false
}

// proofs returns what breaks the promises of a policy.
func proofs(t *testing.T, name, text string, broken []*prove.Counterexample) []*prove.Counterexample {
	t.Helper()
	doc, err := policyfile.ParseDocument(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	prover, err := prove.New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range doc.Promises {
		c, err := prover.Keeps(&doc.Promises[i])
		if err != nil {
			t.Fatalf("%s: %s: %v", name, doc.Promises[i].Text, err)
		}
		if c != nil {
			broken = append(broken, c)
		}
	}
	return broken
}
