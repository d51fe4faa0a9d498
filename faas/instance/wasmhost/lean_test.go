package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
)

// twoFaced answers a request of more than 64 bytes by a function that it calls for nothing else. Its
// answers tell the size of its policy, too.
func twoFaced() rawGuest {
	const result = 0x7f
	choose := func(above int) []byte { // function 4 returns 7, function 5 returns 8
		return code(0x20, 1, i32Const(above), 0x4b, opIf, result, opCall, 5, opElse, opCall, 4, opEnd)
	}
	return rawGuest{
		version:   guest.ABIVersion,
		configure: code(i32Const(0), 0x20, 1, opI32Store, 2, leb(rawBody+4), i64Const(0)),
		decide:    code(i32Const(0), choose(64), opI32Store, 2, leb(rawBody), goodAnswer),
	}
}

func request(body int) []byte {
	r := guest.Request{Event: flow.EventPacketIn, Body: make([]byte, body)}
	return r.AppendBinary(nil)
}

var (
	known   = Training{Policies: [][]byte{nil}, Events: Events{Requests: [][]byte{request(1)}}}
	usual   = request(2)
	unusual = request(200)
)

// prepared has a configuration run a guest in both its forms.
func prepared(t *testing.T, config Config, g rawGuest, training Training) Config {
	t.Helper()
	whole, lean, err := Prepare(g.bytes(), training)
	if err != nil {
		t.Fatal(err)
	}
	config.Name, config.Prepared, config.Wasm = "test", true, whole
	config.Lean = func() ([]byte, error) { return lean, nil }
	return config
}

// leanHost is a host whose events meet the lean guest.
func leanHost(t *testing.T, config Config) *Host {
	t.Helper()
	if config.CacheDir == "" {
		config.CacheDir = t.TempDir()
	}
	h := New(config)
	t.Cleanup(h.close)
	if err := errors.Join(h.start(t.Context()), h.slim(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !h.engine.module.lean || h.current.Load().engine != h.engine {
		t.Fatal("the whole guest decides")
	}
	return h
}

// face asks, and returns what the function returned that answered.
func face(ctx context.Context, h *Host, request []byte) (byte, error) {
	body, err := answerTo(ctx, h, request)
	return body[0], err
}

// configuredBy asks, and returns the size of the policy.
func configuredBy(ctx context.Context, h *Host) (byte, error) {
	body, err := answerTo(ctx, h, usual)
	return body[4], err
}

func answerTo(ctx context.Context, h *Host, request []byte) (body [rawBodySize]byte, err error) {
	err = h.Call(ctx, request, func(b []byte) error {
		var a guest.Answer
		if err := a.Parse(b); err != nil {
			return err
		}
		copy(body[:], a.Body)
		return nil
	})
	return body, err
}

func expectFace(t *testing.T, h *Host, request []byte, want byte, completed uint64) {
	t.Helper()
	if got, err := face(t.Context(), h, request); got != want || err != nil {
		t.Errorf("answered by the function of %d, %v; want that of %d", got, err, want)
	}
	if got := h.Stats().Completed; got != completed {
		t.Errorf("completed %d times, want %d", got, completed)
	}
}

func TestLeanGuestIsCompleted(t *testing.T) {
	h := leanHost(t, prepared(t, Config{}, twoFaced(), known))
	expectFace(t, h, usual, 7, 0)
	lean := h.current.Load().engine
	expectFace(t, h, unusual, 8, 1)
	expectFace(t, h, usual, 7, 1)
	expectFace(t, h, unusual, 8, 1)
	if n := lean.users.Load(); n != 0 {
		t.Errorf("the lean guest still has %d users", n)
	}
	// What the lean guest could not do is no event that failed, and none that was decided.
	if s := h.Stats(); s.Events != 4 || s.Traps != 0 || s.Instances != 1 {
		t.Errorf("%+v", s)
	}
	checkPristine(t, h)
}

func TestManyNeedTheWholeGuest(t *testing.T) {
	h := leanHost(t, prepared(t, Config{Instances: 4}, twoFaced(), known))
	lean := h.current.Load().engine
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			request, want := usual, byte(7)
			if i%2 == 1 {
				request, want = unusual, 8
			}
			if got, err := face(t.Context(), h, request); got != want || err != nil {
				t.Errorf("answered by the function of %d, %v; want that of %d", got, err, want)
			}
		})
	}
	all.Wait()
	if s := h.Stats(); s.Completed != 1 || s.Events != 32 {
		t.Errorf("%+v", s)
	}
	if n := lean.users.Load(); n != 0 {
		t.Errorf("the lean guest still has %d users", n)
	}
}

