package bridge

import (
	"sync"

	"switchbridge/flow"
)

// Freshness says how the policy version of an answer stands to the newest that
// the gateway has seen.
type Freshness uint8

const (
	Unversioned Freshness = iota // the answer names none: timeouts alone apply
	Same
	Newer // the first answer of it: rules of the version before are to be swept
	Older // a function that was not updated yet: its rules get StaleTimeout, nothing is swept
)

func (f Freshness) String() string { return [...]string{"unversioned", "same", "newer", "older"}[f&3] }

// Versions tracks the policy version that a function's answers carry. The zero
// value has seen none. It is safe for concurrent use.
type Versions struct {
	mu     sync.RWMutex
	latest flow.PolicyVersion
}

// Observe notes an answer's version and says how it stands to the newest, which
// it returns. Exactly one caller is told of a version that it is Newer.
//
// Serials order versions. Two of one serial and different content should not
// be; the one that came first stays the newest and the other counts as older,
// so that two such functions can't make the gateway sweep to and fro.
func (v *Versions) Observe(version flow.PolicyVersion) (Freshness, flow.PolicyVersion) {
	v.mu.RLock()
	latest := v.latest
	v.mu.RUnlock()
	switch {
	case version.IsZero():
		return Unversioned, latest
	case version == latest:
		return Same, latest
	case version.Serial < latest.Serial:
		return Older, latest
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case version == v.latest:
		return Same, v.latest
	case v.latest.IsZero(), version.Serial > v.latest.Serial:
		v.latest = version
		return Newer, version
	}
	return Older, v.latest
}

// Latest returns the newest version seen, or the zero one.
func (v *Versions) Latest() flow.PolicyVersion {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.latest
}
