package guest

import "unsafe"

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
	return 0
}

//go:wasmexport switchbridge_decide
func decide(_, size uint32) uint64 {
	answer = Answer{State: answer.State[:0], Body: answer.Body[:0]}
	if err := request.Parse(input[:size]); err != nil {
		answer = Answer{Status: 400, Reason: err.Error()}
	} else {
		functions.Decide(&request, &answer)
	}
	output = answer.AppendBinary(output[:0])
	return packed(output)
}

func packed(b []byte) uint64 {
	output = b
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(uint32(len(b)))
}
