package mapping

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// Written writes an entry of a table for people: names of the program, and values as answers' entries have them (see [Direct]). Keys that the entry leaves
// out match everything. Of a table with an action profile it writes the member's or group's number.
func Written(t *pipeline.Table, e *p4v1.TableEntry) string {
	var b strings.Builder
	b.WriteString("table " + t.Name)
	sep := ": "
	for i := range t.Fields {
		f := &t.Fields[i]
		for _, k := range e.GetMatch() {
			if k.GetFieldId() == f.ID {
				b.WriteString(sep + f.Name + " " + keyText(f, k))
				sep = ", "
			}
		}
	}
	if sep == ": " {
		b.WriteString(": every packet")
	}
	if t.Priority {
		fmt.Fprintf(&b, ", priority %d", e.GetPriority())
	}
	if e.GetIdleTimeoutNs() > 0 {
		fmt.Fprintf(&b, ", idle %v", time.Duration(e.GetIdleTimeoutNs()))
	}
	a := e.GetAction().GetAction()
	if set := e.GetAction().GetActionProfileActionSet(); a == nil && len(set.GetActionProfileActions()) == 1 {
		a = set.GetActionProfileActions()[0].GetAction()
	}
	for _, known := range t.Actions {
		if a != nil && known.ID == a.GetActionId() {
			b.WriteString(" -> " + known.Name + "(")
			for i, p := range a.GetParams() {
				if i > 0 {
					b.WriteString(", ")
				}
				for j := range known.Params {
					if m := &known.Params[j]; m.ID == p.GetParamId() {
						b.WriteString(m.Name + " " + valueText(m, p.GetValue()))
					}
				}
			}
			b.WriteString(")")
		}
	}
	return b.String()
}

// keyText writes the value of a key as directKey reads it.
func keyText(f *pipeline.Field, k *p4v1.FieldMatch) string {
	of := func(v []byte) string { return valueText(&f.Member, v) }
	switch m := k.GetFieldMatchType().(type) {
	case *p4v1.FieldMatch_Exact_:
		return of(m.Exact.GetValue())
	case *p4v1.FieldMatch_Lpm:
		return fmt.Sprintf("%s/%d", of(m.Lpm.GetValue()), m.Lpm.GetPrefixLen())
	case *p4v1.FieldMatch_Ternary_:
		value, mask := of(m.Ternary.GetValue()), m.Ternary.GetMask()
		if string(pipeline.Canonical(mask)) == string(pipeline.Canonical(pipeline.Ones(f.Width))) {
			return value
		}
		return value + "/" + of(mask)
	case *p4v1.FieldMatch_Range_:
		return of(m.Range.GetLow()) + ".." + of(m.Range.GetHigh())
	case *p4v1.FieldMatch_Optional_:
		return of(m.Optional.GetValue())
	}
	return "?"
}

// valueText writes a value: numbers of 48 bits as Ethernet addresses, of 32 and 128 bits as network addresses, and others in hexadecimal.
func valueText(m *pipeline.Member, v []byte) string {
	if m.String {
		return string(v)
	}
	full, err := pipeline.Pad(v, m.Width)
	switch {
	case err != nil:
	case m.Width == 48:
		return flow.MAC(full).String()
	case m.Width == 32 || m.Width == 128:
		if a, ok := netip.AddrFromSlice(full); ok {
			return a.String()
		}
	}
	digits := strings.TrimLeft(hex.EncodeToString(v), "0")
	if digits == "" {
		digits = "0"
	}
	return "0x" + digits
}
