package mapping

import (
	"errors"
	"fmt"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/p4bridge/pipeline"
)

// MissKind says what a program does with a packet that no rule matches.
type MissKind uint8

const (
	MissDigest MissKind = iota // the packet is dropped and a digest tells of it
	MissPunt                   // the packet comes to the gateway
	MissClone                  // a copy comes to the gateway; the packet goes the program's own way
	MissFlood                  // the packet is flooded, and nobody is asked
	MissDrop                   // the packet is dropped, and nobody is asked
	missKinds
)

var missNames = [missKinds]string{"digest", "punt", "clone", "flood", "drop"}

func (k MissKind) String() string { return missNames[k%missKinds] }

// ParseMissKind is [MissKind.String]'s inverse.
func ParseMissKind(s string) (MissKind, error) {
	if i := slices.Index(missNames[:], s); i >= 0 {
		return MissKind(i), nil
	}
	return 0, fmt.Errorf("%q is no way to treat a miss; there are %v", s, missNames)
}

// Miss is how a program is told what to do with an unknown flow: an action, as
// the default of a table or as its entry below all others.
type Miss struct {
	Table *pipeline.Table // nil: the program asks by itself
	// Meter holds misses back, by ingress port; nil where the program has none.
	Meter *pipeline.Meter

	ways [missKinds]missWay
}

// missWay is how one kind of miss is had.
type missWay struct {
	call  *Call
	entry []*p4v1.FieldMatch // the keys of an entry; nil and not asEntry: the default action
	how   missHow
}

type missHow uint8

const (
	missNot     missHow = iota // the program can't, or the mapping doesn't say how
	missItself                 // it does so, whatever the gateway writes
	missDefault                // the table's default action
	missEntry                  // an entry below all others
)

// Can reports whether the program can do this with a miss.
func (m *Miss) Can(k MissKind) bool { return m.ways[k].how != missNot }

// Entry returns what brings a kind of miss about: the default action, or an
// entry; nil where the program does so by itself.
func (m *Miss) Entry(k MissKind) *p4v1.TableEntry {
	w := &m.ways[k]
	switch w.how {
	case missDefault:
		return &p4v1.TableEntry{TableId: m.Table.ID, IsDefaultAction: true,
			Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: w.call.Action()}}}
	case missEntry:
		e := &p4v1.TableEntry{TableId: m.Table.ID, Match: w.entry, Action: WithAction(m.Table, w.call.Action())}
		if m.Table.Priority {
			e.Priority = 1
		}
		return e
	}
	return nil
}

// Kind says what an action does with a miss; ok is false for one that is in no
// mapping.
func (m *Miss) Kind(a *p4v1.Action) (k MissKind, ok bool) {
	for k := range missKinds {
		if c := m.ways[k].call; c != nil && c.Is(a) {
			return k, true
		}
	}
	return 0, false
}

// asksIn reports whether a table's last entry asks.
func (m *Miss) asksIn(t *pipeline.Table) bool {
	return m.Table == t && slices.ContainsFunc(m.Asks(), func(k MissKind) bool { return m.ways[k].how == missEntry })
}

// How says in words by what each kind of miss is had, for people.
func (m *Miss) How() (list []string) {
	for k := range missKinds {
		name := ""
		if m.Table != nil {
			name = m.Table.Name
		}
		switch m.ways[k].how {
		case missItself:
			list = append(list, k.String()+": the program does so by itself")
		case missDefault:
			list = append(list, fmt.Sprintf("%v: the default action of table %s", k, name))
		case missEntry:
			list = append(list, fmt.Sprintf("%v: the last entry of table %s", k, name))
		}
	}
	return list
}

// Asks lists the kinds of miss by which the gateway can be asked.
func (m *Miss) Asks() (list []MissKind) {
	for _, k := range []MissKind{MissDigest, MissPunt, MissClone} {
		if m.Can(k) {
			list = append(list, k)
		}
	}
	return list
}

func (b *binder) miss(raw *rawMiss, tables []*Table) *Miss {
	m := new(Miss)
	for _, n := range raw.ByItself {
		k, err := ParseMissKind(n.string)
		if err != nil {
			b.errorf(n.line, "miss", "by_itself: %v", err)
			continue
		}
		m.ways[k].how = missItself
	}
	calls := [missKinds]*rawCall{raw.Digest, raw.Punt, raw.Clone, raw.Flood, raw.Drop}
	if raw.Table.string == "" && slices.ContainsFunc(calls[:], func(c *rawCall) bool { return c != nil }) || raw.Table.string != "" || len(raw.ByItself) == 0 {
		if m.Table = b.named("miss", raw.Table); m.Table == nil {
			return nil
		}
	}
	match, matchErr := b.missMatch(raw, m.Table, tables)
	for k, c := range calls {
		if c == nil {
			continue
		}
		entry := "miss: " + missNames[k]
		if m.ways[k].how != missNot {
			b.errorf(c.Action.line, entry, "the program does so by itself, says by_itself")
			continue
		}
		w, err := b.missWay(entry, m.Table, c, match, matchErr, len(raw.Match) > 0)
		if err != nil {
			b.errorf(c.Action.line, entry, "%v", err)
			continue
		}
		m.ways[k] = w
		if w.how == missEntry && m.Table.Priority {
			for _, t := range tables {
				if t.P4 == m.Table {
					t.above = 1
				}
			}
		}
	}
	if n := raw.Meter; n.string != "" {
		m.Meter = b.p.Meter(n.string)
		switch {
		case m.Meter == nil:
			b.errorf(n.line, "miss", "P4Info has no meter %q; it has %v", n.string,
				pipeline.Names(b.p.Meters, func(m *pipeline.Meter) string { return m.Name }))
		case !m.Meter.Packets:
			b.errorf(n.line, "miss", "meter %s counts bytes, and a rate of misses is in packets", n.string)
		}
	}
	return m
}

