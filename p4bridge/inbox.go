package p4bridge

import (
	"sync"
	"time"

	"switchbridge/bridge"
)

// inbox is the queue of events between the stream's reader and the owner. If it is full,
// the reader drops the event.
type inbox struct {
	limit func() int    // how many may wait; it may change
	ready chan struct{} // capacity 1: there is something

	mu    sync.Mutex
	list  []*event // pointers, since a match is large
	bytes int      // of their packets
}

func newInbox(limit func() int) *inbox {
	return &inbox{limit: limit, ready: make(chan struct{}, 1)}
}

func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}

// full reports whether an event would find no room.
func (b *inbox) full() bool { return b.len() >= b.limit() }

// put is false where there is no room.
func (b *inbox) put(ev *event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) >= b.limit() || b.bytes+len(ev.pi.Data) > bridge.QueueBytes {
		return false
	}
	b.list = append(b.list, ev)
	b.bytes += len(ev.pi.Data)
	b.wake()
	return true
}

// take returns the next event, or nil. ready tells of those that are left.
func (b *inbox) take() *event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first()
}

// takeUntil returns the next event if it was read until a time, or nil.
func (b *inbox) takeUntil(until time.Time) *event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) > 0 && b.list[0].read.After(until) {
		return nil
	}
	return b.first()
}

// first is take. The caller holds mu.
func (b *inbox) first() *event {
	if len(b.list) == 0 {
		return nil
	}
	ev := b.list[0]
	b.list[0] = nil
	b.bytes -= len(ev.pi.Data)
	if b.list = b.list[1:]; len(b.list) > 0 {
		b.wake()
	}
	return ev
}

func (b *inbox) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}
