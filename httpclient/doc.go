// Package httpclient is the [flow.Decider] that asks a function over HTTP, by
// the contract of docs/contract.md.
//
// An event is one POST within one deadline. The client repeats a failed request only
// if that is safe. If nothing was sent, it always is. If the request may have reached
// the function, it is safe only if the function's decisions write no store
// ([Config.Idempotent]). Budgets limit repeats and hedges to a share of the events, so
// that a function in trouble gets at most a tenth more load. Each endpoint has a
// breaker: while an endpoint is down, the client asks the next one at once.
//
// Nothing that the function sends is trusted: headers and body are bounded,
// compressed bodies and redirects are refused, and a token goes to the
// configured origins alone, since no redirect is ever followed.
//
// Connections are renewed every few minutes, all of an endpoint together and
// warmed before they are used: a connection never looks its name up again by
// itself, and a CDN steers by DNS.
package httpclient
