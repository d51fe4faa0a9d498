package gateway

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/flow/decider"
	"switchbridge/httpclient"
	"switchbridge/internal/watched"
	"switchbridge/settings"
)

// functionMetrics count what happens around the functions.
type functionMetrics struct {
	client *httpclient.Metrics
	paced  *prometheus.CounterVec
	reused *prometheus.CounterVec
	used   *prometheus.GaugeVec
	beyond *prometheus.CounterVec
}

func newFunctionMetrics(reg *prometheus.Registry) *functionMetrics {
	m := &functionMetrics{
		client: httpclient.NewMetrics(reg),
		paced: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_paced_total",
			Help: "PACKET_INs over a configured rate, by bucket."}, []string{"bucket"}),
	}
	m.reused = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_reuse_total",
		Help: "What became of answers that hold for other packets, too: reused, replied or shared (the function was not asked), kept, or why one is not kept."}, []string{"function", "outcome"})
	m.used = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "switchbridge_function_budget_used",
		Help: "Share of a function's budget of calls that is used, by window: hour and day."}, []string{"function", "window"})
	m.beyond = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_function_budget_beyond_total",
		Help: "Events beyond a function's budget of calls."}, []string{"function"})
	reg.MustRegister(m.paced, m.reused, m.used, m.beyond)
	return m
}

// travelCollector shows Prometheus what the tables of states that travel hold and have refused.
type travelCollector struct{ functions func() *functions }

var (
	travelStates  = prometheus.NewDesc("switchbridge_travelling_states", "States that travel with events and are kept for a function.", []string{"function"}, nil)
	travelBytes   = prometheus.NewDesc("switchbridge_travelling_bytes", "Bytes of these states, their names and keys.", []string{"function"}, nil)
	travelRefused = prometheus.NewDesc("switchbridge_travelling_refused_total",
		"Answers that were not carried out for a state that they brought, by reason.", []string{"function", "reason"}, nil)
)

// Describe implements [prometheus.Collector].
func (*travelCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- travelStates
	ch <- travelBytes
	ch <- travelRefused
}

// Collect implements [prometheus.Collector].
func (c *travelCollector) Collect(ch chan<- prometheus.Metric) {
	shown := make(map[string]bool)
	show := func(function string, s *decider.State) {
		if s == nil || shown[function] { // a route may be called controller, too
			return
		}
		shown[function] = true
		st := s.Stats()
		ch <- prometheus.MustNewConstMetric(travelStates, prometheus.GaugeValue, float64(st.Entries), function)
		ch <- prometheus.MustNewConstMetric(travelBytes, prometheus.GaugeValue, float64(st.Bytes), function)
		for reason, n := range st.Refused {
			ch <- prometheus.MustNewConstMetric(travelRefused, prometheus.CounterValue, float64(n), function, reason)
		}
	}
	fs := c.functions()
	show("controller", fs.table)
	for _, r := range fs.remotes {
		show(r.name, r.state)
	}
}

// reuse counts what becomes of one function's answers.
func (m *functionMetrics) reuse(function string) func(decider.ReuseOutcome) {
	counters := make(map[decider.ReuseOutcome]prometheus.Counter)
	for _, o := range decider.ReuseOutcomes {
		counters[o] = m.reused.WithLabelValues(function, string(o))
	}
	return func(o decider.ReuseOutcome) { counters[o].Inc() }
}

// budget notes how much of one function's budget is used.
func (m *functionMetrics) budget(function string) func(hour, day float64, passed bool) {
	h, d, beyond := m.used.WithLabelValues(function, "hour"), m.used.WithLabelValues(function, "day"), m.beyond.WithLabelValues(function)
	return func(hour, day float64, passed bool) {
		h.Set(hour)
		d.Set(day)
		if !passed {
			beyond.Inc()
		}
	}
}

// newRemote makes the client of one function. The handshake is full where the
// gateway's is: then an event does not carry it.
func newRemote(name string, f *settings.Function, fullHandshake bool, log *slog.Logger, m *functionMetrics, results *watched.Results) (*remote, error) {
	var codec contract.Codec = openflow.Codec{Full: fullHandshake}
	other := &httpclient.Other{Codec: jsonenc.Codec{}, Advice: "say function.encoding: json (--encoding json)"}
	if f.Encoding == "json" {
		codec = jsonenc.Codec{}
		other = &httpclient.Other{Codec: openflow.Codec{Full: fullHandshake}, Advice: "say function.encoding: openflow (--encoding openflow)"}
	}
	client, err := httpclient.New(httpclient.Config{
		Endpoints:     f.URLs,
		Codec:         codec,
		CAFile:        f.CA,
		CertFile:      f.Cert,
		KeyFile:       f.Key,
		TokenFile:     f.TokenFile,
		HTTP2:         f.Protocol == "http2",
		UseProxy:      f.UseProxy,
		Connections:   f.Connections,
		MaxIdle:       f.Concurrency,
		ConnectionAge: f.ConnectionAge,
		Timeout:       f.Timeout,
		TryTimeout:    f.TryTimeout,
		Idempotent:    func(*flow.Event) bool { return f.Retry },
		HedgeAfter:    f.HedgeAfter,
		Log:           log.With("function", name),
		Metrics:       m.client,
		Other:         other,
		Results:       results,
	})
	if err != nil {
		return nil, err
	}
	return &remote{name: name, urls: f.URLs, client: client, files: client.Files, now: client.Endpoints, close: client.Close}, nil
}
