package selfhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/internal/listen"
	"switchbridge/internal/task"
)

// Server serves functions.
type Server struct {
	config    Config
	log       *slog.Logger
	registry  *prometheus.Registry
	functions []*hosted
	alive     atomic.Int32 // functions that can answer
	mux       *httphost.Mux
	server    *http.Server
	listener  net.Listener
	admin     net.Listener // nil: none
	devCA     string       // file of the development CA, where its certificate is used
}

// New reads everything that config names, so that mistakes show here. Only guests are not looked
// into yet. Records get one JSON line for each event; nil: none.
func New(config Config, records io.Writer, log *slog.Logger) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, log: log, registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	written := record.NewWriter(records)
	s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "switchbridge_function_records_failed_total", Help: "Decision records that could not be written.",
	}, func() float64 { return float64(written.Failed()) }))
	mux := httphost.MuxConfig{ClientCerts: config.TLS.ClientCA != "", Log: log, Registry: s.registry}
	var err error
	if mux.Tokens, err = config.tokens(); err != nil {
		return nil, err
	}
	for i := range s.config.Functions {
		f := &s.config.Functions[i]
		h, err := open(f, config.CacheDir, written, log, s.registry)
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", f.Name, err)
		}
		s.functions = append(s.functions, h)
		mux.Functions = append(mux.Functions, httphost.Function{Name: f.Name, Host: f.Host, Path: f.Path, Handler: h.handler, Ready: h.ready})
	}
	s.alive.Store(int32(len(s.functions)))
	s.mux, err = httphost.NewMux(mux)
	return s, err
}

// tokens are those of the file or of the environment; nil where there are none.
func (c *Config) tokens() (httphost.Checker, error) {
	switch {
	case c.Token != "":
		file, err := auth.OpenTokens(c.Token)
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
	}
	s.server = httphost.NewServer(s.mux, nil)
	s.server.ErrorLog = httphost.ErrorLog(s.log)
	if !s.config.plain() {
		if s.server.TLSConfig, s.devCA, err = s.config.TLS.tlsConfig(s.listener, s.log); err != nil {
			return err
		}
	}
	return nil
}

// Close frees what Listen took, for a server that is not run.
func (s *Server) Close() {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
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
	if s.config.Token != "" {
		line += " --function-token-file " + s.config.Token
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

// Reload has every function read its policy's files now. It doesn't wait; what is wrong is logged
// and changes nothing.
func (s *Server) Reload() {
	for _, f := range s.functions {
		f.reload()
	}
}

// Check compiles every guest and gives it its policy, which fills the cache, too. It serves
// nothing, and the server can't be run afterwards.
func (s *Server) Check(ctx context.Context) error {
	guests, end := context.WithCancel(ctx)
	defer end()
	var group errgroup.Group
	for _, f := range s.functions {
		if f.guest == nil {
			continue
		}
		group.Go(func() error { return f.guest.Run(guests) })
	}
	for _, f := range s.functions {
		if f.guest == nil {
			continue
		}
		// A question waits for the guest, and gets the reason where there will be none.
		check := guest.Request{Event: flow.EventPolicyCheck, Encoding: guest.EncodingOpenFlow}
		if err := f.guest.Answer(ctx, &check, new(guest.Answer)); err != nil {
			return err
		}
	}
	end()
	return group.Wait()
}

// Run compiles the guests and serves until ctx is done; then it takes no more connections and
// waits for the events that are being decided, for as long as the configuration says. That is no
// error. A guest that can't be run makes its own function fail with the reason; when none is left,
// Run returns that.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	// Guests outlive ctx: events that were taken are decided.
	guests, endGuests := context.WithCancel(context.WithoutCancel(ctx))
	defer endGuests()
	group, ctx := task.NewGroup(ctx)
	for _, f := range s.functions {
		group.Go(ctx, f.watch)
		if f.guest != nil {
			group.Go(guests, &aliveGuest{s, f})
		}
	}
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

// aliveGuest is a function's guest, whose end is the program's only where no
// other function is left.
type aliveGuest struct {
	s *Server
	f *hosted
}

func (g *aliveGuest) String() string { return "guest" } // whose errors name the function

func (g *aliveGuest) Run(ctx context.Context) error {
	s, f := g.s, g.f
	err := f.guest.Run(ctx)
	if err == nil {
		return nil
	}
	f.failed.Store(&err)
	if s.alive.Add(-1) == 0 {
		return err
	}
	s.log.Error("a function can't be run; the others go on", "function", f.config.Name, "err", err)
	return nil
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
	s.mux.Drain()
	s.log.Info("shutting down: events that are being decided get their answers", "at_most", s.config.Drain)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Drain)
	defer cancel()
	if err := s.server.Shutdown(grace); err != nil {
		s.log.Warn("events were still being decided at the end", "err", err)
		s.server.Close()
	}
}
