// Package travel has states travel: a gateway keeps them, sealed, and each comes with the events that it is about. So a function keeps nothing and
// asks nobody. Who hosts the function seals and opens, with keys that its platform keeps; neither the gateway nor a guest's instance has them.
package travel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/state"
)

// URL names states that travel in a configuration.
const URL = "travel:"

// EnvKeys is the environment variable, or the binding, that the keys are read from where there is no file of them.
const EnvKeys = "SWITCHBRIDGE_STATE_KEYS"

// Store is a [state.Carrier].
type Store struct{ keys func() *Keys }

// New returns a Store that seals with the keys that are returned to it, for each event anew.
func New(keys func() *Keys) *Store { return &Store{keys: keys} }

// Of returns the states of one event: what came with ev, and what d is to take back.
func (s *Store) Of(m state.Machines, ev *flow.Event, d *flow.Decision) state.Store {
	c := &carried{Store: s, keys: s.keys(), machines: m, ev: ev, d: d}
	c.opened = c.room[:0]
	return c
}

// Promise implements [state.Store].
func (*Store) Promise() state.Promise { return state.Promise{Local: true, Linearizable: true} }

func (*Store) String() string { return URL }

// Close implements [state.Store].
func (*Store) Close() error { return nil }

// errNoEvent says that the states of an event are asked for, and there is none.
var errNoEvent = errors.New("states that travel are those of one event")

// Get implements [state.Store].
func (*Store) Get(context.Context, []string, []state.Value) error { return errNoEvent }

// CompareAndSwap implements [state.Store].
func (*Store) CompareAndSwap(context.Context, string, uint64, []byte, time.Duration) (uint64, error) {
	return 0, errNoEvent
}

// Delete implements [state.Store].
func (*Store) Delete(context.Context, string, uint64) error { return errNoEvent }

// carried is the states of one event.
type carried struct {
	*Store
	keys     *Keys
	machines state.Machines
	ev       *flow.Event
	d        *flow.Decision
	opened   []opened
	room     [2]opened
}

// opened is a value that was read before.
type opened struct {
	key string
	state.Value
}

// now is the event's time: one clock, the gateway's, says when a state expires, whatever host looks at it.
func (c *carried) now() time.Time {
	if c.ev.Time.IsZero() {
		return time.Now()
	}
	return c.ev.Time
}

// others reports whether a key is that of a packet which the event's may answer, and not the event's own: the gateway did not look for its state.
func (c *carried) others(key string) bool {
	name, kind, ok := c.machines.Travels(key)
	if !ok || c.ev.PacketIn == nil {
		return false
	}
	of := func(m *flow.Match) bool {
		value, ok := kind.AppendValue(make([]byte, 0, 64), c.ev.Switch, m)
		return ok && len(key) == len(name)+1+len(value) && key[len(name)+1:] == string(value)
	}
	if of(&c.ev.PacketIn.Match) {
		return false
	}
	asked, n := c.ev.PacketIn.Questions()
	return slices.ContainsFunc(asked[:n], func(m flow.Match) bool { return of(&m) })
}

// find returns what came with the event for a key; nil where nothing did.
func (c *carried) find(key string) (t *flow.Travelling, name string, kind flow.StateKey, err error) {
	if c.ev.Accepts&flow.AcceptsTravel == 0 {
		return nil, "", 0, errors.New("the caller does not send states back")
	}
	name, kind, ok := c.machines.Travels(key)
	if !ok {
		return nil, "", 0, fmt.Errorf("the state of %s is not one of the event's own", key)
	}
	for i := range c.ev.Travel {
		if t := &c.ev.Travel[i]; t.Name == name && t.Key == kind {
			return t, name, kind, nil
		}
	}
	return nil, name, kind, nil
}

// value opens what came for a key.
func (c *carried) value(key string, t *flow.Travelling) (v state.Value, err error) {
	if t == nil {
		return v, nil
	}
	if t.Data == nil {
		return state.Value{Last: t.Version}, nil
	}
	version, expires, data, err := c.keys.open(key, t.Data)
	switch {
	case err != nil:
		return v, fmt.Errorf("key %s: %w", key, err)
	case !expires.IsZero() && !c.now().Before(expires):
		return state.Value{Last: version}, nil
	}
	return state.Value{Version: version, Data: data}, nil
}

// Get implements [state.Store].
func (c *carried) Get(_ context.Context, keys []string, values []state.Value) error {
	for i, key := range keys {
		if c.others(key) {
			values[i].Data = flow.Unknown
			continue
		}
		t, _, _, err := c.find(key)
		if err == nil {
			values[i], err = c.value(key, t)
		}
		if err != nil {
			return err
		}
		c.opened = append(c.opened, opened{key, values[i]})
	}
	return nil
}

// CompareAndSwap implements [state.Store]. That the gateway has the version still, it finds out itself.
func (c *carried) CompareAndSwap(_ context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	if len(data) > flow.MaxState-overhead {
		return 0, fmt.Errorf("%w: a state of %d bytes, at most %d travel", state.ErrFull, len(data), flow.MaxState-overhead)
	}
	return c.swap(key, old, ttl, func(version uint64) ([]byte, error) {
		var expires time.Time
		if ttl > 0 {
			expires = c.now().Add(ttl)
		}
		return c.keys.seal(key, version, expires, data)
	})
}

// Delete implements [state.Store].
func (c *carried) Delete(_ context.Context, key string, old uint64) error {
	_, err := c.swap(key, old, 0, func(uint64) ([]byte, error) { return nil, nil })
	return err
}

func (c *carried) swap(key string, old uint64, ttl time.Duration, seal func(version uint64) ([]byte, error)) (uint64, error) {
	t, name, kind, err := c.find(key)
	if err != nil {
		return 0, err
	}
	var now state.Value
	if i := slices.IndexFunc(c.opened, func(o opened) bool { return o.key == key }); i >= 0 {
		now = c.opened[i].Value
	} else if now, err = c.value(key, t); err != nil {
		return 0, err
	}
	if now.Version != old {
		return 0, state.ErrConflict
	}
	version := max(now.Version, now.Last) + 1
	if old == 0 { // above those of before, of which the gateway remembers the last for some minutes
		version = max(version, uint64(max(c.now().UnixMicro(), 0)))
	}
	data, err := seal(version)
	if err == nil {
		c.d.Travel = append(c.d.Travel, flow.Travelling{Name: name, Key: kind, Version: version, TTL: ttl, Data: data})
	}
	return version, err
}
