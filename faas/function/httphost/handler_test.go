package httphost_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
)

const event = `{"switch":{"dpid":"00000000000000aa","protocol":"OpenFlow 1.3","ports":[]},
	"packet_in":{"in_port":1,"match":{"in_port":1,"eth_type":2048,"ipv4_src":"10.0.0.1"}}}`

// allow decides as a policy would, and checks that the event has come through.
var allow = flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.Switch.DPID != 0xaa || ev.PacketIn.Match.InPort != 1 {
		return flow.Errorf(flow.Refused, "event has not come through: %+v", ev)
	}
	d.Rules = append(d.Rules, flow.Rule{Priority: 100, Match: ev.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}})
	d.Verdict, d.Reason, d.Policy = flow.Allow, "test: all\n", flow.PolicyVersion{Serial: 7, Hash: 0xabcd}
	return nil
})

func fails(kind flow.ErrorKind) flow.Decider {
	return flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error {
		return flow.Errorf(kind, "because of the test")
	})
}

func newHandler(t *testing.T, cfg httphost.Config) *httphost.Handler {
	t.Helper()
	if cfg.Decider == nil {
		cfg.Decider = allow
	}
	cfg.Codecs = []contract.Codec{jsonenc.Codec{}}
	h, err := httphost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRequest(body string) *http.Request {
	r := httptest.NewRequest("POST", "/decide", strings.NewReader(body))
	ev := flow.Event{Type: flow.EventPacketIn, ID: "e-1", Session: "s-1", Time: time.Unix(1, 0), Switch: &flow.Switch{DPID: 0xaa}}
	contract.PutEvent(r.Header, &ev)
	r.Header.Set("Content-Type", contract.TypeJSON)
	return r
}

func TestDecision(t *testing.T) {
	var records bytes.Buffer
	h := newHandler(t, httphost.Config{Records: record.NewWriter(&records)})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(event))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Content-Type":         contract.TypeJSON,
		contract.HeaderPolicy:  "7-0000abcd",
		contract.HeaderVerdict: "allow",
		contract.HeaderReason:  "test: all?",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var d flow.Decision
	if err := (jsonenc.Codec{}).ParseDecision(w.Body.Bytes(), &flow.Event{}, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Rules) != 1 || d.Rules[0].Actions[0].Port != flow.PortNormal {
		t.Errorf("decision %+v", d)
	}

	rec := readRecord(t, records.Bytes())
	delete(rec, "time")
	if d, ok := rec["duration_us"].(float64); !ok || d <= 0 {
		t.Errorf("duration %v", rec["duration_us"])
	}
	delete(rec, "duration_us")
	if want := map[string]any{"event": "switchbridge.packet_in.v1", "dpid": "00000000000000aa", "id": "e-1", "session": "s-1",
		"match": "in_port=1,eth_type=0x0800,ip_src=10.0.0.1", "status": 200.0, "verdict": "allow", "reason": "test: all?", "policy": "7-0000abcd"}; !maps.Equal(rec, want) {
		t.Errorf("record %v\nwant   %v", rec, want)
	}
}

func readRecord(t *testing.T, line []byte) (rec map[string]any) {
	t.Helper()
	if err := json.Unmarshal(line, &rec); err != nil {
		t.Fatalf("record %q: %v", line, err)
	}
	return rec
}

// gone is a caller that hangs up before it is answered.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error) { return 0, errors.New("connection reset") }

// A decision that didn't reach the caller was made all the same.
func TestRecordOfACallerWhoLeft(t *testing.T) {
	answer := guestFunc(func(_ *guest.Request, a *guest.Answer) error {
		a.Status, a.Verdict, a.Reason, a.Body = 200, "allow", "test: all", append(a.Body, "{}"...)
		return nil
	})
	for name, cfg := range map[string]httphost.Config{
		"decided here": {Decider: allow, Codecs: []contract.Codec{jsonenc.Codec{}}},
		"by the guest": {Guest: answer, Direct: []guest.Encoding{guest.EncodingJSON}},
	} {
		var records bytes.Buffer
		cfg.Records = record.NewWriter(&records)
		h, err := httphost.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.ServeHTTP(gone{httptest.NewRecorder()}, newRequest(event))
		rec := readRecord(t, records.Bytes())
		if why, _ := rec["error"].(string); rec["status"] != 200.0 || rec["verdict"] != "allow" || !strings.Contains(why, "connection reset") {
			t.Errorf("%s: record %v", name, rec)
		}
	}
}

