package push

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
)

// compiled is a policy of a serial that blocks n random addresses.
func compiled(t *testing.T, serial uint64, n int) []byte {
	t.Helper()
	p := forward.Default()
	p.Serial, p.Hash = serial, uint32(n)
	if n > 0 {
		random := rand.New(rand.NewPCG(serial, 1))
		list := blocklist.List{}
		for range n {
			a := random.Uint32()
			list.Prefixes = append(list.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a>>24)%127 + 1, byte(a >> 16), byte(a >> 8), byte(a)}), 32))
		}
		p.Chain = append([]policy.Source{&blocklist.Config{Match: blocklist.Both, Lists: []blocklist.List{list}}}, p.Chain...)
	}
	b, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is the platforms' APIs over one map of what was written.
type memory struct {
	*httptest.Server
	mu     sync.Mutex
	values map[string]string // by path, or by a parameter's name
	writes int
	fault  func(write int, r *http.Request) int // status to answer in place of what was asked for; 0: none
	stale  int                                  // reads that still see what was there before the last write
	before map[string]string
	since  time.Time               // when everything that is there was written
	change func(map[string]string) // sees what is there after every change
}

func newMemory(t *testing.T) *memory {
	m := &memory{values: map[string]string{}, since: time.Now().Add(-time.Hour)}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	key, value, write := r.URL.Path, string(body), r.Method == http.MethodPut
	target := r.Header.Get("X-Amz-Target")
	if target != "" {
		var p struct{ Name, Value string }
		json.Unmarshal(body, &p)
		key, value, write = p.Name, p.Value, target == "AmazonSSM.PutParameter"
	}
	item := strings.Contains(key, "/stores/config/")
	if item {
		form, _ := url.ParseQuery(value)
		value = form.Get("item_value")
	}
	if write {
		m.writes++
	}
	if m.fault != nil {
		if status := m.fault(m.writes, r); status != 0 {
			http.Error(w, "faulty, "+r.Header.Get("Authorization")+r.Header.Get("Fastly-Key"), status)
			return
		}
	}
	if write {
		m.before = maps.Clone(m.values)
		m.values[key] = value
	}
	if r.Method == http.MethodDelete {
		if _, ok := m.values[key]; !ok {
			http.Error(w, "no such thing", 404)
			return
		}
		delete(m.values, key)
	}
	if write || r.Method == http.MethodDelete {
		if m.change != nil {
			m.change(m.values)
		}
		return
	}
	if strings.HasSuffix(key, "/items") || strings.HasSuffix(key, "/keys") {
		m.list(w, r, strings.TrimSuffix(key, "s")+"/")
		return
	}
	from := m.values
	if m.before != nil && m.stale > 0 {
		m.stale--
		from = m.before
	}
	value, ok := from[key]
	switch {
	case !ok && target != "":
		http.Error(w, `{"__type":"ParameterNotFound"}`, 400)
	case !ok:
		http.Error(w, `{"errors":[{"code":10009,"message":"get: 'key not found'"}]}`, 404)
	case target != "":
		json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]string{"Value": value}})
	case item:
		json.NewEncoder(w).Encode(map[string]string{"item_key": key, "item_value": value})
	default:
		io.WriteString(w, value)
	}
}

// list answers with the items of a config store, or with a page of two keys of a KV store.
func (m *memory) list(w http.ResponseWriter, r *http.Request, prefix string) {
	prefix = strings.Replace(prefix, "/key/", "/keys/", 1)
	items, keys := []map[string]string{}, []string{}
	for _, path := range slices.Sorted(maps.Keys(m.values)) {
		if key, ok := strings.CutPrefix(path, prefix); ok {
			items = append(items, map[string]string{"item_key": key, "item_value": m.values[path], "updated_at": m.since.UTC().Format(time.RFC3339)})
			if strings.HasPrefix(key, r.URL.Query().Get("prefix")) && key > r.URL.Query().Get("cursor") {
				keys = append(keys, key)
			}
		}
	}
	if strings.HasSuffix(prefix, "/item/") {
		json.NewEncoder(w).Encode(items)
		return
	}
	next := ""
	if len(keys) > 2 {
		keys = keys[:2]
		next = keys[1]
	}
	json.NewEncoder(w).Encode(map[string]any{"data": keys, "meta": map[string]string{"next_cursor": next}})
}

func (m *memory) api() API { return API{Endpoint: m.URL, Pause: time.Millisecond} }

