// Package redis keeps states in Redis or Valkey: swaps by a script that runs in the server, in one round trip each.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"switchbridge/state"
	"switchbridge/state/access"
)

// A value is its version in 16 hexadecimal digits, and the data. A version is the server's clock in microseconds, and always above
// the last one that the server gave, which it has in a key of its own: so it grows whatever happens to a key, and with the clock set back.
const (
	digits     = 16
	prefix     = "switchbridge:"
	versionKey = "switchbridge-version"
)

// swapScript is given the key, the version's key, the old version (of 0: nothing is there), the data and the milliseconds to live.
// Numbers in Lua have 53 bits, which microseconds fill in 2255.
var swapScript = redis.NewScript(`
local now = redis.call('GET', KEYS[1])
if (now and string.sub(now, 1, 16) or '0000000000000000') ~= ARGV[1] then return '' end
local t = redis.call('TIME')
local version = string.format('%016x', math.max(tonumber(t[1]) * 1000000 + tonumber(t[2]), tonumber(redis.call('GET', KEYS[2]) or '0', 16) + 1))
redis.call('SET', KEYS[2], version)
if ARGV[2] == 'delete' then
	redis.call('DEL', KEYS[1])
elseif ARGV[4] == '0' then
	redis.call('SET', KEYS[1], version .. ARGV[3])
else
	redis.call('SET', KEYS[1], version .. ARGV[3], 'PX', ARGV[4])
end
return version
`)

// Store is a [state.Store].
type Store struct {
	options redis.Options
	name    string
	client  atomic.Pointer[redis.Client]

	mu      sync.Mutex
	renewed time.Time
	closed  bool
}

// renewEvery is how often, at most, a client that can't connect is replaced. After a number of failures it would look but once a second
// whether the server is back.
const renewEvery = 250 * time.Millisecond

// Open makes a client for redis://[user@]host[:port][/database], or rediss://, which is TLS. It does not ask the server yet: a gateway
// starts while its store is away.
func Open(_ context.Context, o access.Options) (state.Store, error) {
	u := o.URL
	opt, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, err
	}
	if opt.Password, err = o.Password(); err != nil {
		return nil, err
	}
	if u.Scheme == "rediss" {
		if opt.TLSConfig, err = o.TLS(u.Hostname()); err != nil {
			return nil, err
		}
	} else if opt.Password != "" && !access.Loopback(u.Hostname()) {
		return nil, fmt.Errorf("%s: the password would be sent unencrypted; use rediss://", u.Redacted())
	}
	if opt.TLSConfig != nil {
		opt.TLSConfig.MinVersion = tls.VersionTLS12
	}
	quiet()
	opt.ContextTimeoutEnabled = true
	opt.MaxRetries = -1 // a swap that was sent may have been made, and Decider knows what to do
	opt.DialTimeout, opt.DialerRetries = time.Second, 1
	opt.DisableIdentity = true
	s := &Store{options: *opt, name: u.Redacted()}
	s.client.Store(redis.NewClient(opt))
	return s, nil
}

// noted replaces the client where err says that it can't connect, and returns err.
func (s *Store) noted(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !s.closed && now.Sub(s.renewed) >= renewEvery {
		s.renewed = now
		_ = s.client.Swap(redis.NewClient(new(s.options))).Close() // it has no connections
	}
	return err
}

// quiet keeps the client from writing a line to standard error for every connection that fails. What it would say is in the errors.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Get implements [state.Store]. All keys are one MGET.
func (s *Store) Get(ctx context.Context, keys []string, values []state.Value) error {
	names := make([]string, len(keys)+1)
	for i, key := range keys {
		names[i] = prefix + key
	}
	names[len(keys)] = versionKey
	got, err := s.client.Load().MGet(ctx, names...).Result()
	if err != nil {
		return s.noted(err)
	}
	last, _, err := parse(got[len(keys)])
	if err != nil {
		return fmt.Errorf("key %s: %w", versionKey, err)
	}
	for i := range keys {
		values[i] = state.Value{Last: last}
		if values[i].Version, values[i].Data, err = parse(got[i]); err != nil {
			return fmt.Errorf("key %s: %w", keys[i], err)
		}
	}
	return nil
}

// parse reads a stored value; 0 and nil where there is none.
func parse(v any) (version uint64, data []byte, err error) {
	if v == nil {
		return 0, nil, nil
	}
	text, _ := v.(string)
	if len(text) < digits {
		return 0, nil, state.ErrCorrupt
	}
	if version, err = strconv.ParseUint(text[:digits], 16, 64); err != nil || version == 0 {
		return 0, nil, state.ErrCorrupt
	}
	return version, []byte(text[digits:]), nil
}

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	return s.run(ctx, key, old, "swap", data, ttl)
}

// Delete implements [state.Store].
func (s *Store) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	_, err := s.run(ctx, key, old, "delete", nil, 0)
	return err
}

func (s *Store) run(ctx context.Context, key string, old uint64, what string, data []byte, ttl time.Duration) (uint64, error) {
	ms := ttl.Milliseconds()
	if ttl > 0 && ms == 0 {
		ms = 1
	}
	text, err := swapScript.Run(ctx, s.client.Load(), []string{prefix + key, versionKey}, fmt.Sprintf("%016x", old), what, data, ms).Text()
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "OOM "):
		return 0, fmt.Errorf("%w: %w", state.ErrFull, err)
	case err != nil:
		return 0, s.noted(err)
	case text == "":
		return 0, state.ErrConflict
	}
	version, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, errors.New("the answer is no version")
	}
	return version, nil
}

// Promise implements [state.Store]. One server answers everybody in turn. Whether it writes to its disk before it answers is its
// own configuration (appendonly, appendfsync).
func (*Store) Promise() state.Promise { return state.Promise{Shared: true, Linearizable: true} }

func (s *Store) String() string { return s.name }

// Close implements [state.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.client.Load().Close()
}
