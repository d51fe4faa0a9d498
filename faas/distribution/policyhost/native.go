package policyhost

import (
	"context"
	"sync/atomic"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
)

// Native is the controller compiled into this binary. A new policy takes the
// old one's place in one step, between two events.
type Native struct {
	now atomic.Pointer[controller.Controller]
}

// NewNative returns a controller that decides by p.
func NewNative(p *policy.Policy) *Native {
	n := new(Native)
	n.now.Store(controller.New(p))
	return n
}

// Decide implements flow.Decider.
func (n *Native) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	return n.now.Load().Decide(ctx, ev, d)
}

// Local implements flow.Local.
func (n *Native) Local() bool { return true }

func (n *Native) String() string { return "native" }

// Version returns the version of the policy that decides now.
func (n *Native) Version() flow.PolicyVersion { return n.now.Load().Version() }

// Stateful reports whether that policy has machines.
func (n *Native) Stateful() bool { return n.now.Load().Stateful() }

// Travels implements [state.Machines].
func (n *Native) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	return n.now.Load().Travels(key)
}

// StateKeys implements [state.Machines].
func (n *Native) StateKeys(ev *flow.Event, keys []string) []string {
	return n.now.Load().StateKeys(ev, keys)
}

// OwnKeys implements [state.Machines].
func (n *Native) OwnKeys(ev *flow.Event) int { return n.now.Load().OwnKeys(ev) }

// SetPolicy makes p the policy. It is compiled beside the old one.
func (n *Native) SetPolicy(_ context.Context, p *policy.Policy) error {
	n.now.Store(controller.New(p))
	return nil
}
