package machine

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"switchbridge/flow"
	states "switchbridge/state"
)

// CheckValue says whether bytes from a store are a state of any machine that an event at now can use: [state.ErrCorrupt], [state.ErrNewer] or
// [state.ErrFuture] if not. It is for whoever counts; the machine itself looks again, and more closely.
func CheckValue(b []byte, now time.Time) error {
	switch whole(b) {
	case "":
		if int64(le.Uint64(b[atWritten:])) > now.UnixMilli()+skew.Milliseconds() {
			return states.ErrFuture
		}
		return nil
	case faultNewer:
		return states.ErrNewer
	}
	return states.ErrCorrupt
}

// Wants returns the types of events beside packets and connected switches that some machine is moved by: a gateway passes them on if it is told to.
func (c *Config) Wants() (list []flow.EventType) {
	var on [triggers]bool
	for i := range c.Machines {
		for j := range c.Machines[i].Transitions {
			on[c.Machines[i].Transitions[j].On] = true
		}
	}
	if on[OnPort] {
		list = append(list, flow.EventPortStatus)
	}
	if on[OnRemoved] {
		list = append(list, flow.EventFlowRemoved)
	}
	return list
}

// Forgetful returns the names of the machines whose start state may permit more than another of their states: a store that forgets them opens what that
// one had closed.
func (c *Config) Forgetful() (names []string) {
	for i := range c.Machines {
		m := &c.Machines[i]
		start := &m.States[m.Start]
		if slices.ContainsFunc(m.States, func(s State) bool { return !start.within(&s) }) {
			names = append(names, m.Name)
		}
	}
	return names
}

// CantTravel implements [policy.Remembering]: not what many share, since events of one state wait for each other; not what no event of its readers
// brings; and in a pair not what the other gateway would open by not having it.
func (c *Config) CantTravel(pair bool) (why []string) {
	for i := range c.Machines {
		m := &c.Machines[i]
		if m.Key == Dst || m.Key >= Switch {
			why = append(why, fmt.Sprintf("machine %s: its key is %v, which many share: all their events would wait for each other, and each gateway would have a state of its own", m.Name, m.Key))
		}
		for _, reads := range m.reads() {
			for _, r := range reads {
				text := fmt.Sprintf("machine %s: it reads the state %s of machine %s, which comes with events of that key alone", m.Name, r.key, r.machine)
				if r.key != "" && !slices.Contains(why, text) {
					why = append(why, text)
				}
			}
		}
	}
	if pair {
		for _, name := range c.Forgetful() {
			why = append(why, fmt.Sprintf("machine %s: in a pair the other gateway does not have its states when it takes over, and its start state permits more than another one", name))
		}
	}
	return why
}

// within reports whether it is plain that a state permits nothing that another one does not: it permits nothing at all, the two have the same rules and
// action, or it permits by rules alone, all of which the other one has, too, and that has nothing that denies before them.
func (s *State) within(other *State) bool {
	same := func(a, b Rule) bool {
		a.Name, b.Name = "", ""
		return reflect.DeepEqual(a, b)
	}
	if slices.EqualFunc(s.Rules, other.Rules, same) && reflect.DeepEqual(s.Action, other.Action) {
		return true
	}
	if !s.Action.Deny {
		return false
	}
	for i := range s.Rules {
		if s.Rules[i].Action.Deny {
			continue
		}
		at := slices.IndexFunc(other.Rules, func(r Rule) bool { return same(r, s.Rules[i]) })
		if at < 0 || slices.ContainsFunc(other.Rules[:at], func(r Rule) bool { return r.Action.Deny }) {
			return false
		}
	}
	return true
}
