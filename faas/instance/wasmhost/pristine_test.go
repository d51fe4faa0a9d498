package wasmhost

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"switchbridge/faas/instance/guest"
)

// checkPristine compares every waiting instance with the image it should equal, byte by byte.
func checkPristine(t *testing.T, h *Host) {
	t.Helper()
	img := h.current.Load()
	img.mu.Lock()
	defer img.mu.Unlock()
	if len(img.idle) == 0 {
		t.Error("no instance to compare")
	}
	for _, in := range img.idle {
		if got := in.memory.bytes(); !bytes.Equal(got, img.memory) {
			at := 0
			for at < min(len(got), len(img.memory)) && got[at] == img.memory[at] {
				at++
			}
			t.Errorf("memory of %d bytes differs from the image's %d at %#x", len(got), len(img.memory), at)
		}
		for i, g := range in.globals {
			if g.Get() != img.globals[i] {
				t.Errorf("%s is %#x, in the image %#x", h.engine.module.globals[i], g.Get(), img.globals[i])
			}
		}
		if in.input != img.input || in.output.n != 0 {
			t.Errorf("what the host knows of an instance differs: %+v, %d bytes printed", in.input, in.output.n)
		}
	}
}

// each runs a test with every way to put instances back that this machine allows.
func each(t *testing.T, config Config, test func(*testing.T, *Host)) {
	for _, whole := range []bool{false, true} {
		config.WholeCopy = whole
		name := "marked blocks"
		if whole {
			name = "whole copy"
		}
		t.Run(name, func(t *testing.T) {
			h := run(t, config)
			if got := h.Stats().Reset; got.String() != name {
				t.Fatal(got)
			}
			test(t, h)
		})
	}
}

