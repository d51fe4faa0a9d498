package bridge

import (
	"sync"
	"time"
)

// Bounds of removing what older states have left.
const (
	// revokeWait is how long a packet waits for switches to confirm that they have removed rules; then it is dropped.
	revokeWait = time.Second
	// maxRevoking bounds how many packets wait at a time.
	maxRevoking = 1024
	// maxAgain bounds how often an event is decided again because its states have changed meanwhile.
	maxAgain = 3
)

// removal is rules that must be gone from their switches before a decision is carried out.
type removal struct {
	entries []*entry // on their way to a switch or there

	mu    sync.Mutex
	left  int // what was not confirmed yet
	timer *time.Timer
	done  func(ok bool) // called once, by any goroutine, which it may keep
}

func (r *removal) orNil() *removal {
	if len(r.entries)+r.left == 0 {
		return nil
	}
	return r
}

// settle says that one part is done, or (ok is false) that it will not be.
func (r *removal) settle(ok bool) {
	r.mu.Lock()
	r.left--
	done := r.done
	if ok && r.left > 0 || done == nil {
		r.mu.Unlock()
		return
	}
	r.done = nil
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	done(ok)
}

// remove has the rules of a removal removed, and calls done when all switches have confirmed it (ok), or one of them has not in time.
func (b *Bridge) remove(r *removal, done func(ok bool)) {
	sessions := make(map[*Session][]*entry)
	for _, e := range r.entries {
		sessions[e.s] = append(sessions[e.s], e)
	}
	r.mu.Lock()
	r.left += len(sessions) + 1
	r.done = done
	r.timer = time.AfterFunc(revokeWait, func() { r.settle(false) })
	r.mu.Unlock()
	for s, entries := range sessions {
		s.removeEntries(entries, r)
		_ = s.sw.Flush() // its owner learns of the error
	}
	r.settle(true)
}

// removeEntries queues what removes the rules of entries, one part of r.
func (s *Session) removeEntries(entries []*entry, r *removal) {
	var changes []Change
	for _, e := range entries {
		for i := range e.rules {
			changes = append(changes, Change{Remove: &Installed{Rule: e.rules[i]}})
			s.forget(&e.rules[i].Match)
		}
	}
	s.m.revoked.Add(float64(len(changes)))
	xid := s.b.Number()
	s.mu.Lock()
	ended := s.ctx.Err() != nil
	if !ended {
		if s.removals == nil {
			s.removals = make(map[uint32]*removal)
		}
		s.removals[xid] = r
	}
	s.mu.Unlock()
	if ended || s.sw.Write(xid, changes, nil, true) != nil {
		s.confirmRemoval(xid, false)
		if ended {
			r.settle(false)
		}
	}
}

// confirmRemoval says that the switch has removed what the message with the number xid was to remove, or has not. It reports whether
// there is such a message.
func (s *Session) confirmRemoval(xid uint32, ok bool) bool {
	s.mu.Lock()
	r := s.removals[xid]
	delete(s.removals, xid)
	s.mu.Unlock()
	if r != nil {
		r.settle(ok)
	}
	return r != nil
}

// endRemovals says so of all, since the session has ended.
func (s *Session) endRemovals() {
	s.mu.Lock()
	removals := s.removals
	s.removals = nil
	s.mu.Unlock()
	for _, r := range removals {
		r.settle(false)
	}
}

// rest compares a decision with what is known of the states that it rests on. It reports whether the decision may be carried out now.
// Where it may not, it will be when older rules are gone, or is decided again, or its packet is dropped.
func (s *Session) rest(j *job) bool {
	if len(j.dec.Read) > 0 && len(j.dec.Entries) > 0 {
		s.Warn("state_entries", "entries are not installed: an answer that rests on states can have rules alone", "decision", j.ev.XID)
		j.dec.Entries = j.dec.Entries[:0]
	}
	footing, r := s.b.book.meet(&j.dec, time.Now())
	if footing == outdated {
		s.again(j)
		return false
	}
	if footing == noRoom {
		s.noRules(j)
	}
	if r == nil {
		return s.writeDown(j)
	}
	held := s.keep(j)
	if s.b.revoking.Add(1) > maxRevoking {
		s.b.revoking.Add(-1)
		go s.b.remove(r, func(bool) {})
		s.lose(held, "revoke_busy")
		return false
	}
	go s.b.remove(r, func(ok bool) {
		go func() {
			defer s.b.revoking.Add(-1)
			if !ok {
				s.Warn("revoke", "a packet is dropped: a switch has not confirmed that rules of an older state are gone", "decision", held.ev.XID)
				s.lose(held, "revoke_unconfirmed")
				return
			}
			if s.writeDown(held) {
				s.carryOut(held)
			}
			_ = s.sw.Flush()
		}()
	})
	return false
}

// writeDown takes note of the rules that are about to be sent. It reports whether they may be.
func (s *Session) writeDown(j *job) bool {
	if len(j.dec.Read) == 0 || len(j.dec.Rules) == 0 {
		return true
	}
	footing, e := s.b.book.add(s, j.rec.Cookie, &j.dec, time.Now())
	switch footing {
	case outdated:
		s.again(j)
		return false
	case noRoom:
		s.noRules(j)
	}
	j.entry = e
	return true
}

// noRules has a decision carried out without its rules, since nobody could remove them in time.
func (s *Session) noRules(j *job) {
	s.m.rules.WithLabelValues(s.m.protocol, "no_room").Add(float64(len(j.dec.Rules)))
	s.Warn("states", "rules are not installed: too many rest on states already", "rules", maxBookRules, "states", maxBookKeys)
	j.dec.Rules, j.out.Rule = j.dec.Rules[:0], -1
}

// again decides an event once more, whose decision rests on an older state than another one's.
func (s *Session) again(j *job) {
	s.m.again.Inc()
	if j.tries++; j.tries > maxAgain {
		s.lose(j, "state_conflict")
		return
	}
	j.dec.Reset()
	s.decide(j)
}

// lose drops the packet of a decision that can't be carried out.
func (s *Session) lose(j *job, cause string) {
	if j.ev.PacketIn != nil {
		s.Drop(cause)
	}
	j.spans.lost(cause)
	s.follow(j, false)
	s.free(j)
}

// keep returns j as a job that has memory of its own, for the time after the owner has gone on.
func (s *Session) keep(j *job) *job {
	if !j.owners {
		return j
	}
	s.own, j.owners = nil, false
	if p := j.ev.PacketIn; p != nil && p != &j.pi {
		j.pi = *p
		j.pi.Data = append([]byte(nil), p.Data...)
		j.ev.PacketIn = &j.pi
	}
	return j
}
