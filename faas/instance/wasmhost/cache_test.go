package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
)

// startOnly starts a host and leaves the whole guest where it begins with it.
func startOnly(t *testing.T, config Config) *Host {
	t.Helper()
	h := New(config)
	t.Cleanup(h.close)
	if err := h.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSnapshotIsKept(t *testing.T) {
	config := prepared(t, Config{CacheDir: t.TempDir(), Policy: []byte{1, 2, 3}}, twoFaced(), known)
	lean := func(h *Host) bool { return h.engine.module.lean }
	first := leanHost(t, config)
	want := first.current.Load().snapshot

	second := startOnly(t, config)
	if !lean(second) || second.Stats().Created != 1 {
		t.Error("the second start initialised the guest")
	}
	if got := second.current.Load().snapshot; !bytes.Equal(got.memory, want.memory) || !slices.Equal(got.globals, want.globals) || got.input != want.input {
		t.Error("the snapshot has changed")
	}
	for range 3 {
		if size, err := configuredBy(t.Context(), second); size != 3 || err != nil {
			t.Errorf("decided by a policy of %d bytes, %v; want 3", size, err)
		}
	}
	checkPristine(t, second)
	expectFace(t, second, unusual, 8, 1)
	checkPristine(t, second)

	// A policy that comes later is kept in place of the first.
	if err := first.SetPolicy(t.Context(), []byte{1}); err != nil {
		t.Fatal(err)
	}
	if lean(startOnly(t, config)) {
		t.Error("a snapshot with another policy was taken")
	}
	changed := config
	changed.Policy = []byte{1}
	if h := startOnly(t, changed); !lean(h) {
		t.Error("the snapshot with the second policy is not there")
	} else if size, err := configuredBy(t.Context(), h); size != 1 || err != nil {
		t.Errorf("decided by a policy of %d bytes, %v; want 1", size, err)
	}

	other := twoFaced()
	other.globals = [][]byte{code(valueI32, 1, i32Const(1), opEnd)}
	for name, change := range map[string]func(*Config){
		"guest": func(c *Config) { *c = prepared(t, *c, other, known) },
		"training": func(c *Config) {
			*c = prepared(t, *c, twoFaced(), Training{Policies: [][]byte{nil}, Events: Events{Requests: [][]byte{unusual}}})
		},
		"warming up":           func(c *Config) { c.WarmUp = [][]byte{usual} },
		"more of a warming up": func(c *Config) { c.WarmUp = [][]byte{usual, usual} },
	} {
		c := changed
		change(&c)
		if lean(startOnly(t, c)) {
			t.Errorf("a snapshot with another %s was taken", name)
		}
	}
}

// TestRunFillsTheCache, even if it ends as soon as the guest is ready.
func TestRunFillsTheCache(t *testing.T) {
	config := prepared(t, Config{CacheDir: t.TempDir()}, twoFaced(), known)
	h := New(config)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.Ready()
		cancel()
	}()
	if err := h.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !startOnly(t, config).engine.module.lean {
		t.Error("the second start initialised the guest")
	}
}

// TestSnapshotOfNoUse: a start without one is slower, and no more than that.
func TestSnapshotOfNoUse(t *testing.T) {
	var log bytes.Buffer
	config := prepared(t, Config{CacheDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}, twoFaced(), known)
	file := leanHost(t, config).snapshotFile()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 1
	for name, content := range map[string][]byte{
		"cut short": good[:len(good)-1], "cut at its beginning": good[:20], "empty": {}, "too long": append(bytes.Clone(good), make([]byte, 80<<20)...), "one byte else": flipped, "another file": []byte(strings.Repeat("x", 1000)),
	} {
		log.Reset()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		h := startOnly(t, config)
		expectFace(t, h, usual, 7, 0)
		if said := log.String(); h.engine.module.lean || !strings.Contains(said, "can't be used") || !strings.Contains(said, file) {
			t.Errorf("%s: %s", name, said)
		}
	}
	// Nor is one that can't be written.
	log.Reset()
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	h := leanHost(t, config)
	expectFace(t, h, usual, 7, 0)
	if said := log.String(); !strings.Contains(said, "could not be saved") {
		t.Error(said)
	}
	entries, err := os.ReadDir(config.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "image-") && !e.IsDir() {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func testSnapshot() *snapshot {
	s := &snapshot{memory: make([]byte, 2*wasmPage), globals: []uint64{1, 1 << 63}, input: buffer{ptr: 100, size: 50}}
	s.memory[0], s.memory[3*snapshotPage], s.memory[2*wasmPage-1] = 1, 2, 3
	return s
}

func TestSnapshotLimits(t *testing.T) {
	good := testSnapshot()
	key := [32]byte{1}
	if s, err := parseSnapshot(good.append(nil, key), 2*wasmPage); err != nil || !bytes.Equal(s.memory, good.memory) {
		t.Error(err)
	}
	if n := len(good.append(nil, key)); n != 8+32+6*8+3*(8+snapshotPage)+32 {
		t.Errorf("%d bytes", n)
	}
	past, input, odd := testSnapshot(), testSnapshot(), testSnapshot()
	past.memory = append(past.memory, make([]byte, wasmPage)...)
	input.input = buffer{ptr: 2*wasmPage - 1, size: 2}
	odd.memory = odd.memory[:2*wasmPage-snapshotPage]
	for name, bad := range map[string]*snapshot{"more memory than the limit": past, "a buffer past memory": input, "memory of no whole pages": odd} {
		if s, err := parseSnapshot(bad.append(nil, key), 2*wasmPage); s != nil || !errors.Is(err, errSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, cut := range []int{0, 39, 40, 103} {
		if s, err := parseSnapshot(good.append(nil, key)[:cut], 2*wasmPage); s != nil || !errors.Is(err, errSnapshot) {
			t.Errorf("%d bytes: %v", cut, err)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	key := [32]byte{1}
	f.Add(testSnapshot().append(nil, key))
	f.Fuzz(func(t *testing.T, b []byte) {
		const sum = 32
		if len(b) > sum { // let it come past the checksum
			b = seal(bytes.Clone(b[:len(b)-sum]))
		}
		s, err := parseSnapshot(b, 4*wasmPage)
		if err != nil || s == nil {
			return
		}
		if again, err := parseSnapshot(s.append(nil, key), 4*wasmPage); err != nil || !bytes.Equal(again.memory, s.memory) || !slices.Equal(again.globals, s.globals) || again.input != s.input {
			t.Errorf("%v: %+v", err, s.input)
		}
	})
}
