package compact

import (
	"fmt"
	"time"

	"switchbridge/flow"
)

// For which other packets an answer holds is 32 bits: 25 of fields, one of the switch, and six of seconds. [flow.MaxReuse] fits them; 0 is
// none. A reply, which a judgement has no place for, follows in a decision.
const (
	reuseSwitch  = 1 << 25
	reuseSeconds = 26 // the lowest bit of them

	_ = uint(reuseSwitch - 1 - int(flow.AllFields)) // another field has no bit
)

func reuseBits(r *flow.Reuse) uint32 {
	seconds := uint32(min(r.For, flow.MaxReuse) / time.Second)
	if seconds == 0 {
		return 0
	}
	b := uint32(r.Fields) | seconds<<reuseSeconds
	if r.Switch {
		b |= reuseSwitch
	}
	return b
}

// reuseOf is reuseBits' inverse.
func reuseOf(b uint32) (r flow.Reuse, err error) {
	r.For = time.Duration(b>>reuseSeconds) * time.Second
	if b != 0 && r.For == 0 || r.For > flow.MaxReuse {
		return flow.Reuse{}, fmt.Errorf("compact encoding: an answer to be used again for %v", r.For)
	}
	r.Fields, r.Switch = flow.Field(b)&flow.AllFields, b&reuseSwitch != 0
	return r, nil
}
