package compact

import (
	"fmt"
	"time"

	"switchbridge/flow"
)

// For which other packets an answer holds is a number of 64 bits: 32 of fields, one of the switch, and the seconds. 0: for no other packet.
// A decision may have a reply behind it; a judgement has no place for one.
const (
	reuseSize    = 8 // bytes
	reuseSwitch  = 1 << 32
	reuseSeconds = 33 // the lowest bit of them
)

func reuseBits(r *flow.Reuse) uint64 {
	seconds := uint64(min(r.For, flow.MaxReuse) / time.Second)
	if seconds == 0 {
		return 0
	}
	b := uint64(r.Fields) | seconds<<reuseSeconds
	if r.Switch {
		b |= reuseSwitch
	}
	return b
}

// reuseOf is reuseBits' inverse.
func reuseOf(b uint64) (r flow.Reuse, err error) {
	r.For = time.Duration(b>>reuseSeconds) * time.Second
	if b != 0 && r.For == 0 || r.For > flow.MaxReuse {
		return flow.Reuse{}, fmt.Errorf("compact encoding: an answer to be used again for %v", r.For)
	}
	r.Fields, r.Switch = flow.Field(b)&flow.AllFields, b&reuseSwitch != 0
	return r, nil
}
