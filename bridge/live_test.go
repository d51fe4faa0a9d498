package bridge

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

type inPlace struct{ flow.DeciderFunc }

func (inPlace) Local() bool { return true }

func nothing(context.Context, *flow.Event, *flow.Decision) error { return nil }

// What was waited for and what answers in place have different sessions, so one
// can't take the other's place.
func TestUpdateKeepsItsKind(t *testing.T) {
	remote, local := flow.DeciderFunc(nothing), inPlace{nothing}
	b, err := New(Config{Decider: remote})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(Live{Decider: local}); !errors.Is(err, ErrInPlace) {
		t.Errorf("%v, want %v", err, ErrInPlace)
	}
	if err := b.Update(Live{}); err == nil {
		t.Error("nothing decides, and that was taken")
	}
	if err := b.Update(Live{Decider: remote, EventTimeout: time.Minute}); err != nil || b.live.Load().EventTimeout != time.Minute {
		t.Errorf("%v, timeout %v", err, b.live.Load().EventTimeout)
	}
}

// A pool that is made smaller has fewer goroutines as soon as their tasks are
// done, although more wait; and what waits is run nevertheless.
func TestPoolResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4)
		queues := []*queue{{limit: 100}, {limit: 100}}
		gate := make(chan struct{})
		done := 0
		for i := range 20 {
			p.submit(queues[i%2], 1, chore(func() time.Duration { <-gate; done++; return 0 }), 0)
		}
		synctest.Wait()
		if p.running != 4 {
			t.Fatalf("%d run, want 4", p.running)
		}
		p.resize(2)
		for range 4 {
			gate <- struct{}{}
			synctest.Wait()
		}
		if p.running != 2 {
			t.Errorf("%d run after the pool was made smaller, want 2", p.running)
		}
		for range 16 {
			gate <- struct{}{}
			synctest.Wait()
		}
		if done != 20 || p.running != 0 || p.waiting != 0 {
			t.Errorf("%d done, %d running, %d waiting", done, p.running, p.waiting)
		}
		q := queues[0]
		p.limit(q, 1)
		for range 2 { // one that runs and one that waits
			p.submit(q, 1, chore(func() time.Duration { <-gate; return 0 }), 0)
			synctest.Wait()
		}
		third, fourth := p.submit(q, 1, chore(func() time.Duration { return 0 }), 0), p.submit(q, 1, chore(func() time.Duration { return 0 }), 0)
		if third && fourth {
			t.Error("more wait than the new limit lets")
		}
		close(gate)
	})
}
