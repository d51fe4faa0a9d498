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
	if c.Strict {
		b |= flagStrict
	}
	w.Byte(b)
}

// These stand beside the mode. A function that is older than they are refuses the mode that it then reads.
const (
	flagReplies = 0x80
	flagStrict  = 0x40
)

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	return &Config{Mode: policy.ForwardMode(b &^ (flagReplies | flagStrict)), Answers: b&flagReplies != 0, Strict: b&flagStrict != 0}
}
