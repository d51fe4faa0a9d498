package fastlytest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxKVValue is how large a value of a KV store may be, in bytes.
const maxKVValue = 25 << 20

// Errors of a KVStore.
var (
	ErrNotFound     = errors.New("no such key")
	ErrPrecondition = errors.New("precondition failed")
	ErrTooLarge     = errors.New("value too large")
	ErrAway         = errors.New("the store can't be asked")
)

// KVStore is a KV store. The zero value is empty, and safe for use by several goroutines.
type KVStore struct {
	// Now is the clock by which entries expire; nil: time.Now.
	Now func() time.Time

	// Lag is how long an instance's look-up of a key that was just written finds what was there before, as at the platform's edges. Writes are of
	// what is there.
	Lag time.Duration

	// Away, if set, makes every operation of an instance fail while it is true.
	Away *atomic.Bool

	mu         sync.Mutex
	entries    map[string]KVEntry
	before     map[string]KVEntry // what the last writes replaced; the zero value for nothing
	generation uint64
}

// KVEntry is what is under a key.
type KVEntry struct {
	Value      []byte
	Generation uint64    // another one after every write
	Expires    time.Time // zero: never

	written time.Time
}

// KVMode says what a write does with what is there.
type KVMode uint32

// Modes ($kv_insert_mode).
const (
	Overwrite KVMode = iota
	Add              // fails with ErrPrecondition if the key is taken
)

// KVWrite is a write to a KVStore.
type KVWrite struct {
	Mode  KVMode
	Value []byte
	TTL   time.Duration // 0: it stays
	// IfGeneration makes a write fail with ErrPrecondition unless the entry has that generation: a
	// compare-and-swap. 0: whatever it is.
	IfGeneration uint64
}

func (s *KVStore) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// away is ErrAway while nothing can be asked.
func (s *KVStore) away() error {
	if s.Away != nil && s.Away.Load() {
		return ErrAway
	}
	return nil
}

// get returns a live entry. The lock is held.
func (s *KVStore) get(key string) (KVEntry, bool) {
	e, ok := s.entries[key]
	if ok && !e.Expires.IsZero() && !s.now().Before(e.Expires) {
		delete(s.entries, key)
		return KVEntry{}, false
	}
	return e, ok
}

// Get returns what is under a key, or ErrNotFound. It must not be written to.
func (s *KVStore) Get(key string) (KVEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.get(key); ok {
		return e, nil
	}
	return KVEntry{}, ErrNotFound
}

// seen returns what an edge has under a key.
func (s *KVStore) seen(key string) (KVEntry, error) {
	e, err := s.Get(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.before[key]; s.now().Sub(e.written) < s.Lag {
		if e = old; old.Generation == 0 {
			err = ErrNotFound
		}
	}
	return e, err
}

// Put writes, and returns the entry's generation.
func (s *KVStore) Put(key string, w KVWrite) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, taken := s.get(key)
	if w.Mode == Add && taken || w.IfGeneration != 0 && old.Generation != w.IfGeneration {
		return 0, ErrPrecondition
	}
	e := KVEntry{Value: slices.Clone(w.Value)}
	if len(e.Value) > maxKVValue {
		return 0, ErrTooLarge
	}
	if w.TTL > 0 {
		e.Expires = s.now().Add(w.TTL)
	}
	s.generation++
	e.Generation, e.written = s.generation, s.now()
	if s.entries == nil {
		s.entries, s.before = make(map[string]KVEntry), make(map[string]KVEntry)
	}
	if s.Lag > 0 {
		s.before[key] = old
	}
	s.entries[key] = e
	return e.Generation, nil
}

// Len returns the number of keys.
func (s *KVStore) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// kvError is what an operation came to ($kv_error).
type kvError uint32

const (
	kvOK                 kvError = 1
	kvBadRequest         kvError = 2
	kvNotFound           kvError = 3
	kvPreconditionFailed kvError = 4
	kvPayloadTooLarge    kvError = 5
	kvInternalError      kvError = 6
)

func kvErrorOf(err error) kvError {
	switch {
	case err == nil:
		return kvOK
	case errors.Is(err, ErrNotFound):
		return kvNotFound
	case errors.Is(err, ErrPrecondition):
		return kvPreconditionFailed
	case errors.Is(err, ErrTooLarge):
		return kvPayloadTooLarge
	case errors.Is(err, ErrAway):
		return kvInternalError
	}
	return kvBadRequest
}

