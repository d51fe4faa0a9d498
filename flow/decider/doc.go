// Package decider holds what stands between a session and a controller: small
// decorators of [flow.Decider], and the data structures that sessions keep
// beside them.
//
// From a session inwards the decorators are usually
//
//	Observe -> FailMode -> Routes -> (for each route) State -> Limit -> the controller
//
// Each has a String method that names itself and what it wraps; the gateway's status
// shows the chain. [FailMode] stands outside [Limit], because it answers if the
// function is away but not if Limit refuses an event. Guardrails (package
// bridge/guard) check the answers of the whole chain; [Routes] tells them which
// function each rule came from. Decorators are [flow.Local] if what they wrap is,
// so that a session can still decide on its own goroutine; [State] and [Limit] are
// for remote controllers and are never local.
//
// [Coalescer], [Versions] and [Cookie] are for sessions: they do no input or
// output of their own.
package decider
