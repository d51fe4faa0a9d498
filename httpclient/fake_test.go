package httpclient

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "told so", code) }
}

// sleep answers well after d, or not at all when the client has gone.
func sleep(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			good(w, r)
		case <-r.Context().Done():
		}
	}
}

func TestRepeatsWhereTheContractAllows(t *testing.T) {
	stateful := func(*flow.Event) bool { return false }
	for _, row := range []struct {
		name  string
		first http.HandlerFunc // the answer to the first request
		cfg   Config
		asked int32
		kind  flow.ErrorKind // of a failure; asked 2 means success
	}{
		{name: "500", first: status(500), asked: 2},
		{name: "503", first: status(503), asked: 2},
		{name: "429", first: status(429), asked: 2},
		{name: "broken", first: hangUp, asked: 2},
		{name: "timeout", first: sleep(time.Minute), asked: 2},
		{name: "500, writes a store", first: status(500), cfg: Config{Idempotent: stateful}, asked: 1, kind: flow.Unavailable},
		{name: "429, writes a store", first: status(429), cfg: Config{Idempotent: stateful}, asked: 1, kind: flow.Unavailable},
		{name: "broken, writes a store", first: hangUp, cfg: Config{Idempotent: stateful}, asked: 1, kind: flow.Unavailable},
		{name: "404", first: status(404), asked: 1, kind: flow.Refused},
		{name: "401", first: status(401), asked: 1, kind: flow.Refused},
		{name: "no budget", first: status(500), cfg: Config{RetryBudget: -1}, asked: 1, kind: flow.Unavailable},
		{name: "one try", first: status(500), cfg: Config{MaxTries: 1}, asked: 1, kind: flow.Unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var asked atomic.Int32
				ids := make(chan string, 8)
				n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
					ids <- r.Header.Get(contract.HeaderID)
					if asked.Add(1) == 1 {
						row.first(w, r)
						return
					}
					good(w, r)
				}))
				row.cfg.Endpoints, row.cfg.dial = []string{"http://fn/"}, n.dial
				c := newClient(t, row.cfg)
				if row.asked == 1 {
					mustFail(t, c, row.kind, "http://fn/")
				} else {
					mustDecide(t, c)
				}
				if got := asked.Load(); got != row.asked {
					t.Errorf("asked %d times, want %d", got, row.asked)
				}
				close(ids)
				for id := range ids {
					if id != "event-1" {
						t.Errorf("ce-id %q, want the event's", id)
					}
				}
			})
		})
	}
}

// hangUp breaks the connection after the request has been read.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// TestStatefulEventIsRepeatedWhenNothingWasSent is the one repeat that is always safe.
func TestStatefulEventIsRepeatedWhenNothingWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		down := n.serve("down", good)
		down.setDown(true)
		n.serve("up", good)
		c := newClient(t, Config{Endpoints: []string{"http://down/", "http://up/"}, dial: n.dial, Idempotent: func(*flow.Event) bool { return false }})
		mustDecide(t, c)
	})
}

// A function that says of itself that it writes a store is neither asked twice nor hedged, and is again once it says so no more.
func TestFunctionSaysThatItIsStateful(t *testing.T) {
	for _, hedge := range []time.Duration{0, 10 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			var asked atomic.Int32
			var says atomic.Value
			says.Store("true")
			n.serve("fn", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(contract.HeaderType) == flow.EventPacketIn.String() && asked.Add(1) == 1 {
					if hedge == 0 {
						hangUp(w, r)
					}
					time.Sleep(time.Second)
				}
				if s := says.Load().(string); s != "" {
					w.Header().Set(contract.HeaderStateful, s)
				}
				good(w, r)
			})
			c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, HedgeAfter: hedge})
			check := &flow.Event{Type: flow.EventPolicyCheck, ID: "check", XID: 1}
			for text, want := range map[string]int32{"true": 1, "": 2, "false": 2} {
				says.Store(text)
				if err := c.Decide(t.Context(), check, new(flow.Decision)); err != nil {
					t.Fatal(err)
				}
				asked.Store(0)
				_ = c.Decide(t.Context(), packetIn(), new(flow.Decision))
				if got := asked.Load(); got != want {
					t.Errorf("hedge %v, Switchbridge-Stateful: %q: asked %d times, want %d", hedge, text, got, want)
				}
			}
			time.Sleep(time.Second) // until the last slow answer
		})
	}
}

