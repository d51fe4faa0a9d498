package wasmhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"switchbridge/faas/guest"
)

// adversary builds testdata/adversary, once.
var adversary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "wasmhost")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "adversary.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./testdata/adversary")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest: %w\n%s", err, out)
	}
	return os.ReadFile(file)
})

// cacheDir lets the tests of one run compile each guest once.
var cacheDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "wasmhost-cache")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(cacheDir())
	os.Exit(code)
}

// run starts a host and waits until it is ready.
func run(t testing.TB, config Config) *Host {
	t.Helper()
	if config.Name == "" {
		config.Name = "test"
	}
	if config.CacheDir == "" {
		config.CacheDir = cacheDir()
	}
	if config.Wasm == nil {
		wasm, err := adversary()
		if err != nil {
			t.Fatal(err)
		}
		config.Wasm = wasm
	}
	h := New(config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := h.wait(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends one event whose body is what, and returns the answer.
func ask(h *Host, id, what string) (answer guest.Answer, err error) {
	request := guest.Request{Event: guest.EventPacketIn, Encoding: guest.EncodingJSON, ID: id, Body: []byte(what)}
	err = h.Call(context.Background(), request.AppendBinary(nil), func(b []byte) error {
		if err := answer.Parse(b); err != nil {
			return err
		}
		answer.Body = append([]byte(nil), answer.Body...)
		return nil
	})
	return answer, err
}

func TestEcho(t *testing.T) {
	h := run(t, Config{})
	for range 3 {
		a, err := ask(h, "1", "echo")
		if err != nil || string(a.Body) != "echo" || a.Status != 200 {
			t.Fatal(a, err)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	request := guest.Request{Event: guest.EventPacketIn, Encoding: guest.EncodingOpenFlow, ID: "1", Body: make([]byte, 200)}
	copy(request.Body, "echo")
	request.Body = []byte("echo")
	bytes := request.AppendBinary(nil)
	for _, row := range []struct {
		name   string
		config Config
	}{
		{"dirty", Config{}},
		{"whole", Config{WholeCopy: true}},
	} {
		h := run(b, row.config)
		b.Run(row.name, func(b *testing.B) {
			var a guest.Answer
			for b.Loop() {
				if err := h.Call(context.Background(), bytes, a.Parse); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Logf("%+v", h.Stats())
	}
}
