package bridge

import (
	"errors"
	"time"

	"switchbridge/bridge/guard"
	"switchbridge/flow"
)

// apply carries a decision out: it writes the rules, then the packet, with no other
// message between them. Packets that wait for the decision follow when the switch
// has the rules.
func (s *Session) apply(j *job) {
	rec, ev, d := &j.rec, &j.ev, &j.dec
	rec.Switch, rec.Remote = ev.Switch, s.opt.Remote
	j.out.Actions, j.out.Rule, j.out.Violations = nil, -1, j.out.Violations[:0]
	if rec.Err == nil {
		s.observePolicy(d)
		s.b.live.Load().Guardrails.Check(ev, d, s.sw, &s.memory, &j.out)
		if len(j.out.Violations) > 0 {
			s.violations(j)
		}
	} else {
		d.Reset()
	}
	rec.Cookie = s.b.cookie(d, ev)
	if len(d.Read)+len(d.Revoke) > 0 && rec.Err == nil && !s.rest(j) {
		return
	}
	s.carryOut(j)
}

// carryOut sends a decision's rules and its packet.
func (s *Session) carryOut(j *job) {
	rec, ev, d := &j.rec, &j.ev, &j.dec
	alone := j.lead != nil && rec.Err == nil && s.coalescer.Decided(j.lead, d, time.Now())

	flags := flow.RuleFlags(0)
	if s.b.live.Load().Subscribe[flow.EventFlowRemoved] || j.entry != nil {
		flags = flow.SendFlowRemoved
	}
	j.changes = j.changes[:0]
	for i := range d.Rules {
		r := &d.Rules[i]
		r.Cookie = rec.Cookie
		r.Flags |= flags
		j.changes = append(j.changes, Change{Rule: r})
	}
	for i := range d.Entries {
		j.changes = append(j.changes, Change{Entry: &d.Entries[i], Cookie: rec.Cookie})
	}
	var p *Packet
	if ev.PacketIn != nil {
		p = &j.packet
		*p = Packet{In: ev.PacketIn, Actions: j.out.Actions, Rule: j.out.Rule}
		if p.Rule >= 0 && d.Rules[p.Rule].Goto != 0 {
			p.Rule = -1 // the rule does more than the packet's own actions
		}
	}
	// A deny that the switch has refused once may be taken now; then it need not be
	// remembered any longer.
	retried := s.memory.Shields() && len(d.Rules) > 0
	// Nobody follows a packet that was answered where it was read, and a late one is answered by its flight: no BARRIER is needed.
	settled := d.Reused != 0 && len(d.Rules) > 0 && s.opt.Held == 0 && !retried && alone
	confirm := len(j.changes) > 0 && (j.lead != nil && !settled || s.opt.Held > 0 || retried)
	if len(d.Rules) > 0 {
		s.ledger.note(ev, d, p)
	}
	if confirm {
		s.mu.Lock()
		if confirm = len(s.confirms) < maxConfirms; confirm {
			if s.confirms == nil {
				s.confirms = make(map[uint32]*job)
			}
			pending := j
			if j.owners { // it is used again for the next packet
				pending = &job{s: s, work: &work{spans: j.spans}}
				pending.dec.Rules = copyRules(nil, d.Rules)
			}
			_, pending.spans.barrier = j.part(s.ctx, "barrier")
			s.confirms[ev.XID] = pending
		}
		s.mu.Unlock()
	}
	_, install := j.part(s.ctx, "install")
	err := s.sw.Write(ev.XID, j.changes, p, confirm)
	endSpan(install, err)
	if err != nil {
		if p != nil && !errors.Is(err, ErrElsewhere) {
			s.Drop("slow_reader")
		}
		if j.entry != nil {
			if r := s.b.book.written(j.entry); r != nil {
				r.settle(false)
			}
		}
		s.unconfirmed(ev.XID)
		j.spans.lost(err.Error())
		s.follow(j, false) // nobody waits for rules that will not come
		j.finished()
		return
	}
	if j.entry != nil {
		if r := s.b.book.written(j.entry); r != nil {
			s.removeEntries([]*entry{j.entry}, r)
		}
	}
	s.m.installed.Add(float64(len(j.changes)))
	s.reject(j)
	s.remember(j)
	s.report(j)
	if !confirm || j.owners {
		s.follow(j, settled)
		j.finished()
	}
	if !j.owners {
		j.ev.Switch, rec.Switch = nil, nil // a switch may never confirm; see run
	}
}

