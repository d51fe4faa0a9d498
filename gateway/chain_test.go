package gateway

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"switchbridge/settings"
)

// The chain that an operator is shown is that of the decorators as they are
// built: each prints itself and what it wraps.
func TestChain(t *testing.T) {
	remote := func(url string) settings.Function {
		f := settings.Default().Function
		f.URLs = []string{url}
		return f
	}
	for name, tc := range map[string]struct {
		adapt func(*settings.Settings)
		want  string
	}{
		"native": {func(s *settings.Settings) {
			s.Function.URLs, s.Limits.Incomplete = []string{settings.Native}, settings.Rate{}
		}, "fail mode secure > native > guardrails"},
		"embedded": {func(s *settings.Settings) {}, "rates > fail mode secure > embedded > guardrails"},
		"one remote": {func(s *settings.Settings) {
			s.Function = remote("https://f.example/decide?code=secret")
			s.Function.Concurrency, s.OpenFlow.Coalesce, s.Limits.Queue = 64, false, 100
		}, "rates > queue 100 > fail mode secure > reuse > state > limit 64 > client https://f.example/decide > guardrails"},
		"routes": {func(s *settings.Settings) {
			s.Function.URLs = []string{settings.Native}
			s.Routes = []settings.Route{
				{Name: "campus", Function: remote("https://campus.example/")},
				{Name: "lab", Function: remote("http://127.0.0.1:1/")},
			}
			s.Routes[1].Function.Concurrency = 8
			s.Routes[1].Function.Budget.PerHour, s.Routes[1].Function.Budget.PerDay = 1000, 9000
			s.FailMode.Switches = map[string]settings.Mode{"000000000000002a": settings.ModeStandalone, "000000000000002b": settings.ModeSecure}
		}, "rates > coalesce > queue 1024 > fail mode secure (000000000000002a: standalone) > routes (" +
			"campus: reuse > state > limit 256 > client https://campus.example/, " +
			"lab: reuse > state > limit 8 > budget 1000 an hour, 9000 a day > client http://127.0.0.1:1/, " +
			"default: native) > guardrails"},
		"rates": {func(s *settings.Settings) {
			s.Function.URLs, s.Limits = []string{settings.Native}, settings.Limits{PerPort: settings.Rate{Rate: 10}, Queue: 1}
			s.FailMode.Default = settings.ModeStandalone
		}, "rates > fail mode standalone > native > guardrails"},
	} {
		t.Run(name, func(t *testing.T) {
			set := settings.Default()
			set.Admin.Listen = ""
			tc.adapt(set)
			if err := set.Validate(); err != nil {
				t.Fatal(err)
			}
			g, err := New(set, Options{Listeners: []net.Listener{}})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if got := g.Chain(); got != tc.want {
				t.Errorf("chain\n%s\nwant\n%s", got, tc.want)
			}
			w := httptest.NewRecorder()
			g.adminHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/status", nil))
			var st GatewayStatus
			if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || st.Chain != tc.want {
				t.Errorf("status shows chain %q: %v", st.Chain, err)
			}
		})
	}
}

// What stops the gateway names the task that failed.
func TestRunNamesTask(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	set := settings.Default()
	set.Function.URLs, set.Admin.Listen = []string{settings.Native}, ""
	g, err := New(set, Options{Listeners: []net.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := g.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "openflow tcp:"+l.Addr().String()+": ") {
		t.Errorf("error %v", err)
	}
}
