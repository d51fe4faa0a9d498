package wasmhost

import (
	"encoding/binary"
	"slices"
)

// Go's compiler has no structured control flow to give, so its functions are state machines: a
// loop begins with one block for every basic block of the source, nested in their order, and a
// br_table that leaves as many of them as a local variable says. Every jump sets the variable and
// starts the loop anew:
//
//	loop
//	  block block block
//	    local.get 0
//	    br_table 0 1 2
//	  end …  i32.const 2  local.set 0  br $loop
//	  end …
//	  end …
//	end
//
// Each such jump is an indirect branch, and the code that wazero makes of it spills whatever it
// holds in registers first, so most of a decision's time goes there. But a jump forward needs no
// loop: the block that it is to leave is around it. A br of that block is the same.

// label is what a br in a function can name.
type label struct {
	block    int       // where in the body its inside begins, which tells it from others
	dispatch *dispatch // a loop's
	loop     bool
	tick     int // a loop's, in rewriter.ticks

	targeted bool // some branch leaves it
	left     span // what all of them have marked

	branch bool   // an if without an else so far
	known  []fact // an if's: what was known before it
	stack  span
}

// dispatch is the state machine at the beginning of a loop.
type dispatch struct {
	local   uint32   // what chooses
	targets []target // by the local's value, the default last
}

// target is a label by its depth, counted from the function's, and its identity.
type target struct{ depth, block int }

// findDispatch returns the state machine that begins at r, nil when none does. The body of the
// loop has depth labels around it.
func findDispatch(r reader, depth int) *dispatch {
	var blocks []int
	for r.byte() == opBlock {
		if r.byte() != blockEmpty {
			return nil
		}
		blocks = append(blocks, r.at)
	}
	if r.err != nil || len(blocks) == 0 || r.b[r.at-1] != opLocalGet {
		return nil
	}
	d := &dispatch{local: r.u32()}
	if r.byte() != opBrTable {
		return nil
	}
	count := r.u32()
	if uint64(count) > uint64(len(r.b)-r.at) {
		return nil
	}
	for range count + 1 {
		n := r.u32()
		if r.err != nil {
			return nil
		}
		t := target{} // no label has block 0 but the function's
		if uint64(n) < uint64(len(blocks)) {
			i := len(blocks) - 1 - int(n)
			t = target{depth: depth + i, block: blocks[i]}
		}
		d.targets = append(d.targets, t)
	}
	return d
}

// target is where the machine goes with its local at v.
func (d *dispatch) target(v uint32) target {
	return d.targets[min(uint64(v), uint64(len(d.targets)-1))]
}

// jump makes a jump forward of an i32.const, of which e has read the value, and the instructions
// that follow, where they are one through a dispatch.
func (w *rewriter) jump(e *edit, value int32) {
	ahead := e.reader
	if ahead.byte() != opLocalSet {
		return
	}
	local := ahead.u32()
	set := ahead.at
	if ahead.byte() != opBr {
		return
	}
	loop := ahead.u32()
	if ahead.err != nil || uint64(loop) >= uint64(len(w.labels)) {
		return
	}
	d := w.labels[len(w.labels)-1-int(loop)].dispatch
	if d == nil || d.local != local {
		return
	}
	t := d.target(uint32(value))
	if t.block == 0 || t.depth >= len(w.labels) || w.labels[t.depth].block != t.block {
		return
	}
	w.lost(local)
	w.known.leave(&w.labels[t.depth])
	w.known.unreachable = true
	e.at = set
	e.copy()
	e.out = binary.AppendUvarint(append(e.out, opBr), uint64(len(w.labels)-1-t.depth))
	e.at, e.copied = ahead.at, ahead.at
}

// branch goes over a branch of the opcode that e has read.
func (w *rewriter) branch(e *edit, op byte) {
	start := e.at - 1
	var again bool // it begins a loop anew
	leave := func(depth uint32) {
		if uint64(depth) >= uint64(len(w.labels)) {
			return
		}
		if l := &w.labels[len(w.labels)-1-int(depth)]; l.loop {
			again = true
			w.ticks[l.tick].needed = true
		} else {
			w.known.leave(l)
		}
	}
	switch op {
	case opBr, opBrIf:
		leave(e.u32())
	case opBrTable:
		for n := e.u32(); n > 0 && e.err == nil; n-- {
			leave(e.u32())
		}
		leave(e.u32())
	}
	if again {
		end := e.at
		e.at = start
		e.copy()
		e.out = w.markAround(e.out)
		e.at = end
	}
	w.known.unreachable = op != opBrIf
}

// tick is a place in a function's new code where fuel is taken, if need be: at the beginning of a
// loop that some branch begins anew, and of a function that calls another or is long. What is none of
// that ends soon.
type tick struct {
	at     int
	needed bool
}

// takeFuelWhereNeeded appends a function's code with that in it.
func (w *rewriter) takeFuelWhereNeeded(out, code, take []byte) []byte {
	slices.SortFunc(w.ticks, func(a, b tick) int { return a.at - b.at })
	from := 0
	for _, t := range w.ticks {
		if t.needed {
			out = append(append(out, code[from:t.at]...), take...)
			from = t.at
		}
	}
	return append(out, code[from:]...)
}

// beginsWithLoop reports whether a function comes to a loop before it does anything that takes
// time.
func beginsWithLoop(r reader) bool {
	for r.err == nil {
		switch op := r.byte(); op {
		case opLoop:
			return true
		case opBlock, opLocalGet, opLocalSet, opGlobalGet, opI32Const:
			r.skipImmediates(op)
		default:
			return false
		}
	}
	return false
}
