package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"switchbridge/flow"
)

// Bounds of looking for the rules that opened conversations, in one switch. A look costs the switch what its table holds: Open vSwitch 0.5 ms
// among 1,000 rules and 25 ms among 100,000.
const (
	lookRate    = 200 // looks a second
	lookBurst   = 100
	lookers     = 4  // looks under way
	lookRest    = 3  // a looker rests as many times as long as its look took: all together keep a switch busy with one at most
	looksQueued = 64 // packets that wait for a look
	looksOfPort = 16 // of those, from one port, so that a flood does not take the others' places
	looksBytes  = 1 << 18
	lookFor     = time.Second
	memoFor     = 3 * time.Second // a rule that was installed so long ago at the most is known without a look
	memoMax     = 1024
)

// replies is what a session knows of its switch's conversations: which rules it has installed in the last seconds, and which packets wait
// for a look into the switch. A session has one from the first answer on that asks whether a packet is a reply.
type replies struct {
	s      *Session
	budget *rate.Limiter

	mu      sync.Mutex
	memo    map[flow.Match]opening // by the headers of a packet that asks, without in_port
	order   []remembered           // the oldest first
	waiting []*job
	running int
	idle    chan struct{} // closed when nothing runs, while draining
	last    flow.PortNo   // whose packet was looked for last
}

// opening is a rule that lets a conversation's packets pass in one direction.
type opening struct {
	port flow.PortNo
	tag  uint16    // of the policy
	ends time.Time // zero: never

	known time.Time // from then on only the switch knows whether it has the rule; zero: as long as it is remembered
}

type remembered struct {
	key   flow.Match
	until time.Time
}

// question is what to look for.
type question struct {
	match flow.Match // the headers of the packet that asked, without in_port
	port  flow.PortNo
	same  bool // it came by port; else by any other
}

// questionOf returns the question that the packet may be an answer to. An ICMP error about an answer comes from where the question came.
func questionOf(pi *flow.PacketIn) (q question, ok bool) {
	q.port = pi.Match.InPort
	if pi.Incomplete != 0 || !pi.Match.Has(flow.FieldInPort) {
		return q, false
	}
	if !pi.Match.ICMPError() {
		q.match, ok = pi.Match.Question()
		return q, ok
	}
	about, ok := pi.Quoted()
	if !ok {
		return q, false
	}
	q.same = true
	q.match, ok = about.Question()
	return q, ok
}

// opened reports whether a rule, which is in a table because a packet asked, is one that the question brought.
func (q *question) opened(r *flow.Rule) bool {
	return q.match.OpenedBy(r) && (r.Match.InPort == q.port) == q.same
}

// conversations returns what the session knows of them, and makes it the first time.
func (s *Session) conversations() *replies {
	if r := s.replies.Load(); r != nil {
		return r
	}
	s.replies.CompareAndSwap(nil, &replies{s: s, budget: rate.NewLimiter(lookRate, lookBurst), memo: make(map[flow.Match]opening)})
	return s.replies.Load()
}

// settleReply finds out whether a packet is a reply, if the function's answer depends on that. It returns true if it must search the switch first:
// the search then carries the decision out, and the caller must not use j any more.
func (s *Session) settleReply(j *job) (later bool) {
	r := s.conversations()
	q, ok := questionOf(j.ev.PacketIn)
	if !ok {
		j.deny()
		return false
	}
	if o, ok := r.recall(&q, tagOf(j.dec.Policy), time.Now()); ok {
		r.count("remembered")
		j.accept(s, o.ends)
		return false
	}
	j = s.keep(j)
	if !r.submit(j, q.port) {
		r.count("shed")
		s.Drop("reply_overload")
		s.Warn("reply_overload", "packets are dropped that may be replies: there are more than the switch is asked about", "a_second", lookRate)
		j.shed()
		s.apply(j)
	}
	return true
}

