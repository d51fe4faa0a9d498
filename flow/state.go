package flow

import "time"

// State is what a policy's machine knows about one key when an event is decided, such as what the source of a packet has done before.
// Whoever hosts the controller reads it from a store before it asks, since a decision is a pure function of the event, the states and
// the time.
type State struct {
	Key     string // the store's, see [switchbridge/state.Store]
	Version uint64 // the store's; 0: there is none
	Data    []byte // nil: there is none, and the machine is in its start state
}

// Unknown is what stands for a state of which nobody can say what it is: one of a packet that nobody has sent, where states travel and the gateway
// does not bring those. A decision that rests on it denies. It is read only.
var Unknown = []byte{0}

// UnknownState reports whether data are [Unknown].
func UnknownState(data []byte) bool { return len(data) == 1 && data[0] == 0 }

// StateChange is the state that a decision leaves behind. It must be in the store before anything of the decision is carried out.
type StateChange struct {
	Index int           // of the state in [Event.States] that changes
	Data  []byte        // nil: the store forgets the key
	TTL   time.Duration // how long the store keeps it; 0 is for ever
}

// StateVersion says that a decision rests on one version of one state. Versions of a key only grow.
type StateVersion struct {
	Key     uint64 // a hash of the key
	Version uint64 // of a state that is not there, one that is above those of old
}
