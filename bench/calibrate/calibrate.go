// Package calibrate measures the measuring tools: how much load they can make,
// and how wrong the times are that they report. Everything runs in this process,
// so that the sinks take their share of the machine as a controller would.
package calibrate

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/bench"
	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/httpclient"
	"switchbridge/internal/frames"
	"switchbridge/replay"
)

// Config says how long to measure. Zero values take the defaults named.
type Config struct {
	Rounds   int             // 5
	Duration time.Duration   // of each part of a round: 1 s
	Delays   []time.Duration // of the sink whose latency is known: 0, 1 and 5 ms
}

// Result is what the tools can do. Rates are of answered events a second, to
// sinks that answer at once.
type Result struct {
	Flood  stats.Spread `json:"controller_flood_per_s"` // bench controller, one switch
	Replay stats.Spread `json:"replay_gateway_per_s"`   // replay to an OpenFlow controller, packet mode, maximum pace

	// Over HTTPS, Concurrency at a time.
	Concurrency int          `json:"https_concurrency"`
	ReplayHTTPS stats.Spread `json:"replay_https_per_s"`
	ClientHTTPS stats.Spread `json:"client_https_per_s"` // the gateway's client alone
	BareHTTPS   stats.Spread `json:"bare_https_per_s"`   // net/http with the same bytes
	Errors      []Error      `json:"errors"`
	OmissionDue Omission     `json:"omission"`
}

// Error is what is measured of a sink that takes a known time.
type Error struct {
	Delay      time.Duration
	Controller stats.Latency // bench controller's, less Delay
	Replay     stats.Latency // replay's, less Delay
}

// Omission is a replay, one event at a time, to a sink that takes twice the gap
// between events: every event waits longer than the one before. A tool that
// omits what its own waiting costs would say that all took the same.
type Omission struct {
	Events                    int
	Gap                       time.Duration
	FromSent, FromDue, Expect time.Duration // medians; Expect is FromDue as computed
}

// Run measures.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Rounds == 0 {
		cfg.Rounds = 5
	}
	if cfg.Duration == 0 {
		cfg.Duration = time.Second
	}
	if cfg.Delays == nil {
		cfg.Delays = []time.Duration{0, time.Millisecond, 5 * time.Millisecond}
	}
	res := &Result{Concurrency: 64}
	if err := errors.Join(res.rates(ctx, &cfg), ctx.Err()); err != nil {
		return res, fmt.Errorf("calibrate: rates: %w", err)
	}
	for _, d := range cfg.Delays {
		e, err := known(ctx, d, cfg.Duration)
		if err != nil {
			return res, fmt.Errorf("calibrate: a sink that takes %v: %w", d, err)
		}
		res.Errors = append(res.Errors, e)
	}
	var err error
	if res.OmissionDue, err = omission(ctx, 200, time.Millisecond); err != nil {
		return res, fmt.Errorf("calibrate: omission: %w", err)
	}
	return res, nil
}

// responder serves a bench.Responder until stop is called.
func responder(ctx context.Context, r bench.Responder) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Serve(ctx, ln) }()
	return ln.Addr().String(), func() { cancel(); <-ended }, nil
}

// sets is a capture of as many packets as are read from it: the generated
// organisation's, again and again.
type sets struct {
	header, packets []byte
	at              int
}

func newSets() (*sets, error) {
	const header = 24 // of a pcap file
	p, err := replay.ProfileNamed("organisation")
	if err != nil {
		return nil, err
	}
	p.Flows, p.Duration = p.Flows/10, p.Duration/10
	var b bytes.Buffer
	if _, err := replay.Generate(&b, nil, replay.GenerateConfig{Profile: p, Seed: 1}); err != nil {
		return nil, err
	}
	return &sets{b.Bytes()[:header], b.Bytes()[header:], 0}, nil
}

// open begins a capture, which ends with ctx.
func (s *sets) open() io.Reader {
	return io.MultiReader(bytes.NewReader(s.header), &sets{packets: s.packets})
}

