package bridge

import (
	"testing"
	"testing/synctest"
	"time"
)

// Queues are served in turn, a task each, and none holds more than half of the
// goroutines.
func TestPoolServesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(2)
		a, b := &queue{limit: 10}, &queue{limit: 10}
		var order []string
		gate := make(chan struct{})
		task := func(name string) task {
			return func() time.Duration { <-gate; order = append(order, name); return 0 }
		}
		for range 3 {
			p.submit(a, task("a"), 0)
		}
		for range 3 {
			p.submit(b, task("b"), 0)
		}
		synctest.Wait()
		if p.running != 2 || a.running != 1 || b.running != 1 {
			t.Fatalf("%d running, %d of a and %d of b", p.running, a.running, b.running)
		}
		for range 6 {
			gate <- struct{}{}
			synctest.Wait()
		}
		counts := map[string]int{}
		for i, name := range order {
			counts[name]++
			if d := counts["a"] - counts["b"]; d < -2 || d > 2 {
				t.Errorf("after %d tasks: %v", i+1, order)
			}
		}
		if len(order) != 6 || p.running != 0 || p.waiting != 0 {
			t.Errorf("order %v, %d running, %d waiting", order, p.running, p.waiting)
		}
	})
}

func TestPoolDrainAndDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		q := &queue{limit: 2}
		p.submit(q, func() time.Duration { time.Sleep(3 * time.Second); return 0 }, 0)
		synctest.Wait()
		for i := range 2 {
			if !p.submit(q, func() time.Duration { return 0 }, 0) {
				t.Errorf("task %d found no place", i)
			}
		}
		if p.submit(q, func() time.Duration { return 0 }, 0) {
			t.Error("a full queue took a task")
		}
		if left := p.drain(time.Second); left != 3 {
			t.Errorf("%d left after a second, want 3", left)
		}
		if n := p.discard(q); n != 2 {
			t.Errorf("%d discarded, want 2", n)
		}
		if left := p.drain(time.Hour); left != 0 {
			t.Errorf("%d left", left)
		}
	})
}