func planned(t *testing.T, to target, b []byte) *Plan {
	t.Helper()
	p, err := to.Plan(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReplace is the life of a policy, on every platform.
func TestReplace(t *testing.T) {
	m := newMemory(t)
	targets := networked(m.api())
	targets["file"] = File{Path: filepath.Join(t.TempDir(), "policy.blob")}
	for name, to := range targets {
		t.Run(name, func(t *testing.T) {
			older, old, newer := compiled(t, 6, 5), compiled(t, 7, 5), compiled(t, 8, 5)
			if _, err := planned(t, to, old).Current(t.Context()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("before anything was written: %v", err)
			}
			for i, row := range []struct {
				blob  []byte
				force bool
				err   error
				there uint64
			}{
				{old, false, nil, 7},
				{old, false, ErrSame, 7},
				{older, false, ErrNewer, 7},
				{newer, false, nil, 8},
				{older, true, nil, 6},
				{older, true, nil, 6},
			} {
				p := planned(t, to, row.blob)
				wrote := 0
				err := p.Replace(t.Context(), row.force, func(Write) { wrote++ })
				if !errors.Is(err, row.err) || wrote > 0 != (row.err == nil) {
					t.Errorf("%d: %v, want %v; %d written", i, err, row.err, wrote)
				}
				if err != nil && (!strings.Contains(err.Error(), "key ") || strings.Contains(err.Error(), token)) {
					t.Errorf("%d: %v", i, err)
				}
				if version, err := p.Current(t.Context()); err != nil || version.Serial != row.there {
					t.Errorf("%d: %v, %v; want serial %d", i, version, err, row.there)
				}
			}
		})
	}
}

// TestReplaceNothingUnknown: who can't see what is there doesn't write over it, unless told to.
func TestReplaceNothingUnknown(t *testing.T) {
	for name := range networked(API{}) {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			m.fault = func(_ int, r *http.Request) int {
				if r.Method == http.MethodGet || strings.HasSuffix(r.Header.Get("X-Amz-Target"), "GetParameter") {
					return 403
				}
				return 0
			}
			p := planned(t, networked(m.api())[name], compiled(t, 7, 5))
			err := p.Replace(t.Context(), false, nil)
			if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), token) || m.writes != 0 {
				t.Errorf("%v after %d writes", err, m.writes)
			}
			if err := p.Replace(t.Context(), true, nil); !errors.Is(err, ErrReadBack) || m.writes != 1 {
				t.Errorf("%v after %d writes", err, m.writes)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "policy.blob")
	if err := os.WriteFile(path, []byte("my notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := planned(t, File{Path: path}, compiled(t, 7, 5))
	if err := p.Replace(t.Context(), false, nil); !errors.Is(err, ErrUnknown) || !errors.Is(err, blob.ErrFormat) {
		t.Errorf("a file of something else: %v", err)
	}
	if err := p.Replace(t.Context(), true, nil); err != nil {
		t.Errorf("forced: %v", err)
	}
}

// TestReplaceInParts: a push that breaks off leaves the policy before as it was, and the next mends it.
func TestReplaceInParts(t *testing.T) {
	m := newMemory(t)
	to := networked(m.api())["fastly"]
	if err := planned(t, to, compiled(t, 7, 5)).Replace(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	large := planned(t, to, compiled(t, 8, 2500))
	if len(large.Writes) != 3 {
		t.Fatalf("%d writes, want two parts and the manifest", len(large.Writes))
	}
	m.writes = 0
	m.fault = func(write int, r *http.Request) int {
		if write >= 2 && r.Method == http.MethodPut {
			return 500
		}
		return 0
	}
	err := large.Replace(t.Context(), false, nil)
	if err == nil || !strings.Contains(err.Error(), large.Writes[1].Key) || m.writes != 1+maxTries {
		t.Errorf("%v after %d writes", err, m.writes)
	}
	m.fault = nil
	if version, err := large.Current(t.Context()); err != nil || version.Serial != 7 {
		t.Errorf("after half a push: %v, %v", version, err)
	}
	if err := large.Replace(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if version, err := large.Current(t.Context()); err != nil || version.Serial != 8 {
		t.Errorf("after a whole one: %v, %v", version, err)
	}
	huge := planned(t, to, compiled(t, 9, 20_000))
	if huge.Writes[0].Store != "KV store k/1" {
		t.Fatalf("%+v", huge.Writes)
	}
	if err := huge.Replace(t.Context(), false, nil); err != nil {
		t.Error(err)
	}
	// A part that is gone is no missing policy: what it was of may be newer.
	maps.DeleteFunc(m.values, func(key, _ string) bool { return strings.Contains(key, "/stores/kv/") })
	if err := large.Replace(t.Context(), false, nil); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), fastlyhost.KeyPrefix) {
		t.Errorf("with a part gone: %v", err)
	}
}

// TestReadBack: a store may take a moment, but not for ever.
func TestReadBack(t *testing.T) {
	for stale, want := range map[int]error{0: nil, maxTries - 1: nil, maxTries: ErrReadBack} {
		m := newMemory(t)
		to := networked(m.api())["workers"]
		if err := planned(t, to, compiled(t, 7, 5)).Replace(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		m.before, m.stale = nil, stale
		err := planned(t, to, compiled(t, 8, 5)).Replace(t.Context(), false, nil)
		if !errors.Is(err, want) {
			t.Errorf("%d stale reads: %v, want %v", stale, err, want)
		}
	}
}

func TestReadMistakes(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"workers": {`{"errors":[{"code":10013,"message":"namespace not found"}]}`, 404, "namespace not found"},
		"s3":      {"<Error><Code>NoSuchBucket</Code></Error>", 404, "NoSuchBucket"},
		"fastly":  {"<html>", 200, "invalid character"},
		"ssm":     {`{"Parameter":{"Value":"*"}}`, 200, "illegal base64"},
	} {
		s := serve(t, row.answer, row.status)
		p := planned(t, networked(s.api())[name], compiled(t, 7, 5))
		version, err := p.Current(t.Context())
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), row.want) || version != (flow.PolicyVersion{}) {
			t.Errorf("%s: %v, %v; want %q", name, version, err, row.want)
		}
	}
	s := serve(t, strings.Repeat("x", 2*fastlyhost.MaxValue+maxAnswer+1), 200)
	if _, err := planned(t, networked(s.api())["fastly"], compiled(t, 7, 5)).Current(t.Context()); err == nil || !strings.Contains(err.Error(), "answer of more than") || len(s.requests) != 1 {
		t.Errorf("an endless answer: %v, %d requests", err, len(s.requests))
	}
}
