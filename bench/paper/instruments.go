package paper

import (
	"context"
	"fmt"

	"switchbridge/bench/calibrate"
	"switchbridge/bench/stats"
)

// instruments says how much load the tools can make, and how wrong they are.
func (e *evaluation) instruments(ctx context.Context) error {
	e.step("the instruments themselves")
	s := e.section("The instruments: load",
		"What the tools can send to sinks that answer at once, in this process. A controller that comes near these figures is not what is measured.",
		"tool", "events/s", "min", "max", "stdev of rounds")
	res, err := calibrate.Run(ctx, e.scale.calibrate)
	if ctx.Err() != nil {
		return nil // reported by Run
	}
	if err != nil {
		s.row("failed", reason(err))
		return nil
	}
	row := func(name string, v stats.Spread) {
		s.row(name, num(v.Median), num(v.Min), num(v.Max), stdev(v))
	}
	row("bench controller, flood", res.Flood)
	row("replay to a gateway, every packet", res.Replay)
	row(fmt.Sprintf("replay over HTTPS, %d at a time", res.Concurrency), res.ReplayHTTPS)
	row("the gateway's client over HTTPS", res.ClientHTTPS)
	row("a bare client over HTTPS", res.BareHTTPS)

	o := res.OmissionDue
	s = e.section("The instruments: error",
		fmt.Sprintf("What is measured of a sink that takes a known time, less that time: the sockets' way and the instrument's own error. Nothing that waits is omitted: of %d events that are due every %v, to a sink that takes twice that, one at a time, the median waits %s ms from when it was due (computed: %s), and %s ms from when it was sent.",
			o.Events, o.Gap, ms(o.FromDue), ms(o.Expect), ms(o.FromSent)),
		"the sink takes", "bench controller, p50 µs", "p90", "p99", "replay, p50 µs", "p90", "p99")
	for _, x := range res.Errors {
		s.row(x.Delay.String(), us(x.Controller.P50), us(x.Controller.P90), us(x.Controller.P99), us(x.Replay.P50), us(x.Replay.P90), us(x.Replay.P99))
	}
	return nil
}
