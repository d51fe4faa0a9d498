package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
)

// Defaults of a [Config].
const (
	DefaultMemoryLimit  = 64 << 20
	DefaultDeadline     = time.Second
	DefaultInitDeadline = 10 * time.Second
)

// Config says what to run and within which limits. Zero values mean the defaults.
type Config struct {
	Name string                 // of the function, in logs, errors and metrics
	Wasm []byte                 // the guest; docs/guest-abi.md says what it must export
	Load func() ([]byte, error) // if Wasm is nil, Run calls it to read the guest
	// Prepared says that Wasm is a result of Prepare from a source as trusted as this program. The
	// host runs it without rewriting and without the checks that it makes of other guests.
	Prepared bool
	Lean     func() ([]byte, error) // reads the lean part that Prepare made of it; may be nil, and may return nil
	Policy   []byte                 // given to the guest's configure function; a guest may refuse it

	// WarmUp are requests in the guest's envelope that it decides before the image is taken, so
	// that no event has to wait for what the guest makes at the first use. Default: one policy check.
	WarmUp [][]byte
	// WarmUpPackets are the same in flow/contract/compact, for a guest that has it.
	WarmUpPackets [][]byte

	CacheDir     string        // folder of compiled modules; empty: none are kept
	MemoryLimit  uint64        // greatest linear memory in bytes
	Deadline     time.Duration // for one event
	InitDeadline time.Duration // for initialisation and configuration
	Instances    int           // how many may decide at one time; default 2 x GOMAXPROCS
	WholeCopy    bool          // restore all memory after every event, for comparison

	Log *slog.Logger // default: none
}

// Errors of one event, each in the chain of the error that Call returns. After each of them the host
// drops the instance; other events are not affected.
var (
	ErrTrap     = errors.New("guest trapped")
	ErrExit     = errors.New("guest exited")
	ErrDeadline = errors.New("guest exceeded its deadline")
	ErrAnswer   = errors.New("guest gave no valid answer")
	ErrClosed   = errors.New("function host is closed")
)

// ErrUnfit is returned by [Question.TakePacket] if the guest asks for the event in the envelope.
var ErrUnfit = errors.New("the guest wants to be asked in the envelope")

// ErrGuest is in the chain of errors about a guest that can't be run at all.
var ErrGuest = errors.New("unusable guest")

// Host runs one guest. Its methods may be called from any goroutine.
type Host struct {
	config Config
	log    *slog.Logger
	stats  counters

	ready   chan struct{} // closed when current or failed is set for the first time
	failed  error         // why there is no image; read after ready
	current atomic.Pointer[image]
	slots   chan struct{} // one for every instance that decides

	policyMu sync.Mutex // serialises image building
	engine   *engine    // decides events: the whole guest or the lean one
	closed   atomic.Bool

	completionMu sync.Mutex
	completion   *completion // of a lean guest; nil unless one is under way or done
}

// engine is the guest, or its lean part, compiled.
type engine struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache // nil without a directory
	compiled wazero.CompiledModule
	module   *module
	packets  bool         // the guest has switchbridge_packet
	users    atomic.Int32 // the host, and every image that has instances
}

