package wasmhost

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// module is a guest's binary, rewritten for snapshots and deadlines:
//
//   - every mutable global is exported, because an image must hold them all;
//   - every function and every turn of a loop takes fuel from a global of ours, and calls a
//     function of the host when there is none left. wazero can end a guest, too, but leaves the
//     code on every turn of a loop and starts a goroutine for every call, which costs several
//     times what a decision does;
//   - every store marks what it writes (see track.go).
//
// The global, the import and the marks are out of the guest's reach: indices that the guest had no
// right to are refused here, before they come to mean ours.
type module struct {
	binary []byte
	// globals are the names of the exports of all mutable globals.
	globals []string
	// hidden says what in this guest an event could change that no image can put back, such as
	// "table.set". Empty for most guests; others get a new instance for every event.
	hidden string
	// Of a prepared guest: what tells it and its training from others, and whether it is the lean one.
	hash [sha256.Size]byte
	lean bool
}

// Names that the rewritten module uses.
const (
	exportGlobal = "switchbridge.global." // and the global's index
	exportFuel   = "switchbridge.fuel"
	hostModule   = "switchbridge"
	hostRefuel   = "refuel"
)

// Fuel: what a guest runs on between two looks at the clock, some 0.1 ms, and what a bulk
// instruction takes. Go's guests zero and copy structures by bulk instructions, hundreds in an
// event; a hostile one may go over all of its memory with each, and is then ended after 64 of them.
const (
	fuelQuantum = 1 << 16
	fuelBulk    = fuelQuantum / 64
	fuelCode    = 1024 // bytes of a function's code, for each of which every turn takes one more
)

// Sections by id. WebAssembly Core Specification 2.0, 5.5.2.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

// sectionOrder is the order in which a module has its sections.
var sectionOrder = []int{
	sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal,
	sectionExport, sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData,
}

const wasmHeader = "\x00asm\x01\x00\x00\x00"

// prepareModule rewrites a guest. It doesn't validate more of it than its own work needs: that is
// wazero's part, afterwards.
func prepareModule(wasm []byte) (*module, error) {
	sections, ofGo, err := split(wasm)
	if err != nil {
		return nil, err
	}
	if sections[sectionDataCount] == nil { // or instructions name segments
		sections[sectionData] = joinSegments(sections[sectionData])
	}
	w := &rewriter{module: &module{}, goGuest: ofGo, pointers: make(map[uint32]uint32)}
	for _, section := range []struct {
		id      int
		rewrite func(*edit)
	}{
		// What the later ones need to know comes first.
		{sectionType, w.types},
		{sectionImport, w.imports},
		{sectionFunction, w.functions},
		{sectionTable, w.tables},
		{sectionMemory, w.memories},
		{sectionGlobal, w.globals},
		{sectionExport, w.exports},
		{sectionStart, w.start},
		{sectionElement, w.elements},
		{sectionCode, w.code},
		{sectionData, w.data},
	} {
		body := sections[section.id]
		if body == nil {
			switch section.id {
			case sectionTable, sectionMemory, sectionStart, sectionElement, sectionData:
				continue
			}
			body = []byte{0} // an empty list
		}
		e := &edit{reader: reader{b: body}, out: make([]byte, 0, len(body)+len(body)/16)}
		section.rewrite(e)
		e.copy()
		if e.err == nil && e.at != len(body) {
			e.err = fmt.Errorf("%d stray bytes", len(body)-e.at)
		}
		if e.err != nil {
			return nil, fmt.Errorf("section %d at its offset %d: %w", section.id, e.at, e.err)
		}
		sections[section.id] = e.out
	}
	w.module.binary = join(&sections)
	return w.module, nil
}

// memoryAtStart is how many bytes of memory the guest begins with.
func (m *module) memoryAtStart() uint64 {
	sections, _, err := split(m.binary)
	if err != nil {
		return 0
	}
	r := &reader{b: sections[sectionMemory]}
	if r.u32() == 0 {
		return 0
	}
	r.byte() // whether there is a greatest size
	return uint64(r.u32())*wasmPage - reserved
}

