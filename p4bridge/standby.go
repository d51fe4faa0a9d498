package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// errYielded ends a connection, since the other gateway of a pair leads or this one has claimed again; errNotPrimary says that the switch has
// another primary.
var (
	errYielded    = errors.New("the lead has changed")
	errNotPrimary = errors.New("the switch has another primary")
)

// demotedWithin is how long a gateway that has handed the lead over keeps its stream, while the other one is not primary yet. Without a primary a switch
// throws away what it would ask about.
const demotedWithin = 10 * time.Second

// awaitLead waits until this gateway of a pair leads, and returns the generation of its claim.
func (s *Session) awaitLead(ctx context.Context, pair bridge.Pair) (generation uint64, err error) {
	for {
		t := pair.Term(s.desc.DPID)
		if t.Leads && !t.Holds {
			return t.Generation, nil
		}
		s.status.set("standby", nil)
		select {
		case <-t.Changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// followLead ends a connection when this gateway has a newer claim, or none. The election id of an open stream is never changed: BMv2 would
// take the stream for another client's.
func (s *Session) followLead(c *client, pair bridge.Pair, generation uint64) {
	for {
		t := pair.Term(s.desc.DPID)
		if !t.Leads || t.Generation != generation {
			if o := s.serves.Load(); o != nil && o.held() && !t.Leads {
				select { // until the switch says that the other one is primary
				case <-c.demoted:
				case <-c.ctx.Done():
				case <-time.After(demotedWithin):
				}
			}
			c.cancel(errYielded)
			return
		}
		select {
		case <-t.Changed:
		case <-c.ctx.Done():
			return
		}
	}
}

// Hold prepares a handover of the lead: it waits until the switch has all that was queued for it, and has nothing more written. Packets that still come
// are passed on to the other gateway.
func (s *Session) Hold(ctx context.Context) error {
	o := s.serves.Load()
	if o == nil {
		return nil // it governs nothing
	}
	written := make(chan struct{})
	o.mu.Lock()
	o.holds = true
	o.queue = append(o.queue, &request{then: func() { close(written) }})
	o.mu.Unlock()
	o.wakeUp()
	select {
	case <-written:
	case <-o.c.ctx.Done():
		return nil // it governs nothing any more
	case <-ctx.Done():
		return fmt.Errorf("%s has not confirmed what it was sent: %w", s.name, context.Cause(ctx))
	}
	o.c.sent(ctx)
	// The switch takes packets from its primary alone, and nothing says when it has taken them. What comes behind them on the connection is answered later.
	_, _ = o.c.installedCookie(ctx)
	return nil
}

// Receive takes a packet that the other gateway of the pair has received from the switch. It returns an error if this gateway doesn't govern the switch yet.
func (s *Session) Receive(p *flow.PacketIn) error {
	o := s.serves.Load()
	if o == nil || o.held() {
		return fmt.Errorf("switch %v is not governed here", s.desc.DPID)
	}
	pi := s.cfg.Mapping.Frame(p.Data, p.Match.InPort)
	pi.Reason = p.Reason
	if !o.c.events.put(&event{pi: pi, read: time.Now()}) {
		return fmt.Errorf("switch %v has too many packets to decide", s.desc.DPID)
	}
	return nil
}

// held reports whether the lead is being handed over, or was.
func (o *owner) held() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.holds
}

// passOn gives a packet to the gateway that leads. The other one knows a packet by its frame: one of which the program's header told something else is lost.
func (o *owner) passOn(p *flow.PacketIn) {
	if len(p.Data) > 0 && o.s.cfg.Mapping.Frame(p.Data, p.Match.InPort).Match == p.Match && o.s.cfg.Bridge.Pair().PassOn(o.s.desc.DPID, p) {
		return
	}
	o.core.Drop("disconnected")
}

// passAll passes on the packets that have not been decided, if the other gateway leads or is about to.
func (o *owner) passAll() {
	pair := o.s.cfg.Bridge.Pair()
	if pair == nil || pair.Term(o.s.desc.DPID).Leads && !o.held() {
		return
	}
	for ev := o.c.events.take(); ev != nil; ev = o.c.events.take() {
		o.passOn(&ev.pi)
	}
}
