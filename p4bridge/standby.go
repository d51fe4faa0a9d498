package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// errYielded ends a connection, since the other gateway of a pair leads or this one has claimed again; errNotPrimary says that the switch has
// another primary.
var (
	errYielded    = errors.New("the lead has changed")
	errNotPrimary = errors.New("the switch has another primary")
	errNoStream   = errors.New("there is no stream to the switch yet")
)

// demotedWithin is how long a gateway that has handed the lead over keeps its stream, while the other one is not primary yet. Without a primary a switch
// throws away what it would ask about.
const demotedWithin = 10 * time.Second

// Times of a gateway that stands by.
const (
	// heldFor is how long it keeps a packet that the switch has given it: the leader's stream has ended, and either this gateway takes the lead or the
	// leader comes back.
	heldFor   = 2 * time.Second
	heldEvery = 500 * time.Millisecond
)

// markBit is 0 in the election ids of claims, and 1 in that by which a claim asks what the switch has taken (see client.taken).
const markBit = 1

// claimOf is the election id of a claim of the lead, and generationOf the claim's generation.
func claimOf(generation uint64) ElectionID       { return ElectionID{Low: generation << 1} }
func generationOf(election *p4v1.Uint128) uint64 { return election.GetLow() >> 1 }

// standBy waits until this gateway of a pair leads, and returns the generation of its claim. Meanwhile it keeps a stream to the switch as a backup, by an
// election id that is lower than any claim's (P4Runtime 1.3, 5.3): so the connection is there, and it is known whether the switch is. A switch that makes the
// next backup its primary when the leader's stream ends, as BMv2 does, gives its packets to this gateway then. They wait here until it is known who leads.
//
// The backup writes nothing. warm is nil if there is no such stream; else the caller must close it.
func (s *Session) standBy(ctx context.Context, pair bridge.Pair) (generation uint64, warm *client, err error) {
	dpid := s.desc.DPID
	if t := pair.Term(dpid); t.Leads && !t.Holds {
		return t.Generation, nil, nil
	}
	s.status.set("standby", errNoStream)
	gone, dialed := make(chan struct{}), make(chan *client)
	defer close(gone)
	dial := func(pause time.Duration) {
		go func() {
			select {
			case <-time.After(pause):
			case <-gone:
				return
			}
			c, err := s.connect(ctx, claimOf(uint64(pair.Member())+1), nil)
			if err != nil {
				s.noStandby(err)
			}
			select {
			case dialed <- c:
			case <-gone:
				if c != nil {
					c.close()
				}
			}
		}()
	}
	wait := s.pauses()
	dial(0)
	held := time.NewTicker(heldEvery)
	defer held.Stop()
	for {
		t := pair.Term(dpid)
		if t.Leads && !t.Holds {
			return t.Generation, warm, nil
		}
		var told <-chan *p4v1.MasterArbitrationUpdate
		var ended <-chan struct{}
		if warm != nil {
			told, ended = warm.arbitration, warm.ctx.Done()
		}
		select {
		case <-t.Changed:
		case warm = <-dialed:
			if warm == nil {
				dial(wait.NextBackOff())
				continue
			}
			c := warm
			c.done.Go(func() { s.probeStandby(c) })
		case u := <-told:
			wait.Reset()
			s.status.set("standby", nil)
			if warm.term.Load() == nil {
				pair.Seen(dpid, generationOf(u.GetElectionId()))
				s.passHeld(warm, time.Now()) // to the leader, which is there
			}
		case <-ended:
			s.noStandby(s.streamError(warm, false))
			s.passHeld(warm, time.Now())
			warm.close()
			warm = nil
			dial(wait.NextBackOff())
		case now := <-held.C:
			if warm != nil {
				s.passHeld(warm, now.Add(-heldFor))
			}
		case <-ctx.Done():
			if warm != nil {
				warm.close()
			}
			return 0, nil, ctx.Err()
		}
	}
}

// noStandby says that this gateway, which stands by, does not reach the switch.
func (s *Session) noStandby(err error) {
	s.status.set("standby", err)
	s.faults.Warn("standby", "this gateway stands by, and has no stream to the switch", "err", err)
}

// probeStandby asks now and then whether the switch is there, and says if it runs another program than the one that this gateway would push.
func (s *Session) probeStandby(c *client) {
	probe := every(s.cfg.ProbeEvery)
	defer probe.Stop()
	for {
		have, err := c.installedCookie(c.ctx)
		if err != nil {
			c.cancel(fmt.Errorf("probe: %w", err))
			return
		}
		if have != 0 && have != s.cfg.Pipeline.Cookie && s.cfg.Role == "" {
			s.faults.Warn("standby_program", "the switch runs another program than this gateway's: when this one takes the lead it pushes its own, which empties all tables",
				"pipeline", s.cfg.Pipeline.Name, "cookie", have)
		}
		select {
		case <-probe.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// passHeld passes on the packets that a backup has received until a time.
func (s *Session) passHeld(c *client, until time.Time) {
	for ev := c.events.takeUntil(until); ev != nil; ev = c.events.takeUntil(until) {
		if !s.passOn(&ev.pi) {
			c.dropped("disconnected", 1)
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
	o.queue = append(o.queue, &request{then: func() {
		o.mu.Lock()
		o.handed = true
		o.mu.Unlock()
		close(written)
	}})
	o.mu.Unlock()
	o.wakeUp()
	select {
	case <-written:
	case <-o.c.ctx.Done():
		return nil // it governs nothing any more
	case <-ctx.Done():
		return fmt.Errorf("%s has not confirmed what it was sent: %w", s.name, context.Cause(ctx))
	}
	o.c.taken(ctx)
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

// passOn gives a packet to the gateway that leads, or reports false. The other one knows a packet by its frame: one of which the program's header told
// something else is lost.
func (s *Session) passOn(p *flow.PacketIn) bool {
	return len(p.Data) > 0 && s.cfg.Mapping.Frame(p.Data, p.Match.InPort).Match == p.Match && s.cfg.Bridge.Pair().PassOn(s.desc.DPID, p)
}

// passOn is [Session.passOn], and counts what is lost.
func (o *owner) passOn(p *flow.PacketIn) {
	if !o.s.passOn(p) {
		o.core.Drop("disconnected")
	}
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
