package forward

import (
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) { w.Byte(byte(c.Mode)) }

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source { return &Config{Mode: policy.ForwardMode(r.Byte())} }
