package httpclient

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/certs/certstest"
)

func write(t testing.TB, name string, content []byte) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writePair writes a certificate and its key.
func writePair(t testing.TB, c tls.Certificate) (cert, key string) {
	certPEM, keyPEM := certstest.Pair(t, c)
	return write(t, "cert.pem", certPEM), write(t, "key.pem", keyPEM)
}

// server is a function behind TLS whose certificate ca has issued.
func server(t testing.TB, ca *certstest.Authority, until time.Time, f http.HandlerFunc, change func(*httptest.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(readFirst(f))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "function", until)}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// patience is for machines that are busy with other tests.
const patience = 20 * time.Second

func TestFaults(t *testing.T) {
	ca := certstest.New(t)
	caFile := ca.File(t)
	soon := time.Now().Add(time.Hour)
	bomb := gzipped(t, 8<<20)
	typed := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			io.WriteString(w, body)
		}
	}
	for _, row := range []struct {
		name    string
		f       http.HandlerFunc
		kind    flow.ErrorKind
		explain []string
	}{
		{"slow", eventsOnly(sleep(time.Minute)), flow.Unavailable, []string{"deadline exceeded"}},
		{"slow body", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), flow.Unavailable, []string{"reading the answer", "deadline exceeded"}},
		{"500", status(500), flow.Unavailable, []string{"500 Internal Server Error", "told so"}},
		{"404", status(404), flow.Refused, []string{"404 Not Found", "told so"}},
		{"307", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/", http.StatusTemporaryRedirect)
		}, flow.Invalid,
			[]string{"307", "https://elsewhere.test/"}},
		{"HTML", typed("text/html; charset=utf-8", "<html>welcome to the hotel</html>"), flow.Invalid, []string{"text/html", "want application/json"}},
		{"no content type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "{}")
		},
			flow.Invalid, []string{`content type ""`}},
		{"garbage", typed(contract.TypeJSON, "\x00\xff garbage"), flow.Invalid, []string{"answer", "invalid character"}},
		{"empty", typed(contract.TypeJSON, ""), flow.Invalid, []string{"empty body"}},
		{"unknown member", typed(contract.TypeJSON, `{"flows":[{},{"match":{"ipv4_srcc":"10.0.0.1"}}]}`), flow.Invalid,
			[]string{"flows[1].match.ipv4_srcc: unknown field"}},
		{"other switch", typed(contract.TypeJSON, `{"flows":[{"dpid":7}]}`), flow.Invalid, []string{"flows[0].dpid"}},
		{"endless", eventsOnly(endless), flow.Invalid, []string{"more than 1048576 bytes"}},
		{"declared too long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			w.Header().Set("Content-Length", "1048577")
			w.Write(make([]byte, 1048577))
		}, flow.Invalid, []string{"more than 1048576 bytes"}},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb)
		}, flow.Invalid, []string{`content encoding "gzip"`}},
		{"bad policy version", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(contract.HeaderPolicy, "yesterday")
			w.Header().Set("Content-Type", contract.TypeJSON)
			io.WriteString(w, "{}")
		}, flow.Invalid, []string{contract.HeaderPolicy}},
		{"endless headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
			answerWith(w, "{}")
		}, flow.Unavailable, nil},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{}")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, flow.Unavailable, []string{"reading the answer"}},
	} {
		for _, http2 := range []bool{false, true} {
			name := row.name + " over HTTP/1.1"
			if http2 {
				name = row.name + " over HTTP/2"
			}
			t.Run(name, func(t *testing.T) {
				s := server(t, ca, soon, row.f, nil)
				cfg := Config{Endpoints: []string{s.URL}, CAFile: caFile, HTTP2: http2, MaxTries: 1, Connections: 1, TryTimeout: patience, Timeout: patience}
				if strings.HasPrefix(row.name, "slow") {
					cfg.TryTimeout = 300 * time.Millisecond
				}
				c := newClient(t, cfg)
				for range int(patience / time.Millisecond) { // so that only the event's own time is short
					if c.Ready() == nil || !strings.HasPrefix(row.name, "slow") {
						break
					}
					time.Sleep(time.Millisecond)
				}
				mustFail(t, c, row.kind, append(row.explain, s.URL)...)
			})
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contract.TypeJSON)
	spaces := bytes.Repeat([]byte(" "), 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(spaces); err != nil {
			return
		}
	}
}

