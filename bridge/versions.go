package bridge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/elapsed"
)

// Freshness says how the policy version of an answer stands to the one that
// counts.
type Freshness uint8

const (
	Unversioned Freshness = iota // the answer names none: timeouts alone apply
	Same
	Newer       // the first word of it: proactive rules are asked for again
	Older       // a function that was not updated yet: its rules get StaleTimeout, nothing is swept
	Unconfirmed // of a greater serial, which nobody but this answer has named: its rules get StaleTimeout
)

func (f Freshness) String() string {
	names := [...]string{"unversioned", "same", "newer", "older", "unconfirmed"}
	return names[int(f)%len(names)]
}

// Versions tracks which policy version a function has. The zero value has seen
// none. It is safe for concurrent use.
//
// An answer about a packet confirms nothing, however great its serial is: one
// answer of one instance must not have every switch swept, nor make all that
// follow look old. A version counts once a policy_check has brought it, or
// somebody who proved who they are ([Versions.Confirm]), and rules are swept by
// such a version alone. Of a function that answers no policy_check, versions are
// only looked at to know when to ask for proactive rules again, unless somebody who
// proved who they are has announced one ([Versions.Announce]).
type Versions struct {
	mu        sync.RWMutex
	confirmed flow.PolicyVersion
	pushed    bool               // confirmed by Confirm: a function that answers no check does not undo it
	taken     flow.PolicyVersion // an operator has rolled back to it

	// What answers brought while nothing is confirmed.
	seen   flow.PolicyVersion
	seenAt atomic.Int64 // as elapsed has it, to within seenEvery

	announced flow.PolicyVersion // see Announce

	// What policy checks have brought that does not count, without a break.
	lower   flow.PolicyVersion
	since   time.Time
	offered bool

	ask     chan struct{} // has a policy check made before its time; made by asked
	onOffer func(v flow.PolicyVersion, offered bool)
}

const (
	// offerAfter is how long policy checks must have brought one lower version
	// before a rollback is offered.
	offerAfter = time.Minute
	// seenFor is how long the greatest serial of answers counts that nobody has
	// confirmed and no answer has repeated.
	seenFor   = time.Minute
	seenEvery = time.Second
)

// Observe notes an answer's version and says how it stands to the one that
// counts, which it returns. Exactly one caller is told of a version that it is
// Newer.
//
// Serials order versions. Two of one serial and different content should not
// be; the one that came first stays.
func (v *Versions) Observe(version flow.PolicyVersion) (Freshness, flow.PolicyVersion) {
	v.mu.RLock()
	confirmed, seen := v.confirmed, v.seen
	v.mu.RUnlock()
	switch {
	case version.IsZero():
		return Unversioned, v.Latest()
	case version == confirmed:
		return Same, confirmed
	case !confirmed.IsZero() && version.Serial < confirmed.Serial:
		return Older, confirmed
	case !confirmed.IsZero():
		v.CheckSoon()
		return Unconfirmed, confirmed
	}
	now := elapsed.Now()
	if version == seen {
		if at := v.seenAt.Load(); now-at > int64(seenEvery) {
			v.seenAt.CompareAndSwap(at, now)
		}
		return Same, seen
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case version == v.confirmed || version == v.seen:
		return Same, version
	case !v.confirmed.IsZero():
		return Older, v.confirmed // confirmed in between; the next answer is looked at again
	case v.seen.IsZero(), version.Serial > v.seen.Serial, now-v.seenAt.Load() > int64(seenFor):
		v.seen = version
		v.seenAt.Store(now)
		return Newer, version
	}
	return Older, v.seen
}

// Checked takes what a policy_check brought. The zero version is a function
// that tells none: nothing is confirmed then.
func (v *Versions) Checked(version flow.PolicyVersion) Freshness {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case version.IsZero():
		v.unchecked()
		return Unversioned
	case version == v.confirmed:
		v.noOffer()
		return Same
	case v.confirmed.IsZero(), version.Serial > v.confirmed.Serial:
		v.confirm(version, false)
		return Newer
	}
	now := time.Now()
	if version != v.lower {
		v.noOffer()
		v.lower, v.since = version, now
	}
	if !v.offered && now.Sub(v.since) >= offerAfter {
		v.offered = true
		if v.onOffer != nil {
			v.onOffer(version, true)
		}
	}
	return Older
}

// Unchecked says that the function answers no policy_check.
func (v *Versions) Unchecked() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unchecked()
}

