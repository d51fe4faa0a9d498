package wasmhost

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
)

// generator writes functions of stackModule that are valid and end, as some bytes choose. Addresses
// are in memory most of the time.
type generator struct {
	choices []byte
	out     []byte
	budget  int    // of statements
	labels  []bool // around what is written, the function's not counted: whether a branch takes no value there
	loops   int    // of loops around it
	machine bool   // in a state machine
	tame    bool   // see goLike
}

const genPages = 2

// generate returns a function, and whether it is goLike: what the rewriter does to Go's guests only
// leaves alone what it computes. Go's compiler has no variable on a stack that wraps around, and
// copies no structure onto a part of itself.
func generate(choices []byte) (function []byte, goLike bool) {
	g := &generator{choices: choices, budget: 60}
	g.tame = g.choose(2) == 0
	for g.budget > 0 && len(g.choices) > 0 {
		g.statement()
	}
	g.emit(get(localI64), get(localI64+1), opI64Add, get(localStack), opI64ExtendI32U, opI64Add)
	return g.out, g.tame
}

// choose returns a number less than n. When the choices are used up, it is 0.
func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) one(of ...int) int { return of[g.choose(len(of))] }

func (g *generator) emit(parts ...any) { g.out = append(g.out, code(parts...)...) }

// i32 are the locals that may be anything, number those of them that are small in what is goLike.
func (g *generator) i32() int   { return g.one(localArg, localStack, localI32, localI32+1, localStack) }
func (g *generator) small() int { return g.one(localArg, localI32, localI32+1) }
func (g *generator) i64() int   { return localI64 + g.choose(2) }

// number is an i32.
func (g *generator) number(depth int) {
	if depth <= 0 {
		g.emit(get(g.i32()))
		return
	}
	switch g.choose(11) {
	case 0:
		g.emit(i32Const(g.choose(256) * g.one(1, 7, 512, 8192, 1<<23)))
	case 1, 2:
		g.emit(get(g.i32()))
	case 3:
		g.emit(get(g.i64()), opI32WrapI64)
	case 4:
		g.number(depth - 1)
		g.number(depth - 1)
		g.emit(g.one(opI32Add, opI32Sub, opI32And, opI32Xor, opI32Mul))
	case 5:
		g.address(depth - 1)
		g.emit(g.one(opI32Load, 0x2c, 0x2d, 0x2e, 0x2f), 0, leb(g.offset()))
	case 6:
		g.masked(depth - 1)
		g.emit(opLocalTee, g.small())
	case 7:
		g.move(opLocalTee)
	case 8:
		g.emit(opMemorySize, 0)
	case 9: // what is between an address and its store may be anything
		g.number(depth - 1)
		g.emit(opIf, valueI32)
		g.inside(1, false, func() {
			for n := g.choose(3); n > 0; n-- {
				g.statement()
			}
			g.number(depth - 1)
			g.emit(opElse)
			for n := g.choose(3); n > 0; n-- {
				g.statement()
			}
			g.number(depth - 1)
		})
		g.emit(opEnd)
	case 10:
		g.masked(depth - 1)
		g.emit(opCall, 1)
	}
}

// masked is an i32 that is an address in memory.
func (g *generator) masked(depth int) {
	g.number(depth)
	g.emit(i32Const(g.one(0x7fff, 0xffff, 0xfff, 0x7ff0)), opI32And)
}

// wide is an i64.
func (g *generator) wide(depth int) {
	switch g.choose(4) {
	case 0:
		g.emit(i64Const(int64(g.choose(256)-64) * int64(g.one(1, 513, 1<<20))))
	case 1:
		g.emit(get(g.i64()))
	case 2:
		g.masked(depth)
		g.emit(opI64ExtendI32U)
	case 3:
		g.address(depth)
		g.emit(i64Load, 0, leb(g.offset()))
	}
}

