package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
)

// Modes of [Controller].
const (
	Latency = "latency" // one outstanding packet a switch
	Flood   = "flood"   // as many as the connection takes
)

// ControllerConfig says what to measure. Zero values take the defaults named.
type ControllerConfig struct {
	Target   string        // as oftest.Dial takes it: host:port, ssl:host:port, unix:path
	TLS      *tls.Config   // for ssl:
	Mode     string        // Latency (default) or Flood
	Switches int           // 1
	Protocol flow.Protocol // OpenFlow 1.0, as cbench speaks
	Runs     int           // 10
	Duration time.Duration // of one run: 1 s
	WarmUp   time.Duration // before the first run: 1 s; negative is none
	// FirstAnswer prolongs the warm-up until the controller has answered once,
	// but no longer than this: one may have taken the connection before it can
	// decide. Default: 0, not at all.
	FirstAnswer time.Duration
	// AnyAnswer has, in mode latency, any FLOW_MOD or PACKET_OUT let the next packet go, as in cbench: a late second message of one answer
	// passes for the answer to the next packet.
	AnyAnswer bool
	MACs      int           // source addresses of each switch: 100,000
	Connect   time.Duration // limit of all handshakes together: 10 s

	// OnRun, where set, is called after each run.
	OnRun func(n int, r Run)
}

func (c *ControllerConfig) defaults() error {
	if c.Mode == "" {
		c.Mode = Latency
	}
	if c.Protocol == 0 {
		c.Protocol = flow.OpenFlow10
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Switches, 1)
	def(&c.Runs, 10)
	def(&c.MACs, 100_000)
	if c.Duration == 0 {
		c.Duration = time.Second
	}
	if c.WarmUp == 0 {
		c.WarmUp = time.Second
	}
	if c.Connect == 0 {
		c.Connect = 10 * time.Second
	}
	switch {
	case c.Target == "":
		return errors.New("no target")
	case c.Mode != Latency && c.Mode != Flood:
		return fmt.Errorf("mode %q: want %s or %s", c.Mode, Latency, Flood)
	case c.Protocol != flow.OpenFlow10 && c.Protocol != flow.OpenFlow13:
		return fmt.Errorf("%v: want OpenFlow 1.0 or 1.3", c.Protocol)
	case c.Switches < 1 || c.Switches > 65535:
		return fmt.Errorf("%d switches: want 1 to 65535", c.Switches)
	case c.Runs < 1:
		return fmt.Errorf("%d runs: want at least 1", c.Runs)
	case c.Duration < time.Millisecond:
		return fmt.Errorf("duration %v: want at least 1ms", c.Duration)
	case c.MACs < 1:
		return fmt.Errorf("%d source addresses: want at least 1", c.MACs)
	}
	return nil
}

// Run is what happened in one run, over all switches.
type Run struct {
	Seconds    float64 `json:"seconds"`
	Sent       uint64  `json:"sent"` // PACKET_INs handed to the sockets
	FlowMods   uint64  `json:"flow_mods"`
	PacketOuts uint64  `json:"packet_outs"`
	Answered   uint64  `json:"answered"`        // PACKET_INs with one answer at least
	Lost       uint64  `json:"lost"`            // latency: packets without an answer for a whole run
	PerSecond  float64 `json:"responses_per_s"` // FLOW_MODs and PACKET_OUTs
	// AnsweredPerSecond counts each PACKET_IN once, however many messages answer it. Where
	// no answer names a buffer it is the more frequent of the two kinds of answers.
	AnsweredPerSecond float64 `json:"answered_per_s"`
}

