package pair

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
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
	// startWait is how long a gateway that has just started waits for its peer's answer before it claims, in units of Timeout.
	startWait = 3
	// firstRest is how long a gateway makes no claim after a switch has demoted it while its peer didn't answer. It doubles each time, up to lastRest.
	firstRest = 30 * time.Second
	lastRest  = 10 * time.Minute
	// olderFor is how long a gateway goes on leading when the other one could lead by a newer policy. Meanwhile it asks its function for that policy.
	olderFor = 10 * time.Second
	// giveAgain is how long after an attempt to give the lead away for that it makes another one, and giveWithin how long one may take.
	giveAgain, giveWithin = 30 * time.Second, 5 * time.Second
	// maxSpoken bounds the switches whose answers about the lead are noted. Answers of further switches are ignored.
	maxSpoken = 8192
	// ahead is how far in the future the time in a generation may be. A switch that names a later one lies, or belonged to another controller.
	// If a gateway claimed above it, the number would overflow some day, and all other switches would take this pair's claims for stale.
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

	// Serial returns the serial of the policy that counts here; 0: none is confirmed. Newer is called when the peer has a newer one. A gateway with an
	// older policy leads only while its peer doesn't answer, or is connected to fewer switches: else it gives the lead to its peer.
	Serial func() uint64
	Newer  func()
	// Behind reports whether the policy that counts here is older than one of a serial, and no operator has said that it shall count. Nil compares serials.
	Behind   func(serial uint64) bool
	olderFor time.Duration

	// Hold is called before the lead is handed over. It waits until all switches have confirmed their messages, and sends nothing more to them.
	Hold func(ctx context.Context) error
	// Receive takes a packet that the peer had received from a switch when it handed the lead over. After an error the peer sends it again.
	Receive func(dpid flow.DPID, p *flow.PacketIn) error
	// Switches returns the switches that this gateway may lead now. Sessions call it; it must not wait.
	Switches func() []flow.DPID
	// Claims is called before this member leads by a claim, also if it led already: the peer may have decided packets since this member's claim before.
	// It must not wait.
	Claims func()

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
	Older    bool      `json:"older"`   // it leads by a policy that is older than the one the peer has named: the peer doesn't answer, or not for long enough yet
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
	woke    time.Time // when this process went on after it had been stopped; zero: the peer's answer is newer than that
	gen     uint64    // of the latest claim, or the highest that was seen
	since   time.Time
	changed chan struct{}
	changes uint64
	why     string

	heard   time.Time
	peer    State
	rest    time.Duration
	claims  time.Time // not before
	older   time.Time // since when it leads by an older policy than that of a peer which answers; zero: it doesn't
	cut     bool      // a switch has said that it obeys the peer while that did not answer
	spoken  map[flow.DPID]*spoken
	ticked  time.Time
	waiting chan passed

	newest atomic.Uint64 // the peer's serial
}

// spoken is what a switch has answered about the lead while this gateway leads.
type spoken struct {
	raised time.Time     // when this member last claimed because of it
	left   bool          // it is left to the other gateway
	until  time.Time     // until then
	rest   time.Duration // how long that is
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
	if cfg.Behind == nil {
		cfg.Behind = func(serial uint64) bool { return cfg.Serial() < serial }
	}
	if cfg.olderFor == 0 {
		cfg.olderFor = olderFor
	}
	now := time.Now()
	m := &Member{cfg: cfg, log: cfg.Logger, since: now, ticked: now, changed: make(chan struct{}), spoken: make(map[flow.DPID]*spoken), waiting: make(chan passed, maxPassed), why: "started"}
	m.client = newClient(cfg.Client, cfg.Timeout)
	m.claims = now.Add(startWait * cfg.Timeout)
	return m, nil
}

func (m *Member) String() string { return "pair with " + m.cfg.Peer }

// Member implements [bridge.Pair].
func (m *Member) Member() uint32 { return m.cfg.Member }

// Term implements [bridge.Pair]. A switch that is left to the other gateway for a while is not led.
func (m *Member) Term(dpid flow.DPID) bridge.Term {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.spoken[dpid]
	return bridge.Term{Generation: m.gen, Leads: m.leads && (s == nil || !s.left), Holds: m.holds, Unsure: m.unsure(time.Now()), Changed: m.changed}
}

