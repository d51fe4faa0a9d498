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
	warmRetry       = 5 * time.Second // between attempts to reach an endpoint
	lookShare       = 5               // of a breaker's time, how often an endpoint that was gone is looked for
	leastLook       = 10 * time.Millisecond
)

// endpoint is one place where the function can be asked.
type endpoint struct {
	target
	c       *Client
	breaker atomic.Pointer[gobreaker.TwoStepCircuitBreaker[struct{}]] // see reached
	request *http.Request                                             // what each request is a copy of
	gen     atomic.Pointer[generation]

	// fault is why the last request got no answer; the nil error is a success,
	// and the nil pointer is that there was no request yet.
	fault atomic.Pointer[error]

	faults faults
	// ill says that the latest policy_check got a 5xx and no event a better answer
	// since: what one switch's events get is not that switch's fault then.
	ill     atomic.Bool
	suspect chan struct{} // has maintain send one

	gone   atomic.Bool   // the last request found nobody who would take a connection
	opened chan struct{} // has maintain look for somebody, as the breaker has opened
}

// errNotCounted is what a breaker is told of a request that its caller gave up.
var errNotCounted = errors.New("given up by the caller")

func newEndpoint(c *Client, t target) (*endpoint, error) {
	e := &endpoint{target: t, c: c, suspect: make(chan struct{}, 1), opened: make(chan struct{}, 1)}
	e.request = &http.Request{Method: http.MethodPost, URL: t.url, Host: t.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	e.breaker.Store(e.newBreaker())
	g, err := newGeneration(&c.cfg, &e.target)
	if err != nil {
		return nil, err
	}
	e.gen.Store(g)
	c.cfg.Metrics.breaker(t.name, gobreaker.StateClosed.String())
	return e, nil
}

// newBreaker makes a closed breaker.
func (e *endpoint) newBreaker() *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         e.name,
		Interval:     breakerWindow,
		BucketPeriod: breakerWindow / 10,
		Timeout:      e.c.cfg.BreakerOpen,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			// Requests counts those under way and those given up, too.
			return n.ConsecutiveFailures >= e.c.cfg.BreakerFailures ||
				n.TotalFailures+n.TotalSuccesses >= breakerRequests && n.TotalFailures >= n.TotalSuccesses
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNotCounted) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			e.breakerIs(to)
			if to == gobreaker.StateOpen {
				select {
				case e.opened <- struct{}{}:
				default:
				}
			}
		},
	})
}

func (e *endpoint) breakerIs(s gobreaker.State) {
	e.c.cfg.Metrics.breaker(e.name, s.String())
	e.c.cfg.Log.Warn("function's breaker", "endpoint", e.name, "state", s.String())
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
	connected, err := e.warm(ctx, e.gen.Load())
	var probed time.Time
	var look <-chan time.Time // nil: nobody is looked for
	lookEvery := max(e.c.cfg.BreakerOpen/lookShare, leastLook)
	for ctx.Err() == nil {
		age := e.c.cfg.ConnectionAge
		wait := age - age/5 + rand.N(2*age/5+1)
		if fault := e.fault.Load(); !connected || err != nil && fault != nil && *fault != nil {
			wait = min(wait, warmRetry)
		}
		due := time.Now().Add(wait)
		for renew := false; !renew; {
			timer := time.NewTimer(time.Until(due))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
				connected, err = e.renew(ctx)
				renew = true
			case <-e.suspect:
				timer.Stop()
				if time.Since(probed) >= e.c.cfg.BreakerOpen {
					f := e.check(ctx, e.gen.Load())
					e.ill.Store(f != nil && f.fault)
					probed = time.Now()
				}
			case <-e.opened:
				timer.Stop()
				look = time.After(lookEvery)
			case <-look:
				timer.Stop()
				if look = nil; !e.reached(ctx) {
					look = time.After(lookEvery)
				}
			}
		}
	}
}

// reached looks for an endpoint at which nobody took a connection, and closes its breaker where somebody answers well again: events
// need not wait for the breaker's time. An endpoint that is there and fails has that time to recover in. It returns false while
// there is nobody.
func (e *endpoint) reached(ctx context.Context) bool {
	if !e.gone.Load() || e.breaker.Load().State() == gobreaker.StateClosed {
		return true
	}
	if e.check(ctx, e.gen.Load()) != nil {
		return false
	}
	if e.breaker.Load().State() == gobreaker.StateClosed { // an event was faster
		return true
	}
	e.gone.Store(false)
	e.fault.Store(new(error))
	e.breaker.Store(e.newBreaker()) // what is under way tells the old one
	e.breakerIs(gobreaker.StateClosed)
	return true
}

// blamed reports whether a 5xx about an event is the endpoint's fault, which its
// breaker counts, and not that of the packets of one switch: if several switches
// have got one of late, or a policy_check has. Otherwise one is sent soon.
func (e *endpoint) blamed(ev *flow.Event) bool {
	if e.faults.common(ev) || e.ill.Load() {
		return true
	}
	select {
	case e.suspect <- struct{}{}:
	default:
	}
	return false
}

// renew replaces e's connections by new ones, which look the name up and read
// the certificates again. Old ones stay while no new one can be made: a name
// server's outage is no reason to leave a function that answers.
func (e *endpoint) renew(ctx context.Context) (connected bool, err error) {
	g, err := newGeneration(&e.c.cfg, &e.target)
	if err != nil {
		e.c.cfg.Log.Warn("new connections can't be made; the old ones and their certificates stay in use", "endpoint", e.name, "err", err)
		return true, nil
	}
	connected, err = e.warm(ctx, g)
	if !connected {
		g.retire()
		return false, err
	}
	e.gen.Swap(g).retire()
	return true, err
}

// warm dials g's connections by asking for the policy version on all of them at
// once: it also wakes a function that sleeps and tries the token. It reports
// whether there is a connection, and why none answered well.
func (e *endpoint) warm(ctx context.Context, g *generation) (connected bool, err error) {
	faults := make([]*failure, e.c.cfg.Connections)
	var wg sync.WaitGroup
	for i := range faults {
		wg.Go(func() { faults[i] = e.check(ctx, g) })
	}
	wg.Wait()
	for _, f := range faults {
		if f == nil {
			e.fault.Store(new(error))
			return true, nil
		}
		connected = connected || f.outcome == ServerError
	}
	err = faults[0].err
	if ctx.Err() == nil {
		last := e.fault.Swap(&err)
		if last == nil || *last == nil || (*last).Error() != err.Error() { // once for each reason
			e.c.cfg.Log.Warn("function can't be reached", "endpoint", e.name, "err", err)
		}
	}
	return connected, err
}

// check sends a policy_check on g and returns what is wrong with the endpoint,
// if anything is. Any answer but a 5xx, a refusal too, is a good one.
func (e *endpoint) check(ctx context.Context, g *generation) *failure {
	ev := flow.Event{Type: flow.EventPolicyCheck, ID: e.c.newID(), Time: time.Now(), XID: 1, Accepts: flow.AcceptsAll}
	p, err := e.c.cfg.Codec.AppendEvent(nil, &ev)
	if err != nil {
		return &failure{err: err, outcome: NotSent}
	}
	g.users.Add(1)
	defer g.release()
	ctx, cancel := context.WithTimeout(ctx, e.c.cfg.TryTimeout)
	defer cancel()
	a, f := e.roundTrip(ctx, g, e.c.header(&ev, ev.ID), p)
	releaseAnswer(a.body)
	if f != nil && (f.fault || f.outcome == GivenUp) {
		return f
	}
	return nil
}
