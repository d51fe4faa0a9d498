package watched

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// word is a source whose file must hold one word.
func word(path string) Source[string] {
	return Source[string]{What: "token", Paths: []string{path}, Read: func() (string, []string, error) {
		b, err := os.ReadFile(path)
		if err == nil && strings.ContainsAny(string(b), " \n") {
			err = errors.New(path + ":1: two words")
		}
		return string(b), nil, err
	}}
}

// A change counts whatever the file's times say, and what can't be used changes
// nothing but results, log and metric.
func TestValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if _, err := Open(word(path)); err == nil {
		t.Fatal("a file that isn't there was opened")
	}
	write(t, path, "one")
	stamp := time.Now().Add(-time.Hour)
	var said strings.Builder
	src := word(path)
	src.Results, src.Log = new(Results), slog.New(slog.NewTextHandler(&said, nil))
	v, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		do      func()
		value   string
		changed bool
		err     string
	}{
		{"nothing happened", func() {}, "one", false, ""},
		{"same size and time", func() { write(t, path, "two") }, "two", true, ""},
		{"broken", func() { write(t, path, "a b") }, "two", false, path + ":1: two words"},
		{"still broken", func() {}, "two", false, path + ":1: two words"},
		{"what is used is back", func() { write(t, path, "two") }, "two", false, ""},
		{"gone", func() { os.Remove(path) }, "two", false, "no such file"},
		{"renamed into place", func() {
			write(t, path+".new", "six")
			os.Chtimes(path+".new", stamp, stamp)
			os.Rename(path+".new", path)
		}, "six", true, ""},
	} {
		row.do()
		os.Chtimes(path, stamp, stamp)
		changed, err := v.Look(t.Context(), false)
		if v.Last() != row.value || changed != row.changed || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, changed %v, %v; want %q, %v, %q", row.name, v.Last(), changed, err, row.value, row.changed, row.err)
		}
		list := src.Results.List()
		if len(list) != 1 || list[0].OK != (row.err == "") || !strings.Contains(list[0].Error, row.err) {
			t.Errorf("%s: results %+v", row.name, list)
		}
		if got := src.Results.Err(); (got == nil) != (row.err == "") {
			t.Errorf("%s: results say %v", row.name, got)
		}
	}
	if n := strings.Count(said.String(), "two words"); n != 1 {
		t.Errorf("the log says %d times that the file is broken, want once:\n%s", n, said.String())
	}
}

// The metric is of all files of a kind: one that is not used makes it 0.
func TestResultsMetric(t *testing.T) {
	var r Results
	at := time.Unix(1700000000, 0)
	r.Note("a", Result{What: "token", File: "a", OK: true, Time: at})
	r.Note("b", Result{What: "token", File: "b", Time: at.Add(time.Hour), Error: "bad"})
	r.Note("c", Result{What: "policy", File: "c", OK: true, Time: at})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(&r)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[strings.TrimPrefix(f.GetName(), "switchbridge_reload_")+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{"success token": 0, "success policy": 1, "timestamp_seconds token": 1.7e9, "timestamp_seconds policy": 1.7e9}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What Use refuses is not used, and Get keeps what was.
func TestUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy")
	write(t, path, "one")
	src := word(path)
	src.Use = func(_ context.Context, v string) error {
		if v == "bad" {
			return errors.New("serials only grow")
		}
		return nil
	}
	v, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "bad")
	if _, err := v.Look(t.Context(), false); err == nil || v.Get() != "one" {
		t.Errorf("%v, %q is used", err, v.Get())
	}
	if _, err := v.Look(t.Context(), true); err == nil {
		t.Error("forced, the same content was not tried again")
	}
}

// Further files that a value names are looked at, too.
func TestMore(t *testing.T) {
	dir := t.TempDir()
	policy, list := filepath.Join(dir, "policy"), filepath.Join(dir, "list")
	write(t, policy, list)
	write(t, list, "one")
	v, err := Open(Source[string]{What: "policy", Paths: []string{policy}, Read: func() (string, []string, error) {
		name, err := os.ReadFile(policy)
		if err != nil {
			return "", nil, err
		}
		text, err := os.ReadFile(string(name))
		return string(text), []string{string(name)}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, list, "two")
	if changed, err := v.Look(t.Context(), false); !changed || err != nil || v.Last() != "two" {
		t.Errorf("%v, %v, %q", changed, err, v.Last())
	}
	// A policy that names a list which comes later.
	late := filepath.Join(dir, "late")
	write(t, policy, late)
	if _, err := v.Look(t.Context(), false); err == nil {
		t.Fatal("a list that isn't there was read")
	}
	write(t, late, "three")
	v.Event(t.Context())
	if v.Last() != "three" || v.Err() != nil {
		t.Errorf("%q, %v", v.Last(), v.Err())
	}
}

// watch runs a watcher over one word and returns what it becomes.
func watch(t *testing.T, path string) (next func() string) {
	t.Helper()
	values := make(chan string, 10)
	src := word(path)
	src.Use = func(_ context.Context, v string) error { values <- v; return nil }
	v, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		w := Watcher{Files: func() []File { return []File{v} }, Log: slog.New(slog.DiscardHandler)}
		w.Run(ctx)
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return func() string {
		t.Helper()
		select {
		case v := <-values:
			return v
		case <-time.After(20 * time.Second):
			t.Fatal("no change was noticed in 20 s")
			return ""
		}
	}
}

func TestWatcher(t *testing.T) {
	t.Run("in place, and renamed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		write(t, path, "one")
		next := watch(t, path)
		write(t, path, "two")
		if got := next(); got != "two" {
			t.Errorf("%q", got)
		}
		write(t, path+"~", "three")
		os.Rename(path+"~", path)
		if got := next(); got != "three" {
			t.Errorf("%q", got)
		}
	})
	// Kubernetes: token -> ..data/token, ..data -> a folder, of which a new one is
	// made and the link to it is replaced.
	t.Run("ConfigMap", func(t *testing.T) {
		dir := t.TempDir()
		version := func(name, text string) {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, name, "token"), text)
			os.Symlink(name, filepath.Join(dir, "..data_tmp"))
			os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
		}
		version("..1", "one")
		path := filepath.Join(dir, "token")
		os.Symlink("..data/token", path)
		next := watch(t, path)
		for i, text := range []string{"two", "three"} {
			version("..v"+text, text)
			if got := next(); got != text {
				t.Errorf("swap %d: %q, want %q", i, got, text)
			}
			os.RemoveAll(filepath.Join(dir, "..1"))
		}
	})
}
