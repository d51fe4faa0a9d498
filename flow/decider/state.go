package decider

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
)

// StateLimits bound what a State remembers.
type StateLimits struct {
	Entries int           // default 65,536
	Bytes   int           // of the states; default 16 MiB
	TTL     time.Duration // since the state was returned; default 5 min
	PerKey  int           // events that may wait for one key; more are flow.Overload. Default 16
}

// State is the decorator that carries a remote controller's state from event to
// event: what an answer asks to be brought back goes with the next packet of its
// key. One event of a key is in flight at a time; the next waits for its answer,
// so that no two start from the same state.
//
// Which kind of key a function uses it says with its first state. A function
// that never returns one pays a load and a comparison; of events that were
// already under way when the first came back, each starts without state.
// An event is looked up by the kinds in use, the narrowest first, and takes the
// first state that it finds. An answer without a state means that there is
// nothing to bring back: the one that went with its event is forgotten. No
// answer leaves it in place.
//
// The switch is part of the keys flow and port, not of src and dst: a host
// that moves keeps its state.
type State struct {
	next   flow.Decider
	limits StateLimits
	kinds  atomic.Uint32 // bit 1<<StateKey: in use

	mu      sync.Mutex
	entries *lru[stateKey, stateEntry]
	bytes   int
	turns   map[stateKey]*turn
}

// stateKey is one key of any kind; the members of other kinds are zero.
type stateKey struct {
	kind flow.StateKey
	dpid flow.DPID
	flow flow.Match
	ip   netip.Addr
	mac  flow.MAC
	port flow.PortNo
}

type stateEntry struct {
	data    []byte
	expires time.Time
}

// turn is the right to have an event of a key in flight.
type turn struct {
	taken chan struct{} // one place; those who wait get it in order
	users int           // under State.mu
}

// NewState makes a State in front of next. Kinds are those known to be in use
// from the start.
func NewState(next flow.Decider, limits StateLimits, kinds ...flow.StateKey) *State {
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&limits.Entries, 1<<16)
	def(&limits.Bytes, 16<<20)
	def(&limits.PerKey, 16)
	if limits.TTL == 0 {
		limits.TTL = 5 * time.Minute
	}
	s := &State{next: next, limits: limits, entries: newLRU[stateKey, stateEntry](limits.Entries), turns: make(map[stateKey]*turn)}
	for _, k := range kinds {
		s.kinds.Or(1 << k)
	}
	return s
}

// Decide asks next with the event's state.
func (s *State) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn == nil || ev.Switch == nil {
		return s.next.Decide(ctx, ev, d)
	}
	kinds := s.kinds.Load()
	if kinds == 0 {
		err := s.next.Decide(ctx, ev, d)
		if err != nil || len(d.State) == 0 {
			return err
		}
		return s.keep(ev, d)
	}
	return s.inTurn(ctx, kinds, ev, d)
}

// inTurn asks next with a state, when the event has the turn of each of its keys. It is apart from Decide for its frame of two kilobytes: with it
// every question grew the stack of a goroutine once more, which was a tenth of what a question costs.
func (s *State) inTurn(ctx context.Context, kinds uint32, ev *flow.Event, d *flow.Decision) error {
	// Turns are taken in the order of the kinds, by everybody, so that no two
	// wait for each other.
	var keys [flow.StatePort + 1]stateKey
	n := 0
	defer func() {
		for _, k := range keys[:n] {
			s.leave(&k, true)
		}
	}()
	for kind := flow.StateFlow; kind <= flow.StatePort; kind++ {
		key, ok := keyOf(kind, ev)
		if kinds>>kind&1 == 0 || !ok {
			continue
		}
		if err := s.enter(ctx, &key); err != nil {
			return err
		}
		keys[n] = key
		n++
	}
	with := *ev // a Decider's events are its caller's
	sent := -1
	for i := range keys[:n] {
		if state, ok := s.lookup(&keys[i], time.Now()); ok {
			with.State, sent = state, i
			break
		}
	}
	if err := s.next.Decide(ctx, &with, d); err != nil {
		return err
	}
	if sent >= 0 {
		s.forget(&keys[sent])
	}
	if len(d.State) == 0 {
		return nil
	}
	return s.keep(ev, d)
}