// ControllerResult is what [Controller] measured.
type ControllerResult struct {
	Target   string  `json:"target"`
	Mode     string  `json:"mode"`
	Switches int     `json:"switches"`
	Protocol string  `json:"protocol"`
	Duration float64 `json:"duration_s"`
	WarmUp   float64 `json:"warm_up_s"`
	MACs     int     `json:"source_addresses"`

	Runs      []Run        `json:"runs"`
	PerSecond stats.Spread `json:"responses_per_s"`
	Answered  stats.Spread `json:"answered_per_s"`
	// PerPacketIn is how many messages an answered PACKET_IN was answered with: cbench counts
	// every one of them.
	PerPacketIn float64 `json:"responses_per_packet_in"`
	// Latency is of every packet of every run, in latency mode.
	Latency *stats.Latency `json:"latency,omitempty"`
	// Histogram has them all, where a report wants more of their distribution.
	Histogram *stats.Histogram `json:"-"`
}

// ErrNoAnswer is wrapped by Controller's error where the controller took the
// packets and never answered one.
var ErrNoAnswer = errors.New("the controller answered no PACKET_IN")

// Controller measures the controller at cfg.Target. It fails where the
// controller can't be reached, ends a connection, breaks the protocol or
// answers nothing at all; what was measured until then comes with the error.
// A cancelled ctx ends it early in the same way.
func Controller(ctx context.Context, cfg ControllerConfig) (*ControllerResult, error) {
	if err := cfg.defaults(); err != nil {
		return nil, fmt.Errorf("bench controller: %w", err)
	}
	res := &ControllerResult{
		Target: cfg.Target, Mode: cfg.Mode, Switches: cfg.Switches, Protocol: cfg.Protocol.String(),
		Duration: cfg.Duration.Seconds(), WarmUp: max(cfg.WarmUp, 0).Seconds(), MACs: cfg.MACs,
	}
	switches, err := dialAll(ctx, &cfg)
	if err == nil {
		err = measure(ctx, &cfg, switches, res)
	}
	if err != nil {
		return res, fmt.Errorf("bench controller %s: %w", cfg.Target, explain(err))
	}
	return res, nil
}

// explain says what a connection's end means.
func explain(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the controller closed the connection: %w", err)
	}
	return err
}

// dialAll connects all switches, at most 64 at a time, and announces their
// hosts. On an error none is left connected.
func dialAll(ctx context.Context, cfg *ControllerConfig) ([]*loadSwitch, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Connect)
	defer cancel()
	switches := make([]*loadSwitch, cfg.Switches)
	errs := make([]error, cfg.Switches)
	slots := make(chan struct{}, 64)
	buffer := streamBytes
	if cfg.Mode == Latency {
		buffer = 4 << 10
	}
	var all sync.WaitGroup
	for i := range switches {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			n := i + 1
			s, err := dialSwitch(ctx, cfg.Target, cfg.TLS, cfg.Protocol, n, cfg.MACs, buffer)
			if err == nil {
				switches[i] = s
				err = s.announce(n, cfg.Protocol)
			}
			if err != nil {
				errs[i] = fmt.Errorf("switch %d: %w", n, err)
				cancel()
			}
		})
	}
	all.Wait()
	if err := firstCause(errs); err != nil {
		closeAll(switches)
		return nil, err
	}
	return switches, nil
}

