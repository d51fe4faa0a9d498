package wasmhost

import (
	"errors"
	"fmt"
)

// reader reads WebAssembly's binary format. After an error it returns zeros.
type reader struct {
	b   []byte
	at  int
	err error
}

var (
	errTruncated = errors.New("module ends in the middle")
	errOffset    = errors.New("memory access past all memory")
	errMemory    = errors.New("memory that is shared, has 64-bit addresses, or is larger than a guest's may be")
	errSegment   = errors.New("data segment of an unknown kind")
	errTable     = errors.New("table of an unknown kind")
	errType      = errors.New("type that is none of WebAssembly 2.0's")
)

func (r *reader) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.fail(errTruncated)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) take(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errTruncated)
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v >= 1<<32 {
				break
			}
			return uint32(v)
		}
	}
	r.fail(errors.New("number of more than 32 bits"))
	return 0
}

// s32 reads a signed LEB128 number of at most 32 bits.
func (r *reader) s32() int32 { return int32(r.signed(32)) }

// s64 reads a signed LEB128 number of at most 64 bits.
func (r *reader) s64() int64 { return r.signed(64) }

func (r *reader) signed(size int) int64 {
	var v int64
	for shift := 0; shift < size; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if unused := 64 - 7 - shift; unused > 0 {
				v = v << unused >> unused
			}
			return v
		}
	}
	r.fail(fmt.Errorf("number of more than %d bits", size))
	return 0
}

// valueType reads the type of a value. The one byte of WebAssembly 2.0 is all that is read as one:
// wazero also knows types of several bytes, and whoever reads less of them than it does takes the
// rest for instructions.
func (r *reader) valueType() byte {
	kind := r.byte()
	if kind > valueI32 || kind < valueV128 && kind != funcref && kind != externref {
		r.fail(errType)
	}
	return kind
}

// blockType reads the type of a block: none, a value's, or a function type's number (5.4.1).
func (r *reader) blockType() {
	ahead := *r
	if v := r.signed(33); v >= 0 && v < 1<<32 {
		return
	}
	if ahead.byte() != blockEmpty {
		ahead.at--
		ahead.valueType()
	}
	*r = ahead
}

// vectorOp reads the opcode after opPrefixFD, in its shortest form: wazero looks at one byte of it,
// and takes a second one for a nop.
func (r *reader) vectorOp() uint32 {
	at := r.at
	op := r.u32()
	if length := r.at - at; r.err == nil && (length > 2 || length == 2 && op < 0x80) {
		r.fail(fmt.Errorf("instruction 0xfd %d in %d bytes", op, length))
	}
	return op
}

func (r *reader) peekU32() uint32 {
	ahead := *r
	return ahead.u32()
}

