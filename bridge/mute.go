package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// muteFor is how long a fault that was just logged stays silent.
const muteFor = 10 * time.Second

// Mute logs repeated faults once in a while, with how many were left out. Log
// must be set before use.
type Mute struct {
	Log *slog.Logger

	// Burst is how many lines of one key may come within muteFor. Default: 1.
	Burst int
	// Within, if not nil, is asked before a line is written, too: what all
	// sessions have together, so that who comes again and again is not a new
	// stranger each time.
	Within *Mute

	mu   sync.Mutex
	seen map[string]*muted
}

type muted struct {
	since time.Time // of the first line that counts
	lines int
	left  int
}

// take reports whether a line with key may be written, and how many were left
// out before it.
func (m *Mute) take(key string, now time.Time) (left int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.seen[key]
	if f == nil {
		if m.seen == nil {
			m.seen = make(map[string]*muted)
		}
		f = new(muted)
		m.seen[key] = f
	}
	if f.lines == 0 || now.Sub(f.since) >= muteFor {
		f.since, f.lines = now, 0
	}
	if f.lines >= max(m.Burst, 1) {
		f.left++
		return 0, false
	}
	f.lines++
	left, f.left = f.left, 0
	return left, true
}

// Warn logs msg at level warn unless the same key did within muteFor. Keys are
// of a fixed set, so that the map stays small.
func (m *Mute) Warn(key, msg string, args ...any) { m.line(m.Log, slog.LevelWarn, key, msg, args) }

// Info is Warn at level info.
func (m *Mute) Info(key, msg string, args ...any) { m.line(m.Log, slog.LevelInfo, key, msg, args) }

// Line is Warn at any level, by a logger of the caller's.
func (m *Mute) Line(log *slog.Logger, level slog.Level, key, msg string, args ...any) {
	m.line(log, level, key, msg, args)
}

func (m *Mute) line(log *slog.Logger, level slog.Level, key, msg string, args []any) {
	if !log.Enabled(context.Background(), level) {
		return
	}
	now := time.Now()
	left, ok := m.take(key, now)
	if !ok {
		return
	}
	if m.Within != nil {
		more, ok := m.Within.take(key, now)
		if !ok {
			return
		}
		left += more
	}
	if left > 0 {
		args = append(args, "also_muted", left)
	}
	log.Log(context.Background(), level, msg, clipped(args)...)
}

// maxText is how much of one text a line shows: a switch's error may have 64 MB.
const maxText = 512

// clipped cuts what is long.
func clipped(args []any) []any {
	for i, a := range args {
		text := ""
		switch a := a.(type) {
		case string:
			text = a
		case error:
			text = a.Error()
		}
		if len(text) > maxText {
			args[i] = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:maxText], ""), len(text))
		}
	}
	return args
}
