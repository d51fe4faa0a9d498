package decider

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
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

// A rehearsal is asked with the state that there is, and leaves it as it is.
func TestStateRehearsal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{key: flow.StateFlow}
		s := NewState(c, StateLimits{})
		for _, rehearsal := range []bool{false, true, true, false, true} {
			ev := packetEvent(tcpPacket(80))
			ev.Rehearsal = rehearsal
			if err := s.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
				t.Error(err)
			}
		}
		if got := fmt.Sprintf("%q", c.seen); got != `["" "1" "1" "1" "2"]` {
			t.Errorf("states that came: %v", got)
		}
	})
}

func TestStateOneInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{key: flow.StateFlow}
		s := NewState(c, StateLimits{})
		s.kinds.Store(1 << flow.StateFlow)
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

func TestStateKeys(t *testing.T) {
	from := func(dpid flow.DPID, port flow.PortNo, dst uint16, swap bool) *flow.Event {
		ev := packetEvent(tcpPacket(dst))
		ev.Switch.DPID, ev.PacketIn.Match.InPort = dpid, port
		if swap {
			m := &ev.PacketIn.Match
			m.IPSrc, m.IPDst, m.L4Src, m.L4Dst = m.IPDst, m.IPSrc, m.L4Dst, m.L4Src
		}
		return ev
	}
	for key, comesBack := range map[flow.StateKey][5]bool{ // same flow; other ports; other in_port; other switch; the other direction
		flow.StateFlow:       {true, false, true, true, false},
		flow.StateConnection: {true, false, true, true, true},
		flow.StateSrc:        {true, true, true, true, false},
		flow.StateDst:        {true, true, true, true, false},
		flow.StatePair:       {true, true, true, true, false},
		flow.StatePort:       {true, true, false, false, true},
		flow.StateSwitch:     {true, true, true, false, true},
		flow.StateNetwork:    {true, true, true, true, true},
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
	key := func(kind flow.StateKey, ev *flow.Event) (string, bool) { return keyOf(kind, ev, ev.Headers()) }
	ip, _ := key(flow.StateSrc, packetEvent(tcpPacket(80)))
	if k, ok := key(flow.StateSrc, arp); !ok || k != ip {
		t.Errorf("ARP's source: %q %v", k, ok)
	}
	if _, ok := key(flow.StateDst, arp); ok {
		t.Error("a destination without an address")
	}
	lldp := packetEvent(tcpPacket(80))
	lldp.PacketIn.Match = lldp.PacketIn.Match.Keep(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthType)
	lldp.PacketIn.Match.EthType = flow.EthTypeLLDP
	if k, ok := key(flow.StateSrc, lldp); !ok || k[1:] != macA.String() {
		t.Errorf("a frame's source: %q %v", k, ok)
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
		if st := s.Stats(); st.Entries != 0 || st.Bytes != 0 {
			t.Errorf("after an answer without state: %+v", st)
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
	for _, row := range []struct {
		limits  StateLimits
		entries int
	}{
		{StateLimits{Entries: 10}, 10},
		{StateLimits{Bytes: 5*(100+len64(t)) + 50}, 5},
	} {
		s := NewState(state(100), row.limits)
		for round := range 2 { // those that are there change, and no other comes in
			for port := range uint16(50) {
				var d flow.Decision
				if err := s.Decide(t.Context(), packetEvent(tcpPacket(port)), &d); err != nil || (d.Failure == nil) != (int(port) < row.entries) {
					t.Errorf("%+v, round %d: state %d: %v, %v", row.limits, round, port, err, d.Failure)
				}
				if d.Failure != nil && (d.Verdict != flow.Deny || !d.HasPacketOut || len(d.PacketOut)+len(d.Rules)+len(d.State) != 0) {
					t.Errorf("a state without room: %+v", d)
				}
			}
		}
		if st := s.Stats(); st.Entries != row.entries || st.Bytes > 5000 || st.Refused["full"] != uint64(2*(50-row.entries)) {
			t.Errorf("%+v: %+v", row.limits, st)
		}
	}
}

// len64 is the length of a flow's key.
func len64(t *testing.T) int64 {
	ev := packetEvent(tcpPacket(80))
	key, ok := keyOf(flow.StateFlow, ev, ev.Headers())
	if !ok {
		t.Fatal("a packet without a flow")
	}
	return int64(len(key))
}

// travels is a function that counts the events of a source in a state with a name, as it would a machine's.
type travels struct {
	name  string
	slow  bool
	stale bool // it answers by a state of before
	mu    sync.Mutex
	seen  []string
}

func (f *travels) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.Accepts&flow.AcceptsTravel == 0 {
		return errors.New("nobody brings states back")
	}
	own := flow.Travelling{Name: f.name, Key: flow.StateSrc, TTL: time.Minute}
	var seen []string
	for _, t := range ev.Travel {
		seen = append(seen, fmt.Sprintf("%s/%v %d %s", t.Name, t.Key, t.Version, t.Data))
		if t.Name == f.name {
			own.Version, own.Data = t.Version, t.Data
		}
	}
	f.mu.Lock()
	f.seen = append(f.seen, strings.Join(seen, ", "))
	f.mu.Unlock()
	if f.slow {
		if err := slow(ctx, ev, d); err != nil {
			return err
		}
	}
	n, _ := strconv.Atoi(string(own.Data))
	own.Data = []byte(strconv.Itoa(n + 1))
	if !f.stale {
		own.Version++
	}
	d.Verdict, d.Travel = flow.Allow, append(d.Travel, own)
	return nil
}

// Of events that are under way before a function has returned its first state, those that would change the same one are asked again: none is lost.
func TestStateFirstRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &travels{name: "scan", slow: true}
		s := NewState(f, StateLimits{})
		var wg sync.WaitGroup
		for port := range uint16(10) {
			wg.Go(func() {
				var d flow.Decision
				if err := s.Decide(t.Context(), packetEvent(tcpPacket(port)), &d); err != nil || d.Verdict != flow.Allow {
					t.Error(err, d.Reason)
				}
			})
		}
		wg.Wait()
		var d flow.Decision
		if err := s.Decide(t.Context(), packetEvent(tcpPacket(99)), &d); err != nil || string(d.Travel[0].Data) != "11" || d.Travel[0].Version != 11 {
			t.Errorf("%v, %+v after eleven events", err, d.Travel)
		}
		if len(s.turns) != 0 {
			t.Errorf("%d turns are left", len(s.turns))
		}
	})
}