func gzipped(t *testing.T, size int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.CopyN(z, zeros{}, int64(size)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestTLSFaults(t *testing.T) {
	ca := certstest.New(t)
	for _, row := range []struct {
		name    string
		until   time.Time
		ca      string
		explain string
	}{
		{"expired", time.Now().Add(-time.Minute), ca.File(t), "expired"},
		{"unknown authority", time.Now().Add(time.Hour), certstest.New(t).File(t), "unknown authority"},
		{"not of the system's", time.Now().Add(time.Hour), "", "certificate"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := server(t, ca, row.until, good, nil)
			c := newClient(t, Config{Endpoints: []string{s.URL}, CAFile: row.ca, MaxTries: 1, TryTimeout: patience, Timeout: patience})
			mustFail(t, c, flow.Unavailable, "no connection", row.explain, s.URL)
		})
	}
}

func TestDownAndGarbage(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String() + "/decide"
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, "SSH-2.0-OpenSSH_9.2p1\r\n")
			}()
		}
	}()
	c := newClient(t, Config{Endpoints: []string{url}, MaxTries: 1})
	mustFail(t, c, flow.Unavailable, "malformed HTTP response", url)
	ln.Close()
	mustFail(t, newClient(t, Config{Endpoints: []string{url}, MaxTries: 1}), flow.Unavailable, "connection refused", url)
}

// TestNoPacketOut: rules of which none covers the packet are a decision, and
// the packet is dropped.
func TestNoPacketOut(t *testing.T) {
	ca := certstest.New(t)
	s := server(t, ca, time.Now().Add(time.Hour), func(w http.ResponseWriter, r *http.Request) {
		answerWith(w, `{"flows":[{"match":{"in_port":9},"actions":[{"type":"OUTPUT","port":2}]}]}`)
	}, nil)
	c := newClient(t, Config{Endpoints: []string{s.URL}, CAFile: ca.File(t)})
	ev := packetIn()
	var d flow.Decision
	if err := c.Decide(t.Context(), ev, &d); err != nil {
		t.Fatal(err)
	}
	if actions, rule := d.PacketActions(&ev.PacketIn.Match); len(d.Rules) != 1 || rule != -1 || len(actions) != 0 {
		t.Errorf("packet gets %v of rule %d, want a drop", actions, rule)
	}
}

// TestAnotherXID: an answer in OpenFlow that is to another event is invalid.
func TestAnotherXID(t *testing.T) {
	ca := certstest.New(t)
	for _, xid := range []uint32{42, 43} {
		other := packetIn()
		other.XID = xid
		body, err := openflow.Codec{}.AppendDecision(nil, other, &flow.Decision{Rules: []flow.Rule{{BufferID: flow.NoBuffer,
			Match: other.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(2)}}}})
		if err != nil {
			t.Fatal(err)
		}
		s := server(t, ca, time.Now().Add(time.Hour), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contract.TypeOpenFlow)
			w.Write(body)
		}, nil)
		c := newClient(t, Config{Endpoints: []string{s.URL}, CAFile: ca.File(t), Codec: openflow.Codec{}})
		if xid != packetIn().XID {
			mustFail(t, c, flow.Invalid, "xid 0x0000002b", s.URL)
			continue
		}
		var d flow.Decision
		if err := c.Decide(t.Context(), packetIn(), &d); err != nil || len(d.Rules) != 1 {
			t.Errorf("the event's own xid: %v, %d rules", err, len(d.Rules))
		}
	}
}

