package wasmhost

import "math"

// What an event wrote is known because the guest's code says so: the rewriter puts a mark before
// every store, a byte for each block of memory, and the host copies back what is marked. No kernel
// needs to tell, no page faults, and an event pays for the few blocks that it wrote.
//
// A guest can't reach the marks. They lie before its memory: the linear memory that wazero gives
// it begins with as many bytes as there are blocks in 4 GiB, and every load, store and bulk
// instruction has that much added to its address, which costs nothing where it is part of an
// instruction's offset. So the guest's address 0 is byte reserved, none of its addresses is less,
// and the end of memory is where it was:
//
//	0 … 4 MiB | room for a window's number | the guest's memory …
//	  marks
//
// A mark means its block and the two beside it, so that one mark serves all stores near an address,
// wherever in its block that is:
//
//	local.get $base  i32.const 10  i32.shr_u  i32.const 1  i32.store8 offset=window
//	local.get $base  …  i64.store offset=reserved+24
//
// Window n of a base is the block's size of bytes at n times that offset. A mark that was made stays
// made until the event has ended, so it needs no other until the local that holds the base changes.
const (
	blockBits  = 9
	blockSize  = 1 << blockBits
	maxWindows = 64 << 10 // of a base: what has a larger offset is marked by its own address
	marksSize  = 1<<(32-blockBits) + maxWindows
	reserved   = marksSize // bytes, whole pages of WebAssembly's
	wasmPage   = 64 << 10

	// maxMemory is the most that a guest may have: wazero's code keeps the length of a memory in 32
	// bits, and takes one of 4 GiB for none.
	maxMemory = 1<<32 - wasmPage - reserved
)

// _ is here to fail where reserved is no whole number of pages.
const _ = uint(-(reserved % wasmPage))

// mark appends a mark of one window of the address in a local.
func mark(code []byte, base, window uint32) []byte {
	code = append(local(code, opLocalGet, base), opI32Const, blockBits, opI32ShrU, opI32Const, 1)
	return unsigned(append(code, opI32Store8, 0), window)
}

// windows are the first and the last that an access has a part in.
func windows(offset uint64, size uint32) (first, last uint32) {
	return uint32(offset >> blockBits), uint32((offset + uint64(size) - 1) >> blockBits)
}

// A Go guest's function holds the stack pointer in the first local after its one parameter, and
// nearly all that it stores is near there. What is marked around it is kept as a span of bytes, which
// outlives the stack pointer's moving by a constant, and the blocks of the state machine.
const goStackLocal = 1

// span is the bytes from lo up to hi, relative to the stack pointer. Where lo is not less, none.
type span struct{ lo, hi int32 }

// marked is what a mark of a window makes sure of, wherever in its block the address is.
func marked(window uint32) span {
	at := int32(window) * blockSize
	return span{at - blockSize, at + blockSize + 1}
}

func (s span) covers(o span) bool { return s.lo <= o.lo && o.hi <= s.hi }

// and is what is in both.
func (s span) and(o span) span { return span{max(s.lo, o.lo), min(s.hi, o.hi)} }

// or is both where they meet, and o where they don't.
func (s span) or(o span) span {
	if s.lo >= s.hi || s.hi < o.lo || o.hi < s.lo {
		return o
	}
	return span{min(s.lo, o.lo), max(s.hi, o.hi)}
}

// moved is s relative to a stack pointer that was moved.
func (s span) moved(by int32) span {
	const far = 1 << 24
	if by < -far || by > far || s.lo >= s.hi {
		return span{}
	}
	above := int32(far)
	if by > 0 {
		above = 0 // a stack pointer that passes 2^32 has other bytes above it
	}
	return span{max(s.lo, -far) - by, min(s.hi, above) - by}
}

// aroundStack is marked wherever a loop of such a function begins anew.
var aroundStack = marked(0)

// markAround appends what is lacking of that.
func (w *rewriter) markAround(code []byte) []byte {
	if !w.stackTracked || w.known.stack.covers(aroundStack) {
		return code
	}
	w.known.stack = w.known.stack.or(aroundStack)
	return mark(code, goStackLocal, 0)
}

// moveStack goes over a local.get of the stack pointer, of which e has read the index, and what
// moves it by a constant:
//
//	local.get 1  i32.const 64  i32.sub  local.tee 1
func (w *rewriter) moveStack(e *edit, ahead reader) bool {
	if ahead.byte() != opI32Const {
		return false
	}
	by := ahead.s32()
	switch ahead.byte() {
	case opI32Add:
	case opI32Sub:
		by = -by
	default:
		return false
	}
	if op := ahead.byte(); op != opLocalSet && op != opLocalTee || ahead.u32() != goStackLocal || ahead.err != nil {
		return false
	}
	stack := w.known.stack.moved(by)
	e.at = ahead.at
	w.lost(goStackLocal)
	w.known.stack = stack
	return true
}

// access goes over a load or store of the opcode at start, whose alignment and offset e comes to:
// what it was found to lack is added to the offset, and a store is marked.
func (w *rewriter) access(e *edit, start int, size uint32, value byte) {
	base, add := w.operandOf(start)
	at := e.at
	e.skipLEB() // the alignment
	aligned := e.at
	offset := uint64(e.u32()) + uint64(add)
	end := e.at
	if offset+reserved > math.MaxUint32 {
		e.fail(errOffset)
	}
	if e.err != nil {
		return
	}
	e.at = start
	e.copy()
	if value != 0 {
		e.out = w.markStore(e.out, base, offset, size, value)
	}
	e.out = append(e.out, e.b[start:at]...)
	e.out = append(e.out, e.b[at:aligned]...)
	e.out = unsigned(e.out, uint32(offset+reserved))
	e.at, e.copied = end, end
}

