package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"switchbridge/faas/instance/guest"
)

// instance is one instance of a guest. One goroutine at a time owns it.
type instance struct {
	image   *image
	module  api.Module
	memory  *memory
	globals []api.MutableGlobal
	input   buffer
	output  tail // what the guest printed during this event

	entries        [2]api.Function // by entry
	bufferFunction api.Function
	stack          [2]uint64 // parameters and results of a call

	context callContext // of the event
}

// newInstance instantiates the guest. Of its code only a start function runs.
func (img *image) newInstance(ctx context.Context) (*instance, error) {
	h := img.host
	memory, err := newMemory(h.config.MemoryLimit)
	if err != nil {
		return nil, err
	}
	in := &instance{image: img, memory: memory}
	allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return memory })
	config := wazero.NewModuleConfig().
		WithName(""). // any number of instances
		WithStartFunctions()
	module, err := img.engine.runtime.InstantiateModule(in.initContext(experimental.WithMemoryAllocator(ctx, allocate)), img.engine.compiled, config)
	if err != nil {
		memory.unmap()
		return nil, fmt.Errorf("%w: instantiate: %w", ErrGuest, firstLine(err))
	}
	in.module = module
	in.entries = [...]api.Function{decide: module.ExportedFunction(exportDecide), packet: module.ExportedFunction(exportPacket)}
	in.bufferFunction = module.ExportedFunction(exportBuffer)
	for _, name := range img.engine.module.globals {
		in.globals = append(in.globals, module.ExportedGlobal(name).(api.MutableGlobal))
	}
	h.stats.created.Add(1)
	h.stats.instances.Add(1)
	return in, nil
}

func (in *instance) close() {
	h := in.image.host
	h.stats.instances.Add(-1)
	_ = in.module.Close(context.Background())
	in.memory.unmap()
}

// initialise runs the guest up to the point at which its image is taken.
func (in *instance) initialise(ctx context.Context, policy []byte) error {
	ctx = in.initContext(ctx)
	if f := in.module.ExportedFunction(exportInitialize); f != nil {
		if _, err := f.Call(ctx); err != nil {
			return fmt.Errorf("%w: initialise: %w", ErrGuest, guestError(err))
		}
	}
	version, err := in.module.ExportedFunction(exportABIVersion).Call(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrGuest, exportABIVersion, guestError(err))
	}
	if uint32(version[0]) != guest.ABIVersion {
		return fmt.Errorf("%w: built for guest ABI version %d, this host has version %d", ErrGuest, uint32(version[0]), guest.ABIVersion)
	}
	if err := in.configure(ctx, policy); err != nil {
		return err
	}
	// The buffer that most events fit in is part of the image, so that they cost one call only.
	if err := in.reserve(ctx, usualRequest); err != nil {
		return err
	}
	for _, request := range in.image.host.config.WarmUp {
		if _, err := in.call(ctx, decide, request); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	if in.entries[packet] == nil {
		return nil
	}
	for _, event := range in.image.host.config.WarmUpPackets {
		if _, err := in.call(ctx, packet, event); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	return nil
}

const usualRequest = 16 << 10

// configure gives the guest its policy. If the guest refuses it, the error has the guest's text.
func (in *instance) configure(ctx context.Context, policy []byte) error {
	if len(policy) > guest.MaxPolicy {
		return fmt.Errorf("policy of %d bytes, limit %d", len(policy), guest.MaxPolicy)
	}
	if err := in.reserve(ctx, uint32(len(policy))); err != nil {
		return err
	}
	in.memory.write(in.input.ptr, policy)
	packed, err := in.module.ExportedFunction(exportConfigure).Call(ctx, uint64(in.input.ptr), uint64(len(policy)))
	if err != nil {
		return fmt.Errorf("configure: %w", guestError(err))
	}
	if packed[0] == 0 {
		return nil
	}
	message, err := in.result(packed[0])
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return fmt.Errorf("configure: %s", message)
}

// reserve asks the guest for an input buffer of size bytes and checks that it lies within memory.
func (in *instance) reserve(ctx context.Context, size uint32) error {
	in.stack[0] = uint64(size)
	if err := in.bufferFunction.CallWithStack(ctx, in.stack[:]); err != nil {
		return fmt.Errorf("%s: %w", exportBuffer, guestError(err))
	}
	ptr := uint32(in.stack[0])
	if ptr == 0 && size > 0 {
		return fmt.Errorf("%w: refused a buffer of %d bytes", ErrAnswer, size)
	}
	if have := uint64(len(in.memory.bytes())); uint64(ptr)+uint64(size) > have {
		return fmt.Errorf("%w: buffer of %d bytes at %#x, past the memory's %d", ErrAnswer, size, ptr, have)
	}
	in.input = buffer{ptr: ptr, size: size}
	return nil
}

// decide lets the guest decide one event within its deadline.
func (in *instance) decide(ctx context.Context, entry entry, request []byte) ([]byte, error) {
	in.context = callContext{Context: ctx, limit: in.image.host.config.Deadline, output: &in.output}
	answer, err := in.call(&in.context, entry, request)
	in.context.Context = nil
	if errors.Is(err, ErrDeadline) {
		err = fmt.Errorf("%w of %v", err, in.context.limit)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, in.output.suffix())
	}
	return answer, nil
}