// join is the module of sections.
func join(sections *[sectionDataCount + 1][]byte) []byte {
	size := len(wasmHeader)
	for _, body := range sections {
		size += 1 + binary.MaxVarintLen32 + len(body)
	}
	out := append(make([]byte, 0, size), wasmHeader...)
	for _, id := range sectionOrder {
		if body := sections[id]; body != nil {
			out = append(out, byte(id))
			out = append(binary.AppendUvarint(out, uint64(len(body))), body...)
		}
	}
	return out
}

// split returns the bodies of a module's sections by id. Custom sections are left out: names in
// them would belong to the wrong functions afterwards. One of them, which Go's linker always
// writes, says that the guest is Go's.
func split(wasm []byte) (sections [sectionDataCount + 1][]byte, ofGo bool, err error) {
	if !bytes.HasPrefix(wasm, []byte(wasmHeader)) {
		return sections, false, errors.New("not a WebAssembly module: it doesn't begin with \\0asm and version 1")
	}
	r := &reader{b: wasm, at: len(wasmHeader)}
	last := -1
	for r.at < len(wasm) {
		start := r.at
		id := int(r.byte())
		body := r.take(r.u32())
		if r.err != nil {
			return sections, false, fmt.Errorf("section at offset %d: %w", start, r.err)
		}
		if id == sectionCustom {
			name := &reader{b: body}
			ofGo = ofGo || string(name.take(name.u32())) == goSection
			continue
		}
		at := slices.Index(sectionOrder, id)
		if at < 0 {
			return sections, false, fmt.Errorf("section at offset %d has the unknown id %d", start, id)
		}
		if at <= last {
			return sections, false, fmt.Errorf("section %d at offset %d is out of order", id, start)
		}
		last = at
		sections[id] = body
	}
	return sections, ofGo, nil
}

const goSection = "go:buildid"

// edit reads a section and writes its new form: what was read since the last copy is copied as it
// stands, or replaced.
type edit struct {
	reader
	out    []byte
	copied int
}

func (e *edit) copy() {
	if e.err == nil {
		e.out = append(e.out, e.b[e.copied:e.at]...)
		e.copied = e.at
	}
}

// replace reads a number and replaces it by change's result.
func (e *edit) replace(change func(uint32) uint32) {
	e.copy()
	v := e.u32()
	e.out = binary.AppendUvarint(e.out, uint64(change(v)))
	e.copied = e.at
}

// grow replaces the count that a list begins with by one that is n larger, and returns the old.
func (e *edit) grow(n uint32) (count uint32) {
	e.replace(func(v uint32) uint32 { count = v; return v + n })
	return count
}

// replaceSince replaces what lies between two places, of which the first was not copied yet.
func (e *edit) replaceSince(start, end int, code []byte) {
	e.at = start
	e.copy()
	e.out = append(e.out, code...)
	e.at, e.copied = end, end
}

func appendName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

// rewriter holds what one section's rewriting needs to know of another.
type rewriter struct {
	module          *module
	refuelType      uint32 // the type index of [] -> []
	functionImports uint32 // of the guest; the index of refuel
	globalCount     uint32 // of the guest; the index of the fuel
	added           []byte // exports of globals
	addedCount      uint32
	bulkTick        []byte   // code that takes fuel
	params          []uint32 // of each type, how many
	functionTypes   []uint32 // of each function that the guest defines
	labels          []label  // of the blocks around an instruction, the function's first
	goGuest         bool
	// Of the function that is being rewritten.
	locals   locals
	known    facts
	pointers map[uint32]uint32 // by a local that is cut: the local that holds the result
	operands []operand
	ticks    []tick
	// Scratch.
	moveCode, bodyCode, ticked []byte
	// beginning says that nothing came yet that takes time, and that a loop is next.
	beginning bool
	// stackTracked says that it has a stack pointer as Go's functions do.
	stackTracked bool
}

