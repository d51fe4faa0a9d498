package bridge

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// SessionOptions say what differs between protocols.
type SessionOptions struct {
	Remote string // the switch's address, for records
	Logger *slog.Logger
	Faults *Mute // default: one of the session's own

	// Held is for protocols that have no packet buffer and no ordered channel. If it
	// is not zero, the session sends a packet only after the switch has confirmed
	// the rules of its decision, and holds at most Held packets with the same headers.
	Held int

	// ID is the session's name in events (ce-subject). Default: a random one.
	ID string
	// Settle is how long a decision still answers packets with the same headers
	// after the switch has confirmed its rules. Such packets were on their way.
	Settle time.Duration
}

// Session is one switch's connection, as the gateway sees it.
type Session struct {
	b   *Bridge
	sw  Switch
	opt SessionOptions
	log *slog.Logger
	id  string // ce-subject: unique among all sessions
	m   *protocolMetrics

	faults *Mute
	memory guard.Memory
	ledger ledger

	own        *job // scratch of the owner's goroutine, for decisions in place that need nothing kept; made with the first packet
	queue      queue
	coalescer  *Coalescer[*job]           // nil where packets don't wait for each other
	replies    atomic.Pointer[replies]    // nil until an answer asks whether its packet is a reply
	rejections atomic.Pointer[rejections] // nil until an answer rejects a packet
	tally      tally
	row        *namedSwitch  // of the switch's metrics
	shed       atomic.Uint32 // events that found the queue full since the owner last waited; see Crowded

	mu       sync.Mutex
	confirms map[uint32]*job      // decisions that the switch has yet to confirm
	removals map[uint32]*removal  // messages that remove rules of older states, which it has yet to confirm
	waiting  map[waiting]struct{} // events that wait for a worker, as many as the queue has at most
	resync   resyncState
	standing standingState

	// What the latest survey saw.
	surveys  sync.Mutex // one at a time
	surveyed bool
	forwards int // rules of others that forward packets
	born     time.Time
	first    uint32 // the number when it was born: every decision about it has a later one

	draining atomic.Bool
	ctx      context.Context
	cancel   context.CancelFunc
}

// NewSession makes the session of a connection whose switch is known. The
// session lives until Close is called.
func (b *Bridge) NewSession(ctx context.Context, sw Switch, opt SessionOptions) *Session {
	s := &Session{b: b, sw: sw, opt: opt, id: opt.ID, born: time.Now(), log: opt.Logger, m: b.cfg.Metrics.of(sw.Describe().Protocol)}
	if s.id == "" {
		s.id = rand.Text()
	}
	if s.log == nil {
		s.log = b.log
	}
	if s.faults = opt.Faults; s.faults == nil {
		s.faults = &Mute{Log: s.log}
	}
	if opt.Held > 0 || b.cfg.Coalesce && !b.local {
		s.coalescer = NewCoalescer[*job](CoalesceLimits{PerKey: opt.Held, Settle: opt.Settle})
	}
	s.first = b.Number()
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.cfg.Metrics.switches.enter(s, sw.Describe().DPID)
	b.mu.Lock()
	b.sessions[s] = struct{}{}
	s.draining.Store(b.draining)
	b.mu.Unlock()
	b.pool.limit(&s.queue, b.live.Load().QueuePerSwitch)
	return s
}

// Ready says that the switch can be read and written. In the background the session
// then asks for the switch's proactive rules and removes rules of other policies.
func (s *Session) Ready() {
	s.resyncWanted(link{})
	s.lookLater(0)
}

// Close ends the session and returns how many events were pending.
func (s *Session) Close() int {
	s.cancel()
	s.stopLooking()
	s.b.mu.Lock()
	delete(s.b.sessions, s)
	s.b.mu.Unlock()
	s.b.book.forget(s)
	s.endRemovals()
	left := s.b.pool.discard(&s.queue)
	if r := s.replies.Load(); r != nil {
		left += r.discard()
	}
	if s.coalescer != nil {
		_, waiting, _ := s.coalescer.Waiting()
		left += waiting
	}
	s.Drops("disconnected", left)
	s.m.switches.leave(s)
	return left
}

// Status returns what the session has seen so far.
func (s *Session) Status() Status {
	return Status{Events: s.tally.events.Load(), Drops: s.tally.drops.Load(), Pending: s.b.pool.pending(&s.queue),
		Policy: s.b.cfg.Versions.Latest(), Missing: s.NotReady()}
}

// Drop counts a lost packet under a cause, which must be one of a fixed set of words.
func (s *Session) Drop(cause string) {
	s.tally.drops.Add(1)
	s.m.drops.WithLabelValues(s.m.protocol, cause).Inc()
}

// Drops counts n lost packets.
func (s *Session) Drops(cause string, n int) {
	if n > 0 {
		s.tally.drops.Add(uint64(n))
		s.m.drops.WithLabelValues(s.m.protocol, cause).Add(float64(n))
	}
}

// crowd is how many events may find the queue full before the owner waits.
const crowd = 64

// Crowded reports whether the switch sends more packets than can be decided. The
// owner of the connection should then not read for a moment: reading and dropping
// hundreds of thousands of packets a second takes a core that the other switches
// need, and a switch drops its own packets at less cost. Crowded reports true only
// once in a while.
func (s *Session) Crowded() bool {
	if s.shed.Load() < crowd {
		return false
	}
	s.shed.Store(0)
	return true
}

// Warn logs a fault. Further faults with the same key are left out for a while and
// counted in the next line. Keys come from a fixed set.
func (s *Session) Warn(key, msg string, args ...any) { s.faults.Warn(key, msg, args...) }

// fill sets what every event of the session carries.
func (s *Session) fill(ev *flow.Event, now time.Time) {
	ev.Session, ev.Time, ev.XID, ev.Switch = s.id, now, s.b.decision(ev), s.sw.Describe()
	if !s.b.local {
		ev.ID = s.id + "-" + strconv.FormatUint(uint64(ev.XID), 10)
	}
}
