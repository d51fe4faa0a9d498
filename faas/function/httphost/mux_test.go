package httphost

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/function/auth/tokenfile"
)

// says is a function that answers with its name.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name) })
}

func mux(t *testing.T, config MuxConfig) *Mux {
	t.Helper()
	m, err := NewMux(config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func do(h http.Handler, method, url string, headers ...string) (int, string) {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestMuxFindsFunctions(t *testing.T) {
	m := mux(t, MuxConfig{Functions: []Function{
		{Name: "iot", Host: "iot.example", Handler: says("iot")},
		{Name: "labs", Path: "/labs", Handler: says("labs")},
		{Name: "both", Host: "x.example", Path: "/y", Handler: says("both")},
		{Name: "root", Path: "/", Handler: says("root")},
	}})
	for url, want := range map[string]string{
		"http://iot.example/any":      "iot",
		"http://IOT.example:8443/":    "iot",
		"http://other.example/labs":   "labs",
		"http://x.example/y":          "both",
		"http://x.example/":           "root",
		"http://[::1]:80/labs":        "labs",
		"http://x.example/labs/":      "no function at x.example/labs/",
		"http://iot.example.org/none": "no function at iot.example.org/none",
	} {
		if status, body := do(m, "POST", url); body != want || (status == 404) != strings.HasPrefix(want, "no function") {
			t.Errorf("%s: %d %s, want %s", url, status, body, want)
		}
	}
}

func TestMuxHealth(t *testing.T) {
	ready := make(chan struct{})
	tokens := tokenFile(t, "0123456789abcdef")
	m := mux(t, MuxConfig{Tokens: tokens, Functions: []Function{
		{Name: "a", Handler: says("a")}, {Name: "b", Path: "/b", Handler: says("b"), Ready: func() error {
			select {
			case <-ready:
				return nil
			default:
				return errors.New("not yet")
			}
		}}}})
	live := []string{"/healthz", "/health", "/_/health"}
	readiness := []string{"/readyz", "/ready", "/_/ready"}
	for _, path := range live {
		if status, body := do(m, "GET", "http://f"+path); status != 200 || body != "ok" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range readiness {
		if status, body := do(m, "GET", "http://f"+path); status != 503 || body != "function b: not yet" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	close(ready)
	for _, path := range readiness {
		if status, body := do(m, "GET", "http://f"+path); status != 200 || body != "ready" {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, _ := do(m, "POST", "http://f"+path); status != 401 { // a POST is an event
			t.Errorf("POST %s: %d", path, status)
		}
	}
	m.Drain()
	if status, body := do(m, "GET", "http://f/readyz"); status != 503 || body != "shutting down" {
		t.Errorf("draining: %d %s", status, body)
	}
	if status, _ := do(m, "GET", "http://f/healthz"); status != 200 { // or the platform would kill it
		t.Errorf("draining: healthz %d", status)
	}
}

func tokenFile(t *testing.T, text string) *tokenfile.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tokenfile.Open(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMuxAuthorises(t *testing.T) {
	counted := &counts{}
	m := mux(t, MuxConfig{Metrics: counted, Tokens: tokenFile(t, "0123456789abcdef\nfedcba9876543210\n"),
		Functions: []Function{{Name: "f", Handler: says("f")}}})
	for header, want := range map[string]int{
		"":                         401,
		"Bearer 0123456789abcdef":  200,
		"bearer fedcba9876543210":  200, // the scheme has no case; the second token is valid, too
		"Bearer 0123456789abcdeF":  401,
		"Bearer":                   401,
		"Basic 0123456789abcdef":   401,
		"Bearer 0123456789abcdef0": 401,
		"Bearer 0123456789abcde":   401,
	} {
		if status, _ := do(m, "POST", "http://f/", "Authorization", header); status != want {
			t.Errorf("%q: %d, want %d", header, status, want)
		}
	}
	if want := (counts{refused: 6, begun: 2, answered: map[int]int{200: 2}, ended: 2}); !reflect.DeepEqual(*counted, want) {
		t.Errorf("counted %+v, want %+v", *counted, want)
	}
}

// counts is the metrics of one function.
type counts struct {
	refused, begun, ended int
	answered              map[int]int // by status
}

func (c *counts) Refused()           { c.refused++ }
func (c *counts) Of(string) Requests { return c }
func (c *counts) Begun()             { c.begun++ }
func (c *counts) Ended()             { c.ended++ }
func (c *counts) Answered(status int, _ time.Duration) {
	if c.answered == nil {
		c.answered = map[int]int{}
	}
	c.answered[status]++
}

// A handler that panics has ended and has not answered.
func TestMuxCountsPanics(t *testing.T) {
	counted := &counts{}
	m := mux(t, MuxConfig{Metrics: counted, Functions: []Function{{Name: "f", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}}})
	func() {
		defer func() { _ = recover() }()
		do(m, "POST", "http://f/")
	}()
	if want := (counts{begun: 1, ended: 1}); !reflect.DeepEqual(*counted, want) {
		t.Errorf("counted %+v, want %+v", *counted, want)
	}
}

func TestMuxClientCertificates(t *testing.T) {
	m := mux(t, MuxConfig{ClientCerts: true, Functions: []Function{{Name: "f", Handler: says("f")}}})
	for _, row := range []struct {
		name string
		tls  *tls.ConnectionState
		want int
	}{
		{"no TLS", nil, 401},
		{"no certificate", &tls.ConnectionState{}, 401},
		{"not verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, 401},
		{"verified", &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}, 200},
	} {
		r := httptest.NewRequest("POST", "https://f/", nil)
		r.TLS = row.tls
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != row.want {
			t.Errorf("%s: %d, want %d", row.name, w.Code, row.want)
		}
	}
}

func TestMuxConfigErrors(t *testing.T) {
	f := Function{Name: "f", Handler: says("f")}
	for _, row := range []struct {
		functions []Function
		want      string
	}{
		{nil, "no function to serve"},
		{[]Function{{Handler: says("f")}}, "want a name"},
		{[]Function{f, f}, `function "f": want a name of its own`},
		{[]Function{{Name: "f"}}, "no handler"},
		{[]Function{{Name: "f", Handler: says("f"), Path: "x"}}, "doesn't begin with /"},
	} {
		if _, err := NewMux(MuxConfig{Functions: row.functions}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v, want %q", row.functions, err, row.want)
		}
	}
}

func TestListenAddress(t *testing.T) {
	for _, row := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "127.0.0.1:8443"},
		{map[string]string{"PORT": "8080"}, ":8080"},
		{map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "7071"}, "127.0.0.1:7071"},
	} {
		if got := ListenAddress(func(k string) string { return row.env[k] }, "127.0.0.1:8443"); got != row.want {
			t.Errorf("%v: %s, want %s", row.env, got, row.want)
		}
	}
}
