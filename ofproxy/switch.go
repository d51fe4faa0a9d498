package ofproxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// A session is the bridge's [bridge.Switch]. What follows may be called by any
// goroutine.
var _ bridge.Switch = (*session)(nil)

func (s *session) Describe() *flow.Switch { return s.sw.Load() }

// Fit says what the session's version can't express.
func (s *session) Fit(r *flow.Rule, _ *flow.Match) error { return ofp.Fit(s.version, r) }

// FitActions is Fit for a PACKET_OUT.
func (s *session) FitActions(actions []flow.Action, packet *flow.Match) error {
	return ofp.FitPacketOut(s.version, &ofp.PacketOut{InPort: packet.InPort, Actions: actions, Match: packet})
}

// Before is false: OpenFlow looks rules of a table up by priority alone.
func (s *session) Before(_, _ *flow.Rule) bool { return false }

// DeletesByCookie is false for OpenFlow 1.0, whose deletes can't name a cookie.
func (s *session) DeletesByCookie() bool { return s.version != flow.OpenFlow10 }

// Standing returns the table-miss entry. OpenFlow 1.0 needs none.
func (s *session) Standing() []flow.Rule {
	if s.version == flow.OpenFlow10 || s.cfg.NoTableMiss {
		return nil
	}
	return missRules(s.cfg.MissMeter)
}

func (s *session) Flush() error {
	err := s.out.flush()
	if err != nil {
		s.close(err)
	}
	return err
}

// Write appends FLOW_MODs, the PACKET_OUT, and a BARRIER_REQUEST where one is
// wanted, in one stretch of the outbox. With BarrierFirst the packet comes last.
func (s *session) Write(xid uint32, changes []bridge.Change, p *bridge.Packet, confirm bool) error {
	b, err := s.out.begin()
	if err != nil {
		return err
	}
	if role(s.role.Load()) != roleAlone { // Hold sets it under the outbox's lock
		s.out.end(b)
		if p != nil && len(p.In.Data) > 0 {
			s.passOn(p.In)
		}
		return bridge.ErrElsewhere
	}
	var bad []refusedChange
	released, sent := p == nil, 0
	for i := range changes {
		r, use := changes[i].Rule, flow.NoBuffer
		if in := changes[i].Remove; in != nil {
			r = s.strictDelete(&in.Rule)
		} else if p != nil {
			use = s.buffer(i, p.Rule, p.In.BufferID) // the switch sends the packet on by its new rule
		}
		next, err := ofp.AppendFlowMod(b, s.version, xid, r, use)
		if err != nil { // Fit has let it pass
			bad = append(bad, refusedChange{i, err})
			continue
		}
		b = next
		sent++
		released = released || use != flow.NoBuffer
	}
	if sent > 0 && s.cfg.BarrierFirst {
		if confirm {
			b = s.afterBarrier(b, xid)
		} else {
			b = ofp.AppendBarrierRequest(b, s.version, s.srv.bridge.Number())
		}
	}
	if !released {
		b = s.release(b, xid, p)
	}
	if sent > 0 && confirm && !s.cfg.BarrierFirst {
		b = s.afterBarrier(b, xid) // last: the packet need not wait for the switch's answer
	}
	s.out.end(b)
	core := s.core.Load()
	for _, c := range bad {
		core.Written(xid, c.index, &bridge.Refusal{SwitchError: flow.SwitchError{XID: xid, Name: c.err.Error()}})
	}
	if confirm && sent == 0 {
		core.Written(xid, -1, nil)
	}
	return nil
}

type refusedChange struct {
	index int
	err   error
}

// buffer returns the buffer that the rule with index i carries, where the rule
// with index releasing lets the packet go from buffer id.
func (s *session) buffer(i, releasing int, id uint32) uint32 {
	if i != releasing || s.cfg.BarrierFirst {
		return flow.NoBuffer
	}
	return id
}

// strictDelete is the message that removes one rule and no other: in 1.3 only
// while it has the same cookie, so that a rule that took its place stays.
func (s *session) strictDelete(r *flow.Rule) *flow.Rule {
	d := &flow.Rule{Command: flow.DeleteStrict, Table: r.Table, Priority: r.Priority, Match: r.Match, OutPort: flow.PortAny}
	if s.version != flow.OpenFlow10 {
		d.Cookie, d.CookieMask = r.Cookie, ^uint64(0)
	}
	return d
}

// barrierWait is how long a decision waits for a switch to answer the BARRIER
// after its rules.
const barrierWait = 2 * time.Second

// afterBarrier appends a BARRIER_REQUEST. When the switch has answered it, or
// barrierWait has passed, it tells the bridge, once.
func (s *session) afterBarrier(b []byte, decision uint32) []byte {
	return s.onBarrier(b, func() { s.core.Load().Written(decision, -1, nil) })
}

