package wasmhost

import (
	"encoding/binary"
	"slices"

	"switchbridge/faas/instance/guest"
)

// rawGuest is a guest written by hand in WebAssembly's binary format: two pages of memory, its
// input buffer at 0x1000, a valid answer with a body of rawBodySize bytes at rawAnswer.
type rawGuest struct {
	version   byte   // what switchbridge_abi_version returns
	buffer    []byte // instructions of switchbridge_buffer(local 0: size) i32; nil: inputAt
	decide    []byte // instructions of switchbridge_decide(local 0: pointer, local 1: length) i64
	configure []byte // instructions of switchbridge_configure, likewise; nil: all is well
	locals    []byte // of decide, beyond its parameters, one type each
	globals   [][]byte
	table     bool              // a table of two functions, both of [] -> i32: 0 returns 7, 1 returns 8
	rename    map[string]string // exports, by their proper names; "" leaves one out
	sections  [][]byte          // more sections, at the end
}

const (
	rawInput    = 0x1000
	rawAnswer   = 0x8000
	rawBodySize = 32
)

// rawBody is where the answer's body begins.
var rawBody = rawAnswer + len(rawAnswerBytes()) - rawBodySize

func rawAnswerBytes() []byte {
	a := guest.Answer{Status: 200, Encoding: guest.EncodingOpenFlow, Body: make([]byte, rawBodySize)}
	return a.AppendBinary(nil)
}

// Pieces of code.
func i32Const(v int) []byte   { return appendSigned([]byte{0x41}, int64(v)) }
func i64Const(v int64) []byte { return appendSigned([]byte{0x42}, v) }

func code(parts ...any) (b []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			b = append(b, byte(part))
		case []byte:
			b = append(b, part...)
		}
	}
	return b
}

// answerAt is a decide's result.
func answerAt(ptr, size int) []byte { return i64Const(int64(ptr)<<32 | int64(size)) }

var goodAnswer = answerAt(rawAnswer, len(rawAnswerBytes()))

func leb(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func section(id int, items ...[]byte) []byte {
	body := append(leb(len(items)), slices.Concat(items...)...)
	return slices.Concat([]byte{byte(id)}, leb(len(body)), body)
}

func (g rawGuest) bytes() []byte {
	const i32, i64, funcref = 0x7f, 0x7e, 0x70
	if g.decide == nil {
		g.decide = goodAnswer
	}
	if g.configure == nil {
		g.configure = i64Const(0)
	}
	if g.buffer == nil {
		g.buffer = i32Const(rawInput)
	}
	function := func(locals, instructions []byte) []byte {
		body := leb(len(locals))
		for _, local := range locals {
			body = append(body, 1, local)
		}
		body = append(append(body, instructions...), 0x0b)
		return append(leb(len(body)), body...)
	}
	export := func(name string, kind, index byte) (e []byte) {
		if as, ok := g.rename[name]; ok {
			if name = as; name == "" {
				return nil
			}
		}
		return append(appendName(nil, name), kind, index)
	}
	exports := slices.DeleteFunc([][]byte{
		export(exportMemory, 2, 0), export(exportABIVersion, 0, 0), export(exportBuffer, 0, 1),
		export(exportConfigure, 0, 2), export(exportDecide, 0, 3),
	}, func(e []byte) bool { return e == nil })

	m := []byte(wasmHeader)
	m = append(m, section(sectionType,
		[]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 2, i32, i32, 1, i64})...)
	m = append(m, section(sectionFunction, []byte{0}, []byte{1}, []byte{2}, []byte{2}, []byte{0}, []byte{0})...)
	if g.table {
		m = append(m, section(sectionTable, []byte{funcref, 0, 2})...)
	}
	m = append(m, section(sectionMemory, []byte{0, 2})...)
	if g.globals != nil {
		m = append(m, section(sectionGlobal, g.globals...)...)
	}
	m = append(m, section(sectionExport, exports...)...)
	if g.table {
		m = append(m, section(sectionElement, code(0, i32Const(0), 0x0b, 2, 4, 5))...)
	}
	m = append(m, section(sectionCode,
		function(nil, i32Const(int(g.version))), function(nil, g.buffer), function(nil, g.configure),
		function(g.locals, g.decide), function(nil, i32Const(7)), function(nil, i32Const(8)))...)
	answer := rawAnswerBytes()
	m = append(m, section(sectionData, code(0, i32Const(rawAnswer), 0x0b, leb(len(answer)), answer))...)
	return append(m, slices.Concat(g.sections...)...)
}

// scribbler reports 8 bytes of memory and its three globals, and then overwrites all of memory
// but the answer, and all three.
func scribbler() rawGuest {
	const i32, i64, f64 = 0x7f, 0x7e, 0x7c
	fill := func(from, to int) []byte {
		return code(i32Const(from), i32Const(0xaa), i32Const(to-from), 0xfc, 11, 0)
	}
	end := rawAnswer + len(rawAnswerBytes())
	at := func(offset int) []byte { return leb(rawBody + offset) }
	return rawGuest{
		version: guest.ABIVersion,
		globals: [][]byte{
			code(i32, 1, i32Const(11), 0x0b), code(i64, 1, i64Const(-22), 0x0b),
			code(f64, 1, 0x44, make([]byte, 8), 0x0b), code(i32, 0, i32Const(4), 0x0b),
		},
		decide: code(
			i32Const(0), i32Const(0x100), 0x29, 3, 0, 0x37, 3, at(0), // i64.store(body, i64.load(0x100))
			i32Const(0), 0x23, 0, 0x36, 2, at(8),
			i32Const(0), 0x23, 1, 0x37, 3, at(16),
			i32Const(0), 0x23, 2, 0x39, 3, at(24),
			fill(0, rawAnswer), fill(end, 2<<16),
			i32Const(99), 0x24, 0, i64Const(99), 0x24, 1, 0x44, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 0x24, 2,
			goodAnswer),
	}
}
