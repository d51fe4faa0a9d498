package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// bufferIDs is how many buffers an agent's switch names, in turn: far more than
// wait at a time, so that a late answer is not taken for another's.
const bufferIDs = 1 << 24

// gateway asks an OpenFlow controller from a fake switch. Each PACKET_IN names a
// buffer of its own, by which its answer is known: the first FLOW_MOD or
// PACKET_OUT that names it. A controller that drops a packet without a word is
// a timeout.
//
// One goroutine sends, and the switch's own finishes events as their answers
// come: no goroutine waits for a single event.
type gateway struct {
	sw *oftest.Switch
	v  flow.Protocol

	rule flow.Rule     // the switch's goroutine: the answer that is read
	out  ofp.PacketOut // the same

	mu       sync.Mutex
	room     sync.Cond // of mu: fewer wait, or the connection is lost
	run      *run      // since work
	next     uint32
	waiting  map[uint32]*event
	inFlight int
	lost     error // why no more can be asked

	pending sync.WaitGroup // events that have begun and are not finished
}

func dialGateway(ctx context.Context, cfg *Config, addr string, sw *flow.Switch) (*gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	g := &gateway{v: cfg.Protocol, waiting: map[uint32]*event{}, inFlight: cfg.InFlight}
	g.room.L = &g.mu
	var err error
	g.sw, err = oftest.Dial(ctx, addr, cfg.TLS, oftest.Config{
		DPID: sw.DPID, Versions: []flow.Protocol{cfg.Protocol}, Ports: sw.Ports, NBuffers: bufferIDs, Intercept: g.intercept,
	})
	if err != nil {
		return nil, err
	}
	if err := g.sw.WaitReady(ctx); err != nil {
		g.sw.Close()
		return nil, err
	}
	return g, nil
}

// settle waits until the controller has finished its part of the handshake. Each
// controller ends it in its own way, so settle waits until it sends nothing more.
func (g *gateway) settle(ctx context.Context, limit time.Duration) error {
	const silence = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, max(limit, 2*silence))
	defer cancel()
	return g.sw.Settle(ctx, silence)
}

func (g *gateway) close() error { return g.sw.Close() }

// intercept handles the controller's messages that answer an event. The fake switch
// handles the others.
func (g *gateway) intercept(h ofp.Header, msg []byte) bool {
	var buffer uint32
	var verdict flow.Verdict
	rules := 0
	switch h.Type {
	case ofp.TypeFlowMod:
		if ofp.ParseFlowMod(msg, &g.rule) != nil || g.rule.BufferID == flow.NoBuffer {
			return false
		}
		buffer, rules, verdict = g.rule.BufferID, 1, verdictOf(g.rule.Actions)
		if g.rule.Goto != 0 {
			verdict = flow.Allow
		}
	case ofp.TypePacketOut:
		if ofp.ParsePacketOut(msg, &g.out) != nil || g.out.BufferID == flow.NoBuffer {
			return false
		}
		buffer, verdict = g.out.BufferID, verdictOf(g.out.Actions)
	default:
		return false
	}
	if ev := g.take(buffer); ev != nil {
		ev.rec.Verdict, ev.rec.Rules = verdict, rules
		g.finish(ev, nil)
	}
	return true
}

func (g *gateway) finish(ev *event, err error) {
	g.run.finish(ev, err)
	g.pending.Done()
}

// take removes and returns the event that waits for a buffer, or nil. It wakes the
// sender only when half of the events that may wait are answered.
func (g *gateway) take(buffer uint32) *event {
	g.mu.Lock()
	defer g.mu.Unlock()
	ev := g.waiting[buffer]
	if ev != nil {
		delete(g.waiting, buffer)
		if len(g.waiting) <= g.inFlight/2 {
			g.room.Signal()
		}
	}
	return ev
}

func (g *gateway) work(ctx context.Context, r *run, q <-chan *event) {
	g.mu.Lock()
	g.run = r
	g.mu.Unlock()
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { g.watch(r, ended) })
	var msg []byte
	for ev := range q {
		buffer, err := g.enter(ctx, ev)
		var lost *lostError
		switch {
		case errors.As(err, &lost): // while none waited that could have told
			r.begin(ev)
			r.finish(ev, err)
			continue
		case err != nil:
			continue // dropped, unsent
		}
		p := flow.PacketIn{BufferID: buffer, TotalLen: ev.total, Reason: flow.ReasonNoMatch, Match: ev.rec.Match, Data: ev.frame}
		if msg, err = ofp.AppendPacketIn(msg[:0], g.v, 0, &p); err == nil {
			if err = g.sw.SendRaw(msg); err != nil {
				err = g.lostError(err)
			}
		}
		if err != nil && g.take(buffer) != nil {
			g.finish(ev, err)
		}
	}
	g.pending.Wait()
	close(ended)
	watch.Wait()
}

// enter waits for room and gives ev a buffer. An error says why no more is to be
// sent.
func (g *gateway) enter(ctx context.Context, ev *event) (buffer uint32, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) >= g.inFlight && g.lost == nil {
		g.room.Wait()
	}
	if err := cmp.Or(ctx.Err(), g.lost); err != nil {
		return 0, err
	}
	buffer = g.next
	g.next = (g.next + 1) % bufferIDs
	g.pending.Add(1)
	g.run.begin(ev)
	g.waiting[buffer] = ev
	return buffer, nil
}

// watch finishes events that wait for too long, and all of them where the
// connection ends, until ended is closed.
func (g *gateway) watch(r *run, ended <-chan struct{}) {
	tick := time.NewTicker(max(r.cfg.Timeout/50, time.Millisecond))
	defer tick.Stop()
	for {
		var over []*event
		var err error
		select {
		case <-ended:
			return
		case <-g.sw.Done():
			err = g.lostError(g.sw.Err())
			g.mu.Lock()
			g.lost = err
			over = g.remove(func(*event) bool { return true })
			g.mu.Unlock()
		case <-tick.C:
			err = context.DeadlineExceeded
			since := time.Since(r.start) - r.cfg.Timeout
			g.mu.Lock()
			over = g.remove(func(ev *event) bool { return ev.rec.Sent <= since })
			g.mu.Unlock()
		}
		for _, ev := range over {
			g.finish(ev, err)
		}
		if g.lost != nil { // only this goroutine writes it
			return
		}
	}
}

// remove takes out the events that have no more to wait for, in their order. The
// caller holds mu.
func (g *gateway) remove(over func(*event) bool) (list []*event) {
	for buffer, ev := range g.waiting {
		if over(ev) {
			delete(g.waiting, buffer)
			list = append(list, ev)
		}
	}
	if len(list) > 0 {
		slices.SortFunc(list, func(a, b *event) int { return cmp.Compare(a.rec.Event, b.rec.Event) })
		g.room.Broadcast()
	}
	return list
}

func (g *gateway) lostError(err error) error {
	return &lostError{fmt.Errorf("the gateway's connection ended: %w", err)}
}
