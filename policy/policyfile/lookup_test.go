package policyfile

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"switchbridge/policy/blob"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/header"
	"switchbridge/policy/lookup"
	"switchbridge/policy/lookup/lookuptest"
	"switchbridge/policy/mac"
)

// site is a web server whose pages a test sets.
type site struct {
	*httptest.Server
	pages map[string]string
}

func newSite(t *testing.T) *site {
	s := &site{pages: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := s.pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

// A policy with lists by URL and names is what it would be with what they hold written into it.
func TestLookups(t *testing.T) {
	dns, web := lookuptest.NewDNS(t), newSite(t)
	web.pages["/a.txt"] = "# a list\n192.0.2.7\n198.51.100.0/24 ; with a comment\n"
	web.pages["/ethers"] = "02:00:00:00:00:07 printer\n"
	dns.Set("www.example.org", "203.0.113.1", "2001:db8::1")
	dns.Set("ntp.example.org", "203.0.113.2")
	dns.Set("bad.example.org", "203.0.113.66")
	path := filepath.Join(t.TempDir(), "policy.yaml")
	text := `
resolve: 1m
groups:
  outside: [www.example.org, 203.0.113.9]
chain:
  - blocklist:
      addresses: [bad.example.org, 10.0.0.3]
      urls: [SITE/a.txt]
  - mac: {urls: [{url: SITE/ethers, refresh: 6h, max_size: 1MiB}]}
  - header:
      rules:
        - {name: web, match: {from: 10.0.0.0/8, to: outside, tcp_dst: 443}, action: allow}
        - {name: time, match: {ip_dst: ntp.example.org, udp_dst: 123}, action: allow}
        - {name: rest, match: {not: {to: WWW.example.org.}}, action: deny}
`
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "SITE", web.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+":4: group outside: www.example.org: names are not looked up here") {
		t.Errorf("without a store: %v", err)
	}
	dir := t.TempDir()
	r := Reader{Store: lookup.NewStore(dir, nil, dns.Resolver(), nil)}
	doc, err := r.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i, config := range []any{doc.Policy.Chain[0].(*blocklist.Config).Lists, doc.Policy.Chain[1].(*mac.Config).Lists, doc.Policy.Chain[2].(*header.Config).Conditions()[0],
		doc.Policy.Chain[2].(*header.Config).Conditions()[1]} {
		for _, want := range [][]string{{"203.0.113.66/32", "10.0.0.3/32", "192.0.2.7/32", "198.51.100.0/24", web.URL + "/a.txt"}, {"02:00:00:00:00:07", web.URL}, {"203.0.113.1 ", "203.0.113.9 "},
			{"203.0.113.2 "}}[i] {
			if got := fmt.Sprint(config); !strings.Contains(got, want) {
				t.Errorf("entry %d lacks %s: %s", i, want, got)
			}
		}
	}
	if n := len(doc.Policy.Chain[2].(*header.Config).Conditions()[0]); n != 2 {
		t.Errorf("from an IPv4 network to the outside in %d ways, want 2: %v", n, doc.Policy.Chain[2].(*header.Config).Conditions()[0])
	}
	if len(doc.Lookups) != 5 || len(doc.Copies) != 5 || doc.Lookups[0].Name != "www.example.org" || doc.Lookups[0].Every != time.Minute {
		t.Errorf("looked up are %v, in %v", doc.Lookups, doc.Copies)
	}
	if _, err := blob.Pack(doc.Policy); err != nil {
		t.Error(err)
	}
	// The version is that of what was found: read again it is the same, and after a change it is larger.
	again, err := r.Read(t.Context(), path)
	if err != nil || again.Policy.Version() != doc.Policy.Version() {
		t.Errorf("version %v, and read again %v, %v", doc.Policy.Version(), again.Policy.Version(), err)
	}
	web.pages["/a.txt"] = "192.0.2.8\n"
	r.Store.LookAll(t.Context(), doc.Lookups, true)
	if again, err = r.Read(t.Context(), path); err != nil || again.Policy.Serial <= doc.Policy.Serial || again.Policy.Hash == doc.Policy.Hash {
		t.Errorf("version %v, and after a change of a list %v, %v", doc.Policy.Version(), again.Policy.Version(), err)
	}
	// What is due and fails is said, and the copy counts.
	web.Close()
	dns.Fail("ip4", "ip6")
	late := Reader{Store: lookup.NewStore(dir, nil, dns.Resolver(), func() time.Time { return time.Now().Add(2 * time.Minute) }), Fresh: true}
	last, err := late.Read(t.Context(), path)
	if err != nil || last.Policy.Version() != again.Policy.Version() || len(late.Stale) != 3 || !strings.Contains(fmt.Sprint(late.Stale), "www.example.org") {
		t.Errorf("%v, version %v; %v", err, last.Policy.Version(), late.Stale)
	}
	// Without a copy, a policy is not read at all.
	lost := Reader{Store: lookup.NewStore(t.TempDir(), nil, dns.Resolver(), nil)}
	_, err = lost.Read(t.Context(), path)
	for _, want := range []string{path + ":4: group outside: www.example.org: ", path + ":7: blocklist: address 1: bad.example.org", path + ":8: blocklist: urls: Get ", "connection refused, and there is no copy from before",
		path + ":9: mac: urls: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without a copy: %v\nwant %s", err, want)
		}
	}
}

