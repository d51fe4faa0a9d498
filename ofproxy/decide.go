package ofproxy

import (
	"context"
	"strconv"
	"sync"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/ofproxy/ofp"
)

// task is one event on its way through the pool, with memory of its own.
type task struct {
	s     *session
	ev    flow.Event
	pi    flow.PacketIn
	dec   flow.Decision
	rec   Record
	read  time.Time              // when the event was read
	lead  *decider.Flight[*task] // those who wait for this decision; nil: nobody
	start time.Time              // when a worker took it
}

// packetIn takes a PACKET_IN: decides it in place, or hands it to the pool.
func (s *session) packetIn(msg []byte) {
	m := s.cfg.Metrics
	m.packetIns.Inc()
	s.events.Add(1)
	if s.draining.Load() {
		s.drop("draining")
		return
	}
	if s.srv.local {
		if err := ofp.ParsePacketInVLANs(msg, s.cfg.VLANLimit, &s.pi); err != nil {
			s.badPacketIn(msg, err)
			return
		}
		s.ev = flow.Event{Type: flow.EventPacketIn, Session: s.id, Time: s.now, XID: s.srv.xid(), Switch: s.sw.Load(), PacketIn: &s.pi}
		if s.paced(&s.ev) {
			return
		}
		s.dec.Reset()
		start := time.Now()
		err := s.cfg.Decider.Decide(s.ctx, &s.ev, &s.dec)
		s.rec = Record{Event: &s.ev, Decision: &s.dec, Err: err, Decide: time.Since(start)}
		s.apply(&s.rec, nil)
		return
	}
	t := &task{s: s, read: s.now}
	if err := ofp.ParsePacketInVLANs(msg, s.cfg.VLANLimit, &t.pi); err != nil {
		s.badPacketIn(msg, err)
		return
	}
	t.pi.Data = append([]byte(nil), t.pi.Data...) // msg is the framer's
	t.ev = flow.Event{Type: flow.EventPacketIn, PacketIn: &t.pi, Switch: s.sw.Load()}
	if s.paced(&t.ev) {
		return
	}
	if s.coalescer != nil {
		lead, place := s.coalescer.Join(&t.pi.Match, t, len(t.pi.Data), s.now)
		switch place {
		case decider.Waits:
			return
		case decider.Full:
			s.drop("coalesce_full")
			return
		}
		t.lead = lead
	}
	s.enqueue(t)
}

// paced drops a packet over a configured rate. It must free the packet's buffer.
func (s *session) paced(ev *flow.Event) bool {
	if s.cfg.Admit == nil || s.cfg.Admit(ev, s.now) == nil {
		return false
	}
	s.drop("rate")
	if b, err := s.out.begin(); err == nil {
		s.out.end(s.release(b, ev, nil))
	}
	return true
}

func (s *session) badPacketIn(msg []byte, err error) {
	s.cfg.Metrics.malformed.WithLabelValues("PACKET_IN").Inc()
	s.drop("malformed")
	s.faults.warn("packet_in", "PACKET_IN can't be read", "len", len(msg), "err", err)
}

func (s *session) drop(cause string) {
	s.drops.Add(1)
	s.cfg.Metrics.drops.WithLabelValues(cause).Inc()
}

// enqueue gives an event to the pool. Only PACKET_INs are ever dropped for want
// of a place: other events are few, and wait beyond the limit.
func (s *session) enqueue(t *task) {
	t.ev.Session, t.ev.Time, t.ev.XID, t.ev.Switch = s.id, t.read, s.srv.xid(), s.sw.Load()
	t.ev.ID = s.id + "-" + strconv.FormatUint(uint64(t.ev.XID), 10)
	if s.srv.pool.submit(&s.queue, t.run, t.ev.Type != flow.EventPacketIn) {
		return
	}
	s.drop("queue_full")
	s.faults.warn("queue_full", "PACKET_INs are dropped: the function does not keep up", "waiting", s.queue.limit)
	s.follow(t.lead)
}

// run decides the event on a goroutine of the pool.
func (t *task) run() {
	s := t.s
	t.start = time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.EventTimeout)
	err := s.cfg.Decider.Decide(ctx, &t.ev, &t.dec)
	cancel()
	t.rec = Record{Event: &t.ev, Decision: &t.dec, Err: err, Wait: t.start.Sub(t.read), Decide: time.Since(t.start)}
	s.apply(&t.rec, t.lead)
	if err := s.out.flush(); err != nil {
		s.close(err)
	}
}

// follow sends the packets that waited for a decision by its rules, or has each
// decided on its own. It runs when the switch has the rules, or will get none.
func (s *session) follow(lead *decider.Flight[*task]) {
	if s.coalescer == nil || lead == nil {
		return
	}
	tasks, actions, by := s.coalescer.Release(lead)
	if !by {
		for _, t := range tasks {
			s.enqueue(t)
		}
		return
	}
	if len(tasks) == 0 {
		return
	}
	s.cfg.Metrics.coalesced.Add(float64(len(tasks)))
	b, err := s.out.begin()
	if err != nil {
		for range tasks {
			s.drop("slow_reader")
		}
		return
	}
	for _, t := range tasks {
		t.ev.XID = s.srv.xid()
		b = s.release(b, &t.ev, actions)
	}
	s.out.end(b)
	if err := s.out.flush(); err != nil {
		s.close(err)
	}
}

// barrierWait is how long packets wait for a switch to answer the BARRIER after
// the rules that they are to follow.
const barrierWait = 2 * time.Second

