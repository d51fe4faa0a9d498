package bridge

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/internal/flowtest"
)

// remembers is a function that answers nothing, and an answer to port 80 that is at hand.
type remembers struct{ gate chan struct{} }

func (r remembers) Decide(ctx context.Context, _ *flow.Event, _ *flow.Decision) error {
	select {
	case <-r.gate:
	case <-ctx.Done():
	}
	return flow.Errorf(flow.Unavailable, "away")
}

func (r remembers) Recall(ev *flow.Event, d *flow.Decision) bool {
	if ev.PacketIn == nil || ev.PacketIn.Match.L4Dst != 80 {
		return false
	}
	d.Verdict, d.Reused = flow.Allow, 1
	rule := goodRule()
	rule.Match = ev.PacketIn.Match
	wide := flow.Rule{Priority: 50, Actions: rule.Actions} // what no guardrail lets pass
	d.Rules = append(d.Rules, rule, wide)
	return true
}

// writes is a switch that notes what it is sent.
type writes struct {
	deaf
	mu    sync.Mutex
	rules [][]flow.Rule // of each Write
	sent  int           // packets that were sent on
	asked int           // Writes that are to be confirmed
}

func (w *writes) Write(_ uint32, c []Change, p *Packet, confirm bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p != nil && len(p.Actions) > 0 {
		w.sent++
	}
	if confirm {
		w.asked++
	}
	var list []flow.Rule
	for _, x := range c {
		list = append(list, *x.Rule)
	}
	w.rules = append(w.rules, list)
	return nil
}

// TestAnswerAtHand: a packet whose answer is at hand waits behind nobody, however many wait for a function that is away, and its answer is held to
// the guardrails as any other.
func TestAnswerAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var records []Record
		var mu sync.Mutex
		b, err := New(Config{Decider: remembers{gate}, Coalesce: true, Workers: 4, QueuePerSwitch: 8, LookInterval: -1, EventTimeout: time.Hour, Guardrails: guard.Default(),
			OnDecision: func(r *Record) {
				mu.Lock()
				defer mu.Unlock()
				records = append(records, *r)
			}})
		if err != nil {
			t.Fatal(err)
		}
		sw := &writes{deaf: deaf{*flowtest.Switch()}}
		s := b.NewSession(t.Context(), sw, SessionOptions{})
		defer s.Close()
		for port := range uint16(20) {
			s.PacketIn(tcpPacket(1000+port), time.Now(), nil)
		}
		synctest.Wait()
		if got := b.pool.pending(&s.queue); got < 8 {
			t.Fatalf("%d packets wait or are asked about, want 8", got)
		}
		began := time.Now()
		s.PacketIn(tcpPacket(80), time.Now(), nil)
		if len(sw.rules) != 1 || len(sw.rules[0]) != 1 || sw.rules[0][0].Priority == 50 || time.Since(began) != 0 {
			t.Errorf("the switch got %v after %v", sw.rules, time.Since(began))
		}
		if len(records) != 1 || records[0].Refused != 1 || records[0].Decision == nil || records[0].Wait != 0 {
			t.Errorf("records %+v", records)
		}
		close(gate)
		synctest.Wait()
	})
}

// TestNoBarrierAtHand: the switch need not confirm the rules of an answer at hand. A packet that it sent before it had them goes by the same answer, without a rule
// of its own.
func TestNoBarrierAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b, err := New(Config{Decider: remembers{gate}, Coalesce: true, LookInterval: -1, Guardrails: guard.Default()})
		if err != nil {
			t.Fatal(err)
		}
		sw := &writes{deaf: deaf{*flowtest.Switch()}}
		s := b.NewSession(t.Context(), sw, SessionOptions{Settle: 50 * time.Millisecond})
		defer s.Close()
		says := func(what string, writes, sent int) {
			t.Helper()
			synctest.Wait()
			rules := 0
			for _, list := range sw.rules {
				rules += len(list)
			}
			if rules != writes || sw.sent != sent || sw.asked != 0 {
				t.Errorf("%s: %d rules, %d packets sent on, %d BARRIERs; want %d, %d and none", what, rules, sw.sent, sw.asked, writes, sent)
			}
		}
		for range 3 {
			s.PacketIn(tcpPacket(80), time.Now(), nil)
		}
		says("a packet, and two that the switch sent before it had the rule", 1, 3)
		time.Sleep(50 * time.Millisecond)
		s.PacketIn(tcpPacket(80), time.Now(), nil)
		says("one that comes when the rule must have been there", 2, 4)
		if keys, waiting, _ := s.coalescer.Waiting(); keys+waiting != 0 {
			t.Errorf("%d decisions may have followers, and %d packets follow", keys, waiting)
		}
		close(gate)
	})
}

