package httphost

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"switchbridge/flow/contract"
	"switchbridge/internal/quiet"
)

// Function is one function of a [Mux] and where it answers.
type Function struct {
	Name    string // in metrics and logs; unique
	Host    string // the host name that it answers for; empty: any
	Path    string // the path that it answers at; empty: any
	Handler http.Handler

	// Ready says why the function doesn't answer without waiting, or nil; nil itself: it does.
	Ready func() error
}

// Checker says whether a header Authorization opens the functions; auth.Tokens and
// *tokenfile.File do.
type Checker interface {
	Check(authorization string) error
}

// MuxConfig says which functions to serve, and to whom.
type MuxConfig struct {
	// Functions are tried in order: the first whose Host and Path fit answers.
	Functions []Function

	// Who may call: whoever carries a token, and with ClientCerts whose certificate the listener
	// verified. Neither: anybody, for loopback and where a platform has checked before.
	Tokens      Checker
	ClientCerts bool

	Tracer  trace.Tracer // is given a span of each event; nil: none
	Log     *slog.Logger // nil: none
	Metrics Metrics      // nil: none
}

// Metrics counts what a Mux does. Its methods are called by several goroutines at a time.
type Metrics interface {
	// Refused counts a caller without a valid token or certificate.
	Refused()
	// Of returns what counts the requests of one function. It is called once for each.
	Of(function string) Requests
}

// Requests counts the requests of one function.
type Requests interface {
	Begun()
	Answered(status int, took time.Duration) // not if the handler panics
	Ended()                                  // after Begun
}

// Mux serves functions by host name or path behind one check of who calls, and answers the health
// questions of platforms.
type Mux struct {
	config    MuxConfig
	functions []served
	log       *slog.Logger
	draining  atomic.Bool
	refused   quiet.Line
}

// served is a function with its metrics, or nil.
type served struct {
	Function
	requests Requests
}

// NewMux checks config and returns its Mux.
func NewMux(config MuxConfig) (*Mux, error) {
	if len(config.Functions) == 0 {
		return nil, errors.New("httphost: no function to serve")
	}
	names := make(map[string]bool)
	for _, f := range config.Functions {
		if f.Name == "" || names[f.Name] {
			return nil, fmt.Errorf("httphost: function %q: want a name of its own", f.Name)
		}
		names[f.Name] = true
		if f.Handler == nil {
			return nil, fmt.Errorf("httphost: function %s: no handler", f.Name)
		}
		if f.Path != "" && !strings.HasPrefix(f.Path, "/") {
			return nil, fmt.Errorf("httphost: function %s: path %q doesn't begin with /", f.Name, f.Path)
		}
	}
	m := &Mux{config: config, log: config.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	for _, f := range config.Functions {
		s := served{Function: f}
		if config.Metrics != nil {
			s.requests = config.Metrics.Of(f.Name)
		}
		m.functions = append(m.functions, s)
	}
	return m, nil
}

// Health paths need no authorisation and tell nothing. Kubernetes and Knative probe what a
// manifest says; of-watchdog (OpenFaaS) has /_/; Cloud Run keeps paths that end in z to itself.
var (
	livePaths  = map[string]bool{"/healthz": true, "/health": true, "/_/health": true}
	readyPaths = map[string]bool{"/readyz": true, "/ready": true, "/_/ready": true}
)

func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.draining.Load() {
		w.Header().Set("Connection", "close") // HTTP/2: GOAWAY. The caller's next connection may lead elsewhere
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch {
		case livePaths[r.URL.Path]:
			writeText(w, http.StatusOK, "ok")
			return
		case readyPaths[r.URL.Path]:
			m.serveReady(w)
			return
		}
	}
	if err := m.authorise(r); err != nil {
		if m.config.Metrics != nil {
			m.config.Metrics.Refused()
		}
		m.refused.Log(m.log, slog.LevelWarn, "caller refused", "remote", r.RemoteAddr, "err", err)
		w.Header().Set("Www-Authenticate", `Bearer realm="switchbridge"`)
		writeText(w, http.StatusUnauthorized, err.Error())
		return
	}
	f := m.find(r)
	if f == nil {
		writeText(w, http.StatusNotFound, "no function at "+contract.Printable(r.Host+r.URL.Path))
		return
	}
	if m.config.Tracer != nil {
		var span trace.Span
		r, span = continueTrace(m.config.Tracer, r, f.Name)
		defer span.End()
	}
	if f.requests == nil {
		f.Handler.ServeHTTP(w, r)
		return
	}
	began := time.Now()
	f.requests.Begun()
	defer f.requests.Ended()
	recorded := statusWriter{ResponseWriter: w, status: http.StatusOK}
	f.Handler.ServeHTTP(&recorded, r)
	f.requests.Answered(recorded.status, time.Since(began))
}

// Drain makes the readiness paths say no from now on, so that a platform sends its requests
// elsewhere. Requests are answered as before, each as the last one of its connection.
func (m *Mux) Drain() { m.draining.Store(true) }

// Ready says why not all functions answer without waiting, or nil.
func (m *Mux) Ready() error {
	if m.draining.Load() {
		return errors.New("shutting down")
	}
	for i := range m.config.Functions {
		if f := &m.config.Functions[i]; f.Ready != nil {
			if err := f.Ready(); err != nil {
				return fmt.Errorf("function %s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func (m *Mux) serveReady(w http.ResponseWriter) {
	if err := m.Ready(); err != nil {
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeText(w, http.StatusOK, "ready")
}

// authorise says who may call: either of the ways that are configured is enough.
func (m *Mux) authorise(r *http.Request) error {
	if m.config.Tokens == nil && !m.config.ClientCerts {
		return nil
	}
	if m.config.ClientCerts && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return nil
	}
	if m.config.Tokens == nil {
		return errors.New("no client certificate")
	}
	return m.config.Tokens.Check(r.Header.Get("Authorization"))
}

func (m *Mux) find(r *http.Request) *served {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	for i := range m.functions {
		f := &m.functions[i]
		if (f.Host == "" || strings.EqualFold(f.Host, host)) && (f.Path == "" || f.Path == r.URL.Path) {
			return f
		}
	}
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// statusWriter remembers the status for the metrics.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
