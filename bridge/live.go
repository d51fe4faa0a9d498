package bridge

import (
	"errors"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// Live is the part of a [Config] that may be replaced while sessions run.
// [Bridge.Update] replaces all of it in one step: an event is decided by what
// was before or by what is now, and never waits.
type Live struct {
	Decider        flow.Decider
	Guardrails     *guard.Guardrails
	Admit          func(ev *flow.Event, now time.Time) error
	Subscribe      map[flow.EventType]bool
	EventTimeout   time.Duration
	Workers        int
	QueuePerSwitch int
}

// Live returns the part of c that may be replaced.
func (c *Config) Live() Live {
	return Live{c.Decider, c.Guardrails, c.Admit, c.Subscribe, c.EventTimeout, c.Workers, c.QueuePerSwitch}
}

// ErrInPlace says that a decider can't take the place of another, since one of
// them answers in place and the other is waited for: sessions are made for
// either.
var ErrInPlace = errors.New("bridge: one decider answers in place, and the other is waited for")

// Update replaces what l has. Zero values take the defaults of [Config].
func (b *Bridge) Update(l Live) error {
	c := Config{Decider: l.Decider, Guardrails: l.Guardrails, Admit: l.Admit, Subscribe: l.Subscribe,
		EventTimeout: l.EventTimeout, Workers: l.Workers, QueuePerSwitch: l.QueuePerSwitch}
	if err := c.setDefaults(); err != nil {
		return err
	}
	if flow.IsLocal(c.Decider) != b.local {
		return ErrInPlace
	}
	l = c.Live()
	b.pool.resize(l.Workers)
	b.live.Store(&l)
	for _, s := range b.open() {
		b.pool.limit(&s.queue, l.QueuePerSwitch)
	}
	return nil
}
