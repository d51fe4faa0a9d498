package ofproxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what sessions do. Build it with [NewMetrics].
type Metrics struct {
	sessions   *prometheus.GaugeVec   // state
	closed     *prometheus.CounterVec // cause
	events     *prometheus.CounterVec // type
	packetIns  prometheus.Counter
	drops      *prometheus.CounterVec // cause
	errors     *prometheus.CounterVec // name
	rules      *prometheus.CounterVec // outcome
	stage      *prometheus.HistogramVec
	stageWait  prometheus.Observer
	stageTotal prometheus.Observer
	stageMake  prometheus.Observer
	coalesced  prometheus.Counter
	swept      prometheus.Counter
	installed  prometheus.Counter
	malformed  *prometheus.CounterVec
}

// NewMetrics registers the session metrics with reg; nil registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "switchbridge_openflow_" + name, Help: help})
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_openflow_" + name, Help: help}, []string{label})
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	m := &Metrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "switchbridge_openflow_sessions",
			Help: "OpenFlow sessions by state of their handshake."}, []string{"state"}),
		stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "switchbridge_openflow_stage_seconds",
			Help:    "Time of a PACKET_IN in each stage: wait (for a worker), decide, total (read to handed to the connection).",
			Buckets: []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}, []string{"stage"}),
		closed:    counters("sessions_closed_total", "OpenFlow sessions that ended, by cause.", "cause"),
		events:    counters("events_total", "Events made from switches' messages, by type.", "type"),
		drops:     counters("packet_in_drops_total", "PACKET_INs dropped without a decision's say, by cause.", "cause"),
		errors:    counters("switch_errors_total", "ERROR messages from switches, by type and code.", "error"),
		rules:     counters("rules_total", "Rules by what became of them.", "outcome"),
		malformed: counters("malformed_total", "Messages that could not be read, by type.", "type"),
		coalesced: counter("coalesced_total", "PACKET_INs answered by the decision of an equal one that was under way."),
		swept:     counter("swept_rules_total", "Rules of older policy versions that were removed."),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.stage)
	}
	m.packetIns = m.events.WithLabelValues("packet_in")
	m.installed = m.rules.WithLabelValues("sent")
	m.stageWait = m.stage.WithLabelValues("wait")
	m.stageMake = m.stage.WithLabelValues("decide")
	m.stageTotal = m.stage.WithLabelValues("total")
	return m
}
