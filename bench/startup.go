package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// StartupTimes are in milliseconds from a peer's exec.
type StartupTimes struct {
	Connection stats.Spread // to the first answered connection: the switch has been asked for its features
	// Decision is to the first answer to a PACKET_IN, of which the switch sends one every millisecond
	// from then on. It has no runs where the peer answers none.
	Decision stats.Spread
}

// decisionLimit is how long a peer may take to its first decision.
const decisionLimit = 10 * time.Second

// Startup starts a peer trials times.
func Startup(ctx context.Context, p Peer, trials int) (StartupTimes, error) {
	var connection, decision []float64
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	times := func() StartupTimes {
		return StartupTimes{Connection: stats.SpreadOf(connection), Decision: stats.SpreadOf(decision)}
	}
	for range trials {
		var s *loadSwitch
		r, err := p.Launch(ctx, func(ctx context.Context, r *Process) (err error) {
			s, err = r.try(ctx)
			return err
		})
		if err != nil {
			return times(), fmt.Errorf("bench startup: %w", err)
		}
		connection = append(connection, ms(r.Took))
		waited, answered, err := s.firstDecision(decisionLimit)
		s.conn.Close()
		r.Close()
		switch {
		case err != nil:
			return times(), fmt.Errorf("bench startup: %s: %w", p.Name, explain(err))
		case answered:
			decision = append(decision, ms(r.Took+waited))
		}
		if ctx.Err() != nil {
			return times(), ctx.Err()
		}
	}
	return times(), nil
}

// firstDecision sends PACKET_INs until the first is answered, and reports how long that took,
// with what the controller took for a table-miss entry.
func (s *loadSwitch) firstDecision(limit time.Duration) (took time.Duration, answered bool, err error) {
	const pause = time.Millisecond
	begin := time.Now()
	if err := s.missEntry(limit / 2); err != nil {
		return 0, false, err
	}
	for !answered && time.Since(begin) < limit {
		if _, err := s.conn.Write(s.batch.stamp(1)); err != nil {
			return 0, false, err
		}
		s.conn.SetReadDeadline(time.Now().Add(pause))
		for err = nil; err == nil && !answered; {
			err = s.read(func(a answer) {
				// Rules that a controller sets up a switch with name no packet.
				answered = answered || a.kind == ofp.TypePacketOut || a.buffer != flow.NoBuffer
			})
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, false, err
		}
	}
	return time.Since(begin), answered, nil
}

// Resources is what a controller uses.
type Resources struct {
	IdleRSS   int64   `json:"idle_rss_bytes"` // one switch connected, nothing asked
	ActiveRSS int64   `json:"active_rss_bytes"`
	IdleCPU   float64 `json:"idle_cpu_percent"` // of one core
	ActiveCPU float64 `json:"active_cpu_percent"`

	Rate     float64 `json:"rate_per_s"`
	Sent     uint64  `json:"sent"`
	Answered uint64  `json:"answered"`

	// Of the active part, for each PACKET_IN, by perf; 0 where it can't count
	// them, and then PerfNote says why.
	Cycles       float64 `json:"cycles_per_packet_in,omitempty"`
	Instructions float64 `json:"instructions_per_packet_in,omitempty"`
	PerfNote     string  `json:"perf_note,omitempty"`
}

// ResourcesConfig says how to measure. Zero values take the defaults named.
type ResourcesConfig struct {
	Rate     float64       // PACKET_INs a second: 1,000
	Duration time.Duration // of each of the two parts: 10 s
}

// MeasureResources starts a peer, connects one switch, and measures it idle and
// at a rate.
func MeasureResources(ctx context.Context, p Peer, cfg ResourcesConfig) (*Resources, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	if cfg.Duration == 0 {
		cfg.Duration = 10 * time.Second
	}
	res, err := measureResources(ctx, &p, &cfg)
	if err != nil {
		return nil, fmt.Errorf("bench resources: %w", err)
	}
	return res, nil
}

