// Package blob packs a policy into the form that functions are given: one piece of bytes with a
// version and a checksum, small enough for a platform's configuration value (500 IPv4 addresses
// take 2 KB) and quick to unpack, without YAML and without reflection.
//
// It holds what decides and no more: comments of header rules stay behind, and the prefixes of a
// blocklist come back sorted.
//
//	"SBP" | format version (1) | serial (8) | hash (4) | length of the body (4) | CRC-32C (4) | body
//
// Numbers of a fixed size are big-endian; those in the body are mostly varints. The checksum goes
// over all of it but itself.
package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
)

const (
	magic         = "SBP"
	formatVersion = 1
	headerSize    = len(magic) + 1 + 8 + 4 + 4 + 4
	checksumAt    = headerSize - 4
)

// Kinds of chain entries.
const (
	kindBlocklist = iota + 1
	kindHeader
	kindForward
)

// Errors of Unpack, each in the chain of what it returns.
var (
	ErrFormat    = errors.New("not a compiled policy")
	ErrVersion   = errors.New("compiled for another version")
	ErrTruncated = errors.New("compiled policy cut short")
	ErrChecksum  = errors.New("compiled policy damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(blob []byte) uint32 {
	return crc32.Update(crc32.Checksum(blob[:checksumAt], castagnoli), castagnoli, blob[headerSize:])
}

// Pack packs a valid policy. It fails only for a chain entry of a kind that it doesn't know.
func Pack(p *policy.Policy) ([]byte, error) {
	w := writer{b: make([]byte, headerSize)}
	w.install(&p.Install)
	w.uint(uint64(len(p.Chain)))
	for i, source := range p.Chain {
		switch s := source.(type) {
		case *blocklist.Config:
			w.byte(kindBlocklist)
			w.blocklist(s)
		case *header.Config:
			w.byte(kindHeader)
			w.header(s)
		case *forward.Config:
			w.byte(kindForward)
			w.byte(byte(s.Mode))
		default:
			return nil, fmt.Errorf("chain entry %d: %s can't be compiled", i+1, source.Name())
		}
	}
	copy(w.b, magic)
	w.b[len(magic)] = formatVersion
	binary.BigEndian.PutUint64(w.b[4:], p.Serial)
	binary.BigEndian.PutUint32(w.b[12:], p.Hash)
	binary.BigEndian.PutUint32(w.b[16:], uint32(len(w.b)-headerSize))
	binary.BigEndian.PutUint32(w.b[checksumAt:], checksum(w.b))
	return w.b, nil
}

// Is reports whether b begins like a compiled policy of any version.
func Is(b []byte) bool { return len(b) >= len(magic) && string(b[:len(magic)]) == magic }

// Serial reads the serial of a policy from its beginning, of which it checks nothing else.
func Serial(b []byte) (uint64, error) {
	switch {
	case !Is(b):
		return 0, ErrFormat
	case len(b) < headerSize:
		return 0, fmt.Errorf("%w: %d bytes", ErrTruncated, len(b))
	case b[len(magic)] != formatVersion:
		return 0, fmt.Errorf("%w: format %d", ErrVersion, b[len(magic)])
	}
	return binary.BigEndian.Uint64(b[4:]), nil
}

// Unpack unpacks a policy and validates it.
func Unpack(b []byte) (*policy.Policy, error) {
	if !Is(b) {
		return nil, ErrFormat
	}
	if len(b) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrTruncated, len(b))
	}
	if got := b[len(magic)]; got != formatVersion {
		return nil, fmt.Errorf("%w: format %d, this function reads %d", ErrVersion, got, formatVersion)
	}
	size := uint64(binary.BigEndian.Uint32(b[16:]))
	switch have := uint64(len(b) - headerSize); {
	case have < size:
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTruncated, have, size)
	case have > size:
		return nil, fmt.Errorf("%w: %d bytes after its end", ErrFormat, have-size)
	}
	if want, got := binary.BigEndian.Uint32(b[checksumAt:]), checksum(b); want != got {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrChecksum, got, want)
	}
	p := &policy.Policy{Serial: binary.BigEndian.Uint64(b[4:]), Hash: binary.BigEndian.Uint32(b[12:])}
	r := reader{b: b[headerSize:]}
	r.install(&p.Install)
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		switch kind := r.byte(); kind {
		case kindBlocklist:
			p.Chain = append(p.Chain, r.blocklist())
		case kindHeader:
			p.Chain = append(p.Chain, r.header())
		case kindForward:
			p.Chain = append(p.Chain, &forward.Config{Mode: policy.ForwardMode(r.byte())})
		default:
			r.fail("chain entry of the unknown kind %d", kind)
		}
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail("%d stray bytes", len(r.b)-r.at)
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrFormat, headerSize+r.at, r.err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("compiled policy: %w", err)
	}
	return p, nil
}
