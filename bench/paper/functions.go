package paper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"switchbridge/bench"
	"switchbridge/replay"
)

// allowAll is the policy of a function that is started here.
const allowAll = "serial: 1\nchain:\n  - forward: {mode: normal}\n"

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

// own starts our own program, or takes the deployed function that was given.
func (e *evaluation) own(ctx context.Context, policy string) (h *host, stop func(), err error) {
	if f := e.cfg.Function; f != nil {
		return &host{Function: f, title: f.Name}, func() {}, nil
	}
	if e.cfg.Local == nil {
		return nil, nil, errors.New("no function was given")
	}
	f, stop, err := e.cfg.Local(ctx, policy)
	if err != nil {
		return nil, nil, err
	}
	return &host{Function: f, title: "our own program"}, stop, nil
}

func (e *evaluation) functions(ctx context.Context) error {
	policy := policyText(bench.KindBlocklist, awayEntries)
	own, stop, err := e.own(ctx, policy)
	if err != nil {
		e.section("Functions", "Concurrency (table 7), the function's time, distance and location (tables 8 and 11), networks' events (tables 9 and 10), the handshakes (table 12), and cost were not measured: "+reason(err)+".")
		return nil
	}
	defer stop()
	set, err := e.organisation()
	if err != nil {
		return err
	}
	hosts := map[string]*host{onOwn: own}
	missing := map[string]string{}
	for i := range e.cfg.Platforms {
		p := &e.cfg.Platforms[i]
		if e.cfg.Function != nil { // which is on its platform
			hosts[p.Name] = own
			continue
		}
		e.step("starting %s", p.Server.Name)
		h, err := e.on(ctx, p, policy)
		if err != nil {
			missing[p.Name] = fmt.Sprintf("%s is %s (%s)", p.Server.Name, reason(err), p.Server.Install)
			continue
		}
		defer h.stop()
		hosts[p.Name] = h
	}
	if err := e.concurrency(ctx, policy, hosts, missing, set); err != nil {
		return err
	}
	perEvent := e.transport(ctx, own.Function)
	if err := e.distance(ctx, hosts, missing, set); err != nil {
		return err
	}
	e.traffic(ctx, own)
	e.handshakes(ctx, own.Function, set)
	cpu := e.openLoop(ctx, own.Function, set)
	e.cost(perEvent, cpu)
	return e.hours(ctx, perEvent)
}

// transport measures the function beside its bare transport and returns the
// median time of an event.
func (e *evaluation) transport(ctx context.Context, f *Function) time.Duration {
	e.step("%s beside its bare transport", f.Name)
	s := e.section("A function and its transport",
		"The gateway's client asks "+f.Name+" where it is, one event at a time and 64 at a time, in turn with a bare client that posts the same bytes.",
		"way", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "events/s, 64 at a time", "min", "max", "stdev of rounds", "failed")
	d, closer, err := f.Open("", false)
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
		l, per := t.Latency, t.Throughput
		s.row(name, us(l.P10), us(l.P50), us(l.P90), us(l.P99), num(per.Median), num(per.Min), num(per.Max), stdev(per), fmt.Sprint(t.Failed))
	}
	row("gateway's client", &res.Decider)
	if res.Bare != nil {
		row("bare transport", res.Bare)
		s.row("client / bare", none, num(float64(res.Decider.Latency.P50)/float64(max(1, res.Bare.Latency.P50))), none, none, num(res.Decider.Throughput.Median/max(1, res.Bare.Throughput.Median)))
	}
	return res.Decider.Latency.P50
}

// openLoop replays the set at its own pace, sped up, and returns the function's
// CPU time for an event, or 0.
func (e *evaluation) openLoop(ctx context.Context, f *Function, set []byte) time.Duration {
	e.step("%s at the organisation's pace, times %v", f.Name, e.scale.speed)
	s := e.section("An organisation's events",
		fmt.Sprintf("A generated set of the organisation's kind (the paper's had %d events in an hour), four agents, open loop, played %v times as fast. Latency counts from when an event was due, and so includes the replay's own timer, which is up to 1 ms late.", publishedEvents, e.scale.speed),
		"events", "answered", "errors", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "stdev µs", "allowed", "denied")
	d, closer, err := f.Open("", false)
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
		"Of 1,000 events, and of the organisation's hour. CPU is the function's process's, while it answered that hour's events. The time that is charged is the median time of an event without distance; the prices are those of configs/prices.yaml unless a file gives others, without what is included in a monthly price.",
		"price", "handshake", "invocations of 1,000 events", "CPU ms of 1,000 events", "1,000 events", fmt.Sprintf("%d events", publishedEvents))
	if perEvent == 0 {
		s.row("not computed: the function's time was not measured")
		return
	}
	cpuCell := "not measured: the function's process is not here"
	if cpu > 0 {
		cpuCell = num(1000 * float64(cpu) / float64(time.Millisecond))
	}
	for i := range e.cfg.Prices {
		p := &e.cfg.Prices[i]
		if p.Per1000(perEvent) == 0 {
			s.row(p.Name, none, none, none, none, fmt.Sprintf("%.2f %s a month, whatever is asked", p.PerMonth, p.Currency))
			continue
		}
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
