package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
)

// SessionsConfig says what [Sessions] measures. Zero values take the defaults
// named.
type SessionsConfig struct {
	Target   string
	TLS      *tls.Config
	Protocol flow.Protocol // OpenFlow 1.3
	Sessions int           // 1,000
	Duration time.Duration // of each latency measurement: 3 s
	PID      int           // the controller's process, for its memory; 0: not measured
}

// SessionsResult is what connected switches cost a controller.
type SessionsResult struct {
	Target   string `json:"target"`
	Sessions int    `json:"sessions"`
	Protocol string `json:"protocol"`

	// Resident memory with one session and with all of them; 0 where no PID was
	// given. BytesPerSession is the difference for each added one.
	RSSBefore       int64   `json:"rss_before_bytes,omitempty"`
	RSSAfter        int64   `json:"rss_after_bytes,omitempty"`
	BytesPerSession float64 `json:"bytes_per_session,omitempty"`

	// Latency of one switch that asks packet by packet: the only one connected,
	// while all others are idle, and while one of them floods.
	Alone          stats.Latency `json:"latency_alone"`
	OthersIdle     stats.Latency `json:"latency_others_idle"`
	OneFloods      stats.Latency `json:"latency_one_floods"`
	FloodPerSecond float64       `json:"flood_responses_per_s"` // answered to the one that floods, meanwhile
}

// Sessions connects one switch, then all, and measures the controller's memory
// and the first switch's latency at each step. It needs as many open files as
// sessions.
func Sessions(ctx context.Context, cfg SessionsConfig) (*SessionsResult, error) {
	if cfg.Protocol == 0 {
		cfg.Protocol = flow.OpenFlow13
	}
	if cfg.Sessions == 0 {
		cfg.Sessions = 1000
	}
	if cfg.Duration == 0 {
		cfg.Duration = 3 * time.Second
	}
	res := &SessionsResult{Target: cfg.Target, Sessions: cfg.Sessions, Protocol: cfg.Protocol.String()}
	if cfg.Sessions < 2 {
		return res, fmt.Errorf("bench sessions: %d sessions: want at least 2", cfg.Sessions)
	}
	if err := sessions(ctx, &cfg, res); err != nil {
		return res, fmt.Errorf("bench sessions %s: %w", cfg.Target, explain(err))
	}
	return res, nil
}

func sessions(ctx context.Context, cfg *SessionsConfig, res *SessionsResult) (err error) {
	const macs = 100_000
	dial := func(n, buffer int) (*loadSwitch, error) {
		s, err := dialSwitch(ctx, cfg.Target, cfg.TLS, cfg.Protocol, n, macs, buffer)
		if err != nil {
			return nil, fmt.Errorf("switch %d: %w", n, err)
		}
		return s, nil
	}
	probe, err := dial(1, 4<<10)
	if err != nil {
		return err
	}
	defer probe.conn.Close()
	if err := probe.announce(1, cfg.Protocol); err != nil {
		return err
	}
	if res.Alone, err = probe.latency(ctx, cfg.Duration); err != nil {
		return err
	}
	if res.RSSBefore, err = rss(cfg.PID); err != nil {
		return err
	}

	others := make([]*loadSwitch, cfg.Sessions-1)
	var idle sync.WaitGroup
	defer idle.Wait()
	defer closeAll(others)
	for i := range others {
		if others[i], err = dial(i+2, 1<<10); err != nil {
			return err
		}
		if i > 0 {
			idle.Go(func() { _ = others[i].idle() }) // one that the controller drops is missed by the count below
		}
	}
	if err := others[0].welcome(); err != nil {
		return err
	}
	if res.OthersIdle, err = probe.latency(ctx, cfg.Duration); err != nil {
		return fmt.Errorf("with %d idle switches: %w", len(others), err)
	}
	if res.RSSAfter, err = rss(cfg.PID); err != nil {
		return err
	}
	if cfg.PID != 0 {
		res.BytesPerSession = float64(res.RSSAfter-res.RSSBefore) / float64(len(others))
	}

	flood := others[0]
	flood.in = newStream(flood.conn, streamBytes)
	if err := flood.announce(2, cfg.Protocol); err != nil {
		return err
	}
	idle.Go(func() { _ = flood.flood() })
	start := time.Now()
	if res.OneFloods, err = probe.latency(ctx, cfg.Duration); err != nil {
		return fmt.Errorf("while another switch floods: %w", err)
	}
	res.FloodPerSecond = float64(flood.responses()) / time.Since(start).Seconds()
	if flood.responses() == 0 {
		return fmt.Errorf("the flooding switch: %w", ErrNoAnswer)
	}
	return nil
}

// latency asks packet by packet for d, after a tenth of d to warm up.
func (s *loadSwitch) latency(ctx context.Context, d time.Duration) (stats.Latency, error) {
	s.latencies = new(stats.Histogram)
	s.recording.Store(false)
	s.stop.Store(false)
	ended := make(chan error, 1)
	go func() { ended <- s.pingPong() }()
	end := func(err error) (stats.Latency, error) {
		s.stop.Store(true)
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-time.After(time.Second):
			s.giveUp()
			err = errors.Join(err, <-ended)
		}
		if err == nil && s.latencies.Count() == 0 {
			err = ErrNoAnswer
		}
		return s.latencies.Latency(), err
	}
	for _, wait := range []time.Duration{d / 10, d} {
		select {
		case err := <-ended:
			ended <- nil
			return end(err)
		case <-ctx.Done():
			return end(ctx.Err())
		case <-time.After(wait):
		}
		s.recording.Store(true)
	}
	return end(nil)
}

// rss is a process's resident memory in bytes; 0 for process 0.
func rss(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	n, err := resident(pid)
	if err == nil && n == 0 {
		err = errors.New("its status has no VmRSS")
	}
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return n, nil
}

// WriteText writes the result for a person.
func (r *SessionsResult) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("%s, %d sessions, %s\n", r.Target, r.Sessions, r.Protocol)
	if r.RSSAfter > 0 {
		p.f("memory: %.1f MB with one session, %.1f MB with %d: %.1f KiB a session\n",
			float64(r.RSSBefore)/1e6, float64(r.RSSAfter)/1e6, r.Sessions, r.BytesPerSession/1024)
	}
	for _, row := range []struct {
		when string
		l    stats.Latency
	}{{"alone", r.Alone}, {fmt.Sprintf("%d others idle", r.Sessions-1), r.OthersIdle}, {"one of them floods", r.OneFloods}} {
		us := func(d time.Duration) float64 { return float64(d) / 1e3 }
		p.f("latency, %-18s p50 %8.1f µs  p90 %8.1f  p99 %8.1f  max %8.1f  (%d packets)\n", row.when+":",
			us(row.l.P50), us(row.l.P90), us(row.l.P99), us(row.l.Max), row.l.Count)
	}
	p.f("the flooding switch got %.0f responses/s\n", r.FloodPerSecond)
	return p.err
}
