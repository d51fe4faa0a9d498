//go:build unix

package workershost_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
	"switchbridge/internal/built"
)

// post sends a body of unknown length when chunked.
func post(t *testing.T, w *workerstest.Worker, header http.Header, body []byte, chunked bool) (int, http.Header, string) {
	t.Helper()
	var reader io.Reader = bytes.NewReader(body)
	if chunked {
		reader = io.MultiReader(reader) // http.NewRequest can't see its length
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// wantDenied asks for a decision and fails unless there is the right one.
func wantDenied(t *testing.T, w *workerstest.Worker) {
	t.Helper()
	header, body := blockedSource(t, openflow.Codec{})
	header.Set("Authorization", "Bearer "+workerstest.Token)
	if status, answer, text := post(t, w, header, body, false); status != 200 || answer.Get(contract.HeaderVerdict) != "deny" {
		t.Errorf("the next event: %d %v %.200q\n%s", status, answer, text, w.Logs())
	}
}

func TestFaults(t *testing.T) {
	good := packed(t, conformance.Policy())
	edited := func(at int) []byte {
		b := bytes.Clone(good)
		b[at]++
		return b
	}
	w := workerstest.Start(t, workerstest.Options{Policy: good})
	large := make([]byte, guest.MaxBody+1)
	for _, row := range []struct {
		name    string
		policy  []byte
		token   string
		body    []byte // nil: a good event's
		chunked bool
		status  int
		text    string
	}{
		{"no token", good, "", nil, false, 401, "no valid bearer token"},
		{"wrong token", good, workerstest.Token + "0", nil, false, 401, "no valid bearer token"},
		{"next token", good, workerstest.NextToken, nil, false, 200, ""},
		{"in chunks", good, workerstest.Token, nil, true, 200, ""},
		{"garbage", good, workerstest.Token, []byte("garbage"), false, 400, "switchbridge.packet_in.v1"},
		{"no body", good, workerstest.Token, []byte{}, false, 400, "switchbridge.packet_in.v1"},
		{"large", good, workerstest.Token, large, false, 413, "body of more than 1048576 bytes"},
		{"large in chunks", good, workerstest.Token, large, true, 413, "body of more than 1048576 bytes"},
		{"no policy", nil, workerstest.Token, nil, false, 503, "namespace POLICY has no key policy.blob"},
		{"policy cut short", good[:len(good)/2], workerstest.Token, nil, false, 503, "cut short"},
		{"policy of another version", edited(3), workerstest.Token, nil, false, 503, "another version"},
		{"policy damaged", edited(len(good) - 1), workerstest.Token, nil, false, 503, "checksum"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.SetPolicy(t, row.policy)
			header, body := blockedSource(t, openflow.Codec{})
			if row.token != "" {
				header.Set("Authorization", "Bearer "+row.token)
			}
			if row.body != nil {
				body = row.body
			}
			if status, _, text := post(t, w, header, body, row.chunked); status != row.status || row.status != 200 && !strings.Contains(text, row.text) {
				t.Errorf("%d %.200s; want %d with %q", status, text, row.status, row.text)
			}
			w.SetPolicy(t, good)
			wantDenied(t, w)
		})
	}
	t.Run("a store that fails", func(t *testing.T) {
		w.BreakPolicy(t)
		header, body := blockedSource(t, openflow.Codec{})
		header.Set("Authorization", "Bearer "+workerstest.Token)
		if status, _, text := post(t, w, header, body, false); status != 503 || !strings.Contains(text, "KV GET failed") {
			t.Errorf("%d %.200s", status, text)
		}
		w.SetPolicy(t, good)
		wantDenied(t, w)
	})
	t.Run("a client that stops in the middle", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(w.URL, "http:"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: f\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\nhalf", workerstest.Token)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		wantDenied(t, w)
	})
}

// A policy_check tells the version that the next event is decided by.
func TestPolicyChange(t *testing.T) {
	p := conformance.Policy()
	w := workerstest.Start(t, workerstest.Options{Policy: packed(t, p)})
	decider := functiontest.Client(jsonenc.Codec{}, w.Exchange)
	for range 3 {
		w.SetPolicy(t, packed(t, p))
		var d flow.Decision
		if err := decider.Decide(t.Context(), &flow.Event{Type: flow.EventPolicyCheck, ID: "1"}, &d); err != nil || d.Policy != p.Version() {
			t.Errorf("version %s, %v; want %s", d.Policy, err, p.Version())
		}
		p.Serial++
	}
}

// Requests of one isolate take turns at every promise: each must get its own answer, and leave its
// own record.
func TestConcurrent(t *testing.T) {
	w := workerstest.Start(t, workerstest.Options{Policy: packed(t, conformance.Policy())})
	c := controller.New(conformance.Policy())
	decider := functiontest.Client(openflow.Codec{}, w.Exchange)
	const callers = 8
	cases := conformance.Cases()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range cases {
				row := cases[(i*5+j)%len(cases)]
				var want, got flow.Decision
				if err := c.Decide(t.Context(), row.Event, &want); err != nil {
					t.Error(err)
				}
				if err := decider.Decide(t.Context(), row.Event, &got); err != nil {
					t.Errorf("%s: %v", row.Name, err)
				} else if got.Verdict != want.Verdict || got.Reason != want.Reason || len(got.Rules) != len(want.Rules) {
					t.Errorf("%s: %+v, want %+v", row.Name, got, want)
				}
			}
		})
	}
	wg.Wait()
	// Records come by a pipe.
	want, records := callers*len(cases), 0
	for end := time.Now().Add(10 * time.Second); records != want && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		records = 0
		for line := range strings.Lines(w.Logs()) {
			if conformance.CheckRecord([]byte(line)) == nil {
				records++
			}
		}
	}
	if lines := strings.Count(w.Logs(), "\n"); records != want || lines != want {
		t.Errorf("%d records in %d lines, want %d", records, lines, want)
	}
}

