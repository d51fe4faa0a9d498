package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
)

// OnFailure is what becomes of a packet whose states can't be read or written.
type OnFailure uint8

const (
	Deny  OnFailure = iota // it is dropped
	Start                  // it is decided about as if no machine had moved yet
)

func (f OnFailure) String() string {
	if f == Start {
		return "start"
	}
	return "deny"
}

// ParseOnFailure is the inverse of [OnFailure.String].
func ParseOnFailure(s string) (OnFailure, error) {
	switch s {
	case "deny":
		return Deny, nil
	case "start":
		return Start, nil
	}
	return 0, fmt.Errorf("%q: want deny or start", s)
}

// Defaults of a [Config].
const (
	DefaultTimeout = 500 * time.Millisecond
	maxTries       = 32

	// DefaultStaleness is for those who decide for several gateways.
	DefaultStaleness = 5 * time.Second
)

// Config is what a [Decider] is made of.
type Config struct {
	Next     flow.Decider
	Machines Machines // Next's
	Store    Store

	// Timeout bounds what one event waits for the store, all rounds together. Default [DefaultTimeout].
	Timeout   time.Duration
	OnFailure OnFailure

	// Check, if set, returns [ErrCorrupt], [ErrNewer] or [ErrFuture] for a value that is no state which an event at now can use. The Decider
	// counts the error; the machine decides about the packet.
	Check func(data []byte, now time.Time) error

	// Staleness bounds the timeouts of a rule that depends on a state which other gateways may change, since this gateway isn't told of the
	// change. Whole seconds; 0: no other gateway changes states.
	Staleness time.Duration

	// Local, if set, reports whether only events of ev's own switch change the state of a key. Staleness does not bound what rests on such states.
	Local func(ev *flow.Event, key string) bool

	// Report, if set, is called with the reason when states can't be read or written: for each kind of failure at most every ten seconds, with
	// the number of failures in between.
	Report func(kind Failure, err error, untold int)
}

// Decider reads an event's states, asks Next, and swaps the state that the decision changes. If another event has changed that state
// first, it reads and asks again. If the policy has no machines, it does nothing but ask.
//
// For a rehearsal ([flow.Event.Rehearsal]) it reads the states and swaps none.
//
// It never fails open. If a state can't be read or written, it counts a failure ([Stats]) and handles the packet as
// [Config.OnFailure] says. Such an answer has no rules, so that the next packet asks again. It is not returned as an error, since a fail
// mode might forward the packet.
type Decider struct {
	cfg     Config
	local   bool    // the store is in this process
	carrier Carrier // the store, if its values come with events
	rushed  atomic.Bool
	scratch sync.Pool
	turns   [64]chan struct{} // by hash of a key: of the events that have lost a race for it, one at a time tries again
	counts  counts
	muted   [failures]muted
}

type scratch struct {
	ev     flow.Event
	store  Store
	keys   []string
	values []Value
	states []flow.State
}

// New makes a Decider.
func New(cfg Config) *Decider {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Report == nil {
		cfg.Report = func(Failure, error, int) {}
	}
	x := &Decider{cfg: cfg, local: cfg.Store.Promise().Local, scratch: sync.Pool{New: func() any { return new(scratch) }}}
	x.carrier, _ = cfg.Store.(Carrier)
	for i := range x.turns {
		x.turns[i] = make(chan struct{}, 1)
	}
	return x
}

// Local implements [flow.Local]. Without machines a decision waits for no store.
func (x *Decider) Local() bool {
	if !flow.IsLocal(x.cfg.Next) || !x.local && x.cfg.Machines.Stateful() {
		return false
	}
	if !x.local {
		x.rushed.Store(true)
	}
	return true
}

// Rushed reports whether Local has returned true although the store is outside of this process. From then on the policy must not get machines, since
// its decisions would wait where nothing may wait.
func (x *Decider) Rushed() bool { return x.rushed.Load() }

// String names the store and what is asked.
func (x *Decider) String() string { return fmt.Sprintf("states in %s > %s", x.cfg.Store, x.cfg.Next) }

// errVersion says that the policy changed between reading its states and deciding.
var errVersion = errors.New("the policy changes all the time")

