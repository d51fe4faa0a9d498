package paper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchbridge/bench"
	"switchbridge/controller"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/platform/lambdahost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/gateway"
	"switchbridge/httpclient"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
	"switchbridge/replay"
	"switchbridge/settings"
)

// The test's programs are this binary, started again: the controller that does nothing, a platform's servers, switchbridge run, cbench.
const (
	listenVar   = "SWITCHBRIDGE_PAPER_LISTEN"
	platformVar = "SWITCHBRIDGE_PAPER_PLATFORM" // listen as such a one
	cbenchVar   = "SWITCHBRIDGE_PAPER_CBENCH"   // responses a second that cbench says
)

func TestMain(m *testing.M) {
	var err error
	switch addr := os.Getenv(listenVar); {
	case addr != "" && os.Getenv(platformVar) != "":
		err = servePlatform(addr, os.Getenv(platformVar))
	case addr != "":
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err == nil {
			err = bench.Responder{}.Serve(context.Background(), ln)
		}
	case len(os.Args) > 1 && os.Args[1] == "run":
		err = runGateway(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "-c":
		fmt.Printf("RESULT: 1 switches 1 tests min/max/avg/stdev = 1.00/2.00/%s/0.00 responses/s\n", os.Getenv(cbenchVar))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runGateway is switchbridge run, as [bench.Gateway] starts it.
func runGateway(args []string) error {
	fl := flag.NewFlagSet("run", flag.ContinueOnError)
	config, openflow, admin := fl.String("config", "", ""), fl.String("openflow", "", ""), fl.String("admin", "", "")
	fl.String("log-level", "", "")
	if err := fl.Parse(args); err != nil {
		return err
	}
	set, err := settings.Load(*config)
	if err != nil {
		return err
	}
	l, err := settings.ParseListen(*openflow)
	if err != nil {
		return err
	}
	set.OpenFlow.Listen, set.Admin.Listen = []settings.Listen{l}, *admin
	g, err := gateway.New(set, gateway.Options{Version: "test"})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return g.Run(ctx)
}

// servePlatform is one of the platforms' own servers, with the policy in its working directory: of Lambda, which takes one invocation at a
// time, or one that takes requests with a token.
func servePlatform(addr, name string) error {
	compiled, err := os.ReadFile("policy.blob")
	if err != nil {
		return err
	}
	p, err := blob.Unpack(compiled)
	if err != nil {
		return err
	}
	h, err := httphost.New(httphost.Config{Decider: controller.New(p), Codecs: []contract.Codec{openflow.Codec{}}})
	if err != nil {
		return err
	}
	var busy sync.Mutex
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name != onLambda {
			if r.Header.Get("Authorization") != "Bearer "+token {
				http.Error(w, "no token", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
			return
		}
		if !busy.TryLock() {
			http.Error(w, "two at once", http.StatusInternalServerError)
			return
		}
		defer busy.Unlock()
		payload, err := io.ReadAll(r.Body)
		if err == nil {
			var answer any
			if answer, err = lambdahost.Handler(h, false)(r.Context(), payload); err == nil {
				err = json.NewEncoder(w).Encode(answer)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

// fakePlatforms stand where Viceroy and AWS's emulator would.
func fakePlatforms() []Platform {
	both := DefaultPlatforms()
	for i := range both {
		p := &both[i]
		p.Server.Command, p.Server.Near, p.Function = []string{"{bench}"}, nil, ""
		p.Server.Env = map[string]string{listenVar: "127.0.0.1:{port}", platformVar: p.Name}
		p.Files = func(compiled []byte, token string) (map[string]string, error) {
			files := map[string]string{"policy.blob": string(compiled)}
			if p.Name == onFastly {
				files[tokenFile] = token
			}
			return files, nil
		}
	}
	return both
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

func open(url string) func(string, bool) (flow.Decider, func() error, error) { return openAs(url, "") }

func openAs(url, tokenFile string) func(string, bool) (flow.Decider, func() error, error) {
	return func(via string, full bool) (flow.Decider, func() error, error) {
		c, err := httpclient.New(httpclient.Config{Endpoints: []string{url}, Via: via, Codec: &openflow.Codec{Full: full}, TokenFile: tokenFile})
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
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SWITCHBRIDGE", self)
	t.Setenv(cbenchVar, "1000")
	var steps, started []string
	stopped := 0
	report, err := Run(t.Context(), Config{
		Dir: dir, Quick: true,
		Peers: []bench.Peer{
			{Name: "ovs-testcontroller", Command: []string{"{bench}"}, Env: map[string]string{listenVar: "127.0.0.1:{port}"}, Protocol: flow.OpenFlow10},
			{Name: "Floodlight", Command: []string{"no-such-program-here", "{port}"}, Protocol: flow.OpenFlow10, Install: "git clone it"},
			{Name: "broken", Command: []string{"{bench}", "-no-such-flag"}, Protocol: flow.OpenFlow10, Env: map[string]string{"IGNORED": "{port}"}},
		},
		Local: func(_ context.Context, policy string, _ ...string) (*Function, func(), error) {
			started = append(started, policy)
			return &Function{Name: "test", URL: srv.URL, Open: open(srv.URL), HTTP: srv.Client(), PID: os.Getpid()}, func() { stopped++ }, nil
		},
		At: func(name, url, tokenFile string) (*Function, error) {
			return &Function{Name: name, URL: url, Open: openAs(url, tokenFile), HTTP: http.DefaultClient}, nil
		},
		Platforms: fakePlatforms(),
		Cbench:    self,
		Locations: []Location{{Platform: "here"}, {Site: "1", Platform: "there", Delay: 10 * time.Millisecond, Paper: 15.8}, {Site: "2", Platform: "there", Delay: 30 * time.Millisecond},
			{Platform: "edge", On: onFastly}, {Platform: "region", On: onLambda}},
		Stores: []string{"memory"},
		OnStep: func(s string) { steps = append(steps, s) },
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
	for _, title := range []string{"Table 2: response time", "Table 3: throughput", "Table 4: start-up", "Table 5: memory, idle", "Table 5: memory, active", "Table 6: CPU at 1,000 PACKET_IN/s"} {
		if row := find(title, "POX"); row[1] == none || row[2] != none || row[4] != "1.00" {
			t.Errorf("%s: %q", title, row)
		}
		if row := find(title, "ovs-testcontroller"); row[1] != none || row[2] == none || row[5] != "1.00" && row[2] != "0.00" { // a moment's CPU time may be less than /proc counts
			t.Errorf("%s: %q", title, row)
		}
		if row := find(title, "broken"); row[2] != none {
			t.Errorf("%s: %q", title, row)
		}
		seen := map[string]bool{}
		for _, row := range sections[title].Rows {
			if seen[row[0]] {
				t.Errorf("%s: two rows of %s", title, row[0])
			}
			seen[row[0]] = true
		}
		missing := strings.Join(sections[title].Missing, "; ")
		for _, want := range []string{"POX is not listed", "Floodlight is not installed (git clone it)", "broken: failed"} {
			if !strings.Contains(missing, want) {
				t.Errorf("%s: %q does not say %q", title, missing, want)
			}
		}
		if words := sections[title].Words(); !words[0] || words[1] || words[2] {
			t.Errorf("%s: columns of words: %v", title, words)
		}
	}
	// The responder answers each PACKET_IN once, so that both ways to count agree.
	if row := find("Table 3: throughput", "ovs-testcontroller"); row[11] != "1.00" || row[10] != row[2] {
		t.Errorf("%q", row)
	}
	if row := find("Table 2: response time", "ovs-testcontroller"); row[11] == "0.00" || row[12] != row[13] {
		t.Errorf("%q", row)
	}
	if row := find("Controllers", "broken"); !strings.Contains(row[2], "it ended") {
		t.Errorf("%q", row)
	}
	find("A function and its transport", "bare transport")
	// The delays are in the figures: round trips of 20 and 60 ms.
	away := sections["Tables 8 and 11: location and platform"]
	for i, least := range []float64{0, 20, 60, 20} {
		var p50 float64
		if fmt.Sscan(away.Rows[i][5], &p50); p50 < least {
			t.Errorf("%q: under %v ms", away.Rows[i], least)
		}
	}
	if all := away.Rows[3]; all[2] != "all" || all[4] != "15.8" {
		t.Errorf("%q", all)
	}
	for i, want := range []string{"Viceroy", "AWS's runtime interface emulator"} { // which ask no other server
		if row := away.Rows[4+i]; row[1] != want || row[5] == none {
			t.Errorf("%q, missing: %q", row, away.Missing)
		}
	}
	if len(away.Missing) > 0 {
		t.Errorf("%q", away.Missing)
	}
	for i, want := range []struct {
		handshake, paper string
		least            float64 // round trips of 14 ms, less jitter; the combined one's time hangs on the machine's load
	}{{replay.HandshakeCombined, "14.1", 13}, {replay.HandshakeTwo, "28.9", 26}, {replay.HandshakeFull, none, 39}} {
		row := sections["Table 12: handshakes"].Rows[3+i]
		var p10 float64
		if fmt.Sscan(row[4], &p10); row[1] != want.handshake || row[2] != want.paper || p10 < want.least {
			t.Errorf("%q", row)
		}
	}
	// Each event is counted where it begins: by the gateways, and by the host that has an instance for each.
	concurrency := sections["Table 7: concurrency"]
	var here, inHost int
	for _, row := range concurrency.Rows {
		var n, m int
		fmt.Sscan(row[1], &n)
		fmt.Sscan(row[3], &m)
		here, inHost = here+n, inHost+m
	}
	if here < 20 || inHost < here || len(concurrency.Missing) > 0 || !strings.Contains(concurrency.Emulated, "AWS's runtime interface emulator") || !strings.Contains(concurrency.Text, fmt.Sprintf("Of %d events %[1]d were answered", here)) {
		t.Errorf("%d events at the gateways, %d in the host: %+v", here, inHost, concurrency)
	}
	// The fake cbench says 1,000 a second, of which this load generator sees more.
	for _, mode := range []string{bench.Latency, bench.Flood} {
		found := false
		for _, row := range sections["Cbench beside this load generator"].Rows {
			found = found || row[0] == "ovs-testcontroller" && row[1] == mode && row[5] == "1000" && row[9] == "apart"
		}
		if !found {
			t.Errorf("%s: %q", mode, sections["Cbench beside this load generator"])
		}
	}
	// Three networks by three installs; what a capture's calls cost follows from them.
	if rows := sections[titleHours].Rows; len(rows) != 9 || rows[0][2] != "flow" || rows[2][2] != "widest" || rows[0][5] == "0" || rows[0][len(rows[0])-1] != "lambda" {
		t.Errorf("%q", rows)
	}
	paces := sections["Tables 9 and 10: events of three networks, maximum pace"]
	for _, network := range []string{"IoT", "residential", "organisation"} {
		if row := find(paces.Title, network); row[4] != "50" || row[6] != "50" || (row[5] != "0") != (network == "IoT") {
			t.Errorf("%q", row)
		}
	}
	for _, title := range []string{"Tables 8 and 11: location and platform", "Table 12: handshakes", "Figure 2: policies with state and without"} {
		for _, says := range []string{"distance, by ", "what goes there and what comes back by half the round trip each", "no loss"} {
			if !strings.Contains(sections[title].Emulated, says) {
				t.Errorf("%s does not say of its emulated distance: %s", title, says)
			}
		}
	}
	// Each policy had a function of its own: one for the tables about functions, three beside one another, three for what is in one and in two.
	if len(started) != 7 || stopped != 7 || !strings.Contains(started[1], "blocklist:") || strings.Count(started[2], "action: deny") != 500 || strings.Count(started[3], "key: connection") != 500 {
		t.Errorf("%d functions were started and %d stopped", len(started), stopped)
	}
	measured := 0
	for _, row := range sections["Figure 2: policies with state and without"].Rows {
		if row[0] == wayFar && row[1] == kindMachine && row[3] != "136" || row[4] == "0.00" && row[0] != wayNative && row[0] != wayEmbedded {
			t.Errorf("%q", row)
		}
		measured++
	}
	if measured != 12 {
		t.Errorf("%d rows of policies, want three policies in four ways", measured)
	}
	if len(sections["Policies by size"].Rows) != 4 || len(sections["Invocations, CPU and cost"].Rows) != 5 || len(steps) < 6 {
		t.Errorf("%d steps, %+v", len(steps), report)
	}
	find("The instruments: load", "replay to a gateway, every packet")
	find("The instruments: error", "1ms")

	for file, want := range map[string]string{
		"report.md": "(#table-2-response-time)", "report.html": `<img src="data:image/svg&#43;xml;base64,`, "report.json": `"name": "response/ovs-testcontroller"`,
		"response.svg": "POX: the paper", "distance.svg": "<svg", "concurrency.svg": "<svg",
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
	if page, _ := os.ReadFile(filepath.Join(dir, "report.html")); bytes.Contains(page, []byte(".svg\"")) {
		t.Error("report.html needs files beside it")
	}
	again, err := Read(dir)
	if err != nil || !slices.Equal(again.Figures, report.Figures) || !slices.Equal(conclude(again), report.Conclusions) {
		t.Errorf("what was written is read differently: %v", err)
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
	if err != nil || !strings.Contains(string(md), "no function was given") || !strings.Contains(string(md), "neither POX nor ovs-testcontroller was measured") {
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
	if err != nil || len(l) != 1 || l[0] != (Location{"Frankfurt", "edge", "", 8 * time.Millisecond, time.Millisecond, 15.8}) {
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
	// 1,000 an hour are 720,000 a month; 10 ms of 0.5 GB each are 5 GB-seconds.
	if price, gbSeconds := p[0].Hour(1000, time.Millisecond); price < 2.5019 || price > 2.5021 || gbSeconds < 4.999 || gbSeconds > 5.001 {
		t.Errorf("%v, %v", price, gbSeconds)
	}
	for _, bad := range []string{"locations: [{platform: x, delay: -1s}]", "locations: [{site: x, delay: 1s}]", "locations: [{platform: x, delay: 1s, jitter: 2s}]", "places: []", "{",
		"locations: [{platform: x}, {platform: x}]", "locations: [{platform: x, site: a}, {platform: y}, {platform: x, site: b}]", "locations: [{platform: x, on: azure}]",
		"locations: [{platform: x, site: a}, {platform: x, on: lambda, site: b}]"} {
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

// A folder's captures stand before generated ones, each under the network that its name says.
func TestCaptures(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"iot-lock.pcap", "home-mail.pcapng", "office.pcap", "iot-notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for folder, want := range map[string]string{
		dir: "IoT iot-lock, IoT generated, residential home-mail, organisation generated",
		"":  "IoT generated, residential generated, organisation generated",
	} {
		list, err := Captures(folder)
		var names []string
		for _, c := range list {
			names = append(names, c.Network+" "+c.Name)
		}
		if got := strings.Join(names, ", "); err != nil || got != want {
			t.Errorf("%s, %v", got, err)
		}
	}
}

// A run at the captures' own pace plays them when they say, and nothing else.
func TestRealPace(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "home-a.pcap")
	p, err := replay.ProfileNamed("home")
	if err != nil {
		t.Fatal(err)
	}
	p.Flows, p.Duration = 40, 400*time.Millisecond
	var pcap bytes.Buffer
	if _, err := replay.Generate(&pcap, nil, replay.GenerateConfig{Profile: p}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pcap.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := serveFunction(t)
	began := time.Now()
	report, err := Run(t.Context(), Config{Dir: filepath.Join(dir, "report"), RealPace: 300 * time.Millisecond, Function: &Function{Name: "test", URL: srv.URL, Open: open(srv.URL)},
		Captures: []Capture{{Network: "residential", Name: "home-a", File: file}, {Network: "IoT", Name: "none", File: filepath.Join(dir, "no-such-file")}}})
	if err != nil || len(report.Sections) != 1 || len(report.Figures) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	s := report.Sections[0]
	var events, answered int
	var lasts float64
	fmt.Sscan(s.Rows[0][4], &events)
	fmt.Sscan(s.Rows[0][6], &answered)
	fmt.Sscan(s.Rows[0][2], &lasts)
	missing := strings.Join(s.Missing, "; ")
	if events < 10 || events >= 40 || answered != events || lasts <= 0 || lasts > 0.3 || time.Since(began) < time.Duration(lasts*float64(time.Second)) ||
		!strings.Contains(missing, "captures of these networks: organisation") || !strings.Contains(missing, "IoT, none: ") {
		t.Errorf("%+v", s)
	}
}

// What the report concludes follows from its figures: other figures, other conclusions.
func TestConclude(t *testing.T) {
	r := &Report{Sections: []*Section{{Title: "Table 4: start-up", Missing: []string{"x", "y"}}, {Missing: []string{"x"}}}}
	r.note("response/POX", "µs", 91, 100, 120, 110)
	r.note("response/Floodlight", "µs", 28.4, 50)
	r.note("throughput/Floodlight", "messages/ms", 71.9, 30)
	r.note("throughput/POX", "messages/ms", 40.6, 20)
	r.note("answered/Floodlight", "PACKET_INs/ms", 0, 10)
	r.note("answered/POX", "PACKET_INs/ms", 0, 20)
	r.note("answered/"+bench.NameResponder, "PACKET_INs/ms", 0, 999)
	r.note("messages/Floodlight", "messages for a PACKET_IN", 0, 3)
	r.note("messages/POX", "messages for a PACKET_IN", 0, 1)
	r.note("policy/header", "ms", 15.7, 10)
	r.note("policy/machine redis", "ms", 135.6, 20)
	says := func(want string) {
		t.Helper()
		if all := strings.Join(conclude(r), "\n"); !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	says("Table 2, response time, in µs, the best first: Floodlight (50.0), POX (110). The order is the paper's in 1 of 1 pairs of controllers that it has too.")
	says("Table 3, throughput as cbench counts, in messages/ms, the best first: Floodlight (30.0), POX (20.0).")
	says("Floodlight answers a PACKET_IN with 3.00 messages, so that the paper's 71.9 messages/ms would be 24.0 PACKET_INs/ms")
	says("Table 3 by PACKET_INs answered, the best first: POX (20.0), Floodlight (10.0). 1 of 1 pairs of controllers stand in another order")
	says("Table 4, start-up: no controller was measured.")
	says("machine redis takes 2.00 times as long as header here, and 8.64 times in the paper.")
	says("Missing from tables and named there: 2.")
	if all := strings.Join(conclude(r), "\n"); strings.Contains(all, "Table 5") {
		t.Errorf("a table that the report does not have: %s", all)
	}
	r.note("handshake/combined", "ms", 14.1, 15)
	r.note("handshake/two", "ms", 28.9, 30)
	r.note("handshake/full", "ms", 0, 45)
	says("two round trips takes 2.00 times as long as the combined one here, and 2.05 times in the paper.")
	says("our own full handshake, of three requests, takes 3.00 times")
	r.note("concurrency/at the gateways, alone", "% of events", 0, 90)
	r.note("concurrency/at the gateways, most", "events", 4, 3)
	r.note("concurrency/in the host, most", "events", 0, 2)
	says("Table 7: of the organisation's events 90.0 % found no other under way at the four gateways, and 3 at most were under way at once (4 in the paper); the host never worked on more than 2 at once.")
	r.note("agreement/POX, latency", "here / cbench", 0, 0.95)
	says("agree within a tenth on all 1 controllers and modes")
	r.note("agreement/POX, flood", "here / cbench", 0, 1.2)
	says("agree within a tenth in 1 of 2 controllers and modes. They are apart, by here / cbench, on: POX, flood (1.20).")
	r.Figures[0].Value, r.Figures[7].Value = 20, 1
	says("POX (20.0), Floodlight (50.0). The order is the paper's in 0 of 1 pairs")
	says("every controller measured here answers a PACKET_IN with one message")
}

func TestCompare(t *testing.T) {
	a, b := new(Report), new(Report)
	a.note("response/POX", "µs", 91, 100, 110, 120)
	b.note("response/POX", "µs", 91, 200, 220, 240)
	a.note("startup/POX", "ms", 283.2, 100, 300)
	b.note("startup/POX", "ms", 283.2, 200, 400)
	a.note("cpu/POX", "% of a core", 0, 1)
	b.note("cpu/POX", "% of a core", 0, 9)
	a.note("cpu/os-ken", "% of a core", 0, 1)
	b.note("cpu/native", "% of a core", 0, 1)
	var out strings.Builder
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"response/POX µs 91.0 110 220 2.00 apart", "startup/POX ms 283 200 300 1.50 cpu/POX % of a core — 1.00 9.00 9.00 only", "only in A: cpu/os-ken only in B: cpu/native"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	empty := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(empty, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"no-such-file", t.TempDir(), empty, "paper_test.go"} {
		if r, err := Read(path); err == nil {
			t.Errorf("%s: %+v", path, r)
		}
	}
}
