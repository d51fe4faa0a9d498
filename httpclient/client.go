package httpclient

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/watched"
)

// Client asks a function. It is safe for use by several goroutines.
type Client struct {
	cfg       Config
	endpoints []*endpoint
	token     *tokenFile
	ctype     []string // the Content-Type header's value
	other     otherEncoding
	retries   *budget
	hedges    *budget
	answered  latencies
	poison    quarantine
	stateful  atomic.Bool // by the last answer: what may have been sent is not repeated

	idPrefix string
	ids      atomic.Uint64

	stop context.CancelFunc
	wg   sync.WaitGroup
}

const (
	retryBurst = 10
	hedgeBurst = 5

	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond

	// usualEvent is room for most events, so that one allocation does. Of a
	// frame, switches that buffer send 128 bytes.
	usualEvent = 1 << 10
)

var userAgent = []string{"switchbridge"}

// New checks cfg, reads the files that it names and starts to dial. It does not
// wait for an endpoint to be reached; see [Client.Ready].
func New(cfg Config) (*Client, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	c := &Client{
		cfg:     cfg,
		ctype:   []string{cfg.Codec.ContentType()},
		retries: newBudget(cfg.RetryBudget, retryBurst),
		hedges:  newBudget(cfg.HedgeBudget, hedgeBurst),
	}
	c.poison = quarantine{lasts: cfg.BreakerOpen, log: cfg.Log, tell: cfg.Metrics.quarantined}
	var random [6]byte
	rand.Read(random[:])
	c.idPrefix = hex.EncodeToString(random[:]) + "-"
	var err error
	if c.token, err = openToken(cfg.TokenFile, cfg.Log, cfg.Results); err != nil {
		return nil, fmt.Errorf("httpclient: %w", err)
	}
	made := false
	defer func() {
		if !made {
			c.token.close()
		}
	}()
	for _, s := range cfg.Endpoints {
		t, err := parseTarget(s)
		if err != nil {
			return nil, fmt.Errorf("httpclient: %w", err)
		}
		if c.token != nil && !t.private(cfg.Via) {
			return nil, fmt.Errorf("httpclient: endpoint %s: the token would be sent unencrypted; use https", t.name)
		}
		e, err := newEndpoint(c, t)
		if err != nil {
			return nil, fmt.Errorf("httpclient: endpoint %s: %w", t.name, err)
		}
		c.endpoints = append(c.endpoints, e)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, e := range c.endpoints {
		c.wg.Go(func() { e.maintain(ctx) })
	}
	made = true
	return c, nil
}

// Files are those that may change while the client is in use: a watch over them
// notices a change sooner than the client would by itself.
func (c *Client) Files() []watched.File {
	if c.token == nil {
		return nil
	}
	return []watched.File{c.token}
}

// Close ends what runs in the background and closes connections as their
// requests end.
func (c *Client) Close() error {
	c.stop()
	c.wg.Wait()
	c.token.close()
	for _, e := range c.endpoints {
		e.gen.Load().retire()
	}
	return nil
}

// Ready returns nil when some endpoint has answered its last request, and
// otherwise why each has not.
func (c *Client) Ready() error {
	var errs []error
	for _, e := range c.endpoints {
		switch fault := e.fault.Load(); {
		case fault == nil:
			errs = append(errs, fmt.Errorf("%s: not reached yet", e.name))
		case *fault == nil:
			return nil
		default:
			errs = append(errs, fmt.Errorf("%s: %w", e.name, *fault))
		}
	}
	return errors.Join(errs...)
}

// String names the endpoints.
func (c *Client) String() string {
	names := make([]string, len(c.endpoints))
	for i, e := range c.endpoints {
		names[i] = e.name
	}
	return "client " + strings.Join(names, ", ")
}

// Decide asks the function. Its errors name the endpoint, the event's type and
// the switch, and are of kind [flow.Unavailable], [flow.Refused] or
// [flow.Invalid].
func (c *Client) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if what, left := c.poison.holds(ev); left > 0 {
		return flow.Errorf(flow.Unavailable, "%s: %s: the function fails on this %s; it is not asked for another %v", c.endpoints[0].name, describe(ev), what, left.Round(time.Millisecond))
	}
	asked := *ev
	asked.Accepts = flow.AcceptsAll&^flow.AcceptsTravel | ev.Accepts&flow.AcceptsTravel // which is for whoever brings states back to say
	ev = &asked
	p, err := c.cfg.Codec.AppendEvent(make([]byte, 0, usualEvent+len(ev.State)), ev)
	if err != nil {
		return flow.Errorf(flow.Invalid, "%s can't be written as %s: %w", describe(ev), c.ctype[0], err)
	}
	if len(p) > flow.MaxBody {
		return flow.Errorf(flow.Invalid, "%s takes %d bytes, more than %d", describe(ev), len(p), flow.MaxBody)
	}
	c.retries.deposit()
	c.hedges.deposit()
	a := asking{c: c, ev: ev, p: p, id: ev.ID, idempotent: c.cfg.Idempotent(ev) && !c.stateful.Load(), ill: true, deadline: time.Now().Add(c.cfg.Timeout)}
	if a.id == "" {
		a.id = c.newID()
	}
	if t, ok := ctx.Deadline(); ok && t.Before(a.deadline) {
		a.deadline = t
	}
	err = a.run(ctx, d)
	d.Calls += a.calls
	if err != nil && a.ill && a.tried != 0 {
		c.poison.failed(ev, err)
	}
	return err
}

