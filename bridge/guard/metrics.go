package guard

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts violations by rail. The set of labels is closed. nil counts nothing.
type Metrics struct{ violations *prometheus.CounterVec }

// NewMetrics registers the counter with every series that it can have; nil
// registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_guardrail_violations_total",
		Help: "Rules and PACKET_OUTs that a guardrail refused, by guardrail."}, []string{"rail"})}
	for _, name := range Names() {
		m.violations.WithLabelValues(string(name))
	}
	if reg != nil {
		reg.MustRegister(m.violations)
	}
	return m
}

// Count counts v.
func (m *Metrics) Count(v Violation) {
	if m != nil {
		m.violations.WithLabelValues(string(v.Rail)).Inc()
	}
}