// afterBarrier appends a BARRIER_REQUEST and has f called, once, when it is
// answered or barrierWait has passed.
func (s *session) afterBarrier(b []byte, f func()) []byte {
	xid := s.srv.xid()
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

// apply carries a decision out: the rules, then the packet, in one stretch of
// the outbox. It runs on the owner's goroutine or a worker's. Those who wait
// for lead follow when the switch has the rules.
func (s *session) apply(rec *Record, lead *decider.Flight[*task]) {
	ev, d := rec.Event, rec.Decision
	sw := ev.Switch
	if rec.Err == nil {
		s.observePolicy(d)
	} else {
		d.Reset()
	}
	rec.Switch, rec.Remote = sw, s.remote
	rec.Cookie = s.cfg.Gateway.Cookie(d.Policy, ev.XID)
	if lead != nil && rec.Err == nil {
		s.coalescer.Decided(lead, d, time.Now())
	}

	b, err := s.out.begin()
	if err != nil {
		if ev.PacketIn != nil {
			s.drop("slow_reader")
		}
		s.follow(lead) // nobody waits for rules that will not come
		return
	}
	start := len(b)
	buffer, released := flow.NoBuffer, true
	var actions []flow.Action
	rule := -1
	if pi := ev.PacketIn; pi != nil {
		buffer, released = pi.BufferID, false
		actions, rule = d.PacketActions(&pi.Match)
	}
	for i := range d.Rules {
		r := &d.Rules[i]
		r.Cookie = rec.Cookie
		use := flow.NoBuffer
		if i == rule && buffer != flow.NoBuffer && r.Goto == 0 && !s.cfg.BarrierFirst {
			use = buffer // the switch sends the packet on by its new rule
		}
		next, err := ofp.AppendFlowMod(b, s.version, ev.XID, r, use)
		if err != nil {
			rec.Refused++
			s.cfg.Metrics.rules.WithLabelValues("not_expressible").Inc()
			s.faults.warn("not_expressible", "rule not installed", "decision", ev.XID, "rule", r.String(), "reason", d.Reason, "err", err)
			continue
		}
		b = next
		released = released || use != flow.NoBuffer
		s.cfg.Metrics.installed.Inc()
	}
	waits := false
	if sent := b[start:]; len(sent) > 0 {
		s.ledger.note(ev.XID, ev, d, sent)
		switch {
		case lead != nil:
			waits = true
			b = s.afterBarrier(b, func() { s.follow(lead) })
		case s.cfg.BarrierFirst:
			b = ofp.AppendBarrierRequest(b, s.version, s.srv.xid())
		}
	}
	if !released {
		b = s.release(b, ev, actions)
	}
	s.out.end(b)
	s.report(rec)
	if !waits {
		s.follow(lead)
	}
}

// observePolicy compares the version of an answer to the newest seen: a newer
// one has all switches asked for again and swept, an older one's rules go soon.
func (s *session) observePolicy(d *flow.Decision) {
	if d.Policy.IsZero() {
		return
	}
	before := s.cfg.Versions.Latest()
	switch fresh, now := s.cfg.Versions.Observe(d.Policy); fresh {
	case decider.Newer:
		if before.IsZero() { // each session's own resync sweeps
			s.log.Info("policy version", "policy", now.String())
			return
		}
		s.log.Info("policy version", "policy", now.String(), "before", before.String())
		s.srv.PolicyChanged()
	case decider.Older:
		decider.Expire(d)
	}
}

// release appends what sends a packet on its way, or frees its buffer.
func (s *session) release(b []byte, ev *flow.Event, actions []flow.Action) []byte {
	pi := ev.PacketIn
	out := ofp.PacketOut{BufferID: pi.BufferID, InPort: pi.Match.InPort, Actions: actions}
	if pi.BufferID == flow.NoBuffer {
		switch {
		case len(actions) == 0:
			return b
		case len(pi.Data) == 0:
			return b // a digest: there is nothing to send
		case pi.TotalLen > len(pi.Data):
			s.drop("truncated")
			s.faults.warn("truncated", "packet not sent on: the switch kept no buffer and sent only its start", "total_len", pi.TotalLen, "data", len(pi.Data))
			return b
		}
		out.Data = pi.Data
	}
	next, err := ofp.AppendPacketOut(b, s.version, ev.XID, &out)
	if err == nil {
		return next
	}
	s.drop("packet_out_not_expressible")
	s.faults.warn("packet_out", "packet dropped: its actions can't be expressed", "decision", ev.XID, "actions", flow.ActionsString(actions), "err", err)
	if pi.BufferID != flow.NoBuffer {
		out.Actions = nil
		if next, err := ofp.AppendPacketOut(b, s.version, ev.XID, &out); err == nil {
			return next
		}
	}
	return b
}

// report counts a decision and hands it to whoever records decisions.
func (s *session) report(rec *Record) {
	m := s.cfg.Metrics
	rec.Total = time.Since(rec.Event.Time)
	if rec.Event.Type == flow.EventPacketIn {
		m.stageMake.Observe(rec.Decide.Seconds())
		m.stageTotal.Observe(rec.Total.Seconds())
		if rec.Wait > 0 {
			m.stageWait.Observe(rec.Wait.Seconds())
		}
		if rec.Err != nil {
			s.drop(flow.KindOf(rec.Err).String())
		} else if failure := rec.Decision.Failure; failure != nil && len(rec.Decision.PacketOut) == 0 {
			s.drop(flow.KindOf(failure).String()) // by fail mode secure
		}
	}
	if s.cfg.OnDecision != nil {
		s.cfg.OnDecision(rec)
	}
}
