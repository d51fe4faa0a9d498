package bridge

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// Metrics counts what sessions do, for both protocols. Build it with
// [NewMetrics].
type Metrics struct {
	events     *prometheus.CounterVec // protocol, type
	drops      *prometheus.CounterVec // protocol, cause
	shed       *prometheus.CounterVec // protocol, type
	collapsed  *prometheus.CounterVec // protocol, type
	rules      *prometheus.CounterVec // protocol, outcome
	stage      *prometheus.HistogramVec
	coalesced  *prometheus.CounterVec // protocol
	swept      *prometheus.CounterVec // protocol
	renewed    *prometheus.CounterVec // protocol, outcome
	replies    *prometheus.CounterVec // protocol, outcome
	rejects    *prometheus.CounterVec // protocol, outcome
	standing   *prometheus.CounterVec // protocol
	revoked    *prometheus.CounterVec // protocol
	again      *prometheus.CounterVec // protocol
	ungoverned prometheus.Gauge
	storm      prometheus.Gauge
	offered    prometheus.Gauge
	guard      *guard.Metrics
	switches   *switchMetrics
	made       sync.Map // what of returned, by protocol's label
}

// NewMetrics registers the metrics with reg; nil registers nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_" + name, Help: help}, labels)
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	m := &Metrics{
		guard:     guard.NewMetrics(reg),
		switches:  new(switchMetrics),
		events:    counters("events_total", "Events from switches, by protocol and type.", "protocol", "type"),
		drops:     counters("packet_in_drops_total", "Packets dropped without a decision's say, by protocol and cause.", "protocol", "cause"),
		shed:      counters("events_shed_total", "Events other than packets that found the queue full, by protocol and type.", "protocol", "type"),
		collapsed: counters("events_collapsed_total", "Events other than packets that say what one that waits says already, by protocol and type.", "protocol", "type"),
		rules:     counters("rules_total", "Rules by protocol and what became of them: sent, refused_by_switch, fell (removed because a rule above was refused).", "protocol", "outcome"),
		coalesced: counters("coalesced_total", "Packets answered by the decision of an equal one that was under way.", "protocol"),
		swept:     counters("swept_rules_total", "Rules of older policy versions that were removed.", "protocol"),
		renewed:   counters("renewed_rules_total", "Rules of an older policy at a change of policy: untouched (they stay), same (the function was asked, and they stay), changed (it was asked, and they went), denied (they went at once), unanswered (they went).", "protocol", "outcome"),
		replies:   counters("reply_looks_total", "Packets that may be replies, by how their question's rule was looked for: remembered, found, none, shed (more than the switch is asked about), failed.", "protocol", "outcome"),
		rejects:   counters("rejected_packets_total", "Packets whose sender was to be told that they were refused, by what became of that: sent, shed (more than senders are told), silent (a packet that nothing may answer, such as multicast), no_packet (the switch sent only its headers), passes (the answer lets the packet pass), failed.", "protocol", "outcome"),
		revoked:   counters("revoked_rules_total", "Rules that were removed because a state changed on which they rest.", "protocol"),
		again:     counters("decided_again_total", "Events decided once more because a state changed while they were under way.", "protocol"),
		standing:  counters("standing_restored_total", "Times that rules which must always be in a switch were missing and were put back.", "protocol"),
		ungoverned: prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_ungoverned_switches",
			Help: "Switches that are connected and lack a rule that brings packets to the gateway."}),
		storm: prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_policy_storm_seconds",
			Help: "While a function's policy version changes again and again: the pause between two times that switches are brought in line. 0: no storm."}),
		offered: prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchbridge_policy_rollback_offered",
			Help: "1 while the function has had a lower policy serial for a minute, which an operator may roll back to."}),
		stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "switchbridge_stage_seconds",
			Help:    "Time of a packet in each stage: wait (for a worker), decide, total (read to handed to the connection).",
			Buckets: []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}, []string{"protocol", "stage"}),
	}
	if reg != nil {
		reg.MustRegister(m.stage, m.ungoverned, m.storm, m.offered, m.switches)
	}
	return m
}

// protocolMetrics are Metrics with what the hot path needs filled in.
type protocolMetrics struct {
	*Metrics
	protocol   string
	packetIns  prometheus.Counter
	installed  prometheus.Counter
	coalesced  prometheus.Counter
	revoked    prometheus.Counter
	again      prometheus.Counter
	stageWait  observer
	stageTotal observer
	stageMake  observer
}

// observer is a histogram, whose buckets name a trace.
type observer interface {
	prometheus.Observer
	prometheus.ExemplarObserver
}

// of is the same for all sessions of a protocol.
func (m *Metrics) of(p flow.Protocol) *protocolMetrics {
	name := protocolLabel(p)
	if made, ok := m.made.Load(name); ok {
		return made.(*protocolMetrics)
	}
	made, _ := m.made.LoadOrStore(name, &protocolMetrics{Metrics: m, protocol: name,
		packetIns:  m.events.WithLabelValues(name, "packet_in"),
		installed:  m.rules.WithLabelValues(name, "sent"),
		coalesced:  m.coalesced.WithLabelValues(name),
		revoked:    m.revoked.WithLabelValues(name),
		again:      m.again.WithLabelValues(name),
		stageWait:  m.stage.WithLabelValues(name, "wait").(observer),
		stageMake:  m.stage.WithLabelValues(name, "decide").(observer),
		stageTotal: m.stage.WithLabelValues(name, "total").(observer),
	})
	return made.(*protocolMetrics)
}

// protocolLabel is the protocol as a label: openflow or p4.
func protocolLabel(p flow.Protocol) string {
	if p == flow.P4Runtime {
		return "p4"
	}
	return "openflow"
}

// eventLabel is an event's type as a label, such as packet_in.
func eventLabel(t flow.EventType) string {
	return strings.TrimSuffix(strings.TrimPrefix(t.String(), "switchbridge."), ".v1")
}
