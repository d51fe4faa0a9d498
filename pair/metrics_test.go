package pair

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/internal/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	reg := prometheus.NewRegistry()
	NewMetrics(reg)
	metricsdoc.Check(t, "../docs/pairs.md", reg, "pair")
}

// TestWhoLeadsIsSaid: metrics and status say who leads, since when, why, and whether the other one answers.
func TestWhoLeadsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := pairOf(t)
		m := pair[0]
		reg := prometheus.NewRegistry()
		m.cfg.Metrics = NewMetrics(reg)
		value := func(name string) float64 {
			t.Helper()
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == name {
					one := f.GetMetric()[0]
					return one.GetGauge().GetValue() + one.GetCounter().GetValue() // it has one of them
				}
			}
			t.Fatalf("no metric %s", name)
			return 0
		}
		says := func(when string, leads, answers, changes float64, why string, since time.Time) {
			t.Helper()
			if l, a, n := value("switchbridge_pair_leads"), value("switchbridge_pair_peer_answers"), value("switchbridge_pair_changes_total"); l != leads || a != answers || n != changes {
				t.Errorf("%s: metrics say leads %v, answers %v, %v changes; want %v, %v, %v", when, l, a, n, leads, answers, changes)
			}
			if st := m.Status(); st.Leads != (leads == 1) || st.Answers != (answers == 1) || float64(st.Changes) != changes || st.Why != why || !st.Since.Equal(since) {
				t.Errorf("%s: status %+v, want %q since %v", when, st, why, since)
			}
		}
		start := time.Now()
		says("at the start", 0, 0, 0, "started", start)
		var alone time.Time
		for alone.IsZero() && time.Since(start) < time.Minute {
			time.Sleep(DefaultPoll)
			if m.look(time.Now()); m.Term(1).Leads {
				alone = time.Now()
			}
		}
		says("alone", 1, 0, 1, "the other gateway has never answered", alone)
		time.Sleep(100 * time.Millisecond)
		m.hears(pair[1], time.Now())
		m.look(time.Now())
		says("with the other one", 1, 1, 1, "the other gateway has never answered", alone)
		time.Sleep(100 * time.Millisecond)
		m.mu.Lock()
		m.yield(time.Now(), "the lead was handed over")
		m.mu.Unlock()
		says("when it has yielded", 0, 1, 2, "the lead was handed over", time.Now())
	})
}
