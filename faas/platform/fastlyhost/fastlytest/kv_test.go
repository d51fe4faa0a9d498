package fastlytest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestKVStore(t *testing.T) {
	now := time.Unix(1000, 0)
	s := &KVStore{Now: func() time.Time { return now }}
	var last uint64
	for _, row := range []struct {
		name string
		w    KVWrite
		err  error
		want string // value:metadata
	}{
		{"swap of nothing", KVWrite{Value: []byte("x"), IfGeneration: 1}, ErrPrecondition, ""},
		{"add", KVWrite{Mode: Add, Value: []byte("b"), Metadata: []byte("m")}, nil, "b:m"},
		{"add again", KVWrite{Mode: Add, Value: []byte("x")}, ErrPrecondition, "b:m"},
		{"append", KVWrite{Mode: Append, Value: []byte("c")}, nil, "bc:m"},
		{"prepend", KVWrite{Mode: Prepend, Value: []byte("a"), Metadata: []byte{}}, nil, "abc:"},
		{"overwrite", KVWrite{Value: []byte("d")}, nil, "d:"},
		{"large metadata", KVWrite{Metadata: make([]byte, 2001)}, ErrTooLarge, "d:"},
		{"large value", KVWrite{Value: make([]byte, 25<<20+1)}, ErrTooLarge, "d:"},
		{"time to live", KVWrite{Value: []byte("e"), TTL: time.Second}, nil, "e:"},
	} {
		generation, err := s.Put("k", row.w)
		e, _ := s.Get("k")
		if got := fmt.Sprintf("%s:%s", e.Value, e.Metadata); !errors.Is(err, row.err) || row.want != "" && got != row.want {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
		if err == nil && (generation <= last || e.Generation != generation) {
			t.Errorf("%s: generation %d after %d, and %d in the entry", row.name, generation, last, e.Generation)
		}
		last = max(last, generation)
	}
	if _, err := s.Put("k", KVWrite{IfGeneration: last - 1}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("swap of an older generation: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := s.Get("k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	if err := s.Delete("k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete after its time: %v", err)
	}
	for _, key := range []string{"p3", "p1", "q", "p2"} {
		if _, err := s.Put(key, KVWrite{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete("q"); err != nil {
		t.Error(err)
	}
	keys, next := s.List("p", "", 2)
	rest, end := s.List("p", next, 2)
	if got := strings.Join(append(append(keys, next), rest...), " "); got != "p1 p2 p2 p3" || end != "" {
		t.Errorf("%q, then %q", got, end)
	}
}

// Of those who swap the same generation, one wins.
func TestKVStoreCompareAndSwap(t *testing.T) {
	s := new(KVStore)
	const writers, rounds = 8, 200
	if _, err := s.Put("n", KVWrite{Value: []byte{0, 0}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				e, err := s.Get("n")
				if err != nil {
					t.Error(err)
					return
				}
				n := int(e.Value[0])<<8 + int(e.Value[1]) + 1
				if _, err = s.Put("n", KVWrite{Value: []byte{byte(n >> 8), byte(n)}, IfGeneration: e.Generation}); err == nil {
					done++
				}
			}
		})
	}
	wg.Wait()
	if e, _ := s.Get("n"); int(e.Value[0])<<8+int(e.Value[1]) != writers*rounds {
		t.Errorf("%v", e.Value)
	}
}

// The SDK, in a guest, and the store agree on every call's structures.
func TestKVStoreFromGuest(t *testing.T) {
	h := Build(t, "switchbridge/faas/platform/fastlyhost/fastlytest/testdata/kvguest")
	store := new(KVStore)
	for round := range 2 { // what one instance wrote, the next one finds
		resp, err := h.Do(t.Context(), &Service{KV: map[string]*KVStore{"state": store}, MaxLookups: 100}, &Request{})
		if !errors.Is(err, ErrNoAnswer) { // it speaks to its standard output alone
			t.Fatal(err)
		}
		if got, want := string(resp.Stdout), fmt.Sprintf("round %d: good\n", round+1); got != want {
			t.Errorf("%s%s; want %s", got, resp.Stderr, want)
		}
	}
	e, err := store.Get("counter")
	if err != nil || string(e.Value) != "2" || string(e.Metadata) != "counts" {
		t.Errorf("%+v, %v", e, err)
	}
}
