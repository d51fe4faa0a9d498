package p4bridge

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// A switch that says more than can be decided is served slowly, and by itself: what it
// says is dropped where it waits, and other switches' packets don't wait for that.
func TestFloodIsServedInTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	const events = 6400
	for _, row := range []struct {
		name        string
		decider     func(hold <-chan struct{}) flow.Decider
		least, most time.Duration
	}{
		{"there is no room for a question", func(hold <-chan struct{}) flow.Decider {
			return flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { <-hold; return nil })
		}, 95 * time.Millisecond, 110 * time.Millisecond}, // 64 that find none, and a pause
		{"each decision takes a tenth of the pause", func(<-chan struct{}) flow.Decider {
			return local{flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error {
				time.Sleep(bridge.TurnPause / 10)
				return nil
			})}
		}, (events - 1) * bridge.TurnPause / 10, events * bridge.TurnPause / 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				s, err := New(Config{
					Bridge:  bridgeOf(t, row.decider(hold), func(c *bridge.Config) { c.Workers, c.QueuePerSwitch, c.EventTimeout = 2, 4, time.Hour }),
					Mapping: binding(), Device: 1, Addr: "192.0.2.1:1", Pipeline: program(), Batch: 64, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				c := &client{cfg: &s.cfg, faults: &s.faults, ctx: ctx, turn: s.cfg.Bridge.Turn(), events: newInbox(func() int { return events })}
				o := newOwner(s, c, ctx)
				for i := range events {
					ev := &event{pi: flow.PacketIn{BufferID: flow.NoBuffer}, read: time.Now()}
					ev.pi.Match.SetL4Dst(uint16(i)) // each is a flow of its own
					c.events.put(ev)
				}
				begin, longest := time.Now(), time.Duration(0)
				stretch := func() {
					from := time.Now()
					o.handleWaiting(from)
					longest = max(longest, time.Since(from))
				}
				stretch()
				stopped := make(chan struct{})
				go func() { defer close(stopped); o.serve(ctx) }()
				for c.events.len() > 0 {
					time.Sleep(bridge.TurnPause / 10)
				}
				if took := time.Since(begin); took < row.least || took > row.most+bridge.TurnPause {
					t.Errorf("%d events took %v, want %v to %v", events, took, row.least, row.most)
				}
				if longest > bridge.TurnPause {
					t.Errorf("the owner handled events for %v at a stretch", longest)
				}
				cancel()
				close(hold)
				<-stopped
				o.end()
			})
		})
	}
}
