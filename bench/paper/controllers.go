package paper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"switchbridge/bench"
	"switchbridge/bench/chart"
	"switchbridge/bench/stats"
)

// measured is what is known of one peer.
type measured struct {
	peer       bench.Peer
	err        error     // why there is no more
	startup    []float64 // ms
	medians    []float64 // µs, of each round
	latency    stats.Histogram
	throughput []float64          // responses/ms, of each round
	used       []*bench.Resources // a round each
	usedErr    error
}

// of takes a figure of each round of the memory and CPU part.
func (m *measured) of(figure func(*bench.Resources) float64) []float64 {
	var list []float64
	for _, r := range m.used {
		list = append(list, figure(r))
	}
	return list
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
	for round := range e.scale.resourceRounds {
		for _, m := range peers {
			if m.err != nil || m.usedErr != nil || ctx.Err() != nil {
				continue
			}
			e.step("%s, memory and CPU, round %d of %d", m.peer.Name, round+1, e.scale.resourceRounds)
			r, err := bench.MeasureResources(ctx, m.peer, bench.ResourcesConfig{Duration: e.scale.resources})
			if m.usedErr = err; err == nil {
				m.used = append(m.used, r)
			}
		}
	}
	e.listPeers(peers)
	e.response(peers)
	e.throughput(peers)
	e.startup(peers)
	e.memory(peers)
	e.cpu(peers)
	return e.plotResponses(peers)
}

func (e *evaluation) round(ctx context.Context, m *measured) error {
	r, err := m.peer.Measure(ctx, e.scale.run, e.scale.warmUp)
	if err != nil {
		return err
	}
	m.startup = append(m.startup, float64(r.Took.Microseconds())/1000)
	m.medians = append(m.medians, float64(r.Latency.Latency.P50)/1000)
	m.latency.Merge(r.Latency.Histogram)
	m.throughput = append(m.throughput, r.Flood.PerSecond.Median/1000)
	return nil
}

// reference is whose figures ratios are of: POX where it was measured, as the
// paper's are, else ovs-testcontroller.
func reference(peers []*measured, runs func(*measured) []float64) (name string, value float64) {
	for _, name := range []string{"POX", bench.NameTestController} {
		if v := figureOf(peers, name, runs); v > 0 {
			return name, v
		}
	}
	return "", 0
}

// figureOf is one peer's median; 0 where it was not measured.
func figureOf(peers []*measured, name string, runs func(*measured) []float64) float64 {
	for _, m := range peers {
		if m.peer.Name == name {
			return median(runs(m))
		}
	}
	return 0
}

// comparison is a table of one figure: the paper's rows, with ratios to its
// POX, then ours.
type comparison struct {
	title, text, unit string
	paper             func(*published) float64
	runs              func(*measured) []float64 // a figure for each round; the median stands for them
	spread            func(*measured) []string  // nil: min, max and standard deviation of the rounds
	spreadHeader      []string
	extraHeader       []string
	extra             func(*measured) []string
}

func (e *evaluation) compare(peers []*measured, c comparison) {
	refName, ref := reference(peers, c.runs)
	idle := figureOf(peers, bench.NameResponder, c.runs)
	note := " Ratios are to POX's figure in the paper's rows and to " + refName + "'s in ours."
	if refName == "" {
		note = " Ratios are to POX's figure in the paper's rows; neither it nor ovs-testcontroller was measured here."
	}
	if c.spread == nil {
		c.spreadHeader = []string{"min", "max", "stdev of rounds"}
		c.spread = func(m *measured) []string {
			s := stats.SpreadOf(c.runs(m))
			return []string{num(s.Min), num(s.Max), stdev(s)}
		}
	}
	header := append([]string{"controller", "paper, " + c.unit, "here, " + c.unit, "ratio", "ratio to the responder"}, c.spreadHeader...)
	s := e.section(c.title, c.text+note, append(header, c.extraHeader...)...)
	for i := range publishedControllers {
		p := &publishedControllers[i]
		s.row(p.name, num(c.paper(p)), none, num(c.paper(p)/c.paper(&publishedControllers[0])))
	}
	of := func(v, other float64) string {
		if other == 0 {
			return none
		}
		if v/other < 0.1 && v > 0 {
			return fmt.Sprintf("%.2g", v/other)
		}
		return num(v / other)
	}
	for _, m := range peers {
		err := m.err
		if err == nil {
			err = m.usedErr
		}
		runs := c.runs(m)
		if len(runs) == 0 {
			if err != nil {
				s.row(m.peer.Name, none, brief(err))
			}
			continue
		}
		v := median(runs)
		row := append([]string{m.peer.Name, none, num(v), of(v, ref), of(v, idle)}, c.spread(m)...)
		if m.err != nil { // it failed in a later round
			row[0] += fmt.Sprintf(" (%d of %d rounds)", len(m.startup), e.scale.rounds)
		}
		if c.extra != nil {
			row = append(row, c.extra(m)...)
		}
		s.row(row...)
	}
}

