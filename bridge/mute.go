package bridge

import (
	"log/slog"
	"sync"
	"time"
)

// muteFor is how long a fault that was just logged stays silent.
const muteFor = 10 * time.Second

// Mute logs repeated faults once in a while, with how many were left out. Log
// must be set before use.
type Mute struct {
	Log *slog.Logger

	mu   sync.Mutex
	seen map[string]*muted
}

type muted struct {
	last time.Time
	left int
}

// Warn logs msg at level warn unless the same key did within muteFor. Keys are
// of a fixed set, so that the map stays small.
func (m *Mute) Warn(key, msg string, args ...any) {
	now := time.Now()
	m.mu.Lock()
	f := m.seen[key]
	if f == nil {
		if m.seen == nil {
			m.seen = make(map[string]*muted)
		}
		f = new(muted)
		m.seen[key] = f
	} else if now.Sub(f.last) < muteFor {
		f.left++
		m.mu.Unlock()
		return
	}
	left := f.left
	f.last, f.left = now, 0
	m.mu.Unlock()
	if left > 0 {
		args = append(args, "also_muted", left)
	}
	m.Log.Warn(msg, args...)
}
