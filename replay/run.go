package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
	"switchbridge/replay/capture"
)

// event is one packet on its way to an asker and, with rec filled, to the
// collector.
type event struct {
	rec   Record
	frame []byte
	total int // bytes on the wire

	kind string // of the error, for the summary
}

// asker gets one agent's events answered. An error that is a [lostError] ends
// the replay; any other is the event's own.
type asker interface {
	// work asks the events of q, InFlight of them at a time, until q is closed;
	// then it waits for the last answers. Each event it passes to r.begin just
	// before it asks, and then to r.finish with rec.Verdict, Rules, Reason and
	// Handshake filled. After ctx is done the rest of q is dropped, unsent.
	work(ctx context.Context, r *run, q <-chan *event)
	close() error
}

// lostError means that the agent can't ask any more.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// queueLen is how many events of one agent may wait for a worker before the
// reader of the capture waits too.
const queueLen = 4096

// run is one replay under way. The dispatcher (the caller's goroutine) reads the
// capture and sends each event to its agent's queue when it is due; the agent's
// workers ask; the collector alone touches the records and the summary.
type run struct {
	cfg     *Config
	start   time.Time
	reader  *capture.Reader
	queues  []chan *event
	done    chan *event
	waiting atomic.Int64 // events sent and not answered
	sent    atomic.Int64
	answers atomic.Int64
	levels  [len(Summary{}.InFlight)]atomic.Int64
	// spare has events that are over, of a gateway: nobody else keeps anything of
	// them. A Decider may, when its time is over.
	spare sync.Pool

	cancel context.CancelCauseFunc // stops the dispatcher
	sum    Summary                 // the dispatcher's part
}

// Run replays. What has been measured is returned with every error: one that
// names file and packet where a capture is bad, the agent where a gateway ends a
// connection, and the records where they can't be written. Where no event was
// answered, it says what became of the last. A cancelled ctx is no error: what
// was sent is still waited for, and the summary says Interrupted.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	sum, err := replay(ctx, &cfg)
	if err != nil {
		err = fmt.Errorf("replay: %w", err)
	}
	return sum, err
}

func replay(ctx context.Context, cfg *Config) (*Summary, error) {
	if err := cfg.defaults(); err != nil {
		return &Summary{}, &ConfigError{err}
	}
	reader, err := capture.NewReader(cfg.Stdin, cfg.Files...)
	if err != nil {
		return &Summary{}, err
	}
	defer reader.Close()
	askers, err := connect(ctx, cfg)
	defer func() {
		for _, a := range askers {
			a.close()
		}
	}()
	if err != nil {
		return &Summary{}, err
	}

	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{cfg: cfg, reader: reader, start: time.Now(), done: make(chan *event, queueLen), cancel: cancel}
	var workers sync.WaitGroup
	for _, a := range askers {
		q := make(chan *event, queueLen)
		r.queues = append(r.queues, q)
		workers.Go(func() { a.work(ctx, r, q) })
	}
	collected := make(chan *collector)
	go func() { collected <- r.collect() }()

	err = r.dispatch(ctx)
	for _, q := range r.queues {
		close(q)
	}
	workers.Wait()
	close(r.done)
	c := <-collected

	sum := &c.sum
	sum.Packets, sum.Truncated, sum.NotIP, sum.ClockBack, sum.Bad = r.sum.Packets, r.sum.Truncated, r.sum.NotIP, reader.ClockBack, reader.Bad
	sum.Elapsed = time.Since(r.start)
	sum.Latency, sum.FromDue = c.latency.Latency(), c.fromDue.Latency()
	for i := range sum.InFlight {
		sum.InFlight[i] = r.levels[i].Load()
	}
	cause := context.Cause(ctx)
	switch {
	case caller.Err() != nil && cause == context.Cause(caller):
		sum.Interrupted = true
		return sum, nil
	case cause != nil: // an agent or the records failed, which stopped the dispatcher
		return sum, cause
	case err != nil:
		return sum, err
	case sum.Packets == 0:
		return sum, errors.New("no packet in that part of the capture")
	case sum.Answered == 0:
		return sum, fmt.Errorf("none of %d events was answered, the last because of: %s", sum.Events, c.lastError)
	}
	return sum, nil
}

