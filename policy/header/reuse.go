package header

import (
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/syntax"
	"switchbridge/policy/wire"
)

// What follows is for kinds whose entries have conditions and actions of the same form.

// ParseAction reads what becomes of an allowed packet, or deny.
func ParseAction(f *syntax.File, n *syntax.Node, where string) Action {
	return parseAction(f, n, where)
}

// ParseName reads a name that can stand in a reason.
func ParseName(s string) (string, error) { return parseName(s) }

// Fields returns every field that the condition looks at.
func (c *Condition) Fields() flow.Field { return c.fields() }

// Overlaps reports whether a packet may satisfy both conditions. It errs on the side of yes.
func (c *Condition) Overlaps(o *Condition) bool { return c.overlaps(o) }

// Completed returns a valid condition with its prerequisites, as [Condition.Test] and [NewTable] want it: c itself where it has them.
func (c *Condition) Completed() *Condition {
	header, _ := complete(c.Header)
	if header == c.Header {
		return c
	}
	return &Condition{Header: header, Src: c.Src, Dst: c.Dst}
}

// Test reports whether a packet satisfies the condition, which is completed. Where that hangs on fields that the packet does not show,
// it reports true and these fields.
func (c *Condition) Test(p *policy.Packet) (ok bool, hidden flow.Field) {
	fields := c.fields()
	if hidden = fields & p.Missing; fields&rareFields != 0 {
		hidden |= fields & p.Match.Unseen()
	}
	if hidden == 0 {
		return c.covers(p.Match), 0
	}
	seen := Condition{Header: c.Header.Keep(^hidden), Src: c.Src, Dst: c.Dst}
	if hidden&flow.FieldL4Src != 0 {
		seen.Src = nil
	}
	if hidden&flow.FieldL4Dst != 0 {
		seen.Dst = nil
	}
	return seen.covers(p.Match), hidden
}

// Validate says what is wrong with the action.
func (a *Action) Validate() error { return a.validate() }

// Table finds the first one of a list of conditions that a packet satisfies, in about the same time whether it has ten of them or
// ten thousand.
type Table struct{ index }

// NewTable returns a table of valid conditions, of which it keeps none.
func NewTable(list []Condition) *Table {
	return &Table{newIndex(len(list), func(i int) *Condition { return list[i].Completed() })}
}

// Find returns the index of the first condition that a packet satisfies, or -1, and the fields that this hangs on. Where a condition
// comes before it that might be satisfied by fields that the packet does not show, it returns that one and, in hidden, these fields.
func (t *Table) Find(p *policy.Packet) (index int, hidden, depends flow.Field) {
	rank, hidden, depends := t.find(p)
	if rank == noRule {
		return -1, 0, depends
	}
	return int(rank), hidden, depends
}

// Write writes the condition, which is valid, with its prerequisites, as [ReadCondition] reads it.
func (c *Condition) Write(w *wire.Writer) {
	c = c.Completed()
	w.Byte(c.portFlags())
	writeMatch(w, &c.Header)
	c.writePorts(w)
}

// ReadCondition reads a condition, which need not be valid.
func ReadCondition(r *wire.Reader) (c Condition) {
	flags := r.Byte()
	readMatch(r, &c.Header)
	c.readPorts(r, flags)
	return c
}

// Write writes the action as [ReadAction] reads it.
func (a *Action) Write(w *wire.Writer) {
	flags := a.flags()
	if a.Log {
		flags |= flagProactive
	}
	w.Byte(flags)
	a.writeRest(w)
}

// ReadAction reads an action, which need not be valid.
func ReadAction(r *wire.Reader) (a Action) {
	flags := r.Byte()
	a.Log = flags&flagProactive != 0
	a.readRest(r, flags)
	return a
}
