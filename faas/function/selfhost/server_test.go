package selfhost

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/function/devca"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/certs"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/testlong"
	"switchbridge/internal/watched"
)

// running is a server under test.
type running struct {
	*Server
	t      *testing.T
	client *http.Client
	base   string // the functions' URL, without a path
	log    *logbuffer.Buffer
	stop   func() error // ends the server as SIGTERM does, and waits for it
}

// base is a Config on loopback without TLS for some functions.
func base(functions ...Function) Config {
	c := Default()
	c.Listen, c.Admin, c.Plain, c.Functions = "127.0.0.1:0", "127.0.0.1:0", true, functions
	return c
}

func fn(name string, change func(*Function)) Function {
	f := DefaultFunction()
	f.Name = name
	change(&f)
	return f
}

// guestOf is a function by a raw guest that answers with configuration.
func guestOf(t *testing.T, name, configuration string) Function {
	return fn(name, func(f *Function) {
		f.Wasm = writeFile(t, "guest.wasm", rawGuest(guest.ABIVersion, nil))
		f.Configure = writeFile(t, "configuration", []byte(configuration))
		f.Deadline = 300 * time.Millisecond
	})
}

func prepare(t *testing.T, c Config, records io.Writer) *running {
	t.Helper()
	log := new(logbuffer.Buffer)
	s, err := New(c, records, log.Text())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	scheme := "https"
	if s.config.plain() {
		scheme = "http"
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{}}
	t.Cleanup(tr.CloseIdleConnections)
	return &running{Server: s, t: t, log: log, base: scheme + "://" + s.Addr().String(), client: &http.Client{Transport: tr, Timeout: 10 * time.Second}}
}

func (r *running) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Error(err)
		}
	})
}

func serve(t *testing.T, c Config) *running {
	t.Helper()
	r := prepare(t, c, nil)
	r.start()
	return r
}

// event is a POST of the contract whose body a raw guest looks at the end of.
func event(t *testing.T, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	contract.PutEvent(r.Header, &flow.Event{Type: flow.EventPacketIn, ID: "e", Session: "s", Switch: &flow.Switch{DPID: 1}})
	r.Header.Set("Content-Type", contract.TypeOpenFlow)
	return r
}

// policyCheck asks any function of ours for its policy's version.
func policyCheck(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	contract.PutEvent(r.Header, &flow.Event{Type: flow.EventPolicyCheck, ID: "c"})
	r.Header.Set("Content-Type", contract.TypeOpenFlow)
	return r
}

// half sends an event but for the end of its body: it holds a place until finish sends that.
func (r *running) half() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\nExpect: 100-continue\r\n")
	event(r.t, r.base, "any").Header.Write(conn)
	fmt.Fprint(conn, "\r\n")
	// The server asks for the body once the request has its place.
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusContinue { // the places of requests before are not free yet
		conn.Close()
		time.Sleep(5 * time.Millisecond)
		return r.half()
	}
	fmt.Fprint(conn, "a")
	return conn
}

func (r *running) finish(conn net.Conn) answer {
	r.t.Helper()
	fmt.Fprint(conn, "ny")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (r *running) do(request *http.Request) answer {
	r.t.Helper()
	resp, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, strings.TrimSpace(string(body))}
}

func (r *running) post(path, body string) answer {
	r.t.Helper()
	return r.do(event(r.t, r.base+path, body))
}

func (r *running) get(url string) answer {
	r.t.Helper()
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do(request)
}

func (a answer) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, body) {
		t.Errorf("%d %q, want %d %q", a.status, a.body, status, body)
	}
}

// until waits for what happens on its own goroutine.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out waiting until", what)
		}
	}
}

func policyOf(serial int) string {
	return fmt.Sprintf("serial: %d\nchain:\n  - forward: {mode: normal}\n", serial)
}

