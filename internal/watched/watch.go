package watched

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing more may happen before files are looked at: an
	// editor or a tool that unpacks does many things at once.
	quiet = 100 * time.Millisecond
	// impatient is when they are looked at although more happens.
	impatient = time.Second
	// pollEvery is how often files are looked at without an event: on network
	// file systems, and below links to folders, there may be none.
	pollEvery = time.Second
)

// File is a [Value] of any type.
type File interface {
	Paths() []string
	Look(ctx context.Context, force bool) (changed bool, err error)
	Event(ctx context.Context)
}

// Watcher looks at files when something happens in their folders, and at times
// without. It notices a file written in place, one that a rename puts in its
// place, and a link that is made to lead elsewhere, as Kubernetes does with
// ConfigMaps and Secrets.
type Watcher struct {
	Files func() []File // which may be others with every look
	Log   *slog.Logger
}

func (w *Watcher) paths() (list []string) {
	for _, f := range w.Files() {
		list = append(list, f.Paths()...)
	}
	return list
}

// Run watches until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	var events chan fsnotify.Event
	var errs chan error
	folders, err := fsnotify.NewWatcher()
	if err != nil {
		w.Log.Warn("the system does not report changes of files: they are looked at every second", "err", err)
	} else {
		defer folders.Close()
		events, errs = folders.Events, folders.Errors
	}
	stale := true // what is watched may not be what is to be
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	settle := time.NewTimer(time.Hour)
	settle.Stop()
	var first time.Time // of the events that have not settled
	for {
		if folders != nil && stale {
			follow(folders, w.paths())
			stale = false
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			now := time.Now()
			if first.IsZero() {
				first = now
			}
			settle.Reset(min(quiet, max(0, impatient-now.Sub(first))))
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			w.Log.Warn("watching files", "err", err) // lost events: the next look sees what changed
		case <-settle.C:
			first, stale = time.Time{}, true
			for _, f := range w.Files() {
				f.Event(ctx)
			}
		case <-poll.C:
			for _, f := range w.Files() {
				_, _ = f.Look(ctx, false) // the file notes the error
			}
			stale = true
		}
	}
}

// follow has the watcher watch the folders of files, and of what they lead to
// where they are links. What can't be watched is left to the looks.
func follow(w *fsnotify.Watcher, paths []string) {
	want := map[string]bool{}
	for _, path := range paths {
		for range maxLinks {
			if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
				want[dir] = true
			}
			to, err := os.Readlink(path)
			if err != nil {
				break
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = to
		}
	}
	for _, dir := range w.WatchList() { // a folder that was deleted is not in it
		if !want[dir] {
			_ = w.Remove(dir) // it may be gone by now
		}
		delete(want, dir)
	}
	for dir := range want {
		_ = w.Add(dir)
	}
}

// maxLinks is how many links one after the other are followed.
const maxLinks = 10
