package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"switchbridge/flow"
)

// resyncState says whether a resync runs or is wanted again. Under Session.mu.
type resyncState struct {
	running, again bool
	connected      bool   // there was an answer to switch_connected
	links          []link // changes of policy that are to be taken over

	inLine   flow.PolicyVersion // the switch has its rules, and those of kept; zero: not known
	kept     map[uint16]bool    // tags of older versions whose rules count as the current one's
	leftover map[uint64]bool    // cookies of rules that were to be asked about when the policy changed again
}

// Resync brings the switch's proactive rules in and sweeps rules of other
// policy versions, in the background. Wanted while one runs, it runs again.
func (s *Session) Resync() { s.resyncWanted(link{}) }

// resyncWanted has the session take a change of policy over.
func (s *Session) resyncWanted(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resync.links = append(s.resync.links, l); len(s.resync.links) > maxKept {
		s.resync.links = []link{{}}
	}
	if s.resync.running {
		s.resync.again = true
		return
	}
	s.resync.running = true
	go func() {
		for {
			s.resyncOnce()
			s.mu.Lock()
			if !s.resync.again || s.ctx.Err() != nil {
				s.resync.running = false
				s.mu.Unlock()
				return
			}
			s.resync.again = false
			s.mu.Unlock()
		}
	}()
}

// Bounds of the wait between two tries to get a switch's proactive rules.
const (
	resyncRetryMin = time.Second
	resyncRetryMax = 10 * time.Second
)

// resyncOnce reads what is in the switch, so that no answer replaces a rule of
// others, then asks for the proactive rules, and then brings what older policies have
// left in line: by what is known of the change, or by asking again. What an
// earlier connection has left is removed. A switch that does not list its rules is not waited for.
func (s *Session) resyncOnce() {
	s.mu.Lock()
	links, inLine := s.resync.links, s.resync.inLine
	s.resync.links = nil
	s.mu.Unlock()
	current := s.b.sweeping()
	ours, err := s.survey(false, min(firstLook, s.b.cfg.ListTimeout))
	s.connected()
	if ours == 0 && err == nil {
		s.ends(current)
		return // there is nothing to remove
	}
	if (current != inLine || s.pending()) && s.begins(current) {
		scope := joined{} // of the same policy
		if current != inLine {
			scope = scopeOf(links, inLine, current)
		}
		if err = s.renew(scope, current); err == nil {
			s.ends(current)
			return
		}
		s.begins(flow.PolicyVersion{}) // all of the older ones go
	}
	if _, err = s.survey(true, s.b.cfg.ListTimeout); err == nil {
		s.ends(current)
	} else if s.ctx.Err() == nil {
		s.faults.Info("not_swept", "rules of older policy versions could not be removed; their timeouts remove them", "err", err)
	}
}

// firstLook is how long a switch may take to list its rules before it is asked
// about without.
const firstLook = time.Second

