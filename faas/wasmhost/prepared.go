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
// for it when the program starts. What Prepare writes is the rewritten module and, behind it, a custom
// section that tells what the rewriting found, which rewriter it was, and what the guest was seen to use for decisions.

const preparedSection = "switchbridge.prepared"

// rewriterSources are all that decide what a rewritten module looks like.
//
//go:embed module.go opcodes.go jumps.go pointers.go offsets.go bulk.go locals.go track.go segments.go
var rewriterSources embed.FS

// rewriterKey tells this rewriter from any other.
func rewriterKey() []byte {
	h := sha256.New()
	entries, _ := fs.ReadDir(rewriterSources, ".")
	for _, e := range entries {
		source, _ := rewriterSources.ReadFile(e.Name())
		fmt.Fprintf(h, "%s %d\n%s", e.Name(), len(source), source)
	}
	return h.Sum(nil)
}

// Prepare rewrites a guest for [Config.Prepared]. Events are decided by what the training used of it;
// without any training, by all.
func Prepare(wasm []byte, training Training) ([]byte, error) {
	m, err := prepareModule(wasm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	if m.used, err = training.use(m); err != nil {
		return nil, err
	}
	body := appendName(nil, preparedSection)
	body = append(body, rewriterKey()...)
	body = appendName(body, m.hidden)
	body = binary.AppendUvarint(body, uint64(len(m.globals)))
	for _, name := range m.globals {
		body = appendName(body, name)
	}
	body = append(binary.AppendUvarint(body, uint64(len(m.used))), m.used...)
	hash := sha256.New()
	hash.Write(m.binary)
	hash.Write(body)
	body = hash.Sum(body)
	out := append(m.binary, sectionCustom)
	return append(binary.AppendUvarint(out, uint64(len(body))), body...), nil
}

// preparedModule reads what Prepare wrote.
func preparedModule(wasm []byte) (*module, error) {
	at := bytes.LastIndex(wasm, appendName(nil, preparedSection))
	if at < 0 {
		return nil, errors.New("guest is not a prepared one")
	}
	r := &reader{b: wasm, at: at}
	r.take(r.u32())
	if key := r.take(sha256.Size); r.err == nil && !bytes.Equal(key, rewriterKey()) {
		return nil, errors.New("guest was prepared by another version of this program: build it anew, with make")
	}
	m := &module{binary: wasm, hidden: string(r.take(r.u32()))}
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		m.globals = append(m.globals, string(r.take(r.u32())))
	}
	if used := r.take(r.u32()); len(used) > 0 {
		m.used = used
	}
	copy(m.hash[:], r.take(sha256.Size))
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}