func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var asked atomic.Int32
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); status(503)(w, r) }))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, BreakerFailures: 1 << 20, BreakerOpen: time.Nanosecond, MaxTries: 2})
		const events = 1000
		for range events {
			var d flow.Decision
			c.Decide(t.Context(), packetIn(), &d)
			time.Sleep(time.Millisecond)
		}
		// A tenth, and what was saved before.
		if extra := asked.Load() - events; extra < events/10-1 || extra > events/10+retryBurst {
			t.Errorf("%d events caused %d repeats, want a tenth and %d", events, extra, retryBurst)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for _, row := range []struct {
		header string
		took   time.Duration
		ok     bool
	}{
		{"2", 2 * time.Second, true},
		{"3600", 0, false},
		{"nonsense", 0, true},
	} {
		t.Run(row.header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var asked atomic.Int32
				n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
					if asked.Add(1) == 1 {
						w.Header().Set("Retry-After", row.header)
						status(429)(w, r)
						return
					}
					good(w, r)
				}))
				c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial})
				synctest.Wait()
				start := time.Now()
				if row.ok {
					mustDecide(t, c)
				} else {
					mustFail(t, c, flow.Unavailable, "429", "deadline")
				}
				if took := time.Since(start); took < row.took || took > row.took+maxBackoff {
					t.Errorf("took %v, want about %v", took, row.took)
				}
			})
		})
	}
}

func TestDeadlineCoversRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("fn", eventsOnly(sleep(time.Hour)))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, Timeout: 3 * time.Second, TryTimeout: 2 * time.Second})
		synctest.Wait()
		start := time.Now()
		mustFail(t, c, flow.Unavailable, "deadline exceeded")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("fn", eventsOnly(sleep(time.Hour)))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, BreakerFailures: 1})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var d flow.Decision
		if err := c.Decide(ctx, packetIn(), &d); flow.KindOf(err) != flow.Unavailable || err == nil {
			t.Errorf("error %v", err)
		}
		if s := c.Endpoints()[0].Breaker; s != "closed" {
			t.Errorf("breaker is %s: what the caller gave up is not the endpoint's fault", s)
		}
	})
}

func TestHedge(t *testing.T) {
	for _, row := range []struct {
		name   string
		cfg    Config
		first  http.HandlerFunc
		asked  int32
		took   time.Duration
		failed bool
	}{
		{name: "second is faster", cfg: Config{HedgeAfter: 50 * time.Millisecond}, first: sleep(time.Second), asked: 2, took: 50 * time.Millisecond},
		{name: "first is in time", cfg: Config{HedgeAfter: 50 * time.Millisecond}, first: sleep(40 * time.Millisecond), asked: 1, took: 40 * time.Millisecond},
		{name: "first fails late", cfg: Config{HedgeAfter: 50 * time.Millisecond, MaxTries: 1},
			first: func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second); status(500)(w, r) }, asked: 2, took: 50 * time.Millisecond},
		{name: "off", first: sleep(time.Second), asked: 1, took: time.Second},
		{name: "writes a store", cfg: Config{HedgeAfter: 50 * time.Millisecond, Idempotent: func(*flow.Event) bool { return false }},
			first: sleep(time.Second), asked: 1, took: time.Second},
		{name: "no budget", cfg: Config{HedgeAfter: 50 * time.Millisecond, HedgeBudget: -1}, first: sleep(time.Second), asked: 1, took: time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var asked atomic.Int32
				n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
					if asked.Add(1) == 1 {
						row.first(w, r)
						return
					}
					good(w, r)
				}))
				row.cfg.Endpoints, row.cfg.dial = []string{"http://fn/"}, n.dial
				c := newClient(t, row.cfg)
				synctest.Wait()
				start := time.Now()
				mustDecide(t, c)
				if took := time.Since(start); took != row.took {
					t.Errorf("took %v, want %v", took, row.took)
				}
				time.Sleep(2 * time.Second)
				if got := asked.Load(); got != row.asked {
					t.Errorf("asked %d times, want %d", got, row.asked)
				}
			})
		})
	}
}

