package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"switchbridge/flow"
)

// Bounds of asking again about rules of an older policy.
const (
	renewRate   = 500 // questions a second, of all switches together
	renewBurst  = 50
	renewAsking = 16 // questions of one session that are under way
	// renewTries is how often the gateway asks about a rule without getting an answer. Then it removes the rule.
	renewTries = 3
	// lateFor is how long after a change of policy a decision by the policy before may still reach a switch.
	lateFor = time.Second
	// maxKept is how many older versions may have rules in a switch. If there are more, the next change removes all of their rules.
	maxKept = 64
)

// link is a change of policy.
type link struct {
	before, after flow.PolicyVersion
	scope         flow.Scope // nil: anything may be decided differently
}

// PolicyChangedWithin is [Bridge.PolicyChanged] for a change whose effect is known: scope says which packets the two policies decide differently.
// Rules that match none of these stay without being asked about. Rules that allow packets which the new policy denies are removed at once.
func (b *Bridge) PolicyChangedWithin(before, after flow.PolicyVersion, scope flow.Scope) {
	b.policyChanged(link{before, after, scope})
}

// scopeOf joins the changes that lead from one version to another. It returns nil if one of them is not known.
func scopeOf(links []link, from, to flow.PolicyVersion) joined {
	scopes := make(joined, 0, len(links))
	for _, l := range links {
		if l.before != from || l.scope == nil {
			return nil
		}
		from = l.after
		scopes = append(scopes, l.scope)
	}
	if from != to {
		return nil
	}
	return scopes
}

// joined are changes one after the other.
type joined []flow.Scope

// Touches implements [flow.Scope].
func (list joined) Touches(m *flow.Match) (t flow.Touch) {
	if list == nil {
		return flow.Changed
	}
	for _, s := range list {
		t = max(t, s.Touches(m))
	}
	return t
}

// renewal is one session's work after a change of policy: it keeps or removes the rules that older policies have left.
type renewal struct {
	s       *Session
	scope   joined
	current flow.PolicyVersion
	first   map[uint64]bool // cookies of rules that the last change did not come to
	seen    map[uint64]bool // of rules that were looked at
	ask     []Installed
	denied  []Installed
	kept    int
}

// renew brings the switch in line with the current policy, if the session knows what has changed since the policy before. Rules that the change
// doesn't touch stay. Rules that allow what is denied now are removed first. About the other rules that the change touches renew asks the function, at a
// bounded rate, and removes those whose answer has changed; the next packet causes a new rule. renew ends early if the policy changes again.
func (s *Session) renew(scope joined, current flow.PolicyVersion) error {
	r := &renewal{s: s, scope: scope, current: current, seen: make(map[uint64]bool)}
	s.mu.Lock()
	r.first, s.resync.leftover = s.resync.leftover, nil
	s.mu.Unlock()
	start := time.Now()
	if err := r.list(); err != nil {
		return err
	}
	asked, changed := len(r.ask), len(r.denied)
	if err := r.drop(r.denied, "denied"); err != nil {
		return err
	}
	s.m.renewed.WithLabelValues(s.m.protocol, "untouched").Add(float64(r.kept))
	gone, done, err := r.askAll()
	if !done || err != nil {
		return err
	}
	// Rules that the older policy decided while the switch was being listed have reached the switch by now.
	if !s.pause(time.Until(start.Add(lateFor))) {
		return s.ctx.Err()
	}
	r.ask, r.denied = nil, nil
	if err := r.list(); err != nil {
		return err
	}
	late := append(r.denied, r.ask...)
	if err := r.drop(late, "denied"); err != nil {
		return err
	}
	s.faults.Info("renewed", "the switch is in line with the policy", "policy", current.String(), "denied", changed, "asked", asked, "changed", gone, "untouched", r.kept, "late", len(late),
		"took_seconds", time.Since(start).Seconds())
	return nil
}

// list sorts the rules of older versions that were not looked at yet.
func (r *renewal) list() error {
	s := r.s
	older, err := r.older()
	if err != nil {
		return err
	}
	for i := range older {
		rule := &older[i].Rule
		_, tag, number := SplitCookie(rule.Cookie)
		touch := r.scope.Touches(&rule.Match)
		if touch == flow.Untouched && r.first[rule.Cookie] {
			touch = flow.Changed
		}
		switch {
		case !s.keeps(tag, number) || !answersPacket(number) || touch != flow.Untouched && restsOnState(rule.Cookie),
			touch == flow.Denied && (older[i].Forwards || rule.Passes()):
			r.denied = append(r.denied, older[i])
		case touch != flow.Untouched:
			r.ask = append(r.ask, older[i])
		default:
			r.kept++
		}
	}
	return nil
}

