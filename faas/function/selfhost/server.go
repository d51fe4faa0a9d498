package selfhost

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/auth/tokenfile"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/flow"
	"switchbridge/internal/files"
	"switchbridge/internal/listen"
	"switchbridge/internal/quiet"
	"switchbridge/internal/task"
	"switchbridge/internal/tracing"
	"switchbridge/internal/watched"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
)

// Server serves functions.
type Server struct {
	config   Config // of the start
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *muxMetrics // of every Mux that a reload makes
	results  *watched.Results
	tracing  *tracing.Tracing // nil: off
	around   around
	current  atomic.Pointer[serving]
	server   *http.Server
	listener net.Listener
	admin    net.Listener // nil: none
	refusals *listen.Refusals
	pair     *watched.Pair // nil: no certificate that could be read again
	devCA    string        // file of the development CA, where its certificate is used

	file   *watched.Value[Config] // nil: no configuration to read again
	begun  chan struct{}          // closed when Run runs
	group  *task.Group            // of what runs
	guests context.Context        // done when the last event has its answer
	pause  func(time.Duration)    // time.Sleep, but for tests

	// OnPolicy, if set before Run, is called for every new policy of a function.
	OnPolicy func(flow.PolicyVersion)
}

// serving is what a reload replaces.
type serving struct {
	config    Config
	functions []*hosted
	tokens    httphost.Checker // nil: none
	mux       *httphost.Mux
}

func (s *Server) now() *serving { return s.current.Load() }

// New reads everything that config names, so that mistakes show here. Only guests are not looked
// into yet. Records get one JSON line for each event; nil: none.
func New(config Config, records io.Writer, log *slog.Logger) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, log: log, registry: prometheus.NewRegistry(), results: new(watched.Results), begun: make(chan struct{}), pause: time.Sleep}
	s.registry.MustRegister(s.results, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.refusals = listen.NewRefusals(s.registry, log)
	s.metrics = newMuxMetrics(s.registry)
	written := record.NewWriter(records)
	s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "switchbridge_function_records_failed_total", Help: "Decision records that could not be written.",
	}, func() float64 { return float64(written.Failed()) }))
	s.around = around{cacheDir: config.CacheDir, records: written, log: log, results: s.results, onPolicy: func(v flow.PolicyVersion) {
		if s.OnPolicy != nil {
			s.OnPolicy(v)
		}
	}}
	var err error
	if s.tracing, err = tracing.Open(config.Tracing, "switchbridge-function", config.Version, log); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if s.around.states, err = stores.Open(context.Background(), config.State, every.Openers, log); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %w", err), s.tracing.Close())
	}
	s.around.states.Trace(s.tracing.Tracer("switchbridge/state"))
	next, err := s.prepare(config, nil)
	if err != nil {
		return nil, errors.Join(err, s.around.states.Close(), s.tracing.Close())
	}
	s.current.Store(next)
	return s, errors.Join(s.measure(next, nil))
}

// prepare makes what a configuration asks for, and takes over what is there already.
func (s *Server) prepare(config Config, old *serving) (_ *serving, err error) {
	n := &serving{config: config}
	defer func() {
		if err != nil {
			n.closeBut(old)
		}
	}()
	if old != nil && config.Token == old.config.Token {
		n.tokens = old.tokens
	} else if n.tokens, err = config.tokens(s.log, s.results); err != nil {
		return nil, err
	}
	mux := httphost.MuxConfig{ClientCerts: config.TLS.ClientCA != "", Tokens: n.tokens, Tracer: s.tracing.Tracer("switchbridge/function"), Log: s.log, Metrics: s.metrics}
	for i := range config.Functions {
		f := &config.Functions[i]
		h := old.same(f)
		if h == nil {
			if h, err = open(f, &s.around); err != nil {
				return nil, fmt.Errorf("function %s: %w", f.Name, err)
			}
			if before := old.named(f.Name); before != nil && h.version().Serial < before.version().Serial {
				h.close()
				return nil, fmt.Errorf("function %s: its policy %s has serial %d, and %d is in use: serials only grow", f.Name, f.Policy, h.version().Serial, before.version().Serial)
			}
		}
		n.functions = append(n.functions, h)
		mux.Functions = append(mux.Functions, httphost.Function{Name: f.Name, Host: f.Host, Path: f.Path, Handler: h.handler, Ready: h.ready})
	}
	n.mux, err = httphost.NewMux(mux)
	return n, err
}

