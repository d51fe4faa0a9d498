package wasmhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"

	"switchbridge/internal/files"
)

// A snapshot of a prepared guest is kept beside the compiled modules, one for each function. The next
// start with the same guest and policy then needs no initialisation. The host trusts the file as it
// trusts the compiled modules in the same folder; the checksum only finds files that were cut short.
//
// The file, numbers little-endian:
//
//	magic   8 bytes
//	key     32 bytes: what the snapshot was taken from
//	fields  of 64 bits: bytes of memory, the input buffer's place and size, the number of globals, globals
//	pages   of 4 KiB that are not zero, in ascending order, each after its number in 64 bits
//	sum     32 bytes: SHA-256 of all before

const (
	snapshotMagic = "swbimg\x00\x01"
	snapshotPage  = 4096
)

// snapshotKey returns a hash of everything that the snapshot of a prepared guest depends on.
func (h *Host) snapshotKey(m *module, policy []byte) [sha256.Size]byte {
	k := sha256.New()
	k.Write(m.hash[:])
	put := func(b []byte) {
		fmt.Fprintf(k, "%d\n", len(b))
		k.Write(b)
	}
	for _, list := range [][][]byte{h.config.WarmUp, h.config.WarmUpPackets} {
		fmt.Fprintf(k, "%d\n", len(list))
		for _, event := range list {
			put(event)
		}
	}
	put(policy)
	return [sha256.Size]byte(k.Sum(nil))
}

// snapshotFile returns the path of a function's snapshot.
func (h *Host) snapshotFile() string {
	name := sha256.Sum256([]byte(h.config.Name))
	return filepath.Join(h.config.CacheDir, fmt.Sprintf("image-%x", name[:8]))
}

// cached returns an image of the lean guest with the snapshot of an earlier start, and makes its
// engine the host's. It returns nil if there is no snapshot, and an error if it can't be used.
func (h *Host) cached(ctx context.Context) (*image, error) {
	if h.config.CacheDir == "" {
		return nil, nil
	}
	m, err := h.loadLean()
	if m == nil {
		return nil, err
	}
	file := h.snapshotFile()
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	same, err := hasKey(f, h.snapshotKey(m, h.config.Policy))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !same {
		return nil, nil
	}
	// Both take some time, one of them in the file system.
	var s *snapshot
	var malformed error
	var read sync.WaitGroup
	read.Go(func() {
		if s, malformed = readSnapshot(f, h.config.MemoryLimit); malformed == nil && len(s.globals) != len(m.globals) {
			malformed = fmt.Errorf("%d globals, want %d", len(s.globals), len(m.globals))
		}
	})
	e, err := h.compile(ctx, m)
	read.Wait()
	if err != nil {
		return nil, err
	}
	if malformed != nil {
		e.leave()
		return nil, fmt.Errorf("%s: %w", file, malformed)
	}
	img, err := h.imageOf(ctx, e, h.config.Policy, s)
	if err != nil {
		e.leave()
		return nil, err
	}
	h.engine = e
	return img, nil
}

// keep writes an image's snapshot for the next start.
func (h *Host) keep(img *image) {
	b := img.snapshot.append(nil, h.snapshotKey(img.engine.module, img.policy))
	if err := files.Replace(h.snapshotFile(), b, 0o600); err != nil {
		h.log.Warn("the guest's image could not be saved for the next start", "err", err)
	}
}

func (s *snapshot) append(b []byte, key [sha256.Size]byte) []byte {
	le := binary.LittleEndian
	b = append(append(b, snapshotMagic...), key[:]...)
	for _, field := range []uint64{uint64(len(s.memory)), uint64(s.input.ptr), uint64(s.input.size), uint64(len(s.globals))} {
		b = le.AppendUint64(b, field)
	}
	for _, g := range s.globals {
		b = le.AppendUint64(b, g)
	}
	for at := 0; at < len(s.memory); at += snapshotPage {
		if page := s.memory[at : at+snapshotPage]; !bytes.Equal(page, zeroPage[:]) {
			b = append(le.AppendUint64(b, uint64(at/snapshotPage)), page...)
		}
	}
	return seal(b)
}

// seal appends the checksum.
func seal(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errSnapshot = errors.New("not a whole image")

const snapshotHeader = len(snapshotMagic) + sha256.Size

// hasKey reports whether a file's snapshot has the given key.
func hasKey(r io.ReaderAt, key [sha256.Size]byte) (bool, error) {
	var header [snapshotHeader]byte
	if _, err := r.ReadAt(header[:], 0); err == io.EOF || err == nil && string(header[:len(snapshotMagic)]) != snapshotMagic {
		return false, errSnapshot
	} else if err != nil {
		return false, err
	}
	return [sha256.Size]byte(header[len(snapshotMagic):]) == key, nil
}

func readSnapshot(f *os.File, limit uint64) (*snapshot, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Room for pages and their numbers, and for the header and globals: no snapshot is larger.
	if most := limit + limit/snapshotPage*8 + 1<<20; uint64(info.Size()) > most {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", errSnapshot, info.Size(), most)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	return parseSnapshot(b, limit)
}

// parseSnapshot reads a snapshot of any key, with at most limit bytes of memory.
func parseSnapshot(b []byte, limit uint64) (*snapshot, error) {
	if len(b) < snapshotHeader+4*8+sha256.Size {
		return nil, errSnapshot
	}
	body := b[:len(b)-sha256.Size]
	if sha256.Sum256(body) != [sha256.Size]byte(b[len(body):]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errSnapshot)
	}
	rest := body[snapshotHeader:]
	next := func() (v uint64) {
		v, rest = binary.LittleEndian.Uint64(rest), rest[8:]
		return v
	}
	size, ptr, input, globals := next(), next(), next(), next()
	if size > limit || size%wasmPage != 0 || ptr > math.MaxUint32 || input > math.MaxUint32 || ptr+input > size || globals > uint64(len(rest)/8) {
		return nil, errSnapshot
	}
	s := &snapshot{memory: make([]byte, size), input: buffer{ptr: uint32(ptr), size: uint32(input)}}
	for range globals {
		s.globals = append(s.globals, next())
	}
	if len(rest)%(8+snapshotPage) != 0 {
		return nil, errSnapshot
	}
	for len(rest) > 0 {
		page := next()
		if page >= size/snapshotPage {
			return nil, errSnapshot
		}
		copy(s.memory[page*snapshotPage:], rest[:snapshotPage])
		rest = rest[snapshotPage:]
	}
	return s, nil
}