// connected asks for proactive rules until there is an answer, and installs
// them.
func (s *Session) connected() {
	for pause := resyncRetryMin; ; pause = min(2*pause, resyncRetryMax) {
		j := &job{s: s, read: time.Now(), ev: flow.Event{Type: flow.EventSwitchConnected}, work: new(work)}
		s.fill(&j.ev, j.read)
		s.decide(j)
		err := j.rec.Err
		if s.ctx.Err() != nil || s.sw.Flush() != nil {
			return
		}
		if err == nil && j.dec.Failure == nil {
			s.mu.Lock()
			s.resync.connected = true
			s.mu.Unlock()
			return
		}
		if err == nil { // one of several functions is away
			err = j.dec.Failure
		}
		if flow.KindOf(err) != flow.Unavailable && flow.KindOf(err) != flow.Overload {
			s.Warn("connected_refused", "no proactive rules: the function refuses or can't be understood", "err", err)
			return
		}
		s.Warn("connected", "no proactive rules yet: the function does not answer", "err", err, "again_in_seconds", pause.Seconds())
		timer := time.NewTimer(pause)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// survey lists the switch's rules, and brings in order what is found: standing
// rules that are missing are put back, rules of others are remembered, so that
// no answer replaces one, and, with sweep, this gateway's rules of other policy
// versions are removed. While no version is known, none is removed. It returns
// how many rules of this gateway's decisions there were.
func (s *Session) survey(sweep bool, within time.Duration) (ours int, err error) {
	s.surveys.Lock()
	defer s.surveys.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, within)
	defer cancel()
	standing := s.sw.Standing()
	found := make([]bool, len(standing))
	current := s.b.sweeping()
	s.mu.Lock()
	connected := s.resync.connected
	s.mu.Unlock()
	tags := make(map[uint16]bool) // of versions whose rules are removed by cookie
	var stale []Installed
	var foreign []flow.Rule
	forwards, example, removed := 0, "", 0
	other := ""
	err = s.sw.List(ctx, Filter{}, func(in *Installed) error {
		r := &in.Rule
		id, tag, number := SplitCookie(r.Cookie)
		switch {
		case !s.b.Owns(r.Cookie) || in.Hidden:
			if in.Forwards {
				if forwards++; forwards == 1 {
					if example = in.Text; example == "" {
						example = r.String()
					}
				}
			}
			if len(foreign) < maxForeign && !in.Hidden {
				foreign = append(foreign, flow.Rule{Table: r.Table, Priority: r.Priority, Match: r.Match, Cookie: r.Cookie})
			}
			if id.Validate() == nil && tag != 0 && number != 0 && in.Duration < time.Since(s.born) {
				other = fmt.Sprintf("cookie %#x, as of a gateway with id %d", r.Cookie, id)
			}
		case isStanding(r.Cookie):
			for i := range standing {
				found[i] = found[i] || sameRule(r, &standing[i])
			}
		default:
			ours++
			if !s.b.issued(number) && !s.b.peers(number) && s.surveyed && in.Duration < time.Since(s.born) {
				other = fmt.Sprintf("cookie %#x, as of a gateway with this one's id", r.Cookie)
			}
			gone := tag != tagOf(current) && !current.IsZero() && !s.keeps(tag, number)
			if tag == unversioned {
				// All of them together: what is left alone could pass what another denies.
				gone = connected && !s.b.issuedSince(number, s.first)
			}
			lost := restsOnState(r.Cookie) && !s.b.issuedSince(number, s.first) // nobody would remove it when its state changes
			switch {
			case !lost && (!sweep || !gone):
			case !lost && tag != unversioned && s.sw.DeletesByCookie() && !s.keptTag(tag):
				removed++
				tags[tag] = true
			case len(stale) < maxRemovals:
				removed++
				stale = append(stale, Installed{Rule: *r, Handle: in.Handle})
				stale[len(stale)-1].Rule.Actions = nil
			}
		}
		return nil
	})
	if err != nil {
		return ours, err
	}
	s.memory.Foreign(func(yield func(r *flow.Rule)) {
		for i := range foreign {
			yield(&foreign[i])
		}
		for i := range standing {
			if r := standing[i]; r.Priority > 0 { // no answer may have priority 0
				r.Cookie = s.b.cfg.Gateway.standing()
				yield(&r)
			}
		}
	})
	if forwards > 0 && forwards != s.forwards {
		about := []any{"rules", forwards, "example", example}
		if s.sw.Describe().Protocol != flow.P4Runtime { // where whoever wrote them has no tool that everybody has
			about = append(about, "mend", "ovs-ofctl del-flows BRIDGE COOKIE/-1, if they are not wanted")
		}
		s.Warn("foreign", "the switch has rules that are not this gateway's and that forward packets; it will not be asked about those", about...)
	}
	s.forwards, s.surveyed = forwards, true
	if other != "" {
		s.Warn("other_gateway", "another gateway installs rules in this switch: each packet is decided and sent twice; let one of them have the switch, and give each its own openflow.gateway_id",
			"seen", other)
	}
	s.haveStanding(standing, found)
	if removed == 0 {
		return ours, nil
	}
	if err := s.remove(tags, stale); err != nil {
		return ours, err
	}
	s.m.swept.WithLabelValues(s.m.protocol).Add(float64(removed))
	s.faults.Info("swept", "removed rules of older policy versions", "rules", removed, "policy", current.String())
	return ours, nil
}

// maxForeign bounds how many rules of others are remembered.
const maxForeign = 1 << 16

// remove takes rules out of the switch, a chunk at a time.
func (s *Session) remove(tags map[uint16]bool, stale []Installed) error {
	var changes []Change
	flush := func() error {
		if len(changes) == 0 {
			return nil
		}
		if err := s.sw.Write(s.b.Number(), changes, nil, false); err != nil {
			return err
		}
		changes = changes[:0]
		return s.sw.Flush()
	}
	for tag := range tags {
		changes = append(changes, Change{Rule: &flow.Rule{Command: flow.Delete, Table: 0xff, OutPort: flow.PortAny,
			Cookie: s.b.cfg.Gateway.version(tag), CookieMask: versionMask}})
	}
	for i := range stale {
		changes = append(changes, Change{Remove: &stale[i]})
		if len(changes) >= removeChunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// sameRule reports whether an installed rule is what a standing rule wants.
func sameRule(have, want *flow.Rule) bool {
	return have.Table == want.Table && have.Priority == want.Priority && have.Meter == want.Meter && have.Goto == want.Goto &&
		have.Match.Canonical() == want.Match.Canonical() &&
		slices.EqualFunc(have.Actions, want.Actions, func(a, b flow.Action) bool { return a.Type == b.Type && a.Port == b.Port })
}

// standingState is what is known of the rules that must always be in the
// switch. Under Session.mu.
type standingState struct {
	xid     uint32 // of the latest Write of them
	missing string // what is not there, and why; empty: nothing
	pause   time.Duration
	timer   *time.Timer // of the next look
	due     time.Time   // of the next look; zero: none is planned
	looking bool        // one is under way, and plans the next when it is over
	rest    time.Time   // no look begins before
	closed  bool
}

// InstallStanding queues the rules that must always be in the switch. A
// protocol calls it while it sets its connection up.
func (s *Session) InstallStanding() error {
	rules := s.sw.Standing()
	if len(rules) == 0 {
		return nil
	}
	xid := s.b.Number()
	s.mu.Lock()
	s.standing.xid = xid
	s.mu.Unlock()
	changes := make([]Change, len(rules))
	for i := range rules {
		rules[i].Cookie = s.b.cfg.Gateway.standing()
		rules[i].Flags |= flow.SendFlowRemoved
		changes[i].Rule = &rules[i]
	}
	return s.sw.Write(xid, changes, nil, false)
}

// NotReady says what must be in the switch and is not, and so why the switch is
// not governed; empty where all is there.
func (s *Session) NotReady() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standing.missing
}

// haveStanding takes note of which standing rules a survey found, and puts the
// others back.
func (s *Session) haveStanding(rules []flow.Rule, found []bool) {
	missing := ""
	for i := range rules {
		if !found[i] {
			missing = "the switch lacks " + rules[i].String()
			break
		}
	}
	if missing == "" {
		s.setMissing("")
		return
	}
	s.Warn("standing", "the switch has lost a rule that brings packets to the gateway; it is put back", "rule", missing)
	s.m.standing.WithLabelValues(s.m.protocol).Inc()
	s.setMissing(missing)
	if s.InstallStanding() == nil {
		_ = s.sw.Flush()
	}
	s.lookAgain()
}

func (s *Session) setMissing(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.standing.missing
	s.standing.missing = why
	switch {
	case was == "" && why != "":
		s.b.cfg.Metrics.ungoverned.Inc()
	case was != "" && why == "":
		s.b.cfg.Metrics.ungoverned.Dec()
		s.standing.pause = 0
		s.faults.Info("standing_back", "the switch has every rule again that brings packets to the gateway")
	}
}

// standingRefused takes note of a standing rule that the switch did not take.
func (s *Session) standingRefused(why *Refusal) {
	s.setMissing("the switch refuses a rule that brings packets to the gateway: " + why.Name)
	s.Warn("standing_refused", "the switch refuses a rule that brings packets to the gateway", "error", why.Name)
	s.lookAgain()
}

// standingWanted has the tables looked at because a standing rule went.
func (s *Session) standingWanted() {
	s.setMissing("a rule that brings packets to the gateway was removed")
	s.lookIn(0)
}

// lookAgain has the tables looked at after a pause that doubles.
func (s *Session) lookAgain() {
	s.mu.Lock()
	s.standing.pause = min(max(2*s.standing.pause, standingRetryMin), standingRetryMax)
	pause := s.standing.pause
	s.mu.Unlock()
	s.lookIn(pause)
}

// lookSoon has the tables looked at because something may have gone wrong.
func (s *Session) lookSoon() { s.lookIn(standingRetryMin) }

// lookIn has the tables looked at in d, or earlier if that is planned. There is
// never more than one look at a time, and a pause between two, whatever the switch
// says was removed.
func (s *Session) lookIn(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.standing
	now := time.Now()
	due := now.Add(d)
	if due.Before(st.rest) {
		due = st.rest
	}
	if st.closed || !st.due.IsZero() && !due.Before(st.due) {
		return
	}
	st.due = due
	if !st.looking {
		s.planLook(now)
	}
}

// planLook sets the timer of the next look. The caller holds mu.
func (s *Session) planLook(now time.Time) {
	st := &s.standing
	if d := st.due.Sub(now); st.timer == nil {
		st.timer = time.AfterFunc(d, s.look)
	} else {
		st.timer.Reset(d)
	}
}

// look compares the switch's tables with what must be in them, and plans the
// next look. A switch that takes long to list its rules is asked less often.
func (s *Session) look() {
	s.mu.Lock()
	if s.standing.looking {
		s.mu.Unlock() // the timer was set again while it fired
		return
	}
	s.standing.looking, s.standing.due = true, time.Time{}
	resyncing := s.resync.running // which sweeps when the new rules are in
	s.mu.Unlock()
	start := time.Now()
	if _, err := s.survey(!resyncing, s.b.cfg.ListTimeout); err != nil && s.ctx.Err() == nil {
		s.Warn("look", "the switch does not list its rules, so that a rule which was lost would not be noticed", "err", err)
	}
	took := time.Since(start)
	s.lookLater(took)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.standing
	st.looking = false
	st.rest = now.Add(max(lookPause, took))
	if st.closed || st.due.IsZero() {
		return
	}
	if st.due.Before(st.rest) {
		st.due = st.rest
	}
	s.planLook(now)
}

// lookPause is the least time between two looks.
const lookPause = 100 * time.Millisecond

// lookLater plans a regular look.
func (s *Session) lookLater(took time.Duration) {
	if every := s.b.cfg.LookInterval; every > 0 {
		every = max(every, 50*took)
		s.lookIn(every/2 + rand.N(every))
	}
}

// stopLooking ends the session's looks.
func (s *Session) stopLooking() {
	s.setMissing("")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing.closed = true
	if s.standing.timer != nil {
		s.standing.timer.Stop()
	}
}

// Rules lists this gateway's rules in the switch, at most max of them.
func (s *Session) Rules(ctx context.Context, max int) ([]Installed, error) {
	ctx, cancel := context.WithTimeout(ctx, s.b.cfg.ListTimeout)
	defer cancel()
	var list []Installed
	err := s.sw.List(ctx, Filter{Cookie: s.b.cfg.Gateway.standing(), Mask: gatewayMask}, func(in *Installed) error {
		if s.b.Owns(in.Rule.Cookie) && len(list) < max {
			one := *in
			one.Rule.Actions = slices.Clone(in.Rule.Actions)
			list = append(list, one)
		}
		return nil
	})
	return list, err
}
