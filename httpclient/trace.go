package httpclient

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
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
