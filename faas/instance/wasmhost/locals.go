package wasmhost

import "encoding/binary"

// locals are those that a function gets beside its own, numbered as they are asked for.
type locals struct {
	first uint32
	types []byte
	temps [5 + 3]uint32 // by type, two more of i32 and one more of i64: what holds an operand for a moment
}

const noLocal = ^uint32(0)

// begin starts a function that has so many locals.
func (l *locals) begin(first uint32) {
	l.first, l.types = first, l.types[:0]
	for i := range l.temps {
		l.temps[i] = noLocal
	}
}

// add returns a new local.
func (l *locals) add(kind byte) uint32 {
	l.types = append(l.types, kind)
	return l.first + uint32(len(l.types)) - 1
}

// temporary returns the local of a type that is free between any two instructions of the guest.
func (l *locals) temporary(kind byte) uint32 { return l.temp(int(valueI32-kind), kind) }

// second and third are two more of i32.
func (l *locals) second() uint32 { return l.temp(5, valueI32) }
func (l *locals) third() uint32  { return l.temp(6, valueI32) }

// another is one more of i32 or i64.
func (l *locals) another(kind byte) uint32 {
	if kind == valueI64 {
		return l.temp(7, valueI64)
	}
	return l.second()
}

func (l *locals) temp(i int, kind byte) uint32 {
	if l.temps[i] == noLocal {
		l.temps[i] = l.add(kind)
	}
	return l.temps[i]
}

// groups are the runs of locals of one type, declared as code is written (5.4.1).
func (l *locals) groups() (count uint32, code []byte) {
	for i := 0; i < len(l.types); count++ {
		n := 1
		for i+n < len(l.types) && l.types[i+n] == l.types[i] {
			n++
		}
		code = append(binary.AppendUvarint(code, uint64(n)), l.types[i])
		i += n
	}
	return count, code
}
