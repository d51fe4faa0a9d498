package fastlytest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"switchbridge/faas/instance/wasmhost/wasmtest"
)

var (
	mu    sync.Mutex
	built = make(map[string]*Host)
)

// Build builds a Go program as it is deployed and returns its host, which the tests of a process
// share: nobody closes it.
func Build(t testing.TB, pkg string) *Host {
	t.Helper()
	wasm, cache := wasmtest.Build(t, pkg, false), wasmtest.CacheDir(t)
	mu.Lock()
	defer mu.Unlock()
	if h := built[pkg]; h != nil {
		return h
	}
	if raceDetector {
		compile(t, wasm, cache)
	}
	h, err := New(context.Background(), wasm, cache)
	if err != nil {
		t.Fatal(err)
	}
	built[pkg] = h
	return h
}

// compile has a process without the race detector fill the cache. Should it be of no use, New just
// takes its time. Wazero keeps its versions apart in the cache; in tests it doesn't know its own.
func compile(t testing.TB, wasm []byte, cache string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "run", "-ldflags=-X github.com/tetratelabs/wazero/internal/version.version=dev",
		"switchbridge/faas/platform/fastlyhost/fastlytest/internal/compile", file, cache).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
}
