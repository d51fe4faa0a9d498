package decider

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// counter is a function that counts the events of a key in its state, and takes
// a second over it.
type counter struct {
	key flow.StateKey
	err error

	mu   sync.Mutex
	seen []string // the states that came
}

func (c *counter) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	n, _ := strconv.Atoi(string(ev.State))
	c.mu.Lock()
	c.seen = append(c.seen, string(ev.State))
	err := c.err
	c.mu.Unlock()
	if e := slow(ctx, ev, d); e != nil {
		return e
	}
	d.State, d.StateKey = append(d.State, strconv.Itoa(n+1)...), c.key
	return err
}

func TestStateOneInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{key: flow.StateFlow}
		s := NewState(c, StateLimits{}, flow.StateFlow)
		start := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				ev := packetEvent(tcpPacket(80))
				if err := s.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
					t.Error(err)
				}
				if ev.State != nil {
					t.Error("the caller's event was changed")
				}
			})
		}
		wg.Go(func() { s.Decide(t.Context(), packetEvent(tcpPacket(22)), new(flow.Decision)) })
		wg.Wait()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("five events of one key and one of another took %v", took)
		}
		if got := fmt.Sprintf("%q", c.seen); got != `["" "" "1" "2" "3" "4"]` {
			t.Errorf("states that came: %v", got)
		}
		if len(s.turns) != 0 {
			t.Errorf("%d turns are left", len(s.turns))
		}
	})
}

// A rehearsal is asked with the state that there is, waits for nobody, and leaves the state as it is.
func TestStateRehearsal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{key: flow.StateFlow}
		s := NewState(c, StateLimits{}, flow.StateFlow)
		ask := func(rehearsal bool) {
			ev := packetEvent(tcpPacket(80))
			ev.Rehearsal = rehearsal
			if err := s.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
				t.Error(err)
			}
		}
		for _, rehearsal := range []bool{false, true, true, false, true} {
			ask(rehearsal)
		}
		if got := fmt.Sprintf("%q", c.seen); got != `["" "1" "1" "1" "2"]` {
			t.Errorf("states that came: %v", got)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for _, rehearsal := range []bool{false, true, true} {
			wg.Go(func() { ask(rehearsal) })
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("one event and two rehearsals of its key took %v, want a second each, at once", took)
		}
	})
}

func TestStateKeys(t *testing.T) {
	from := func(dpid flow.DPID, port flow.PortNo, dst uint16, swap bool) *flow.Event {
		ev := packetEvent(tcpPacket(dst))
		ev.Switch.DPID, ev.PacketIn.Match.InPort = dpid, port
		if swap {
			m := &ev.PacketIn.Match
			m.IPSrc, m.IPDst = m.IPDst, m.IPSrc
		}
		return ev
	}
	for key, comesBack := range map[flow.StateKey][5]bool{ // same flow; other ports; other in_port; other switch; the other direction
		flow.StateFlow: {true, false, false, false, false},
		flow.StateSrc:  {true, true, true, true, false},
		flow.StateDst:  {true, true, true, true, false},
		flow.StatePort: {true, true, false, false, true},
	} {
		t.Run(key.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for i, ev := range []*flow.Event{from(1, 1, 80, false), from(1, 1, 22, false), from(1, 2, 80, false), from(2, 1, 80, false), from(1, 1, 80, true)} {
					c := &counter{key: key}
					s := NewState(c, StateLimits{})
					for _, e := range []*flow.Event{from(1, 1, 80, false), ev} {
						if err := s.Decide(t.Context(), e, new(flow.Decision)); err != nil {
							t.Fatal(err)
						}
					}
					if got := c.seen[1] == "1"; got != comesBack[i] {
						t.Errorf("event %d: state came back: %v", i, got)
					}
				}
			})
		})
	}
}

