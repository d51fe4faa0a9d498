package forward

import (
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) {
	w.Byte(byte(c.Mode) | wire.Bit(flagReplies, c.Answers) | wire.Bit(flagStrict, c.Strict) | wire.Bit(flagLog, c.Log))
}

// Bits beside the mode, in one byte. A function that doesn't know them reads a mode that there is not, and refuses the policy.
const (
	flagReplies = 0x80
	flagStrict  = 0x40
	flagLog     = 0x20
)

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	return &Config{
		Mode:    policy.ForwardMode(b &^ (flagReplies | flagStrict | flagLog)),
		Answers: b&flagReplies != 0, Strict: b&flagStrict != 0, Log: b&flagLog != 0,
	}
}
