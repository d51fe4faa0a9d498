package workershost

import (
	"fmt"

	"switchbridge/faas/function"
	"switchbridge/faas/platform/edgehost"
	"switchbridge/state"
	"switchbridge/state/travel"
)

// Request is what is known of a request before its body is read.
type Request = edgehost.Request

// Response is what goes back.
type Response = edgehost.Response

// HealthPath answers a GET with 200, without a token and without looking at the policy.
const HealthPath = edgehost.HealthPath

// Platform is what a Worker has at hand for the one request that it answers.
type Platform interface {
	// Variable returns a variable or a secret, or nothing where none is bound by that name.
	Variable(binding string) string

	// Body reads the request's body. Of one that is longer than limit it returns the first
	// limit+1 bytes.
	Body(limit int) ([]byte, error)

	// Policy reads the value of PolicyKey: nil where there is none.
	Policy() ([]byte, error)

	// States returns what keeps states; nil where nothing is bound as StatesBinding.
	States() state.Store

	// Log puts a line into the Worker's logs. What goes wrong there goes no further.
	Log(line string)
}

// Answer answers one request, by the policy that p has, in one of the encodings of codecs, and logs
// the record of it. Whatever is wrong is in the status.
func Answer(codecs function.Codecs, r *Request, p Platform) *Response {
	resp := edgehost.Answer(codecs, r, bindings{p})
	if len(resp.Record) > 0 {
		p.Log(string(resp.Record))
	}
	return resp
}

// bindings are a Worker's stores as edgehost asks for them.
type bindings struct{ Platform }

// Tokens implements edgehost.Platform. A Worker without a token answers nobody, unless it is told
// to: its address is public.
func (b bindings) Tokens() (string, error) {
	if b.Variable(AuthBinding) == "none" {
		return "", edgehost.ErrAnyone
	}
	tokens := b.Variable(TokensBinding)
	if tokens == "" {
		return "", fmt.Errorf("secret %s: no token; set it, or %s=none where the platform checks who calls", TokensBinding, AuthBinding)
	}
	return tokens, nil
}

// Body implements edgehost.Platform. What a request says of its size is of no use here.
func (b bindings) Body(_, limit int) ([]byte, error) { return b.Platform.Body(limit) }

// Policy implements edgehost.Platform. Without a good one there is no answer, so that the gateway's
// fail mode decides, and not a function that allows everything.
func (b bindings) Policy() ([]byte, error) {
	compiled, err := b.Platform.Policy()
	switch {
	case err != nil:
		return nil, fmt.Errorf("namespace %s, key %s: %w", PolicyBinding, PolicyKey, err)
	case compiled == nil:
		return nil, fmt.Errorf("namespace %s has no key %s", PolicyBinding, PolicyKey)
	}
	return compiled, nil
}

// StateKeys implements edgehost.Platform.
func (b bindings) StateKeys() (string, error) { return b.Variable(travel.EnvKeys), nil }

// Store implements edgehost.Platform.
func (b bindings) Store() (state.Store, error) { return b.Platform.States(), nil }

// Log implements edgehost.Platform.
func (b bindings) Log(line []byte) { b.Platform.Log(string(line)) }
