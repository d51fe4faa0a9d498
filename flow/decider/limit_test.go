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

// slow is a Decider that takes a second, unless ctx is done before.
func slow(ctx context.Context, _ *flow.Event, _ *flow.Decision) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(flow.DeciderFunc(slow), 2, 3)
		start := time.Now()
		var mu sync.Mutex
		var took []time.Duration
		var refused int
		var wg sync.WaitGroup
		for range 7 {
			wg.Go(func() {
				err := l.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					took = append(took, time.Since(start))
				case flow.KindOf(err) == flow.Overload && time.Since(start) == 0:
					refused++
				default:
					t.Errorf("after %v: %v", time.Since(start), err)
				}
			})
		}
		synctest.Wait()
		if running, waiting := l.Load(); running != 2 || waiting != 3 {
			t.Errorf("%d running, %d waiting", running, waiting)
		}
		wg.Wait()
		if len(took) != 5 || took[1] != time.Second || took[3] != 2*time.Second || took[4] != 3*time.Second || refused != 2 {
			t.Errorf("took %v, %d refused", took, refused)
		}
		if running, waiting := l.Load(); running != 0 || waiting != 0 {
			t.Errorf("%d running, %d waiting at the end", running, waiting)
		}
	})
}

func TestLimitDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(flow.DeciderFunc(slow), 1, 1)
		go l.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		err := l.Decide(ctx, packetEvent(tcpPacket(80)), new(flow.Decision))
		if flow.KindOf(err) != flow.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if running, waiting := l.Load(); running != 1 || waiting != 0 {
			t.Errorf("%d running, %d waiting", running, waiting)
		}
		time.Sleep(time.Second)
		if err := l.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

func arpPacket(port flow.PortNo) *flow.PacketIn {
	var m flow.Match
	m.SetInPort(port)
	m.SetEthType(flow.EthTypeARP)
	return &flow.PacketIn{Match: m}
}

// fragment is a packet that does not show its ports.
func fragment() *flow.PacketIn {
	pi := tcpPacket(80)
	pi.Incomplete = flow.FieldL4Src | flow.FieldL4Dst
	pi.Match = pi.Match.Keep(^pi.Incomplete)
	return pi
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced := make(map[string]int)
		p := NewPace(answer(), Rates{PerSwitch: Rate{100, 10}, PerPort: Rate{10, 4}, Essentials: Rate{1, 2}, Incomplete: Rate{1, 3}})
		p.OnPaced = func(_ *flow.Event, bucket string) { paced[bucket]++ }
		send := func(dpid flow.DPID, pi *flow.PacketIn, n int) (passed int) {
			t.Helper()
			for range n {
				ev := packetEvent(pi)
				ev.Switch.DPID = dpid
				switch err := p.Decide(t.Context(), ev, new(flow.Decision)); {
				case err == nil:
					passed++
				case flow.KindOf(err) != flow.Overload:
					t.Fatal(err)
				}
			}
			return passed
		}
		at := func(port flow.PortNo) *flow.PacketIn {
			pi := tcpPacket(80)
			pi.Match.InPort = port
			return pi
		}
		for _, tc := range []struct {
			name string
			dpid flow.DPID
			pi   *flow.PacketIn
			want int
		}{
			{"a port's storm gets its burst", 1, at(1), 4},
			{"and leaves its neighbours theirs", 1, at(2), 4},
			{"within the switch's", 1, at(3), 2},
			{"another switch has its own", 2, at(1), 4},
			{"ARP is not held up by it", 1, arpPacket(1), 2},
			{"fragments have a bucket of their own", 1, fragment(), 3},
			{"and each switch has its own", 2, fragment(), 3},
		} {
			if got := send(tc.dpid, tc.pi, 20); got != tc.want {
				t.Errorf("%s: %d of 20 pass, want %d", tc.name, got, tc.want)
			}
		}
		if paced["port"] != 16+16+16+16 || paced["switch"] != 2 || paced["essentials"] != 18 || paced["incomplete"] != 17+17 {
			t.Errorf("paced %v", paced)
		}
		time.Sleep(time.Second)
		if got := send(1, at(1), 20); got != 4 {
			t.Errorf("a second later: %d of 20 pass", got)
		}
		ev := &flow.Event{Type: flow.EventPortStatus, Switch: testSwitch(), PortStatus: &flow.PortStatus{}}
		for range 50 {
			if err := p.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
				t.Fatalf("an event that is no packet: %v", err)
			}
		}
	})
}

func TestPaceBounded(t *testing.T) {
	p := NewPace(answer(), Rates{PerPort: Rate{1, 1}, MaxBuckets: 10})
	pi := tcpPacket(80)
	for port := range flow.PortNo(1000) {
		pi.Match.InPort = port
		p.Decide(t.Context(), packetEvent(pi), new(flow.Decision))
	}
	if n := p.buckets.Len(); n != 10 {
		t.Errorf("%d buckets remembered", n)
	}
	unlimited := NewPace(answer(), Rates{})
	for range 1000 {
		if err := unlimited.Decide(t.Context(), packetEvent(pi), new(flow.Decision)); err != nil {
			t.Fatal(err)
		}
	}
	if unlimited.buckets.Len() != 0 {
		t.Error("buckets without a limit")
	}
}

func BenchmarkPace(b *testing.B) {
	p := NewPace(answer(), Rates{PerSwitch: Rate{1e12, 1e9}, PerPort: Rate{1e12, 1e9}})
	ev := packetEvent(tcpPacket(80))
	b.ReportAllocs()
	for b.Loop() {
		p.Admit(ev, time.Now())
	}
}
