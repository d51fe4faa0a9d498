package bridge

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"switchbridge/flow"
)

// CheckInterval is how often a function is asked for its policy version.
const CheckInterval = 10 * time.Second

// PolicyCheck is the task that asks which policy version a function has, so
// that a new policy reaches the switches without a packet to bring it.
type PolicyCheck struct {
	Decider  flow.Decider
	Versions *Versions     // where sessions note the versions of answers, too
	Interval time.Duration // default CheckInterval; it also bounds each question

	// OnNewer, if set, is called with each version that this task is the first to
	// see: it is time to sweep.
	OnNewer func(flow.PolicyVersion)

	// OnCheck, if set, is told of every check: what the answer's version was and
	// how it stands, or why there was no answer.
	OnCheck func(flow.PolicyVersion, Freshness, error)
}

// String names the task.
func (p *PolicyCheck) String() string { return "policy check" }

// Run asks at once and then at every interval, until ctx is done, and once more
// between two intervals where an answer brought a version that no check has
// confirmed. It returns nil: a function that does not answer is asked again.
func (p *PolicyCheck) Run(ctx context.Context) error {
	interval := p.Interval
	if interval <= 0 {
		interval = CheckInterval
	}
	run := rand.Text()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	soon := p.Versions.asked()
	for n := uint32(1); ; n++ {
		ev := flow.Event{
			Type: flow.EventPolicyCheck, ID: "policy-" + run + "-" + strconv.FormatUint(uint64(n), 10),
			Time: time.Now(), XID: max(n, 1), // not 0 after four thousand million checks either
		}
		p.check(ctx, &ev, interval)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			soon = p.Versions.asked()
		case <-soon:
			soon = nil // not again before the next interval
		}
	}
}

// Ask asks once, beside what Run asks, and waits for the answer as long as an
// interval. It reports whether the function is there and names no version, or
// refuses to be asked.
func (p *PolicyCheck) Ask(ctx context.Context) (refused bool) {
	ev := flow.Event{Type: flow.EventPolicyCheck, ID: "policy-" + rand.Text(), Time: time.Now(), XID: 1}
	interval := p.Interval
	if interval <= 0 {
		interval = CheckInterval
	}
	return p.check(ctx, &ev, interval)
}

func (p *PolicyCheck) check(ctx context.Context, ev *flow.Event, timeout time.Duration) (refused bool) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d flow.Decision
	err := p.Decider.Decide(within, ev, &d)
	if ctx.Err() != nil {
		return false
	}
	var fresh Freshness
	switch {
	case err == nil:
		fresh = p.Versions.Checked(d.Policy)
		refused = fresh == Unversioned
	case flow.KindOf(err) == flow.Refused:
		p.Versions.Unchecked()
		refused = true
	}
	if p.OnCheck != nil {
		p.OnCheck(d.Policy, fresh, err)
	}
	if fresh == Newer && p.OnNewer != nil {
		p.OnNewer(d.Policy)
	}
	return refused
}
