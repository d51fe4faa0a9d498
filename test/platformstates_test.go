package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
	"switchbridge/policy/blob"
	"switchbridge/policy/policyfile"
	"switchbridge/settings"
)

// afterPlatform is how long answers may take to be right after a platform has returned: the client's breaker waits a second before it asks again.
const afterPlatform = 2 * time.Second

// scanBlob is the policy that shuts scanners out, compiled.
func scanBlob(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, scanPolicy, "none"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// platformLab is a bridge with three hosts and a gateway that asks a function on a platform.
func platformLab(t *testing.T, address string) *lab {
	t.Helper()
	l := &lab{t: t, sw: ovs.Start(t, ovs.Options{})}
	if l.sw.Dummy() {
		t.Skip("hosts need root for network namespaces")
	}
	set := settings.Default()
	set.Function.URLs, set.Function.TokenFile = []string{"http://" + address + "/"}, filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(set.Function.TokenFile, []byte(workerstest.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	set.Admin.Listen = "127.0.0.1:0"
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols["1.3"]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.h2.ServeEcho(80)
	l.h2.ServeEcho(443)
	l.sw.WaitConnected("br0")
	eventually(t, "the function answers", func() bool { return l.gateway.Ready() == nil })
	return l
}

// TestLongDurableObjectIsKilled kills workerd, which has function and states, in a gateway's traffic.
func TestLongDurableObjectIsKilled(t *testing.T) {
	testlong.Need(t)
	options := workerstest.Options{Policy: scanBlob(t), States: t.TempDir()}
	worker := workerstest.Start(t, options)
	at := func() string {
		u, err := url.Parse(worker.URL)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	r := newRelay(t, at())
	l := platformLab(t, r.addr)
	l.killedInTraffic(func() { worker.Kill() }, func() {
		worker = workerstest.Start(t, options)
		r.lead(at())
	}, afterPlatform)
}

// computeServer is the function for Fastly behind HTTP, on a host of the platform's calls.
type computeServer struct {
	t       *testing.T
	host    *fastlytest.Host
	service *fastlytest.Service
	addr    string
	server  *http.Server
}

// ServeHTTP implements [http.Handler].
func (s *computeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	resp, err := s.host.Do(s.t.Context(), s.service, &fastlytest.Request{Method: r.Method, URL: "https://function.example" + r.URL.RequestURI(), Header: r.Header, Body: body})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.Status)
	_, _ = w.Write(resp.Body)
}

func (s *computeServer) start() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.addr = l.Addr().String()
	server := &http.Server{Handler: s}
	s.server = server
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}()
}

// stop ends it at once, with its connections.
func (s *computeServer) stop() { _ = s.server.Close() }

// TestLongFastlyIsKilled has the function for Fastly lose its KV store, and then be gone itself, in a gateway's traffic.
func TestLongFastlyIsKilled(t *testing.T) {
	testlong.Need(t)
	entries, err := fastlyhost.Entries(scanBlob(t))
	if err != nil {
		t.Fatal(err)
	}
	config := make(map[string]string)
	for _, e := range entries {
		config[e.Key] = e.Value
	}
	for name, row := range map[string]struct {
		kill, restart func(*computeServer, *atomic.Bool)
		within        time.Duration
	}{
		"the store":    {func(_ *computeServer, away *atomic.Bool) { away.Store(true) }, func(_ *computeServer, away *atomic.Bool) { away.Store(false) }, time.Second},
		"the platform": {func(s *computeServer, _ *atomic.Bool) { s.stop() }, func(s *computeServer, _ *atomic.Bool) { s.start() }, afterPlatform},
	} {
		t.Run(name, func(t *testing.T) {
			away := new(atomic.Bool)
			s := &computeServer{t: t, host: fastlytest.Build(t, "switchbridge/cmd/function-fastly"), addr: "127.0.0.1:0", service: &fastlytest.Service{
				Logs:    map[string]io.Writer{},
				Config:  map[string]map[string]string{fastlyhost.ConfigStore: config},
				Secrets: map[string]map[string]string{fastlyhost.SecretStore: {fastlyhost.KeyTokens: workerstest.Token}},
				KV:      map[string]*fastlytest.KVStore{fastlyhost.StateStore: {Away: away}},
			}}
			s.start()
			t.Cleanup(func() { s.stop() })
			l := platformLab(t, s.addr)
			l.killedInTraffic(func() { row.kill(s, away) }, func() { row.restart(s, away) }, row.within)
		})
	}
}
