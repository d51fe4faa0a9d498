package fastlytest

import (
	"context"
	"sync"
	"testing"

	"switchbridge/internal/built"
)

var (
	mu    sync.Mutex
	hosts = make(map[string]*Host)
)

// Build builds a Go program as it is deployed and returns its host, which the tests of a process
// share: nobody closes it.
func Build(t testing.TB, pkg string) *Host {
	t.Helper()
	wasm, cache := built.Guest(t, pkg, false), built.CacheDir(t)
	mu.Lock()
	defer mu.Unlock()
	if h := hosts[pkg]; h != nil {
		return h
	}
	h, err := New(context.Background(), wasm, cache)
	if err != nil {
		t.Fatal(err)
	}
	hosts[pkg] = h
	return h
}
