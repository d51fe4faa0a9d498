// Package built builds the project's programs for tests, without the race detector, once for all tests of a checkout.
package built

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tags are those that the Makefile builds the two programs with.
const Tags = "grpcnotrace"

// Switchbridge returns the gateway's program, which lies in a folder of its own.
func Switchbridge(t testing.TB) string {
	t.Helper()
	return Program(t, "switchbridge/cmd/switchbridge", "-tags="+Tags)
}

// Bench returns the program that measures, which lies in a folder of its own.
func Bench(t testing.TB) string {
	t.Helper()
	return Program(t, "switchbridge/cmd/switchbridge-bench", "-tags="+Tags)
}

// Program builds a package, such as switchbridge/cmd/function-lambda, and returns the program's path, in a folder of its own. flags are those
// of go build. It needs no libraries of the machine, as what a container image has.
func Program(t testing.TB, pkg string, flags ...string) string {
	t.Helper()
	return program(t, nil, pkg, flags...)
}

// Guest compiles a package for wasip1: as a reactor, which wasmhost runs, or else as a command. Nobody writes to the binary.
func Guest(t testing.TB, pkg string, reactor bool, tags ...string) []byte {
	t.Helper()
	// The Makefile's flags: what a guest imports is compiled once for both.
	flags := []string{"-trimpath", "-ldflags=-s -w", "-tags=" + strings.Join(tags, ",")}
	if reactor {
		flags = append(flags, "-buildmode=c-shared")
	}
	return read(t, program(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, pkg, flags...))
}

// Worker compiles a package for workerd. Nobody writes to the binary.
func Worker(t testing.TB, pkg string) []byte {
	t.Helper()
	return read(t, program(t, []string{"GOOS=js", "GOARCH=wasm"}, pkg, "-trimpath", "-ldflags=-s -w"))
}

var (
	mu       sync.Mutex
	programs = make(map[string]string)
	contents = make(map[string][]byte)
)

func read(t testing.TB, program string) []byte {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if b, ok := contents[program]; ok {
		return b
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	contents[program] = b
	return b
}

// Root is the checkout's folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return dir
}

var root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	return filepath.Dir(string(out)), err
})

// program builds a package for one target. All tests of a checkout share the file: go build links it again only if it would be another one.
func program(t testing.TB, env []string, pkg string, flags ...string) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	key := strings.Join(slices.Concat(env, flags, []string{pkg}), " ")
	if file, ok := programs[key]; ok {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(Root(t)+" "+key)))
	dir := filepath.Join(CacheDir(t), "programs-"+name[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := exclude(lock); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, path.Base(pkg))
	// The state of the checkout is left out: a program is not another one because of a commit.
	build := exec.Command("go", slices.Concat([]string{"build", "-buildvcs=false"}, flags, []string{"-o", file, pkg})...)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	now := time.Now() // or it would be removed a week after it was built
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
	programs[key] = file
	return file
}

// CacheDir is where tests keep programs and compiled guests from one run to the next. What was not used for a week is removed.
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
