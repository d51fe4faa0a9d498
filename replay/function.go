package replay

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// connect makes an asker for each agent. On an error it returns those it made.
func connect(ctx context.Context, cfg *Config) (askers []asker, err error) {
	var gateways []*gateway
	for i := range cfg.Agents {
		sw := &flow.Switch{
			DPID: cfg.FirstDPID + flow.DPID(i), Protocol: cfg.Protocol, NTables: 254, NBuffers: 0, Ports: oftest.Ports(switchPorts),
		}
		if cfg.Decider != nil {
			askers = append(askers, newFunction(cfg, i, sw))
			continue
		}
		g, err := dialGateway(ctx, cfg, cfg.Gateways[i%len(cfg.Gateways)], sw)
		if err != nil {
			return askers, fmt.Errorf("agent %d (%v): %w", i, sw.DPID, err)
		}
		askers, gateways = append(askers, g), append(gateways, g)
	}
	for i, g := range gateways {
		// A gateway that is still configuring the switch drops its PACKET_INs.
		if err := g.settle(ctx, cfg.Timeout); err != nil {
			return askers, fmt.Errorf("agent %d: %w", i, err)
		}
	}
	return askers, nil
}

// function asks a Decider.
type function struct {
	decider flow.Decider
	sw      *flow.Switch
	session string
	steps   [][]byte // of a handshake before each event
}

func newFunction(cfg *Config, agent int, sw *flow.Switch) *function {
	f := &function{decider: cfg.Decider, sw: sw, session: fmt.Sprintf("replay-%d-%d", time.Now().UnixNano(), agent)}
	switch cfg.Handshake {
	case HandshakeTwo:
		f.steps = [][]byte{ofp.AppendHello(nil, 1, cfg.Protocol)}
	case HandshakeFull:
		f.steps = [][]byte{ofp.AppendHello(nil, 1, cfg.Protocol), ofp.AppendFeaturesReply(nil, cfg.Protocol, 2, sw)}
	}
	return f
}

func (f *function) close() error { return nil }

// work asks with a goroutine for each event that may wait.
func (f *function) work(ctx context.Context, r *run, q <-chan *event) {
	var all sync.WaitGroup
	for range r.cfg.InFlight {
		all.Go(func() {
			for ev := range q {
				if ctx.Err() != nil {
					continue
				}
				r.begin(ev)
				// An event that was sent is waited for even if the replay is stopped.
				askCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
				err := f.ask(askCtx, ev)
				cancel()
				r.finish(ev, err)
			}
		})
	}
	all.Wait()
}

func (f *function) ask(ctx context.Context, ev *event) error {
	var d flow.Decision
	decide := func(e flow.Event, step int) error {
		d.Reset()
		e.ID = f.session + "-" + strconv.FormatInt(ev.rec.Event, 10) + "-" + strconv.Itoa(step)
		e.Session, e.Switch, e.Time, e.XID = f.session, f.sw, time.Now(), uint32(ev.rec.Event)|1<<31
		return f.decider.Decide(ctx, &e, &d)
	}
	start := time.Now()
	for i, msg := range f.steps {
		if err := decide(flow.Event{Type: flow.EventHandshake, Handshake: msg}, i); err != nil {
			return fmt.Errorf("step %d of the handshake: %w", i+1, err)
		}
	}
	if f.steps != nil {
		ev.rec.Handshake = time.Since(start)
	}
	err := decide(flow.Event{
		Type: flow.EventPacketIn,
		PacketIn: &flow.PacketIn{
			BufferID: flow.NoBuffer, TotalLen: ev.total, Reason: flow.ReasonNoMatch, Match: ev.rec.Match, Data: ev.frame, Incomplete: ev.rec.Match.Missing(),
		},
	}, len(f.steps))
	if err != nil {
		return err
	}
	ev.rec.Verdict, ev.rec.Rules, ev.rec.Reason = d.Verdict, len(d.Rules), d.Reason
	if ev.rec.Verdict == flow.NoVerdict { // one that says nothing of it: what happens to the packet
		actions, _ := d.PacketActions(&ev.rec.Match)
		ev.rec.Verdict = verdictOf(actions)
	}
	return nil
}

// verdictOf is what a list of actions means for the packet.
func verdictOf(actions []flow.Action) flow.Verdict {
	for _, a := range actions {
		if a.Type == flow.Output {
			return flow.Allow
		}
	}
	return flow.Deny
}
