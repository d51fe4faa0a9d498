package httpclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"switchbridge/flow"
)

const (
	breakerWindow   = 10 * time.Second
	breakerRequests = 20              // before the share of failures counts
	warmRetry       = 5 * time.Second // between attempts to reach an endpoint that has never been reached
)

// endpoint is one place where the function can be asked.
type endpoint struct {
	target
	c       *Client
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	request *http.Request // what each request is a copy of
	gen     atomic.Pointer[generation]

	// fault is why the last request got no answer; the nil error is a success,
	// and the nil pointer is that there was no request yet.
	fault atomic.Pointer[error]
}

// errNotCounted is what a breaker is told of a request that its caller gave up.
var errNotCounted = errors.New("given up by the caller")

func newEndpoint(c *Client, t target) (*endpoint, error) {
	e := &endpoint{target: t, c: c}
	e.request = &http.Request{Method: http.MethodPost, URL: t.url, Host: t.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	e.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         t.name,
		Interval:     breakerWindow,
		BucketPeriod: breakerWindow / 10,
		Timeout:      c.cfg.BreakerOpen,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= c.cfg.BreakerFailures ||
				n.Requests >= breakerRequests && n.TotalFailures*2 >= n.Requests
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNotCounted) },
		OnStateChange: func(name string, _, to gobreaker.State) {
			c.cfg.Metrics.breaker(name, to.String())
			c.cfg.Log.Warn("function's breaker", "endpoint", name, "state", to.String())
		},
	})
	g, err := newGeneration(&c.cfg, &e.target)
	if err != nil {
		return nil, err
	}
	e.gen.Store(g)
	c.cfg.Metrics.breaker(t.name, gobreaker.StateClosed.String())
	return e, nil
}

// acquire returns the current connections, to be released after use.
func (e *endpoint) acquire() *generation {
	for {
		g := e.gen.Load()
		g.users.Add(1)
		if e.gen.Load() == g {
			return g
		}
		g.release() // renewed in between
	}
}

// maintain keeps e's connections warm and young until ctx ends.
func (e *endpoint) maintain(ctx context.Context) {
	err := e.warm(ctx, e.gen.Load())
	for ctx.Err() == nil {
		age := e.c.cfg.ConnectionAge
		wait := age - age/5 + rand.N(2*age/5+1)
		if err != nil && e.fault.Load() != nil && *e.fault.Load() != nil {
			wait = min(wait, warmRetry)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			err = e.renew(ctx)
		}
	}
}

// renew replaces e's connections by new ones, which look the name up and read
// the certificates again.
func (e *endpoint) renew(ctx context.Context) error {
	g, err := newGeneration(&e.c.cfg, &e.target)
	if err != nil {
		e.c.cfg.Log.Warn("connections can't be renewed; the certificates stay", "endpoint", e.name, "err", err)
		return nil
	}
	err = e.warm(ctx, g)
	e.gen.Swap(g).retire()
	return err
}

// warm dials g's connections by asking for the policy version on all of them at
// once: it also wakes a function that sleeps and tries the token. It returns
// why none could be made.
func (e *endpoint) warm(ctx context.Context, g *generation) error {
	errs := make([]error, e.c.cfg.Connections)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = e.check(ctx, g) })
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			e.fault.Store(new(error))
			return nil
		}
	}
	if ctx.Err() == nil {
		last := e.fault.Swap(&errs[0])
		if last == nil || *last == nil || (*last).Error() != errs[0].Error() { // once for each reason
			e.c.cfg.Log.Warn("function can't be reached", "endpoint", e.name, "err", errs[0])
		}
	}
	return errs[0]
}

// check sends a policy_check on g. Any answer, a refusal too, is a connection.
func (e *endpoint) check(ctx context.Context, g *generation) error {
	ev := flow.Event{Type: flow.EventPolicyCheck, ID: e.c.newID(), Time: time.Now(), XID: 1}
	p, err := e.c.cfg.Codec.AppendEvent(nil, &ev)
	if err != nil {
		return err
	}
	g.users.Add(1)
	defer g.release()
	ctx, cancel := context.WithTimeout(ctx, e.c.cfg.TryTimeout)
	defer cancel()
	a, f := e.roundTrip(ctx, g, e.c.header(&ev, ev.ID), p)
	releaseAnswer(a.body)
	if f != nil && f.fault {
		return f.err
	}
	return nil
}