func (g *generator) offset() int {
	return g.one(0, 0, 8, 24, 504, 505, 511, 512, 520, 1000, 1024, 4096, 40000)
}

// address is an i32 as addresses are written.
func (g *generator) address(depth int) {
	switch g.choose(7) {
	case 0, 1:
		g.emit(get(g.i32()))
	case 2:
		g.emit(get(g.i64()), opI32WrapI64)
	case 3:
		base := g.small()
		if !g.tame {
			base = g.i32()
		}
		g.emit(get(base), opI64ExtendI32U, i64Const(int64(g.one(0, 8, 16, 500, 512, 1016, 20000))), opI64Add, opI32WrapI64)
	case 4:
		g.emit(i32Const(g.choose(256) * g.one(1, 512, 509)))
	case 5:
		g.masked(depth)
	case 6:
		g.masked(depth)
		g.emit(opLocalTee, g.small())
	}
}

// move is the stack pointer's.
func (g *generator) move(then byte) {
	by := g.one(8, 16, 64, 200, 504, 512, 513, 520, 1024, 4096, 30000, 1<<24, 1<<24+1, -8, -600, 1<<31-1, -1<<31)
	g.emit(moveStack(byte(g.one(opI32Add, opI32Sub)), by, then))
}

// inside is the inside of blocks, plain ones or one with a result.
func (g *generator) inside(blocks int, plain bool, write func()) {
	around := len(g.labels)
	for range blocks {
		g.labels = append(g.labels, plain)
	}
	write()
	g.labels = g.labels[:around]
}

func (g *generator) statements(most int) {
	for n := 1 + g.choose(most); n > 0; n-- {
		g.statement()
	}
}

// label is the depth of one of those around that take no value.
func (g *generator) label() (depth int, ok bool) {
	for range 4 {
		if len(g.labels) == 0 {
			return 0, false
		}
		if depth = g.choose(len(g.labels)); g.labels[len(g.labels)-1-depth] {
			return depth, true
		}
	}
	return 0, false
}

// branch is an instruction that goes to a label.
func (g *generator) branch(op byte) {
	if to, ok := g.label(); ok {
		if op == opBrIf {
			g.number(1)
		}
		g.emit(int(op), to)
	}
}

func (g *generator) statement() {
	if g.budget--; g.budget < 0 {
		return
	}
	switch g.choose(21) {
	case 0, 1, 2, 3, 4:
		g.store()
	case 5:
		g.masked(2)
		g.emit(set(g.small()))
	case 6:
		g.move(opLocalSet)
	case 7:
		g.masked(1)
		g.emit(set(localStack))
	case 8:
		g.wide(2)
		g.emit(set(g.i64()))
	case 9:
		g.bulk()
	case 10:
		g.emit(opBlock, blockEmpty)
		g.inside(1, true, func() { g.statements(5) })
		g.emit(opEnd)
	case 11, 12:
		g.loop()
	case 13:
		g.number(1)
		g.emit(opIf, blockEmpty)
		g.inside(1, true, func() {
			g.statements(4)
			if g.choose(2) == 0 {
				g.emit(opElse)
				g.statements(4)
			}
		})
		g.emit(opEnd)
	case 14:
		if to, ok := g.label(); ok {
			g.emit(opBr, to)
			g.nowhere()
		}
	case 15:
		g.branch(opBrIf)
	case 16:
		var to []byte
		for range 1 + g.choose(4) {
			if label, ok := g.label(); ok {
				to = append(to, byte(label))
			}
		}
		if len(to) > 0 {
			g.number(1)
			g.emit(opBrTable, len(to)-1, to)
		}
	case 17:
		g.states()
	case 18:
		g.number(2)
		g.emit(0x1a)
	case 20:
		g.frames()
	case 19:
		switch g.choose(16) {
		case 0:
			g.number(1)
			g.emit(opMemoryGrow, 0, 0x1a)
		case 1:
			g.emit(i64Const(4), opReturn)
		case 2:
			g.emit(opUnreachable)
		default:
			g.emit(i32Const(g.one(-8, -200, -511, -512, -600)), set(localStack))
		}
	}
}

