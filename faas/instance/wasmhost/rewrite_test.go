package wasmhost

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
)

// A function of two i32 parameters and locals 2 (i32), 3 and 4 (i64), with an i64 result and a
// page of memory whose bytes are their addresses' sums.
func smallModule(instructions []byte, ofGo bool) []byte {
	const i32, i64 = 0x7f, 0x7e
	body := slices.Concat([]byte{2, 1, i32, 2, i64}, instructions, []byte{opEnd})
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i) + byte(i>>8)*7
	}
	wasm := slices.Concat([]byte(wasmHeader),
		section(sectionType, []byte{0x60, 2, i32, i32, 1, i64}),
		section(sectionFunction, []byte{0}),
		section(sectionMemory, []byte{0, 1}),
		section(sectionExport, slices.Concat(leb(1), []byte("f"), []byte{0, 0}), slices.Concat(leb(1), []byte("m"), []byte{2, 0})),
		section(sectionCode, slices.Concat(leb(len(body)), body)),
		section(sectionData, slices.Concat([]byte{0}, i32Const(0), []byte{opEnd}, leb(len(data)), data)))
	// The name alone, in a section of another name, says nothing.
	decoy := slices.Concat(leb(1), []byte("x"), []byte(goSection))
	wasm = slices.Concat(wasm, []byte{sectionCustom}, leb(len(decoy)), decoy)
	if ofGo {
		name := slices.Concat(leb(len(goSection)), []byte(goSection), []byte("x"))
		wasm = slices.Concat(wasm, []byte{sectionCustom}, leb(len(name)), name)
	}
	return wasm
}

// outcome is what a call of f leaves: its result or its trap, and the memory, which begins at
// start.
func outcome(t *testing.T, wasm []byte, start uint32, a, b uint64) (result string, memory []byte) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	if err := instantiateRefuel(ctx, r); err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	values, err := m.ExportedFunction("f").Call(ctx, a, b)
	if err != nil {
		return "trap", nil
	}
	memory, _ = m.Memory().Read(start, m.Memory().Size()-start)
	return fmt.Sprint(values), slices.Clone(memory)
}

func get(local int) []byte { return []byte{opLocalGet, byte(local)} }
func set(local int) []byte { return []byte{opLocalSet, byte(local)} }

// onStack is the address that Go's compiler computes for what lies at a distance from local 0.
func onStack(distance int) []byte {
	return code(get(0), opI64ExtendI32U, i64Const(int64(distance)), opI64Add, opI32WrapI64)
}

const (
	i64Load  = 0x29
	i64Store = 0x37
	i64Mul   = 0x7e
)

// machine is a state machine as Go's compiler writes it: local 2 chooses among three states, and
// jump is what the first does, with the loop two blocks up.
func machine(jump []byte) []byte {
	return code(opLoop, blockEmpty,
		opBlock, blockEmpty, opBlock, blockEmpty, opBlock, blockEmpty,
		get(2), opBrTable, 2, 0, 1, 2,
		opEnd, // state 0
		get(3), i64Const(3), i64Mul, i64Const(1), opI64Add, set(3), jump,
		opEnd, // state 1
		get(3), i64Const(5), i64Mul, i64Const(2), opI64Add, set(3),
		opEnd, // state 2
		get(3), i64Const(7), i64Mul, i64Const(4), opI64Add, set(3),
		opEnd, get(3))
}

