// Package decider holds what stands between a session and a controller: small
// decorators of [flow.Decider], and the data structures that sessions keep
// beside them.
//
// From a session inwards the decorators are usually
//
//	Observe -> Guard -> FailMode -> Routes -> (for each route) State -> Limit -> the controller
//
// [Guard] is outside [Routes], since no function is trusted more than another,
// and [FailMode] outside [Limit], whose refusals it must tell from a function
// that is away. Every decorator passes on whether what it wraps is
// [flow.Local], so that a session can still decide in place.
//
// [Coalescer], [Versions] and [Cookie] are for sessions: they do no input or
// output of their own.
package decider