func measureResources(ctx context.Context, p *Peer, cfg *ResourcesConfig) (*Resources, error) {
	r, err := p.Run(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s, err := dialSwitch(ctx, r.Addr, nil, p.Protocol, 1, 100_000, streamBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, explain(err))
	}
	defer s.conn.Close()
	if err := s.announce(1, p.Protocol); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, explain(err))
	}
	ended := make(chan error, 1)
	go func() { ended <- s.listen() }()
	res := &Resources{Rate: cfg.Rate}
	pgid := r.cmd.Process.Pid
	// part measures what the process uses while do runs.
	part := func(do func() error) (percent float64, rss int64, err error) {
		before, err := groupUsage(pgid)
		if err != nil {
			return 0, 0, err
		}
		start := time.Now()
		if err := do(); err != nil {
			return 0, 0, err
		}
		wall := time.Since(start)
		after, err := groupUsage(pgid)
		return 100 * float64(after.cpu-before.cpu) / float64(wall), after.rss, err
	}
	if res.IdleCPU, res.IdleRSS, err = part(func() error { return s.paced(ctx, 0, cfg.Duration, ended) }); err != nil {
		return nil, fmt.Errorf("%s while idle: %w", p.Name, explain(err))
	}
	counted := make(chan perfCount, 1)
	res.ActiveCPU, res.ActiveRSS, err = part(func() error {
		go func() { counted <- perfStat(ctx, pgid, cfg.Duration) }()
		return s.paced(ctx, cfg.Rate, cfg.Duration, ended)
	})
	count := <-counted
	if err != nil {
		return nil, fmt.Errorf("%s at %.0f PACKET_IN/s: %w", p.Name, cfg.Rate, explain(err))
	}
	res.Sent, res.Answered = s.sent.Load(), s.responses()
	if res.Answered == 0 {
		return nil, fmt.Errorf("%s: %w", p.Name, ErrNoAnswer)
	}
	res.PerfNote = count.note
	if count.note == "" {
		res.Cycles, res.Instructions = count.cycles/float64(res.Sent), count.instructions/float64(res.Sent)
	}
	return res, nil
}

type perfCount struct {
	cycles, instructions float64
	note                 string // why there is no count
}

// perfStat counts what a process does for d, where this machine lets perf.
func perfStat(ctx context.Context, pid int, d time.Duration) (c perfCount) {
	path, err := exec.LookPath("perf")
	if err != nil {
		return perfCount{note: "perf is not installed"}
	}
	out, err := exec.CommandContext(ctx, path, "stat", "-x", ",", "-e", "cycles,instructions", "-p", strconv.Itoa(pid),
		"sleep", strconv.FormatFloat(d.Seconds(), 'f', 3, 64)).CombinedOutput()
	if err != nil {
		return perfCount{note: fmt.Sprintf("perf: %v: %.200s", err, strings.TrimSpace(string(out)))}
	}
	return parsePerf(string(out))
}

// parsePerf reads perf stat's lines of comma-separated values: count, unit,
// event and more.
func parsePerf(out string) (c perfCount) {
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) < 3 {
			continue
		}
		event, _, _ := strings.Cut(f[2], ":")
		if event != "cycles" && event != "instructions" {
			continue
		}
		v, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return perfCount{note: fmt.Sprintf("perf says of %s: %s", event, f[0])}
		}
		if event == "cycles" {
			c.cycles = v
		} else {
			c.instructions = v
		}
	}
	if c.cycles == 0 || c.instructions == 0 {
		return perfCount{note: "perf counted nothing"}
	}
	return c
}

// WriteText writes the resources for a person.
func (r *Resources) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("idle:   %6.1f %% of a core, %7.1f MB\n", r.IdleCPU, float64(r.IdleRSS)/1e6)
	p.f("active: %6.1f %% of a core, %7.1f MB at %.0f PACKET_IN/s (%d sent, %d responses)\n", r.ActiveCPU, float64(r.ActiveRSS)/1e6, r.Rate, r.Sent, r.Answered)
	if r.PerfNote != "" {
		p.f("cycles and instructions: %s\n", r.PerfNote)
	} else {
		p.f("%.0f cycles, %.0f instructions a PACKET_IN\n", r.Cycles, r.Instructions)
	}
	return p.err
}
