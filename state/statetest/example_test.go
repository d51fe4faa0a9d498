package statetest_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/statetest"
)

// table is the least that is a store: docs/adding-a-store.md leads a reader through it.
type table struct {
	entries int

	mu   sync.Mutex
	last uint64 // of all versions, of whatever key
	rows map[string]row
}

type row struct {
	version uint64
	data    []byte
	expires time.Time // zero: never
}

// live returns the key's row if it has not expired. The caller holds mu.
func (t *table) live(key string) (row, bool) {
	r, ok := t.rows[key]
	if ok && !r.expires.IsZero() && !time.Now().Before(r.expires) {
		delete(t.rows, key)
		return row{}, false
	}
	return r, ok
}

func (t *table) Get(ctx context.Context, keys []string, values []state.Value) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, key := range keys {
		values[i] = state.Value{Last: t.last}
		if r, ok := t.live(key); ok {
			values[i] = state.Value{Version: r.version, Data: bytes.Clone(r.data)}
		}
	}
	return ctx.Err()
}

func (t *table) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.live(key)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case r.version != old:
		return 0, state.ErrConflict
	case !ok && t.full():
		return 0, state.ErrFull
	}
	t.last++
	r = row{version: t.last, data: append([]byte{}, data...)}
	if ttl > 0 {
		r.expires = time.Now().Add(ttl)
	}
	t.rows[key] = r
	return r.version, nil
}

// full evicts nothing: a state that is forgotten could open what it had closed.
func (t *table) full() bool {
	for key := range t.rows {
		t.live(key)
	}
	return len(t.rows) >= t.entries
}

func (t *table) Delete(ctx context.Context, key string, old uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r, _ := t.live(key); {
	case ctx.Err() != nil:
		return ctx.Err()
	case old == 0 || r.version != old:
		return state.ErrConflict
	}
	t.last++ // "there is none" is newer than what there was
	delete(t.rows, key)
	return nil
}

func (t *table) Promise() state.Promise { return state.Promise{Local: true, Linearizable: true} }
func (t *table) String() string         { return "table:" }
func (t *table) Close() error           { return nil }

func TestLeastStore(t *testing.T) {
	shared := func(entries int) func(context.Context) (state.Store, error) {
		s := &table{entries: entries, rows: map[string]row{}}
		return func(context.Context) (state.Store, error) { return s, nil }
	}
	statetest.Run(t, &statetest.Store{Open: shared(1 << 20), Full: shared(3), Expire: func(ttl time.Duration) { time.Sleep(ttl + 10*time.Millisecond) }})
}
