package forward

import (
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) {
	b := byte(c.Mode)
	if c.Answers {
		b |= flagReplies
	}
	w.Byte(b)
}

// flagReplies stands beside the mode. A function that is older than it refuses the mode that it then reads.
const flagReplies = 0x80

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	return &Config{Mode: policy.ForwardMode(b &^ flagReplies), Answers: b&flagReplies != 0}
}
