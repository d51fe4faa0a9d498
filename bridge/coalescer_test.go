package bridge

import (
	"slices"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
)

func TestCoalescerFollow(t *testing.T) {
	c := NewCoalescer[int](CoalesceLimits{})
	now := time.Unix(1000, 0)
	key, other := tcpPacket(80).Match, tcpPacket(22).Match
	f, place := c.Join(&key, 0, 100, now)
	if place != Leads || f == nil {
		t.Fatalf("the first %v", place)
	}
	for i := range 3 {
		if f, place := c.Join(&key, i+1, 100, now); place != Waits || f != nil {
			t.Fatalf("packet %d %v", i+1, place)
		}
	}
	if _, place := c.Join(&other, 9, 100, now); place != Leads {
		t.Fatalf("another flow's packet %v", place)
	}
	if keys, waiting, bytes := c.Waiting(); keys != 2 || waiting != 3 || bytes != 300 {
		t.Fatalf("waiting: %d keys, %d packets, %d bytes", keys, waiting, bytes)
	}

	low, high := goodRule(), goodRule()
	low.Priority, low.Actions = 1, nil
	d := flow.Decision{Rules: []flow.Rule{low, high}, HasPacketOut: true} // the leader's own packet is dropped
	c.Decided(f, &d, now)
	d.Rules[1].Actions[0].Port = 77 // the decision's memory is the session's again

	// Until the barrier's answer more may come, and they follow as well.
	if _, place := c.Join(&key, 4, 100, now.Add(time.Second)); place != Waits {
		t.Fatalf("before the barrier's answer: %v", place)
	}
	got, actions, follow := c.Release(f, false, time.Time{})
	if !follow || !slices.Equal(got, []int{1, 2, 3, 4}) || !slices.Equal(actions, goodRule().Actions) {
		t.Fatalf("released %v, %v, follow %v", got, actions, follow)
	}
	if got, _, follow := c.Release(f, false, time.Time{}); got != nil || follow {
		t.Fatalf("released twice: %v", got)
	}
	if keys, waiting, bytes := c.Waiting(); keys != 1 || waiting != 0 || bytes != 0 {
		t.Fatalf("left: %d keys, %d packets, %d bytes", keys, waiting, bytes)
	}
	if _, place := c.Join(&key, 5, 100, now); place != Leads {
		t.Fatalf("after the release: %v", place)
	}
}

func TestCoalescerOutcomes(t *testing.T) {
	covers := goodRule()
	apart := goodRule()
	apart.Match.SetL4Dst(22)
	jump := goodRule()
	jump.Goto, jump.Actions = 1, nil
	normal := []flow.Action{flow.OutputTo(flow.PortNormal)}
	for name, tc := range map[string]struct {
		d       *flow.Decision // nil: never decided
		follow  bool
		actions []flow.Action
	}{
		"a rule that matches":        {&flow.Decision{Rules: []flow.Rule{apart, covers}}, true, covers.Actions},
		"a rule that denies":         {&flow.Decision{Rules: []flow.Rule{{Match: covers.Match}}}, true, nil},
		"a rule that sends on":       {&flow.Decision{Rules: []flow.Rule{jump}}, true, []flow.Action{flow.OutputTo(flow.PortTable)}},
		"no rule that matches":       {&flow.Decision{Rules: []flow.Rule{apart}}, false, nil},
		"PACKET_OUT alone":           {&flow.Decision{HasPacketOut: true, PacketOut: normal}, false, nil},
		"nothing at all":             {&flow.Decision{}, false, nil},
		"never decided":              {nil, false, nil},
		"no answer, fail standalone": {&flow.Decision{Failure: flow.Errorf(flow.Unavailable, "x"), HasPacketOut: true, PacketOut: normal}, true, normal},
		"no answer, fail secure":     {&flow.Decision{Failure: flow.Errorf(flow.Unavailable, "x"), HasPacketOut: true}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCoalescer[string](CoalesceLimits{})
			key := tcpPacket(80).Match
			f, _ := c.Join(&key, "leader", 1, time.Unix(1, 0))
			c.Join(&key, "follower", 1, time.Unix(1, 0))
			if tc.d != nil {
				c.Decided(f, tc.d, time.Unix(2, 0))
			}
			got, actions, follow := c.Release(f, false, time.Time{})
			if len(got) != 1 || got[0] != "follower" || follow != tc.follow || !slices.Equal(actions, tc.actions) {
				t.Fatalf("released %q with %v, follow %v", got, actions, follow)
			}
		})
	}
}

