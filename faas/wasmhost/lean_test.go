package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/guest"
	"switchbridge/faas/wasmhost/wasmtest"
	"switchbridge/flow"
)

// twoFaced answers a request of more than 64 bytes by a function that it calls for nothing else, and
// so it does with a policy of more than 3 bytes.
func twoFaced() rawGuest {
	const result = 0x7f
	choose := func(above int) []byte { // function 4 returns 7, function 5 returns 8
		return code(0x20, 1, i32Const(above), 0x4b, opIf, result, opCall, 5, opElse, opCall, 4, opEnd)
	}
	return rawGuest{
		version:   guest.ABIVersion,
		configure: code(choose(3), 0x1a, i64Const(0)),
		decide:    code(i32Const(0), choose(64), opI32Store, 2, leb(rawBody), goodAnswer),
	}
}

func request(body int) []byte {
	r := guest.Request{Event: flow.EventPacketIn, Body: make([]byte, body)}
	return r.AppendBinary(nil)
}

var (
	known   = Training{Policies: [][]byte{nil}, Requests: [][]byte{request(1)}}
	usual   = request(2)
	unusual = request(200)
)

func prepared(t *testing.T, g rawGuest, training Training) []byte {
	t.Helper()
	wasm, err := Prepare(g.bytes(), training)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// face asks, and returns what the function returned that answered.
func face(ctx context.Context, h *Host, request []byte) (which byte, err error) {
	err = h.Call(ctx, request, func(b []byte) error {
		var a guest.Answer
		if err := a.Parse(b); err != nil {
			return err
		}
		which = a.Body[0]
		return nil
	})
	return which, err
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
	h := run(t, Config{Wasm: prepared(t, twoFaced(), known), Prepared: true})
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
	h := run(t, Config{Wasm: prepared(t, twoFaced(), known), Prepared: true, Instances: 4})
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

func TestPolicyNeedsTheWholeGuest(t *testing.T) {
	wasm := prepared(t, twoFaced(), known)
	t.Run("the first", func(t *testing.T) {
		h := run(t, Config{Wasm: wasm, Prepared: true, Policy: make([]byte, 4)})
		expectFace(t, h, usual, 7, 1)
		expectFace(t, h, unusual, 8, 1)
	})
	t.Run("another", func(t *testing.T) {
		h := run(t, Config{Wasm: wasm, Prepared: true})
		if err := h.SetPolicy(t.Context(), make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		expectFace(t, h, usual, 7, 0)
		lean := h.engine
		if err := h.SetPolicy(t.Context(), make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		expectFace(t, h, usual, 7, 1)
		expectFace(t, h, unusual, 8, 1)
		if n := lean.users.Load(); n != 0 {
			t.Errorf("the lean guest still has %d users", n)
		}
	})
}

// TestWholeGuestCannotBeHad: an event that needs it fails, all others go on, and the next that needs
// it tries again.
func TestWholeGuestCannotBeHad(t *testing.T) {
	wasm := prepared(t, twoFaced(), known)
	gone := errors.New("the file is gone")
	loads := 0
	h := New(Config{Name: "test", Prepared: true, CacheDir: wasmtest.CacheDir(t), Load: func() ([]byte, error) {
		if loads++; loads == 2 {
			return nil, gone
		}
		return wasm, nil
	}})
	start(t, h)
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
	wasm := prepared(t, twoFaced(), known)
	first, held := true, make(chan struct{})
	h := New(Config{Name: "test", Prepared: true, CacheDir: wasmtest.CacheDir(t), Load: func() ([]byte, error) {
		if !first {
			<-held
		}
		first = false
		return wasm, nil
	}})
	start(t, h)
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
		"an event that traps": {trap, Training{Policies: [][]byte{nil}, Requests: [][]byte{unusual}}, "training: event 0 with policy 0: guest trapped"},
		"no packets":          {twoFaced(), Training{Policies: [][]byte{nil}, Packets: [][]byte{{1}}}, "doesn't take packets"},
		"a policy too long":   {twoFaced(), Training{Policies: [][]byte{nil, make([]byte, guest.MaxPolicy+1)}}, "training: policy 1: policy of"},
	} {
		if _, err := Prepare(row.guest.bytes(), row.training); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

// TestLeanGuestLeavesFunctionsOut, and nothing but functions.
func TestLeanGuestLeavesFunctionsOut(t *testing.T) {
	whole, err := preparedModule(prepared(t, twoFaced(), known))
	if err != nil {
		t.Fatal(err)
	}
	lean, err := whole.lean()
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
		if id != sectionCode && !bytes.Equal(all[id], some[id]) {
			t.Errorf("section %d differs", id)
		}
	}
	a, b := &reader{b: all[sectionCode]}, &reader{b: some[sectionCode]}
	a.u32()
	var differ []uint32
	for i := range b.u32() {
		if !bytes.Equal(a.take(a.u32()), b.take(b.u32())) {
			differ = append(differ, i)
		}
	}
	if a.err != nil || b.err != nil || len(differ) != 1 || differ[0] != 5 {
		t.Errorf("functions %d differ, %v, %v; want the one that training didn't call, 5", differ, a.err, b.err)
	}
	// Without training nothing is left out.
	whole, err = preparedModule(prepared(t, twoFaced(), Training{}))
	if err != nil {
		t.Fatal(err)
	}
	if lean, err = whole.lean(); err != nil || lean.absent || !bytes.Equal(lean.binary, whole.binary) {
		t.Error("a guest without training is not whole", err)
	}
}
