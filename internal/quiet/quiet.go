// Package quiet is for lines of the log that a stranger can cause as often as he
// likes. Faults of switches have a Mute of their own, in bridge, by kinds.
package quiet

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// For is how far apart two lines of one kind are.
const For = 10 * time.Second

// Line is one kind of line. The zero value has logged none. It is safe for
// concurrent use.
type Line struct {
	mu   sync.Mutex
	last time.Time
	left int
}

// Log writes a line, or counts it for the next one where it comes too soon.
func (q *Line) Log(log *slog.Logger, level slog.Level, msg string, args ...any) {
	q.mu.Lock()
	now := time.Now()
	if !q.last.IsZero() && now.Sub(q.last) < For {
		q.left++
		q.mu.Unlock()
		return
	}
	left := q.left
	q.last, q.left = now, 0
	q.mu.Unlock()
	if left > 0 {
		args = append(args, "also_muted", left)
	}
	log.Log(context.Background(), level, msg, args...)
}

// ErrorLog is for the errors that a server of net/http would write to standard
// error by itself, such as of a TLS handshake: records of to, once in a while.
func ErrorLog(to *slog.Logger) *log.Logger { return log.New(&errorWriter{to: to}, "", 0) }

type errorWriter struct {
	to   *slog.Logger
	line Line
}

func (w *errorWriter) Write(line []byte) (int, error) {
	w.line.Log(w.to, slog.LevelWarn, "a connection failed", "err", strings.TrimSpace(string(line[:min(len(line), 512)])))
	return len(line), nil
}
