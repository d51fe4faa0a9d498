package paper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	answered   []float64          // PACKET_INs/s, one at a time
	counted    []float64          // responses/s, one at a time
	throughput []float64          // responses/ms, of each round
	flood      []float64          // PACKET_INs answered/ms
	each       []float64          // responses to a PACKET_IN, under flood
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
	m.answered = append(m.answered, r.Latency.Answered.Median)
	m.counted = append(m.counted, r.Latency.PerSecond.Median)
	m.throughput = append(m.throughput, r.Flood.PerSecond.Median/1000)
	m.flood = append(m.flood, r.Flood.Answered.Median/1000)
	m.each = append(m.each, r.Flood.PerPacketIn)
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

// comparison is a table of one figure: a row for each controller, the paper's
// figure beside ours.
type comparison struct {
	title, text, unit string
	name              string // of its figures, for programs
	paper             func(*published) float64
	runs              func(*measured) []float64 // a figure for each round; the median stands for them
	spread            func(*measured) []string  // nil: min, max and standard deviation of the rounds
	spreadHeader      []string
	extraHeader       []string
	extra             func(*measured) []string
}

// rowsOf are the peers, those first that the paper measured, in its order. One that the paper has and nobody listed is there without a command.
func rowsOf(peers []*measured) (rows []*measured) {
	for i := range publishedControllers {
		name := publishedControllers[i].name
		m := &measured{peer: bench.Peer{Name: name}, err: errNotListed}
		for _, p := range peers {
			if p.peer.Name == name {
				m = p
			}
		}
		rows = append(rows, m)
	}
	for _, p := range peers {
		if !slices.Contains(rows, p) {
			rows = append(rows, p)
		}
	}
	return rows
}

var errNotListed = errors.New("not listed (--peers FILE, like configs/peers.yaml)")

// missing is a note on a peer without figures, and what would bring it.
func (m *measured) missing() string {
	err := cmp.Or(m.err, m.usedErr)
	switch {
	case errors.Is(err, bench.ErrNotInstalled) && m.peer.Install != "":
		return fmt.Sprintf("%s is not installed (%s)", m.peer.Name, m.peer.Install)
	case errors.Is(err, errNotListed):
		return m.peer.Name + " is " + err.Error()
	}
	return m.peer.Name + ": " + brief(err) + ", see Controllers"
}

