package bridge

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/internal/flowtest"
)

// Queues are served in turn, a task each, and none holds more than half of the
// goroutines.
func TestPoolServesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(2)
		a, b := &queue{limit: 10}, &queue{limit: 10}
		var order []string
		gate := make(chan struct{})
		task := func(name string) chore {
			return func() time.Duration { <-gate; order = append(order, name); return 0 }
		}
		for range 3 {
			p.submit(a, 1, task("a"), 0)
		}
		for range 3 {
			p.submit(b, 1, task("b"), 0)
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
		p.submit(q, 1, chore(func() time.Duration { time.Sleep(3 * time.Second); return 0 }), 0)
		synctest.Wait()
		for i := range 2 {
			if !p.submit(q, 1, chore(func() time.Duration { return 0 }), 0) {
				t.Errorf("task %d found no place", i)
			}
		}
		if p.submit(q, 1, chore(func() time.Duration { return 0 }), 0) {
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

// slowly is a function that answers one question at a time, each after a time.
type slowly struct {
	takes time.Duration
	one   chan struct{}
}

func (f *slowly) Decide(ctx context.Context, _ *flow.Event, d *flow.Decision) error {
	select {
	case f.one <- struct{}{}:
	case <-ctx.Done():
		return flow.Errorf(flow.Unavailable, "late")
	}
	time.Sleep(f.takes)
	<-f.one
	d.Verdict, d.HasPacketOut = flow.Deny, true
	return nil
}

// from is a packet that came in by a port.
func from(port flow.PortNo, dst uint16) *flow.PacketIn {
	p := tcpPacket(dst)
	p.Match.SetInPort(port)
	return p
}

// What one port sends more of than the function answers makes another port of the same switch wait for the questions under way, and no longer.
func TestPortsAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes, settles = 200 * time.Millisecond, 10 * time.Second
		began := time.Now()
		var mu sync.Mutex
		var slowest, waited time.Duration
		asked, flood := 0, 0
		b, err := New(Config{Decider: &slowly{takes, make(chan struct{}, 1)}, LookInterval: -1, OnDecision: func(r *Record) {
			mu.Lock()
			defer mu.Unlock()
			if r.Event.PacketIn.Match.InPort == 1 {
				flood++
				waited = max(waited, r.Wait)
			} else {
				asked++
				if r.Event.Time.Sub(began) > settles {
					slowest = max(slowest, r.Total)
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		s := b.NewSession(t.Context(), &writes{deaf: deaf{*flowtest.Switch()}}, SessionOptions{})
		const seconds, each = 60, 20
		for i := range seconds * each {
			s.PacketIn(from(1, uint16(1000+i)), time.Now(), nil)
			if i%(2*each) == each {
				s.PacketIn(from(2, 80), time.Now(), nil)
			}
			time.Sleep(time.Second / each)
		}
		drops := dropped(b, "late")
		s.Close()
		b.pool.drain(time.Minute)
		if asked != seconds/2 || slowest > 10*takes { // as many questions as the share lets a flood have, and each is answered after those before it
			t.Errorf("%d questions of a calm port were answered, the slowest after %v", asked, slowest)
		}
		if want := seconds*5 - asked; flood < want*9/10 {
			t.Errorf("%d of the flood's questions were answered, and there was time for %d", flood, want)
		}
		if waited > flow.DefaultTimeout || drops == 0 {
			t.Errorf("a packet was asked about after it had waited %v; %d were dropped since they had waited too long", waited, drops)
		}
	})
}

// In a full queue a port with less than its share takes the place of the oldest packet of the port that has most. The switch's buffer is freed, and the
// loss counted; a port that has its share takes nobody's.
func TestFullQueueIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var order []uint32
		shed := 0
		p := newPool(1)
		q := &queue{limit: 6}
		add := func(port uint32, bytes int) bool {
			return p.submit(q, port, &noted{func() { <-gate; order = append(order, port) }, func() { shed++ }}, bytes)
		}
		add(9, 0)
		synctest.Wait() // it runs
		for i := range 8 {
			if got := add(1, 0); got != (i < 6) {
				t.Errorf("task %d of the port that floods: %v", i, got)
			}
		}
		for i := range 4 {
			if got := add(2, 0); got != (i < 3) {
				t.Errorf("task %d of the second port: %v", i, got)
			}
		}
		if !add(3, 0) || shed != 4 || q.waiting != 6 {
			t.Errorf("%d were shed, %d wait", shed, q.waiting)
		}
		if p.full(q, 4, 0) || !p.full(q, 1, 0) {
			t.Error("full says otherwise than submit")
		}
		close(gate)
		if p.drain(time.Second) != 0 || !slices.Equal(order, []uint32{9, 1, 2, 3, 1, 2, 1}) && !slices.Equal(order, []uint32{9, 1, 2, 3, 1, 2, 2}) {
			t.Errorf("served in the order %v", order)
		}
		if len(q.lanes)+len(q.turn)+q.waiting+q.bytes+p.waiting != 0 {
			t.Errorf("what is left: %+v", q)
		}

		// The same of bytes.
		gate, shed = make(chan struct{}), 0
		q = &queue{limit: 1024}
		add(9, 0)
		synctest.Wait()
		for add(1, QueueBytes/8) {
		}
		if !add(2, QueueBytes/3) || shed != 3 || add(1, QueueBytes/8) || add(2, QueueBytes/3) {
			t.Errorf("%d were shed for a large packet of a port that had none, %d bytes wait", shed, q.bytes)
		}
		if q.bytes > QueueBytes {
			t.Errorf("%d bytes wait", q.bytes)
		}
		close(gate)
		p.drain(time.Second)
	})
}

// noted is a task that says what becomes of it.
type noted struct{ ran, lost func() }

func (n *noted) run() time.Duration { n.ran(); return 0 }
func (n *noted) displaced()         { n.lost() }

// A packet that loses its place in the queue is counted, its buffer in the switch is freed, and those that wait for its decision ask on their own.
func TestShedPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b, err := New(Config{Decider: remembers{gate}, Coalesce: true, Workers: 2, QueuePerSwitch: 2, LookInterval: -1, EventTimeout: time.Hour, Guardrails: guard.Default()})
		if err != nil {
			t.Fatal(err)
		}
		sw := &writes{deaf: deaf{*flowtest.Switch()}}
		s := b.NewSession(t.Context(), sw, SessionOptions{})
		defer s.Close()
		done := 0
		send := func(p *flow.PacketIn) { s.PacketIn(p, time.Now(), func() { done++ }) }
		send(from(1, 1000))
		synctest.Wait() // it is asked about
		first := from(1, 1001)
		first.BufferID = 7
		send(first)
		send(from(1, 1002))
		send(from(1, 1001)) // waits with the first
		send(from(2, 1003))
		drops := dropped(b, "queue_full")
		if drops != 2 || done != 2 { // itself, and who waited with it and finds no room of its own
			t.Errorf("%d dropped, %d told", drops, done)
		}
		if len(sw.rules) != 1 {
			t.Errorf("the switch got %d messages, want one that frees the buffer", len(sw.rules))
		}
		if keys, waiting, _ := s.coalescer.Waiting(); keys != 3 || waiting != 0 {
			t.Errorf("%d decisions, for which %d wait", keys, waiting)
		}
		close(gate)
		synctest.Wait()
		if done != 5 {
			t.Errorf("%d of 5 are done with", done)
		}
	})
}