// describe names an event for errors.
func describe(ev *flow.Event) string {
	name := strings.TrimSuffix(strings.TrimPrefix(ev.Type.String(), "switchbridge."), ".v1")
	if ev.Switch == nil {
		return name
	}
	return name + " of switch " + ev.Switch.DPID.String()
}

func (c *Client) newID() string { return c.idPrefix + strconv.FormatUint(c.ids.Add(1), 10) }

// header returns the headers of a request; the transport may keep them.
func (c *Client) header(ev *flow.Event, id string) http.Header {
	h := make(http.Header, 12)
	contract.PutEvent(h, ev)
	contract.PutMembers(h, c.ctype[0], ev)
	h[contract.HeaderID] = []string{id}
	h["Content-Type"] = c.ctype
	h["User-Agent"] = userAgent
	if auth := c.token.authorization(); auth != nil {
		h["Authorization"] = auth
	}
	return h
}

// asking is one event's way through tries and endpoints.
type asking struct {
	c          *Client
	ev         *flow.Event
	p          payload
	id         string
	idempotent bool
	deadline   time.Time

	tried   uint32 // bit for each endpoint that was asked
	calls   int    // requests that were sent
	ill     bool   // every answer so far was a 5xx
	backoff *backoff.ExponentialBackOff
}

// run asks endpoints until one has decided, the contract forbids another try,
// or time or budget is up.
func (a *asking) run(ctx context.Context, d *flow.Decision) error {
	next := 0
	var failed error // the last try's
	for try := 1; ; try++ {
		i, done := a.pick(next)
		switch {
		case done == nil && failed != nil:
			return fmt.Errorf("%w (no repeat: %w)", failed, errAllOpen)
		case done == nil:
			return a.fail(a.c.endpoints[0], &failure{kind: flow.Unavailable, err: errAllOpen})
		}
		e := a.c.endpoints[i]
		if try > 1 {
			a.c.cfg.Metrics.retry(e.name)
		}
		from, f := a.ask(ctx, e, done, d)
		if f == nil {
			return nil
		}
		failed = a.fail(from, f)
		a.ill = a.ill && f.outcome == ServerError
		if f.repeat == never || f.repeat == ifIdempotent && !a.idempotent {
			return a.advise(ctx, from, f, failed)
		}
		if try >= a.c.cfg.MaxTries {
			return fmt.Errorf("%w (after %d tries)", failed, try)
		}
		if !time.Now().Before(a.deadline) {
			return failed
		}
		next = (i + 1) % len(a.c.endpoints)
		fresh := a.tried&(1<<next) == 0
		if f.repeat == always && fresh {
			continue // on to the next endpoint, at no cost to anybody
		}
		if !a.c.retries.take() {
			return fmt.Errorf("%w (no repeat: the retry budget is spent)", failed)
		}
		if fresh {
			continue
		}
		if err := a.wait(ctx, f.retryAfter); err != nil {
			return fmt.Errorf("%w (no repeat: %w)", failed, err)
		}
		next = 0
	}
}

// pick returns the first endpoint from next on whose breaker lets the event
// pass, and what its breaker is told afterwards; nil when none does.
func (a *asking) pick(next int) (int, func(error)) {
	n := len(a.c.endpoints)
	for k := range n {
		i := (next + k) % n
		if done, err := a.c.endpoints[i].breaker.Load().Allow(); err == nil {
			a.tried |= 1 << i
			return i, done
		}
	}
	return 0, nil
}

var errAllOpen = errors.New("the breaker of every endpoint is open")

var errDeadline = errors.New("the deadline would pass before it")

