package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// Session is one switch, for as long as the gateway runs.
type Session struct {
	cfg     Config
	log     *slog.Logger
	faults  bridge.Mute
	metrics deviceMetrics
	desc    *flow.Switch
	name    string

	takeover ElectionID            // the id to come back with after the primary was lost
	serves   atomic.Pointer[owner] // while we are primary and the switch is set up

	ready     chan struct{}
	readyOnce sync.Once
	status    statusBoard
}

// New makes the session of one switch.
func New(cfg Config) (*Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Mapping = cfg.Mapping.WithMeters(cfg.Meters)
	s := &Session{
		cfg: cfg, ready: make(chan struct{}),
		metrics: cfg.Metrics.of(uint64(cfg.DPID)),
		desc:    &flow.Switch{DPID: cfg.DPID, Protocol: flow.P4Runtime, NTables: tableCount(cfg), Matchable: cfg.Mapping.Matchable()},
	}
	s.cfg.Logger = cfg.Logger.With("dpid", s.desc.DPID.String(), "remote", cfg.Addr)
	s.log, s.faults.Log = s.cfg.Logger, s.cfg.Logger
	for _, advice := range cfg.Mapping.Advice() {
		s.log.Warn("the mapping may not do what you expect", "advice", advice)
	}
	for _, p := range cfg.Ports {
		s.desc.Ports = append(s.desc.Ports, flow.Port{No: flow.PortNo(p), Name: fmt.Sprintf("port%d", p)})
	}
	s.name = fmt.Sprintf("p4 switch %v at %s", s.desc.DPID, s.cfg.Addr)
	s.status.init(&s.cfg)
	return s, nil
}

// tableCount is how many OpenFlow tables the mapping shows.
func tableCount(cfg Config) uint8 {
	n := uint8(0)
	for _, t := range cfg.Mapping.Tables {
		n = max(n, t.OpenFlow+1)
	}
	return n
}

// String names the session in logs.
func (s *Session) String() string { return s.name }

// Ready is closed when the switch is served for the first time.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// Run serves the switch until ctx is done. Then it waits for pending decisions (see
// [bridge.Bridge.Drain]), writes them, and returns nil. After a failure of the connection
// it starts again, after growing pauses; nothing that the switch does ends it.
func (s *Session) Run(ctx context.Context) error {
	until := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(until, func() {
		s.cfg.Bridge.Drain()
		if o := s.serves.Load(); o != nil {
			close(o.stop)
			select {
			case <-o.c.ctx.Done():
			case <-time.After(s.cfg.CallTimeout):
			}
		}
		cancel()
	})()
	wait := s.pauses()
	for {
		served, err := s.once(ctx)
		s.metrics.serving(0)
		if ctx.Err() != nil || errors.Is(err, errStopped) {
			s.status.set("stopped", nil)
			return nil
		}
		if served {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		s.status.set("waiting", err)
		s.faults.Warn("ended", "session ended", "error", err, "again_in_seconds", pause.Round(time.Millisecond).Seconds())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			s.status.set("stopped", nil)
			return nil
		}
	}
}

// pauses are those between attempts to reach the switch.
func (s *Session) pauses() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.cfg.MinBackoff), backoff.WithMaxInterval(s.cfg.MaxBackoff), backoff.WithMaxElapsedTime(0))
}

// DPID is the switch's number, which the configuration gives it.
func (s *Session) DPID() flow.DPID { return s.desc.DPID }

