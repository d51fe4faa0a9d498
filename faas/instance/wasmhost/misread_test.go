package wasmhost

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// TestWhatWazeroReadsOtherwiseIsRefused has modules that wazero accepts, though it sees other
// instructions in them than the specification has: what the rewriter takes for an immediate is a store
// to the marks, or an instruction that is not renumbered.
func TestWhatWazeroReadsOtherwiseIsRefused(t *testing.T) {
	const v128 = 0x7b
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)

	// A type section that has so many types that a heap type is an opcode with immediates.
	manyTypes := func(first []byte) []byte {
		types := [][]byte{first}
		for len(types) < 0x40 {
			types = append(types, []byte{0x60, 0, 0})
		}
		return section(sectionType, types...)
	}
	store := code(i32Const(0), i32Const(1), opI32Store8, 0, 0)
	small := func(locals, instructions []byte, more ...[]byte) []byte {
		body := slices.Concat(locals, instructions, []byte{opEnd})
		wasm := slices.Concat([]byte(wasmHeader), manyTypes([]byte{0x60, 0, 0}), section(sectionFunction, []byte{0}))
		for _, id := range []int{sectionTable, sectionMemory, sectionGlobal, sectionElement, sectionCode} {
			switch id {
			case sectionMemory:
				wasm = append(wasm, section(id, []byte{0, 1})...)
			case sectionCode:
				wasm = append(wasm, section(id, slices.Concat(leb(len(body)), body))...)
			}
			for _, s := range more {
				if int(s[0]) == id {
					wasm = append(wasm, s...)
				}
			}
		}
		return wasm
	}
	none := []byte{0}
	// wazero sees i16x8.shr_u, unreachable, end and a store of 1 to address 0; the specification has a
	// shuffle of 16 lanes.
	shuffle := code(opBlock, blockEmpty, opBr, 0, opPrefixFD, 0x8d, 0x00, opEnd, store, bytes.Repeat([]byte{1}, 16-1-len(store)))

	for _, row := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"vector instruction in more bytes than it needs", small(none, shuffle), "0xfd 13 in 2 bytes"},
		{"block of a reference to a type", small(none, code(opBlock, 0x63, opI32Load, opUnreachable, opEnd, 0x1a)), "type"},
		{"loop of a reference to a type", small(none, code(opLoop, 0x63, opI32Load, opUnreachable, opEnd, 0x1a)), "type"},
		{"select of references", small(none, code(opUnreachable, 0x1c, 1, 0x63, opI32Load, 0x1a)), "type"},
		{"local that is a reference to a type", small(code(1, 1, 0x63, 0x3f), nil), "type"},
		{"parameter that is a reference to a type", slices.Concat([]byte(wasmHeader), section(sectionType, []byte{0x60, 1, 0x63, 0x70, 0})), "type"},
		{"result that is a reference to a type", slices.Concat([]byte(wasmHeader), section(sectionType, []byte{0x60, 0, 1, 0x63, 0x70})), "type"},
		{"global that is a reference to a type", small(none, nil, section(sectionGlobal, code(0x63, 0x70, 1, 0xd0, 0x70, opEnd))), "type"},
		{"table that is filled by an expression", small(none, nil, section(sectionTable, code(0x40, 0, funcref, 0, 1, opRefFunc, 0, opEnd))), "table"},
		{"table of references to a type", small(none, nil, section(sectionTable, code(0x63, 0, 0, 1))), "table"},
		{"elements that are references to a type", small(none, nil, section(sectionElement, code(5, 0x63, 0x70, 0))), "type"},
	} {
		t.Run(row.name, func(t *testing.T) {
			compiled, err := r.CompileModule(ctx, row.wasm)
			if err != nil {
				t.Fatalf("wazero refuses it by itself: %v", err)
			}
			_ = compiled.Close(ctx)
			if _, err := prepareModule(row.wasm); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	fuel := slices.Concat([]byte(wasmHeader), section(sectionExport, append(appendName(nil, "x"), 3, 0)))
	if _, err := prepareModule(fuel); err == nil || !strings.Contains(err.Error(), "unknown global 0") {
		t.Errorf("export of the fuel: %v", err)
	}
	for name, instructions := range map[string][]byte{
		"get of our local": code(get(1), 0x1a), "set of our local": code(i32Const(1), set(1)), "tee of our local": code(i32Const(1), opLocalTee, 1, 0x1a),
	} {
		// A grow gives the function a local of ours, 0.
		wasm := small(code(1, 1, v128), code(i32Const(0), opMemoryGrow, 0, 0x1a, instructions))
		if _, err := prepareModule(wasm); err == nil || !strings.Contains(err.Error(), "unknown local 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