// same returns the function that is just as f says, with the same guest; or nil.
func (s *serving) same(f *Function) *hosted {
	if s == nil {
		return nil
	}
	for _, h := range s.functions {
		if *h.config != *f || h.failed.Load() != nil {
			continue
		}
		if f.Wasm != "" {
			if wasm, err := files.ReadFile(f.Wasm, maxWasm); err != nil || sha256.Sum256(wasm) != h.wasm {
				continue
			}
		}
		return h
	}
	return nil
}

// named returns the function of a name, or nil.
func (s *serving) named(name string) *hosted {
	if s != nil {
		for _, h := range s.functions {
			if h.config.Name == name {
				return h
			}
		}
	}
	return nil
}

// closeBut closes what others don't use.
func (s *serving) closeBut(others *serving) {
	if f, ok := s.tokens.(*tokenfile.File); ok && (others == nil || others.tokens != s.tokens) {
		f.Close()
	}
	for _, h := range s.functions {
		if others == nil || !slices.Contains(others.functions, h) {
			h.close()
		}
	}
}

// measure has the registry collect from the functions of next in the place of old's.
func (s *Server) measure(next, old *serving) error {
	if old != nil {
		for _, h := range old.functions {
			if slices.Contains(next.functions, h) {
				continue
			}
			for _, m := range h.metrics {
				s.registry.Unregister(m)
			}
		}
	}
	var errs []error
	for _, h := range next.functions {
		if old != nil && slices.Contains(old.functions, h) {
			continue
		}
		for _, m := range h.metrics {
			errs = append(errs, s.registry.Register(m))
		}
	}
	return errors.Join(errs...)
}

// tokens are those of the file or of the environment; nil where there are none.
func (c *Config) tokens(log *slog.Logger, results *watched.Results) (httphost.Checker, error) {
	switch {
	case c.Token != "":
		file, err := tokenfile.Open(c.Token, log, results)
		if err != nil {
			return nil, err
		}
		return file, nil
	case c.Tokens != "":
		tokens, err := auth.ParseSecret(c.Tokens)
		if err != nil {
			return nil, fmt.Errorf("SWITCHBRIDGE_TOKENS: %w", err)
		}
		return tokens, nil
	}
	return nil, nil
}

// Listen opens the listeners. Callers wait from now on until Run runs.
func (s *Server) Listen() error {
	err := s.listen()
	if err != nil {
		s.Close()
	}
	return err
}

func (s *Server) listen() (err error) {
	network, address := s.config.address()
	if s.listener, err = listen.Open(network, address); err != nil {
		return err
	}
	if s.config.Admin != "" {
		if s.admin, err = listen.Open("tcp", s.config.Admin); err != nil {
			return fmt.Errorf("admin: %w", err)
		}
		s.admin = s.refusals.Within(s.admin, "admin", listen.AdminBound())
	}
	s.listener = s.refusals.Within(s.listener, "functions", listen.FunctionBound(s.config.Proxied))
	s.server = httphost.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.now().mux.ServeHTTP(w, r) }), nil)
	s.server.ErrorLog = quiet.ErrorLog(s.log.With("server", "functions"))
	if !s.config.plain() {
		if s.server.TLSConfig, s.pair, s.devCA, err = s.config.TLS.tlsConfig(s.listener, s.log, s.results); err != nil {
			return err
		}
	}
	return nil
}

// Close frees what New and Listen took, for a server that is not run.
func (s *Server) Close() {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	s.around.states.Close()
	s.tracing.Close()
}

// Addr is where functions are served.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr is where metrics and state are; nil: nowhere.
func (s *Server) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// GatewayFlags are what a gateway on this machine is started with to ask the first function; empty
// behind a platform's proxy, whose address only the platform knows.
func (s *Server) GatewayFlags() string {
	if s.config.Proxied {
		return ""
	}
	line := "--function "
	switch network, path := s.config.address(); {
	case network == "unix":
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		line += "unix://" + path
	default:
		scheme := "https://"
		if s.config.plain() {
			scheme = "http://"
		}
		line += scheme + s.host() + s.config.Functions[0].Path
	}
	if s.devCA != "" {
		line += " --function-ca " + s.devCA
	}
	if t := s.config.Token; t != "" {
		line += " --function-token-file " + t
	}
	return line
}