// skipLEB skips a number of at most 64 bits of any sign.
func (r *reader) skipLEB() {
	for range 10 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(errors.New("number of more than 64 bits"))
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// What is looked at or written. WebAssembly Core Specification 2.0, 5.3 and 5.4.
const (
	opUnreachable   = 0x00
	opBlock         = 0x02
	opLoop          = 0x03
	opIf            = 0x04
	opElse          = 0x05
	opEnd           = 0x0b
	opBr            = 0x0c
	opBrIf          = 0x0d
	opBrTable       = 0x0e
	opReturn        = 0x0f
	opCall          = 0x10
	opCallIndirect  = 0x11
	opSelect        = 0x1b
	opLocalGet      = 0x20
	opLocalSet      = 0x21
	opLocalTee      = 0x22
	opGlobalGet     = 0x23
	opGlobalSet     = 0x24
	opTableSet      = 0x26
	opI32Load       = 0x28 // the first load
	opI32Store      = 0x36 // the first store
	opI32Store8     = 0x3a
	opMemorySize    = 0x3f
	opMemoryGrow    = 0x40
	opI32Const      = 0x41
	opI64Const      = 0x42
	opF64Const      = 0x44
	opI32Ne         = 0x47
	opI32LtS        = 0x48
	opI32GtU        = 0x4b
	opI32GeU        = 0x4f
	opI32GtS        = 0x4a
	opI32Add        = 0x6a
	opI32Sub        = 0x6b
	opI32RemS       = 0x6f
	opI32RemU       = 0x70
	opI32Or         = 0x72
	opI32ShrU       = 0x76
	opI64Add        = 0x7c
	opI64RemS       = 0x81
	opI64RemU       = 0x82
	opI32WrapI64    = 0xa7
	opI64ExtendI32U = 0xad
	opRefFunc       = 0xd2
	opPrefixFC      = 0xfc
	opPrefixFD      = 0xfd

	fcMemoryInit = 8 // after opPrefixFC
	fcMemoryCopy = 10
	fcMemoryFill = 11
	fdLoad       = 0 // after opPrefixFD: v128.load, .store, .const
	fdStore      = 11
	fdConst      = 12
	fdLoadLane   = 84 // v128.load8_lane, the first of four
	fdStoreLane  = 88
	fdLoadZero   = 92 // v128.load32_zero, .load64_zero

	blockEmpty = 0x40

	valueI32  = 0x7f // value types descend; references are below
	valueI64  = 0x7e
	valueF32  = 0x7d
	valueF64  = 0x7c
	valueV128 = 0x7b
	funcref   = 0x70
	externref = 0x6f
)

// bulkInstructions are those after opPrefixFC that may take long, or that change what no image
// can put back.
var bulkInstructions = map[uint32]struct {
	long    bool
	changes string
}{
	8: {true, ""}, 9: {false, "data.drop"}, 10: {true, ""}, 11: {true, ""}, // memory.init, .copy, .fill
	12: {true, "table.init"}, 13: {false, "elem.drop"}, 14: {true, "table.copy"},
	15: {true, "table.grow"}, 17: {true, "table.fill"},
}

// stores are what the store instructions take: bytes, and the type of the value.
var stores = [...]struct{ size, value byte }{
	{4, valueI32}, {8, valueI64}, {4, valueF32}, {8, valueF64}, // i32.store, i64, f32, f64
	{1, valueI32}, {2, valueI32}, {1, valueI64}, {2, valueI64}, {4, valueI64}, // i32.store8, 16, i64.store8, 16, 32
}

// Kinds of immediates.
const (
	immNone    = iota
	immLEB     // one number
	immLEB2    // two numbers
	immBlock   // a block's type
	immMemory  // alignment and offset
	immBytes4  // f32.const
	immBytes8  // f64.const
	immTable   // br_table
	immTypes   // select with types
	immPrefix  // another opcode follows
	immUnknown // no instruction of WebAssembly 2.0
)

var immediates = func() (kinds [256]uint8) {
	for op := range kinds {
		kinds[op] = immUnknown
	}
	set := func(kind uint8, from, to int) {
		for op := from; op <= to; op++ {
			kinds[op] = kind
		}
	}
	set(immNone, 0x00, 0x01)   // unreachable, nop
	set(immBlock, 0x02, 0x04)  // block, loop, if
	set(immNone, 0x05, 0x05)   // else
	set(immNone, 0x0b, 0x0b)   // end
	set(immLEB, 0x0c, 0x0d)    // br, br_if
	set(immTable, 0x0e, 0x0e)  // br_table
	set(immNone, 0x0f, 0x0f)   // return
	set(immLEB, 0x10, 0x10)    // call
	set(immLEB2, 0x11, 0x11)   // call_indirect
	set(immNone, 0x1a, 0x1b)   // drop, select
	set(immTypes, 0x1c, 0x1c)  // select with types
	set(immLEB, 0x20, 0x26)    // local.get to table.set
	set(immMemory, 0x28, 0x3e) // loads and stores
	set(immLEB, 0x3f, 0x42)    // memory.size, memory.grow, i32.const, i64.const
	set(immBytes4, 0x43, 0x43) // f32.const
	set(immBytes8, 0x44, 0x44) // f64.const
	set(immNone, 0x45, 0xc4)   // arithmetic
	set(immLEB, 0xd0, 0xd0)    // ref.null
	set(immNone, 0xd1, 0xd1)   // ref.is_null
	set(immLEB, 0xd2, 0xd2)    // ref.func
	set(immPrefix, 0xfc, 0xfd)
	return kinds
}()

// skipImmediates skips what follows an opcode.
func (r *reader) skipImmediates(op byte) {
	switch immediates[op] {
	case immNone:
	case immLEB:
		r.skipLEB()
	case immLEB2, immMemory:
		r.skipLEB()
		r.skipLEB()
	case immBlock:
		r.blockType()
	case immBytes4:
		r.take(4)
	case immBytes8:
		r.take(8)
	case immTable:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			r.u32()
		}
		r.u32()
	case immTypes:
		if r.byte() != 1 {
			r.fail(errType)
		}
		r.valueType()
	case immPrefix:
		if op == opPrefixFC {
			r.skipFC()
		} else {
			r.skipVector(r.vectorOp())
		}
	default:
		r.fail(fmt.Errorf("unknown instruction %#x", op))
	}
}

func (r *reader) skipFC() {
	switch op := r.u32(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncations
	case 8, 10, 12, 14: // memory.init, memory.copy, table.init, table.copy
		r.skipLEB()
		r.skipLEB()
	case 9, 11, 13, 15, 16, 17: // data.drop, memory.fill, elem.drop, table.grow, .size, .fill
		r.skipLEB()
	default:
		r.fail(fmt.Errorf("unknown instruction 0xfc %d", op))
	}
}

// skipVector skips what follows an opcode after opPrefixFD.
func (r *reader) skipVector(op uint32) {
	switch {
	case op <= 11, op == 92, op == 93: // loads and stores
		r.skipLEB()
		r.skipLEB()
	case op == 12, op == 13: // v128.const, i8x16.shuffle
		r.take(16)
	case op >= 21 && op <= 34: // lanes
		r.take(1)
	case op >= 84 && op <= 91: // loads and stores of a lane
		r.skipLEB()
		r.skipLEB()
		r.take(1)
	case op <= 255:
	default:
		r.fail(fmt.Errorf("unknown instruction 0xfd %d", op))
	}
}
