package conversation

import (
	"strings"
	"testing"
	"time"
)

// TestStream: a path of four switches asks as often as one where answers are used again, and four times as often where they are not; the widest
// rules ask least.
func TestStream(t *testing.T) {
	list, err := stream(t.Context(), t.TempDir(), 120)
	if err != nil {
		t.Fatal(err)
	}
	calls := func(policy, install string, n int, reuse bool) float64 {
		for _, s := range list {
			if s.Policy == policy && s.Install == install && s.Switches == n && s.Reuse == reuse {
				return s.Calls
			}
		}
		t.Fatalf("nothing of %s, %s, %d switches, reuse %t", policy, install, n, reuse)
		return 0
	}
	for _, p := range []string{"ports", "addresses"} {
		one, four, used := calls(p, "flow", 1, false), calls(p, "flow", 4, false), calls(p, "flow", 4, true)
		if four < 3*one || used > 1.05*one || used == 0 {
			t.Errorf("%s: %f calls with one switch, %f with four, %f with four and reuse", p, one, four, used)
		}
	}
	if flow, widest := calls("ports", "flow", 1, false), calls("ports", "widest", 1, false); widest >= flow {
		t.Errorf("%f calls with rules of flows, %f with the widest", flow, widest)
	}
}

func TestReport(t *testing.T) {
	ms := time.Millisecond
	res := &Result{Lines: []*Line{
		{Bridges: 4, Replies: true, Reuse: true, RTT: 10 * ms, ARP: []time.Duration{33 * ms}, After: []time.Duration{12 * ms, 13 * ms, 90 * ms}, Many: []time.Duration{20 * ms},
			Calls: []int64{1, 1, 2}, TCP: []int64{1}, ARPs: []int64{3}},
		{Bridges: 4, Replies: true, RTT: 10 * ms, After: []time.Duration{80 * ms}, Failed: []string{"no answer"}},
		{Peer: "os-ken, 1.3", Bridges: 8, ARP: []time.Duration{9 * ms}, After: []time.Duration{7 * ms}, Many: []time.Duration{8 * ms}, Failed: []string{"the controller drops it"}},
	}}
	res.Streams = []Stream{{Policy: "ports", Install: "flow", Switches: 1, Packets: 1, Calls: 20_000}}
	res.Unused = []Unused{{Packets: 1000, CPU: 100 * ms}, {Promised: true, Packets: 2000, CPU: 210 * ms}}
	res.report()
	var b strings.Builder
	if err := res.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"figure conversation.line_4.replies.first_ping_rtts 1.3 goal <= 1.3 reached\n",
		"figure conversation.line_4.replies.first_ping_16_at_a_time_rtts 2 goal <= 1.3 missed\n",
		"figure conversation.line_4.replies.first_ping_calls 2 goal <= 1 missed\n",
		"figure conversation.line_4.replies.asked_each_time.first_ping_rtts 8\n",
		"failure conversation.line_4.replies: no answer\n",
		"figure conversation.stream.ports.flow.switches_1.lambda_per_month 2.91\n",  // 14.4 million: 0.2 each million, and 2.083 for 1,000,000 ms of 128 MB
		"figure conversation.stream.ports.flow.switches_1.workers_per_month 7.11\n", // 4.4 million more than are in the 5
		"figure conversation.stream.machine_per_month 6.6\n",
		"figure conversation.stream.machine_is_cheaper_than_lambda_from_calls_per_hour 45361\n",
		"figure conversation.line_8.local.os_ken_1_3.first_ping_ms 7\n",
		"figure conversation.line_8.local.os_ken_1_3.failed 1\n",
		"figure conversation.unused.with_cpu_s_per_million 105\n",
		"figure conversation.unused.cpu_ratio 1.05 goal <= 1.02 missed\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if err := res.Err(); err == nil || strings.Contains(b.String(), "failure conversation.line_8") {
		t.Errorf("failures: %v", err)
	}
}
