package httpclient

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
)

// Bounds of what is remembered of events on which the function fails.
const (
	// poisonKeys different packets of one switch within the breaker's time keep
	// all of its packets away from the function for that time.
	poisonKeys = 4
	// faultySwitches different switches with a 5xx within breakerWindow are no
	// switch's poison: the function is ill, and its breaker counts them.
	faultySwitches = 3
	// maxPoisoned bounds the switches that are remembered; further ones are not
	// kept away, and have the breaker count.
	maxPoisoned = 1024
	poisonedLog = 10 * time.Second
)

// quarantine keeps what the function fails on (5xx, every try of it) away from
// it for the time that a breaker would be open: the headers of that packet, and
// after some of those the switch. So a switch whose packets make a function
// answer 500 does not cost the others theirs, which the breaker would.
type quarantine struct {
	lasts time.Duration
	log   *slog.Logger
	tell  func(what string) // for metrics

	held atomic.Int32 // switches that are remembered: nothing is looked up while it is 0

	mu       sync.Mutex
	switches map[flow.DPID]*poisoned
	logged   time.Time
	muted    int
}

// poisoned is what is kept away of one switch.
type poisoned struct {
	until time.Time // of all its packets
	keys  [poisonKeys]struct {
		match flow.Match
		until time.Time
	}
}

// holds says for how long an event is still kept away, and of what.
func (q *quarantine) holds(ev *flow.Event) (what string, left time.Duration) {
	if q.held.Load() == 0 || ev.PacketIn == nil || ev.Switch == nil {
		return "", 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.switches[ev.Switch.DPID]
	if p == nil {
		return "", 0
	}
	now := time.Now()
	if now.Before(p.until) {
		what, left = "switch", p.until.Sub(now)
	}
	for i := range p.keys {
		if k := &p.keys[i]; left == 0 && now.Before(k.until) && k.match == ev.PacketIn.Match {
			what, left = "packet", k.until.Sub(now)
		}
	}
	if left > 0 {
		q.tell(what)
	}
	return what, left
}

// failed notes that every try of an event ended with a 5xx.
func (q *quarantine) failed(ev *flow.Event, err error) {
	if ev.PacketIn == nil || ev.Switch == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	p := q.switches[ev.Switch.DPID]
	if p == nil {
		if len(q.switches) >= maxPoisoned {
			q.forget(now)
		}
		if len(q.switches) >= maxPoisoned {
			return
		}
		if q.switches == nil {
			q.switches = make(map[flow.DPID]*poisoned)
		}
		p = new(poisoned)
		q.switches[ev.Switch.DPID] = p
		q.held.Store(int32(len(q.switches)))
	}
	others, slot := 0, 0
	for i := range p.keys {
		k := &p.keys[i]
		switch {
		case k.match == ev.PacketIn.Match:
			slot = i
		case now.Before(k.until):
			others++
		}
		if p.keys[slot].match != ev.PacketIn.Match && k.until.Before(p.keys[slot].until) {
			slot = i // the one that ends first
		}
	}
	until := now.Add(q.lasts)
	p.keys[slot].match, p.keys[slot].until = ev.PacketIn.Match, until
	what := "the packet's headers"
	if others+1 >= poisonKeys {
		p.until = until
		what = "the switch"
	}
	if !q.logged.IsZero() && now.Sub(q.logged) < poisonedLog {
		q.muted++
		return
	}
	args := []any{"dpid", ev.Switch.DPID.String(), "match", ev.PacketIn.Match.String(), "kept_away", what, "for", q.lasts.String(), "err", err}
	if q.muted > 0 {
		args = append(args, "also_muted", q.muted)
	}
	q.logged, q.muted = now, 0
	q.log.Warn("the function fails on a packet; others are asked about as before", args...)
}

// forget drops what is over. The caller holds mu.
func (q *quarantine) forget(now time.Time) {
	for dpid, p := range q.switches {
		over := !now.Before(p.until)
		for i := range p.keys {
			over = over && !now.Before(p.keys[i].until)
		}
		if over {
			delete(q.switches, dpid)
		}
	}
	q.held.Store(int32(len(q.switches)))
}

// faults tells whether 5xx are one switch's or everybody's.
type faults struct {
	mu   sync.Mutex
	last [faultySwitches]struct {
		dpid flow.DPID
		at   time.Time
	}
}

// common notes a 5xx about an event and reports whether several switches have
// got one of late, or none is concerned, so that it is the endpoint's fault.
func (f *faults) common(ev *flow.Event) bool {
	if ev.Switch == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	slot, recent := -1, 0
	for i := range f.last {
		l := &f.last[i]
		fresh := !l.at.IsZero() && now.Sub(l.at) < breakerWindow
		switch {
		case fresh && l.dpid == ev.Switch.DPID:
			slot = i
		case fresh:
			recent++
		}
	}
	if slot < 0 {
		slot = 0
		for i := range f.last {
			if f.last[i].at.Before(f.last[slot].at) {
				slot = i
			}
		}
	}
	if f.last[slot].dpid != ev.Switch.DPID && !f.last[slot].at.IsZero() && now.Sub(f.last[slot].at) < breakerWindow {
		recent-- // its place is taken, and there are as many as before
	}
	f.last[slot].dpid, f.last[slot].at = ev.Switch.DPID, now
	return recent+1 >= faultySwitches
}
