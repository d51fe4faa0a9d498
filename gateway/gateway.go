// Package gateway wires a running gateway from its settings: the function, the
// decorators around it, the OpenFlow server and the operator's side. It decides
// nothing itself.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/certs"
	"switchbridge/internal/listen"
	"switchbridge/internal/quiet"
	"switchbridge/internal/task"
	"switchbridge/internal/tracing"
	"switchbridge/internal/watched"
	"switchbridge/ofproxy"
	"switchbridge/ofproxy/ofp"
	"switchbridge/p4bridge"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/propose"
	"switchbridge/pair"
	"switchbridge/policy"
	"switchbridge/policy/prove"
	"switchbridge/settings"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
)

// Options are what settings can't say.
type Options struct {
	Version string
	Logger  *slog.Logger

	// Listeners, if not nil, take the place of those of the settings: for tests,
	// and empty where the settings are only to be checked.
	Listeners []net.Listener
	// Config is the file of the settings, which is watched, and Load reads it
	// again, with what the command line says over it. Empty and nil: the settings
	// stay as they are.
	Config string
	Load   func() (*settings.Settings, error)
	// Level, if set, is that of Logger, and changes with the settings.
	Level *slog.LevelVar

	// Admin, if set, takes the place of the settings' admin address.
	Admin net.Listener
}

// Gateway is a gateway that is ready to run.
type Gateway struct {
	running  atomic.Pointer[running]
	config   *watched.Value[*settings.Settings] // nil: nothing to read again
	results  *watched.Results
	swapped  chan struct{} // a token for each time that running was replaced
	notices  chan announcement
	noticed  atomic.Pointer[announcement] // the latest; nil: none, or no function had it in time
	opts     Options
	log      *slog.Logger
	registry *prometheus.Registry
	recorder *recorder
	shadows  *shadowMetrics
	promoted atomic.Pointer[promotion] // nil: no function was
	refused  quiet.Line                // callers who may not act
	refusals *listen.Refusals
	started  time.Time

	tracing   *tracing.Tracing // nil: off
	states    *stores.Keeper   // nil: no store
	bridge    *bridge.Bridge
	pair      *pair.Member // nil: this gateway is alone
	pairCert  *watched.Pair
	server    *ofproxy.Server
	p4        []*p4bridge.Session
	listeners []listener
	admin     net.Listener
	adminPair *watched.Pair  // nil: the operator's side speaks HTTP
	adminCAs  *x509.CertPool // whose client certificates may act; nil: nobody's
	watching
}

type listener struct {
	net.Listener
	secure bool
}

