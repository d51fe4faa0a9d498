package fastlyhost_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest/conformance"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/blocklist"
)

const (
	token    = "0123456789abcdef"
	newToken = "fedcba9876543210"
)

// host is for cmd/function-fastly as it is deployed.
func host(t testing.TB) *fastlytest.Host {
	t.Helper()
	return fastlytest.Build(t, "switchbridge/cmd/function-fastly")
}

// logs keeps the lines of an endpoint.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logs) last(t *testing.T) (record map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		t.Fatal("no decision record")
	}
	line := l.lines[len(l.lines)-1]
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		t.Fatalf("record %q: %v", line, err)
	}
	return record
}

// service is a service that has p, laid out as policy push does.
func service(t testing.TB, p *policy.Policy) (*fastlytest.Service, *logs) {
	t.Helper()
	compiled, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return serviceWith(t, compiled)
}

func serviceWith(t testing.TB, compiled []byte) (*fastlytest.Service, *logs) {
	t.Helper()
	entries, err := fastlyhost.Entries(compiled)
	if err != nil {
		t.Fatal(err)
	}
	l := new(logs)
	s := &fastlytest.Service{
		Config:  map[string]map[string]string{fastlyhost.ConfigStore: {}},
		Secrets: map[string]map[string]string{fastlyhost.SecretStore: {fastlyhost.KeyTokens: token + "\n" + newToken + "\n"}},
		KV:      map[string]*fastlytest.KVStore{fastlyhost.KVStore: {}},
		Logs:    map[string]io.Writer{fastlyhost.LogEndpoint: l},
	}
	for _, e := range entries {
		if e.Store == fastlyhost.InConfig {
			s.Config[fastlyhost.ConfigStore][e.Key] = e.Value
		} else if _, err := s.KV[fastlyhost.KVStore].Put(e.Key, fastlytest.KVWrite{Value: []byte(e.Value)}); err != nil {
			t.Fatal(err)
		}
	}
	return s, l
}

// larger is the suite's policy without its machines and with so many more addresses, which take more entries.
func larger(addresses int) *policy.Policy {
	p := conformance.Policy()
	p.Chain = slices.DeleteFunc(p.Chain, func(s policy.Source) bool { _, ok := s.(policy.Remembering); return ok })
	list := &p.Chain[0].(*blocklist.Config).Lists[0]
	for n := range addresses {
		// Far apart, so that no encoding makes little of them.
		v := crc32.ChecksumIEEE(fmt.Append(nil, n))
		a := netip.AddrFrom4([4]byte{203, byte(v >> 16), byte(v >> 8), byte(v)})
		list.Prefixes = append(list.Prefixes, netip.PrefixFrom(a, 32))
	}
	return p
}

func packetIn() *flow.Event {
	for _, c := range conformance.Cases() {
		if c.Name == "OpenFlow 1.3/denied port" {
			return c.Event
		}
	}
	panic("the conformance suite has no such case")
}

