package pair

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// Defaults of a [Config].
const (
	DefaultPoll    = 75 * time.Millisecond
	DefaultTimeout = 300 * time.Millisecond
)

const (
	// startWait is how long a gateway that has just started waits for a word of its peer before it claims, in units of Timeout.
	startWait = 3
	// firstRest is how long a gateway claims nothing after it was demoted without hearing of its peer; it doubles to lastRest.
	firstRest = 30 * time.Second
	lastRest  = 10 * time.Minute
	// ahead is how far from now the time in a generation may be. A switch that names a later one lies, or was another controller's: to claim
	// above it would make all other switches take this pair's claims for stale, once the number has run over.
	ahead = 24 * time.Hour
)

// plausible reports whether a generation can be one of a pair's claims.
func plausible(generation uint64, now time.Time) bool {
	return generation>>1 <= uint64(now.Add(ahead).UnixMilli())
}

// Config is one member of a pair.
type Config struct {
	Listener net.Listener // where the peer asks
	Peer     string       // host:port of the peer's listener

	// Server and Client are the two ends of mutual TLS. Both must want the other's certificate.
	Server, Client *tls.Config

	Member  uint32 // 0 or 1; the peer is the other one
	Prefer  bool   // leads where neither does yet
	Poll    time.Duration
	Timeout time.Duration

	// Serial is the newest policy's that this gateway knows; Newer is told where the peer knows a newer one. A gateway whose policy is older does not take the
	// lead from a peer that is there.
	Serial func() uint64
	Newer  func()

	// Hold has all switches confirm what they were sent, and nothing more sent to them, before the lead is handed over.
	Hold func(ctx context.Context) error
	// Receive takes a packet that the peer had from a switch when it handed the lead over. An error has it sent again.
	Receive func(dpid flow.DPID, p *flow.PacketIn) error

	Logger  *slog.Logger
	Metrics *Metrics
}

// State is what one member tells the other.
type State struct {
	Member     uint32    `json:"member"`
	Leads      bool      `json:"leads"`
	Since      time.Time `json:"since"` // when it began to lead, or to stand by
	Generation uint64    `json:"generation"`
	Serial     uint64    `json:"serial"`
	Prefer     bool      `json:"prefer"`
}

// Status is the pair as one member sees it.
type Status struct {
	State
	Peer     string    `json:"peer"`
	Heard    time.Time `json:"heard,omitzero"` // when the peer last answered
	Answers  bool      `json:"answers"`        // within the timeout
	PeerIs   *State    `json:"peer_is,omitempty"`
	Changes  uint64    `json:"changes"` // how often this member has taken the lead or yielded it
	Why      string    `json:"why"`     // of the latest change
	RestsFor float64   `json:"rests_for_seconds,omitempty"`
}

// Member is this gateway's part of a pair. It implements [bridge.Pair].
type Member struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger

	mu      sync.Mutex
	leads   bool
	holds   bool
	decided time.Time // when leads, holds or gen was set last
	gen     uint64    // of the latest claim, or the highest that was seen
	since   time.Time
	changed chan struct{}
	changes uint64
	why     string

	heard   time.Time
	peer    State
	rest    time.Duration
	claims  time.Time // not before
	ticked  time.Time
	waiting chan passed
}

var _ bridge.Pair = (*Member)(nil)

