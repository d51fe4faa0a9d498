package paper

import (
	"context"
	"errors"
	"fmt"

	"switchbridge/bench"
	"switchbridge/bench/stats"
)

// measured is what is known of one peer.
type measured struct {
	peer       bench.Peer
	err        error     // why there is no more
	startup    []float64 // ms
	medians    []float64 // µs, of each round
	latency    stats.Histogram
	throughput []float64 // responses/ms, of each round
	resources  *bench.Resources
	resErr     error
}

// controllers measures the peers side by side: round by round, each peer is
// started, warmed up, measured in both modes and stopped, so that what changes
// on the machine meanwhile touches all of them.
func (e *evaluation) controllers(ctx context.Context) error {
	peers := make([]*measured, len(e.cfg.Peers))
	for i, p := range e.cfg.Peers {
		peers[i] = &measured{peer: p}
		if _, err := p.Find(); err != nil {
			peers[i].err = err
		}
	}
	for round := range e.scale.rounds {
		for _, m := range peers {
			if m.err != nil {
				continue
			}
			e.step("%s, round %d of %d", m.peer.Name, round+1, e.scale.rounds)
			if m.err = e.round(ctx, m); ctx.Err() != nil {
				break
			}
		}
	}
	for _, m := range peers {
		if m.err != nil || ctx.Err() != nil {
			continue
		}
		e.step("%s, memory and CPU", m.peer.Name)
		m.resources, m.resErr = bench.MeasureResources(ctx, m.peer, bench.ResourcesConfig{Duration: e.scale.resources})
	}
	e.response(peers)
	e.throughput(peers)
	e.startup(peers)
	e.resources(peers)
	return e.plotResponses(peers)
}

func (e *evaluation) round(ctx context.Context, m *measured) error {
	proc, err := m.peer.Run(ctx)
	if err != nil {
		return err
	}
	defer proc.Close()
	cfg := bench.ControllerConfig{Target: proc.Addr, Protocol: m.peer.Protocol, Runs: 1, Duration: e.scale.run, WarmUp: e.scale.warmUp}
	cfg.Mode = bench.Latency
	l, err := bench.Controller(ctx, cfg)
	if err != nil {
		return err
	}
	cfg.Mode = bench.Flood
	f, err := bench.Controller(ctx, cfg)
	if err != nil {
		return err
	}
	m.startup = append(m.startup, float64(proc.Took.Microseconds())/1000)
	m.medians = append(m.medians, float64(l.Latency.P50)/1000)
	m.latency.Merge(l.Histogram)
	m.throughput = append(m.throughput, f.PerSecond.Median/1000)
	return nil
}

// reference is whose figures ratios are of: POX where it was measured, as the
// paper's are, else ovs-testcontroller.
func reference(peers []*measured, figure func(*measured) float64) (name string, value float64) {
	for _, name := range []string{"POX", "ovs-testcontroller"} {
		for _, m := range peers {
			if m.peer.Name == name && len(m.startup) > 0 {
				return name, figure(m)
			}
		}
	}
	return "", 0
}

// compare makes the table of one figure: the paper's rows, with ratios to its
// POX, then ours.
func (e *evaluation) compare(title, text, unit string, peers []*measured, paper func(*published) float64, ours func(*measured) float64,
	extra []string, cells func(*measured) []string) {
	name, ref := reference(peers, ours)
	ratio := "ratio to POX; ours: "
	if name == "" {
		ratio += "no reference was measured"
	} else {
		ratio += "to " + name
	}
	s := e.section(title, text, append([]string{"controller", "paper, " + unit, "here, " + unit, ratio}, extra...)...)
	blank := make([]string, len(extra))
	for i := range blank {
		blank[i] = none
	}
	for i := range publishedControllers {
		p := &publishedControllers[i]
		s.row(append([]string{p.name, num(paper(p)), none, num(paper(p) / paper(&publishedControllers[0]))}, blank...)...)
	}
	for _, m := range peers {
		switch {
		case len(m.startup) == 0 && m.err != nil:
			s.row(append([]string{m.peer.Name, none, reason(m.err), none}, blank...)...)
		case len(m.startup) > 0:
			r := none
			if ref > 0 {
				r = num(ours(m) / ref)
			}
			row := append([]string{m.peer.Name, none, num(ours(m)), r}, cells(m)...)
			if m.err != nil { // it failed in a later round
				row[0] += fmt.Sprintf(" (%d rounds, then %s)", len(m.startup), reason(m.err))
			}
			s.row(row...)
		}
	}
}

