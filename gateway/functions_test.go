package gateway

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/logbuffer"
	"switchbridge/ofproxy/oftest"
	"switchbridge/policy/policyfile"
	"switchbridge/settings"
)

func TestAdvice(t *testing.T) {
	remote := func(urls ...string) func(*settings.Settings) {
		return func(s *settings.Settings) { s.Function.URLs = urls }
	}
	for name, tc := range map[string]struct {
		adapt func(*settings.Settings)
		want  []string // one for each warning
	}{
		"default":     {func(*settings.Settings) {}, nil},
		"policy":      {func(s *settings.Settings) { s.Policy = "p.yaml" }, nil},
		"over TLS":    {remote("https://f.example/"), nil},
		"on loopback": {remote("http://127.0.0.1:8080", "http://localhost/", "http://[::1]:80/", "unix:///run/f"), nil},
		"no TLS":      {remote("https://a.example/", "http://user:secret@f.example/"), []string{"without TLS"}},
		"policy for nobody": {func(s *settings.Settings) {
			remote("https://f.example/")(s)
			s.Policy = "p.yaml"
		}, []string{"policy=p.yaml"}},
		"policy for a route": {func(s *settings.Settings) {
			remote("https://f.example/")(s)
			s.Policy, s.Routes = "p.yaml", []settings.Route{{Name: "a", Function: settings.Function{URLs: []string{settings.Native}}}}
		}, nil},
		"token and CA for nobody": {func(s *settings.Settings) {
			s.Function.TokenFile, s.Function.CA = "token", "ca.pem"
		}, []string{"key=token_file", "key=ca"}},
	} {
		t.Run(name, func(t *testing.T) {
			set := settings.Default()
			tc.adapt(set)
			var logs logbuffer.Buffer
			advise(set, logs.Text())
			lines := strings.Split(strings.TrimSpace(logs.String()), "\n")
			if logs.String() == "" {
				lines = nil
			}
			if len(lines) != len(tc.want) || strings.Contains(logs.String(), "secret") {
				t.Fatalf("%d warnings, want %d:\n%s", len(lines), len(tc.want), logs.String())
			}
			for i, want := range tc.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("%q without %q", lines[i], want)
				}
			}
		})
	}
}

// A policy is warned of that waits for events which nobody passes on, or that a pair would open.
func TestAdviceOnPolicies(t *testing.T) {
	const machines = "serial: %d\nchain:\n  - machine: {machines: [{name: socket, key: port, start: %s, states: {shut: deny, open: allow}, transitions: [{from: any, to: shut, %s}]}]}\n"
	const unheard, forgets = "msg=\"the policy's machines wait for events", "msg=\"the other gateway of the pair can't read the states of these machines"
	for name, tc := range map[string]struct {
		start, trigger string
		adapt          func(*settings.Settings)
		shared         bool
		want           []string
	}{
		"packets": {"shut", "match: {udp_dst: 1}", func(*settings.Settings) {}, false, nil},
		"ports":   {"shut", "port: down", func(*settings.Settings) {}, false, []string{unheard, "event=port_status"}},
		"rules":   {"shut", "rule_removed: idle", func(*settings.Settings) {}, false, []string{unheard, "event=flow_removed"}},
		"ports, passed": {"shut", "port: down", func(s *settings.Settings) {
			s.OpenFlow.Subscribe = []settings.EventType{settings.EventType(flow.EventPortStatus)}
		}, false, nil},
		"open, no pair":   {"open", "match: {udp_dst: 1}", func(*settings.Settings) {}, false, nil},
		"open in a pair":  {"open", "match: {udp_dst: 1}", func(s *settings.Settings) { s.Pair.Peer = "192.0.2.1:1" }, false, []string{forgets, "machines=socket number=1"}},
		"shut in a pair":  {"shut", "match: {udp_dst: 1}", func(s *settings.Settings) { s.Pair.Peer = "192.0.2.1:1" }, false, nil},
		"open, and share": {"open", "match: {udp_dst: 1}", func(s *settings.Settings) { s.Pair.Peer = "192.0.2.1:1" }, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policyfile.Parse(strings.NewReader(fmt.Sprintf(machines, 1, tc.start, tc.trigger)), "p.yaml", ".")
			if err != nil {
				t.Fatal(err)
			}
			set := settings.Default()
			tc.adapt(set)
			var logs logbuffer.Buffer
			advisePolicy(set, tc.shared, p, logs.Text())
			if (logs.String() == "") != (tc.want == nil) {
				t.Errorf("warnings %q, want %q", logs.String(), tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(logs.String(), want) {
					t.Errorf("%q without %q", logs.String(), want)
				}
			}
		})
	}

	// At the start, and when the file changes.
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(serial int, trigger string) {
		if err := os.WriteFile(path, fmt.Appendf(nil, machines, serial, "shut", trigger), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := settings.Default()
	set.Function.URLs, set.Policy, set.State.URL, set.Admin.Listen = []string{settings.Native}, path, "memory:", ""
	set.OpenFlow.Listen = []settings.Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	write(1, "port: down")
	var logs logbuffer.Buffer
	g, err := New(set, Options{Logger: logs.Text()})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if !strings.Contains(logs.String(), unheard) {
		t.Errorf("the start says %s", logs.String())
	}
	write(2, "rule_removed: idle")
	if err := g.Reload(t.Context(), "test"); err != nil || !strings.Contains(logs.String(), "event=flow_removed") {
		t.Errorf("%v, %s", err, logs.String())
	}
}

// What a function says to the first policy check is what an operator with a
// wrong token, URL or scheme has to go by.
func TestFirstPolicyCheck(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for name, tc := range map[string]struct {
		url     string
		handler http.HandlerFunc
		log     []string
		ready   bool
	}{
		"answers": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			io.WriteString(w, `{"policy": "7-0c0ffee1"}`)
		}, log: []string{"the function answers", "policy=7-0c0ffee1"}, ready: true},
		"wrong token": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no valid bearer token", http.StatusUnauthorized)
		}, log: []string{"level=WARN", "the function does not answer", "status 401 Unauthorized: no valid bearer token", "--function-token-file"}},
		"forbidden": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}, log: []string{"level=WARN", "the function does not answer", "status 403 Forbidden"}},
		"knows packets alone": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no such event", http.StatusBadRequest)
		}, log: []string{"level=WARN", "refuses policy checks", "status 400 Bad Request: no such event"}, ready: true},
		"HTTP to HTTPS": {url: strings.Replace(secure.URL, "https", "http", 1),
			log: []string{"level=WARN", "refuses policy checks", "Client sent an HTTP request to an HTTPS server"}, ready: true},
		"unknown authority": {url: secure.URL,
			log: []string{"level=WARN", "the function does not answer", "unknown authority", "--function-ca"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := tc.url
			if url == "" {
				fn := httptest.NewServer(tc.handler)
				t.Cleanup(fn.Close)
				url = fn.URL
			}
			r := start(t, url, func(set *settings.Settings) { set.Function.PolicyCheck = time.Hour }, oftest.Config{})
			for _, want := range tc.log {
				r.await(t, want)
			}
			if err := r.gateway.Ready(); (err == nil) != tc.ready {
				t.Errorf("ready: %v, want %v", err, tc.ready)
			}
		})
	}
}
