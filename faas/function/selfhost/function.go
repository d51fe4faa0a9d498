package selfhost

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/faas/distribution/policyhost"
	"switchbridge/faas/function"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/faas/instance/wasmhost/wasmmetrics"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/files"
	"switchbridge/internal/task"
)

// hosted is a function with what keeps it going.
type hosted struct {
	config  *Function
	handler *httphost.Handler

	guest   guestHost                 // nil for native
	failed  atomic.Pointer[error]     // why the guest can't be run
	watch   task.Task                 // over the policy's files
	reload  func()                    // has watch read them now
	version func() flow.PolicyVersion // zero for guests with policies of their own
}

// guestHost has a guest answer. Run compiles it first.
type guestHost interface {
	function.Answerer
	task.Task
	Ready() <-chan struct{} // closed when Run has compiled the guest
}

// open reads what the function is made of and compiles nothing yet.
func open(f *Function, cacheDir string, records *record.Writer, log *slog.Logger, reg prometheus.Registerer) (*hosted, error) {
	named := log.With("function", f.Name) // wasmhost adds the name itself
	h := &hosted{config: f}
	cfg := httphost.Config{Name: f.Name, MaxConcurrent: f.Concurrency, Records: records, Log: named}
	var err error
	switch {
	case f.Native:
		err = h.native(&cfg, named)
	case f.Wasm == "":
		err = h.embedded(&cfg, cacheDir, log, reg)
	case f.Policy != "":
		err = h.policyGuest(&cfg, cacheDir, log, reg)
	default:
		err = h.ownGuest(&cfg, cacheDir, log, reg)
	}
	if err != nil {
		return nil, err
	}
	h.handler, err = httphost.New(cfg)
	return h, err
}

// native is the controller, called.
func (h *hosted) native(cfg *httphost.Config, log *slog.Logger) error {
	file, p, err := policyhost.Open(h.config.Policy, log)
	if err != nil {
		return err
	}
	n := policyhost.NewNative(p)
	h.follow(file, n)
	cfg.Decider, cfg.Codecs = n, []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}
	return nil
}

// embedded is the controller in pristine instances. Events are decoded here, as for the native one, so
// that what an instance is asked is as short as can be.
func (h *hosted) embedded(cfg *httphost.Config, cacheDir string, log *slog.Logger, reg prometheus.Registerer) error {
	e, err := h.pristine(nil, cacheDir, log, reg)
	if err != nil {
		return err
	}
	cfg.Decider, cfg.Codecs = e, []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}
	return nil
}

// policyGuest is another guest that takes compiled policies. What it speaks is its own affair.
func (h *hosted) policyGuest(cfg *httphost.Config, cacheDir string, log *slog.Logger, reg prometheus.Registerer) error {
	wasm, err := files.ReadFile(h.config.Wasm, maxWasm)
	if err != nil {
		return err
	}
	e, err := h.pristine(wasm, cacheDir, log, reg)
	if err != nil {
		return err
	}
	cfg.Guest, cfg.Direct = e, []guest.Encoding{guest.EncodingOpenFlow, guest.EncodingJSON}
	return nil
}

func (h *hosted) pristine(wasm []byte, cacheDir string, log *slog.Logger, reg prometheus.Registerer) (*embedded.Function, error) {
	f := h.config
	file, p, err := policyhost.Open(f.Policy, log.With("function", f.Name))
	if err != nil {
		return nil, err
	}
	e, err := embedded.New(embedded.Options{Name: f.Name, Wasm: wasm, Policy: p, CacheDir: cacheDir,
		Deadline: f.Deadline, Instances: f.Instances, Memory: uint64(f.Memory) << 20, Log: log})
	if err != nil {
		return nil, err
	}
	h.follow(file, e)
	h.guest = e
	return e, reg.Register(wasmmetrics.New(f.Name, e.Stats))
}

// ownGuest is a guest with policies of its own, or none.
func (h *hosted) ownGuest(cfg *httphost.Config, cacheDir string, log *slog.Logger, reg prometheus.Registerer) error {
	wasm, err := files.ReadFile(h.config.Wasm, maxWasm)
	if err != nil {
		return err
	}
	file, text, err := policyhost.OpenConfiguration(h.config.Configure, log.With("function", h.config.Name))
	if err != nil {
		return err
	}
	config := h.config.host()
	config.Wasm, config.Policy, config.CacheDir, config.Log = wasm, text, cacheDir, log
	host := wasmhost.New(config)
	h.guest = host
	h.watch = h.watching(func(ctx context.Context) error { return file.Watch(ctx, host.SetPolicy) })
	h.reload = file.Reload
	h.version = func() flow.PolicyVersion { return flow.PolicyVersion{} }
	cfg.Guest, cfg.Direct = host, []guest.Encoding{guest.EncodingOpenFlow, guest.EncodingJSON}
	return reg.Register(wasmmetrics.New(h.config.Name, host.Stats))
}

func (h *hosted) follow(file *policyhost.File, host policyhost.Host) {
	h.watch = h.watching(func(ctx context.Context) error { return file.Watch(ctx, host, nil) })
	h.reload = file.Reload
	h.version = host.Version
}

func (h *hosted) watching(run func(context.Context) error) task.Task {
	return task.New("policy of function "+h.config.Name, run)
}

// ready says why the function doesn't answer without waiting, or nil.
func (h *hosted) ready() error {
	if err := h.failed.Load(); err != nil {
		return *err
	}
	if h.guest == nil {
		return nil
	}
	select {
	case <-h.guest.Ready():
		return nil
	default:
		return errors.New("its guest is being compiled")
	}
}

// kind is what decides, for people.
func (h *hosted) kind() string {
	switch {
	case h.config.Native:
		return "native"
	case h.config.Wasm != "":
		return h.config.Wasm
	}
	return "embedded"
}

// maxWasm bounds what is read of a guest's file.
const maxWasm = 256 << 20
