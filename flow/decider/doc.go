// Package decider holds what stands between a session and a controller: small
// decorators of [flow.Decider], and the data structures that sessions keep
// beside them.
//
// From a session inwards the decorators are usually
//
//	Observe -> FailMode -> Routes -> (for each route) State -> Limit -> the controller
//
// Each prints itself and what it wraps. The gateway's status shows the chain in use.
// [FailMode] is outside [Limit], whose refusals it must tell from a function
// that is away. Guardrails (package bridge/guard) look at what comes out of all
// of them; [Routes] tells them which function each rule came from. Decorators pass on whether what
// they wrap is [flow.Local], so that a session can still decide in place;
// [State] and [Limit] are for remote controllers and do not.
//
// [Coalescer], [Versions] and [Cookie] are for sessions: they do no input or
// output of their own.
package decider