func (e *evaluation) compare(peers []*measured, c comparison) {
	refName, ref := reference(peers, c.runs)
	idle := figureOf(peers, bench.NameResponder, c.runs)
	refHeader := "here, to " + refName
	if refName == "" {
		refHeader = "here, ratio"
	}
	if c.spread == nil {
		c.spreadHeader = []string{"min", "max", "stdev of rounds"}
		c.spread = func(m *measured) []string {
			s := stats.SpreadOf(c.runs(m))
			return []string{num(s.Min), num(s.Max), stdev(s)}
		}
	}
	header := append([]string{"controller", "paper, " + c.unit, "here, " + c.unit, "here / paper", "paper, to POX", refHeader, "here, to the responder"}, c.spreadHeader...)
	s := e.section(c.title, c.text, append(header, c.extraHeader...)...)
	if refName == "" {
		s.Missing = append(s.Missing, "a reference for ratios: neither POX nor "+bench.NameTestController+" was measured here")
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
	for _, m := range rowsOf(peers) {
		paper := 0.0
		for i := range publishedControllers {
			if p := &publishedControllers[i]; p.name == m.peer.Name {
				paper = c.paper(p)
			}
		}
		row := []string{m.peer.Name, none, none, none, none, none, none}
		if paper > 0 {
			row[1], row[4] = num(paper), of(paper, c.paper(&publishedControllers[0]))
		}
		runs := c.runs(m)
		if len(runs) == 0 {
			s.row(row...)
			s.Missing = append(s.Missing, m.missing())
			continue
		}
		v := median(runs)
		e.report.note(c.name+"/"+m.peer.Name, c.unit, paper, runs...)
		row[2], row[3], row[5], row[6] = num(v), of(v, paper), of(v, ref), of(v, idle)
		row = append(row, c.spread(m)...)
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

func rounds(n int) string {
	if n == 1 {
		return "one round"
	}
	return fmt.Sprintf("%d rounds", n)
}

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
		fmt.Sprintf("What is measured side by side, in %s, in each of which every controller is started, warmed up, loaded and stopped in turn, so that what changes on the machine meanwhile touches all. Every figure of these tables is taken here, by this load generator; the paper's column is what it printed. The paper's WebAssembly controller is not measured here: its figure stands in the row of ours of the same kind. The responder answers every PACKET_IN with a constant FLOW_MOD: what a controller takes beyond it is its own.", rounds(e.scale.rounds)),
		"controller", "asked in", "measured", "comes by", "started by")
	for _, m := range peers {
		state := "yes"
		switch err := errors.Join(m.err, m.usedErr); {
		case err != nil && len(m.startup) > 0:
			state = fmt.Sprintf("%d of %d rounds, then %s", len(m.startup), e.scale.rounds, reason(err))
		case err != nil:
			state = reason(err)
		}
		s.row(m.peer.Name, m.peer.Protocol.String(), state, cmp.Or(m.peer.Install, none), strings.Join(m.peer.Command, " "))
	}
}

func (e *evaluation) response(peers []*measured) {
	e.compare(peers, comparison{
		title: "Table 2: response time", unit: "µs", name: "response",
		text: "One fake switch with one PACKET_IN outstanding, as cbench in latency mode. Here: the median over the rounds' medians, of the time to the first message that answers the PACKET_IN; percentiles are of all packets of all rounds. " +
			"As cbench counts is the second divided by all FLOW_MODs and PACKET_OUTs that came in it: a controller that answers with several messages looks that many times as fast.",
		paper:        func(p *published) float64 { return p.response },
		runs:         func(m *measured) []float64 { return m.medians },
		spreadHeader: []string{"p10", "p90", "p99", "stdev of rounds"},
		spread: func(m *measured) []string {
			l := m.latency.Latency()
			return []string{us(l.P10), us(l.P90), us(l.P99), stdev(stats.SpreadOf(m.medians))}
		},
		extraHeader: []string{"PACKET_INs answered/s", "a second / answered, µs", "as cbench counts, µs"},
		extra: func(m *measured) []string {
			return []string{num(median(m.answered)), num(1e6 / max(1, median(m.answered))), num(1e6 / max(1, median(m.counted)))}
		},
	})
}

func (e *evaluation) throughput(peers []*measured) {
	refName, ref := reference(peers, func(m *measured) []float64 { return m.flood })
	if refName == "" {
		refName = "the reference"
	}
	e.compare(peers, comparison{
		title: "Table 3: throughput", unit: "messages/ms", name: "throughput",
		text:        "One fake switch that sends as much as the connection takes, as cbench in throughput mode. As there, each FLOW_MOD and each PACKET_OUT counts; the last columns count each PACKET_IN once.",
		paper:       func(p *published) float64 { return p.throughput },
		runs:        func(m *measured) []float64 { return m.throughput },
		extraHeader: []string{"PACKET_INs answered/ms", "messages for each", "answered, to " + refName},
		extra: func(m *measured) []string {
			ratio := none
			if ref > 0 {
				ratio = num(median(m.flood) / ref)
			}
			return []string{num(median(m.flood)), num(median(m.each)), ratio}
		},
	})
	for _, m := range rowsOf(peers) {
		e.report.note("answered/"+m.peer.Name, "PACKET_INs/ms", 0, m.flood...)
		e.report.note("messages/"+m.peer.Name, "messages for a PACKET_IN", 0, m.each...)
	}
}

func (e *evaluation) startup(peers []*measured) {
	e.compare(peers, comparison{
		title: "Table 4: start-up", unit: "ms", name: "startup",
		text:  "From exec to the first connection that is asked for its features.",
		paper: func(p *published) float64 { return p.startup },
		runs:  func(m *measured) []float64 { return m.startup },
	})
}

func (e *evaluation) memory(peers []*measured) {
	active := func(r *bench.Resources) float64 { return float64(r.ActiveRSS) / 1e6 }
	e.compare(peers, comparison{
		title: "Table 5: memory, idle", unit: "MB", name: "memory_idle",
		text:  "Resident memory of all the controller's processes with one switch connected that asks nothing.",
		paper: func(p *published) float64 { return p.idleRAM },
		runs: func(m *measured) []float64 {
			return m.of(func(r *bench.Resources) float64 { return float64(r.IdleRSS) / 1e6 })
		},
	})
	e.compare(peers, comparison{
		title: "Table 5: memory, active", unit: "MB", name: "memory_active",
		text:  "The same after the switch has asked 1,000 times a second.",
		paper: func(p *published) float64 { return p.activeRAM },
		runs:  func(m *measured) []float64 { return m.of(active) },
	})
}

func (e *evaluation) cpu(peers []*measured) {
	perf := ""
	for _, m := range peers {
		if n := len(m.used); n > 0 && m.used[n-1].PerfNote != "" {
			perf = " They are not to be had here: " + m.used[n-1].PerfNote + "."
			break
		}
	}
	e.compare(peers, comparison{
		title: "Table 6: CPU at 1,000 PACKET_IN/s", unit: "% of a core", name: "cpu",
		text:        "CPU time of all the controller's processes while one switch asks 1,000 times a second. Cycles and instructions are perf's, for each PACKET_IN, in the last round." + perf,
		paper:       func(p *published) float64 { return p.cpu },
		runs:        func(m *measured) []float64 { return m.of(func(r *bench.Resources) float64 { return r.ActiveCPU }) },
		extraHeader: []string{"idle, % of a core", "cycles", "instructions"},
		extra: func(m *measured) []string {
			idle := num(median(m.of(func(r *bench.Resources) float64 { return r.IdleCPU })))
			r := m.used[len(m.used)-1]
			if r.PerfNote != "" {
				return []string{idle, none, none}
			}
			return []string{idle, num(r.Cycles), num(r.Instructions)}
		},
	})
}

func (e *evaluation) plotResponses(peers []*measured) error {
	var curves []chart.Curve
	for _, m := range rowsOf(peers) {
		c := chart.Curve{Name: m.peer.Name}
		if m.latency.Count() > 0 {
			c.H = &m.latency
		}
		for i := range publishedControllers {
			if p := &publishedControllers[i]; p.name == c.Name {
				c.Paper = p.response
			}
		}
		if c.H != nil || c.Paper > 0 {
			curves = append(curves, c)
		}
	}
	if !slices.ContainsFunc(curves, func(c chart.Curve) bool { return c.H != nil }) {
		return nil
	}
	s := e.section("Table 2, plotted: response times", "Of all packets of all rounds. The dashed lines are the paper's medians, on its machine.")
	s.Plot = "response"
	return chart.CDF(e.cfg.Dir, s.Plot, s.Title, "response time in µs", time.Microsecond, curves)
}