// nowhere is code that nothing comes to, which may take operands that are not there.
func (g *generator) nowhere() {
	switch g.choose(8) {
	case 0:
		g.emit(get(localI64), i64Store, 0, 8)
	case 1:
		g.emit(opPrefixFC, fcMemoryFill, 0)
	case 2:
		g.emit(i32Const(0), i32Const(24), opPrefixFC, fcMemoryFill, 0)
	case 3:
		g.emit(opMemoryGrow, 0, 0x1a)
	case 4:
		g.emit(opPrefixFD, fdStore, 0, 0)
	case 5:
		g.emit(opLocalTee, localStack, i32Const(1), opI32Store, 0, 0)
	}
}

// frames are moves of the stack pointer, near the ends of what it can be, and stores around it.
func (g *generator) frames() {
	g.emit(i32Const(g.one(0, 100, 511, 512, 1000, 60000, -1, -200, -511, -512, -600)), set(localStack))
	g.emit(opLoop, blockEmpty)
	g.inside(1, false, func() { // nothing begins it anew
		for n := 1 + g.choose(6); n > 0; n-- {
			switch g.choose(4) {
			case 0, 1:
				by := g.one(8, 100, 200, 300, 504, 512, 513, 700, 1024)
				g.emit(moveStack(byte(g.one(opI32Add, opI32Sub)), by, opLocalSet))
			case 2:
				// A store that is past memory ends it all, and shows nothing.
				g.emit(get(localStack), i32Const(0x10000), 0x49, opIf, blockEmpty, storeAt(localStack, g.one(0, 8, 500, 520, 1000)), opEnd)
			case 3:
				g.emit(get(localStack), i32Const(0x10000), 0x49, opIf, blockEmpty, get(localStack), i64Const(1), i64Store, 0, 0, opElse)
				g.inside(1, true, g.statement)
				g.emit(opEnd)
			}
		}
	})
	g.emit(opEnd)
}

func (g *generator) store() {
	g.address(2)
	s := storing[g.choose(len(storing))]
	switch {
	case s.name == "i32.store" || s.name == "i32.store8" || s.name == "i32.store16":
		g.number(2)
	case s.name == "i64.store" || s.name == "i64.store8":
		g.wide(2)
	default:
		g.emit(s.value)
	}
	g.emit(s.op, 0, leb(g.offset()), s.lane)
}

func (g *generator) bulk() {
	size := func() {
		if g.choose(4) == 0 {
			g.masked(1)
		} else {
			g.emit(i32Const(g.one(0, 1, 15, 16, 17, 24, 100, 383, 384, 385, 512, 1024, 1025, 5000)))
		}
	}
	switch g.choose(4) {
	case 0:
		g.address(1)
		g.emit(i32Const(0))
		size()
		g.emit(opPrefixFC, fcMemoryFill, 0)
	case 1:
		g.address(1)
		g.number(1)
		size()
		g.emit(opPrefixFC, fcMemoryFill, 0)
	case 2:
		for half := range 2 {
			g.address(1)
			if g.tame {
				g.emit(i32Const(0x7e00), opI32And, i32Const(half<<15), opI32Add)
			}
		}
		size()
		g.emit(opPrefixFC, fcMemoryCopy, 0, 0)
	case 3:
		g.address(1)
		g.number(1)
		g.emit(i32Const(0x7ff), opI32And)
		size()
		g.emit(opPrefixFC, fcMemoryInit, 1, 0)
	}
}

// turns is how a loop ends, whatever branches to it: it is left to the block of the depth when the
// counter is used up.
func (g *generator) turns(counter, depth int) {
	g.emit(get(counter), 0x45, opBrIf, depth, get(counter), i32Const(1), opI32Sub, set(counter))
}

