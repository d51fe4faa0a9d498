package policyhost

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/blob"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const seven = "serial: 7\nchain:\n  - forward: {mode: normal}\n"

func TestFile(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "policy")
	if _, _, err := Open(path, log); err == nil {
		t.Error("a file that isn't there was opened")
	}
	write(t, path, seven)
	file, p, err := Open(path, log)
	if err != nil {
		t.Fatal(err)
	}
	host := NewNative(p)

	// The compiled form of the next one takes its place.
	next := *p
	next.Serial, next.Hash = 8, 0xabcd
	compiled, err := blob.Pack(&next)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, content, want string
		serial              uint64
	}{
		{"the same", seven, "", 7},
		{"compiled", string(compiled), "", 8},
		{"compiled and cut short", string(compiled[:len(compiled)-1]), path, 8},
		{"of a smaller serial", seven, "serials only grow", 8},
		{"broken", "serial: [", path, 8},
	} {
		write(t, path, row.content)
		_, err := file.reload(t.Context(), host)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		var d flow.Decision
		if err := host.Decide(t.Context(), &flow.Event{Type: flow.EventPolicyCheck}, &d); err != nil || d.Policy.Serial != row.serial {
			t.Errorf("%s: serial %d decides, want %d", row.name, d.Policy.Serial, row.serial)
		}
	}
}

func TestWithoutFile(t *testing.T) {
	var said strings.Builder
	file, p, err := Open("", slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil || !strings.Contains(said.String(), "every packet is allowed") {
		t.Fatal(err, said.String())
	}
	if changed, err := file.reload(t.Context(), NewNative(p)); changed || err != nil {
		t.Error(changed, err)
	}
}

func TestConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "configuration")
	write(t, path, "before")
	c, text, err := OpenConfiguration(path, slog.New(slog.DiscardHandler))
	if err != nil || string(text) != "before" {
		t.Fatal(string(text), err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	given := make(chan string)
	refuse := true
	go c.Watch(ctx, func(_ context.Context, b []byte) error {
		given <- string(b)
		if refuse {
			refuse = false
			return context.DeadlineExceeded
		}
		return nil
	})
	write(t, path, "after")
	c.Reload()
	if got := <-given; got != "after" {
		t.Errorf("given %q", got)
	}
	c.Reload() // it was refused, so it is given again
	if got := <-given; got != "after" {
		t.Errorf("given %q again", got)
	}
}
