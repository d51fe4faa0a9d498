package httpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
)

// network is hosts in memory, for tests on fake time.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host
}

// host is a server of one name.
type host struct {
	ln     pipeListener
	server *http.Server

	mu    sync.Mutex
	dials int
	down  bool
}

func newNetwork(t *testing.T) *network {
	n := &network{hosts: map[string]*host{}}
	t.Cleanup(func() {
		for _, h := range n.hosts {
			h.server.Close()
		}
	})
	return n
}

// readFirst reads the body before f runs, since net/http's server notices that a
// client has gone only after that.
func readFirst(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f(w, r)
	}
}

// serve makes http://name/ answer with f.
func (n *network) serve(name string, f http.HandlerFunc) *host {
	h := &host{ln: pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}, server: &http.Server{Handler: readFirst(f)}}
	n.mu.Lock()
	n.hosts[name+":80"] = h
	n.mu.Unlock()
	go h.server.Serve(&h.ln)
	return h
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[address]
	n.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("no host %s", address)
	}
	h.mu.Lock()
	h.dials++
	down := h.down
	h.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	select {
	case h.ln.conns <- theirs:
		return ours, nil
	case <-h.ln.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *host) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

func (h *host) dialled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials
}

type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// counts are metrics to look at.
type counts struct {
	mu       sync.Mutex
	outcomes map[string]int // "endpoint outcome"
	retries  int
	hedges   int
	states   []string
}

func (c *counts) metrics() *Metrics {
	c.outcomes = map[string]int{}
	locked := func(f func()) { c.mu.Lock(); defer c.mu.Unlock(); f() }
	return &Metrics{
		Request: func(endpoint string, o Outcome, _ time.Duration, _ string) {
			locked(func() { c.outcomes[endpoint+" "+string(o)]++; c.outcomes[string(o)]++ })
		},
		Retry:   func(string) { locked(func() { c.retries++ }) },
		Hedge:   func(string) { locked(func() { c.hedges++ }) },
		Breaker: func(endpoint, state string) { locked(func() { c.states = append(c.states, endpoint+" "+state) }) },
	}
}

func (c *counts) get(outcome string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcomes[outcome]
}

// newClient makes a client whose connections are not dialled ahead unless
// cfg says how many.
func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Codec == nil {
		cfg.Codec = jsonenc.Codec{}
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func packetIn() *flow.Event {
	p := &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: 60, Data: make([]byte, 60)}
	p.Match.SetInPort(1)
	p.Match.SetEthType(0x0800)
	return &flow.Event{Type: flow.EventPacketIn, ID: "event-1", Session: "session-1", Time: time.Unix(1, 0).UTC(), XID: 42,
		Switch: &flow.Switch{DPID: 0xaa, Protocol: flow.OpenFlow13}, PacketIn: p}
}

const decision = `{"flows":[{"priority":7,"match":{"in_port":1},"actions":[{"type":"OUTPUT","port":2}]}],"reason":"test"}`

// answerWith writes a good decision.
func answerWith(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", contract.TypeJSON)
	w.Header().Set(contract.HeaderPolicy, "3-0000beef")
	w.Write([]byte(body))
}

func good(w http.ResponseWriter, r *http.Request) { answerWith(w, decision) }

// eventsOnly sends policy_checks, of which the client makes some by itself, a
// good answer, so that a test counts its own events.
func eventsOnly(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get(contract.HeaderType), "policy_check") {
			answerWith(w, "{}")
			return
		}
		f(w, r)
	}
}

// mustFail asks and wants an error of a kind that says all of explain.
func mustFail(t *testing.T, c *Client, kind flow.ErrorKind, explain ...string) {
	t.Helper()
	var d flow.Decision
	err := c.Decide(t.Context(), packetIn(), &d)
	if err == nil {
		t.Fatalf("no error, decision %+v", d)
	}
	if got := flow.KindOf(err); got != kind {
		t.Errorf("%v: kind %v, want %v", err, got, kind)
	}
	for _, s := range append(explain, "packet_in", "00000000000000aa") {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if len(d.Rules) != 0 || d.HasPacketOut {
		t.Errorf("decision %+v beside the error", d)
	}
}

func mustDecide(t *testing.T, c *Client) {
	t.Helper()
	var d flow.Decision
	if err := c.Decide(t.Context(), packetIn(), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Rules) != 1 || d.Rules[0].Priority != 7 || d.Reason != "test" || d.Policy != (flow.PolicyVersion{Serial: 3, Hash: 0xbeef}) {
		t.Errorf("decision %+v", d)
	}
}
