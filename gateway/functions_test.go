package gateway

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchbridge/flow/contract"
	"switchbridge/internal/logbuffer"
	"switchbridge/ofproxy/oftest"
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
