package httphost

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"switchbridge/faas/function/record"
)

// continueTrace starts the function's part of the trace that a request names
// (W3C Trace Context, traceparent), or a trace of its own.
func continueTrace(t trace.Tracer, r *http.Request, name string) (*http.Request, trace.Span) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx), span
}

// tell says on a span what its record says.
func tell(span trace.Span, rec *record.Record) {
	span.SetAttributes(attribute.Int("http.response.status_code", rec.Status))
	for key, value := range map[string]string{"event": rec.Event.Name(), "event.id": rec.ID, "verdict": rec.Verdict, "reason": rec.Reason, "policy": rec.Policy} {
		if value != "" {
			span.SetAttributes(attribute.String(key, value))
		}
	}
	if rec.Error != "" {
		span.SetStatus(codes.Error, rec.Error)
	}
}
