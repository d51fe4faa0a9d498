package eval

import (
	"context"
	"strings"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policytest"
)

// Trial asks a controller about one event after the other and keeps the states of the policy's machines in memory, for ever.
type Trial struct {
	c      *controller.Controller
	states map[string]flow.State
	keys   []string
	read   []flow.State
	now    time.Time // of the expectations
}

// Start is when the first of some expectations comes, if it does not say. Any time would do.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// NewTrial returns a Trial without any states.
func NewTrial(c *controller.Controller) *Trial {
	return &Trial{c: c, states: make(map[string]flow.State)}
}

// Decide implements [flow.Decider]. It sets the event's States, as they were before the decision.
func (t *Trial) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	t.keys, t.read = t.c.StateKeys(ev, t.keys[:0]), t.read[:0]
	for _, key := range t.keys {
		s := t.states[key]
		s.Key = key
		t.read = append(t.read, s)
	}
	ev.States = t.read
	if err := t.c.Decide(ctx, ev, d); err != nil || d.Change == nil {
		return err
	}
	changed := t.read[d.Change.Index]
	changed.Version++
	changed.Data = d.Change.Data
	t.states[changed.Key] = changed
	return nil
}

// Try asks about an expectation's packet or event, at an OpenFlow 1.3 switch, after the time that it says has passed since the one
// before. It returns what it gets, and whether that is what is wanted.
func (t *Trial) Try(ctx context.Context, e *policytest.Expectation) (got string, met bool, err error) {
	if t.now.IsZero() {
		t.now = Start
	}
	wait, line, err := policytest.Wait(e.Packet, t.now)
	if err != nil {
		return "", false, err
	}
	ev, err := policytest.Event(line, flow.OpenFlow13)
	if err != nil {
		return "", false, err
	}
	t.now = t.now.Add(wait)
	ev.Time = t.now
	var d flow.Decision
	if err := t.Decide(ctx, ev, &d); err != nil {
		return "", false, err
	}
	return policytest.Sum(&d), e.Met(&d), nil
}

// State returns the name of the state that a key is in at a time.
func (t *Trial) State(key string, at time.Time) string {
	return t.c.StateOf(key, t.states[key].Data, at)
}

// moved says what a decision has done to a state.
func (t *Trial) moved(ev *flow.Event, d *flow.Decision) (m Move, ok bool) {
	if d.Change == nil {
		return m, false
	}
	before := &ev.States[d.Change.Index]
	m.Key = before.Key
	m.From, m.To = t.c.StateOf(m.Key, before.Data, ev.Time), t.c.StateOf(m.Key, d.Change.Data, ev.Time)
	return m, m.From != m.To
}

// inStates counts the keys that are in each state.
func (t *Trial) inStates(now time.Time) map[string]int {
	if len(t.states) == 0 {
		return nil
	}
	n := make(map[string]int)
	for key, s := range t.states {
		machine, _, _ := strings.Cut(key, "/")
		n[machine+": "+t.c.StateOf(key, s.Data, now)]++
	}
	return n
}

// standing is what an answer left in the switch for a flow.
type standing struct {
	verdict  flow.Verdict // of the answer
	rule     bool
	idle     time.Duration
	end      time.Time // by its hard timeout; zero: never
	last     time.Time // when the last packet came
	keys     []string  // what the answer rests on
	versions []uint64
}

func (s *standing) take(t *Trial, ev *flow.Event, d *flow.Decision) {
	*s = standing{verdict: d.Verdict, keys: s.keys[:0], versions: s.versions[:0]}
	if len(d.Rules) == 0 {
		return
	}
	s.rule, s.idle = true, d.Rules[0].IdleTimeout
	if hard := d.Rules[0].HardTimeout; hard != 0 {
		s.end = ev.Time.Add(hard)
	}
	for i := range ev.States {
		key := ev.States[i].Key
		s.keys, s.versions = append(s.keys, key), append(s.versions, t.states[key].Version)
	}
}

// covers reports whether the rule is still there: a gateway removes it once a state that it rests on has another version.
func (s *standing) covers(t *Trial, now time.Time) bool {
	if !s.rule || !s.end.IsZero() && !now.Before(s.end) || s.idle != 0 && now.Sub(s.last) >= s.idle {
		return false
	}
	for i, key := range s.keys {
		if t.states[key].Version != s.versions[i] {
			return false
		}
	}
	return true
}