// Each change of what is looked up makes the serial larger: two in one moment, one while the clock is behind the policy's file, and one while it is behind
// what was found before.
func TestSerialGrows(t *testing.T) {
	web := newSite(t)
	web.pages["/a"], web.pages["/b"] = "192.0.2.1\n", "192.0.2.2\n"
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	text := strings.ReplaceAll("chain: [{blocklist: {urls: [SITE/a, SITE/b]}}, {forward: {}}]", "SITE", web.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := time.Now().Add(time.Hour)
	var serial uint64
	look := func(what string, store *lookup.Store, page, list string) {
		t.Helper()
		r := Reader{Store: store}
		doc, err := r.Read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		web.pages[page] = list
		for i, err := range store.LookAll(t.Context(), doc.Lookups, true) {
			if err != nil {
				t.Fatalf("%s: %d: %v", what, i, err)
			}
		}
		if doc, err = r.Read(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if doc.Policy.Serial <= serial {
			t.Errorf("%s: serial %d, and before %d", what, doc.Policy.Serial, serial)
		}
		serial = doc.Policy.Serial
	}
	copies := t.TempDir()
	store := func() *lookup.Store { return lookup.NewStore(copies, nil, nil, func() time.Time { return clock }) }
	first := store()
	look("at first", first, "/a", "192.0.2.3\n")
	look("the other list in the same moment", first, "/b", "192.0.2.4\n")
	look("and the first again", first, "/a", "192.0.2.5\n")
	clock = clock.Add(-24 * time.Hour)
	look("the clock was set back", first, "/b", "192.0.2.6\n")
	look("the same, after a restart", store(), "/a", "192.0.2.7\n")
	later := time.Now().Add(48 * time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	serial = uint64(later.UnixMilli())
	look("the policy's file is of a time to come", store(), "/a", "192.0.2.8\n")
}

// Errors about what is looked up name the place, and what was expected.
func TestLookupErrors(t *testing.T) {
	web := newSite(t)
	web.pages["/list"] = "192.0.2.1\n192.0.2.256\n"
	web.pages["/html"] = "<html>\n"
	for text, want := range map[string]string{
		"chain: [{blocklist: {urls: [SITE/list]}}]":                                          `SITE/list:2: "192.0.2.256" is not an address or prefix`,
		"chain: [{blocklist: {urls: [SITE/html]}}]":                                          `p.yaml:1: blocklist: urls: SITE/html:1: "<html>" is not an address or prefix, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32, and there is no copy from before`,
		"chain: [{blocklist: {urls: [ftp://a/b]}}]":                                          `p.yaml:1: blocklist: urls: "ftp://a/b": want a URL such as https://lists.example.net/bad.txt`,
		"chain: [{blocklist: {urls: [http://lists.example.net/b]}}]":                         `anybody on the way can change what comes over http: want https, or sha256 beside the URL`,
		"chain: [{blocklist: {urls: [https://me:secret@lists.example.net/b]}}]":              `would stand in logs: want one without`,
		"chain: [{blocklist: {urls: [{url: SITE/list, sha256: abc}]}}]":                      `urls: sha256: "abc": want the 64 hexadecimal digits`,
		"chain: [{blocklist: {urls: [{url: SITE/list, max_size: 65MiB}]}}]":                  `urls: max_size: "65MiB": want a size such as 1048576 or 4MiB, at most 64MiB`,
		"chain: [{blocklist: {urls: [{url: SITE/list, refresh: 1s}]}}]":                      `urls: refresh: "1s": want a time from 10s to 720h`,
		"chain: [{blocklist: {urls: [{url: SITE/list, refesh: 1h}]}}]":                       `unknown key "refesh": want one of url, sha256, max_size, refresh; did you mean refresh?`,
		"resolve: 1\nchain: [{forward: {}}]":                                                 `p.yaml:1: resolve: "1": want a time from 10s to 720h`,
		"serial: 7\nchain: [{blocklist: {urls: [SITE/good]}}]":                               `p.yaml:1: serial: SITE/good is looked up again and again, and what the policy says changes with it: leave serial out`,
		"groups: {cams: [\"02:00:00:00:00:01\"]}\nchain: [{blocklist: {addresses: [cams]}}]": `p.yaml:2: blocklist: address 1: cams: it has Ethernet addresses, which are for a mac entry`,
		"groups: {cams: 10.0.0.1}\nchain: [{mac: {addresses: [cams]}}]":                      `p.yaml:2: mac: address 1: cams: it has more than Ethernet addresses`,
		"groups: {web: tcp/80}\nchain: [{blocklist: {addresses: [web]}}]":                    `address 1: web: it has services: want a group of addresses`,
	} {
		web.pages["/good"] = "192.0.2.1\n"
		path := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "SITE", web.URL)), 0o600); err != nil {
			t.Fatal(err)
		}
		r := Reader{Store: lookup.NewStore(t.TempDir(), nil, lookuptest.NewDNS(t).Resolver(), nil)}
		if _, err := r.Read(t.Context(), path); err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, "SITE", web.URL)) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

