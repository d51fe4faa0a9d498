package bridge

import (
	"sync"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// job is one event on its way to a decision, and from there to the switch.
type job struct {
	s      *Session
	ev     flow.Event
	pi     flow.PacketIn
	read   time.Time
	done   func()        // tells the protocol that the packet is dealt with; may be nil
	lead   *Flight[*job] // those who wait for this decision; nil: nobody
	owners bool          // it is the owner's, which uses it again for its next packet
	tries  int           // how often it was decided again

	*work // nil while the event waits: a flood's events wait by the thousand
}

// work is what a job needs from when it is decided.
type work struct {
	dec     flow.Decision
	out     guard.Outcome
	rec     Record
	changes []Change
	packet  Packet
	entry   *entry // what the book has of its rules; nil: they rest on no state
	spans   spans
	refused bool // the switch refused one of its rules. Under Session.mu
}

// spare are works of which nothing came.
var spare = sync.Pool{New: func() any { return new(work) }}

func (j *job) finished() {
	if j.done != nil {
		j.done()
	}
}

// PacketIn decides a packet: on the caller's goroutine if the decider is local,
// otherwise on a worker's. The caller may use p again when PacketIn returns. The
// session calls done, if it is not nil, once, when it will do nothing more with the
// packet.
//
// The goroutine that owns the connection calls PacketIn.
func (s *Session) PacketIn(p *flow.PacketIn, now time.Time, done func()) {
	s.m.packetIns.Inc()
	s.tally.events.Add(1)
	if s.draining.Load() {
		s.Drop("draining")
		if done != nil {
			done()
		}
		return
	}
	if s.b.local && s.coalescer == nil {
		if j := s.ownersJob(p, now, done); !s.paced(j, now) {
			s.decide(j)
		}
		return
	}
	if !s.b.local && s.b.pool.full(&s.queue, uint32(p.Match.InPort), len(p.Data)) && !s.coalescer.Has(&p.Match, now) {
		// A flood's packets are mostly dropped: nothing is allocated for those.
		if j := s.ownersJob(p, now, done); !s.paced(j, now) && !s.recall(j) {
			s.crowded(j)
		}
		return
	}
	j := &job{s: s, pi: *p, read: now, done: done}
	if p.Data != nil {
		j.pi.Data = append(make([]byte, 0, len(p.Data)), p.Data...) // p's is the connection's
	}
	j.ev = flow.Event{Type: flow.EventPacketIn, PacketIn: &j.pi, Switch: s.sw.Describe()}
	if s.paced(j, now) {
		return
	}
	j.ev.Switch = nil // see run
	if s.coalescer != nil {
		flight, place := s.coalescer.Join(&j.pi.Match, j, len(j.pi.Data), now)
		switch place {
		case Waits:
			return
		case Full:
			s.Drop("coalesce_full")
			s.free(j)
			return
		case Settled:
			s.straggler(j, flight.Actions())
			return
		}
		j.lead = flight
	}
	s.start(j)
}

// ownersJob returns the job that the owner of the connection uses for one packet
// after the other.
func (s *Session) ownersJob(p *flow.PacketIn, now time.Time, done func()) *job {
	j := s.own
	if j == nil {
		j = &job{s: s, owners: true, work: new(work)}
		s.own = j
	}
	j.ev = flow.Event{Type: flow.EventPacketIn, PacketIn: p}
	s.fill(&j.ev, now)
	j.read, j.done, j.tries, j.spans, j.entry = now, done, 0, spans{}, nil
	j.dec.Reset()
	return j
}

// paced drops a packet that exceeds a configured rate, frees its buffer in the
// switch, and reports whether it did.
func (s *Session) paced(j *job, now time.Time) bool {
	if admit := s.b.live.Load().Admit; admit == nil || admit(&j.ev, now) == nil {
		return false
	}
	s.Drop("rate")
	if j.ev.XID == 0 {
		j.ev.XID = s.b.Number()
	}
	s.free(j)
	return true
}

// free drops a packet for good.
func (s *Session) free(j *job) {
	if pi := j.ev.PacketIn; pi != nil && pi.BufferID != flow.NoBuffer {
		if j.ev.XID == 0 {
			j.ev.XID = s.b.Number()
		}
		_ = s.sw.Write(j.ev.XID, nil, &Packet{In: pi, Rule: -1}, false) // an error means that the connection ends
	}
	j.finished()
}

// Event passes an event other than a packet to the function, if the configuration
// subscribes to its type. The goroutine that owns the connection calls it; ev belongs
// to the session afterwards.
func (s *Session) Event(ev flow.Event, now time.Time) {
	if !s.b.live.Load().Subscribe[ev.Type] || s.draining.Load() {
		return
	}
	s.tally.events.Add(1)
	if !s.b.local && s.b.pool.full(&s.queue, noPort, 0) {
		if s.waits(&ev, false) {
			s.noRoom(ev.Type) // as in PacketIn, nothing is allocated
		}
		return
	}
	s.start(&job{s: s, ev: ev, read: now})
}

// Removed passes on that the switch has removed a rule, of this gateway or of
// others. If it is a standing rule, Removed puts it back instead.
func (s *Session) Removed(fr *flow.FlowRemoved, now time.Time) {
	if s.b.Owns(fr.Cookie) {
		switch {
		case isStanding(fr.Cookie):
			s.standingWanted()
			return
		case restsOnState(fr.Cookie):
			s.b.book.removed(s, fr)
		}
		s.forget(&fr.Match)
	}
	s.m.events.WithLabelValues(s.m.protocol, "flow_removed").Inc()
	s.Event(flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: fr}, now)
}

