package redis

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/statetest"
	"switchbridge/state/statetest/redistest"
)

func opener(t testing.TB, address string) func(context.Context) (state.Store, error) {
	u, err := url.Parse("redis://" + address)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (state.Store, error) {
		return Open(ctx, access.Options{URL: u})
	}
}

func TestStore(t *testing.T) {
	server := redistest.Start(t)
	statetest.Run(t, &statetest.Store{
		Open:   opener(t, server.Addr),
		Expire: func(ttl time.Duration) { time.Sleep(ttl + 50*time.Millisecond) },
	})
}

// What a server takes no more of is a full store, and it evicts nothing.
func TestFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "2mb", "--maxmemory-policy", "noeviction")
	s, err := opener(t, server.Addr)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var first uint64
	for i := range 2000 {
		v, err := s.CompareAndSwap(t.Context(), fmt.Sprintf("full:%d", i), 0, make([]byte, state.MaxData), 0)
		if err != nil {
			statetest.WantFull(t, err)
			values := make([]state.Value, 1)
			if err := s.Get(t.Context(), []string{"full:0"}, values); err != nil || values[0].Version != first {
				t.Errorf("the first state: %v, %v", values[0].Version, err)
			}
			return
		}
		if i == 0 {
			first = v
		}
	}
	t.Error("2 MB hold 8")
}

func BenchmarkDecision(b *testing.B) {
	server := redistest.Start(b, "--appendonly", "no")
	s, err := opener(b, server.Addr)(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bare := s.(*Store).client.Load()
	reads, data := false, make([]byte, 64) // an event's round trips are one to read and one to write
	if err := bare.Set(b.Context(), "bare", data, time.Minute).Err(); err != nil {
		b.Fatal(err)
	}
	statetest.Bench(b, s, func(ctx context.Context) error {
		if reads = !reads; reads {
			return bare.Get(ctx, "bare").Err()
		}
		return bare.Set(ctx, "bare", data, time.Minute).Err()
	})
}
