package httphost_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
)

// guestFunc is a guest that is a function.
type guestFunc func(*guest.Request, *guest.Answer) error

func (f guestFunc) Answer(_ context.Context, r *guest.Request, a *guest.Answer) error {
	*a = guest.Answer{State: a.State[:0], Body: a.Body[:0]}
	return f(r, a)
}

// TestGuest has a body go to a guest as it came, and the answer come back as it is.
func TestGuest(t *testing.T) {
	for _, row := range []struct {
		name   string
		guest  guestFunc
		status int
		body   string
	}{
		{"an answer", func(r *guest.Request, a *guest.Answer) error {
			a.Status, a.Encoding, a.Policy, a.Verdict, a.Reason = 200, r.Encoding, "7-0000abcd", "allow", "because"
			a.Body = append(append(a.Body, "got "...), r.Body...)
			return nil
		}, 200, "got {"},
		{"a refusal", func(_ *guest.Request, a *guest.Answer) error { a.Status, a.Reason = 410, "never again"; return nil }, 410, "never again\n"},
		{"busy", func(_ *guest.Request, a *guest.Answer) error { a.Status, a.Reason = 429, "later"; return nil }, 429, "later\n"},
		{"none", func(*guest.Request, *guest.Answer) error { return errors.New("it trapped") }, 502, "it trapped\n"},
		{"no time", func(*guest.Request, *guest.Answer) error { return context.DeadlineExceeded }, 504, "context deadline exceeded\n"},
		{"too large", func(_ *guest.Request, a *guest.Answer) error {
			a.Status, a.Body = 200, make([]byte, flow.MaxBody+1)
			return nil
		}, 502, "the guest answered with a body of 1048577 bytes and a state of 0, the limits are 1048576 and 4096\n"},
	} {
		var records bytes.Buffer
		h, err := httphost.New(httphost.Config{Name: "f", Guest: row.guest, Direct: []guest.Encoding{guest.EncodingJSON}, Records: record.NewWriter(&records)})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest("{"))
		if w.Code != row.status || w.Body.String() != row.body {
			t.Errorf("%s: %d %q, want %d %q", row.name, w.Code, w.Body, row.status, row.body)
		}
		if row.status == 200 && (w.Header().Get(contract.HeaderPolicy) != "7-0000abcd" || w.Header().Get(contract.HeaderReason) != "because") {
			t.Errorf("%s: %v", row.name, w.Header())
		}
		if (row.status == 429) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", row.name, w.Header().Get("Retry-After"))
		}
		rec := readRecord(t, records.Bytes())
		if rec["function"] != "f" || rec["status"] != float64(row.status) || rec["id"] != "e-1" || rec["dpid"] != "00000000000000aa" {
			t.Errorf("%s: record %v", row.name, rec)
		}
		if why, _ := rec["error"].(string); row.status != 200 && why != strings.TrimSpace(row.body) || row.status == 200 && (why != "" || rec["reason"] != "because") {
			t.Errorf("%s: record %v", row.name, rec)
		}
	}
}

// Whoever decides, a gateway that keeps the event's trace is told what the function did, and no other gateway.
func TestServerTiming(t *testing.T) {
	g := guestFunc(func(r *guest.Request, a *guest.Answer) error { a.Status, a.Encoding = 200, r.Encoding; return nil })
	for name, cfg := range map[string]httphost.Config{
		"a guest":   {Guest: g, Direct: []guest.Encoding{guest.EncodingJSON}},
		"a decider": {Decider: allow, Codecs: []contract.Codec{jsonenc.Codec{}}},
	} {
		h, err := httphost.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for flags, want := range map[string]string{"01": "body decide", "00": ""} {
			w, r := httptest.NewRecorder(), newRequest(`{"switch": {"dpid": "00000000000000aa"}, "packet_in": {"in_port": 1, "match": {"in_port": 1}}}`)
			r.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-"+flags)
			h.ServeHTTP(w, r)
			var parts []string
			for _, p := range contract.ParseTimings(w.Header().Values(contract.HeaderTiming), time.Hour) {
				parts = append(parts, p.Name)
			}
			if got := strings.Join(parts, " "); w.Code != 200 || got != want {
				t.Errorf("%s, flags %s: status %d %s, parts %q, want %q", name, flags, w.Code, w.Body, got, want)
			}
		}
	}
}

func TestGuestConfig(t *testing.T) {
	g := guestFunc(func(*guest.Request, *guest.Answer) error { return nil })
	for name, cfg := range map[string]httphost.Config{
		"no encodings":      {Guest: g},
		"no guest":          {Direct: []guest.Encoding{guest.EncodingJSON}, Decider: allow, Codecs: []contract.Codec{jsonenc.Codec{}}},
		"no codecs":         {Decider: allow},
		"a strange one":     {Guest: g, Direct: []guest.Encoding{9}},
		"codecs on its own": {Guest: g, Direct: []guest.Encoding{guest.EncodingJSON}, Codecs: []contract.Codec{jsonenc.Codec{}}},
	} {
		if _, err := httphost.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
