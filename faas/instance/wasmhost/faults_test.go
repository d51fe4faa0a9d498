package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/internal/built"
)

// fails runs a host that must not start, and returns why.
func fails(t *testing.T, config Config) error {
	t.Helper()
	config.Name, config.CacheDir = "test", built.CacheDir(t)
	h := New(config)
	err := h.Run(context.Background())
	if err == nil {
		t.Fatal("the host ended without an error")
	}
	if _, callErr := ask(h, "1", "echo"); !errors.Is(callErr, err) {
		t.Errorf("an event that waited got %v, want %v", callErr, err)
	}
	return err
}

func TestUnusableGuests(t *testing.T) {
	good := rawGuest{version: guest.ABIVersion}
	without := func(export, as string) []byte {
		g := good
		g.rename = map[string]string{export: as}
		return g.bytes()
	}
	with := func(change func(*rawGuest)) []byte {
		g := good
		change(&g)
		return g.bytes()
	}
	for _, row := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"nothing", nil, "not a WebAssembly module"},
		{"a script", []byte("#!/bin/sh\necho 200\n"), "not a WebAssembly module"},
		{"another version of wasm", []byte("\x00asm\x0d\x00\x01\x00"), "not a WebAssembly module"},
		{"only a header", []byte(wasmHeader), "no exported function switchbridge_abi_version"},
		{"cut short", good.bytes()[:60], "ends in the middle"},
		{"a body cut short", with(func(g *rawGuest) { g.decide = code(0x41) }), "unusable guest"},
		{"an instruction cut short", with(func(g *rawGuest) { g.decide = code(0x43, 0, 0) }), "section 10 at its offset"},
		{"no memory", without(exportMemory, ""), `no exported memory "memory"`},
		{"no version", without(exportABIVersion, ""), "no exported function switchbridge_abi_version"},
		{"no buffer", without(exportBuffer, "malloc"), "no exported function switchbridge_buffer"},
		{"no configure", without(exportConfigure, ""), "no exported function switchbridge_configure"},
		{"no decide", without(exportDecide, ""), "no exported function switchbridge_decide"},
		{"another signature", with(func(g *rawGuest) {
			g.rename = map[string]string{exportABIVersion: exportBuffer, exportBuffer: exportABIVersion}
		}), "another signature"},
		{"another ABI version", with(func(g *rawGuest) { g.version = 9 }), "built for guest ABI version 9, this host has version 1"},
		{"not valid", with(func(g *rawGuest) { g.decide = code(i32Const(1)) }), "unusable guest"},
		{"our global", with(func(g *rawGuest) { g.decide = code(i32Const(9), 0x24, 0, goodAnswer) }), "unknown global 0"},
		{"our import", with(func(g *rawGuest) { g.decide = code(0x10, 6, goodAnswer) }), "unusable guest"},
		{"an unknown section", with(func(g *rawGuest) { g.sections = [][]byte{section(77)} }), "unknown id 77"},
		{"a section twice", with(func(g *rawGuest) { g.sections = [][]byte{section(sectionType)} }), "out of order"},
		{"an unknown instruction", with(func(g *rawGuest) { g.decide = code(0xff) }), "unknown instruction 0xff"},
		{"no buffer to have", with(func(g *rawGuest) { g.buffer = i32Const(0) }), "refused a buffer"},
		{"a buffer past memory", with(func(g *rawGuest) { g.buffer = i32Const(-16) }), "past the memory"},
		{"a trap at once", with(func(g *rawGuest) { g.decide = code(0x00) }), "warm up: guest trapped: wasm error: unreachable"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := fails(t, Config{Wasm: row.wasm}); !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %q, want %q", err, row.want)
			}
		})
	}
}

func TestGuestThatNeverInitialises(t *testing.T) {
	g := rawGuest{version: guest.ABIVersion, buffer: code(0x03, 0x40, 0x0c, 0, 0x0b, i32Const(1))}
	err := fails(t, Config{Wasm: g.bytes(), InitDeadline: 50 * time.Millisecond})
	if !errors.Is(err, ErrDeadline) {
		t.Error(err)
	}
}

