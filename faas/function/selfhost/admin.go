package selfhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"switchbridge/internal/adminside"
	"switchbridge/internal/quiet"
)

// Status is one function in GET /api/v1/functions.
type Status struct {
	Name   string `json:"name"`
	Host   string `json:"host,omitempty"`
	Path   string `json:"path,omitempty"`
	Kind   string `json:"kind"` // embedded, native, or the guest's file
	Policy string `json:"policy,omitempty"`
	Fault  string `json:"fault,omitempty"` // why it doesn't answer without waiting
}

// Status says how the functions are.
func (s *Server) Status() []Status {
	list := make([]Status, 0, len(s.now().functions))
	for _, f := range s.now().functions {
		st := Status{Name: f.config.Name, Host: f.config.Host, Path: f.config.Path, Kind: f.kind()}
		if v := f.version(); !v.IsZero() {
			st.Policy = v.String()
		}
		if err := f.ready(); err != nil {
			st.Fault = err.Error()
		}
		list = append(list, st)
	}
	return list
}

// adminHandler serves the operator's side. Nothing in it changes the server.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.now().mux.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
		if err := s.results.Err(); err != nil {
			fmt.Fprintln(w, err)
		}
	})
	mux.HandleFunc("GET /api/v1/functions", func(w http.ResponseWriter, r *http.Request) {
		adminside.WriteJSON(w, http.StatusOK, s.Status())
	})
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, r *http.Request) {
		adminside.WriteJSON(w, http.StatusOK, map[string]any{"reloads": s.results.List()})
	})
	var names []string
	if host, _, err := net.SplitHostPort(s.config.Admin); err == nil {
		names = append(names, host)
	}
	return adminside.Hosts(names, mux)
}

// serveAdmin runs the operator's side until ctx is done, which is after the last event, so that
// the last scrape sees it.
func (s *Server) serveAdmin(ctx context.Context) error {
	srv := &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: quiet.ErrorLog(s.log.With("server", "admin"))}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(s.admin); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
