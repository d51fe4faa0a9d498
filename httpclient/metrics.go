package httpclient

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are called as things happen, by several goroutines and on an event's
// path: they must not block. Any of them, and a nil *Metrics, may be nil. An
// endpoint is named by its URL without the query.
type Metrics struct {
	// Request is called for each request that has ended, repeats and hedges too.
	// trace is the id of its trace; empty: none.
	Request func(endpoint string, outcome Outcome, took time.Duration, trace string)
	// Retry is called for each request that repeats one.
	Retry func(endpoint string)
	// Hedge is called for each second request, when it is sent.
	Hedge func(endpoint string)
	// Breaker is called with "closed", "open" or "half-open" when the state changes, and at the start.
	Breaker func(endpoint, state string)
	// Quarantined is called for each event that is not sent because the function
	// fails on what is like it: "packet" or "switch".
	Quarantined func(what string)
}

func (m *Metrics) request(endpoint string, o Outcome, took time.Duration, trace string) {
	if m != nil && m.Request != nil {
		m.Request(endpoint, o, took, trace)
	}
}

func (m *Metrics) retry(endpoint string) {
	if m != nil && m.Retry != nil {
		m.Retry(endpoint)
	}
}

func (m *Metrics) hedge(endpoint string) {
	if m != nil && m.Hedge != nil {
		m.Hedge(endpoint)
	}
}

func (m *Metrics) quarantined(what string) {
	if m != nil && m.Quarantined != nil {
		m.Quarantined(what)
	}
}

func (m *Metrics) breaker(endpoint, state string) {
	if m != nil && m.Breaker != nil {
		m.Breaker(endpoint, state)
	}
}

// NewMetrics returns metrics that count in reg. They may be shared by the
// clients of several functions.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "switchbridge_function_request_seconds",
		Help:    "Time of each request to a function, by endpoint and outcome.",
		Buckets: []float64{1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}, []string{"endpoint", "outcome"})
	retries := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_function_retries_total",
		Help: "Requests that repeated one, by endpoint."}, []string{"endpoint"})
	hedges := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_function_hedges_total",
		Help: "Second requests for an event whose answer was late, by endpoint."}, []string{"endpoint"})
	breakers := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "switchbridge_function_breaker",
		Help: "1 for the state that an endpoint's breaker is in."}, []string{"endpoint", "state"})
	quarantined := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_function_quarantined_total",
		Help: "Events that were not sent, because the function answered 5xx to the same packet, or to several of the same switch, a moment ago."}, []string{"what"})
	reg.MustRegister(requests, retries, hedges, breakers, quarantined)
	return &Metrics{
		Request: func(endpoint string, o Outcome, took time.Duration, trace string) {
			h := requests.WithLabelValues(endpoint, string(o))
			if trace == "" {
				h.Observe(took.Seconds())
				return
			}
			h.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": trace})
		},
		Retry:       func(endpoint string) { retries.WithLabelValues(endpoint).Inc() },
		Quarantined: func(what string) { quarantined.WithLabelValues(what).Inc() },
		Hedge:       func(endpoint string) { hedges.WithLabelValues(endpoint).Inc() },
		Breaker: func(endpoint, state string) {
			for _, s := range []string{"closed", "half-open", "open"} {
				v := 0.0
				if s == state {
					v = 1
				}
				breakers.WithLabelValues(endpoint, s).Set(v)
			}
		},
	}
}
