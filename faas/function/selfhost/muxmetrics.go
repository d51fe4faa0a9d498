package selfhost

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/faas/function/httphost"
)

// muxMetrics is a server's [httphost.Metrics].
type muxMetrics struct {
	events  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	busy    *prometheus.GaugeVec
	refused prometheus.Counter
}

func newMuxMetrics(reg prometheus.Registerer) *muxMetrics {
	byFunction := []string{"function"}
	m := &muxMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchbridge_function_requests_total", Help: "Requests by function and status.",
		}, []string{"function", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "switchbridge_function_seconds", Help: "From a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(4e-6, 4, 10), // 4 us to 1 s
		}, byFunction),
		busy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "switchbridge_function_busy", Help: "Requests that are being answered.",
		}, byFunction),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "switchbridge_function_refused_total", Help: "Callers without a valid token or certificate.",
		}),
	}
	reg.MustRegister(m.events, m.seconds, m.busy, m.refused)
	return m
}

// Refused implements [httphost.Metrics].
func (m *muxMetrics) Refused() { m.refused.Inc() }

// Of implements [httphost.Metrics]. Labels are looked up here and not for each request.
func (m *muxMetrics) Of(function string) httphost.Requests {
	return &requests{m, function, m.events.WithLabelValues(function, strconv.Itoa(http.StatusOK)), m.seconds.WithLabelValues(function), m.busy.WithLabelValues(function)}
}

type requests struct {
	metrics  *muxMetrics
	function string
	ok       prometheus.Counter // answers with 200, most of them
	seconds  prometheus.Observer
	busy     prometheus.Gauge
}

// Begun implements [httphost.Requests].
func (q *requests) Begun() { q.busy.Inc() }

// Ended implements [httphost.Requests].
func (q *requests) Ended() { q.busy.Dec() }

// Answered implements [httphost.Requests].
func (q *requests) Answered(status int, took time.Duration) {
	switch {
	case status == http.StatusOK:
		q.ok.Inc()
	case http.StatusText(status) == "": // a guest may answer with any number
		q.metrics.events.WithLabelValues(q.function, "other").Inc()
	default:
		q.metrics.events.WithLabelValues(q.function, strconv.Itoa(status)).Inc()
	}
	q.seconds.Observe(took.Seconds())
}
