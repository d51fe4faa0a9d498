package httpclient

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"switchbridge/flow/contract"
)

// trace starts the request's part of the trace that ctx is in, if there is one,
// and names it in h for the function to go on (W3C Trace Context, traceparent).
func (e *endpoint) trace(ctx context.Context, h http.Header) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, parent
	}
	ctx, span := parent.TracerProvider().Tracer("switchbridge/httpclient").Start(ctx, http.MethodPost,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("url.full", e.name)))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	return ctx, span
}

// functionSpans makes spans of the times that a function says it took. Their lengths are the function's. Where they lie is not known, since clocks
// differ: they stand one after the other in the middle of the request, as if the way there took as long as the way back.
func functionSpans(ctx context.Context, request trace.Span, start time.Time, took time.Duration, h http.Header) {
	if !request.IsRecording() {
		return
	}
	parts := contract.ParseTimings(h[contract.HeaderTiming], took)
	left := took
	for _, p := range parts {
		left -= p.Took
	}
	at, end := start.Add(max(left, 0)/2), start.Add(took)
	tracer := request.TracerProvider().Tracer("switchbridge/httpclient")
	for _, p := range parts {
		_, span := tracer.Start(ctx, "function "+p.Name, trace.WithTimestamp(at), trace.WithAttributes(attribute.String("source", contract.HeaderTiming)))
		if at = at.Add(p.Took); at.After(end) {
			at = end
		}
		span.End(trace.WithTimestamp(at))
	}
}

// endTrace ends what [endpoint.trace] has begun, and returns the trace's id where
// somebody will find it there.
func endTrace(span trace.Span, f *failure) string {
	if f != nil {
		span.SetAttributes(attribute.String("error.type", string(f.outcome)))
		span.SetStatus(codes.Error, f.err.Error())
	}
	span.End()
	if sc := span.SpanContext(); sc.IsSampled() {
		return sc.TraceID().String()
	}
	return ""
}