// Every fault costs its event, names itself, and leaves the next event alone.
func TestFaultyGuestsAnswerTheNextEvent(t *testing.T) {
	h := run(t, Config{Deadline: 100 * time.Millisecond, MemoryLimit: 32 << 20})
	for _, row := range []struct {
		what string
		want error
		text string
	}{
		{"loop", ErrDeadline, "deadline of 100ms"},
		{"sleep", ErrDeadline, "deadline of 100ms"},
		{"panic", ErrTrap, `panic: out of spite`},
		{"exit", ErrExit, "with code 3"},
		{"allocate", ErrTrap, "out of memory"},
		{"huge", ErrAnswer, "limit"},
	} {
		t.Run(row.what, func(t *testing.T) {
			before := h.Stats()
			if _, err := ask(h, "1", row.what); !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("got %v, want %v with %q", err, row.want, row.text)
			}
			after := h.Stats()
			if before.Traps+before.Deadlines+before.BadAnswers+1 != after.Traps+after.Deadlines+after.BadAnswers {
				t.Errorf("not counted: %+v", after)
			}
			if a, err := ask(h, "2", "echo"); err != nil || string(a.Body) != "echo" {
				t.Errorf("the next event got %q, %v", a.Body, err)
			}
			checkPristine(t, h)
		})
	}
}

func TestGrownInstanceIsThrownAway(t *testing.T) {
	h := run(t, Config{})
	for range 3 {
		a, err := ask(h, "1", "grow")
		if err != nil || string(a.Body) != "1" {
			t.Fatalf("%s, %v", a.Body, err)
		}
	}
	if s := h.Stats(); s.Grew != 3 || s.Instances != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHandWrittenFaults(t *testing.T) {
	forever := func(body ...any) []byte { return code(0x03, 0x40, code(body...), 0x0c, 0, 0x0b, goodAnswer) }
	for _, row := range []struct {
		name     string
		decide   []byte
		want     error
		deadline time.Duration
	}{
		{"loop", forever(), ErrDeadline, 50 * time.Millisecond},
		{"loop of fills", forever(i32Const(0), i32Const(0), i32Const(2<<16), 0xfc, 11, 0), ErrDeadline, 50 * time.Millisecond},
		{"recursion", code(0x20, 0, 0x20, 1, 0x10, 3), ErrTrap, 10 * time.Second},
		{"unreachable", code(0x00), ErrTrap, 10 * time.Second},
		{"load past the end", code(i32Const(-1), 0x28, 2, 0, 0x1a, goodAnswer), ErrTrap, 10 * time.Second},
		{"empty answer", i64Const(0), ErrAnswer, 10 * time.Second},
		{"answer past the end", answerAt(2<<16-4, 5), ErrAnswer, 10 * time.Second},
		{"answer far past the end", i64Const(-1), ErrAnswer, 10 * time.Second},
		{"garbage", answerAt(0x4000, 64), guest.ErrEnvelope, 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			// The first byte of the event decides between the fault and a good answer.
			decide := code(0x20, 1, i32Const(1), 0x46, 0x04, 0x40, goodAnswer, 0x0f, 0x0b, row.decide)
			h := run(t, Config{Wasm: rawGuest{version: guest.ABIVersion, decide: decide}.bytes(),
				Deadline: row.deadline, WarmUp: [][]byte{{1}}})
			good := func() {
				t.Helper()
				if err := h.Call(context.Background(), []byte{1}, new(guest.Answer).Parse); err != nil {
					t.Error(err)
				}
			}
			good()
			if _, err := ask(h, "1", "x"); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			good()
			checkPristine(t, h)
		})
	}
}

func TestRequestOverTheLimit(t *testing.T) {
	h := run(t, Config{})
	if _, err := ask(h, "1", strings.Repeat("x", guest.MaxEnvelope)); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Error(err)
	}
	// The largest that is allowed takes the guest another buffer.
	if a, err := ask(h, "1", strings.Repeat("x", guest.MaxBody)); err != nil || a.Status != 400 {
		t.Error(a.Status, err)
	}
	if a, err := ask(h, "1", "echo"); err != nil || string(a.Body) != "echo" {
		t.Error(err)
	}
}

func TestMoreEventsThanInstances(t *testing.T) {
	h := run(t, Config{Instances: 1})
	busy := make(chan struct{})
	let := make(chan struct{})
	request := (&guest.Request{Body: []byte("echo")}).AppendBinary(nil)
	done := make(chan error, 1)
	go func() {
		done <- h.Call(context.Background(), request, func([]byte) error {
			close(busy)
			<-let
			return nil
		})
	}()
	<-busy
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := h.Call(ctx, request, func([]byte) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with all instances busy: %v", err)
	}
	close(let)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := ask(h, "1", "echo"); err != nil {
		t.Error(err)
	}
	if got := h.Stats().Waited; got != 1 {
		t.Errorf("%d waited", got)
	}
}

