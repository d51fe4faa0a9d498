package fastlytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// DefaultMaxLookups is how many look-ups in stores the platform lets an execution make.
const DefaultMaxLookups = 16

// MaxMemoryPages is 128 MB, the most that an execution has.
const MaxMemoryPages = 128 << 20 >> 16

// Service is what a program finds on the platform. Names are those by which resources are linked.
type Service struct {
	Config  map[string]map[string]string // config stores: what is under which key
	Secrets map[string]map[string]string // secret stores
	KV      map[string]*KVStore

	// Logs get one Write for every event. An endpoint that isn't here takes all and keeps nothing,
	// as on the platform.
	Logs map[string]io.Writer

	MaxLookups int // 0: DefaultMaxLookups
}

// Request is what a client asks.
type Request struct {
	Method string // empty: POST
	URL    string // absolute; empty: https://function.example/
	Header http.Header
	Body   []byte
}

// Response is what an instance answered, and what it took.
type Response struct {
	Status int
	Header http.Header
	Body   []byte

	Streamed bool // the head was sent before the body had ended: it has no length and goes out in chunks

	Lookups int           // in config, secret and KV stores
	Memory  int           // bytes of linear memory at the end
	Loading time.Duration // to instantiate; the platform does it in microseconds
	Running time.Duration // from the program's start to its end
	Stdout  []byte
	Stderr  []byte
}

// ErrNoAnswer says that an instance ended without an answer, or before the end of one. The
// platform answers 500 in its place.
var ErrNoAnswer = errors.New("no answer")

// Host is a compiled program. It is safe for use by several goroutines.
type Host struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	size     int
	cache    wazero.CompilationCache
}

// New compiles a program, or finds it compiled in cacheDir (empty: none).
func New(ctx context.Context, wasm []byte, cacheDir string) (*Host, error) {
	h := &Host{size: len(wasm)}
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(MaxMemoryPages)
	if cacheDir != "" {
		var err error
		if h.cache, err = wazero.NewCompilationCacheWithDir(cacheDir); err != nil {
			return nil, err
		}
		config = config.WithCompilationCache(h.cache)
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	err := h.compile(ctx, wasm)
	if err != nil {
		return nil, errors.Join(err, h.Close(ctx))
	}
	return h, nil
}

func (h *Host) compile(ctx context.Context, wasm []byte) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, h.runtime); err != nil {
		return err
	}
	for _, module := range hostcalls {
		b := h.runtime.NewHostModuleBuilder(module.name)
		for _, c := range module.calls {
			b.NewFunctionBuilder().WithGoModuleFunction(c, c.types(), []api.ValueType{api.ValueTypeI32}).Export(c.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	var err error
	h.compiled, err = h.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0)), wasm)
	return err
}

// Size is the program's, in bytes.
func (h *Host) Size() int { return h.size }

// Close frees the program.
func (h *Host) Close(ctx context.Context) error {
	err := h.runtime.Close(ctx)
	if h.cache != nil {
		err = errors.Join(err, h.cache.Close(ctx))
	}
	return err
}

// Do makes an instance for one request and runs it to its end. Nothing can stop one that never ends:
// what could, would make each of its loops slower by far, and its times mean nothing. The Response is
// never nil; with an error it has what there was until then.
func (h *Host) Do(ctx context.Context, s *Service, r *Request) (*Response, error) {
	i := newInstance(s, r)
	ctx = WithMemory(context.WithValue(ctx, instanceKey{}, i))
	var stdout, stderr bytes.Buffer
	began := time.Now()
	module, err := h.runtime.InstantiateModule(ctx, h.compiled,
		wazero.NewModuleConfig().WithName("").WithArgs("function").WithStdout(&stdout).WithStderr(&stderr).WithStartFunctions().
			WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().WithSysNanosleep())
	loaded := time.Now()
	if err == nil {
		defer module.Close(ctx)
		if start := module.ExportedFunction("_start"); start != nil {
			_, err = start.Call(ctx)
		} else {
			err = errors.New("the program exports no _start")
		}
	}
	resp := i.response()
	resp.Loading, resp.Running = loaded.Sub(began), time.Since(loaded)
	resp.Stdout, resp.Stderr = stdout.Bytes(), stderr.Bytes()
	if module != nil {
		resp.Memory = int(module.Memory().Size())
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 0 {
		err = nil
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w: %.2000s", ErrNoAnswer, err, stderr.Bytes())
	case !i.finished():
		err = fmt.Errorf("%w: the program ended without it: %.2000s", ErrNoAnswer, stderr.Bytes())
	}
	return resp, err
}
