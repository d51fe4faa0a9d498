package bench

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

func TestSessions(t *testing.T) {
	res, err := Sessions(t.Context(), SessionsConfig{Target: serve(t), Sessions: 20, Duration: 50 * time.Millisecond, PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if res.RSSBefore < 1<<20 || res.RSSAfter < 1<<20 || res.BytesPerSession != float64(res.RSSAfter-res.RSSBefore)/19 {
		t.Errorf("memory %+v", res)
	}
	if res.Alone.Count == 0 || res.OthersIdle.Count == 0 || res.OneFloods.Count == 0 || res.FloodPerSecond <= 0 {
		t.Errorf("%+v", res)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "19 others idle") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestSessionsFaults(t *testing.T) {
	mute := fakeController(t, func(int, uint32, uint32) ([]byte, error) { return nil, nil })
	_, err := Sessions(t.Context(), SessionsConfig{Target: mute, Protocol: flow.OpenFlow10, Sessions: 2, Duration: 50 * time.Millisecond})
	if !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a controller that never answers: %v", err)
	}
	if _, err := Sessions(t.Context(), SessionsConfig{Target: mute, Sessions: 1}); err == nil {
		t.Error("one session")
	}
	if _, err := Sessions(t.Context(), SessionsConfig{Target: serve(t), PID: 1 << 30, Sessions: 2, Duration: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "process") {
		t.Errorf("no such process: %v", err)
	}
}
