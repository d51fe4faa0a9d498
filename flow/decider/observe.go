package decider

import (
	"context"
	"time"

	"switchbridge/flow"
)

// Observation is one decision, for metrics and logs. Event and Decision belong to
// the caller: copy what you keep of them.
type Observation struct {
	Event    *flow.Event
	Decision *flow.Decision // filled in only where Err is nil
	Err      error
	Duration time.Duration
}

// Outcome returns what became of the event in one word, for a metric's label: the
// verdict, "rules" if the answer has none, or the error's kind. A decision of the
// fail mode counts as the error that caused it.
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

// Observe is the decorator that reports each decision and how long it took. Outside
// of the chain it measures all of it, inside of [Limit] the function alone.
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
