package p4bridge

import (
	"context"
	"time"

	"switchbridge/flow"
)

func withHard(d time.Duration) flow.DeciderFunc {
	return func(ctx context.Context, ev *flow.Event, dec *flow.Decision) error {
		err := exactNormal(ctx, ev, dec)
		for i := range dec.Rules {
			dec.Rules[i].HardTimeout, dec.Rules[i].IdleTimeout = d, 0
		}
		return err
	}
}

func recordRemoved(to chan<- flow.FlowRemoved) flow.DeciderFunc {
	return func(ctx context.Context, ev *flow.Event, dec *flow.Decision) error {
		if ev.FlowRemoved != nil {
			to <- *ev.FlowRemoved
			return nil
		}
		err := exactNormal(ctx, ev, dec)
		for i := range dec.Rules {
			dec.Rules[i].IdleTimeout = time.Second
		}
		return err
	}
}