func median(runs []float64) float64 { return stats.SpreadOf(runs).Median }

func (e *evaluation) response(peers []*measured) {
	e.compare("Response time",
		"One fake switch with one PACKET_IN outstanding, as cbench in latency mode. Here: the median over the rounds' medians; percentiles are of all packets of all rounds.",
		"µs", peers, func(p *published) float64 { return p.response }, func(m *measured) float64 { return median(m.medians) },
		[]string{"p10", "p90", "p99", "stdev of rounds"}, func(m *measured) []string {
			l := m.latency.Latency()
			return []string{us(l.P10), us(l.P90), us(l.P99), num(stats.SpreadOf(m.medians).Stdev)}
		})
}

func (e *evaluation) throughput(peers []*measured) {
	e.compare("Throughput",
		"One fake switch that sends as much as the connection takes, as cbench in throughput mode. A FLOW_MOD and a PACKET_OUT each count as a response.",
		"packets/ms", peers, func(p *published) float64 { return p.throughput }, func(m *measured) float64 { return median(m.throughput) },
		[]string{"min", "max", "stdev of rounds"}, func(m *measured) []string {
			s := stats.SpreadOf(m.throughput)
			return []string{num(s.Min), num(s.Max), num(s.Stdev)}
		})
}

func (e *evaluation) startup(peers []*measured) {
	e.compare("Start-up", "From exec to the first connection that is asked for its features.",
		"ms", peers, func(p *published) float64 { return p.startup }, func(m *measured) float64 { return median(m.startup) },
		[]string{"min", "max", "stdev"}, func(m *measured) []string {
			s := stats.SpreadOf(m.startup)
			return []string{num(s.Min), num(s.Max), num(s.Stdev)}
		})
}

func (e *evaluation) resources(peers []*measured) {
	s := e.section("Memory and CPU",
		"One switch connected: idle, then asking 1,000 times a second. Memory is resident memory of all its processes; CPU is of one core. Cycles and instructions are perf's, for each PACKET_IN.",
		"controller", "paper, idle MB", "here, idle MB", "paper, active MB", "here, active MB", "paper, CPU %", "here, CPU %", "idle CPU %", "cycles", "instructions")
	for _, p := range publishedControllers {
		s.row(p.name, num(p.idleRAM), none, num(p.activeRAM), none, num(p.cpu), none, none, none, none)
	}
	for _, m := range peers {
		err := errors.Join(m.resErr, m.err)
		switch {
		case m.resources != nil:
			r := m.resources
			cycles, instructions := num(r.Cycles), num(r.Instructions)
			if r.PerfNote != "" {
				cycles, instructions = r.PerfNote, none
			}
			s.row(m.peer.Name, none, num(float64(r.IdleRSS)/1e6), none, num(float64(r.ActiveRSS)/1e6), none, num(r.ActiveCPU), num(r.IdleCPU), cycles, instructions)
		case err != nil:
			s.row(m.peer.Name, none, reason(err))
		}
	}
}

func (e *evaluation) plotResponses(peers []*measured) error {
	var curves []curve
	for _, m := range peers {
		if m.latency.Count() > 0 {
			curves = append(curves, curve{m.peer.Name, &m.latency})
		}
	}
	if len(curves) == 0 {
		return nil
	}
	s := e.section("Distribution of the response time (figure 2)", "Of all packets of the table of response times.")
	s.Plot = "response"
	return cdf(e.cfg.Dir, s.Plot, s.Title, "response time in µs", 1000, curves)
}