func TestLogFails(t *testing.T) {
	w := workerstest.Start(t, workerstest.Options{
		Policy:  packed(t, conformance.Policy()),
		Prelude: "console.log = () => { throw new Error('disk full'); };\n",
	})
	wantDenied(t, w)
	if strings.Contains(w.Logs(), "verdict") {
		t.Errorf("the log doesn't fail: %s", w.Logs())
	}
}

func TestInstancePerRequest(t *testing.T) {
	w := workerstest.Start(t, workerstest.Options{Wasm: built.Worker(t, "switchbridge/faas/platform/workershost/testdata/count")})
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(w.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, row := range []struct {
		path   string
		status int
		body   string
	}{{"", 200, "1"}, {"", 200, "1"}, {"exit", 500, "function failed\n"}, {"", 200, "1"}} {
		if status, body := get(row.path); status != row.status || body != row.body {
			t.Errorf("/%s: %d %q, want %d %q", row.path, status, body, row.status, row.body)
		}
	}
}

// module is WebAssembly with a memory and an exported function run(i32, i32) of these instructions.
func module(instructions ...byte) []byte {
	body := append(append([]byte{0}, instructions...), 0x0b) // no locals, end
	code := append([]byte{1, byte(len(body))}, body...)
	wasm := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x06\x01\x60\x02\x7f\x7f\x00" + // types: (i32, i32) -> ()
		"\x03\x02\x01\x00" + // functions: one of that type
		"\x05\x03\x01\x00\x01" + // memories: one of a page
		"\x07\x0d\x02\x03mem\x02\x00\x03run\x00\x00") // exports
	return append(append(wasm, 0x0a, byte(len(code))), code...)
}

func TestBrokenFunctions(t *testing.T) {
	for _, row := range []struct {
		name string
		wasm []byte
	}{
		{"traps", module(0x00)},         // unreachable
		{"never answers", module(0x01)}, // nop: it returns and waits for nothing
	} {
		t.Run(row.name, func(t *testing.T) {
			w := workerstest.Start(t, workerstest.Options{Wasm: row.wasm})
			for range 2 { // the Worker stays up
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				status, _, body, err := w.Exchange(ctx, http.Header{}, nil)
				if err != nil || status != 500 {
					t.Errorf("%d %s, %v\n%s", status, body, err, w.Logs())
				}
			}
		})
	}
}

// One event at a time over a connection on loopback: what an instance for each costs.
func BenchmarkWorkerd(b *testing.B) {
	w := workerstest.Start(b, workerstest.Options{Policy: packed(b, conformance.Policy())})
	header, body := blockedSource(b, openflow.Codec{})
	ask := func() {
		if status, _, answer, err := w.Exchange(b.Context(), header, body); err != nil || status != 200 {
			b.Fatalf("%d %s, %v", status, answer, err)
		}
	}
	for range 200 { // V8 compiles what is hot, beside the first requests
		ask()
	}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		ask()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for _, percent := range []int{50, 99} {
		b.ReportMetric(took[len(took)*percent/100].Seconds()*1e3, fmt.Sprintf("ms-p%d", percent))
	}
}
