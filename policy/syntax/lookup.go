package syntax

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
)

// Lookup is something that a policy names and that may change while the policy's file stays as it is: a list by its URL, or a name whose
// addresses count. It is found where the policy is compiled (see policy/lookup), and again each time that Every has passed.
type Lookup struct {
	URL     string // of a list; empty: Name is looked up
	SHA256  string // of the list's content, 64 hexadecimal digits; empty: any
	MaxSize int64  // of the list, in bytes
	Name    string // a host's, of letters in lower case
	Every   time.Duration

	// After is when the newest file of the policy was changed. What is found from now on is of a later time, or the policy's serial would not grow with it.
	After time.Time

	// Check says what is wrong with a list's content, with "what:line: " before it.
	Check func(body []byte) error
}

// String is the URL or the name.
func (l *Lookup) String() string {
	if l.URL != "" {
		return l.URL
	}
	return l.Name
}

// What of a policy is looked up how often, where it does not say so, and within what bounds.
const (
	DefaultResolve = 5 * time.Minute
	DefaultRefresh = time.Hour
	DefaultMaxSize = 16 << 20
	MaxMaxSize     = 64 << 20

	minEvery = 10 * time.Second
	maxEvery = 30 * 24 * time.Hour
)

// ParseEvery reads how often something is looked up again.
func ParseEvery(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < minEvery || d > maxEvery {
		return 0, fmt.Errorf("%.40q: want a time from 10s to 720h, such as 5m or 1h", s)
	}
	return d, nil
}

// IsName reports whether a word is a host's name: of labels with dots between them or one behind, of which the last is no number. A word without a
// dot is a group's.
func IsName(s string) bool {
	if !strings.Contains(s, ".") || len(s) > 254 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, func(r rune) bool {
			return r != '-' && r != '_' && !('a' <= r|0x20 && r|0x20 <= 'z') && !('0' <= r && r <= '9')
		}) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(strings.ToLower(last), "0x")
}

// Addresses returns those of a name.
func (f *File) Addresses(name string) (list []netip.Prefix, err error) {
	if f.Look == nil {
		return nil, fmt.Errorf("%s: names are not looked up here: write its addresses", name)
	}
	body, err := f.Look(&Lookup{Name: strings.ToLower(strings.TrimSuffix(name, ".")), Every: f.Resolve})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(body)) {
		p, err := ParsePrefix(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// byURL reads an item of urls: a URL, or a mapping.
func (f *File) byURL(n *Node, where string) (l Lookup, ok bool) {
	l = Lookup{Every: DefaultRefresh, MaxSize: DefaultMaxSize}
	faults := len(f.Errs)
	if n.Shape == Mapping {
		f.Mapping(n, where,
			Key("url", func(n *Node) { l.URL, _ = f.Scalar(n, where+": url") }),
			Key("sha256", func(n *Node) { l.SHA256, _ = Parsed(f, n, where+": sha256", parseSum) }),
			Key("max_size", func(n *Node) { l.MaxSize, _ = Parsed(f, n, where+": max_size", parseSize) }),
			Key("refresh", func(n *Node) { l.Every, _ = Parsed(f, n, where+": refresh", ParseEvery) }),
		)
	} else {
		l.URL, _ = f.Scalar(n, where)
	}
	if len(f.Errs) > faults {
		return l, false
	}
	if err := checkURL(l.URL, l.SHA256 != ""); err != nil {
		f.Errorf(n, "%s: %v", where, err)
		return l, false
	}
	return l, true
}

// checkURL takes what can stand in reasons and lines of the log. This package is in guests, where net/url has no place.
func checkURL(s string, summed bool) error {
	rest, secure := strings.CutPrefix(s, "https://")
	if !secure {
		var plain bool
		if rest, plain = strings.CutPrefix(s, "http://"); !plain {
			return fmt.Errorf("%.80q: want a URL such as https://lists.example.net/bad.txt", s)
		}
	}
	host, _, _ := strings.Cut(rest, "/")
	switch {
	case host == "" || len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }):
		return fmt.Errorf("%.80q: want a URL of printable characters without spaces, at most 1024", s)
	case strings.Contains(host, "@"):
		return errors.New("a URL with a user or a password would stand in logs: want one without")
	case !secure && !summed && !loopback(host):
		return fmt.Errorf("%s: anybody on the way can change what comes over http: want https, or sha256 beside the URL", s)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasPrefix(host, "localhost:") {
		return true
	}
	if a, err := netip.ParseAddrPort(host); err == nil {
		return a.Addr().IsLoopback()
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

func parseSum(s string) (string, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return "", fmt.Errorf("%.80q: want the 64 hexadecimal digits that sha256sum prints", s)
	}
	return strings.ToLower(s), nil
}

// parseSize reads 4194304, 4096KiB or 4MiB.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = strings.TrimSpace(cut), u
		}
	}
	v, err := flow.ParseNumber(number, 31)
	if err != nil || v == 0 || int64(v) > MaxMaxSize/unit {
		return 0, fmt.Errorf("%.40q: want a size such as %s or 4MiB, at most %dMiB", s, strconv.Itoa(1<<20), MaxMaxSize>>20)
	}
	return int64(v) * unit, nil
}