var rewritten = map[string][]byte{
	"jump forward over a state": machine(code(i32Const(2), set(2), opBr, 2)),
	"jump to the next state":    machine(code(i32Const(1), set(2), opBr, 2)),
	"jump past the table":       machine(code(i32Const(77), set(2), opBr, 2)),
	"jump in an if": machine(code(get(1), opIf, blockEmpty, i32Const(2), set(2), opBr, 3, opEnd,
		get(3), i64Const(100), opI64Add, set(3))),
	"jump by another local": machine(code(i32Const(2), set(1), get(1), set(2), i32Const(1), set(1), i32Const(0), opBrIf, 2)),
	"backward while local 1 counts down": machine(code(
		get(1), opIf, blockEmpty, get(1), i32Const(1), opI32Sub, set(1), i32Const(0), set(2), opBr, 3, opEnd)),

	"pointer cut twice": code(get(0), opI64ExtendI32U, set(3),
		get(3), opI32WrapI64, i64Load, 0, 8, get(3), opI32WrapI64, i64Load, 0, 16, opI64Add),
	"pointer changed between": code(get(0), opI64ExtendI32U, set(3),
		get(3), opI32WrapI64, i64Load, 0, 8, get(3), i64Const(24), opI64Add, set(3), get(3), opI32WrapI64, i64Load, 0, 16, opI64Add),
	"pointer changed in an if": code(get(0), opI64ExtendI32U, set(3),
		get(3), opI32WrapI64, i64Load, 0, 8,
		get(1), opIf, blockEmpty, get(3), i64Const(24), opI64Add, set(3), opEnd,
		get(3), opI32WrapI64, i64Load, 0, 16, opI64Add),
	"pointer changed in an else": code(get(0), opI64ExtendI32U, set(3),
		get(3), opI32WrapI64, i64Load, 0, 8,
		get(1), opIf, blockEmpty, get(3), opI32WrapI64, i64Load, 0, 0, set(4), opElse, i64Const(40), set(3), get(3), opI32WrapI64, i64Load, 0, 0, set(4), opEnd,
		get(3), opI32WrapI64, i64Load, 0, 16, opI64Add, get(4), opI64Add),
	"pointer changed in a loop": code(get(0), opI64ExtendI32U, set(3), get(3), opI32WrapI64, i64Load, 0, 0, set(4),
		opLoop, blockEmpty,
		get(4), get(3), opI32WrapI64, i64Load, 0, 16, opI64Add, set(4),
		get(3), i64Const(8), opI64Add, set(3),
		get(1), i32Const(1), opI32Sub, opLocalTee, 1, opBrIf, 0,
		opEnd, get(4)),
	"pointer known on one way into a block's end": code(get(0), opI64ExtendI32U, set(3), i64Const(48), set(4),
		opBlock, blockEmpty, get(1), opBrIf, 0, get(3), opI32WrapI64, i64Load, 0, 0, set(4), opEnd,
		get(3), opI32WrapI64, i64Load, 0, 16, get(4), opI64Add),

	"load from the stack":               code(onStack(24), i64Load, 0, 8),
	"store to the stack":                code(onStack(24), get(1), opI64ExtendI32U, i64Store, 0, 8, onStack(32), i64Load, 0, 0),
	"stores, nested":                    code(onStack(64), onStack(24), i64Load, 0, 8, i64Store, 0, 0, onStack(60), i64Load, 0, 4),
	"address that a call takes is left": code(onStack(24), opLocalTee, 2, opI64ExtendI32U),

	"copy of 40":        code(onStack(200), onStack(24), i32Const(40), opPrefixFC, fcMemoryCopy, 0, 0, onStack(232), i64Load, 0, 0),
	"copy of 16":        code(onStack(200), onStack(24), i32Const(16), opPrefixFC, fcMemoryCopy, 0, 0, onStack(208), i64Load, 0, 0),
	"copy of 383":       code(onStack(900), onStack(24), i32Const(383), opPrefixFC, fcMemoryCopy, 0, 0, onStack(1275), i64Load, 0, 0),
	"copy on itself":    code(onStack(24), onStack(24), i32Const(100), opPrefixFC, fcMemoryCopy, 0, 0, onStack(40), i64Load, 0, 0),
	"copy of 8":         code(onStack(200), onStack(24), i32Const(8), opPrefixFC, fcMemoryCopy, 0, 0, onStack(200), i64Load, 0, 0),
	"zero 100":          code(onStack(24), i32Const(0), i32Const(100), opPrefixFC, fcMemoryFill, 0, onStack(120), i64Load, 0, 0),
	"zero 16":           code(onStack(24), i32Const(0), i32Const(16), opPrefixFC, fcMemoryFill, 0, onStack(32), i64Load, 0, 0),
	"fill with 3":       code(onStack(24), i32Const(3), i32Const(40), opPrefixFC, fcMemoryFill, 0, onStack(40), i64Load, 0, 0),
	"copy past the end": code(onStack(65500), onStack(24), i32Const(40), opPrefixFC, fcMemoryCopy, 0, 0, i64Const(1)),
	"zero past the end": code(onStack(65500), i32Const(0), i32Const(40), opPrefixFC, fcMemoryFill, 0, i64Const(1)),
}

// TestRewrittenCodeDoesTheSame runs code as it is and as it was rewritten, by wazero's interpreter,
// and compares results, traps and all of memory.
func TestRewrittenCodeDoesTheSame(t *testing.T) {
	for name, instructions := range rewritten {
		t.Run(name, func(t *testing.T) {
			for _, ofGo := range []bool{false, true} {
				wasm := smallModule(instructions, ofGo)
				m, err := prepareModule(wasm)
				if err != nil {
					t.Fatal(err)
				}
				for _, args := range [][2]uint64{{0, 1}, {64, 0}, {128, 3}, {1024, 7}, {65536 - 40, 2}, {1 << 31, 1}} {
					want, wantMemory := outcome(t, wasm, 0, args[0], args[1])
					got, gotMemory := outcome(t, m.binary, reserved, args[0], args[1])
					if got != want || !bytes.Equal(gotMemory, wantMemory) {
						t.Errorf("Go's: %v, f(%d, %d): %s, want %s; memory the same: %v", ofGo, args[0], args[1], got, want, bytes.Equal(gotMemory, wantMemory))
					}
				}
			}
		})
	}
}