func request(t testing.TB, codec contract.Codec, ev *flow.Event) *fastlytest.Request {
	t.Helper()
	r := &fastlytest.Request{Header: http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {codec.ContentType()}}}
	contract.PutEvent(r.Header, ev)
	var err error
	if r.Body, err = codec.AppendEvent(nil, ev); err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t testing.TB, s *fastlytest.Service, r *fastlytest.Request) *fastlytest.Response {
	t.Helper()
	resp, err := host(t).Do(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// wellDecided fails unless the service decides an event.
func wellDecided(t testing.TB, s *fastlytest.Service) *fastlytest.Response {
	t.Helper()
	resp := do(t, s, request(t, openflow.Codec{}, packetIn()))
	if resp.Status != 200 || resp.Header.Get(contract.HeaderVerdict) != "deny" || !strings.Contains(resp.Header.Get(contract.HeaderReason), "no ssh") {
		t.Errorf("status %d, %v: %.300s", resp.Status, resp.Header, resp.Body)
	}
	return resp
}

// TestStores has policies of every layout, and counts what they take.
func TestStores(t *testing.T) {
	for _, row := range []struct {
		name      string
		addresses int
		machines  bool
		entries   int // in the config store
		lookups   int
		kv        bool
	}{
		{"one entry", 0, false, 1, 3, false}, // the token, and the entry twice: see MaxParts
		{"500 addresses", 500, false, 1, 3, false},
		{"parts", 5000, false, 3, 6, false},
		{"all parts", 20000, false, fastlyhost.MaxParts + 1, fastlyhost.MaxLookups, false},
		{"KV store", 30000, false, 1, 3, true},
		{"machines", 0, true, 1, 4, false}, // and the keys of states
		{"machines, KV store", 5000, true, 1, 4, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := larger(row.addresses)
			if row.machines {
				p.Chain = append(p.Chain, conformance.Travelling().Chain[0])
			}
			s, log := service(t, p)
			if n := len(s.Config[fastlyhost.ConfigStore]); n != row.entries {
				t.Fatalf("%d entries, want %d", n, row.entries)
			}
			if keys := s.KV[fastlyhost.KVStore].Len(); (keys > 0) != row.kv {
				t.Fatalf("KV store: %d keys", keys)
			}
			resp := wellDecided(t, s)
			if resp.Lookups != row.lookups {
				t.Errorf("%d look-ups, want %d", resp.Lookups, row.lookups)
			}
			if got := resp.Header.Get(contract.HeaderPolicy); got != p.Version().String() {
				t.Errorf("policy %s, want %s", got, p.Version())
			}
			if record := log.last(t); record["verdict"] != "deny" || record["status"] != 200.0 || record["event"] != "switchbridge.packet_in.v1" || record["policy"] != p.Version().String() || record["dpid"] != "00000000000000ab" {
				t.Errorf("%v", record)
			}
		})
	}
}

func TestPolicyCheck(t *testing.T) {
	s, _ := service(t, conformance.Policy())
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		resp := do(t, s, request(t, codec, &flow.Event{Type: flow.EventPolicyCheck, ID: "1"})) // of no switch
		if resp.Status != 200 || resp.Header.Get(contract.HeaderPolicy) != "7-00c0ffee" {
			t.Errorf("%s: %d %v %.300s", codec.ContentType(), resp.Status, resp.Header, resp.Body)
		}
	}
}

// A token takes another's place while both are valid.
func TestTokens(t *testing.T) {
	s, log := service(t, conformance.Policy())
	for _, row := range []struct {
		authorization string
		status        int
	}{
		{"Bearer " + token, 200},
		{"bearer " + newToken, 200}, // on a line of its own
		{"Bearer " + token + newToken, 401},
		{"Bearer ", 401},
		{"Basic " + token, 401},
		{"", 401},
	} {
		r := request(t, openflow.Codec{}, packetIn())
		r.Header.Set("Authorization", row.authorization)
		resp := do(t, s, r)
		if resp.Status != row.status {
			t.Errorf("%q: status %d, want %d: %s", row.authorization, resp.Status, row.status, resp.Body)
		}
		if row.status != 401 {
			continue
		}
		if resp.Lookups != 1 || resp.Header.Get("Www-Authenticate") == "" || strings.Contains(string(resp.Body), token) {
			t.Errorf("%q: %d look-ups, %v, %s", row.authorization, resp.Lookups, resp.Header, resp.Body)
		}
		if record := log.last(t); record["status"] != 401.0 || record["verdict"] != nil {
			t.Errorf("%q: record %v", row.authorization, record)
		}
	}
}

