package bridge

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server takes a time for each question and answers so many at once; others wait.
type server struct {
	takes time.Duration
	slots chan struct{}
}

func (s *server) ask() time.Duration {
	begin, slots, takes := time.Now(), s.slots, s.takes
	slots <- struct{}{}
	time.Sleep(takes)
	<-slots
	return time.Since(begin)
}

// flood keeps q's queue full for d and returns how many tasks ran, and the most at
// one time in the second half of it.
func flood(p *pool, q *queue, f *server, d time.Duration) (done, most int) {
	var ran atomic.Int64
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		for p.submit(q, 1, chore(func() time.Duration { defer ran.Add(1); return f.ask() }), 0) {
		}
		if time.Until(end) < d/2 {
			p.mu.Lock()
			most = max(most, q.running)
			p.mu.Unlock()
		}
		time.Sleep(f.takes / 8)
	}
	p.drain(time.Minute)
	return int(ran.Load()), most
}

// A switch that floods a function of limited capacity gets all of it, and makes
// another switch wait for little.
func TestFloodLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(256)
		f := &server{takes: time.Millisecond, slots: make(chan struct{}, 4)}
		var worst time.Duration
		go func() {
			time.Sleep(500 * time.Millisecond)
			victim := &queue{limit: 10}
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				p.submit(victim, 1, chore(func() time.Duration {
					took := f.ask()
					worst = max(worst, took)
					return took
				}), 0)
			}
		}()
		const seconds = 2
		done, most := flood(p, &queue{limit: 1024}, f, seconds*time.Second)
		if most > 12 {
			t.Errorf("%d questions at one time of a function that answers 4", most)
		}
		if want := 4 * 1000 * seconds; done < want*9/10 {
			t.Errorf("%d questions were answered of the %d that the function can", done, want)
		}
		if worst == 0 || worst > 5*time.Millisecond {
			t.Errorf("another switch waited up to %v, with %d of the flood under way", worst, most)
		}
	})
}

// A function that is far away and not busy is asked as much as the pool allows.
func TestDistanceIsNoLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(256)
		q := &queue{limit: 1024}
		f := &server{takes: 30 * time.Millisecond, slots: make(chan struct{}, 1000)}
		done, most := flood(p, q, f, 3*time.Second)
		if want := 128 * 100; most != 128 || done < want*8/10 {
			t.Errorf("%d answers in 3 s and %d at one time, want 128 and some %d", done, most, want)
		}
	})
}

// When the function has become faster, or has moved, the share grows again.
func TestShareGrowsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(256)
		q := &queue{limit: 1024}
		f := &server{takes: time.Millisecond, slots: make(chan struct{}, 4)}
		flood(p, q, f, time.Second)
		if n := q.share.may(); n > 16 {
			t.Errorf("%d questions at one time of a function that answers 4", n)
		}
		f.slots = make(chan struct{}, 1000)
		f.takes = 20 * time.Millisecond // far away now, and without limit
		if _, most := flood(p, q, f, 80*time.Second); most != 128 {
			t.Errorf("%d questions at one time of a function that answers any number", most)
		}
	})
}
