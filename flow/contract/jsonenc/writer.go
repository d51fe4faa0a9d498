package jsonenc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"time"

	"switchbridge/flow"
)

// writer appends JSON and keeps the first error.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// open begins an object or list, bare where it is the whole text.
func (w *writer) open(c byte)  { w.b = append(w.b, c) }
func (w *writer) close(c byte) { w.b = append(w.b, c) }

// next puts a comma unless what follows is the first of its object or list.
func (w *writer) next() {
	switch w.b[len(w.b)-1] {
	case '{', '[', ':':
	default:
		w.b = append(w.b, ',')
	}
}

// key begins a member; names are plain ASCII.
func (w *writer) key(name string) {
	w.next()
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) uint(name string, v uint64) {
	w.key(name)
	w.b = strconv.AppendUint(w.b, v, 10)
}

// hex writes a 64-bit number as a string: most languages' numbers lose bits above 2^53.
func (w *writer) hex(name string, v uint64) {
	w.key(name)
	w.b = append(w.b, `"0x`...)
	w.b = strconv.AppendUint(w.b, v, 16)
	w.b = append(w.b, '"')
}

func (w *writer) string(name, s string) {
	w.key(name)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				w.fail("%s: %w", name, err)
			}
			w.b = append(w.b, quoted...)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

// names writes a list of names, which are plain ASCII.
func (w *writer) names(name string, list iter.Seq[string]) {
	w.key(name)
	w.open('[')
	for s := range list {
		w.next()
		w.b = append(w.b, '"')
		w.b = append(w.b, s...)
		w.b = append(w.b, '"')
	}
	w.close(']')
}

func (w *writer) bytes(name string, p []byte) {
	w.key(name)
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, p)
	w.b = append(w.b, '"')
}

// port writes a number, or a reserved port's name.
func (w *writer) port(name string, p flow.PortNo) {
	if p.Reserved() {
		w.string(name, p.String())
		return
	}
	w.uint(name, uint64(p))
}

// reason writes a reason's name, or the number of one above the last that has a
// name.
func (w *writer) reason(v, last uint8, name string) {
	if v > last {
		w.uint("reason", uint64(v))
		return
	}
	w.string("reason", name)
}

// seconds rounds up: a timeout cut down to 0 would be none at all.
func (w *writer) seconds(name string, d time.Duration) {
	if d == 0 {
		return
	}
	s := (d + time.Second - 1) / time.Second
	if d < 0 || s > 0xffff {
		w.fail("%s of %v: want at most 65535 s", name, d)
		return
	}
	w.uint(name, uint64(s))
}
