// Package blob packs a policy into the form that functions are given: one piece of bytes with a
// version and a checksum, small enough for a platform's configuration value (500 IPv4 addresses
// take 2 KB) and quick to unpack, without YAML and without reflection.
//
// It contains only what decides: comments of header rules are left out, and the prefixes of a
// blocklist are sorted.
//
// Each entry of the chain is its kind's code, and what the kind writes.
//
//	"SBP" | format version (1) | serial (8) | hash (4) | length of the body (4) | CRC-32C (4) | body
//
// Numbers of a fixed size are big-endian; those in the body are mostly varints. The checksum is of
// all bytes but its own.
package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"switchbridge/policy"
	"switchbridge/policy/kinds"
	"switchbridge/policy/wire"
)

const (
	magic         = "SBP"
	formatVersion = 1
	headerSize    = len(magic) + 1 + 8 + 4 + 4 + 4
	checksumAt    = headerSize - 4
)

// Errors that Unpack's errors wrap.
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

// Pack packs a valid policy. It fails only for a chain entry of a kind that is not in the list of kinds.
func Pack(p *policy.Policy) ([]byte, error) {
	w := wire.NewWriter(make([]byte, headerSize))
	writeInstall(w, &p.Install)
	w.Uint(uint64(len(p.Chain)))
	for i, source := range p.Chain {
		kind := kinds.Named(source.Name())
		if kind == nil {
			return nil, fmt.Errorf("chain entry %d: %s can't be compiled", i+1, source.Name())
		}
		w.Byte(kind.Code())
		source.Write(w)
	}
	b := w.Bytes()
	copy(b, magic)
	b[len(magic)] = formatVersion
	binary.BigEndian.PutUint64(b[4:], p.Serial)
	binary.BigEndian.PutUint32(b[12:], p.Hash)
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)-headerSize))
	binary.BigEndian.PutUint32(b[checksumAt:], checksum(b))
	return b, nil
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
	r := wire.NewReader(b[headerSize:])
	readInstall(r, &p.Install)
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		code := r.Byte()
		kind := kinds.Coded(code)
		if kind == nil {
			r.Failf("chain entry of the unknown kind %d", code)
			break
		}
		p.Chain = append(p.Chain, kind.Read(r))
	}
	if left := r.Left(); left != 0 {
		r.Failf("%d stray bytes", left)
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrFormat, headerSize+r.At(), err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("compiled policy: %w", err)
	}
	return p, nil
}

func writeInstall(w *wire.Writer, i *policy.Install) {
	w.Byte(byte(i.Rule))
	w.Uint(uint64(i.IdleTimeout / time.Second))
	w.Uint(uint64(i.HardTimeout / time.Second))
	w.Uint(uint64(i.Priority))
	w.Byte(i.Table)
}

func readInstall(r *wire.Reader, i *policy.Install) {
	*i = policy.Install{
		Rule:        policy.Granularity(r.Byte()),
		IdleTimeout: time.Duration(r.Uint(0xffff)) * time.Second,
		HardTimeout: time.Duration(r.Uint(0xffff)) * time.Second,
		Priority:    uint16(r.Uint(0xffff)),
		Table:       r.Byte(),
	}
}