// keep stores what d asks to be brought back.
func (s *State) keep(ev *flow.Event, d *flow.Decision) error {
	if len(d.State) > flow.MaxState {
		return flow.Errorf(flow.Invalid, "state of %d bytes: at most %d", len(d.State), flow.MaxState)
	}
	key, ok := keyOf(d.StateKey, ev)
	if !ok {
		return flow.Errorf(flow.Invalid, "state key %v: the packet has no such address", d.StateKey)
	}
	s.kinds.Or(1 << d.StateKey)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(&key)
	for s.entries.len() > 0 && (s.entries.len() >= s.limits.Entries || s.bytes+len(d.State) > s.limits.Bytes) {
		oldest := s.entries.order.Back().Value.(*lruItem[stateKey, stateEntry]).key
		s.removeLocked(&oldest)
	}
	s.entries.put(key, stateEntry{append([]byte(nil), d.State...), time.Now().Add(s.limits.TTL)})
	s.bytes += len(d.State)
	return nil
}

func (s *State) lookup(key *stateKey, now time.Time) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries.get(*key)
	if ok && now.After(e.expires) {
		s.removeLocked(key)
		return nil, false
	}
	return e.data, ok
}

func (s *State) forget(key *stateKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(key)
}

func (s *State) removeLocked(key *stateKey) {
	if e, ok := s.entries.get(*key); ok {
		s.bytes -= len(e.data)
		s.entries.remove(*key)
	}
}

// enter waits for the key's turn.
func (s *State) enter(ctx context.Context, key *stateKey) error {
	s.mu.Lock()
	t := s.turns[*key]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		s.turns[*key] = t
	}
	if t.users > s.limits.PerKey { // one in flight and PerKey waiting
		s.mu.Unlock()
		return flow.Errorf(flow.Overload, "%d events wait for the state of one key (%v) already", s.limits.PerKey, key.kind)
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
func (s *State) leave(key *stateKey, had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turns[*key]
	if had {
		<-t.taken
	}
	if t.users--; t.users == 0 {
		delete(s.turns, *key)
	}
}

// Held returns how many states are held, and their bytes.
func (s *State) Held() (entries, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.len(), s.bytes
}

// keyOf returns the event's key of one kind, if its packet has what that needs:
// an address is the IP's, else the ARP message's, else the frame's.
func keyOf(kind flow.StateKey, ev *flow.Event) (k stateKey, ok bool) {
	m := &ev.PacketIn.Match
	k.kind = kind
	address := func(ip, arp, eth flow.Field, ipp, arpp netip.Prefix, mac flow.MAC) bool {
		switch {
		case m.Has(ip):
			k.ip = ipp.Addr()
		case m.Has(arp):
			k.ip = arpp.Addr()
		case m.Has(eth):
			k.mac = mac
		default:
			return false
		}
		return true
	}
	switch kind {
	case flow.StateFlow:
		k.dpid, k.flow = ev.Switch.DPID, *m
		return k, true
	case flow.StateSrc:
		ok = address(flow.FieldIPSrc, flow.FieldARPSPA, flow.FieldEthSrc, m.IPSrc, m.ARPSPA, m.EthSrc)
	case flow.StateDst:
		ok = address(flow.FieldIPDst, flow.FieldARPTPA, flow.FieldEthDst, m.IPDst, m.ARPTPA, m.EthDst)
	case flow.StatePort:
		k.dpid, k.port, ok = ev.Switch.DPID, m.InPort, m.Has(flow.FieldInPort)
	}
	return k, ok
}