// TestHedgeBudget makes every answer late: a twentieth of the events is hedged.
func TestHedgeBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var seen counts
		n.serve("fn", eventsOnly(sleep(100*time.Millisecond)))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, HedgeAfter: 10 * time.Millisecond, Metrics: seen.metrics()})
		const events = 200
		for range events {
			mustDecide(t, c)
		}
		if seen.hedges < events/20-1 || seen.hedges > events/20+hedgeBurst {
			t.Errorf("%d of %d events were hedged, want a twentieth and %d", seen.hedges, events, hedgeBurst)
		}
	})
}

func TestHedgeAutoLearnsThePercentile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var seen counts
		var slow atomic.Bool
		var asked atomic.Int32
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			switch i := asked.Add(1); {
			case slow.Swap(false):
				sleep(time.Second)(w, r)
			case i%16 == 0: // one in sixteen, more than a twentieth
				sleep(40*time.Millisecond)(w, r)
			default:
				sleep(20*time.Millisecond)(w, r)
			}
		}))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, HedgeAfter: HedgeAuto, Metrics: seen.metrics()})
		for range 2 * recount {
			mustDecide(t, c)
		}
		synctest.Wait() // a second request may have left as the first was answered
		slow.Store(true)
		start := time.Now()
		mustDecide(t, c)
		if took := time.Since(start); took != 60*time.Millisecond {
			t.Errorf("a slow answer took %v with a hedge, want the percentile and one answer, 60ms", took)
		}
	})
}

func TestFailoverAndBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var seen counts
		a := n.serve("a", good)
		a.setDown(true)
		n.serve("b", good)
		c := newClient(t, Config{Endpoints: []string{"http://a/", "http://b/"}, dial: n.dial, Metrics: seen.metrics()})
		for range 20 {
			mustDecide(t, c)
		}
		if got := seen.get("http://a/ not_sent"); got != 5 {
			t.Errorf("a was tried %d times, want 5 until its breaker opened", got)
		}
		if got := seen.get("http://b/ ok"); got != 20 {
			t.Errorf("b decided %d events, want all 20", got)
		}
		if got := c.Endpoints()[0]; got.Breaker != "open" || !strings.Contains(got.Fault, "refused") {
			t.Errorf("a is %+v, want an open breaker", got)
		}

		time.Sleep(1100 * time.Millisecond) // half open, and still down: one event tries
		mustDecide(t, c)
		if got := seen.get("http://a/ not_sent"); got != 6 {
			t.Errorf("a was tried %d times, want once more", got)
		}

		a.setDown(false)
		time.Sleep(1100 * time.Millisecond)
		mustDecide(t, c)
		if got := seen.get("http://a/ ok"); got != 1 {
			t.Errorf("a decided %d events, want 1 now that it is up", got)
		}
		want := "http://a/ closed,http://b/ closed,http://a/ open,http://a/ half-open,http://a/ open,http://a/ closed"
		if got := strings.Join(seen.states, ","); got != want {
			t.Errorf("breakers went %s\nwant %s", got, want)
		}
	})
}

