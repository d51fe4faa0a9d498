package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"switchbridge/flow"
)

// Bridge is what the sessions of all switches share.
type Bridge struct {
	cfg   Config // but for what live has
	live  atomic.Pointer[Live]
	log   *slog.Logger
	local bool // the decider answers in place

	first    uint32 // the number before the first that was given
	numbers  atomic.Uint32
	pool     *pool
	pacer    pacer
	turns    turns
	book     book
	renewals *rate.Limiter
	revoking atomic.Int32 // packets that wait for rules of older states to be removed
	faults   Mute         // of no session

	mu       sync.Mutex
	sessions map[*Session]struct{}
	draining bool
	drained  chan struct{} // closed when Drain is done; nil before it
}

// New checks the configuration. Nothing runs until a session is made.
func New(cfg Config) (*Bridge, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	b := &Bridge{cfg: cfg, log: cfg.Logger, local: flow.IsLocal(cfg.Decider), sessions: make(map[*Session]struct{}),
		renewals: rate.NewLimiter(renewRate, renewBurst)}
	// Decisions are numbered from a random start, so that a rule that an earlier
	// run of this gateway left is not taken for one of this run's.
	b.first = rand.Uint32() & numberMask &^ 1
	b.numbers.Store(b.first)
	b.pool = newPool(cfg.Workers)
	live := cfg.Live()
	b.live.Store(&live)
	b.faults.Log = cfg.Logger
	b.pacer.run, b.pacer.alarm = b.PolicyChanged, b.storm
	cfg.Versions.onOffer = b.offer
	return b, nil
}

// Local reports whether decisions are made in place, on the goroutine that read
// the packet.
func (b *Bridge) Local() bool { return b.local }

// Pair says which of two gateways leads; nil where this one is alone.
func (b *Bridge) Pair() Pair { return b.cfg.Pair }

// Logger returns what the bridge logs to; it is never nil.
func (b *Bridge) Logger() *slog.Logger { return b.log }

// QueuePerSwitch is how many events of one switch may wait; it changes with [Bridge.Update].
func (b *Bridge) QueuePerSwitch() int { return b.live.Load().QueuePerSwitch }

// Number returns a number of 31 bits that is never zero, for a message of the
// gateway's own. It is odd.
func (b *Bridge) Number() uint32 { return b.number(1) }

// decision returns the number of a new decision. It is even if the event is a
// packet: a rule's cookie then tells, also after a restart, that a packet caused
// the rule.
func (b *Bridge) decision(ev *flow.Event) uint32 {
	if ev.PacketIn == nil {
		return b.number(1)
	}
	return b.number(0)
}

// number returns a new number, whose lowest bit is kind.
func (b *Bridge) number(kind uint32) uint32 {
	for {
		n := b.numbers.Add(2)&numberMask | kind
		if p := b.cfg.Pair; p != nil {
			n = n&^memberBit | p.Member()*memberBit
		}
		if n != 0 {
			return n
		}
	}
}

// answersPacket reports whether n is the number of a decision about a packet.
func answersPacket(n uint32) bool { return n&1 == 0 }

// peers reports whether the other gateway of a pair gave the number n.
func (b *Bridge) peers(n uint32) bool {
	return b.cfg.Pair != nil && n&memberBit != b.cfg.Pair.Member()*memberBit
}

// age returns how far n is from the first number that this process gave.
func (b *Bridge) age(n uint32) uint32 {
	if b.cfg.Pair != nil {
		return (n&^1 - b.first) & (memberBit - 1)
	}
	return (n&^1 - b.first) & numberMask
}

// issued reports whether this process gave the number n.
func (b *Bridge) issued(n uint32) bool {
	return !b.peers(n) && b.age(n)-1 < b.age(b.numbers.Load())
}

// issuedSince reports whether this process gave the number n, and not before it
// gave start.
func (b *Bridge) issuedSince(n, start uint32) bool { return b.issued(n) && b.age(n) >= b.age(start) }

// Owns reports whether a cookie is one of this gateway's.
func (b *Bridge) Owns(cookie uint64) bool { return b.cfg.Gateway.Owns(cookie) }

// OwnCookie returns the cookie of rules that no decision caused: standing rules
// and learned addresses.
func (b *Bridge) OwnCookie() uint64 { return b.cfg.Gateway.standing() }

