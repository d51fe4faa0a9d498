// Package tracing sends spans to a collector, by OTLP over HTTP with protobuf.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"switchbridge/internal/quiet"
)

// Settings say where spans go.
type Settings struct {
	Endpoint string  `yaml:"endpoint"` // http:// or https:// URL of a collector; empty: nothing is traced
	Sample   float64 `yaml:"sample"`   // share of the events that are traced, where nobody has said so before
}

// DefaultSample traces one event of a hundred.
const DefaultSample = 0.01

// Default is off.
func Default() Settings { return Settings{Sample: DefaultSample} }

// Validate returns what is wrong, after the key that has it.
func (s *Settings) Validate() error {
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fmt.Errorf("endpoint: %q: want http://HOST:PORT or https://HOST:PORT", s.Endpoint)
		}
	}
	if !(s.Sample >= 0 && s.Sample <= 1) {
		return fmt.Errorf("sample: %v: want 0 to 1", s.Sample)
	}
	return nil
}

// Bounds of what is kept of spans. What a busy or absent collector does not take
// in time is dropped.
const (
	maxQueued = 2048 // ended spans
	maxText   = 256  // bytes of an attribute's value
	lastWords = 2 * time.Second
)

// Tracing sends spans. A nil Tracing is off.
type Tracing struct{ provider *sdk.TracerProvider }

// Open returns nil where the settings name no collector. It does not wait for one.
// The program's name and version stand in every trace. The exporter also obeys
// OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _TIMEOUT and _COMPRESSION, and
// OTEL_RESOURCE_ATTRIBUTES is added to what is sent.
func Open(s Settings, program, version string, log *slog.Logger) (*Tracing, error) {
	if s.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces" // OTLP 1.5, "OTLP/HTTP Request"
	}
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", program), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	var line quiet.Line
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		line.Log(log, slog.LevelWarn, "spans can't be sent", "endpoint", s.Endpoint, "err", err)
	}))
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxText
	return &Tracing{sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(maxQueued)),
		sdk.WithResource(about),
		sdk.WithRawSpanLimits(limits),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(s.Sample))),
	)}, nil
}

// Tracer is what makes the spans of a part of the program; nil where tracing is off.
func (t *Tracing) Tracer(part string) trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(part)
}

// Close sends what there is, for two seconds at most.
func (t *Tracing) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // there is no collector, of which the log has a line
	}
	return err
}
