package sourceguard

import (
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/wire"
)

// Flags of a place and of a binding.
const (
	flagEvery = 1 << iota
	flagMAC
)

// logs stands beside what becomes of others. A function that is older than it refuses the number that it then reads.
const logs = 0x40

// Write implements [policy.Source].
func (c *Config) Write(w *wire.Writer) {
	w.Byte(byte(c.Others) | wire.Bit(logs, c.Log))
	w.Byte(byte(c.Learn))
	w.Uint(uint64(c.For / time.Second))
	w.Uint(uint64(len(c.Bindings)))
	for i := range c.Bindings {
		b := &c.Bindings[i]
		if b.HasMAC {
			writePlace(w, &b.Place, flagMAC)
			w.Raw(b.MAC[:])
		} else {
			writePlace(w, &b.Place, 0)
		}
		w.Uint(uint64(len(b.Addresses)))
		for _, p := range b.Addresses {
			w.Prefix(p)
		}
	}
	w.Uint(uint64(len(c.Trusted)))
	for i := range c.Trusted {
		writePlace(w, &c.Trusted[i], 0)
	}
}

// Read implements [policy.Kind].
func (Kind) Read(r *wire.Reader) policy.Source {
	b := r.Byte()
	c := &Config{Others: Others(b &^ logs), Log: b&logs != 0, Learn: Learn(r.Byte()), For: time.Duration(r.Uint(uint64(maxFor/time.Second))) * time.Second}
	for n := r.Count(4); n > 0 && r.Err() == nil; n-- {
		var b Binding
		flags := readPlace(r, &b.Place)
		if b.HasMAC = flags&flagMAC != 0; b.HasMAC {
			copy(b.MAC[:], r.Raw(len(b.MAC)))
		}
		for n := r.Count(6); n > 0 && r.Err() == nil; n-- {
			b.Addresses = append(b.Addresses, r.Prefix())
		}
		c.Bindings = append(c.Bindings, b)
	}
	for n := r.Count(3); n > 0 && r.Err() == nil; n-- {
		var p Place
		readPlace(r, &p)
		c.Trusted = append(c.Trusted, p)
	}
	return c
}

func writePlace(w *wire.Writer, p *Place, flags byte) {
	if p.Every {
		flags |= flagEvery
	}
	w.Byte(flags)
	if !p.Every {
		w.Uint(uint64(p.Switch))
	}
	w.Uint(uint64(len(p.Ports)))
	for _, port := range p.Ports {
		w.Uint(uint64(port))
	}
}

func readPlace(r *wire.Reader, p *Place) (flags byte) {
	flags = r.Byte()
	if p.Every = flags&flagEvery != 0; !p.Every {
		p.Switch = flow.DPID(r.Uint(1<<64 - 1))
	}
	for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
		p.Ports = append(p.Ports, flow.PortNo(r.Uint(1<<32-1)))
	}
	return flags
}
