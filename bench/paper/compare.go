package paper

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Read reads the report.json at path, or of the folder at path.
func Read(path string) (*Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "report.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(r.Figures) == 0 {
		return nil, fmt.Errorf("%s: it has no figures; want a report.json of bench paper", path)
	}
	return r, nil
}

// Compare writes the figures of two reports side by side. Figures of several rounds
// whose ranges don't meet are marked as apart; those of one round can't be told from chance.
func Compare(w io.Writer, a, b *Report) error {
	fmt.Fprintf(w, "A: %v, %s\nB: %v, %s\n", a.Machine, a.Machine.Time.Format("2006-01-02 15:04 MST"), b.Machine, b.Machine.Time.Format("2006-01-02 15:04 MST"))
	if a.Quick || b.Quick {
		fmt.Fprintln(w, quickNote)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tunit\tpaper\tA\tB\tB / A\t")
	var alone []string
	for _, f := range a.Figures {
		g, ok := figureNamed(b.Figures, f.Name)
		if !ok {
			alone = append(alone, "only in A: "+f.Name)
			continue
		}
		paper, ratio, apart := none, none, ""
		if f.Paper > 0 {
			paper = num(f.Paper)
		}
		if f.Value > 0 {
			ratio = num(g.Value / f.Value)
		}
		if f.Runs > 1 && g.Runs > 1 && (f.Max < g.Min || g.Max < f.Min) {
			apart = "apart"
		}
		fmt.Fprintln(t, strings.Join([]string{f.Name, f.Unit, paper, num(f.Value), num(g.Value), ratio, apart}, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range b.Figures {
		if !slices.ContainsFunc(a.Figures, func(f Figure) bool { return f.Name == g.Name }) {
			alone = append(alone, "only in B: "+g.Name)
		}
	}
	for _, line := range alone {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
