// Package wasmmetrics shows Prometheus what a wasmhost counts.
package wasmmetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/faas/instance/wasmhost"
)

// row is one metric and where its value is.
type row struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*wasmhost.Stats) float64
}

// Collector is a prometheus.Collector over one host's counts, which it reads when it is asked.
type Collector struct {
	stats func() wasmhost.Stats
	rows  []row
	reset *prometheus.Desc
	lost  *prometheus.Desc
}

// Reasons why an instance was thrown away.
const (
	lostTrap     = "trap"
	lostDeadline = "deadline"
	lostAnswer   = "bad answer"
	lostGrew     = "memory grew"
)

// New returns a collector whose metrics carry the function's name as a label.
func New(function string, stats func() wasmhost.Stats) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("switchbridge_wasm_"+name, help, labels, prometheus.Labels{"function": function})
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return &Collector{
		stats: stats,
		rows: []row{
			{desc("events_total", "Events that reached a guest."), counter, func(s *wasmhost.Stats) float64 { return float64(s.Events) }},
			{desc("waited_total", "Events that found all instances busy and waited."), counter, func(s *wasmhost.Stats) float64 { return float64(s.Waited) }},
			{desc("instances_created_total", "Instances made."), counter, func(s *wasmhost.Stats) float64 { return float64(s.Created) }},
			{desc("instances", "Instances there are."), gauge, func(s *wasmhost.Stats) float64 { return float64(s.Instances) }},
			{desc("restored_bytes_total", "Bytes of memory copied back to make instances pristine."), counter, func(s *wasmhost.Stats) float64 { return float64(s.BytesRestored) }},
			{desc("lean", "1 while events are decided by the part of the guest that usually decides."), gauge, func(s *wasmhost.Stats) float64 {
				if s.Lean {
					return 1
				}
				return 0
			}},
			{desc("completed_total", "How often an event needed more of the guest than what usually decides: once at most."), counter, func(s *wasmhost.Stats) float64 { return float64(s.Completed) }},
		},
		lost:  desc("instances_lost_total", "Instances thrown away, by reason.", "reason"),
		reset: desc("reset_info", "1 for the way in which instances are made pristine.", "way"),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for i := range c.rows {
		ch <- c.rows[i].desc
	}
	ch <- c.lost
	ch <- c.reset
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	for i := range c.rows {
		r := &c.rows[i]
		ch <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(&s))
	}
	for _, l := range []struct {
		reason string
		n      uint64
	}{{lostTrap, s.Traps}, {lostDeadline, s.Deadlines}, {lostAnswer, s.BadAnswers}, {lostGrew, s.Grew}} {
		ch <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(l.n), l.reason)
	}
	ch <- prometheus.MustNewConstMetric(c.reset, prometheus.GaugeValue, 1, s.Reset.String())
}
