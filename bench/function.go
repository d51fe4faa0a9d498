package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/oftest"
)

// FunctionConfig says what to measure. Zero values take the defaults named.
type FunctionConfig struct {
	// Decider is the client that the gateway would use. Its retries and hedges
	// should be off, or they are measured too.
	Decider flow.Decider

	// The bare transport, for the baseline: the same event's bytes, posted to
	// URL by HTTP with Header added, and the answer read and thrown away.
	// HTTP nil: no baseline.
	HTTP   *http.Client
	URL    string
	Header http.Header

	Concurrency int           // of the throughput part: 64
	Rounds      int           // interleaved, decider and baseline in turn: 5
	Duration    time.Duration // of each part of a round: 1 s
	WarmUp      time.Duration // before the first round, each way: 500 ms
}

// Timing is one way of asking a function.
type Timing struct {
	Latency    stats.Latency `json:"latency"`      // one event at a time
	Throughput stats.Spread  `json:"events_per_s"` // many at a time, a figure a round
	Failed     int64         `json:"failed"`       // events without an answer, not in the figures
}

// FunctionResult is what Function measured.
type FunctionResult struct {
	Concurrency int     `json:"concurrency"`
	Decider     Timing  `json:"decider"`
	Bare        *Timing `json:"bare_transport,omitempty"`
}

// Function measures the latency and the throughput of a function, beside its
// bare transport. It fails where no event at all is answered.
func Function(ctx context.Context, cfg FunctionConfig) (*FunctionResult, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.Concurrency, 64)
	def(&cfg.Rounds, 5)
	if cfg.Duration == 0 {
		cfg.Duration = time.Second
	}
	if cfg.WarmUp == 0 {
		cfg.WarmUp = 500 * time.Millisecond
	}
	res := &FunctionResult{Concurrency: cfg.Concurrency}
	if err := measureFunction(ctx, &cfg, res); err != nil {
		return res, fmt.Errorf("bench function: %w", err)
	}
	return res, nil
}

// asking asks once, as the nth event.
type asking func(ctx context.Context, n int) error

