package fastlyhost_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/state"
	"switchbridge/state/fastlykv"
	"switchbridge/state/statetest"
	"switchbridge/state/statetest/remote"
)

// statesIn is the store of states in a KV store, as the SDK in an instance has it: a new instance for each question.
func statesIn(t *testing.T, kv *fastlytest.KVStore) *remote.Client {
	t.Helper()
	h := fastlytest.Build(t, "switchbridge/faas/platform/fastlyhost/testdata/states")
	return &remote.Client{Promises: new(fastlykv.Store).Promise(), Exchange: func(ctx context.Context, question []byte) ([]byte, error) {
		resp, err := h.Do(ctx, &fastlytest.Service{
			Config: map[string]map[string]string{"test": {"question": string(question)}},
			KV:     map[string]*fastlytest.KVStore{fastlyhost.StateStore: kv},
		}, &fastlytest.Request{})
		if errors.Is(err, fastlytest.ErrNoAnswer) && len(resp.Stdout) > 0 { // it speaks to its standard output alone
			err = nil
		}
		return resp.Stdout, err
	}}
}

// The suite, by the SDK in a guest.
func TestStates(t *testing.T) {
	s := statesIn(t, new(fastlytest.KVStore))
	statetest.Run(t, &statetest.Store{Open: func(context.Context) (state.Store, error) { return s, nil }, Expire: func(ttl time.Duration) { time.Sleep(ttl + 10*time.Millisecond) },
		Operations: 25})
}

// The anomaly of the platform: an edge reads, for some time after a write, what was there before. No swap rests on it, and no change is lost.
func TestStaleStates(t *testing.T) {
	now := time.Now()
	kv := &fastlytest.KVStore{Lag: time.Minute, Now: func() time.Time { return now }}
	s, ctx := statesIn(t, kv), t.Context()
	want := func(version uint64, data string) {
		t.Helper()
		v := make([]state.Value, 1)
		if err := s.Get(ctx, []string{"k"}, v); err != nil || v[0].Version != version || string(v[0].Data) != data {
			t.Errorf("%q of version %d, %v; want %q of %d", v[0].Data, v[0].Version, err, data, version)
		}
	}
	one, err := s.CompareAndSwap(ctx, "k", 0, []byte("good"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want(0, "")
	if _, err := s.CompareAndSwap(ctx, "k", 0, []byte("again"), 0); !errors.Is(err, state.ErrConflict) {
		t.Errorf("a first value where an edge does not have the first one yet: %v", err)
	}
	now = now.Add(kv.Lag)
	want(one, "good")
	two, err := s.CompareAndSwap(ctx, "k", one, []byte("scanner"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want(one, "good") // a scanner is let in meanwhile
	if _, err := s.CompareAndSwap(ctx, "k", one, []byte("good"), 0); !errors.Is(err, state.ErrConflict) {
		t.Errorf("a swap of what was there before: %v", err)
	}
	if err := s.Delete(ctx, "k", one); !errors.Is(err, state.ErrConflict) {
		t.Errorf("a deletion of what was there before: %v", err)
	}
	now = now.Add(kv.Lag)
	want(two, "scanner")

	clients := make([]state.Store, 8)
	lagging := &fastlytest.KVStore{Lag: 500 * time.Millisecond} // more than an operation takes under the race detector
	for i := range clients {
		clients[i] = statesIn(t, lagging)
	}
	h := statetest.Record(ctx, clients, "lag:", 20)
	if h.Err != nil {
		t.Fatal(h.Err)
	}
	if err := h.Check(); err == nil {
		t.Error("its history is linearizable: this shows nothing")
	}
	if err := h.CheckSwaps(); err != nil {
		t.Error(err)
	}
}
