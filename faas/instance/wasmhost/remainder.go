package wasmhost

// wazero v1.12.0 on arm64 may lose a remainder: between the division and the multiplication that make it, it checks for zero, and where
// registers are scarce another value takes the quotient's there (mended in its main branch after that release, "arm64: IRem result reg
// may contain garbage after the exit sequence"). So no guest takes a remainder: the rewriter spells it as a-(a/b)*b, on every processor, since
// a guest is prepared on one and runs on another.

// remainder is one of the four instructions that take a remainder, and what is put in its place.
type remainder struct {
	kind                 byte // of its operands
	signed               bool
	div, mul, sub, equal byte
}

var remainders = [...]remainder{
	0:                     {valueI32, true, 0x6d, 0x6c, opI32Sub, 0x46},
	opI32RemU - opI32RemS: {valueI32, false, 0x6e, 0x6c, opI32Sub, 0x46},
	opI64RemS - opI32RemS: {valueI64, true, 0x7f, 0x7e, 0x7d, 0x51},
	opI64RemU - opI32RemS: {valueI64, false, 0x80, 0x7e, 0x7d, 0x51},
}

func isRemainder(op byte) bool {
	return op == opI32RemS || op == opI32RemU || op == opI64RemS || op == opI64RemU
}

// append writes the remainder of the two operands on the stack, with two locals of their type. A divisor of zero traps in the division.
func (m *remainder) append(b []byte, a, divisor uint32) []byte {
	local := func(op byte, index uint32) { b = unsigned(append(b, op), index) }
	constant := func(value int64) {
		op := byte(opI32Const)
		if m.kind == valueI64 {
			op = opI64Const
		}
		b = appendSigned(append(b, op), value)
	}
	local(opLocalSet, divisor)
	local(opLocalTee, a)
	local(opLocalGet, a)
	if m.signed {
		// The least number divided by -1 traps, and its remainder doesn't. By 1 it is the same, 0.
		constant(1)
		local(opLocalGet, divisor)
		local(opLocalGet, divisor)
		constant(-1)
		b = append(b, m.equal, opSelect)
		local(opLocalTee, divisor)
	} else {
		local(opLocalGet, divisor)
	}
	b = append(b, m.div)
	local(opLocalGet, divisor)
	return append(b, m.mul, m.sub)
}
