package paper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/bench"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/httpclient"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
)

// The test's peer is this binary, started again as the controller that does
// nothing.
const listenVar = "SWITCHBRIDGE_PAPER_LISTEN"

func TestMain(m *testing.M) {
	addr := os.Getenv(listenVar)
	if addr == "" {
		os.Exit(m.Run())
	}
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		err = bench.Responder{}.Serve(context.Background(), ln)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serveFunction is the controller over HTTP.
func serveFunction(t *testing.T) *httptest.Server {
	p := forward.Default()
	p.Install.Rule = policy.InstallNone
	c := controller.New(p)
	codec := &openflow.Codec{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ev flow.Event
		var d flow.Decision
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = contract.GetEvent(r.Header, &ev)
		}
		if err == nil {
			err = codec.ParseEvent(body, &ev)
		}
		if err == nil {
			err = c.Decide(r.Context(), &ev, &d)
		}
		var out []byte
		if err == nil {
			out, err = codec.AppendDecision(nil, &ev, &d)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", contract.TypeOpenFlow)
		w.Write(out)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func open(url string) func(string, bool) (flow.Decider, func() error, error) {
	return func(via string, full bool) (flow.Decider, func() error, error) {
		c, err := httpclient.New(httpclient.Config{Endpoints: []string{url}, Via: via, Codec: &openflow.Codec{Full: full}})
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
}

// A smoke run measures every part and leaves the files that it promises.
func TestQuick(t *testing.T) {
	srv := serveFunction(t)
	dir := t.TempDir()
	var steps, started []string
	stopped := 0
	report, err := Run(t.Context(), Config{
		Dir: dir, Quick: true,
		Peers: []bench.Peer{
			{Name: "ovs-testcontroller", Command: []string{"{bench}"}, Env: map[string]string{listenVar: "127.0.0.1:{port}"}, Protocol: flow.OpenFlow10},
			{Name: "Floodlight", Command: []string{"no-such-program-here", "{port}"}, Protocol: flow.OpenFlow10},
			{Name: "broken", Command: []string{"{bench}", "-no-such-flag"}, Protocol: flow.OpenFlow10, Env: map[string]string{"IGNORED": "{port}"}},
		},
		Local: func(_ context.Context, policy string, _ ...string) (*Function, func(), error) {
			started = append(started, policy)
			return &Function{Name: "test", URL: srv.URL, Open: open(srv.URL), HTTP: srv.Client(), PID: os.Getpid()}, func() { stopped++ }, nil
		},
		Locations: []Location{{Platform: "here"}, {Site: "1", Platform: "there", Delay: 10 * time.Millisecond, Paper: 15.8}, {Site: "2", Platform: "there", Delay: 30 * time.Millisecond}},
		Stores:    []string{"memory"},
		OnStep:    func(s string) { steps = append(steps, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]*Section{}
	for _, s := range report.Sections {
		sections[s.Title] = s
		for _, row := range s.Rows {
			if len(row) != len(s.Header) {
				t.Errorf("%s: %d cells under %d columns: %q", s.Title, len(row), len(s.Header), row)
			}
			for _, cell := range row {
				if strings.Contains(cell, "failed:") && row[0] != "broken" && !strings.HasPrefix(cell, "failed: broken") {
					t.Errorf("%s: %q", s.Title, row)
				}
			}
		}
	}
	find := func(title, first string) []string {
		t.Helper()
		s := sections[title]
		if s == nil {
			t.Fatalf("no section %q", title)
		}
		for _, row := range s.Rows {
			if row[0] == first {
				return row
			}
		}
		t.Fatalf("%s: no row %q in %q", title, first, s.Rows)
		return nil
	}
	for _, title := range []string{"Response time", "Throughput", "Start-up", "Memory, idle", "Memory, active", "CPU at 1,000 PACKET_IN/s"} {
		if row := find(title, "POX"); row[1] == none || row[3] != "1.00" {
			t.Errorf("%s: %q", title, row)
		}
		if row := find(title, "ovs-testcontroller"); row[2] == none || row[3] != "1.00" && row[2] != "0.00" { // a moment's CPU time may be less than /proc counts
			t.Errorf("%s: %q", title, row)
		}
		if row := find(title, "Floodlight"); row[1] == none { // the paper's row comes first
			t.Errorf("%s: %q", title, row)
		}
		if row := find(title, "broken"); row[2] != "failed" {
			t.Errorf("%s: %q", title, row)
		}
		last := sections[title].Rows
		if row := last[len(last)-2]; row[0] != "Floodlight" || row[2] != "not installed" {
			t.Errorf("%s: %q", title, row)
		}
	}
	if row := find("Controllers", "broken"); !strings.Contains(row[2], "it ended") {
		t.Errorf("%q", row)
	}
	find("A function and its transport", "bare transport")
	// The delays are in the figures: round trips of 20 and 60 ms.
	away := sections["Location and platform (tables 8 to 11)"]
	for i, least := range []float64{0, 20, 60, 20} {
		var p50 float64
		if fmt.Sscan(away.Rows[i][4], &p50); p50 < least {
			t.Errorf("%q: under %v ms", away.Rows[i], least)
		}
	}
	if all := away.Rows[3]; all[1] != "all" || all[3] != "15.8" {
		t.Errorf("%q", all)
	}
	full := sections["Handshakes (table 12)"].Rows[3]
	var ratio float64
	if fmt.Sscan(full[9], &ratio); full[1] != "full" || full[2] != "28.9" || ratio < 1.5 {
		t.Errorf("%q", full)
	}
	for _, title := range []string{"Location and platform (tables 8 to 11)", "Handshakes (table 12)", "Policies with state and without (figure 2, tables 8 to 11)"} {
		if !strings.Contains(sections[title].Emulated, "distance, by ") {
			t.Errorf("%s does not say that distance is emulated", title)
		}
	}
	// Each policy had a function of its own: one for the tables about functions, three beside one another, three for what is in one and in two.
	if len(started) != 7 || stopped != 7 || !strings.Contains(started[1], "blocklist:") || strings.Count(started[2], "action: deny") != 500 || strings.Count(started[3], "key: connection") != 500 {
		t.Errorf("%d functions were started and %d stopped", len(started), stopped)
	}
	measured := 0
	for _, row := range sections["Policies with state and without (figure 2, tables 8 to 11)"].Rows {
		if row[0] == wayFar && row[1] == kindMachine && row[3] != "136" || row[4] == "0.00" && row[0] != wayNative && row[0] != wayEmbedded {
			t.Errorf("%q", row)
		}
		measured++
	}
	if measured != 12 {
		t.Errorf("%d rows of policies, want three policies in four ways", measured)
	}
	if len(sections["Policies by size"].Rows) != 4 || len(sections["Concurrency (table 7)"].Rows) < 2 || len(sections["Invocations, CPU and cost"].Rows) != 5 || len(steps) < 6 {
		t.Errorf("%d steps, %+v", len(steps), report)
	}
	find("The instruments: load", "replay to a gateway, every packet")
	find("The instruments: error", "1ms")

	for file, want := range map[string]string{
		"report.md": "## Response time", "report.html": "<h2>Response time</h2>", "report.json": `"title": "Response time"`,
		"response.svg": "<svg", "distance.svg": "<svg", "concurrency.svg": "<svg",
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	f, err := os.Open(filepath.Join(dir, "response.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 200 {
		t.Errorf("response.png: %v", err)
	}
	md, _ := os.ReadFile(filepath.Join(dir, "report.md"))
	if !strings.Contains(string(md), quickNote) {
		t.Error("a smoke run does not say that it is one")
	}
}

// Without peers or a function the report says so, and is written.
func TestNothingGiven(t *testing.T) {
	dir := t.TempDir()
	report, err := Run(t.Context(), Config{Dir: dir, Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || !strings.Contains(string(md), "no function was given") || !strings.Contains(string(md), "neither it nor ovs-testcontroller was measured") {
		t.Errorf("%v: %s", err, md)
	}
	if len(report.Sections[1].Rows) != len(publishedControllers) {
		t.Errorf("%q", report.Sections[1].Rows)
	}
}

func TestRunFaults(t *testing.T) {
	if _, err := Run(t.Context(), Config{}); err == nil {
		t.Error("no folder")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Config{Dir: filepath.Join(file, "report")}); err == nil {
		t.Error("a folder in a file")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Dir: t.TempDir(), Quick: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestParseFiles(t *testing.T) {
	l, err := ParseLocations(strings.NewReader("locations:\n  - {site: Frankfurt, platform: edge, delay: 8ms, jitter: 1ms, paper_ms: 15.8}\n"))
	if err != nil || len(l) != 1 || l[0] != (Location{"Frankfurt", "edge", 8 * time.Millisecond, time.Millisecond, 15.8}) {
		t.Errorf("%+v, %v", l, err)
	}
	p, err := ParsePrices(strings.NewReader("prices:\n  - {name: mine, per_million: 2, per_gb_second: 0.5, memory_mb: 512, min_ms: 10}\n"))
	if err != nil || len(p) != 1 {
		t.Fatal(p, err)
	}
	// 1,000 invocations: 0.002 for the calls; 1,000 x 0.01 s x 0.5 GB x 0.5.
	if got := p[0].Per1000(time.Millisecond); got < 2.5019 || got > 2.5021 {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"locations: [{platform: x, delay: -1s}]", "locations: [{site: x, delay: 1s}]", "locations: [{platform: x, delay: 1s, jitter: 2s}]", "places: []", "{",
		"locations: [{platform: x}, {platform: x}]", "locations: [{platform: x, site: a}, {platform: y}, {platform: x, site: b}]"} {
		if _, err := ParseLocations(strings.NewReader(bad)); err == nil {
			t.Errorf("%s", bad)
		}
	}
	for _, bad := range []string{"prices: [{name: x, per_million: -1}]", "prices: [{per_million: 1}]", "prices: [{name: x, per_hour: 1}]"} {
		if _, err := ParsePrices(strings.NewReader(bad)); err == nil {
			t.Errorf("%s", bad)
		}
	}
}

// The files that users start from have the defaults.
func TestExampleFiles(t *testing.T) {
	open := func(name string) io.Reader {
		b, err := os.ReadFile("../../configs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.NewReader(b)
	}
	if l, err := ParseLocations(open("locations.yaml")); err != nil || !slices.Equal(l, DefaultLocations()) {
		t.Errorf("%+v, %v", l, err)
	}
	if p, err := ParsePrices(open("prices.yaml")); err != nil || !slices.Equal(p, DefaultPrices()) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A policy that a function is started with is one.
func TestPolicyText(t *testing.T) {
	for _, kind := range []string{"allow all", bench.KindBlocklist, bench.KindHeader} {
		p, err := policyfile.Parse(strings.NewReader(policyText(kind, awayEntries)), kind, "")
		if err == nil {
			err = p.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestUnderWay(t *testing.T) {
	var at []time.Time
	for _, ms := range []int{0, 1, 2, 20, 35, 36} {
		at = append(at, time.Unix(0, 0).Add(time.Duration(ms)*time.Millisecond))
	}
	got := underWay(at, 15*time.Millisecond)
	// 0: alone; 1: second; 2: third; 20: alone; 35: alone, as the one before ends at 35; 36: second.
	if fmt.Sprint(got) != "[3 2 1]" {
		t.Errorf("%v", got)
	}
}