// function gives a guest's function index its new meaning: refuel is the last import, so the
// functions that the guest defines move up by one.
func (w *rewriter) function(index uint32) uint32 {
	if index >= w.functionImports {
		return index + 1
	}
	return index
}

// types appends refuel's type (5.5.4).
func (w *rewriter) types(e *edit) {
	w.refuelType = e.grow(1)
	for range w.refuelType {
		if form := e.byte(); form != 0x60 && e.err == nil {
			e.err = fmt.Errorf("type of the unknown form %#x", form)
		}
		params := e.u32()
		for n := params; n > 0 && e.err == nil; n-- {
			e.valueType()
		}
		for n := e.u32(); n > 0 && e.err == nil; n-- {
			e.valueType()
		}
		if e.err != nil {
			return
		}
		w.params = append(w.params, params)
	}
	e.copy()
	e.out = append(e.out, 0x60, 0, 0)
}

// imports appends refuel (5.5.5). A guest may import functions only.
func (w *rewriter) imports(e *edit) {
	count := e.grow(1)
	for ; w.functionImports < count && e.err == nil; w.functionImports++ {
		from, name := e.take(e.u32()), e.take(e.u32())
		if kind := e.byte(); kind != 0 && e.err == nil {
			e.err = fmt.Errorf("imports %q from %q, which is no function", name, from)
		}
		if string(from) == hostModule && e.err == nil {
			e.err = fmt.Errorf("imports %q from %q, which has nothing for guests", name, from)
		}
		e.u32()
	}
	e.copy()
	e.out = appendName(appendName(e.out, hostModule), hostRefuel)
	e.out = binary.AppendUvarint(append(e.out, 0), uint64(w.refuelType))
}

// functions reads the types of the functions that the guest defines (5.5.6).
func (w *rewriter) functions(e *edit) {
	for count := e.u32(); count > 0 && e.err == nil; count-- {
		index := e.u32()
		if uint64(index) >= uint64(len(w.params)) && e.err == nil {
			e.fail(fmt.Errorf("unknown type %d", index))
			return
		}
		w.functionTypes = append(w.functionTypes, index)
	}
}

// tables goes over the tables (5.5.7). None may be filled by an expression, which could name a function.
func (w *rewriter) tables(e *edit) {
	const hasMax = 1
	for count := e.u32(); count > 0 && e.err == nil; count-- {
		kind, flags := e.byte(), e.byte()
		if kind != funcref && kind != externref || flags > hasMax {
			e.fail(errTable)
			return
		}
		e.u32()
		if flags == hasMax {
			e.u32()
		}
	}
}

// globals appends the fuel and lists exports for all that are mutable (5.5.9).
func (w *rewriter) globals(e *edit) {
	w.globalCount = e.grow(1)
	for i := uint32(0); i < w.globalCount && e.err == nil; i++ {
		kind, mutable := e.valueType(), e.byte()
		w.expression(e)
		if mutable == 0 {
			continue
		}
		if kind < valueF64 { // v128 and references: api.Global can't hold them
			w.module.hide("a mutable global that is a vector or a reference")
			continue
		}
		w.export(fmt.Sprint(exportGlobal, i), i)
	}
	e.copy()
	e.out = append(e.out, valueI32, 1, opI32Const, 0, opEnd)
	w.export(exportFuel, w.globalCount)
	w.bulkTick = w.takeFuel(fuelBulk)
}

func (w *rewriter) export(name string, global uint32) {
	w.module.globals = append(w.module.globals, name)
	w.added = binary.AppendUvarint(append(appendName(w.added, name), 3), uint64(global))
	w.addedCount++
}

