package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
)

// Refusals asks what every host refuses, in the same words whatever it is made of, and what its
// answers don't say. The host speaks both encodings.
func Refusals(t *testing.T, exchange Exchange) {
	t.Helper()
	sw := &flow.Switch{DPID: 0xab, Protocol: flow.OpenFlow13}
	event := func(typ flow.EventType) (http.Header, []byte) {
		ev := flow.Event{Type: typ, ID: "e-1", Session: "s-1", Time: time.Unix(1700000000, 0).UTC(), XID: 1, Switch: sw, Accepts: flow.AcceptsAll}
		h := http.Header{}
		contract.PutEvent(h, &ev)
		h.Set("Content-Type", contract.TypeJSON)
		body, err := jsonenc.Codec{}.AppendEvent(nil, &ev)
		if err != nil {
			t.Fatal(err)
		}
		return h, body
	}
	tooLarge := fmt.Sprintf("body of more than %d bytes", guest.MaxBody)
	notSpoken := func(v string) string {
		return fmt.Sprintf("content type %q: want %s or %s", v, contract.TypeOpenFlow, contract.TypeJSON)
	}
	for _, row := range []struct {
		name   string
		change func(h http.Header, body []byte) []byte
		status int
		says   string // all of it; empty: something
	}{
		{"a body too large", func(_ http.Header, b []byte) []byte { return append(b, make([]byte, guest.MaxBody)...) }, 413, tooLarge},
		{"another content type", func(h http.Header, b []byte) []byte { h.Set("Content-Type", "text/xml"); return b }, 415, notSpoken("text/xml")},
		{"no content type", func(h http.Header, b []byte) []byte { h.Del("Content-Type"); return b }, 415, notSpoken("")},
		{"a content encoding", func(h http.Header, b []byte) []byte { h.Set("Content-Encoding", "gzip"); return b }, 415, `content encoding "gzip": bodies are sent as they are`},
		{"no JSON", func(_ http.Header, b []byte) []byte { return b[:len(b)/2] }, 400, ""},
		{"JSON of nothing", func(http.Header, []byte) []byte { return []byte("null") }, 400, ""},
		{"an empty object", func(http.Header, []byte) []byte { return []byte("{}") }, 400, ""},
		{"no body", func(http.Header, []byte) []byte { return nil }, 400, ""},
		{"a list", func(http.Header, []byte) []byte { return []byte("[]") }, 400, ""},
		{"a switch that is none", func(http.Header, []byte) []byte { return []byte(`{"switch":7}`) }, 400, ""},
		{"another protocol", func(_ http.Header, b []byte) []byte {
			return []byte(strings.Replace(string(b), "OpenFlow 1.3", "OpenFlow 9.9", 1))
		}, 400, ""},
		{"OpenFlow that is none", func(h http.Header, b []byte) []byte { h.Set("Content-Type", contract.TypeOpenFlow); return b }, 400, ""},
		{"no id", func(h http.Header, b []byte) []byte { h.Del(contract.HeaderID); return b }, 400, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, body := event(flow.EventSwitchConnected)
			body = row.change(h, body)
			status, answer, text, err := exchange(t.Context(), h, body)
			if err != nil {
				t.Fatal(err)
			}
			says := strings.TrimSuffix(string(text), "\n")
			if status != row.status || says == "" || row.says != "" && says != row.says {
				t.Errorf("status %d %q, want %d %q", status, says, row.status, row.says)
			}
			if got := answer.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
				t.Errorf("content type %q", got)
			}
		})
	}
	for _, typ := range []flow.EventType{flow.EventSwitchConnected, flow.EventPolicyCheck} {
		h, body := event(typ)
		status, answer, text, err := exchange(t.Context(), h, body)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%v: status %d, %v: %s", typ, status, err, text)
		}
		if v, ok := answer[contract.HeaderVerdict]; ok {
			t.Errorf("%v: an answer without a verdict has the header %s: %q", typ, contract.HeaderVerdict, v)
		}
	}
}
