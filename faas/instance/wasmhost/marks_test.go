package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Locals of the function under test. The first three are where Go's functions have theirs.
const (
	localArg     = 0 // i32, the parameter
	localStack   = 1 // i32
	localI32     = 2 // and 3
	localI64     = 4 // and 5
	localV128    = 6
	localCounter = 7 // i32, of loops, and the four after it
	localState   = 12
	localCount   = 13
)

// A function of one i32 parameter with an i64 result and the locals above. Function 1 adds one to the
// i32 at an address and returns what it was. There are so many pages of memory, one more to grow by,
// and a passive data segment of passiveSize bytes.
func stackModule(instructions []byte, ofGo bool, pages int) []byte {
	const i32, i64, v128 = 0x7f, 0x7e, 0x7b
	body := func(b []byte) []byte { return slices.Concat(leb(len(b)), b) }
	wasm := slices.Concat([]byte(wasmHeader),
		section(sectionType, []byte{0x60, 1, i32, 1, i64}, []byte{0x60, 1, i32, 1, i32}),
		section(sectionFunction, []byte{0}, []byte{1}),
		section(sectionMemory, code(1, leb(pages), leb(pages+1))),
		section(sectionExport, slices.Concat(leb(1), []byte("f"), []byte{0, 0}), slices.Concat(leb(1), []byte("m"), []byte{2, 0})),
		[]byte{sectionDataCount, 1, 2},
		section(sectionCode,
			body(code(4, 3, i32, 2, i64, 1, v128, localCount-localCounter, i32, instructions, opEnd)),
			body(code(0, get(0), get(0), opI32Load, 0, 0, i32Const(1), opI32Add, opI32Store, 0, 0,
				get(0), opI32Load, 0, 0, opEnd))),
		section(sectionData,
			code(0, i32Const(0), opEnd, leb(len(smallData)), smallData),
			code(1, leb(passiveSize), bytes.Repeat([]byte{0xd5}, passiveSize))))
	if ofGo {
		name := slices.Concat(leb(len(goSection)), []byte(goSection), []byte("x"))
		wasm = slices.Concat(wasm, []byte{sectionCustom}, leb(len(name)), name)
	}
	return wasm
}

// smallData is what memory begins with.
var smallData = func() []byte {
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i) + byte(i>>8)*7 + 1
	}
	return data
}()

const passiveSize = 3000

// twins are a module as it is and as it was rewritten, the one with a memory of the host's.
type twins struct {
	original, rewritten api.Module
	memory              *memory
	image               []byte
	closers             []api.Closer
}

func (w *twins) close() {
	for _, c := range slices.Backward(w.closers) {
		_ = c.Close(context.Background())
	}
	w.memory.unmap()
}

// bench instantiates twins.
type bench struct {
	plain, marked wazero.Runtime
}

func newBench(t testing.TB, config wazero.RuntimeConfig) bench {
	ctx := context.Background()
	b := bench{wazero.NewRuntimeWithConfig(ctx, config), wazero.NewRuntimeWithConfig(ctx, config)}
	if err := instantiateRefuel(ctx, b.marked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.plain.Close(ctx), b.marked.Close(ctx) })
	return b
}

// twins makes them of a module that must be valid. It returns nil where the rewriter says that the
// module has an offset past all memory.
func (b bench) twins(t testing.TB, wasm []byte) *twins {
	t.Helper()
	m, err := prepareModule(wasm)
	if errors.Is(err, errOffset) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	anonymous := wazero.NewModuleConfig().WithName("")
	w := &twins{}
	instantiate := func(ctx context.Context, r wazero.Runtime, wasm []byte) api.Module {
		compiled, err := r.CompileModule(ctx, wasm)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.InstantiateModule(ctx, compiled, anonymous)
		if err != nil {
			t.Fatal(err)
		}
		w.closers = append(w.closers, compiled, m)
		return m
	}
	w.original = instantiate(ctx, b.plain, wasm)
	if w.memory, err = newMemory(1 << 20); err != nil {
		t.Fatal(err)
	}
	allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return w.memory })
	w.rewritten = instantiate(experimental.WithMemoryAllocator(ctx, allocate), b.marked, m.binary)
	w.image = slices.Clone(w.memory.bytes())
	w.memory.clearMarks()
	return w
}

