// Package statetest is the suite that every store passes, on the real thing.
package statetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
)

// Store is a store under test.
type Store struct {
	// Open opens it once more. What is stored by one is seen by all of a test.
	Open func(ctx context.Context) (state.Store, error)

	// Prefix begins the keys of this run, where a store outlives it.
	Prefix string

	// Expire lets ttl pass, and what the store may take longer: synctest's sleep, or a real one. It gets at least a second.
	Expire func(ttl time.Duration)

	// Full, if set, opens a store of three keys.
	Full func(ctx context.Context) (state.Store, error)

	Largest int // bytes of the largest value; 0: [state.MaxData]

	Operations int // of each client in a history; 0: 150
}

// Shared opens a store once and returns what opens it again and again, for stores of which a process has one. Nobody closes it.
func Shared(t *testing.T, open func(context.Context, access.Options) (state.Store, error), o access.Options) func(context.Context) (state.Store, error) {
	t.Helper()
	s, err := open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (state.Store, error) { return unclosed{s}, nil }
}

type unclosed struct{ state.Store }

func (unclosed) Close() error { return nil }

// Case is one promise of [state.Store].
type Case struct {
	Name  string
	Check func(ctx context.Context, s *Store) error
}

// Cases are all of them.
var Cases = []Case{
	{"swap", swap},
	{"values", values},
	{"versions", versions},
	{"expiry", expiry},
	{"full", full},
	{"cancelled", cancelled},
	{"forget", forget},
	{"linearizable", linearizable},
}

// Run runs the suite.
func Run(t *testing.T, s *Store) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.Check(ctx, s); err != nil {
				t.Error(err)
			}
		})
	}
}

// store is what a case works with: a store whose errors say what was done.
type store struct {
	state.Store
	ctx    context.Context
	prefix string
}

func (s *Store) open(ctx context.Context) (*store, error) {
	st, err := s.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return &store{st, ctx, s.Prefix}, nil
}

func (s *store) get(key string) (state.Value, error) {
	values := []state.Value{{Version: 99, Data: []byte("of another question")}}
	if err := s.Get(s.ctx, []string{s.prefix + key}, values); err != nil {
		return values[0], fmt.Errorf("get %s: %w", key, err)
	}
	return values[0], nil
}

// want checks what is stored for a key.
func (s *store) want(key string, version uint64, data string) error {
	v, err := s.get(key)
	if err == nil && (v.Version != version || string(v.Data) != data || version == 0 && v.Data != nil) {
		err = fmt.Errorf("key %s: version %d with %q, want %d with %q", key, v.Version, v.Data, version, data)
	}
	return err
}

// put swaps and checks the new version and what is stored then.
func (s *store) put(key string, old uint64, data string, ttl time.Duration) (uint64, error) {
	v, err := s.CompareAndSwap(s.ctx, s.prefix+key, old, []byte(data), ttl)
	switch {
	case err != nil:
		return v, fmt.Errorf("swap of %s, version %d: %w", key, old, err)
	case v <= old:
		return v, fmt.Errorf("swap of %s: version %d after %d", key, v, old)
	}
	return v, s.want(key, v, data)
}

// conflicts wants a swap and a deletion of a version that is not there to be refused, and to change nothing.
func (s *store) conflicts(key string, old uint64) error {
	before, err := s.get(key)
	if err != nil {
		return err
	}
	if v, err := s.CompareAndSwap(s.ctx, s.prefix+key, old, []byte("lost"), 0); !errors.Is(err, state.ErrConflict) {
		return fmt.Errorf("swap of %s, version %d where %d is stored: version %d, %v", key, old, before.Version, v, err)
	}
	if err := s.Delete(s.ctx, s.prefix+key, old); !errors.Is(err, state.ErrConflict) {
		return fmt.Errorf("deletion of %s, version %d where %d is stored: %v", key, old, before.Version, err)
	}
	return s.want(key, before.Version, string(before.Data))
}

