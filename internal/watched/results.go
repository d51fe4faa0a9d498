package watched

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Result is how files were read the last time that they had changed.
type Result struct {
	What  string    `json:"what"` // configuration, policy, token, certificate
	File  string    `json:"file,omitempty"`
	Time  time.Time `json:"time"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"` // with file and line, where a line is wrong

	Changed []string `json:"changed,omitempty"`       // keys of a configuration that changed and count now
	Restart []string `json:"needs_restart,omitempty"` // keys that changed and count after a restart
}

// Results are the latest of all values of a program. The zero value is ready for
// use, and nil takes nothing. It is a prometheus.Collector.
type Results struct {
	mu sync.Mutex
	by map[any]Result
	at map[string]time.Time // when something of this kind was read with success last
}

// Note notes the result of something that is no [Value]; key stands for it.
func (r *Results) Note(key string, result Result) { r.note(key, result) }

func (r *Results) note(key any, result Result) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by, r.at = map[any]Result{}, map[string]time.Time{}
	}
	r.by[key] = result
	if result.OK {
		r.at[result.What] = result.Time
	}
}

// Drop takes out what [Results.Note] noted.
func (r *Results) Drop(key string) { r.drop(key) }

func (r *Results) drop(key any) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by, key)
}

// List returns the results, in an order that stays.
func (r *Results) List() []Result {
	list := []Result{}
	if r == nil {
		return list
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.by {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Result) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.File, b.File)) })
	return list
}

// Err says which files are not used as they are now, or nil.
func (r *Results) Err() error {
	var errs []error
	for _, v := range r.List() {
		if !v.OK {
			errs = append(errs, fmt.Errorf("the %s stays as it was: %s", v.What, v.Error))
		}
	}
	return errors.Join(errs...)
}

var (
	successDesc = prometheus.NewDesc("switchbridge_reload_success",
		"1 where the files of this kind are in use as they are, 0 where a change of one was refused, by what they hold.", []string{"what"}, nil)
	timeDesc = prometheus.NewDesc("switchbridge_reload_timestamp_seconds",
		"When files of this kind were read with success last, in Unix time, by what they hold.", []string{"what"}, nil)
)

// Describe implements prometheus.Collector.
func (r *Results) Describe(ch chan<- *prometheus.Desc) {
	ch <- successDesc
	ch <- timeDesc
}

// Collect implements prometheus.Collector.
func (r *Results) Collect(ch chan<- prometheus.Metric) {
	good := map[string]float64{}
	for _, v := range r.List() {
		if _, seen := good[v.What]; !seen {
			good[v.What] = 1
		}
		if !v.OK {
			good[v.What] = 0
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, v := range good {
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, v, what)
	}
	for what, at := range r.at {
		ch <- prometheus.MustNewConstMetric(timeDesc, prometheus.GaugeValue, float64(at.UnixNano())/1e9, what)
	}
}
