// Package metricsdoc holds docs/operating.md to the metrics that programs have.
package metricsdoc

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// A table of metrics follows a comment that says whose they are.
	section = regexp.MustCompile(`(?m)^<!-- metrics: (\w+) -->\n((?:\|.*\n)+)`)
	metric  = regexp.MustCompile("`(switchbridge_[a-z0-9_]+)(?:\\{([a-z_,]+)\\})?`")

	name     = regexp.MustCompile(`fqName: "(switchbridge_[a-z0-9_]+)"`)
	fixed    = regexp.MustCompile(`constLabels: \{([^}]*)\}`)
	variable = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	label    = regexp.MustCompile(`(\w+)="`)
)

// Check fails where the tables of the given kinds in page are not what
// collectors, such as a registry, describe: a metric too many, one too few, or
// another label.
func Check(t *testing.T, page string, collector prometheus.Collector, kinds ...string) {
	t.Helper()
	documented := Names(t, page, kinds...)
	for have, labels := range described(collector) {
		want, ok := documented[have]
		switch {
		case !ok:
			t.Errorf("%s: %s{%s} is not there", page, have, labels)
		case labels != want:
			t.Errorf("%s: %s has the labels {%s}, and not {%s}", page, have, labels, want)
		}
		delete(documented, have)
	}
	for name := range documented {
		t.Errorf("%s: there is no %s", page, name)
	}
}

// described returns the labels, by name, of this program's metrics.
func described(collector prometheus.Collector) map[string]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		collector.Describe(descs)
	}()
	have := map[string]string{}
	for d := range descs {
		text := d.String()
		m := name.FindStringSubmatch(text)
		if m == nil {
			continue // Go's own, and the process's
		}
		var labels []string
		if v := variable.FindStringSubmatch(text); v != nil {
			labels = strings.Split(v[1], ",")
		}
		if c := fixed.FindStringSubmatch(text); c != nil {
			for _, l := range label.FindAllStringSubmatch(c[1], -1) {
				labels = append(labels, l[1])
			}
		}
		have[m[1]] = sorted(labels)
	}
	return have
}

// Names returns the metrics in the tables of the given kinds in page, and their
// labels; without kinds, all.
func Names(t *testing.T, page string, kinds ...string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // labels by name
	for _, s := range section.FindAllStringSubmatch(string(text), -1) {
		if len(kinds) > 0 && !slices.Contains(kinds, s[1]) {
			continue
		}
		for row := range strings.Lines(s[2]) {
			first, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
			for _, m := range metric.FindAllStringSubmatch(first, -1) {
				documented[m[1]] = sorted(strings.Split(m[2], ","))
			}
		}
	}
	if len(documented) == 0 {
		t.Fatalf("%s: no metrics of %q", page, kinds)
	}
	return documented
}

func sorted(labels []string) string {
	labels = slices.DeleteFunc(labels, func(l string) bool { return l == "" })
	slices.Sort(labels)
	return strings.Join(labels, ",")
}