// States of one key and of several names come back together, and end each for itself; the version of one that is no more is told.
func TestStateNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &travels{name: "a"}, &travels{name: "b"}
		s := NewState(a, StateLimits{})
		ask := func(next *travels) string {
			s.next = next
			if err := s.Decide(t.Context(), packetEvent(tcpPacket(80)), new(flow.Decision)); err != nil {
				t.Fatal(err)
			}
			return next.seen[len(next.seen)-1]
		}
		for _, row := range []struct {
			next *travels
			wait time.Duration
			want string
		}{
			{a, 0, ""},
			{b, 0, "a/src 1 1"},
			{a, 40 * time.Second, "a/src 1 1, b/src 1 1"},
			{b, 40 * time.Second, "a/src 2 2, b/src 1 "},
			{a, 10 * time.Minute, ""},
		} {
			time.Sleep(row.wait)
			if got := ask(row.next); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		}
		time.Sleep(time.Minute)
		if st := s.Stats(); st.Entries != 1 {
			t.Errorf("%+v: want the version of a's state alone", st)
		}
	})
}

// What brings an older state than the gateway has is not carried out: not by a decision that let the packet pass either.
func TestStateReplayed(t *testing.T) {
	f := &travels{name: "scan"}
	s := NewState(f, StateLimits{})
	for _, stale := range []bool{false, false, true, false} {
		f.stale = stale
		d := flow.Decision{Rules: []flow.Rule{goodRule()}}
		if err := s.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil || (d.Failure != nil) != stale || stale && (d.Verdict != flow.Deny || len(d.Rules) != 0) {
			t.Errorf("stale %v: %v, %+v", stale, err, d)
		}
	}
	if got := f.seen[len(f.seen)-1]; got != "scan/src 2 2" || s.Stats().Refused["older"] != 1 {
		t.Errorf("%s after it, %+v", got, s.Stats())
	}
	f.stale = true
	ev := packetEvent(tcpPacket(80))
	ev.Type, ev.FlowRemoved = flow.EventFlowRemoved, &flow.FlowRemoved{Match: ev.PacketIn.Match}
	if err := s.Decide(t.Context(), ev, new(flow.Decision)); flow.KindOf(err) != flow.Unavailable {
		t.Errorf("an event that is no packet: %v", err)
	}
}

// One source can't have more states, nor larger ones, than go with an event.
func TestStateOfOneKey(t *testing.T) {
	s := NewState(nil, StateLimits{})
	for i := range flow.MaxTravelling + 1 {
		s.next = &travels{name: fmt.Sprint("m", i)}
		var d flow.Decision
		if err := s.Decide(t.Context(), packetEvent(tcpPacket(80)), &d); err != nil || (d.Failure != nil) != (i == flow.MaxTravelling) {
			t.Errorf("state %d: %v, %v", i, err, d.Failure)
		}
	}
}

// BenchmarkStateHeld reports what a table of the default size takes.
func BenchmarkStateHeld(b *testing.B) {
	for range min(b.N, 1) { // it is no matter of time
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := NewState(flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
			d.Travel = append(d.Travel, flow.Travelling{Name: "scan", Key: flow.StateSrc, Version: 1, TTL: time.Hour, Data: make([]byte, 128)})
			return nil
		}), StateLimits{})
		for i := range s.limits.Entries {
			ev := packetEvent(tcpPacket(80))
			ev.PacketIn.Match.IPSrc = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			var d flow.Decision
			if err := s.Decide(b.Context(), ev, &d); err != nil || d.Failure != nil {
				b.Fatal(err, d.Failure)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(s)
	}
}

func TestStateWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState(&counter{}, StateLimits{PerKey: 2})
		s.kinds.Store(1 << flow.StateFlow)
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
		d.State, d.StateKey = append(d.State, 1), flow.StateKey(n)%flow.StateKeys
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

// A gateway that takes the lead forgets its states, keeps their versions, and carries out no answer that rests on one of them.
func TestForget(t *testing.T) {
	ev := packetEvent(tcpPacket(80))
	var brought []flow.Travelling
	var during func()
	version := uint64(0)
	s := NewState(flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		brought = append([]flow.Travelling(nil), ev.Travel...)
		if f := during; f != nil {
			during = nil
			f()
		}
		version++
		d.Verdict = flow.Allow
		d.Travel = append(d.Travel, flow.Travelling{Name: "m", Key: flow.StateSrc, Version: version, Data: []byte("open")})
		return nil
	}), StateLimits{})
	ask := func() {
		t.Helper()
		var d flow.Decision
		if err := s.Decide(t.Context(), ev, &d); err != nil || d.Verdict != flow.Allow {
			t.Fatal(d, err)
		}
	}
	ask()
	ask()
	if len(brought) != 1 || brought[0].Data == nil {
		t.Fatalf("before: %+v", brought)
	}
	during = s.Forget
	ask()
	if len(brought) != 1 || brought[0].Data != nil || brought[0].Version != 2 {
		t.Errorf("an event that was under way is asked again with %+v, want version 2 without a state", brought)
	}
	if st := s.Stats(); st.Entries != 1 || version != 4 {
		t.Errorf("%+v, asked %d times", st, version)
	}
	before := s.Stats().Bytes
	s.Forget()
	if after := s.Stats().Bytes; after != before-int64(len("open")) {
		t.Errorf("%d bytes, then %d", before, after)
	}
}
