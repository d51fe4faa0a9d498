// Package edgehost answers one request with the controller, as edge platforms want it: a new
// instance reads the policy, decides one event, and ends.
//
// It checks first what costs little: it refuses a caller without a token before it reads the body, and
// a request that is no event before it reads the policy.
package edgehost

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/policy/blob"
	"switchbridge/policy/machine"
	"switchbridge/state"
	"switchbridge/state/travel"
)

// HealthPath answers a GET with 200, without a token and without a look at the policy.
const HealthPath = "/healthz"

// Request is what is known of a request before its body is read.
type Request struct {
	Method, Path string
	Header       contract.Header
}

// ErrAnyone is what a Platform's Tokens returns where the platform itself checks who calls.
var ErrAnyone = errors.New("anyone may call")

// Platform is what the one request can ask of the platform. An error says what is missing there.
type Platform interface {
	// Tokens returns the bearer tokens that are valid, with a blank or the end of a line between,
	// or ErrAnyone.
	Tokens() (string, error)

	// Body reads the request's body. Of one that is longer than limit it returns the first
	// limit+1 bytes. Size is how long it says it is, at most limit; 0 where it doesn't say.
	Body(size, limit int) ([]byte, error)

	// Policy reads the compiled policy.
	Policy() ([]byte, error)

	// StateKeys returns the keys that seal states which travel with events, as [travel.ParseKeys] reads them; nothing where there are none. It is asked
	// where the policy has machines.
	StateKeys() (string, error)

	// Store returns what keeps states where they don't travel; nil where nothing does. It is asked where there are no StateKeys.
	Store() (state.Store, error)

	// Log puts a line into the platform's log. What goes wrong there goes no further.
	Log(line []byte)
}

// Response is the answer, and the record of it.
type Response struct {
	Status int
	Header function.Headers
	Body   []byte
	Record []byte // one line of JSON, without its end; nil for what is no event
}

// Answer answers one request in one of the encodings of codecs. Whatever is wrong is in the status.
// The record is for the caller to log.
func Answer(codecs function.Codecs, r *Request, p Platform) *Response {
	resp := &Response{Header: function.Headers{}}
	if r.Path == HealthPath && (r.Method == "GET" || r.Method == "HEAD") {
		resp.Status, resp.Body = 200, []byte("ok\n")
		resp.Header.Set("Content-Type", "text/plain; charset=utf-8")
		return resp
	}
	began := time.Now()
	var (
		event    guest.Request
		decision guest.Answer
	)
	timings := contract.NewTimings(r.Header)
	if err := answer(codecs, r, p, &event, &decision, resp.Header, timings); err != nil {
		decision = guest.Answer{Status: uint16(function.StatusOf(err)), Policy: decision.Policy, Reason: contract.Printable(err.Error())}
	}
	timings.Put(resp.Header)
	resp.Status, resp.Body = int(decision.Status), function.WriteAnswer(resp.Header, &decision)

	rec := record.Of(&event, &decision)
	rec.Time, rec.Duration = began, time.Since(began)
	line := rec.Append(nil)
	resp.Record = line[:len(line)-1]
	return resp
}

func refuse(status int, format string, args ...any) error {
	return &function.StatusError{Status: status, Err: fmt.Errorf(format, args...)}
}

func answer(codecs function.Codecs, r *Request, p Platform, event *guest.Request, decision *guest.Answer, header contract.Header, timings *contract.Timings) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.Log(fmt.Appendf(nil, "function panicked: %v\n%s", v, debug.Stack()))
			err = refuse(500, "function failed")
		}
	}()
	if r.Method != "POST" {
		header.Set("Allow", "POST")
		return refuse(405, "method %.20s: an event is a POST", r.Method)
	}
	if err := authorize(r, p); err != nil {
		if errors.Is(err, auth.ErrToken) {
			header.Set("Www-Authenticate", `Bearer realm="switchbridge"`)
		}
		return err
	}
	timings.Done("tokens")
	body, err := readBody(r, p)
	if err != nil {
		return err
	}
	timings.Done("body")
	if err := function.ReadRequest(r.Header, body, event); err != nil {
		return err
	}
	compiled, err := p.Policy()
	if err != nil {
		return refuse(503, "policy: %w", err)
	}
	unpacked, err := blob.Unpack(compiled)
	if err != nil {
		return refuse(503, "policy: %w", err)
	}
	timings.Done("policy")
	decider, writes, err := remembering(controller.New(unpacked), p)
	if err != nil {
		return err
	}
	if writes {
		header.Set(contract.HeaderStateful, "true")
	}
	if err := function.New(decider, codecs).Answer(context.Background(), event, decision); err != nil {
		return err
	}
	timings.Done("decide")
	if len(decision.Body) > guest.MaxBody {
		return refuse(500, "decision takes %d bytes, limit %d", len(decision.Body), guest.MaxBody)
	}
	return nil
}

