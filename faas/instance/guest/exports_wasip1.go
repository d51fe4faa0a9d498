package guest

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

var (
	input   []byte
	output  []byte
	request Request
	answer  Answer
)

//go:wasmexport switchbridge_abi_version
func abiVersion() uint32 { return ABIVersion }

//go:wasmexport switchbridge_buffer
func buffer(size uint32) uint32 {
	if size > MaxPolicy {
		return 0
	}
	if uint64(size) > uint64(cap(input)) {
		input = make([]byte, size)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport switchbridge_configure
func configure(_, size uint32) uint64 {
	policy := input[:size:size]
	input = nil // it belongs to Configure now
	if err := functions.Configure(policy); err != nil {
		return packed(append(output[:0], err.Error()...))
	}
	// An event's garbage goes with its instance. Collecting it would cost every event the same
	// cycle, so that only what runs out of memory is worth one.
	// What is free after the last cycle is the room that events have before memory must grow,
	// which would cost the instance.
	room := make([]byte, eventRoom)
	runtime.KeepAlive(room)
	room = nil
	runtime.GC()
	debug.SetGCPercent(-1)
	// Below what a large policy takes, the limit would have the runtime collect without end: the image would be taken in the middle of a
	// cycle, and every event would go on with it.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(max(memoryLimit, int64(m.Sys-m.HeapReleased)+eventMemory))
	// What the runtime still has to do in the background, sweeping above all, would be in the
	// image, and every event would do it again.
	for range backgroundTurns {
		runtime.Gosched()
	}
	openSpans()
	return 0
}

// openSpans lets the allocator take a span of memory for every size of object that an event may
// need. A cycle gives them all back, and to take one costs an event ten times what an object from
// it does.
func openSpans() {
	for size := 8; size <= largestObject; size += 8 {
		for range 2 { // what is left of a span may be one object
			plain = make([]byte, size)
			pointers = make([]*byte, size/8)
		}
	}
	plain, pointers = nil, nil
}

const largestObject = 2048

// Global, so that what is made for them is on the heap.
var (
	plain    []byte
	pointers []*byte
)

// backgroundTurns is how often the background gets its turn, a few times what it needs.
const backgroundTurns = 64

// eventRoom is memory for an event of a usual size, in bytes.
const eventRoom = 512 << 10

// memoryLimit is where the collector starts: well under what a host allows by default. Where the policy leaves less than eventMemory below it, it starts so far
// above that.
const (
	memoryLimit = 40 << 20
	eventMemory = 4 << 20
)

//go:wasmexport switchbridge_decide
func decide(_, size uint32) uint64 {
	answer = Answer{State: answer.State[:0], Change: answer.Change[:0], Body: answer.Body[:0]}
	if err := request.Parse(input[:size]); err != nil {
		answer = Answer{Status: 400, Reason: err.Error()}
	} else {
		functions.Decide(&request, &answer)
	}
	output = answer.AppendBinary(output[:0])
	return packed(output)
}

//go:wasmexport switchbridge_packet
func packet(_, size uint32) uint64 {
	return packed(functions.Packet(output[:0], input[:size]))
}

func packed(b []byte) uint64 {
	output = b
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(uint32(len(b)))
}