// TestBadInput has what can be wrong with a service and with a request: each is told apart, and the
// next event is answered.
func TestBadInput(t *testing.T) {
	good, err := blob.Pack(conformance.Policy())
	if err != nil {
		t.Fatal(err)
	}
	policyIs := func(b []byte) func(*fastlytest.Service, *fastlytest.Request) {
		return func(s *fastlytest.Service, _ *fastlytest.Request) {
			s.Config[fastlyhost.ConfigStore][fastlyhost.KeyPolicy] = base64.StdEncoding.EncodeToString(b)
		}
	}
	header := func(key, value string) func(*fastlytest.Service, *fastlytest.Request) {
		return func(_ *fastlytest.Service, r *fastlytest.Request) { r.Header.Set(key, value) }
	}
	otherVersion, damaged := bytes.Clone(good), bytes.Clone(good)
	otherVersion[3]++
	damaged[len(damaged)-1]++
	for _, row := range []struct {
		name   string
		change func(*fastlytest.Service, *fastlytest.Request)
		status int
		text   string
	}{
		{"no config store", func(s *fastlytest.Service, _ *fastlytest.Request) { s.Config = nil }, 503, "switchbridge_config: policy: config store not found"},
		{"no policy", func(s *fastlytest.Service, _ *fastlytest.Request) { clear(s.Config[fastlyhost.ConfigStore]) }, 503, "switchbridge_config: policy: key not found"},
		{"policy cut short", policyIs(good[:len(good)-9]), 503, "cut short"},
		{"another version", policyIs(otherVersion), 503, "compiled for another version: format 2"},
		{"wrong checksum", policyIs(damaged), 503, "damaged: checksum"},
		{"no policy at all", policyIs([]byte("hello")), 503, "not a compiled policy"},
		{"not base64", func(s *fastlytest.Service, _ *fastlytest.Request) {
			s.Config[fastlyhost.ConfigStore][fastlyhost.KeyPolicy] = "SBP\x01"
		}, 503, "illegal base64"},
		{"no secret store", func(s *fastlytest.Service, _ *fastlytest.Request) { s.Secrets = nil }, 503, "switchbridge_secrets: tokens: secret store not found"},
		{"no secret", func(s *fastlytest.Service, _ *fastlytest.Request) { clear(s.Secrets[fastlyhost.SecretStore]) }, 503, "secret not found"},
		{"short token", func(s *fastlytest.Service, _ *fastlytest.Request) {
			s.Secrets[fastlyhost.SecretStore][fastlyhost.KeyTokens] = "x"
		}, 503, "tokens: line 1: token of 1 bytes"},
		{"three tokens", func(s *fastlytest.Service, _ *fastlytest.Request) {
			s.Secrets[fastlyhost.SecretStore][fastlyhost.KeyTokens] = strings.Repeat(token+"\n", 3)
		}, 503, "3 tokens, at most 2"},
		{"large body", func(_ *fastlytest.Service, r *fastlytest.Request) { r.Body = make([]byte, flow.MaxBody+1) }, 413, "body of more than 1048576 bytes"},
		{"a body that says it is large", header("Content-Length", "1048577"), 413, "body of more than 1048576 bytes"},
		{"body cut short", func(_ *fastlytest.Service, r *fastlytest.Request) { r.Body = r.Body[:len(r.Body)-3] }, 400, "packet_in"},
		{"a body that says it is longer", header("Content-Length", "5000"), 200, ""},
		{"compressed", header("Content-Encoding", "gzip"), 415, `content encoding "gzip"`},
		{"content type", header("Content-Type", "text/html"), 415, "want application/openflow or application/json"},
		{"other encoding", header("Content-Type", contract.TypeJSON), 400, ""},
		{"event type", header("Ce-Type", "com.example"), 400, "com.example"},
		{"no envelope", header("Ce-Specversion", ""), 400, ""},
		{"large state", header(contract.HeaderState, strings.Repeat("QUJD", 2000)), 400, "Switchbridge-State: more than"},
		{"method", func(_ *fastlytest.Service, r *fastlytest.Request) { r.Method = "GET" }, 405, "an event is a POST"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, log := service(t, conformance.Policy())
			r := request(t, openflow.Codec{}, packetIn())
			row.change(s, r)
			resp := do(t, s, r)
			if resp.Status != row.status || !strings.Contains(string(resp.Body), row.text) {
				t.Errorf("%d %s; want %d with %q", resp.Status, resp.Body, row.status, row.text)
			}
			if record := log.last(t); record["status"] != float64(row.status) || !strings.Contains(fmt.Sprint(record["error"]), row.text) {
				t.Errorf("record %v", record)
			}
			fresh, _ := service(t, conformance.Policy())
			s.Config, s.Secrets = fresh.Config, fresh.Secrets
			wellDecided(t, s)
		})
	}
}

