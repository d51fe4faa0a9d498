package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// WriteText writes the result for a person: a line a run, and the summary.
func (r *ControllerResult) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("%s, %s, %d %s, %s, %d runs of %gs after %gs\n", r.Target, r.Mode, r.Switches, plural(r.Switches, "switch", "switches"), r.Protocol,
		len(r.Runs), r.Duration, r.WarmUp)
	for i, run := range r.Runs {
		p.f("run %2d: %12.0f responses/s  (%d FLOW_MOD, %d PACKET_OUT for %d PACKET_IN", i+1, run.PerSecond, run.FlowMods, run.PacketOuts, run.Sent)
		if run.Lost > 0 {
			p.f(", %d lost", run.Lost)
		}
		p.f(")\n")
	}
	s := r.PerSecond
	p.f("responses/s: min %.0f  max %.0f  avg %.0f  median %.0f  stdev %.0f\n", s.Min, s.Max, s.Mean, s.Median, s.Stdev)
	p.f("PACKET_INs answered/s (median): %.0f, with %.2f messages each\n", r.Answered.Median, r.PerPacketIn)
	p.f("packets/ms (median), as cbench counts: %.1f\n", s.Median/1000)
	if l := r.Latency; l != nil && l.Count > 0 {
		us := func(d time.Duration) float64 { return float64(d) / 1e3 }
		p.f("latency in µs: min %.1f  p10 %.1f  p50 %.1f  p90 %.1f  p99 %.1f  max %.1f  mean %.1f  stdev %.1f\n",
			us(l.Min), us(l.P10), us(l.P50), us(l.P90), us(l.P99), us(l.Max), us(l.Mean), us(l.Stdev))
	}
	return p.err
}

// WriteJSON writes the result for a machine, indented.
func (r *ControllerResult) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// printer keeps the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
