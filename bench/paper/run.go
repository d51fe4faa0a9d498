package paper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/calibrate"
	"switchbridge/bench/stats"
)

// scale is how much is measured.
type scale struct {
	rounds              int           // of the peers, interleaved
	warmUp, run         time.Duration // of each of a round's two parts
	resourceRounds      int
	resources           time.Duration // idle, and again under load
	events              int64         // asked at each location, one after the other
	functionRounds      int
	functionRun         time.Duration
	openLoop            time.Duration // of the organisation's hour, before it is sped up; 0: all of it
	speed               float64
	policies            []int
	decisions           int
	calibrate           calibrate.Config
	organisationDivisor int           // the generated set's size and length are divided by it
	concurrency         time.Duration // of the organisation's hour, at its own pace
	traffic             int64         // events of each capture; 0: all
	agreementRounds     int           // of cbench and this load generator
	agreementRun        time.Duration
}

var (
	fullScale = scale{
		rounds: 10, warmUp: 500 * time.Millisecond, run: time.Second, resourceRounds: 3, resources: 3 * time.Second, events: 300, functionRounds: 10, functionRun: time.Second,
		speed: 60, policies: []int{500, 10_000, 120_430, 1_000_000}, decisions: 100_000, calibrate: calibrate.Config{Rounds: 3}, organisationDivisor: 1,
		concurrency: 4 * time.Minute, agreementRounds: 10, agreementRun: 500 * time.Millisecond,
	}
	quickScale = scale{
		rounds: 1, warmUp: 20 * time.Millisecond, run: 50 * time.Millisecond, resourceRounds: 1, resources: 200 * time.Millisecond, events: 5, functionRounds: 1, functionRun: 50 * time.Millisecond,
		openLoop: 30 * time.Second, speed: 60, policies: []int{500, 2_000}, decisions: 1_000, organisationDivisor: 20,
		concurrency: 4 * time.Second, traffic: 50, agreementRounds: 1, agreementRun: 50 * time.Millisecond,
		calibrate: calibrate.Config{Rounds: 1, Duration: 50 * time.Millisecond, Delays: []time.Duration{0, time.Millisecond}},
	}
)

// evaluation is one run of it all.
type evaluation struct {
	cfg    *Config
	scale  scale
	report *Report

	distanceBy string // how distance is emulated, once it is known
	kernel     bool   // by the kernel
}

// Run measures everything and writes the report to cfg.Dir. A part that fails
// leaves its reason in its cells and does not stop the others; an error is for
// what keeps the report from being written, or for a cancelled ctx, after which
// the report has what was measured until then.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.defaults(); err != nil {
		return nil, fmt.Errorf("bench paper: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("bench paper: %w", err)
	}
	e := &evaluation{cfg: &cfg, scale: fullScale, report: &Report{Machine: bench.ThisMachine(), Quick: cfg.Quick}}
	if cfg.Quick {
		e.scale = quickScale
	}
	start := time.Now()
	var err error
	parts := []func(context.Context) error{e.controllers, e.agreement, e.functions, e.states, e.policies, e.instruments}
	if cfg.RealPace > 0 {
		parts = []func(context.Context) error{e.realPace}
	}
	for _, part := range parts {
		if err = errors.Join(part(ctx), ctx.Err()); err != nil {
			break
		}
	}
	e.report.Conclusions = conclude(e.report)
	e.report.Seconds = time.Since(start).Seconds()
	if err = errors.Join(err, e.report.Write(cfg.Dir)); err != nil {
		return e.report, fmt.Errorf("bench paper: %w", err)
	}
	return e.report, nil
}

func (e *evaluation) step(format string, args ...any) {
	if e.cfg.OnStep != nil {
		e.cfg.OnStep(fmt.Sprintf(format, args...))
	}
}

// section adds one to the report.
func (e *evaluation) section(title, text string, header ...string) *Section {
	s := &Section{Title: title, Text: text, Header: header}
	e.report.Sections = append(e.report.Sections, s)
	return s
}

// reason is an error as a cell can hold it.
func reason(err error) string {
	if errors.Is(err, bench.ErrNotInstalled) {
		return "not installed"
	}
	return "failed: " + oneLine(err)
}

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "..."
	}
	return text
}

// stdev is that of repeated runs, of which there must be more than one.
func stdev(s stats.Spread) string {
	if s.Runs < 2 {
		return none
	}
	return num(s.Stdev)
}

// num writes a figure with three significant digits or all of its integer part.
func num(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func us(d time.Duration) string { return num(float64(d) / float64(time.Microsecond)) }
func ms(d time.Duration) string { return num(millis(d)) }
