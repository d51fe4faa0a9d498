package p4bridge

import (
	"errors"
	"fmt"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// UpdateError is one update that the switch refused.
type UpdateError struct {
	Index   int // in the batch
	Table   string
	Key     string // match and priority, as a person reads it
	Op      string // INSERT, MODIFY or DELETE
	Code    codes.Code
	Message string
}

func (e *UpdateError) Error() string {
	return fmt.Sprintf("update %d: %s of %s in table %s: %v: %s", e.Index, e.Op, e.Key, e.Table, e.Code, e.Message)
}

// WriteError is a Write of which some updates failed; the others were applied.
type WriteError struct {
	// Updates is aligned with the batch; nil where the update was applied.
	Updates []*UpdateError
}

func (e *WriteError) Error() string {
	n, first := 0, (*UpdateError)(nil)
	for _, u := range e.Updates {
		if u != nil {
			if n++; first == nil {
				first = u
			}
		}
	}
	if first == nil {
		return "write failed"
	}
	if n == 1 {
		return first.Error()
	}
	return fmt.Sprintf("%d of %d updates failed, the first: %v", n, len(e.Updates), first)
}

// ErrTableFull is wrapped by the error of a rule for which the table has no room.
var ErrTableFull = errors.New("the table is full")

// writeError makes the error of a failed Write. BMv2 says UNKNOWN with one
// p4.v1.Error for each update (P4Runtime 1.3, 12.2); UNKNOWN without them, or
// with another number of them, says nothing about any update, so that each
// counts as failed. Any other status is the call's own.
func writeError(p *pipeline.Pipeline, role string, updates []*p4v1.Update, err error) error {
	st := status.Convert(err)
	limited := role != "" && st.Code() == codes.PermissionDenied
	if st.Code() != codes.Unknown && !limited {
		return err
	}
	we := &WriteError{Updates: make([]*UpdateError, len(updates))}
	details := st.Details()
	for i, u := range updates {
		code, msg := st.Code(), st.Message()
		if len(details) == len(updates) {
			d, ok := details[i].(*p4v1.Error)
			if !ok {
				return err
			}
			if code = codes.Code(d.GetCanonicalCode()); code == codes.OK {
				continue
			}
			msg = d.GetMessage()
		}
		if msg == "" {
			msg = "the switch gives no reason"
		}
		table, key := describe(p, u)
		we.Updates[i] = &UpdateError{Index: i, Table: table, Key: key, Op: u.GetType().String(), Code: code, Message: msg}
	}
	return we
}

// A refusal has OpenFlow 1.3's types and codes (7.5.4.6), as all events of P4 switches
// do, so that a function understands both kinds of switch. Its name and rule are in the
// program's terms: P4 table, key, and the switch's words.
const (
	errFlowModFailed = 5
	errUnknown       = 0
	errTableFull     = 1
)

// refusal says why an entry is not in the switch.
func refusal(c *change) *bridge.Refusal {
	why := &bridge.Refusal{SwitchError: flow.SwitchError{Type: errFlowModFailed, Code: errUnknown, Name: "P4Runtime: " + c.err.Error()}}
	if c.entry != nil {
		why.Rule = "table " + c.table.Name + ": " + entryKey(c.table, c.entry)
	}
	var update *UpdateError
	if errors.As(c.err, &update) {
		why.Name = fmt.Sprintf("P4Runtime: %v: %s of an entry of table %s: %s", update.Code, update.Op, update.Table, update.Message)
	}
	if errors.Is(c.err, ErrTableFull) || update != nil && update.Code == codes.ResourceExhausted {
		why.Code, why.Full = errTableFull, true
	}
	return why
}

// describe names what an update is about.
func describe(p *pipeline.Pipeline, u *p4v1.Update) (table, key string) {
	e := u.GetEntity().GetTableEntry()
	if e == nil {
		m := u.GetEntity().ProtoReflect()
		if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("entity")); f != nil {
			return "none", strings.ReplaceAll(string(f.Name()), "_", " ")
		}
		return "none", "nothing"
	}
	t := p.TableByID(e.GetTableId())
	if t == nil {
		return fmt.Sprintf("%#x", e.GetTableId()), "?"
	}
	return t.Name, entryKey(t, e)
}

// entryKey writes an entry's match and priority for a log line.
func entryKey(t *pipeline.Table, e *p4v1.TableEntry) string {
	if e.GetIsDefaultAction() {
		return "default action"
	}
	var b strings.Builder
	for _, m := range e.GetMatch() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		name := fmt.Sprint(m.GetFieldId())
		if f := t.FieldByID(m.GetFieldId()); f != nil {
			name = f.Name
		}
		switch {
		case m.GetExact() != nil:
			fmt.Fprintf(&b, "%s=%#x", name, m.GetExact().GetValue())
		case m.GetTernary() != nil:
			fmt.Fprintf(&b, "%s=%#x/%#x", name, m.GetTernary().GetValue(), m.GetTernary().GetMask())
		case m.GetLpm() != nil:
			fmt.Fprintf(&b, "%s=%#x/%d", name, m.GetLpm().GetValue(), m.GetLpm().GetPrefixLen())
		case m.GetOptional() != nil:
			fmt.Fprintf(&b, "%s=%#x", name, m.GetOptional().GetValue())
		case m.GetRange() != nil:
			fmt.Fprintf(&b, "%s=%#x..%#x", name, m.GetRange().GetLow(), m.GetRange().GetHigh())
		}
	}
	if b.Len() == 0 {
		b.WriteString("any")
	}
	if e.GetPriority() != 0 {
		fmt.Fprintf(&b, ",priority=%d", e.GetPriority())
	}
	return b.String()
}