func median(runs []float64) float64 { return stats.SpreadOf(runs).Median }

// brief is an error as a cell of many tables can hold it; the table of
// controllers has all of it.
func brief(err error) string {
	if errors.Is(err, bench.ErrNotInstalled) {
		return "not installed"
	}
	return "failed"
}

func (e *evaluation) listPeers(peers []*measured) {
	s := e.section("Controllers",
		fmt.Sprintf("What is measured side by side, in %d round(s), in each of which every controller is started, warmed up, loaded and stopped in turn, so that what changes on the machine meanwhile touches all. The responder answers every PACKET_IN with a constant FLOW_MOD: what a controller takes beyond it is its own.", e.scale.rounds),
		"controller", "asked in", "measured", "started by")
	for _, m := range peers {
		state := "yes"
		switch err := errors.Join(m.err, m.usedErr); {
		case err != nil && len(m.startup) > 0:
			state = fmt.Sprintf("%d of %d rounds, then %s", len(m.startup), e.scale.rounds, reason(err))
		case err != nil:
			state = reason(err)
		}
		s.row(m.peer.Name, m.peer.Protocol.String(), state, strings.Join(m.peer.Command, " "))
	}
}

func (e *evaluation) response(peers []*measured) {
	e.compare(peers, comparison{
		title: "Response time", unit: "µs",
		text:         "One fake switch with one PACKET_IN outstanding, as cbench in latency mode. Here: the median over the rounds' medians; percentiles are of all packets of all rounds.",
		paper:        func(p *published) float64 { return p.response },
		runs:         func(m *measured) []float64 { return m.medians },
		spreadHeader: []string{"p10", "p90", "p99", "stdev of rounds"},
		spread: func(m *measured) []string {
			l := m.latency.Latency()
			return []string{us(l.P10), us(l.P90), us(l.P99), stdev(stats.SpreadOf(m.medians))}
		},
	})
}

func (e *evaluation) throughput(peers []*measured) {
	e.compare(peers, comparison{
		title: "Throughput", unit: "packets/ms",
		text:  "One fake switch that sends as much as the connection takes, as cbench in throughput mode. A FLOW_MOD and a PACKET_OUT each count as a response.",
		paper: func(p *published) float64 { return p.throughput },
		runs:  func(m *measured) []float64 { return m.throughput },
	})
}

func (e *evaluation) startup(peers []*measured) {
	e.compare(peers, comparison{
		title: "Start-up", unit: "ms",
		text:  "From exec to the first connection that is asked for its features.",
		paper: func(p *published) float64 { return p.startup },
		runs:  func(m *measured) []float64 { return m.startup },
	})
}

func (e *evaluation) memory(peers []*measured) {
	active := func(r *bench.Resources) float64 { return float64(r.ActiveRSS) / 1e6 }
	e.compare(peers, comparison{
		title: "Memory, idle", unit: "MB",
		text:  "Resident memory of all the controller's processes with one switch connected that asks nothing.",
		paper: func(p *published) float64 { return p.idleRAM },
		runs: func(m *measured) []float64 {
			return m.of(func(r *bench.Resources) float64 { return float64(r.IdleRSS) / 1e6 })
		},
	})
	e.compare(peers, comparison{
		title: "Memory, active", unit: "MB",
		text:  "The same after the switch has asked 1,000 times a second.",
		paper: func(p *published) float64 { return p.activeRAM },
		runs:  func(m *measured) []float64 { return m.of(active) },
	})
}

func (e *evaluation) cpu(peers []*measured) {
	e.compare(peers, comparison{
		title: "CPU at 1,000 PACKET_IN/s", unit: "% of a core",
		text:        "CPU time of all the controller's processes while one switch asks 1,000 times a second. Cycles and instructions are perf's, for each PACKET_IN, in the last round.",
		paper:       func(p *published) float64 { return p.cpu },
		runs:        func(m *measured) []float64 { return m.of(func(r *bench.Resources) float64 { return r.ActiveCPU }) },
		extraHeader: []string{"idle, % of a core", "cycles", "instructions"},
		extra: func(m *measured) []string {
			idle := num(median(m.of(func(r *bench.Resources) float64 { return r.IdleCPU })))
			r := m.used[len(m.used)-1]
			if r.PerfNote != "" {
				return []string{idle, r.PerfNote, none}
			}
			return []string{idle, num(r.Cycles), num(r.Instructions)}
		},
	})
}

func (e *evaluation) plotResponses(peers []*measured) error {
	var curves []chart.Curve
	for _, m := range peers {
		if m.latency.Count() > 0 {
			curves = append(curves, chart.Curve{Name: m.peer.Name, H: &m.latency})
		}
	}
	if len(curves) == 0 {
		return nil
	}
	s := e.section("Distribution of the response time (figure 2)", "Of all packets of the table of response times.")
	s.Plot = "response"
	return chart.CDF(e.cfg.Dir, s.Plot, s.Title, "response time in µs", 1000, curves)
}
