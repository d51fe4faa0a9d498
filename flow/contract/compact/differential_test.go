package compact_test

import (
	"context"
	"reflect"
	"testing"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/flow"
	"switchbridge/flow/contract/compact"
	"switchbridge/functiontest/conformance"
	"switchbridge/policy/policytest"
)

// decider hides that a controller can judge, so that every answer is a whole decision.
type decider struct{ flow.Decider }

// What comes back from an event in the compact encoding is what the controller decides.
func TestSameDecisions(t *testing.T) {
	c := controller.New(conformance.Policy())
	var events []*flow.Event
	for _, tt := range conformance.Cases() {
		events = append(events, tt.Event)
	}
	for _, line := range []string{
		"tcp 10.0.0.1:40000 > 10.0.0.2:22", "tcp 10.0.0.1:40000 > 10.0.0.2:80 vlan 7", "udp 10.0.0.1:5353 > 10.0.0.2:53",
		"tcp [2001:db8::1]:40000 > [2001:db8::2]:22", "udp [2001:db8::1]:5353 > [ff02::fb]:5353 port 3 vlan 7",
		"icmp 10.0.0.1 > 10.0.0.2 type 8", "arp 10.0.0.1 > 10.0.0.2", "fragment 10.0.0.1 > 10.0.0.2", "lldp",
		"tcp 192.0.2.1:1 > 10.0.0.2:22", "tcp 203.0.113.9:1 > 198.51.100.1:22",
	} {
		for _, p := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
			ev, err := policytest.Event(line, p)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, ev)
		}
	}
	for name, d := range map[string]flow.Decider{"decisions": decider{c}, "judgements": c} {
		t.Run(name, func(t *testing.T) {
			asked, packets := 0, function.NewPackets(d)
			var rd compact.Reader
			var want, got flow.Decision
			for _, ev := range events {
				b, fits := compact.AppendEvent(nil, ev)
				if !fits {
					continue
				}
				want.Reset()
				if err := c.Decide(context.Background(), ev, &want); err != nil {
					t.Fatal(err)
				}
				got.Reset()
				if err := rd.Parse(packets.Answer(nil, b), &ev.PacketIn.Match, &got); err != nil {
					t.Errorf("%v: %v", &ev.PacketIn.Match, err)
					continue
				}
				asked++
				equal := len(got.Rules) == len(want.Rules) && policytest.Whole(&got) == policytest.Whole(&want) && got.Verdict == want.Verdict &&
					got.Reason == want.Reason && got.Policy == want.Policy && got.HasPacketOut == want.HasPacketOut &&
					flow.ActionsString(got.PacketOut) == flow.ActionsString(want.PacketOut)
				for i := 0; equal && i < len(got.Rules); i++ {
					a, b := got.Rules[i], want.Rules[i]
					equal = flow.ActionsString(a.Actions) == flow.ActionsString(b.Actions)
					a.Actions, b.Actions = nil, nil
					equal = equal && reflect.DeepEqual(a, b)
				}
				if !equal {
					t.Errorf("%v\n got %+v\nwant %+v", &ev.PacketIn.Match, got, want)
				}
			}
			if asked < 20 {
				t.Errorf("only %d packets fit", asked)
			}
		})
	}
}