// SetUp reports whether a cookie is [Bridge.OwnCookie].
func (b *Bridge) SetUp(cookie uint64) bool { return cookie == b.OwnCookie() }

// Decision returns the decision's number in one of this gateway's cookies, which
// is also in its log line.
func Decision(cookie uint64) uint32 {
	_, _, n := SplitCookie(cookie)
	return n
}

// Versions returns what tracks the policy's version.
func (b *Bridge) Versions() *Versions { return b.cfg.Versions }

// sweeping returns the version that rules are swept by; zero: by none. A gateway of a pair removes nothing that the other one has installed by a newer
// policy, unless an operator has taken this one back to its own.
func (b *Bridge) sweeping() flow.PolicyVersion {
	v := b.cfg.Versions.Sweeping()
	if b.behind(v) {
		return flow.PolicyVersion{}
	}
	return v
}

// behind reports whether the other gateway of a pair has a newer policy than v.
func (b *Bridge) behind(v flow.PolicyVersion) bool {
	return b.cfg.Pair != nil && v.Serial < b.cfg.Pair.Newest() && !b.cfg.Versions.rolledBack(v)
}

// PolicyChanged tells every session that there is a new policy. Each asks for its
// proactive rules again. Then it asks, at a bounded rate, about the rules that older
// policies have left in its switch, and removes those that the new policy decides
// otherwise. PolicyChanged returns at once.
func (b *Bridge) PolicyChanged() { b.policyChanged(link{}) }

func (b *Bridge) policyChanged(l link) {
	for _, s := range b.open() {
		s.resyncWanted(l)
	}
}

func (b *Bridge) open() []*Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.sessions))
}

// Drain refuses new events and waits for the pending decisions, for at most
// DrainTimeout. The owners of sessions close them afterwards. If several callers
// drain, all of them wait for the same end.
func (b *Bridge) Drain() {
	b.mu.Lock()
	if b.drained != nil {
		done := b.drained
		b.mu.Unlock()
		<-done
		return
	}
	b.drained, b.draining = make(chan struct{}), true
	for s := range b.sessions {
		s.draining.Store(true)
	}
	b.mu.Unlock()
	if left := b.pool.drain(b.cfg.DrainTimeout); left > 0 {
		b.log.Warn("shutting down with decisions pending", "pending", left, "waited_seconds", b.cfg.DrainTimeout.Seconds())
	}
	for _, s := range b.open() {
		if r := s.replies.Load(); r != nil {
			r.drain(lookFor)
		}
		_ = s.sw.Flush() // its owner learns of the error
	}
	close(b.drained)
}

// Ready returns why a switch that is connected is not governed, or nil.
func (b *Bridge) Ready() error {
	for _, s := range b.open() {
		if why := s.NotReady(); why != "" {
			return fmt.Errorf("switch %v: %s", s.sw.Describe().DPID, why)
		}
	}
	return nil
}

// Status is what commands and pages show of a session.
type Status struct {
	Events  uint64
	Drops   uint64
	Pending int // events that wait for a decision or are being decided
	Policy  flow.PolicyVersion
	Missing string // what must be in the switch and is not; empty where all is
}

// decide asks the decider, with the deadline of events where it is remote.
func (b *Bridge) decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	live := b.live.Load()
	if b.local {
		return live.Decider.Decide(ctx, ev, d)
	}
	ctx, cancel := context.WithTimeout(ctx, live.EventTimeout)
	defer cancel()
	return live.Decider.Decide(ctx, ev, d)
}

// Handshake passes a message of OpenFlow's handshake to the function, before the
// switch has a session. It returns the messages that the function answers with.
func (b *Bridge) Handshake(ctx context.Context, session string, sw *flow.Switch, msg []byte) ([]byte, error) {
	ev := flow.Event{Type: flow.EventHandshake, Session: session, Time: time.Now(), XID: b.Number(), Switch: sw, Handshake: append([]byte(nil), msg...)}
	ev.ID = fmt.Sprintf("%s-%d", session, ev.XID)
	var d flow.Decision
	if err := b.decide(ctx, &ev, &d); err != nil {
		return nil, err
	}
	return d.Handshake, nil
}

// Early counts a packet that came before its switch was ready.
func (b *Bridge) Early(p flow.Protocol) {
	b.cfg.Metrics.drops.WithLabelValues(protocolLabel(p), "not_ready").Inc()
}
