package isolate

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/stats"
)

// Victims of a controller that forwards everything notice each packet that the
// policy denies, and time every answer.
func TestVictimsJudge(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- bench.Responder{}.Serve(ctx, ln) }()
	v, err := newVictims(ln.Addr().String(), 3, 1, 400)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	var h stats.Histogram
	got := v.run(200*time.Millisecond, &h, true)
	denied := uint64(0)
	for _, one := range v.all {
		denied += uint64(one.next+deniedEvery-1) / deniedEvery
	}
	if got.sent < 240 || got.sent > 241 || got.answered != got.sent || h.Count() != got.sent || got.lost != 0 {
		t.Errorf("%+v, %d times; want 240 packets, all answered", got, h.Count())
	}
	if got.wrong != denied || !strings.Contains(got.example, "denies") {
		t.Errorf("%d answers count as wrong (%s), want those to %d packets that the policy denies", got.wrong, got.example, denied)
	}
	cancel() // the controller goes: what is sent from now on is lost
	if err := <-served; err != nil {
		t.Error(err)
	}
	got = v.run(50*time.Millisecond, nil, true)
	if n, _ := v.lostConnections(); n != 3 || got.lost != got.sent || got.sent == 0 {
		t.Errorf("%d connections and %d of %d packets count as lost", n, got.lost, got.sent)
	}
}

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
