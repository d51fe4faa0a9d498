package paper

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"

	"switchbridge/bench"
)

// Report is what was measured, in the order of its sections.
type Report struct {
	Machine  bench.Machine `json:"machine"`
	Quick    bool          `json:"quick"`
	Seconds  float64       `json:"seconds"`
	Sections []*Section    `json:"sections"`
}

// Section is one table with what must be known about it.
type Section struct {
	Title    string     `json:"title"`
	Text     string     `json:"text"`               // how it was measured
	Emulated string     `json:"emulated,omitempty"` // what was, and how
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

const none = "—"

// quickNote stands on top of a smoke run's report.
const quickNote = "A smoke run: every measurement was taken once and for a moment. Its figures have no weight."

// Write writes report.md, report.html and report.json to dir.
func (r *Report) Write(dir string) error {
	return errors.Join(
		writeFile(filepath.Join(dir, "report.md"), r.WriteMarkdown),
		writeFile(filepath.Join(dir, "report.html"), r.WriteHTML),
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
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.Title, s.Text)
		if s.Emulated != "" {
			fmt.Fprintf(&b, "\n*Emulated:* %s\n", s.Emulated)
		}
		if len(s.Rows) > 0 {
			b.WriteByte('\n')
			line(s.Header)
			b.WriteString("|---" + strings.Repeat("|---:", len(s.Header)-1) + "|\n")
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

var page = template.Must(template.New("report").Funcs(template.FuncMap{"text": isText}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>The paper's evaluation, on this machine</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .6rem; text-align: right; vertical-align: bottom; }
th:first-child, td.text { text-align: left; vertical-align: top; }
tr:hover td { background: #f4f4f4; }
img { max-width: 100%; }
.note { border-left: 4px solid #c80; padding-left: .7rem; }
</style></head><body>
<h1>The paper's evaluation, on this machine</h1>
<p>{{.Machine}}</p>
<p>{{.Machine.Time.Format "2006-01-02 15:04 MST"}}, in {{printf "%.0f" .Seconds}} s.</p>
{{if .Quick}}<p class="note"><strong>` + quickNote + `</strong></p>{{end}}
{{range .Sections}}<h2>{{.Title}}</h2>
<p>{{.Text}}</p>
{{with .Emulated}}<p class="note"><em>Emulated:</em> {{.}}</p>{{end}}
{{if .Rows}}<div class="wide"><table><tr>{{range .Header}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td{{if text .}} class="text"{{end}}>{{.}}</td>{{end}}</tr>
{{end}}</table></div>{{end}}
{{if .Plot}}<p><img src="{{.Plot}}.svg" alt="{{.Title}}"></p>{{end}}
{{end}}</body></html>
`))

// isText tells a cell of words from one of a figure.
func isText(cell string) bool { return cell != none && strings.IndexAny(cell, "0123456789") != 0 }

// WriteHTML writes the report as one page, its plots as SVG files beside it.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }
