package decider

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// TestReuseSharedQuestions has eight packets come at one moment, from switches in a row: what the memo would say of each a moment later decides how
// often the function is asked, and how long they wait.
func TestReuseSharedQuestions(t *testing.T) {
	const trip = 10 * time.Millisecond
	const packets = 8
	away := errors.New("away")
	for _, row := range []struct {
		name    string
		change  func(i int, ev *flow.Event)                     // of packet i
		answer  func(m *memo, ev *flow.Event, d *flow.Decision) // of the function to one of them; nil: as always
		replies bool                                            // the function says what becomes of answers
		fresh   bool                                            // the function has not said yet what its answers hang on
		err     error
		asked   int
		trips   time.Duration
	}{
		{name: "the same question", asked: 1, trips: 1},
		{name: "what the answer does not hang on", change: func(i int, ev *flow.Event) { ev.PacketIn.Match.L4Src = uint16(i) }, asked: 1, trips: 1},
		{name: "what it hangs on", change: func(i int, ev *flow.Event) { ev.PacketIn.Match.L4Dst = uint16(1000 + i) }, asked: packets, trips: 1},
		{name: "two questions", change: func(i int, ev *flow.Event) { ev.PacketIn.Match.L4Dst = uint16(1000 + i%2) }, asked: 2, trips: 1},
		{name: "conversations whose answers are spoken of", change: func(i int, ev *flow.Event) { ev.PacketIn.Match.L4Src = uint16(1000 + i) }, replies: true, asked: packets, trips: 1},
		{name: "one conversation whose answers are spoken of", replies: true, asked: 1, trips: 1},
		{name: "other protocols", change: func(i int, ev *flow.Event) { ev.Switch.Protocol = flow.Protocol(1 + i) }, asked: packets, trips: 1},
		{name: "incomplete packets", change: func(_ int, ev *flow.Event) { ev.PacketIn.Incomplete = flow.FieldIPECN }, asked: packets, trips: 1},
		{name: "ICMP errors", change: func(_ int, ev *flow.Event) { icmpError(&ev.PacketIn.Match) }, asked: packets, trips: 1},
		{name: "a function that has said nothing of this yet", fresh: true, asked: packets, trips: 1},
		{name: "an answer that is not kept", answer: func(_ *memo, _ *flow.Event, d *flow.Decision) { d.Reuse = flow.Reuse{} }, asked: packets, trips: 2},
		{name: "an answer that rests on a state", answer: func(_ *memo, _ *flow.Event, d *flow.Decision) { d.State = []byte{1} }, asked: packets, trips: 2},
		{name: "a function that fails", err: away, asked: packets, trips: 2},
		{name: "a policy that changes meanwhile", answer: func(m *memo, _ *flow.Event, d *flow.Decision) {
			if m.f.asked == 2 { // the first is of the preparation
				m.Forget()
			}
		}, asked: packets, trips: 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := promise(tcpDst)
				if row.replies {
					f.answer = withReply(nil)
				}
				m := newMemo(t, f, ReuseLimits{})
				m.next = flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
					time.Sleep(trip)
					return f.Decide(ctx, ev, d)
				})
				var mu sync.Mutex
				m.OnOutcome = func(o ReuseOutcome) {
					mu.Lock()
					defer mu.Unlock()
					m.outcomes[o]++
				}
				if !row.fresh {
					m.wants("a packet before", at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 9 }), true)
				}
				if f.err = row.err; row.answer != nil {
					f.answer = func(ev *flow.Event, d *flow.Decision) { row.answer(m, ev, d) }
				}
				before, start := f.asked, time.Now()
				var all sync.WaitGroup
				for i := range packets {
					ev := at(flow.PortNo(i+1), flow.DPID(i+1), func(ev *flow.Event) {
						ev.XID = uint32(100 + i)
						if row.change != nil {
							row.change(i, ev)
						}
					})
					all.Go(func() {
						var d flow.Decision
						if err := m.Decide(t.Context(), ev, &d); !errors.Is(err, row.err) {
							t.Errorf("packet %d: %v", i, err)
						} else if err == nil && d.Rules[0].Match != ev.PacketIn.Match.Keep(ruleFields) {
							t.Errorf("packet %d has the rule of another: %v", i, d.Rules)
						}
						if d.Reused != 0 && (d.Reused < 100 || d.Reused == ev.XID) {
							t.Errorf("packet %d: the answer is said to be that of %d", i, d.Reused)
						}
					})
				}
				all.Wait()
				if asked := f.asked - before; asked != row.asked {
					t.Errorf("the function was asked %d times, want %d", asked, row.asked)
				}
				if took := time.Since(start); took != row.trips*trip {
					t.Errorf("they took %v, want %d round trips", took, row.trips)
				}
				if want := packets - row.asked; m.outcomes[Shared] != want {
					t.Errorf("%d have shared an answer, want %d: %v", m.outcomes[Shared], want, m.outcomes)
				}
				if len(m.flights) != 0 {
					t.Errorf("%d questions are under way when all are answered", len(m.flights))
				}
			})
		})
	}
}

// TestReuseWaitEnds: who waits for another's answer waits no longer than its own time.
func TestReuseWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := promise(tcpDst)
		m := newMemo(t, f, ReuseLimits{})
		m.wants("a packet before", at(1, 1, func(ev *flow.Event) { ev.PacketIn.Match.L4Dst = 9 }), true)
		m.next = flow.DeciderFunc(func(ctx context.Context, _ *flow.Event, _ *flow.Decision) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		slow, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _ = m.Decide(slow, at(1, 1, nil), new(flow.Decision)) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := m.Decide(short, at(2, 2, nil), new(flow.Decision))
		if flow.KindOf(err) != flow.Unavailable || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