// wait sleeps before a repeat, at least as long as the function asked for.
func (a *asking) wait(ctx context.Context, atLeast time.Duration) error {
	if a.backoff == nil {
		a.backoff = backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstBackoff),
			backoff.WithMultiplier(2), backoff.WithMaxInterval(maxBackoff), backoff.WithMaxElapsedTime(0))
	}
	pause := max(a.backoff.NextBackOff(), atLeast)
	if time.Until(a.deadline) <= pause {
		return errDeadline
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// fail makes the error that Decide returns.
func (a *asking) fail(e *endpoint, f *failure) error {
	return flow.Errorf(f.kind, "%s: %s: %w", e.name, describe(a.ev), f.err)
}

// ask makes one try, hedged where that is on, and fills d. It returns the
// endpoint that the failure is of.
func (a *asking) ask(ctx context.Context, e *endpoint, done func(error), d *flow.Decision) (*endpoint, *failure) {
	deadline := time.Now().Add(a.c.cfg.TryTimeout)
	if a.deadline.Before(deadline) {
		deadline = a.deadline
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var r reply
	if after := a.hedgeAfter(); after > 0 {
		r = a.hedged(ctx, e, done, after)
	} else {
		a.calls++
		r = e.ask(ctx, done, a.ev, a.c.header(a.ev, a.id), a.p)
	}
	defer releaseAnswer(r.body)
	if r.failure == nil {
		r.failure = a.parse(&r, d)
		outcome := OK
		if r.failure != nil {
			outcome = r.failure.outcome
		}
		a.c.cfg.Metrics.request(r.from.name, outcome, r.took, r.trace)
	}
	return r.from, r.failure
}

// parse fills d from an answer.
func (a *asking) parse(r *reply, d *flow.Decision) *failure {
	err := a.c.cfg.Codec.ParseDecision(*r.body, a.ev, d)
	if err == nil {
		err = contract.GetReply(r.header, a.c.cfg.Codec, a.ev, d)
	}
	if err == nil {
		err = contract.GetDecision(r.header, d)
	}
	if err != nil {
		d.Reset()
		return invalid("answer: %w", err)
	}
	if a.c.stateful.Load() != d.Stateful && a.c.stateful.Swap(d.Stateful) != d.Stateful {
		a.c.cfg.Log.Info("the function says whether its decisions write to a store; if they do, events that were sent are neither repeated nor hedged", "writes", d.Stateful)
	}
	return nil
}

// reply is how one request ended.
type reply struct {
	answer
	from    *endpoint
	failure *failure
	took    time.Duration
	trace   string // id of the request's trace; empty: none
}

// ask makes one request and tells breaker, metrics and readiness. A success is
// counted by the caller, who knows what the answer is worth.
func (e *endpoint) ask(ctx context.Context, done func(error), ev *flow.Event, h http.Header, p payload) reply {
	g := e.acquire()
	defer g.release()
	ctx, span := e.trace(ctx, h)
	start := time.Now()
	got, f := e.roundTrip(ctx, g, h, p)
	took := time.Since(start)
	if f == nil {
		functionSpans(ctx, span, start, took, got.header)
	}
	trace := endTrace(span, f)
	e.gone.Store(f != nil && f.outcome == NotSent)
	switch {
	case f == nil || !f.fault && f.outcome != GivenUp:
		done(nil)
		e.ill.Store(false)
		if last := e.fault.Load(); last == nil || *last != nil {
			e.fault.Store(new(error))
		}
	case f.fault && (f.outcome != ServerError || e.blamed(ev)):
		done(f.err)
		e.fault.Store(&f.err)
	case f.fault:
		done(errNotCounted)
	default:
		done(errNotCounted)
	}
	if f != nil {
		e.c.cfg.Metrics.request(e.name, f.outcome, took, trace)
	} else if e.c.cfg.HedgeAfter == HedgeAuto {
		e.c.answered.add(took)
	}
	return reply{got, e, f, took, trace}
}

// Endpoint is the state of one endpoint, for people.
type Endpoint struct {
	Name    string `json:"name"`
	Breaker string `json:"breaker"` // closed, half-open or open
	Fault   string `json:"fault,omitempty"`
}

// Endpoints returns the state of each endpoint, in order of preference.
func (c *Client) Endpoints() []Endpoint {
	list := make([]Endpoint, len(c.endpoints))
	for i, e := range c.endpoints {
		list[i] = Endpoint{Name: e.name, Breaker: e.breaker.Load().State().String()}
		if fault := e.fault.Load(); fault != nil && *fault != nil {
			list[i].Fault = (*fault).Error()
		}
	}
	return list
}
