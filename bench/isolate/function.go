package isolate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"switchbridge/controller"
	"switchbridge/faas/function/devca"
	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/policy/policyfile"
)

// Function is a function over HTTPS that can be made hostile. It is the native
// controller; told so by a POST to /go, and until one to /stop, it answers 500 to
// events that name the poison address (Kind Poison), or gives each answer a
// larger serial than the one before (Kind Serial).
type Function struct {
	Kind   string
	Listen string
	DevCA  string // folder of the authority of its certificate
	Policy string // file
}

// Serve answers until ctx is done.
func (f *Function) Serve(ctx context.Context) error {
	p, err := policyfile.Load(f.Policy)
	if err != nil {
		return err
	}
	ca, err := devca.Open(f.DevCA)
	if err != nil {
		return err
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		return err
	}
	var hostile atomic.Bool
	var serial atomic.Uint64
	decider := flow.Decider(controller.New(p))
	if f.Kind == Serial {
		decider = growing{decider, &hostile, &serial}
	}
	h, err := httphost.New(httphost.Config{Decider: decider, Codecs: []contract.Codec{openflow.Codec{}}})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /go", func(http.ResponseWriter, *http.Request) { hostile.Store(true) })
	mux.HandleFunc("POST /stop", func(http.ResponseWriter, *http.Request) { hostile.Store(false) })
	mux.Handle("/", h)
	if f.Kind == Poison {
		poison := poisonAddr.As4()
		mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, flow.MaxBody+1))
			if err != nil {
				return // the caller is gone
			}
			if hostile.Load() && bytes.Contains(body, poison[:]) {
				http.Error(w, "a fault of this function", http.StatusInternalServerError)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			h.ServeHTTP(w, r)
		})
	}
	ln, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return err
	}
	srv := httphost.NewServer(mux, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("isolate's function: %w", err)
	}
	return nil
}

// growing gives each answer a serial of its own.
type growing struct {
	flow.Decider
	hostile *atomic.Bool
	serial  *atomic.Uint64
}

func (g growing) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	err := g.Decider.Decide(ctx, ev, d)
	if g.hostile.Load() {
		d.Policy.Serial += g.serial.Add(1)
	}
	return err
}
