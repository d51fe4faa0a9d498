package sdk

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/functiontest"
	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
)

// program is a language's library: how its own tests and its example are run.
type program struct {
	test, example []string // the port is added to example
	env           []string
}

// TestLibraries runs each library's own tests, and every check of a function on its example. A language whose tools are missing is left
// out, with the reason.
func TestLibraries(t *testing.T) {
	t.Run("go", func(t *testing.T) { keepsContract(t, prepareGo(t)) })
	t.Run("python", func(t *testing.T) { keepsContract(t, preparePython(t)) })
}

// TestLongTypeScript is apart, since the compiler takes seconds.
func TestLongTypeScript(t *testing.T) {
	testlong.Need(t)
	keepsContract(t, prepareTypeScript(t))
}

// keepsContract runs a library's own tests, and every check of a function on its example.
func keepsContract(t *testing.T, p program) {
	t.Helper()
	if p.test != nil {
		run(t, p.env, p.test...)
	}
	url := start(t, p)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: functiontest.DefaultConcurrency}, Timeout: 20 * time.Second}
	for _, r := range functiontest.Run(t.Context(), functiontest.Config{Exchange: functiontest.Posts(client, url, nil), Encodings: []string{"json"}, Samples: 10}) {
		if r.Status == functiontest.Failed || r.Status == functiontest.Warned {
			t.Errorf("%s: %s: %s", r.Check, r.Status, strings.Join(r.Details, "\n"))
		}
	}
}

// TestLibrariesAreSmall: each is to be read in one go.
func TestLibrariesAreSmall(t *testing.T) {
	for language, source := range map[string][]string{
		"Go":         {"go/function/contract.go", "go/function/function.go"},
		"Python":     {"python/src/switchbridge_function/__init__.py", "python/src/switchbridge_function/contract.py"},
		"TypeScript": {"typescript/src/index.ts", "typescript/src/contract.ts", "typescript/src/node.ts"},
	} {
		lines := 0
		for _, name := range source {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(b, []byte("\n"))
		}
		if lines > 500 {
			t.Errorf("%s: %d lines", language, lines)
		}
	}
}

// prepareGo: go test ./... has its tests already.
func prepareGo(t *testing.T) program {
	return program{example: []string{built.Program(t, "switchbridge/sdk/go/example")}}
}

func preparePython(t *testing.T) program {
	need(t, "python3")
	env := []string{"PYTHONPATH=python/src", "PYTHONDONTWRITEBYTECODE=1"}
	return program{test: []string{"python3", "-m", "unittest", "discover", "-q", "-s", "python/tests"}, example: []string{"python3", "python/example.py"}, env: env}
}

// prepareTypeScript compiles to a folder of its own.
func prepareTypeScript(t *testing.T) program {
	need(t, "node")
	tsc := "../build/typescript/node_modules/.bin/tsc"
	if _, err := os.Stat(tsc); err != nil {
		t.Skip("the TypeScript compiler is missing: make setup installs it by npm")
	}
	dir := t.TempDir()
	run(t, nil, tsc, "-p", "typescript", "--outDir", filepath.Join(dir, "dist"), "--typeRoots", "../build/typescript/node_modules/@types")
	for _, name := range []string{"package.json", "serve-example.mjs", "test/function.test.mjs"} {
		b, err := os.ReadFile(filepath.Join("typescript", name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return program{test: []string{"node", "--test", filepath.Join(dir, "test")}, example: []string{"node", filepath.Join(dir, "serve-example.mjs")}}
}

func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skip(tool + " is missing")
	}
}

func run(t *testing.T, env []string, line ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
}

// start runs the example until the test ends, and returns its URL.
func start(t *testing.T, p program) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close()
	port := fmt.Sprint(address.Port)
	if strings.HasSuffix(p.example[0], "example") { // Go's wants an address
		port = address.String()
	}
	cmd := exec.Command(p.example[0], append(p.example[1:len(p.example):len(p.example)], port)...)
	cmd.Env = append(os.Environ(), p.env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", &output)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address.String())
		if err == nil {
			conn.Close()
			return "http://" + address.String()
		}
		if time.Now().After(end) {
			t.Fatal("the example does not listen after 20 s: ", err)
		}
	}
}