// Operations under way, as handles; what they came to is known from the start.
type (
	kvLookup struct {
		entry KVEntry
		err   kvError
	}
	kvInsert kvError
)

var kvCalls = []hostcall{
	{"open", "iii", open(statusInval, func(s *Service, name string) (any, bool) { store, ok := s.KV[name]; return store, ok })},
	{"lookup", "iiiiii", kvLookupStart},
	{"lookup_wait_v2", "iiiiiii", kvLookupWait},
	{"insert", "iiiiiii", kvInsertStart},
	{"insert_wait", "ii", kvInsertWait},
}

// kvKey reads the store and the key that an operation begins with, and counts it.
func kvKey(i *instance, p params) (*KVStore, string, status) {
	store, ok := opened[*KVStore](i, p.uint32(0))
	if !ok {
		return nil, "", statusBadHandle
	}
	key, s := i.memory.text(p.uint32(1), p.uint32(2))
	switch {
	case s != statusOK:
		return nil, "", s
	case key == "" || len(key) > maxKey || strings.ContainsAny(key, "\r\n"):
		return nil, "", statusInval
	case !i.lookup():
		return nil, "", statusLimitExceeded
	}
	return store, key, statusOK
}

// wait takes an operation by its handle: it can be waited for once.
func wait[T any](i *instance, handle uint32) (T, status) {
	op, ok := opened[T](i, handle)
	if !ok {
		return op, statusBadHandle
	}
	i.handles[handle] = nil
	return op, statusOK
}

// kvLookupStart has: store, key, its length, options, their structure (one reserved word), handle.
func kvLookupStart(i *instance, p params) status {
	store, key, s := kvKey(i, p)
	if s != statusOK {
		return s
	}
	if _, s := i.memory.record(p.uint32(4), 4, 4); s != statusOK {
		return s
	}
	entry, err := store.seen(key)
	if away := store.away(); away != nil {
		entry, err = KVEntry{}, away
	}
	return i.memory.putUint32(p.uint32(5), i.handle(kvLookup{entry, kvErrorOf(err)}))
}

// kvLookupWait has: look-up, body, metadata, size of its buffer, its length, generation, error.
func kvLookupWait(i *instance, p params) status {
	op, s := wait[kvLookup](i, p.uint32(0))
	if s != statusOK {
		return s
	}
	if op.err != kvOK {
		return i.memory.putUint32(p.uint32(6), uint32(op.err))
	}
	return first(
		i.memory.put("", p.uint32(2), p.uint32(3), p.uint32(4)),
		i.memory.putUint64(p.uint32(5), op.entry.Generation),
		i.memory.putUint32(p.uint32(1), i.handle(&body{data: op.entry.Value})),
		i.memory.putUint32(p.uint32(6), uint32(kvOK)))
}

// Options of an insertion ($kv_insert_config_options).
const (
	insertTTL             = 1 << 4
	insertIfGeneration    = 1 << 5
	insertConfigSize      = 32
	insertConfigAlignment = 8 // it has 64 bits of generation, at 24
)

// kvInsertStart has: store, key, its length, body, options, their structure, handle.
func kvInsertStart(i *instance, p params) status {
	store, key, s := kvKey(i, p)
	if s != statusOK {
		return s
	}
	value, ok := opened[*body](i, p.uint32(3))
	if !ok || value.closed {
		return statusBadHandle
	}
	config, s := i.memory.record(p.uint32(5), insertConfigSize, insertConfigAlignment)
	if s != statusOK {
		return s
	}
	options, w := p.uint32(4), KVWrite{Mode: KVMode(config.uint32(0)), Value: value.data[value.read:]}
	if w.Mode > Add || options&^(insertTTL|insertIfGeneration) != 0 {
		return statusUnsupported // by this double, not by the platform
	}
	if options&insertTTL != 0 {
		w.TTL = time.Duration(config.uint32(16)) * time.Second
	}
	if options&insertIfGeneration != 0 {
		w.IfGeneration = config.uint64(24)
	}
	value.closed = true // the store has it now
	err := store.away()
	if err == nil {
		_, err = store.Put(key, w)
	}
	return i.memory.putUint32(p.uint32(6), i.handle(kvInsert(kvErrorOf(err))))
}

func kvInsertWait(i *instance, p params) status {
	op, s := wait[kvInsert](i, p.uint32(0))
	if s != statusOK {
		return s
	}
	return i.memory.putUint32(p.uint32(1), uint32(op))
}
