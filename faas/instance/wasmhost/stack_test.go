package wasmhost

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
)

// Calls that nest without end are ended at a bound of ours, whichever way the
// circle goes, long before the host's memory is what ends them; calls that nest
// 20,000 deep are let be.
func TestDeepCalls(t *testing.T) {
	event := func(self []byte) []byte {
		return code(0x20, 1, i32Const(1), 0x46, 0x04, 0x40, goodAnswer, 0x0f, 0x0b, self)
	}
	for _, row := range []struct {
		name  string
		guest rawGuest
	}{
		{"itself", rawGuest{decide: event(code(0x20, 0, 0x20, 1, 0x10, 3))}},
		{"two in turn", rawGuest{decide: event(code(0x20, 0, 0x20, 1, 0x10, 2)), configure: code(0x20, 1, 0x04, 0x40, 0x20, 0, 0x20, 1, 0x10, 3, 0x0f, 0x0b, i64Const(0))}},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := row.guest
			g.version = guest.ABIVersion
			h := run(t, Config{Wasm: g.bytes(), Deadline: 10 * time.Second, WarmUp: [][]byte{{1}}})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err := ask(h, "1", "x")
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTrap) || !strings.Contains(err.Error(), "nested too deep") {
				t.Errorf("got %v", err)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*maxStack {
				t.Errorf("%d bytes were taken", grown)
			}
			if err := h.Call(context.Background(), []byte{1}, new(guest.Answer).Parse); err != nil {
				t.Error("the next event:", err)
			}
			checkPristine(t, h)
		})
	}
	// A number of calls as deep as the event is long.
	long := rawGuest{version: guest.ABIVersion, decide: code(
		0x20, 1, i32Const(1), 0x4c, 0x04, 0x40, goodAnswer, 0x0f, 0x0b, // length <= 1
		0x20, 0, 0x20, 1, i32Const(1), 0x6b, 0x10, 3)}
	h := run(t, Config{Wasm: long.bytes(), Deadline: 10 * time.Second, WarmUp: [][]byte{{1}}})
	for range 3 { // what was counted is given back
		if err := h.Call(context.Background(), make([]byte, 20_000), new(guest.Answer).Parse); err != nil {
			t.Errorf("20,000 calls deep: %v", err)
		}
	}
}

// Every circle of calls has a function that counts.
func TestCircles(t *testing.T) {
	// 0 -> 1 -> 2 -> 0; 3 -> 3; 4 -> 5 -> 6, 4 -> 6; 7 calls by table
	functions := []callee{{calls: []uint32{1}}, {calls: []uint32{2}}, {calls: []uint32{0}}, {calls: []uint32{3}},
		{calls: []uint32{5, 6, 0}}, {calls: []uint32{6}}, {}, {count: true}}
	findCircles(functions)
	want := []bool{true, false, false, true, false, false, false, true}
	for i := range functions {
		if functions[i].count != want[i] {
			t.Errorf("function %d counts: %v", i, functions[i].count)
		}
	}
}
