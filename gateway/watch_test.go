package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/flowtest"
	"switchbridge/settings"
)

// decided is the record of a decision about a packet that came at a time.
func decided(at time.Time, number uint32, v flow.Verdict, adapt func(*bridge.Record)) *bridge.Record {
	rec := &bridge.Record{Switch: &flow.Switch{DPID: 1}, Decision: &flow.Decision{Verdict: v, Reason: "header: x", Rules: []flow.Rule{flowtest.Rule()}},
		Event: &flow.Event{Type: flow.EventPacketIn, Time: at, XID: number, PacketIn: flowtest.TCP(80)}}
	if adapt != nil {
		adapt(rec)
	}
	return rec
}

// Whatever happens, what is kept for the page stays within its bounds, and what is
// denied is not crowded out of a second by what is allowed.
func TestFeedIsBounded(t *testing.T) {
	var f feed
	start := time.Unix(1000, 0)
	for i := range 10_000 {
		v := flow.Allow
		if i%100 == 99 {
			v = flow.Deny
		}
		f.put(decided(start, uint32(i), v, nil), nil)
	}
	if denied, _, _ := f.since(0, &filter{verdict: "deny"}, feedKept); len(denied) != 1+feedRate/4 { // one from before the allows had theirs
		t.Errorf("%d denials", len(denied))
	}
	all, left, seq := f.since(0, &filter{}, 20)
	if totals := f.totals(); len(all) != 20 || left != feedRate-20 || seq != feedRate || totals.Allow != 9900 || totals.Deny != 100 || totals.Shown != feedRate {
		t.Errorf("%d, %d left, latest %d, %+v", len(all), left, seq, totals)
	}
	long := strings.Repeat("ü", shownText)
	for i := range 3 * feedHosts {
		at := start.Add(time.Duration(1+i/100) * time.Second)
		f.put(decided(at, uint32(i), flow.Allow, func(r *bridge.Record) {
			r.Event.PacketIn.Match.EthSrc = flow.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
			r.Decision.Reason = long
		}), nil)
	}
	if n := len(f.stations()); n > feedHosts || n < feedHosts-1 {
		t.Errorf("%d stations, want %d", n, feedHosts)
	}
	list, _, _ := f.since(0, &filter{}, 1<<30)
	if len(list) != feedKept || len(list[0].Reason) > shownText+2 {
		t.Errorf("%d decisions are kept, the latest with a reason of %d bytes", len(list), len(list[0].Reason))
	}
	var one feed
	for i := range 100 { // one station everywhere
		one.put(decided(start, uint32(i), flow.Allow, func(r *bridge.Record) {
			r.Switch.DPID = flow.DPID(i)
			r.Event.PacketIn.Match.IPSrc = flowtest.TCP(80).Match.IPSrc
		}), nil)
	}
	if s := one.stations(); len(s) != 1 || len(s[0].Ports) != hostPorts || s[0].Ports[0].DPID != "0000000000000063" || len(s[0].IPs) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestFeedTells(t *testing.T) {
	var f feed
	now := time.Unix(1000, 0)
	f.put(decided(now, 4, flow.Allow, func(r *bridge.Record) { r.Decision.Calls, r.Trace = 2, "abc" }), nil)
	away := errors.New("away")
	f.put(decided(now, 6, flow.Deny, func(r *bridge.Record) { r.Decision.Failure, r.Decision.Reason = away, "fail mode" }), away)
	f.put(decided(now, 8, flow.NoVerdict, func(r *bridge.Record) { r.Err = away }), away)
	d, ok := f.decision(4)
	if !ok || d.Verdict != "allow" || d.Calls != 2 || d.Trace != "abc" || len(d.Rules) != 1 || !strings.Contains(d.Target, ":80") {
		t.Errorf("%+v", d)
	}
	if d, _ := f.decision(6); d.Verdict != "failed" || d.Reason != "fail mode away" {
		t.Errorf("%+v", d)
	}
	if d, _ := f.decision(8); d.Verdict != "failed" || d.Reason != "away" {
		t.Errorf("%+v", d)
	}
	if _, ok := f.decision(5); ok {
		t.Error("a decision that was not made")
	}
	for q, want := range map[filter]int{{}: 3, {verdict: "failed"}: 2, {host: d.Source[:5]}: 3, {host: "192.0.2.1"}: 0, {port: d.Port}: 3, {port: "77"}: 0, {dpid: d.DPID}: 3, {dpid: "1"}: 0} {
		if list, _, _ := f.since(0, &q, 10); len(list) != want {
			t.Errorf("%+v: %d, want %d", q, len(list), want)
		}
	}
}

// operated runs a gateway with an operator's side and returns its URL.
func operated(t *testing.T, adapt func(*settings.Settings)) (*Gateway, string) {
	set := settings.Default()
	set.Function.URLs = []string{settings.Native}
	if adapt != nil {
		adapt(set)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(set, Options{Listeners: []net.Listener{}, Admin: l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
		if took := time.Since(began); took > 900*time.Millisecond { // what Shutdown waits for before it cuts streams off
			t.Errorf("the gateway took %v to end", took)
		}
	})
	return g, "http://" + l.Addr().String()
}

// The stream tells what happens, to so many readers, and ends with the gateway.
func TestStream(t *testing.T) {
	g, url := operated(t, nil)
	open := func() *http.Response {
		t.Helper()
		resp, err := http.Get(url + "/api/v1/decisions/stream?verdict=deny")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	next := func(r *bufio.Reader) (b Batch) {
		t.Helper()
		line, err := r.ReadString('\n')
		if blank, _ := r.ReadString('\n'); err != nil || blank != "\n" || json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &b) != nil {
			t.Fatalf("%q %v", line, err)
		}
		return b
	}
	g.recorder.observe(decided(time.Now(), 2, flow.Deny, nil))
	resp := open()
	if typ := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || typ != "text/event-stream" {
		t.Fatalf("%s %s", resp.Status, typ)
	}
	r := bufio.NewReader(resp.Body)
	if b := next(r); len(b.Decisions) != 1 || b.Decisions[0].Decision != 2 || b.Totals.Deny != 1 {
		t.Errorf("what was there before: %+v", b)
	}
	for i := range 30 {
		g.recorder.observe(decided(time.Now(), uint32(4+2*i), flow.Deny, nil))
	}
	g.recorder.observe(decided(time.Now(), 100, flow.Allow, nil))
	got, left := 0, 0
	for got+left < 30 {
		b := next(r)
		got, left = got+len(b.Decisions), left+b.LeftOut
		for _, d := range b.Decisions {
			if d.Verdict != "deny" {
				t.Errorf("%+v", d)
			}
		}
	}
	for range maxStreams - 1 {
		open()
	}
	if resp := open(); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one reader too many: %s", resp.Status)
	}
	resp.Body.Close() // makes room
	for end := time.Now().Add(10 * time.Second); open().StatusCode != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no room after a reader has gone")
		}
	}
}