// New reads everything that the settings name and listens, so that every
// mistake shows here and switches can connect from now on.
func New(set *settings.Settings, o Options) (*Gateway, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{opts: o, log: o.Logger, registry: prometheus.NewRegistry(), started: time.Now(),
		results: new(watched.Results), swapped: make(chan struct{}, 1), notices: make(chan announcement, 1)}
	g.shadows = newShadowMetrics(g.registry)
	g.registry.MustRegister(g.results, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g.refusals = listen.NewRefusals(g.registry, g.log)
	advise(set, g.log)
	var err error
	if g.recorder, err = newRecorder(g.log, &set.Log, g.registry); err != nil {
		return nil, err
	}
	if set.Admin.Listen != "" || o.Admin != nil {
		g.recorder.feed = new(feed)
	}
	r := &running{set: set}
	if r.tls, err = switchTLS(&set.OpenFlow.TLS); err != nil {
		return nil, err
	}
	if r.tokens, err = openTokens(set, g.log, g.results); err != nil {
		return nil, err
	}
	if g.tracing, err = tracing.Open(set.Tracing, "switchbridge", o.Version, g.log); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if g.states, err = stores.Open(context.Background(), set.State, every.Openers, g.log); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %w", err), g.tracing.Close())
	}
	g.states.Trace(g.tracing.Tracer("switchbridge/state"))
	if set.Pair.On() {
		g.states.InPair()
	}
	versions := new(bridge.Versions)
	r.functions, err = newFunctions(set, surroundings{log: g.log, reg: g.registry, metrics: newFunctionMetrics(g.registry), states: g.states,
		results: g.results, versions: versions, advise: g.advisePolicy, changed: g.policyChanged, decides: new(atomic.Pointer[policy.Policy]), newer: g.policySeen})
	if err != nil {
		return nil, errors.Join(err, g.states.Close(), g.tracing.Close())
	}
	r.functions.confirm()
	if r.shadow, err = newShadow(set, &r.functions.surroundings, g.recorder.file, g.shadows); err != nil {
		return nil, errors.Join(err, r.functions.closeBut(nil), g.states.Close())
	}
	g.recorder.shadow.Store(r.shadow)
	g.recorder.local.Store(r.functions.policy)
	g.running.Store(r)
	g.registry.MustRegister(&travelCollector{func() *functions { return g.running.Load().functions }})
	if file := r.functions.policy; file != nil && file.Value != nil {
		g.advisePolicy(file.Last().Policy)
	}
	core := g.core(r)
	core.Versions, core.Metrics = versions, bridge.NewMetrics(g.registry)
	if err := g.openPair(&set.Pair, versions); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if g.pair != nil {
		core.Pair = g.pair
	}
	if g.bridge, err = bridge.New(core); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if err := g.openConfig(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	cfg, err := g.openflow(r)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if g.server, err = ofproxy.NewServer(cfg); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if err := g.p4Sessions(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if err := g.listen(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.registry.MustRegister(info{g}) // which reads all of the above
	return g, nil
}

// core turns the settings into the configuration of what all sessions share.
func (g *Gateway) core(r *running) bridge.Config {
	o, l := &r.set.OpenFlow, &r.set.Limits
	cfg := bridge.Config{
		Decider:        r.functions.decider,
		Guardrails:     guardrails(r.set),
		Gateway:        bridge.GatewayID(o.GatewayID),
		Subscribe:      map[flow.EventType]bool{},
		Coalesce:       o.Coalesce,
		DrainTimeout:   o.DrainTimeout,
		EventTimeout:   r.set.Function.Timeout,
		Workers:        r.set.Function.Concurrency,
		QueuePerSwitch: l.Queue,
		OnDecision:     g.recorder.observe,
		Tracer:         g.tracing.Tracer("switchbridge/bridge"),
		Logger:         g.log,
	}
	for _, t := range o.Subscribe {
		cfg.Subscribe[flow.EventType(t)] = true
	}
	if p := r.functions.pace; p != nil {
		cfg.Admit = p.Admit
	}
	return cfg
}

// openflow turns the settings into the server's configuration.
func (g *Gateway) openflow(r *running) (ofproxy.Config, error) {
	o := &r.set.OpenFlow
	cfg := ofproxy.Config{
		Bridge:           g.bridge,
		NoTableMiss:      !o.TableMiss,
		MissMeter:        o.MissMeter,
		VLANLimit:        o.VLANLimit,
		FullHandshake:    bool(o.Handshake),
		BarrierFirst:     o.BarrierFirst,
		EchoInterval:     o.EchoInterval,
		EchoTimeout:      o.EchoTimeout,
		HandshakeTimeout: o.HandshakeTimeout,
		WriteTimeout:     o.WriteTimeout,
		MaxSessions:      o.MaxSessions,
		MaxPerAddress:    o.MaxPerAddress,
		Poll:             o.Poll,
		Metrics:          ofproxy.NewMetrics(g.registry),
		Logger:           g.log,
	}
	for _, v := range o.Versions {
		cfg.Protocols = append(cfg.Protocols, flow.Protocol(v))
	}
	for _, m := range o.Meters {
		cfg.Meters = append(cfg.Meters, ofp.Meter{ID: m.ID, KBPS: m.Unit == "kbps", Rate: m.Rate, Burst: m.Burst})
	}
	if r.tls == nil {
		return cfg, nil
	}
	cfg.TLS = g.listenerTLS()
	cfg.Authorize = func(state *tls.ConnectionState, dpid flow.DPID) error {
		if bind := g.now().set.OpenFlow.TLS.Bind; len(bind) > 0 {
			return authorize(bind, state, dpid)
		}
		return nil
	}
	return cfg, nil
}

// p4Sessions makes the sessions of the P4Runtime switches.
func (g *Gateway) p4Sessions() error {
	set := g.now().set
	if len(set.P4.Switches) == 0 {
		return nil
	}
	m := p4bridge.NewMetrics(g.registry)
	for i := range set.P4.Switches {
		cfg, err := P4Config(&set.P4.Switches[i])
		for _, m := range set.OpenFlow.Meters {
			cfg.Meters = append(cfg.Meters, mapping.Meter{ID: m.ID, Rate: m.Rate, Burst: m.Burst, Kilobits: m.Unit == "kbps"})
		}
		if err != nil {
			return fmt.Errorf("p4.switches[%d]: %w", i, err)
		}
		cfg.Bridge = g.bridge
		cfg.HardTimeout = set.Guardrails.HardTimeout
		cfg.Logger, cfg.Metrics = g.log, m
		s, err := p4bridge.New(cfg)
		if err != nil {
			return fmt.Errorf("p4.switches[%d]: %w", i, err)
		}
		for _, caution := range propose.Cautions(cfg.Pipeline, cfg.Mapping.HoldsPorts()) {
			g.log.Warn("the switch's program has a fault that no mapping can correct", "dpid", s.DPID().String(), "caution", caution)
		}
		g.p4 = append(g.p4, s)
	}
	return nil
}

// P4Config is what a switch's settings say; paths in them are resolved. What all
// switches share (Bridge, Logger, Metrics) is the caller's to fill in.
func P4Config(s *settings.P4Switch) (cfg p4bridge.Config, err error) {
	cfg.Device, cfg.Addr, cfg.Ports, cfg.Entries = s.Device, s.Address, s.Ports, s.Entries
	cfg.DPID, cfg.Role, cfg.Election.Low = s.Datapath(), s.Role, s.Election
	cfg.MissLimit = p4bridge.MissLimit{Rate: s.MissRate, Burst: s.MissBurst}
	if s.Miss != "" {
		if cfg.Miss, err = p4bridge.ParseMiss(s.Miss); err != nil {
			return cfg, err
		}
	}
	if t := s.TLS; t != nil {
		if cfg.TLS, err = p4bridge.ClientTLS(t.CA, t.Cert, t.Key, t.ServerName); err != nil {
			return cfg, fmt.Errorf("tls: %w", err)
		}
	}
	cfg.Pipeline, cfg.Mapping, err = p4bridge.LoadProgram(s.P4Info, s.JSON, s.Mapping)
	return cfg, err
}

func serverTLS(t *settings.TLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("openflow.tls: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return c, nil
	}
	if c.ClientCAs, err = certs.Pool(t.ClientCA); err != nil {
		return nil, fmt.Errorf("openflow.tls.client_ca: %w", err)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if t.Require {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// authorize checks a datapath id against the names of the peer's certificate.
func authorize(bindings []settings.Binding, state *tls.ConnectionState, dpid flow.DPID) error {
	if state == nil || len(state.VerifiedChains) == 0 {
		return errors.New("the switch showed no certificate that openflow.tls.client_ca signed, which openflow.tls.bind asks for")
	}
	cert := state.PeerCertificates[0]
	names := certNames(cert)
	for _, b := range bindings {
		for _, name := range names {
			if name != b.Name {
				continue
			}
			for _, p := range b.DPIDs {
				if p.Matches(dpid) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("openflow.tls.bind allows no certificate with a name among %q for this datapath", names)
}

// certNames are the names that a certificate proves: its alternative names or,
// only where it has none of any kind, its common name (RFC 6125, 6.4.4).
func certNames(cert *x509.Certificate) []string {
	if len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.URIs)+len(cert.EmailAddresses) > 0 {
		return cert.DNSNames
	}
	return []string{cert.Subject.CommonName}
}

func (g *Gateway) listen() error {
	for _, l := range g.opts.Listeners {
		g.listeners = append(g.listeners, listener{Listener: l})
	}
	if g.opts.Listeners == nil {
		for _, at := range g.now().set.OpenFlow.Listen {
			l, err := listen.Open(at.Network, at.Address)
			if err != nil {
				return fmt.Errorf("openflow.listen %s: %w", at, err)
			}
			g.listeners = append(g.listeners, listener{l, at.Secure})
		}
	}
	if err := g.openAdminTLS(); err != nil {
		return err
	}
	if g.admin = g.opts.Admin; g.admin == nil && g.now().set.Admin.Listen != "" {
		l, err := net.Listen("tcp", g.now().set.Admin.Listen)
		if err != nil {
			return fmt.Errorf("admin.listen: %w", err)
		}
		g.admin = l
	}
	if g.admin != nil {
		g.admin = g.refusals.Within(g.admin, "admin", listen.AdminBound())
	}
	return nil
}

// Run serves switches and operators until ctx is done, and then lets pending
// decisions finish. Cancellation is a nil return.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.Close()
	if err := g.recorder.file.start(); err != nil {
		return err
	}
	group, ctx := task.NewGroup(ctx)
	g.log.Info("an event goes through these steps", "chain", g.Chain())
	for _, l := range g.listeners {
		g.log.Info("waiting for switches", "listen", listenName(l), "function", g.now().functions.names)
		group.Go(ctx, task.New("openflow "+listenName(l), func(ctx context.Context) error { return g.server.Serve(ctx, l.Listener, l.secure) }))
	}
	if g.admin != nil {
		g.log.Info("the page, metrics, health and state", "admin", g.adminScheme()+"://"+g.admin.Addr().String())
		group.Go(ctx, task.New("admin", func(ctx context.Context) error { return g.serveAdmin(ctx, g.admin) }))
	}
	for _, s := range g.p4 {
		group.Go(ctx, s)
	}
	if g.pair != nil {
		group.Go(ctx, g.pair)
	}
	if e := g.now().functions.embedded; e != nil {
		group.Go(ctx, e)
	}
	group.Go(ctx, task.New("policy checks", g.policyChecks))
	group.Go(ctx, task.New("policy notices", g.followNotices))
	group.Go(ctx, task.New("watch over files", func(ctx context.Context) error {
		w := watched.Watcher{Files: g.files, Log: g.log}
		w.Run(ctx)
		return nil
	}))
	return group.Wait() // Close writes the records of what was decided until now
}

// policySeen reacts to a policy version that a policy check has returned for the first
// time. If a notice has announced the version, the change is not delayed.
func (g *Gateway) policySeen(v flow.PolicyVersion) {
	if announced := g.noticed.Load(); announced == nil || announced.version != v {
		g.bridge.PolicySeen(v)
		return
	}
	g.bridge.Versions().Confirm(v)
	g.log.Info("policy version", "policy", v.String())
	g.bringInLine(v)
}

// scopeBudget bounds the search for what a change of policy changes. It takes about a second.
const scopeBudget = 1 << 26

// policyChanged brings the switches from one policy of this process to the next.
func (g *Gateway) policyChanged(before, now *policy.Policy) {
	scope, err := prove.NewDelta(before, now, scopeBudget)
	if err != nil {
		g.log.Info("asking about all rules of the old policy again: it is not known which of them the new policy decides differently", "policy", now.Version().String(), "why", err.Error())
		g.bridge.PolicyChanged()
		return
	}
	g.bridge.PolicyChangedWithin(before.Version(), now.Version(), scope)
}

// bringInLine brings the switches to a new policy of remote functions. If a notice said what the policy changes, only rules that it changes are asked about.
func (g *Gateway) bringInLine(v flow.PolicyVersion) {
	if a := g.noticed.Load(); a != nil && a.version == v && a.regions != nil {
		g.bridge.PolicyChangedWithin(a.before, v, a.regions)
		return
	}
	g.bridge.PolicyChanged()
}

func listenName(l listener) string {
	switch {
	case l.secure:
		return "ssl:" + l.Addr().String()
	default:
		return l.Addr().Network() + ":" + l.Addr().String()
	}
}

// Close frees what New has opened. It is for a gateway that is never run.
func (g *Gateway) Close() error {
	for _, l := range g.listeners {
		l.Close()
	}
	if g.admin != nil {
		g.admin.Close()
	}
	if g.pair != nil {
		g.pair.Close()
	}
	g.now().shadow.close()
	g.recorder.file.close()
	return errors.Join(g.now().functions.closeBut(nil), g.states.Close(), g.tracing.Close())
}

// Ready says why the gateway can't decide, or does not govern a switch that is
// connected; or nil.
func (g *Gateway) Ready() error { return errors.Join(g.now().functions.ready(), g.bridge.Ready()) }

// Addrs are the addresses at which switches connect.
func (g *Gateway) Addrs() []net.Addr {
	var list []net.Addr
	for _, l := range g.listeners {
		list = append(list, l.Addr())
	}
	return list
}

// Switches returns the open connections.
func (g *Gateway) Switches() []SwitchStatus {
	list := []SwitchStatus{}
	for _, s := range g.server.Sessions() {
		list = append(list, switchStatus(&s))
	}
	return list
}

// Chain names the steps of every event, from the switch's packet to the answer's
// rules: "rates > queue 1024 > fail mode secure > state > limit 256 > client https://f.example/ > guardrails".
func (g *Gateway) Chain() string { return g.bridge.String() }

// Status sums the gateway up.
func (g *Gateway) Status() GatewayStatus {
	st := GatewayStatus{Version: g.opts.Version, Started: g.started, Function: g.now().functions.names, Chain: g.Chain(), Reloads: g.results.List(), Decisions: g.recorder.stats(g.registry)}
	st.Functions = []FunctionStatus{}
	for _, r := range g.now().functions.remotes {
		st.Functions = append(st.Functions, FunctionStatus{Name: r.name, Down: r.down.Load().(string), Endpoints: r.now()})
	}
	if err := g.Ready(); err != nil {
		st.Ready = err.Error()
	}
	for _, s := range g.server.Sessions() {
		if s.State == "ready" && s.Missing == "" {
			st.Switches++
		}
	}
	if v := g.bridge.Versions().Latest(); !v.IsZero() {
		st.Policy = v.String()
	}
	if g.pair != nil {
		st.Pair = new(g.pair.Status())
	}
	for _, s := range g.p4 {
		p4 := s.Status()
		if p4.State == p4bridge.StateServing {
			st.Switches++
		}
	}
	return st
}

// advisePolicy warns of what a policy of this process says.
func (g *Gateway) advisePolicy(p *policy.Policy) {
	advisePolicy(g.now().set, g.states.Shared(), p, g.log)
}