// Decide implements [flow.Decider].
func (x *Decider) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	version, stateful := x.cfg.Machines.Version(), x.cfg.Machines.Stateful()
	if !stateful {
		err := x.cfg.Next.Decide(ctx, ev, d)
		if !x.changed(version, d, err) {
			return err
		}
		d.Reset()
	}
	s := x.scratch.Get().(*scratch)
	err := x.decide(ctx, ev, d, s)
	s.ev, s.store = flow.Event{}, nil
	clear(s.keys)
	clear(s.values)
	clear(s.states)
	x.scratch.Put(s)
	return err
}

// changed reports whether an answer is another policy's than the states of its event.
func (x *Decider) changed(version flow.PolicyVersion, d *flow.Decision, err error) bool {
	if err != nil {
		return x.cfg.Machines.Version() != version
	}
	return d.Policy != version
}

// decide reads, asks and swaps until no other event is faster.
func (x *Decider) decide(ctx context.Context, ev *flow.Event, d *flow.Decision, s *scratch) error {
	left := x.cfg.Timeout // for the store
	if s.store = x.cfg.Store; x.carrier != nil {
		s.store = x.carrier.Of(x.cfg.Machines, ev, d)
	}
	var turn chan struct{}
	defer func() {
		if turn != nil {
			<-turn
		}
	}()
	for try := 1; ; try++ {
		version := x.cfg.Machines.Version()
		err := x.read(ctx, ev, s, &left)
		if err != nil {
			return x.fail(ctx, ev, d, s, err)
		}
		s.ev = *ev
		s.ev.States, s.ev.Travel = s.states, nil
		err = x.cfg.Next.Decide(ctx, &s.ev, d)
		d.Stateful = x.writes()
		moved := -1
		switch {
		case x.changed(version, d, err):
			err = errVersion
		case err != nil:
			return err
		case !ev.Rehearsal:
			moved, err = x.swap(ctx, d, s, &left)
		}
		switch {
		case err == nil:
			d.Read = d.Read[:0]
			rests := len(s.states)
			if d.Verdict == flow.Allow && ev.PacketIn != nil && !ev.PacketIn.Match.ICMPError() && d.IfReply == nil {
				rests = min(rests, x.cfg.Machines.OwnKeys(ev))
			}
			for i := range rests {
				if flow.UnknownState(s.values[i].Data) {
					continue // nothing is let in by it, whatever it is
				}
				version := s.states[i].Version
				if version == 0 {
					version = s.values[i].Last
				}
				d.Read = append(d.Read, flow.StateVersion{Key: hash(s.keys[i]), Version: version})
			}
			x.limit(ev, d, s.keys[:rests])
			return nil
		case !errors.Is(err, ErrConflict) && err != errVersion || try == maxTries:
			return x.fail(ctx, ev, d, s, err)
		}
		d.Reset()
		x.counts.conflicts.Add(1)
		if moved >= 0 && turn == nil {
			t := x.turns[hash(s.keys[moved])%uint64(len(x.turns))]
			if err := x.wait(ctx, &left, t, 0); err != nil {
				return x.fail(ctx, ev, d, s, err)
			}
			turn = t
		}
		if try >= 3 { // other gateways are faster, or a policy takes a moment to be everywhere
			if err := x.wait(ctx, &left, nil, time.Duration(rand.Int64N(int64(try)*int64(500*time.Microsecond)))); err != nil {
				return x.fail(ctx, ev, d, s, err)
			}
		}
	}
}

// writes reports whether decisions write a store, so that an event must not be decided about twice. What travels is changed by an answer that arrives.
func (x *Decider) writes() bool { return x.carrier == nil && x.cfg.Machines.Stateful() }

// read fills s with the event's states.
func (x *Decider) read(ctx context.Context, ev *flow.Event, s *scratch, left *time.Duration) error {
	s.keys = x.cfg.Machines.StateKeys(ev, s.keys[:0])
	n := len(s.keys)
	s.values, s.states = resize(s.values, n), resize(s.states, n)
	for i, key := range s.keys {
		s.states[i].Key = key
	}
	if n == 0 {
		return nil
	}
	x.counts.reads.Add(1)
	if err := x.ask(ctx, left, func(ctx context.Context) error { return s.store.Get(ctx, s.keys, s.values) }); err != nil {
		return err
	}
	for i := range s.values {
		s.states[i].Version, s.states[i].Data = s.values[i].Version, s.values[i].Data
		if x.cfg.Check == nil || s.values[i].Version == 0 {
			continue
		}
		if err := x.cfg.Check(s.values[i].Data, ev.Time); err != nil {
			x.count(failureOf(err), fmt.Errorf("key %s: %w", s.keys[i], err))
		}
	}
	return nil
}

