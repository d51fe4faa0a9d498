package p4bridge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the package's, shared by its sessions; each series carries the
// device's id. What happens to packets and rules the bridge counts.
type Metrics struct {
	up       *prometheus.GaugeVec   // 1: primary and serving
	sessions *prometheus.CounterVec // started
	updates  *prometheus.CounterVec // by table and result
	entries  *prometheus.GaugeVec   // by table
	packets  *prometheus.GaugeVec   // by table, as the switch counts
	bytes    *prometheus.GaugeVec

	contradictions *prometheus.CounterVec
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
		up:             gauge("up", "1 while the gateway is the switch's primary and serves it."),
		sessions:       counter("sessions_total", "Sessions started."),
		updates:        counter("updates_total", "Updates of table entries, by table and result.", "table", "result"),
		entries:        gauge("entries", "This gateway's view of how many entries a table has.", "table"),
		packets:        gauge("table_packets", "Packets that hit a table's entries, as the switch counts them.", "table"),
		contradictions: counter("contradictions_total", "Packets whose packet_in header and frame tell different things."),
		bytes:          gauge("table_bytes", "Bytes that hit a table's entries, as the switch counts them.", "table"),
	}
	if reg != nil {
		reg.MustRegister(m.up, m.sessions, m.updates, m.entries, m.packets, m.bytes, m.contradictions)
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

func (m deviceMetrics) update(t, r string) { m.updates.WithLabelValues(m.device, t, r).Inc() }
func (m deviceMetrics) serving(on float64) { m.up.WithLabelValues(m.device).Set(on) }

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
