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

// Coalescer holds packets while one with the same headers is being decided, and until
// the switch has that decision's rules. Then the packets go by these rules. Each session
// has a Coalescer. T is what waits, such as an event with its data; it belongs to the
// session. A Coalescer does no input or output and never calls back. It is safe for
// concurrent use.
//
// The session's part:
//
//	flight, place := c.Join(&pi.Match, task, len(data), now)
//	// Leads: decide the event. Then write its rules, its PACKET_OUT and a BARRIER.
//	c.Decided(flight, &decision, now)
//	// when the BARRIER was answered, or at once where no rule was written, or where nobody follows:
//	tasks, actions, follow := c.Release(flight)
//	// follow: a PACKET_OUT with the actions for each, in order.
//	// Not follow: each is an event of its own, which does not join again.
//
// Every flight must be released, whatever became of its leader. If a flight was not
// decided (no worker was free, or the answer could not be understood), its followers ask
// on their own. If the leader got no answer, its followers share its outcome, drop or
// NORMAL: it would not help to ask a function that is away again for each of them.
type Coalescer[T any] struct {
	limits CoalesceLimits

	mu      sync.Mutex
	flights map[flow.Match]*Flight[T]
	waiting int
	bytes   int
	settled []*Flight[T] // released and within Settle, the oldest first; they stay in flights
}

// maxSettled bounds the flights that still answer late packets. Beyond it the oldest
// are forgotten, and a late packet is asked about again.
const maxSettled = 8192

// CoalesceLimits bound what a Coalescer holds.
type CoalesceLimits struct {
	Keys   int // decisions that may have followers at a time; more lead alone. Default 1024
	PerKey int // followers of one. Default 64
	Bytes  int // of all that wait, as their owner counts them. Default 1 MiB

	// Hold is how long a decided flight gathers followers while its BARRIER is
	// not answered. After it a packet leads anew. Default 2 s.
	Hold time.Duration

	// Settle is how long after its release a flight still answers packets with its
	// headers, which the switch sent before it had the rules. 0: not at all.
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

// Actions returns the actions for a packet that is [Settled]; an empty list drops it.
func (f *Flight[T]) Actions() []flow.Action { return f.actions }

// Join says what to do with the packet with headers key. If it leads, the caller keeps w
// and gets the flight, which is nil if there is no room for followers. If it waits, the
// Coalescer keeps w until the flight is released. bytes is how much memory w takes, now
// the present time.
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

// Decided notes what the leader's decision does with packets of the same headers. Only
// rules count for followers. A decision without a rule that matches, such as a PACKET_OUT
// alone, is about its own packet, unless d.Failure says that it is the fail mode's.
// Decided copies what it keeps of d. It reports whether the flight has no followers yet,
// which is false of the nil flight: that can have none.
func (c *Coalescer[T]) Decided(f *Flight[T], d *flow.Decision, now time.Time) (alone bool) {
	if f == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.decided = now
	alone = len(f.waiters) == 0
	if d.Failure != nil {
		f.follow, f.actions = true, append(f.actions[:0], d.PacketOut...)
		return alone
	}
	rules := flow.Decision{Rules: d.Rules}
	actions, rule := rules.PacketActions(&f.key)
	if rule < 0 {
		f.follow, f.actions = false, f.actions[:0]
		return alone
	}
	f.follow, f.actions = true, append(f.actions[:0], actions...)
	if d.Rules[rule].Goto != 0 {
		// What the tables that follow do only the switch knows. It has the rule by
		// now, so the packet does not miss again.
		f.actions = append(f.actions[:0], flow.OutputTo(flow.PortTable))
	}
	return alone
}

// Release ends a flight and returns its followers in the order in which they
// came. With follow each takes actions (none: drop); without, each is an event
// of its own. A second release of a flight returns nothing.
//
// settle says that the switch has the flight's rules, so that later packets with these
// headers need no question of their own.
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

// Has reports whether a packet with headers key, now, would wait or be settled, or
// might. A nil Coalescer has none.
func (c *Coalescer[T]) Has(key *flow.Match, now time.Time) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	return c.flights[*key] != nil
}

// expire forgets the flights that answer no packet any more. The caller holds mu.
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
