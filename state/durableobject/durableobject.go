// Package durableobject is what is promised where each state is kept by a Durable Object of Cloudflare Workers. The object is State in worker.mjs, and
// the function's host there asks it (workershost.OpenStates).
package durableobject

import "switchbridge/state"

// URL stands for these objects where a store is named.
const URL = "durable-object:"

// Promised has the methods of a [state.Store] that are the same for whoever asks.
type Promised struct{}

// Promise implements [state.Store].
func (Promised) Promise() state.Promise {
	return state.Promise{Shared: true, Linearizable: true, Durable: true}
}

func (Promised) String() string { return URL }

// Close implements [state.Store].
func (Promised) Close() error { return nil }
