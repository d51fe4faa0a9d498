package selfhost

import (
	"io"
	"log/slog"
	"testing"

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
