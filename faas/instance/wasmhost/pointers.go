package wasmhost

import "slices"

// Go's compiler keeps pointers as 64-bit numbers, and cuts them to the 32 bits of a memory address
// at every single use:
//
//	local.get 5  i32.wrap_i64  i64.load offset=8
//
// For wazero every i32.wrap_i64 makes another number, whose bounds it checks anew, in some 60
// bytes of code. What was cut once is kept in a local variable of its own, so that wazero sees that
// it is the same number, and checks it once.

// fact is something that holds of a local's present value.
type fact struct {
	local  uint32
	window int32 // this window of it is marked, or isCut
}

// What is remembered at a time, and for all ifs around. Few functions of Go's come near, and a
// hostile one is not to make rewriting slow.
const (
	maxFacts = 128
	maxKept  = 1 << 16
)

const isCut = -1 // the value, cut to 32 bits, is in the local that pointers has for it

// facts are what is known at a place of a function, on every way to it.
type facts struct {
	list  []fact
	kept  int  // how many facts the ifs around keep
	stack span // what is marked around the stack pointer

	// unreachable says that no execution comes to what follows, up to the block's end.
	unreachable bool
}

// begin starts a function.
func (k *facts) begin() { *k = facts{list: k.list[:0]} }

// add makes f known and reports whether it wasn't.
func (k *facts) add(f fact) bool {
	if slices.Contains(k.list, f) {
		return false
	}
	if len(k.list) >= maxFacts {
		k.list = slices.Delete(k.list, 0, maxFacts/2)
	}
	k.list = append(k.list, f)
	return true
}

// set is a local's getting another value.
func (k *facts) set(local uint32) {
	k.list = slices.DeleteFunc(k.list, func(f fact) bool { return f.local == local })
}

// loop is a place that executions reach with other values, too, but for what they all make sure of.
func (k *facts) loop(stack span) { k.list, k.stack = k.list[:0], stack }

// branch notes what is known where an if begins.
func (k *facts) branch(l *label) {
	if k.kept > maxKept {
		k.list = k.list[:0]
	}
	l.known, l.stack = slices.Clone(k.list), k.stack
	k.kept += len(l.known)
}

// leave is a branch that leaves a block. Of what it knows only the stack is kept.
func (k *facts) leave(l *label) {
	if l.targeted {
		l.left = l.left.and(k.stack)
	} else {
		l.targeted, l.left = true, k.stack
	}
}

// otherwise is an else: what is known there is what was known before the if. The first part goes on
// after the end.
func (k *facts) otherwise(l *label) {
	if !k.unreachable {
		k.leave(l)
	}
	k.list, k.stack = append(k.list[:0], l.known...), l.stack
	l.branch, k.unreachable = false, false
}

// meet is the end of a block, where executions meet: those that left it by a branch, those that an
// if went around, and those that come from the instruction before.
func (k *facts) meet(l *label) {
	k.kept -= len(l.known)
	if l.branch { // an if without an else goes around
		switch {
		case k.unreachable:
			k.list, k.stack = append(k.list[:0], l.known...), l.stack
		default:
			k.list = slices.DeleteFunc(k.list, func(f fact) bool { return !slices.Contains(l.known, f) })
			k.stack = k.stack.and(l.stack)
		}
		k.unreachable = false
	}
	if l.targeted {
		if k.list = k.list[:0]; k.unreachable {
			k.stack = l.left
		} else {
			k.stack = k.stack.and(l.left)
		}
	}
	k.unreachable = false
}

// cut goes over a local.get, which e is in the middle of, and the i32.wrap_i64 up to end, and
// returns the local that holds the result.
func (w *rewriter) cut(e *edit, pointer uint32, end int) (held uint32) {
	held, ok := w.pointers[pointer]
	if !ok {
		held = w.locals.add(valueI32)
		w.pointers[pointer] = held
	}
	if !w.known.add(fact{pointer, isCut}) {
		e.at--
		e.copy()
		e.out = local(e.out, opLocalGet, held)
		e.at, e.copied = end, end
		return held
	}
	w.lost(held)
	e.at = end
	e.copy()
	e.out = local(e.out, opLocalTee, held)
	return held
}
