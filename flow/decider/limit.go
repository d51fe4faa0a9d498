package decider

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"switchbridge/flow"
)

// Limit bounds how many events a remote controller is asked about at a time.
// Further events wait in a queue, in order, until ctx is done. If the queue is
// full, an event fails with [flow.Overload].
//
// Controllers in the same process need no Limit: the goroutines that call them are
// the bound, and a semaphore would cost more than the answer.
type Limit struct {
	next        flow.Decider
	concurrency int
	sem         *semaphore.Weighted
	queue       int64
	wait        atomic.Int64
	run         atomic.Int64
}

// NewLimit makes a Limit of concurrency events at a time and queue waiting.
// Concurrency below 1 counts as 1, queue below 0 as 0.
func NewLimit(next flow.Decider, concurrency, queue int) *Limit {
	concurrency = max(concurrency, 1)
	return &Limit{next: next, concurrency: concurrency, sem: semaphore.NewWeighted(int64(concurrency)), queue: int64(max(queue, 0))}
}

// Decide asks next when there is room.
func (l *Limit) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if !l.sem.TryAcquire(1) {
		if l.wait.Add(1) > l.queue {
			l.wait.Add(-1)
			return flow.Errorf(flow.Overload, "%d events wait for the function already", l.queue)
		}
		err := l.sem.Acquire(ctx, 1)
		l.wait.Add(-1)
		if err != nil {
			// The function never heard of the event, so it is no answer of its. The
			// gateway had a place and no time: the function is too slow for the load.
			return flow.Errorf(flow.Unavailable, "waiting for the function: %w", context.Cause(ctx))
		}
	}
	l.run.Add(1)
	defer func() {
		l.run.Add(-1)
		l.sem.Release(1)
	}()
	return l.next.Decide(ctx, ev, d)
}

// Load returns how many events are with the function and how many wait.
func (l *Limit) Load() (running, waiting int) { return int(l.run.Load()), int(l.wait.Load()) }