// A policy in parts of which an edge lacks one, or has one of another policy.
func TestPartAbsent(t *testing.T) {
	s, _ := service(t, larger(5000))
	config := s.Config[fastlyhost.ConfigStore]
	whole := maps.Clone(config)
	for key := range whole {
		delete(config, key)
		if resp := do(t, s, request(t, openflow.Codec{}, packetIn())); resp.Status != 503 || !strings.Contains(string(resp.Body), "key not found") {
			t.Errorf("without %s: %d %s", key, resp.Status, resp.Body)
		}
		config[key] = whole[key]
	}
	wellDecided(t, s)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestFailedLogChangesNothing(t *testing.T) {
	s, _ := service(t, conformance.Policy())
	want := wellDecided(t, s)
	for name, logs := range map[string]map[string]io.Writer{"writes fail": {fastlyhost.LogEndpoint: failing{}}, "no endpoint": nil} {
		s.Logs = logs
		got := wellDecided(t, s)
		if !bytes.Equal(got.Body, want.Body) || fmt.Sprint(got.Header) != fmt.Sprint(want.Header) {
			t.Errorf("%s: another answer: %+v", name, got)
		}
	}
}

func TestHealth(t *testing.T) {
	s, log := service(t, conformance.Policy())
	resp := do(t, s, &fastlytest.Request{Method: "GET", URL: "https://function.example/healthz"})
	if resp.Status != 200 || string(resp.Body) != "ok\n" || resp.Lookups != 0 || len(log.lines) != 0 {
		t.Errorf("%+v, %q", resp, log.lines)
	}
}

// Instances share nothing: many requests at a time get each its own answer.
func TestManyInstances(t *testing.T) {
	s, _ := service(t, conformance.Policy())
	host(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { wellDecided(t, s) })
	}
	wg.Wait()
}

// BenchmarkRequest says what a request takes. An instance waits for nothing, so that the time of its
// run is about the processor time of which the platform gives it 50 ms.
func BenchmarkRequest(b *testing.B) {
	run := func(name string, s *fastlytest.Service, r *fastlytest.Request) {
		b.Run(name, func(b *testing.B) {
			h, memory := host(b), 0
			var loading, running time.Duration
			for b.Loop() {
				resp, err := h.Do(b.Context(), s, r)
				if err != nil || resp.Status != 200 {
					b.Fatal(resp, err)
				}
				memory, loading, running = resp.Memory, loading+resp.Loading, running+resp.Running
			}
			b.ReportMetric(float64(loading.Microseconds())/float64(b.N)/1000, "loading-ms/op")
			b.ReportMetric(float64(running.Microseconds())/float64(b.N)/1000, "running-ms/op")
			b.ReportMetric(float64(memory)/(1<<20), "MiB")
			b.ReportMetric(float64(h.Size()), "wasm-bytes")
		})
	}
	s, _ := service(b, conformance.Policy())
	run("health", s, &fastlytest.Request{Method: "GET", URL: "https://function.example/healthz"})
	for _, addresses := range []int{0, 500, 5000, 20000, 120430} {
		s, _ := service(b, larger(addresses))
		run(fmt.Sprint(addresses, " addresses"), s, request(b, openflow.Codec{}, packetIn()))
	}
}
