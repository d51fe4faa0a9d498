package prove

import (
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/kinds"
	"switchbridge/policy/policytest"
	"switchbridge/policy/wire"
)

// Every kind of policy can be proved: its examples decide their packets as the conditions say.
func TestEveryKindCanBeProved(t *testing.T) {
	for _, kind := range kinds.All {
		for i, e := range kind.Examples() {
			p := &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{e.Entry}}
			prover, err := New(p, 0)
			if err != nil {
				t.Errorf("example %d of %s: %v", i+1, kind.Name(), err)
				continue
			}
			if r := &prover.chain.rules[0]; r.verdict == flow.NoVerdict || r.automaton != nil || prover.chain.learns != nil {
				continue // by more than what a packet shows
			}
			l := compile(p)
			for _, words := range append(e.Packets, "tcp 10.0.0.1:40000 > 10.0.0.2:22", "lldp", "udp [2001:db8::1]:1 > [2001:db8:bad::1]:53") {
				ev, err := policytest.Event(words, flow.OpenFlow13)
				if err != nil {
					t.Fatal(err)
				}
				m := ev.PacketIn.Match
				got := prover.Explain(&m, nil, "")
				if len(got.May) > 0 { // it hangs on the switch, or on what is behind the headers
					continue
				}
				packet := policy.NewPacket(&m)
				packet.Switch, packet.In = ev.Switch, ev.PacketIn
				v, by := l.ask(packet)
				if r := prover.chain.rules[0]; (by.chain == 0) != !strings.HasPrefix(got.By, "the end") || by.chain == 0 && v == flow.NoVerdict {
					t.Errorf("example %d of %s: %s: decided by %v, %v; explained by %q (%v)", i+1, kind.Name(), words, by, v, got.By, r.label)
				}
			}
		}
	}
}

type unknownKind struct{ policy.Source }

func (unknownKind) Name() string       { return "moon" }
func (unknownKind) Write(*wire.Writer) {}

func TestUnknownKind(t *testing.T) {
	_, err := New(&policy.Policy{Chain: []policy.Source{unknownKind{}}}, 0)
	if err == nil || err.Error() != "chain entry 1: what moon decides can't be proved" {
		t.Error(err)
	}
}