// New returns a host. Run compiles the guest, and events wait for that.
func New(config Config) *Host {
	if config.MemoryLimit == 0 {
		config.MemoryLimit = DefaultMemoryLimit
	}
	config.MemoryLimit = min(config.MemoryLimit, maxMemory)
	if config.Deadline == 0 {
		config.Deadline = DefaultDeadline
	}
	if config.InitDeadline == 0 {
		config.InitDeadline = DefaultInitDeadline
	}
	if config.Instances == 0 {
		config.Instances = 2 * runtime.GOMAXPROCS(0)
	}
	if config.WarmUp == nil {
		check := guest.Request{Event: flow.EventPolicyCheck, Encoding: guest.EncodingJSON}
		config.WarmUp = [][]byte{check.AppendBinary(nil)}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{
		config: config,
		log:    config.Log.With("function", config.Name),
		ready:  make(chan struct{}),
		slots:  make(chan struct{}, config.Instances),
	}
}

func (h *Host) String() string { return "function " + h.config.Name }

// Ready returns a channel that is closed when the guest can decide events, or when Run has failed.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Run compiles the guest, takes its first image and serves until ctx ends; it then returns nil. If
// the guest can't be run, it returns an error, and waiting events get the same error.
func (h *Host) Run(ctx context.Context) error {
	err := h.start(ctx)
	if err == nil {
		// Also if ctx has ended: a host may be started only to fill the cache.
		if err := h.slim(context.WithoutCancel(ctx)); err != nil {
			h.log.Warn("the guest's memory could not be reduced", "err", err)
		}
		debug.FreeOSMemory() // compiling leaves several times the size of its result as garbage
		<-ctx.Done()
	}
	h.close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (h *Host) start(ctx context.Context) error {
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	defer close(h.ready)
	if h.failed = h.begin(ctx); h.failed != nil {
		h.failed = fmt.Errorf("%s: %w", h, h.failed)
	}
	return h.failed
}

// begin takes the first image, or finds it in the cache. policyMu is held.
func (h *Host) begin(ctx context.Context) error {
	began := time.Now()
	first, err := h.cached(ctx)
	if first == nil {
		if err != nil {
			h.log.Warn("the image in the cache can't be used", "err", err)
		}
		m, err := h.load()
		if err != nil {
			return err
		}
		if h.engine, err = h.compile(ctx, m); err != nil {
			return err
		}
		if first, err = h.newImage(ctx, h.engine, h.config.Policy); err != nil {
			return err
		}
	}
	h.chooseReset(h.engine.module)
	h.current.Store(first)
	h.log.Info("function ready", "took_seconds", time.Since(began).Seconds(), "cached", h.engine.module.lean,
		"memory", len(first.memory), "reset", h.Stats().Reset)
	return nil
}

// load reads and rewrites the guest.
func (h *Host) load() (m *module, err error) {
	wasm := h.config.Wasm
	if wasm == nil && h.config.Load != nil {
		if wasm, err = h.config.Load(); err != nil {
			return nil, err
		}
	}
	if h.config.Prepared {
		m, err = preparedModule(wasm)
	} else {
		if m, err = prepareModule(wasm); err == nil {
			err = m.boundStack()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	return m, nil
}

// compile returns an engine. The host counts as a user of it.
func (h *Host) compile(ctx context.Context, m *module) (*engine, error) {
	if needed := m.memoryAtStart(); needed > h.config.MemoryLimit {
		return nil, fmt.Errorf("%w: it begins with %d bytes of memory, limit %d", ErrGuest, needed, h.config.MemoryLimit)
	}
	e := &engine{module: m}
	e.users.Store(1)
	config := wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(reserved/wasmPage + h.config.MemoryLimit/wasmPage)).
		WithDebugInfoEnabled(false)
	if h.config.CacheDir != "" {
		var err error
		if e.cache, err = wazero.NewCompilationCacheWithDir(h.config.CacheDir); err != nil {
			h.log.Warn("compiled modules are not cached", "dir", h.config.CacheDir, "err", err)
		} else {
			config = config.WithCompilationCache(e.cache)
		}
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := e.prepare(ctx); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *engine) prepare(ctx context.Context) (err error) {
	if err := instantiateWASI(ctx, e.runtime); err != nil {
		return err
	}
	if err := instantiateRefuel(ctx, e.runtime); err != nil {
		return err
	}
	ctx = experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	if e.compiled, err = e.runtime.CompileModule(ctx, e.module.binary); err != nil {
		return fmt.Errorf("%w: %w", ErrGuest, err)
	}
	_, e.packets = e.compiled.ExportedFunctions()[exportPacket]
	return checkExports(e.compiled)
}

// chooseReset writes to the log, once, how instances are restored.
func (h *Host) chooseReset(m *module) {
	switch {
	case m.hidden != "":
		h.stats.reset.Store(int32(ResetNewInstance))
		h.log.Warn("every event gets a new instance, because the guest changes something that can't be restored from an image",
			"found", m.hidden)
	case h.config.WholeCopy:
		h.stats.reset.Store(int32(ResetWholeCopy))
	default:
		h.stats.reset.Store(int32(ResetMarked))
	}
}

// leave ends one use of the engine; after the last it is closed.
func (e *engine) leave() {
	if e.users.Add(-1) == 0 {
		e.close()
	}
}

func (e *engine) close() {
	ctx := context.Background()
	_ = e.runtime.Close(ctx)
	if e.cache != nil {
		_ = e.cache.Close(ctx)
	}
}

// instantiateRefuel gives the runtime the function that a guest calls when its fuel is used up. The
// guest gets more fuel, unless its context has ended or its time is over.
func instantiateRefuel(ctx context.Context, r wazero.Runtime) error {
	refuel := func(ctx context.Context, guest api.Module, _ []uint64) {
		fuel := guest.ExportedGlobal(exportFuel).(api.MutableGlobal)
		left := int32(fuel.Get())
		if left == deepFuel {
			panic(errDeep)
		}
		if isAbsent(left) {
			panic(&absentError{function: uint32(left - absentFuel)})
		}
		if c, ok := ctx.(*callContext); ok && c.left() <= 0 {
			panic(sys.NewExitError(sys.ExitCodeDeadlineExceeded)) // how a host function ends a guest
		}
		fuel.Set(fuelQuantum)
	}
	_, err := r.NewHostModuleBuilder(hostModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(refuel), nil, nil).Export(hostRefuel).Instantiate(ctx)
	return err
}

// Exports of guest ABI version 1.
const (
	exportMemory     = "memory"
	exportInitialize = "_initialize"
	exportABIVersion = "switchbridge_abi_version"
	exportBuffer     = "switchbridge_buffer"
	exportConfigure  = "switchbridge_configure"
	exportDecide     = "switchbridge_decide"
	exportPacket     = "switchbridge_packet" // optional
)

func checkExports(m wazero.CompiledModule) error {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	functions := m.ExportedFunctions()
	for _, want := range []struct {
		name            string
		params, results []api.ValueType
	}{
		{exportABIVersion, nil, []api.ValueType{i32}},
		{exportBuffer, []api.ValueType{i32}, []api.ValueType{i32}},
		{exportConfigure, []api.ValueType{i32, i32}, []api.ValueType{i64}},
		{exportDecide, []api.ValueType{i32, i32}, []api.ValueType{i64}},
		{exportPacket, []api.ValueType{i32, i32}, []api.ValueType{i64}},
	} {
		f, ok := functions[want.name]
		if !ok && want.name == exportPacket {
			continue
		}
		if !ok {
			return fmt.Errorf("%w: no exported function %s", ErrGuest, want.name)
		}
		if string(f.ParamTypes()) != string(want.params) || string(f.ResultTypes()) != string(want.results) {
			return fmt.Errorf("%w: %s has another signature than guest ABI version %d", ErrGuest, want.name, guest.ABIVersion)
		}
	}
	if f, ok := functions[exportInitialize]; ok && len(f.ParamTypes())+len(f.ResultTypes()) != 0 {
		return fmt.Errorf("%w: %s has parameters or results", ErrGuest, exportInitialize)
	}
	if _, ok := m.ExportedMemories()[exportMemory]; !ok {
		return fmt.Errorf("%w: no exported memory %q", ErrGuest, exportMemory)
	}
	return nil
}

// SetPolicy takes an image with the new policy and then replaces the current image. Until then,
// events are decided with the old policy. If it fails, the old image stays.
func (h *Host) SetPolicy(ctx context.Context, policy []byte) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	if h.closed.Load() {
		return ErrClosed
	}
	next, err := h.configured(ctx, policy)
	if err != nil {
		return fmt.Errorf("%s: %w", h, err)
	}
	h.current.Swap(next).retire()
	if h.engine.module.lean {
		debug.FreeOSMemory() // the whole guest was compiled, as at the start
	}
	return nil
}

// wait returns when there is an image, or with an error if there will be none.
func (h *Host) wait(ctx context.Context) error {
	select {
	case <-h.ready:
	default:
		select {
		case <-h.ready:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", h, ctx.Err())
		}
	}
	if h.failed != nil {
		return h.failed
	}
	return nil
}

// Call lets a pristine instance decide one request, an encoded guest.Request, and calls use with
// the answer, an encoded guest.Answer. The answer lies in the guest's memory: use must not write to it
// or keep it. Until ctx ends, Call waits for an instance, and for the guest itself if the host has just
// started. The guest's deadline is the host's or that of ctx, whichever is earlier.
func (h *Host) Call(ctx context.Context, request []byte, use func(answer []byte) error) error {
	return h.call(ctx, &call{entry: decide, request: request, use: use})
}

// Question is an event in two encodings: the compact one, for packets, and the envelope, for every
// event. Answers lie in the guest's memory, as with Call.
type Question interface {
	// Packet returns the event in flow/contract/compact; false says that it does not fit.
	Packet() ([]byte, bool)
	// TakePacket reads the answer to it. It returns ErrUnfit if the guest asks for the envelope.
	TakePacket(answer []byte) error
	// Envelope returns the event as an encoded guest.Request.
	Envelope() ([]byte, error)
	// TakeEnvelope reads an encoded guest.Answer.
	TakeEnvelope(answer []byte) error
}

// Ask is Call for a question. It uses the compact encoding if event, guest and answer allow that, else
// the envelope.
func (h *Host) Ask(ctx context.Context, q Question) error {
	c := call{q: q, entry: packet}
	var ok bool
	if c.request, ok = q.Packet(); !ok {
		var err error
		c.entry = decide
		if c.request, err = q.Envelope(); err != nil {
			return err
		}
	}
	return h.call(ctx, &c)
}

// call is one event on its way through instances.
type call struct {
	entry   entry
	request []byte
	use     func(answer []byte) error // of Call
	q       Question                  // of Ask
}

func (c *call) take(answer []byte) error {
	switch {
	case c.q == nil:
		return c.use(answer)
	case c.entry == packet:
		return c.q.TakePacket(answer)
	}
	return c.q.TakeEnvelope(answer)
}

// call gives the event to one pristine instance after the other until one can decide it. There are two
// reasons why an instance can't. It may be one of the lean guest, and the event needs code of the whole
// one; the whole guest then replaces the lean one. Or the compact encoding has no room for the answer,
// or the guest does not know that encoding; the event is then sent in the envelope. The state of an
// instance that could not decide is lost.
func (h *Host) call(ctx context.Context, c *call) error {
	if h.current.Load() == nil {
		if err := h.wait(ctx); err != nil {
			return err
		}
	}
	for {
		if len(c.request) > guest.MaxEnvelope {
			return fmt.Errorf("%s: request of %d bytes, limit %d", h, len(c.request), guest.MaxEnvelope)
		}
		err := h.try(ctx, c)
		if err == nil {
			return nil
		}
		if missing := asAbsent(err); missing != nil {
			if err := h.complete(ctx, missing); err != nil {
				return err
			}
			continue // the whole guest lacks nothing
		}
		if c.entry != packet || !errors.Is(err, ErrUnfit) {
			return err
		}
		c.entry = decide
		if c.request, err = c.q.Envelope(); err != nil {
			return err
		}
	}
}

// try lets an instance decide. A lean guest may not be able to: asAbsent tells.
func (h *Host) try(ctx context.Context, c *call) error {
	select {
	case h.slots <- struct{}{}:
	default:
		h.stats.waited.Add(1)
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%s: no instance free: %w", h, ctx.Err())
		}
	}
	defer func() { <-h.slots }()
	var img *image
	var in *instance
	for in == nil {
		if img = h.current.Load(); img == nil {
			return ErrClosed
		}
		if c.entry == packet && !img.engine.packets {
			return ErrUnfit
		}
		var err error
		if in, err = img.acquire(ctx); err != nil && err != errRetired {
			return fmt.Errorf("%s: %w", h, err)
		}
	}
	pristine := false
	defer func() { img.release(in, pristine) }()

	answer, err := in.decide(ctx, c.entry, c.request)
	if err != nil {
		if asAbsent(err) == nil {
			h.stats.events.Add(1)
			h.stats.failed(err)
		}
		return fmt.Errorf("%s: %w", h, err)
	}
	h.stats.events.Add(1)
	if err = c.take(answer); errors.Is(err, ErrAnswer) {
		h.stats.answers.Add(1)
	}
	pristine = in.reset()
	return err
}

// Answer implements function.Answerer: it is Call for a decoded request. An answer that can't be read
// is an error.
func (h *Host) Answer(ctx context.Context, r *guest.Request, a *guest.Answer) error {
	buf := encoded.Get().(*[]byte)
	defer encoded.Put(buf)
	*buf = r.AppendBinary((*buf)[:0])
	state, change, body := a.State[:0], a.Change[:0], a.Body[:0]
	return h.Call(ctx, *buf, func(answer []byte) error {
		if err := a.Parse(answer); err != nil {
			return fmt.Errorf("%s: %w: %w", h, ErrAnswer, err)
		}
		// Copied, since the guest's memory is restored next.
		a.State = append(state, a.State...)
		a.Change = append(change, a.Change...)
		a.Body = append(body, a.Body...)
		return nil
	})
}

var encoded = sync.Pool{New: func() any { return new([]byte) }}

// close ends the host: no new event starts, and close waits for the events that are being decided.
func (h *Host) close() {
	h.closed.Store(true)
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	if img := h.current.Swap(nil); img != nil {
		for range cap(h.slots) { // each ends by its deadline
			h.slots <- struct{}{}
		}
		img.retire()
		for range cap(h.slots) {
			<-h.slots
		}
	}
	if h.engine != nil {
		h.engine.leave()
	}
}