// limit bounds the lives of a decision's rules by Staleness.
func (x *Decider) limit(ev *flow.Event, d *flow.Decision, keys []string) {
	if x.cfg.Staleness == 0 || len(d.Rules) == 0 && d.IfReply == nil {
		return
	}
	if !slices.ContainsFunc(keys, func(key string) bool { return x.cfg.Local == nil || !x.cfg.Local(ev, key) }) {
		return
	}
	limit := func(rules []flow.Rule) {
		for i := range rules {
			r := &rules[i]
			if r.HardTimeout == 0 || r.HardTimeout > x.cfg.Staleness {
				r.HardTimeout = x.cfg.Staleness
			}
			r.IdleTimeout = min(r.IdleTimeout, r.HardTimeout)
		}
	}
	limit(d.Rules)
	if d.IfReply != nil {
		limit(d.IfReply.Rules)
	}
}

// resize returns b with n zero elements.
func resize[T any](b []T, n int) []T {
	b = append(b[:0], make([]T, n)...)
	return b
}

// swap carries out the decision's change, and notes the new version in s. moved is the key of a race that was lost.
func (x *Decider) swap(ctx context.Context, d *flow.Decision, s *scratch, left *time.Duration) (moved int, err error) {
	c := d.Change
	if c == nil {
		return -1, nil
	}
	if c.Index < 0 || c.Index >= len(s.states) || len(c.Data) > MaxData || c.TTL < 0 {
		return -1, fmt.Errorf("%w: the answer changes state %d of %d to %d bytes for %v", ErrCorrupt, c.Index, len(s.states), len(c.Data), c.TTL)
	}
	st := &s.states[c.Index]
	if c.Data == nil && st.Version == 0 {
		return -1, nil
	}
	x.counts.swaps.Add(1)
	version := st.Version + 1 // of a deletion
	err = x.ask(ctx, left, func(ctx context.Context) (err error) {
		if c.Data == nil {
			return s.store.Delete(ctx, st.Key, st.Version)
		}
		version, err = s.store.CompareAndSwap(ctx, st.Key, st.Version, c.Data, c.TTL)
		return err
	})
	if err == nil {
		st.Version = version
	}
	return c.Index, err
}

// ask has f ask the store within what is left of the event's time.
func (x *Decider) ask(ctx context.Context, left *time.Duration, f func(context.Context) error) error {
	if x.local {
		return f(ctx)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, *left)
	defer cancel()
	err := f(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	*left -= time.Since(start)
	return err
}

// wait waits for a turn, or for a time.
func (x *Decider) wait(ctx context.Context, left *time.Duration, turn chan struct{}, pause time.Duration) error {
	start := time.Now()
	defer func() { *left -= time.Since(start) }()
	timer := time.NewTimer(*left)
	defer timer.Stop()
	var over <-chan time.Time
	if turn == nil {
		over = time.After(pause)
	}
	select {
	case turn <- struct{}{}:
	case <-over:
	case <-timer.C:
		return fmt.Errorf("%w: %w", ErrConflict, context.DeadlineExceeded)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrConflict, ctx.Err())
	}
	return nil
}

