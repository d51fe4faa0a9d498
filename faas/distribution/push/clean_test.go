package push

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
)

const configItems = "/resources/stores/config/c1/item/"

// readAt reads the policy as an edge does that has the entry KeyPolicy of an earlier moment.
func readAt(values map[string]string, manifest string) error {
	_, err := fastlyhost.ReadPolicy(func(store fastlyhost.Store, key string, _ int) ([]byte, error) {
		path := configItems + key
		switch {
		case key == fastlyhost.KeyPolicy:
			return []byte(manifest), nil
		case store == fastlyhost.InKV:
			path = "/resources/stores/kv/k/1/keys/" + key
		}
		value, ok := values[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(value), nil
	})
	return err
}

// keys are those that are there, without their stores.
func (m *memory) keys() (keys []string) {
	for path := range m.values {
		keys = append(keys, path[strings.LastIndex(path, "/")+1:])
	}
	slices.Sort(keys)
	return keys
}

// watch has every reader that may be on its way, with the entry KeyPolicy of now or of before the
// push, read after every change.
func (m *memory) watch(t *testing.T) {
	t.Helper()
	before := m.values[configItems+fastlyhost.KeyPolicy]
	m.change = func(values map[string]string) {
		for _, manifest := range []string{before, values[configItems+fastlyhost.KeyPolicy]} {
			if manifest == "" {
				continue // nothing is pushed yet
			}
			if err := readAt(values, manifest); err != nil {
				t.Errorf("a reader with %.60q: %v", manifest, err)
			}
		}
	}
}

// keysOf are the keys that a policy is written to.
func keysOf(t *testing.T, blobs ...[]byte) []string {
	t.Helper()
	keys := map[string]bool{}
	for _, b := range blobs {
		entries, err := fastlyhost.Entries(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			keys[e.Key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// TestClean is a row of pushes of policies of every size, long after one another: what is left are
// the entries of the policy that counts and, for edges that are late, of the one before.
func TestClean(t *testing.T) {
	m := newMemory(t)
	to := networked(m.api())["fastly"]
	m.values[configItems+"policy-notes"] = "somebody's own"
	m.values[configItems+"greeting"] = "hello"
	var before []byte
	for i, addresses := range []int{9000, 20_000, 5, 30_000, 12_000, 21_000, 22_000, 5, 9000, 5} {
		b := compiled(t, uint64(i+1), addresses)
		p := planned(t, to, b)
		m.watch(t)
		would, err := p.Outdated(t.Context())
		if err != nil {
			t.Errorf("%d addresses: %v", addresses, err)
		}
		if err := p.Replace(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		var deleted []Delete
		if err := p.Clean(t.Context(), func(d Delete) { deleted = append(deleted, d) }); err != nil {
			t.Errorf("%d addresses: %v", addresses, err)
		}
		if named(deleted) != named(would) {
			t.Errorf("%d addresses: deleted %s, would have %s", addresses, named(deleted), named(would))
		}
		want := keysOf(t, b)
		if before != nil {
			want = keysOf(t, b, before)
		}
		want = append(want, "greeting", "policy-notes")
		slices.Sort(want)
		if got := m.keys(); !slices.Equal(got, want) {
			t.Errorf("%d addresses: there are %v, want %v", addresses, got, want)
		}
		before = b
	}
	// The same once more, later: nothing is written, and no edge needs the one before any longer.
	p := planned(t, to, before)
	m.watch(t)
	if err := p.Replace(t.Context(), false, nil); !errors.Is(err, ErrSame) {
		t.Error(err)
	}
	if err := p.Clean(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := m.keys(); !slices.Equal(got, []string{"greeting", "policy", "policy-notes"}) {
		t.Errorf("there are %v", got)
	}
}

// Large is how many addresses take two parts.
const large = 2500

// three pushes policies of serials 1 and 2 in parts, an hour ago, and returns the plan of serial 3.
func three(t *testing.T, m *memory) *Plan {
	t.Helper()
	to := networked(m.api())["fastly"]
	for serial := range uint64(2) {
		if err := planned(t, to, compiled(t, serial+1, large)).Replace(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
	}
	return planned(t, to, compiled(t, 3, large))
}

// A push soon after another deletes nothing: an edge may have missed the one in between.
func TestCleanWaits(t *testing.T) {
	m := newMemory(t)
	p := three(t, m)
	m.since = time.Now().Add(-settleTime / 2)
	if err := p.Replace(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	deleted := 0
	err := p.Clean(t.Context(), func(Delete) { deleted++ })
	for _, key := range keysOf(t, compiled(t, 1, large)) {
		if key != fastlyhost.KeyPolicy && (err == nil || !strings.Contains(err.Error(), key)) {
			t.Errorf("%v: doesn't name %s", err, key)
		}
	}
	if deleted != 0 || len(m.values) != 7 {
		t.Errorf("%d deleted, %d left", deleted, len(m.values))
	}
}

// A push that breaks off, at whichever write, deletes nothing; one later clears away what it left,
// when serials have passed it.
func TestCleanAfterInterruption(t *testing.T) {
	for at := 1; at <= 3; at++ {
		t.Run(fmt.Sprint("at write ", at), func(t *testing.T) {
			m := newMemory(t)
			p := three(t, m)
			m.writes = 0
			m.fault = func(write int, r *http.Request) int {
				if write >= at && r.Method == http.MethodPut {
					return 403
				}
				return 0
			}
			m.watch(t)
			there := len(m.values)
			if err := p.Replace(t.Context(), false, nil); err == nil {
				t.Fatal("no error")
			}
			if err := p.Clean(t.Context(), func(d Delete) { t.Errorf("%s was deleted", d.Key) }); err != nil || len(m.values) != there+at-1 {
				t.Errorf("%v; %d entries, there were %d", err, len(m.values), there)
			}
			m.fault = nil
			to := networked(m.api())["fastly"]
			var last []byte
			for serial := uint64(4); serial < 7; serial++ { // 4 and 5 take the place of 3
				last = compiled(t, serial, 5)
				p := planned(t, to, last)
				m.watch(t)
				if err := p.Replace(t.Context(), false, nil); err != nil {
					t.Fatal(err)
				}
				if err := p.Clean(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
			if got := m.keys(); !slices.Equal(got, keysOf(t, last)) {
				t.Errorf("there are %v", got)
			}
		})
	}
}

// What can't be deleted, or found, is named and fails no push; the next one deletes it, whether or not this one
// stopped in the middle.
func TestCleanFails(t *testing.T) {
	first := keysOf(t, compiled(t, 1, large))
	part := first[len(first)-1] // is deleted before part 0
	for name, row := range map[string]struct {
		fault   func(r *http.Request) bool
		want    string
		deleted int
	}{
		"delete is forbidden": {func(r *http.Request) bool { return r.Method == http.MethodDelete }, part, 0},
		"the second delete": {func(r *http.Request) bool {
			return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "-0")
		}, first[1], 1},
		"no list of items": {func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/items") }, "listing its items", 0},
		"no list of keys":  {func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/keys") }, "listing its keys", 2},
		"no first part": {func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, first[1])
		}, part, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			p := three(t, m)
			m.fault = func(_ int, r *http.Request) int {
				if row.fault(r) {
					return 403
				}
				return 0
			}
			m.watch(t)
			if err := p.Replace(t.Context(), false, nil); err != nil {
				t.Fatalf("the push fails: %v", err)
			}
			deleted := 0
			err := p.Clean(t.Context(), func(Delete) { deleted++ })
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), token) || deleted != row.deleted {
				t.Errorf("%v; %d deleted; want %q and %d", err, deleted, row.want, row.deleted)
			}
			m.fault = nil
			p = planned(t, networked(m.api())["fastly"], compiled(t, 4, 5))
			m.watch(t)
			if err := p.Replace(t.Context(), false, nil); err != nil {
				t.Fatal(err)
			}
			if err := p.Clean(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if got, want := m.keys(), keysOf(t, compiled(t, 3, large), compiled(t, 4, 5)); !slices.Equal(got, want) {
				t.Errorf("there are %v, want %v", got, want)
			}
		})
	}
}

// Another push at the same time has written its parts, and not yet what makes them count.
func TestCleanLeavesAnotherPushAlone(t *testing.T) {
	m := newMemory(t)
	p := three(t, m)
	other := planned(t, networked(m.api())["fastly"], compiled(t, 4, large+100))
	for _, w := range other.Writes[:len(other.Writes)-1] {
		if err := w.do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Replace(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Clean(t.Context(), nil); err != nil {
		t.Error(err)
	}
	m.watch(t)
	if err := other.Writes[len(other.Writes)-1].do(t.Context()); err != nil {
		t.Fatal(err)
	}
}
