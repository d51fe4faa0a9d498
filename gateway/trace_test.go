package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"switchbridge/faas/function/selfhost"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/tracing"
	"switchbridge/ofproxy/oftest"
	"switchbridge/settings"
)

// spansTo is a collector of spans.
type spansTo struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
}

type span struct {
	service string
	*otlp.Span
}

func collectSpans(t *testing.T) *spansTo {
	c := new(spansTo)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("POST %s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rs := range got.ResourceSpans {
			service := ""
			for _, a := range rs.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					c.spans = append(c.spans, span{service, s})
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// below returns the trace of the first span with a name: the name of each span's parent.
func (c *spansTo) below(name string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.spans, func(s span) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	names := map[string]string{}
	for _, s := range c.spans {
		if bytes.Equal(s.TraceId, c.spans[i].TraceId) {
			names[string(s.SpanId)] = s.service + " " + s.Name
		}
	}
	tree := map[string]string{}
	for _, s := range c.spans {
		if name, ok := names[string(s.SpanId)]; ok && s.EndTimeUnixNano >= s.StartTimeUnixNano {
			tree[name] = names[string(s.ParentSpanId)]
		}
	}
	return tree
}

// One trace leads from the switch's packet through the gateway's parts and the
// request to the function and its store, and log, records and metrics name it.
func TestTrace(t *testing.T) {
	spans := collectSpans(t)
	folder := t.TempDir()
	policy := filepath.Join(folder, "policy.yaml")
	if err := os.WriteFile(policy, []byte(`serial: 1
chain:
  - machine: {machines: [{name: knock, key: src, forget: 1h, start: shut, states: {shut: deny, open: allow}, transitions: [{from: shut, to: open, match: {udp_dst: 1}}]}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	config := selfhost.Default()
	config.Listen, config.Plain, config.State.URL = "127.0.0.1:0", true, "memory:"
	config.Tracing = tracing.Settings{Endpoint: spans.URL} // sample 0: it goes by what the gateway says
	f := selfhost.DefaultFunction()
	f.Native, f.Policy = true, policy
	config.Functions = []selfhost.Function{f}
	var records logbuffer.Buffer
	server, err := selfhost.New(config, &records, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	var r *rig
	t.Run("gateway", func(t *testing.T) {
		r = start(t, "http://"+server.Addr().String(), func(set *settings.Settings) {
			set.Function.Encoding = "openflow"
			set.Tracing = tracing.Settings{Endpoint: spans.URL, Sample: 1}
		}, oftest.Config{})
		rules, _ := r.outcome(t, frames.UDP(frames.Host(1).At(1000), frames.Host(2).At(1), []byte("knock")))
		if len(rules) == 0 {
			t.Errorf("no rules:\n%s", r.logs)
		}
		metrics := httptest.NewRecorder()
		ask := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		ask.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		r.gateway.adminHandler().ServeHTTP(metrics, ask)
		for _, name := range []string{"switchbridge_stage_seconds_bucket", "switchbridge_function_request_seconds_bucket"} {
			if !regexp.MustCompile(name + `\{[^}]*\} \d+ # \{trace_id="[0-9a-f]{32}"\}`).Match(metrics.Body.Bytes()) {
				t.Errorf("no bucket of %s names a trace:\n%s", name, metrics.Body)
			}
		}
	}) // which closes it, so that all spans are sent
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	const event, function = "switchbridge packet_in", "switchbridge-function controller"
	if diff := cmp.Diff(map[string]string{event: "", "switchbridge wait": event, "switchbridge decide": event, "switchbridge POST": "switchbridge decide",
		function: "switchbridge POST", "switchbridge-function state get": function, "switchbridge-function state swap": function,
		"switchbridge install": event, "switchbridge barrier": event}, spans.below("packet_in")); diff != "" {
		t.Errorf("spans and their parents (-want +got):\n%s", diff)
	}
	id := regexp.MustCompile(`trace_id=([0-9a-f]{32})`).FindStringSubmatch(r.logs.String())
	if id == nil || !strings.Contains(records.String(), `"trace_id":"`+id[1]+`"`) {
		t.Errorf("the gateway's log and the function's records do not name one trace:\n%s\n%s", r.logs, records.String())
	}
}
