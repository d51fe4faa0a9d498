package lookup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/policy/lookup/lookuptest"
	"switchbridge/policy/syntax"
)

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 12, 1, 4, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// addresses is a check for lists of addresses.
func addresses(url string) func([]byte) error {
	return func(body []byte) error {
		n := 0
		for line := range strings.Lines(string(body)) {
			if _, err := netip.ParseAddr(strings.TrimSpace(line)); err != nil {
				return fmt.Errorf("%s: %.20q is no address", url, line)
			}
			n++
		}
		if n == 0 {
			return fmt.Errorf("%s: the list is empty", url)
		}
		return nil
	}
}

func listAt(url string) *syntax.Lookup {
	return &syntax.Lookup{URL: url, MaxSize: 1000, Every: time.Hour, Check: addresses(url)}
}

const good = "192.0.2.1\n192.0.2.2\n"

// A list is fetched, asked for by its tag, and stays when what comes is not whole, too large, of another checksum, no list, empty, or nothing.
func TestList(t *testing.T) {
	var answer http.HandlerFunc
	var asked []string // tags
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		answer(w, r)
	}))
	defer server.Close()
	clk := newClock()
	s := NewStore(t.TempDir(), nil, nil, clk.now)
	l := listAt(server.URL + "/bad.txt")
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", strconv.Quote(strconv.Itoa(len(body))))
			if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = io.WriteString(w, body)
		}
	}
	raw := func(response string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, response)
			c.Close()
		}
	}
	const first, second = good, "192.0.2.1\n192.0.2.2\n192.0.2.3\n"
	body := ""
	for _, row := range []struct {
		name    string
		answer  http.HandlerFunc
		sha256  string
		changed bool
		body    string // from then on
		err     string
	}{
		{name: "dead at first", answer: raw(""), err: "EOF"},
		{name: "first", answer: text(first), changed: true, body: first},
		{name: "304", answer: text(first), body: first},
		{name: "another tag, the same content", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"x"`)
			_, _ = io.WriteString(w, first)
		}, body: first},
		{name: "truncated", answer: raw("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n192.0.2.1\n192.0.2.2\n"), body: first, err: "cut off after 20 bytes"},
		{name: "truncated chunks", answer: raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n192.0.2.1\n\r\n"), body: first, err: "cut off after 10 bytes"},
		{name: "of no length", answer: raw("HTTP/1.1 200 OK\r\n\r\n192.0.2.1\n"), body: first, err: "whether it is whole"},
		{name: "too large by its header", answer: raw("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), body: first, err: "1001 bytes, more than max_size, 1000"},
		{name: "too large", answer: func(w http.ResponseWriter, _ *http.Request) {
			for range 200 {
				_, _ = io.WriteString(w, "192.0.2.1\n")
				_ = http.NewResponseController(w).Flush()
			}
		}, body: first, err: "more bytes than max_size, 1000"},
		{name: "a page that says sorry", answer: text("<html>come back later</html>"), body: first, err: "is no address"},
		{name: "empty", answer: text(""), body: first, err: "the list is empty"},
		{name: "gone", answer: http.NotFound, body: first, err: "404 Not Found"},
		{name: "not modified, though nobody asked", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, body: first},
		{name: "changed", answer: text(second), changed: true, body: second},
	} {
		answer = row.answer
		before, _ := s.Copy(l)
		clk.pass(time.Hour)
		changed, err := s.Look(t.Context(), l)
		if changed != row.changed || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: changed %t, %v; want %t, %q", row.name, changed, err, row.changed, row.err)
		}
		c, err := s.Copy(l)
		if body = string(c.Body); body != row.body || (err == nil) != (row.body != "") {
			t.Errorf("%s: the copy is %q, %v; want %q", row.name, body, err, row.body)
		}
		if row.changed && !c.Changed.Equal(clk.now()) || !row.changed && !c.Changed.Equal(before.Changed) {
			t.Errorf("%s: changed at %v, and it was %v", row.name, c.Changed, before.Changed)
		}
	}
	if !slices.Contains(asked, `"20"`) {
		t.Errorf("asked with the tags %q", asked)
	}
	if v := asked[len(asked)-1]; v != `"x"` {
		t.Errorf("asked with %s last, want the tag that came last", v)
	}
}

// A checksum in the policy is that of the content, and a list that has it is not asked for again.
func TestChecksum(t *testing.T) {
	body, asked := good, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, body)
	}))
	defer server.Close()
	clk := newClock()
	s := NewStore(t.TempDir(), nil, nil, clk.now)
	l := listAt(server.URL)
	h := sha256.Sum256([]byte(good))
	l.SHA256 = hex.EncodeToString(h[:])
	body = "192.0.2.66\n"
	if _, err := s.Look(t.Context(), l); err == nil || !strings.Contains(err.Error(), "the policy wants "+l.SHA256) {
		t.Errorf("another list: %v", err)
	}
	if _, err := s.Copy(l); err == nil {
		t.Error("it is used all the same")
	}
	body = good
	if _, err := s.Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	clk.pass(1000 * time.Hour)
	if errs := s.LookAll(t.Context(), []*syntax.Lookup{l}, false); errs[0] != nil || asked != 2 {
		t.Errorf("%v, asked %d times, want 2", errs[0], asked)
	}
	// The same URL without a checksum, or with another one, is another list.
	other := *l
	other.SHA256 = ""
	if _, err := s.Copy(&other); err == nil {
		t.Error("a copy of the list at any time")
	}
}

// What is slow ends with the time for it, and what was found stays.
func TestSlow(t *testing.T) {
	release := make(chan struct{})
	slow := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "192.0.2.1\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		_, _ = io.WriteString(w, good)
	}))
	defer server.Close()
	defer close(release)
	s := NewStore(t.TempDir(), nil, nil, nil)
	l := listAt(server.URL)
	s.timeout = Timeout
	if _, err := s.Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	slow, s.timeout = true, 50*time.Millisecond
	if _, err := s.Look(t.Context(), l); err == nil || !strings.Contains(err.Error(), "it was not there whole after 50ms") {
		t.Errorf("%v", err)
	}
	if c, err := s.Copy(l); err != nil || string(c.Body) != good {
		t.Errorf("%q, %v", c.Body, err)
	}
	s.timeout = Timeout
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Look(ctx, l); err != context.Canceled || strings.Contains(s.Err(l).Error(), "cancel") {
		t.Errorf("a program that ends: %v, noted as %v", err, s.Err(l))
	}
}

// A copy outlives the program, and the source; one that is damaged is none.
func TestCopiesStay(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }))
	dir, clk := t.TempDir(), newClock()
	l := listAt(server.URL)
	if _, err := NewStore(dir, nil, nil, clk.now).Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	server.Close()
	s := NewStore(dir, nil, nil, clk.now)
	if errs := s.LookAll(t.Context(), []*syntax.Lookup{l}, false); errs[0] != nil {
		t.Errorf("a copy of just now was looked for again: %v", errs[0])
	}
	clk.pass(time.Hour)
	if errs := s.LookAll(t.Context(), []*syntax.Lookup{l}, false); errs[0] == nil {
		t.Error("a server that is gone answered")
	}
	c, err := s.Copy(l)
	if err != nil || string(c.Body) != good {
		t.Fatalf("%q, %v", c.Body, err)
	}
	b, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{b[:len(b)-5], append(slices.Clone(b), "192.0.2.9\n"...), nil, []byte("# {}\n")} {
		if err := os.WriteFile(c.Path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Copy(l); err == nil || c.Body != nil {
			t.Errorf("%q is a copy: %q", damaged, c.Body)
		}
	}
}

// A source that fails is asked again after a while that doubles, and not more seldom than one that answers.
func TestRetries(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	clk := newClock()
	s := NewStore(t.TempDir(), nil, nil, clk.now)
	l := listAt(server.URL)
	l.Every = 5 * time.Minute
	var at []int
	for second := range 20 * 60 {
		before := asked
		s.LookAll(t.Context(), []*syntax.Lookup{l}, false)
		if asked > before {
			at = append(at, second)
		}
		clk.pass(time.Second)
	}
	if want := []int{0, 30, 90, 210, 450, 750, 1050}; !slices.Equal(at, want) {
		t.Errorf("asked after %v seconds, want %v", at, want)
	}
}

func TestRedirects(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	client := secure.Client()
	client.CheckRedirect = followed
	s := NewStore(t.TempDir(), client, nil, nil)
	if _, err := s.Look(t.Context(), listAt(secure.URL)); err == nil || !strings.Contains(err.Error(), "a redirect from https to http") {
		t.Errorf("%v", err)
	}
}

// A name's addresses are looked up at a real name server. Those that it has no more stay for ten minutes, and all of them when it fails.
func TestName(t *testing.T) {
	server := lookuptest.NewDNS(t)
	clk := newClock()
	s := NewStore(t.TempDir(), nil, server.Resolver(), clk.now)
	l := &syntax.Lookup{Name: "www.example.org", Every: time.Minute}
	for _, row := range []struct {
		name string
		pass time.Duration
		do   func()
		want string
		err  string
	}{
		{"a name that is not there", 0, func() {}, "", "www.example.org has no address"},
		{"both families", time.Minute, func() { server.Set(l.Name, "192.0.2.1", "2001:db8::1", "192.0.2.2") }, "192.0.2.1 192.0.2.2 2001:db8::1", ""},
		{"the same", time.Minute, func() {}, "192.0.2.1 192.0.2.2 2001:db8::1", ""},
		{"one more, and one gone", time.Minute, func() { server.Set(l.Name, "192.0.2.3", "2001:db8::1", "192.0.2.2") }, "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", ""},
		{"the server fails", time.Minute, func() { server.Fail("ip4", "ip6") }, "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "server misbehaving"},
		{"still, and longer than addresses stay", time.Hour, func() {}, "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "server misbehaving"},
		{"one family fails", time.Minute, func() { server.Fail("ip6"); server.Set(l.Name, "192.0.2.3", "192.0.2.2") }, "192.0.2.2 192.0.2.3 2001:db8::1", "the addresses of one family stay"},
		{"no more name", time.Minute, func() { server.Fail(); server.Set(l.Name) }, "192.0.2.2 192.0.2.3 2001:db8::1", "has no address"},
		{"one address", time.Minute, func() { server.Set(l.Name, "192.0.2.3") }, "192.0.2.2 192.0.2.3 2001:db8::1", ""},
		{"less than ten minutes", 9 * time.Minute, func() { server.Set(l.Name, "2001:db8::1", "192.0.2.3") }, "192.0.2.2 192.0.2.3 2001:db8::1", ""},
		{"ten minutes", time.Minute, func() {}, "192.0.2.3 2001:db8::1", ""},
	} {
		row.do()
		clk.pass(row.pass)
		before, _ := s.Copy(l)
		changed, err := s.Look(t.Context(), l)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v, want %q", row.name, err, row.err)
		}
		c, _ := s.Copy(l)
		if got := strings.Join(strings.Fields(string(c.Body)), " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if changed != (string(before.Body) != string(c.Body)) || changed == c.Changed.Equal(before.Changed) {
			t.Errorf("%s: changed %t at %v, before at %v", row.name, changed, c.Changed, before.Changed)
		}
	}
}

// An address that is gone goes when its ten minutes are over, and not when the next look at the name is due.
func TestGoneInTime(t *testing.T) {
	server := lookuptest.NewDNS(t)
	clk := newClock()
	dir := t.TempDir()
	s := NewStore(dir, nil, server.Resolver(), clk.now)
	l := &syntax.Lookup{Name: "www.example.org", Every: time.Hour}
	list := []*syntax.Lookup{l}
	server.Set(l.Name, "192.0.2.1")
	s.LookAll(t.Context(), list, false)
	server.Set(l.Name, "192.0.2.2")
	clk.pass(time.Hour)
	s.LookAll(t.Context(), list, false)
	for i, store := range []*Store{s, NewStore(dir, nil, server.Resolver(), clk.now)} { // another program knows it, too
		if store.due(l) {
			t.Errorf("%d: due at once", i)
		}
		clk.pass(Keep)
		if !store.due(l) {
			t.Errorf("%d: not due after %v", i, Keep)
		}
		clk.pass(-Keep)
	}
}

// A hundred sources are looked at at once, and what a stranger's server sends is read by the policy alone.
func TestMany(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\nETag: %s\r\n\r\n%s", len(good), strings.Repeat("x", 5000), good)
				}
			}()
		}
	}()
	s := NewStore(t.TempDir(), nil, nil, nil)
	var list []*syntax.Lookup
	for i := range 100 {
		list = append(list, listAt(fmt.Sprintf("http://%v/%d", l.Addr(), i)))
	}
	for i, err := range s.LookAll(t.Context(), list, false) {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if c, err := s.Copy(list[99]); err != nil || c.ETag != "" || string(c.Body) != good {
		t.Errorf("%q, %v, with a tag of %d bytes", c.Body, err, len(c.ETag))
	}
}

// answers is a Resolver that a test sets.
type answers []netip.Addr

func (a *answers) LookupNetIP(_ context.Context, network, host string) (list []netip.Addr, err error) {
	for _, addr := range *a {
		if addr.Is4() == (network == "ip4") {
			list = append(list, addr)
		}
	}
	return list, nil
}

// ten returns n addresses 10.part.x.y.
func ten(part byte, n int) (list answers) {
	for i := range n {
		list = append(list, netip.AddrFrom4([4]byte{10, part, byte(i >> 8), byte(i)}))
	}
	return list
}

// A name that has many other addresses each time has those of now, and of those that are gone the latest that there is room for. It is not held to
// what it had once for ever.
func TestManyAddresses(t *testing.T) {
	var dns answers
	clk := newClock()
	s := NewStore(t.TempDir(), nil, &dns, clk.now)
	l := &syntax.Lookup{Name: "www.example.org", Every: time.Minute}
	count := func(c *Copy) (parts [4]int) {
		for line := range strings.Lines(string(c.Body)) {
			parts[netip.MustParseAddr(strings.TrimSpace(line)).As4()[1]]++
		}
		return parts
	}
	for i, want := range [][4]int{{600}, {400, 600}, {0, 400, 600}, {0, 0, 400, 600}} {
		dns = ten(byte(i), 600)
		clk.pass(time.Minute)
		if changed, err := s.Look(t.Context(), l); !changed || err != nil {
			t.Errorf("%d: changed %t, %v", i, changed, err)
		}
		if c, err := s.Copy(l); err != nil || count(c) != want || len(c.Gone) > maxAddresses-600 {
			t.Errorf("%d: %v of each, %d of them gone, %v; want %v", i, count(c), len(c.Gone), err, want)
		}
	}
	dns = ten(0, maxAddresses+1)
	if _, err := s.Look(t.Context(), l); err == nil || !strings.Contains(err.Error(), "more than 1000 addresses") {
		t.Errorf("too many at once: %v", err)
	}
	dns = slices.Concat(ten(1, 3), ten(1, 3))
	clk.pass(Keep)
	if _, err := s.Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	clk.pass(Keep)
	if _, err := s.Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Copy(l); err != nil || count(c) != [4]int{0, 3} {
		t.Errorf("after all are gone: %v of each, %v", count(c), err)
	}
}

// What was noted while the clock was ahead keeps no address for longer than what is noted now.
func TestGoneByAClockAhead(t *testing.T) {
	dns := ten(0, 1)
	clk := newClock()
	s := NewStore(t.TempDir(), nil, &dns, clk.now)
	l := &syntax.Lookup{Name: "www.example.org", Every: time.Minute}
	look := func() int {
		t.Helper()
		if _, err := s.Look(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		c, err := s.Copy(l)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(c.Body), "\n")
	}
	look()
	dns = ten(1, 1)
	clk.pass(1000 * time.Hour)
	look()
	clk.pass(-1000 * time.Hour)
	if n := look(); n != 2 {
		t.Errorf("%d addresses just after, want 2", n)
	}
	clk.pass(Keep)
	if n := look(); n != 1 {
		t.Errorf("%d addresses %v later, want 1", n, Keep)
	}
}

// What a server puts into its answer's head does not fill the log, and can't write on a terminal.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	for name, head := range map[string]string{
		"a status":              "HTTP/1.1 500 " + long + "\r\nContent-Length: 0\r\n\r\n",
		"a status that writes":  "HTTP/1.1 500 \x1b[2Jno\r\nContent-Length: 0\r\n\r\n",
		"no status":             long + "\r\n\r\n",
		"a redirect":            "HTTP/1.1 302 Found\r\nLocation: ftp://" + long + "\r\nContent-Length: 0\r\n\r\n",
		"a head without an end": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat(long, 200),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, head) // which is not read to its end
		}))
		s := NewStore(t.TempDir(), nil, nil, nil)
		l := listAt(server.URL)
		_, err := s.Look(t.Context(), l)
		if err == nil || len(err.Error()) > 2000 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%s: an error of %d bytes: %.80q", name, len(fmt.Sprint(err)), fmt.Sprint(err))
		}
		if kept := s.Err(l); kept != err {
			t.Errorf("%s: what is kept is another: %.80v", name, kept)
		}
		server.Close()
	}
}

// TestNoFolderNoCopy: without a folder for copies, a file in the working directory is none, whatever its name.
func TestNoFolderNoCopy(t *testing.T) {
	dir := t.TempDir()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }))
	defer server.Close()
	l := listAt(server.URL + "/list")
	if _, err := NewStore(dir, nil, nil, nil).Look(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	s := NewStore("", nil, nil, nil)
	if c, err := s.Copy(l); !errors.Is(err, fs.ErrNotExist) || c.Body != nil {
		t.Errorf("%q is taken from the working directory, error %v", c.Body, err)
	}
}
