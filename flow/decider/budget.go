package decider

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"switchbridge/flow"
)

// BudgetLimits bound how often a function is called, since platforms charge by the call. The zero value sets no bound.
type BudgetLimits struct {
	PerHour, PerDay int     // calls within any hour and any day; 0: no bound
	Alarm           float64 // the share of either from which on there is an alarm; 0: no alarm
	Refuse          bool    // beyond it packets are dropped; else the fail mode decides
}

func (l BudgetLimits) String() string {
	var parts []string
	for _, w := range []struct {
		calls int
		name  string
	}{{l.PerHour, "an hour"}, {l.PerDay, "a day"}} {
		if w.calls > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", w.calls, w.name))
		}
	}
	return strings.Join(parts, ", ")
}

// Budget is the decorator that counts the calls of one function and keeps them within limits. It counts events: a retry or a hedge of an
// event is not counted again. An event beyond the budget fails with [flow.Unavailable], so that the fail mode answers, or with
// [flow.Overload], so that its packet is dropped. Rules that are in switches stay. Policy checks count, but are always made: without them
// the gateway would not know which rules to remove.
//
// The counters start at zero when the process starts.
type Budget struct {
	next   flow.Decider
	limits BudgetLimits
	spent  *spent

	// OnAlarm, if set before use, is called once when the share of a window has been reached, and again after it was below.
	OnAlarm func(window string, calls, of int)
	// OnCall, if set before use, is told after each event how much of each window is used, as a share, and whether the event was let pass.
	OnCall func(hour, day float64, passed bool)
}

// spent counts a function's calls. A Budget with new limits goes on with the counters of the one before.
type spent struct {
	began     time.Time // windows are counted from then, by a clock that nobody sets
	mu        sync.Mutex
	hour, day window
}

// NewBudget makes a Budget in front of next. It goes on with the counters of before, which may be nil.
func NewBudget(next flow.Decider, limits BudgetLimits, before *Budget) *Budget {
	b := &Budget{next: next, limits: limits, spent: &spent{began: time.Now(), hour: window{slot: time.Hour / slots}, day: window{slot: 24 * time.Hour / slots}}}
	if before != nil {
		b.spent = before.spent
	}
	return b
}

// Decide asks next if the budget allows one more call.
func (b *Budget) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if err := b.spend(ev.Type == flow.EventPolicyCheck, time.Since(b.spent.began)); err != nil {
		return err
	}
	return b.next.Decide(ctx, ev, d)
}

// spend counts a call, if it may be made. now is how long after the beginning it is.
func (b *Budget) spend(always bool, now time.Duration) error {
	s := b.spent
	s.mu.Lock()
	s.hour.pass(now)
	s.day.pass(now)
	beyond := ""
	switch {
	case always:
	case b.limits.PerHour > 0 && s.hour.calls >= b.limits.PerHour:
		beyond = fmt.Sprintf("%d calls an hour", b.limits.PerHour)
	case b.limits.PerDay > 0 && s.day.calls >= b.limits.PerDay:
		beyond = fmt.Sprintf("%d calls a day", b.limits.PerDay)
	}
	if beyond == "" {
		s.hour.count()
		s.day.count()
	}
	hour, loudHour := s.hour.share(b.limits.PerHour, b.limits.Alarm)
	day, loudDay := s.day.share(b.limits.PerDay, b.limits.Alarm)
	hours, days := s.hour.calls, s.day.calls
	s.mu.Unlock()
	if loudHour && b.OnAlarm != nil {
		b.OnAlarm("hour", hours, b.limits.PerHour)
	}
	if loudDay && b.OnAlarm != nil {
		b.OnAlarm("day", days, b.limits.PerDay)
	}
	if b.OnCall != nil {
		b.OnCall(hour, day, beyond == "")
	}
	if beyond == "" {
		return nil
	}
	kind := flow.Unavailable
	if b.limits.Refuse {
		kind = flow.Overload
	}
	return flow.Errorf(kind, "the function's budget of %s is used up", beyond)
}

// slots is how many parts a window has; its oldest part is forgotten as a whole.
const slots = 60

// window counts the calls of the last hour or day.
type window struct {
	slot    time.Duration
	current int64 // the slot's number, since the beginning
	counts  [slots]int
	calls   int
	loud    bool // the alarm was given
}

// pass forgets what is too old.
func (w *window) pass(now time.Duration) {
	n := int64(now / w.slot)
	if n-w.current >= slots {
		w.counts, w.calls, w.current = [slots]int{}, 0, n
	}
	for w.current < n {
		w.current++
		old := &w.counts[w.current%slots]
		w.calls -= *old
		*old = 0
	}
}

func (w *window) count() {
	w.counts[w.current%slots]++
	w.calls++
}

// share returns which part of a bound is used. loud is true once, when that part has reached alarm.
func (w *window) share(bound int, alarm float64) (used float64, loud bool) {
	if bound <= 0 {
		return 0, false
	}
	used = float64(w.calls) / float64(bound)
	reached := alarm > 0 && used >= alarm
	loud = reached && !w.loud
	w.loud = reached
	return used, loud
}