// Lines of lists are read as those who publish them write them, and nothing that is unclear is guessed at.
func TestListFormats(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"netset":     {"#\n# firehol_level1\n#\n0.0.0.0/8\n1.10.16.0/20\n", "0.0.0.0/8 1.10.16.0/20"},
		"DROP":       {"; Spamhaus DROP List\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n", "1.10.16.0/20 1.19.0.0/16"},
		"IPsum":      {"# IP\tcount\n192.0.2.1\t9\n192.0.2.2\t8\n", "192.0.2.1/32 192.0.2.2/32"},
		"hosts":      {"127.0.0.1\tlocalhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n255.255.255.255\tbroadcasthost\n192.0.2.1 bad.example.net worse # these\n", "192.0.2.1/32"},
		"CSV":        {"ip,first_seen,reason\r\n192.0.2.1,2026-01-02,\"spam, and #more\"\r\n\"192.0.2.0/24\" , x\r\n2001:db8::/32,\r\n", "192.0.2.1/32 192.0.2.0/24 2001:db8::/32"},
		"quoted":     {"\"ip_address\",\"x\"\n\"192.0.2.1\",\"y\"\n", "192.0.2.1/32"},
		"CIDR":       {"192.0.2.0/24\n\n2001:db8::/32", "192.0.2.0/24 2001:db8::/32"},
		"adblock":    {"! Title: a list\n// more\n192.0.2.1\n", "192.0.2.1/32"},
		"sink":       {"192.0.2.1\n0.0.0.0 ads.example.net\n", ":2: \"0.0.0.0 ads.example.net\": this line of a hosts file blocks a name: want lists of addresses"},
		"two":        {"192.0.2.1 192.0.2.2\n", `:1: "192.0.2.1 192.0.2.2": want one address a line, and nothing behind it but names`},
		"from to":    {"192.0.2.1 - 192.0.2.9\n", `:1: "192.0.2.1 - 192.0.2.9": want one address a line`},
		"range":      {"192.0.2.1-192.0.2.9\n", `:1: "192.0.2.1-192.0.2.9" is not an address or prefix`},
		"names":      {"bad.example.net\n", `:1: "bad.example.net" is not an address or prefix`},
		"host bits":  {"192.0.2.1/24\n", ":1: 192.0.2.1/24 has bits beyond its length: write 192.0.2.0/24"},
		"header":     {"192.0.2.1\nip,reason\n", `:2: "ip" is not an address or prefix`},
		"other CSV":  {"2026-01-02,192.0.2.1\n", `:1: "2026-01-02" is not an address or prefix`},
		"open quote": {"\"192.0.2.1,x\n", ":1: \"\\\"192.0.2.1,x\": want the first column between two quotes"},
		"zeroes":     {"192.0.2.010\n", ":1: \"192.0.2.010\" is not an address or prefix"},
	} {
		p, err := parse("chain: [{blocklist: {files: [a]}}]", map[string]string{"dir/a": row.text})
		if strings.HasPrefix(row.want, ":") {
			if err == nil || !strings.Contains(filepath.ToSlash(err.Error()), "dir/a"+row.want) {
				t.Errorf("%s: %v, want %s", name, err, row.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Trim(fmt.Sprint(p.Chain[0].(*blocklist.Config).Lists[0].Prefixes), "[]"); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

// A list of which nothing is right takes no more memory than one that is: whatever a server sends, only some of it is named.
func TestListOfFaults(t *testing.T) {
	const size = 4 << 20
	for name, line := range map[string]string{"words": "x\n", "nothing": "\n", "comments": "#\n"} {
		web := newSite(t)
		web.pages["/list"] = strings.Repeat(line, size/len(line))
		path := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(path, []byte("chain: [{blocklist: {urls: ["+web.URL+"/list]}}]"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := Reader{Store: lookup.NewStore(t.TempDir(), nil, nil, nil)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := r.Read(t.Context(), path)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: it is taken", name)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 16*size {
			t.Errorf("%s: %d bytes took %d of memory", name, size, took)
		}
	}
	_, err := parse("chain: [{blocklist: {files: [a]}}]", map[string]string{"dir/a": strings.Repeat("x\n", 1e5) + "192.0.2.1\n"})
	var all Errors
	if !errors.As(err, &all) || len(all) != 101 || all[100].Line != 101 {
		t.Errorf("%d faults, the last at %v", len(all), all[max(0, len(all)-1)])
	}
}