// New checks the configuration. Nothing runs before Run.
func New(cfg Config) (*Member, error) {
	switch {
	case cfg.Member > 1:
		return nil, fmt.Errorf("pair: member %d: want 0 or 1", cfg.Member)
	case cfg.Server == nil || cfg.Server.ClientAuth != tls.RequireAndVerifyClientCert || cfg.Client == nil:
		return nil, errors.New("pair: want TLS with certificates on both sides")
	}
	if cfg.Poll == 0 {
		cfg.Poll = DefaultPoll
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Timeout < 2*cfg.Poll {
		return nil, fmt.Errorf("pair: timeout %v: want at least twice the time between two questions, %v", cfg.Timeout, cfg.Poll)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Serial == nil {
		cfg.Serial = func() uint64 { return 0 }
	}
	now := time.Now()
	m := &Member{cfg: cfg, log: cfg.Logger, since: now, ticked: now, changed: make(chan struct{}), waiting: make(chan passed, maxPassed), why: "started"}
	m.client = newClient(cfg.Client, cfg.Timeout)
	m.claims = now.Add(startWait * cfg.Timeout)
	return m, nil
}

func (m *Member) String() string { return "pair with " + m.cfg.Peer }

// Member implements [bridge.Pair].
func (m *Member) Member() uint32 { return m.cfg.Member }

// Term implements [bridge.Pair].
func (m *Member) Term() bridge.Term {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bridge.Term{Generation: m.gen, Leads: m.leads, Holds: m.holds, Changed: m.changed}
}

// Seen implements [bridge.Pair]. Where a switch has seen a higher generation than this member's, it leads with one above it.
func (m *Member) Seen(generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation <= m.gen || !plausible(generation, time.Now()) {
		return
	}
	m.gen = generation
	if m.leads {
		m.claim(time.Now(), "a switch has seen a higher generation")
	}
}

// Lost implements [bridge.Pair]. A switch alone is not believed where the peer answers and does not lead: one that lies must not cost the
// others their gateway. If the peer has claimed a moment ago, its next answer says so.
func (m *Member) Lost(generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.leads || generation <= m.gen && generation != 0 {
		return
	}
	now := time.Now()
	if !plausible(generation, now) || m.answers(now) && !m.peer.Leads {
		return
	}
	m.gen = max(m.gen, generation)
	if !m.answers(now) {
		m.rest = min(max(firstRest, 2*m.rest), lastRest)
		m.claims = now.Add(m.rest)
	}
	m.yield(now, "a switch obeys the other gateway")
}

// answers reports whether the peer was heard of within the timeout. The caller holds mu, as for all below.
func (m *Member) answers(now time.Time) bool {
	return !m.heard.IsZero() && now.Sub(m.heard) <= m.cfg.Timeout
}

// claim takes the lead, or takes it again with a higher generation.
func (m *Member) claim(now time.Time, why string) {
	seen := max(m.gen, m.peer.Generation)
	gen := uint64(now.UnixMilli())<<1 | uint64(m.cfg.Member)
	if gen <= seen {
		gen = (seen>>1+1)<<1 | uint64(m.cfg.Member)
	}
	m.gen, m.holds = gen, false
	m.set(now, true, why)
}

func (m *Member) yield(now time.Time, why string) {
	m.holds = false
	m.set(now, false, why)
}

func (m *Member) set(now time.Time, leads bool, why string) {
	if leads != m.leads {
		m.since = now
		m.changes++
		m.cfg.Metrics.changes.Inc()
	}
	m.leads, m.why, m.decided = leads, why, now
	close(m.changed)
	m.changed = make(chan struct{})
	m.cfg.Metrics.leads.Set(0)
	word := "this gateway stands by"
	if leads {
		m.cfg.Metrics.leads.Set(1)
		word = "this gateway leads"
	}
	m.log.Info(word, "peer", m.cfg.Peer, "why", why, "generation", m.gen)
}

// look decides what follows from what is known.
func (m *Member) look(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A process that was stopped has heard nothing meanwhile, and knows nothing.
	if now.Sub(m.ticked) > m.cfg.Timeout && m.claims.Before(now.Add(m.cfg.Timeout)) {
		m.claims = now.Add(m.cfg.Timeout)
	}
	m.ticked = now
	answers := m.answers(now)
	m.cfg.Metrics.answers.Set(0)
	if answers {
		m.cfg.Metrics.answers.Set(1)
		m.rest = 0
		if m.claims.After(now.Add(startWait * m.cfg.Timeout)) { // it rested because nobody answered
			m.claims = now
		}
	}
	switch {
	case m.leads:
		if answers && m.peer.Leads && m.peer.Generation > m.gen {
			m.gen = m.peer.Generation
			m.yield(now, "the other gateway leads, by a later claim")
		}
	case answers && m.peer.Leads:
	case answers:
		if m.first() {
			m.claim(now, "neither gateway leads")
		}
	case now.After(m.claims):
		why := "the other gateway does not answer"
		if m.heard.IsZero() {
			why = "the other gateway has never answered"
		}
		m.claim(now, why)
	}
}

// first reports whether this member and not its peer takes the lead, where neither has it.
func (m *Member) first() bool {
	switch mine := m.cfg.Serial(); {
	case mine != m.peer.Serial:
		return mine > m.peer.Serial
	case m.cfg.Prefer != m.peer.Prefer:
		return m.cfg.Prefer
	}
	return m.cfg.Member < m.peer.Member
}

// state is what the peer is told. The caller holds mu.
func (m *Member) state() State {
	return State{Member: m.cfg.Member, Leads: m.leads, Since: m.since, Generation: m.gen, Serial: m.cfg.Serial(), Prefer: m.cfg.Prefer}
}

// Close frees what New took, for a member that is not run.
func (m *Member) Close() { m.cfg.Listener.Close() }

// Status tells an operator.
func (m *Member) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	st := Status{State: m.state(), Peer: m.cfg.Peer, Heard: m.heard, Answers: m.answers(now), Changes: m.changes, Why: m.why}
	if !m.heard.IsZero() {
		st.PeerIs = new(m.peer)
	}
	if rest := m.claims.Sub(now); rest > 0 && !m.leads {
		st.RestsFor = rest.Seconds()
	}
	return st
}

// Run asks the peer and answers it until ctx is done.
func (m *Member) Run(ctx context.Context) error {
	srv := &http.Server{Handler: m.handler(), TLSConfig: m.cfg.Server, ReadHeaderTimeout: time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(tls.NewListener(m.cfg.Listener, m.cfg.Server)) }()
	defer srv.Close()
	defer m.client.CloseIdleConnections()
	go m.sendPassed(ctx)
	asked := make(chan struct{}, 1)
	asked <- struct{}{} // a question is asked when the one before is answered
	ticker := time.NewTicker(m.cfg.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("%s: %w", m, err)
		case <-ticker.C:
		}
		select {
		case <-asked:
			go func() {
				m.ask(ctx)
				asked <- struct{}{}
			}()
		default:
		}
		m.look(time.Now())
	}
}

