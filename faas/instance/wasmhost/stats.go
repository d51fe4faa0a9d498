package wasmhost

import (
	"errors"
	"sync/atomic"
)

// Reset is how instances are made pristine.
type Reset int32

// The ways, from the fastest to the slowest.
const (
	ResetUnknown     Reset = iota // not started yet
	ResetMarked                   // what an event wrote is copied back
	ResetWholeCopy                // all of memory is copied back
	ResetNewInstance              // every event gets a new instance
)

func (r Reset) String() string {
	return [...]string{"unknown", "marked blocks", "whole copy", "new instance"}[r]
}

// Stats counts what a host did. Counters only grow; Instances is the present number.
type Stats struct {
	Reset         Reset
	Events        uint64 // that reached a guest
	Waited        uint64 // that found all instances busy
	Traps         uint64 // traps and exits
	Deadlines     uint64 // guests that were ended
	BadAnswers    uint64
	Grew          uint64 // instances thrown away because their memory grew
	Created       uint64 // instances
	Instances     int64
	BytesRestored uint64 // copied back to make instances pristine
	Lean          bool   // events are decided by the part of the guest that usually decides
	Completed     uint64 // how often an event needed more than the lean guest: once at most
}

type counters struct {
	reset                            atomic.Int32
	events, waited, traps, deadlines atomic.Uint64
	answers, grew, created, restored atomic.Uint64
	completed                        atomic.Uint64
	instances                        atomic.Int64
}

func (c *counters) failed(err error) {
	switch {
	case errors.Is(err, ErrDeadline):
		c.deadlines.Add(1)
	case errors.Is(err, ErrTrap), errors.Is(err, ErrExit):
		c.traps.Add(1)
	case errors.Is(err, ErrAnswer):
		c.answers.Add(1)
	}
}

// Stats returns the present counts.
func (h *Host) Stats() Stats {
	c := &h.stats
	current := h.current.Load()
	return Stats{
		Lean:          current != nil && current.engine.module.lean,
		Reset:         Reset(c.reset.Load()),
		Events:        c.events.Load(),
		Waited:        c.waited.Load(),
		Traps:         c.traps.Load(),
		Deadlines:     c.deadlines.Load(),
		BadAnswers:    c.answers.Load(),
		Grew:          c.grew.Load(),
		Created:       c.created.Load(),
		Instances:     c.instances.Load(),
		BytesRestored: c.restored.Load(),
		Completed:     c.completed.Load(),
	}
}
