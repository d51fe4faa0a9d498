package httpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"switchbridge/internal/certs"
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

const (
	dialTimeout      = 2 * time.Second  // a round trip, with two repeats of a lost SYN
	keepAlive        = 15 * time.Second // TCP's probes, so that a NAT's forgotten entry is found between events
	handshakeTimeout = 3 * time.Second
	maxHeader        = 64 << 10 // bytes of an answer's headers
	pingAfter        = 15 * time.Second
	pingTimeout      = 5 * time.Second
)

// generation is the connections that an endpoint has between two renewals.
type generation struct {
	transports []*http.Transport // more than one with HTTP/2, where each has one connection
	next       atomic.Uint32
	users      atomic.Int64
	retired    atomic.Bool
}

// transport returns the connections that the next request uses.
func (g *generation) transport() *http.Transport {
	if len(g.transports) == 1 {
		return g.transports[0]
	}
	return g.transports[int(g.next.Add(1))%len(g.transports)]
}

func (g *generation) release() {
	if g.users.Add(-1) == 0 && g.retired.Load() {
		g.close()
	}
}

// retire closes g's connections as they fall idle.
func (g *generation) retire() {
	g.retired.Store(true)
	if g.users.Load() == 0 {
		g.close()
	}
}

func (g *generation) close() {
	for _, t := range g.transports {
		t.CloseIdleConnections()
	}
}

// newGeneration makes transports that have dialled nothing yet.
func newGeneration(cfg *Config, t *target) (*generation, error) {
	n := 1
	if cfg.HTTP2 {
		n = cfg.Connections
	}
	g := new(generation)
	for range n {
		tr, err := newTransport(cfg, t)
		if err != nil {
			return nil, err
		}
		g.transports = append(g.transports, tr)
	}
	return g, nil
}

func newTransport(cfg *Config, t *target) (*http.Transport, error) {
	tr := &http.Transport{
		DialContext:            cfg.dial,
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true, // we send no Accept-Encoding, and never inflate what we did not ask for
		MaxIdleConnsPerHost:    cfg.MaxIdle,
		IdleConnTimeout:        cfg.IdleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	if tr.DialContext == nil {
		tr.DialContext = dialer(cfg, t)
	}
	if cfg.UseProxy && t.socket == "" {
		tr.Proxy = http.ProxyFromEnvironment
	}
	switch {
	case !cfg.HTTP2:
		tr.Protocols.SetHTTP1(true)
	case t.url.Scheme == "https":
		tr.Protocols.SetHTTP2(true)
	default:
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	var err error
	if t.url.Scheme == "https" {
		tr.TLSClientConfig, err = tlsConfig(cfg)
	}
	return tr, err
}

func dialer(cfg *Config, t *target) dialFunc {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	if cfg.Via != "" {
		return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", cfg.Via) }
	}
	if t.socket == "" {
		return d.DialContext
	}
	path := t.socket
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}
}

// tlsConfig reads the files that cfg names.
func tlsConfig(cfg *Config) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if cfg.CAFile != "" {
		var err error
		if c.RootCAs, err = certs.Pool(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	}
	if cfg.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}