// forget has a store forget all, if it is one that can.
func forget(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	inner := s.Store
	if u, ok := inner.(unclosed); ok {
		inner = u.Store
	}
	f, ok := inner.(state.Forgetful)
	if !ok {
		return nil
	}
	before := uint64(0)
	for _, key := range []string{"forgotten", "forgotten too"} {
		if before, err = s.put(strings.ReplaceAll(key, " ", "-"), 0, "x", time.Hour); err != nil {
			return err
		}
	}
	f.Forget()
	v, err := s.get("forgotten-too")
	for err != nil && ctx.Err() == nil { // nothing is read before it is done
		time.Sleep(time.Millisecond)
		v, err = s.get("forgotten-too")
	}
	switch {
	case err != nil:
		return err
	case v.Version != 0 || v.Data != nil || v.Last <= before:
		return fmt.Errorf("a state of version %d that was to be forgotten is %+v", before, v)
	}
	if err := s.conflicts("forgotten-too", before); err != nil {
		return err
	}
	_, err = s.put("forgotten-too", 0, "y", time.Hour)
	return err
}

func swap(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	other, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := s.want("swap", 0, ""); err != nil {
		return err
	}
	if err := s.conflicts("swap", 7); err != nil {
		return err
	}
	one, err := s.put("swap", 0, "one", 0)
	if err != nil {
		return err
	}
	if err := s.conflicts("swap", 0); err != nil {
		return err
	}
	two, err := other.put("swap", one, "two", time.Hour)
	if err != nil {
		return err
	}
	if err := s.want("swap", two, "two"); err != nil {
		return err
	}
	if err := s.conflicts("swap", one); err != nil {
		return err
	}
	if err := s.conflicts("swap", two+1); err != nil {
		return err
	}
	if err := s.Delete(ctx, s.prefix+"swap", two); err != nil {
		return err
	}
	if err := other.want("swap", 0, ""); err != nil {
		return err
	}
	return s.conflicts("swap", two)
}

// values are of every length, with every byte, and of many keys in one question.
func values(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	stored := map[string]string{
		"values:empty":           "",
		"values:all":             string(all),
		"values:large":           strings.Repeat("x", cmp.Or(t.Largest, state.MaxData)),
		"values:a.b/c=d_e-f..g:": "every byte of a key",
		"values:a.b/c=d_e-f.g":   "another key",
		"values:" + strings.Repeat("k", state.MaxKey-len("values:")-len(s.prefix)): "the longest key",
	}
	keys := []string{s.prefix + "values:none"}
	want := []state.Value{{}}
	for key, data := range stored {
		v, err := s.put(key, 0, data, time.Hour)
		if err != nil {
			return err
		}
		keys, want = append(keys, s.prefix+key), append(want, state.Value{Version: v, Data: []byte(data)})
	}
	keys, want = append(keys, s.prefix+"values:neither", keys[1]), append(want, state.Value{}, want[1])
	got := make([]state.Value, len(keys))
	if err := s.Get(ctx, keys, got); err != nil {
		return err
	}
	for i := range got {
		if got[i].Version != want[i].Version || !bytes.Equal(got[i].Data, want[i].Data) {
			return fmt.Errorf("key %s among others: version %d with %d bytes, want %d with %d", keys[i], got[i].Version, len(got[i].Data), want[i].Version, len(want[i].Data))
		}
	}
	// What was handed out is the caller's, and what was handed in too.
	for i := range got {
		clear(got[i].Data)
	}
	data := []byte("mine")
	v, err := s.CompareAndSwap(ctx, s.prefix+"values:mine", 0, data, 0)
	if err != nil {
		return err
	}
	clear(data)
	if err := s.want("values:mine", v, "mine"); err != nil {
		return err
	}
	return s.want("values:all", want[indexOf(keys, s.prefix+"values:all")].Version, string(all))
}

func indexOf(keys []string, key string) int {
	for i := range keys {
		if keys[i] == key {
			return i
		}
	}
	return -1
}

// versions grow also after a key was deleted.
func versions(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	var last uint64
	for range 20 {
		v, err := s.put("versions", 0, "first", 0)
		if err != nil {
			return err
		}
		if v <= last {
			return fmt.Errorf("version %d after %d, which was deleted", v, last)
		}
		if last, err = s.put("versions", v, "second", 0); err != nil {
			return err
		}
		if err := s.Delete(ctx, s.prefix+"versions", last); err != nil {
			return err
		}
		last++ // what a decision says that it left
		gone, err := s.get("versions")
		switch {
		case err != nil:
			return err
		case gone.Last < last:
			return fmt.Errorf("deleted, and the last version is said to be %d, not %d or more", gone.Last, last)
		}
		last = gone.Last
	}
	return nil
}

