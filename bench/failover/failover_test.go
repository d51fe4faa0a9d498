package failover

import (
	"testing"
	"time"
)

// TestSince: what is lost, and what arrives late or twice, is told apart by when it was sent.
func TestSince(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	tr := &traffic{
		sent:      []time.Time{ago(2000), ago(1500), ago(1400), ago(1000), ago(900), ago(10)},
		arrived:   []uint8{0, 1, 0, 0, 2, 0},
		installed: []time.Time{ago(2000), ago(1450), ago(700), ago(600)},
	}
	s := tr.since(ago(1500))
	if s.sent != 4 || s.lost != 2 || s.twice != 1 {
		t.Errorf("%+v, want 4 sent, 2 lost, 1 twice: one was sent before, one may still arrive", s)
	}
	if got := s.refused.Round(time.Millisecond); got != 500*time.Millisecond {
		t.Errorf("new conversations were refused for %v, want 0.5 s", got)
	}
	if got := s.silence.Round(time.Millisecond); got != 750*time.Millisecond {
		t.Errorf("the installed conversation was silent for %v, want 0.75 s", got)
	}
	if tr.goes() != 6 {
		t.Error("numbers of conversations don't go on")
	}
	if tr.came(6); tr.arrived[6] != 1 {
		t.Error("a conversation that arrived is not counted")
	}
	tr.came(1000) // somebody else's datagram
}
