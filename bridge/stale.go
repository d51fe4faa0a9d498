package bridge

import (
	"time"

	"switchbridge/flow"
)

// StaleTimeout is the hard_timeout of rules that a function with an older
// policy version returned, or with one that nobody has confirmed.
const StaleTimeout = 10 * time.Second

// Expire gives the rules of an [Older] or [Unconfirmed] answer a hard_timeout of at most
// StaleTimeout, proactive ones too.
func Expire(d *flow.Decision) {
	for i := range d.Rules {
		if r := &d.Rules[i]; r.HardTimeout == 0 || r.HardTimeout > StaleTimeout {
			r.HardTimeout = StaleTimeout
		}
	}
}
