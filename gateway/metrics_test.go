package gateway

import (
	"net"
	"testing"

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
