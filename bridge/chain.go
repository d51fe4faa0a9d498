package bridge

import (
	"fmt"
	"strings"
)

// String is what every event passes, from the switch to the rules: what the
// bridge does before it asks the decider, the decider with what stands around
// it, and the guardrails. A decider that prints itself names what it wraps.
func (b *Bridge) String() string {
	live := b.live.Load()
	var parts []string
	add := func(wanted bool, format string, args ...any) {
		if wanted {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(live.Admit != nil, "rates")
	add(b.cfg.Coalesce && !b.local, "coalesce")
	add(!b.local, "queue %d", live.QueuePerSwitch)
	if s, ok := live.Decider.(fmt.Stringer); ok {
		add(true, "%s", s)
	} else {
		add(true, "%T", live.Decider)
	}
	parts = append(parts, "guardrails")
	return strings.Join(parts, " > ")
}
