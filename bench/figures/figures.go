// Package figures writes what a benchmark found out as lines that people and
// programs read alike, one for each claim:
//
//	figure isolate.flood.embedded.victim_p99_ratio 1.7 goal <= 2 reached
//	figure isolate.flood.embedded.flood_per_s 187000
//	failure isolate.poison.remote: 12 packets of victims were lost
//
// A missed goal is a figure, and the command that prints it has succeeded. A
// failure is a wrong answer or a lost or forbidden packet, and the command has
// failed: see [List.Err].
package figures

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Figure is one value, and what it should be.
type Figure struct {
	Name  string  `json:"name"` // words in lower case, joined by dots, the benchmark's name first
	Value float64 `json:"value"`
	Goal  string  `json:"goal,omitempty"` // "<=" or ">="; empty: none, the value is reported only
	Bound float64 `json:"bound,omitempty"`
	Met   bool    `json:"reached"` // true where there is no goal
}

// String is the figure's line, without an end of line.
func (f Figure) String() string {
	value := number(f.Value)
	if f.Goal == "" {
		return "figure " + f.Name + " " + value
	}
	word := "missed"
	if f.Met {
		word = "reached"
	}
	if !f.Met && value == number(f.Bound) { // missed by less than the digits show
		value = strconv.FormatFloat(f.Value, 'f', -1, 64)
	}
	return "figure " + f.Name + " " + value + " goal " + f.Goal + " " + number(f.Bound) + " " + word
}

// number writes three digits, and all of those before the point.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if strings.ContainsRune(s, 'e') {
		s = strconv.FormatFloat(v, 'f', 0, 64)
		if v < 1 && v > -1 {
			s = strconv.FormatFloat(v, 'f', 6, 64)
		}
	}
	return s
}

// List is what one run of a benchmark found out. The zero value is empty.
type List struct {
	Figures  []Figure `json:"figures"`
	Failures []string `json:"failures,omitempty"`
}

// AtMost adds a figure whose goal is to be no more than bound.
func (l *List) AtMost(name string, value, bound float64) {
	l.Figures = append(l.Figures, Figure{Name: name, Value: value, Goal: "<=", Bound: bound, Met: value <= bound})
}

// AtLeast adds a figure whose goal is to be no less than bound.
func (l *List) AtLeast(name string, value, bound float64) {
	l.Figures = append(l.Figures, Figure{Name: name, Value: value, Goal: ">=", Bound: bound, Met: value >= bound})
}

// Note adds a figure without a goal.
func (l *List) Note(name string, value float64) {
	l.Figures = append(l.Figures, Figure{Name: name, Value: value, Met: true})
}

// Failf adds a failure of what name stands for.
func (l *List) Failf(name, format string, args ...any) {
	l.Failures = append(l.Failures, name+": "+fmt.Sprintf(format, args...))
}

// Missed returns how many figures have a goal that they don't reach.
func (l *List) Missed() (n int) {
	for _, f := range l.Figures {
		if !f.Met {
			n++
		}
	}
	return n
}

// WriteText writes a line for each figure and for each failure.
func (l *List) WriteText(w io.Writer) error {
	for _, f := range l.Figures {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	for _, f := range l.Failures {
		if _, err := fmt.Fprintln(w, "failure", f); err != nil {
			return err
		}
	}
	return nil
}

// Err says that there were failures, or is nil.
func (l *List) Err() error {
	switch n := len(l.Failures); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("failed: %s", l.Failures[0])
	default:
		return fmt.Errorf("%d failures, the first: %s", n, l.Failures[0])
	}
}
