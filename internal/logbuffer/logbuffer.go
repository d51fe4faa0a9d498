// Package logbuffer keeps what is logged, for tests that read a log while it is
// written.
package logbuffer

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// Buffer is an [io.Writer] for many goroutines. The zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*Buffer)(nil)

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Lines are the lines written so far, without their ends; none of nothing.
func (b *Buffer) Lines() []string {
	text := strings.TrimSuffix(b.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Has reports whether one line has all of the texts.
func (b *Buffer) Has(texts ...string) bool {
	for _, line := range b.Lines() {
		all := true
		for _, t := range texts {
			all = all && strings.Contains(line, t)
		}
		if all {
			return true
		}
	}
	return false
}

// Text is a logger that writes to b as people read it.
func (b *Buffer) Text() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// JSON is a logger that writes to b as machines read it.
func (b *Buffer) JSON() *slog.Logger { return slog.New(slog.NewJSONHandler(b, nil)) }
