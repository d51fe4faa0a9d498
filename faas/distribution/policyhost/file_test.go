package policyhost

import (
	"context"
	"errors"
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
	if _, _, err := Open(path, log, nil); err == nil {
		t.Error("a file that isn't there was opened")
	}
	write(t, path, seven)
	file, p, err := Open(path, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := NewNative(p)
	file.Follow(host, nil)

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
		_, err := file.Look(t.Context(), false)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		var d flow.Decision
		if err := host.Decide(t.Context(), &flow.Event{Type: flow.EventPolicyCheck}, &d); err != nil || d.Policy.Serial != row.serial {
			t.Errorf("%s: serial %d decides, want %d", row.name, d.Policy.Serial, row.serial)
		}
	}
}

// A policy with an entry that can never decide is in force as it is, and the log says so: at the start, and at each reload.
func TestNeverDecides(t *testing.T) {
	var said strings.Builder
	path := filepath.Join(t.TempDir(), "policy")
	write(t, path, seven+"  - blocklist: {addresses: [10.0.0.3]}\n")
	file, p, err := Open(path, slog.New(slog.NewTextHandler(&said, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	host := NewNative(p)
	file.Follow(host, nil)
	if !strings.Contains(said.String(), "blocklist can never decide: forward (line 3) decides all its packets before it") || !strings.Contains(said.String(), "line=4") {
		t.Errorf("the log at the start: %s", said.String())
	}
	for _, row := range []struct {
		text string
		warn bool
	}{
		{strings.Replace(seven, "7", "8", 1), false},
		{strings.Replace(seven, "7", "9", 1) + "  - mac: {addresses: [b8:27:eb]}\n", true},
	} {
		said.Reset()
		write(t, path, row.text)
		if _, err := file.Look(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said.String(), "can never decide"); got != row.warn || !strings.Contains(said.String(), "reloaded") {
			t.Errorf("%s\nwarned: %v; the log: %s", row.text, got, said.String())
		}
	}
	if host.Version().Serial != 9 {
		t.Errorf("version %v is in force", host.Version())
	}
}

func TestWithoutFile(t *testing.T) {
	var said strings.Builder
	file, _, err := Open("", slog.New(slog.NewTextHandler(&said, nil)), nil)
	if err != nil || !strings.Contains(said.String(), "every packet is allowed") {
		t.Fatal(err, said.String())
	}
	if err := errors.Join(file.Check(), file.Reload(t.Context())); err != nil || file.Files() != nil {
		t.Error(err, file.Files())
	}
}

func TestConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "configuration")
	write(t, path, "before")
	c, text, err := OpenConfiguration(path, slog.New(slog.DiscardHandler), nil)
	if err != nil || string(text) != "before" {
		t.Fatal(string(text), err)
	}
	var given []string
	refuse := true
	c.Follow(func(_ context.Context, b []byte) error {
		given = append(given, string(b))
		if refuse {
			return errors.New("no such key")
		}
		return nil
	})
	write(t, path, "after")
	if changed, err := c.Look(t.Context(), false); changed || err == nil || string(c.Last()) != "before" {
		t.Errorf("refused: changed %v, %v, %q is in use", changed, err, c.Last())
	}
	refuse = false
	if changed, err := c.Look(t.Context(), true); !changed || err != nil || len(given) != 2 {
		t.Errorf("asked again: changed %v, %v, given %q", changed, err, given)
	}
}