// Newest implements [bridge.Pair].
func (m *Member) Newest() uint64 { return m.newest.Load() }

// unsure reports whether this process was stopped for longer than its peer waits before that leads, and has not asked it since. The caller holds mu.
func (m *Member) unsure(now time.Time) bool {
	return m.leads && (!m.woke.IsZero() || now.Sub(m.ticked) > m.cfg.Timeout)
}

// Seen implements [bridge.Pair]. Where a switch has seen a higher generation than this member's, it leads with one above it. A switch that says so
// again soon is left to the other gateway: one that lies would have all others claimed without end.
func (m *Member) Seen(dpid flow.DPID, generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if generation <= m.gen || !plausible(generation, now) {
		return
	}
	if !m.leads {
		m.gen = generation
		return
	}
	s := m.word(dpid, now)
	switch {
	case s == nil || s.left:
	case !s.raised.IsZero() && now.Sub(s.raised) < firstRest:
		m.leave(dpid, s, now)
	default:
		s.raised = now
		m.gen = generation
		m.claim(now, "a switch has seen a higher generation")
	}
}

// Lost implements [bridge.Pair]. A switch alone is not believed: one that lies must not cost the others their gateway. Where the peer answers,
// it says itself whether it leads. Where it does not, most switches must say so; what fewer say, they are left to the other gateway for.
func (m *Member) Lost(dpid flow.DPID, generation uint64) {
	there := m.cfg.switches()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.leads || generation <= m.gen && generation != 0 {
		return
	}
	now := time.Now()
	if !plausible(generation, now) || m.answers(now) && !m.peer.Leads {
		return
	}
	if m.answers(now) {
		m.gen = max(m.gen, generation)
		m.yield(now, "a switch obeys the other gateway")
		return
	}
	m.cut = true
	s := m.word(dpid, now)
	if s == nil || s.left {
		return
	}
	m.leave(dpid, s, now)
	all, left := 1, 1
	for _, other := range there {
		if other == dpid {
			continue
		}
		all++
		if w := m.spoken[other]; w != nil && w.left {
			left++
		}
	}
	if 2*left <= all {
		return
	}
	m.gen = max(m.gen, generation)
	m.rest = min(max(firstRest, 2*m.rest), lastRest)
	m.claims = now.Add(m.rest)
	m.yield(now, "most switches obey the other gateway")
}

// word returns what a switch has answered, or nil if there is no room to note it. The caller holds mu, as for all functions below.
func (m *Member) word(dpid flow.DPID, now time.Time) *spoken {
	if s := m.spoken[dpid]; s != nil {
		return s
	}
	if len(m.spoken) >= maxSpoken {
		maps.DeleteFunc(m.spoken, func(_ flow.DPID, s *spoken) bool {
			return !s.left && now.Sub(s.raised) > firstRest && now.After(s.until)
		})
	}
	if len(m.spoken) >= maxSpoken {
		return nil
	}
	s := new(spoken)
	m.spoken[dpid] = s
	return s
}

// leave stops claiming one switch and leaves it to the other gateway, for twice as long as the last time.
func (m *Member) leave(dpid flow.DPID, s *spoken, now time.Time) {
	s.rest = min(max(firstRest, 2*s.rest), lastRest)
	s.left, s.until = true, now.Add(s.rest)
	m.log.Warn("a switch says that it obeys the other gateway of the pair: it is left to that gateway for a while", "dpid", dpid.String(), "seconds", s.rest.Seconds())
	m.tell()
}

// claimLeft claims switches again that were left to the other gateway: those whose time has passed, and those that were left while it didn't answer.
func (m *Member) claimLeft(now time.Time, answers bool) {
	healed := answers && m.cut
	if healed {
		m.cut = false
	}
	for _, s := range m.spoken {
		if s.left && (healed || now.After(s.until)) {
			m.claim(now, "a switch was left to the other gateway for long enough")
			break
		}
	}
	if healed {
		clear(m.spoken)
	}
}

// hear takes note of what the peer says of itself.
func (m *Member) hear(at time.Time, st State) {
	m.heard, m.peer = at, st
	m.newest.Store(st.Serial)
}

