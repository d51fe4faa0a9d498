package listen

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/internal/quiet"
)

// Bound limits the connections that are open at one time. The zero value of a
// limit is none.
type Bound struct {
	Max        int
	PerAddress int // from one IPv4 address or IPv6 /64, so that one host can't take all places

	mu   sync.Mutex
	open int
	from map[netip.Addr]int
}

// The causes for which a connection finds no place.
const (
	TooMany            = "too_many"
	TooManyFromAddress = "too_many_from_address"
)

// Take gives a connection a place until free is called, once. A cause says that
// there is none, and free is nil then.
func (b *Bound) Take(conn net.Conn) (free func(), cause string) {
	peer, known := peerOf(conn)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case known && b.PerAddress > 0 && b.from[peer] >= b.PerAddress:
		return nil, TooManyFromAddress
	case b.Max > 0 && b.open >= b.Max:
		return nil, TooMany
	}
	b.open++
	if known {
		if b.from == nil {
			b.from = map[netip.Addr]int{}
		}
		b.from[peer]++
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
		if known {
			if b.from[peer]--; b.from[peer] == 0 {
				delete(b.from, peer)
			}
		}
	}, ""
}

// peerOf is whose share of the connections conn is of: the peer's IPv4 address,
// or the /64 of its IPv6 address, of which one host may have every one. A Unix
// socket's peer has none.
func peerOf(conn net.Conn) (netip.Addr, bool) {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	addr := a.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
		p, err := addr.Prefix(64)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = p.Addr()
	}
	return addr, true
}

// Bounds of the servers that speak HTTP. Behind a platform's proxy all
// connections come from a few addresses, so there all share what there is.
const (
	functionConns, functionPerAddress = 4096, 1024
	adminConns, adminPerAddress       = 256, 128
	pairConns, pairPerAddress         = 64, 16
)

// FunctionBound is that of a function's server.
func FunctionBound(proxied bool) *Bound {
	if proxied {
		return &Bound{Max: functionConns}
	}
	return &Bound{Max: functionConns, PerAddress: functionPerAddress}
}

// AdminBound is that of an operator's side.
func AdminBound() *Bound { return &Bound{Max: adminConns, PerAddress: adminPerAddress} }

// PairBound is that of the listener for the other gateway of a pair.
func PairBound() *Bound { return &Bound{Max: pairConns, PerAddress: pairPerAddress} }

// Refusals counts and logs the connections that HTTP servers refuse.
type Refusals struct {
	log   *slog.Logger
	line  quiet.Line
	count *prometheus.CounterVec
}

// NewRefusals registers the counter with reg.
func NewRefusals(reg prometheus.Registerer, log *slog.Logger) *Refusals {
	r := &Refusals{log: log, count: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_http_refused_total",
		Help: "Connections that an HTTP server closed since there were as many as may be, by server and cause."}, []string{"server", "cause"})}
	reg.MustRegister(r.count)
	return r
}

// Within returns l for a server that keeps within a bound: a connection that
// finds no place is closed before anything is read of it.
func (r *Refusals) Within(l net.Listener, server string, b *Bound) net.Listener {
	return &within{l, r, server, b}
}

type within struct {
	net.Listener
	refusals *Refusals
	server   string
	bound    *Bound
}

func (w *within) Accept() (net.Conn, error) {
	for {
		conn, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		free, cause := w.bound.Take(conn)
		if cause == "" {
			return &taken{conn, sync.OnceFunc(free)}, nil
		}
		w.refusals.count.WithLabelValues(w.server, cause).Inc()
		conn.Close()
		w.refusals.line.Log(w.refusals.log, slog.LevelWarn, "connection refused: there are as many as may be", "server", w.server, "cause", cause, "remote", conn.RemoteAddr().String())
	}
}

// taken is a connection that has a place.
type taken struct {
	net.Conn
	free func()
}

func (t *taken) Close() error {
	defer t.free()
	return t.Conn.Close()
}