func measureFunction(ctx context.Context, cfg *FunctionConfig, res *FunctionResult) error {
	if cfg.Decider == nil {
		return errors.New("no function")
	}
	way := []struct {
		name string
		ask  asking
		t    *Timing
		h    stats.Histogram
		per  []float64
	}{{name: "the function", ask: decideOnce(cfg.Decider), t: &res.Decider}}
	if cfg.HTTP != nil {
		ask, err := postOnce(cfg)
		if err != nil {
			return err
		}
		res.Bare = &Timing{}
		way = append(way, way[0])
		way[1].name, way[1].ask, way[1].t = "the bare transport", ask, res.Bare
	}
	for i := range way {
		w := &way[i]
		for _, n := range []int{1, cfg.Concurrency} { // connections are dialled, the function starts
			if _, err := ask(ctx, w.ask, n, cfg.WarmUp/2, nil); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for range cfg.Rounds {
		for i := range way {
			w := &way[i]
			one, err := ask(ctx, w.ask, 1, cfg.Duration, &w.h)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			many, err := ask(ctx, w.ask, cfg.Concurrency, cfg.Duration, nil)
			if err != nil {
				return fmt.Errorf("%s, %d at a time: %w", w.name, cfg.Concurrency, err)
			}
			w.per = append(w.per, many.perSecond)
			w.t.Failed += one.failed + many.failed
			w.t.Latency, w.t.Throughput = w.h.Latency(), stats.SpreadOf(w.per)
		}
	}
	return nil
}

type asked struct {
	perSecond float64
	failed    int64
}

// ask keeps n events under way for d. Latencies go into h, where n is 1.
func ask(ctx context.Context, one asking, n int, d time.Duration, h *stats.Histogram) (asked, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var number, answered, failed atomic.Int64
	var lastErr atomic.Pointer[error]
	var all sync.WaitGroup
	begin := time.Now()
	for range n {
		all.Go(func() {
			for ctx.Err() == nil && time.Since(begin) < d {
				start := time.Now()
				if err := one(ctx, int(number.Add(1))); err != nil {
					failed.Add(1)
					lastErr.Store(&err)
					if answered.Load() == 0 && failed.Load() > 100 {
						return // nobody is there
					}
					continue
				}
				answered.Add(1)
				if h != nil {
					h.Record(time.Since(start))
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	if err := ctx.Err(); err != nil {
		return asked{}, err
	}
	if answered.Load() == 0 {
		if err := lastErr.Load(); err != nil {
			return asked{}, fmt.Errorf("no event was answered: %w", *err)
		}
		return asked{}, errors.New("no event was answered")
	}
	return asked{float64(answered.Load()) / took.Seconds(), failed.Load()}, nil
}

// benchEvent is a TCP SYN of the nth flow.
func benchEvent(n int) *flow.Event {
	src := frames.Host(uint8(1 + n%200)).At(uint16(1024 + n/200%60_000))
	frame := frames.TCP(src, frames.Host(250).At(443), frames.SYN, nil)
	return &flow.Event{
		Type: flow.EventPacketIn, ID: fmt.Sprintf("bench-%d", n), Session: "bench", Time: time.Now(), XID: uint32(n)&0x7fffffff | 1,
		Switch:   &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, NTables: 254, Ports: oftest.Ports(4)},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: flow.ParseFrame(frame, 1), Data: frame},
	}
}

func decideOnce(d flow.Decider) asking {
	pool := sync.Pool{New: func() any { return new(flow.Decision) }}
	return func(ctx context.Context, n int) error {
		dec := pool.Get().(*flow.Decision)
		defer pool.Put(dec)
		dec.Reset()
		return d.Decide(ctx, benchEvent(n), dec)
	}
}

// postOnce posts one event's bytes, always the same, in the paper's encoding.
func postOnce(cfg *FunctionConfig) (asking, error) {
	ev := benchEvent(0)
	body, err := (&openflow.Codec{}).AppendEvent(nil, ev)
	if err != nil {
		return nil, err
	}
	head := http.Header{"Content-Type": {contract.TypeOpenFlow}}
	contract.PutEvent(head, ev)
	for k, v := range cfg.Header {
		head[k] = slices.Clone(v)
	}
	return func(ctx context.Context, _ int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, cfg.URL, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header = head
		resp, err := cfg.HTTP.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, flow.MaxBody+1))
		switch {
		case err != nil:
			return err
		case n > flow.MaxBody:
			return fmt.Errorf("an answer of more than %d bytes", flow.MaxBody)
		case resp.StatusCode/100 != 2:
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	}, nil
}

// WriteText writes the result for a person.
func (r *FunctionResult) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("%-16s %9s %9s %9s %9s   %s\n", "latency in µs", "p10", "p50", "p90", "p99", fmt.Sprintf("events/s, %d at a time (median, min to max)", r.Concurrency))
	row := func(name string, t *Timing) {
		us := func(d time.Duration) float64 { return float64(d) / 1e3 }
		p.f("%-16s %9.1f %9.1f %9.1f %9.1f   %.0f, %.0f to %.0f", name, us(t.Latency.P10), us(t.Latency.P50), us(t.Latency.P90), us(t.Latency.P99),
			t.Throughput.Median, t.Throughput.Min, t.Throughput.Max)
		if t.Failed > 0 {
			p.f("   (%d failed)", t.Failed)
		}
		p.f("\n")
	}
	row("function", &r.Decider)
	if r.Bare != nil {
		row("bare transport", r.Bare)
		p.f("function / bare: latency %.2f, throughput %.2f\n", float64(r.Decider.Latency.P50)/float64(max(1, r.Bare.Latency.P50)), r.Decider.Throughput.Median/max(1, r.Bare.Throughput.Median))
	}
	return p.err
}