// Port passes a port's change on.
func (s *Session) Port(ps *flow.PortStatus, now time.Time) {
	s.m.events.WithLabelValues(s.m.protocol, "port_status").Inc()
	s.Event(flow.Event{Type: flow.EventPortStatus, PortStatus: ps}, now)
}

// start numbers an event that has memory of its own and has it decided: in
// place, also where the answer is at hand, or by the pool. An event that finds
// the queue full is dropped.
func (s *Session) start(j *job) {
	s.fill(&j.ev, j.read)
	j.work = spare.Get().(*work)
	if s.b.local {
		s.decide(j)
		return
	}
	if s.recall(j) {
		return
	}
	spare.Put(j.work)
	j.work = nil
	if !s.waits(&j.ev, true) {
		return
	}
	j.ev.Switch = nil // see run
	port := noPort
	if j.ev.PacketIn != nil {
		port = uint32(j.pi.Match.InPort)
	}
	if !s.b.pool.submit(&s.queue, port, j, len(j.pi.Data)) {
		j.displaced()
	}
}

// displaced drops the event: the queue is full, or other ports' events have taken its place.
func (j *job) displaced() {
	j.s.noWait(j)
	j.s.crowded(j)
	j.s.follow(j, false)
}

// crowded drops an event for which the queue has no room.
func (s *Session) crowded(j *job) {
	s.noRoom(j.ev.Type)
	if j.ev.PacketIn != nil {
		s.free(j)
	}
}

// noRoom counts an event for which the queue has no room.
func (s *Session) noRoom(t flow.EventType) {
	s.shed.Add(1)
	if t == flow.EventPacketIn {
		s.Drop("queue_full")
	} else {
		s.m.shed.WithLabelValues(s.m.protocol, eventLabel(t)).Inc()
	}
	s.Warn("queue_full", "events are dropped: the function does not keep up", "waiting", s.b.live.Load().QueuePerSwitch)
}

// run decides the event on a worker's goroutine. It returns how long the function
// took to answer. A packet that has waited longer than an answer may take is dropped:
// its sender has sent it again or given up, and whatever is behind it waits as long. A
// waiting event has no description of its switch: that may have megabytes of ports, and
// each change of a port makes another one.
func (j *job) run() time.Duration {
	j.s.noWait(j)
	wait := time.Since(j.read)
	if j.ev.PacketIn != nil && wait > j.s.b.live.Load().EventTimeout {
		j.s.Drop("late")
		j.s.free(j)
		j.s.follow(j, false)
		return 0
	}
	j.work = spare.Get().(*work)
	j.rec.Wait = wait
	j.ev.Switch = j.s.sw.Describe()
	took := j.s.decide(j)
	_ = j.s.sw.Flush() // the connection's owner learns of the error
	return took
}

// decide asks for a decision and carries it out: at once, or after it has searched
// the switch for the rule that opened the conversation. It returns how long the
// function took to answer, or 0 if it did not answer.
func (s *Session) decide(j *job) (took time.Duration) {
	j.entry = nil
	if s.b.cfg.Tracer != nil {
		j.begin(s.b.cfg.Tracer)
	}
	ctx, span := j.part(s.ctx, "decide")
	start := time.Now()
	err := s.b.decide(ctx, &j.ev, &j.dec)
	took = time.Since(start)
	endSpan(span, err)
	none := err != nil || j.dec.Failure != nil || j.dec.Reused != 0
	s.decided(j, took, err)
	if none {
		return 0
	}
	return took
}

