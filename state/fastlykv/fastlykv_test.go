package fastlykv

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/state"
)

// table is a KV whose look-ups find what stale has, if it has anything of the key.
type table struct {
	values, stale map[string]entry
	asked         int
}

type entry struct {
	value      []byte
	generation uint64
	until      time.Time // zero: for ever
}

func (t *table) Lookup(key string) ([]byte, uint64, error) {
	t.asked++
	e, ok := t.stale[key]
	if !ok {
		e = t.values[key]
	}
	if !e.until.IsZero() && !time.Now().Before(e.until) {
		e = entry{}
	}
	return append([]byte{}, e.value...), e.generation, nil
}

func (t *table) Insert(key string, generation uint64, value []byte, ttl time.Duration) error {
	t.asked++
	if t.values[key].generation != generation {
		return state.ErrConflict
	}
	e := entry{value: value, generation: generation + 1}
	if ttl > 0 {
		e.until = time.Now().Add(ttl)
	}
	t.values[key] = e
	return nil
}

func get(t *testing.T, s *Store, key string) state.Value {
	t.Helper()
	v := make([]state.Value, 1)
	if err := s.Get(t.Context(), []string{key}, v); err != nil {
		t.Fatal(err)
	}
	return v[0]
}

// A swap asks once if its key was read before, and only the first swap of what was read.
func TestRoundTrips(t *testing.T) {
	kv := &table{values: map[string]entry{}}
	s := New(kv)
	get(t, s, "k")
	v, err := s.CompareAndSwap(t.Context(), "k", 0, []byte("a"), 0)
	if err != nil || kv.asked != 2 {
		t.Fatalf("asked %d times, %v", kv.asked, err)
	}
	if _, err := s.CompareAndSwap(t.Context(), "k", v, []byte("b"), 0); err != nil || kv.asked != 4 {
		t.Errorf("without a look before: asked %d times, %v", kv.asked, err)
	}
	for i := range 3 * maxKnown {
		get(t, s, string(rune('A'+i)))
	}
	if len(s.known) > maxKnown {
		t.Errorf("%d generations are remembered", len(s.known))
	}
}

// The anomaly: an edge has an older value for a while. Nothing that rests on it is stored.
func TestStaleRead(t *testing.T) {
	kv := &table{values: map[string]entry{}}
	s, edge := New(kv), New(kv)
	one, err := s.CompareAndSwap(t.Context(), "k", 0, []byte("good"), 0)
	if err != nil {
		t.Fatal(err)
	}
	kv.stale = maps.Clone(kv.values)
	two, err := s.CompareAndSwap(t.Context(), "k", one, []byte("scanner"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if v := get(t, edge, "k"); string(v.Data) != "good" || v.Version != one {
		t.Fatalf("%s of version %d", v.Data, v.Version)
	}
	for range 2 { // with a look at it before, and without
		if _, err := edge.CompareAndSwap(t.Context(), "k", one, []byte("better"), 0); !errors.Is(err, state.ErrConflict) {
			t.Errorf("a swap of what was there before: %v", err)
		}
		if err := edge.Delete(t.Context(), "k", one); !errors.Is(err, state.ErrConflict) {
			t.Errorf("a deletion of what was there before: %v", err)
		}
	}
	kv.stale = nil
	if v := get(t, edge, "k"); string(v.Data) != "scanner" || v.Version != two {
		t.Errorf("%s of version %d", v.Data, v.Version)
	}
}

// What expires, or is deleted, keeps its version for an hour, and then is gone.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := &table{values: map[string]entry{}}
		s := New(kv)
		for key, ttl := range map[string]time.Duration{"expires": time.Minute, "deleted": 0} {
			v, err := s.CompareAndSwap(t.Context(), key, 0, []byte("x"), ttl)
			if err != nil {
				t.Fatal(err)
			}
			if ttl == 0 {
				if err := s.Delete(t.Context(), key, v); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(ttl + grace - time.Second)
			if got := get(t, s, key); got.Version != 0 || got.Data != nil || got.Last < v {
				t.Errorf("%s: %+v after version %d", key, got, v)
			}
			time.Sleep(time.Second)
			if got := get(t, s, key); got.Last != 0 {
				t.Errorf("%s, an hour later: %+v", key, got)
			}
		}
	})
}

// What no Store of ours wrote is an error, and never "there is none".
func TestForeignValues(t *testing.T) {
	kv := &table{values: map[string]entry{}}
	s := New(kv)
	if _, err := s.CompareAndSwap(t.Context(), "k", 0, []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	good := kv.values["k"].value
	edited := func(at int, b byte) []byte {
		v := append([]byte{}, good...)
		v[at] = b
		return v
	}
	for _, row := range []struct {
		name  string
		value []byte
		want  error
	}{
		{"good", good, nil},
		{"empty", nil, state.ErrCorrupt},
		{"cut short", good[:atData-1], state.ErrCorrupt},
		{"too long", append(edited(0, form), make([]byte, state.MaxData)...), state.ErrCorrupt},
		{"no form", edited(0, 0), state.ErrCorrupt},
		{"a newer form", edited(0, form+1), state.ErrNewer},
		{"neither there nor deleted", edited(atThere, 2), state.ErrCorrupt},
		{"no version", append(append([]byte{}, good[:atVersion]...), make([]byte, atData-atVersion)...), state.ErrCorrupt},
		{"expiry before all time", edited(atExpires, 0xff), state.ErrCorrupt},
	} {
		kv.values["k"] = entry{value: row.value, generation: 9}
		if err := s.Get(t.Context(), []string{"k"}, make([]state.Value, 1)); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
		if _, err := s.CompareAndSwap(t.Context(), "k", 7, nil, 0); row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s, swapped: %v, want %v", row.name, err, row.want)
		}
	}
}