// host is what the URL of the first function has for a host: a name that its requests and the
// certificate have, where there is a choice.
func (s *Server) host() string {
	address := s.listener.Addr().(*net.TCPAddr)
	name := s.config.Functions[0].Host
	switch {
	case name != "":
	case !address.IP.IsUnspecified():
		name = address.IP.String()
	case s.config.TLS.Cert != "":
		name = "HOST" // of a certificate's names, any
	default:
		name = "localhost"
	}
	return net.JoinHostPort(name, strconv.Itoa(address.Port))
}

// Check compiles every guest and gives it its policy, which fills the cache, too. It serves
// nothing, and the server can't be run afterwards.
func (s *Server) Check(ctx context.Context) error {
	guests, end := context.WithCancel(ctx)
	defer end()
	var group errgroup.Group
	for _, f := range s.now().functions {
		if f.guest == nil {
			continue
		}
		group.Go(func() error { return f.guest.Run(guests) })
	}
	for _, f := range s.now().functions {
		if f.guest == nil {
			continue
		}
		if err := f.decides(ctx); err != nil {
			return err
		}
	}
	end()
	return group.Wait()
}

// Run compiles the guests and serves until ctx is done. From then on readiness says no; after the lame-duck time it takes no more
// connections and waits for the events that are being decided, for as long as the configuration says. That is no
// error. A guest that can't be run makes its own function fail with the reason; when none is left,
// Run returns that.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	// Guests outlive ctx: events that were taken are decided.
	guests, endGuests := context.WithCancel(context.WithoutCancel(ctx))
	defer endGuests()
	group, ctx := task.NewGroup(ctx)
	s.group, s.guests = group, guests
	close(s.begun)
	for _, f := range s.now().functions {
		s.run(f)
	}
	group.Go(ctx, task.New("watch over files", func(ctx context.Context) error {
		w := watched.Watcher{Files: s.files, Log: s.log}
		w.Run(ctx)
		return nil
	}))
	if s.admin != nil {
		group.Go(guests, task.New("admin", s.serveAdmin))
	}
	group.Go(ctx, task.New("functions", func(context.Context) error { return s.serve() }))
	group.Go(ctx, task.New("shutdown", func(ctx context.Context) error {
		<-ctx.Done()
		s.drain(ctx)
		endGuests()
		return nil
	}))
	return group.Wait()
}

// run starts a function's guest, if it has one.
func (s *Server) run(f *hosted) {
	if f.guest == nil {
		return
	}
	ctx, end := context.WithCancel(s.guests)
	f.end = end
	s.group.Go(ctx, &aliveGuest{s, f})
}

// aliveGuest is a function's guest, whose end is the program's only where no
// other function is left.
type aliveGuest struct {
	s *Server
	f *hosted
}

func (g *aliveGuest) String() string { return "guest" } // whose errors name the function

func (g *aliveGuest) Run(ctx context.Context) error {
	s, f := g.s, g.f
	defer f.end()
	err := f.guest.Run(ctx)
	if err == nil {
		return nil
	}
	f.failed.Store(&err)
	for _, other := range s.now().functions {
		if other.failed.Load() == nil {
			s.log.Error("a function can't be run; the others go on", "function", f.config.Name, "err", err)
			return nil
		}
	}
	return err
}

func (s *Server) serve() error {
	var err error
	if s.server.TLSConfig != nil {
		err = s.server.ServeTLS(s.listener, "", "")
	} else {
		err = s.server.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// drain ends the server in good order.
func (s *Server) drain(ctx context.Context) {
	s.now().mux.Drain()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Drain)
	defer cancel()
	if d := s.config.lameDuck(); d > 0 {
		s.log.Info("shutting down: /readyz says no, requests are still answered", "seconds", d.Seconds())
		s.pause(d)
	}
	s.log.Info("shutting down: finishing the events that have begun", "at_most_seconds", s.config.Drain.Seconds())
	if err := s.server.Shutdown(grace); err != nil {
		s.log.Warn("events were still being decided at the end", "err", err)
		s.server.Close()
	}
}
