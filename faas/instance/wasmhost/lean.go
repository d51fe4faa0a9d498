package wasmhost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Four fifths of a Go guest's code have no part in decisions: they set up its runtime, take its policy
// in, and are there for what could happen. A runtime reads, validates and compiles them all the same,
// and a gateway that starts waits for it. So a prepared guest knows which of its functions decided when
// it was trained. These are the lean guest, which all events meet, with stubs in place of the rest. It
// can't be initialised; it doesn't have to be, as a snapshot that the whole guest made is as good for
// the lean one, and is kept in the cache for the next start (see cache.go).
//
// A stub tells the host what an event is missing. The whole guest, with the same snapshot, then takes
// the lean one's place for good and decides that event; its first instance is gone with all that it did.

// Training is what a guest is run with before it is prepared, so that Prepare sees what it uses.
type Training struct {
	Policies [][]byte        // the guest is configured with each, and decides all of the following
	Events                   // with every policy
	Own      map[int]*Events // with the policy of this index, and one of sampled with every other: states of an older policy come to a newer one
}

// Events are what a guest decides.
type Events struct {
	Requests [][]byte // in the guest's envelope
	Packets  [][]byte // in flow/contract/compact
}

// use runs the guest and returns which of its functions decided, a bit for each. Nil without training.
func (t *Training) use(m *module) (used []byte, err error) {
	if len(t.Policies) == 0 {
		return nil, nil
	}
	// To note a call takes longer than most functions run. So a few of the events show first which functions nearly all events call, and the
	// guests that decide all events note the calls of the others only.
	if used, err = t.train(m, nil, sampled, 1); err != nil {
		return nil, err
	}
	return t.train(m, used, 1, settled)
}

const (
	// sampled is of how many events one is decided to see what nearly all of them call.
	sampled = 16
	// settled is after how many rounds that have shown nothing new the training ends.
	settled = 5
)

// train has every policy decide one of each step events, until that has shown no new function in so many rounds; once is enough for one
// round. It returns what is known with what was new.
func (t *Training) train(m *module, known []byte, step, rounds int) (used []byte, err error) {
	trainers := make([]*trainer, min(runtime.GOMAXPROCS(0), len(t.Policies), maxTrainers))
	for i := range trainers {
		if trainers[i], err = newTrainer(m, known); err != nil {
			return nil, err
		}
		defer trainers[i].engine.close()
	}
	if len(t.Packets) > 0 && !trainers[0].engine.packets {
		return nil, errors.New("training: the guest does not take packets in the compact encoding")
	}
	used = slices.Clone(known)
	// What runs depends on chance, too: keys of a map are compared when their hashes are much alike,
	// and hashes are seeded anew in every image.
	for quiet := 0; quiet < rounds; quiet++ {
		if err := t.round(trainers, step); err != nil {
			return nil, err
		}
		for _, tr := range trainers {
			if merged, more := union(used, tr.functions); more {
				used = merged
				if rounds > 1 {
					quiet = -1
				}
			}
		}
	}
	return used, nil
}

// maxTrainers bounds the guests that are trained at a time, for their memory.
const maxTrainers = 8

// trainer runs a guest of its own.
type trainer struct {
	usage
	host   *Host
	engine *engine
}

func newTrainer(m *module, known []byte) (*trainer, error) {
	t := &trainer{usage: usage{known: known}, host: New(Config{Name: "training", InitDeadline: time.Minute, Deadline: time.Minute, Instances: 1})}
	var err error
	t.engine, err = t.host.compile(experimental.WithFunctionListenerFactory(context.Background(), &t.usage), m)
	return t, err
}

// union adds the bits of b to a, and says whether a had not all of them.
func union(a, b []byte) (_ []byte, more bool) {
	for i := range b {
		if i == len(a) {
			a = append(a, 0)
		}
		more = more || b[i]&^a[i] != 0
		a[i] |= b[i]
	}
	return a, more
}

