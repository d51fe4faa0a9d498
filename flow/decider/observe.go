package decider

import (
	"context"
	"time"

	"switchbridge/flow"
)

// Observation is one decision as metrics and logs want it. Event and Decision
// are the caller's: what is kept of them is copied.
type Observation struct {
	Event    *flow.Event
	Decision *flow.Decision // filled in only where Err is nil
	Err      error
	Duration time.Duration
}

// Outcome is a word for what became of the event, fit for a metric's label: the
// verdict, "rules" where none was given, or the error's kind. A fail mode's
// decision counts as the error that it stands for.
func (o *Observation) Outcome() string {
	switch {
	case o.Err != nil:
		return flow.KindOf(o.Err).String()
	case o.Decision.Failure != nil:
		return flow.KindOf(o.Decision.Failure).String()
	case o.Decision.Verdict != flow.NoVerdict:
		return o.Decision.Verdict.String()
	}
	return "rules"
}

// Observe is the decorator that tells of each decision that passes it. One
// stands wherever a duration is of interest: outside for the whole, inside
// [Limit] for the function alone.
type Observe struct {
	Next flow.Decider

	// On is called before Decide returns, by many goroutines.
	On func(Observation)
}

// Decide asks Next.
func (o *Observe) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	start := time.Now()
	err := o.Next.Decide(ctx, ev, d)
	o.On(Observation{ev, d, err, time.Since(start)})
	return err
}

// Local reports whether Next is [flow.Local].
func (o *Observe) Local() bool { return flow.IsLocal(o.Next) }
