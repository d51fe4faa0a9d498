package fastlytest

import (
	"errors"
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
		want string
	}{
		{"swap of nothing", KVWrite{Value: []byte("x"), IfGeneration: 1}, ErrPrecondition, ""},
		{"add", KVWrite{Mode: Add, Value: []byte("b")}, nil, "b"},
		{"add again", KVWrite{Mode: Add, Value: []byte("x")}, ErrPrecondition, "b"},
		{"overwrite", KVWrite{Value: []byte("d")}, nil, "d"},
		{"large value", KVWrite{Value: make([]byte, 25<<20+1)}, ErrTooLarge, "d"},
		{"time to live", KVWrite{Value: []byte("e"), TTL: time.Second}, nil, "e"},
	} {
		generation, err := s.Put("k", row.w)
		e, _ := s.Get("k")
		if got := string(e.Value); !errors.Is(err, row.err) || row.want != "" && got != row.want {
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
