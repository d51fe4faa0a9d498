package httphost

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// quietFor is how far apart two lines of one kind are.
const quietFor = 10 * time.Second

// quiet logs what callers can cause as often as they like: once in a while, with
// how many lines were left out.
type quiet struct {
	mu   sync.Mutex
	last time.Time
	left int
}

func (q *quiet) log(log *slog.Logger, level slog.Level, msg string, args ...any) {
	q.mu.Lock()
	now := time.Now()
	if !q.last.IsZero() && now.Sub(q.last) < quietFor {
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
// error by itself, such as of a TLS handshake: by log, and once in a while.
func ErrorLog(to *slog.Logger) *log.Logger { return log.New(&errorWriter{to: to}, "", 0) }

type errorWriter struct {
	to    *slog.Logger
	quiet quiet
}

func (w *errorWriter) Write(line []byte) (int, error) {
	w.quiet.log(w.to, slog.LevelWarn, "a connection failed", "err", strings.TrimSpace(string(line[:min(len(line), 512)])))
	return len(line), nil
}
