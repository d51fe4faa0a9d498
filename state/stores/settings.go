// Package stores is where a host keeps the states of its policies: the section `state` of a configuration, and what stands around a
// controller because of it.
package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"switchbridge/internal/listen"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/travel"
)

// Settings are the section `state` of a configuration. configs/reference.yaml documents every key.
type Settings struct {
	URL          string        `yaml:"url"` // empty: there is no store
	PasswordFile string        `yaml:"password_file"`
	CA           string        `yaml:"ca"`
	Cert         string        `yaml:"cert"`
	Key          string        `yaml:"key"`
	SealFile     string        `yaml:"seal_file"`
	Entries      int           `yaml:"entries"`
	Bytes        int64         `yaml:"bytes"`
	Timeout      time.Duration `yaml:"timeout"`
	OnFailure    string        `yaml:"on_failure"`
	Staleness    time.Duration `yaml:"staleness"`
}

// Default returns the values of absent keys.
func Default() Settings {
	return Settings{Entries: access.DefaultEntries, Bytes: access.DefaultBytes, Timeout: state.DefaultTimeout, OnFailure: state.Deny.String(), Staleness: state.DefaultStaleness}
}

// Opener opens a store of one kind.
type Opener func(context.Context, access.Options) (state.Store, error)

// Openers are those that a program has, by the scheme of their URLs.
type Openers map[string]Opener

// forms are the schemes, with what people write.
var forms = map[string]string{
	"memory": "memory:", "bbolt": "bbolt:/path/to/file", "redis": "redis://host:6379", "rediss": "rediss://host:6379", "nats": "nats://host:4222",
	"nats+tls": "nats+tls://host:4222", "travel": travel.URL, "dynamodb": "dynamodb://table?region=NAME",
}

// connected are the schemes of stores to which connections lead: with secrets and certificates.
var connected = []string{"redis", "rediss", "nats", "nats+tls", "dynamodb"}

// Resolve gives at each path in the settings, to make it absolute; bbolt's is in the URL.
func (s *Settings) Resolve(at func(*string)) {
	for _, p := range []*string{&s.PasswordFile, &s.CA, &s.Cert, &s.Key, &s.SealFile} {
		at(p)
	}
	if path, ok := strings.CutPrefix(s.URL, "bbolt:"); ok && path != "" && !strings.HasPrefix(path, "//") {
		at(&path)
		s.URL = "bbolt:" + path
	}
}

// Validate says what is wrong, as far as that can be told without opening anything. Errors begin with the key, below where the settings are.
func (s *Settings) Validate() error {
	u, err := s.parse()
	switch {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case s.Entries < 1 || s.Entries > maxEntries:
		return fmt.Errorf("entries: %d: want 1 to %d", s.Entries, maxEntries)
	case s.Bytes < 1 || s.Bytes > maxBytes:
		return fmt.Errorf("bytes: %d: want 1 to %d", s.Bytes, int64(maxBytes))
	case s.Timeout < time.Millisecond || s.Timeout > time.Minute:
		return fmt.Errorf("timeout: %v: want 1ms to 1m", s.Timeout)
	case s.Staleness < time.Second || s.Staleness > time.Hour:
		return fmt.Errorf("staleness: %v: want 1s to 1h", s.Staleness)
	case (s.Cert == "") != (s.Key == ""):
		return errors.New("cert: cert and key go together")
	}
	if _, err := state.ParseOnFailure(s.OnFailure); err != nil {
		return fmt.Errorf("on_failure: %w", err)
	}
	if s.PasswordFile+s.CA+s.Cert != "" && (u == nil || !slices.Contains(connected, u.Scheme)) {
		return errors.New("url: password_file, ca and cert are only for a store on the network")
	}
	if s.SealFile != "" && !s.Travels() {
		return errors.New("seal_file: it is for states that travel: url: \"travel:\"")
	}
	return nil
}

// Travels reports whether states travel with events.
func (s *Settings) Travels() bool { return s.URL == travel.URL }

// Bounds of what memory may hold.
const (
	maxEntries = 100_000_000
	maxBytes   = 1 << 40
)

// parse reads the URL; nil for none. Its errors do not have the URL, in which somebody may have written a password.
func (s *Settings) parse() (*url.URL, error) {
	if s.URL == "" {
		return nil, nil
	}
	var known []string
	for _, f := range forms {
		known = append(known, f)
	}
	slices.Sort(known)
	u, err := url.Parse(s.URL)
	if err != nil || forms[u.Scheme] == "" {
		return nil, fmt.Errorf("want one of %s", strings.Join(known, ", "))
	}
	if _, has := u.User.Password(); has {
		return nil, errors.New("a password does not belong in a URL: use password_file")
	}
	if slices.Contains(connected, u.Scheme) == (u.Host == "") || (u.Scheme == "memory" || u.Scheme == "travel") && u.Opaque+u.Path != "" || u.Scheme == "bbolt" && u.Opaque+u.Path == "" {
		return nil, fmt.Errorf("want %s", forms[u.Scheme])
	}
	if u.Port() != "" {
		if err := listen.CheckTarget(u.Host); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// Open opens the store; nil where the settings name none.
func (s *Settings) Open(ctx context.Context, openers Openers, log *slog.Logger) (state.Store, error) {
	u, err := s.parse()
	if u == nil || err != nil {
		return nil, err
	}
	open := openers[u.Scheme]
	if open == nil {
		return nil, fmt.Errorf("%s: this program has no store of this kind", u.Scheme)
	}
	store, err := open(ctx, access.Options{URL: u, Entries: s.Entries, Bytes: s.Bytes, SealFile: s.SealFile, PasswordFile: s.PasswordFile, CA: s.CA, Cert: s.Cert, Key: s.Key, Log: log})
	if err != nil {
		return nil, err
	}
	switch p := store.Promise(); {
	case p.Durable || p.Shared:
	case s.Travels():
		log.Info("states travel with events: the gateway that asks keeps them, and forgets them when it restarts")
	default:
		log.Warn("states are kept only in this process: after a restart every machine is in its start state", "store", store.String())
	}
	return store, nil
}

// Beside returns the settings for a look beside the process that has the store: a file of bbolt belongs to one process at a time.
func (s Settings) Beside() Settings {
	if strings.HasPrefix(s.URL, "bbolt:") {
		s.URL = "memory:"
	}
	return s
}
