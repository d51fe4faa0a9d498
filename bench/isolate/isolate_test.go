package isolate

import (
	"strings"
	"testing"
	"time"

	"switchbridge/bench/stats"
)

func TestFiguresOfARow(t *testing.T) {
	row := func(kind string, quiet, hostile time.Duration) *Row {
		return &Row{Kind: kind, Function: Embedded, Quiet: stats.Latency{Count: 1, P99: quiet}, Hostile: stats.Latency{Count: 1, P99: hostile},
			QuietRSS: 40e6, HostileRSS: 90e6, HostileLog: 0.5e6}
	}
	var r Result
	r.judge(row(PacketIn, time.Millisecond, 2900*time.Microsecond)) // within 2 ms of quiet
	r.judge(row(Errors, 3*time.Millisecond, 6100*time.Microsecond)) // over both
	r.judge(row(Three, 3*time.Millisecond, time.Second))            // reported only
	lost := row(SlowReader, time.Millisecond, time.Millisecond)
	lost.failures = []string{"a packet was lost"}
	r.judge(lost)
	var b strings.Builder
	if err := r.List.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"figure isolate.flood.embedded.victim_p99_ratio 2.9 goal <= 3 reached\n",
		"figure isolate.flood.embedded.rss_ratio 2.25 goal <= 2 missed\n",
		"figure isolate.flood.embedded.log_mb_per_minute 0.5 goal <= 1 reached\n",
		"figure isolate.errors.embedded.victim_p99_ratio 2.03 goal <= 2 missed\n",
		"figure isolate.three.embedded.victim_p99_ratio 333\n",
		"failure isolate.slow_reader.embedded: a packet was lost\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if r.Err() == nil {
		t.Error("a lost packet is no failure")
	}
}
