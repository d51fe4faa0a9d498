package test

import (
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
