package listen

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/internal/logbuffer"
)

// Ten times as many connections as a server takes, from one address and then from all: others are answered beside the first, the rest is counted,
// little is logged, and all places are free when the connections end.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bound := &Bound{Max: 40, PerAddress: 20}
	logs := new(logbuffer.Buffer)
	reg := prometheus.NewRegistry()
	refusals := NewRefusals(reg, slog.New(slog.NewTextHandler(logs, nil)))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })}
	go srv.Serve(refusals.Within(l, "test", bound))
	defer srv.Close()
	dial := func(from string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	closed := func(conn net.Conn) bool { // by the server; one with a place waits for its request
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		ne, ok := err.(net.Error)
		return !ok || !ne.Timeout()
	}
	answers := func(from string) bool {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(from), nil }}}
		resp, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b) == "here"
	}
	count := func(cause string) float64 {
		families, err := reg.Gather()
		if err != nil || len(families) != 1 {
			t.Fatalf("%v, %v", families, err)
		}
		for _, m := range families[0].GetMetric() {
			if m.GetLabel()[0].GetValue() == cause { // labels are in the order of their names
				return m.GetCounter().GetValue()
			}
		}
		return 0
	}

	var open []net.Conn
	for i := range 10 * bound.Max {
		conn := dial("127.0.0.1")
		if i < bound.PerAddress {
			open = append(open, conn)
		} else if conn.Close(); i == bound.PerAddress && !closed(dial("127.0.0.1")) {
			t.Error("a connection beyond an address's share is not closed")
		}
	}
	if !answers("127.0.0.2") {
		t.Error("another address is locked out")
	}
	// The places of connections that were closed are free when the server has noticed: one that is answered has a place.
	for len(open) < bound.Max {
		conn := dial("127.0.0.3")
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: here\r\n\r\n")
		if !closed(conn) {
			t.Fatal("the server does not answer")
		}
		if line, _ := bufio.NewReader(conn).ReadString('\n'); strings.Contains(line, "200") {
			open = append(open, conn)
		}
	}
	before := count(TooMany)
	for range 10 * bound.Max {
		if !closed(dial("127.0.0.4")) {
			t.Fatal("a connection beyond all places is not closed")
		}
	}
	if n := count(TooManyFromAddress); n != float64(10*bound.Max-bound.PerAddress+1) {
		t.Errorf("%v connections counted as beyond an address's share", n)
	}
	if n := count(TooMany) - before; n != float64(10*bound.Max) {
		t.Errorf("%v connections counted as beyond all places", n)
	}
	if n := strings.Count(logs.String(), "\n"); n != 1 {
		t.Errorf("%d lines of log, want 1:\n%s", n, logs)
	}
	for _, conn := range open {
		conn.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		bound.mu.Lock()
		left, addresses := bound.open, len(bound.from)
		bound.mu.Unlock()
		if left == 0 && addresses == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d places of %d addresses are still taken", left, addresses)
		}
	}
	if !answers("127.0.0.1") {
		t.Error("the address that flooded is not answered afterwards")
	}
}

// Whose share a connection is of.
func TestSharesOfAddresses(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:7": "192.0.2.1", "[::ffff:192.0.2.1]:7": "192.0.2.1", "[2001:db8::1:2:3:4]:7": "2001:db8::", "[::1]:7": "::1", "[fe80::1%1]:7": "fe80::1",
	} {
		a, err := net.ResolveTCPAddr("tcp", from)
		if err != nil {
			t.Fatal(err)
		}
		if got, known := peerOf(addressed{from: a}); !known || got.String() != want {
			t.Errorf("%s is of %v, want %s", from, got, want)
		}
	}
	if _, known := peerOf(addressed{from: &net.UnixAddr{}}); known {
		t.Error("a Unix socket has an address")
	}
}

type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }
