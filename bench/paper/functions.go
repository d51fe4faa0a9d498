package paper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/stats"
	"switchbridge/replay"
)

// organisation generates the set that functions are asked about.
func (e *evaluation) organisation() ([]byte, error) {
	p, err := replay.ProfileNamed("organisation")
	if err != nil {
		return nil, err
	}
	p.Flows /= e.scale.organisationDivisor
	p.Duration /= time.Duration(e.scale.organisationDivisor)
	var b bytes.Buffer
	_, err = replay.Generate(&b, nil, replay.GenerateConfig{Profile: p, Seed: 1})
	return b.Bytes(), err
}

func (e *evaluation) functions(ctx context.Context) error {
	f := e.cfg.Function
	if f == nil {
		e.section("Functions", "No function was given: its latency, the handshakes (table 12), distance (tables 8, 11 and 12), and cost were not measured.")
		return nil
	}
	set, err := e.organisation()
	if err != nil {
		return err
	}
	perEvent := e.transport(ctx)
	if err := e.distance(ctx, set); err != nil {
		return err
	}
	cpu := e.openLoop(ctx, set)
	e.cost(perEvent, cpu)
	return nil
}

// transport measures the function beside its bare transport and returns the
// median time of an event.
func (e *evaluation) transport(ctx context.Context) time.Duration {
	f := e.cfg.Function
	e.step("%s beside its bare transport", f.Name)
	s := e.section("A function and its transport",
		"The gateway's client asks "+f.Name+" where it is, one event at a time and 64 at a time, in turn with a bare client that posts the same bytes.",
		"way", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "events/s, 64 at a time", "min", "max", "failed")
	d, closer, err := f.Open(f.URL, false)
	if err != nil {
		s.row("gateway's client", reason(err))
		return 0
	}
	defer closer()
	res, err := bench.Function(ctx, bench.FunctionConfig{
		Decider: d, HTTP: f.HTTP, URL: f.URL, Header: f.Header, Rounds: e.scale.functionRounds, Duration: e.scale.functionRun, WarmUp: e.scale.warmUp,
	})
	if err != nil {
		s.row("gateway's client", reason(err))
		return 0
	}
	row := func(name string, t *bench.Timing) {
		s.row(name, us(t.Latency.P10), us(t.Latency.P50), us(t.Latency.P90), us(t.Latency.P99), num(t.Throughput.Median), num(t.Throughput.Min), num(t.Throughput.Max), fmt.Sprint(t.Failed))
	}
	row("gateway's client", &res.Decider)
	if res.Bare != nil {
		row("bare transport", res.Bare)
	}
	return res.Decider.Latency.P50
}

// distance asks from each location, with either handshake.
func (e *evaluation) distance(ctx context.Context, set []byte) error {
	s := e.section("Distance and handshakes (tables 8, 11 and 12)",
		fmt.Sprintf("The first %d events of a generated set of the organisation's kind, one after the other. Combined: one request an event; full: HELLO, FEATURES_REPLY and PACKET_IN are a request each. The paper over a WAN: combined %v ms, full %v ms.",
			e.scale.events, publishedCombined, publishedFull),
		"from", "round trip ms", "paper ms", "combined p50 ms", "p90", "p99", "stdev", "full p50 ms", "full / combined")
	s.Emulated = "distance, by a relay on this machine that holds each direction back by half the round trip, with jitter; no loss, no limit of bandwidth, no slow start. The paper's places and platforms are suggested by their round trips alone."
	var curves []curve
	for _, l := range e.cfg.Locations {
		e.step("%s from %s", e.cfg.Function.Name, l.Name)
		paper := none
		if l.Paper > 0 {
			paper = num(l.Paper)
		}
		trip := ms(2 * l.Delay)
		combined, h, err := e.from(ctx, l, set, replay.HandshakeCombined)
		if err != nil {
			s.row(l.Name, trip, paper, reason(err))
			continue
		}
		curves = append(curves, curve{l.Name, h})
		row := []string{l.Name, trip, paper, ms(combined.P50), ms(combined.P90), ms(combined.P99), ms(combined.Stdev)}
		if full, _, err := e.from(ctx, l, set, replay.HandshakeFull); err != nil {
			row = append(row, reason(err))
		} else {
			row = append(row, ms(full.P50), num(float64(full.P50)/float64(combined.P50)))
		}
		s.row(row...)
	}
	if len(curves) == 0 {
		return nil
	}
	s.Plot = "distance"
	return cdf(e.cfg.Dir, s.Plot, "Time of an event by distance", "ms", time.Millisecond, curves)
}

// histogram is a Recorder that keeps latencies.
type histogram struct{ h stats.Histogram }

func (h *histogram) Record(r *replay.Record) error {
	if r.Error == "" {
		h.h.Record(r.Latency)
	}
	return nil
}
func (h *histogram) Flush() error { return nil }

// from replays the first events of the set through a relay.
func (e *evaluation) from(ctx context.Context, l Location, set []byte, handshake string) (stats.Latency, *stats.Histogram, error) {
	ctx, cancel := context.WithCancel(ctx)
	var relay sync.WaitGroup
	defer relay.Wait()
	defer cancel()
	at := e.cfg.Function.URL
	if l.Delay > 0 {
		u, err := url.Parse(at)
		if err != nil {
			return stats.Latency{}, nil, err
		}
		target := u.Host
		if u.Port() == "" {
			port, known := map[string]string{"https": "443", "http": "80"}[u.Scheme]
			if !known {
				return stats.Latency{}, nil, fmt.Errorf("%s has no port to relay to", at)
			}
			target = net.JoinHostPort(u.Hostname(), port)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return stats.Latency{}, nil, err
		}
		relay.Go(func() { bench.Distance{Target: target, Delay: l.Delay, Jitter: l.Jitter}.Serve(ctx, ln) })
		u.Host = ln.Addr().String()
		at = u.String()
	}
	d, closer, err := e.cfg.Function.Open(at, handshake == replay.HandshakeFull)
	if err != nil {
		return stats.Latency{}, nil, err
	}
	defer closer()
	var h histogram
	cfg := replay.Config{Files: []string{"-"}, Decider: d, Handshake: handshake, Pace: replay.PaceMax}
	for _, limit := range []int64{3, e.scale.events} { // the first open connections
		h = histogram{}
		cfg.Stdin, cfg.Limit, cfg.Records = bytes.NewReader(set), limit, &h
		if _, err := replay.Run(ctx, cfg); err != nil {
			return stats.Latency{}, nil, err
		}
	}
	return h.h.Latency(), &h.h, nil
}

// openLoop replays the set at its own pace, sped up, and returns the function's
// CPU time for an event, or 0.
func (e *evaluation) openLoop(ctx context.Context, set []byte) time.Duration {
	f := e.cfg.Function
	e.step("%s at the organisation's pace, times %v", f.Name, e.scale.speed)
	s := e.section("An organisation's events",
		fmt.Sprintf("A generated set of the organisation's kind (the paper's had %d events in an hour), four agents, open loop, played %v times as fast. Latency counts from when an event was due.", publishedEvents, e.scale.speed),
		"events", "answered", "errors", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "stdev µs", "allowed", "denied")
	d, closer, err := f.Open(f.URL, false)
	if err != nil {
		s.row(reason(err))
		return 0
	}
	defer closer()
	before, cpuErr := time.Duration(0), errors.New("no process was given")
	if f.PID != 0 {
		before, cpuErr = bench.GroupCPU(f.PID)
	}
	sum, err := replay.Run(ctx, replay.Config{Files: []string{"-"}, Stdin: bytes.NewReader(set), Decider: d, Agents: 4, Speed: e.scale.speed, To: e.scale.openLoop})
	if err != nil {
		s.row(reason(err))
		return 0
	}
	var failed int64
	for _, n := range sum.Errors {
		failed += n
	}
	l := sum.FromDue
	s.row(fmt.Sprint(sum.Events), fmt.Sprint(sum.Answered), fmt.Sprint(failed), us(l.P10), us(l.P50), us(l.P90), us(l.P99), us(l.Stdev), fmt.Sprint(sum.Allowed), fmt.Sprint(sum.Denied))
	if cpuErr != nil || sum.Events == 0 {
		return 0
	}
	after, err := bench.GroupCPU(f.PID)
	if err != nil {
		return 0
	}
	return (after - before) / time.Duration(sum.Events)
}

// cost says what events come to at given prices.
func (e *evaluation) cost(perEvent, cpu time.Duration) {
	s := e.section("Invocations, CPU and cost",
		"Of 1,000 events, and of the organisation's hour. The time that is charged is the median time of an event without distance; the prices are examples unless a file gives others.",
		"price", "handshake", "invocations of 1,000 events", "CPU ms of 1,000 events", "1,000 events", fmt.Sprintf("%d events", publishedEvents))
	if perEvent == 0 {
		s.row("not computed: the function's time was not measured")
		return
	}
	cpuCell := "not measured"
	if cpu > 0 {
		cpuCell = num(1000 * float64(cpu) / float64(time.Millisecond))
	}
	for i := range e.cfg.Prices {
		p := &e.cfg.Prices[i]
		for _, h := range []struct {
			name string
			n    float64
		}{{"combined", 1}, {"full", 3}} {
			c := p.Per1000(perEvent) * h.n
			cell := cpuCell
			if h.n > 1 {
				cell = none
			}
			s.row(p.Name, h.name, num(1000*h.n), cell, fmt.Sprintf("%.6f %s", c, p.Currency), fmt.Sprintf("%.4f %s", c*publishedEvents/1000, p.Currency))
		}
	}
}