// round has every policy decide one of each step events, each with one of the trainers.
func (t *Training) round(trainers []*trainer, step int) error {
	errs := make([]error, len(trainers))
	var wg sync.WaitGroup
	for w, tr := range trainers {
		wg.Go(func() {
			ctx := experimental.WithFunctionListenerFactory(context.Background(), &tr.usage)
			for i := w; i < len(t.Policies) && errs[w] == nil; i += len(trainers) {
				errs[w] = t.decide(ctx, tr, i, step)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// decide configures a guest with one policy and has it decide one of each step events.
func (t *Training) decide(ctx context.Context, tr *trainer, policy, step int) error {
	img, err := tr.host.newImage(ctx, tr.engine, t.Policies[policy])
	if err != nil {
		return fmt.Errorf("training: policy %d: %w", policy, err)
	}
	defer img.retire()
	tr.deciding = true
	defer func() { tr.deciding = false }()
	all := func(list *Events, step int) error {
		for at, events := range [...][][]byte{decide: list.Requests, packet: list.Packets} {
			for i := 0; i < len(events); i += step {
				in, err := img.acquire(ctx)
				if err == nil {
					_, err = in.decide(ctx, entry(at), events[i])
				}
				if err != nil {
					return fmt.Errorf("training: event %d with policy %d: %w", i, policy, err)
				}
				img.release(in, in.reset())
			}
		}
		return nil
	}
	if err := all(&t.Events, step); err != nil {
		return err
	}
	for of, own := range t.Own {
		each := step
		if of != policy {
			each *= sampled
		}
		if err := all(own, each); err != nil {
			return err
		}
	}
	return nil
}

// usage notes every call of a function that isn't known.
type usage struct {
	known     []byte // a bit for each
	deciding  bool   // or it doesn't care
	functions []byte // a bit for each
}

// NewFunctionListener implements experimental.FunctionListenerFactory.
func (u *usage) NewFunctionListener(f api.FunctionDefinition) experimental.FunctionListener {
	if bit(u.known, f.Index()) {
		return nil
	}
	return experimental.FunctionListenerFunc(func(context.Context, api.Module, api.FunctionDefinition, []uint64, experimental.StackIterator) {
		u.add(f.Index())
	})
}

func (u *usage) add(i uint32) {
	if !u.deciding || bit(u.functions, i) {
		return
	}
	if more := int(i/8) + 1 - len(u.functions); more > 0 {
		u.functions = append(u.functions, make([]byte, more)...)
	}
	u.functions[i/8] |= 1 << (i % 8)
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

// leanOf returns the module with stubs for the functions that are not used, and without what its memory
// starts with; nil where there is no such module.
func (m *module) leanOf(used []byte) (*module, error) {
	if used == nil || m.hidden != "" {
		return nil, nil
	}
	sections, _, err := split(m.binary)
	if err != nil {
		return nil, err
	}
	if sections[sectionDataCount] != nil {
		return nil, nil // instructions name data segments
	}
	sections[sectionData], sections[sectionStart] = nil, nil
	// The last import is refuel, the last global is the fuel.
	imports, globals := (&reader{b: sections[sectionImport]}).u32(), (&reader{b: sections[sectionGlobal]}).u32()
	r := &reader{b: sections[sectionCode]}
	count := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(r.b)), uint64(count))
	for i := imports; i < imports+count && r.err == nil; i++ {
		start := r.at
		r.take(r.u32())
		if bit(used, i) {
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
	lean.binary, lean.lean = join(&sections), true
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

// takeWhole gives the snapshot of the lean guest to the whole one, and swaps.
func (h *Host) takeWhole(ctx context.Context, missing *absentError) error {
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	current := h.current.Load()
	if current == nil {
		return ErrClosed
	}
	began := time.Now()
	whole, err := h.compileWhole(ctx)
	if err != nil {
		return err
	}
	next, err := h.imageOf(ctx, whole, current.policy, current.snapshot)
	if err != nil {
		whole.leave()
		return err
	}
	h.swap(whole, next)
	h.stats.completed.Add(1)
	h.log.Info("the whole guest decides now", "because", missing, "after_seconds", time.Since(began).Seconds())
	return nil
}

// slim gives the snapshot of the whole guest to the lean one, where there is one, and keeps it for the
// next start. Without a cache of compiled modules the whole guest stays: to compile it anew for every
// policy would take a second.
func (h *Host) slim(ctx context.Context) error {
	h.policyMu.Lock()
	defer h.policyMu.Unlock()
	if h.engine.cache == nil || h.engine.module.lean {
		return nil
	}
	m, err := h.loadLean()
	if m == nil {
		return err
	}
	if m.hash != h.engine.module.hash {
		return errMismatch
	}
	lean, err := h.compile(ctx, m)
	if err != nil {
		return err
	}
	current := h.current.Load()
	next, err := h.imageOf(ctx, lean, current.policy, current.snapshot)
	if err != nil {
		lean.leave()
		return err
	}
	h.keep(next)
	h.swap(lean, next)
	return nil
}

// swap makes events meet next, which is of another engine than before. policyMu is held.
func (h *Host) swap(e *engine, next *image) {
	h.current.Swap(next).retire()
	h.engine.leave()
	h.engine = e
}

// configured takes an image with policy, of the engine that decides. policyMu is held.
func (h *Host) configured(ctx context.Context, policy []byte) (*image, error) {
	if !h.engine.module.lean {
		return h.newImage(ctx, h.engine, policy)
	}
	whole, err := h.compileWhole(ctx)
	if err != nil {
		return nil, err
	}
	defer whole.leave()
	taken, err := h.newImage(ctx, whole, policy)
	if err != nil {
		return nil, err
	}
	defer taken.retire()
	img, err := h.imageOf(ctx, h.engine, policy, taken.snapshot)
	if err == nil {
		h.keep(img)
	}
	return img, err
}

// compileWhole compiles what the lean guest that decides was made from.
func (h *Host) compileWhole(ctx context.Context) (*engine, error) {
	m, err := h.load()
	if err != nil {
		return nil, err
	}
	if m.hash != h.engine.module.hash {
		return nil, errMismatch
	}
	return h.compile(ctx, m)
}

// errMismatch: their snapshots are not each other's.
var errMismatch = fmt.Errorf("%w: the lean guest was not made with the whole one", ErrGuest)

// loadLean returns the lean guest, or nil if there is none.
func (h *Host) loadLean() (*module, error) {
	if h.config.Lean == nil {
		return nil, nil
	}
	wasm, err := h.config.Lean()
	if err != nil || wasm == nil {
		return nil, err
	}
	m, err := preparedModule(wasm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	return m, nil
}

// asAbsent finds what a lean guest lacks in an error.
func asAbsent(err error) *absentError {
	var missing *absentError
	if errors.As(err, &missing) {
		return missing
	}
	return nil
}
