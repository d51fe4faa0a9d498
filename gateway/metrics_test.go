package gateway

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"switchbridge/internal/metricsdoc"
	"switchbridge/settings"
)

func TestMetricsAreDocumented(t *testing.T) {
	set := settings.Default()
	set.Admin.Listen, set.State.URL = "", "memory:"
	set.P4.Switches = []settings.P4Switch{{Device: 1, Address: "127.0.0.1:1"}}
	remote := set.Function
	remote.URLs = []string{"http://127.0.0.1:1/"}
	set.Routes = []settings.Route{{Name: "away", Function: remote}}
	g, err := New(set, Options{Listeners: []net.Listener{}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	metricsdoc.Check(t, "../docs/operating.md", g.registry, "gateway", "instances")
}

// Every metric in the alert rules and the dashboard is one that the documents
// have, which other tests hold to the programs; and promtool can read them all.
func TestAlertsAndDashboard(t *testing.T) {
	documented := map[string]bool{"process_resident_memory_bytes": true}
	for _, page := range []string{"../docs/operating.md", "../docs/pairs.md"} {
		for name := range metricsdoc.Names(t, page) {
			documented[name] = true
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	read := func(path string, into any, parse func([]byte, any) error) {
		text, err := os.ReadFile(path)
		if err == nil {
			err = parse(text, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	read("../configs/prometheus/alerts.yaml", &rules, yaml.Unmarshal)
	read("../configs/grafana/switchbridge.json", &dashboard, json.Unmarshal)

	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	metric := regexp.MustCompile(`\b(switchbridge|process)_[a-z0-9_]+`)
	var all []map[string]string // the dashboard's expressions, as rules
	check := func(where, expr string) {
		found := metric.FindAllString(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric: %s", where, expr)
		}
		for _, name := range found {
			histogram := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			if !documented[name] && !documented[histogram] {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			check("alert "+r.Alert, r.Expr)
		}
	}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			expr := variables.Replace(q.Expr)
			check("panel "+p.Title, expr)
			all = append(all, map[string]string{"alert": "Panel", "expr": expr, "for": "1s"})
		}
	}
	if len(rules.Groups) == 0 || len(all) == 0 {
		t.Fatal("no rules, or no panels")
	}

	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("there is no promtool (Debian's package prometheus) to check the expressions with")
	}
	for i := range all { // promtool refuses rules that are the same
		all[i]["alert"] += string(rune('a'+i/26)) + string(rune('a'+i%26))
	}
	panels, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/panels.yaml"
	if err := os.WriteFile(file, panels, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", file, "../configs/prometheus/alerts.yaml"}, {"test", "rules", "../configs/prometheus/alerts_test.yaml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
