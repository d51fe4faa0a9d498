package selfhost

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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
	"switchbridge/internal/watched"
	"switchbridge/policy"
	"switchbridge/state/stores"
)

// hosted is a function with what keeps it going.
type hosted struct {
	config  *Function
	handler *httphost.Handler

	guest   guestHost             // nil for native
	failed  atomic.Pointer[error] // why the guest can't be run
	end     context.CancelFunc    // ends the guest
	files   func() []watched.File // the policy's, to watch
	metrics []prometheus.Collector
	version func() flow.PolicyVersion // zero for guests with policies of their own
	close   func()                    // takes the files out of the results
	saw     func(*flow.Match)         // tells the policy of a packet that was decided
	wasm    [sha256.Size]byte         // of the guest's file, where it is one of one's own
}

// guestHost has a guest answer. Run compiles it first.
type guestHost interface {
	function.Answerer
	task.Task
	Ready() <-chan struct{} // closed when Run has compiled the guest
}

// around is what functions have from their server.
type around struct {
	cacheDir string
	records  *record.Writer
	log      *slog.Logger
	results  *watched.Results
	states   *stores.Keeper           // nil: no store
	onPolicy func(flow.PolicyVersion) // is told of every new policy
}

// open reads what the function is made of and compiles nothing yet.
func open(f *Function, a *around) (*hosted, error) {
	named := a.log.With("function", f.Name) // wasmhost adds the name itself
	h := &hosted{config: f, end: func() {}}
	cfg := httphost.Config{Name: f.Name, MaxConcurrent: f.Concurrency, Records: a.records, Log: named}
	var err error
	switch {
	case f.Native:
		err = h.native(&cfg, a)
	case f.Wasm == "":
		err = h.embedded(&cfg, a)
	case f.Policy != "":
		err = h.policyGuest(&cfg, a)
	default:
		err = h.ownGuest(&cfg, a)
	}
	if err != nil {
		return nil, err
	}
	h.handler, err = httphost.New(cfg)
	return h, err
}

// native is the controller, called.
func (h *hosted) native(cfg *httphost.Config, a *around) error {
	file, p, err := policyhost.Open(h.config.Policy, a.log.With("function", h.config.Name), a.results)
	if err != nil {
		return err
	}
	n := policyhost.NewNative(p)
	h.follow(file, n, a)
	decider, err := h.keep(file, n, p, a)
	if err != nil {
		return err
	}
	cfg.Decider, cfg.Codecs = h.seeing(decider), []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}
	return nil
}

// embedded is the controller in pristine instances. Events are decoded here, as for the native one, so
// that what an instance is asked is as short as can be.
func (h *hosted) embedded(cfg *httphost.Config, a *around) error {
	e, file, p, err := h.pristine(nil, a)
	if err != nil {
		return err
	}
	decider, err := h.keep(file, e, p, a)
	if err != nil {
		return err
	}
	cfg.Decider, cfg.Codecs = h.seeing(decider), []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}
	return nil
}

// policyGuest is another guest that takes compiled policies. What it speaks is its own affair.
func (h *hosted) policyGuest(cfg *httphost.Config, a *around) error {
	wasm, err := files.ReadFile(h.config.Wasm, maxWasm)
	if err != nil {
		return err
	}
	e, file, p, err := h.pristine(wasm, a)
	if err != nil {
		return err
	}
	takes := func(p *policy.Policy) error {
		if p.Stateful() {
			return fmt.Errorf("the policy has machines, and %s gets events without states: leave wasm out", h.config.Wasm)
		}
		return nil
	}
	if err := takes(p); err != nil {
		return err
	}
	file.Requires(takes)
	h.wasm = sha256.Sum256(wasm)
	cfg.Guest, cfg.Direct = e, []guest.Encoding{guest.EncodingOpenFlow, guest.EncodingJSON}
	return nil
}

// keep puts what reads and swaps states around a controller.
func (h *hosted) keep(file *policyhost.File, c stores.Controller, p *policy.Policy, a *around) (flow.Decider, error) {
	kept, err := a.states.Keep(h.config.Name, c, stores.SeveralGateways)
	if err != nil {
		return nil, err
	}
	if err := kept.Takes(p); err != nil {
		return nil, err
	}
	file.Requires(kept.Takes)
	if m := kept.Metrics(); m != nil {
		h.metrics = append(h.metrics, m)
	}
	return kept.Decider(c), nil
}

func (h *hosted) pristine(wasm []byte, a *around) (*embedded.Function, *policyhost.File, *policy.Policy, error) {
	f := h.config
	file, p, err := policyhost.Open(f.Policy, a.log.With("function", f.Name), a.results)
	if err != nil {
		return nil, nil, nil, err
	}
	e, err := embedded.New(embedded.Options{Name: f.Name, Wasm: wasm, Policy: p, CacheDir: a.cacheDir,
		Deadline: f.Deadline, Instances: f.Instances, Memory: uint64(f.Memory) << 20, Log: a.log})
	if err != nil {
		return nil, nil, nil, err
	}
	h.follow(file, e, a)
	h.guest = e
	h.metrics = append(h.metrics, wasmmetrics.New(f.Name, e.Stats))
	return e, file, p, nil
}

// ownGuest is a guest with policies of its own, or none.
func (h *hosted) ownGuest(cfg *httphost.Config, a *around) error {
	wasm, err := files.ReadFile(h.config.Wasm, maxWasm)
	if err != nil {
		return err
	}
	file, text, err := policyhost.OpenConfiguration(h.config.Configure, a.log.With("function", h.config.Name), a.results)
	if err != nil {
		return err
	}
	config := h.config.host()
	config.Wasm, config.Policy, config.CacheDir, config.Log = wasm, text, a.cacheDir, a.log
	host := wasmhost.New(config)
	h.guest = host
	file.Follow(host.SetPolicy)
	h.files, h.close, h.wasm = file.Files, file.Close, sha256.Sum256(wasm)
	h.version = func() flow.PolicyVersion { return flow.PolicyVersion{} }
	cfg.Guest, cfg.Direct = host, []guest.Encoding{guest.EncodingOpenFlow, guest.EncodingJSON}
	h.metrics = append(h.metrics, wasmmetrics.New(h.config.Name, host.Stats))
	return nil
}

func (h *hosted) follow(file *policyhost.File, host policyhost.Host, a *around) {
	file.Follow(host, func(*policy.Policy) { a.onPolicy(host.Version()) })
	h.files, h.close, h.version, h.saw = file.Files, file.Close, host.Version, file.Saw
}

// seeing tells the policy of the packets that d has decided.
func (h *hosted) seeing(d flow.Decider) flow.Decider {
	return flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, dec *flow.Decision) error {
		err := d.Decide(ctx, ev, dec)
		if err == nil && ev.PacketIn != nil {
			h.saw(&ev.PacketIn.Match)
		}
		return err
	})
}

// decides asks a guest that is run for its policy's version, which waits until it is compiled and
// gets the reason where it can't be run.
func (h *hosted) decides(ctx context.Context) error {
	if h.guest == nil {
		return nil
	}
	check := guest.Request{Event: flow.EventPolicyCheck, Encoding: guest.EncodingOpenFlow}
	return h.guest.Answer(ctx, &check, new(guest.Answer))
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
