package bbolt

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/statetest"
)

func open(t *testing.T, path string, entries int) *Store {
	t.Helper()
	s, err := Open(t.Context(), access.Options{URL: &url.URL{Scheme: "bbolt", Opaque: path}, Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*Store)
}

type kept struct{ state.Store }

func (kept) Close() error { return nil }

func TestStore(t *testing.T) {
	s, small := open(t, filepath.Join(t.TempDir(), "states"), 0), open(t, filepath.Join(t.TempDir(), "states"), 3)
	statetest.Run(t, &statetest.Store{
		Open:   func(context.Context) (state.Store, error) { return kept{s}, nil },
		Full:   func(context.Context) (state.Store, error) { return kept{small}, nil },
		Expire: func(ttl time.Duration) { time.Sleep(ttl + 10*time.Millisecond) },
	})
}

func value(t *testing.T, s state.Store, key string) state.Value {
	t.Helper()
	values := make([]state.Value, 1)
	if err := s.Get(t.Context(), []string{key}, values); err != nil {
		t.Fatal(err)
	}
	return values[0]
}

// What was stored is there after a restart; versions and time go on from where they were, whatever the clock says by then.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "states")
	s := open(t, path, 0)
	swap := func(key string, old uint64, ttl time.Duration) uint64 {
		t.Helper()
		v, err := s.CompareAndSwap(t.Context(), key, old, []byte(key), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	ever, gone := swap("ever", 0, 0), swap("gone", 0, 0)
	if err := s.Delete(t.Context(), "gone", gone); err != nil {
		t.Fatal(err)
	}
	s.base += time.Hour.Microseconds() // this process's clock is an hour ahead of the next one's
	soon := swap("soon", 0, time.Minute)
	if _, err := Open(t.Context(), access.Options{URL: &url.URL{Opaque: path}}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompareAndSwap(t.Context(), "ever", ever, nil, 0); !errors.Is(err, errClosed) {
		t.Errorf("swap of a store that is closed: %v", err)
	}
	s = open(t, path, 0)
	if v := value(t, s, "ever"); v.Version != ever || string(v.Data) != "ever" {
		t.Errorf("after a restart: %+v", v)
	}
	if v := value(t, s, "soon"); v.Version != soon {
		t.Errorf("a state of a minute is gone with the clock set back: %+v", v)
	}
	s.base += 2 * time.Minute.Microseconds()
	if v := value(t, s, "soon"); v.Version != 0 {
		t.Errorf("a state of a minute is there after two, with the clock set back an hour: %+v", v)
	}
	if v := swap("gone", 0, 0); v <= soon {
		t.Errorf("version %d after %d", v, soon)
	}
}

func TestCorrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "states")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), access.Options{URL: &url.URL{Opaque: path}}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is no database: %v", err)
	}
}
