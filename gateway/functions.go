package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
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
	"switchbridge/internal/watched"
	"switchbridge/policy"
	"switchbridge/policy/prove"
	"switchbridge/settings"
	"switchbridge/state/stores"
)

// functions is the chain of deciders, with every decorator. [newFunctions] chooses the
// decorators and their order. The bridge does what comes before and after; its String
// prints the whole chain.
type functions struct {
	decider flow.Decider
	pace    *decider.Pace // nil where no rate is configured
	names   []string      // for people: URLs, or native

	local    policyhost.Host // decides in this process; nil where every function is remote
	policy   *policyhost.File
	embedded *embedded.Function // what runs in local; nil where local is none or native
	kept     *stores.Kept       // what reads and swaps around local
	table    *decider.State     // what keeps local's states that travel; nil where none do
	remotes  []*remote
	check    *bridge.PolicyCheck // nil where no function is remote
	set      *settings.Settings
	before   *functions // whose parts are used on; nil at the start
	surroundings
}

// surroundings are the parts of the gateway that functions of every kind use.
type surroundings struct {
	log      *slog.Logger
	reg      *prometheus.Registry
	metrics  *functionMetrics
	states   *stores.Keeper // nil: no store
	results  *watched.Results
	versions *bridge.Versions
	advise   func(*policy.Policy)             // warns of what a policy of this process says
	changed  func(before, now *policy.Policy) // has the switches brought in line at once
	decides  *atomic.Pointer[policy.Policy]   // what decides in this process; nil: nothing does
	newer    func(flow.PolicyVersion)         // is told of policy versions that policy checks have brought first
}

// remote is one function behind URLs.
type remote struct {
	name   string
	urls   []string
	id     string // see identity
	client flow.Decider
	files  func() []watched.File
	now    func() []httpclient.Endpoint
	close  func() error
	limit  *decider.Limit
	way    *redirect // from state to limit
	state  *decider.State
	reuse  *decider.Reuse
	budget *decider.Budget
	seen   atomic.Bool  // it has answered since the start
	down   atomic.Value // string: why it did not answer its latest policy check; "" when it has answered since
}

// newFunctions makes the functions and puts the decorators around them.
func newFunctions(set *settings.Settings, around surroundings) (*functions, error) {
	fs := &functions{set: set, surroundings: around}
	if err := fs.build(); err != nil {
		return nil, errors.Join(err, fs.closeBut(nil))
	}
	fs.commit()
	return fs, nil
}

