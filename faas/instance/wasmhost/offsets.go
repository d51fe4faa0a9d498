package wasmhost

import "math"

// A variable on the stack of a Go guest is at its stack pointer, a 32-bit local, and a distance,
// and the compiler adds the two in 64 bits before it loads or stores at offset 0:
//
//	local.get 1  i64.extend_i32_u  i64.const 24  i64.add  i32.wrap_i64  …  i64.store
//
// For wazero each sum is a new address, whose bounds it checks. As the offset of the load or the
// store, the distance costs nothing, and one check serves all that is on the stack:
//
//	local.get 1  …  i64.store offset=24
//
// The two differ where the sum passes 2^32: then one wraps around and the other traps. No Go guest
// has its stack there, so this is done for those that say they are Go's.

// operand is what was found out about the address of the load or store at a place of a body.
type operand struct {
	at   int
	base uint32 // the local that holds it, or noLocal
	add  uint32 // what belongs to its offset
}

// stackAddress reads what follows a local.get as the rest of a stack variable's address, and finds
// the load or store that uses it.
func stackAddress(r *reader, base uint32) (o operand, ok bool) {
	if r.byte() != opI64ExtendI32U || r.byte() != opI64Const {
		return o, false
	}
	n := r.s64()
	if n < 0 || n > math.MaxInt32 || r.byte() != opI64Add || r.byte() != opI32WrapI64 || r.err != nil {
		return o, false
	}
	at := findAccess(*r)
	return operand{at: at, base: base, add: uint32(n)}, at >= 0
}

// findAccess returns where the load or store is whose address was just pushed, or -1 where that is
// not told by the instructions that only compute.
func findAccess(r reader) int {
	const most = 200 // instructions: what a hostile guest may have of them is not looked through for each
	operands := 1    // on the stack, the address included
	for n := 0; n < most && r.err == nil; n++ {
		at := r.at
		op := r.byte()
		pops, pushes := arity(op)
		if pops < 0 {
			return -1
		}
		if pops >= operands { // the address is among what it takes
			if isLoad(op) || isStore(op) && pops == operands {
				return at
			}
			return -1
		}
		operands += pushes - pops
		r.skipImmediates(op)
	}
	return -1
}

func isLoad(op byte) bool  { return op >= opI32Load && op < opI32Store }
func isStore(op byte) bool { return op >= opI32Store && op < opMemorySize }

// arity is how many operands an instruction takes and gives, -1 for those that do more than
// compute, load and store.
func arity(op byte) (pops, pushes int) {
	switch {
	case op == opLocalGet, op == opGlobalGet, op >= opI32Const && op <= opF64Const:
		return 0, 1
	case op == opLocalTee, isLoad(op):
		return 1, 1
	case op == opLocalSet:
		return 1, 0
	case isStore(op):
		return 2, 0
	case op == 0x45, op == 0x50, // eqz
		op >= 0x67 && op <= 0x69, op >= 0x79 && op <= 0x7b, // clz, ctz, popcnt
		op >= 0x8b && op <= 0x91, op >= 0x99 && op <= 0x9f, // of floats
		op >= 0xa7 && op <= 0xc4: // conversions
		return 1, 1
	case op >= 0x45 && op <= 0xa6:
		return 2, 1
	}
	return -1, 0
}

// address notes that the address of the load or store that takes what was just pushed is a local's
// value.
func (w *rewriter) address(r reader, base uint32) {
	if at := findAccess(r); at >= 0 {
		w.operands = append(w.operands, operand{at: at, base: base})
	}
}

// operandOf returns what was found out about the address of the load or store at a place.
func (w *rewriter) operandOf(at int) (base, add uint32) {
	for i := range w.operands {
		if o := w.operands[i]; o.at == at {
			w.operands = append(w.operands[:i], w.operands[i+1:]...)
			return o.base, o.add
		}
	}
	return noLocal, 0
}