func (w *twins) originalMemory() []byte {
	b, _ := w.original.Memory().Read(0, w.original.Memory().Size())
	return b
}

// call calls both, says what they don't do alike, if that is asked for, and what of the memory is not
// put back afterwards. Both are as they were then. ok is false where their memory grew: such an
// instance can't be put back, and isn't.
func (w *twins) call(arg uint32, alike bool) (result string, ok bool, err error) {
	run := func(m api.Module) string {
		values, err := m.ExportedFunction("f").Call(context.Background(), uint64(arg))
		if err != nil {
			return "trap"
		}
		return fmt.Sprint(values)
	}
	want, got := run(w.original), run(w.rewritten)
	if alike && got != want {
		return got, false, fmt.Errorf("f(%#x) is %s, was %s before rewriting", arg, got, want)
	}
	before, after := w.originalMemory(), w.memory.bytes()
	// What is written before a trap is of no use to anybody.
	if alike && got != "trap" && difference(before, after) >= 0 {
		return got, false, fmt.Errorf("f(%#x) leaves %d bytes of memory with another byte at %#x than the %d before rewriting",
			arg, len(after), difference(after, before), len(before))
	}
	if len(before) != len(w.image) || len(after) != len(w.image) {
		return got, false, nil
	}
	copyBlocks(before, w.image)
	if got == "trap" {
		copyBlocks(after, w.image)
		w.memory.clearMarks()
		return got, true, nil
	}
	w.memory.restore(w.image)
	if at := difference(after, w.image); at >= 0 {
		return got, false, fmt.Errorf("f(%#x) wrote to %#x, which is not put back", arg, at)
	}
	if at := bytes.IndexByte(w.memory.marks(len(w.image)), 1); at >= 0 {
		return got, false, fmt.Errorf("f(%#x): the mark of block %d stays", arg, at)
	}
	return got, true, nil
}

