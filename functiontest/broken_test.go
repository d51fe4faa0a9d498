package functiontest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
)

// ours is our own function, which keeps the contract. It takes a while to make.
var ours = controller.New(conformance.Stateless())

// good asks it without a network.
func good(t *testing.T) functiontest.Exchange {
	t.Helper()
	h, err := httphost.New(httphost.Config{Decider: ours, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
		for name, values := range header {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Header(), w.Body.Bytes(), nil
	}
}

// event is what a broken function reads of a request in JSON.
type event struct {
	Type    string
	ID      string
	Header  http.Header
	Switch  map[string]any `json:"switch"`
	Packet  map[string]any `json:"packet_in"`
	State   string         `json:"state"`
	Accepts []string       `json:"accepts"`
}

func (e *event) is(t flow.EventType) bool { return e.Type == t.String() }

// reply is an answer that a broken function changes.
type reply struct {
	status int
	header http.Header
	d      map[string]any
	body   []byte // in place of d, where not nil
	err    error
}

// spoil makes a function that answers as good does, in JSON alone, but for what change does to it.
func spoil(good functiontest.Exchange, change func(e *event, r *reply)) functiontest.Exchange {
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		canonical := http.Header{}
		for name, values := range header {
			canonical[http.CanonicalHeaderKey(name)] = values
		}
		if canonical.Get("Content-Type") == contract.TypeOpenFlow {
			return http.StatusUnsupportedMediaType, http.Header{}, nil, nil
		}
		var r reply
		var answer []byte
		r.status, r.header, answer, r.err = good(ctx, header, body)
		e := event{Type: canonical.Get(contract.HeaderType), ID: canonical.Get(contract.HeaderID), Header: header}
		_ = json.Unmarshal(body, &e) // bad input is not read
		if r.status == http.StatusOK && len(answer) > 0 {
			if err := json.Unmarshal(answer, &r.d); err != nil {
				return 0, nil, nil, err
			}
		} else {
			r.body = answer
		}
		change(&e, &r)
		if r.err != nil || r.body != nil {
			return r.status, r.header, r.body, r.err
		}
		answer, err := json.Marshal(r.d)
		return r.status, r.header, answer, err
	}
}

// decides reports whether the reply is a decision about a packet.
func (r *reply) decides(e *event) bool {
	return r.status == http.StatusOK && e.Packet != nil && r.d != nil
}

var allow = []any{map[string]any{"type": "OUTPUT", "port": "NORMAL"}}

// broken are functions that break one rule each: the check that must find it, and what is broken.
var broken = []struct {
	check  string
	what   string
	warns  bool // the contract says should, so that only --strict fails it
	change func() func(e *event, r *reply)
}{
	{"packet_in", "fails for P4", false, always(func(e *event, r *reply) {
		if e.Switch["protocol"] == "P4Runtime" {
			r.status = 500
		}
	})},
	{"packet_in", "refuses all of OpenFlow 1.0", false, always(func(e *event, r *reply) {
		if e.Switch["protocol"] == "OpenFlow 1.0" {
			r.status, r.body = 400, []byte("no")
		}
	})},
	{"packet_in", "answers in another content type", false, always(func(e *event, r *reply) {
		if r.decides(e) {
			r.header.Set("Content-Type", "text/json")
		}
	})},
	{"packet_in", "compresses", false, always(func(e *event, r *reply) {
		if r.decides(e) {
			r.header.Set("Content-Encoding", "gzip")
		}
	})},
	{"packet_in", "wants a token", false, always(func(e *event, r *reply) { r.status, r.body = 401, []byte("who are you?") })},
	{"packet_in", "answers more than the contract takes", false, always(func(e *event, r *reply) {
		if r.decides(e) {
			r.body = bytes.Repeat([]byte(" "), flow.MaxBody+1)
		}
	})},
	{"packet_in", "is always busy", false, always(func(e *event, r *reply) {
		if e.Packet != nil {
			r.status = 429
		}
	})},
	{"switch_connected", "is away", false, onEvent(flow.EventSwitchConnected, func(r *reply) { r.status = 503 })},
	{"switch_connected", "sends a packet out", true, onEvent(flow.EventSwitchConnected, func(r *reply) { r.d["packet_out"] = map[string]any{"actions": allow} })},
	{"flow_removed", "answers no JSON", false, onEvent(flow.EventFlowRemoved, func(r *reply) { r.body = []byte("<html>") })},
	{"port_status", "answers with a member that is none", false, onEvent(flow.EventPortStatus, func(r *reply) { r.d["flow"] = []any{} })},
	{"error", "closes the connection", false, onEvent(flow.EventError, func(r *reply) { r.err = errors.New("EOF") })},
	{"policy_check", "redirects", false, onEvent(flow.EventPolicyCheck, func(r *reply) { r.status = 302 })},
	{"handshake", "asks for no features", false, onEvent(flow.EventHandshake, func(r *reply) { r.d["handshake"] = "BAAACAAAAAE=" })},
	{"rules", "opens a port", false, always(func(e *event, r *reply) {
		if r.decides(e) {
			r.d["flows"] = []any{map[string]any{"priority": 100, "idle_timeout": 30, "match": map[string]any{"in_port": 1}, "actions": allow}}
			r.d["packet_out"] = map[string]any{"actions": allow}
			delete(r.d, "if_reply")
			delete(r.d, "reuse")
			delete(r.d, "reply")
		}
	})},
	{"rules", "answers OpenFlow 1.0 with what it can't say", false, always(func(e *event, r *reply) {
		if r.decides(e) && e.Switch["protocol"] == "OpenFlow 1.0" {
			r.d["packet_out"] = map[string]any{"actions": []any{map[string]any{"type": "PUSH_VLAN", "ethertype": 33024}}}
		}
	})},
	{"verdict", "says allow and drops", false, always(func(e *event, r *reply) {
		if r.decides(e) && r.header.Get(contract.HeaderVerdict) == "allow" {
			r.d = map[string]any{"packet_out": map[string]any{"actions": []any{}}}
		}
	})},
	{"verdict", "has none", true, always(func(e *event, r *reply) { r.header.Del(contract.HeaderVerdict); delete(r.d, "verdict") })},
	{"accepts", "says reuse to whoever asks", false, always(func(e *event, r *reply) {
		if r.decides(e) && len(e.Accepts) == 1 {
			r.d["reuse"] = map[string]any{"seconds": 5, "fields": []any{"eth_type", "ipv4_src", "ipv4_dst", "switch", "in_port"}}
		}
	})},
	{"accepts", "says covers_incomplete to whoever asks", false, always(func(e *event, r *reply) {
		if flows, _ := r.d["flows"].([]any); r.decides(e) && len(e.Accepts) <= 1 && len(flows) > 0 {
			flows[0].(map[string]any)["covers_incomplete"] = false
		}
	})},
	{"accepts", "says revoke to whoever asks", false, always(func(e *event, r *reply) {
		if r.decides(e) && len(e.Accepts) == 1 {
			r.d["revoke"] = []any{"x"}
		}
	})},
	{"incomplete", "lets every fragment pass", false, always(func(e *event, r *reply) {
		if list, _ := e.Packet["incomplete"].([]any); r.decides(e) && len(list) > 0 {
			r.d = map[string]any{"packet_out": map[string]any{"actions": allow}}
		}
	})},
	{"incomplete", "makes rules for every fragment", false, always(func(e *event, r *reply) {
		if list, _ := e.Packet["incomplete"].([]any); r.decides(e) && len(list) > 0 && slices.Contains(e.Accepts, "covers_incomplete") {
			m := e.Packet["match"].(map[string]any)
			r.d = map[string]any{"flows": []any{map[string]any{"priority": 100, "hard_timeout": 2, "covers_incomplete": true, "actions": []any{},
				"match": map[string]any{"in_port": m["in_port"], "eth_src": m["eth_src"], "eth_dst": m["eth_dst"]}}}}
		}
	})},
	{"reply", "says if_reply of what it allows", false, always(func(e *event, r *reply) {
		if r.decides(e) && r.header.Get(contract.HeaderVerdict) == "allow" && slices.Contains(e.Accepts, "reply") {
			delete(r.d, "reuse")
			delete(r.d, "reply")
			r.d["if_reply"] = map[string]any{"packet_out": map[string]any{"actions": allow}}
		}
	})},
	{"reply", "denies all of a host beside if_reply", false, always(func(e *event, r *reply) {
		if r.decides(e) && r.d["if_reply"] != nil {
			r.d["flows"] = []any{map[string]any{"priority": 100, "hard_timeout": 2, "match": map[string]any{"in_port": 1}, "actions": []any{}}}
		}
	})},
	{"reuse", "leaves out the port that it goes by", false, always(func(e *event, r *reply) {
		if r.decides(e) && slices.Contains(e.Accepts, "reuse") && r.d["if_reply"] == nil {
			r.d["reuse"] = map[string]any{"seconds": 5, "fields": []any{"eth_type", "ip_proto", "ipv4_src", "ipv4_dst"}}
			delete(r.d, "reply")
		}
	})},
	{"reuse", "promises a reply that it allows anyway", false, always(func(e *event, r *reply) {
		if r.decides(e) && slices.Contains(e.Accepts, "reuse") && r.header.Get(contract.HeaderVerdict) == "allow" {
			r.d["reuse"] = map[string]any{"seconds": 5, "fields": []any{"switch", "in_port", "eth_src", "eth_dst", "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "vlan_vid"}}
			r.d["reply"] = map[string]any{"packet_out": map[string]any{"actions": allow}}
		}
	})},
	{"states", "counts versions down", false, func() func(*event, *reply) {
		var version atomic.Int64
		version.Store(1 << 40)
		return func(e *event, r *reply) {
			if r.decides(e) && slices.Contains(e.Accepts, "revoke") {
				r.d["states"] = []any{map[string]any{"state": "x", "version": version.Add(-1)}}
				delete(r.d, "reuse")
				delete(r.d, "reply")
			}
		}
	}},
	{"state", "trusts the state that comes back", false, always(func(e *event, r *reply) {
		if r.decides(e) {
			delete(r.d, "reuse")
			delete(r.d, "reply")
			r.d["state"] = "c3RhdGU="
			if e.State != "" && e.State != "c3RhdGU=" {
				r.status = 500
			}
		}
	})},
	{"stateful", "says so of every other event", true, always(func(e *event, r *reply) {
		if e.is(flow.EventPortStatus) {
			r.header.Set(contract.HeaderStateful, "true")
		}
	})},
	{"policy", "has another version each time", false, func() func(*event, *reply) {
		var serial atomic.Int64
		return func(e *event, r *reply) {
			if r.status == http.StatusOK {
				r.header.Set(contract.HeaderPolicy, fmt.Sprintf("%d-0c0ffee1", serial.Add(1)))
			}
		}
	}},
	{"policy", "has no version", true, always(func(e *event, r *reply) { r.header.Del(contract.HeaderPolicy); delete(r.d, "policy") })},
	{"repeat", "refuses what it has seen", false, func() func(*event, *reply) {
		var seen sync.Map
		return func(e *event, r *reply) {
			if _, again := seen.LoadOrStore(e.ID, true); again {
				r.status, r.body = 409, []byte("seen")
			}
		}
	}},
	{"concurrency", "keeps the event in a global variable", false, func() func(*event, *reply) {
		var mu sync.Mutex
		var global map[string]any
		return func(e *event, r *reply) {
			if !r.decides(e) {
				return
			}
			mu.Lock()
			global = r.d
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			r.d = global
			mu.Unlock()
		}
	}},
	{"newer gateway", "refuses members that it does not know", false, always(func(e *event, r *reply) {
		if e.Packet["unheard_of"] != nil {
			r.status, r.body = 400, []byte("unheard of")
		}
	})},
	{"newer gateway", "looks at the case of headers", false, always(func(e *event, r *reply) {
		if e.Header[contract.HeaderID] == nil {
			r.status, r.body = 400, []byte("no id")
		}
	})},
	{"newer gateway", "passes over headers of a packet", true, always(func(e *event, r *reply) {
		if m, _ := e.Packet["match"].(map[string]any); m["unheard_of"] != nil {
			r.status, r.body = 200, []byte("{}")
			r.header = http.Header{"Content-Type": {contract.TypeJSON}}
		}
	})},
	{"bad input", "breaks on what it can't read", false, always(func(e *event, r *reply) {
		if r.status == 400 {
			r.status = 500
		}
	})},
	{"bad input", "decides what it can't read", false, always(func(e *event, r *reply) {
		if r.status == 400 {
			r.status, r.body, r.header = 200, []byte("{}"), http.Header{"Content-Type": {contract.TypeJSON}}
		}
	})},
	{"bad input", "reads bodies of any size", true, always(func(e *event, r *reply) {
		if r.status == 413 {
			r.status = 200
		}
	})},
	{"latency", "takes its time", false, always(func(e *event, r *reply) { time.Sleep(time.Second) })},
}

func always(change func(e *event, r *reply)) func() func(*event, *reply) {
	return func() func(*event, *reply) { return change }
}

func onEvent(t flow.EventType, change func(*reply)) func() func(*event, *reply) {
	return always(func(e *event, r *reply) {
		if e.is(t) && r.status == http.StatusOK {
			change(r)
		}
	})
}

// TestBroken: of every check there is a function that breaks what it looks at, and fails it.
func TestBroken(t *testing.T) {
	tried := make(map[string]bool)
	for _, row := range broken {
		tried[row.check] = true
		t.Run(row.check+"/"+row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				results := functiontest.Run(t.Context(), functiontest.Config{Exchange: spoil(good(t), row.change()), Checks: []string{row.check}, Samples: 10, MaxLatency: 100 * time.Millisecond})
				i := slices.IndexFunc(results, func(r functiontest.Result) bool { return r.Encoding == "json" && r.Check == row.check })
				if i < 0 {
					t.Fatalf("no result of that check in %+v", results)
				}
				want := functiontest.Failed
				if row.warns {
					want = functiontest.Warned
				}
				if r := results[i]; r.Status != want || len(r.Details) == 0 {
					t.Errorf("%v, want %v: %q", r.Status, want, r.Details)
				}
				if got := functiontest.AnyFailed(results, true); !got || functiontest.AnyFailed(results, false) == row.warns {
					t.Errorf("strict: failed %v; else: failed %v", got, !row.warns)
				}
			})
		})
	}
	for _, r := range functiontest.Run(t.Context(), functiontest.Config{Exchange: good(t)}) {
		if r.Status == functiontest.Failed || r.Status == functiontest.Warned {
			t.Errorf("our own function: %+v", r)
		}
		if !tried[r.Check] && r.Check != "encodings agree" && r.Check != "encoding" {
			t.Errorf("no function breaks what %q looks at", r.Check)
		}
	}
}

