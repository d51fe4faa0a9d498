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
	ResetDirtyPages               // the pages that an event wrote are copied back
	ResetWholeCopy                // all of memory is copied back
	ResetNewInstance              // every event gets a new instance
)

func (r Reset) String() string {
	return [...]string{"unknown", "dirty pages", "whole copy", "new instance"}[r]
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
	Untracked     uint64 // instances thrown away because the kernel failed to tell their pages
	Created       uint64 // instances
	Instances     int64
	PagesRestored uint64 // of 4 KiB
}

type counters struct {
	reset                                    atomic.Int32
	events, waited, traps, deadlines         atomic.Uint64
	answers, grew, untracked, created, pages atomic.Uint64
	instances                                atomic.Int64
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
	return Stats{
		Reset:         Reset(c.reset.Load()),
		Events:        c.events.Load(),
		Waited:        c.waited.Load(),
		Traps:         c.traps.Load(),
		Deadlines:     c.deadlines.Load(),
		BadAnswers:    c.answers.Load(),
		Grew:          c.grew.Load(),
		Untracked:     c.untracked.Load(),
		Created:       c.created.Load(),
		Instances:     c.instances.Load(),
		PagesRestored: c.pages.Load(),
	}
}