func TestSeveralFunctions(t *testing.T) {
	native := func(name string, serial int, change func(*Function)) Function {
		return fn(name, func(f *Function) {
			f.Native, f.Policy = true, writeFile(t, "policy.yaml", []byte(policyOf(serial)))
			change(f)
		})
	}
	labs := guestOf(t, "labs", "of labs")
	labs.Path = "/labs"
	c := base(
		native("campus", 7, func(f *Function) { f.Host = "campus.example" }),
		native("iot", 8, func(f *Function) { f.Path = "/iot" }),
		labs,
	)
	var records logbuffer.Buffer
	r := prepare(t, c, &records)
	r.start()
	for _, row := range []struct{ host, path, policy string }{{"campus.example", "/", "7-"}, {"CAMPUS.example:443", "/iot", "7-"}, {"", "/iot", "8-"}} {
		q := policyCheck(t, r.base+row.path)
		q.Host = row.host
		a := r.do(q)
		if a.status != 200 || !strings.HasPrefix(a.header.Get(contract.HeaderPolicy), row.policy) {
			t.Errorf("%s %s: %d, policy %q, want %s", row.host, row.path, a.status, a.header.Get(contract.HeaderPolicy), row.policy)
		}
	}
	r.post("/labs", "any").want(t, 200, "of labs")
	r.post("/other", "any").want(t, 404, "no function at")

	admin := "http://" + r.AdminAddr().String()
	var list []Status
	if err := json.Unmarshal([]byte(r.get(admin+"/api/v1/functions").body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[0].Kind != "native" || !strings.HasPrefix(list[1].Policy, "8-") || list[2].Kind != labs.Wasm || list[2].Fault != "" {
		t.Errorf("%+v", list)
	}
	metrics := r.get(admin + "/metrics").body
	for _, want := range []string{
		`switchbridge_function_requests_total{function="campus",status="200"} 2`,
		`switchbridge_function_requests_total{function="iot",status="200"} 1`,
		`switchbridge_function_requests_total{function="labs",status="200"} 1`,
		`switchbridge_function_seconds_count{function="labs"} 1`,
		`switchbridge_wasm_events_total{function="labs"} 1`,
		`switchbridge_wasm_instances{function="labs"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in /metrics", want)
		}
	}
	for _, want := range []string{`"function":"campus"`, `"function":"labs"`} {
		if !strings.Contains(records.String(), want) {
			t.Errorf("no record with %s in %s", want, &records)
		}
	}
}

func TestUnusableGuests(t *testing.T) {
	for _, row := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"not wasm", []byte("#!/bin/sh\n"), "not a WebAssembly module"},
		{"no export", rawGuest(guest.ABIVersion, map[string]string{"switchbridge_decide": "handle"}), "no exported function switchbridge_decide"},
		{"another ABI", rawGuest(guest.ABIVersion+1, nil), "ABI version 2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bad := fn("bad", func(f *Function) { f.Wasm, f.Path = writeFile(t, "guest.wasm", row.wasm), "/bad" })

			// Alone, it ends the server, with the reason.
			alone := prepare(t, base(bad), nil)
			err := alone.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "function bad") {
				t.Errorf("alone: %v, want %q", err, row.want)
			}
			checked, err := New(base(bad), nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := checked.Check(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("checked: %v, want %q", err, row.want)
			}

			// Beside another one, that goes on answering.
			r := serve(t, base(bad, guestOf(t, "good", "well")))
			r.post("/bad", "any").want(t, 502, row.want)
			r.post("/", "any").want(t, 200, "well")
			until(t, "readiness says why", func() bool {
				a := r.get(r.base + "/readyz")
				return a.status == 503 && strings.Contains(a.body, row.want)
			})
			r.get(r.base+"/healthz").want(t, 200, "ok")
		})
	}
}

// TestFaultsOfEvents has each fault, and the next event answered.
func TestFaultsOfEvents(t *testing.T) {
	f := guestOf(t, "controller", "well")
	f.Concurrency = 2
	c := base(f)
	r := serve(t, c)
	r.post("/", "any").want(t, 200, "well")
	next := func() { r.t.Helper(); r.post("/", "any").want(r.t, 200, "well") }

	for _, row := range []struct {
		name    string
		request func() *http.Request
		status  int
		explain string
	}{
		{"a trap", func() *http.Request { return event(t, r.base, "T") }, 502, "trapped"},
		{"never returns", func() *http.Request { return event(t, r.base, "L") }, 502, "deadline"},
		{"too large", func() *http.Request { return event(t, r.base, strings.Repeat("x", flow.MaxBody+1)) }, 413, "more than"},
		{"too large and chunked", func() *http.Request {
			q := event(t, r.base, "")
			q.Body, q.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", flow.MaxBody+1))), -1
			return q
		}, 413, "more than"},
		{"no event", func() *http.Request { q := event(t, r.base, ""); q.Header.Del("Ce-Type"); return q }, 400, "ce-type"},
		{"not the contract's encoding", func() *http.Request { q := event(t, r.base, ""); q.Header.Set("Content-Type", "text/html"); return q }, 415, "text/html"},
		{"not a POST", func() *http.Request { q := event(t, r.base, ""); q.Method = "PUT"; return q }, 405, "POST"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.do(row.request()).want(t, row.status, row.explain)
			next()
		})
	}

	t.Run("a client that stops in its body", func(t *testing.T) {
		for range f.Concurrency + 1 { // no place may be lost
			conn, err := net.Dial("tcp", r.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/openflow\r\nContent-Length: 100\r\n\r\nhalf")
			conn.Close()
		}
		until(t, "its place is free", func() bool { return r.post("/", "any").status == 200 })
	})
	t.Run("a client that leaves while it is decided", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := r.client.Do(event(t, r.base, "L").WithContext(ctx)); err == nil {
			t.Error("an answer")
		}
		until(t, "its place is free", func() bool { return r.post("/", "any").status == 200 })
	})
	t.Run("more than the limit", func(t *testing.T) {
		until(t, "all places are free", func() bool { return r.post("/", "any").status == 200 })
		// Bodies that are not complete take no place; events that never end do, until
		// their deadline.
		for range 10 * f.Concurrency {
			conn := r.half()
			defer conn.Close()
		}
		next()
		full := make(chan answer, 1)
		var ask sync.WaitGroup
		for range f.Concurrency + 1 {
			ask.Go(func() {
				for len(full) == 0 {
					if a := r.post("/", "L"); a.status == 429 {
						select {
						case full <- a:
						default:
						}
					}
				}
			})
		}
		a := <-full
		full <- a // for the others, too
		ask.Wait()
		a.want(t, 429, "2 events are being decided")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
		until(t, "all places are free", func() bool { return r.post("/", "any").status == 200 })
	})
	next()
}

// TestEventsWaitForTheGuest asks before anything runs.
func TestEventsWaitForTheGuest(t *testing.T) {
	r := prepare(t, base(guestOf(t, "controller", "well")), nil)
	answered := make(chan answer, 1)
	go func() { answered <- r.post("/", "any") }()
	select {
	case a := <-answered:
		t.Fatalf("answered before the guest was compiled: %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	r.start()
	(<-answered).want(t, 200, "well")
	r.get(r.base+"/readyz").want(t, 200, "ready")
}

func TestReload(t *testing.T) {
	policy := writeFile(t, "policy.yaml", []byte(policyOf(7)))
	own := guestOf(t, "own", "before")
	own.Path = "/own"
	r := serve(t, base(fn("native", func(f *Function) { f.Native, f.Path, f.Policy = true, "/native", policy }), own))
	version := func() string {
		return r.do(policyCheck(t, r.base+"/native")).header.Get(contract.HeaderPolicy)
	}
	rewrite := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = r.Reload(t.Context()) // the log says what is wrong
	}
	r.post("/own", "any").want(t, 200, "before")
	rewrite(policy, policyOf(8))
	rewrite(own.Configure, "after")
	until(t, "the new policy decides", func() bool { return strings.HasPrefix(version(), "8-") })
	until(t, "the new configuration decides", func() bool { return r.post("/own", "any").body == "after" })

	// What is wrong changes nothing but the log.
	rewrite(policy, "serial: 9\nchain: nonsense\n")
	until(t, "the fault is logged", func() bool { return strings.Contains(r.log.String(), "the policy stays as it was") })
	rewrite(policy, policyOf(6))
	until(t, "the smaller serial is refused", func() bool { return strings.Contains(r.log.String(), "serials only grow") })
	if v := version(); !strings.HasPrefix(v, "8-") {
		t.Errorf("policy %s", v)
	}
	rewrite(policy, policyOf(10))
	until(t, "a good one is taken again", func() bool { return strings.HasPrefix(version(), "10-") })
}

// TestShutdownFinishesEvents ends the server while an event is coming in.
func TestShutdownFinishesEvents(t *testing.T) {
	r := serve(t, base(guestOf(t, "controller", "well")))
	r.post("/", "any").want(t, 200, "well")
	conn := r.half()
	metrics := "http://" + r.AdminAddr().String() + "/metrics"
	until(t, "the event has begun", func() bool {
		return strings.Contains(r.get(metrics).body, `switchbridge_function_busy{function="controller"} 1`)
	})

	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	until(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", r.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatal("ended with an event under way:", err)
	default:
	}
	r.finish(conn).want(t, 200, "well")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLameDuck ends the server while callers don't know it yet.
func TestLameDuck(t *testing.T) {
	c := base(guestOf(t, "controller", "well"))
	lame := 8 * time.Second
	c.LameDuck = &lame
	r := prepare(t, c, nil)
	pauses, over := make(chan time.Duration), make(chan struct{})
	r.pause = func(d time.Duration) { pauses <- d; <-over }
	r.start()
	r.post("/", "any").want(t, 200, "well")

	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	if d := <-pauses; d != lame {
		t.Errorf("requests are taken for %v, want %v", d, lame)
	}
	if got := r.get(r.base + "/readyz"); got.status != 503 || !strings.Contains(got.body, "shutting down") {
		t.Errorf("/readyz: %d %s", got.status, got.body)
	}
	for range 3 {
		resp, err := r.client.Do(event(t, r.base, "any"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != "well" || !resp.Close {
			t.Errorf("%s %q, last of its connection: %v", resp.Status, body, resp.Close)
		}
	}
	close(over)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", r.Addr().String()); err == nil {
		conn.Close()
		t.Error("somebody is let in")
	}
}

// TestShutdownDoesNotWaitForever ends the server while a client keeps its event to itself.
func TestShutdownDoesNotWaitForever(t *testing.T) {
	c := base(guestOf(t, "controller", "well"))
	c.Drain = 50 * time.Millisecond
	r := serve(t, c)
	r.post("/", "any").want(t, 200, "well")
	r.half()
	metrics := "http://" + r.AdminAddr().String() + "/metrics"
	until(t, "the event has begun", func() bool {
		return strings.Contains(r.get(metrics).body, `switchbridge_function_busy{function="controller"} 1`)
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), "still being decided at the end") {
		t.Errorf("log %s", r.log)
	}
}

func TestTransports(t *testing.T) {
	dir := t.TempDir()
	secure := base(guestOf(t, "controller", "well"))
	secure.Plain, secure.TLS.DevCA = false, dir
	token := writeFile(t, "token", []byte("0123456789abcdef\n"))
	secure.Token = token
	r := serve(t, secure)
	roots, err := certs.Pool(filepath.Join(dir, "development-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!http2)
		tr.Protocols.SetHTTP2(http2)
		defer tr.CloseIdleConnections()
		r.client = &http.Client{Transport: tr}
		r.post("/", "any").want(t, 401, "token")
		q := event(t, r.base, "any")
		q.Header.Set("Authorization", "Bearer 0123456789abcdef")
		resp, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != http2 {
			t.Errorf("%s in %s", resp.Status, resp.Proto)
		}
	}
	if flags := r.GatewayFlags(); flags != "--function "+r.base+" --function-ca "+filepath.Join(dir, "development-ca.pem")+" --function-token-file "+token {
		t.Error(flags)
	}

	socket := filepath.Join(t.TempDir(), "s")
	local := base(guestOf(t, "controller", "well"))
	local.Listen, local.Plain = "unix:"+socket, false
	r = serve(t, local)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	r.client, r.base = &http.Client{Transport: tr}, "http://f"
	r.post("/", "any").want(t, 200, "well")
	if flags := r.GatewayFlags(); flags != "--function unix://"+socket {
		t.Error(flags)
	}
}

func TestClientCertificates(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	pair := func(dir string) tls.Certificate {
		ca, err := devca.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue("gateway")
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	mine, strange := pair(ours), pair(theirs)
	c := base(guestOf(t, "controller", "well"))
	c.Plain, c.TLS.DevCA, c.TLS.ClientCA = false, ours, filepath.Join(ours, "development-ca.pem")
	r := serve(t, c)
	roots, err := certs.Pool(c.TLS.ClientCA)
	if err != nil {
		t.Fatal(err)
	}
	with := func(certs ...tls.Certificate) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	r.client = with(mine)
	r.post("/", "any").want(t, 200, "well")
	r.client = with()
	r.post("/", "any").want(t, 401, "no client certificate")
	r.get(r.base+"/healthz").want(t, 200, "ok") // platforms probe without one
	r.client = with(strange)
	if resp, err := r.client.Do(event(t, r.base, "any")); err == nil {
		t.Error("a certificate of another authority:", resp.Status)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "development-ca.pem"), filepath.Join(dir, "development-ca.key")
	make := func() {
		t.Helper()
		os.Remove(cert)
		if _, err := devca.Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	make()
	p, err := watched.OpenPair(cert, key, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		_, _ = p.Look(t.Context(), false)
		leaf, err := x509.ParseCertificate(p.Last().Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	first := serial()
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != first {
		t.Error("a broken certificate was taken")
	}
	os.Remove(key)
	make()
	if serial() == first {
		t.Error("the new certificate was not taken")
	}
}

// What Go's HTTP server says of a connection is a record of the log, whatever its format.
func TestServersLog(t *testing.T) {
	c := base(fn("native", func(f *Function) { f.Native = true }))
	c.Plain, c.TLS.DevCA = false, t.TempDir()
	r := serve(t, c)
	resp, err := http.Get("http://" + r.Addr().String() + "/")
	if err == nil {
		resp.Body.Close()
	}
	until(t, "the handshake's failure is a record", func() bool {
		return r.log.Has("level=WARN", "server=functions", `err="http: TLS handshake error from `)
	})
}

// Each function says once that its policy looks at VLANs which no packet has; one whose policy doesn't is silent.
func TestHintOfVLANs(t *testing.T) {
	hintOfVLANs(t, "called", func(f *Function) { f.Native = true })
}

// So does one whose policy a guest has, which takes longer to compile.
func TestLongHintOfVLANs(t *testing.T) {
	testlong.Need(t)
	hintOfVLANs(t, "guest", func(*Function) {})
}

func hintOfVLANs(t *testing.T, name string, change func(*Function)) {
	const tagged = "serial: 1\nchain:\n  - header: {rules: [{name: guests, match: {vlan_vid: 20}, action: deny}]}\n  - forward: {mode: normal}\n"
	var list []Function
	for name, policy := range map[string]string{name: tagged, "indifferent": policyOf(1)} {
		list = append(list, fn(name, func(f *Function) { f.Path, f.Policy = "/"+name, writeFile(t, "policy.yaml", []byte(policy)); change(f) }))
	}
	r := serve(t, base(list...))
	const packets = 1000 // from then on there is a hint
	frame := frames.TCP(frames.Host(1).At(1024), frames.Host(2).At(80), frames.SYN, nil)
	ev := &flow.Event{Type: flow.EventPacketIn, ID: "e", Session: "s", Switch: &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, Data: frame, TotalLen: len(frame), Match: flow.ParseFrame(frame, 1)}}
	body, err := openflow.Codec{}.AppendEvent(nil, ev)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{name: 1, "indifferent": 0} {
		for end := time.Now().Add(3 * time.Minute); r.do(policyCheck(t, r.base+"/"+name)).status != 200; { // a guest is compiled, under the race detector for a minute
			if time.Now().After(end) {
				t.Fatalf("%s does not answer", name)
			}
		}
		for range packets + 10 {
			q := event(t, r.base+"/"+name, string(body))
			contract.PutEvent(q.Header, ev)
			if a := r.do(q); a.status != 200 {
				t.Fatalf("%s: %d %s", name, a.status, a.body)
			}
		}
		n := 0
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "the policy looks at VLANs") && strings.Contains(line, "function="+name) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d hints of function %s, want %d:\n%s", n, name, want, r.log)
		}
	}
}

// Who opens connections and says nothing takes his share of both listeners, and others are answered.
func TestListenersAreBounded(t *testing.T) {
	r := serve(t, base(guestOf(t, "a", "text")))
	admin := "http://" + r.AdminAddr().String()
	from := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	for _, row := range []struct {
		server, address string
		share           int
	}{{"functions", r.Addr().String(), 1024}, {"admin", r.AdminAddr().String(), 128}} {
		for range row.share + 20 {
			conn, err := net.Dial("tcp", row.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			resp, err := from.Get(admin + "/metrics")
			if err != nil {
				t.Fatalf("another address is locked out: %v", err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(b), fmt.Sprintf("switchbridge_http_refused_total{cause=\"too_many_from_address\",server=%q} 20\n", row.server)) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: 20 connections beyond an address's share are not counted", row.server)
			}
		}
	}
	q := policyCheck(t, r.base+"/")
	resp, err := from.Do(q)
	if err != nil {
		t.Fatalf("a function answers nobody else: %v", err)
	}
	resp.Body.Close()
}
