package statetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/state"
)

// reader is a controller whose decisions read n states and change the first.
type reader struct{ keys []string }

func (*reader) Version() flow.PolicyVersion                       { return flow.PolicyVersion{Serial: 1} }
func (*reader) Stateful() bool                                    { return true }
func (r *reader) StateKeys(_ *flow.Event, keys []string) []string { return append(keys, r.keys...) }
func (r *reader) OwnKeys(*flow.Event) int                         { return len(r.keys) }
func (*reader) Travels(string) (name string, kind flow.StateKey, ok bool) {
	return "", 0, false
}
func (r *reader) Decide(_ context.Context, _ *flow.Event, d *flow.Decision) error {
	d.Policy, d.Verdict, d.Change = r.Version(), flow.Allow, &flow.StateChange{Data: make([]byte, 64), TTL: time.Minute}
	return nil
}

// Bench reports what an event with states costs beside a bare client's two round trips, one after the other in the same loop, with one
// key and with many.
func Bench(b *testing.B, s state.Store, roundTrip func(context.Context) error) {
	type lane struct {
		name string
		do   func() error
		took []time.Duration
	}
	lanes := []*lane{{name: "bare", do: func() error {
		if err := roundTrip(b.Context()); err != nil {
			return err
		}
		return roundTrip(b.Context())
	}}}
	ev := &flow.Event{Type: flow.EventPacketIn, PacketIn: &flow.PacketIn{}}
	for _, n := range []int{1, 4, 16} {
		r := new(reader)
		for i := range n {
			r.keys = append(r.keys, fmt.Sprintf("bench:%d:%d", n, i))
		}
		x := state.New(state.Config{Next: r, Machines: r, Store: s})
		lanes = append(lanes, &lane{name: fmt.Sprintf("%dkeys", n), do: func() error {
			var d flow.Decision
			if err := x.Decide(b.Context(), ev, &d); err != nil {
				return err
			}
			return d.Failure
		}})
	}
	for b.Loop() {
		for _, l := range lanes {
			began := time.Now()
			if err := l.do(); err != nil {
				b.Fatal(l.name, err)
			}
			l.took = append(l.took, time.Since(began))
		}
	}
	for _, l := range lanes {
		slices.Sort(l.took)
		b.ReportMetric(float64(l.took[len(l.took)/2])/1000, "p50-us-"+l.name)
	}
}