// firstCause prefers an error that is not the mere consequence of another's
// cancellation.
func firstCause(errs []error) (first error) {
	for _, err := range errs {
		if err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	return first
}

func closeAll(switches []*loadSwitch) {
	for _, s := range switches {
		if s != nil {
			s.conn.Close()
		}
	}
}

// measure loads the switches without a pause and reads their counters at the
// runs' boundaries.
func measure(ctx context.Context, cfg *ControllerConfig, switches []*loadSwitch, res *ControllerResult) error {
	failed := make(chan error, len(switches))
	var all sync.WaitGroup
	defer all.Wait()
	defer closeAll(switches)
	for i, s := range switches {
		engine := s.flood
		if cfg.Mode == Latency {
			s.latencies, s.anyAnswer = new(stats.Histogram), cfg.AnyAnswer
			engine = s.pingPong
			if err := s.waitInKernel(len(switches)); err != nil {
				return err
			}
		}
		all.Go(func() {
			err := engine()
			if w, ok := s.conn.(*waiter); ok {
				w.release()
			}
			if err != nil {
				failed <- fmt.Errorf("switch %d: %w", i+1, err)
			}
		})
	}
	wait := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	if cfg.WarmUp > 0 {
		if err := wait(cfg.WarmUp); err != nil {
			return fmt.Errorf("while warming up: %w", err)
		}
	}
	for end := time.Now().Add(cfg.FirstAnswer); ; {
		if c := total(switches); c.flowMods+c.packetOuts > 0 || time.Now().After(end) {
			break
		}
		if err := wait(time.Millisecond); err != nil {
			return fmt.Errorf("while waiting for a first answer: %w", err)
		}
	}
	var err error
	// What is recorded has been counted, but for an answer a switch: recording
	// begins after the first reading and ends before the last.
	last, at := total(switches), time.Now()
	record(switches, true)
	stuck := make([]uint64, len(switches))
	for n := range cfg.Runs {
		if err = wait(cfg.Duration); err != nil {
			break
		}
		if n == cfg.Runs-1 {
			record(switches, false)
		}
		now, t := total(switches), time.Now()
		run := now.since(last, t.Sub(at))
		last, at = now, t
		res.Runs = append(res.Runs, run)
		if cfg.OnRun != nil {
			cfg.OnRun(n, run)
		}
		if cfg.Mode == Latency {
			for i, s := range switches {
				if r := s.responses(); n > 0 && r == stuck[i] {
					s.giveUp()
				} else {
					stuck[i] = r
				}
			}
		}
	}
	record(switches, false)
	closeAll(switches)
	all.Wait()

	per, once := make([]float64, len(res.Runs)), make([]float64, len(res.Runs))
	var answers, answered uint64
	for i, r := range res.Runs {
		per[i], once[i] = r.PerSecond, r.AnsweredPerSecond
		answers += r.FlowMods + r.PacketOuts
		answered += r.Answered
	}
	res.PerSecond, res.Answered = stats.SpreadOf(per), stats.SpreadOf(once)
	if answered > 0 {
		res.PerPacketIn = float64(answers) / float64(answered)
	}
	if cfg.Mode == Latency {
		var h stats.Histogram
		for _, s := range switches {
			h.Merge(s.latencies)
		}
		l := h.Latency()
		res.Latency, res.Histogram = &l, &h
	}
	if err == nil && answers == 0 {
		err = fmt.Errorf("%w (%d sent in %d runs of %v)", ErrNoAnswer, last.sent, cfg.Runs, cfg.Duration)
	}
	return err
}

func record(switches []*loadSwitch, on bool) {
	for _, s := range switches {
		s.recording.Store(on)
	}
}

type counters struct{ sent, flowMods, packetOuts, named, looseMods, looseOuts, lost uint64 }

func total(switches []*loadSwitch) (c counters) {
	for _, s := range switches {
		c.sent += s.sent.Load()
		c.flowMods += s.flowMods.Load()
		c.packetOuts += s.packetOuts.Load()
		c.named += s.named.Load()
		c.looseMods += s.looseMods.Load()
		c.looseOuts += s.looseOuts.Load()
		c.lost += s.lost.Load()
	}
	return c
}

func (c counters) since(o counters, d time.Duration) Run {
	r := Run{
		Seconds: d.Seconds(), Sent: c.sent - o.sent, FlowMods: c.flowMods - o.flowMods,
		PacketOuts: c.packetOuts - o.packetOuts, Lost: c.lost - o.lost,
	}
	if r.Answered = c.named - o.named; c.named == 0 {
		r.Answered = max(c.looseMods-o.looseMods, c.looseOuts-o.looseOuts)
	}
	r.PerSecond = float64(r.FlowMods+r.PacketOuts) / r.Seconds
	r.AnsweredPerSecond = float64(r.Answered) / r.Seconds
	return r
}