// remembering returns the controller, with states if its policy has machines. If there are keys, the states travel with events; otherwise they are in the
// platform's store, and writes is true. If there is neither, no state is known, and packets that depend on one are denied.
func remembering(c *controller.Controller, p Platform) (d flow.Decider, writes bool, err error) {
	if !c.Stateful() {
		return c, false, nil
	}
	text, err := p.StateKeys()
	switch {
	case err != nil:
		return nil, false, refuse(503, "state keys: %w", err)
	case text != "":
		d, err := Travelling(c, text, func(line string) { p.Log([]byte(line)) })
		if err != nil {
			return nil, false, refuse(503, "%w", err)
		}
		return d, false, nil
	}
	store, err := p.Store()
	switch {
	case err != nil:
		return nil, false, refuse(503, "states: %w", err)
	case store == nil:
		return c, false, nil
	}
	// Several gateways may ask, and none is told what another one's packets change.
	cfg := deciding(c, store, func(line string) { p.Log([]byte(line)) })
	cfg.Staleness, cfg.Local = state.DefaultStaleness, machine.LocalKey
	return state.New(cfg), true, nil
}

// deciding returns the configuration of what reads and swaps states around a controller. log gets a line if a state can't be used; the packet is denied then.
func deciding(c *controller.Controller, store state.Store, log func(line string)) state.Config {
	return state.Config{Next: c, Machines: c, Store: store, Check: machine.CheckValue, Report: func(kind state.Failure, err error, _ int) {
		log(fmt.Sprintf("a state can't be used: %v: %v", kind, err))
	}}
}

// Travelling returns a controller whose states travel with events, sealed with keys that [travel.ParseKeys] reads. log gets a line if a
// state can't be used; the packet is denied then.
func Travelling(c *controller.Controller, keys string, log func(line string)) (flow.Decider, error) {
	if why := c.Policy().CantTravel(false); len(why) > 0 {
		return nil, fmt.Errorf("states can't travel with events: %s", strings.Join(why, "; "))
	}
	parsed, err := travel.ParseKeys(keys)
	if err != nil {
		return nil, fmt.Errorf("state keys: %w", err)
	}
	return state.New(deciding(c, travel.New(func() *travel.Keys { return parsed }), log)), nil
}

// authorize checks who calls. Without tokens nobody may: the function's address is public.
func authorize(r *Request, p Platform) error {
	text, err := p.Tokens()
	if errors.Is(err, ErrAnyone) {
		return nil
	}
	if err != nil {
		return refuse(503, "tokens: %w", err)
	}
	tokens, err := auth.ParseSecret(text)
	if err != nil {
		return refuse(503, "tokens: %w", err)
	}
	if err := tokens.Check(r.Header.Get("Authorization")); err != nil {
		return refuse(401, "%w", err)
	}
	return nil
}

// readBody refuses a body that says it is too long before reading it.
func readBody(r *Request, p Platform) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return nil, function.Encoded(encoding)
	}
	size := 0
	if n, err := strconv.ParseUint(r.Header.Get("Content-Length"), 10, 63); err == nil {
		if n > guest.MaxBody {
			return nil, function.TooLarge()
		}
		size = int(n)
	}
	body, err := p.Body(size, guest.MaxBody)
	if err != nil {
		return nil, refuse(400, "reading the body: %w", err)
	}
	if len(body) > guest.MaxBody {
		return nil, function.TooLarge()
	}
	return body, nil
}