// takeFuel is fuel -= n; if fuel < 0 { refuel() }.
func (w *rewriter) takeFuel(n int64) []byte {
	fuel := binary.AppendUvarint(nil, uint64(w.globalCount))
	code := append([]byte{opGlobalGet}, fuel...)
	code = append(appendSigned(append(code, opI32Const), n), opI32Sub, opGlobalSet)
	code = append(append(append(code, fuel...), opGlobalGet), fuel...)
	code = append(code, opI32Const, 0, opI32LtS, opIf, blockEmpty, opCall)
	code = binary.AppendUvarint(code, uint64(w.functionImports))
	return append(code, opEnd)
}

// exports renumbers functions and appends the globals (5.5.10).
func (w *rewriter) exports(e *edit) {
	count := e.grow(w.addedCount)
	for ; count > 0 && e.err == nil; count-- {
		e.take(e.u32())
		switch kind := e.byte(); kind {
		case 0:
			e.replace(w.function)
		case 3:
			w.global(e)
		default:
			e.u32()
		}
	}
	e.copy()
	e.out = append(e.out, w.added...)
}

// start renumbers the start function (5.5.11).
func (w *rewriter) start(e *edit) { e.replace(w.function) }

// elements renumbers the functions of element segments (5.5.12).
func (w *rewriter) elements(e *edit) {
	for count := e.u32(); count > 0 && e.err == nil; count-- {
		flags := e.u32()
		if flags > 7 {
			e.fail(fmt.Errorf("element segment of the unknown kind %d", flags))
			return
		}
		const passive, explicit, expressions = 1, 2, 4
		if flags&passive == 0 {
			if flags&explicit != 0 {
				e.u32() // table
			}
			w.expression(e) // offset
		}
		if flags&(passive|explicit) != 0 {
			if kind := e.byte(); kind != 0 && kind != funcref && kind != externref {
				e.fail(errType)
				return
			}
		}
		for n := e.u32(); n > 0 && e.err == nil; n-- {
			if flags&expressions != 0 {
				w.expression(e)
			} else {
				e.replace(w.function)
			}
		}
	}
}

// expression goes over a constant expression.
func (w *rewriter) expression(e *edit) {
	for e.err == nil {
		op := e.byte()
		switch op {
		case opEnd:
			return
		case opRefFunc:
			e.replace(w.function)
		case opGlobalGet:
			w.global(e)
		default:
			e.skipImmediates(op)
		}
	}
}