// recall carries out the decision of a packet whose answer is at hand, and
// reports whether it is: to hand such a packet to another goroutine takes longer
// than to decide it.
func (s *Session) recall(j *job) bool {
	if j.ev.PacketIn == nil {
		return false
	}
	start := time.Now()
	if !flow.Recall(s.b.live.Load().Decider, &j.ev, &j.dec) {
		return false
	}
	if s.b.cfg.Tracer != nil {
		j.begin(s.b.cfg.Tracer)
	}
	_, span := j.part(s.ctx, "decide")
	endSpan(span, nil)
	s.b.pool.recalled(&s.queue, start)
	s.decided(j, time.Since(start), nil)
	return true
}

// decided carries a decision out, at once or when the switch has been looked into.
func (s *Session) decided(j *job, took time.Duration, err error) {
	j.rec = Record{Event: &j.ev, Decision: &j.dec, Err: err, Wait: j.rec.Wait, Decide: took, Trace: j.spans.traceID()}
	if err == nil && j.dec.IfReply != nil && j.ev.PacketIn != nil && s.settleReply(j) {
		return
	}
	s.apply(j)
}

// straggler sends a packet by a decision that was made a moment ago.
func (s *Session) straggler(j *job, actions []flow.Action) {
	j.ev.XID = s.b.Number()
	if len(j.pi.Data) == 0 && j.pi.BufferID == flow.NoBuffer {
		s.Drop("repeat") // a digest: there is nothing to send
		j.finished()
		return
	}
	s.m.coalesced.Inc()
	if s.sw.Write(j.ev.XID, nil, &Packet{In: &j.pi, Actions: actions, Rule: -1}, false) != nil {
		s.Drop("slow_reader")
	}
	_ = s.sw.Flush()
	j.finished()
}

// follow releases the packets that waited for a decision. They go by its rules, or
// are decided one by one. It runs when the switch has the rules, or when it is clear
// that it will get none.
func (s *Session) follow(j *job, settle bool) {
	if s.coalescer == nil || j.lead == nil {
		return
	}
	waiting, actions, by := s.coalescer.Release(j.lead, settle, time.Now())
	if !by {
		for _, w := range waiting {
			if len(w.pi.Data) == 0 && w.pi.BufferID == flow.NoBuffer {
				s.Drop("repeat") // a digest of the packet that was just decided
				w.finished()
				continue
			}
			s.start(w)
		}
		if len(waiting) > 0 {
			_ = s.sw.Flush() // of those that were decided in place
		}
		return
	}
	for _, w := range waiting {
		s.straggler(w, actions)
	}
}

// waiting is the key by which two events count as the same. For a removed rule it
// is everything but the rule's age and its counters.
type waiting struct {
	event    flow.EventType
	port     flow.PortStatus
	match    flow.Match
	cookie   uint64
	priority uint16
	table    uint8
	reason   flow.RemovedReason
}

// same returns the event's key. ok is false for types of which every single event
// counts.
func same(ev *flow.Event) (w waiting, ok bool) {
	w.event = ev.Type
	switch {
	case ev.PortStatus != nil:
		w.port = *ev.PortStatus
	case ev.FlowRemoved != nil:
		fr := ev.FlowRemoved
		w.match, w.cookie, w.priority, w.table, w.reason = fr.Match, fr.Cookie, fr.Priority, fr.Table, fr.Reason
	default:
		return w, false
	}
	return w, true
}

// waits reports whether an event has to wait for a worker. If one with the same key
// waits already, it counts the event and returns false. Otherwise, and if enter is set,
// it notes that the event waits from now on.
func (s *Session) waits(ev *flow.Event, enter bool) bool {
	w, ok := same(ev)
	if !ok {
		return true
	}
	s.mu.Lock()
	_, twice := s.waiting[w]
	if !twice && enter {
		if s.waiting == nil {
			s.waiting = make(map[waiting]struct{})
		}
		s.waiting[w] = struct{}{}
	}
	s.mu.Unlock()
	if twice {
		s.m.collapsed.WithLabelValues(s.m.protocol, eventLabel(ev.Type)).Inc()
	}
	return !twice
}

// noWait says that an event waits no longer.
func (s *Session) noWait(j *job) {
	if w, ok := same(&j.ev); ok {
		s.mu.Lock()
		delete(s.waiting, w)
		s.mu.Unlock()
	}
}
