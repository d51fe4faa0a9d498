// Package embedded is the controller as `switchbridge run` has it by default: the WebAssembly
// guest of cmd/function-wasm, part of the binary, in a pristine instance for every event.
package embedded

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/flow"
	"switchbridge/flow/contract/compact"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/files"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/state"
)

// assets holds function.prepared when the binary was built by make; go build alone makes none.
//
//go:embed all:assets
var assets embed.FS

// ErrNotBuilt says that the binary holds no guest.
var ErrNotBuilt = errors.New("this binary was built without the embedded function: build it with make, or take the native controller")

// By the command prepare.
const (
	asset     = "assets/function.prepared"
	leanAsset = "assets/function.lean"
)

// codec is the guest's: an instance needs no handshake to decide, and every message it parses takes time.
var codec = openflow.Codec{Full: true}

// Built returns nil, or ErrNotBuilt.
func Built() error {
	f, err := assets.Open(asset)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotBuilt
	}
	if err == nil {
		err = f.Close()
	}
	return err
}

// DefaultCacheDir is where compiled guests are kept from one start to the next; empty when the
// user has no cache folder, as services often don't.
func DefaultCacheDir() string { return files.CacheDir() }

// defaultName is the function's in logs and metrics.
const defaultName = "controller"

// Options says how to run a guest. Zero values mean the defaults.
type Options struct {
	Name      string         // default: controller
	Wasm      []byte         // a guest that takes compiled policies; default: the binary's
	Policy    *policy.Policy // default: everything is allowed
	CacheDir  string         // of compiled guests; empty: none
	Deadline  time.Duration  // for one event; default: wasmhost's
	Instances int            // default: wasmhost's
	Memory    uint64         // greatest linear memory in bytes; default: wasmhost's
	Log       *slog.Logger
}

// Function is a flow.Decider that decides every event in a pristine instance. Run must run;
// events wait until the guest is compiled.
type Function struct {
	name    string
	full    *function.Decider
	host    *wasmhost.Host
	scratch sync.Pool // of *exchange

	mu   sync.Mutex                      // of SetPolicy
	keys atomic.Pointer[controller.Keys] // of the policy that decides now
}

var _ state.Machines = (*Function)(nil)

// New returns a Function. It compiles nothing yet.
func New(o Options) (*Function, error) {
	// The guest is megabytes. A gateway listens before they are read.
	var load, lean func() ([]byte, error)
	if o.Wasm == nil {
		if err := Built(); err != nil {
			return nil, err
		}
		load = func() ([]byte, error) { return assets.ReadFile(asset) }
		lean = func() ([]byte, error) { return assets.ReadFile(leanAsset) }
	}
	if o.Name == "" {
		o.Name = defaultName
	}
	if o.Policy == nil {
		o.Policy = forward.Default()
	}
	compiled, err := blob.Pack(o.Policy)
	if err != nil {
		return nil, err
	}
	warm, packets, err := warmUp()
	if err != nil {
		return nil, err
	}
	host := wasmhost.New(wasmhost.Config{
		Name: o.Name, Wasm: o.Wasm, Load: load, Prepared: load != nil, Lean: lean, Policy: compiled, WarmUp: warm, WarmUpPackets: packets,
		CacheDir: o.CacheDir, Deadline: o.Deadline, Instances: o.Instances, MemoryLimit: o.Memory, Log: o.Log,
	})
	f := &Function{
		name: o.Name, full: function.NewDecider(host, codec).WithoutID(), host: host,
		scratch: sync.Pool{New: func() any { return new(exchange) }},
	}
	f.keys.Store(controller.KeysOf(o.Policy))
	return f, nil
}

// Local implements flow.Local: a guest in this process answers within microseconds.
func (f *Function) Local() bool { return true }

// exchange is one event: a [wasmhost.Question].
type exchange struct {
	f         *Function
	ev        *flow.Event
	d         *flow.Decision
	event     []byte
	reader    compact.Reader
	full      *function.Exchange // nil unless it was asked in the envelope
	malformed error              // what is wrong with the guest's answer
}

