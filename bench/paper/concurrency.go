package paper

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"switchbridge/bench/chart"
	"switchbridge/flow"
	"switchbridge/replay"
)

// starts is a Recorder that keeps when events begin.
type starts struct{ at []time.Time }

func (s *starts) Record(r *replay.Record) error { s.at = append(s.at, r.Time); return nil }
func (s *starts) Flush() error                  { return nil }

// concurrency counts how many events are under way as each one begins, were
// every answer to take the paper's median time. It is computed, not played.
func (e *evaluation) concurrency(ctx context.Context) error {
	e.step("concurrency of the organisation's set")
	set, err := e.organisation()
	if err != nil {
		return err
	}
	var begin starts
	if _, err := replay.Run(ctx, replay.Config{
		Files: []string{"-"}, Stdin: bytes.NewReader(set), Pace: replay.PaceMax, Records: &begin,
		Decider: flow.DeciderFunc(func(context.Context, *flow.Event, *flow.Decision) error { return nil }),
	}); err != nil {
		return err
	}
	millis := publishedFastly
	took := time.Duration(millis * float64(time.Millisecond))
	counts := underWay(begin.at, took)
	s := e.section("Table 7: concurrency",
		fmt.Sprintf("Events of the generated organisation's set that are under way as one begins, itself included, if each takes %v ms (the paper's Fastly).", millis),
		"under way", "events", "share %")
	s.Emulated = "the set is generated, with bursts of one to four conversations; the time of an answer is taken as constant."
	var names []string
	var values []float64
	for i, n := range counts {
		if n == 0 {
			continue
		}
		name := fmt.Sprint(i + 1)
		s.row(name, fmt.Sprint(n), num(100*float64(n)/float64(len(begin.at))))
		names, values = append(names, name), append(values, float64(n))
	}
	s.Plot = "concurrency"
	return chart.Bars(e.cfg.Dir, s.Plot, "Events under way as one begins", "events under way", "events", names, values)
}

// underWay counts, for events that begin at the given times, in order, and take
// the given time each, how many begin as the only one, as the second, and so on.
func underWay(at []time.Time, took time.Duration) []int {
	var counts []int
	oldest := 0
	for i, t := range at {
		for t.Sub(at[oldest]) >= took {
			oldest++
		}
		n := i - oldest
		for len(counts) <= n {
			counts = append(counts, 0)
		}
		counts[n]++
	}
	return counts
}