// difference is the first place at which two memories differ, or -1.
func difference(a, b []byte) int {
	//lint:ignore S1004 Equal is slow where races are detected
	if bytes.Compare(a, b) == 0 {
		return -1
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return at
}

// storing are all instructions that store, with a value to store, and what follows the offset.
var storing = []struct {
	name        string
	op          []byte
	size        int
	value, lane []byte
}{
	{"i32.store", code(0x36), 4, i32Const(-2), nil},
	{"i64.store", code(0x37), 8, i64Const(-2), nil},
	{"f32.store", code(0x38), 4, code(0x43, 1, 2, 3, 4), nil},
	{"f64.store", code(0x39), 8, code(0x44, 1, 2, 3, 4, 5, 6, 7, 8), nil},
	{"i32.store8", code(0x3a), 1, i32Const(-2), nil},
	{"i32.store16", code(0x3b), 2, i32Const(-2), nil},
	{"i64.store8", code(0x3c), 1, i64Const(-2), nil},
	{"i64.store16", code(0x3d), 2, i64Const(-2), nil},
	{"i64.store32", code(0x3e), 4, i64Const(-2), nil},
	{"v128.store", code(0xfd, 11), 16, vector, nil},
	{"v128.store8_lane", code(0xfd, 88), 1, vector, code(15)},
	{"v128.store16_lane", code(0xfd, 89), 2, vector, code(7)},
	{"v128.store32_lane", code(0xfd, 90), 4, vector, code(3)},
	{"v128.store64_lane", code(0xfd, 91), 8, vector, code(1)},
}

var vector = code(0xfd, 12, bytes.Repeat([]byte{0xfe}, 16))

// addressing are ways to come by the address that is the parameter.
var addressing = map[string][]byte{
	"a local":                    get(localArg),
	"a sum":                      code(get(localArg), i32Const(40), opI32Add, i32Const(40), opI32Sub),
	"the stack pointer":          code(get(localArg), set(localStack), get(localStack)),
	"the stack pointer, changed": code(get(localArg), set(localStack), get(localStack), i32Const(3), set(localStack)),
	"the stack pointer, moved":   code(get(localArg), i32Const(600), opI32Add, set(localStack), get(localStack), i32Const(600), opI32Sub, opLocalTee, localStack),
	"a local, changed":           code(get(localArg), i32Const(7), set(localArg)),
	"a pointer":                  code(get(localArg), opI64ExtendI32U, set(localI64), get(localI64), opI32WrapI64),
	"a pointer, changed":         code(get(localArg), opI64ExtendI32U, set(localI64), get(localI64), opI32WrapI64, i64Const(9), set(localI64)),
	"a variable of the stack's":  code(get(localArg), i32Const(24), opI32Sub, set(localStack), get(localStack), opI64ExtendI32U, i64Const(24), opI64Add, opI32WrapI64),
}

// TestStoresAreMarked stores everywhere in every way.
func TestStoresAreMarked(t *testing.T) {
	const pages = 3
	b := newBench(t, wazero.NewRuntimeConfigInterpreter())
	cases := 0
	for _, s := range storing {
		t.Run(s.name, func(t *testing.T) {
			for how, address := range addressing {
				for _, offset := range []int{0, 1, 24, 505, 511, 512, 100000, maxWindows*blockSize - 8, maxWindows * blockSize, 1 << 31} {
					for _, ofGo := range []bool{false, true} {
						if cases++; cases%thinned != 0 {
							continue
						}
						w := b.twins(t, stackModule(code(address, s.value, s.op, 0, leb(offset), s.lane, i64Const(1)), ofGo, pages))
						defer w.close()
						wrote := 0
						for _, at := range []int{0, 1, 511, 512, 513, 1023, 1500, 70000, pages<<16 - s.size - offset, pages<<16 - s.size - offset + 1, 1<<32 - 1, 1<<32 - 512} {
							// The address of a stack's variable that wraps around is what only Go's guests don't have.
							alike := !ofGo || how != "a variable of the stack's" || at >= 24
							result, _, err := w.call(uint32(at), alike)
							if err != nil {
								t.Fatalf("%s, offset %d, Go's: %v: %v", how, offset, ofGo, err)
							}
							if result != "trap" {
								wrote++
							}
						}
						if (wrote == 0) != (offset >= pages<<16) {
							t.Errorf("%s, offset %d, Go's: %v: %d stores were in memory", how, offset, ofGo, wrote)
						}
					}
				}
			}
		})
	}
}

// TestOffsetPastAllMemory is about stores that trap whatever their address is.
func TestOffsetPastAllMemory(t *testing.T) {
	for _, offset := range []int{1<<32 - reserved, 1<<32 - 1} {
		_, err := prepareModule(stackModule(code(get(0), i32Const(1), opI32Store, 0, leb(offset), i64Const(1)), false, 1))
		if !errors.Is(err, errOffset) {
			t.Errorf("offset %#x: %v", offset, err)
		}
	}
	if _, err := prepareModule(stackModule(code(get(0), i32Const(1), opI32Store, 0, leb(1<<32-1-reserved), i64Const(1)), false, 1)); err != nil {
		t.Error(err)
	}
}

// TestBulkIsMarked fills, copies and initialises everywhere.
func TestBulkIsMarked(t *testing.T) {
	const pages = 2
	const fill, copies, initialise = 0, 1, 2
	ops := [][]byte{code(0xfc, 11, 0), code(0xfc, 10, 0, 0), code(0xfc, 8, 1, 0)}
	b := newBench(t, wazero.NewRuntimeConfigInterpreter())
	cases := 0
	for _, row := range []struct {
		name string
		from []byte // or what with
		op   int
		// overlaps says that the two places may be neither apart nor the same, as they are in Go's guests.
		overlaps bool
	}{
		{"zero", i32Const(0), fill, false},
		{"fill", i32Const(3), fill, false},
		{"copy from elsewhere", code(get(localArg), i32Const(50000), opI32Xor), copies, false},
		{"copy on itself", get(localArg), copies, false},
		{"copy by one up", code(get(localArg), i32Const(1), opI32Sub), copies, true},
		{"copy by one down", code(get(localArg), i32Const(1), opI32Add), copies, true},
		{"copy from the end", i32Const(pages << 16), copies, true},
		{"init", i32Const(5), initialise, false},
		{"init from past the segment", i32Const(passiveSize + 1), initialise, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 15, 16, 17, 383, 384, 385, 512, 513, 1024, 1025, 2900, 60000, -1} {
				for _, constant := range []bool{true, false} {
					sized := i32Const(size)
					if !constant {
						sized = code(i32Const(size+1), i32Const(1), opI32Sub)
					}
					for _, ofGo := range []bool{false, true} {
						if cases++; cases%thinned != 0 {
							continue
						}
						w := b.twins(t, stackModule(code(get(localArg), row.from, sized, ops[row.op], i64Const(1)), ofGo, pages))
						defer w.close()
						for _, at := range []int{0, 1, 2, 511, 512, 600, 40000, pages<<16 - 1, pages << 16, pages<<16 - size, pages<<16 - size + 1, pages<<16 + 1, 1 << 31, -reserved - 1, -reserved, -1} {
							if _, _, err := w.call(uint32(at), !ofGo || !row.overlaps); err != nil {
								t.Fatalf("%d bytes, constant: %v, Go's: %v: %v", size, constant, ofGo, err)
							}
						}
					}
				}
			}
		})
	}
}

