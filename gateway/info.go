package gateway

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	buildInfo  = prometheus.NewDesc("switchbridge_build_info", "1, with the program's version and the Go that built it.", []string{"version", "goversion"}, nil)
	policyInfo = prometheus.NewDesc("switchbridge_policy_info", "1, with the policy version that counts.", []string{"policy"}, nil)
	functionUp = prometheus.NewDesc("switchbridge_function_up", "1 while a function answers: its latest policy check, or an event since.", []string{"function"}, nil)
)

// info shows Prometheus what the gateway is running.
type info struct{ g *Gateway }

// Describe implements [prometheus.Collector].
func (i info) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, policyInfo, functionUp} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (i info) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildInfo, 1, i.g.opts.Version, runtime.Version())
	if v := i.g.bridge.Versions().Latest(); !v.IsZero() {
		gauge(policyInfo, 1, v.String())
	}
	for _, r := range i.g.now().functions.remotes {
		up := 1.0
		if r.down.Load().(string) != "" {
			up = 0
		}
		gauge(functionUp, up, r.name)
	}
}
