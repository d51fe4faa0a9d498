package compact

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"switchbridge/flow"
)

// What an event of states has beside the packet's headers, since a decision by states may look at it, and the change of a state in an answer.
// An event without states has nothing of it, and costs nothing for it.
const (
	statesHeader = 16
	changeHeader = 16

	flagsBit = 1 << 0 // in byte 11 of the states' header
)

func appendStates(b []byte, ev *flow.Event) ([]byte, bool) {
	if len(ev.States) > math.MaxUint8 || len(ev.ID) > math.MaxUint16 {
		return b, false
	}
	var h [statesHeader]byte
	if !ev.Time.IsZero() {
		le.PutUint64(h[0:], uint64(ev.Time.UnixNano()))
	}
	le.PutUint16(h[8:], uint16(len(ev.ID)))
	if flags, ok := ev.PacketIn.ReadTCPFlags(); ok {
		h[10], h[11] = byte(flags), flagsBit
	}
	b = append(append(b, h[:]...), ev.ID...)
	for i := range ev.States {
		b = le.AppendUint32(b, uint32(len(ev.States[i].Data)))
		b = append(b, ev.States[i].Data...)
	}
	return b, true
}

var errStates = errors.New("compact encoding: bits that no states have")

// parseStates reads what follows the packet's headers in an event of so many states, to its end. The states and the ID share b's memory: a guest that makes
// an object for an event has more to put back after it.
func parseStates(b []byte, states int, ev *flow.Event) error {
	if len(b) < statesHeader {
		return errShort
	}
	h, in := b[:statesHeader], ev.PacketIn
	if h[11]&^flagsBit != 0 {
		return errStates
	}
	ev.Time = time.Time{}
	if nanoseconds := int64(le.Uint64(h)); nanoseconds != 0 {
		ev.Time = time.Unix(0, nanoseconds)
	}
	in.TCPFlags, in.HasTCPFlags = flow.TCPFlags(h[10]), h[11]&flagsBit != 0
	b = b[statesHeader:]
	id := int(le.Uint16(h[8:]))
	if id > len(b) {
		return errShort
	}
	ev.ID, b = unsafe.String(unsafe.SliceData(b), id), b[id:]
	for range states {
		if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
			return errShort
		}
		size := int(le.Uint32(b))
		var data []byte
		if size > 0 {
			data = b[4 : 4+size : 4+size]
		}
		ev.States = append(ev.States, flow.State{Data: data})
		b = b[4+size:]
	}
	if len(b) != 0 {
		return errLong
	}
	return nil
}

func appendChange(b []byte, c *flow.StateChange) ([]byte, bool) {
	if c.Index < 0 || c.Index > math.MaxUint8 || len(c.Data) > flow.MaxState || c.TTL < 0 {
		return b, false
	}
	var h [changeHeader]byte
	le.PutUint32(h[0:], uint32(c.Index))
	le.PutUint32(h[4:], uint32(len(c.Data)))
	le.PutUint64(h[8:], uint64(c.TTL))
	return append(append(b, h[:]...), c.Data...), true
}

// parseChange reads a change, of whose bytes it makes a copy, and returns what follows it.
func parseChange(b []byte) (*flow.StateChange, []byte, error) {
	if len(b) < changeHeader {
		return nil, nil, errShort
	}
	index, size, ttl := le.Uint32(b), le.Uint32(b[4:]), time.Duration(le.Uint64(b[8:]))
	b = b[changeHeader:]
	if index > math.MaxUint8 || size > flow.MaxState || ttl < 0 || int(size) > len(b) {
		return nil, nil, fmt.Errorf("compact encoding: %d bytes for state %d, kept for %v", size, index, ttl)
	}
	c := &flow.StateChange{Index: int(index), TTL: ttl}
	if size > 0 {
		c.Data = append(make([]byte, 0, size), b[:size]...)
	}
	return c, b[size:], nil
}