// The two encodings of one function must decide alike, and what is asked for must be spoken.
func TestEncodings(t *testing.T) {
	both := good(t)
	denies := spoil(both, func(e *event, r *reply) {
		if r.decides(e) {
			r.d = map[string]any{"packet_out": map[string]any{"actions": []any{}}}
		}
	})
	two := func(ctx context.Context, h http.Header, body []byte) (int, http.Header, []byte, error) {
		if h.Get("Content-Type") == contract.TypeJSON {
			return denies(ctx, h, body)
		}
		return both(ctx, h, body)
	}
	jsonOnly := spoil(both, func(*event, *reply) {})
	neither := func(context.Context, http.Header, []byte) (int, http.Header, []byte, error) {
		return 415, http.Header{}, nil, nil
	}
	for _, row := range []struct {
		name, encoding, check string
		exchange              functiontest.Exchange
		want                  []string
		status                functiontest.Status
	}{
		{"they decide differently", "json", "encodings agree", two, nil, functiontest.Failed},
		{"only JSON", "openflow", "encoding", jsonOnly, nil, functiontest.Skipped},
		{"only JSON, and both are wanted", "openflow", "encoding", jsonOnly, []string{"openflow", "json"}, functiontest.Failed},
		{"neither", "any", "encoding", neither, nil, functiontest.Failed},
	} {
		t.Run(row.name, func(t *testing.T) {
			results := functiontest.Run(t.Context(), functiontest.Config{Exchange: row.exchange, Encodings: row.want})
			if !slices.ContainsFunc(results, func(r functiontest.Result) bool {
				return r.Encoding == row.encoding && r.Check == row.check && r.Status == row.status
			}) {
				t.Errorf("no %s, %s: %v in %+v", row.encoding, row.check, row.status, results)
			}
		})
	}
}

