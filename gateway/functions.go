package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/instance/wasmhost/wasmmetrics"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/httpclient"
	"switchbridge/internal/task"
	"switchbridge/policy"
	"switchbridge/settings"
)

// functions is what decides, with every decorator around it. [newFunctions] is
// where the decorators and their order are chosen. What an event passes before
// and after them is the bridge's; its String prints the whole chain.
type functions struct {
	decider flow.Decider
	pace    *decider.Pace // nil where no rate is configured
	names   []string      // for people: URLs, or native

	local    policyhost.Host // decides in this process; nil where every function is remote
	policy   *policyhost.File
	vlans    bool               // the local policy, as it is at the start, looks at VLANs
	embedded *embedded.Function // what runs in local; nil where local is none or native
	remotes  []*remote
	check    *bridge.PolicyCheck // nil where no function is remote
	set      *settings.Settings
	log      *slog.Logger
	reg      *prometheus.Registry
}

// remote is one function behind URLs.
type remote struct {
	name   string
	client flow.Decider
	close  func() error
	seen   atomic.Bool  // it has answered since the start
	down   atomic.Value // string: why it did not answer its latest policy check; "" when it has answered since
}

// newFunctions makes the functions and puts the decorators around them: from the
// outside in a fail mode, routes, and for each remote function its state and its
// limit.
func newFunctions(set *settings.Settings, log *slog.Logger, reg *prometheus.Registry) (*functions, error) {
	fs := &functions{set: set, log: log, reg: reg}
	m := newFunctionMetrics(reg)
	around := func(name string, f *settings.Function) (flow.Decider, error) {
		if !f.Remote() {
			return fs.inProcess(f)
		}
		r, err := fs.remote(name, f, m)
		if err != nil {
			return nil, err
		}
		observe := &decider.Observe{Next: r.client, On: r.observe(log)}
		return decider.NewState(decider.NewLimit(observe, f.Concurrency, set.Limits.Queue), decider.StateLimits{}), nil
	}
	fallback, err := around("default", &set.Function)
	if err != nil {
		return nil, errors.Join(err, fs.close())
	}
	next := fallback
	if len(set.Routes) > 0 {
		routes := make([]decider.Route, len(set.Routes))
		for i := range set.Routes {
			r := &set.Routes[i]
			d, err := around(r.Name, &r.Function)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("routes[%d] %q: %w", i, r.Name, err), fs.close())
			}
			routes[i] = decider.Route{Name: r.Name, EthTypes: r.EthTypes, IPProtos: r.IPProtos, Decider: d}
			for _, p := range r.Switches {
				routes[i].Switches = append(routes[i].Switches, p)
			}
			for _, p := range r.Ports {
				routes[i].Ports = append(routes[i].Ports, flow.PortNo(p))
			}
		}
		next = decider.NewRoutes(routes, fallback)
	}

	if len(fs.remotes) > 0 && set.Function.PolicyCheck > 0 {
		fs.check = &bridge.PolicyCheck{Decider: next, Interval: set.Function.PolicyCheck}
	}
	fail := &decider.FailMode{Next: next, PerSwitch: map[flow.DPID]decider.Mode{}, Default: failMode(set.FailMode.Default)}
	for dpid, mode := range set.FailMode.Switches {
		d, err := flow.ParseDPID(dpid)
		if err != nil {
			return nil, errors.Join(err, fs.close())
		}
		fail.PerSwitch[d] = failMode(mode)
	}
	fs.decider = fail
	if l := &set.Limits; l.PerSwitch.Rate > 0 || l.PerPort.Rate > 0 || l.EssentialsRate.Rate > 0 || l.Incomplete.Rate > 0 {
		fs.pace = decider.NewPace(fail, decider.Rates{PerSwitch: rateOf(l.PerSwitch), PerPort: rateOf(l.PerPort), Essentials: rateOf(l.EssentialsRate),
			Incomplete: rateOf(l.Incomplete)})
		fs.pace.OnPaced = func(_ *flow.Event, bucket string) { m.paced.WithLabelValues(bucket).Inc() }
	}
	return fs, nil
}

func failMode(m settings.Mode) decider.Mode {
	if m == settings.ModeStandalone {
		return decider.Standalone
	}
	return decider.Secure
}

func rateOf(r settings.Rate) decider.Rate {
	if r.Rate > 0 && r.Burst < 1 {
		r.Burst = max(1, int(r.Rate))
	}
	return decider.Rate{PerSecond: r.Rate, Burst: r.Burst}
}

// guardrails are those that the settings ask for.
func guardrails(set *settings.Settings) *guard.Guardrails {
	s := &set.Guardrails
	g := &guard.Guardrails{Tables: guard.Tables(s.Tables...), MinPriority: s.MinPriority, MaxPriority: s.MaxPriority, MaxRules: s.MaxRules,
		HardTimeout: s.HardTimeout, MaxHardTimeout: s.MaxHardTimeout, ProactiveWide: s.ProactiveWide}
	for _, m := range set.OpenFlow.Meters {
		g.Meters = append(g.Meters, m.ID)
	}
	return g
}

