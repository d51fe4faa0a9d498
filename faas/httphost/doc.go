// Package httphost serves a controller by the contract (docs/contract.md) as a
// plain [net/http.Handler]: one POST is one event. It is what `function serve`
// and every platform that runs an HTTP server put in front of a
// [flow.Decider].
//
// The handler trusts nothing of a request: the body is bounded before it is
// read, the token is compared in constant time, and more events than the
// configured number at a time are answered with 429 rather than queued, since
// the gateway's deadline runs while they would wait.
package httphost