// once is one connection, from dialling to whatever ends it. served says
// whether it came as far as serving.
//
//	arbitrate -> backup <-> primary (pipeline -> tables -> groups -> setup -> digest -> miss -> serve)
func (s *Session) once(ctx context.Context) (served bool, err error) {
	s.metrics.sessions.WithLabelValues(s.metrics.device).Inc()
	election, generation := s.cfg.Election, uint64(0)
	var warm *client
	if pair := s.cfg.Bridge.Pair(); pair != nil {
		if generation, warm, err = s.standBy(ctx, pair); err != nil {
			return false, err
		}
		election = claimOf(generation)
	}
	s.status.set("connecting", nil)
	if s.takeover != (ElectionID{}) {
		election, s.takeover = s.takeover, ElectionID{}
	}
	c, err := s.connect(ctx, election, warm)
	if err != nil {
		if warm != nil {
			warm.close()
		}
		return false, fmt.Errorf("connect: %w", err)
	}
	defer c.close()
	if warm != nil {
		defer warm.leave()
	}
	if pair := s.cfg.Bridge.Pair(); pair != nil {
		go s.followLead(c, pair, generation)
	}

	s.status.set("arbitrating", nil)
	deadline := time.NewTimer(s.cfg.DialTimeout)
	defer deadline.Stop()
	for first := true; ; first = false {
		var update *p4v1.MasterArbitrationUpdate
		select {
		case update = <-c.arbitration:
			deadline.Stop()
			if warm != nil {
				warm.leave() // the switch knows the new stream
			}
		case <-deadline.C:
			return served, fmt.Errorf("arbitrate: no answer within %v", s.cfg.DialTimeout)
		case <-c.ctx.Done():
			return served, s.streamError(c, first)
		}
		if t := c.term.Load(); t != nil {
			was := served
			served, err = s.primary(t, c)
			served = served || was
			if !errors.Is(err, errDemoted) {
				return served, err
			}
			s.metrics.serving(0)
			s.faults.Warn("demoted", "demoted: another gateway is primary; nothing more is written")
			if pair := s.cfg.Bridge.Pair(); pair != nil {
				pair.Lost(s.desc.DPID, 0)
				return served, err
			}
			continue
		}
		if pair := s.cfg.Bridge.Pair(); pair != nil { // one that leads claims above what the switch has seen
			pair.Seen(s.desc.DPID, generationOf(update.GetElectionId()))
			return served, errNotPrimary
		}
		if codes.Code(update.GetStatus().GetCode()) == codes.NotFound {
			// The specification leaves a switch without a primary until one comes with a
			// higher id. An id is not changed on a live stream: BMv2 would take it for
			// another client's. Hence a new stream.
			seen := update.GetElectionId()
			s.takeover = ElectionID{High: seen.GetHigh(), Low: seen.GetLow() + 1}
			return served, errNoPrimary
		}
		s.status.set("backup", nil)
		s.faults.Info("backup", "backup: another gateway is primary")
	}
}

// streamError says why the stream ended, in terms of what was being done.
func (s *Session) streamError(c *client, first bool) error {
	err := context.Cause(c.ctx)
	if first && status.Code(errors.Unwrap(err)) == codes.InvalidArgument {
		return fmt.Errorf("arbitrate: another gateway is connected with our election id %d:%d: give each its own: %w",
			c.election.High, c.election.Low, err)
	}
	return err
}

// primary brings the switch into order and serves it until the term ends.
func (s *Session) primary(t *term, c *client) (served bool, err error) {
	o := newOwner(s, c, t.ctx)
	defer o.end()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"capabilities", c.capabilities},
		{"pipeline", o.pushPipeline},
		{"members", o.readMembers},
		{"tables", o.readTables},
		{"groups", o.writeGroups},
		{"setup", o.writeSetup},
		{"miss meter", o.writeMissMeter},
		{"digest", o.configureDigest},
		{"miss", o.setMiss}, // last: from here on the switch asks
	} {
		s.status.set(step.name, nil)
		if err := step.do(t.ctx); err != nil {
			if cause := context.Cause(t.ctx); cause != nil {
				err = cause
			}
			return false, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	s.serves.Store(o)
	defer s.serves.Store(nil)
	s.status.set(StateServing, nil)
	s.metrics.serving(1)
	s.readyOnce.Do(func() { close(s.ready) })
	s.faults.Info("serving", "serving", "pipeline", s.cfg.Pipeline.Name, "miss", s.cfg.Miss.String())
	o.core.Ready()
	ctx, cancel := context.WithCancel(t.ctx)
	var reads sync.WaitGroup
	reads.Go(func() { o.beside(ctx) })
	defer reads.Wait()
	defer cancel()
	return true, o.serve(t.ctx)
}
