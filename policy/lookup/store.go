// Package lookup finds what a policy names and does not have in itself: lists by their URLs, and the addresses of hosts' names.
//
// What was found last and was good is a file in a cache. A policy is compiled from these copies alone, so that it is the same whether or not its
// sources can be reached, and whoever watches a policy's files sees a change of a source as the change of a file. [Keeper] looks again at the
// pace that the policy says, and replaces a copy only by what is whole, fits its checksum, can be read as what it is to be, and differs. A source
// that fails changes nothing: no list becomes empty or shorter by it.
//
// Names are asked for without the search domains of the system's configuration. The time to live of an answer is not looked at: the pace is the
// policy's. An address that is no longer among a name's stays for [Keep] more.
package lookup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"switchbridge/internal/files"
	"switchbridge/policy/syntax"
)

const (
	// Keep is how long an address stays that a name does not have any more: connections to it may go on, and answers of many name servers
	// turn round.
	Keep = 10 * time.Minute

	// Timeout is how long one look takes at most, whatever the other side does.
	Timeout = 10 * time.Second

	// maxAddresses is how many addresses of a name are believed.
	maxAddresses = 1000

	// maxHead bounds the first line of a copy, in bytes.
	maxHead = 1 << 20

	// maxResponseHead bounds what stands before a list, in bytes.
	maxResponseHead = 64 << 10

	// retry is how long after a failure the next look is; each further failure doubles it, up to the pace of the source.
	retry = 30 * time.Second
)

// Resolver is what of net.Resolver is needed.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Store has the copies, and looks for new ones. It is safe for use by several goroutines, and several programs may share a folder.
type Store struct {
	dir      string
	client   *http.Client
	resolver Resolver
	now      func() time.Time
	timeout  time.Duration // of one look

	mu    sync.Mutex
	tries map[string]*try // by what is looked up

	writing sync.Mutex // held while a copy takes another one's place
	latest  time.Time  // of the changes that were written
}

// try is how it went with one source in this process.
type try struct {
	mu       sync.Mutex // held while one looks
	failures int        // in a row
	last     time.Time  // when the last look ended; of a copy from before this process, when it was looked at
	expires  time.Time  // when the first address that is gone goes; zero: none is
	err      error      // of the last look
	known    bool       // there is a copy
}

// NewStore returns a store whose copies are in a folder, which need not be there yet. A nil client or resolver is the system's, as is a nil clock.
func NewStore(dir string, client *http.Client, resolver Resolver, now func() time.Time) *Store {
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxResponseHeaderBytes = maxResponseHead
		client = &http.Client{CheckRedirect: followed, Transport: transport}
	}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	if now == nil {
		now = time.Now
	}
	return &Store{dir: dir, client: client, resolver: resolver, now: now, timeout: Timeout, tries: map[string]*try{}}
}

// Default returns the store of this user, or of this service of systemd: the folder lookups in [files.CacheDir].
func Default() *Store {
	dir := files.CacheDir()
	if dir != "" {
		dir = filepath.Join(dir, "lookups")
	}
	stores.Lock()
	defer stores.Unlock()
	s := stores.by[dir]
	if s == nil {
		s = NewStore(dir, nil, nil, nil)
		stores.by[dir] = s
	}
	return s
}

// stores are those of Default: one for a folder, so that all policies of a program know how each source's last look went.
var stores = struct {
	sync.Mutex
	by map[string]*Store
}{by: map[string]*Store{}}

// followed refuses redirects that would let others than the source's host decide, unseen.
func followed(next *http.Request, before []*http.Request) error {
	if len(before) > 5 {
		return errors.New("more than 5 redirects")
	}
	if before[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return fmt.Errorf("a redirect from https to %s", next.URL.Scheme)
	}
	return nil
}

// Copy is what was found last.
type Copy struct {
	Path    string // of the file that holds it, whether or not it is there
	Body    []byte
	Changed time.Time // when the body became what it is
	Looked  time.Time // when the source said so last

	head
}

