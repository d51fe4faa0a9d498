package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
	"switchbridge/policy/blob"
	"switchbridge/policy/kinds"
	"switchbridge/state/travel"
)

const guestPackage = "switchbridge/cmd/function-wasm"

var encodings = []struct {
	name  string
	codec contract.Codec
}{
	{"openflow combined", openflow.Codec{}},
	{"openflow full", openflow.Codec{Full: true}},
	{"json", jsonenc.Codec{}},
}

// embeddedFunction is the controller as a guest, as `switchbridge run` has it.
func embeddedFunction(t *testing.T) *embedded.Function {
	t.Helper()
	f, err := embedded.New(embedded.Options{Wasm: built.Guest(t, guestPackage, true), Policy: Policy(), CacheDir: built.CacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	start(t, f)
	return f
}

func start(t *testing.T, f *embedded.Function) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestCases holds the suite to what it promises.
func TestCases(t *testing.T) {
	seen := make(map[flow.EventType]bool)
	for _, row := range Cases() {
		seen[row.Event.Type] = true
	}
	for _, want := range []flow.EventType{flow.EventPacketIn, flow.EventSwitchConnected, flow.EventFlowRemoved, flow.EventPortStatus,
		flow.EventError, flow.EventPolicyCheck, flow.EventHandshake} {
		if !seen[want] {
			t.Errorf("no case is a %s", want)
		}
	}
	if err := Policy().Validate(); err != nil {
		t.Fatalf("the examples of all kinds, chained: %v", err)
	}
	c := controller.New(Policy())
	decided := make(map[string]bool)
	for _, row := range Cases() {
		var d flow.Decision
		if err := c.Decide(t.Context(), row.Event, &d); err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		kind, _, _ := strings.Cut(d.Reason, ": ")
		decided[kind] = true
	}
	for _, kind := range kinds.All {
		if !decided[kind.Name()] {
			t.Errorf("no case is decided by the first example of %s: give it a packet that is, and put it before forward in the list of kinds", kind.Name())
		}
	}
}

// TestEmbedded asks one guest in every way in which it is hosted: in process by a gateway, and over
// HTTPS as `function serve` has it, which decodes what it is sent, or as other guests are, whose bodies
// it hands on.
func TestEmbedded(t *testing.T) {
	f := embeddedFunction(t)
	t.Run("in process", func(t *testing.T) { Run(t, f, openflow.Codec{}) })
	t.Run("in process, full", func(t *testing.T) {
		codec := openflow.Codec{Full: true}
		Run(t, function.NewDecider(f, codec), codec)
	})
	overHTTPS(t, httphost.Config{Decider: f, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}})
	t.Run("handed on", func(t *testing.T) {
		overHTTPS(t, httphost.Config{Guest: f, Direct: []guest.Encoding{guest.EncodingOpenFlow}, Decider: f, Codecs: []contract.Codec{jsonenc.Codec{}}})
	})
}

// TestGuestOfTheBinary asks the guest that make puts into the binary. The part of it that usually
// decides must do for the suite; all of it goes on once somebody asks for more.
func TestGuestOfTheBinary(t *testing.T) {
	f, err := embedded.New(embedded.Options{Policy: Policy(), CacheDir: built.CacheDir(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if errors.Is(err, embedded.ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	start(t, f)
	<-f.Ready()
	suite := func(t *testing.T) {
		Run(t, f, openflow.Codec{})
		codec := openflow.Codec{Full: true}
		Run(t, function.NewDecider(f, codec).WithoutID(), codec)
	}
	for end := time.Now().Add(time.Minute); !f.Stats().Lean; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the whole guest decides")
		}
	}
	t.Run("lean", suite)
	if n := f.Stats().Completed; n != 0 {
		t.Errorf("the suite needed more of the guest than its training: completed %d times", n)
	}
	var a guest.Answer
	malformed := guest.Request{Event: flow.EventPacketIn, Encoding: guest.EncodingOpenFlow, Body: []byte{1, 2, 3}}
	if err := f.Answer(t.Context(), &malformed, &a); err != nil || a.Status != 400 || a.Reason == "" {
		t.Errorf("%+v, %v", a, err)
	}
	if s := f.Stats(); s.Completed != 1 || s.Lean {
		t.Errorf("completed %d times, want once; lean: %v", s.Completed, s.Lean)
	}
	t.Run("whole", suite)
}

func TestNative(t *testing.T) {
	overHTTPS(t, native())
	t.Run("contract", func(t *testing.T) { Contract(t, overHTTP(t, handler(t, native()), true)) })
}

func native() httphost.Config {
	return httphost.Config{Decider: controller.New(Policy()), Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}}
}

// TestLongContract makes every check of a function on the hosts that take longer than the controller in process.
func TestLongContract(t *testing.T) {
	testlong.Need(t)
	t.Run("embedded", func(t *testing.T) {
		f := embeddedFunction(t)
		<-f.Ready() // compiled under the race detector it takes longer than the checks wait
		Contract(t, overHTTP(t, handler(t, httphost.Config{Guest: f, Direct: []guest.Encoding{guest.EncodingOpenFlow}, Decider: f, Codecs: []contract.Codec{jsonenc.Codec{}}}), false))
	})
	t.Run("fastly", func(t *testing.T) {
		exchange, _ := fastly(t)
		Contract(t, exchange)
	})
	t.Run("workers", func(t *testing.T) { Contract(t, startWorker(t).Exchange) })
}

// overHTTP asks a handler over TLS, in HTTP/1.1 or HTTP/2.
func overHTTP(t *testing.T, h http.Handler, http2 bool) functiontest.Exchange {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()
	client.Transport = speaks{client.Transport, http2}
	return functiontest.Posts(client, server.URL, nil)
}

// speaks fails where another version of HTTP is spoken.
type speaks struct {
	http.RoundTripper
	http2 bool
}

func (s speaks) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil && (resp.ProtoMajor == 2) != s.http2 {
		resp.Body.Close()
		return nil, fmt.Errorf("answered in %s", resp.Proto)
	}
	return resp, err
}

// overHTTPS runs the suite on a handler, in every encoding, in HTTP/1.1 and HTTP/2.
func overHTTPS(t *testing.T, config httphost.Config) {
	t.Helper()
	var records lines
	config.Records = record.NewWriter(&records)
	mux := handler(t, config)
	for i, e := range encodings {
		t.Run("over HTTPS/"+e.name, func(t *testing.T) {
			Run(t, functiontest.Client(e.codec, overHTTP(t, mux, i%2 == 1)), e.codec)
		})
	}
	records.check(t, len(encodings)*len(Cases()))
	t.Run("refusals", func(t *testing.T) { Refusals(t, overHTTP(t, mux, false)) })
}

// handler is a function as `function serve` has it.
func handler(t *testing.T, config httphost.Config) http.Handler {
	t.Helper()
	h, err := httphost.New(config)
	if err != nil {
		t.Fatal(err)
	}
	mux, err := httphost.NewMux(httphost.MuxConfig{Functions: []httphost.Function{{Name: "f", Handler: h}}})
	if err != nil {
		t.Fatal(err)
	}
	return mux
}

// lines are the decision records that a host wrote, one Write each.
type lines struct {
	mu   sync.Mutex
	list [][]byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, bytes.Clone(b))
	return len(b), nil
}

