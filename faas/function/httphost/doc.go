// Package httphost serves a controller by the contract (docs/contract.md) as a
// plain [net/http.Handler]: one POST is one event. It is what `function serve`
// and every platform that runs an HTTP server put in front of a
// [flow.Decider].
//
// A [Mux] says who may call and which function answers; a [Handler] is one function.
// It trusts nothing of a request: the body is bounded before it is read, and more
// events than the configured number at a time are answered with 429 rather than
// queued, since the gateway's deadline runs while they would wait.
package httphost
