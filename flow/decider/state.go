package decider

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
)

// StateLimits bound what a State holds.
type StateLimits struct {
	Entries int           // default 100,000
	Bytes   int64         // of the states, their names and keys; default 64 MiB
	TTL     time.Duration // of a state without a name, since it was returned; default 5 min
	PerKey  int           // events that may wait for one key; more are flow.Overload. Default 16
}

// State is the decorator that carries a function's states from event to event: what an answer asks to be brought back goes with the next
// event of its key. One event of a key is in flight at a time; the next waits for its answer, so that no two start from the same state.
//
// Which kinds of key a function uses it says with its states. A function that never returns one pays a copy of its events; of events that were
// already under way when the first came back, those that would change the same state are asked again.
//
// A state without a name is looked up by the kinds in use, the narrowest first, and the event takes the first one that is found. An answer
// without a state means that there is nothing to bring back: the one that went with its event is forgotten. States with names go all of them,
// and stay until an answer changes them or their time is over. No answer leaves states in place.
//
// A state is never forgotten to make room for another: that could open what it had closed. An answer whose states find no room, or whose state is
// older than the one that is held, is not carried out, and its packet is dropped.
type State struct {
	next    flow.Decider
	limits  StateLimits
	kinds   atomic.Uint32 // bit 1<<StateKey: in use. Written under mu
	forgot  atomic.Uint64 // how often all states were forgotten. Written under mu
	scratch sync.Pool     // of *carrying
	refused [refusals]atomic.Uint64

	mu      sync.Mutex
	table   map[string][]held // by kind and value of a key
	entries int
	bytes   int64
	swept   time.Time
	turns   map[string]*turn
}

// held is one state of a key.
type held struct {
	name    string // empty: the one without a name
	version uint64
	data    []byte    // never modified
	expires time.Time // zero: never
}

// keptVersion is how long the version of a state is remembered that is no more, for rules that rest on it: longer than an answer may take.
const keptVersion = 2 * time.Minute

// there reports whether the state is; if not, known says whether its version still counts.
func (h *held) there(now time.Time) (there, known bool) {
	if h.expires.IsZero() || now.Before(h.expires) {
		return true, true
	}
	return false, now.Before(h.expires.Add(keptVersion))
}

// turn is the right to have an event of a key in flight.
type turn struct {
	taken chan struct{} // one place; those who wait get it in order
	users int           // under State.mu
}

// carrying is what one event needs on its way.
type carrying struct {
	ev      flow.Event // with its states
	kinds   uint32     // in use when it was asked about
	forgot  uint64     // State.forgot at that time
	keys    [flow.StateKeys]string
	unnamed flow.StateKey // kind of the state without a name that it has
	changes []change
}

// change is what an answer does to one state.
type change struct {
	key string
	flow.Travelling
}

// refusal is why an answer that brings states is not carried out.
type refusal uint8

const (
	full refusal = iota
	older
	conflict

	refusals
)

func (r refusal) String() string { return [...]string{"full", "older", "conflict"}[r] }

func (r refusal) Error() string {
	return [...]string{
		"state: no room for one more that travels",
		"state: the answer's is older than what the gateway has",
		"state: other events were always faster",
	}[r]
}

// maxTries is how often an event is asked about whose state another one has changed meanwhile.
const maxTries = 4

// NewState makes a State in front of next.
func NewState(next flow.Decider, limits StateLimits) *State {
	if limits.Entries == 0 {
		limits.Entries = 100_000
	}
	if limits.Bytes == 0 {
		limits.Bytes = 64 << 20
	}
	if limits.PerKey == 0 {
		limits.PerKey = 16
	}
	if limits.TTL == 0 {
		limits.TTL = 5 * time.Minute
	}
	return &State{next: next, limits: limits, table: make(map[string][]held), turns: make(map[string]*turn),
		scratch: sync.Pool{New: func() any { return new(carrying) }}}
}

