package selfhost

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/internal/flowtest"
)

// twice shuts out who opens connections to two ports.
const twice = `
serial: 3
chain:
  - machine:
      machines:
        - name: scan
          for: {ip_proto: tcp}
          key: src
          forget: 1h
          start: good
          states: {good: next, scanner: deny}
          transitions:
            - {from: good, to: scanner, count: 2, distinct: tcp_dst, within: 60s}
  - forward: {mode: normal}
`

// A function by several hosts counts what it was asked, and a repeat of an event once; its answers say that they must not be repeated.
func TestStates(t *testing.T) {
	config := base(fn("native", func(f *Function) {
		f.Native, f.Policy, f.Path = true, writeFile(t, "policy.yaml", []byte(twice)), "/native"
	}))
	if _, err := New(config, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "nothing keeps their states") {
		t.Errorf("without a store: %v", err)
	}
	config.State.URL = "memory:"
	r := serve(t, config)
	ask := func(id string, port uint16) http.Header {
		t.Helper()
		ev := &flow.Event{Type: flow.EventPacketIn, ID: id, XID: 1, Time: time.Now(), Accepts: flow.AcceptsAll, Switch: flowtest.Switch(), PacketIn: flowtest.TCP(port)}
		body, err := jsonenc.Codec{}.AppendEvent(nil, ev)
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequest("POST", r.base+"/native", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		contract.PutEvent(request.Header, ev)
		request.Header.Set("Content-Type", contract.TypeJSON)
		resp, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || resp.Header.Get(contract.HeaderStateful) != "true" {
			t.Fatalf("%s: %s %s, %v", id, resp.Status, text, resp.Header)
		}
		return resp.Header
	}
	for _, row := range []struct {
		id   string
		port uint16
		want string
	}{{"a", 80, "allow"}, {"a", 80, "allow"}, {"b", 443, "deny"}, {"c", 80, "deny"}, {"b", 443, "deny"}} {
		if got := ask(row.id, row.port); got.Get(contract.HeaderVerdict) != row.want {
			t.Errorf("event %s to port %d: %v, want %s", row.id, row.port, got, row.want)
		}
	}
	if h := r.do(policyCheck(t, r.base+"/native")).header; h.Get(contract.HeaderStateful) != "true" {
		t.Errorf("a policy check is answered with %v", h)
	}
}
