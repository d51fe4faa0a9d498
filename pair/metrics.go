package pair

import "github.com/prometheus/client_golang/prometheus"

// Metrics shows who leads, and counts changes of the lead. Make it with [NewMetrics].
type Metrics struct {
	leads, answers, older prometheus.Gauge
	changes, passed, lost prometheus.Counter
}

// NewMetrics registers the metrics with reg; nil registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		leads:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_pair_leads", Help: "1 while this gateway of a pair leads."}),
		answers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_pair_peer_answers", Help: "1 while the other gateway of the pair answers."}),
		older:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_pair_older_policy", Help: "1 while this gateway of a pair leads by an older policy than the other one has named."}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{Name: "switchbridge_pair_changes_total", Help: "Times that this gateway of a pair has taken the lead or yielded it."}),
		passed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "switchbridge_pair_passed_packets_total", Help: "Packets that the other gateway was given to decide when the lead was handed over."}),
		lost:    prometheus.NewCounter(prometheus.CounterOpts{Name: "switchbridge_pair_lost_packets_total", Help: "Packets that could not be given to the other gateway."}),
	}
	if reg != nil {
		reg.MustRegister(m.leads, m.answers, m.older, m.changes, m.passed, m.lost)
	}
	return m
}