// answers reports whether the peer has answered within the timeout.
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
	if m.cfg.Claims != nil {
		m.cfg.Claims()
	}
	m.gen, m.holds = gen, false
	m.set(now, true, why)
}

// tell wakes those who wait for a change of the lead.
func (m *Member) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
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
	for _, s := range m.spoken {
		s.left = false
	}
	m.tell()
	m.cfg.Metrics.leads.Set(0)
	word := "this gateway stands by"
	if leads {
		m.cfg.Metrics.leads.Set(1)
		word = "this gateway leads"
	}
	m.log.Info(word, "peer", m.cfg.Peer, "why", why, "generation", m.gen)
}

// look decides whether to take or to yield the lead.
func (m *Member) look(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// This process was stopped for a while, and may have missed answers of its peer.
	if now.Sub(m.ticked) > m.cfg.Timeout {
		m.woke = now
		if m.claims.Before(now.Add(m.cfg.Timeout)) {
			m.claims = now.Add(m.cfg.Timeout)
		}
	}
	m.ticked = now
	if !m.woke.IsZero() && (m.heard.After(m.woke) || now.Sub(m.woke) > m.cfg.Timeout) {
		m.woke = time.Time{}
		defer m.tell() // after it has been decided who leads
	}
	answers := m.answers(now)
	older := m.leads && m.cfg.Behind(m.newest.Load())
	m.cfg.Metrics.older.Set(0)
	if older {
		m.cfg.Metrics.older.Set(1)
	}
	switch {
	case !older || !answers:
		m.older = time.Time{}
	case m.older.IsZero():
		m.older = now
	}
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
			return
		}
		m.claimLeft(now, answers)
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

// gives reports whether it is time to give the lead to the peer, since that has a newer policy.
func (m *Member) gives(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.older.IsZero() || !m.leads || m.holds || now.Sub(m.older) < m.cfg.olderFor {
		return false
	}
	m.older = now.Add(giveAgain - m.cfg.olderFor) // the next time
	return true
}

// give gives the lead to the peer, if that is connected to as many switches as this gateway.
func (m *Member) give(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, giveWithin)
	defer cancel()
	var there switchesBody
	err := m.call(ctx, http.MethodGet, "/pair/v1/switches", nil, &there)
	if err == nil {
		if here := m.cfg.switches(); there.Switches < len(here) {
			err = fmt.Errorf("only %d switches are connected to it, and %d to this one", there.Switches, len(here))
		} else {
			err = m.Handover(ctx)
		}
	}
	if err != nil && ctx.Err() != context.Canceled {
		m.log.Warn("the other gateway of the pair has a newer policy, and could not be given the lead", "peer", m.cfg.Peer, "err", err)
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

// state returns what to tell the peer. The caller holds mu.
func (m *Member) state() State {
	return State{Member: m.cfg.Member, Leads: m.leads, Since: m.since, Generation: m.gen, Serial: m.cfg.Serial(), Prefer: m.cfg.Prefer}
}

// Close closes the listener. It is for a member that is never run.
func (m *Member) Close() { m.cfg.Listener.Close() }

// Status tells an operator.
func (m *Member) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	st := Status{State: m.state(), Peer: m.cfg.Peer, Heard: m.heard, Answers: m.answers(now), Changes: m.changes, Why: m.why,
		Older: m.leads && m.cfg.Behind(m.newest.Load())}
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
		now := time.Now()
		m.look(now)
		if m.gives(now) {
			go m.give(ctx)
		}
	}
}

// Handover gives the lead to the peer without losing a packet. A peer with an older policy gets none. Before it, the switches confirm what this gateway has sent; after it, this gateway passes on
// the packets that it still receives from them.
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
	case m.peer.Serial < m.cfg.Serial():
		older := fmt.Errorf("the other gateway, %s, has an older policy, of serial %d, and this one has %d", m.cfg.Peer, m.peer.Serial, m.cfg.Serial())
		m.mu.Unlock()
		return older
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
	m.hear(now, peer)
	if m.leads {
		m.yield(now, "the lead was handed over")
	}
	return nil
}

func (c *Config) switches() []flow.DPID {
	if c.Switches == nil {
		return nil
	}
	return c.Switches()
}

func (c *Config) hold(ctx context.Context) error {
	if c.Hold == nil {
		return nil
	}
	return c.Hold(ctx)
}