func (s *sets) Read(b []byte) (int, error) {
	n := copy(b, s.packets[s.at:])
	s.at = (s.at + n) % len(s.packets)
	return n, nil
}

func (r *Result) rates(ctx context.Context, cfg *Config) error {
	set, err := newSets()
	if err != nil {
		return err
	}
	addr, stop, err := responder(ctx, bench.Responder{})
	if err != nil {
		return err
	}
	defer stop()
	https, err := newHTTPS()
	if err != nil {
		return err
	}
	defer https.close()
	// rate replays for a while.
	rate := func(c replay.Config) (float64, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c.Records = stopAfter{cfg.Duration, cancel}
		c.Files, c.Stdin = []string{"-"}, set.open()
		c.Mode, c.Pace, c.Protocol = replay.ModePacket, replay.PaceMax, flow.OpenFlow13
		sum, err := replay.Run(ctx, c)
		return sum.PerSecond(), err
	}
	var flood, toGateway, toHTTPS, client, bare []float64
	for range cfg.Rounds {
		f, err := bench.Controller(ctx, bench.ControllerConfig{Target: addr, Mode: bench.Flood, Runs: 1, Duration: cfg.Duration, WarmUp: cfg.Duration / 10})
		if err != nil {
			return err
		}
		flood = append(flood, f.PerSecond.Median)
		v, err := rate(replay.Config{Gateways: []string{addr}, InFlight: 4096})
		if err != nil {
			return err
		}
		toGateway = append(toGateway, v)
		if v, err = rate(replay.Config{Decider: https.client, InFlight: r.Concurrency}); err != nil {
			return err
		}
		toHTTPS = append(toHTTPS, v)
		t, err := bench.Function(ctx, bench.FunctionConfig{
			Decider: https.client, HTTP: https.server.Client(), URL: https.server.URL, Concurrency: r.Concurrency, Rounds: 1, Duration: cfg.Duration, WarmUp: cfg.Duration / 5,
		})
		if err != nil {
			return err
		}
		client, bare = append(client, t.Decider.Throughput.Median), append(bare, t.Bare.Throughput.Median)
	}
	r.Flood, r.Replay = stats.SpreadOf(flood), stats.SpreadOf(toGateway)
	r.ReplayHTTPS, r.ClientHTTPS, r.BareHTTPS = stats.SpreadOf(toHTTPS), stats.SpreadOf(client), stats.SpreadOf(bare)
	return nil
}

// stopAfter ends a replay, counted from its first event, not from when it connects.
type stopAfter struct {
	after time.Duration
	stop  context.CancelFunc
}

func (s stopAfter) Record(r *replay.Record) error {
	if r.Sent >= s.after {
		s.stop()
	}
	return nil
}

func (stopAfter) Flush() error { return nil }

// https is a function that answers at once, and the gateway's client of it.
type https struct {
	server *httptest.Server
	client *httpclient.Client
	dir    string
}

func newHTTPS() (h *https, err error) {
	h = &https{}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contract.TypeOpenFlow) // and no message: a decision to drop
	}))
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that were dialled ahead and not needed
	h.server.StartTLS()
	t := h.server.Client().Transport.(*http.Transport)
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 512
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.dir, err = os.MkdirTemp("", "switchbridge-calibrate-"); err != nil {
		return nil, err
	}
	ca := filepath.Join(h.dir, "ca.pem")
	if err = os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw}), 0o600); err != nil {
		return nil, err
	}
	h.client, err = httpclient.New(httpclient.Config{
		Endpoints: []string{h.server.URL}, CAFile: ca, Codec: openflow.Codec{}, MaxTries: 1, RetryBudget: -1, MaxIdle: 512,
	})
	return h, err
}

func (h *https) close() {
	if h.client != nil {
		h.client.Close()
	}
	h.server.Close()
	os.RemoveAll(h.dir)
}

