package wasmhost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Two thirds of a Go guest's code never run: they are there for what could happen. A runtime reads,
// validates and compiles them all the same, and a gateway that starts waits for it. So a prepared
// guest knows which of its functions its training ran, and a host starts with these, the lean guest.
// A stub in place of each other function tells the host what an event is missing. The host then
// compiles the whole guest, which takes the lean one's place for good, and the event is decided by
// an instance of that. Its first instance is gone with all that it did.

// Training is what a guest is run with before it is prepared, so that Prepare sees what it uses.
type Training struct {
	Policies [][]byte // the guest is configured with each, and decides all of the following
	Requests [][]byte // in the guest's envelope
	Packets  [][]byte // in flow/contract/compact
}

// use runs the guest and returns which of its functions ran, a bit for each that it defines. A nil
// result means that all are needed.
func (t *Training) use(m *module) (used []byte, err error) {
	if len(t.Policies) == 0 {
		return nil, nil
	}
	seen := &usage{}
	ctx := experimental.WithFunctionListenerFactory(context.Background(), seen)
	h := New(Config{Name: "training", InitDeadline: time.Minute, Deadline: time.Minute, Instances: 1})
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	if h.engine, err = h.compile(ctx, m); err != nil {
		return nil, err
	}
	defer h.engine.close()
	if len(t.Packets) > 0 && !h.engine.packets {
		return nil, fmt.Errorf("training: %w", ErrNoPacket)
	}
	// What runs depends on chance, too: keys of a map are compared when their hashes are much alike,
	// and hashes are seeded anew in every instance.
	for quiet := 0; quiet < settled; quiet++ {
		before := seen.count
		for i := range t.Policies {
			if err := t.round(ctx, h, i); err != nil {
				return nil, err
			}
		}
		if seen.count != before {
			quiet = 0
		}
	}
	return seen.functions, nil
}

// settled is after how many rounds that have shown nothing new the training ends.
const settled = 10

// round configures the guest with one policy and has it decide all events.
func (t *Training) round(ctx context.Context, h *Host, policy int) error {
	img, err := h.newImage(ctx, t.Policies[policy])
	if err != nil {
		return fmt.Errorf("training: policy %d: %w", policy, err)
	}
	defer img.retire()
	for at, events := range [...][][]byte{decide: t.Requests, packet: t.Packets} {
		for i, event := range events {
			in, err := img.acquire(ctx)
			if err == nil {
				_, err = in.decide(ctx, entry(at), event)
			}
			if err != nil {
				return fmt.Errorf("training: event %d with policy %d: %w", i, policy, err)
			}
			img.release(in, in.reset())
		}
	}
	return nil
}

// usage is told of every call.
type usage struct {
	functions []byte // a bit for each
	count     int
}

// NewFunctionListener implements experimental.FunctionListenerFactory.
func (u *usage) NewFunctionListener(f api.FunctionDefinition) experimental.FunctionListener {
	return experimental.FunctionListenerFunc(func(context.Context, api.Module, api.FunctionDefinition, []uint64, experimental.StackIterator) {
		u.add(f.Index())
	})
}

func (u *usage) add(i uint32) {
	if bit(u.functions, i) {
		return
	}
	if more := int(i/8) + 1 - len(u.functions); more > 0 {
		u.functions = append(u.functions, make([]byte, more)...)
	}
	u.functions[i/8] |= 1 << (i % 8)
	u.count++
}

func bit(set []byte, i uint32) bool { return uint64(i/8) < uint64(len(set)) && set[i/8]>>(i%8)&1 == 1 }

// Fuel that no guest ever has but one that called a stub. The function's index is added.
const absentFuel = math.MinInt32

// isAbsent tells absentFuel from what the fuel of a guest may be, which a take leaves a little
// below zero.
func isAbsent(fuel int32) bool { return fuel < absentFuel/2 }

// absentError says that a lean guest called a function that it lacks, by its index in the guest.
type absentError struct{ function uint32 }

func (e *absentError) Error() string {
	return fmt.Sprintf("function %d of the guest is not part of the lean one", e.function)
}

// lean returns the module with stubs for the functions that training didn't use; m itself where that
// is all the same.
func (m *module) lean() (*module, error) {
	if m.used == nil {
		return m, nil
	}
	sections, _, err := split(m.binary)
	if err != nil {
		return nil, err
	}
	// The last import is refuel, the last global is the fuel.
	imports, globals := (&reader{b: sections[sectionImport]}).u32(), (&reader{b: sections[sectionGlobal]}).u32()
	r := &reader{b: sections[sectionCode]}
	count := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(r.b)), uint64(count))
	for i := imports; i < imports+count && r.err == nil; i++ {
		start := r.at
		r.take(r.u32())
		if bit(m.used, i) {
			out = append(out, r.b[start:r.at]...)
			continue
		}
		stub := appendSigned([]byte{0, opI32Const}, absentFuel+int64(i-1)) // the guest's own index; no locals
		stub = binary.AppendUvarint(append(stub, opGlobalSet), uint64(globals-1))
		stub = binary.AppendUvarint(append(stub, opCall), uint64(imports-1))
		stub = append(stub, opUnreachable, opEnd)
		out = append(binary.AppendUvarint(out, uint64(len(stub))), stub...)
	}
	if r.err != nil {
		return nil, r.err
	}
	sections[sectionCode] = out
	lean := *m
	lean.binary, lean.absent = join(&sections), true
	return &lean, nil
}

// completion is one attempt to compile the whole guest.
type completion struct {
	done chan struct{}
	err  error // read after done is closed
}

// complete sees to it that the whole guest decides, and returns when it does or when ctx ends.
func (h *Host) complete(ctx context.Context, missing *absentError) error {
	h.completionMu.Lock()
	c := h.completion
	if c == nil {
		c = &completion{done: make(chan struct{})}
		h.completion = c
		go func() {
			c.err = h.takeWhole(context.WithoutCancel(ctx), missing)
			h.completionMu.Lock()
			if c.err != nil {
				h.completion = nil // the next that needs it tries again
			}
			h.completionMu.Unlock()
			close(c.done)
			debug.FreeOSMemory() // as after the start
		}()
	}
	h.completionMu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w, and the whole guest is not ready: %w", h, missing, ctx.Err())
	}
}

// takeWhole swaps an image of the whole guest in.
func (h *Host) takeWhole(ctx context.Context, missing *absentError) error {
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	current := h.current.Load()
	if current == nil {
		return ErrClosed
	}
	if !current.engine.module.absent { // a policy needed it before
		return nil
	}
	if err := h.compileWhole(ctx, missing); err != nil {
		return err
	}
	next, err := h.newImage(ctx, current.policy)
	if err != nil {
		return err
	}
	h.current.Swap(next).retire()
	return nil
}

// compileWhole makes the whole guest the one that the next image is of. policyMu is held.
func (h *Host) compileWhole(ctx context.Context, missing *absentError) error {
	if !h.engine.module.absent {
		return nil
	}
	began := time.Now()
	m, err := h.load()
	if err != nil {
		return err
	}
	whole, err := h.compile(ctx, m)
	if err != nil {
		return err
	}
	h.engine.leave()
	h.engine = whole
	h.stats.completed.Add(1)
	h.log.Info("the whole guest is compiled", "because", missing, "compile", time.Since(began))
	return nil
}

// asAbsent finds what a lean guest lacks in an error.
func asAbsent(err error) *absentError {
	var missing *absentError
	if errors.As(err, &missing) {
		return missing
	}
	return nil
}
