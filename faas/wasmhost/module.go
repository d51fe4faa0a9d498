package wasmhost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// globalExport prefixes the names under which prepareModule exports mutable globals.
const globalExport = "switchbridge.global."

// module is a guest's binary, made ready for snapshots.
type module struct {
	binary []byte
	// globals are the names of the exports of all mutable globals.
	globals []string
	// hidden says what in this guest an event could change that no snapshot can put back, such as
	// "table.set". Empty for most guests; others get a new instance for every event.
	hidden string
}

// Section ids, in the order in which a module may have them.
// WebAssembly Core Specification 2.0, 5.5.2.
const (
	sectionImport = 2
	sectionGlobal = 6
	sectionExport = 7
	sectionCode   = 10
)

// Where a section stands among the others: ids ascend, but for the data count before the code.
var sectionOrder = [...]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}

var errNotWasm = errors.New("not a WebAssembly module: no \\0asm header of version 1")

// prepareModule exports every mutable global of a guest and looks for state that can't be put
// back. It reads the module without validating it: that is wazero's part, afterwards.
func prepareModule(wasm []byte) (*module, error) {
	if !bytes.HasPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00")) {
		return nil, errNotWasm
	}
	m := &module{}
	var (
		exports  = &reader{} // what the guest exports itself
		exportAt = -1        // where its export section is, or would be
		exportTo = -1        // where that section ends
	)
	var added []byte
	r := &reader{b: wasm, at: 8}
	for r.err == nil && r.at < len(r.b) {
		start := r.at
		id := r.byte()
		body := r.take(r.u32())
		if r.err != nil {
			break
		}
		section := &reader{b: body}
		switch {
		case id == sectionImport:
			m.findImportedState(section)
		case id == sectionGlobal:
			added = m.findGlobals(section)
		case id == sectionExport:
			exports, exportAt, exportTo = section, start, r.at
		case id == sectionCode:
			m.findHiddenState(section)
		case int(id) >= len(sectionOrder):
			return nil, fmt.Errorf("section at offset %d has the unknown id %d", start, id)
		}
		if section.err != nil {
			return nil, fmt.Errorf("section %d at offset %d: %w", id, start, section.err)
		}
		if exportAt < 0 && id != 0 && sectionOrder[id] > sectionOrder[sectionExport] {
			exportAt, exportTo = start, start
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if exportAt < 0 {
		exportAt, exportTo = len(wasm), len(wasm)
	}
	if len(m.globals) == 0 {
		m.binary = wasm
		return m, nil
	}

	count := exports.u32()
	body := binary.AppendUvarint(nil, uint64(count)+uint64(len(m.globals)))
	body = append(append(body, exports.b[exports.at:]...), added...)
	out := make([]byte, 0, len(wasm)+len(added)+16)
	out = append(append(out, wasm[:exportAt]...), sectionExport)
	out = append(binary.AppendUvarint(out, uint64(len(body))), body...)
	m.binary = append(out, wasm[exportTo:]...)
	return m, nil
}

// findImportedState reads the import section (5.5.5): functions are all a guest may import.
func (m *module) findImportedState(r *reader) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		from, name := r.take(r.u32()), r.take(r.u32())
		switch kind := r.byte(); kind {
		case 0:
			r.u32()
		default:
			if r.err == nil {
				r.err = fmt.Errorf("imports %q from %q, which is no function", name, from)
			}
		}
	}
}

// findGlobals reads the global section (5.5.9) and returns exports for the mutable ones.
func (m *module) findGlobals(r *reader) (exports []byte) {
	count := r.u32()
	for i := uint32(0); i < count && r.err == nil; i++ {
		kind, mutable := r.byte(), r.byte()
		for op := r.byte(); op != opEnd && r.err == nil; op = r.byte() {
			r.skipImmediates(op)
		}
		if mutable == 0 {
			continue
		}
		if kind < valueF64 { // v128 and references: api.Global can't hold them
			m.hide("a mutable global that is a vector or a reference")
			continue
		}
		name := fmt.Sprint(globalExport, i)
		m.globals = append(m.globals, name)
		exports = append(binary.AppendUvarint(exports, uint64(len(name))), name...)
		exports = binary.AppendUvarint(append(exports, 3), uint64(i))
	}
	return exports
}

const valueF64 = 0x7c // value types descend: i32 7f, i64 7e, f32 7d, f64 7c, v128 7b, references

// findHiddenState reads the code section (5.5.13) for instructions that change a table, or that
// drop a segment for good.
func (m *module) findHiddenState(r *reader) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		at := r.at
		body := &reader{b: r.take(r.u32())}
		for locals := body.u32(); locals > 0 && body.err == nil; locals-- {
			body.u32()
			body.byte()
		}
		for body.err == nil && body.at < len(body.b) {
			op := body.byte()
			if op == opTableSet {
				m.hide("table.set")
			}
			if op == opPrefixFC {
				m.hide(hiddenFC[body.peekU32()])
			}
			body.skipImmediates(op)
		}
		if body.err != nil {
			r.err = fmt.Errorf("function body at offset %d: %w", at, body.err)
		}
	}
}

func (m *module) hide(what string) {
	if m.hidden == "" {
		m.hidden = what
	}
}
