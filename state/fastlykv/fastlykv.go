// Package fastlykv keeps states in a KV store of Fastly's: swaps are inserts that want a generation. A lookup may find, for some time after a write, what
// was there before it.
package fastlykv

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"switchbridge/state"
)

// URL stands for this store where a policy is checked for it. No program opens it but the function at Fastly.
const URL = "fastly-kv:"

// KV is a KV store as the platform has it.
type KV interface {
	// Lookup returns a key's value, which is the caller's, and the generation of it: 0 where there is none.
	Lookup(key string) (value []byte, generation uint64, err error)

	// Insert writes a value, to be removed after ttl (0: never), if the key has that generation; with 0, if it has no value. Else it returns
	// [state.ErrConflict].
	Insert(key string, generation uint64, value []byte, ttl time.Duration) error
}

// A value. Numbers are big-endian.
//
//	form (1) | 1: there is a state, 0: it was deleted (1) | version (8) | expiry, ms of Unix time or 0 (8) | state
//
// The version is ours, since an insert does not tell the generation that it made: the writer's clock in microseconds, and above what is there. The platform
// removes a value an hour after it has expired or was deleted, so versions grow while the clocks of functions differ by less than that.
const (
	form = 1

	atThere   = 1
	atVersion = 2
	atExpires = 10
	atData    = 18

	grace = time.Hour
)

// maxKnown bounds the generations that a Store remembers: an event reads and swaps a few keys.
const maxKnown = 64

// Store is a [state.Store].
type Store struct {
	kv KV

	mu    sync.Mutex
	known map[string]record // as they were read last
}

// record is what is under a key.
type record struct {
	generation uint64 // 0: nothing
	there      bool
	version    uint64
	expires    int64 // ms of Unix time; 0: never
}

// New returns a Store over kv.
func New(kv KV) *Store { return &Store{kv: kv, known: map[string]record{}} }

// value is the record as it is at a time.
func (r *record) value(data []byte, now time.Time) state.Value {
	if !r.there || r.expires != 0 && r.expires <= now.UnixMilli() {
		return state.Value{Last: r.version}
	}
	return state.Value{Version: r.version, Data: data}
}

// read looks a key up.
func (s *Store) read(ctx context.Context, key string) (r record, v state.Value, err error) {
	if err := ctx.Err(); err != nil {
		return r, v, err
	}
	b, generation, err := s.kv.Lookup(key)
	switch {
	case err != nil:
		return r, v, fmt.Errorf("key %s: %w", key, err)
	case generation == 0:
		return r, v, nil
	case len(b) > 0 && b[0] > form:
		return r, v, fmt.Errorf("key %s: %w", key, state.ErrNewer)
	case len(b) < atData || b[0] != form || b[atThere] > 1 || len(b) > atData+state.MaxData:
		return r, v, fmt.Errorf("key %s: %w", key, state.ErrCorrupt)
	}
	r = record{generation, b[atThere] == 1, binary.BigEndian.Uint64(b[atVersion:]), int64(binary.BigEndian.Uint64(b[atExpires:]))}
	if r.version == 0 || r.expires < 0 {
		return r, v, fmt.Errorf("key %s: %w", key, state.ErrCorrupt)
	}
	return r, r.value(b[atData:], time.Now()), nil
}

// Get implements [state.Store]. The platform is asked for one key after the other.
func (s *Store) Get(ctx context.Context, keys []string, values []state.Value) error {
	for i, key := range keys {
		r, v, err := s.read(ctx, key)
		if err != nil {
			return err
		}
		s.remember(key, r)
		values[i] = v
	}
	return nil
}

// remember notes what a swap of the key will want.
func (s *Store) remember(key string, r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[key] = r
}

// take returns what was read of a key last, once.
func (s *Store) take(key string) (r record, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok = s.known[key]
	delete(s.known, key)
	return r, ok
}

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	return s.put(ctx, key, old, true, data, ttl)
}

// Delete implements [state.Store]. It leaves the version: the platform's own deletion asks for no generation.
func (s *Store) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	_, err := s.put(ctx, key, old, false, nil, 0)
	return err
}

// put writes a record in the place of one of version old.
func (s *Store) put(ctx context.Context, key string, old uint64, there bool, data []byte, ttl time.Duration) (uint64, error) {
	r, ok := s.take(key)
	if now := r.value(nil, time.Now()); !ok || now.Version != old {
		var err error
		if r, now, err = s.read(ctx, key); err != nil {
			return 0, err
		}
		if now.Version != old {
			return 0, state.ErrConflict
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	now := time.Now()
	version := max(r.version+1, uint64(max(now.UnixMicro(), 0)))
	b := make([]byte, atData, atData+len(data))
	b[0] = form
	binary.BigEndian.PutUint64(b[atVersion:], version)
	switch {
	case !there:
		ttl = grace
	case ttl > 0:
		binary.BigEndian.PutUint64(b[atExpires:], uint64(now.Add(ttl).UnixMilli()))
		ttl += grace
	}
	if there {
		b[atThere] = 1
	}
	if err := s.kv.Insert(key, r.generation, append(b, data...), ttl); err != nil {
		return 0, fmt.Errorf("key %s: %w", key, err)
	}
	return version, nil
}

// Promise implements [state.Store].
func (*Store) Promise() state.Promise { return state.Promise{Shared: true, Durable: true} }

func (*Store) String() string { return URL }

// Close implements [state.Store].
func (*Store) Close() error { return nil }