// stackPrograms store near the stack pointer, which they move.
var stackPrograms = map[string][]byte{
	"in a loop that moves it down": code(get(localArg), set(localStack), i32Const(100), set(localCounter),
		opLoop, blockEmpty,
		moveStack(opI32Sub, 200, opLocalSet), storeAt(localStack, 0), storeAt(localStack, 400),
		countDown(0),
		opEnd),
	"in a loop that moves it up": code(get(localArg), set(localStack), i32Const(100), set(localCounter),
		opLoop, blockEmpty,
		storeAt(localStack, 0), moveStack(opI32Add, 200, opLocalSet), storeAt(localStack, 400),
		countDown(0),
		opEnd),
	"past 2^32, up, from a mark that no store made": code(
		i32Const(-200), set(localStack), opLoop, blockEmpty,
		moveStack(opI32Add, 300, opLocalSet), storeAt(localStack, 0), opEnd),
	"past 2^32, up in steps": code(
		i32Const(-300), set(localStack), opLoop, blockEmpty,
		moveStack(opI32Add, 150, opLocalSet), moveStack(opI32Add, 149, opLocalSet), moveStack(opI32Add, 2, opLocalTee),
		i64Const(1), i64Store, 0, 0, storeAt(localStack, 200), opEnd),
	"past 2^32, down and up": code(
		i32Const(100), set(localStack), opLoop, blockEmpty,
		moveStack(opI32Sub, 200, opLocalSet), opLoop, blockEmpty, moveStack(opI32Add, 300, opLocalSet), opEnd,
		storeAt(localStack, 0), storeAt(localStack, 300), opEnd),
	"past 2^32, up by less than nothing": code(
		i32Const(-200), set(localStack), opLoop, blockEmpty,
		moveStack(opI32Sub, -300, opLocalSet), storeAt(localStack, 0), opEnd),
	"moved far": code(get(localArg), set(localStack), storeAt(localStack, 0),
		moveStack(opI32Add, 1<<24, opLocalSet), moveStack(opI32Sub, 1<<24, opLocalSet), storeAt(localStack, 8),
		moveStack(opI32Sub, 1<<24+1, opLocalSet), moveStack(opI32Add, 1<<24+1, opLocalSet), storeAt(localStack, 16),
		moveStack(opI32Sub, -1<<31, opLocalSet), moveStack(opI32Add, -1<<31, opLocalSet), storeAt(localStack, 24),
		moveStack(opI32Sub, 1<<23, opLocalSet), moveStack(opI32Sub, 1<<24, opLocalSet), moveStack(opI32Sub, 1<<24, opLocalSet),
		moveStack(opI32Add, 5<<23, opLocalSet), storeAt(localStack, 1200)),
	"frames of many sizes": code(get(localArg), set(localStack),
		frame(8), frame(504), frame(512), frame(520), frame(1016), frame(1024), frame(1032), frame(4096), frame(30000)),
	"changed on one way of an if": code(get(localArg), set(localStack), storeAt(localStack, 0),
		get(localArg), i32Const(1), opI32And, opIf, blockEmpty, i32Const(9000), set(localStack), opEnd, storeAt(localStack, 0)),
	"changed on one way of an if with an else": code(get(localArg), set(localStack), storeAt(localStack, 0),
		get(localArg), i32Const(1), opI32And, opIf, blockEmpty, storeAt(localStack, 700), opElse, i32Const(9000), set(localStack), opEnd,
		storeAt(localStack, 0), storeAt(localStack, 700)),
	"stored on one way of an if": code(get(localArg), set(localStack), i32Const(5000), set(localI32),
		get(localArg), i32Const(1), opI32And, opIf, blockEmpty, storeAt(localStack, 0), storeAt(localI32, 0), opEnd,
		storeAt(localStack, 8), storeAt(localI32, 8)),
	"changed before a branch forward": code(get(localArg), set(localStack), storeAt(localStack, 0),
		opBlock, blockEmpty, moveStack(opI32Add, 8192, opLocalSet), get(localArg), opBrIf, 0, moveStack(opI32Sub, 8192, opLocalSet), opEnd,
		storeAt(localStack, 0)),
	"changed before one branch of a table": code(get(localArg), set(localStack), storeAt(localStack, 0),
		opBlock, blockEmpty, opBlock, blockEmpty, opBlock, blockEmpty,
		get(localArg), i32Const(3), opI32And, opBrTable, 2, 0, 1, 2,
		opEnd, i32Const(3000), set(localStack), opBr, 1,
		opEnd, storeAt(localStack, 600), opBr, 0,
		opEnd, storeAt(localStack, 0), storeAt(localStack, 600)),
	"changed before a branch backward": code(get(localArg), set(localStack), i32Const(4), set(localCounter),
		opLoop, blockEmpty, storeAt(localStack, 0), storeAt(localStack, 600), get(localStack), i32Const(3), opI32Mul, set(localStack), countDown(0), opEnd),
	"a local changed before a branch backward": code(get(localArg), set(localI32), i32Const(4), set(localCounter),
		opLoop, blockEmpty, storeAt(localI32, 0), get(localI32), i32Const(3), opI32Mul, set(localI32), countDown(0), opEnd),
	"a local marked before the loop that changes it": code(get(localArg), set(localI32), i32Const(4), set(localCounter), storeAt(localI32, 0),
		opLoop, blockEmpty, storeAt(localI32, 0), get(localI32), i32Const(3), opI32Mul, set(localI32), countDown(0), opEnd),
	"two branches forward, of which the first has marked": code(get(localArg), set(localStack),
		opBlock, blockEmpty, storeAt(localStack, 600), get(localArg), i32Const(1), opI32And, opBrIf, 0,
		i32Const(9000), set(localStack), opBr, 0, opEnd, storeAt(localStack, 600)),
	"a jump forward of a state machine":    states(localState, code(i32Const(9000), set(localStack)), storeAt(localStack, 0)),
	"a state machine by the stack pointer": states(localStack, storeAt(localStack, 8), storeAt(localStack, 0)),
	"moved up by less than nothing": code(get(localArg), set(localStack), storeAt(localStack, 0),
		moveStack(opI32Sub, -600, opLocalSet), storeAt(localStack, 100)),
	"a pointer, stored by and changed": code(get(localArg), opI64ExtendI32U, set(localI64),
		get(localI64), opI32WrapI64, i64Const(1), i64Store, 0, 0,
		get(localI64), i64Const(5000), opI64Add, set(localI64),
		get(localI64), opI32WrapI64, i64Const(1), i64Store, 0, 0),
	"marked where nothing comes": code(get(localArg), set(localStack),
		opBlock, blockEmpty, opBr, 0, storeAt(localStack, 0), opBlock, blockEmpty, storeAt(localStack, 600), opEnd, opEnd, storeAt(localStack, 0), storeAt(localStack, 600)),
	"changed by what is stored": code(get(localArg), set(localStack), get(localStack),
		i32Const(4000), opLocalTee, localStack, opI64ExtendI32U, i64Store, 0, 0, storeAt(localStack, 0)),
	"address and value of two pointers": code(get(localArg), opI64ExtendI32U, set(localI64),
		get(localI64), opI32WrapI64, i64Const(3000), set(localI64), get(localI64), opI32WrapI64, i64Load, 0, 0, i64Store, 0, 0,
		get(localI64), opI32WrapI64, i64Const(1), i64Store, 0, 0),
	"by a function that is called": code(get(localArg), 0x10, 1, 0x1a, i32Const(511), 0x10, 1, 0x1a),
}

