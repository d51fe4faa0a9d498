package mapping

import (
	"errors"
	"fmt"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// ErrNoFit is wrapped by errors about rules that no mapped table can have.
var ErrNoFit = errors.New("no P4 table can hold the rule")

// Entry turns a rule into an entry of the first mapped table that can have it.
// packet has the headers of the packet that the rule answers; prerequisites that the
// rule leaves out are taken from it. It is nil for a proactive rule. The error has the
// reason of every table that was tried.
//
// The entry has the rule's cookie as controller_metadata, and its idle timeout if the
// table supports idle timeouts. The caller must keep other timeouts itself.
func (m *Mapping) Entry(r *flow.Rule, packet *flow.Match) (*p4v1.TableEntry, *Table, error) {
	match := r.Match
	if err := match.Complete(packet); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoFit, err)
	}
	type refusal struct {
		table *Table
		err   error
	}
	var room [4]refusal
	why := room[:0] // most rules are refused by some table: reasons become text only if every table refuses
	for _, t := range m.Tables {
		if t.OpenFlow != r.Table {
			continue
		}
		e, err := t.entry(r, &match, m)
		if err == nil {
			return e, t, nil
		}
		why = append(why, refusal{t, err})
	}
	if len(why) == 0 {
		return nil, nil, fmt.Errorf("%w: OpenFlow table %d is mapped to none", ErrNoFit, r.Table)
	}
	words := make([]string, len(why))
	for i, w := range why {
		words[i] = w.table.P4.Name + ": " + w.err.Error()
	}
	return nil, nil, fmt.Errorf("%w: %s", ErrNoFit, strings.Join(words, "; "))
}

// priorityError says that a rule's priority is outside a table's range.
type priorityError struct{ have, min, max uint16 }

func (e *priorityError) Error() string {
	return fmt.Sprintf("priority %d is not within %d to %d", e.have, e.min, e.max)
}

func (t *Table) entry(r *flow.Rule, m *flow.Match, in *Mapping) (*p4v1.TableEntry, error) {
	meter, err := in.meter(t.P4, r.Meter)
	switch {
	case r.Priority < t.MinPrio || r.Priority > t.MaxPrio:
		return nil, &priorityError{r.Priority, t.MinPrio, t.MaxPrio}
	case r.Goto != 0:
		return nil, fmt.Errorf("goto %d: the order of P4 tables is the program's", r.Goto)
	case err != nil:
		return nil, err
	case t.P4.Priority && r.Priority == 0:
		return nil, errors.New("priority 0, and its entries want at least 1")
	}
	parts := new(entryParts)
	e := &parts.entry
	e.TableId, e.ControllerMetadata, e.MeterConfig = t.P4.ID, r.Cookie, meter
	if t.P4.Priority {
		e.Priority = int32(r.Priority) + t.above
	}
	if t.P4.IdleTimeout {
		e.IdleTimeoutNs = r.IdleTimeout.Nanoseconds()
	}
	if err := t.match(e, m, &in.ports); err != nil {
		return nil, err
	}
	if err := t.action(&parts.action, r.Actions, m, &in.ports); err != nil {
		return nil, err
	}
	if t.P4.Profile != nil {
		e.Action = WithAction(t.P4, &parts.action)
		return e, nil
	}
	parts.kind.Action = &parts.action
	parts.tableAction.Type = &parts.kind
	e.Action = &parts.tableAction
	return e, nil
}

// said reports whether a rule matches exactly this value of the field.
func (i *implied) said(m *flow.Match) bool {
	v, mask, err := i.get(m)
	return m.Has(i.field) && err == nil && v == bits{lo: i.value} && mask == ones(i.width)
}

// Keys returns entries with the keys that a rule with the given match has, for the tables that have exact keys only: there, entries differ by
// their keys alone. They have no action.
func (m *Mapping) Keys(match *flow.Match) (list []*p4v1.TableEntry) {
	for _, t := range m.Tables {
		e := &p4v1.TableEntry{TableId: t.P4.ID}
		if !t.P4.Priority && t.match(e, match, &m.ports) == nil {
			list = append(list, e)
		}
	}
	return list
}

// match fills e's key.
func (t *Table) match(e *p4v1.TableEntry, m *flow.Match, ports *portNames) error {
	e.Match = make([]*p4v1.FieldMatch, 0, len(t.keys))
	exact := newExacts(t)
	var used flow.Field
	for _, i := range t.implied {
		if !i.said(m) {
			return fmt.Errorf("it holds rules of %s %#x only", i.name, i.value)
		}
		used |= i.field
	}
	for i := range t.keys {
		k := &t.keys[i]
		if k.always != nil {
			e.Match = append(e.Match, k.always)
			continue
		}
		fm, field, err := k.match(m, &exact, ports)
		if err != nil {
			return err
		}
		used |= field
		if fm != nil {
			e.Match = append(e.Match, fm)
		}
	}
	if used&flow.FieldVLAN != 0 && m.VLANMask&^t.tagBits != 0 && t.tagBits != 0 && !untagged(m) {
		used &^= flow.FieldVLAN // the keys say whether there is a tag, but not its id
	}
	if rest := m.Fields &^ used; rest != 0 {
		return fmt.Errorf("no key for %v", rest)
	}
	return nil
}

