package guest

// Functions are what a guest of this package consists of. Both are called by one goroutine, and
// every call of Decide starts from the memory that the last Configure left.
type Functions struct {
	// Configure takes the policy. It may keep policy.
	Configure func(policy []byte) error
	// Decide fills an answer. The request's slices are valid until it returns; the answer's may
	// be anything, the request's included.
	Decide func(*Request, *Answer)
	// Packet appends the answer to a packet in flow/contract/compact. Both are that encoding's.
	Packet func(answer, event []byte) []byte
}

// Serve registers the guest's functions for the exports that a build for wasip1 has. Call it from
// an init function: main doesn't run in a reactor.
func Serve(f Functions) { functions = f }

//lint:ignore U1000 a build for wasip1 reads it in its exports
var functions Functions