func TestRequest(t *testing.T) {
	ca := certstest.New(t)
	for _, http2 := range []bool{false, true} {
		got := make(chan *http.Request, 1)
		bodies := make(chan []byte, 1)
		s := server(t, ca, time.Now().Add(time.Hour), eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- r
			bodies <- body
			good(w, r)
		}), nil)
		c := newClient(t, Config{Endpoints: []string{s.URL + "/decide?code=secret"}, CAFile: ca.File(t), HTTP2: http2,
			TokenFile: write(t, "token", []byte("t0ken\n"))})
		mustDecide(t, c)
		r := <-got
		for name, want := range map[string]string{
			"Content-Type": contract.TypeJSON, "Authorization": "Bearer t0ken", "Ce-Id": "event-1", "Ce-Specversion": "1.0",
			"Ce-Source": "/switches/00000000000000aa", "Ce-Subject": "session-1", "Ce-Type": "switchbridge.packet_in.v1",
			"Ce-Time": "1970-01-01T00:00:01Z", "Accept-Encoding": "",
		} {
			if v := r.Header.Get(name); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
		if r.Method != "POST" || r.RequestURI != "/decide?code=secret" || r.ProtoMajor == 2 != http2 {
			t.Errorf("%s %s %s", r.Method, r.RequestURI, r.Proto)
		}
		var ev flow.Event
		ev.Type = flow.EventPacketIn
		if err := (jsonenc.Codec{}).ParseEvent(<-bodies, &ev); err != nil || ev.PacketIn.Match != packetIn().PacketIn.Match {
			t.Errorf("body: %v, event %+v", err, ev)
		}
		if strings.Contains(c.String(), "secret") {
			t.Errorf("%s shows the query", c)
		}
	}
}

// TestGrowth: every request says what is accepted and what its packet lacks, and
// the answer what its rules cover of that. That states travel says who keeps them.
func TestGrowth(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		n := newNetwork(t)
		n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var ev flow.Event
			err := contract.GetEvent(r.Header, &ev)
			if err == nil {
				err = codec.ParseEvent(body, &ev)
			}
			if err == nil {
				err = contract.GetMembers(r.Header, codec.ContentType(), &ev)
			}
			if err != nil || ev.Accepts != flow.AcceptsAll&^flow.AcceptsTravel || ev.PacketIn.Incomplete != flow.FieldL4Dst {
				t.Errorf("%s: %v, accepts %b, incomplete %v", codec.ContentType(), err, ev.Accepts, ev.PacketIn.Incomplete)
			}
			d := flow.Decision{Rules: []flow.Rule{{BufferID: flow.NoBuffer, CoversIncomplete: true}}}
			answer, err := codec.AppendDecision(nil, &ev, &d)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", codec.ContentType())
			contract.PutDecision(w.Header(), codec.ContentType(), &ev, &d)
			w.Write(answer)
		}))
		c := newClient(t, Config{Endpoints: []string{"http://fn/"}, Codec: codec, dial: n.dial})
		ev := packetIn()
		ev.XID = 1
		ev.PacketIn.Incomplete = flow.FieldL4Dst
		var d flow.Decision
		if err := c.Decide(t.Context(), ev, &d); err != nil || len(d.Rules) != 1 || !d.Rules[0].CoversIncomplete {
			t.Errorf("%s: %v, %+v", codec.ContentType(), err, d.Rules)
		}
		if ev.Accepts != 0 {
			t.Error("the client changes its caller's event")
		}
	}
}