func TestScribblerIsPutBack(t *testing.T) {
	each(t, Config{Wasm: scribbler().bytes()}, func(t *testing.T, h *Host) {
		want := make([]byte, rawBodySize)
		// The image is of after the warm-up, which scribbled already.
		for i := range want[:8] {
			want[i] = 0xaa
		}
		binary.LittleEndian.PutUint32(want[8:], 99)
		binary.LittleEndian.PutUint64(want[16:], 99)
		copy(want[24:], []byte{1, 2, 3, 4, 5, 6, 7, 8})
		in := h.current.Load().idle[0]
		for i := range 3000 {
			a, err := ask(h, "1", "")
			if err != nil || !bytes.Equal(a.Body, want) {
				t.Fatalf("event %d saw %x, %v; want %x", i, a.Body, err, want)
			}
			if i%500 == 0 || i < 5 {
				checkPristine(t, h)
			}
			in.globals[i%len(in.globals)].Set(uint64(i))
			in.reset()
			if i%500 == 0 || i < 5 {
				checkPristine(t, h)
			}
		}
		if s := h.Stats(); s.Created != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestImageBeforeAnyEvent(t *testing.T) {
	h := run(t, Config{Wasm: scribbler().bytes(), WarmUp: [][]byte{}})
	a, err := ask(h, "1", "")
	want := append(append(make([]byte, 8), 11, 0, 0, 0, 0, 0, 0, 0), 0xea, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	if err != nil || !bytes.Equal(a.Body[:24], want) {
		t.Fatalf("%x, %v", a.Body, err)
	}
	checkPristine(t, h)
}

func TestTableIsPutBack(t *testing.T) {
	for _, changes := range []struct {
		name string
		code []byte
	}{
		{"table.set", code(i32Const(0), 0xd2, 5, 0x26, 0)},
		{"table.copy", code(i32Const(0), i32Const(1), i32Const(1), 0xfc, 14, 0, 0)},
		{"table.fill", code(i32Const(0), 0xd2, 5, i32Const(1), 0xfc, 17, 0)},
		{"table.grow", code(0xd2, 5, i32Const(1), 0xfc, 15, 0, 0x1a, i32Const(0), 0xd2, 5, 0x26, 0)},
	} {
		t.Run(changes.name, func(t *testing.T) {
			g := rawGuest{version: guest.ABIVersion, table: true, decide: code(
				i32Const(0), i32Const(0), 0x11, 0, 0, 0x36, 2, leb(rawBody), // body = call_indirect(0)
				i32Const(0), 0xfc, 16, 0, 0x36, 2, leb(rawBody+4), // and the table's size
				changes.code, goodAnswer)}
			h := run(t, Config{Wasm: g.bytes(), WarmUp: [][]byte{}})
			if h.Stats().Reset != ResetNewInstance {
				t.Fatal(h.Stats().Reset)
			}
			for range 20 {
				a, err := ask(h, "1", "")
				if err != nil || a.Body[0] != 7 || a.Body[4] != 2 {
					t.Fatalf("%x, %v", a.Body, err)
				}
			}
		})
	}
}

func TestVectorGlobalIsPutBack(t *testing.T) {
	g := rawGuest{version: guest.ABIVersion, globals: [][]byte{code(0x7b, 1, 0xfd, 12, make([]byte, 16), 0x0b)}, decide: code(
		i32Const(0), 0x23, 0, 0xfd, 11, 3, leb(rawBody), // v128.store
		0xfd, 12, bytes.Repeat([]byte{1}, 16), 0x24, 0, goodAnswer)}
	h := run(t, Config{Wasm: g.bytes()[:], WarmUp: [][]byte{}})
	for range 3 {
		if a, err := ask(h, "1", ""); err != nil || !bytes.Equal(a.Body, make([]byte, rawBodySize)) {
			t.Fatalf("%x, %v", a.Body, err)
		}
	}
}

func TestNoSecretReachesTheNextEvent(t *testing.T) {
	each(t, Config{}, func(t *testing.T, h *Host) {
		for i := range 200 {
			a, err := ask(h, fmt.Sprint("secret ", i), "keep")
			if err != nil || string(a.Body) != `"" 0` {
				t.Fatalf("event %d found %s, %v", i, a.Body, err)
			}
		}
		checkPristine(t, h)
	})
}

func TestTenThousandRandomValues(t *testing.T) {
	each(t, Config{}, func(t *testing.T, h *Host) {
		const callers = 4
		events := 2500
		if h.config.WholeCopy {
			events = 250 // which take as long
		}
		var mu sync.Mutex
		seen := make(map[string]bool)
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range events {
					a, err := ask(h, "1", "random")
					mu.Lock()
					if err != nil || len(a.Body) != 16 || seen[string(a.Body)] {
						t.Errorf("%x, %v, seen before: %v", a.Body, err, seen[string(a.Body)])
					}
					seen[string(a.Body)] = true
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(seen) != callers*events {
			t.Errorf("%d values of %d", len(seen), callers*events)
		}
		checkPristine(t, h)
	})
}

// The package's documentation warns of this; whoever changes it should know.
func TestPseudorandomValuesAreFrozen(t *testing.T) {
	h := run(t, Config{})
	first, err := ask(h, "1", "pseudorandom")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := ask(h, "2", "pseudorandom"); err != nil || !bytes.Equal(first.Body, second.Body) {
		t.Fatalf("%s, %s, %v: the warning in doc.go is out of date", first.Body, second.Body, err)
	}
}

func TestClockMoves(t *testing.T) {
	h := run(t, Config{})
	first, err := ask(h, "1", "time")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := ask(h, "2", "time"); err != nil || string(first.Body) >= string(second.Body) {
		t.Fatalf("%s, %s, %v", first.Body, second.Body, err)
	}
}

func TestNothingOfTheHostIsThere(t *testing.T) {
	h := run(t, Config{})
	a, err := ask(h, "1", "files")
	if err != nil || !bytes.Contains(a.Body, []byte("open /: ")) || !bytes.HasSuffix(a.Body, []byte("[][]")) && !bytes.HasSuffix(a.Body, []byte("[] []")) {
		t.Fatalf("%s, %v", a.Body, err)
	}
	for range 3 { // closing standard output must not last
		a, err := ask(h, "1", "close")
		if err != nil || string(a.Body) != "<nil>" {
			t.Fatalf("%s, %v", a.Body, err)
		}
	}
	checkPristine(t, h)
}