// missWay finds out how a table can be had to do something with a miss.
func (b *binder) missWay(entry string, t *pipeline.Table, raw *rawCall, match []*p4v1.FieldMatch, matchErr error, narrowed bool) (missWay, error) {
	all := slices.Clone(t.Defaults)
	for _, a := range t.Actions {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	call := b.call(entry, all, "table "+t.Name+" can have", raw)
	if call == nil {
		return missWay{}, nil // b.call has said so
	}
	fixed := t.ConstMiss
	switch {
	case narrowed: // only some packets are to ask
	case fixed == call.P4:
		return missWay{call: call, how: missItself}, nil
	case fixed == nil && slices.Contains(t.Defaults, call.P4):
		return missWay{call: call, how: missDefault}, nil
	}
	if slices.Contains(t.Actions, call.P4) && matchErr == nil && (t.Priority || !slices.ContainsFunc(t.Fields, func(f pipeline.Field) bool { return f.Kind == pipeline.Exact })) {
		return missWay{call: call, entry: match, how: missEntry}, nil
	}
	why := fmt.Sprintf("table %s can't have %s as its default action", t.Name, call.P4.Name)
	if fixed != nil {
		why = fmt.Sprintf("the default action of table %s is fixed to %s", t.Name, fixed.Name)
	}
	switch {
	case !slices.Contains(t.Actions, call.P4):
		return missWay{}, fmt.Errorf("%s, and its entries can't have %s", why, call.P4.Name)
	case matchErr != nil:
		return missWay{}, fmt.Errorf("%s, and no entry matches everything: %w", why, matchErr)
	}
	return missWay{}, fmt.Errorf("%s, and its entries are exact, so none of them is below the others", why)
}

// missMatch makes the keys of an entry for misses: what the section says, or what
// every entry of the mapped table has.
func (b *binder) missMatch(raw *rawMiss, t *pipeline.Table, tables []*Table) (match []*p4v1.FieldMatch, err error) {
	if t == nil {
		return nil, nil
	}
	for _, n := range sortedNames(raw.Match) {
		if t.Field(n.string) == nil {
			b.errorf(n.line, "miss", "match: table %s has no key %q; it has %v", t.Name, n.string,
				pipeline.Names(t.Fields, func(f pipeline.Field) string { return f.Name }))
		}
	}
	var missing error
	for i := range t.Fields {
		f := &t.Fields[i]
		var fm *p4v1.FieldMatch
		for n, text := range raw.Match {
			if n.string != f.Name {
				continue
			}
			if fm, err = directKey(f, text.string); err != nil {
				b.errorf(n.line, "miss", "match: %s: %v", f.Name, err)
			}
		}
		for _, mapped := range tables {
			for _, k := range mapped.keys {
				if fm == nil && mapped.P4 == t && k.ID == f.ID {
					fm = k.always
				}
			}
		}
		switch {
		case fm != nil:
			match = append(match, fm)
		case f.Kind == pipeline.Exact && missing == nil:
			missing = errors.New("key " + f.Name + " is compared exactly")
		}
	}
	return match, missing
}

// WithAction makes of an action what an entry of the table has: of a selector's,
// a set of this action alone (P4Runtime 1.3, 9.2.3).
func WithAction(t *pipeline.Table, a *p4v1.Action) *p4v1.TableAction {
	if t.Profile != nil && t.Profile.Selector {
		return &p4v1.TableAction{Type: &p4v1.TableAction_ActionProfileActionSet{ActionProfileActionSet: &p4v1.ActionProfileActionSet{
			ActionProfileActions: []*p4v1.ActionProfileAction{{Action: a, Weight: 1}}}}}
	}
	return &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: a}}
}

// ActionOf is WithAction's inverse; nil where an entry has several actions, or
// refers to a member or a group.
func ActionOf(ta *p4v1.TableAction) *p4v1.Action {
	if set := ta.GetActionProfileActionSet().GetActionProfileActions(); len(set) == 1 {
		return set[0].GetAction()
	}
	return ta.GetAction()
}
