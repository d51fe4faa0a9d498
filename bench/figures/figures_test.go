package figures

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	var l List
	l.AtMost("isolate.flood.victim_p99_ratio", 1.7, 2)
	l.AtMost("isolate.flood.victim_p99_ratio", 2, 2)
	l.AtMost("isolate.slow.rss_ratio", 2.004, 2)
	l.AtLeast("controller.native_vs_peer", 0.93, 1.2)
	l.AtLeast("controller.native_vs_peer", 1.2, 1.2)
	l.Note("isolate.flood.per_s", 187432)
	l.Note("isolate.flood.share", 0.00001234)
	l.Note("isolate.flood.none", 0)
	if l.Err() != nil || l.Missed() != 2 {
		t.Errorf("err %v, %d missed", l.Err(), l.Missed())
	}
	l.Failf("isolate.poison", "%d packets lost", 3)
	var b strings.Builder
	if err := l.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `figure isolate.flood.victim_p99_ratio 1.7 goal <= 2 reached
figure isolate.flood.victim_p99_ratio 2 goal <= 2 reached
figure isolate.slow.rss_ratio 2.004 goal <= 2 missed
figure controller.native_vs_peer 0.93 goal >= 1.2 missed
figure controller.native_vs_peer 1.2 goal >= 1.2 reached
figure isolate.flood.per_s 187432
figure isolate.flood.share 0.000012
figure isolate.flood.none 0
failure isolate.poison: 3 packets lost
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "3 packets lost") {
		t.Errorf("err %v", err)
	}
	l.Failf("isolate.slow", "a wrong answer")
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "2 failures") {
		t.Errorf("err %v", err)
	}
}