// Local implements [flow.Local].
func (s *State) Local() bool { return flow.IsLocal(s.next) }

// Decide asks next with the event's states.
func (s *State) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	m := ev.Headers()
	if m == nil {
		return s.next.Decide(ctx, ev, d)
	}
	c := s.scratch.Get().(*carrying)
	defer func() {
		travel := c.ev.Travel
		clear(travel)
		clear(c.changes)
		*c = carrying{ev: flow.Event{Travel: travel[:0]}, changes: c.changes[:0]}
		s.scratch.Put(c)
	}()
	for try := 1; ; try++ {
		err := s.ask(ctx, ev, m, d, c)
		var why refusal
		switch {
		case !errors.As(err, &why):
			return err
		case why != conflict || try == maxTries:
			return s.refuse(ev, d, why)
		}
		d.Reset()
	}
}

// ask asks once. It returns a refusal where the answer can't be carried out.
func (s *State) ask(ctx context.Context, ev *flow.Event, m *flow.Match, d *flow.Decision, c *carrying) error {
	// Turns are taken in the order of the kinds, by everybody, so that no two
	// wait for each other.
	c.kinds, c.keys = s.kinds.Load(), [flow.StateKeys]string{}
	defer func() {
		for _, key := range c.keys {
			if key != "" {
				s.leave(key, true)
			}
		}
	}()
	for kind := range flow.StateKeys {
		if c.kinds>>kind&1 == 0 {
			continue
		}
		key, ok := keyOf(kind, ev, m)
		if !ok {
			continue
		}
		if err := s.enter(ctx, key, kind); err != nil {
			return err
		}
		c.keys[kind] = key
	}
	travel := c.ev.Travel[:0]
	c.ev = *ev // a Decider's events are its caller's
	c.ev.State, c.ev.Travel = nil, travel
	c.ev.Accepts |= flow.AcceptsTravel
	s.bring(c, time.Now())
	if err := s.next.Decide(ctx, &c.ev, d); err != nil || ev.Rehearsal { // a rehearsal leaves states as they are
		return err
	}
	return s.take(ev, m, d, c)
}

// bring puts the states of an event's keys into it.
func (s *State) bring(c *carrying, now time.Time) {
	if c.kinds == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.forgot = s.forgot.Load()
	for kind, key := range c.keys {
		if key == "" {
			continue
		}
		list := s.table[key]
		for i := range list {
			h := &list[i]
			there, known := h.there(now)
			switch {
			case h.name == "" && there && c.ev.State == nil:
				c.ev.State, c.unnamed = h.data, flow.StateKey(kind)
			case h.name != "" && there:
				c.ev.Travel = append(c.ev.Travel, flow.Travelling{Name: h.name, Key: flow.StateKey(kind), Version: h.version, Data: h.data})
			case h.name != "" && known:
				c.ev.Travel = append(c.ev.Travel, flow.Travelling{Name: h.name, Key: flow.StateKey(kind), Version: h.version})
			}
		}
	}
}

// sent returns the version of a state that went with the event; 0 where none did.
func (c *carrying) sent(t *flow.Travelling) uint64 {
	for i := range c.ev.Travel {
		if s := &c.ev.Travel[i]; s.Key == t.Key && s.Name == t.Name {
			return s.Version
		}
	}
	return 0
}