// accept replaces the decision by the one for a reply. Its rules match this conversation only, and end no later than the rule that opened it.
func (j *job) accept(s *Session, ends time.Time) {
	d, pi, r := &j.dec, j.ev.PacketIn, j.dec.IfReply
	own := flow.Decision{Rules: r.Rules, HasPacketOut: r.HasPacketOut, PacketOut: r.PacketOut}
	exact, ok := flow.RuleMatch(s.sw.Describe(), pi)
	if !ok || pi.Match.ICMPError() {
		own.PacketOut, _ = own.PacketActions(&pi.Match)
		own.HasPacketOut, own.Rules = true, nil
	}
	for i := range own.Rules {
		rule := &own.Rules[i]
		if rule.Match.Covers(&pi.Match) {
			rule.Match = exact
		}
		if left := time.Until(ends); !ends.IsZero() && (rule.HardTimeout == 0 || rule.HardTimeout > left) {
			rule.HardTimeout = max(left.Truncate(time.Second), time.Second)
		}
	}
	d.Rules = append(d.Rules[:0], own.Rules...)
	d.HasPacketOut, d.PacketOut = own.HasPacketOut, append(d.PacketOut[:0], own.PacketOut...)
	if n := len(d.Parts); n > 0 {
		d.Parts[n-1].End = len(d.Rules)
	}
	if d.Verdict = flow.Allow; r.Reason != "" {
		d.Reason = r.Reason
	} else {
		d.Reason += " (a reply)"
	}
	d.IfReply, d.Entries, d.Reject, d.Log = nil, nil, false, false
	j.rec.Reply = IsReply
}

// deny makes the decision that of a packet which is no reply. A question may open the conversation at any moment, so its rules get short
// timeouts.
func (j *job) deny() {
	d := &j.dec
	d.IfReply, j.rec.Reply = nil, NoReply
	d.Reason += "; not a reply: the switch has no rule of a packet that it would answer"
	for i := range d.Rules {
		if r := &d.Rules[i]; r.HardTimeout == 0 || r.HardTimeout > flow.ReplyLife {
			r.HardTimeout = flow.ReplyLife
		}
	}
	for i := range d.Entries {
		if e := &d.Entries[i]; e.HardTimeout == 0 || e.HardTimeout > flow.ReplyLife {
			e.HardTimeout = flow.ReplyLife
		}
	}
}

// shed drops a packet if the search could not tell whether it is a reply. No rule is installed, so the next packet may ask again.
func (j *job) shed() {
	d := &j.dec
	d.IfReply, d.Entries, d.Reject, d.Rules, d.Parts = nil, nil, false, d.Rules[:0], d.Parts[:0]
	d.HasPacketOut, d.PacketOut = true, d.PacketOut[:0]
	d.Reason += "; whether it is a reply was not looked up"
}

func (r *replies) count(outcome string) {
	r.s.m.replies.WithLabelValues(r.s.m.protocol, outcome).Inc()
}

// remember notes the rules of a decision about a packet that may open a conversation. It does nothing until an answer has asked whether a
// packet is a reply.
func (s *Session) remember(j *job) {
	r := s.replies.Load()
	if r == nil || j.ev.PacketIn == nil || !j.ev.PacketIn.Match.Converses() {
		return
	}
	key := j.ev.PacketIn.Match.Keep(flow.Conversation &^ flow.FieldInPort)
	now := time.Now()
	for i := range j.dec.Rules {
		rule := &j.dec.Rules[i]
		if !key.OpenedBy(rule) {
			continue
		}
		o := opening{port: rule.Match.InPort, tag: tagOf(j.dec.Policy)}
		if rule.HardTimeout > 0 {
			o.ends = now.Add(rule.HardTimeout)
		}
		if idle := now.Add(rule.IdleTimeout); rule.IdleTimeout > 0 && rule.IdleTimeout < memoFor && (o.ends.IsZero() || idle.Before(o.ends)) {
			o.known = idle // it may be gone by then
		}
		r.mu.Lock()
		r.expire(now)
		r.memo[key] = o
		r.order = append(r.order, remembered{key, now.Add(memoFor)})
		r.mu.Unlock()
	}
}

// expire forgets what is too old, and the oldest where there is too much. The caller holds mu.
func (r *replies) expire(now time.Time) {
	for len(r.order) > 0 && (len(r.order) >= memoMax || !now.Before(r.order[0].until)) {
		delete(r.memo, r.order[0].key)
		r.order[0] = remembered{}
		r.order = r.order[1:]
	}
}