// head is the first line of a copy's file, in JSON.
type head struct {
	Of       string               `json:"of"`
	SHA256   string               `json:"sha256"` // of the body
	Changed  time.Time            `json:"changed"`
	ETag     string               `json:"etag,omitempty"`
	Modified string               `json:"last_modified,omitempty"`
	Gone     map[string]time.Time `json:"gone,omitempty"` // addresses that the name has no more, and since when
}

// key tells what is looked up apart: a list of which the policy has a checksum is another one than the list of the same URL at any time.
func key(l *syntax.Lookup) string { return strings.TrimSpace(l.String() + " " + l.SHA256) }

// path is the file of a copy.
func (s *Store) path(l *syntax.Lookup) string {
	sum := sha256.Sum256([]byte(key(l)))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:12])+".txt")
}

// Copy returns what was found last. The error is fs.ErrNotExist where nothing was, or what there is can't be used: it is damaged, or has another
// checksum than the policy wants.
func (s *Store) Copy(l *syntax.Lookup) (*Copy, error) {
	c := &Copy{Path: s.path(l)}
	if s.dir == "" { // the path would be one in the working directory, where anybody may have put a file
		return c, fmt.Errorf("there is no folder for copies: set CACHE_DIRECTORY: %w", fs.ErrNotExist)
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return c, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxHead+syntax.MaxMaxSize))
	if err != nil {
		return c, err
	}
	line, body, _ := bytes.Cut(b, []byte("\n"))
	text, _ := bytes.CutPrefix(line, []byte("# "))
	if json.Unmarshal(text, &c.head) != nil || c.Of != key(l) || c.SHA256 != sum(body) {
		return c, fmt.Errorf("the copy in %s is damaged: %w", c.Path, fs.ErrNotExist)
	}
	if l.SHA256 != "" && l.SHA256 != c.SHA256 {
		return c, fmt.Errorf("the copy has another checksum: %w", fs.ErrNotExist)
	}
	c.Body, c.Changed, c.Looked = body, c.head.Changed, info.ModTime()
	return c, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// write makes what was found the copy.
