package bridge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// Packets of a switch wait by their number and by their bytes, and what has waited
// leaves its room.
func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		q := &queue{limit: 1024}
		gate := make(chan struct{})
		wait := chore(func() time.Duration { <-gate; return 0 })
		p.submit(q, 1, wait, 0)
		synctest.Wait() // it runs
		const large = 60_000
		const room = QueueBytes / large
		taken := 0
		for range 10 * room {
			if p.submit(q, 1, wait, large) {
				taken++
			}
		}
		if taken != room {
			t.Errorf("%d packets of %d bytes wait, want %d", taken, large, room)
		}
		if !p.submit(q, 1, wait, 100) {
			t.Error("a small one finds no room")
		}
		close(gate)
		p.drain(time.Second)
		if q.bytes != 0 || !p.submit(q, 1, wait, large) {
			t.Errorf("%d bytes count that wait no longer", q.bytes)
		}
	})
}

// deaf is a switch that takes everything and confirms nothing.
type deaf struct{ sw flow.Switch }

func (d *deaf) Describe() *flow.Switch                                   { return &d.sw }
func (*deaf) Fit(*flow.Rule, *flow.Match) error                          { return nil }
func (*deaf) FitActions([]flow.Action, *flow.Match) error                { return nil }
func (*deaf) Before(_, _ *flow.Rule) bool                                { return false }
func (*deaf) Write(uint32, []Change, *Packet, bool) error                { return nil }
func (*deaf) Flush() error                                               { return nil }
func (*deaf) List(context.Context, Filter, func(*Installed) error) error { return nil }
func (*deaf) Standing() []flow.Rule                                      { return nil }
func (*deaf) DeletesByCookie() bool                                      { return true }

// A switch that never confirms its rules has the gateway keep so many decisions and
// no more, and goes on being served.
func TestUnconfirmedDecisionsAreBounded(t *testing.T) {
	decided := 0
	b, err := New(Config{Decider: here{flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		decided++
		d.Verdict = flow.Allow
		d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, IdleTimeout: time.Minute, Actions: []flow.Action{flow.OutputTo(2)}})
		return nil
	})}})
	if err != nil {
		t.Fatal(err)
	}
	s := b.NewSession(t.Context(), &deaf{flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}}, SessionOptions{Held: 16})
	defer s.Close()
	const packets = 10 * maxConfirms
	for i := range packets {
		pi := flow.PacketIn{BufferID: flow.NoBuffer}
		pi.Match.SetInPort(1)
		pi.Match.SetEthType(flow.EthTypeIPv4)
		pi.Match.SetIPProto(6)
		pi.Match.SetL4Dst(uint16(i))
		s.PacketIn(&pi, time.Now(), nil)
	}
	if n := len(s.confirms); n != maxConfirms || decided != packets {
		t.Errorf("%d decisions of %d wait to be confirmed, want %d; %d were made", n, packets, maxConfirms, decided)
	}
}

type here struct{ flow.DeciderFunc }

func (here) Local() bool { return true }
