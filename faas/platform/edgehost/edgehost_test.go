package edgehost_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"switchbridge/faas/function"
	"switchbridge/faas/platform/edgehost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest/conformance"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/state"
	"switchbridge/state/access"
	memorystore "switchbridge/state/memory"
)

const token = "0123456789abcdef"

// platform has a token and a policy, or what a test puts in their place.
type platform struct {
	tokens   string
	keys     string
	keysErr  error
	store    state.Store
	storeErr error
	policy   func() ([]byte, error)
	body     []byte
	bodyErr  error
	asked    []string
	logged   []string
}

func (p *platform) Tokens() (string, error) {
	p.asked = append(p.asked, "tokens")
	if p.tokens == "anyone" {
		return "", edgehost.ErrAnyone
	}
	if p.tokens == "" {
		return "", errors.New("no secret")
	}
	return p.tokens, nil
}

func (p *platform) Body(_, limit int) ([]byte, error) {
	p.asked = append(p.asked, "body")
	return p.body[:min(len(p.body), limit+1)], p.bodyErr
}

func (p *platform) Policy() ([]byte, error) {
	p.asked = append(p.asked, "policy")
	return p.policy()
}

func (p *platform) StateKeys() (string, error) {
	p.asked = append(p.asked, "keys")
	return p.keys, p.keysErr
}

func (p *platform) Store() (state.Store, error) {
	p.asked = append(p.asked, "store")
	return p.store, p.storeErr
}

func (p *platform) Log(line []byte) { p.logged = append(p.logged, string(line)) }

// memory is a store of the platform.
func memory() state.Store {
	s, _ := memorystore.Open(context.Background(), access.Options{}) // there is no error
	return s
}

func TestAnswer(t *testing.T) {
	compiled, err := blob.Pack(forward.Default())
	if err != nil {
		t.Fatal(err)
	}
	remembers := func(p *platform, _ *edgehost.Request) {
		p.policy = func() ([]byte, error) { return blob.Pack(conformance.Travelling()) }
	}
	codecs := function.Codecs{OpenFlow: openflow.Codec{}}
	for _, row := range []struct {
		name   string
		change func(*platform, *edgehost.Request)
		status int
		text   string
		asked  string
	}{
		{"machines without keys", remembers, 200, "", "tokens body policy keys store"},
		{"machines with a store", func(p *platform, r *edgehost.Request) { remembers(p, r); p.store = memory() }, 200, "", "tokens body policy keys store"},
		{"the store fails", func(p *platform, r *edgehost.Request) { remembers(p, r); p.storeErr = errors.New("no store") }, 503, "states: no store", "tokens body policy keys store"},
		{"machines with keys", func(p *platform, r *edgehost.Request) { remembers(p, r); p.keys = conformance.StateKeys[0] }, 200, "", "tokens body policy keys"},
		{"keys fail", func(p *platform, r *edgehost.Request) { remembers(p, r); p.keysErr = errors.New("no store") }, 503, "state keys: no store", "tokens body policy keys"},
		{"bad keys", func(p *platform, r *edgehost.Request) { remembers(p, r); p.keys = "x" }, 503, "state keys: key 1: want 32 bytes", "tokens body policy keys"},
		{"what many share", func(p *platform, r *edgehost.Request) {
			p.keys, p.policy = conformance.StateKeys[0], func() ([]byte, error) { return blob.Pack(conformance.Policy()) }
		}, 503, "states can't travel with events: ", "tokens body policy keys"},
		{"good", func(*platform, *edgehost.Request) {}, 200, "", "tokens body policy"},
		{"two tokens", func(p *platform, _ *edgehost.Request) { p.tokens = "fedcba9876543210 " + token }, 200, "", "tokens body policy"},
		{"health", func(_ *platform, r *edgehost.Request) { r.Method, r.Path = "GET", edgehost.HealthPath }, 200, "ok", ""},
		{"method", func(_ *platform, r *edgehost.Request) { r.Method = "PUT" }, 405, "method PUT", ""},
		{"anyone", func(p *platform, r *edgehost.Request) { p.tokens = "anyone"; r.Header.Set("Authorization", "") }, 200, "", "tokens body policy"},
		{"no tokens", func(p *platform, _ *edgehost.Request) { p.tokens = "" }, 503, "tokens: no secret", "tokens"},
		{"a stranger", func(_ *platform, r *edgehost.Request) { r.Header.Set("Authorization", "") }, 401, "no valid bearer token", "tokens"},
		{"body fails", func(p *platform, _ *edgehost.Request) { p.bodyErr = errors.New("gone") }, 400, "body: gone", "tokens body"},
		{"large body", func(p *platform, _ *edgehost.Request) { p.body = make([]byte, flow.MaxBody+1) }, 413, "more than 1048576 bytes", "tokens body"},
		{"large by its own account", func(_ *platform, r *edgehost.Request) { r.Header.Set("Content-Length", "1048577") }, 413, "more than 1048576 bytes", "tokens"},
		{"no event", func(_ *platform, r *edgehost.Request) { r.Header.Set("Ce-Type", "") }, 400, "", "tokens body"},
		{"encoding not spoken", func(_ *platform, r *edgehost.Request) { r.Header.Set("Content-Type", contract.TypeJSON) }, 415, "want application/openflow", "tokens body policy"},
		{"no policy", func(p *platform, _ *edgehost.Request) {
			p.policy = func() ([]byte, error) { return nil, errors.New("no store") }
		}, 503, "policy: no store", "tokens body policy"},
		{"bad policy", func(p *platform, _ *edgehost.Request) { p.policy = func() ([]byte, error) { return compiled[:9], nil } }, 503, "cut short", "tokens body policy"},
		{"panic", func(p *platform, _ *edgehost.Request) { p.policy = func() ([]byte, error) { panic("oh") } }, 500, "function failed", "tokens body policy"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := &platform{tokens: token, policy: func() ([]byte, error) { return compiled, nil }}
			r := &edgehost.Request{Method: "POST", Path: "/", Header: http.Header{}}
			contract.PutEvent(r.Header, &flow.Event{Type: flow.EventPolicyCheck, ID: "1"})
			r.Header.Set("Content-Type", contract.TypeOpenFlow)
			r.Header.Set("Authorization", "Bearer "+token)
			row.change(p, r)
			resp := edgehost.Answer(codecs, r, p)
			if resp.Status != row.status || !strings.Contains(string(resp.Body), row.text) {
				t.Errorf("%d %s", resp.Status, resp.Body)
			}
			if asked := strings.Join(p.asked, " "); asked != row.asked {
				t.Errorf("asked for %q, want %q", asked, row.asked)
			}
			if stateful := resp.Header.Get(contract.HeaderStateful) == "true"; stateful != (p.store != nil) {
				t.Errorf("says that it writes a store: %v", stateful)
			}
			if record := string(resp.Record); (record == "") != (row.name == "health") || strings.Contains(record, "\n") {
				t.Errorf("record %q", record)
			}
			if (len(p.logged) > 0) != (row.name == "panic") {
				t.Errorf("logged %q", p.logged)
			}
		})
	}
}