func (v *Versions) unchecked() {
	v.noOffer()
	if !v.pushed && !v.confirmed.IsZero() {
		v.seen, v.confirmed = v.confirmed, flow.PolicyVersion{}
		v.seenAt.Store(elapsed.Now())
	}
}

// Confirm takes a version from who has proved that it counts: the policy file of
// this machine, or an authenticated push. Where it returns Newer the switches
// are to be brought in line, at once ([Bridge.PolicyChanged]). A version of a
// lower serial is not taken.
func (v *Versions) Confirm(version flow.PolicyVersion) Freshness {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case version.IsZero():
		return Unversioned
	case version == v.confirmed:
		v.pushed = true
		return Same
	case v.confirmed.IsZero(), version.Serial > v.confirmed.Serial:
		v.confirm(version, true)
		return Newer
	}
	return Older
}

// Announce takes the word of who has proved who they are that a version is out. A
// function that answers policy checks is asked for it. Of one that refuses them,
// rules are swept by it as soon as an answer brings it, and as long as answers bring
// nothing newer: see [Versions.Sweeping]. It reports whether an answer has already.
func (v *Versions) Announce(version flow.PolicyVersion) bool {
	v.mu.Lock()
	v.announced = version
	v.mu.Unlock()
	return v.Sweeping() == version
}

func (v *Versions) confirm(version flow.PolicyVersion, pushed bool) {
	v.confirmed, v.seen, v.pushed = version, version, pushed
	v.noOffer()
}

func (v *Versions) noOffer() {
	if v.offered && v.onOffer != nil {
		v.onOffer(v.lower, false)
	}
	v.lower, v.since, v.offered = flow.PolicyVersion{}, time.Time{}, false
}

// Offered returns the version of a lower serial that policy checks have brought
// for a minute and more, if there is one, and since when: the function was taken
// back to an older policy, and an operator may follow it ([Versions.Rollback]).
func (v *Versions) Offered() (version flow.PolicyVersion, since time.Time, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.offered {
		return flow.PolicyVersion{}, time.Time{}, false
	}
	return v.lower, v.since, true
}

// Rollback makes the offered version the one that counts. It is an operator's
// to say; [Bridge.Rollback] also brings the switches in line.
func (v *Versions) Rollback(version flow.PolicyVersion) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.offered && v.lower.IsZero():
		return fmt.Errorf("policy %v: no rollback is offered: the function's policy checks bring no lower serial", version)
	case !v.offered:
		return fmt.Errorf("policy %v: no rollback is offered yet: policy checks have brought %v for %v, and must for %v", version, v.lower, time.Since(v.since).Round(time.Second), offerAfter)
	case version != v.lower:
		return fmt.Errorf("policy %v is not what the function has: policy checks bring %v", version, v.lower)
	}
	v.confirm(version, false)
	v.taken = version
	return nil
}

// rolledBack reports whether version counts since an operator has rolled back to it.
func (v *Versions) rolledBack(version flow.PolicyVersion) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return version == v.taken && version == v.confirmed
}

// Behind reports whether the version that counts is older than one of a serial, and no operator has rolled back to it.
func (v *Versions) Behind(serial uint64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.confirmed.Serial < serial && (v.confirmed.IsZero() || v.confirmed != v.taken)
}

// Latest returns the version that counts or, while none is confirmed, the newest
// that answers brought. It is for people.
func (v *Versions) Latest() flow.PolicyVersion {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.confirmed.IsZero() {
		return v.seen
	}
	return v.confirmed
}

// Sweeping returns the version that rules are swept by: the one that counts, or,
// where no policy check confirms any, the one that answers bring, if it was
// announced ([Versions.Announce]). It is zero while there is none.
func (v *Versions) Sweeping() flow.PolicyVersion {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.confirmed.IsZero() && v.seen == v.announced {
		return v.seen
	}
	return v.confirmed
}

// Confirmed returns the version that counts. It is zero while there is none.
func (v *Versions) Confirmed() flow.PolicyVersion {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.confirmed
}

// CheckSoon has the function asked for its version before its time. It is at
// most once more often than usual, whoever calls and how often.
func (v *Versions) CheckSoon() {
	select {
	case v.asked() <- struct{}{}:
	default:
	}
}

func (v *Versions) asked() chan struct{} {
	v.mu.RLock()
	ask := v.ask
	v.mu.RUnlock()
	if ask != nil {
		return ask
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ask == nil {
		v.ask = make(chan struct{}, 1)
	}
	return v.ask
}
