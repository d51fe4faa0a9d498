package eval

import (
	"context"

	"switchbridge/controller"
	"switchbridge/flow"
)

// Trial asks a controller about one event after the other and keeps the states of the policy's machines in memory, for ever.
type Trial struct {
	c      *controller.Controller
	states map[string]flow.State
	keys   []string
	read   []flow.State
}

// NewTrial returns a Trial without any states.
func NewTrial(c *controller.Controller) *Trial {
	return &Trial{c: c, states: make(map[string]flow.State)}
}

// Decide implements [flow.Decider]. It sets the event's States.
func (t *Trial) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	t.keys, t.read = t.c.StateKeys(ev, t.keys[:0]), t.read[:0]
	for _, key := range t.keys {
		s := t.states[key]
		s.Key = key
		t.read = append(t.read, s)
	}
	ev.States = t.read
	if err := t.c.Decide(ctx, ev, d); err != nil || d.Change == nil {
		return err
	}
	changed := &t.read[d.Change.Index]
	changed.Version++
	changed.Data = d.Change.Data
	t.states[changed.Key] = *changed
	return nil
}
