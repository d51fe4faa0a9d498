// Package doctor looks at what a gateway on this machine works with: its configuration, Open vSwitch and
// its bridges, the function, certificates, the clock, and the gateway itself where it runs. It changes
// nothing. For each fault it says what to type.
package doctor

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"switchbridge/internal/adminclient"
	"switchbridge/settings"
)

// Level is how bad a finding is.
type Level string

// Levels, the least first.
const (
	Good    Level = "good"    // as it should be
	Note    Level = "note"    // could not be looked at, or is good to know
	Warning Level = "warning" // works, and may not do what is wanted
	Fault   Level = "fault"   // does not work, or lets packets past the policy
)

// Finding is what was found at one place.
type Finding struct {
	Area  string   `json:"area"` // such as "bridge br0"
	Level Level    `json:"level"`
	Text  string   `json:"text"`
	Type  []string `json:"type,omitempty"` // lines that mend it
}

// Options say what is looked at.
type Options struct {
	Settings *settings.Settings // as switchbridge run has them; nil where Wrong is set
	Wrong    error              // what is wrong with the configuration
	Run      string             // the line that starts the gateway with these settings
	Bridges  []string           // none: those that connect to the gateway, or the only one

	Admin   adminclient.Config // how a running gateway is asked; an empty URL: as the settings say
	Version string             // of this program
}

// report collects findings.
type report struct {
	Options
	list []Finding
	now  time.Time
}

func (r *report) add(area string, level Level, text string, lines ...string) {
	r.list = append(r.list, Finding{area, level, text, lines})
}

// Examine looks at everything and returns what it found, in the order in which things depend on each other.
func Examine(ctx context.Context, o Options) []Finding {
	r := &report{Options: o, now: time.Now()}
	if r.Settings == nil {
		r.add("configuration", Fault, r.Wrong.Error())
	} else {
		r.configuration(ctx)
		r.certificates()
	}
	before := len(r.list)
	bridges := r.openvswitch(ctx)
	middle := len(r.list)
	if !r.gateway(ctx, bridges) {
		// People type what is said from top to bottom, and a bridge that is handed to a gateway which does not run forwards nothing new.
		r.list = slices.Concat(r.list[:before], r.list[middle:], r.list[before:middle])
	}
	return r.list
}

// Faults counts the findings that are faults.
func Faults(list []Finding) (n int) {
	for _, f := range list {
		if f.Level == Fault {
			n++
		}
	}
	return n
}

// WriteText writes findings for people: what is good in a line each, what is not with what to type.
func WriteText(w io.Writer, list []Finding) error {
	wide := 0
	for _, f := range list {
		wide = max(wide, len(f.Area))
	}
	for _, f := range list {
		if _, err := fmt.Fprintf(w, "%-7s  %-*s  %s\n", mark(f.Level), wide, f.Area, lines(f.Text, 11+wide)); err != nil {
			return err
		}
		for _, line := range f.Type {
			if _, err := fmt.Fprintf(w, "%*s  type: %s\n", 9+wide, "", line); err != nil {
				return err
			}
		}
	}
	faults := Faults(list)
	warnings := len(slices.DeleteFunc(slices.Clone(list), func(f Finding) bool { return f.Level != Warning }))
	_, err := fmt.Fprintf(w, "\n%s, %s\n", count(faults, "fault"), count(warnings, "warning"))
	return err
}

// lines has the further lines of a text begin with a bar below the first one: a text may have another program's words in it, or a stranger's, and none
// of its lines may look like one to type.
func lines(text string, column int) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+strings.Repeat(" ", column)+"| ")
}

// mark is a level in a column: what is wrong stands out.
func mark(l Level) string {
	switch l {
	case Good:
		return "ok"
	case Fault:
		return "FAULT"
	}
	return string(l)
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
