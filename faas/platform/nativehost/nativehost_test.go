package nativehost

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/policy/forward"
)

func TestCall(t *testing.T) {
	var got *http.Request
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(body)
		w.WriteHeader(http.StatusTeapot) // too late
	})
	for _, row := range []struct {
		call    Call
		status  int
		request string
		body    string
		encoded bool
	}{
		{Call{}, 202, "POST / of  from ", "", true},
		{Call{Method: "get", Path: "x", Query: "a=b", From: "192.0.2.1", Header: Header(map[string]string{"host": "f", "content-type": "text/plain"}), Body: []byte("é")},
			202, "GET /x?a=b of f from 192.0.2.1", "é", false},
		{Call{Path: "//x", Header: Header(map[string]string{"Content-Type": "application/json; charset=utf-8"}), Body: []byte("{}")}, 202, "POST //x of  from ", "{}", false},
		{Call{Header: Header(map[string]string{"Content-Type": "application/openflow"}), Body: []byte{4, 0xff}}, 202, "POST / of  from ", "BP8=", true},
		{Call{Method: "a b"}, 400, "", "net/http: invalid method \"A B\"\n", false},
	} {
		got = nil
		a := row.call.Serve(t.Context(), h)
		body, encoded := a.Text()
		if a.Status != row.status || body != row.body || encoded != row.encoded {
			t.Errorf("%+v: %d %q (%v), want %d %q (%v)", row.call, a.Status, body, encoded, row.status, row.body, row.encoded)
		}
		if got == nil {
			continue
		}
		if s := got.Method + " " + got.URL.String() + " of " + got.Host + " from " + got.RemoteAddr; s != row.request {
			t.Errorf("%+v: %s, want %s", row.call, s, row.request)
		}
	}
}

func TestForwarded(t *testing.T) {
	for list, want := range map[string]string{"": "", "192.0.2.1": "192.0.2.1", "10.0.0.1, 192.0.2.1": "192.0.2.1", "10.0.0.1,": ""} {
		if got := Forwarded(Header(map[string]string{"x-forwarded-for": list})); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

// A program starts without a token only if somebody has written that the platform checks who calls.
func TestHandlerWantsToken(t *testing.T) {
	for _, row := range []struct{ tokens, auth, err string }{
		{"", "", "SWITCHBRIDGE_TOKENS: no token; set one, or SWITCHBRIDGE_AUTH=none where the platform checks who calls"},
		{"short", "", "SWITCHBRIDGE_TOKENS: line 1: token of 5 bytes"},
		{"", "None", "SWITCHBRIDGE_TOKENS"},
		{"0123456789abcdef", "", ""},
		{"", "none", ""},
	} {
		t.Setenv(EnvTokens, row.tokens)
		t.Setenv(EnvAuth, row.auth)
		_, err := Handler(controller.New(forward.Default()), slog.New(slog.DiscardHandler))
		if (err == nil) != (row.err == "") || err != nil && !strings.HasPrefix(err.Error(), row.err) {
			t.Errorf("%+v: %v", row, err)
		}
	}
}
