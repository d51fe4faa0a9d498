// Package remote asks a store that is in another program, for tests: of what runs on a platform alone the suite is here and the store is there.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"switchbridge/state"
)

// question is one call of a store.
type question struct {
	Op   string // a method's name
	Keys []string
	Old  uint64
	Data []byte
	TTL  time.Duration
}

type answer struct {
	Values  []state.Value
	Version uint64
	Err     string
}

// errs are the errors that a caller tells apart.
var errs = []error{state.ErrConflict, state.ErrFull, state.ErrCorrupt, state.ErrNewer}

// Serve has a store answer a question of a [Client].
func Serve(s state.Store, body []byte) []byte {
	var (
		q   question
		a   answer
		ctx = context.Background()
	)
	err := json.Unmarshal(body, &q)
	switch {
	case err != nil:
	case q.Op == "get":
		a.Values = make([]state.Value, len(q.Keys))
		err = s.Get(ctx, q.Keys, a.Values)
	case q.Op == "swap":
		a.Version, err = s.CompareAndSwap(ctx, q.Keys[0], q.Old, q.Data, q.TTL)
	case q.Op == "delete":
		err = s.Delete(ctx, q.Keys[0], q.Old)
	default:
		err = errors.New("unknown operation")
	}
	if err != nil {
		a.Err = err.Error()
		for _, known := range errs {
			if errors.Is(err, known) {
				a.Err = known.Error()
			}
		}
	}
	b, _ := json.Marshal(&a) // numbers and text: there is no error
	return b
}

// Client is a store that another program has.
type Client struct {
	Exchange func(ctx context.Context, question []byte) (answer []byte, err error)
	Promises state.Promise
}

func (c *Client) ask(ctx context.Context, q question) (a answer, err error) {
	if err := ctx.Err(); err != nil {
		return a, err
	}
	body, err := json.Marshal(&q)
	if err != nil {
		return a, err
	}
	if body, err = c.Exchange(ctx, body); err != nil {
		return a, err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, err
	}
	if a.Err == "" {
		return a, nil
	}
	for _, known := range errs {
		if a.Err == known.Error() {
			return a, known
		}
	}
	return a, errors.New(a.Err)
}

// Get implements [state.Store].
func (c *Client) Get(ctx context.Context, keys []string, values []state.Value) error {
	a, err := c.ask(ctx, question{Op: "get", Keys: keys})
	if err == nil && copy(values, a.Values) != len(keys) {
		err = errors.New("the answer is not about all keys")
	}
	return err
}

// CompareAndSwap implements [state.Store].
func (c *Client) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	a, err := c.ask(ctx, question{"swap", []string{key}, old, data, ttl})
	return a.Version, err
}

// Delete implements [state.Store].
func (c *Client) Delete(ctx context.Context, key string, old uint64) error {
	_, err := c.ask(ctx, question{Op: "delete", Keys: []string{key}, Old: old})
	return err
}

// Promise implements [state.Store].
func (c *Client) Promise() state.Promise { return c.Promises }

func (*Client) String() string { return "remote" }

// Close implements [state.Store].
func (*Client) Close() error { return nil }
