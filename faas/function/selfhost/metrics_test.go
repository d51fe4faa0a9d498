package selfhost

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"switchbridge/internal/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	c := Default()
	c.State.URL = "memory:"
	c.Listen, c.Functions = "127.0.0.1:0", []Function{DefaultFunction()}
	s, err := New(c, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	metricsdoc.Check(t, "../../../docs/operating.md", s.registry, "function", "instances")
}

// Requests are counted by function and status; a status that HTTP doesn't have is "other".
func TestRequestsAreCounted(t *testing.T) {
	m := newMuxMetrics(prometheus.NewRegistry())
	q := m.Of("f")
	for _, status := range []int{200, 200, 503, 999} {
		q.Begun()
		q.Answered(status, time.Millisecond)
		q.Ended()
	}
	q.Begun()
	m.Refused()
	for name, c := range map[string]prometheus.Metric{
		"2 of 200": m.events.WithLabelValues("f", "200"), "1 of 503": m.events.WithLabelValues("f", "503"), "1 of other": m.events.WithLabelValues("f", "other"),
		"1 refused": m.refused, "1 busy": m.busy.WithLabelValues("f"),
	} {
		var got dto.Metric
		if err := c.Write(&got); err != nil {
			t.Fatal(err)
		}
		if n := got.GetCounter().GetValue() + got.GetGauge().GetValue(); fmt.Sprint(n) != name[:1] {
			t.Errorf("%s: %v", name, n)
		}
	}
}