// known measures a sink that takes delay, by both tools.
func known(ctx context.Context, delay, duration time.Duration) (Error, error) {
	e := Error{Delay: delay}
	addr, stop, err := responder(ctx, bench.Responder{Delay: delay})
	if err != nil {
		return e, err
	}
	defer stop()
	c, err := bench.Controller(ctx, bench.ControllerConfig{Target: addr, Runs: 1, Duration: duration, WarmUp: duration / 5})
	if err != nil {
		return e, err
	}
	set, err := newSets()
	if err != nil {
		return e, err
	}
	timed, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := replay.Run(timed, replay.Config{
		Gateways: []string{addr}, Files: []string{"-"}, Stdin: set.open(), Mode: replay.ModePacket, Pace: replay.PaceMax, Protocol: flow.OpenFlow10, Records: stopAfter{duration, cancel},
	})
	if err != nil {
		return e, err
	}
	e.Controller, e.Replay = less(*c.Latency, delay), less(r.Latency, delay)
	return e, nil
}

func less(l stats.Latency, d time.Duration) stats.Latency {
	for _, v := range []*time.Duration{&l.Min, &l.P10, &l.P50, &l.P90, &l.P99, &l.Max, &l.Mean} {
		*v -= d
	}
	return l
}

// omission replays n events, a gap apart, to a sink that takes two gaps.
func omission(ctx context.Context, n int, gap time.Duration) (Omission, error) {
	o := Omission{Events: n, Gap: gap}
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return o, err
	}
	for i := range n {
		frame := frames.TCP(frames.Host(1).At(uint16(1024+i)), frames.Host(2).At(80), frames.SYN, nil)
		at := time.Unix(1e9, 0).Add(time.Duration(i) * gap)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			return o, err
		}
	}
	slow := func(_ context.Context, _ *flow.Event, d *flow.Decision) error {
		bench.WaitUntil(time.Now().Add(2 * gap))
		d.Verdict = flow.Deny
		return nil
	}
	sum, err := replay.Run(ctx, replay.Config{Files: []string{"-"}, Stdin: &b, Decider: flow.DeciderFunc(slow), InFlight: 1})
	if err != nil {
		return o, err
	}
	o.FromSent, o.FromDue = sum.Latency.P50, sum.FromDue.P50
	// Event k, from 0, is due at k gaps and answered at 2(k+1).
	median := (n+1)/2 - 1
	o.Expect = time.Duration(2*(median+1)-median) * gap
	return o, nil
}

// WriteText writes the result for a person.
func (r *Result) WriteText(w io.Writer) error {
	var err error
	p := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	p("events/s to a sink that answers at once (median, min to max):\n")
	for _, row := range []struct {
		name string
		s    stats.Spread
	}{
		{"bench controller, flood", r.Flood}, {"replay to a gateway, packet mode", r.Replay},
		{fmt.Sprintf("replay over HTTPS, %d at a time", r.Concurrency), r.ReplayHTTPS}, {"the gateway's HTTPS client alone", r.ClientHTTPS}, {"a bare HTTPS client", r.BareHTTPS},
	} {
		p("  %-36s %10.0f  %10.0f to %.0f\n", row.name, row.s.Median, row.s.Min, row.s.Max)
	}
	p("  replay / bare client over HTTPS: %.2f\n", r.ReplayHTTPS.Median/max(1, r.BareHTTPS.Median))
	p("measured latency less that of a sink that takes a known time, µs:\n")
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	for _, e := range r.Errors {
		p("  sink takes %-6v bench controller p50 %+7.1f  p99 %+7.1f   replay p50 %+7.1f  p99 %+7.1f\n", e.Delay,
			us(e.Controller.P50), us(e.Controller.P99), us(e.Replay.P50), us(e.Replay.P99))
	}
	o := r.OmissionDue
	p("%d events due every %v to a sink that takes twice that, one at a time: median %.1f ms from when due (computed: %.1f), %.1f from when sent\n",
		o.Events, o.Gap, us(o.FromDue)/1e3, us(o.Expect)/1e3, us(o.FromSent)/1e3)
	return err
}
