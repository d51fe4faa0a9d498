package replay

import (
	"context"
	"fmt"
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
type gateway struct {
	sw *oftest.Switch
	v  flow.Protocol

	mu      sync.Mutex
	next    uint32
	waiting map[uint32]chan<- answer
}

type answer struct {
	verdict flow.Verdict
	rules   int
}

func dialGateway(ctx context.Context, cfg *Config, sw *flow.Switch) (*gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	g := &gateway{v: cfg.Protocol, waiting: map[uint32]chan<- answer{}}
	var err error
	g.sw, err = oftest.Dial(ctx, cfg.Gateway, cfg.TLS, oftest.Config{
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

// settle waits until the gateway has done its part of the handshake, which ends
// in a way of its own for each controller: it falls silent.
func (g *gateway) settle(ctx context.Context, limit time.Duration) error {
	const silence = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, max(limit, 2*silence))
	defer cancel()
	return g.sw.Settle(ctx, silence)
}

func (g *gateway) close() error { return g.sw.Close() }

// intercept takes the answers out of what the controller sends; the rest is the
// switch's own to deal with.
func (g *gateway) intercept(h ofp.Header, msg []byte) bool {
	var a answer
	var buffer uint32
	switch h.Type {
	case ofp.TypeFlowMod:
		var r flow.Rule
		if ofp.ParseFlowMod(msg, &r) != nil || r.BufferID == flow.NoBuffer {
			return false
		}
		buffer, a.rules, a.verdict = r.BufferID, 1, verdictOf(r.Actions)
		if r.Goto != 0 {
			a.verdict = flow.Allow
		}
	case ofp.TypePacketOut:
		var p ofp.PacketOut
		if ofp.ParsePacketOut(msg, &p) != nil || p.BufferID == flow.NoBuffer {
			return false
		}
		buffer, a.verdict = p.BufferID, verdictOf(p.Actions)
	default:
		return false
	}
	g.mu.Lock()
	waiter, ok := g.waiting[buffer]
	delete(g.waiting, buffer)
	g.mu.Unlock()
	if ok {
		waiter <- a // has room for one
	}
	return true
}

func (g *gateway) ask(ctx context.Context, ev *event) error {
	waiter := make(chan answer, 1)
	g.mu.Lock()
	buffer := g.next
	g.next = (g.next + 1) % bufferIDs
	g.waiting[buffer] = waiter
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.waiting, buffer)
		g.mu.Unlock()
	}()

	p := flow.PacketIn{BufferID: buffer, TotalLen: ev.total, Reason: flow.ReasonNoMatch, Match: ev.rec.Match, Data: ev.frame}
	msg, err := ofp.AppendPacketIn(nil, g.v, 0, &p)
	if err != nil {
		return err
	}
	if err := g.sw.SendRaw(msg); err != nil {
		return &lostError{fmt.Errorf("the gateway's connection ended: %w", err)}
	}
	select {
	case a := <-waiter:
		ev.rec.Verdict, ev.rec.Rules = a.verdict, a.rules
		return nil
	case <-g.sw.Done():
		return &lostError{fmt.Errorf("the gateway's connection ended: %w", g.sw.Err())}
	case <-ctx.Done():
		return ctx.Err()
	}
}
