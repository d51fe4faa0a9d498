package policyhost

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/flowtest"
	"switchbridge/internal/watched"
	"switchbridge/policy/blob"
	"switchbridge/policy/lookup"
	"switchbridge/policy/lookup/lookuptest"
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

// What a policy names is looked up again while it is in force: a change of it is a new policy, and a source that fails changes nothing, and is named.
func TestLookups(t *testing.T) {
	dns := lookuptest.NewDNS(t)
	dns.Set("bad.example.org", "203.0.113.1")
	body := "192.0.2.1\n"
	broken := true
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, body)
	}))
	defer web.Close()
	var mu sync.Mutex
	at := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	kept := lookup.NewStore(t.TempDir(), nil, dns.Resolver(), clock)
	defer func(before func() *lookup.Store) { store = before }(store)
	store = func() *lookup.Store { return kept }

	path := filepath.Join(t.TempDir(), "policy")
	write(t, path, "resolve: 1m\nchain:\n  - blocklist: {addresses: [bad.example.org], urls: [{url: "+web.URL+", refresh: 1m}]}\n  - forward: {}\n")
	var said strings.Builder
	results := new(watched.Results)
	log := slog.New(slog.NewTextHandler(&said, nil))
	if _, _, err := Open(path, log, results); err == nil || !strings.Contains(err.Error(), path+":3: blocklist: urls: "+web.URL+": 502 Bad Gateway, and there is no copy from before") {
		t.Fatalf("a start without a copy: %v", err)
	}
	broken = false
	at = at.Add(time.Minute)
	file, p, err := Open(path, log, results)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	host := NewNative(p)
	file.Follow(host, nil)
	verdict := func(dst string) flow.Verdict {
		ev := flowtest.Event(flowtest.TCP(80))
		ev.PacketIn.Match.SetIPDst(netip.PrefixFrom(netip.MustParseAddr(dst), 32))
		var d flow.Decision
		if err := host.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		return d.Verdict
	}
	look := func(pass time.Duration) {
		t.Helper()
		mu.Lock()
		at = at.Add(pass)
		mu.Unlock()
		for _, f := range file.Files() { // as a watcher does each second
			_, _ = f.Look(t.Context(), false)
		}
		file.keeper.Wait()
		for _, f := range file.Files() {
			_, _ = f.Look(t.Context(), false)
		}
	}
	want := func(when string, denied string, bad string) {
		t.Helper()
		for _, dst := range []string{"192.0.2.1", "192.0.2.2", "203.0.113.1", "203.0.113.2"} {
			if got := verdict(dst); (got == flow.Deny) != strings.Contains(denied, dst) {
				t.Errorf("%s: %s is %v; denied should be %s", when, dst, got, denied)
			}
		}
		if err := results.Err(); (err == nil) != (bad == "") || err != nil && !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: the results say %v, want %q", when, err, bad)
		}
	}
	want("at first", "192.0.2.1 203.0.113.1", "")
	first := host.Version()
	look(time.Minute)
	want("the same", "192.0.2.1 203.0.113.1", "")
	if host.Version() != first || strings.Contains(said.String(), "reloaded") {
		t.Errorf("version %v became %v though nothing changed: %s", first, host.Version(), said.String())
	}
	body = "192.0.2.1\n192.0.2.2\n"
	look(30 * time.Second)
	want("not due", "192.0.2.1 203.0.113.1", "")
	look(30 * time.Second)
	want("a longer list", "192.0.2.1 192.0.2.2 203.0.113.1", "")
	if host.Version().Serial <= first.Serial {
		t.Errorf("version %v after %v", host.Version(), first)
	}
	body = "sorry\n"
	look(time.Minute)
	want("no list any more", "192.0.2.1 192.0.2.2 203.0.113.1", "the list stays as it was: "+web.URL+`:1: "sorry" is not an address`)
	dns.Set("bad.example.org")
	body = "192.0.2.2\n"
	look(time.Minute)
	want("mended, and the name is gone", "192.0.2.2 203.0.113.1", "the name stays as it was: bad.example.org has no address")
	dns.Set("bad.example.org", "203.0.113.2")
	look(time.Minute)
	want("another address", "192.0.2.2 203.0.113.1 203.0.113.2", "")
	look(lookup.Keep)
	want("ten minutes later", "192.0.2.2 203.0.113.2", "")
	if n := strings.Count(said.String(), "sorry"); n != 1 {
		t.Errorf("the log says %d times what is wrong with the list:\n%s", n, said.String())
	}

	// A policy that names something new, which is not there: the one in force stays, until it is there.
	write(t, path, "chain:\n  - blocklist: {addresses: [new.example.org]}\n  - forward: {}\n")
	look(0)
	want("a new name that is not there", "192.0.2.2 203.0.113.2", path+":2: blocklist: address 1: new.example.org has no address, and there is no copy from before")
	dns.Set("new.example.org", "203.0.113.1")
	look(0)
	want("not tried again at once", "192.0.2.2 203.0.113.2", "new.example.org")
	look(time.Minute)
	want("the new name is there", "203.0.113.1", "")
	write(t, path, "chain: [{forward: {}}]\n")
	look(0)
	if n := len(results.List()); n != 1 {
		t.Errorf("results %v, want that of the policy alone", results.List())
	}
}