// entryParts are the messages that every entry has, allocated together: one allocation
// for each message costs more than the memory.
type entryParts struct {
	entry       p4v1.TableEntry
	tableAction p4v1.TableAction
	kind        p4v1.TableAction_Action
	action      p4v1.Action
}

// exacts allocates a table's exact keys together, for the same reason.
type exacts struct {
	cells []exactCell
	bytes []byte
}

type exactCell struct {
	match p4v1.FieldMatch
	kind  p4v1.FieldMatch_Exact_
	exact p4v1.FieldMatch_Exact
}

func newExacts(t *Table) exacts {
	n, size := 0, 0
	for i := range t.keys {
		if t.keys[i].kind == pipeline.Exact {
			n++
			size += (min(t.keys[i].Width, 128) + 7) / 8
		}
	}
	if n == 0 {
		return exacts{}
	}
	return exacts{make([]exactCell, n), make([]byte, 0, size)}
}

// add appends one key's match. There is room for it: a key has at most one value.
func (x *exacts) add(id uint32, value bits) *p4v1.FieldMatch {
	c := &x.cells[0]
	x.cells = x.cells[1:]
	from := len(x.bytes)
	x.bytes = value.append(x.bytes)
	c.exact.Value = x.bytes[from:len(x.bytes):len(x.bytes)]
	c.kind.Exact = &c.exact
	c.match.FieldId, c.match.FieldMatchType = id, &c.kind
	return &c.match
}

// match returns the key's part of an entry, or nil for "any", and the field of the rule
// that it stands for.
func (k *key) match(m *flow.Match, exact *exacts, ports *portNames) (*p4v1.FieldMatch, flow.Field, error) {
	possible := false
	var absent, said flow.Field
	var tos, tosMask bits
	for _, o := range k.oxms {
		may, sure := o.may(m)
		possible = possible || may
		if !may && o.tag == tagNumber {
			absent = o.field // the rule matches packets without a tag; another key says so
		}
		if !sure || !m.Has(o.field) {
			continue
		}
		value, mask, err := o.get(m)
		if err != nil {
			return nil, 0, fmt.Errorf("key %s: %s: %w", k.Name, o.name, err)
		}
		if o.tos {
			tos, tosMask, said = tos.or(value.up(o.shift)), tosMask.or(mask.up(o.shift)), said|o.field
			continue
		}
		if k.String {
			return k.textMatch(ports.name(uint32(value.lo))), o.field, nil // an in_port, says Bind
		}
		if w := min(k.Width, o.width); k.kind == pipeline.Exact && value.width() <= w && mask.and(ones(w)) == ones(w) {
			return exact.add(k.ID, value), o.field, nil
		}
		v, msk, err := k.fit(o, value, mask)
		if err != nil {
			return nil, 0, fmt.Errorf("key %s: %s: %w", k.Name, o.name, err)
		}
		fm, err := k.fieldMatch(v, msk)
		if err != nil {
			return nil, 0, fmt.Errorf("key %s: %s: %w", k.Name, o.name, err)
		}
		return fm, o.field, nil
	}
	switch {
	case said != 0:
		fm, err := k.fieldMatch(tos.bytes(k.Width), tosMask.bytes(k.Width))
		if err != nil {
			err = fmt.Errorf("key %s: %v: %w", k.Name, said, err)
		}
		return fm, said, err
	case k.kind != pipeline.Exact:
		return nil, absent, nil
	case possible:
		return nil, 0, fmt.Errorf("key %s is compared exactly and the rule does not say it", k.Name)
	}
	// No packet of the rule has any of the key's fields, so the program leaves it zero.
	return exact.add(k.ID, bits{}), absent, nil
}

// fit turns a value and mask of the field's width into ones of the key's width. Bits that
// only the key has are zero in every packet, so the mask may have them, too.
func (k *key) fit(o *oxm, value, mask bits) (v, msk []byte, err error) {
	if n := value.width(); n > k.Width {
		return nil, nil, fmt.Errorf("value %#x has %d bits, more than the %d of its type", value.append(nil), n, k.Width)
	}
	if mask != (bits{}) {
		mask = mask.or(ones(o.width).not()).and(ones(k.Width))
	}
	return value.bytes(k.Width), mask.bytes(k.Width), nil
}
