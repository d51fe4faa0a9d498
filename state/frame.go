package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A value in a store is a frame around a machine's state:
//
//	1 byte   format, 1
//	1 byte   how many events follow
//	8 bytes  for each of them: a hash of the id of an event that changed the state, the newest first
//	4 bytes  CRC-32C of what is before and after
//	the state; empty where a machine was sent back to its start
const (
	frameFormat = 1
	frameEvents = 4
	frameMost   = 2 + 8*frameEvents + 4
)

// MaxState is the largest state of a machine in bytes.
const MaxState = MaxData - frameMost

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a value that has been read. Its slices are the value's.
type frame struct {
	events []byte
	state  []byte
}

// parseFrame reads a value.
func parseFrame(b []byte) (f frame, err error) {
	if len(b) > 0 && b[0] > frameFormat {
		return f, fmt.Errorf("%w: format %d", ErrNewer, b[0])
	}
	if len(b) < 6 || b[0] != frameFormat || int(b[1]) > frameEvents || len(b) < 6+8*int(b[1]) {
		return f, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	at := 2 + 8*int(b[1])
	if frameSum(b[:at], b[at+4:]) != binary.BigEndian.Uint32(b[at:]) {
		return f, fmt.Errorf("%w: its checksum is another", ErrCorrupt)
	}
	return frame{events: b[2:at], state: b[at+4:]}, nil
}

// append writes the frame that follows f: with another state, and with event before f's events unless it is 0.
func (f *frame) append(b []byte, event uint64, state []byte) []byte {
	old := f.events
	b = append(b, frameFormat, 0)
	if event != 0 {
		b = binary.BigEndian.AppendUint64(b, event)
		old = old[:min(len(old), 8*(frameEvents-1))]
	}
	b = append(b, old...)
	b[1] = byte((len(b) - 2) / 8)
	b = binary.BigEndian.AppendUint32(b, frameSum(b, state))
	return append(b, state...)
}

// has reports whether the event has changed the state already.
func (f *frame) has(event uint64) bool {
	for e := f.events; event != 0 && len(e) >= 8; e = e[8:] {
		if binary.BigEndian.Uint64(e) == event {
			return true
		}
	}
	return false
}

func frameSum(head, state []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, state)
}

// hash is FNV-1a of 64 bits, the same in every process; 0 for the empty string.
func hash(s string) uint64 {
	if s == "" {
		return 0
	}
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