// cookie returns what the rules of a decision carry.
func (b *Bridge) cookie(d *flow.Decision, ev *flow.Event) uint64 {
	cookie := b.cfg.Gateway.Cookie(d.Policy, ev.XID)
	if len(d.Read) > 0 {
		cookie |= stateBit
	}
	return cookie
}

// violations counts and logs what the guardrails refused.
func (s *Session) violations(j *job) {
	j.rec.Refused = len(j.out.Violations)
	for i := range j.out.Violations {
		v := &j.out.Violations[i]
		s.m.guard.Count(*v)
		args := append([]any{"decision", j.ev.XID, "event", j.ev.Type.String(), "reason", j.dec.Reason}, v.LogArgs()...)
		s.Warn("guardrail "+string(v.Rail), "a guardrail refuses part of an answer", args...)
	}
}

// observePolicy compares the policy version of an answer with the confirmed one.
// The rules of an older version, and of a version that no policy_check has confirmed, get
// short timeouts. If no policy_check is ever made, an answer with a newer version
// starts a check of all switches' rules, at a bounded rate.
func (s *Session) observePolicy(d *flow.Decision) {
	if d.Policy.IsZero() {
		return
	}
	if s.b.behind(d.Policy) {
		Expire(d)
		s.Warn("behind", "the other gateway of the pair has a newer policy: rules of this one's live for seconds, and none of the newer policy's is removed",
			"policy", d.Policy.String(), "newest_serial", s.b.cfg.Pair.Newest())
	}
	before := s.b.cfg.Versions.Latest()
	switch fresh, now := s.b.cfg.Versions.Observe(d.Policy); fresh {
	case Newer:
		if before.IsZero() { // the session has just asked for its proactive rules
			s.log.Info("policy version", "policy", now.String())
			return
		}
		if s.b.cfg.Versions.Sweeping() == now {
			s.b.log.Info("the policy version has changed as announced, and no policy_check confirms it", "policy", now.String(), "before", before.String())
			s.b.PolicyChanged()
			return
		}
		s.b.faults.Warn("unchecked", "the answers' policy version changes, and no policy_check confirms it: rules of the old policy stay until their timeouts",
			"policy", now.String(), "before", before.String())
		s.b.pacer.want()
	case Older, Unconfirmed:
		Expire(d)
	}
}

// Written is how the protocol says what became of a Write's changes. With rule -1
// and why nil, the switch has dealt with all of them: it has answered a BARRIER, or
// the call has returned. Otherwise the switch has refused the change with the index
// rule. If the protocol can't tell which one, rule is -1, and the session takes all of
// them for refused. Written reports whether xid belongs to a decision that the
// session remembers.
func (s *Session) Written(xid uint32, rule int, why *Refusal) bool {
	if s.confirmRemoval(xid, why == nil) {
		return true
	}
	if why == nil {
		if j := s.unconfirmed(xid); j != nil {
			for i := range j.dec.Rules {
				if !j.refused {
					s.memory.Installed(&j.dec.Rules[i])
				}
			}
			s.follow(j, !j.refused && len(j.dec.Rules) > 0 && len(j.dec.Read) == 0)
			j.finished()
		}
		return true
	}
	s.mu.Lock()
	j := s.confirms[xid]
	if j != nil {
		j.refused = true
	}
	standing := xid == s.standing.xid && xid != 0
	s.mu.Unlock()
	if standing {
		s.standingRefused(why)
		return true
	}
	e, ok := s.ledger.take(xid)
	if !ok {
		if j == nil {
			return false
		}
		e = &ledgerEntry{} // more decisions since than the ledger holds
		e.fill(&j.ev, &j.dec, nil)
		e.gone = make([]bool, len(e.rules))
	}
	s.refused(e, rule, why)
	return true
}

// errRefused is what a trace says of a barrier.
var errRefused = errors.New("the switch has refused a rule")