// build makes the chain that the settings ask for. From the outside in it has the
// fail mode, the routes, and for each remote function its reused answers, its states
// and its limit.
func (fs *functions) build() error {
	set, m := fs.set, fs.metrics
	around := func(name string, f *settings.Function) (flow.Decider, error) {
		if !f.Remote() {
			return fs.inProcess(f)
		}
		r, err := fs.remote(name, f, m)
		if err != nil {
			return nil, err
		}
		return r.reuse, nil
	}
	fallback, err := around("default", &set.Function)
	if err != nil {
		return err
	}
	next := fallback
	if len(set.Routes) > 0 {
		routes := make([]decider.Route, len(set.Routes))
		for i := range set.Routes {
			r := &set.Routes[i]
			d, err := around(r.Name, &r.Function)
			if err != nil {
				return fmt.Errorf("routes[%d] %q: %w", i, r.Name, err)
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

	if len(fs.remotes) > 0 {
		fs.check = &bridge.PolicyCheck{Decider: next, Interval: set.Function.PolicyCheck, Versions: fs.versions, OnNewer: fs.newer}
	}
	fail := &decider.FailMode{Next: next, PerSwitch: map[flow.DPID]decider.Mode{}, Default: failMode(set.FailMode.Default)}
	for dpid, mode := range set.FailMode.Switches {
		d, err := flow.ParseDPID(dpid)
		if err != nil {
			return err
		}
		fail.PerSwitch[d] = failMode(mode)
	}
	fs.decider = fail
	if l := &set.Limits; fs.before != nil && fs.before.pace != nil && sameRates(l, &fs.before.set.Limits) {
		fs.pace = fs.before.pace // with what is in its buckets
	} else if l.PerSwitch.Rate > 0 || l.PerPort.Rate > 0 || l.EssentialsRate.Rate > 0 || l.Incomplete.Rate > 0 {
		fs.pace = decider.NewPace(fail, decider.Rates{PerSwitch: rateOf(l.PerSwitch), PerPort: rateOf(l.PerPort), Essentials: rateOf(l.EssentialsRate),
			Incomplete: rateOf(l.Incomplete)})
		fs.pace.OnPaced = func(_ *flow.Event, bucket string) { m.paced.WithLabelValues(bucket).Inc() }
	}
	return nil
}

// sameRates reports whether the rates of two settings are equal.
func sameRates(a, b *settings.Limits) bool {
	return a.PerSwitch == b.PerSwitch && a.PerPort == b.PerPort && a.EssentialsRate == b.EssentialsRate && a.Incomplete == b.Incomplete
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
		HardTimeout: s.HardTimeout, MaxHardTimeout: s.MaxHardTimeout, MaxConversation: s.MaxConversation, ProactiveWide: s.ProactiveWide}
	for _, m := range set.OpenFlow.Meters {
		g.Meters = append(g.Meters, m.ID)
	}
	return g
}

// inProcess is the controller in this process, which all routes share.
func (fs *functions) inProcess(f *settings.Function) (flow.Decider, error) {
	if fs.local == nil {
		file, p, err := policyhost.Open(fs.set.Policy, fs.log, fs.results)
		if err != nil {
			return nil, err
		}
		if fs.local, err = fs.host(f.URLs[0], p); err != nil {
			return nil, err
		}
		if fs.kept, err = fs.states.Keep("controller", fs.local, stores.OneGateway); err != nil {
			return nil, err
		}
		if m := fs.kept.Metrics(); m != nil {
			fs.reg.MustRegister(m)
		}
		if err := fs.kept.Takes(p); err != nil {
			return nil, fmt.Errorf("%s: %w", fs.set.Policy, err)
		}
		fs.decides.Store(p)
		fs.follow(file)
		fs.policy = file
	}
	if !slices.Contains(fs.names, f.URLs[0]) {
		fs.names = append(fs.names, f.URLs[0])
	}
	if fs.table == nil && fs.states.Travels() {
		fs.table = decider.NewState(fs.kept.Decider(fs.local), stateLimits(fs.set))
	}
	if fs.table != nil {
		return fs.table, nil
	}
	return fs.kept.Decider(fs.local), nil
}

// forget forgets the states that travel.
func (fs *functions) forget() {
	if fs.table != nil {
		fs.table.Forget()
	}
	for _, r := range fs.remotes {
		r.state.Forget()
	}
}

// stateLimits bound what is kept of each function's states that travel.
func stateLimits(set *settings.Settings) decider.StateLimits {
	return decider.StateLimits{Entries: set.State.Entries, Bytes: set.State.Bytes}
}

// remote makes one function behind URLs with what belongs to it alone, or takes
// it over.
func (fs *functions) remote(name string, f *settings.Function, m *functionMetrics) (*remote, error) {
	id := identity(name, *f, fs.set)
	if r := fs.earlier(id); r != nil {
		fs.remotes = append(fs.remotes, r)
		fs.names = append(fs.names, f.URLs...)
		return r, nil
	}
	r, err := newRemote(name, f, bool(fs.set.OpenFlow.Handshake), fs.log, m, fs.results)
	if err != nil {
		return nil, err
	}
	r.id = id
	r.down.Store("")
	if fs.set.Function.PolicyCheck > 0 {
		r.down.Store("it was not asked yet")
	}
	observe := &decider.Observe{Next: r.client, On: r.observe(fs.log)}
	old := fs.heir(name, f.URLs)
	var spent *decider.Budget
	if old != nil {
		spent = old.budget
	}
	r.budget = decider.NewBudget(observe, decider.BudgetLimits{PerHour: f.Budget.PerHour, PerDay: f.Budget.PerDay, Alarm: f.Budget.Alarm, Refuse: f.Budget.Beyond == "refuse"}, spent)
	r.budget.OnAlarm = func(window string, calls, of int) {
		fs.log.Warn("the function's budget of calls is nearly used up", "function", name, "window", window, "calls", calls, "of", of, "beyond", f.Budget.Beyond)
	}
	r.budget.OnCall = m.budget(name)
	r.limit = decider.NewLimit(r.budget, f.Concurrency, fs.set.Limits.Queue)
	if old != nil {
		r.way, r.state = old.way, old.state
	} else {
		r.way = redirectTo(r.limit)
		r.state = decider.NewState(r.way, stateLimits(fs.set))
	}
	r.reuse = decider.NewReuse(r.state, decider.ReuseLimits{}, fs.versions.Latest)
	r.reuse.OnOutcome = m.reuse(name)
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

// follow makes the controller in this process use the policy file's future versions, and warns of meters that a policy names and the settings don't define.
func (fs *functions) follow(file *policyhost.File) {
	warn := func() {
		if file.Value == nil {
			return
		}
		doc := file.Last()
		for _, f := range prove.Meters(doc.Policy, fs.set.OpenFlow.MeterIDs(), doc.Line) {
			fs.log.Warn(f.Msg, "file", file.Path(), "line", f.Line)
		}
	}
	warn()
	file.Follow(fs.local, func(p *policy.Policy) { warn(); fs.policyChanged(p) })
	file.Requires(fs.kept.Takes)
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

// answered notes the result of a policy check or of another event, and logs when the
// function becomes reachable or unreachable. A function that refuses policy checks
// counts as reachable, since it may answer packets. One that refuses the gateway's
// credentials does not.
func (r *remote) answered(log *slog.Logger, v flow.PolicyVersion, err error) {
	now, refused := "", ""
	if flow.KindOf(err) == flow.Refused {
		refused = err.Error()
	}
	if unauthorized(err) || err != nil && refused == "" {
		now = err.Error()
	}
	before := r.down.Swap(now).(string)
	switch {
	case now != "" && (before == "" || !r.seen.Load()):
		args := []any{"function", r.name, "err", now}
		if what := remedy(err); what != "" {
			args = append(args, "remedy", what)
		}
		log.Warn("the function does not answer", args...)
	case now == "" && before != "" && refused != "":
		log.Warn("the function answers, but refuses policy checks: when its policy changes, rules of the old policy stay until their timeouts",
			"function", r.name, "err", refused)
	case now == "" && before != "":
		log.Info("the function answers", "function", r.name, "policy", versionName(v))
	}
	r.seen.Store(true)
}

// remedy returns which setting to change after one of the two common mistakes with a new function (its token,
// its authority), or an empty string.
func remedy(err error) string {
	var unknown x509.UnknownAuthorityError
	var status *httpclient.StatusError
	switch {
	case errors.As(err, &unknown):
		return "name its authority's PEM file: --function-ca, or function.ca"
	case errors.As(err, &status) && status.Code == http.StatusUnauthorized:
		return "name the file of its token (--function-token-file, or function.token_file), or a client certificate (function.cert)"
	}
	return ""
}

// versionName is for people.
func versionName(v flow.PolicyVersion) string {
	if v.IsZero() {
		return "unversioned"
	}
	return v.String()
}

// policyChanged makes a new policy of the local host count. If there are no remote
// functions, it counts at once. Otherwise a policy check must confirm the version, of
// which it is a part.
func (fs *functions) policyChanged(p *policy.Policy) {
	before := fs.decides.Swap(p)
	fs.advise(p)
	if len(fs.remotes) > 0 {
		fs.versions.CheckSoon()
		return
	}
	if v := fs.local.Version(); fs.versions.Confirm(v) == bridge.Newer {
		fs.log.Info("policy version", "policy", v.String())
		fs.changed(before, p)
	}
}

// confirm takes the version of the local host at the start, if it is all of the
// policy.
func (fs *functions) confirm() {
	if fs.local != nil && len(fs.remotes) == 0 {
		fs.versions.Confirm(fs.local.Version())
	}
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