// take makes the table what an answer asks for, all of it or nothing.
func (s *State) take(ev *flow.Event, m *flow.Match, d *flow.Decision, c *carrying) error {
	if (c.ev.State != nil || len(c.ev.Travel) > 0) && c.forgot != s.forgot.Load() {
		return conflict
	}
	c.changes = c.changes[:0]
	switch {
	case len(d.State) > 0:
		c.changes = append(c.changes, change{Travelling: flow.Travelling{Key: d.StateKey, TTL: s.limits.TTL, Data: d.State}})
	case c.ev.State != nil:
		c.changes = append(c.changes, change{Travelling: flow.Travelling{Key: c.unnamed}})
	}
	if len(d.Travel) > flow.MaxTravelling {
		return flow.Errorf(flow.Invalid, "%d travelling states: at most %d", len(d.Travel), flow.MaxTravelling)
	}
	for _, t := range d.Travel {
		c.changes = append(c.changes, change{Travelling: t})
	}
	if len(c.changes) == 0 {
		return nil
	}
	var kinds uint32
	for i := range c.changes {
		t := &c.changes[i]
		var ok bool
		if t.key, ok = keyOf(t.Key, ev, m); !ok {
			return flow.Errorf(flow.Invalid, "state key %v: the event has none", t.Key)
		}
		if len(t.Data) > flow.MaxState {
			return flow.Errorf(flow.Invalid, "state of %d bytes: at most %d", len(t.Data), flow.MaxState)
		}
		kinds |= 1 << t.Key
	}

	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if (c.ev.State != nil || len(c.ev.Travel) > 0) && c.forgot != s.forgot.Load() {
		return conflict
	}
	s.kinds.Or(kinds)
	for i := range c.changes {
		if err := s.fits(&c.changes[i], c, now); err != nil {
			return err
		}
	}
	entries, bytes := s.growth(c.changes)
	if s.entries+entries > s.limits.Entries || s.bytes+bytes > s.limits.Bytes {
		s.sweep(now)
		if entries, bytes = s.growth(c.changes); (entries > 0 && s.entries+entries > s.limits.Entries) || (bytes > 0 && s.bytes+bytes > s.limits.Bytes) {
			return full
		}
	}
	for i := range c.changes {
		s.put(&c.changes[i], now)
	}
	return nil
}

// fits says why a change can't be made that would find room.
func (s *State) fits(t *change, c *carrying, now time.Time) error {
	h := s.find(t.key, t.Name)
	if t.Name == "" {
		if h != nil && c.kinds>>t.Key&1 == 0 {
			if there, _ := h.there(now); there {
				return conflict
			}
		}
	} else {
		var version uint64
		if h != nil {
			if _, known := h.there(now); known {
				version = h.version
			}
		}
		switch {
		case version != c.sent(&t.Travelling): // another event was faster, before its kind of key was known to be in use
			return conflict
		case t.Version <= version:
			return older
		}
	}
	if t.Data == nil {
		return nil
	}
	n, bytes := 1, len(t.Data)
	for _, other := range s.table[t.key] {
		if other.name != t.Name {
			n, bytes = n+1, bytes+len(other.data)
		}
	}
	if n > flow.MaxTravelling || bytes > flow.MaxState {
		return full
	}
	return nil
}

// find returns a state that is held, or was; nil where nothing is known of it. The caller holds mu.
func (s *State) find(key, name string) *held {
	list := s.table[key]
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// size is what a state takes of StateLimits.Bytes.
func size(key, name string, data []byte) int64 { return int64(len(key) + len(name) + len(data)) }

// growth is by how much changes would make the table larger. The caller holds mu.
func (s *State) growth(list []change) (entries int, bytes int64) {
	for i := range list {
		t := &list[i]
		h := s.find(t.key, t.Name)
		switch {
		case h != nil:
			bytes += int64(len(t.Data) - len(h.data))
		case t.Data != nil:
			entries, bytes = entries+1, bytes+size(t.key, t.Name, t.Data)
		}
	}
	return entries, bytes
}

// put makes a change. The caller holds mu, and has made sure that there is room.
func (s *State) put(t *change, now time.Time) {
	h := s.find(t.key, t.Name)
	if h == nil {
		if t.Data == nil {
			return
		}
		s.table[t.key] = append(s.table[t.key], held{name: t.Name})
		s.entries++
		s.bytes += size(t.key, t.Name, nil)
		h = s.find(t.key, t.Name)
	}
	s.bytes += int64(len(t.Data) - len(h.data))
	h.version, h.data, h.expires = t.Version, nil, now
	if t.Data == nil {
		if t.Name == "" { // nobody asks for its version
			h.expires = now.Add(-keptVersion)
		}
		return
	}
	h.data, h.expires = append([]byte{}, t.Data...), time.Time{}
	if t.TTL > 0 {
		h.expires = now.Add(t.TTL)
	}
}

// Forget forgets all states, but not their versions. It is for a gateway that takes the lead of a pair: while the other one led, it may have changed what these
// states are of, and an older state must not come back. Events that are under way with a state are asked again.
func (s *State) Forget() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot.Add(1)
	for _, list := range s.table {
		for i := range list {
			h := &list[i]
			if there, _ := h.there(now); !there {
				continue
			}
			s.bytes -= int64(len(h.data))
			if h.data, h.expires = nil, now; h.name == "" { // nobody asks for its version
				h.expires = now.Add(-keptVersion)
			}
		}
	}
}

