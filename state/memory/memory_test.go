package memory_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/memory"
	"switchbridge/state/statetest"
)

func TestStore(t *testing.T) {
	for _, c := range statetest.Cases {
		check := func(t *testing.T) {
			if err := c.Check(t.Context(), &statetest.Store{
				Open:   statetest.Shared(t, memory.Open, access.Options{}),
				Full:   statetest.Shared(t, memory.Open, access.Options{Entries: 3}),
				Expire: func(ttl time.Duration) { time.Sleep(ttl) },
			}); err != nil {
				t.Error(err)
			}
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Name == "linearizable" { // in a bubble all of a history would happen at one time
				check(t)
				return
			}
			synctest.Test(t, check)
		})
	}
}

// A store forgets nothing but what has expired, and its bytes are bounded as its keys are.
func TestBounds(t *testing.T) {
	s, err := memory.Open(t.Context(), access.Options{Entries: 100, Bytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	v, err := s.CompareAndSwap(ctx, "key", 0, make([]byte, 900), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompareAndSwap(ctx, "other", 0, make([]byte, 100), 0); !errors.Is(err, state.ErrFull) {
		t.Errorf("1,008 bytes where 1,000 are held: %v", err)
	}
	if _, err := s.CompareAndSwap(ctx, "key", v, make([]byte, 998), 0); !errors.Is(err, state.ErrFull) {
		t.Errorf("a state that grows beyond: %v", err)
	}
	if v, err = s.CompareAndSwap(ctx, "key", v, make([]byte, 997), 0); err != nil {
		t.Error(err)
	}
	if entries, bytes := s.(*memory.Store).Held(); entries != 1 || bytes != 1000 {
		t.Errorf("%d states of %d bytes are held", entries, bytes)
	}
	if err := s.Delete(ctx, "key", v); err != nil {
		t.Error(err)
	}
	if entries, bytes := s.(*memory.Store).Held(); entries != 0 || bytes != 0 {
		t.Errorf("%d states of %d bytes are held after the last was deleted", entries, bytes)
	}
}

// BenchmarkHeld reports what a store of the default size takes.
func BenchmarkHeld(b *testing.B) {
	for range min(b.N, 1) { // it is no matter of time
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, _ := memory.Open(b.Context(), access.Options{})
		for i := range access.DefaultEntries {
			if _, err := s.CompareAndSwap(b.Context(), fmt.Sprintf("scan:src:10.%d.%d.%d", i>>16, i>>8&255, i&255), 0, make([]byte, 64), time.Hour); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(s)
	}
}

func BenchmarkSwap(b *testing.B) {
	s, _ := memory.Open(b.Context(), access.Options{})
	keys, values := []string{"scan:src:10.0.0.1"}, make([]state.Value, 1)
	data := make([]byte, 64)
	for b.Loop() {
		_ = s.Get(b.Context(), keys, values)
		if _, err := s.CompareAndSwap(b.Context(), keys[0], values[0].Version, data, time.Minute); err != nil {
			b.Fatal(err)
		}
	}
}