func (s *Store) write(c, old *Copy, l *syntax.Lookup) error {
	if s.dir == "" {
		return fmt.Errorf("%s: there is no folder to keep it in: set CACHE_DIRECTORY", l)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if c.Changed = old.Changed; !bytes.Equal(c.Body, old.Body) {
		c.Changed = s.changed(old, l)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	c.Of, c.SHA256, c.head.Changed = key(l), sum(c.Body), c.Changed
	first, err := json.Marshal(&c.head)
	if err != nil {
		return err
	}
	if err := files.Replace(c.Path, slices.Concat([]byte("# "), first, []byte("\n"), c.Body), 0o600); err != nil {
		return err
	}
	return s.touch(c)
}

// touch notes that the source still says what the copy says.
func (s *Store) touch(c *Copy) error {
	now := s.now()
	c.Looked = now
	return os.Chtimes(c.Path, now, now)
}

// changed is a time for new content. It is later than that of the old one, of whatever else the policy has, and of all that this store has written
// before, whatever the clock was set to: a policy's serial is the latest of these times, and grows with each change. s.writing is held, so that copies
// appear in the order of their times.
func (s *Store) changed(old *Copy, l *syntax.Lookup) time.Time {
	at := s.now().UTC().Truncate(time.Millisecond)
	for _, before := range []time.Time{old.Changed, l.After, s.latest} {
		if least := before.UTC().Truncate(time.Millisecond).Add(time.Millisecond); at.Before(least) {
			at = least
		}
	}
	s.latest = at
	return at
}

// try returns how it went with a source. s.mu is held.
func (s *Store) try(l *syntax.Lookup) *try {
	t := s.tries[key(l)]
	if t == nil {
		t = new(try)
		if c, err := s.Copy(l); err == nil {
			t.note(c)
			t.last = c.Looked
		}
		s.tries[key(l)] = t
	}
	return t
}

// note remembers what there is to know of a copy.
func (t *try) note(c *Copy) {
	t.known, t.expires = true, time.Time{}
	for _, since := range c.Gone {
		if end := since.Add(Keep); t.expires.IsZero() || end.Before(t.expires) {
			t.expires = end
		}
	}
}

// Err says how the last look of this process went.
func (s *Store) Err(l *syntax.Lookup) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.try(l).err
}

// due reports whether it is time for another look.
func (s *Store) due(l *syntax.Lookup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, now := s.try(l), s.now()
	age := now.Sub(t.last)
	switch {
	case t.failures > 0:
		return age >= min(l.Every, retry<<min(t.failures-1, 10)) || age < 0
	case !t.known:
		return true
	case l.SHA256 != "":
		return false // it is what it is to be
	}
	return age >= l.Every || age < 0 || !t.expires.IsZero() && !now.Before(t.expires)
}

// Look looks for what a source has now. An error leaves the copy as it is.
func (s *Store) Look(ctx context.Context, l *syntax.Lookup) (changed bool, err error) {
	s.mu.Lock()
	t := s.try(l)
	s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	old, _ := s.Copy(l)
	if l.URL != "" {
		changed, err = s.list(bounded, l, old)
	} else {
		changed, err = s.name(bounded, l, old)
	}
	if err != nil && ctx.Err() != nil {
		return false, ctx.Err() // it was not the source's fault
	}
	if err != nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("%s: it was not there whole after %v", l, s.timeout)
	}
	if err != nil {
		err = shown{err}
	}
	now, copyErr := s.Copy(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if copyErr == nil {
		t.note(now)
	}
	if t.last, t.err = s.now(), err; err != nil {
		t.failures++
	} else {
		t.failures = 0
	}
	return changed, err
}

// shown is an error in whose text the other side may have put whatever it likes, as much as a server's head may have: it stands in the log, on pages and
// on terminals.
type shown struct{ error }

// maxShown bounds its text. It has room for a URL.
const maxShown = 1200

func (e shown) Error() string {
	text := strings.ReplaceAll(e.error.Error(), "\n", "; ") // of both families
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

func (e shown) Unwrap() error { return e.error }

// list gets a list from its URL.
func (s *Store) list(ctx context.Context, l *syntax.Lookup, old *Copy) (changed bool, err error) {
	fail := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("%s: %s", l, fmt.Sprintf(format, args...))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL, nil)
	if err != nil {
		return fail("%v", err)
	}
	req.Header.Set("User-Agent", "switchbridge")
	usable := old.Body != nil && int64(len(old.Body)) <= l.MaxSize && l.Check(old.Body) == nil
	if usable && old.ETag != "" {
		req.Header.Set("If-None-Match", old.ETag)
	}
	if usable && old.Modified != "" {
		req.Header.Set("If-Modified-Since", old.Modified)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false, err // it names the URL
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && usable:
		return false, s.touch(old)
	case resp.StatusCode != http.StatusOK:
		return fail("%s", resp.Status)
	case resp.ContentLength > l.MaxSize:
		return fail("%d bytes, more than max_size, %d", resp.ContentLength, l.MaxSize)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, l.MaxSize+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail("cut off after %d bytes", len(body))
	case err != nil:
		return fail("%v", err)
	case int64(len(body)) > l.MaxSize:
		return fail("more bytes than max_size, %d", l.MaxSize)
	case l.SHA256 != "" && sum(body) != l.SHA256:
		return fail("its sha256 is %s, and the policy wants %s", sum(body), l.SHA256)
	case l.SHA256 == "" && resp.ProtoMajor < 2 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 && !resp.Uncompressed:
		return fail("the server does not say how long the list is, so that nobody can tell whether it is whole: want Content-Length, or sha256 in the policy")
	}
	if err := l.Check(body); err != nil {
		return false, err
	}
	next := &Copy{Path: old.Path, Body: body, head: head{ETag: headerLine(resp, "ETag"), Modified: headerLine(resp, "Last-Modified")}}
	changed = old.Body == nil || !bytes.Equal(old.Body, body)
	if !changed && next.ETag == old.ETag && next.Modified == old.Modified {
		return false, s.touch(old)
	}
	return changed, s.write(next, old, l)
}

// headerLine is a header that is sent back with the next question, if it is of a size to keep.
func headerLine(resp *http.Response, name string) string {
	if v := resp.Header.Get(name); len(v) <= 1024 {
		return v
	}
	return ""
}

// name looks a host's name up. The two families are asked for apart: where one fails, its addresses stay.
func (s *Store) name(ctx context.Context, l *syntax.Lookup, old *Copy) (changed bool, err error) {
	var had []netip.Addr
	for line := range strings.Lines(string(old.Body)) {
		if a, err := netip.ParseAddr(strings.TrimSpace(line)); err == nil {
			had = append(had, a)
		}
	}
	type answer struct {
		list []netip.Addr
		err  error
	}
	var answers [2]answer
	var both sync.WaitGroup
	for i, network := range []string{"ip4", "ip6"} {
		both.Go(func() {
			a := &answers[i]
			a.list, a.err = s.resolver.LookupNetIP(ctx, network, strings.TrimSuffix(l.Name, ".")+".")
			var none *net.DNSError
			if errors.As(a.err, &none) && none.IsNotFound {
				a.err = nil
			}
		})
	}
	both.Wait()
	var now []netip.Addr
	for i := range answers {
		for _, a := range answers[i].list {
			now = append(now, a.Unmap().WithZone(""))
		}
	}
	switch err := errors.Join(answers[0].err, answers[1].err); {
	case len(now) == 0 && err != nil:
		return false, fmt.Errorf("%s: %w", l, errors.Join(answers[0].err, answers[1].err))
	case len(now) == 0:
		return false, fmt.Errorf("%s has no address", l)
	}
	slices.SortFunc(now, netip.Addr.Compare)
	now = slices.Compact(now)
	next := &Copy{Path: old.Path, head: head{Gone: map[string]time.Time{}}}
	var gone []netip.Addr
	for _, a := range had {
		family := 0
		if a.Is6() {
			family = 1
		}
		since, wasGone := old.Gone[a.String()]
		at := s.now().UTC().Truncate(time.Millisecond)
		switch {
		case slices.Contains(now, a):
			continue
		case answers[family].err != nil && !wasGone: // who knows
			now = append(now, a)
			continue
		case !wasGone || since.After(at): // or the clock was ahead then
			since = at
		case answers[family].err == nil && at.Sub(since) >= Keep:
			continue
		}
		gone = append(gone, a)
		next.Gone[a.String()] = since
	}
	if len(now) > maxAddresses {
		return false, fmt.Errorf("%s has more than %d addresses", l, maxAddresses)
	}
	// A name that has others each time keeps those that it had last, as far as there is room.
	slices.SortStableFunc(gone, func(x, y netip.Addr) int { return next.Gone[y.String()].Compare(next.Gone[x.String()]) })
	room := min(len(gone), maxAddresses-len(now))
	for _, a := range gone[room:] {
		delete(next.Gone, a.String())
	}
	now = append(now, gone[:room]...)
	slices.SortFunc(now, netip.Addr.Compare)
	var b bytes.Buffer
	for _, a := range now {
		fmt.Fprintln(&b, a)
	}
	next.Body = b.Bytes()
	partly := errors.Join(answers[0].err, answers[1].err)
	if partly != nil {
		partly = fmt.Errorf("%s: the addresses of one family stay: %w", l, partly)
	}
	if changed = !bytes.Equal(next.Body, old.Body); !changed && maps.EqualFunc(next.Gone, old.Gone, time.Time.Equal) {
		return false, errors.Join(partly, s.touch(old))
	}
	return changed, errors.Join(partly, s.write(next, old, l))
}

// atOnce is how many sources are looked at at a time.
const atOnce = 16

// LookAll looks at sources at once, those that are due or, with force, all. What it returns is by source: why its last look failed.
func (s *Store) LookAll(ctx context.Context, list []*syntax.Lookup, force bool) []error {
	errs := make([]error, len(list))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, l := range list {
		if !force && !s.due(l) {
			errs[i] = s.Err(l)
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, errs[i] = s.Look(ctx, l)
		})
	}
	all.Wait()
	return errs
}
