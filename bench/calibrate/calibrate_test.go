package calibrate

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// The tools never report less than the sink takes, and what waits for a slow
// sink shows in the latency from when events were due.
func TestRun(t *testing.T) {
	const delay = 2 * time.Millisecond
	res, err := Run(t.Context(), Config{Rounds: 1, Duration: 100 * time.Millisecond, Delays: []time.Duration{0, delay}})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]float64{
		"flood": res.Flood.Median, "replay": res.Replay.Median, "replay over HTTPS": res.ReplayHTTPS.Median,
		"client over HTTPS": res.ClientHTTPS.Median, "bare HTTPS": res.BareHTTPS.Median,
	} {
		if v <= 0 {
			t.Errorf("%s: %v events/s", name, v)
		}
	}
	if len(res.Errors) != 2 {
		t.Fatalf("%+v", res.Errors)
	}
	for _, e := range res.Errors {
		if e.Controller.Count == 0 || e.Controller.Min < 0 || e.Replay.Count == 0 || e.Replay.Min < 0 {
			t.Errorf("a sink that takes %v: less by bench controller %v, replay %v", e.Delay, e.Controller.Min, e.Replay.Min)
		}
	}
	if o := res.OmissionDue; o.Expect != 101*time.Millisecond || o.FromDue < o.Expect || o.FromSent < 2*o.Gap || o.FromSent > o.FromDue {
		t.Errorf("%+v", o)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "sink takes 2ms") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Rounds: 1, Duration: time.Millisecond}); err == nil {
		t.Error("a cancelled calibration gave no error")
	}
}