// A log that fails changes no answer.
func TestFailingRecords(t *testing.T) {
	records := record.NewWriter(gone{})
	w := httptest.NewRecorder()
	newHandler(t, httphost.Config{Records: records}).ServeHTTP(w, newRequest(event))
	if w.Code != 200 || w.Header().Get(contract.HeaderVerdict) != "allow" || records.Failed() != 1 {
		t.Errorf("status %d, %d records failed", w.Code, records.Failed())
	}
}

func TestRefusals(t *testing.T) {
	large := `{"packet_in":{"data":"` + strings.Repeat("A", flow.MaxBody) + `"}}`
	for _, row := range []struct {
		name    string
		cfg     httphost.Config
		change  func(*http.Request)
		body    string
		status  int
		explain string
	}{
		{"method", httphost.Config{}, func(r *http.Request) { r.Method = "GET" }, event, 405, "an event is a POST"},
		{"content type", httphost.Config{}, func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, event, 415, "text/html"},
		{"no content type", httphost.Config{}, func(r *http.Request) { r.Header.Del("Content-Type") }, event, 415, "want application/json"},
		{"compressed", httphost.Config{}, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, event, 415, "gzip"},
		{"large", httphost.Config{}, nil, large, 413, "more than"},
		{"large and chunked", httphost.Config{}, func(r *http.Request) { r.ContentLength = -1 }, large, 413, "more than"},
		{"no type", httphost.Config{}, func(r *http.Request) { r.Header.Del("Ce-Type") }, event, 400, "ce-type"},
		{"bad source", httphost.Config{}, func(r *http.Request) { r.Header.Set("Ce-Source", "/switches/xyz") }, event, 400, "ce-source"},
		{"other switch", httphost.Config{}, func(r *http.Request) { r.Header.Set("Ce-Source", "/switches/01") }, event, 400, "switch.dpid"},
		{"bad state", httphost.Config{}, func(r *http.Request) { r.Header.Set("Switchbridge-State", "#") }, event, 400, "Switchbridge-State"},
		{"bad body", httphost.Config{}, nil, `{"packet_in":{"match":{"tcp_dst":-1}}}`, 400, "packet_in.match.tcp_dst"},
		{"empty body", httphost.Config{}, nil, "", 400, "packet_in"},
		{"refused", httphost.Config{Decider: fails(flow.Refused)}, nil, event, 422, "because of the test"},
		{"unavailable", httphost.Config{Decider: fails(flow.Unavailable)}, nil, event, 503, "because of the test"},
		{"overload", httphost.Config{Decider: fails(flow.Overload)}, nil, event, 429, "because of the test"},
		{"invalid", httphost.Config{Decider: fails(flow.Invalid)}, nil, event, 500, "because of the test"},
		{"panic", httphost.Config{Decider: flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { panic("oops") })}, nil, event, 500, "controller failed"},
		{"not expressible", httphost.Config{Decider: flow.DeciderFunc(func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
			d.Rules = append(d.Rules, flow.Rule{Actions: []flow.Action{{Type: flow.Unsupported, ID: 99}}})
			return nil
		})}, nil, event, 500, "flows[0]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var records bytes.Buffer
			row.cfg.Records = record.NewWriter(&records)
			r := newRequest(row.body)
			if row.change != nil {
				row.change(r)
			}
			w := httptest.NewRecorder()
			newHandler(t, row.cfg).ServeHTTP(w, r)
			if w.Code != row.status || !strings.Contains(w.Body.String(), row.explain) {
				t.Errorf("status %d %q, want %d with %q", w.Code, w.Body, row.status, row.explain)
			}
			rec := readRecord(t, records.Bytes())
			if why, _ := rec["error"].(string); rec["status"] != float64(row.status) || rec["verdict"] != nil || !strings.Contains(why, row.explain) {
				t.Errorf("record %v, want status %d and the error", rec, row.status)
			}
		})
	}
}