// inProcess is the controller in this process, which all routes share.
func (fs *functions) inProcess(f *settings.Function) (flow.Decider, error) {
	if fs.local == nil {
		file, p, err := policyhost.Open(fs.set.Policy, fs.log)
		if err != nil {
			return nil, err
		}
		if fs.local, err = fs.host(f.URLs[0], p); err != nil {
			return nil, err
		}
		fs.policy, fs.vlans = file, p.LooksAt()&flow.FieldVLAN != 0
		fs.names = append(fs.names, f.URLs[0])
	}
	return fs.local, nil
}

// remote makes the client of one function behind URLs.
func (fs *functions) remote(name string, f *settings.Function, m *functionMetrics) (*remote, error) {
	r, err := newRemote(name, f, bool(fs.set.OpenFlow.Handshake), fs.log, m)
	if err != nil {
		return nil, err
	}
	r.down.Store("")
	if fs.set.Function.PolicyCheck > 0 {
		r.down.Store("it was not asked yet")
	}
	fs.remotes = append(fs.remotes, r)
	fs.names = append(fs.names, f.URLs...)
	return r, nil
}

// observe notes by each answer whether the function is there.
func (r *remote) observe(log *slog.Logger) func(decider.Observation) {
	return func(o decider.Observation) {
		if o.Event.Type == flow.EventPolicyCheck || o.Err == nil && r.down.Load() != "" {
			r.answered(log, o.Decision.Policy, o.Err)
		}
	}
}

// host makes what decides in this process: the controller compiled in, or a
// pristine WebAssembly instance of it for each event.
func (fs *functions) host(kind string, p *policy.Policy) (policyhost.Host, error) {
	if kind == settings.Native {
		return policyhost.NewNative(p), nil
	}
	e, err := embedded.New(embedded.Options{Policy: p, CacheDir: embedded.DefaultCacheDir(), Log: fs.log})
	if err != nil {
		return nil, err
	}
	if err := fs.reg.Register(wasmmetrics.New("controller", e.Stats)); err != nil {
		return nil, err
	}
	fs.embedded = e
	return e, nil
}

// answered notes how a policy check went, or that any event was answered, and
// logs when that changes. Who refuses a policy check is there, and may know
// packets alone; who wants other credentials decides nothing for this gateway.
func (r *remote) answered(log *slog.Logger, v flow.PolicyVersion, err error) {
	now, refused := "", ""
	if flow.KindOf(err) == flow.Refused {
		refused = err.Error()
	}
	var status *httpclient.StatusError
	if errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden) || err != nil && refused == "" {
		now = err.Error()
	}
	before := r.down.Swap(now).(string)
	switch {
	case now != "" && (before == "" || !r.seen.Load()):
		log.Warn("the function does not answer", append([]any{"function", r.name, "err", now}, remedy(err)...)...)
	case now == "" && before != "" && refused != "":
		log.Warn("the function is there, and refuses policy checks: a new policy will not sweep the rules of the old one",
			"function", r.name, "err", refused)
	case now == "" && before != "":
		log.Info("the function answers", "function", r.name, "policy", versionName(v))
	}
	r.seen.Store(true)
}

// remedy is an attribute that says what is set for the two mistakes that keep every new function
// from being reached; otherwise it is nothing.
func remedy(err error) []any {
	var unknown x509.UnknownAuthorityError
	var status *httpclient.StatusError
	switch {
	case errors.As(err, &unknown):
		return []any{"remedy", "name its authority's PEM file: --function-ca, or function.ca"}
	case errors.As(err, &status) && status.Code == http.StatusUnauthorized:
		return []any{"remedy", "name the file of its token (--function-token-file, or function.token_file), or a client certificate (function.cert)"}
	}
	return nil
}

// versionName is for people.
func versionName(v flow.PolicyVersion) string {
	if v.IsZero() {
		return "unversioned"
	}
	return v.String()
}

// tasks are what runs beside the sessions: policy checks, the embedded function and the watch over the
// policy file.
func (fs *functions) tasks(b *bridge.Bridge) []task.Task {
	var list []task.Task
	versions := b.Versions()
	if c := fs.check; c != nil {
		c.Versions, c.OnNewer = versions, b.PolicySeen
		list = append(list, c)
	}
	if fs.embedded != nil {
		list = append(list, fs.embedded)
	}
	if fs.local != nil {
		// The file of this machine needs nobody to confirm it, where it is all of the
		// policy; beside remote functions it is a part of the version.
		changed := versions.CheckSoon
		if len(fs.remotes) == 0 {
			versions.Confirm(fs.local.Version())
			changed = func() {
				if v := fs.local.Version(); versions.Confirm(v) == bridge.Newer {
					fs.log.Info("policy version", "policy", v.String())
					b.PolicyChanged()
				}
			}
		}
		list = append(list, task.New("policy file "+fs.set.Policy, func(ctx context.Context) error { return fs.policy.Watch(ctx, fs.local, changed) }))
	}
	return list
}

// ready says which function does not answer, or nil.
func (fs *functions) ready() error {
	if fs.embedded != nil {
		select {
		case <-fs.embedded.Ready():
		default:
			return errors.New("the embedded function is being compiled")
		}
	}
	for _, r := range fs.remotes {
		if why := r.down.Load().(string); why != "" {
			return fmt.Errorf("function %s: %s", r.name, why)
		}
	}
	return nil
}

func (fs *functions) close() error {
	var err error
	for _, r := range fs.remotes {
		err = errors.Join(err, r.close())
	}
	return err
}
