package bridge

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"switchbridge/flow"
)

// spans are an event's trace: the event itself, and below it wait, decide (below
// which are the function's requests and the store's), install, and barrier, until
// the switch has confirmed the rules. The zero value is no trace.
type spans struct {
	ctx     context.Context // of event
	event   trace.Span      // nil: nothing is traced
	barrier trace.Span      // nil: none, or it has ended
}

// begin starts an event's trace, when a decision about it begins. An event that
// is decided again stays in its trace.
func (j *job) begin(t trace.Tracer) {
	if j.spans.event != nil {
		return
	}
	arrived := trace.WithTimestamp(j.ev.Time)
	sp := &j.spans
	sp.ctx, sp.event = t.Start(j.s.ctx, j.ev.Type.Name(), arrived, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer))
	if !sp.event.IsRecording() {
		return
	}
	sp.event.SetAttributes(attribute.String("switch.dpid", j.ev.Switch.DPID.String()), attribute.Int64("decision", int64(j.ev.XID)))
	if j.rec.Wait > 0 {
		_, wait := t.Start(sp.ctx, "wait", arrived)
		wait.End(trace.WithTimestamp(j.ev.Time.Add(j.rec.Wait)))
	}
}

// part starts a part of an event's trace. What it returns must be ended.
func (j *job) part(ctx context.Context, name string) (context.Context, trace.Span) {
	if j.spans.event == nil {
		return ctx, nil
	}
	return j.s.b.cfg.Tracer.Start(j.spans.ctx, name)
}

// endSpan ends a part that may be none.
func endSpan(s trace.Span, err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}

// traceID is the trace's, where somebody will find it there.
func (sp *spans) traceID() string {
	if sp.event == nil || !sp.event.SpanContext().IsSampled() {
		return ""
	}
	return sp.event.SpanContext().TraceID().String()
}

// end ends the event's own span with what became of it.
func (sp *spans) end(rec *Record) {
	if sp.event == nil {
		return
	}
	if sp.event.IsRecording() {
		if d := rec.Decision; rec.Err == nil {
			sp.event.SetAttributes(attribute.String("verdict", d.Verdict.String()), attribute.String("reason", d.Reason),
				attribute.Int("rules", len(d.Rules)), attribute.Int("rules.refused", rec.Refused), attribute.Bool("reused", d.Reused != 0))
			if !d.Policy.IsZero() {
				sp.event.SetAttributes(attribute.String("policy", d.Policy.String()))
			}
		}
		if err := rec.Failure(); err != nil {
			sp.event.SetAttributes(attribute.String("error.type", flow.KindOf(err).String()))
			sp.event.SetStatus(codes.Error, err.Error())
		}
	}
	endSpan(sp.event, nil)
}

// lost ends the trace of an event that nobody will hear of otherwise.
func (sp *spans) lost(why string) {
	if sp.event != nil {
		sp.event.SetStatus(codes.Error, why)
		sp.event.End()
	}
}

// Failure is why the controller gave no answer, or nil.
func (r *Record) Failure() error {
	if r.Err != nil {
		return r.Err
	}
	return r.Decision.Failure
}

// observe counts a time, and names the trace that has it.
func observe(o observer, d time.Duration, traceID string) {
	if traceID == "" {
		o.Observe(d.Seconds())
		return
	}
	o.ObserveWithExemplar(d.Seconds(), map[string]string{"trace_id": traceID})
}