func TestParameterOfContentType(t *testing.T) {
	r := newRequest(event)
	r.Header.Set("Content-Type", "Application/JSON; charset=utf-8")
	w := httptest.NewRecorder()
	newHandler(t, httphost.Config{}).ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := newHandler(t, httphost.Config{MaxConcurrent: 2, Decider: flow.DeciderFunc(
			func(context.Context, *flow.Event, *flow.Decision) error { <-release; return nil })})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, newRequest(event)); w.Code != 200 {
					t.Errorf("status %d of an event within the limit", w.Code)
				}
			})
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(event))
		if w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q beyond the limit", w.Code, w.Header().Get("Retry-After"))
		}
		close(release)
		wg.Wait()
		w = httptest.NewRecorder()
		if h.ServeHTTP(w, newRequest(event)); w.Code != 200 {
			t.Errorf("status %d after the others are done", w.Code)
		}
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, httphost.Config{Timeout: time.Second, Decider: flow.DeciderFunc(
			func(ctx context.Context, _ *flow.Event, _ *flow.Decision) error { <-ctx.Done(); return ctx.Err() })})
		start := time.Now()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(event))
		if w.Code != 503 || time.Since(start) != time.Second {
			t.Errorf("status %d after %v, want 503 after 1s", w.Code, time.Since(start))
		}
	})
}

// TestMemoryIsNotShared asks many events at a time through the memory that is
// kept between them; with -race it also shows that nothing is used twice.
func TestMemoryIsNotShared(t *testing.T) {
	h := newHandler(t, httphost.Config{Decider: flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		d.Reason = ev.ID
		d.State = append(d.State, ev.State...)
		return nil
	})})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				id := string(rune('a' + i))
				state := base64.StdEncoding.EncodeToString([]byte(id))
				r := newRequest(`{"packet_in":{},"state":"` + state + `"}`)
				r.Header.Set("Ce-Id", id)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if got := w.Header().Get(contract.HeaderReason); got != id || !strings.Contains(w.Body.String(), state) {
					t.Errorf("event %s was answered with %q %s", id, got, w.Body)
				}
			}
		})
	}
	wg.Wait()
}

func TestServer(t *testing.T) {
	s := httphost.NewServer(newHandler(t, httphost.Config{}), nil)
	if s.ReadTimeout == 0 || s.ReadHeaderTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 {
		t.Errorf("server without a timeout: %+v", s)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s
	ts.Start()
	defer ts.Close()
	r := newRequest(event)
	req, _ := http.NewRequest("POST", ts.URL, r.Body)
	req.Header = r.Header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || err != nil {
		t.Errorf("status %d %s: %v", resp.StatusCode, body, err)
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := httphost.New(httphost.Config{Codecs: []contract.Codec{jsonenc.Codec{}}}); err == nil {
		t.Error("no decider, no error")
	}
	if _, err := httphost.New(httphost.Config{Decider: allow}); err == nil {
		t.Error("no codec, no error")
	}
}

// FuzzServeHTTP shows that no request makes the handler panic, and that each
// answer is one of the contract's.
func FuzzServeHTTP(f *testing.F) {
	f.Add("POST", contract.TypeJSON, flow.EventPacketIn.String(), "/switches/aa", "", []byte(event))
	f.Add("POST", contract.TypeJSON, flow.EventPolicyCheck.String(), "/gateway", "AAAA", []byte(""))
	f.Add("GET", "", "", "", "", []byte(nil))
	h, err := httphost.New(httphost.Config{Codecs: []contract.Codec{jsonenc.Codec{}}, Decider: flow.DeciderFunc(
		func(_ context.Context, ev *flow.Event, _ *flow.Decision) error {
			if ev.Type == flow.EventPacketIn && ev.PacketIn == nil {
				return errors.New("packet_in without a packet")
			}
			return nil
		})})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, contentType, eventType, source, state string, body []byte) {
		r := &http.Request{Method: method, URL: newRequest("").URL, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Ce-Specversion", "1.0")
		r.Header.Set("Ce-Id", "1")
		r.Header.Set("Ce-Type", eventType)
		r.Header.Set("Ce-Source", source)
		r.Header.Set("Switchbridge-State", state)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 405, 413, 415:
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
