//go:build unix

package gateway

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"switchbridge/controller"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/faas/platform/lambdahost"
	"switchbridge/faas/platform/lambdahost/functionurl"
	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/internal/frames"
	"switchbridge/internal/tracing"
	"switchbridge/ofproxy/oftest"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/sdk/go/function"
	"switchbridge/settings"
)

// A function that sends no spans says in Server-Timing what it did, and the gateway makes spans of it: each platform's function, on the platform's own
// runtime or what stands for it, in one trace from the switch's packet on.
func TestTraceOfPlatforms(t *testing.T) {
	compiled, err := blob.Pack(forward.Default())
	if err != nil {
		t.Fatal(err)
	}
	handled := func(t *testing.T) http.Handler {
		h, err := httphost.New(httphost.Config{Decider: controller.New(forward.Default()), Codecs: []contract.Codec{jsonenc.Codec{}}})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, row := range []struct {
		name  string
		start func(*testing.T) (url string)
		parts []string
	}{
		{"Go SDK", func(t *testing.T) string {
			return serve(t, &function.Handler{PacketIn: func(p *function.Packet) *function.Decision { return p.Allow("all") }})
		}, []string{"decide"}},
		{"function serve, which sends no spans", func(t *testing.T) string { return serve(t, handled(t)) }, []string{"body", "decide"}},
		{"Lambda", func(t *testing.T) string { return serve(t, functionURL(lambdahost.Handler(handled(t), false))) }, []string{"body", "decide"}},
		{"Fastly", func(t *testing.T) string { return serve(t, fastly(t, compiled)) }, []string{"tokens", "body", "policy", "decide"}},
		{"Workers", func(t *testing.T) string { return workerstest.Start(t, workerstest.Options{Policy: compiled}).URL }, []string{"tokens", "body", "policy", "decide"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			url, spans := row.start(t), collectSpans(t)
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte(workerstest.Token), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Run("gateway", func(t *testing.T) {
				r := start(t, url, func(set *settings.Settings) {
					set.Function.TokenFile = token
					set.Function.Timeout, set.Function.TryTimeout = set.Function.Timeout*60, set.Function.TryTimeout*100 // a busy machine compiles
					set.Tracing = tracing.Settings{Endpoint: spans.URL, Sample: 1}
				}, oftest.Config{})
				if rules, _ := r.outcome(t, frames.UDP(frames.Host(1).At(1000), frames.Host(2).At(1), nil)); len(rules) == 0 {
					t.Errorf("no rules:\n%s", r.logs)
				}
			})
			want := map[string]string{}
			for name, parent := range spans.below("packet_in") {
				if parent != "switchbridge POST" {
					want[name] = parent // which TestTrace looks at
				}
			}
			for _, part := range row.parts {
				want["switchbridge function "+part] = "switchbridge POST"
			}
			if diff := cmp.Diff(want, spans.below("packet_in")); diff != "" || want["switchbridge POST"] != "switchbridge decide" {
				t.Errorf("spans and their parents (-want +got):\n%s", diff)
			}
			spans.inOrder(t, "POST", row.parts)
		})
	}
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// inOrder checks that the parts of each function's time lie within their request, one after the other.
func (c *spansTo) inOrder(t *testing.T, request string, parts []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, outer := range c.spans {
		if outer.Name != request {
			continue
		}
		at := outer.StartTimeUnixNano
		for _, part := range parts {
			for _, s := range c.spans {
				if s.Name == "function "+part && string(s.ParentSpanId) == string(outer.SpanId) {
					if s.StartTimeUnixNano < at || s.EndTimeUnixNano > outer.EndTimeUnixNano {
						t.Errorf("%s lies from %d to %d, in a request from %d to %d, after %d", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano,
							outer.StartTimeUnixNano, outer.EndTimeUnixNano, at)
					}
					at = s.EndTimeUnixNano
				}
			}
		}
	}
}

// functionURL is Lambda's own front, which makes an invocation of each request.
func functionURL(invoke func(context.Context, json.RawMessage) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, header, body, err := func() (int, http.Header, []byte, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return 0, nil, nil, err
			}
			payload, err := functionurl.Payload(r.Header, body)
			if err != nil {
				return 0, nil, nil, err
			}
			answer, err := invoke(r.Context(), payload)
			if err != nil {
				return 0, nil, nil, err
			}
			raw, err := json.Marshal(answer)
			if err != nil {
				return 0, nil, nil, err
			}
			return functionurl.Response(raw)
		}()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		w.Write(body)
	})
}

// fastly is cmd/function-fastly as it is deployed, on what stands for Compute.
func fastly(t *testing.T, compiled []byte) http.Handler {
	host := fastlytest.Build(t, "switchbridge/cmd/function-fastly")
	entries, err := fastlyhost.Entries(compiled)
	if err != nil {
		t.Fatal(err)
	}
	service := &fastlytest.Service{
		Config:  map[string]map[string]string{fastlyhost.ConfigStore: {}},
		Secrets: map[string]map[string]string{fastlyhost.SecretStore: {fastlyhost.KeyTokens: workerstest.Token}},
		KV:      map[string]*fastlytest.KVStore{fastlyhost.KVStore: {}},
		Logs:    map[string]io.Writer{fastlyhost.LogEndpoint: io.Discard},
	}
	for _, e := range entries {
		if e.Store != fastlyhost.InConfig {
			t.Fatalf("this small policy is not in the config store alone")
		}
		service.Config[fastlyhost.ConfigStore][e.Key] = e.Value
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		resp, err := host.Do(r.Context(), service, &fastlytest.Request{Method: r.Method, Header: r.Header, Body: body})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.Status)
		w.Write(resp.Body)
	})
}
