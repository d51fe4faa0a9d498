package bridge

import (
	"sync"
	"time"

	"switchbridge/flow"
)

// Place is where a packet stands among those with the same headers.
type Place uint8

const (
	Leads   Place = iota // it is to be decided
	Waits                // it was taken, and follows the one that is being decided
	Full                 // there is no room to wait: drop it and count it
	Settled              // one like it was decided a moment ago: it takes the flight's actions
)

func (p Place) String() string { return [...]string{"leads", "waits", "full", "settled"}[p%4] }

// Coalescer holds packets back while one with the same headers is being
// decided, and until the switch has that decision's rules; then they go by
// them. One session has one; what waits (T, such as an event that owns its
// data) is the session's. It does no input or output and never calls back. It
// has a lock of its own and is safe for concurrent use.
//
// The session's part:
//
//	flight, place := c.Join(&pi.Match, task, len(data), now)
//	// Leads: decide the event. Then write its rules, a BARRIER and its PACKET_OUT.
//	c.Decided(flight, &decision, now)
//	// when the BARRIER was answered, or at once where no rule was written:
//	tasks, actions, follow := c.Release(flight)
//	// follow: a PACKET_OUT with the actions for each, in order.
//	// Not follow: each is an event of its own, which does not join again.
//
// Every flight must be released, whatever became of its leader. One that was
// not decided when it is released (the leader met no pool worker, the answer
// could not be understood) has its followers ask on their own. One whose
// leader got no answer has them share its outcome, drop or NORMAL: asking a
// function that is away again, for each of them, would help nobody.
type Coalescer[T any] struct {
	limits CoalesceLimits

	mu      sync.Mutex
	flights map[flow.Match]*Flight[T]
	waiting int
	bytes   int
	settled []*Flight[T] // released and within Settle, the oldest first; they stay in flights
}

// maxSettled bounds the flights that speak for stragglers. Beyond it the oldest
// are forgotten, which costs a repeated question.
const maxSettled = 8192

// CoalesceLimits bound what a Coalescer holds.
type CoalesceLimits struct {
	Keys   int // decisions that may have followers at a time; more lead alone. Default 1024
	PerKey int // followers of one. Default 64
	Bytes  int // of all that wait, as their owner counts them. Default 1 MiB

	// Hold is how long a decided flight gathers followers while its BARRIER is
	// not answered. After it a packet leads anew. Default 2 s.
	Hold time.Duration

	// Settle is how long after its release a flight speaks for stragglers: packets
	// that were on their way while the switch took the rules. 0: not at all.
	Settle time.Duration
}

// NewCoalescer makes an empty one. Zero limits take their defaults.
func NewCoalescer[T any](limits CoalesceLimits) *Coalescer[T] {
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&limits.Keys, 1024)
	def(&limits.PerKey, 64)
	def(&limits.Bytes, 1<<20)
	if limits.Hold == 0 {
		limits.Hold = 2 * time.Second
	}
	return &Coalescer[T]{limits: limits}
}

// Flight is one decision that others wait for. Its fields are under its
// Coalescer's lock. A nil Flight is one without followers, which every method
// of a Coalescer takes.
type Flight[T any] struct {
	key     flow.Match
	waiters []T
	bytes   int
	done    bool // released

	decided time.Time // zero: not yet
	follow  bool
	actions []flow.Action
	until   time.Time // released, and speaks for stragglers until then; zero: not released, or not to
}

// Actions returns what a packet that is [Settled] takes; an empty list drops it.
func (f *Flight[T]) Actions() []flow.Action { return f.actions }

// Join says where the packet with headers key stands. Where it leads, the
// caller owns w and the flight, which is nil if it may have no followers; where
// it waits, the Coalescer has w until the flight is released. Bytes is what w
// keeps of memory, now the present time.
func (c *Coalescer[T]) Join(key *flow.Match, w T, bytes int, now time.Time) (*Flight[T], Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	f := c.flights[*key]
	if f != nil && !f.until.IsZero() {
		if now.Before(f.until) {
			return f, Settled
		}
		f = nil
	}
	if f == nil || !f.decided.IsZero() && now.Sub(f.decided) > c.limits.Hold {
		if f == nil && len(c.flights)-len(c.settled) >= c.limits.Keys {
			return nil, Leads
		}
		f = &Flight[T]{key: *key}
		if c.flights == nil {
			c.flights = make(map[flow.Match]*Flight[T])
		}
		c.flights[*key] = f // one that it replaces keeps its followers
		return f, Leads
	}
	if len(f.waiters) >= c.limits.PerKey || c.bytes+bytes > c.limits.Bytes {
		return nil, Full
	}
	f.waiters = append(f.waiters, w)
	f.bytes += bytes
	c.bytes += bytes
	c.waiting++
	return nil, Waits
}

// Decided notes what the leader's decision does with packets of its headers.
// Only rules speak for followers: a decision without one that matches, such as
// a PACKET_OUT alone, speaks for its own packet, unless d.Failure says that it
// is the fail mode's. It copies what it keeps of d.
func (c *Coalescer[T]) Decided(f *Flight[T], d *flow.Decision, now time.Time) {
	if f == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.decided = now
	if d.Failure != nil {
		f.follow, f.actions = true, append(f.actions[:0], d.PacketOut...)
		return
	}
	rules := flow.Decision{Rules: d.Rules}
	actions, rule := rules.PacketActions(&f.key)
	if rule < 0 {
		f.follow, f.actions = false, f.actions[:0]
		return
	}
	f.follow, f.actions = true, append(f.actions[:0], actions...)
	if d.Rules[rule].Goto != 0 {
		// What the tables that follow do only the switch knows. It has the rule by
		// now, so the packet does not miss again.
		f.actions = append(f.actions[:0], flow.OutputTo(flow.PortTable))
	}
}

// Release ends a flight and returns its followers in the order in which they
// came. With follow each takes actions (none: drop); without, each is an event
// of its own. A second release of a flight returns nothing.
//
// Settle says that the switch has the flight's rules, so that stragglers need
// no question of their own.
func (c *Coalescer[T]) Release(f *Flight[T], settle bool, now time.Time) (waiters []T, actions []flow.Action, follow bool) {
	if f == nil {
		return nil, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.done {
		return nil, nil, false
	}
	f.done = true
	if c.flights[f.key] == f {
		if settle && f.follow && c.limits.Settle > 0 {
			f.until = now.Add(c.limits.Settle)
			c.settled = append(c.settled, f)
		} else {
			delete(c.flights, f.key)
		}
	}
	c.bytes -= f.bytes
	c.waiting -= len(f.waiters)
	waiters, f.waiters = f.waiters, nil
	return waiters, f.actions, f.follow
}

// expire forgets the flights that speak for nobody any more. The caller holds mu.
func (c *Coalescer[T]) expire(now time.Time) {
	for len(c.settled) > 0 && (len(c.settled) > maxSettled || !now.Before(c.settled[0].until)) {
		f := c.settled[0]
		c.settled[0] = nil
		c.settled = c.settled[1:]
		if c.flights[f.key] == f {
			delete(c.flights, f.key)
		}
	}
}

// Waiting returns how many decisions have or may have followers, how many
// followers there are, and their bytes.
func (c *Coalescer[T]) Waiting() (keys, waiting, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.flights) - len(c.settled), c.waiting, c.bytes
}