// entry is one of the guest's functions that take an event.
type entry int

const (
	decide entry = iota
	packet
)

// call gives the guest a request and returns the answer, which lies in the guest's memory.
func (in *instance) call(ctx context.Context, entry entry, request []byte) ([]byte, error) {
	if uint64(len(request)) > uint64(in.input.size) {
		if err := in.reserve(ctx, uint32(len(request))); err != nil {
			return nil, err
		}
	}
	in.memory.write(in.input.ptr, request)
	in.stack = [2]uint64{uint64(in.input.ptr), uint64(len(request))}
	if err := in.entries[entry].CallWithStack(ctx, in.stack[:]); err != nil {
		return nil, guestError(err)
	}
	return in.result(in.stack[0])
}

// result returns the bytes of the guest's memory that a packed pointer and length name.
func (in *instance) result(packed uint64) ([]byte, error) {
	ptr, size := packed>>32, packed&0xffffffff
	if size == 0 {
		return nil, fmt.Errorf("%w: an empty one", ErrAnswer)
	}
	if size > guest.MaxEnvelope {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrAnswer, size, guest.MaxEnvelope)
	}
	if have := uint64(len(in.memory.bytes())); ptr+size > have {
		return nil, fmt.Errorf("%w: %d bytes at %#x, past the memory's %d", ErrAnswer, size, ptr, have)
	}
	return in.memory.bytes()[ptr : ptr+size : ptr+size], nil
}

// copyImage makes a new instance equal the image.
func (in *instance) copyImage() error {
	switch more := len(in.image.memory) - len(in.memory.bytes()); {
	case more < 0:
		return fmt.Errorf("%w: it starts with %d bytes of memory more than its image has", ErrGuest, -more)
	case more > 0:
		if _, ok := in.module.Memory().Grow(uint32(more / wasmPage)); !ok {
			return fmt.Errorf("grow memory to the image's %d bytes", len(in.image.memory))
		}
	}
	copySparse(in.memory.bytes(), in.image.memory)
	in.memory.clearMarks()
	in.input = in.image.input
	in.resetGlobals()
	return nil
}

// reset makes the instance equal the image again, and reports whether it could.
func (in *instance) reset() bool {
	h := in.image.host
	if in.image.engine.module.hidden != "" {
		return false
	}
	if len(in.memory.bytes()) != len(in.image.memory) {
		h.stats.grew.Add(1)
		return false
	}
	in.output.n = 0
	in.input = in.image.input
	in.resetGlobals()
	restored := len(in.image.memory)
	if h.config.WholeCopy {
		copyBlocks(in.memory.bytes(), in.image.memory)
	} else {
		restored = in.memory.restore(in.image.memory)
	}
	h.stats.restored.Add(uint64(restored))
	return true
}

