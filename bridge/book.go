package bridge

import (
	"slices"
	"sync"
	"time"

	"switchbridge/flow"
)

// book remembers which decisions' rules in which switches rest on which states, so that they are removed when a state changes. They are
// removed one by one and not by a mask over cookies: so no rule goes that need not, in OpenFlow 1.0 and P4 as well. What a book forgets,
// by a restart or with a connection that ends, a session finds by [stateBit] when it surveys its switch, and removes.
//
// An entry is written down before its rules are sent, since another decision may learn of a newer version in between. That one
// removes what is on its way to a switch already, and leaves word for what is not ([entry.doomed]).
type book struct {
	mu      sync.Mutex
	keys    map[uint64]*bookKey
	entries map[entryID]*entry
	rules   int // of all entries
	swept   time.Time
}

// Bounds of a book. A decision that finds no room installs no rule.
const (
	maxBookRules = 1 << 16
	maxBookKeys  = 1 << 17
	// bookSweep is how often entries are looked through whose time has ended.
	bookSweep = time.Second
	// keptVersion is how long the version of a state is remembered on which no rule rests: longer than an answer may take.
	keptVersion = time.Minute
)

// bookKey is what is known of a state.
type bookKey struct {
	version uint64 // the highest that was seen
	seen    time.Time
	entries map[*entry]struct{}
}

// entryID finds the entry of a rule that has gone by itself.
type entryID struct {
	s      *Session
	cookie uint64
}

// entry is the rules of one decision.
type entry struct {
	entryID
	rules   []flow.Rule // without their actions
	reads   []flow.StateVersion
	ends    time.Time // by their hard_timeouts; zero: never
	written bool
	doomed  *removal // who waits for them to be removed, as soon as they are written
}

// footing says how a decision stands to what is known of the states that it rests on.
type footing uint8

const (
	current  footing = iota
	outdated         // a newer version of one of its states was seen
	noRoom           // the book can't take note of it
)

// meet compares a decision with what is known of its states, and takes note of newer versions. The rules that rest on older
// ones, or on a state that is revoked, leave the book; the removal, which is nil if there are none, has them.
func (b *book) meet(d *flow.Decision, now time.Time) (footing, *removal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	if b.outdated(d) {
		return outdated, nil
	}
	r := &removal{}
	for _, read := range d.Read {
		k := b.key(read.Key)
		if k == nil {
			return noRoom, r.orNil()
		}
		k.seen = now
		if read.Version > k.version {
			k.version = read.Version
			b.takeAll(k, r)
		}
	}
	for _, key := range d.Revoke {
		if k := b.keys[key]; k != nil {
			b.takeAll(k, r)
		}
	}
	return current, r.orNil()
}

// outdated reports whether a newer version of a state was seen than one that d rests on. The caller holds mu.
func (b *book) outdated(d *flow.Decision) bool {
	return slices.ContainsFunc(d.Read, func(r flow.StateVersion) bool {
		k := b.keys[r.Key]
		return k != nil && k.version > r.Version
	})
}

// key returns what is known of a state, or nil where there is no room to know anything. The caller holds mu.
func (b *book) key(key uint64) *bookKey {
	k := b.keys[key]
	if k == nil && len(b.keys) < maxBookKeys {
		if b.keys == nil {
			b.keys = make(map[uint64]*bookKey)
		}
		k = new(bookKey)
		b.keys[key] = k
	}
	return k
}

// add writes down the rules of a decision that are about to be sent to s. It does so only if the decision is current and there
// is room for all of them; the entry is nil otherwise.
func (b *book) add(s *Session, cookie uint64, d *flow.Decision, now time.Time) (footing, *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outdated(d) {
		return outdated, nil
	}
	if b.rules+len(d.Rules) > maxBookRules {
		return noRoom, nil
	}
	e := &entry{entryID: entryID{s, cookie}, rules: slices.Clone(d.Rules), reads: slices.Clone(d.Read)}
	for _, read := range d.Read {
		k := b.key(read.Key)
		if k == nil {
			return noRoom, nil
		}
		k.version, k.seen = max(k.version, read.Version), now
	}
	for _, read := range d.Read {
		k := b.keys[read.Key]
		if k.entries == nil {
			k.entries = make(map[*entry]struct{})
		}
		k.entries[e] = struct{}{}
	}
	forever := false
	for i := range e.rules {
		r := &e.rules[i]
		r.Actions, r.Cookie = nil, cookie
		forever = forever || r.HardTimeout == 0
		if ends := now.Add(r.HardTimeout); ends.After(e.ends) {
			e.ends = ends
		}
	}
	if forever {
		e.ends = time.Time{}
	}
	if b.entries == nil {
		b.entries = make(map[entryID]*entry)
	}
	b.entries[e.entryID] = e
	b.rules += len(e.rules)
	return current, e
}

// written says that the rules of an entry are on their way to the switch. It returns who waits for them to be removed, or nil.
func (b *book) written(e *entry) *removal {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.written = true
	return e.doomed
}

// removed takes a rule out that the switch has removed by itself.
func (b *book) removed(s *Session, fr *flow.FlowRemoved) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[entryID{s, fr.Cookie}]
	if e == nil {
		return
	}
	before := len(e.rules)
	match := fr.Match.Canonical()
	e.rules = slices.DeleteFunc(e.rules, func(r flow.Rule) bool {
		return r.Priority == fr.Priority && r.Match.Canonical() == match
	})
	b.rules -= before - len(e.rules)
	if len(e.rules) == 0 {
		b.take(e)
	}
}

// forget takes out all of a session that has ended.
func (b *book) forget(s *Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, e := range b.entries {
		if id.s == s {
			b.take(e)
		}
	}
}

// takeAll moves the entries of a state to a removal. The caller holds mu.
func (b *book) takeAll(k *bookKey, r *removal) {
	for e := range k.entries {
		b.take(e)
		if e.written {
			r.entries = append(r.entries, e)
		} else {
			e.doomed = r
			r.left++
		}
	}
}

// take takes an entry out. The caller holds mu.
func (b *book) take(e *entry) {
	b.rules -= len(e.rules)
	delete(b.entries, e.entryID)
	for _, read := range e.reads {
		if k := b.keys[read.Key]; k != nil {
			delete(k.entries, e)
		}
	}
}

// sweep takes out, once in a while, the entries whose rules have ended and the states of which no answer can be under way. The caller holds mu.
func (b *book) sweep(now time.Time) {
	if now.Sub(b.swept) < bookSweep {
		return
	}
	b.swept = now
	for _, e := range b.entries {
		if !e.ends.IsZero() && now.After(e.ends) {
			b.take(e)
		}
	}
	for key, k := range b.keys {
		if len(k.entries) == 0 && now.Sub(k.seen) > keptVersion {
			delete(b.keys, key)
		}
	}
}