// check wants the record of every event that was asked. A host writes it before it is done, which
// may be after the answer is read.
func (l *lines) check(t *testing.T, want int) {
	t.Helper()
	var list [][]byte
	for end := time.Now().Add(10 * time.Second); len(list) < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		list = slices.Clone(l.list)
		l.mu.Unlock()
	}
	if len(list) != want {
		t.Errorf("%d decision records of %d events", len(list), want)
	}
	for _, line := range list {
		if err := CheckRecord(line); err != nil {
			t.Error(err)
		}
	}
}

// command runs the guest as a WASI command for every event, as WasmEdge and wasmtime do.
type command struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	files    fstest.MapFS
	keys     string // of states that travel
}

func newCommand(t *testing.T, policy []byte) *command {
	t.Helper()
	cache, err := wazero.NewCompilationCacheWithDir(built.CacheDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close(context.Background()) })
	c := &command{files: fstest.MapFS{"policy.blob": &fstest.MapFile{Data: policy}}}
	c.runtime = wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfig().WithCompilationCache(cache).WithMemoryLimitPages(fastlytest.MaxMemoryPages))
	t.Cleanup(func() { c.runtime.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(t.Context(), c.runtime)
	if c.compiled, err = c.runtime.CompileModule(t.Context(), built.Guest(t, guestPackage, false, "json")); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *command) Answer(ctx context.Context, r *guest.Request, a *guest.Answer) error {
	var out, errs bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithArgs("function.wasm", "/policy.blob").WithFS(c.files).
		WithStdin(bytes.NewReader(r.AppendBinary(nil))).WithStdout(&out).WithStderr(&errs).WithSysWalltime().WithSysNanotime()
	if config = config.WithRandSource(rand.Reader); c.keys != "" {
		config = config.WithEnv(travel.EnvKeys, c.keys)
	}
	m, err := c.runtime.InstantiateModule(fastlytest.WithMemory(ctx), c.compiled, config)
	if m != nil {
		defer m.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, errs.Bytes())
	}
	if c.keys == "" { // of the suite's events
		if err := CheckRecord(errs.Bytes()); err != nil {
			return err
		}
	}
	return a.Parse(out.Bytes())
}

func TestWASICommand(t *testing.T) {
	compiled, err := blob.Pack(Policy())
	if err != nil {
		t.Fatal(err)
	}
	c := newCommand(t, compiled)
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) { Run(t, function.NewDecider(c, e.codec), e.codec) })
	}
}
