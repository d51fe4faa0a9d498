package decider

import (
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Observation
		o := &Observe{Next: flow.DeciderFunc(slow), On: func(x Observation) { got = append(got, x) }}
		ev, d := packetEvent(tcpPacket(80)), new(flow.Decision)
		if err := o.Decide(t.Context(), ev, d); err != nil {
			t.Fatal(err)
		}
		want := flow.Errorf(flow.Refused, "no")
		o.Next = failing(want)
		if err := o.Decide(t.Context(), ev, d); err != want {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0] != (Observation{ev, d, nil, time.Second}) || got[1] != (Observation{ev, d, want, 0}) {
			t.Errorf("observed %+v", got)
		}
	})
}

func TestOutcome(t *testing.T) {
	for want, o := range map[string]Observation{
		"refused":     {Err: flow.Errorf(flow.Refused, "x"), Decision: &flow.Decision{}},
		"unavailable": {Decision: &flow.Decision{Failure: flow.Errorf(flow.Unavailable, "x"), Verdict: flow.Allow}},
		"allow":       {Decision: &flow.Decision{Verdict: flow.Allow}},
		"deny":        {Decision: &flow.Decision{Verdict: flow.Deny}},
		"rules":       {Decision: &flow.Decision{}},
	} {
		if got := o.Outcome(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