// markStore appends the marks for a store of size bytes whose address and value, of the given
// type, are on the stack. base is the local that the address is in, noLocal where none is known.
func (w *rewriter) markStore(code []byte, base uint32, offset uint64, size uint32, value byte) []byte {
	first, last := windows(offset, size)
	switch {
	case base == noLocal || last >= maxWindows:
		held, address := w.locals.temporary(value), w.locals.second()
		code = local(local(code, opLocalSet, held), opLocalTee, address)
		if last >= maxWindows {
			code = append(appendSigned(append(local(code, opLocalGet, address), opI32Const), int64(int32(offset))), opI32Add)
			code = append(code, opI32Const, blockBits, opI32ShrU, opI32Const, 1, opI32Store8, 0, 0)
		} else {
			for window := first; window <= last; window++ {
				code = mark(code, address, window)
			}
		}
		return local(code, opLocalGet, held)
	case w.stackTracked && base == goStackLocal:
		needed := span{int32(offset), int32(offset) + int32(size)}
		for window := first; window <= last && !w.known.stack.covers(needed); window++ {
			w.known.stack = w.known.stack.or(marked(window))
			code = mark(code, base, window)
		}
		return code
	}
	for window := first; window <= last; window++ {
		if w.known.add(fact{local: base, window: int32(window)}) {
			code = mark(code, base, window)
		}
	}
	return code
}

// lost is a local's value being another: an address that was taken from it is in no local now.
func (w *rewriter) lost(local uint32) {
	w.known.set(local)
	if local == goStackLocal {
		w.known.stack = span{}
	}
	for i := range w.operands {
		if w.operands[i].base == local {
			w.operands[i].base = noLocal
		}
	}
}

// bulkMemory replaces memory.copy, .fill and .init, whose opcode and immediates are code: the
// addresses are moved, and what is written is marked.
func (w *rewriter) bulkMemory(out []byte, op uint32, code []byte) []byte {
	to, from, size := w.locals.temporary(valueI32), w.locals.second(), w.locals.third()
	out = local(local(local(out, opLocalSet, size), opLocalSet, from), opLocalSet, to)
	// An address that would pass 2^32 is past all memory.
	past := func(out []byte, address uint32) []byte {
		return append(appendSigned(append(local(out, opLocalGet, address), opI32Const), -reserved), opI32GeU)
	}
	out = past(out, to)
	if op == fcMemoryCopy {
		out = append(past(out, from), opI32Or)
	}
	out = append(out, opIf, blockEmpty, opUnreachable, opEnd)

	out = append(appendSigned(append(local(out, opLocalGet, size), opI32Const), blockSize), opI32GtU, opIf, blockEmpty)
	out = append(local(out, opLocalGet, to), opI32Const, blockBits, opI32ShrU, opI32Const, 1)
	out = append(local(out, opLocalGet, size), opI32Const, blockBits, opI32ShrU, opI32Const, 1, opI32Add)
	out = append(out, opPrefixFC, fcMemoryFill, 0, opElse)
	out = append(mark(out, to, 0), opEnd)

	moved := func(out []byte, address uint32) []byte {
		return append(appendSigned(append(local(out, opLocalGet, address), opI32Const), reserved), opI32Add)
	}
	out = moved(out, to)
	if op == fcMemoryCopy {
		out = moved(out, from)
	} else {
		out = local(out, opLocalGet, from)
	}
	return append(local(out, opLocalGet, size), code...)
}

// memorySize is the code after a memory.size, memoryGrow that after a memory.grow.
func memorySize() []byte {
	return append(appendSigned([]byte{opI32Const}, reserved/wasmPage), opI32Sub)
}

func (w *rewriter) memoryGrow() []byte {
	pages := w.locals.temporary(valueI32)
	code := append(local(nil, opLocalTee, pages), memorySize()...)
	code = append(code, opI32Const, 0x7f) // -1
	return append(append(local(code, opLocalGet, pages), opI32Const, 0x7f), opI32Ne, opSelect)
}

// memories makes room for the marks (5.5.8).
func (w *rewriter) memories(e *edit) {
	const hasMax, most = 1, maxMemory / wasmPage
	for count := e.u32(); count > 0 && e.err == nil; count-- {
		flags := e.byte()
		if flags > hasMax {
			e.fail(errMemory)
			return
		}
		e.replace(func(pages uint32) uint32 {
			if pages > most {
				e.fail(errMemory)
				return pages
			}
			return pages + reserved/wasmPage
		})
		if flags == hasMax {
			e.replace(func(pages uint32) uint32 { return min(pages, most) + reserved/wasmPage })
		}
	}
}

// data moves the segments that fill memory at the start (5.5.14).
func (w *rewriter) data(e *edit) {
	const passive, explicit = 1, 2
	for count := e.u32(); count > 0 && e.err == nil; count-- {
		flags := e.u32()
		if flags > explicit {
			e.fail(errSegment)
			return
		}
		if flags == explicit {
			e.u32()
		}
		if flags != passive {
			if e.byte() != opI32Const { // all else is about imported globals, and there are none
				e.fail(errSegment)
				return
			}
			e.copy()
			offset := uint64(uint32(e.s32())) + reserved
			if offset > math.MaxUint32 {
				e.fail(errOffset)
				return
			}
			e.out = appendSigned(e.out, int64(int32(uint32(offset))))
			e.copied = e.at
			if e.byte() != opEnd {
				e.fail(errSegment)
				return
			}
		}
		e.take(e.u32())
	}
}
