package httphost_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"switchbridge/faas/function/httphost"
)

// TestOptionalAttributes has what the contract leaves optional of a CloudEvent, right and wrong.
func TestOptionalAttributes(t *testing.T) {
	h := newHandler(t, httphost.Config{})
	for _, row := range []struct {
		name    string
		change  func(http.Header)
		explain string // empty: taken
	}{
		{"no time", func(h http.Header) { h.Del("Ce-Time") }, ""},
		{"no subject", func(h http.Header) { h.Del("Ce-Subject") }, ""},
		{"a time of another form", func(h http.Header) { h.Set("Ce-Time", "1700000000") }, "ce-time"},
		{"the content type again", func(h http.Header) { h.Set("Ce-Datacontenttype", "application/json") }, ""},
		{"another content type", func(h http.Header) { h.Set("Ce-Datacontenttype", "text/xml") }, "ce-datacontenttype"},
		{"a schema", func(h http.Header) { h.Set("Ce-Dataschema", "https://example.org/schema") }, ""},
		{"an empty schema", func(h http.Header) { h.Set("Ce-Dataschema", "") }, "ce-dataschema"},
		{"a schema that is no URI", func(h http.Header) { h.Set("Ce-Dataschema", "schema") }, "ce-dataschema"},
		{"an extension", func(h http.Header) { h.Set("Ce-Knativehistory", "default; broker") }, ""},
		{"two ids", func(h http.Header) { h.Add("Ce-Id", "other") }, "Ce-Id comes 2 times"},
		{"two sources", func(h http.Header) { h.Add("Ce-Source", "/switches/1") }, "Ce-Source comes 2 times"},
		{"two content types", func(h http.Header) { h.Add("Content-Type", "text/html") }, "Content-Type comes 2 times"},
		{"two lists of what is missing", func(h http.Header) { h["Switchbridge-Incomplete"] = []string{"tcp_src", "tcp_dst"} }, "Switchbridge-Incomplete comes 2 times"},
		{"two lists of what is accepted", func(h http.Header) { h["Switchbridge-Accepts"] = []string{"a", "b"} }, "Switchbridge-Accepts comes 2 times"},
	} {
		r := newRequest(event)
		row.change(r.Header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case row.explain == "" && w.Code != http.StatusOK:
			t.Errorf("%s: %d %s", row.name, w.Code, w.Body)
		case row.explain != "" && (w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), row.explain)):
			t.Errorf("%s: %d %s, want %q", row.name, w.Code, w.Body, row.explain)
		}
	}
}
