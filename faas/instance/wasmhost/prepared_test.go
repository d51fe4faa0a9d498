package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"switchbridge/internal/built"
)

func TestPrepared(t *testing.T) {
	for name, wasm := range map[string][]byte{"by hand": scribbler().bytes(), "Go's": adversary(t)} {
		prepared, _, err := Prepare(wasm, Training{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := prepareModule(wasm)
		if err != nil {
			t.Fatal(err)
		}
		got, err := preparedModule(prepared)
		if err != nil || !bytes.HasPrefix(got.binary, want.binary) || strings.Join(got.globals, " ") != strings.Join(want.globals, " ") || got.hidden != want.hidden {
			t.Errorf("%s: %v, %v, %q; want %v, %q", name, err, got.globals, got.hidden, want.globals, want.hidden)
		}
	}
	prepared, _, err := Prepare(scribbler().bytes(), Training{})
	if err != nil {
		t.Fatal(err)
	}
	h := run(t, Config{Wasm: prepared, Prepared: true})
	for range 3 {
		if a, err := ask(h, "1", "echo"); err != nil || a.Status != 200 {
			t.Errorf("%+v, %v", a, err)
		}
	}
	checkPristine(t, h)
}

func TestWhatIsNotPrepared(t *testing.T) {
	good, _, err := Prepare(scribbler().bytes(), Training{})
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(good, []byte(preparedSection)) + len(preparedSection)
	older := bytes.Clone(good)
	older[at]++
	for name, row := range map[string]struct {
		wasm []byte
		want string
	}{
		"a guest as it is": {scribbler().bytes(), "not a prepared one"},
		"another rewriter": {older, "prepared by another version"},
		"cut short":        {good[:at+10], "ends in the middle"},
		"nothing":          {nil, "not a prepared one"},
	} {
		h := New(Config{Wasm: row.wasm, Prepared: true, CacheDir: built.CacheDir(t)})
		if err := h.Run(context.Background()); !errors.Is(err, ErrGuest) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	// What nobody vouches for may say of itself what it likes: it is rewritten, and what was so before
	// asks for what no guest may have.
	h := New(Config{Wasm: good, CacheDir: built.CacheDir(t)})
	if err := h.Run(context.Background()); !errors.Is(err, ErrGuest) || !strings.Contains(err.Error(), "nothing for guests") {
		t.Error(err)
	}
}
