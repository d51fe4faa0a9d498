package wasmhost

import (
	"encoding/binary"
	"slices"
)

// Go's compiler keeps pointers as 64-bit numbers, and cuts them to the 32 bits of a memory address
// at every single use:
//
//	local.get 5  i32.wrap_i64  i64.load offset=8
//
// For wazero every i32.wrap_i64 makes another number, whose bounds it checks anew, in some 60
// bytes of code. pointers keeps what was cut once in a local variable of its own, so that wazero
// sees that it is the same number, and checks it once.
type pointers struct {
	first uint32            // the first local that is ours
	cut   map[uint32]uint32 // by the local that is cut: the local that holds the result
	known []uint32          // the cut locals whose result is valid here

	// unreachable says that no execution comes to what follows, up to the block's end.
	unreachable bool
}

// begin starts a function with so many locals.
func (p *pointers) begin(locals uint32) {
	p.first, p.known, p.unreachable = locals, p.known[:0], false
	if p.cut == nil {
		p.cut = make(map[uint32]uint32)
	}
	clear(p.cut)
}

// locals is how many i32 locals the function gets.
func (p *pointers) locals() int { return len(p.cut) }

// get goes over a local.get, which e is in the middle of, and the i32.wrap_i64 up to end.
func (p *pointers) get(e *edit, local uint32, end int) {
	held, ok := p.cut[local]
	if !ok {
		held = p.first + uint32(len(p.cut))
		p.cut[local] = held
	}
	if slices.Contains(p.known, local) {
		e.at--
		e.copy()
		e.out = binary.AppendUvarint(append(e.out, opLocalGet), uint64(held))
		e.at, e.copied = end, end
		return
	}
	p.known = append(p.known, local)
	e.at = end
	e.copy()
	e.out = binary.AppendUvarint(append(e.out, opLocalTee), uint64(held))
}

// set is a local's getting another value.
func (p *pointers) set(local uint32) {
	if i := slices.Index(p.known, local); i >= 0 {
		p.known = slices.Delete(p.known, i, i+1)
	}
}

// forget is a place that executions reach with other values, too.
func (p *pointers) forget() { p.known = p.known[:0] }

func (p *pointers) save() []uint32 { return slices.Clone(p.known) }

// otherwise is an else: what is known there is what was known before the if.
func (p *pointers) otherwise(l *label) {
	p.known = append(p.known[:0], l.known...)
	l.branch, l.targeted = false, true // the first part goes on after the end
	p.unreachable = false
}

// meet is the end of a block, where executions meet: those that left it by a branch, of which
// nothing is known; those that an if went around; and those that come from the instruction before.
func (p *pointers) meet(l *label) {
	switch {
	case l.targeted:
		p.forget()
	case l.branch && p.unreachable:
		p.known = append(p.known[:0], l.known...)
	case l.branch:
		p.known = slices.DeleteFunc(p.known, func(local uint32) bool { return !slices.Contains(l.known, local) })
	}
	p.unreachable = false
}