// An endpoint that was gone is asked again soon after its return, however long it was away. One that is there and fails is left alone for the
// breaker's time.
func TestEndpointThatReturns(t *testing.T) {
	for name, gone := range map[string]bool{"gone": true, "there, and silent": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var silent atomic.Bool
				a := n.serve("a", func(w http.ResponseWriter, r *http.Request) {
					if silent.Load() {
						sleep(time.Hour)(w, r)
						return
					}
					good(w, r)
				})
				c := newClient(t, Config{Endpoints: []string{"http://a/"}, dial: n.dial, MaxTries: 1, BreakerFailures: 1, IdleTimeout: time.Millisecond})
				for _, away := range []time.Duration{0, time.Hour} {
					mustDecide(t, c)
					time.Sleep(time.Second) // the connection is gone
					fail := func(down bool) {
						if gone {
							a.setDown(down)
						} else {
							silent.Store(down)
						}
					}
					fail(true)
					mustFail(t, c, flow.Unavailable, "http://a/")
					time.Sleep(away)
					if away > 0 { // an event tries, and the breaker opens once more
						mustFail(t, c, flow.Unavailable, "http://a/")
					}
					fail(false)
					const soon = DefaultBreakerOpen/lookShare + time.Millisecond
					time.Sleep(soon)
					if err := c.Decide(t.Context(), packetIn(), new(flow.Decision)); (err == nil) != gone {
						t.Errorf("%v after its return from %v: %v", soon, away, err)
					}
					time.Sleep(DefaultBreakerOpen)
				}
			})
		})
	}
}

func TestAllBreakersOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a", eventsOnly(sleep(time.Hour)))
		c := newClient(t, Config{Endpoints: []string{"http://a/"}, dial: n.dial, BreakerFailures: 1, BreakerOpen: time.Minute})
		mustFail(t, c, flow.Unavailable, "no repeat: the breaker")
		start := time.Now()
		mustFail(t, c, flow.Unavailable, "breaker of every endpoint is open")
		if took := time.Since(start); took != 0 {
			t.Errorf("an open breaker cost %v", took)
		}
	})
}

// TestRefusalsKeepTheBreakerClosed: an endpoint that answers 4xx or 429 is well.
func TestRefusalsKeepTheBreakerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		code := 404
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) { status(code)(w, r) }))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, MaxTries: 1})
		for range 50 {
			mustFail(t, c, flow.Refused, "404", "told so")
		}
		code = 429
		for range 50 {
			mustFail(t, c, flow.Unavailable, "429")
		}
		if s := c.Endpoints()[0].Breaker; s != "closed" {
			t.Errorf("breaker is %s", s)
		}
	})
}

func TestConnectionsAreDialledAheadAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		fn := n.serve("fn", func(w http.ResponseWriter, r *http.Request) { sleep(10*time.Millisecond)(w, r) })
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, Connections: 3, ConnectionAge: time.Minute, IdleTimeout: time.Hour})
		if err := c.Ready(); err == nil {
			t.Error("ready before anything was reached")
		}
		time.Sleep(time.Second)
		if err := c.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if got := fn.dialled(); got != 3 {
			t.Errorf("%d connections were dialled ahead, want 3", got)
		}
		for range 10 {
			mustDecide(t, c)
		}
		if got := fn.dialled(); got != 3 {
			t.Errorf("%d connections for events one at a time, want the 3 that were warm", got)
		}
		time.Sleep(46 * time.Second) // a fifth less than the age has not passed yet, counting from the start
		if got := fn.dialled(); got != 3 {
			t.Errorf("renewed before its time: %d dials", got)
		}
		time.Sleep(27 * time.Second) // now a fifth more has
		if got := fn.dialled(); got != 6 {
			t.Errorf("%d dials after the connections' age, want 3 new ones", got)
		}
		mustDecide(t, c)
		if got := fn.dialled(); got != 6 {
			t.Errorf("%d dials, want the event to use a warm one", got)
		}
	})
}

// TestConnectionsStayWhereNoneCanBeMade: what works is not given up for what may not.
func TestConnectionsStayWhereNoneCanBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		fn := n.serve("fn", good)
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, Connections: 1, ConnectionAge: time.Minute, IdleTimeout: time.Hour})
		synctest.Wait()
		old := c.endpoints[0].gen.Load()
		fn.setDown(true) // for new connections
		for range 10 {
			time.Sleep(20 * time.Second)
			mustDecide(t, c)
		}
		fn.setDown(false)
		time.Sleep(warmRetry + time.Second)
		if now := c.endpoints[0].gen.Load(); now == old || !old.retired.Load() {
			t.Error("connections were not renewed once they could be")
		}
		mustDecide(t, c)
	})
}

