package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
)

// The baseline posts the bytes of a real event, and both ways are measured.
func TestFunction(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var ev flow.Event
		if err := contract.GetEvent(r.Header, &ev); err != nil {
			t.Error(err)
		}
		if err := (&openflow.Codec{}).ParseEvent(body, &ev); err != nil || ev.PacketIn.Match.L4Dst != 443 {
			t.Errorf("%v: %+v", err, ev.PacketIn)
		}
		if r.Header.Get("Authorization") != "Bearer x" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}
	}))
	defer srv.Close()
	const delay = 2 * time.Millisecond
	decide := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		time.Sleep(delay)
		if strings.HasSuffix(ev.ID, "7") {
			return errors.New("unlucky")
		}
		return nil
	})
	cfg := FunctionConfig{
		Decider: decide, HTTP: srv.Client(), URL: srv.URL, Header: http.Header{"Authorization": {"Bearer x"}},
		Rounds: 2, Duration: 30 * time.Millisecond, WarmUp: 10 * time.Millisecond, Concurrency: 8,
	}
	res, err := Function(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if l := res.Decider.Latency; l.Count == 0 || l.Min < delay || res.Decider.Failed == 0 || res.Decider.Throughput.Runs != 2 {
		t.Errorf("%+v", res.Decider)
	}
	if res.Decider.Throughput.Max > 8/delay.Seconds() { // eight at a time can't be faster
		t.Errorf("%+v", res.Decider.Throughput)
	}
	if b := res.Bare; b.Latency.Count == 0 || b.Failed != 0 || b.Throughput.Max <= 0 {
		t.Errorf("%+v", b)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "function / bare") || !strings.Contains(text.String(), "failed") {
		t.Errorf("%v: %s", err, &text)
	}

	cfg.Header = nil
	if _, err := Function(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a baseline without a token: %v", err)
	}
	cfg.Decider = flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { return errors.New("nobody there") })
	if _, err := Function(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "nobody there") {
		t.Errorf("a function that never answers: %v", err)
	}
}

func TestPolicies(t *testing.T) {
	rows, err := Policies(t.Context(), []int{10, 1000}, 1000)
	if err != nil || len(rows) != 4 {
		t.Fatal(rows, err)
	}
	for _, r := range rows {
		if r.Allowed.Count == 0 || r.Denied.Count == 0 || r.Allowed.P50 <= 0 || r.Denied.P50 <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if rows[1].Heap <= rows[0].Heap {
		t.Errorf("1,000 entries take %d bytes, 10 take %d", rows[1].Heap, rows[0].Heap)
	}
	var text bytes.Buffer
	if err := WritePolicies(&text, rows); err != nil || strings.Count(text.String(), "\n") != 5 {
		t.Errorf("%v: %s", err, &text)
	}
	if _, err := Policies(t.Context(), []int{0}, 1); err == nil {
		t.Error("no entries")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Policies(ctx, []int{1}, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
