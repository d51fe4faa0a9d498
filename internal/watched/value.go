package watched

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/internal/elapsed"
)

// Source says where a [Value] is read from.
type Source[T any] struct {
	What  string   // what the files hold: token, certificate, policy, configuration; a metric's label
	Paths []string // the files

	// Read reads the files. It may name further ones that belong to the value,
	// which a change of is one of it, too. Its errors name the file.
	Read func() (v T, more []string, err error)

	// Use, if set, is given each new value before it counts; an error leaves the
	// one before in place.
	Use func(ctx context.Context, v T) error

	// Detail, if set, adds to the result of a value that is in use.
	Detail func(*Result)

	Log     *slog.Logger // nil: none
	Results *Results     // nil: none
}

// Value is what was read from files: the last that was good. It is safe for use
// by several goroutines.
type Value[T any] struct {
	src  Source[T]
	good atomic.Pointer[T]
	err  atomic.Pointer[error]
	due  atomic.Int64 // when Get looks again, as elapsed has it

	mu    sync.Mutex
	paths []string // those of the source, and those that Read named
	tried stamp    // of what was read last, good or not
	used  stamp    // of what was good
}

// lookEvery is how often [Value.Get] looks whether a file has changed.
const lookEvery = time.Second

// Open reads the files for the first time. Their content counts without Use.
func Open[T any](src Source[T]) (*Value[T], error) {
	if src.Log == nil {
		src.Log = slog.New(slog.DiscardHandler)
	}
	v := &Value[T]{src: src, paths: src.Paths}
	v.err.Store(new(error))
	s, _ := read(v.paths)
	got, s, err := v.read(s)
	if err != nil {
		return nil, err
	}
	v.good.Store(&got)
	v.tried, v.used = s, s
	v.due.Store(elapsed.Now() + int64(lookEvery))
	src.Results.note(v, Result{What: src.What, File: v.name(), Time: time.Now(), OK: true})
	return v, nil
}

func (v *Value[T]) name() string { return strings.Join(v.src.Paths, ", ") }

// read has the source read what the stamp s is of, and stamps further files
// that it names.
func (v *Value[T]) read(s stamp) (T, stamp, error) {
	for {
		began := time.Now()
		got, more, err := v.src.Read()
		if err != nil {
			return got, s, err
		}
		paths := slices.Concat(v.src.Paths, more)
		if slices.Equal(paths, v.paths) {
			return got, s, nil
		}
		v.paths = paths
		next, _ := read(paths)
		if _, newest := look(paths); newest.Before(began.Add(-tick)) {
			return got, next, nil
		}
		s = next // a file may have changed before it was stamped: read it again
	}
}

// Get returns what was good last. At times it looks at the files first.
func (v *Value[T]) Get() T {
	now := elapsed.Now()
	if due := v.due.Load(); now >= due && v.due.CompareAndSwap(due, now+int64(lookEvery)) {
		_, _ = v.Look(context.Background(), false) // the error is kept, logged and counted
	}
	return *v.good.Load()
}

// Last returns what was good last, and looks at nothing.
func (v *Value[T]) Last() T { return *v.good.Load() }

// Err says why the files as they are now aren't used, or nil.
func (v *Value[T]) Err() error { return *v.err.Load() }

// Paths are the files.
func (v *Value[T]) Paths() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.paths)
}

// Try reads the files, says whether they are good, and uses nothing.
func (v *Value[T]) Try() (T, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	got, _, err := v.src.Read()
	return got, err
}

// Look reads the files if their content differs from what was read last, and
// in any case with force. It says whether there is a new value, and why the
// files' content is not used.
func (v *Value[T]) Look(ctx context.Context, force bool) (changed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if stat, _ := look(v.paths); !force && v.tried.settled && stat == v.tried.stat {
		return false, v.Err()
	}
	s, readable := read(v.paths)
	if readable && !force {
		if s.sum == v.tried.sum {
			v.tried = s
			return false, v.Err()
		}
		if s.sum == v.used.sum {
			v.tried = s
			v.succeeded(false) // what was wrong is undone
			return false, nil
		}
	}
	got, s, err := v.read(s)
	if err == nil && v.src.Use != nil {
		err = v.src.Use(ctx, got)
	}
	if err != nil && ctx.Err() != nil {
		return false, err // the program ends, and not for the files
	}
	v.tried = s
	if err != nil {
		v.failed(err)
		return false, err
	}
	changed = s.sum != v.used.sum
	v.used = s
	v.good.Store(&got)
	v.succeeded(changed)
	return changed, nil
}

// Event is Look after something happened in the files' folders. A value that
// could not be used is tried again: what it lacked may be there now.
func (v *Value[T]) Event(ctx context.Context) { _, _ = v.Look(ctx, v.Err() != nil) }

func (v *Value[T]) failed(err error) {
	before := v.Err()
	v.err.Store(&err)
	v.src.Results.note(v, Result{What: v.src.What, File: v.name(), Time: time.Now(), Error: err.Error()})
	if before == nil || before.Error() != err.Error() {
		v.src.Log.Error("reload failed: the "+v.src.What+" stays as it was", "file", v.name(), "err", err)
	}
}

func (v *Value[T]) succeeded(changed bool) {
	before := v.Err()
	v.err.Store(new(error))
	result := Result{What: v.src.What, File: v.name(), Time: time.Now(), OK: true}
	if v.src.Detail != nil {
		v.src.Detail(&result)
	}
	v.src.Results.note(v, result)
	switch {
	case changed && v.src.Use == nil: // who uses it says more about it
		v.src.Log.Info("reloaded", "what", v.src.What, "file", v.name())
	case !changed && before != nil:
		v.src.Log.Info("the "+v.src.What+" is again what is in use", "file", v.name())
	}
}

// Close takes the value out of the results.
func (v *Value[T]) Close() { v.src.Results.drop(v) }