// forget is told of the match of a rule that the switch did not take, or that was removed.
func (s *Session) forget(m *flow.Match) {
	r := s.replies.Load()
	if r == nil {
		return
	}
	key := m.Keep(flow.Conversation &^ flow.FieldInPort)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memo, key)
}

// recall returns the rule that the question caused in the last seconds.
func (r *replies) recall(q *question, tag uint16, now time.Time) (opening, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	o, ok := r.memo[q.match]
	return o, ok && (o.known.IsZero() || now.Before(o.known)) && (o.tag == tag || r.s.keptTag(o.tag)) && (o.port == q.port) == q.same && (o.ends.IsZero() || now.Before(o.ends))
}

// submit queues a search of the switch for a packet. It returns false if the queue is full.
func (r *replies) submit(j *job, port flow.PortNo) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) >= looksQueued || r.s.ctx.Err() != nil {
		return false
	}
	same, bytes := 0, len(j.pi.Data)
	for _, w := range r.waiting {
		bytes += len(w.pi.Data)
		if w.ev.PacketIn.Match.InPort == port {
			same++
		}
	}
	if same >= looksOfPort || bytes > looksBytes {
		return false
	}
	r.waiting = append(r.waiting, j)
	if r.running < lookers {
		r.running++
		go r.work()
	}
	return true
}

// drain waits until no search is pending, for at most d.
func (r *replies) drain(d time.Duration) {
	r.mu.Lock()
	if r.running == 0 {
		r.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	r.idle = idle
	r.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// discard drops the packets that wait for a search, and returns how many. The session has ended.
func (r *replies) discard() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.waiting)
	r.waiting = nil
	return n
}

// next returns the next packet to search for. It takes the ports in turns.
func (r *replies) next() *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 || r.s.ctx.Err() != nil {
		if r.running--; r.running == 0 && r.idle != nil {
			close(r.idle)
			r.idle = nil
		}
		return nil
	}
	i := max(0, slices.IndexFunc(r.waiting, func(j *job) bool { return j.ev.PacketIn.Match.InPort != r.last }))
	j := r.waiting[i]
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.last = j.ev.PacketIn.Match.InPort
	return j
}

// work searches for one packet after the other, at a bounded rate.
func (r *replies) work() {
	s := r.s
	for j := r.next(); j != nil; j = r.next() {
		if r.budget.Wait(s.ctx) != nil {
			continue // the session ends
		}
		start := time.Now()
		r.look(j)
		s.apply(j)
		_ = s.sw.Flush() // the connection's owner learns of the error
		rest := time.NewTimer(lookRest * time.Since(start))
		select {
		case <-rest.C:
		case <-s.ctx.Done():
			rest.Stop()
		}
	}
}

// look asks the switch for the rule that a question caused. The rule must have a cookie of this gateway and of a policy in force.
func (r *replies) look(j *job) {
	s := r.s
	ctx, cancel := context.WithTimeout(s.ctx, lookFor)
	defer cancel()
	q, _ := questionOf(j.ev.PacketIn)
	found := false
	var ends time.Time
	f := Filter{Cookie: s.b.cfg.Gateway.standing(), Mask: gatewayMask, Match: &q.match}
	err := s.sw.List(ctx, f, func(in *Installed) error {
		_, tag, _ := SplitCookie(in.Rule.Cookie)
		if tag != tagOf(j.dec.Policy) && !s.keptTag(tag) || in.Hidden || !answersPacket(Decision(in.Rule.Cookie)) || !q.opened(&in.Rule) {
			return nil
		}
		var until time.Time
		if in.Rule.HardTimeout > 0 {
			until = time.Now().Add(in.Rule.HardTimeout - in.Duration)
		}
		if !found || !ends.IsZero() && (until.IsZero() || until.After(ends)) {
			ends = until
		}
		found = true
		return nil
	})
	switch {
	case found:
		r.count("found")
		j.accept(s, ends)
	case err != nil:
		r.count("failed")
		s.Warn("reply_look", "the switch does not say whether it has the rule of a packet that was answered; the answer is dropped", "err", err)
		j.shed()
	default:
		r.count("none")
		j.deny()
	}
}
