package httpclient

import (
	"context"
	"time"

	"switchbridge/flow"
)

// hedgeAfter returns when the event gets a second request, 0 for never.
func (a *asking) hedgeAfter() time.Duration {
	if !a.idempotent {
		return 0
	}
	if a.c.cfg.HedgeAfter == HedgeAuto {
		return time.Duration(a.c.answered.p95.Load())
	}
	return a.c.cfg.HedgeAfter
}

// hedged asks e, and after a time asks once more, on the next endpoint that
// lets it. The first answer counts and the other request is given up; failures
// wait for the other request.
//
// The requests are made ready here, so that the one that is given up does not
// touch the event after Decide has returned.
func (a *asking) hedged(ctx context.Context, e *endpoint, done func(error), after time.Duration) reply {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, 2)
	send := func(e *endpoint, done func(error)) {
		a.calls++
		h := a.c.header(a.ev, a.id)
		of := &flow.Event{Type: a.ev.Type, Switch: a.ev.Switch}
		go func() { replies <- e.ask(ctx, done, of, h, a.p) }()
	}
	send(e, done)
	timer := time.NewTimer(after)
	defer timer.Stop()
	pending := 1
	var first *reply
	for {
		select {
		case r := <-replies:
			pending--
			if r.failure == nil || pending == 0 && first == nil {
				return r
			}
			if first != nil {
				return *first
			}
			first = &r
			timer.Stop() // what failed early is repeated by the caller, if at all
		case <-timer.C:
			if !a.c.hedges.take() {
				continue
			}
			i, done := a.pick(a.indexAfter(e))
			if done == nil {
				continue
			}
			second := a.c.endpoints[i]
			a.c.cfg.Metrics.hedge(second.name)
			send(second, done)
			pending++
		}
	}
}

// indexAfter returns the index of the endpoint that follows e.
func (a *asking) indexAfter(e *endpoint) int {
	for i, x := range a.c.endpoints {
		if x == e {
			return (i + 1) % len(a.c.endpoints)
		}
	}
	return 0
}
