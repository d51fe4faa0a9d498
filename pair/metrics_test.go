package pair

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/internal/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	reg := prometheus.NewRegistry()
	NewMetrics(reg)
	metricsdoc.Check(t, "../docs/pairs.md", reg, "pair")
}
