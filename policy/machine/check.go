package machine

import (
	"encoding/binary"
	"hash/crc32"

	states "switchbridge/state"
)

// CheckValue says whether bytes from a store are a state of any machine: [state.ErrCorrupt] or [state.ErrNewer] if not. It is for whoever
// counts; the machine itself looks again, and more closely.
func CheckValue(b []byte) error {
	switch {
	case len(b) > 0 && b[0] > valueVersion:
		return states.ErrNewer
	case len(b) < 5 || len(b) > maxValue || b[0] != valueVersion || crc32.Checksum(b[5:], castagnoli) != binary.LittleEndian.Uint32(b[1:]):
		return states.ErrCorrupt
	}
	return nil
}
