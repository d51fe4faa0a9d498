package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/nativehost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
)

// Token is the one that [Native] wants.
const Token = "0123456789abcdef"

// Native returns the controller as platforms' native programs serve it, by [Stateless] and for callers with [Token].
func Native(t *testing.T) http.Handler {
	t.Helper()
	t.Setenv(nativehost.EnvTokens, Token)
	h, err := nativehost.Handler(controller.New(Stateless()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Host asks a host of ours all that every host passes. The host decides by [Stateless] and wants [Token]; exchange sends a request as the
// host's platform does.
func Host(t *testing.T, exchange functiontest.Exchange) {
	t.Helper()
	send := exchange
	exchange = func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		if header.Get("Authorization") == "" {
			header.Set("Authorization", "Bearer "+Token)
		}
		return send(ctx, header, body)
	}
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		RunBy(t, Stateless(), functiontest.Client(codec, exchange), codec)
	}
	Refusals(t, exchange)
	Contract(t, exchange)
}

// Contract makes every check of functiontest on a host of ours, which speaks both encodings, and holds it to more than the contract asks:
// there is no warning. It asks over a thousand events.
func Contract(t *testing.T, exchange functiontest.Exchange) {
	t.Helper()
	for _, r := range functiontest.Run(t.Context(), functiontest.Config{Exchange: exchange, Encodings: []string{"openflow", "json"}, Samples: 10}) {
		if r.Status == functiontest.Failed || r.Status == functiontest.Warned {
			t.Errorf("%s, %s (%s): %s\n%s\n%d more", r.Encoding, r.Check, r.About, r.Status, strings.Join(r.Details, "\n"), r.More)
		}
	}
}

// Refusals asks what every host refuses, in the same words whatever it is made of, and what its answers don't say. The host speaks both
// encodings.
func Refusals(t *testing.T, exchange functiontest.Exchange) {
	t.Helper()
	notSpoken := func(v string) string {
		return fmt.Sprintf("content type %q: want %s or %s", v, contract.TypeOpenFlow, contract.TypeJSON)
	}
	words := map[string]string{ // all of what is said; others: something
		"a body too large":     fmt.Sprintf("body of more than %d bytes", guest.MaxBody),
		"another content type": notSpoken("text/xml"),
		"no content type":      notSpoken(""),
		"a content encoding":   `content encoding "gzip": bodies are sent as they are`,
	}
	refused := func(codec contract.Codec, bad functiontest.Bad) {
		t.Run(codec.ContentType()+"/"+bad.Name, func(t *testing.T) {
			h, body, err := bad.Request(codec)
			if err != nil {
				t.Fatal(err)
			}
			status, answer, text, err := exchange(t.Context(), h, body)
			if err != nil {
				t.Fatal(err)
			}
			says := strings.TrimSuffix(string(text), "\n")
			if want, ok := words[bad.Name]; status != bad.Status || says == "" || ok && says != want {
				t.Errorf("status %d %q, want %d %q", status, says, bad.Status, want)
			}
			if got := answer.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
				t.Errorf("content type %q", got)
			}
		})
	}
	for _, codec := range []contract.Codec{jsonenc.Codec{}, openflow.Codec{}} {
		for _, bad := range functiontest.BadInput(codec.ContentType()) {
			refused(codec, bad)
		}
	}
	for _, typ := range []flow.EventType{flow.EventSwitchConnected, flow.EventPolicyCheck} {
		ev := flow.Event{Type: typ, ID: "e-1", Session: "s-1", Time: time.Unix(1700000000, 0).UTC(), XID: 1, Switch: functiontest.Switch(flow.OpenFlow13), Accepts: flow.AcceptsAll}
		h := http.Header{"Content-Type": {contract.TypeJSON}}
		contract.PutEvent(h, &ev)
		body, err := jsonenc.Codec{}.AppendEvent(nil, &ev)
		if err != nil {
			t.Fatal(err)
		}
		status, answer, text, err := exchange(t.Context(), h, body)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%v: status %d, %v: %s", typ, status, err, text)
		}
		if v, ok := answer[contract.HeaderVerdict]; ok {
			t.Errorf("%v: an answer without a verdict has the header %s: %q", typ, contract.HeaderVerdict, v)
		}
	}
}
