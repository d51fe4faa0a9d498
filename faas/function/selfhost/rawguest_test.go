package selfhost

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// rawGuest assembles a guest that is not ours. In WebAssembly's text format:
//
//	(module
//	  (memory (export "memory") 3)
//	  (data (i32.const 0x100) "\01 \01\00\00\00\02\00\c8 \02\00\00\00\01\01 \0f\00\00\00\00") ;; 200, openflow, empty body
//	  (func (export "switchbridge_abi_version") (result i32) i32.const <version>)
//	  (func (export "switchbridge_buffer") (param i32) (result i32) i32.const 0x10000)
//	  (func (export "switchbridge_configure") (param i32 i32) (result i64)
//	    ;; the configuration, of less than 256 bytes, is the answer's body
//	    (memory.copy (i32.const 0x113) (local.get 0) (local.get 1))
//	    (i32.store8 (i32.const 0x112) (local.get 1))
//	    i64.const 0)
//	  (func (export "switchbridge_decide") (param i32 i32) (result i64)
//	    ;; a request that ends in L never returns, one that ends in T traps
//	    (i32.load8_u (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 1)))
//	    (i32.eq (i32.const 'L')) (if (then (loop (br 0))))
//	    (i32.load8_u (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 1)))
//	    (i32.eq (i32.const 'T')) (if (then unreachable))
//	    (i64.add (i64.const 0x100_00000013) (i64.load8_u (i32.const 0x112)))))
//
// rename changes the names of exports.
func rawGuest(version byte, rename map[string]string) []byte {
	const i32, i64 = 0x7f, 0x7e
	leb := func(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }
	signed := func(v int64) (b []byte) { // LEB128
		for {
			c := byte(v & 0x7f)
			v >>= 7
			if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
				return append(b, c)
			}
			b = append(b, c|0x80)
		}
	}
	sized := func(b []byte) []byte { return append(leb(len(b)), b...) }
	section := func(id byte, items ...[]byte) []byte {
		return append([]byte{id}, sized(append(leb(len(items)), slices.Concat(items...)...))...)
	}
	code := func(parts ...[]byte) []byte { // no locals
		return sized(slices.Concat([]byte{0}, slices.Concat(parts...), []byte{0x0b}))
	}
	constant := func(v int64) []byte { return append([]byte{0x41}, signed(v)...) }
	export := func(name string, kind, index byte) []byte {
		if other, ok := rename[name]; ok {
			name = other
		}
		return append(sized([]byte(name)), kind, index)
	}
	lastByte := slices.Concat([]byte{0x20, 0, 0x20, 1, 0x6a}, constant(1), []byte{0x6b, 0x2d, 0, 0})
	answer := []byte{1, 1, 0, 0, 0, 2, 0, 200, 2, 0, 0, 0, 1, 1, 15, 0, 0, 0, 0}
	return slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1,
			[]byte{0x60, 0, 1, i32},
			[]byte{0x60, 1, i32, 1, i32},
			[]byte{0x60, 2, i32, i32, 1, i64}),
		section(3, []byte{0}, []byte{1}, []byte{2}, []byte{2}),
		section(5, []byte{0, 3}),
		section(7,
			export("memory", 2, 0),
			export("switchbridge_abi_version", 0, 0), export("switchbridge_buffer", 0, 1),
			export("switchbridge_configure", 0, 2), export("switchbridge_decide", 0, 3)),
		section(10,
			code(constant(int64(version))),
			code(constant(0x10000)),
			code(constant(0x113), []byte{0x20, 0, 0x20, 1, 0xfc, 10, 0, 0},
				constant(0x112), []byte{0x20, 1, 0x3a, 0, 0},
				[]byte{0x42, 0}),
			code(lastByte, constant('L'), []byte{0x46, 0x04, 0x40, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b},
				lastByte, constant('T'), []byte{0x46, 0x04, 0x40, 0x00, 0x0b},
				append([]byte{0x42}, signed(0x100<<32|int64(len(answer)))...),
				constant(0x112), []byte{0x31, 0, 0, 0x7c})),
		section(11, slices.Concat([]byte{0}, constant(0x100), []byte{0x0b}, sized(answer))),
	)
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
