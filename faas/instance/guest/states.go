package guest

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"switchbridge/flow"
)

// AppendStates appends the value of [Request.States].
func AppendStates(b []byte, states []flow.State) []byte {
	for i := range states {
		b = binary.BigEndian.AppendUint32(b, uint32(len(states[i].Data)))
		b = append(b, states[i].Data...)
	}
	return b
}

// ParseStates appends the states of a [Request.States], whose data share its memory.
func ParseStates(list []flow.State, b []byte) ([]flow.State, error) {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, fmt.Errorf("%w: states end too early", ErrEnvelope)
		}
		if len(list) == math.MaxUint8 {
			return nil, fmt.Errorf("%w: more than %d states", ErrEnvelope, math.MaxUint8)
		}
		size := int(binary.BigEndian.Uint32(b))
		var data []byte
		if size > 0 {
			data = b[4 : 4+size : 4+size]
		}
		list = append(list, flow.State{Data: data})
		b = b[4+size:]
	}
	return list, nil
}

const changeHeader = 12

// AppendChange appends the value of [Answer.Change].
func AppendChange(b []byte, c *flow.StateChange) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(c.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(c.TTL))
	return append(b, c.Data...)
}

// ParseChange reads an [Answer.Change], of which it makes a copy.
func ParseChange(b []byte) (*flow.StateChange, error) {
	if len(b) < changeHeader || len(b) > changeHeader+flow.MaxState {
		return nil, fmt.Errorf("%w: a change of %d bytes", ErrEnvelope, len(b))
	}
	index, ttl := binary.BigEndian.Uint32(b), time.Duration(binary.BigEndian.Uint64(b[4:]))
	if index > math.MaxUint8 || ttl < 0 {
		return nil, fmt.Errorf("%w: a change of state %d, kept for %v", ErrEnvelope, index, ttl)
	}
	c := &flow.StateChange{Index: int(index), TTL: ttl}
	if len(b) > changeHeader {
		c.Data = append(c.Data, b[changeHeader:]...)
	}
	return c, nil
}