// fail answers an event whose states can't be read or written.
func (x *Decider) fail(ctx context.Context, ev *flow.Event, d *flow.Decision, s *scratch, err error) error {
	kind := failureOf(err)
	x.count(kind, err)
	err = fmt.Errorf("state %s: %w", kind, err)
	failure := &flow.Error{Kind: flow.Unavailable, Err: err}
	d.Reset()
	if x.cfg.OnFailure == Start {
		s.ev = *ev
		s.states = resize(s.states, len(s.keys))
		for i, key := range s.keys {
			s.states[i].Key = key
		}
		s.ev.States, s.ev.Travel = s.states, nil
		if err := x.cfg.Next.Decide(ctx, &s.ev, d); err != nil {
			return err
		}
		alone(ev, d)
		d.Failure, d.Stateful = failure, x.writes()
		return nil
	}
	if ev.Type != flow.EventPacketIn {
		return failure // nothing passes for it, and whoever asks may ask again
	}
	d.Policy, d.Failure, d.Stateful = x.cfg.Machines.Version(), failure, x.writes()
	d.Verdict, d.Reason, d.HasPacketOut = flow.Deny, reasons[kind], true
	return nil
}

// count counts a failure and reports it.
func (x *Decider) count(kind Failure, err error) {
	x.counts.failed[kind].Add(1)
	if untold, ok := x.muted[kind].speak(time.Now()); ok {
		x.cfg.Report(kind, err, untold)
	}
}

// alone makes d a decision about the event's packet only, without rules and without a change of state.
func alone(ev *flow.Event, d *flow.Decision) {
	if ev.PacketIn != nil {
		actions, _ := d.PacketActions(&ev.PacketIn.Match)
		d.HasPacketOut, d.PacketOut = true, append([]flow.Action(nil), actions...)
	}
	d.Rules, d.Entries, d.Change = d.Rules[:0], nil, nil
}

// Failure is a kind of what can go wrong with states.
type Failure uint8

const (
	Away     Failure = iota // the store can't be asked
	Slow                    // it did not answer in time
	Full                    // it takes no more keys
	Corrupt                 // what it holds is no state
	Newer                   // what it holds is of a newer version of this program
	Sealed                  // what it holds was sealed with a key that is not at hand
	Conflict                // other events were always faster
	Future                  // what it holds was written later than now: a clock was set back

	failures
)

func (f Failure) String() string {
	return [failures]string{"away", "slow", "full", "corrupt", "newer", "sealed", "conflict", "future"}[f]
}

var reasons = [failures]string{
	Away:     "state: the store can't be asked",
	Slow:     "state: the store did not answer in time",
	Full:     "state: the store is full",
	Corrupt:  "state: the store holds something that is not a state",
	Newer:    "state: the store holds states of a newer version",
	Sealed:   "state: the key of its seal is not at hand",
	Conflict: "state: other events were always faster",
	Future:   "state: it is from the future",
}

func failureOf(err error) Failure {
	switch {
	case errors.Is(err, ErrFull):
		return Full
	case errors.Is(err, ErrCorrupt):
		return Corrupt
	case errors.Is(err, ErrNewer):
		return Newer
	case errors.Is(err, ErrSealed):
		return Sealed
	case errors.Is(err, ErrFuture):
		return Future
	case errors.Is(err, ErrConflict), err == errVersion:
		return Conflict
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, os.ErrDeadlineExceeded): // a connection's own, which may be over a moment before the context's
		return Slow
	}
	return Away
}

type counts struct {
	reads, swaps, conflicts atomic.Uint64
	failed                  [failures]atomic.Uint64
}

// Stats are what a Decider has counted since it was made.
type Stats struct {
	Reads     uint64 // questions to the store about an event's states
	Swaps     uint64 // changes that were tried
	Conflicts uint64 // questions that were asked again, since another event was faster
	Failed    map[Failure]uint64
}

// Stats returns what x has counted. All failures are among it.
func (x *Decider) Stats() Stats {
	s := Stats{Reads: x.counts.reads.Load(), Swaps: x.counts.swaps.Load(), Conflicts: x.counts.conflicts.Load(), Failed: map[Failure]uint64{}}
	for f := range failures {
		s.Failed[f] = x.counts.failed[f].Load()
	}
	return s
}

// muted lets one line through every ten seconds.
type muted struct {
	mu   sync.Mutex
	next time.Time
	held int
}

func (m *muted) speak(now time.Time) (held int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(m.next) {
		m.held++
		return 0, false
	}
	held, m.held, m.next = m.held, 0, now.Add(10*time.Second)
	return held, true
}

// hash is what stands for a key in [flow.StateVersion]: FNV-1a of 64 bits.
func hash(key string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 0x100000001b3
	}
	return h
}
