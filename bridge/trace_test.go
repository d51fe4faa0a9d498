package bridge

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// An event that is not traced pays nothing for traces: no memory, and no call of a tracer, of which there is none.
func TestUntracedCostsNothing(t *testing.T) {
	ctx := context.Background()
	times := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "times"}).(observer)
	j := job{work: new(work)}
	var rec Record
	if n := testing.AllocsPerRun(100, func() {
		part, span := j.part(ctx, "decide")
		endSpan(span, nil)
		if part != ctx {
			t.Error("the context is another one")
		}
		j.spans.end(&rec)
		j.spans.lost("why")
		observe(times, time.Millisecond, j.spans.traceID())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