func TestCoalescerBounds(t *testing.T) {
	now := time.Unix(1, 0)
	c := NewCoalescer[int](CoalesceLimits{Keys: 2, PerKey: 3, Bytes: 1000})
	keys := []flow.Match{tcpPacket(1).Match, tcpPacket(2).Match, tcpPacket(3).Match}
	first, _ := c.Join(&keys[0], 0, 10, now)
	second, _ := c.Join(&keys[1], 0, 10, now)
	for range 2 { // beyond the keys each leads, alone
		if f, place := c.Join(&keys[2], 0, 10, now); f != nil || place != Leads {
			t.Fatalf("third key: %v %v", f, place)
		}
	}
	c.Decided(nil, &flow.Decision{}, now)
	if got, _, _ := c.Release(nil, false, time.Time{}); got != nil {
		t.Fatal("a flight without followers released some")
	}
	for i, want := range []Place{Waits, Waits, Waits, Full} {
		if _, place := c.Join(&keys[0], i, 10, now); place != want {
			t.Errorf("packet %d of one key: %v, want %v", i, place, want)
		}
	}
	if _, place := c.Join(&keys[1], 0, 971, now); place != Full {
		t.Errorf("1,001 bytes in all: %v", place)
	}
	if _, place := c.Join(&keys[1], 0, 970, now); place != Waits {
		t.Errorf("1,000 bytes in all: %v", place)
	}
	c.Release(first, false, time.Time{})
	c.Release(second, false, time.Time{})
	if n, waiting, bytes := c.Waiting(); n+waiting+bytes != 0 {
		t.Errorf("left: %d keys, %d packets, %d bytes", n, waiting, bytes)
	}
}

// A switch that never answers the barrier costs those who wait, not the flow.
func TestCoalescerBarrierNeverAnswered(t *testing.T) {
	c := NewCoalescer[int](CoalesceLimits{Hold: time.Second})
	key := tcpPacket(80).Match
	start := time.Unix(1, 0)
	old, _ := c.Join(&key, 0, 1, start)
	c.Join(&key, 1, 1, start.Add(time.Hour)) // an undecided one has as long as its event
	c.Decided(old, &flow.Decision{Rules: []flow.Rule{goodRule()}}, start)
	if _, place := c.Join(&key, 2, 1, start.Add(time.Second)); place != Waits {
		t.Fatalf("within the hold: %v", place)
	}
	fresh, place := c.Join(&key, 3, 1, start.Add(time.Second+1))
	if place != Leads || fresh == nil {
		t.Fatalf("after the hold: %v", place)
	}
	c.Join(&key, 4, 1, start.Add(2*time.Second))
	if got, _, follow := c.Release(old, false, time.Time{}); !slices.Equal(got, []int{1, 2}) || !follow {
		t.Fatalf("the old flight released %v", got)
	}
	if _, place := c.Join(&key, 5, 1, start.Add(2*time.Second)); place != Waits {
		t.Fatalf("the old flight took the fresh one with it: %v", place)
	}
	if got, _, _ := c.Release(fresh, false, time.Time{}); !slices.Equal(got, []int{4, 5}) {
		t.Fatalf("the fresh one released %v", got)
	}
}

// Whatever happens at the same time, each packet leads, follows or is refused
// exactly once.
func TestCoalescerConcurrent(t *testing.T) {
	c := NewCoalescer[int](CoalesceLimits{Keys: 3, PerKey: 8})
	const each, senders = 500, 8
	seen := make([]int, each*senders)
	var mu sync.Mutex
	mark := func(list ...int) {
		mu.Lock()
		defer mu.Unlock()
		for _, i := range list {
			seen[i]++
		}
	}
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				id := s*each + i
				key := tcpPacket(uint16(i % 5)).Match
				f, place := c.Join(&key, id, 10, time.Now())
				switch place {
				case Waits:
					continue
				case Leads:
					c.Decided(f, &flow.Decision{}, time.Now())
					got, _, _ := c.Release(f, false, time.Time{})
					mark(got...)
				}
				mark(id)
			}
		})
	}
	wg.Wait()
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("packet %d came out %d times", id, n)
		}
	}
	if n, waiting, bytes := c.Waiting(); n+waiting+bytes != 0 {
		t.Errorf("left: %d keys, %d packets, %d bytes", n, waiting, bytes)
	}
}

func BenchmarkCoalescer(b *testing.B) {
	c := NewCoalescer[int](CoalesceLimits{})
	key := tcpPacket(80).Match
	d := flow.Decision{Rules: []flow.Rule{goodRule()}}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		f, _ := c.Join(&key, 1, 100, now)
		c.Join(&key, 2, 100, now)
		c.Decided(f, &d, now)
		c.Release(f, false, time.Time{})
	}
}