// moveStack is local.get 1, i32.const by, op, and then.
func moveStack(op byte, by int, then byte) []byte {
	return code(get(localStack), i32Const(by), int(op), int(then), localStack)
}

func storeAt(local, offset int) []byte {
	return code(get(local), i64Const(-5), i64Store, 0, leb(offset))
}

// states is a state machine of three states by a local that is 0 at first: the first state does
// something and jumps over the second to the third.
func states(local int, first, third []byte) []byte {
	return code(opLoop, blockEmpty, opBlock, blockEmpty, opBlock, blockEmpty, opBlock, blockEmpty,
		get(local), opBrTable, 2, 0, 1, 2,
		opEnd, first, i32Const(9000), set(local), opBr, 2, // by the default
		opEnd, opUnreachable,
		opEnd, third, opEnd)
}

// countDown goes on with the loop around it until a counter is 0.
func countDown(depth int) []byte {
	return code(get(localCounter), i32Const(1), opI32Sub, opLocalTee, localCounter, opBrIf, depth)
}

// frame stores at both ends of a frame.
func frame(size int) []byte {
	return code(moveStack(opI32Sub, size, opLocalSet), storeAt(localStack, size-8), storeAt(localStack, 0), moveStack(opI32Add, size, opLocalSet), storeAt(localStack, 0))
}

