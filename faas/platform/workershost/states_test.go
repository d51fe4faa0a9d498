//go:build unix

package workershost_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/internal/built"
	"switchbridge/state"
	"switchbridge/state/durableobject"
	"switchbridge/state/statetest"
	"switchbridge/state/statetest/remote"
)

// statesIn is the store of states of a Worker: a new instance for each question.
func statesIn(w *workerstest.Worker) *remote.Client {
	return &remote.Client{Promises: durableobject.Promised{}.Promise(), Exchange: func(ctx context.Context, question []byte) ([]byte, error) {
		status, _, answer, err := w.Exchange(ctx, http.Header{}, question)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d: %s\n%s", status, answer, w.Logs())
		}
		return answer, err
	}}
}

// The suite, on workerd's Durable Objects.
func TestStates(t *testing.T) {
	w := workerstest.Start(t, workerstest.Options{Wasm: built.Worker(t, "switchbridge/faas/platform/workershost/testdata/states"), States: t.TempDir()})
	s := statesIn(w)
	statetest.Run(t, &statetest.Store{Open: func(context.Context) (state.Store, error) { return s, nil }, Expire: func(ttl time.Duration) { time.Sleep(ttl + 20*time.Millisecond) },
		Operations: 15})
}

// What has expired goes an hour later, which this clock says it is.
func TestStatesGo(t *testing.T) {
	w := workerstest.Start(t, workerstest.Options{Wasm: built.Worker(t, "switchbridge/faas/platform/workershost/testdata/states"), States: t.TempDir(), Prelude: "const real = Date.now; Date.now = () => real() - 3600_000;\n"})
	s := statesIn(w)
	swap := func(key string, old uint64, ttl time.Duration) uint64 {
		t.Helper()
		version, err := s.CompareAndSwap(t.Context(), key, old, []byte("x"), ttl)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return version
	}
	if err := s.Delete(t.Context(), "deleted", swap("deleted", 0, 0)); err != nil {
		t.Fatal(err)
	}
	swap("stays", swap("stays", 0, 2*time.Second), 0)
	swap("expires", 0, 2*time.Second) // later than the other one was to
	keys := []string{"expires", "deleted", "stays"}
	v := make([]state.Value, len(keys))
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err := s.Get(t.Context(), keys, v); err != nil {
			t.Fatal(err)
		}
		if v[0].Last == 0 && v[1].Last == 0 && v[0].Version == 0 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("they are still there: %+v", v)
		}
	}
	if v[2].Version == 0 {
		t.Error("a state that does not expire is gone")
	}
}

// States are kept when workerd is killed, and are there when it is started again.
func TestStatesAreKept(t *testing.T) {
	options := workerstest.Options{Wasm: built.Worker(t, "switchbridge/faas/platform/workershost/testdata/states"), States: t.TempDir()}
	w := workerstest.Start(t, options)
	version, err := statesIn(w).CompareAndSwap(t.Context(), "k", 0, []byte("scanner"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.Kill()
	v := make([]state.Value, 1)
	if err := statesIn(w).Get(t.Context(), []string{"k"}, v); err == nil {
		t.Error("who was killed answers")
	}
	if err := statesIn(workerstest.Start(t, options)).Get(t.Context(), []string{"k"}, v); err != nil || v[0].Version != version || string(v[0].Data) != "scanner" {
		t.Errorf("%+v, %v; want version %d", v[0], err, version)
	}
}
