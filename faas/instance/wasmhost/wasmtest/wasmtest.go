// Package wasmtest builds WebAssembly guests for tests.
package wasmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	mu    sync.Mutex
	built = make(map[string][]byte)
)

// Build compiles a Go package for wasip1, once in a test's process: as a reactor, which
// wasmhost runs, or else as a command. The binary is shared: nobody writes to it.
func Build(t testing.TB, pkg string, reactor bool, tags ...string) []byte {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	args := []string{"build", "-ldflags=-s -w", "-tags=" + strings.Join(tags, ",")}
	if reactor {
		args = append(args, "-buildmode=c-shared")
	}
	key := strings.Join(append(args, pkg), " ")
	if wasm, ok := built[key]; ok {
		return wasm
	}
	file := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", append(args, "-o", file, pkg)...)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build guest %s: %v\n%s", pkg, err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	built[key] = wasm
	return wasm
}

// CacheDir is where tests keep compiled guests from one run to the next: under the race detector
// a guest takes 20 s to compile. What was not used for a week is removed.
func CacheDir(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	dir := filepath.Join(base, "switchbridge-test")
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > 7*24*time.Hour {
			_ = os.Remove(path)
		}
		return nil
	})
	return dir
}