const (
	opI32And = 0x71
	opI32Xor = 0x73
	opI32Mul = 0x6c
)

func TestStackIsMarked(t *testing.T) {
	for engine, config := range engines {
		b := newBench(t, config())
		for name, program := range stackPrograms {
			t.Run(engine+", "+name, func(t *testing.T) {
				for _, ofGo := range []bool{false, true} {
					w := b.twins(t, stackModule(code(program, i64Const(1)), ofGo, 2))
					defer w.close()
					for _, arg := range []uint32{0, 1, 2, 3, 100, 511, 512, 1000, 8191, 20000, 32001, 60001, 2<<16 - 8, 1<<32 - 8, 1<<32 - 300, 1<<32 - 1024} {
						if _, _, err := w.call(arg, true); err != nil {
							t.Errorf("Go's: %v: %v", ofGo, err)
						}
					}
				}
			})
		}
	}
}

var engines = map[string]func() wazero.RuntimeConfig{
	"interpreter": wazero.NewRuntimeConfigInterpreter,
	"compiler":    wazero.NewRuntimeConfigCompiler,
}

// TestPagesAreTheGuests asks for the size of memory and more of it, up to the limit and past it.
func TestPagesAreTheGuests(t *testing.T) {
	b := newBench(t, wazero.NewRuntimeConfigInterpreter())
	pages := func(first []byte) []byte { // the first number and the size afterwards
		return code(first, opI64ExtendI32U, i64Const(1<<32), i64Mul, opMemorySize, 0, opI64ExtendI32U, opI64Add)
	}
	for name, program := range map[string][]byte{
		"size": pages(code(opMemorySize, 0)),
		"grow": pages(code(get(localArg), opMemoryGrow, 0)),
		"store to the new page": code(get(localArg), opMemoryGrow, 0, set(localI32),
			i32Const(2<<16), i64Const(7), i64Store, 0, leb(1<<16-8), pages(get(localI32))),
	} {
		for _, arg := range []uint32{0, 1, 2, 1 << 16, 1<<16 - 2, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			w := b.twins(t, stackModule(program, true, 2))
			defer w.close()
			if result, _, err := w.call(arg, true); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if grew := len(w.memory.bytes()) > len(w.image); grew != (name != "size" && arg == 1) {
				t.Errorf("%s by %d gave %s, grew: %v", name, arg, result, grew)
			}
		}
	}
}
