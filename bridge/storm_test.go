package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// However often a resync is wanted, it comes once in 10 s, 20 s and so on to
// 10 min; and at once again when there was peace.
func TestResyncsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var runs, alarms []time.Duration
		note := func(list *[]time.Duration, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			*list = append(*list, d)
		}
		p := pacer{run: func() { note(&runs, time.Since(start)) }, alarm: func(d time.Duration) { note(&alarms, d) }}
		for time.Since(start) < 2*time.Hour {
			p.want()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		mu.Lock()
		defer mu.Unlock()
		// 0, 0, 10, 30, 70, 150, 310, 630, 1230, 1830, ... s
		if len(runs) < 10 || len(runs) > 20 || runs[0] != 0 {
			t.Fatalf("%d runs in 2 h: %v", len(runs), runs)
		}
		for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600, 600} {
			if got := runs[i+2] - runs[i+1]; got.Round(time.Second) != want*time.Second {
				t.Errorf("pause %d is %v, want %d s", i, got, want)
			}
		}
		if alarms[0] != 20*time.Second || alarms[len(alarms)-1] != resyncPauseMax {
			t.Errorf("alarms %v", alarms)
		}
		mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		if n := len(runs); alarms[len(alarms)-1] != 0 || n > 20 {
			t.Errorf("the alarm does not end: %v; %d runs", alarms, n)
		}
		before := len(runs)
		mu.Unlock()
		p.want()
		synctest.Wait()
		mu.Lock()
		if len(runs) != before+1 {
			t.Errorf("after an hour of peace a change does not count at once")
		}
	})
}

func serial(n uint64) flow.PolicyVersion { return flow.PolicyVersion{Serial: n, Hash: uint32(n)} }

// An answer confirms nothing, however great its serial.
func TestAnswersConfirmNothing(t *testing.T) {
	var v Versions
	for i, step := range []struct {
		do   func() Freshness
		want Freshness
	}{
		{func() Freshness { return v.Checked(serial(5)) }, Newer},
		{func() Freshness { f, _ := v.Observe(serial(5)); return f }, Same},
		{func() Freshness { f, _ := v.Observe(serial(1<<64 - 1)); return f }, Unconfirmed},
		{func() Freshness { f, _ := v.Observe(serial(5)); return f }, Same},
		{func() Freshness { return v.Checked(serial(6)) }, Newer}, // changes of policy go on
		{func() Freshness { f, _ := v.Observe(serial(5)); return f }, Older},
		{func() Freshness { return v.Confirm(serial(7)) }, Newer},
		{func() Freshness { return v.Confirm(serial(6)) }, Older},
		{func() Freshness { return v.Checked(flow.PolicyVersion{}) }, Unversioned},
		{func() Freshness { f, _ := v.Observe(serial(7)); return f }, Same}, // what was pushed stays
	} {
		if got := step.do(); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if v.Confirmed() != serial(7) || v.Latest() != serial(7) {
		t.Errorf("confirmed %v, latest %v", v.Confirmed(), v.Latest())
	}
}

// Without policy checks the greatest serial of answers counts for a minute, and
// nothing is ever confirmed.
func TestUncheckedVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Versions
		see := func(n uint64, want Freshness) {
			t.Helper()
			if got, _ := v.Observe(serial(n)); got != want {
				t.Errorf("serial %d is %v, want %v", n, got, want)
			}
		}
		see(3, Newer)
		see(1<<64-1, Newer)
		see(4, Older)
		time.Sleep(seenFor + seenEvery)
		see(4, Newer)
		for range 5 { // what is repeated stays
			time.Sleep(seenFor / 2)
			see(4, Same)
			see(3, Older)
		}
		if !v.Confirmed().IsZero() || v.Latest() != serial(4) {
			t.Errorf("confirmed %v, latest %v", v.Confirmed(), v.Latest())
		}
		// A function that stops answering checks is as one that never did.
		v.Checked(serial(9))
		v.Unchecked()
		see(9, Same)
		see(10, Newer)
	})
}

// TestBehind: a version is behind a greater serial, unless an operator has rolled back to it.
func TestBehind(t *testing.T) {
	v := new(Versions)
	if !v.Behind(1) || v.Behind(0) {
		t.Error("none that counts is behind any that does, and behind no other")
	}
	old := flow.PolicyVersion{Serial: 4, Hash: 4}
	v.Confirm(flow.PolicyVersion{Serial: 5, Hash: 5})
	if v.Behind(5) || !v.Behind(6) {
		t.Error("serial 5 is behind 6 and not behind 5")
	}
	v.lower, v.offered = old, true
	if err := v.Rollback(old); err != nil {
		t.Fatal(err)
	}
	if v.Behind(5) {
		t.Error("an operator has rolled back to serial 4: it is not behind 5")
	}
}

// A lower serial that holds for a minute is offered, and taken only by an operator.
func TestRollbackIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offers []bool
		v := Versions{onOffer: func(_ flow.PolicyVersion, offered bool) { offers = append(offers, offered) }}
		var has atomic.Uint64
		has.Store(8)
		check := PolicyCheck{Versions: &v, Decider: flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
			d.Policy = serial(has.Load())
			return nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		go check.Run(ctx)
		time.Sleep(15 * time.Second)
		has.Store(7)
		time.Sleep(30 * time.Second)
		if _, _, ok := v.Offered(); ok || v.Rollback(serial(7)) == nil {
			t.Error("offered after half a minute")
		}
		has.Store(8) // one edge that was behind
		time.Sleep(10 * time.Second)
		has.Store(7)
		time.Sleep(50 * time.Second)
		if _, _, ok := v.Offered(); ok {
			t.Error("offered although it did not hold")
		}
		time.Sleep(20 * time.Second)
		if got, since, ok := v.Offered(); !ok || got != serial(7) || time.Since(since) < offerAfter {
			t.Errorf("offered %v since %v: %v", got, since, ok)
		}
		if v.Confirmed() != serial(8) {
			t.Errorf("taken silently: %v", v.Confirmed())
		}
		if v.Rollback(serial(6)) == nil {
			t.Error("a version that nobody has can be rolled back to")
		}
		if err := v.Rollback(serial(7)); err != nil {
			t.Error(err)
		}
		if f, _ := v.Observe(serial(7)); f != Same || v.Confirmed() != serial(7) || v.Rollback(serial(7)) == nil {
			t.Errorf("after the rollback its answers are %v", f)
		}
		if len(offers) != 2 || !offers[0] || offers[1] {
			t.Errorf("offers %v", offers)
		}
		cancel()
		synctest.Wait()
	})
}

// An answer of a new version has it checked before the interval is over, and a
// function that has a new one in each answer is asked twice an interval.
func TestNewVersionIsCheckedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Versions
		var n atomic.Int32
		var has atomic.Uint64
		has.Store(1)
		check := PolicyCheck{Versions: &v, Decider: flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
			n.Add(1)
			d.Policy = serial(has.Load())
			return nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		go check.Run(ctx)
		time.Sleep(12 * time.Second)
		has.Store(2)
		v.Observe(serial(2))
		synctest.Wait()
		if v.Confirmed() != serial(2) || n.Load() != 3 {
			t.Errorf("after %d checks %v is confirmed", n.Load(), v.Confirmed())
		}
		for has.Load() < 10_000 {
			v.Observe(serial(has.Add(1)))
			time.Sleep(10 * time.Millisecond)
		}
		if n := n.Load(); n < 20 || n > 3+2*11 {
			t.Errorf("%d checks in 100 s", n)
		}
		cancel()
		synctest.Wait()
	})
}
