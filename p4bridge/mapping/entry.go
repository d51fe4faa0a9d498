package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// ErrNoFit is what errors about rules that no mapped table can hold wrap.
var ErrNoFit = errors.New("no P4 table can hold the rule")

// Entry turns a rule into an entry of the first mapped table that can hold it.
// packet is what the rule answers, for the prerequisites that it leaves out,
// and nil for a proactive rule. The error says of every candidate why not.
//
// The entry carries the rule's cookie as controller_metadata and its idle
// timeout; a hard timeout is the caller's to keep, since P4Runtime has none.
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
	why := room[:0] // most rules have a table that refuses them: it is not put into words until none is left
	for _, t := range m.Tables {
		if t.OpenFlow != r.Table {
			continue
		}
		e, err := t.entry(r, &match)
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

// priorityError is a rule that is not within a table's priorities.
type priorityError struct{ have, min, max uint16 }

func (e *priorityError) Error() string {
	return fmt.Sprintf("priority %d is not within %d to %d", e.have, e.min, e.max)
}

func (t *Table) entry(r *flow.Rule, m *flow.Match) (*p4v1.TableEntry, error) {
	switch {
	case r.Priority < t.MinPrio || r.Priority > t.MaxPrio:
		return nil, &priorityError{r.Priority, t.MinPrio, t.MaxPrio}
	case r.IdleTimeout > 0 && !t.P4.IdleTimeout:
		return nil, errors.New("it has no idle timeouts")
	case r.Goto != 0:
		return nil, fmt.Errorf("goto %d: the order of P4 tables is the program's", r.Goto)
	case r.Meter != 0:
		return nil, fmt.Errorf("meter %d: rules of P4 tables have none", r.Meter)
	case t.P4.Priority && r.Priority == 0:
		return nil, errors.New("priority 0, and its entries want at least 1")
	}
	parts := new(entryParts)
	e := &parts.entry
	e.TableId, e.ControllerMetadata, e.IdleTimeoutNs = t.P4.ID, r.Cookie, r.IdleTimeout.Nanoseconds()
	if t.P4.Priority {
		e.Priority = int32(r.Priority)
	}
	if err := t.match(e, m); err != nil {
		return nil, err
	}
	if err := t.action(&parts.action, r.Actions, m); err != nil {
		return nil, err
	}
	parts.kind.Action = &parts.action
	parts.tableAction.Type = &parts.kind
	e.Action = &parts.tableAction
	return e, nil
}

// Keys returns what the entries of a rule with the given match have for a key, in tables of exact keys alone: there it is all that tells
// entries apart. They have no action.
func (m *Mapping) Keys(match *flow.Match) (list []*p4v1.TableEntry) {
	for _, t := range m.Tables {
		e := &p4v1.TableEntry{TableId: t.P4.ID}
		if !t.P4.Priority && t.match(e, match) == nil {
			list = append(list, e)
		}
	}
	return list
}

// match fills e's key.
func (t *Table) match(e *p4v1.TableEntry, m *flow.Match) error {
	e.Match = make([]*p4v1.FieldMatch, 0, len(t.keys))
	exact := newExacts(t)
	var used flow.Field
	for _, i := range t.implied {
		if v, _ := i.get(m); !m.Has(i.field) || v != (bits{lo: i.value}) {
			return fmt.Errorf("it holds rules of %s %#x only", i.name, i.value)
		}
		used |= i.field
	}
	for i := range t.keys {
		k := &t.keys[i]
		if c := t.constant(k); c != nil {
			fm, err := k.fieldMatch(c, pipeline.Ones(k.Width))
			if err != nil {
				return err
			}
			e.Match = append(e.Match, fm)
			continue
		}
		fm, field, err := k.match(m, &exact)
		if err != nil {
			return err
		}
		used |= field
		if fm != nil {
			e.Match = append(e.Match, fm)
		}
	}
	if rest := m.Fields &^ used; rest != 0 {
		return fmt.Errorf("no key for %v", rest)
	}
	return nil
}

// entryParts are the messages that every entry is made of, in one piece: a
// message for itself costs more than what it holds.
type entryParts struct {
	entry       p4v1.TableEntry
	tableAction p4v1.TableAction
	kind        p4v1.TableAction_Action
	action      p4v1.Action
}

// exacts makes a table's exact keys in one piece, for the same reason.
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

// add makes one key's match. There is room: a key has one value at most.
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

// constant returns the value that a key always has, or nil.
func (t *Table) constant(k *key) []byte {
	for i := range t.always {
		if t.always[i].ID == k.ID {
			return t.always[i].value
		}
	}
	return nil
}

// match makes the key's part of an entry, nil for "any", and says which field
// of the rule it holds.
func (k *key) match(m *flow.Match, exact *exacts) (*p4v1.FieldMatch, flow.Field, error) {
	possible := false
	for _, o := range k.oxms {
		may, sure := o.may(m)
		possible = possible || may
		if !sure || !m.Has(o.field) {
			continue
		}
		value, mask := o.get(m)
		if w := min(k.Width, o.width); k.kind == pipeline.Exact && value.width() <= w && mask.and(ones(w)) == ones(w) {
			return exact.add(k.ID, value), o.field, nil
		}
		v, msk, err := k.fit(o, value.bytes(o.width), mask.bytes(o.width))
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
	case k.kind != pipeline.Exact:
		return nil, 0, nil
	case possible:
		return nil, 0, fmt.Errorf("key %s is compared exactly and the rule does not say it", k.Name)
	}
	// No packet of the rule has any of the key's fields, so the program leaves it zero.
	return exact.add(k.ID, bits{}), 0, nil
}

// fit brings a value and mask of the field's width to the key's. The bits that
// the key has and the field lacks are zero in every packet, so they may be
// compared too.
func (k *key) fit(o *oxm, value, mask []byte) (v, msk []byte, err error) {
	if k.Width < o.width {
		v, err = pipeline.Pad(value, k.Width)
		if err != nil {
			return nil, nil, err
		}
		n := (k.Width + 7) / 8
		full := mask[len(mask)-n:]
		msk = slices.Clone(full)
		ones := pipeline.Ones(k.Width)
		msk[0] &= ones[0]
		return v, msk, nil
	}
	n := (k.Width + 7) / 8
	v, msk = make([]byte, n), pipeline.Ones(k.Width)
	copy(v[n-len(value):], value)
	low := pipeline.Ones(o.width)
	for i := range low { // clear the field's part of the mask, and put its own there
		at := n - len(low) + i
		msk[at] = msk[at]&^low[i] | mask[i]&low[i]
	}
	if isZero(mask) {
		clear(msk)
	}
	return v, msk, nil
}

func (k *key) fieldMatch(value, mask []byte) (*p4v1.FieldMatch, error) {
	exact := bytes.Equal(pipeline.Canonical(mask), pipeline.Canonical(pipeline.Ones(k.Width)))
	fm := &p4v1.FieldMatch{FieldId: k.ID}
	switch k.kind {
	case pipeline.Exact:
		if !exact {
			return nil, errors.New("a mask, where the key is compared exactly")
		}
		fm.FieldMatchType = &p4v1.FieldMatch_Exact_{Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(value)}}
		return fm, nil
	case pipeline.Ternary:
		if isZero(mask) {
			return nil, nil // P4Runtime 1.3, 9.1.1: don't care is left out
		}
		v := slices.Clone(value)
		for i := range v {
			v[i] &= mask[len(mask)-len(v)+i]
		}
		fm.FieldMatchType = &p4v1.FieldMatch_Ternary_{Ternary: &p4v1.FieldMatch_Ternary{Value: pipeline.Canonical(v), Mask: pipeline.Canonical(mask)}}
		return fm, nil
	case pipeline.LPM:
		n, ok := prefixLen(mask, k.Width)
		if !ok {
			return nil, errors.New("the mask is not a prefix")
		}
		if n == 0 {
			return nil, nil
		}
		fm.FieldMatchType = &p4v1.FieldMatch_Lpm{Lpm: &p4v1.FieldMatch_LPM{Value: pipeline.Canonical(value), PrefixLen: int32(n)}}
		return fm, nil
	case pipeline.Optional:
		if isZero(mask) {
			return nil, nil
		}
		if !exact {
			return nil, errors.New("a mask, where the key is compared as a whole or not at all")
		}
		fm.FieldMatchType = &p4v1.FieldMatch_Optional_{Optional: &p4v1.FieldMatch_Optional{Value: pipeline.Canonical(value)}}
		return fm, nil
	case pipeline.Range:
		if isZero(mask) {
			return nil, nil
		}
		n, ok := prefixLen(mask, k.Width)
		if !ok {
			return nil, errors.New("the mask is not a range")
		}
		low, high := slices.Clone(value), slices.Clone(value)
		for i := range high {
			high[i] |= pipeline.Ones(k.Width)[i] &^ mask[i]
		}
		_ = n
		fm.FieldMatchType = &p4v1.FieldMatch_Range_{Range: &p4v1.FieldMatch_Range{Low: pipeline.Canonical(low), High: pipeline.Canonical(high)}}
		return fm, nil
	}
	return nil, fmt.Errorf("match kind %v is not supported", k.kind)
}

// prefixLen counts the leading ones of a mask of width bits.
func prefixLen(mask []byte, width int) (n int, ok bool) {
	pad := len(mask)*8 - width
	zero := false
	for i := range width {
		bit := pad + i
		if mask[bit/8]&(0x80>>(bit%8)) == 0 {
			zero = true
		} else if zero {
			return 0, false
		} else {
			n++
		}
	}
	return n, true
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