// page is a part of linear memory, which has whole ones.
type page = [snapshotPage]byte

// copySparse makes dst equal src. It does not write to pages that are zero in both, so that they stay without memory of their own. It assigns
// arrays, as copyBlocks does where races are detected.
//
//go:norace
func copySparse(dst, src []byte) {
	for ; len(src) > 0; dst, src = dst[snapshotPage:], src[snapshotPage:] {
		if from, to := (*page)(src), (*page)(dst); *from != zeroPage || *to != zeroPage {
			*to = *from
		}
	}
}

var zeroPage page

func (in *instance) resetGlobals() {
	for i, g := range in.globals {
		g.Set(in.image.globals[i])
	}
}

// callContext is the context of one call of the guest. It needs no allocation and no timer. The host
// functions that a guest calls find it.
type callContext struct {
	context.Context
	limit  time.Duration // that the guest may take
	output *tail         // what it prints

	// end is when the guest's time is over. It is set when the guest has used up some fuel, since
	// reading the clock takes a large part of a decision's time.
	end time.Time

	worked int // see work
}

// initContext returns the context of an instance's start and initialisation.
func (in *instance) initContext(ctx context.Context) context.Context {
	return &callContext{Context: ctx, limit: in.image.host.config.InitDeadline, output: &in.output}
}

// left returns how much time the guest has left.
func (c *callContext) left() time.Duration {
	now := time.Now()
	if c.end.IsZero() {
		c.end = now.Add(c.limit)
		if end, ok := c.Context.Deadline(); ok && end.Before(c.end) {
			c.end, c.limit = end, max(0, end.Sub(now).Round(time.Microsecond))
		}
	}
	if c.Err() != nil {
		return 0
	}
	return c.end.Sub(now)
}

// work counts the bytes that the host reads or writes for the guest, which takes time but no fuel. It
// ends a guest whose time is over.
func (c *callContext) work(size int) {
	if c.worked += size; c.worked < workStep {
		return
	}
	if c.worked = 0; c.left() <= 0 {
		panic(sys.NewExitError(sys.ExitCodeDeadlineExceeded)) // how a host function ends a guest
	}
}

const workStep = 1 << 20 // bytes, some milliseconds

// sleep waits for the guest. It returns early if the event ends; the guest's time is then over.
func (c *callContext) sleep(d time.Duration) {
	if d = min(d, c.left()); d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Done():
	}
}

// guestError turns an error of wazero's into one of this package's.
func guestError(err error) error {
	if missing := asAbsent(err); missing != nil {
		return missing
	}
	var exit *sys.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%w: %w", ErrTrap, firstLine(err))
	}
	switch exit.ExitCode() {
	case sys.ExitCodeDeadlineExceeded, sys.ExitCodeContextCanceled:
		return ErrDeadline
	}
	return fmt.Errorf("%w with code %d", ErrExit, exit.ExitCode())
}

// firstLine removes wazero's stack trace.
func firstLine(err error) error {
	line, _, more := strings.Cut(err.Error(), "\n")
	if !more {
		return err
	}
	return errors.New(strings.TrimSuffix(line, " (recovered by wazero)"))
}

// tail keeps the first bytes that a guest prints: they usually say why it ended.
type tail struct {
	buf [512]byte
	n   int
}

func (t *tail) Write(b []byte) (int, error) {
	t.n += copy(t.buf[t.n:], b)
	return len(b), nil
}

// suffix returns what was printed, to be appended to an error.
func (t *tail) suffix() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.buf[:t.n])), "\n")
	if line == "" {
		return ""
	}
	return fmt.Sprintf(": it printed %q", line)
}
