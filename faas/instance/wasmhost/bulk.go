package wasmhost

import "encoding/binary"

// Go's compiler copies and zeroes structures by memory.copy and memory.fill of a constant size.
// wazero leaves its code for each of them and calls the runtime's memmove, which costs more than
// to move some hundred bytes in place:
//
//	local.set $from  local.set $to
//	local.get $to  local.get $from  v128.load offset=n-16  v128.store offset=n-16  …
//
// The end comes first, so that its bounds are checked and those of the rest are known.
//
// memory.copy also moves what overlaps; Go has it move structures, which are apart or the same, so
// this is done for Go's guests only.

// Sizes in bytes of what is moved in place, and of what may be moved without fuel.
const (
	minInPlace = 16
	maxInPlace = 384
	maxFree    = 1024
)

// bulk goes over an i32.const, of which e has read value, that is the size for a bulk instruction,
// and reports whether it was one that needs no fuel.
func (w *rewriter) bulk(e *edit, start int, value int32) bool {
	if value < 0 || value > maxFree {
		return false
	}
	inPlace := func(size int32) bool { return w.goGuest && size >= minInPlace && size <= maxInPlace }
	ahead := e.reader
	if ahead.byte() == opI32Const && value == 0 { // what to fill with
		size := ahead.s32()
		at := ahead.at
		if size < 0 || size > maxFree || ahead.byte() != opPrefixFC || ahead.u32() != fcMemoryFill || ahead.byte() != 0 || ahead.err != nil {
			return false
		}
		if inPlace(size) {
			e.replaceSince(start, ahead.at, w.zero(uint32(size)))
		} else {
			e.replaceSince(at, ahead.at, w.bulkMemory(nil, fcMemoryFill, e.b[at:ahead.at]))
		}
		return true
	}
	ahead = e.reader
	at := ahead.at
	if ahead.byte() != opPrefixFC || ahead.u32() != fcMemoryCopy || ahead.byte() != 0 || ahead.byte() != 0 || ahead.err != nil {
		return false
	}
	if inPlace(value) {
		e.replaceSince(start, ahead.at, w.move(uint32(value)))
	} else {
		e.replaceSince(at, ahead.at, w.bulkMemory(nil, fcMemoryCopy, e.b[at:ahead.at]))
	}
	return true
}

// zero is the code that zeroes size bytes at the address on the stack.
func (w *rewriter) zero(size uint32) []byte {
	to, zeros := w.locals.temporary(valueI32), w.locals.temporary(valueV128)
	code := mark(local(w.moveCode[:0], opLocalSet, to), to, 0)
	code = append(code, opPrefixFD, fdConst)
	code = append(code, make([]byte, 16)...)
	code = local(code, opLocalSet, zeros)
	for at, more := lastVector(size), true; more; at, more = vectorBefore(at) {
		code = local(local(code, opLocalGet, to), opLocalGet, zeros)
		code = vectorAccess(code, fdStore, at)
	}
	w.moveCode = code
	return code
}

// move is the code that copies size bytes to and from the addresses on the stack.
func (w *rewriter) move(size uint32) []byte {
	to, from := w.locals.temporary(valueI32), w.locals.second()
	code := local(local(w.moveCode[:0], opLocalSet, from), opLocalSet, to)
	code = mark(code, to, 0)
	for at, more := lastVector(size), true; more; at, more = vectorBefore(at) {
		code = local(local(code, opLocalGet, to), opLocalGet, from)
		code = vectorAccess(vectorAccess(code, fdLoad, at), fdStore, at)
	}
	w.moveCode = code
	return code
}

// lastVector is where the last 16 of size bytes begin, vectorBefore where those before do. The
// last may have bytes of its predecessor again; the others are aligned.
func lastVector(size uint32) uint32 { return size - 16 }

func vectorBefore(at uint32) (uint32, bool) {
	if at == 0 {
		return 0, false
	}
	return (at - 1) &^ 15, true
}

func local(code []byte, op byte, index uint32) []byte { return unsigned(append(code, op), index) }

func unsigned(code []byte, v uint32) []byte { return binary.AppendUvarint(code, uint64(v)) }

func vectorAccess(code []byte, op byte, offset uint32) []byte {
	return unsigned(append(code, opPrefixFD, op, 0), offset+reserved)
}