// code makes every function take fuel and mark what it writes, and looks for instructions that change
// a table or drop a segment for good (5.5.13). A gateway waits for it when it starts, so all cores
// do it.
func (w *rewriter) code(e *edit) {
	count := e.u32()
	if uint64(count) != uint64(len(w.functionTypes)) && e.err == nil {
		e.fail(fmt.Errorf("%d bodies for %d functions", count, len(w.functionTypes)))
	}
	if e.err != nil {
		return
	}
	e.copy()
	bodies := make([]body, count)
	for i := range bodies {
		bodies[i] = body{code: e.take(e.u32()), end: e.at, params: w.params[w.functionTypes[i]]}
	}
	if e.err != nil {
		return
	}
	e.copied = e.at // the bodies grow

	parts := make([]part, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i := range parts {
		from, to := len(bodies)*i/len(parts), len(bodies)*(i+1)/len(parts)
		all.Go(func() { parts[i] = w.part(bodies[from:to]) })
	}
	all.Wait()
	for i := range parts {
		p := &parts[i]
		w.module.hide(p.hidden)
		if p.err != nil {
			e.at = p.at
			e.fail(p.err)
			return
		}
		e.out = append(e.out, p.out...)
	}
}

// body is one function's code, which ends at a place of its section.
type body struct {
	code   []byte
	end    int
	params uint32
}

// part is some of the bodies, rewritten.
type part struct {
	out    []byte
	hidden string // as module.hidden
	err    error
	at     int // where
}

func (w *rewriter) part(bodies []body) (p part) {
	own := *w
	own.module, own.pointers = &module{}, make(map[uint32]uint32)
	size := 0
	for i := range bodies {
		size += len(bodies[i].code)
	}
	p.out = make([]byte, 0, size+size/2)
	for i := range bodies {
		b := &bodies[i]
		if p.out, p.err = own.body(p.out, b.code, b.params); p.err != nil {
			p.at = b.end
			break
		}
	}
	p.hidden = own.module.hidden
	return p
}

// body appends the new form of one function: its locals and its instructions.
func (w *rewriter) body(out, code []byte, params uint32) ([]byte, error) {
	e := &edit{reader: reader{b: code}, out: w.bodyCode[:0]}
	locals := uint64(params)
	groups := e.u32()
	afterCount := e.at
	w.stackTracked = false
	for n := groups; n > 0 && e.err == nil; n-- {
		first := locals
		locals += uint64(e.u32())
		kind := e.valueType()
		if first <= goStackLocal && locals > goStackLocal {
			w.stackTracked = w.goGuest && kind == valueI32
		}
	}
	if locals > maxLocals {
		e.fail(fmt.Errorf("function with %d locals, limit %d", locals, maxLocals))
	}
	declared := code[afterCount:e.at]
	e.copied = e.at // they are written when it is known what has come to them
	w.locals.begin(uint32(locals))
	w.known.begin()
	clear(w.pointers)
	w.operands = w.operands[:0]
	// Fuel is taken at the beginning, where a loop there doesn't take it anyway.
	w.ticks = append(w.ticks[:0], tick{needed: len(code) > fuelCode})
	w.beginning = beginsWithLoop(e.reader)
	w.labels = append(w.labels[:0], label{})
	for e.err == nil && e.at < len(code) {
		w.instruction(e)
	}
	e.copy()
	w.bodyCode = e.out
	if e.err != nil {
		return out, e.err
	}
	w.ticked = w.takeFuelWhereNeeded(w.ticked[:0], e.out, w.takeFuel(1+int64(len(code)/fuelCode)))
	added, groupsAdded := w.locals.groups()
	head := unsigned(nil, groups+added)
	out = unsigned(out, uint32(len(head)+len(declared)+len(groupsAdded)+len(w.ticked)))
	out = append(append(out, head...), declared...)
	return append(append(out, groupsAdded...), w.ticked...), nil
}

// maxLocals is a limit that wazero has, too.
const maxLocals = 50000

func (w *rewriter) instruction(e *edit) {
	switch op := e.byte(); op {
	case opBlock:
		e.skipImmediates(op)
		w.labels = append(w.labels, label{block: e.at})
	case opIf:
		e.skipImmediates(op)
		w.labels = append(w.labels, label{block: e.at, branch: true})
		w.known.branch(&w.labels[len(w.labels)-1])
	case opLoop:
		w.loop(e)
	case opElse, opEnd:
		if len(w.labels) == 0 {
			e.fail(errors.New("an end too many"))
			return
		}
		if l := &w.labels[len(w.labels)-1]; op == opElse {
			w.known.otherwise(l)
		} else {
			w.known.meet(l)
			w.labels = w.labels[:len(w.labels)-1]
		}
	case opBr, opReturn, opUnreachable, opBrTable, opBrIf:
		w.branch(e, op)
	case opI32Const:
		start := e.at - 1
		value := e.s32()
		if !w.bulk(e, start, value) {
			w.jump(e, value)
		}
	case opLocalGet:
		w.localGet(e)
	case opLocalSet, opLocalTee:
		w.lost(w.guestLocal(e, e.u32()))
	case opCall:
		w.ticks[0].needed = true
		e.replace(w.function)
	case opCallIndirect:
		w.ticks[0].needed = true
		e.skipImmediates(op)
	case opRefFunc:
		e.replace(w.function)
	case opGlobalGet, opGlobalSet:
		w.global(e)
	case opTableSet:
		w.module.hide("table.set")
		e.u32()
	case opMemorySize:
		e.skipImmediates(op)
		e.copy()
		e.out = append(e.out, memorySize()...)
	case opMemoryGrow:
		e.skipImmediates(op)
		e.copy()
		e.out = append(e.out, w.memoryGrow()...)
	case opPrefixFC:
		start := e.at - 1
		which := e.peekU32()
		bulk := bulkInstructions[which]
		w.module.hide(bulk.changes)
		e.skipImmediates(op)
		if which == fcMemoryInit || which == fcMemoryCopy || which == fcMemoryFill {
			e.replaceSince(start, e.at, w.bulkMemory(nil, which, e.b[start:e.at]))
		}
		if bulk.long {
			e.copy()
			e.out = append(e.out, w.bulkTick...)
		}
	case opPrefixFD:
		w.vector(e, e.at-1)
	default:
		switch {
		case isStore(op):
			s := stores[op-opI32Store]
			w.access(e, e.at-1, uint32(s.size), s.value)
		case isLoad(op):
			w.access(e, e.at-1, 0, 0)
		case isRemainder(op):
			r := remainders[op-opI32RemS]
			e.replaceSince(e.at-1, e.at, r.append(nil, w.locals.temporary(r.kind), w.locals.another(r.kind)))
		default:
			e.skipImmediates(op)
		}
	}
}

// vector goes over an instruction on vectors, whose prefix is at start.
func (w *rewriter) vector(e *edit, start int) {
	switch op := e.vectorOp(); {
	case op == fdStore:
		w.access(e, start, 16, valueV128)
	case op < fdStore, op == fdLoadZero, op == fdLoadZero+1:
		w.access(e, start, 0, 0)
	case op >= fdLoadLane && op < fdStoreLane:
		w.access(e, start, 0, 0)
		e.byte()
	case op >= fdStoreLane && op < fdLoadZero:
		w.access(e, start, 1<<(op-fdStoreLane), valueV128)
		e.byte()
	default:
		e.skipVector(op)
	}
}

// loop goes over the beginning of a loop, whose opcode e has read.
func (w *rewriter) loop(e *edit) {
	start := e.at - 1
	e.skipImmediates(opLoop)
	end := e.at
	l := label{block: end, dispatch: findDispatch(e.reader, len(w.labels)+1), loop: true, tick: len(w.ticks)}
	e.at = start
	e.copy()
	e.out = w.markAround(e.out)
	e.at = end
	e.copy()
	if w.beginning { // its fuel is the function's
		w.beginning, l.tick = false, 0
		w.ticks[0].at = len(e.out)
	} else {
		w.ticks = append(w.ticks, tick{at: len(e.out)})
	}
	w.labels = append(w.labels, l)
	stack := span{}
	if w.stackTracked {
		stack = aroundStack
	}
	w.known.loop(stack)
}

// localGet goes over a local.get and what makes an address of it.
func (w *rewriter) localGet(e *edit) {
	ahead := e.reader
	local := w.guestLocal(e, ahead.u32())
	if w.stackTracked && local == goStackLocal && w.moveStack(e, ahead) {
		return
	}
	if w.goGuest {
		after := ahead
		if o, ok := stackAddress(&after, local); ok {
			e.at = ahead.at
			e.copy()
			e.at, e.copied = after.at, after.at
			w.operands = append(w.operands, o)
			return
		}
	}
	if ahead.err == nil && ahead.at < len(e.b) && e.b[ahead.at] == opI32WrapI64 {
		ahead.at++
		held := w.cut(e, local, ahead.at)
		w.address(ahead, held)
		return
	}
	e.at = ahead.at
	w.address(ahead, local)
}

// global goes over a global's number that the guest wrote, which must not be that of the fuel.
func (w *rewriter) global(e *edit) {
	if index := e.u32(); index >= w.globalCount {
		e.fail(fmt.Errorf("unknown global %d", index))
	}
}

// guestLocal is a local by a number that the guest wrote, which must not be that of ours.
func (w *rewriter) guestLocal(e *edit, index uint32) uint32 {
	if index >= w.locals.first {
		e.fail(fmt.Errorf("unknown local %d", index))
	}
	return index
}

func (m *module) hide(what string) {
	if m.hidden == "" {
		m.hidden = what
	}
}

func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
