package p4bridge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the package's, shared by its sessions; each series carries the
// device's id.
type Metrics struct {
	up        *prometheus.GaugeVec   // 1: primary and serving
	sessions  *prometheus.CounterVec // started
	events    *prometheus.CounterVec // by kind: digest, packet_in, idle
	dropped   *prometheus.CounterVec // by reason
	updates   *prometheus.CounterVec // by table and result
	entries   *prometheus.GaugeVec   // by table
	packets   *prometheus.GaugeVec   // by table, as the switch counts
	bytes     *prometheus.GaugeVec
	decisions *prometheus.CounterVec // by result
	answer    *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them; with nil they count unseen.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "switchbridge", Subsystem: "p4", Name: name, Help: help}, append([]string{"device"}, labels...))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "switchbridge", Subsystem: "p4", Name: name, Help: help}, append([]string{"device"}, labels...))
	}
	m := &Metrics{
		up:        gauge("up", "1 while the gateway is the switch's primary and serves it."),
		sessions:  counter("sessions_total", "Sessions started."),
		events:    counter("events_total", "Digests, packets and idle notices from the switch.", "kind"),
		dropped:   counter("dropped_total", "Events and packets given up, by reason.", "reason"),
		updates:   counter("updates_total", "Updates of table entries, by table and result.", "table", "result"),
		entries:   gauge("entries", "This gateway's view of how many entries a table has.", "table"),
		packets:   gauge("table_packets", "Packets that hit a table's entries, as the switch counts them.", "table"),
		bytes:     gauge("table_bytes", "Bytes that hit a table's entries, as the switch counts them.", "table"),
		decisions: counter("decisions_total", "Decisions, by result.", "result"),
		answer: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "switchbridge", Subsystem: "p4", Name: "answer_seconds", Help: "From reading an event to its rules being written.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"device"}),
	}
	if reg != nil {
		reg.MustRegister(m.up, m.sessions, m.events, m.dropped, m.updates, m.entries, m.packets, m.bytes, m.decisions, m.answer)
	}
	return m
}

// deviceMetrics are Metrics with the device's id filled in.
type deviceMetrics struct {
	*Metrics
	device string
}

func (m *Metrics) of(device uint64) deviceMetrics {
	return deviceMetrics{m, strconv.FormatUint(device, 10)}
}

func (m deviceMetrics) drop(reason string) { m.dropped.WithLabelValues(m.device, reason).Inc() }
func (m deviceMetrics) decided(res string) { m.decisions.WithLabelValues(m.device, res).Inc() }
func (m deviceMetrics) update(t, r string) { m.updates.WithLabelValues(m.device, t, r).Inc() }
func (m deviceMetrics) serving(on float64) { m.up.WithLabelValues(m.device).Set(on) }
func (m deviceMetrics) eventsOf(kind string, n int) {
	m.events.WithLabelValues(m.device, kind).Add(float64(n))
}
func (m deviceMetrics) drops(reason string, n int) {
	if n > 0 {
		m.dropped.WithLabelValues(m.device, reason).Add(float64(n))
	}
}

// tableMetrics are a table's series, which every write touches.
type tableMetrics struct {
	written, deleted, refused prometheus.Counter
	entries                   prometheus.Gauge
}

func (m deviceMetrics) table(name string) *tableMetrics {
	result := func(r string) prometheus.Counter { return m.updates.WithLabelValues(m.device, name, r) }
	return &tableMetrics{
		written: result("written"), deleted: result("deleted"), refused: result("refused"),
		entries: m.entries.WithLabelValues(m.device, name),
	}
}
