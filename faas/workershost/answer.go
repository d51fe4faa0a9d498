package workershost

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/auth"
	"switchbridge/faas/function"
	"switchbridge/faas/guest"
	"switchbridge/faas/record"
	"switchbridge/flow/contract"
	"switchbridge/policy/blob"
)

// Request is what is known of a request before its body is read.
type Request struct {
	Method, Path string
	Header       contract.Header
}

// Response is what goes back.
type Response struct {
	Status int
	Header function.Headers
	Body   []byte
}

// Platform is what a Worker has at hand for the one request that it answers.
type Platform interface {
	// Variable returns a variable or a secret, or nothing where none is bound by that name.
	Variable(binding string) string

	// Body reads the request's body. Of one that is longer than limit it returns the first
	// limit+1 bytes.
	Body(limit int) ([]byte, error)

	// Policy reads the value of PolicyKey: nil where there is none.
	Policy() ([]byte, error)

	// Log puts a line into the Worker's logs. What goes wrong there goes no further.
	Log(line string)
}

// HealthPath answers a GET with 200, without a token and without looking at the policy.
const HealthPath = "/healthz"

// Answer answers one request, by the policy that p has, in one of the encodings of codecs. Whatever
// is wrong is in the status.
func Answer(codecs function.Codecs, r *Request, p Platform) *Response {
	if r.Path == HealthPath && (r.Method == "GET" || r.Method == "HEAD") {
		return &Response{Status: 200, Header: function.Headers{"content-type": "text/plain; charset=utf-8"}, Body: []byte("ok\n")}
	}
	began := time.Now()
	var (
		event    guest.Request
		decision guest.Answer
	)
	resp := &Response{Header: function.Headers{}}
	if err := answer(codecs, r, p, &event, &decision, resp.Header); err != nil {
		decision = guest.Answer{Status: uint16(function.StatusOf(err)), Policy: decision.Policy, Reason: contract.Printable(err.Error())}
	}
	resp.Status, resp.Body = int(decision.Status), function.WriteAnswer(resp.Header, &decision)

	rec := record.Of(&event, &decision)
	rec.Time, rec.Duration = began, time.Since(began)
	p.Log(strings.TrimSuffix(string(rec.Append(nil)), "\n"))
	return resp
}

// refuse is an error with the status that tells the gateway what it means.
func refuse(status int, err error) error { return &function.StatusError{Status: status, Err: err} }

// answer goes from what costs little to what costs much: a stranger is sent away before the body is
// read, and a request that is no event before the policy is.
func answer(codecs function.Codecs, r *Request, p Platform, event *guest.Request, decision *guest.Answer, header contract.Header) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.Log(fmt.Sprintf("function panicked: %v\n%s", v, debug.Stack()))
			err = refuse(500, errors.New("function failed"))
		}
	}()
	if r.Method != "POST" {
		header.Set("Allow", "POST")
		return refuse(405, fmt.Errorf("method %.20s: an event is a POST", r.Method))
	}
	if err := authorize(r, p); err != nil {
		if errors.Is(err, auth.ErrToken) {
			header.Set("Www-Authenticate", `Bearer realm="switchbridge"`)
		}
		return err
	}
	body, err := readBody(r, p)
	if err != nil {
		return err
	}
	if err := function.ReadRequest(r.Header, body, event); err != nil {
		return err
	}
	c, err := loadPolicy(p)
	if err != nil {
		return err
	}
	if err := function.New(c, codecs).Answer(context.Background(), event, decision); err != nil {
		return err
	}
	if len(decision.Body) > guest.MaxBody {
		return refuse(500, fmt.Errorf("decision takes %d bytes, more than %d", len(decision.Body), guest.MaxBody))
	}
	return nil
}

// authorize checks who calls. A Worker without a token answers nobody: its address is public.
func authorize(r *Request, p Platform) error {
	if p.Variable(AuthBinding) == "none" {
		return nil
	}
	// Blanks may part tokens, as on the other platforms; auth wants one a line.
	tokens, err := auth.ParseTokens(strings.Join(strings.Fields(p.Variable(TokensBinding)), "\n"))
	if err != nil {
		return refuse(503, fmt.Errorf("secret %s: %w; or set %s=none where the platform checks who calls", TokensBinding, err, AuthBinding))
	}
	if err := tokens.Check(r.Header.Get("Authorization")); err != nil {
		return refuse(401, err)
	}
	return nil
}

func readBody(r *Request, p Platform) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return nil, refuse(415, fmt.Errorf("content encoding %q: bodies are sent as they are", encoding))
	}
	// A body that says how long it is need not be read to be found too long.
	if n, err := strconv.ParseUint(r.Header.Get("Content-Length"), 10, 64); err == nil && n > guest.MaxBody {
		return nil, refuse(413, fmt.Errorf("body of %d bytes, limit %d", n, guest.MaxBody))
	}
	body, err := p.Body(guest.MaxBody)
	if err != nil {
		return nil, refuse(400, fmt.Errorf("reading the body: %w", err))
	}
	if len(body) > guest.MaxBody {
		return nil, refuse(413, fmt.Errorf("body of more than %d bytes", guest.MaxBody))
	}
	return body, nil
}

// loadPolicy returns the controller with the policy of this moment. Without a good one there is no
// answer, so that the gateway's fail mode decides, and not a function that allows everything.
func loadPolicy(p Platform) (*controller.Controller, error) {
	compiled, err := p.Policy()
	switch {
	case err != nil:
		return nil, refuse(503, fmt.Errorf("policy: namespace %s, key %s: %w", PolicyBinding, PolicyKey, err))
	case compiled == nil:
		return nil, refuse(503, fmt.Errorf("policy: namespace %s has no key %s", PolicyBinding, PolicyKey))
	}
	unpacked, err := blob.Unpack(compiled)
	if err != nil {
		return nil, refuse(503, fmt.Errorf("policy: namespace %s, key %s: %w", PolicyBinding, PolicyKey, err))
	}
	return controller.New(unpacked), nil
}