// dispatch reads the capture to its end, or until ctx is done or a file is bad.
func (r *run) dispatch(ctx context.Context) error {
	known := newFlows(r.cfg.FlowTimeout)
	var n int64
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		p, err := r.reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Offset < r.cfg.From {
			continue
		}
		if r.cfg.To != 0 && p.Offset >= r.cfg.To {
			return nil
		}
		match := flow.Parser{}.Parse(p.Frame, p.WireLen, 0)
		r.sum.Packets++
		if p.Truncated() {
			r.sum.Truncated++
		}
		if match.Fields&(flow.FieldIPSrc|flow.FieldARPOp) == 0 {
			r.sum.NotIP++
		}
		if r.cfg.Mode == ModeFlow && !known.isNew(keyOf(&match), p.Offset) {
			continue
		}
		if n++; r.cfg.Limit > 0 && n > r.cfg.Limit {
			return nil
		}
		ev := r.event(n, p, match)
		if r.cfg.Pace == PaceReal {
			ev.rec.Due = time.Duration(float64(p.Offset-r.cfg.From) / r.cfg.Speed)
			if wait := ev.rec.Due - time.Since(r.start); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					return nil
				}
			}
		}
		select {
		case r.queues[ev.rec.Agent] <- ev: // far cheaper than a choice of two
			continue
		default:
		}
		select {
		case r.queues[ev.rec.Agent] <- ev:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (r *run) event(n int64, p *capture.Packet, match flow.Match) *event {
	h := hash(&match)
	agent := int(h % uint32(r.cfg.Agents))
	if r.cfg.Split == SplitTime {
		agent = int(p.Offset / time.Second % time.Duration(r.cfg.Agents))
	}
	if match.SetInPort(p.InPort); p.InPort == 0 {
		match.SetInPort(r.cfg.Ports.of(&match))
	}
	ev, ok := r.spare.Get().(*event)
	if !ok {
		ev = &event{}
	}
	*ev = event{
		rec: Record{
			Event: n, Agent: agent, DPID: r.cfg.FirstDPID + flow.DPID(agent), File: p.File, Packet: p.Number, Time: p.Time, Match: match,
		},
		frame: append(ev.frame[:0], p.Frame...), total: min(p.WireLen, math.MaxUint16), // all that total_len can say
	}
	return ev
}

// begin counts an event that is about to be sent.
func (r *run) begin(ev *event) {
	level := r.waiting.Add(1) - 1
	r.levels[min(level, int64(len(r.levels)-1))].Add(1)
	r.sent.Add(1)
	ev.rec.Sent = time.Since(r.start)
	if r.cfg.Pace == PaceMax {
		ev.rec.Due = ev.rec.Sent
	}
}

// finish gives an event that began to the collector, with the error that it came
// to. The caller does not touch it afterwards.
func (r *run) finish(ev *event, err error) {
	ev.rec.Latency = time.Since(r.start) - ev.rec.Sent
	r.waiting.Add(-1)
	if err != nil {
		ev.rec.Error = err.Error()
		ev.kind = kindOf(err)
		var lost *lostError
		if errors.As(err, &lost) {
			r.cancel(fmt.Errorf("agent %d (%v), event %d: %w", ev.rec.Agent, ev.rec.DPID, ev.rec.Event, err))
		}
	} else {
		r.answers.Add(1)
	}
	r.done <- ev
}

// kindOf is how the summary counts an error.
func kindOf(err error) string {
	var lost *lostError
	switch {
	case errors.As(err, &lost):
		return "connection lost"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return flow.KindOf(err).String()
}

// collect writes records and adds them up until done is closed. Records that
// can't be written stop the replay; those that were are kept.
func (r *run) collect() *collector {
	c := &collector{}
	records := r.cfg.Records
	failed := func(err error) {
		records = nil
		r.cancel(fmt.Errorf("writing the records: %w", err))
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case ev, ok := <-r.done:
			if !ok {
				if records != nil {
					if err := records.Flush(); err != nil {
						failed(err)
					}
				}
				r.progress()
				return c
			}
			c.add(&ev.rec, ev.kind)
			if records != nil {
				if err := records.Record(&ev.rec); err != nil {
					failed(err)
				}
			}
			if r.cfg.Decider == nil {
				r.spare.Put(ev)
			}
		case <-tick.C:
			r.progress()
		}
	}
}

func (r *run) progress() {
	if r.cfg.OnProgress == nil {
		return
	}
	p := Progress{Events: r.sent.Load(), Answered: r.answers.Load(), Elapsed: time.Since(r.start)}
	p.Read, p.Size = r.reader.Progress()
	r.cfg.OnProgress(p)
}