// older returns the rules of older versions that renew has not looked at yet. Listing a switch may take a while, so older compares versions after it.
func (r *renewal) older() (list []Installed, err error) {
	s := r.s
	ctx, cancel := context.WithTimeout(s.ctx, s.b.cfg.ListTimeout)
	defer cancel()
	err = s.sw.List(ctx, Filter{Cookie: s.b.cfg.Gateway.standing(), Mask: gatewayMask}, func(in *Installed) error {
		cookie := in.Rule.Cookie
		_, tag, _ := SplitCookie(cookie)
		if in.Hidden || isStanding(cookie) || !s.b.Owns(cookie) || tag == tagOf(r.current) || tag == unversioned || r.seen[cookie] {
			return nil
		}
		if len(list) == maxRemovals {
			return errTooMany
		}
		one := *in
		one.Rule.Actions = slices.Clone(in.Rule.Actions)
		list = append(list, one)
		return nil
	})
	for i := range list {
		r.seen[list[i].Rule.Cookie] = true
	}
	return list, err
}

// errTooMany makes the session remove all rules of older versions.
var errTooMany = errors.New("the switch has too many rules of older policies to be asked about")

// drop removes rules.
func (r *renewal) drop(rules []Installed, why string) error {
	if len(rules) == 0 {
		return nil
	}
	s := r.s
	for i := range rules {
		s.forget(&rules[i].Rule.Match)
		rules[i].Rule.Actions = nil
	}
	s.m.renewed.WithLabelValues(s.m.protocol, why).Add(float64(len(rules)))
	s.m.swept.WithLabelValues(s.m.protocol).Add(float64(len(rules)))
	return s.remove(nil, rules)
}

// askAll asks about rules, at the bridge's rate, and removes those whose answer has changed. It returns how many it removed. done is false if the policy
// has changed again; the next renewal then asks about the rest.
func (r *renewal) askAll() (changed int, done bool, err error) {
	s := r.s
	left := r.ask
	// Those that let packets pass go first.
	slices.SortStableFunc(left, func(a, b Installed) int {
		pa, pb := a.Rule.Passes(), b.Rule.Passes()
		switch {
		case pa == pb:
			return 0
		case pa:
			return -1
		}
		return 1
	})
	for try := 1; len(left) > 0; try++ {
		var failed []Installed
		for len(left) > 0 {
			if s.changing() {
				s.leave(append(left, failed...))
				return changed, false, nil
			}
			n := min(len(left), renewAsking)
			gone, unknown, err := r.askSome(left[:n])
			if err != nil {
				return changed, false, err
			}
			changed += len(gone)
			if err := r.drop(gone, "changed"); err != nil {
				return changed, false, err
			}
			left, failed = left[n:], append(failed, unknown...)
		}
		if try == renewTries {
			s.Warn("renew", "rules of an older policy are removed without being asked about: the function does not answer", "rules", len(failed))
			return changed, true, r.drop(failed, "unanswered")
		}
		if left = failed; len(left) > 0 && !s.pause(time.Duration(try)*time.Second) {
			return changed, false, s.ctx.Err()
		}
	}
	return changed, true, nil
}

// askSome asks about a few rules, all at once where the function is remote. It returns the rules whose answer has changed, and those without one.
func (r *renewal) askSome(rules []Installed) (changed, unknown []Installed, err error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	one := func(in *Installed) {
		same, err := r.s.stillSo(in, r.current)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			unknown = append(unknown, *in)
		case same:
			r.s.m.renewed.WithLabelValues(r.s.m.protocol, "same").Inc()
		default:
			changed = append(changed, *in)
		}
	}
	for i := range rules {
		if err := r.s.b.renewals.Wait(r.s.ctx); err != nil {
			group.Wait()
			return nil, nil, err
		}
		if r.s.b.local {
			one(&rules[i])
		} else {
			group.Go(func() { one(&rules[i]) })
		}
	}
	group.Wait()
	return changed, unknown, nil
}

