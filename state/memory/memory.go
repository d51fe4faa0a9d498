// Package memory keeps states in this process, for one gateway. They are lost with it, and then every machine is in its start state.
package memory

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
)

// Store is a [state.Store]. Versions are numbers of one counter, so that they grow whatever happens to a key and to the clock.
type Store struct {
	entries int
	bytes   int64

	mu      sync.Mutex
	version uint64
	held    int64 // bytes
	keys    map[string]*entry
	expiry  expiry
}

type entry struct {
	key     string
	version uint64
	data    []byte
	expires time.Time // zero: never. It has a monotonic reading, so that a clock that is set changes nothing
	index   int       // in Store.expiry; -1: not there
}

// Open makes an empty store.
func Open(_ context.Context, o access.Options) (state.Store, error) {
	entries, bytes := o.Limited()
	// Versions also grow over a restart, as long as nobody sets the clock back in between.
	return &Store{entries: entries, bytes: bytes, version: uint64(max(time.Now().UnixMicro(), 0)), keys: map[string]*entry{}}, nil
}

// Get implements [state.Store].
func (s *Store) Get(_ context.Context, keys []string, values []state.Value) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	for i, key := range keys {
		values[i] = state.Value{Last: s.version}
		if e := s.keys[key]; e != nil {
			values[i] = state.Value{Version: e.version, Data: append([]byte{}, e.data...)}
		}
	}
	return nil
}

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(_ context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	e := s.keys[key]
	if e == nil && old != 0 || e != nil && e.version != old {
		return 0, state.ErrConflict
	}
	grows := int64(len(data))
	if e == nil {
		grows += int64(len(key))
	} else {
		grows -= int64(len(e.data))
	}
	if e == nil && len(s.keys) >= s.entries || grows > 0 && s.held+grows > s.bytes {
		return 0, state.ErrFull
	}
	if e == nil {
		e = &entry{key: key, index: -1}
		s.keys[key] = e
	}
	s.held += grows
	s.version++
	e.version, e.data = s.version, append(e.data[:0], data...)
	s.expiry.set(e, ttl)
	return e.version, nil
}

// Delete implements [state.Store].
func (s *Store) Delete(_ context.Context, key string, old uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	e := s.keys[key]
	if e == nil || e.version != old {
		return state.ErrConflict
	}
	s.removeLocked(e)
	return nil
}

// Forget implements [state.Forgetful].
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.keys {
		s.removeLocked(e)
	}
}

// expireLocked removes what has expired. Each entry is removed once, so that it costs those who write it.
func (s *Store) expireLocked() {
	if len(s.expiry) == 0 {
		return
	}
	for now := time.Now(); len(s.expiry) > 0 && !s.expiry[0].expires.After(now); {
		s.removeLocked(s.expiry[0])
	}
}

func (s *Store) removeLocked(e *entry) {
	s.expiry.set(e, 0)
	s.held -= int64(len(e.key) + len(e.data))
	s.version++ // above what Decider says of a state that it has removed
	delete(s.keys, e.key)
}

// Held returns how many states are held, and the bytes of them and their keys.
func (s *Store) Held() (entries int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	return len(s.keys), s.held
}

// Promise implements [state.Store].
func (*Store) Promise() state.Promise { return state.Promise{Local: true, Linearizable: true} }

func (*Store) String() string { return "memory:" }

// Close implements [state.Store].
func (*Store) Close() error { return nil }

// expiry is a heap of the entries that expire, the next one first.
type expiry []*entry

// set has e expire after ttl, or never.
func (x *expiry) set(e *entry, ttl time.Duration) {
	switch {
	case ttl > 0 && e.index < 0:
		e.expires = time.Now().Add(ttl)
		heap.Push(x, e)
	case ttl > 0:
		e.expires = time.Now().Add(ttl)
		heap.Fix(x, e.index)
	case e.index >= 0:
		heap.Remove(x, e.index)
	}
}

func (x expiry) Len() int           { return len(x) }
func (x expiry) Less(i, j int) bool { return x[i].expires.Before(x[j].expires) }
func (x expiry) Swap(i, j int) {
	x[i], x[j] = x[j], x[i]
	x[i].index, x[j].index = i, j
}

// Push implements [heap.Interface].
func (x *expiry) Push(e any) {
	e.(*entry).index = len(*x)
	*x = append(*x, e.(*entry))
}

// Pop implements [heap.Interface].
func (x *expiry) Pop() any {
	last := len(*x) - 1
	e := (*x)[last]
	(*x)[last] = nil
	*x, e.index = (*x)[:last], -1
	return e
}
