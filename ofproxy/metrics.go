package ofproxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// Metrics counts what happens in OpenFlow sessions only; [bridge.Metrics] counts what
// happens in sessions of every protocol. Make it with [NewMetrics].
type Metrics struct {
	sessions  *prometheus.GaugeVec   // state
	closed    *prometheus.CounterVec // cause
	errors    *prometheus.CounterVec // name
	malformed *prometheus.CounterVec
}

// NewMetrics registers the session metrics with reg; nil registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
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
		closed:    counters("sessions_closed_total", "OpenFlow sessions that ended, by cause.", "cause"),
		errors:    counters("switch_errors_total", "ERROR messages from switches, by type and code.", "error"),
		malformed: counters("malformed_total", "Messages that could not be read, by type.", "type"),
	}
	if reg != nil {
		reg.MustRegister(m.sessions)
	}
	return m
}

// errorLabel returns an ERROR's name for a metric's label. All errors that the
// specification doesn't have share one name, so that a switch can't make a series for
// every number.
func errorLabel(v flow.Protocol, e *flow.SwitchError) string {
	if ofp.KnownError(v, e.Type, e.Code) {
		return e.Name
	}
	return "other"
}