// TestRemaindersAreSpelledOut compares each remainder, as it is and as it was rewritten, on both of wazero's engines.
func TestRemaindersAreSpelledOut(t *testing.T) {
	operands := []uint64{0, 1, 2, 3, 7, 10, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 10, 1<<64 - 7, 1<<64 - 3, 1<<64 - 2, 1<<64 - 1}
	for name, op := range map[string]byte{"i32.rem_s": opI32RemS, "i32.rem_u": opI32RemU, "i64.rem_s": opI64RemS, "i64.rem_u": opI64RemU} {
		kind := byte(valueI32)
		if op >= opI64RemS {
			kind = valueI64
		}
		body := code(0, get(0), get(1), int(op), opEnd)
		wasm := slices.Concat([]byte(wasmHeader),
			section(sectionType, []byte{0x60, 2, kind, kind, 1, kind}),
			section(sectionFunction, []byte{0}),
			section(sectionMemory, []byte{0, 1}),
			section(sectionExport, slices.Concat(leb(1), []byte("f"), []byte{0, 0}), slices.Concat(leb(1), []byte("m"), []byte{2, 0})),
			section(sectionCode, slices.Concat(leb(len(body)), body)))
		m, err := prepareModule(wasm)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(m.binary, code(get(0), get(1), int(op))) {
			t.Errorf("%s is still there", name)
		}
		ctx := t.Context()
		reference := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
		defer reference.Close(ctx)
		want, err := reference.Instantiate(ctx, wasm)
		if err != nil {
			t.Fatal(err)
		}
		for engine, config := range map[string]wazero.RuntimeConfig{"interpreted": wazero.NewRuntimeConfigInterpreter(), "as here": wazero.NewRuntimeConfig()} {
			r := wazero.NewRuntimeWithConfig(ctx, config)
			defer r.Close(ctx)
			if err := instantiateRefuel(ctx, r); err != nil {
				t.Fatal(err)
			}
			got, err := r.Instantiate(ctx, m.binary)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range operands {
				for _, b := range operands {
					if kind == valueI32 {
						a, b = uint64(uint32(a)), uint64(uint32(b))
					}
					is, err := want.ExportedFunction("f").Call(ctx, a, b)
					became, err2 := got.ExportedFunction("f").Call(ctx, a, b)
					if !slices.Equal(is, became) || (err == nil) != (err2 == nil) {
						t.Errorf("%s, %s: %#x, %#x: %v %v, want %v %v", name, engine, a, b, became, err2, is, err)
					}
				}
			}
		}
	}
}

// TestJumpsForwardLeaveTheirBlock looks at the code itself: a jump forward becomes a br of the
// block around it, a jump backward stays.
func TestJumpsForwardLeaveTheirBlock(t *testing.T) {
	for _, row := range []struct {
		to, depth int
	}{{1, 0}, {2, 1}, {9, 1}, {0, 2}} { // the third is the default
		m, err := prepareModule(smallModule(machine(code(i32Const(row.to), set(2), opBr, 2)), false))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(m.binary, code(i32Const(row.to), set(2), opBr, row.depth)) {
			t.Errorf("a jump to state %d is no br %d", row.to, row.depth)
		}
	}
}

// TestGoCodeBecomesPlain looks at what is gone from Go's guests, and stays in others.
func TestGoCodeBecomesPlain(t *testing.T) {
	for name, what := range map[string][]byte{
		"load from the stack": {opI64ExtendI32U, opI64Const},
		"stores, nested":      {opI64ExtendI32U, opI64Const},
		"copy of 383":         {opPrefixFC, fcMemoryCopy},
		"zero 100":            {opPrefixFC, fcMemoryFill},
		"pointer cut twice":   {opI32WrapI64, i64Load, 0, 16},
	} {
		for _, ofGo := range []bool{false, true} {
			m, err := prepareModule(smallModule(rewritten[name], ofGo))
			if err != nil {
				t.Fatal(err)
			}
			everywhere := name == "pointer cut twice"
			if gone := !bytes.Contains(m.binary, what); gone != (ofGo || everywhere) {
				t.Errorf("%s, Go's: %v, gone: %v", name, ofGo, gone)
			}
		}
	}
}

func TestSignedNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1 << 31, -1 << 31, 1<<63 - 1, -1 << 63} {
		r := &reader{b: appendSigned(nil, v)}
		if got := r.s64(); got != v || r.err != nil || r.at != len(r.b) {
			t.Errorf("%d: %d, %v", v, got, r.err)
		}
	}
	r := &reader{b: bytes.Repeat([]byte{0x80}, 12)}
	if r.s64(); r.err == nil {
		t.Error("a number without end")
	}
}
