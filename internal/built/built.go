// Package built builds the project's programs for tests, without the race detector: a guest compiles twenty times faster in them.
package built

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchbridge/faas/instance/wasmhost/wasmtest"
)

var (
	mu       sync.Mutex
	programs = make(map[string]string) // of this process
)

// Program builds a package, such as switchbridge/cmd/switchbridge, and returns the program's path, in a folder of its own. flags are those of
// go build. All tests of a checkout share the program: go build links it again only if it would be another one.
func Program(t testing.TB, pkg string, flags ...string) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	key := strings.Join(append(flags, pkg), " ")
	if program, ok := programs[key]; ok {
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(string(root)+key)))
	dir := filepath.Join(wasmtest.CacheDir(t), "programs-"+name[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, path.Base(pkg))
	build := exec.Command("go", append(append([]string{"build"}, flags...), "-o", program, pkg)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	now := time.Now() // or it would be removed a week after it was built
	if err := os.Chtimes(program, now, now); err != nil {
		t.Fatal(err)
	}
	programs[key] = program
	return program
}
