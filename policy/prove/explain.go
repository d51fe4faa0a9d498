package prove

import (
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy/sourceguard"
)

// Explanation is why a packet is decided as it is.
type Explanation struct {
	By   string   // the entry that decides, and its line
	Near []string // entries before it that would decide but for one field, each with that field
	May  []string // entries before it that decide it or not by more than the packet, such as a state
	Next string   // the entry that would decide if this one were left out, and its verdict
}

// maxNear is how many entries are named that nearly decide.
const maxNear = 5

// Explain says which entry decides a packet that shows all that it has, and which nearly did. reason is the decision's: it says which one it is of those that
// decide by more than headers.
func (p *Prover) Explain(m *flow.Match, lines Lines, reason string) (e Explanation) {
	at := pointOf(m)
	decided := -1
	var concerns *automaton
	for i := range p.chain.terms {
		t := &p.chain.terms[i]
		r := &p.chain.rules[t.owner]
		if r.automaton != nil && (concerns != nil || !t.headers(&at)) {
			continue
		}
		if t.headers(&at) {
			name := r.name(r.entryLabel(), lines)
			if r.automaton != nil {
				concerns = r.automaton // and no other machine
			}
			if r.verdict == flow.NoVerdict || r.guarded || r.automaton != nil {
				switch {
				case decided >= 0:
					if r.entryLabel() != p.chain.rules[decided].entryLabel() {
						e.Next = name + ", or what follows it, by more than what the packet shows"
						return e
					}
				case names(reason, r.entryLabel()):
					if decided, e.By = t.owner, name; r.automaton != nil {
						e.By += ", in the state in which it begins; in another state it may decide otherwise"
					}
				case !slices.Contains(e.May, name):
					e.May = append(e.May, name)
				}
				continue
			}
			if decided < 0 {
				decided, e.By = t.owner, name
			} else if t.owner != decided {
				e.Next = name + " " + r.word()
				return e
			}
			continue
		}
		if a := t.lacks(&at); a != nil && r.verdict != flow.NoVerdict && !r.guarded && r.label != sourceguard.Name && a.field != ethType && decided < 0 && len(e.Near) < maxNear {
			x := &flow.Fields[a.field]
			e.Near = append(e.Near, fmt.Sprintf("%s %s: it wants %s, and the packet's is %s", r.name(r.label, lines), r.word(), a.text(m), value(x, at[a.field], m)))
		}
	}
	return e
}

// names reports whether a decision's reason begins with the name of an entry.
func names(reason, label string) bool {
	rest, ok := strings.CutPrefix(reason, label)
	return ok && (rest == "" || strings.ContainsRune(" :;", rune(rest[0])))
}

// lacks returns the one condition that a packet does not meet, nil where it is not one. What a field needs is not counted with it.
func (t *term) lacks(at *point) (missing *atom) {
	for i := range t.atoms {
		a := &t.atoms[i]
		if a.covers(at) {
			continue
		}
		if missing != nil {
			return nil
		}
		missing = a
	}
	return missing
}

// String writes it for people.
func (e *Explanation) String() string {
	var b strings.Builder
	if e.By != "" {
		fmt.Fprintf(&b, "decided by %s\n", e.By)
	}
	for _, n := range e.May {
		fmt.Fprintf(&b, "or before, by more than what the packet shows, by %s\n", n)
	}
	for _, n := range e.Near {
		fmt.Fprintf(&b, "nearly decided by %s\n", n)
	}
	if e.Next != "" {
		fmt.Fprintf(&b, "without it: %s\n", e.Next)
	}
	return b.String()
}
