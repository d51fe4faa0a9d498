package functiontest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes results as people read them: a line for each, and below it what was found.
func WriteTable(w io.Writer, results []Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.StripEscape)
	fmt.Fprintln(tw, "ENCODING\tCHECK\tRESULT\tEVENTS\tWHAT (section of docs/contract.md)")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", r.Encoding, r.Check, r.Status, r.Asked, r.About)
		for _, line := range r.lines() {
			fmt.Fprintf(tw, "\t\t\t\t  %s\n", line)
		}
	}
	return tw.Flush()
}

// lines are what was found.
func (r *Result) lines() []string {
	list := r.Details
	if r.More > 0 {
		list = append(list[:len(list):len(list)], fmt.Sprintf("and %d more", r.More))
	}
	return list
}

// What JUnit's report has, as build servers read it.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string      `xml:"classname,attr"`
		Name    string      `xml:"name,attr"`
		Time    string      `xml:"time,attr"`
		Failure *junitWords `xml:"failure"`
		Skipped *junitWords `xml:"skipped"`
		Out     string      `xml:"system-out,omitempty"`
	}
	junitWords struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes results as JUnit's XML: a suite for each encoding. A warning is a test that passed, with output; with strict, one
// that failed.
func WriteJUnit(w io.Writer, results []Result, strict bool) error {
	var doc junitSuites
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	var took time.Duration
	for _, r := range results {
		if n := len(doc.Suites); n == 0 || doc.Suites[n-1].Name != r.Encoding {
			doc.Suites = append(doc.Suites, junitSuite{Name: r.Encoding})
			took = 0
		}
		s := &doc.Suites[len(doc.Suites)-1]
		c := junitCase{Class: "switchbridge.function." + r.Encoding, Name: r.Check, Time: seconds(r.Took)}
		text := strings.Join(r.lines(), "\n")
		switch {
		case r.Status == Failed || strict && r.Status == Warned:
			c.Failure = &junitWords{r.About, text}
			s.Failures++
		case r.Status == Skipped:
			c.Skipped = &junitWords{text, ""}
			s.Skipped++
		default:
			c.Out = text
		}
		took += r.Took
		s.Tests, s.Time, s.Cases = s.Tests+1, seconds(took), append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