// Handover gives the lead to the peer, without a packet lost: what this gateway has sent is confirmed first, and what it still has of the switches'
// packets goes to the peer.
func (m *Member) Handover(ctx context.Context) error {
	m.mu.Lock()
	switch {
	case !m.leads:
		m.mu.Unlock()
		return errors.New("this gateway does not lead")
	case !m.answers(time.Now()):
		m.mu.Unlock()
		return fmt.Errorf("the other gateway, %s, does not answer", m.cfg.Peer)
	case m.holds:
		m.mu.Unlock()
		return errors.New("the lead is being handed over already")
	}
	m.holds = true
	m.set(time.Now(), true, "the lead is being handed over")
	gen := m.gen
	m.mu.Unlock()
	err := m.cfg.hold(ctx)
	var peer State
	if err == nil {
		peer, err = m.tellClaim(ctx, gen)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if m.leads {
			m.claim(time.Now(), "the lead could not be handed over")
		}
		return fmt.Errorf("handover: %w", err)
	}
	now := time.Now()
	m.heard, m.peer = now, peer
	if m.leads {
		m.yield(now, "the lead was handed over")
	}
	return nil
}

func (c *Config) hold(ctx context.Context) error {
	if c.Hold == nil {
		return nil
	}
	return c.Hold(ctx)
}