func (x *exchange) Packet() (event []byte, fits bool) {
	x.event, fits = compact.AppendEvent(x.event[:0], x.ev)
	return x.event, fits
}

func (x *exchange) TakePacket(answer []byte) error {
	err := x.reader.Parse(answer, &x.ev.PacketIn.Match, x.d)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, compact.ErrUnfit):
		x.d.Reset()
		return wasmhost.ErrUnfit
	}
	x.malformed = err
	return err
}

func (x *exchange) Envelope() (b []byte, err error) {
	if x.full, err = x.f.full.Open(x.ev); err != nil {
		return nil, err
	}
	return x.full.Envelope(), nil
}

func (x *exchange) TakeEnvelope(answer []byte) error {
	err := x.full.Take(answer, x.ev, x.d)
	var kind *flow.Error
	if err != nil && !errors.As(err, &kind) {
		return fmt.Errorf("%w: %w", wasmhost.ErrAnswer, err)
	}
	return err
}

// Decide implements flow.Decider. Packets go in the compact encoding, and all else, with what does
// not fit it, in application/openflow, to another pristine instance.
func (f *Function) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	x := f.scratch.Get().(*exchange)
	x.f, x.ev, x.d, x.malformed = f, ev, d, nil
	err := f.host.Ask(ctx, x)
	malformed := x.malformed
	if x.full != nil {
		x.full.Close()
	}
	x.ev, x.d, x.full = nil, nil, nil
	f.scratch.Put(x)
	if err == nil {
		return nil
	}
	var kind *flow.Error
	switch {
	case errors.As(err, &kind):
		return err
	case malformed != nil:
		return flow.Errorf(flow.Invalid, "answer: %w", err)
	}
	return &flow.Error{Kind: flow.Unavailable, Err: err}
}

// Answer implements function.Answerer, for hosts that have the event encoded as the guest wants
// it: application/openflow, and application/json if the guest was built with it.
func (f *Function) Answer(ctx context.Context, r *guest.Request, a *guest.Answer) error {
	return f.host.Answer(ctx, r, a)
}

// Run compiles the guest and serves until ctx ends.
func (f *Function) Run(ctx context.Context) error { return f.host.Run(ctx) }

// Ready is closed when events need not wait any more.
func (f *Function) Ready() <-chan struct{} { return f.host.Ready() }

// String is "embedded" for the binary's own controller.
func (f *Function) String() string {
	if f.name == defaultName {
		return "embedded"
	}
	return f.host.String()
}

// Stats returns what the host counted.
func (f *Function) Stats() wasmhost.Stats { return f.host.Stats() }

// Version returns the version of the policy that decides now.
func (f *Function) Version() flow.PolicyVersion { return f.keys.Load().Version() }

// Stateful reports whether that policy has machines.
func (f *Function) Stateful() bool { return f.keys.Load().Stateful() }

// Travels implements [state.Machines].
func (f *Function) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	return f.keys.Load().Travels(key)
}

// StateKeys implements [state.Machines]. While a new policy is taken in, the guest may decide by the other one than this: the decision
// says by which.
func (f *Function) StateKeys(ev *flow.Event, keys []string) []string {
	return f.keys.Load().StateKeys(ev, keys)
}

// OwnKeys implements [state.Machines].
func (f *Function) OwnKeys(ev *flow.Event) int { return f.keys.Load().OwnKeys(ev) }

// SetPolicy makes p the policy. Events meet the old one until the new one is ready, and no event
// waits. When it fails, the old one stays.
func (f *Function) SetPolicy(ctx context.Context, p *policy.Policy) error {
	compiled, err := blob.Pack(p)
	if err != nil {
		return err
	}
	keys := controller.KeysOf(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.host.SetPolicy(ctx, compiled); err != nil {
		return fmt.Errorf("policy %s: %w", p.Version(), err)
	}
	f.keys.Store(keys)
	return nil
}