// TestRefusalsLeaveTheConnection: a function that is too busy to decide must not be given handshakes instead.
func TestRefusalsLeaveTheConnection(t *testing.T) {
	for _, code := range []int{401, 429, 503} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			page := strings.Repeat("<p>Too much of everything.</p>", 100) // of a CDN
			fn := n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) { http.Error(w, page, code) }))
			c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, Connections: 1, MaxTries: 1, BreakerFailures: 1 << 20})
			synctest.Wait()
			for range 10 {
				var d flow.Decision
				err := c.Decide(t.Context(), packetIn(), &d)
				if err == nil || !strings.Contains(err.Error(), "Too much of everything") || len(err.Error()) > 2*maxExcerpt {
					t.Errorf("%d: error %v", code, err)
				}
				time.Sleep(2 * time.Second) // a packet that got a 5xx is kept back for one
				synctest.Wait()             // the connection is back in the pool
			}
			if got := fn.dialled(); got != 1 {
				t.Errorf("%d: %d dials for one event at a time", code, got)
			}
		})
	}
}

// TestBreakerCountsAnswers: events that their callers gave up say nothing about
// the endpoint, neither against it nor for it.
func TestBreakerCountsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var asked atomic.Int32
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			switch i := asked.Add(1); {
			case i <= breakerRequests:
				sleep(time.Minute)(w, r)
			case i%2 == 1 && i <= 2*breakerRequests:
				good(w, r)
			default:
				status(500)(w, r)
			}
		}))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, MaxTries: 1, BreakerOpen: time.Hour})
		synctest.Wait()
		for i := range 2*breakerRequests + 4 { // the first two of a kind are some switch's
			if got := c.Endpoints()[0].Breaker; got != "closed" && i < 2*breakerRequests {
				t.Fatalf("breaker is %s after %d events", got, i)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if i < breakerRequests {
				time.AfterFunc(time.Millisecond, cancel)
			}
			var d flow.Decision
			c.Decide(ctx, packetOf(i, 1), &d) // each of another switch: it is no switch's fault
			cancel()
		}
		if got := c.Endpoints()[0].Breaker; got != "open" {
			t.Errorf("breaker is %s after half of %d answers were failures", got, breakerRequests)
		}
	})
}

// TestRenewalLetsEventsEnd: connections go when the events on them are done.
func TestRenewalLetsEventsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("fn", eventsOnly(sleep(2*time.Minute)))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial, ConnectionAge: time.Minute, Timeout: time.Hour, TryTimeout: time.Hour})
		synctest.Wait()
		old := c.endpoints[0].gen.Load()
		mustDecide(t, c)
		if c.endpoints[0].gen.Load() == old || !old.retired.Load() || old.users.Load() != 0 {
			t.Error("connections were not renewed under the event")
		}
	})
}

// TestUnreachedEndpointIsFoundWithoutEvents: readiness must not need traffic.
func TestUnreachedEndpointIsFoundWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		fn := n.serve("fn", good)
		fn.setDown(true)
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial})
		synctest.Wait()
		if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "http://fn/: no connection: connection refused") {
			t.Errorf("ready says %v of an endpoint that is down", err)
		}
		fn.setDown(false)
		time.Sleep(warmRetry + time.Second)
		if err := c.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
}

// TestUnknownHeaderOfDecision: what the headers say of a decision counts, and
// nonsense in them is an answer that can't be read.
func TestDecisionHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(contract.HeaderReason, "from the header")
			w.Header().Set(contract.HeaderVerdict, r.Header.Get(contract.HeaderSubject))
			answerWith(w, `{"reason":"from the body","state":"AQI=","state_key":"src"}`)
		}))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial})
		ev := packetIn()
		ev.Session = "deny"
		var d flow.Decision
		if err := c.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		if d.Reason != "from the header" || d.Verdict != flow.Deny || string(d.State) != "\x01\x02" || d.StateKey != flow.StateSrc {
			t.Errorf("decision %+v", d)
		}
		mustFail(t, c, flow.Invalid, "Switchbridge-Verdict", "session-1")
	})
}
