// Package state keeps what a policy's machines remember from one event to the next.
//
// A decision is a pure function of the event, the states that the policy names for it, and the time. The host of the controller
// reads the states from a [Store], asks the controller, and swaps the state that the decision changes. If another event has changed it first,
// the host reads and asks again ([Decider]). So no guest waits for a store, and each platform uses its own. Each folder below is a store; all
// pass one suite, statetest.
package state

import (
	"context"
	"errors"
	"time"

	"switchbridge/flow"
)

// Limits of keys and values, which all stores take.
const (
	MaxKey  = 200  // bytes of a key: letters, digits and -_./=: alone
	MaxData = 4096 // bytes of a value
)

// Value is what a store has for a key.
type Value struct {
	// Version tells this value of the key from every other one; 0 says that there is none. It grows with every swap of the key, also
	// after the key was deleted or has expired.
	Version uint64
	Data    []byte // the caller's; nil where there is no value

	// Last is for a key without a value. It is not lower than any version that the key had in the last two minutes, one more than the last
	// version if the key was deleted, and lower than the key's next version. So a decision that rests on "there is no value" can be told from
	// one that rests on an older value.
	Last uint64
}

// Store keeps values by key. Its methods are safe for concurrent use and return soon after ctx is done. An error means that the store can't
// be asked, or holds something that can't be understood. It never means that there is no value.
type Store interface {
	// Get fills values, one for each key and in their order, in one round trip where the store can.
	Get(ctx context.Context, keys []string, values []Value) error

	// CompareAndSwap stores data for the key if the key's version is old (0: if there is no value), to expire after ttl (0: never). It
	// returns the new version, or [ErrConflict] where the version is another one.
	CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (version uint64, err error)

	// Delete removes the key if its version is old, or returns [ErrConflict].
	Delete(ctx context.Context, key string, old uint64) error

	// Promise says what the store promises.
	Promise() Promise

	// String names the store without its secrets.
	String() string

	Close() error
}

// Carrier is a [Store] that keeps nothing: values come with an event and go back with its decision.
type Carrier interface {
	Store
	// Of returns the values that came with ev. What changes is written into d.
	Of(m Machines, ev *flow.Event, d *flow.Decision) Store
}

// Forgetful is a [Store] that one process has alone and that can forget all its states at once.
type Forgetful interface {
	Store
	// Forget forgets all states. Their versions go on growing.
	Forget()
}

// ErrConflict says that a key has another version than the one that was to be replaced.
var ErrConflict = errors.New("another event has changed the state")

// ErrFull says that a store takes no more keys. It evicts none: to forget a state could open what it had closed.
var ErrFull = errors.New("the store is full")

// ErrCorrupt says that a store holds something that can't be understood.
var ErrCorrupt = errors.New("the store holds something that is not a state")

// ErrSealed says that a value was sealed with a key that is not at hand.
var ErrSealed = errors.New("the state was sealed with a key that this host does not have")

// ErrNewer says that a value was written by a newer version of this program.
var ErrNewer = errors.New("the state is of a newer version of this program")

// ErrFuture says that a value was written later than its event came: a clock was set back.
var ErrFuture = errors.New("the state is from the future")

// Promise is what a store promises to those who share it.
type Promise struct {
	Local        bool // it is in this process and answers within microseconds
	Shared       bool // by several gateways or functions
	Linearizable bool // a read sees every swap that had returned before it began
	Durable      bool // a swap that has returned survives the store's restart
}

// Machines is a controller whose decisions rest on states. Its policy may change while it is in use.
type Machines interface {
	// Version is of the policy that StateKeys goes by. A decision of another version rests on other states.
	Version() flow.PolicyVersion

	// Stateful reports whether the policy has machines.
	Stateful() bool

	// StateKeys appends the keys of the states that the event's decision reads, in the order in which it wants them in
	// [flow.Event.States]. It appends none where the policy has no machine that concerns the event.
	StateKeys(ev *flow.Event, keys []string) []string

	// OwnKeys returns how many of the keys of StateKeys, from the first on, an answer rests on that allows the event's packet, or a greater number
	// where it rests on all. The others are of what a denied packet may answer.
	OwnKeys(ev *flow.Event) int

	// Travels returns the name of a state of StateKeys, and of which kind its key is, so that who has later events finds those that it is about. It
	// reports false for a state that is not one of the event's own.
	Travels(key string) (name string, kind flow.StateKey, ok bool)
}
