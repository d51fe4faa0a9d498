package wasmhost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A guest's calls take the host's memory, which no limit of the guest's memory
// sees: wazero lets them have 100 MB and doubles what it has on the way, so that
// a few guests which call themselves took half a gigabyte. So what is called in a
// circle is counted.
//
// A circle of calls has a function that calls by table, or one that a walk over
// the direct calls comes back to. Each of these gets a function in front, under
// its own number, which counts up, calls it, and counts down; its code moves
// behind all others. Functions in no circle nest no deeper than there are of them.
//
// Guests that are part of this program (see [Prepare]) are without: their calls
// are known, and it costs them nothing so.

const (
	exportDepth = "switchbridge.depth"

	// maxStack is how much calls may take, in bytes as callCost estimates them.
	maxStack = 32 << 20
	// deepFuel is what a guest that is over it has for fuel when it calls refuel.
	deepFuel = absentFuel + math.MaxInt32/2
)

// callCost estimates the stack of a call from above: more live values than this
// can't be, since each is brought forth by some bytes of code.
func callCost(locals uint64, code int) int64 {
	return min(128+8*int64(min(locals, uint64(code)))+int64(code)/2, maxStack/64)
}

// errDeep ends a guest.
var errDeep = errors.New("its calls are nested too deep")

// callee is what boundStack knows of a function.
type callee struct {
	code   []byte
	locals uint64
	calls  []uint32 // functions of the module by number, imports not among them
	count  bool
}

// boundStack bounds how deep calls nest in a rewritten module.
func (m *module) boundStack() error {
	sections, _, err := split(m.binary)
	if err != nil {
		return err
	}
	params, err := paramCounts(sections[sectionType])
	if err != nil {
		return err
	}
	imports, globals := (&reader{b: sections[sectionImport]}).u32(), (&reader{b: sections[sectionGlobal]}).u32()
	types := &reader{b: sections[sectionFunction]}
	kinds := make([]uint32, types.u32())
	for i := range kinds {
		if kinds[i] = types.u32(); uint64(kinds[i]) >= uint64(len(params)) {
			return errType
		}
	}
	functions, err := callees(sections[sectionCode], imports, uint32(len(kinds)))
	if err != nil {
		return err
	}
	findCircles(functions)

	var fronts, behind, numbers []byte
	added := uint32(0)
	for i := range functions {
		f := &functions[i]
		if !f.count {
			fronts = append(unsigned(fronts, uint32(len(f.code))), f.code...)
			continue
		}
		target := imports + uint32(len(functions)) + added
		front := frontOf(params[kinds[i]], target, globals, imports-1, callCost(f.locals, len(f.code)))
		fronts = append(unsigned(fronts, uint32(len(front))), front...)
		behind = append(unsigned(behind, uint32(len(f.code))), f.code...)
		numbers = unsigned(numbers, kinds[i])
		added++
	}
	if added == 0 {
		return nil
	}
	count := uint32(len(functions)) + added
	sections[sectionFunction] = append(relist(sections[sectionFunction], count), numbers...)
	sections[sectionCode] = append(append(unsigned(nil, count), fronts...), behind...)
	sections[sectionGlobal] = append(relist(sections[sectionGlobal], globals+1), valueI32, 1, opI32Const, 0, opEnd)
	exports := (&reader{b: sections[sectionExport]}).u32()
	sections[sectionExport] = binary.AppendUvarint(append(appendName(relist(sections[sectionExport], exports+1), exportDepth), 3), uint64(globals))
	m.binary = join(&sections)
	m.globals = append(m.globals, exportDepth)
	return nil
}

// relist is a list with another count.
func relist(list []byte, count uint32) []byte {
	r := &reader{b: list}
	r.u32()
	return append(unsigned(nil, count), list[r.at:]...)
}

// frontOf is the code of a function that counts, and calls target with the same
// parameters. The fuel is the last global before the depth's.
func frontOf(params, target, depth, refuel uint32, cost int64) []byte {
	get := func(b []byte) []byte { return unsigned(append(b, opGlobalGet), depth) }
	b := append(appendSigned(append(get([]byte{0}), opI32Const), cost), opI32Add, opGlobalSet) // no locals
	b = append(appendSigned(append(get(unsigned(b, depth)), opI32Const), maxStack), opI32GtS, opIf, blockEmpty)
	b = append(appendSigned(append(b, opI32Const), deepFuel), opGlobalSet)
	b = unsigned(append(unsigned(b, depth-1), opCall), refuel)
	b = append(b, opUnreachable, opEnd)
	for i := range params {
		b = unsigned(append(b, opLocalGet), i)
	}
	b = unsigned(append(b, opCall), target)
	b = append(appendSigned(append(get(b), opI32Const), cost), opI32Sub, opGlobalSet)
	return append(unsigned(b, depth), opEnd)
}

// paramCounts returns how many parameters each type has (5.5.4).
func paramCounts(section []byte) (params []uint32, err error) {
	r := &reader{b: section}
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		r.byte() // 0x60
		count := r.u32()
		params = append(params, count)
		for ; count > 0 && r.err == nil; count-- {
			r.valueType()
		}
		for results := r.u32(); results > 0 && r.err == nil; results-- {
			r.valueType()
		}
	}
	return params, r.err
}

// callees reads the code section.
func callees(section []byte, imports, defined uint32) ([]callee, error) {
	r := &reader{b: section}
	list := make([]callee, r.u32())
	if uint32(len(list)) != defined {
		return nil, fmt.Errorf("%d bodies for %d functions", len(list), defined)
	}
	for i := range list {
		f := &list[i]
		f.code = r.take(r.u32())
		body := &reader{b: f.code}
		for n := body.u32(); n > 0 && body.err == nil; n-- {
			f.locals += uint64(body.u32())
			body.valueType()
		}
		for body.err == nil && body.at < len(f.code) {
			switch op := body.byte(); op {
			case opCall:
				if to := body.u32(); to >= imports && to-imports < defined {
					f.calls = append(f.calls, to-imports)
				}
			case opCallIndirect:
				f.count = true
				body.skipImmediates(op)
			default:
				body.skipImmediates(op)
			}
		}
		if body.err != nil {
			return nil, body.err
		}
	}
	return list, r.err
}

// findCircles marks functions so that every circle of direct calls has one.
func findCircles(functions []callee) {
	const unseen, open, done = 0, 1, 2
	state := make([]byte, len(functions))
	type frame struct {
		function uint32
		next     int
	}
	for first := range functions {
		if state[first] != unseen {
			continue
		}
		state[first] = open
		for stack := []frame{{uint32(first), 0}}; len(stack) > 0; {
			top := &stack[len(stack)-1]
			f := &functions[top.function]
			if top.next == len(f.calls) {
				state[top.function] = done
				stack = stack[:len(stack)-1]
				continue
			}
			to := f.calls[top.next]
			top.next++
			switch state[to] {
			case open:
				functions[to].count = true
			case unseen:
				state[to] = open
				stack = append(stack, frame{to, 0})
			}
		}
	}
}