// TestPolicyOfTheLeanGuest: it is configured by the whole one, and decides by what that made of it.
func TestPolicyOfTheLeanGuest(t *testing.T) {
	h := leanHost(t, prepared(t, Config{}, twoFaced(), known))
	lean := h.engine
	for size := range 6 {
		if err := h.SetPolicy(t.Context(), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if got, err := configuredBy(t.Context(), h); got != byte(size) || err != nil {
			t.Errorf("decided by a policy of %d bytes, %v; want %d", got, err, size)
		}
		expectFace(t, h, usual, 7, 0)
		checkPristine(t, h)
	}
	if n := lean.users.Load(); h.engine != lean || n != 2 {
		t.Errorf("the lean guest has %d users, want the host and one image", n)
	}
	if err := h.SetPolicy(t.Context(), make([]byte, guest.MaxPolicy+1)); err == nil {
		t.Error("a policy over the limit was taken")
	}
	expectFace(t, h, unusual, 8, 1)
	if got, err := configuredBy(t.Context(), h); got != 5 || err != nil {
		t.Errorf("the whole guest decides by a policy of %d bytes, %v; want that of the lean one, 5", got, err)
	}
	if err := h.SetPolicy(t.Context(), []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	if got, err := configuredBy(t.Context(), h); got != 2 || err != nil {
		t.Errorf("decided by a policy of %d bytes, %v; want 2", got, err)
	}
}

// TestNoCacheNoLeanGuest: the whole guest would have to be compiled anew for every policy.
func TestNoCacheNoLeanGuest(t *testing.T) {
	h := New(prepared(t, Config{}, twoFaced(), known))
	t.Cleanup(h.close)
	if err := errors.Join(h.start(t.Context()), h.slim(t.Context())); err != nil {
		t.Fatal(err)
	}
	if h.engine.module.lean {
		t.Error("the lean guest decides")
	}
	expectFace(t, h, unusual, 8, 0)
}

// TestWholeGuestCannotBeHad: an event that needs it fails, all others go on, and the next that needs
// it tries again.
func TestWholeGuestCannotBeHad(t *testing.T) {
	config := prepared(t, Config{}, twoFaced(), known)
	wasm := config.Wasm
	gone := errors.New("the file is gone")
	loads := 0
	config.Wasm, config.Load = nil, func() ([]byte, error) {
		if loads++; loads == 2 {
			return nil, gone
		}
		return wasm, nil
	}
	h := leanHost(t, config)
	expectFace(t, h, usual, 7, 0)
	if _, err := face(t.Context(), h, unusual); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
	expectFace(t, h, usual, 7, 0)
	expectFace(t, h, unusual, 8, 1)
}

// TestNobodyWaitsForEver: an event whose time is over doesn't wait for the whole guest, which comes
// all the same.
func TestNobodyWaitsForEver(t *testing.T) {
	config := prepared(t, Config{}, twoFaced(), known)
	wasm := config.Wasm
	first, held := true, make(chan struct{})
	config.Wasm, config.Load = nil, func() ([]byte, error) {
		if !first {
			<-held
		}
		first = false
		return wasm, nil
	}
	h := leanHost(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := face(ctx, h, unusual)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "function 5 of the guest is not part") {
		t.Error(err)
	}
	expectFace(t, h, usual, 7, 0)
	close(held)
	expectFace(t, h, unusual, 8, 1)
}

func TestWhatTrainingMeets(t *testing.T) {
	trap := twoFaced()
	trap.decide = code(0x20, 1, i32Const(64), 0x4b, opIf, blockEmpty, opUnreachable, opEnd, goodAnswer)
	for name, row := range map[string]struct {
		guest    rawGuest
		training Training
		want     string
	}{
		"an event that traps": {trap, Training{Policies: [][]byte{nil}, Events: Events{Requests: [][]byte{unusual}}}, "training: event 0 with policy 0: guest trapped"},
		"no packets":          {twoFaced(), Training{Policies: [][]byte{nil}, Events: Events{Packets: [][]byte{{1}}}}, "does not take packets"},
		"a policy too long":   {twoFaced(), Training{Policies: [][]byte{nil, make([]byte, guest.MaxPolicy+1)}}, "training: policy 1: policy of"},
	} {
		if _, _, err := Prepare(row.guest.bytes(), row.training); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

// TestLeanGuestLeavesFunctionsOut, and what memory starts with, and nothing else.
func TestLeanGuestLeavesFunctionsOut(t *testing.T) {
	h := New(prepared(t, Config{}, twoFaced(), known))
	whole, err := h.load()
	if err != nil {
		t.Fatal(err)
	}
	lean, err := h.loadLean()
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := split(whole.binary)
	if err != nil {
		t.Fatal(err)
	}
	some, _, err := split(lean.binary)
	if err != nil {
		t.Fatal(err)
	}
	for id := range all {
		if id != sectionCode && id != sectionData && !bytes.Equal(all[id], some[id]) {
			t.Errorf("section %d differs", id)
		}
	}
	if some[sectionData] != nil {
		t.Error("memory is filled")
	}
	a, b := &reader{b: all[sectionCode]}, &reader{b: some[sectionCode]}
	a.u32()
	var same []uint32
	for i := range b.u32() {
		if bytes.Equal(a.take(a.u32()), b.take(b.u32())) {
			same = append(same, i)
		}
	}
	if want := []uint32{3, 4}; a.err != nil || b.err != nil || !slices.Equal(same, want) {
		t.Errorf("functions %d are left, %v, %v; want those that decide, %d", same, a.err, b.err, want)
	}
}

func TestNoLeanGuest(t *testing.T) {
	hidden := twoFaced()
	hidden.table = true
	hidden.decide = code(i32Const(0), 0xd2, 5, 0x26, 0, goodAnswer) // table.set
	for name, config := range map[string]Config{
		"without training":              prepared(t, Config{}, twoFaced(), Training{}),
		"what no snapshot can put back": prepared(t, Config{}, hidden, known),
	} {
		if lean, err := config.Lean(); lean != nil || err != nil {
			t.Errorf("%s: %d bytes, %v", name, len(lean), err)
		}
		h := run(t, config)
		if _, err := face(t.Context(), h, usual); err != nil {
			t.Error(name, err)
		}
	}
}

// TestLeanGuestOfAnother: what its snapshot would mean to the whole guest nobody knows.
func TestLeanGuestOfAnother(t *testing.T) {
	other := twoFaced()
	other.globals = [][]byte{code(valueI32, 1, i32Const(1), opEnd)}
	config := prepared(t, Config{CacheDir: t.TempDir()}, twoFaced(), known)
	mixed := config
	mixed.Lean = prepared(t, Config{}, other, known).Lean
	h := New(mixed)
	t.Cleanup(h.close)
	if err := errors.Join(h.start(t.Context()), h.slim(t.Context())); !errors.Is(err, errMismatch) || h.engine.module.lean {
		t.Error(err)
	}
	expectFace(t, h, unusual, 8, 0)

	h = leanHost(t, config)
	h.config.Wasm = prepared(t, Config{}, other, known).Wasm
	if _, err := face(t.Context(), h, unusual); !errors.Is(err, errMismatch) {
		t.Error(err)
	}
	if err := h.SetPolicy(t.Context(), nil); !errors.Is(err, errMismatch) {
		t.Error(err)
	}
	expectFace(t, h, usual, 7, 0)
}

// TestPoliciesWhileTheGuestIsCompleted has policies come, events ask for all of the guest, and the host
// end, all at the same time.
func TestPoliciesWhileTheGuestIsCompleted(t *testing.T) {
	config := prepared(t, Config{CacheDir: t.TempDir(), Instances: 3}, twoFaced(), known)
	for round := range 8 {
		h := New(config)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		var events, policies sync.WaitGroup
		for i := range 6 {
			events.Go(func() {
				for n := range 50 {
					request, want := usual, byte(7)
					if i == 5 && n > 5*round {
						request, want = unusual, 8
					}
					if got, err := face(t.Context(), h, request); got != want || err != nil {
						t.Errorf("answered by the function of %d, %v; want that of %d", got, err, want)
					}
				}
			})
		}
		policies.Go(func() {
			for size := 1; ; size++ {
				if err := h.SetPolicy(t.Context(), make([]byte, size%200)); errors.Is(err, ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
		events.Wait()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		policies.Wait()
		if n := h.engine.users.Load(); n != 0 || h.Stats().Instances != 0 {
			t.Errorf("the guest has %d users and %d instances after the end", n, h.Stats().Instances)
		}
	}
}
