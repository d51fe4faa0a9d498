package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// image is a guest with one policy, and the instances that decide by it.
type image struct {
	*snapshot
	host   *Host
	engine *engine
	policy []byte

	mu      sync.Mutex
	idle    []*instance // pristine
	busy    int         // instances that decide
	retired bool        // a newer image took its place
}

// snapshot is the state in which every instance of an image starts: that of a guest after its
// initialisation with one policy. Nobody writes to it.
type snapshot struct {
	memory  []byte
	globals []uint64 // the values of module.globals
	input   buffer   // the guest's input buffer
}

// buffer is the part of its memory in which a guest takes input.
type buffer struct{ ptr, size uint32 }

// newImage initialises an instance with policy and takes its image.
func (h *Host) newImage(ctx context.Context, e *engine, policy []byte) (*image, error) {
	img := &image{host: h, engine: e, policy: policy, snapshot: &snapshot{}}
	in, err := img.initialised(ctx)
	if err != nil {
		return nil, err
	}
	e.users.Add(1)
	img.idle = append(img.idle, in)
	img.input = in.input
	if e.module.hidden != "" {
		return img, nil
	}
	img.memory = make([]byte, len(in.memory.bytes()))
	copySparse(img.memory, in.memory.bytes())
	for i, g := range in.globals {
		if e.module.globals[i] == exportFuel {
			g.Set(fuelQuantum)
		}
		img.globals = append(img.globals, g.Get())
	}
	in.memory.clearMarks()
	return img, nil
}

// imageOf returns an image with a snapshot that was taken elsewhere.
func (h *Host) imageOf(ctx context.Context, e *engine, policy []byte, s *snapshot) (*image, error) {
	img := &image{host: h, engine: e, policy: policy, snapshot: s}
	in, err := img.another(ctx)
	if err != nil {
		return nil, err
	}
	e.users.Add(1)
	img.idle = append(img.idle, in)
	return img, nil
}

// initialised returns a new instance that has run its initialisation.
func (img *image) initialised(ctx context.Context) (*instance, error) {
	in, err := img.newInstance(ctx)
	if err != nil {
		return nil, err
	}
	if err := in.initialise(ctx, img.policy); err != nil {
		in.close()
		return nil, fmt.Errorf("%w%s", err, in.output.suffix())
	}
	return in, nil
}

// errRetired says that another image has replaced this one.
var errRetired = errors.New("retired image")

// acquire returns a pristine instance that is the caller's until it is released.
func (img *image) acquire(ctx context.Context) (*instance, error) {
	img.mu.Lock()
	if img.retired {
		img.mu.Unlock()
		return nil, errRetired
	}
	img.busy++
	if n := len(img.idle); n > 0 {
		in := img.idle[n-1]
		img.idle = img.idle[:n-1]
		img.mu.Unlock()
		return in, nil
	}
	img.mu.Unlock()
	in, err := img.another(context.WithoutCancel(ctx))
	if err != nil {
		img.release(nil, false)
		return nil, err
	}
	return in, nil
}

// another returns a new pristine instance.
func (img *image) another(ctx context.Context) (*instance, error) {
	if img.engine.module.hidden != "" {
		return img.initialised(ctx)
	}
	in, err := img.newInstance(ctx)
	if err != nil {
		return nil, err
	}
	if err := in.copyImage(); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// release returns an instance to the image. If it can't be restored, or if the image is retired, it is
// closed.
func (img *image) release(in *instance, pristine bool) {
	img.mu.Lock()
	if pristine && !img.retired {
		img.idle = append(img.idle, in)
		img.busy--
		img.mu.Unlock()
		return
	}
	img.mu.Unlock()
	if in != nil {
		in.close()
	}
	img.mu.Lock()
	img.busy--
	last := img.retired && img.busy == 0
	img.mu.Unlock()
	if last {
		img.engine.leave()
	}
}

// retire closes the idle instances. The busy ones are closed when they are released; the last of them
// ends the image's use of the engine.
func (img *image) retire() {
	img.mu.Lock()
	idle, last := img.idle, img.busy == 0
	img.idle, img.retired = nil, true
	img.mu.Unlock()
	for _, in := range idle {
		in.close()
	}
	if last {
		img.engine.leave()
	}
}
