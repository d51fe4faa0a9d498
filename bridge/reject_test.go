package bridge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// refusing denies everything and has senders told.
type refusing struct{}

func (refusing) Local() bool { return true }

func (refusing) Decide(_ context.Context, _ *flow.Event, d *flow.Decision) error {
	d.Verdict, d.Reject, d.HasPacketOut = flow.Deny, true, true
	return nil
}

// TestRejectionsAreBounded: a port's flood takes neither the switch's answers nor those of the other ports.
func TestRejectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Config{Decider: refusing{}, LookInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		l := &looked{deaf: deaf{flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}}, packets: map[flow.PortNo]int{}}
		s := b.NewSession(t.Context(), l, SessionOptions{})
		defer s.Close()
		told := func(port flow.PortNo, n int) int {
			before := l.packets[flow.PortController]
			for i := range n {
				frame := frames.UDP(frames.Host(1).At(uint16(i)), frames.Host(2).At(53), nil)
				s.PacketIn(&flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, port)}, time.Now(), nil)
			}
			return l.packets[flow.PortController] - before
		}
		if n := told(1, 1000); n != rejectPortRate {
			t.Errorf("a port's flood is told %d times at once, want %d", n, rejectPortRate)
		}
		if n := told(2, 10); n != 10 {
			t.Errorf("beside it another port is told %d times, want 10", n)
		}
		all := 0
		for port := range flow.PortNo(200) {
			all += told(port+3, 100)
		}
		if all > rejectRate {
			t.Errorf("all ports are told %d times at once, more than %d", all, rejectRate)
		}
		time.Sleep(time.Second)
		if n := told(1, 1000); n != rejectPortRate {
			t.Errorf("after a second the port is told %d times, want %d", n, rejectPortRate)
		}
	})
}