func (g *generator) loop() {
	if g.loops >= 3 {
		return
	}
	counter := localCounter + g.loops
	g.emit(i32Const(1+g.choose(3)), set(counter), opBlock, blockEmpty, opLoop, blockEmpty)
	g.turns(counter, 1)
	g.loops++
	g.inside(2, true, func() {
		g.statements(6)
		switch g.choose(3) {
		case 0:
			g.emit(opBr, 0)
		case 1:
			g.number(1)
			g.emit(opBrIf, 0)
		}
	})
	g.loops--
	g.emit(opEnd, opEnd)
}

// states is a state machine as Go's compiler writes it.
func (g *generator) states() {
	if g.loops >= 3 || g.machine {
		return
	}
	const n = 3
	counter := localCounter + 3
	g.machine = true
	g.emit(i32Const(4), set(counter), opBlock, blockEmpty, opLoop, blockEmpty)
	for range n {
		g.emit(opBlock, blockEmpty)
	}
	g.emit(get(localState), opBrTable, n)
	for i := range n {
		g.emit(i)
	}
	g.emit(g.choose(n))
	// The block, the loop, and the states' blocks that are still around.
	for state := range n {
		left := n - 1 - state
		g.emit(opEnd)
		g.turns(counter, left+1)
		g.inside(left+2, true, func() {
			g.statements(4)
			if g.choose(2) == 0 {
				g.number(1)
				g.emit(opIf, blockEmpty, i32Const(g.choose(n+1)), set(localState), opBr, left+1, opEnd)
			}
			if g.choose(2) == 0 {
				g.emit(i32Const(g.choose(n+1)), set(localState), opBr, left)
			}
		})
	}
	g.machine = false
	g.emit(opEnd, opEnd)
}

var marksArgs = []uint32{0, 300, 8190, 50001, 1<<32 - 400}

func checkMarks(t *testing.T, b bench, choices []byte) (traps int) {
	t.Helper()
	function, goLike := generate(choices)
	for _, ofGo := range []bool{false, true} {
		w := b.twins(t, stackModule(function, ofGo, genPages))
		if w == nil {
			continue
		}
		for _, arg := range marksArgs {
			result, ok, err := w.call(arg, !ofGo || goLike && arg < 1<<31)
			if err != nil {
				t.Fatalf("choices %x, Go's: %v: %v; function %x", choices, ofGo, err, function)
			}
			if result == "trap" {
				traps++
			}
			if !ok {
				break
			}
		}
		w.close()
	}
	return traps
}

// TestRandomFunctionsAreMarked runs some functions by chance: see FuzzMarks.
func TestRandomFunctionsAreMarked(t *testing.T) {
	for engine, count := range map[string]int{"interpreter": 1500, "compiler": 200} {
		t.Run(engine, func(t *testing.T) {
			b := newBench(t, engines[engine]())
			traps := 0
			count /= thinned
			for seed := range count {
				random := rand.New(rand.NewPCG(uint64(seed), 9))
				choices := make([]byte, 20+random.IntN(400))
				for i := range choices {
					choices[i] = byte(random.Uint32())
				}
				traps += checkMarks(t, b, choices)
			}
			if runs := count * 2 * len(marksArgs); traps > runs/2 {
				t.Errorf("%d of %d runs end in a trap: they show little", traps, runs)
			}
		})
	}
}

// FuzzMarks has functions that are valid do what they like, and claims that they do the same after
// rewriting, and that what they wrote is marked.
func FuzzMarks(f *testing.F) {
	for seed := range 20 {
		random := rand.New(rand.NewPCG(uint64(seed), 9))
		choices := make([]byte, 100)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(slices.Clone(choices))
	}
	b := newBench(f, wazero.NewRuntimeConfigInterpreter())
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 2000 {
			return
		}
		checkMarks(t, b, choices)
	})
}