func TestEventsWithoutIDGetOne(t *testing.T) {
	n := newNetwork(t)
	ids := make(chan string, 2)
	n.serve("fn", eventsOnly(func(w http.ResponseWriter, r *http.Request) { ids <- r.Header.Get("Ce-Id"); good(w, r) }))
	c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial})
	for range 2 {
		ev := packetIn()
		ev.ID = ""
		if err := c.Decide(t.Context(), ev, new(flow.Decision)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := <-ids, <-ids; a == "" || a == b {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestClientCertificate(t *testing.T) {
	ca := certstest.New(t)
	s := server(t, ca, time.Now().Add(time.Hour), good, func(s *httptest.Server) {
		s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		s.TLS.ClientCAs = ca.Pool()
	})
	mustFail(t, newClient(t, Config{Endpoints: []string{s.URL}, CAFile: ca.File(t), MaxTries: 1}), flow.Unavailable, s.URL)
	cert, key := writePair(t, ca.Issue(t, "function", time.Now().Add(time.Hour)))
	mustDecide(t, newClient(t, Config{Endpoints: []string{s.URL}, CAFile: ca.File(t), CertFile: cert, KeyFile: key}))
}

// TestRenewalReadsFilesAgain gives the function a certificate of another
// authority while the client runs.
func TestRenewalReadsFilesAgain(t *testing.T) {
	first, second := certstest.New(t), certstest.New(t)
	caFile := first.File(t)
	var current atomic.Pointer[tls.Certificate]
	use := func(a *certstest.Authority) {
		cert := a.Issue(t, "function", time.Now().Add(time.Hour))
		current.Store(&cert)
	}
	use(first)
	s := server(t, first, time.Now().Add(time.Hour), good, func(s *httptest.Server) {
		s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{*current.Load()}}, nil
		}
	})
	c := newClient(t, Config{Endpoints: []string{s.URL}, CAFile: caFile, MaxTries: 1, TryTimeout: patience, Timeout: patience})
	mustDecide(t, c)
	e := c.endpoints[0]

	if err := os.WriteFile(caFile, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := e.gen.Load()
	e.renew(t.Context())
	if e.gen.Load() != old {
		t.Error("connections were renewed with a file that has no certificate")
	}
	mustDecide(t, c)

	pem, err := os.ReadFile(second.File(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(caFile, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	use(second)
	if _, err := e.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustDecide(t, c)
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "4294967295": maxRetryAfter, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0, "Fri, 02 Jan 2099 03:04:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestUnixSocketAndCleartextHTTP2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fn.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var major atomic.Int32
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(contract.HeaderType) == flow.EventPacketIn.String() { // not what a client asks while it dials ahead
			major.Store(int32(r.ProtoMajor))
		}
		good(w, r)
	})}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(ln)
	defer s.Close()
	for _, http2 := range []bool{false, true} {
		// A token may be sent here: nobody else can read it.
		c := newClient(t, Config{Endpoints: []string{"unix://" + path}, HTTP2: http2, TokenFile: write(t, "token", []byte("t"))})
		mustDecide(t, c)
		if want := map[bool]int32{false: 1, true: 2}[http2]; major.Load() != want {
			t.Errorf("HTTP/%d, want HTTP/%d", major.Load(), want)
		}
	}
}

func TestTokenIsReadAgain(t *testing.T) {
	path := write(t, "token", []byte("first"))
	token, err := openToken(path, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		_, _ = token.Look(t.Context(), false)
		if got := token.authorization(); len(got) != 1 || got[0] != want {
			t.Errorf("header %q, want %q", got, want)
		}
	}
	expect("Bearer first")
	if err := os.WriteFile(path, []byte("second one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("Bearer first") // a space can't stand in it: the old one stays
	if err := os.WriteFile(path, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("Bearer second")
	os.Remove(path)
	expect("Bearer second")
	fresh := write(t, "token", []byte("third"))
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
	expect("Bearer third")
}

func TestProxyIsIgnoredUnlessEnabled(t *testing.T) {
	for _, use := range []bool{false, true} {
		tr, err := newTransport(&Config{UseProxy: use}, &target{url: &url.URL{Scheme: "http", Host: "fn"}})
		if err != nil {
			t.Fatal(err)
		}
		if (tr.Proxy != nil) != use {
			t.Errorf("UseProxy %v: proxy function set: %v", use, tr.Proxy != nil)
		}
	}
}

func TestBadConfig(t *testing.T) {
	token := write(t, "token", []byte("secret"))
	empty := write(t, "empty", nil)
	for _, row := range []struct {
		name    string
		cfg     Config
		explain string
	}{
		{"no endpoint", Config{}, "no endpoint"},
		{"no host", Config{Endpoints: []string{"https:///path"}}, "want https://"},
		{"scheme", Config{Endpoints: []string{"ftp://host/"}}, "want https://"},
		{"relative socket", Config{Endpoints: []string{"unix:run/x.sock"}}, `"unix:run/x.sock": want https://`},
		{"fragment", Config{Endpoints: []string{"https://host/#x"}}, "want https://"},
		{"password", Config{Endpoints: []string{"https://me:pw@host/"}}, "token file"},
		{"second endpoint", Config{Endpoints: []string{"https://host/", "::"}}, "endpoint"},
		{"too many", Config{Endpoints: make([]string, maxEndpoints+1)}, "at most"},
		{"query of a URL that can't be read", Config{Endpoints: []string{"https://host/%zz?code=secret"}}, "\"https://host/%zz\": invalid URL escape"},
		{"token in clear to a relay", Config{Endpoints: []string{"http://127.0.0.1/"}, Via: "10.0.0.1:80", TokenFile: token}, "unencrypted"},
		{"token in clear", Config{Endpoints: []string{"http://10.0.0.1/"}, TokenFile: token}, "unencrypted"},
		{"token missing", Config{Endpoints: []string{"https://host/"}, TokenFile: token + "x"}, "token"},
		{"token empty", Config{Endpoints: []string{"https://host/"}, TokenFile: empty}, "is empty"},
		{"authority missing", Config{Endpoints: []string{"https://host/"}, CAFile: token + "x"}, "certificate authority"},
		{"authority empty", Config{Endpoints: []string{"https://host/"}, CAFile: empty}, "no PEM"},
		{"certificate without key", Config{Endpoints: []string{"https://host/"}, CertFile: token}, "needs both"},
		{"certificate bad", Config{Endpoints: []string{"https://host/"}, CertFile: token, KeyFile: token}, "client certificate"},
		{"hedge", Config{Endpoints: []string{"https://host/"}, HedgeAfter: -2}, "hedge"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.Codec = jsonenc.Codec{}
			c, err := New(row.cfg)
			if err == nil {
				c.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), row.explain) || strings.Contains(err.Error(), "pw@") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q, want one that says %q", err, row.explain)
			}
		})
	}
	if _, err := New(Config{Endpoints: []string{"https://host/"}}); err == nil {
		t.Error("no codec, no error")
	}
}

func TestEventThatCantBeWritten(t *testing.T) {
	n := newNetwork(t)
	n.serve("fn", good)
	c := newClient(t, Config{Endpoints: []string{"http://fn/"}, dial: n.dial})
	ev := packetIn()
	ev.PacketIn = nil
	if err := c.Decide(t.Context(), ev, new(flow.Decision)); flow.KindOf(err) != flow.Invalid || err == nil {
		t.Errorf("error %v, want an invalid one", err)
	}
	ev = packetIn()
	ev.PacketIn.Data = make([]byte, flow.MaxBody)
	if err := c.Decide(t.Context(), ev, new(flow.Decision)); flow.KindOf(err) != flow.Invalid || err == nil {
		t.Errorf("error %v, want an invalid one", err)
	}
}

// TestManyAtATime shows with -race that events share no memory.
func TestManyAtATime(t *testing.T) {
	ca := certstest.New(t)
	for _, cfg := range []Config{{}, {HTTP2: true}, {HedgeAfter: time.Microsecond, HedgeBudget: 1}} {
		s := server(t, ca, time.Now().Add(time.Hour), func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			ev := flow.Event{Type: flow.EventPacketIn}
			if (jsonenc.Codec{}).ParseEvent(body, &ev) != nil || ev.Switch == nil {
				answerWith(w, "{}")
				return
			}
			answerWith(w, `{"reason":"`+ev.Switch.DPID.String()+r.Header.Get("Ce-Id")+`"}`)
		}, nil)
		cfg.Endpoints, cfg.CAFile = []string{s.URL}, ca.File(t)
		c := newClient(t, cfg)
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				var d flow.Decision
				for range 10 {
					ev := packetIn()
					ev.Switch.DPID = flow.DPID(i)
					ev.ID = string(rune('a' + i))
					d.Reset()
					if err := c.Decide(context.Background(), ev, &d); err != nil {
						t.Error(err)
					} else if want := ev.Switch.DPID.String() + ev.ID; d.Reason != want {
						t.Errorf("answer is of %s, want %s", d.Reason, want)
					}
				}
			}()
		}
		for range 8 {
			<-done
		}
	}
}