// A test that ends early says so, and fails.
func TestEndsEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if results := functiontest.Run(ctx, functiontest.Config{Exchange: good(t)}); !functiontest.AnyFailed(results, false) {
		t.Errorf("%+v", results)
	}
}

func TestReports(t *testing.T) {
	results := []functiontest.Result{
		{Encoding: "json", Check: "rules", About: "rules are good", Status: functiontest.Failed, Asked: 3, Details: []string{"a <rule>", "b"}, More: 2, Took: time.Second},
		{Encoding: "json", Check: "policy", About: "versions", Status: functiontest.Warned, Asked: 1, Details: []string{"none"}},
		{Encoding: "openflow", Check: "encoding", About: "spoken", Status: functiontest.Skipped, Details: []string{"415"}},
	}
	var table, junit, strict bytes.Buffer
	if err := functiontest.WriteTable(&table, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"json      rules     FAILED   3", "a <rule>", "and 2 more", "warning", "skipped"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, &table)
		}
	}
	if err := errors.Join(functiontest.WriteJUnit(&junit, results, false), functiontest.WriteJUnit(&strict, results, true)); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Skipped  int    `xml:"skipped,attr"`
			Cases    []struct {
				Name    string  `xml:"name,attr"`
				Time    float64 `xml:"time,attr"`
				Failure string  `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(junit.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Suites) != 2 || doc.Suites[0].Tests != 2 || doc.Suites[0].Failures != 1 || doc.Suites[1].Skipped != 1 ||
		doc.Suites[0].Cases[0].Failure != "a <rule>\nb\nand 2 more" || doc.Suites[0].Cases[0].Time != 1 {
		t.Errorf("%+v\n%s", doc, &junit)
	}
	if !strings.Contains(strict.String(), `failures="2"`) {
		t.Errorf("a warning is no failure with strict:\n%s", &strict)
	}
}

// TestPage: docs/functions.md lists every check, in order.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(page)
	for _, r := range functiontest.Run(t.Context(), functiontest.Config{Exchange: good(t), Encodings: []string{"openflow"}}) {
		if r.Encoding != "openflow" {
			continue
		}
		about, section, _ := strings.Cut(strings.TrimSuffix(r.About, ")"), " (#")
		row := fmt.Sprintf("| `%s` | %s ([contract](contract.md#%s)) |\n", r.Check, about, section)
		_, after, ok := strings.Cut(rest, row)
		if !ok {
			t.Errorf("docs/functions.md has no %s, or not in its place", row)
			continue
		}
		rest = after
	}
}