// unconfirmed removes a decision from those that wait for the switch to confirm
// their rules, and returns it.
func (s *Session) unconfirmed(xid uint32) *job {
	s.mu.Lock()
	j := s.confirms[xid]
	delete(s.confirms, xid)
	s.mu.Unlock()
	if j != nil {
		var err error
		if j.refused {
			err = errRefused
		}
		endSpan(j.spans.barrier, err)
	}
	return j
}

// Sent calls f with a decision's rules as Write got them, so that the protocol can
// find the rule that an error is about. releasing is the index of the rule that
// releases the packet from the buffer, or -1. f must not keep the rules.
func (s *Session) Sent(xid uint32, f func(rules []flow.Rule, releasing int, buffer uint32)) bool {
	return s.ledger.look(xid, f)
}

// refused corrects the switch after it has refused one of an answer's rules. If
// the rule was a deny, wider rules that allow its packets are deleted. If the rule
// was to send the packet on, the packet is sent by a message of its own.
func (s *Session) refused(e *ledgerEntry, rule int, why *Refusal) {
	s.m.rules.WithLabelValues(s.m.protocol, "refused_by_switch").Inc()
	gone := make([]bool, len(e.rules))
	told := rule >= 0 && rule < len(e.rules)
	for i := range e.rules {
		// If the refused rule isn't known, or is a P4 entry, nobody can say which
		// rules it shielded. Then all rules of the answer go.
		gone[i] = e.gone[i] || i == rule || !told
		if i == rule || rule < 0 {
			s.memory.Refused(&e.rules[i])
		}
		if gone[i] {
			s.forget(&e.rules[i].Match)
		}
	}
	guard.Fall(e.rules, gone, s.sw.Before)
	var changes []Change
	var fallen []string
	for i := range e.rules {
		if gone[i] && !e.gone[i] && i != rule {
			s.memory.Refused(&e.rules[i]) // what it denies stays denied, too
			changes = append(changes, Change{Remove: &Installed{Rule: e.rules[i]}})
			fallen = append(fallen, e.rules[i].String())
		}
	}
	var p *Packet
	if e.buffered >= 0 && (rule == e.buffered || rule < 0) && e.released {
		switch {
		case why.Buffer:
			s.Drop("buffer_unknown")
		default:
			p = &Packet{In: &e.pi, Actions: e.actions, Rule: -1}
		}
	}
	s.ledger.keep(e, gone)
	if len(changes) > 0 || p != nil {
		_ = s.sw.Write(e.xid, changes, p, false)
		_ = s.sw.Flush()
	}
	args := []any{"decision", e.xid, "error", why.Name, "reason", e.reason, "policy", e.policy.String()}
	text := ""
	if told {
		text = e.rules[rule].String()
	} else if why.Rule != "" {
		text = why.Rule
	}
	if text != "" {
		args = append(args, "rule", text)
	}
	if len(fallen) > 0 {
		s.m.rules.WithLabelValues(s.m.protocol, "fell").Add(float64(len(fallen)))
		args = append(args, "removed_with_it", fallen)
	}
	s.Warn("refused_rule", "the switch refuses a rule of a decision", args...)
	if why.Full {
		s.lookSoon()
	}
	if e.event != flow.EventError { // an answer to an error that fails must not go round
		err := why.SwitchError
		err.XID = e.xid
		if err.Rule == "" {
			err.Rule = text
		}
		s.Event(flow.Event{Type: flow.EventError, Error: &err}, time.Now())
	}
}

// report counts a decision and gives it to the recorder.
func (s *Session) report(j *job) {
	rec := &j.rec
	rec.Total = time.Since(j.ev.Time)
	j.spans.end(rec)
	if j.ev.Type == flow.EventPacketIn {
		s.tally.decided(rec)
		observe(s.m.stageMake, rec.Decide, rec.Trace)
		observe(s.m.stageTotal, rec.Total, rec.Trace)
		if rec.Wait > 0 {
			observe(s.m.stageWait, rec.Wait, rec.Trace)
		}
		if rec.Err != nil {
			s.Drop(flow.KindOf(rec.Err).String())
		} else if failure := rec.Decision.Failure; failure != nil && len(rec.Decision.PacketOut) == 0 {
			s.Drop(flow.KindOf(failure).String()) // by fail mode secure
		}
	}
	if s.b.cfg.OnDecision != nil {
		s.b.cfg.OnDecision(rec)
	}
}
