package wasmhost

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// A guest that is part of a program can be rewritten when the program is built, so that nobody waits
// for it when the program starts. What Prepare writes are modules and, behind each, a custom section that
// tells what the rewriting found, which rewriter it was, and what else was made with it.

const preparedSection = "switchbridge.prepared"

// rewriterSources are all that decide what a rewritten module looks like.
//
//go:embed module.go opcodes.go jumps.go pointers.go offsets.go bulk.go remainder.go locals.go track.go segments.go lean.go
var rewriterSources embed.FS

// RewriterKey tells this rewriter from any other. It is a SHA-256 hash.
func RewriterKey() []byte {
	h := sha256.New()
	entries, _ := fs.ReadDir(rewriterSources, ".")
	for _, e := range entries {
		source, _ := rewriterSources.ReadFile(e.Name())
		fmt.Fprintf(h, "%s %d\n%s", e.Name(), len(source), source)
	}
	return h.Sum(nil)
}

// Prepare rewrites a guest for [Config.Prepared]. What its training saw deciding makes the lean guest,
// for [Config.Lean]; it is nil without training, and for a guest that has none.
func Prepare(wasm []byte, training Training) (whole, lean []byte, err error) {
	m, err := prepareModule(wasm)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	used, err := training.use(m)
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.New()
	hash.Write(m.binary)
	hash.Write(used)
	m.hash = [sha256.Size]byte(hash.Sum(nil))
	little, err := m.leanOf(used)
	if err != nil {
		return nil, nil, err
	}
	if little != nil {
		lean = little.appendInfo()
	}
	return m.appendInfo(), lean, nil
}

// appendInfo returns the module with the section that preparedModule reads.
func (m *module) appendInfo() []byte {
	body := appendName(nil, preparedSection)
	body = append(body, RewriterKey()...)
	body = append(body, m.hash[:]...)
	kind := byte(0)
	if m.lean {
		kind = 1
	}
	body = appendName(append(body, kind), m.hidden)
	body = binary.AppendUvarint(body, uint64(len(m.globals)))
	for _, name := range m.globals {
		body = appendName(body, name)
	}
	out := append(m.binary, sectionCustom)
	return append(binary.AppendUvarint(out, uint64(len(body))), body...)
}

// preparedModule reads what Prepare wrote.
func preparedModule(wasm []byte) (*module, error) {
	at := bytes.LastIndex(wasm, appendName(nil, preparedSection))
	if at < 0 {
		return nil, errors.New("guest is not a prepared one")
	}
	r := &reader{b: wasm, at: at}
	r.take(r.u32())
	if key := r.take(sha256.Size); r.err == nil && !bytes.Equal(key, RewriterKey()) {
		return nil, errors.New("guest was prepared by another version of this program: build it anew, with make")
	}
	m := &module{binary: wasm}
	copy(m.hash[:], r.take(sha256.Size))
	m.lean = r.byte() == 1
	m.hidden = string(r.take(r.u32()))
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		m.globals = append(m.globals, string(r.take(r.u32())))
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}