// onBarrier appends a BARRIER_REQUEST. f is called once, when the switch has answered it or barrierWait has passed.
func (s *session) onBarrier(b []byte, f func()) []byte {
	xid := s.srv.bridge.Number()
	once := sync.OnceFunc(f)
	timer := time.AfterFunc(barrierWait, func() {
		s.mu.Lock()
		delete(s.barriers, xid)
		s.mu.Unlock()
		once()
	})
	s.mu.Lock()
	if s.barriers == nil {
		s.barriers = make(map[uint32]func())
	}
	s.barriers[xid] = func() { timer.Stop(); once() }
	s.mu.Unlock()
	return ofp.AppendBarrierRequest(b, s.version, xid)
}

// release appends the message that sends a packet on, or frees its buffer in the switch.
func (s *session) release(b []byte, xid uint32, p *bridge.Packet) []byte {
	pi := p.In
	out := ofp.PacketOut{BufferID: pi.BufferID, InPort: pi.Match.InPort, Actions: p.Actions, Match: &pi.Match}
	core := s.core.Load()
	if pi.BufferID == flow.NoBuffer {
		switch {
		case len(p.Actions) == 0:
			return b
		case len(pi.Data) == 0:
			return b // a digest: there is nothing to send
		case pi.TotalLen > len(pi.Data):
			core.Drop("truncated")
			core.Warn("truncated", "packet not sent on: the switch kept no buffer and sent only its start", "total_len", pi.TotalLen, "data", len(pi.Data))
			return b
		}
		out.Data = pi.Data
	}
	next, err := ofp.AppendPacketOut(b, s.version, xid, &out)
	if err == nil {
		return next
	}
	core.Drop("packet_out_not_expressible")
	core.Warn("packet_out", "packet dropped: its actions can't be expressed", "decision", xid, "actions", flow.ActionsString(p.Actions), "err", err)
	if pi.BufferID != flow.NoBuffer {
		out.Actions = nil
		if next, err := ofp.AppendPacketOut(b, s.version, xid, &out); err == nil {
			return next
		}
	}
	return b
}

// query is a request for statistics that is under way.
type query struct {
	want ofp.StatsType
	each func(*ofp.FlowStats) error
	done chan error // capacity 1

	mu    sync.Mutex // held while each runs
	ended bool       // each must not be called any more
}

// entry calls each, unless the caller of List has returned.
func (q *query) entry(st *ofp.FlowStats) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return errQueryEnded
	}
	return q.each(st)
}

var errQueryEnded = errors.New("the flow statistics came too late")

func (q *query) finish(err error) {
	select {
	case q.done <- err:
	default:
	}
}

// List asks for flow statistics and calls each, on the owner's goroutine, for
// every entry that f selects.
func (s *session) List(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	req := ofp.FlowStatsRequest{Table: 0xff, OutPort: flow.PortAny}
	if s.version != flow.OpenFlow10 {
		req.Cookie, req.CookieMask = f.Cookie, f.Mask
	}
	if f.Match != nil {
		req.Match = *f.Match
	}
	var in bridge.Installed
	q := &query{want: ofp.StatsFlow, done: make(chan error, 1), each: func(st *ofp.FlowStats) error {
		if !f.Selects(st.Rule.Cookie) {
			return nil
		}
		in = bridge.Installed{Rule: st.Rule, Duration: st.Duration, Packets: st.Packets, Bytes: st.Bytes, Forwards: st.MayForward()}
		if in.Hidden = len(st.Unknown) > 0; in.Hidden {
			in.Text = st.String()
		}
		return each(&in)
	}}
	xid := s.srv.bridge.Number()
	var failed error
	s.mu.Lock()
	if s.queries == nil {
		s.queries = make(map[uint32]*query)
	}
	s.queries[xid] = q
	s.mu.Unlock()
	err := s.send(func(b []byte) []byte {
		next, err := ofp.AppendFlowStatsRequest(b, s.version, xid, &req)
		if err != nil {
			failed = err
			return b
		}
		return next
	})
	if err == nil && failed == nil {
		err = s.out.flush()
	}
	if err == nil {
		err = failed
	}
	if err == nil {
		select {
		case err = <-q.done:
		case <-s.ctx.Done():
			err = fmt.Errorf("the switch disconnected")
		case <-ctx.Done():
			err = fmt.Errorf("the switch gave no flow statistics: %w", context.Cause(ctx))
		}
	}
	s.mu.Lock()
	delete(s.queries, xid)
	s.mu.Unlock()
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	return err
}

func (s *session) statsReply(h ofp.Header, msg []byte) error {
	kind, _, err := ofp.ParseStatsType(msg)
	if err != nil {
		return err
	}
	if kind == ofp.StatsDesc {
		d, err := ofp.ParseDescReply(msg)
		if err != nil {
			return err
		}
		s.desc.Store(&d)
		if s.state.Load() == stateReady {
			s.advise(&d)
		}
		return nil
	}
	s.mu.Lock()
	q := s.queries[h.XID]
	s.mu.Unlock()
	if q == nil || kind != q.want {
		return nil
	}
	more, err := ofp.ParseFlowStatsReply(msg, q.entry)
	if errors.Is(err, errQueryEnded) {
		return nil
	}
	if err != nil || !more {
		q.finish(err)
	}
	return err
}
