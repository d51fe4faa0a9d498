package mapping

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// Direct turns an entry that names a P4 table into a message of P4Runtime, and checks it
// against the P4Info. The message has the idle timeout if the table supports idle timeouts,
// and no cookie.
func Direct(p *pipeline.Pipeline, e *flow.Entry) (*p4v1.TableEntry, *pipeline.Table, error) {
	t := p.Table(e.Table)
	if t == nil {
		return nil, nil, fmt.Errorf("%w: P4Info has no table %q; it has %v", ErrNoFit, e.Table,
			pipeline.Names(p.Tables, func(t *pipeline.Table) string { return t.Name }))
	}
	out, err := direct(t, e)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: table %s: %w", ErrNoFit, t.Name, err)
	}
	return out, t, nil
}

func direct(t *pipeline.Table, e *flow.Entry) (*p4v1.TableEntry, error) {
	switch {
	case takesEntries(t) != nil:
		return nil, takesEntries(t)
	case t.Priority && e.Priority <= 0:
		return nil, fmt.Errorf("priority %d: its entries want at least 1", e.Priority)
	case !t.Priority && e.Priority != 0:
		return nil, fmt.Errorf("priority %d: its entries have none", e.Priority)
	}
	out := &p4v1.TableEntry{TableId: t.ID, Priority: e.Priority}
	if t.IdleTimeout {
		out.IdleTimeoutNs = e.IdleTimeout.Nanoseconds()
	}
	for name := range e.Match {
		if t.Field(name) == nil {
			return nil, fmt.Errorf("no key %q; it has %v", name, pipeline.Names(t.Fields, func(f pipeline.Field) string { return f.Name }))
		}
	}
	for i := range t.Fields {
		f := &t.Fields[i]
		text, ok := e.Match[f.Name]
		if !ok {
			if f.Kind == pipeline.Exact {
				return nil, fmt.Errorf("key %s is compared exactly and missing", f.Name)
			}
			continue
		}
		fm, err := directKey(f, text)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", f.Name, err)
		}
		if fm != nil {
			out.Match = append(out.Match, fm)
		}
	}
	a := t.Action(e.Action)
	if a == nil {
		return nil, fmt.Errorf("no action %q; it has %v", e.Action, pipeline.Names(t.Actions, func(a *pipeline.Action) string { return a.Name }))
	}
	act := &p4v1.Action{ActionId: a.ID}
	for name := range e.Params {
		if a.Param(name) == nil {
			return nil, fmt.Errorf("action %s has no parameter %q", a.Name, name)
		}
	}
	for _, prm := range a.Params {
		v, err := constant(&prm, e.Params[prm.Name])
		if err != nil {
			return nil, fmt.Errorf("action %s: parameter %s: %w", a.Name, prm.Name, err)
		}
		act.Params = append(act.Params, &p4v1.Action_Param{ParamId: prm.ID, Value: v})
	}
	out.Action = WithAction(t, act)
	return out, nil
}

// directKey reads "value", "value/mask", "value/prefix length" or "low..high".
func directKey(f *pipeline.Field, text string) (*p4v1.FieldMatch, error) {
	if err := f.Usable(); err != nil {
		return nil, err
	}
	k := key{Member: f.Member, kind: f.Kind}
	if f.String {
		if f.Kind != pipeline.Exact && f.Kind != pipeline.Optional {
			return nil, fmt.Errorf("a text that is %v is not supported", f.Kind)
		}
		return k.textMatch(text), nil
	}
	if low, high, ok := strings.Cut(text, ".."); ok {
		if f.Kind != pipeline.Range {
			return nil, fmt.Errorf("%q: a range, where the key is %v", text, f.Kind)
		}
		l, err := value(low, f.Width)
		if err != nil {
			return nil, err
		}
		h, err := value(high, f.Width)
		if err != nil {
			return nil, err
		}
		if slices.Compare(l, h) > 0 {
			return nil, fmt.Errorf("%q: the range is empty", text)
		}
		return &p4v1.FieldMatch{FieldId: f.ID, FieldMatchType: &p4v1.FieldMatch_Range_{
			Range: &p4v1.FieldMatch_Range{Low: pipeline.Canonical(l), High: pipeline.Canonical(h)}}}, nil
	}
	head, tail, masked := strings.Cut(text, "/")
	v, err := value(head, f.Width)
	if err != nil {
		return nil, err
	}
	mask := pipeline.Ones(f.Width)
	if masked {
		if mask, err = maskValue(head, tail, f); err != nil {
			return nil, err
		}
		for i := range v {
			if v[i]&^mask[i] != 0 {
				return nil, fmt.Errorf("%q: the value has bits that the mask lacks", text)
			}
		}
	}
	return k.fieldMatch(v, mask)
}

// maskValue reads the text behind the slash. It is a prefix length if the value is an
// address or the key's kind is LPM, and the text is a small decimal number. Else it is a mask.
func maskValue(head, tail string, f *pipeline.Field) ([]byte, error) {
	_, notAddr := netip.ParseAddr(head)
	n, err := strconv.ParseUint(tail, 10, 16)
	if err != nil || f.Kind != pipeline.LPM && notAddr != nil {
		return value(tail, f.Width)
	}
	if n > uint64(f.Width) {
		return nil, fmt.Errorf("prefix length %q: want 0 to %d", tail, f.Width)
	}
	return prefixMask(int(n), f.Width), nil
}

// constant reads the value of a parameter that is always the same.
func constant(m *pipeline.Member, text string) ([]byte, error) {
	if err := m.Usable(); err != nil {
		return nil, err
	}
	if m.String {
		if text == "" || len(text) > maxText {
			return nil, fmt.Errorf("no value, or one of more than %d characters", maxText)
		}
		return []byte(text), nil
	}
	v, err := value(text, m.Width)
	return pipeline.Canonical(v), err
}

// maxText bounds the length of a value's text. No number of any width is longer.
const maxText = 1024

// value reads a number, an IP address or a MAC address of width bits.
func value(text string, width int) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("no value")
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("a value of %d characters", len(text))
	}
	if mac, err := flow.ParseMAC(text); err == nil {
		return pipeline.Pad(mac[:], width)
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return pipeline.Pad(addr.AsSlice(), width)
	}
	n, ok := new(big.Int).SetString(text, 0)
	if !ok || n.Sign() < 0 {
		return nil, fmt.Errorf("%q is no number, IP address or MAC address", text)
	}
	return pipeline.Pad(append([]byte{0}, n.Bytes()...), width)
}
