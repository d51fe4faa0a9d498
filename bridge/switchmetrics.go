package bridge

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/flow"
)

// maxNamedSwitches bounds how many switches have metrics of their own. Those
// beyond are counted together: a datapath id is what a peer says it is.
const maxNamedSwitches = 256

// tally is what a session counts of its switch. Reading it costs the session nothing.
type tally struct {
	events  atomic.Uint64 // packets and other events
	drops   atomic.Uint64 // packets without a decision's say
	allowed atomic.Uint64
	denied  atomic.Uint64
	none    atomic.Uint64 // decisions without a verdict
	failed  atomic.Uint64 // events without a decision
}

// decided counts a decision about a packet.
func (t *tally) decided(rec *Record) {
	switch {
	case rec.Failure() != nil:
		t.failed.Add(1)
	case rec.Decision.Verdict == flow.Allow:
		t.allowed.Add(1)
	case rec.Decision.Verdict == flow.Deny:
		t.denied.Add(1)
	default:
		t.none.Add(1)
	}
}

// counts are a tally's numbers, in the order of switchCounts.
type counts [6]uint64

func (t *tally) counts() counts {
	return counts{t.events.Load(), t.drops.Load(), t.allowed.Load(), t.denied.Load(), t.none.Load(), t.failed.Load()}
}

func (c *counts) add(d counts) {
	for i := range c {
		c[i] += d[i]
	}
}

var (
	switchEvents    = prometheus.NewDesc("switchbridge_switch_events_total", "Events from a switch; other stands for switches beyond 256.", []string{"dpid"}, nil)
	switchDrops     = prometheus.NewDesc("switchbridge_switch_packet_in_drops_total", "Packets of a switch that were dropped without a decision's say.", []string{"dpid"}, nil)
	switchDecisions = prometheus.NewDesc("switchbridge_switch_decisions_total", "Decisions about packets of a switch, by verdict; failed: without a decision.", []string{"dpid", "verdict"}, nil)
	switchPending   = prometheus.NewDesc("switchbridge_switch_pending", "Events of a switch that wait for a decision or are being decided.", []string{"dpid"}, nil)
)

// switchCounts say what the numbers of counts are.
var switchCounts = [len(counts{})]struct {
	desc    *prometheus.Desc
	verdict []string
}{{switchEvents, nil}, {switchDrops, nil}, {switchDecisions, []string{"allow"}}, {switchDecisions, []string{"deny"}},
	{switchDecisions, []string{"none"}}, {switchDecisions, []string{"failed"}}}

// switchMetrics shows Prometheus what sessions count, by switch. A switch that
// connects again counts on from where it was.
type switchMetrics struct {
	mu    sync.Mutex
	named map[flow.DPID]*namedSwitch
	other namedSwitch // all switches that found no room in named
	ends  uint64      // sessions that have ended
}

// namedSwitch is a row of the metrics.
type namedSwitch struct {
	ended counts // by sessions that have ended
	open  map[*Session]struct{}
	last  uint64 // which of all ends its latest session's was
}

// enter takes a session in. Of switches that are not connected the one that has
// been away longest gives way.
func (m *switchMetrics) enter(s *Session, dpid flow.DPID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.named[dpid]
	if row == nil && len(m.named) >= maxNamedSwitches {
		m.evict()
	}
	switch {
	case row != nil:
	case len(m.named) < maxNamedSwitches:
		if m.named == nil {
			m.named = make(map[flow.DPID]*namedSwitch)
		}
		row = new(namedSwitch)
		m.named[dpid] = row
	default:
		row = &m.other
	}
	if row.open == nil {
		row.open = make(map[*Session]struct{})
	}
	row.open[s] = struct{}{}
	s.row = row
}

// evict has the switch that was away longest counted among the others.
func (m *switchMetrics) evict() {
	var oldest flow.DPID
	var row *namedSwitch
	for dpid, r := range m.named {
		if len(r.open) == 0 && (row == nil || r.last < row.last) {
			oldest, row = dpid, r
		}
	}
	if row != nil {
		m.other.ended.add(row.ended)
		delete(m.named, oldest)
	}
}

// leave keeps what a session has counted.
func (m *switchMetrics) leave(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, open := s.row.open[s]; open {
		delete(s.row.open, s)
		s.row.ended.add(s.tally.counts())
		m.ends++
		s.row.last = m.ends
	}
}

// Describe implements [prometheus.Collector].
func (m *switchMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{switchEvents, switchDrops, switchDecisions, switchPending} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *switchMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	show := func(name string, row *namedSwitch) {
		sum, pending := row.ended, 0
		for s := range row.open {
			sum.add(s.tally.counts())
			pending += s.b.pool.pending(&s.queue)
		}
		if row == &m.other && sum == (counts{}) && len(row.open) == 0 {
			return
		}
		for i, d := range switchCounts {
			ch <- prometheus.MustNewConstMetric(d.desc, prometheus.CounterValue, float64(sum[i]), append([]string{name}, d.verdict...)...)
		}
		ch <- prometheus.MustNewConstMetric(switchPending, prometheus.GaugeValue, float64(pending), name)
	}
	for dpid, row := range m.named {
		show(dpid.String(), row)
	}
	show("other", &m.other)
}