// expiry: a value is there until its time is over, and not afterwards, and versions go on growing.
func expiry(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	const ttl = time.Second
	old, err := s.put("expiry:soon", 0, "soon", ttl)
	if err != nil {
		return err
	}
	ever, err := s.put("expiry:ever", 0, "ever", ttl)
	if err != nil {
		return err
	}
	if ever, err = s.put("expiry:ever", ever, "ever", 0); err != nil { // the last swap counts
		return err
	}
	again, err := s.put("expiry:again", 0, "again", time.Hour)
	if err != nil {
		return err
	}
	if again, err = s.put("expiry:again", again, "again", ttl); err != nil {
		return err
	}
	t.Expire(ttl)
	if err := s.want("expiry:ever", ever, "ever"); err != nil {
		return err
	}
	if err := s.want("expiry:again", 0, ""); err != nil {
		return err
	}
	if err := s.conflicts("expiry:again", again); err != nil {
		return err
	}
	// Once without a look at it before.
	v, err := s.put("expiry:soon", 0, "new", ttl)
	if err == nil && v <= old {
		err = fmt.Errorf("version %d after %d, which has expired", v, old)
	}
	if err != nil {
		return err
	}
	gone, err := s.get("expiry:again")
	if err == nil && gone.Last < again {
		err = fmt.Errorf("expired, and the last version is said to be %d, not %d or more", gone.Last, again)
	}
	if err != nil {
		return err
	}
	if v, err = s.put("expiry:again", 0, "new", ttl); err == nil && v <= gone.Last {
		err = fmt.Errorf("version %d, where %d was said to be below the next", v, gone.Last)
	}
	return err
}

// full: a store that is full takes no new key, and forgets none.
func full(ctx context.Context, t *Store) error {
	if t.Full == nil {
		return nil
	}
	st, err := t.Full(ctx)
	if err != nil {
		return err
	}
	s := &store{st, ctx, t.Prefix}
	defer s.Close()
	var v [3]uint64
	for i, key := range []string{"full:a", "full:b", "full:c"} {
		ttl := time.Duration(0)
		if i == 2 {
			ttl = time.Second
		}
		if v[i], err = s.put(key, 0, key, ttl); err != nil {
			return err
		}
	}
	refused := func(key string) error {
		if _, err := s.CompareAndSwap(ctx, s.prefix+key, 0, []byte("x"), 0); !errors.Is(err, state.ErrFull) {
			return fmt.Errorf("a new key in a full store: %v", err)
		}
		return s.want(key, 0, "")
	}
	if err := refused("full:d"); err != nil {
		return err
	}
	if v[0], err = s.put("full:a", v[0], "those that are there change", 0); err != nil {
		return err
	}
	t.Expire(time.Second)
	if _, err = s.put("full:d", 0, "in the place of one that has expired", 0); err != nil {
		return err
	}
	if err := refused("full:e"); err != nil {
		return err
	}
	if err := s.Delete(ctx, s.prefix+"full:b", v[1]); err != nil {
		return err
	}
	t.Expire(time.Second) // a mark of the deletion
	if _, err = s.put("full:e", 0, "in the place of one that was deleted", 0); err != nil {
		return err
	}
	return s.want("full:a", v[0], "those that are there change")
}

// cancelled: a store returns soon after its context is done.
func cancelled(ctx context.Context, t *Store) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Promise().Local {
		return nil // it has nothing to wait for
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	began := time.Now()
	if err := s.Get(done, []string{s.prefix + "cancelled"}, make([]state.Value, 1)); err == nil {
		return errors.New("get: no error of a context that is done")
	}
	if _, err := s.CompareAndSwap(done, s.prefix+"cancelled", 0, nil, 0); err == nil {
		return errors.New("swap: no error of a context that is done")
	}
	if took := time.Since(began); took > time.Second {
		return fmt.Errorf("a context that is done was noticed after %v", took)
	}
	return nil
}

// WantFull wants an error that says that a store is full.
func WantFull(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, state.ErrFull) {
		t.Errorf("%v, want %v", err, state.ErrFull)
	}
}
