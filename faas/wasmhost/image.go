package wasmhost

import (
	"context"
	"fmt"
	"sync"
)

// image is what every instance starts from: a guest after its initialisation with one policy.
type image struct {
	host    *Host
	policy  []byte
	memory  []byte
	globals []uint64 // the values of module.globals
	input   buffer   // the guest's input buffer

	mu      sync.Mutex
	idle    []*instance // pristine
	retired bool        // a newer image took its place
}

// buffer is where in its memory a guest takes input, and how much of it.
type buffer struct{ ptr, size uint32 }

// newImage initialises an instance with policy and takes its image.
func (h *Host) newImage(ctx context.Context, policy []byte) (*image, error) {
	img := &image{host: h, policy: policy}
	in, err := img.initialised(ctx)
	if err != nil {
		return nil, err
	}
	img.input = in.input
	if h.engine.module.hidden != "" {
		img.idle = append(img.idle, in)
		return img, nil
	}
	img.memory = append([]byte(nil), in.memory.bytes()...)
	for i, g := range in.globals {
		if h.engine.module.globals[i] == exportFuel {
			g.Set(fuelQuantum)
		}
		img.globals = append(img.globals, g.Get())
	}
	in.memory.clearMarks()
	img.idle = append(img.idle, in)
	return img, nil
}

// initialised returns a new instance that ran its initialisation.
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

// acquire returns a pristine instance that is the caller's until it is released or closed.
func (img *image) acquire(ctx context.Context) (*instance, error) {
	img.mu.Lock()
	if n := len(img.idle); n > 0 {
		in := img.idle[n-1]
		img.idle = img.idle[:n-1]
		img.mu.Unlock()
		return in, nil
	}
	img.mu.Unlock()
	if img.host.engine.module.hidden != "" {
		return img.initialised(context.WithoutCancel(ctx))
	}
	in, err := img.newInstance(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	if err := in.copyImage(); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// release gives back an instance that is pristine again.
func (img *image) release(in *instance) {
	img.mu.Lock()
	if !img.retired {
		img.idle = append(img.idle, in)
		img.mu.Unlock()
		return
	}
	img.mu.Unlock()
	in.close()
}

// retire closes the instances that wait; those that decide are closed when they are released.
func (img *image) retire() {
	img.mu.Lock()
	idle := img.idle
	img.idle, img.retired = nil, true
	img.mu.Unlock()
	for _, in := range idle {
		in.close()
	}
}