// stillSo asks the function whether the packet that caused a rule would cause it again, with at least the time that the rule has left. A rule that matches more than one conversation
// doesn't tell what the packet was: stillSo returns false, the rule goes, and the next packet is decided anew.
func (s *Session) stillSo(in *Installed, current flow.PolicyVersion) (same bool, err error) {
	rule := &in.Rule
	frame, ok := flow.FrameOf(&rule.Match, flow.SYN)
	if !ok || !rule.Match.Has(flow.FieldInPort) || rule.Match.Missing() != 0 {
		return false, nil
	}
	pi := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), TableID: rule.Table, Match: flow.ParseFrame(frame, rule.Match.InPort), Data: frame}
	if s.sw.Describe().Protocol == flow.P4Runtime {
		pi.Match = rule.Match // its packets show what the program's tables have
	}
	ev := flow.Event{Type: flow.EventPacketIn, PacketIn: &pi, Rehearsal: true}
	s.fill(&ev, time.Now())
	var d flow.Decision
	if err := s.b.decide(s.ctx, &ev, &d); err != nil {
		if kind := flow.KindOf(err); kind == flow.Refused || kind == flow.Invalid {
			return false, nil
		}
		return false, err
	}
	if d.Failure != nil {
		return false, d.Failure
	}
	if !d.Policy.IsZero() && d.Policy != current {
		return false, flow.Errorf(flow.Unavailable, "an answer of policy %v", d.Policy)
	}
	match := rule.Match.Canonical()
	return slices.ContainsFunc(d.Rules, func(o flow.Rule) bool {
		return o.Command == flow.Add && o.Table == rule.Table && o.Priority == rule.Priority && o.Match.Canonical() == match &&
			o.Meter == rule.Meter && o.Goto == rule.Goto && slices.Equal(o.Actions, rule.Actions) && !in.outlives(&o)
	}), nil
}

// outlives reports whether a rule that is in the switch would live longer than one that would be installed now, by more than the second in which both are
// counted. Who says for how long a decision holds may mean that it ends then.
func (in *Installed) outlives(now *flow.Rule) bool {
	return now.HardTimeout > 0 && (in.Rule.HardTimeout == 0 || in.Rule.HardTimeout-in.Duration > now.HardTimeout+time.Second)
}

// pause waits, and reports whether the session still lives.
func (s *Session) pause(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// changing reports whether another change of policy waits.
func (s *Session) changing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resync.again
}

// leave keeps rules for the next renewal that this one has not asked about.
func (s *Session) leave(rules []Installed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resync.leftover = make(map[uint64]bool, len(rules))
	for i := range rules {
		s.resync.leftover[rules[i].Rule.Cookie] = true
	}
}

// keptTag reports whether rules with an older version's tag stay for now: the policies since then decide them alike, or this renewal or the next one
// asks about them.
func (s *Session) keptTag(tag uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resync.kept[tag] || !s.resync.inLine.IsZero() && tag == tagOf(s.resync.inLine)
}

// keeps is keptTag for one rule. It is false for rules that were in the switch when the session began.
func (s *Session) keeps(tag uint16, number uint32) bool {
	return s.b.issuedSince(number, s.first) && s.keptTag(tag)
}

// pending reports whether there are rules that the last change of policy did not come to.
func (s *Session) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.resync.leftover) > 0
}

// begins notes that rules of the version before stay while the renewal looks at them. It returns false if the version before isn't known, or if
// more than maxKept versions have rules in the switch. Then all older rules go.
func (s *Session) begins(next flow.PolicyVersion) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.resync
	if r.inLine.IsZero() || next.IsZero() || len(r.kept) >= maxKept {
		r.inLine, r.kept, r.leftover = flow.PolicyVersion{}, nil, nil
		return false
	}
	if r.kept == nil {
		r.kept = make(map[uint16]bool)
	}
	r.kept[tagOf(r.inLine)] = true
	delete(r.kept, tagOf(next)) // it has come back
	return true
}

// ends notes that the switch has rules of version v only. v is the confirmed version, or that of the answers if none is confirmed.
func (s *Session) ends(v flow.PolicyVersion) {
	if v.IsZero() {
		v = s.b.cfg.Versions.Latest()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resync.inLine = v
}
