package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
)

// Summary is what a replay came to.
type Summary struct {
	Packets   int64 // read, in the part asked for
	Truncated int64 // of them, cut by the capture: their PACKET_INs say so
	NotIP     int64 // of them, neither IP nor ARP
	ClockBack int   // packets earlier than the one before them; they follow it at once
	Bad       int   // records that were left out, since they can't be

	Events   int64 // sent
	Answered int64
	Allowed  int64
	Denied   int64
	Rules    int64            // FLOW_MODs that came back
	Errors   map[string]int64 // events without an answer, by kind

	Elapsed time.Duration
	// Latency is from sending to the answer; FromDue from when the event was
	// due, which adds what waited for a free worker. Of answered events.
	Latency stats.Latency
	FromDue stats.Latency
	// InFlight[n] is how many events were sent while n others were waiting
	// for their answers; the last element counts larger n too.
	InFlight [17]int64

	Interrupted bool // ended early, by the caller
}

// PerSecond is the rate of answers.
func (s *Summary) PerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Answered) / s.Elapsed.Seconds()
}

// collector adds records up; one goroutine has it.
type collector struct {
	sum              Summary
	latency, fromDue stats.Histogram
	lastError        string
}

func (c *collector) add(r *Record, kind string) {
	c.sum.Events++
	if kind != "" {
		if c.sum.Errors == nil {
			c.sum.Errors = map[string]int64{}
		}
		c.sum.Errors[kind]++
		c.lastError = r.Error
		return
	}
	c.sum.Answered++
	switch r.Verdict {
	case flow.Allow:
		c.sum.Allowed++
	case flow.Deny:
		c.sum.Denied++
	}
	c.sum.Rules += int64(r.Rules)
	c.latency.Record(r.Latency)
	c.fromDue.Record(r.FromDue())
}

// WriteText writes the summary for a person.
func (s *Summary) WriteText(w io.Writer) error {
	var err error
	p := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	if s.Interrupted {
		p("interrupted: what follows is the part until then\n")
	}
	p("%d packets (%d neither IP nor ARP, %d cut by the capture", s.Packets, s.NotIP, s.Truncated)
	if s.ClockBack > 0 {
		p(", %d earlier than the one before", s.ClockBack)
	}
	if s.Bad > 0 {
		p(", %d bad records left out", s.Bad)
	}
	p(")\n%d events in %v: %d answered (%.0f/s), %d allowed, %d denied, %d rules\n", s.Events, s.Elapsed.Round(time.Millisecond), s.Answered,
		s.PerSecond(), s.Allowed, s.Denied, s.Rules)
	for _, kind := range slices.Sorted(maps.Keys(s.Errors)) {
		p("  %d without an answer: %s\n", s.Errors[kind], kind)
	}
	if s.Answered > 0 {
		p("%-24s %10s %10s %10s %10s %10s\n", "latency in µs", "p10", "p50", "p90", "p99", "stdev")
		for _, row := range []struct {
			name string
			l    stats.Latency
		}{{"from when it was sent", s.Latency}, {"from when it was due", s.FromDue}} {
			p("%-24s %10.1f %10.1f %10.1f %10.1f %10.1f\n", row.name, micros(row.l.P10), micros(row.l.P50), micros(row.l.P90), micros(row.l.P99), micros(row.l.Stdev))
		}
	}
	return err
}

// MarshalJSON writes durations as microseconds, but for elapsed_s.
func (s *Summary) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Packets     int64            `json:"packets"`
		Truncated   int64            `json:"truncated"`
		NotIP       int64            `json:"not_ip"`
		ClockBack   int              `json:"clock_back"`
		Bad         int              `json:"bad_records"`
		Events      int64            `json:"events"`
		Answered    int64            `json:"answered"`
		Allowed     int64            `json:"allowed"`
		Denied      int64            `json:"denied"`
		Rules       int64            `json:"rules"`
		Errors      map[string]int64 `json:"errors"`
		Elapsed     float64          `json:"elapsed_s"`
		PerSecond   float64          `json:"answered_per_s"`
		Latency     stats.Latency    `json:"latency"`
		FromDue     stats.Latency    `json:"latency_from_due"`
		InFlight    []int64          `json:"others_in_flight"`
		Interrupted bool             `json:"interrupted"`
	}{
		s.Packets, s.Truncated, s.NotIP, s.ClockBack, s.Bad, s.Events, s.Answered, s.Allowed, s.Denied, s.Rules, s.Errors, s.Elapsed.Seconds(),
		s.PerSecond(), s.Latency, s.FromDue, s.InFlight[:], s.Interrupted,
	})
}
