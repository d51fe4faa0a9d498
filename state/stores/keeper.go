package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/state"
	"switchbridge/state/travel"
)

// Keeper puts what reads and swaps states around the controllers of a process. A nil Keeper has no store: it takes no policy with
// machines.
type Keeper struct {
	store    state.Store
	settings Settings
	log      *slog.Logger
	pair     bool // the gateway is one of two, of which the other one does not have what this one keeps
}

// Open opens the store that the settings name. It returns nil where they name none.
func Open(ctx context.Context, s Settings, openers Openers, log *slog.Logger) (*Keeper, error) {
	store, err := s.Open(ctx, openers, log)
	if store == nil || err != nil {
		return nil, err
	}
	return &Keeper{store: store, settings: s, log: log}, nil
}

// Trace has every question to the store be a part of its event's trace.
func (k *Keeper) Trace(t trace.Tracer) {
	if k != nil && t != nil {
		k.store = &traced{k.store, t}
	}
}

// traced is a store whose questions are traced.
type traced struct {
	state.Store
	tracer trace.Tracer
}

// Get implements [state.Store].
func (s *traced) Get(ctx context.Context, keys []string, values []state.Value) error {
	ctx, span := s.tracer.Start(ctx, "state get")
	return ended(span, s.Store.Get(ctx, keys, values))
}

// CompareAndSwap implements [state.Store].
func (s *traced) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	ctx, span := s.tracer.Start(ctx, "state swap")
	version, err := s.Store.CompareAndSwap(ctx, key, old, data, ttl)
	return version, ended(span, err)
}

// Delete implements [state.Store].
func (s *traced) Delete(ctx context.Context, key string, old uint64) error {
	ctx, span := s.tracer.Start(ctx, "state delete")
	return ended(span, s.Store.Delete(ctx, key, old))
}

// ended ends a span with what came of it. A race that was lost is no error.
func ended(span trace.Span, err error) error {
	switch {
	case errors.Is(err, state.ErrConflict):
		span.SetAttributes(attribute.Bool("conflict", true))
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
	return err
}

// Controller is what decides by a policy with machines.
type Controller interface {
	flow.Decider
	state.Machines
}

// Kept is a controller with what reads and swaps around it.
type Kept struct {
	keeper  *Keeper
	name    string
	decider *state.Decider // nil: there is no store
}

// Askers says who asks a controller.
type Askers bool

const (
	OneGateway      Askers = false // alone, and in its own process
	SeveralGateways Askers = true  // who are not told when a state changes that another one's packet has changed
)

// Keep puts what reads and swaps around a controller. The name is of the function, for metrics and the log.
func (k *Keeper) Keep(name string, c Controller, askers Askers) (*Kept, error) {
	if k == nil {
		return &Kept{}, nil
	}
	onFailure, err := state.ParseOnFailure(k.settings.OnFailure)
	if err != nil {
		return nil, err
	}
	var staleness time.Duration
	if !k.Travels() && (askers == SeveralGateways || k.store.Promise().Shared) { // of what travels each gateway has its own
		staleness = k.settings.Staleness.Truncate(time.Second)
	}
	d := state.New(state.Config{Next: c, Machines: c, Store: k.store, Timeout: k.settings.Timeout, OnFailure: onFailure, Check: machine.CheckValue,
		Staleness: staleness, Local: machine.LocalKey,
		Report: func(kind state.Failure, err error, untold int) {
			k.log.Warn("a state can't be used", "function", name, "store", k.store.String(), "failure", kind.String(), "err", err,
				"on_failure", k.settings.OnFailure, "not_logged", untold)
		}})
	return &Kept{keeper: k, name: name, decider: d}, nil
}

// Decider is what is asked in the place of next, which is the controller or leads to it.
func (x *Kept) Decider(next flow.Decider) flow.Decider {
	if x.decider == nil {
		return next
	}
	return x.decider
}

// Takes says why the controller can't be given a policy; nil where it can.
func (x *Kept) Takes(p *policy.Policy) error {
	if p.Stateful() && x.decider != nil && x.decider.Rushed() {
		return fmt.Errorf("the policy has machines, and the first policy had none: the gateway would have to wait for %s where it must not wait. Restart it to use this policy", x.keeper.store)
	}
	return x.keeper.Takes(p)
}

// Takes says why no controller could be given a policy; nil where one could.
func (k *Keeper) Takes(p *policy.Policy) error {
	if k == nil && p.Stateful() {
		return ErrNoStore
	}
	if k.Travels() {
		return CantTravel(p, k.pair)
	}
	return nil
}

// CantTravel is the error for a policy whose states must not travel; nil for one whose states may.
func CantTravel(p *policy.Policy, pair bool) error {
	if why := p.CantTravel(pair); len(why) > 0 {
		return fmt.Errorf("states can't travel with events (state.url %s): %s", travel.URL, strings.Join(why, "; "))
	}
	return nil
}

// InPair says that the gateway is one of a pair.
func (k *Keeper) InPair() {
	if k != nil {
		k.pair = true
	}
}

// Forget forgets the states of a store that this process has alone: they may be older than what another one has. What several share stays.
func (k *Keeper) Forget() {
	if k == nil {
		return
	}
	store := k.store
	if t, ok := store.(*traced); ok {
		store = t.Store
	}
	if f, ok := store.(state.Forgetful); ok {
		f.Forget()
	}
}

// Travels reports whether states travel with events, so that whoever asks must bring them back.
func (k *Keeper) Travels() bool { return k != nil && k.settings.Travels() }

// ErrNoStore says that a policy has machines, and that there is no store.
var ErrNoStore = errors.New(`the policy has machines, and nothing keeps their states: name a store, such as state: {url: "redis://127.0.0.1:6379"} in the configuration or --state redis://127.0.0.1:6379 (on Lambda, SWITCHBRIDGE_STATE); ` +
	`memory: keeps them in this process and forgets them with it (docs/state.md)`)

// Metrics are those of the states of one function; nil where there is no store.
func (x *Kept) Metrics() prometheus.Collector {
	if x == nil || x.decider == nil {
		return nil
	}
	return newCollector(x.name, x.decider.Stats)
}

// Shared reports whether other processes find the same states.
func (k *Keeper) Shared() bool { return k != nil && k.store.Promise().Shared }

// Close closes the store.
func (k *Keeper) Close() error {
	if k == nil {
		return nil
	}
	return k.store.Close()
}

// collector shows Prometheus what a decider counts.
type collector struct {
	stats                           func() state.Stats
	reads, swaps, conflicts, failed *prometheus.Desc
}

func newCollector(function string, stats func() state.Stats) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("switchbridge_state_"+name, help, labels, prometheus.Labels{"function": function})
	}
	return &collector{stats: stats,
		reads:     desc("reads_total", "Questions to the store about an event's states."),
		swaps:     desc("swaps_total", "Changes of a state that were tried."),
		conflicts: desc("conflicts_total", "Events that were decided again since another one had changed a state meanwhile."),
		failed:    desc("failures_total", "States that could not be used, by reason.", "reason"),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.reads, c.swaps, c.conflicts, c.failed} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(c.reads, s.Reads)
	count(c.swaps, s.Swaps)
	count(c.conflicts, s.Conflicts)
	for f, n := range s.Failed {
		count(c.failed, n, f.String())
	}
}
