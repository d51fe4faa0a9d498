package isolate

import (
	"fmt"
	"io"
	"time"
)

// Head is the table's first line.
const head = "%-13s %-9s %9s %9s %9s %9s %8s %8s %10s %10s %9s %6s %6s\n"

// WriteHead writes the names of a row's columns.
func WriteHead(w io.Writer) error {
	_, err := fmt.Fprintf(w, head, "hostile", "function", "quiet p50", "p99 ms", "with: p50", "p99 ms", "quiet MB", "with: MB", "log MB/min", "hostile/s", "newcomer", "lost", "wrong")
	return err
}

// WriteText writes a run's line.
func (r *Row) WriteText(w io.Writer) error {
	if r.Failed != "" {
		_, err := fmt.Fprintf(w, "%-13s %-9s failed: %s\n", r.Kind, r.Function, r.Failed)
		return err
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }
	mb := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/1e6) }
	_, err := fmt.Fprintf(w, head, r.Kind, r.Function, ms(r.Quiet.P50), ms(r.Quiet.P99), ms(r.Hostile.P50), ms(r.Hostile.P99), mb(r.QuietRSS), mb(r.HostileRSS),
		fmt.Sprintf("%.2f", r.HostileLog/1e6), fmt.Sprintf("%.0f", r.Did), fmt.Sprintf("%.0f ms", r.Newcomer), fmt.Sprint(r.Lost), fmt.Sprint(r.Wrong))
	return err
}

// WriteText writes the table, and a line for each figure and failure.
func (r *Result) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%d victims, %.0f packets/s each, measured by a thread of priority %s\n", r.Machine, r.Victims, r.Rate, r.Thread)
	if err := WriteHead(w); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if err := row.WriteText(w); err != nil {
			return err
		}
	}
	return r.List.WriteText(w)
}