// The page and its API are for whoever calls the gateway by a name of its own, and
// other sites can't have a browser act.
func TestPageIsGuarded(t *testing.T) {
	_, url := operated(t, nil)
	for _, tc := range []struct {
		method, path, host string
		header             map[string]string
		want               int
		has                string
	}{
		{"GET", "/", "", nil, 200, "<title>Switchbridge</title>"},
		{"GET", "/page/page.js", "", nil, 200, "EventSource"},
		{"GET", "/page/page.go", "", nil, 404, ""},
		{"GET", "/page/../page.go", "", nil, 404, ""},
		{"GET", "/", "evil.example", nil, 421, ""},
		{"GET", "/page/page.js", "evil.example", nil, 421, ""},
		{"GET", "/api/v1/decisions/stream", "evil.example", nil, 421, ""},
		{"GET", "/api/v1/decisions/x", "", nil, 400, "want a number"},
		{"GET", "/api/v1/decisions/5", "", nil, 404, "log.records"},
		{"POST", "/api/v1/reload", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, ""},
		{"POST", "/api/v1/reload", "", map[string]string{"Origin": "https://evil.example"}, 403, ""},
		{"POST", "/api/v1/reload", "", map[string]string{"Sec-Fetch-Site": "same-origin"}, 403, "switched off"},
	} {
		r, err := http.NewRequest(tc.method, url+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tc.host
		for k, v := range tc.header {
			r.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body := new(strings.Builder)
		_, err = bufio.NewReader(resp.Body).WriteTo(body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.want || !strings.Contains(body.String(), tc.has) {
			t.Errorf("%s %s as %q with %v: %s %v, want %d and %q", tc.method, tc.path, tc.host, tc.header, resp.Status, err, tc.want, tc.has)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); tc.want == 200 && (!strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe")) {
			t.Errorf("%s: %q", tc.path, csp)
		}
	}
}

// The policy is shown as its file says it, and never another text than what decides.
func TestPolicyText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "serial: 1\nchain:\n  - header: {rules: [{name: x, match: {tcp_dst: 81}, action: deny}]}\n  - forward: {mode: normal}\n"
	write(good)
	set := settings.Default()
	set.Function.URLs, set.Policy, set.Admin.Listen = []string{settings.Native}, path, ""
	g, err := New(set, Options{Listeners: []net.Listener{}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ask := func(g *Gateway) (p PolicyText, status int) {
		w := httptest.NewRecorder()
		g.adminHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/policy", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return p, w.Code
	}
	p, _ := ask(g)
	if p.Text != good || p.Why != "" || p.File != "p.yaml" || fmt.Sprint(p.Entries[0].Kind, p.Entries[0].Line, p.Entries[1].Kind, p.Entries[1].Line) != "header3forward4" {
		t.Errorf("%+v", p)
	}
	g.shownPolicy.Store(nil)
	write(strings.Replace(good, "deny", "allow", 1)) // and nobody has read it yet
	if p, _ := ask(g); p.Text != "" || p.Why == "" {
		t.Errorf("%+v", p)
	}
	set.Policy = ""
	none, err := New(set, Options{Listeners: []net.Listener{}})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, status := ask(none); status != http.StatusNotFound {
		t.Errorf("without a file: %d", status)
	}
}