// TestAnswerAtHandIsUse: a switch whose packets have answers at hand asks next to nothing, and counts beside one that floods like one that asks: the
// flood's share of the function is the smaller one.
func TestAnswerAtHandIsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		b, err := New(Config{Decider: remembers{gate}, Workers: 4, QueuePerSwitch: 8, LookInterval: -1, EventTimeout: time.Hour, Guardrails: guard.Default()})
		if err != nil {
			t.Fatal(err)
		}
		flood := b.NewSession(t.Context(), &writes{deaf: deaf{*flowtest.Switch()}}, SessionOptions{})
		defer flood.Close()
		calm := b.NewSession(t.Context(), &writes{deaf: deaf{*flowtest.Switch()}}, SessionOptions{})
		defer calm.Close()
		others := func() bool {
			b.pool.mu.Lock()
			defer b.pool.mu.Unlock()
			return b.pool.others(&flood.queue, time.Now())
		}
		flood.PacketIn(tcpPacket(1000), time.Now(), nil)
		if others() {
			t.Error("another switch is in use before it has said anything")
		}
		calm.PacketIn(tcpPacket(80), time.Now(), nil)
		for range 100 {
			time.Sleep(time.Millisecond)
			flood.PacketIn(tcpPacket(1000), time.Now(), nil)
		}
		if !others() {
			t.Error("a switch that was answered 100 ms ago is not in use")
		}
		time.Sleep(turnCalm)
		if others() {
			t.Error("a switch that says nothing any more is in use")
		}
	})
}

// TestFullQueueCostsLittle: what a flood sends beyond its queue is dropped before memory is allocated for it, its buffer in the switch is freed, and a
// packet like one that is being asked about still waits with that one.
func TestFullQueueCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		b, err := New(Config{Decider: remembers{gate}, Coalesce: true, Workers: 4, QueuePerSwitch: 8, LookInterval: -1, EventTimeout: time.Hour, Guardrails: guard.Default(),
			Subscribe: map[flow.EventType]bool{flow.EventPortStatus: true}})
		if err != nil {
			t.Fatal(err)
		}
		sw := &writes{deaf: deaf{*flowtest.Switch()}}
		s := b.NewSession(t.Context(), sw, SessionOptions{})
		defer s.Close()
		for port := range uint16(40) {
			s.PacketIn(tcpPacket(1000+port), time.Now(), nil)
			synctest.Wait() // a worker takes it, if there is one
		}
		drops := s.tally.drops.Load()
		if drops == 0 {
			t.Fatal("the queue is not full")
		}

		p, done := tcpPacket(2000), 0
		const runs = 100
		allocs := testing.AllocsPerRun(runs, func() { s.PacketIn(p, time.Now(), func() { done++ }) })
		if got := s.tally.drops.Load() - drops; got != runs+1 || done != runs+1 {
			t.Errorf("%d dropped and %d told, want %d", got, done, runs+1)
		}
		if allocs > 8 { // its number as text, the log's line
			t.Errorf("%v allocations for a packet that is dropped", allocs)
		}
		p.BufferID = 7
		s.PacketIn(p, time.Now(), nil)
		if len(sw.rules) != 1 {
			t.Errorf("the switch got %v, want a PACKET_OUT that frees the buffer", sw.rules)
		}

		drops = s.tally.drops.Load()
		s.PacketIn(tcpPacket(1000), time.Now(), nil)
		if _, waiting, _ := s.coalescer.Waiting(); waiting != 1 || s.tally.drops.Load() != drops {
			t.Errorf("%d wait with the packet like them that is being asked about", waiting)
		}

		// Other events, too, once they have their share of the queue.
		ps := &flow.PortStatus{}
		event := func() { ps.Port.No++; s.Port(ps, time.Now()) }
		for range 8 {
			event()
		}
		shed := func() float64 {
			var m dto.Metric
			if err := s.m.shed.WithLabelValues(s.m.protocol, eventLabel(flow.EventPortStatus)).Write(&m); err != nil {
				t.Fatal(err)
			}
			return m.GetCounter().GetValue()
		}
		before := shed()
		if allocs := testing.AllocsPerRun(runs, event); allocs > 0 {
			t.Errorf("%v allocations for an event that is dropped", allocs)
		}
		if got := shed() - before; got != runs+1 {
			t.Errorf("%v events counted as shed, want %d", got, runs+1)
		}
	})
}
