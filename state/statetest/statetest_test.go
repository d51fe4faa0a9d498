package statetest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/memory"
)

// careless ignores versions: every swap is made.
type careless struct{ state.Store }

func (s careless) CompareAndSwap(ctx context.Context, key string, _ uint64, data []byte, ttl time.Duration) (uint64, error) {
	for {
		now := make([]state.Value, 1)
		_ = s.Get(ctx, []string{key}, now)
		if v, err := s.Store.CompareAndSwap(ctx, key, now[0].Version, data, ttl); err != state.ErrConflict {
			return v, err
		}
	}
}

// stale reads, at times, what a key was before.
type stale struct {
	state.Store
	mu     sync.Mutex
	before map[string]state.Value
}

func (s *stale) Get(ctx context.Context, keys []string, values []state.Value) error {
	err := s.Store.Get(ctx, keys, values)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, key := range keys {
		old, now := s.before[key], values[i]
		if rand.IntN(10) == 0 && old.Version != 0 {
			values[i] = old
		}
		s.before[key] = now
	}
	return err
}

// A store that breaks its word is found out.
func TestBrokenStores(t *testing.T) {
	open := func() state.Store {
		s, err := memory.Open(t.Context(), access.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, s := range map[string]state.Store{
		"ignores versions":   careless{open()},
		"reads stale values": &stale{Store: open(), before: map[string]state.Value{}},
	} {
		t.Run(name, func(t *testing.T) {
			stores := make([]state.Store, clients)
			for i := range stores {
				stores[i] = s
			}
			h := Record(t.Context(), stores, "history:", 0)
			if h.Err != nil {
				t.Fatal(h.Err)
			}
			if err := h.Check(); err == nil {
				t.Error("its history is taken for linearizable")
			}
			var failed []string
			for _, c := range Cases {
				if c.Name == "expiry" || c.Name == "full" {
					continue // both take time
				}
				if err := c.Check(t.Context(), &Store{Open: func(context.Context) (state.Store, error) { return s, nil }, Prefix: "suite:"}); err != nil {
					failed = append(failed, c.Name)
				}
			}
			if len(failed) == 0 {
				t.Error("the suite lets it pass")
			}
			t.Log(failed)
		})
	}
}
