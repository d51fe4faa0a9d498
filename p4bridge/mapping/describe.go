package mapping

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"switchbridge/p4bridge/pipeline"
)

// Describe writes a program's tables, digests, packet headers, counters and meters, for
// `switchbridge p4 info`.
func Describe(w io.Writer, p *pipeline.Pipeline) error {
	ew := &errWriter{w: w}
	ew.printf("pipeline %s, version %s, cookie %#x\n", orNone(p.Name), orNone(p.Version), p.Cookie)
	for _, t := range p.Tables {
		ew.printf("\ntable %s (%#x): %d entries%s\n", t.Name, t.ID, t.Size, properties(t))
		for _, f := range t.Fields {
			ew.printf("  key     %-16s %-9v %3d bits\n", f.Name, f.Kind, f.Width)
		}
		for _, a := range t.Actions {
			ew.printf("  action  %s\n", actionText(a))
		}
		for _, a := range t.Defaults {
			switch {
			case t.ConstMiss == a:
				ew.printf("  default %s, fixed by the program\n", actionText(a))
			case t.ConstMiss == nil && !slices.Contains(t.Actions, a):
				ew.printf("  default %s\n", actionText(a))
			}
		}
	}
	for _, d := range p.Digests {
		ew.printf("\ndigest %s (%#x): %s\n", d.Name, d.ID, members(d.Members))
	}
	for _, h := range []*pipeline.Header{p.PacketIn, p.PacketOut} {
		if h != nil {
			ew.printf("\nheader %s: %s\n", h.Name, members(h.Fields))
		}
	}
	for _, c := range p.Counters {
		ew.printf("\ncounter %s: %d\n", c.Name, c.Size)
	}
	for _, m := range p.Meters {
		unit := "bytes"
		if m.Packets {
			unit = "packets"
		}
		ew.printf("\nmeter %s: %d, of %s\n", m.Name, m.Size, unit)
	}
	return ew.err
}

// Describe writes how a mapping, called name, uses a program's tables and actions.
func (m *Mapping) Describe(w io.Writer, name string) error {
	ew := &errWriter{w: w}
	ew.printf("\nmapping %s fits:\n", name)
	for _, t := range m.Tables {
		ew.printf("  OpenFlow table %d, priority %d to %d: %s\n", t.OpenFlow, t.MinPrio, t.MaxPrio, t.P4.Name)
	}
	ew.printf("  events carry %v\n", m.EventFields)
	if m.Miss == nil {
		ew.printf("  misses: the mapping does not say what asks\n")
	} else {
		for _, how := range m.Miss.How() {
			ew.printf("  miss=%s\n", how)
		}
	}
	for _, advice := range m.Advice() {
		ew.printf("  %s\n", advice)
	}
	return ew.err
}

func properties(t *pipeline.Table) string {
	var s string
	for _, p := range []struct {
		is   bool
		text string
	}{
		{t.Priority, "with priorities"}, {t.IdleTimeout, "idle timeouts"}, {t.DirectCounter, "counters"}, {t.DirectMeter != nil, "meters"},
		{t.Const, "fixed by the program"}, {t.Profile != nil, "an action profile"},
	} {
		if p.is {
			s += ", " + p.text
		}
	}
	return s
}

func actionText(a *pipeline.Action) string { return a.Name + "(" + members(a.Params) + ")" }

func members(list []pipeline.Member) string {
	s := make([]string, len(list))
	for i, m := range list {
		s[i] = fmt.Sprintf("%s:%d", m.Name, m.Width)
		if m.String {
			s[i] = m.Name + ":text"
		}
	}
	return strings.Join(s, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// errWriter keeps the first error, so that a listing need not check each line.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}