// sweepEvery bounds how often the whole table is looked through.
const sweepEvery = time.Second

// sweep makes room of what has expired. The caller holds mu.
func (s *State) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for key, list := range s.table {
		kept := list[:0]
		for _, h := range list {
			there, known := h.there(now)
			if !there {
				s.bytes -= int64(len(h.data))
				h.data = nil
			}
			if known {
				kept = append(kept, h)
				continue
			}
			s.entries--
			s.bytes -= size(key, h.name, nil)
		}
		clear(list[len(kept):])
		if len(kept) == 0 {
			delete(s.table, key)
		} else {
			s.table[key] = kept
		}
	}
}

// refuse answers an event in the place of an answer that can't be carried out. It is no error, since a fail mode could forward the packet.
func (s *State) refuse(ev *flow.Event, d *flow.Decision, why refusal) error {
	s.refused[why].Add(1)
	failure := &flow.Error{Kind: flow.Unavailable, Err: why}
	policy := d.Policy
	d.Reset()
	if ev.Type != flow.EventPacketIn {
		return failure // nothing passes for it
	}
	d.Policy, d.Failure = policy, failure
	d.Verdict, d.Reason, d.HasPacketOut = flow.Deny, why.Error(), true
	return nil
}

// enter waits for the key's turn.
func (s *State) enter(ctx context.Context, key string, kind flow.StateKey) error {
	s.mu.Lock()
	t := s.turns[key]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		s.turns[key] = t
	}
	if t.users > s.limits.PerKey { // one in flight and PerKey waiting
		s.mu.Unlock()
		return flow.Errorf(flow.Overload, "%d events wait for the state of one key (%v) already", s.limits.PerKey, kind)
	}
	t.users++
	s.mu.Unlock()
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.leave(key, false)
		return flow.Errorf(flow.Unavailable, "waiting for the state of an earlier event: %w", context.Cause(ctx))
	}
}

// leave gives the turn to the next, if it was had, and forgets a turn that
// nobody wants.
func (s *State) leave(key string, had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turns[key]
	if had {
		<-t.taken
	}
	if t.users--; t.users == 0 {
		delete(s.turns, key)
	}
}

// StateStats say what a State holds, and why it has refused answers since it was made.
type StateStats struct {
	Entries int
	Bytes   int64
	Refused map[string]uint64
}

// Stats returns them. Versions that are remembered of states which are no more count as entries.
func (s *State) Stats() StateStats {
	st := StateStats{Refused: make(map[string]uint64, refusals)}
	for why := range refusals {
		st.Refused[why.String()] = s.refused[why].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now())
	st.Entries, st.Bytes = s.entries, s.bytes
	return st
}

// keyOf returns the event's key of one kind: what tells it from all other keys. ok is false where the event has none.
func keyOf(kind flow.StateKey, ev *flow.Event, m *flow.Match) (key string, ok bool) {
	var room [96]byte
	b, ok := kind.AppendValue(append(room[:0], byte(kind)), ev.Switch, m)
	return string(b), ok && ev.Switch != nil
}