// An ARP request has its addresses where IP has them; another frame has MACs only.
func TestStateAddresses(t *testing.T) {
	arp := packetEvent(arpPacket(1))
	arp.PacketIn.Match.SetARPSPA(tcpPacket(80).Match.IPSrc)
	ip, _ := keyOf(flow.StateSrc, packetEvent(tcpPacket(80)))
	if k, ok := keyOf(flow.StateSrc, arp); !ok || k != ip {
		t.Errorf("ARP's source: %v %v", k, ok)
	}
	if _, ok := keyOf(flow.StateDst, arp); ok {
		t.Error("a destination without an address")
	}
	lldp := packetEvent(tcpPacket(80))
	lldp.PacketIn.Match = lldp.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthSrc)
	if k, ok := keyOf(flow.StateSrc, lldp); !ok || k.mac != macA {
		t.Errorf("a frame's source: %v %v", k, ok)
	}
}

func TestStateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		s := NewState(c, StateLimits{TTL: time.Minute})
		ask := func() error { return s.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)) }
		last := func() string { return c.seen[len(c.seen)-1] }
		ask()
		ask()
		if last() != "1" {
			t.Fatalf("state %q", last())
		}
		time.Sleep(time.Minute + time.Second)
		if ask(); last() != "" {
			t.Errorf("after its time: %q", last())
		}
		// No answer leaves the state for the repeat; an answer without one ends it.
		c.err = errors.New("away")
		if err := ask(); err == nil || last() != "1" {
			t.Errorf("%v, %q", err, last())
		}
		c.err = nil
		if ask(); last() != "1" {
			t.Errorf("after no answer: %q", last())
		}
		s.next = answer()
		ask()
		if n, bytes := s.Held(); n != 0 || bytes != 0 {
			t.Errorf("after an answer without state: %d states of %d bytes", n, bytes)
		}
	})
}

func TestStateBounds(t *testing.T) {
	state := func(n int) flow.Decider {
		return flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
			d.State = make([]byte, n)
			return nil
		})
	}
	s := NewState(state(flow.MaxState+1), StateLimits{})
	if err := s.Decide(t.Context(), packetEvent(tcpPacket(1)), new(flow.Decision)); flow.KindOf(err) != flow.Invalid || err == nil {
		t.Errorf("a state too large: %v", err)
	}
	s = NewState(state(100), StateLimits{Entries: 10, Bytes: 1 << 20})
	for port := range uint16(50) {
		s.Decide(t.Context(), packetEvent(tcpPacket(port)), new(flow.Decision))
	}
	if n, bytes := s.Held(); n != 10 || bytes != 1000 {
		t.Errorf("bounded by entries: %d states of %d bytes", n, bytes)
	}
	s = NewState(state(100), StateLimits{Bytes: 550})
	for range 2 {
		for port := range uint16(50) {
			s.Decide(t.Context(), packetEvent(tcpPacket(port)), new(flow.Decision))
		}
	}
	if n, bytes := s.Held(); n != 5 || bytes != 500 {
		t.Errorf("bounded by bytes: %d states of %d bytes", n, bytes)
	}
}

func TestStateWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState(&counter{}, StateLimits{PerKey: 2}, flow.StateFlow)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var mu sync.Mutex
		kinds := make(map[string]int)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				err := s.Decide(ctx, packetEvent(tcpPacket(80)), new(flow.Decision))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					kinds["ok"]++
				default:
					kinds[flow.KindOf(err).String()]++
				}
			})
		}
		wg.Wait()
		// One is answered; one is with the function and one waits when time is up.
		if kinds["ok"] != 1 || kinds["overload"] != 2 || kinds["unavailable"] != 2 {
			t.Errorf("outcomes %v", kinds)
		}
		if len(s.turns) != 0 {
			t.Errorf("%d turns are left", len(s.turns))
		}
		if err := s.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// Events that take turns at several kinds of key never wait for each other in a
// circle.
func TestStateManyKinds(t *testing.T) {
	var n int
	var mu sync.Mutex
	next := flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		mu.Lock()
		defer mu.Unlock()
		n++
		d.State, d.StateKey = append(d.State, 1), flow.StateKey(n%4)
		return nil
	})
	s := NewState(next, StateLimits{PerKey: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				ev := packetEvent(tcpPacket(uint16(i % 3)))
				ev.PacketIn.Match.InPort = flow.PortNo(w % 2)
				if w%3 == 0 {
					m := &ev.PacketIn.Match
					m.IPSrc, m.IPDst = m.IPDst, m.IPSrc
				}
				if err := s.Decide(ctx, ev, new(flow.Decision)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
