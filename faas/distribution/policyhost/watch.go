package policyhost

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// watchInterval is how often files are looked at.
const watchInterval = time.Second

// Watched are files whose content is given to somebody anew whenever one of them changes.
type Watched struct {
	log   *slog.Logger
	files []string
	stamp string // of the files when they were read last
	now   chan struct{}
}

func newWatched(log *slog.Logger) Watched { return Watched{log: log, now: make(chan struct{}, 1)} }

// Reload makes the watch read the files now, whether or not they look changed: what SIGHUP means.
// It doesn't wait.
func (w *Watched) Reload() {
	select {
	case w.now <- struct{}{}:
	default: // one is due already
	}
}

// look sums up the modification times and sizes of the files.
func (w *Watched) look() string {
	var b strings.Builder
	for _, path := range w.files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%s %d %d;", path, info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

// watch calls reload whenever a file has changed or Reload was called, until ctx is done. What
// reload fails with is logged, once for a change.
func (w *Watched) watch(ctx context.Context, reload func(context.Context) error) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-w.now:
			asked = true
		case <-tick.C:
		}
		stamp := w.look()
		if stamp == w.stamp && !asked {
			continue
		}
		if err := reload(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("the policy stays as it was", "err", err)
			w.stamp = stamp
		}
	}
}
