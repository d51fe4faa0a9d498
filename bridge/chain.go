package bridge

import (
	"fmt"
	"strings"
)

// String is what every event passes, from the switch to the rules: what the
// bridge does before it asks the decider, the decider with what stands around
// it, and the guardrails. A decider that prints itself names what it wraps.
func (b *Bridge) String() string {
	var parts []string
	add := func(wanted bool, format string, args ...any) {
		if wanted {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(b.cfg.Admit != nil, "rates")
	add(b.cfg.Coalesce && !b.local, "coalesce")
	add(!b.local, "queue %d", b.cfg.QueuePerSwitch)
	if s, ok := b.cfg.Decider.(fmt.Stringer); ok {
		add(true, "%s", s)
	} else {
		add(true, "%T", b.cfg.Decider)
	}
	parts = append(parts, "guardrails")
	return strings.Join(parts, " > ")
}