func TestUseThatFails(t *testing.T) {
	h := run(t, Config{Instances: 1})
	request := (&guest.Request{Body: []byte("echo")}).AppendBinary(nil)
	broken := errors.New("broken")
	if err := h.Call(context.Background(), request, func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = h.Call(context.Background(), request, func([]byte) error { panic("use") })
	}()
	if _, err := ask(h, "1", "echo"); err != nil { // the slot came back
		t.Error(err)
	}
}

func TestCancelledEvent(t *testing.T) {
	h := run(t, Config{Deadline: time.Minute})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := h.Call(ctx, (&guest.Request{Body: []byte("loop")}).AppendBinary(nil), func([]byte) error { return nil })
	if !errors.Is(err, ErrDeadline) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPolicy(t *testing.T) {
	h := run(t, Config{Policy: []byte("1-a")})
	version := func() string {
		a, err := ask(h, "1", "echo")
		if err != nil {
			t.Error(err)
		}
		return a.Policy
	}
	if got := version(); got != "1-a" {
		t.Fatal(got)
	}
	if err := h.SetPolicy(t.Context(), []byte("refuse")); err == nil || !strings.Contains(err.Error(), `line 3: no such verdict "perhaps"`) {
		t.Error(err)
	}
	if err := h.SetPolicy(t.Context(), make([]byte, guest.MaxPolicy+1)); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Error(err)
	}
	if got := version(); got != "1-a" {
		t.Errorf("after policies that failed: %s", got)
	}

	var stop atomic.Bool
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			last := ""
			for !stop.Load() {
				got := version()
				if got < last {
					t.Errorf("%s after %s", got, last)
				}
				last = got
			}
		})
	}
	for i := range 5 {
		policy := fmt.Sprint(i+2, "-a")
		if err := h.SetPolicy(t.Context(), []byte(policy)); err != nil {
			t.Error(err)
		}
		if got := version(); got != policy {
			t.Errorf("%s right after %s was set", got, policy)
		}
	}
	stop.Store(true)
	callers.Wait()
	checkPristine(t, h)
	if got := h.Stats().Instances; got > int64(h.config.Instances) {
		t.Errorf("%d instances are left", got)
	}
	// A large one makes the guest's memory larger than a new instance's.
	if err := h.SetPolicy(t.Context(), bytes.Repeat([]byte("9"), 8<<20)); err != nil {
		t.Fatal(err)
	}
	h.current.Load().retire() // the next instance is a copy of the image
	h.current.Load().retired = false
	if got := version(); got != "8388608 bytes" {
		t.Errorf("policy of %s", got)
	}
}

func TestEventsWaitForTheModule(t *testing.T) {
	h := New(Config{Wasm: adversary(t), CacheDir: built.CacheDir(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := h.Call(ctx, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before Run: %v", err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := ask(h, "1", "echo")
		answered <- err
	}()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := ask(h, "1", "echo"); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := h.SetPolicy(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if got := h.Stats().Instances; got != 0 {
		t.Errorf("%d instances are left", got)
	}
}

func TestCompiledModuleIsKept(t *testing.T) {
	dir := t.TempDir()
	wasm := scribbler().bytes()
	count := func() (n int) {
		var walk func(string)
		walk = func(d string) {
			entries, err := os.ReadDir(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() {
					walk(d + "/" + e.Name())
				} else {
					n++
				}
			}
		}
		walk(dir)
		return n
	}
	run(t, Config{Wasm: wasm, CacheDir: dir})
	first := count()
	run(t, Config{Wasm: wasm, CacheDir: dir})
	if first == 0 || count() != first {
		t.Errorf("%d files after the first start, %d after the second", first, count())
	}
	run(t, Config{Wasm: wasm, CacheDir: "/proc/no such directory"}) // works, uncached
}

func FuzzPrepareModule(f *testing.F) {
	f.Add(scribbler().bytes())
	f.Add(rawGuest{version: 1, table: true, decide: code(i32Const(0), 0xd2, 5, 0x26, 0, goodAnswer)}.bytes())
	f.Add([]byte(wasmHeader))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := prepareModule(wasm)
		if err != nil {
			return
		}
		if len(m.binary) > 64*len(wasm)+1024 {
			t.Fatalf("%d bytes became %d", len(wasm), len(m.binary))
		}
		if _, _, err := split(m.binary); err != nil {
			t.Fatal(err)
		}
	})
}
