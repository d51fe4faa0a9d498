package paper

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"switchbridge/bench"
	"switchbridge/bench/stats"
)

// Report is what was measured, in the order of its sections.
type Report struct {
	Machine     bench.Machine `json:"machine"`
	Quick       bool          `json:"quick"`
	Seconds     float64       `json:"seconds"`
	Conclusions []string      `json:"conclusions"` // what follows from Figures
	Sections    []*Section    `json:"sections"`
	Figures     []Figure      `json:"figures"` // for programs, such as [Compare]
}

// Figure is one value of the report.
type Figure struct {
	Name  string  `json:"name"` // "response/POX": what was measured, and of whom
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`           // the median of the rounds
	Min   float64 `json:"min"`             // over the rounds
	Max   float64 `json:"max"`             // over the rounds
	Runs  int     `json:"runs"`            // rounds
	Paper float64 `json:"paper,omitempty"` // the paper's; 0: it has none
}

// note keeps the figure of some rounds for programs.
func (r *Report) note(name, unit string, paper float64, rounds ...float64) {
	if s := stats.SpreadOf(rounds); s.Runs > 0 {
		r.Figures = append(r.Figures, Figure{Name: name, Unit: unit, Value: s.Median, Min: s.Min, Max: s.Max, Runs: s.Runs, Paper: paper})
	}
}

// Section is one table with what must be known about it.
type Section struct {
	Title    string     `json:"title"`              // the paper's table or figure first, where it has one
	Text     string     `json:"text"`               // how it was measured
	Emulated string     `json:"emulated,omitempty"` // what was, and how
	Missing  []string   `json:"missing,omitempty"`  // what the paper has and the table has not, each with the reason
	Header   []string   `json:"header"`
	Rows     [][]string `json:"rows"`
	Plot     string     `json:"plot,omitempty"` // file name without its ending
}

// row adds one; cells that are not given are empty.
func (s *Section) row(cells ...string) {
	for len(cells) < len(s.Header) {
		cells = append(cells, none)
	}
	s.Rows = append(s.Rows, cells)
}

// Words says of each column whether it holds words: some cell does, and none begins as a number does.
func (s *Section) Words() []bool {
	words := make([]bool, len(s.Header))
	for i := range words {
		for _, row := range s.Rows {
			if strings.IndexAny(row[i], "-0123456789") == 0 {
				words[i] = false
				break
			}
			words[i] = words[i] || row[i] != none
		}
	}
	return words
}

// Captions are the emphasised notes of the table.
func (s *Section) Captions() (list [][2]string) {
	if s.Emulated != "" {
		list = append(list, [2]string{"Emulated", s.Emulated})
	}
	if len(s.Missing) > 0 {
		list = append(list, [2]string{"Missing", strings.Join(s.Missing, "; ") + "."})
	}
	return list
}

const none = "—"

// quickNote stands on top of a smoke run's report.
const quickNote = "A smoke run: every measurement was taken once and for a moment. Its figures have no weight."

// Write writes report.md, report.html and report.json to dir.
func (r *Report) Write(dir string) error {
	return errors.Join(
		writeFile(filepath.Join(dir, "report.md"), r.WriteMarkdown),
		writeFile(filepath.Join(dir, "report.html"), func(w io.Writer) error { return r.WriteHTML(w, dir) }),
		writeFile(filepath.Join(dir, "report.json"), func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}),
	)
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// WriteMarkdown writes the report as Markdown, its plots as links to SVG files
// beside it.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# The paper's evaluation, on this machine\n\n%v\n\n%s, in %.0f s.\n", r.Machine, r.Machine.Time.Format("2006-01-02 15:04 MST"), r.Seconds)
	if r.Quick {
		fmt.Fprintf(&b, "\n**%s**\n", quickNote)
	}
	cell := strings.NewReplacer("|", "\\|", "\n", " ").Replace
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + cell(c) + " ")
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n## Contents\n\n* [Conclusions](#conclusions)\n")
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "* [%s](#%s)\n", s.Title, anchor(s.Title))
	}
	b.WriteString("\n## Conclusions\n\n" + conclusionsText + "\n\n")
	for _, c := range r.Conclusions {
		b.WriteString("* " + c + "\n")
	}
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.Title, s.Text)
		for _, c := range s.Captions() {
			fmt.Fprintf(&b, "\n*%s:* %s\n", c[0], c[1])
		}
		if len(s.Rows) > 0 {
			b.WriteByte('\n')
			line(s.Header)
			for _, words := range s.Words() {
				b.WriteString(map[bool]string{true: "|---", false: "|---:"}[words])
			}
			b.WriteString("|\n")
			for _, row := range s.Rows {
				line(row)
			}
		}
		if s.Plot != "" {
			fmt.Fprintf(&b, "\n![%s](%s.svg)\n", s.Title, s.Plot)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const conclusionsText = "These sentences are computed from the figures below. Absolute figures of two machines can't be compared, so they compare ratios and orders."

// anchor is the id that Markdown gives a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{"anchor": anchor}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>The paper's evaluation, on this machine</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .6rem; text-align: right; }
th { vertical-align: bottom; border-bottom: 2px solid #888; }
td { vertical-align: top; }
.words { text-align: left; overflow-wrap: anywhere; min-width: 7rem; }
tr:hover td { background: #f4f4f4; }
img { max-width: 100%; }
.note { border-left: 4px solid #c80; padding-left: .7rem; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
 body { font-size: 10px; margin: 0; max-width: none; }
 .wide { overflow: visible; }
 th, td { padding: .15rem .35rem; }
 section, tr, img { break-inside: avoid; }
 h2 { break-after: avoid; }
 .conclusions { break-after: page; }
}
</style></head><body>
<h1>The paper's evaluation, on this machine</h1>
<p>{{.Machine}}</p>
<p>{{.Machine.Time.Format "2006-01-02 15:04 MST"}}, in {{printf "%.0f" .Seconds}} s.</p>
{{if .Quick}}<p class="note"><strong>` + quickNote + `</strong></p>{{end}}
<nav><h2>Contents</h2><ol><li><a href="#conclusions">Conclusions</a></li>
{{range .Sections}}<li><a href="#{{anchor .Title}}">{{.Title}}</a></li>
{{end}}</ol></nav>
<section class="conclusions"><h2 id="conclusions">Conclusions</h2>
<p>` + conclusionsText + `</p>
<ul>{{range .Conclusions}}<li>{{.}}</li>
{{end}}</ul></section>
{{range .Sections}}<section><h2 id="{{anchor .Title}}">{{.Title}}</h2>
<p>{{.Text}}</p>
{{range .Captions}}<p class="note"><em>{{index . 0}}:</em> {{index . 1}}</p>
{{end}}{{$words := .Words}}{{if .Rows}}<div class="wide"><table><thead><tr>{{range $i, $h := .Header}}<th{{if index $words $i}} class="words"{{end}}>{{$h}}</th>{{end}}</tr></thead>
{{range .Rows}}<tr>{{range $i, $c := .}}<td{{if index $words $i}} class="words"{{end}}>{{$c}}</td>{{end}}</tr>
{{end}}</table></div>{{end}}
{{with index $.Plots .Plot}}<p><img src="{{.}}" alt=""></p>{{end}}</section>
{{end}}</body></html>
`))

// WriteHTML writes the report as one page, with the plots of dir in it.
func (r *Report) WriteHTML(w io.Writer, dir string) error {
	plots := map[string]template.URL{}
	for _, s := range r.Sections {
		if s.Plot == "" {
			continue
		}
		svg, err := os.ReadFile(filepath.Join(dir, s.Plot+".svg"))
		if err != nil {
			return err
		}
		plots[s.Plot] = template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg)) // drawn by us
	}
	return page.Execute(w, struct {
		*Report
		Plots map[string]template.URL
	}{r, plots})
}
