// Package workerstest runs the function for Workers on workerd, the runtime that Cloudflare Workers
// is made of, for tests.
package workerstest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchbridge/faas/platform/workershost"
	"switchbridge/internal/built"
	"switchbridge/internal/child"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/testlong"
)

// Token opens a Worker that Start started; NextToken does too, as during a rotation.
const (
	Token     = "0123456789abcdef"
	NextToken = "fedcba9876543210"
)

// startTimeout is for a busy machine; workerd listens within a second.
const startTimeout = 60 * time.Second

// Options change what Start starts.
type Options struct {
	Policy []byte // the value of workershost.PolicyKey; nil: the key isn't there

	Wasm    []byte   // instead of the function
	Prelude string   // JavaScript that runs before the entry's own
	Env     []string // variables and secrets, instead of the tokens
	States  string   // the directory of Durable Objects that keep states; empty: none are bound
}

// Worker is a Worker that listens on loopback.
type Worker struct {
	URL    string
	policy string // the file that stands for workershost.PolicyKey
	logs   logbuffer.Buffer
	kill   func()
}

// Kill ends workerd at once.
func (w *Worker) Kill() { w.kill() }

// Start builds the function, hands it to a workerd of its own with the configuration that we
// ship, and ends that when the test ends. It skips the test where there is no workerd; in CI
// that is a failure.
func Start(t testing.TB, o Options) *Worker {
	t.Helper()
	workerd := Need(t)
	root := built.Root(t)
	wasm := o.Wasm
	if wasm == nil {
		wasm = built.Worker(t, "switchbridge/cmd/function-workers")
	}
	// The configuration names the function's files as they lie in the checkout, where another test may
	// be building them: so each Worker gets the same folders of its own.
	dir := t.TempDir()
	dist := filepath.Join("cmd", "function-workers", "dist")
	config := filepath.Join("configs", "workers", "workerd.capnp")
	capnp, states := read(t, filepath.Join(root, config)), o.States
	if states == "" {
		states = t.TempDir()
		capnp = bytes.Replace(capnp, []byte(`(name = "`+workershost.StatesBinding+`", durableObjectNamespace = "State"),`), nil, 1)
	}
	for name, content := range map[string][]byte{
		filepath.Join(dist, "function.wasm"): wasm,
		filepath.Join(dist, "wasm_exec.js"):  read(t, filepath.Join(goroot(t), "lib", "wasm", "wasm_exec.js")),
		filepath.Join(dist, "worker.mjs"):    append([]byte(o.Prelude), read(t, filepath.Join(root, "cmd", "function-workers", "worker.mjs"))...),
		config:                               capnp,
		filepath.Join("policy", "empty"):     nil,
	} {
		write(t, filepath.Join(dir, name), content)
	}
	w := &Worker{policy: filepath.Join(dir, "policy", workershost.PolicyKey)}
	w.SetPolicy(t, o.Policy)

	control, controlEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	cmd := exec.Command(workerd, "serve", filepath.Join(dir, config), "--directory-path", "policy="+filepath.Join(dir, "policy"),
		"--directory-path", "states="+states, "--socket-addr", "http=127.0.0.1:0", "--control-fd", "3")
	cmd.ExtraFiles = []*os.File{controlEnd} // descriptor 3
	cmd.Env = o.Env
	if cmd.Env == nil {
		cmd.Env = []string{workershost.TokensBinding + "=" + Token + " " + NextToken}
	}
	cmd.Stdout, cmd.Stderr = &w.logs, &w.logs
	// A workerd on PATH may be npm's, which is a script that starts the program: both end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	err = child.Start(cmd)
	controlEnd.Close()
	if err != nil {
		t.Fatal(err)
	}
	w.kill = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	t.Cleanup(w.kill)

	_ = control.SetReadDeadline(time.Now().Add(startTimeout))
	line, err := bufio.NewReader(control).ReadBytes('\n')
	var listening struct {
		Event string
		Port  int
	}
	if err == nil {
		err = json.Unmarshal(line, &listening)
	}
	if err != nil || listening.Event != "listen" || listening.Port == 0 {
		t.Fatalf("workerd does not listen: %v %s\n%s", err, line, w.Logs())
	}
	w.URL = fmt.Sprintf("http://127.0.0.1:%d/", listening.Port)
	return w
}

// SetPolicy sets the value of workershost.PolicyKey, or removes it for nil.
func (w *Worker) SetPolicy(t testing.TB, compiled []byte) {
	t.Helper()
	if compiled == nil {
		if err := os.Remove(w.policy); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return
	}
	// KV gives the old value or the new one, never a part of one.
	write(t, w.policy+".new", compiled)
	if err := os.Rename(w.policy+".new", w.policy); err != nil {
		t.Fatal(err)
	}
}

// BreakPolicy makes reading the namespace an error, until SetPolicy.
func (w *Worker) BreakPolicy(t testing.TB) {
	t.Helper()
	w.SetPolicy(t, nil)
	// workerd's disk service gives out files only.
	if err := syscall.Mkfifo(w.policy, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Exchange sends one request of the contract, with Token where header has no other.
func (w *Worker) Exchange(ctx context.Context, header http.Header, body []byte) (status int, answer http.Header, answerBody []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header = header.Clone()
	if _, given := header["Authorization"]; !given {
		r.Header.Set("Authorization", "Bearer "+Token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answerBody, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answerBody, err
}

// Logs returns what the Worker and workerd have written so far.
func (w *Worker) Logs() string { return w.logs.String() }

// Need returns the workerd that WORKERD names, or make setup installed, or PATH has. It skips the test where there is none; in CI
// it fails it.
func Need(t testing.TB) string {
	t.Helper()
	if named := os.Getenv("WORKERD"); named != "" {
		return named
	}
	// The program itself, and not npm's script that starts it.
	installed, _ := filepath.Glob(filepath.Join(built.Root(t), "build", "workerd", "node_modules", "@cloudflare", "workerd-*", "bin", "workerd"))
	if len(installed) > 0 {
		return installed[0]
	}
	if path, err := exec.LookPath("workerd"); err == nil {
		return path
	}
	const missing = "no workerd: WORKERD names none, make setup has installed none, and none is on PATH"
	if os.Getenv("CI") != "" || testlong.Installed() {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// goroot is that of the go command that builds, which wasm_exec.js has to go with.
var goroot = func() func(testing.TB) string {
	find := sync.OnceValues(func() ([]byte, error) { return exec.Command("go", "env", "GOROOT").Output() })
	return func(t testing.TB) string {
		t.Helper()
		out, err := find()
		if err != nil {
			t.Fatalf("go env GOROOT: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
}()

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
