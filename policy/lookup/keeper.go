package lookup

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"switchbridge/internal/watched"
	"switchbridge/policy/syntax"
)

// Keeper looks for what a policy's sources have now, each at its pace, while a program runs. It is a watched.File: whoever looks at files looks at
// it too, which starts what is due and waits for nothing.
type Keeper struct {
	store   *Store
	policy  string // the file, so that results tell whose sources they are
	log     *slog.Logger
	results *watched.Results

	mu      sync.Mutex
	sources []*syntax.Lookup
	said    map[string]string // why each source fails, by its key in the results; empty: it does not
	news    bool              // a source that had no copy has one
	cancel  context.CancelFunc
	running sync.WaitGroup
	looking bool
	again   bool // all are to be looked at once this look is over
	closed  bool
}

// NewKeeper returns a keeper of a policy file's sources. results may be nil.
func NewKeeper(store *Store, policy string, log *slog.Logger, results *watched.Results) *Keeper {
	return &Keeper{store: store, policy: policy, log: log, results: results, said: map[string]string{}}
}

// Keep tells which the sources are from now on.
func (k *Keeper) Keep(sources []*syntax.Lookup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sources = slices.Clone(sources)
	for name := range k.said {
		if !slices.ContainsFunc(sources, func(l *syntax.Lookup) bool { return k.name(l) == name }) {
			k.results.Drop(name)
			delete(k.said, name)
		}
	}
	for _, l := range k.sources {
		k.note(l, k.store.Err(l))
	}
}

func (k *Keeper) name(l *syntax.Lookup) string { return k.policy + " " + key(l) }

// note notes how it went with a source. k.mu is held.
func (k *Keeper) note(l *syntax.Lookup, err error) {
	result := watched.Result{What: "list", File: l.String(), Time: k.store.now(), OK: err == nil}
	if l.URL == "" {
		result.What = "name"
	}
	before, known := k.said[k.name(l)]
	if err != nil {
		result.Error = err.Error()
	}
	k.said[k.name(l)] = result.Error
	k.results.Note(k.name(l), result)
	switch {
	case err != nil && before != result.Error:
		k.log.Error("looking up failed: the last result stays in use", "what", result.What, "of", l.String(), "policy", k.policy, "err", err)
	case err == nil && known && before != "":
		k.log.Info("looking up works again", "what", result.What, "of", l.String(), "policy", k.policy)
	}
}

// Paths implements watched.File: copies are the policy's files.
func (k *Keeper) Paths() []string { return nil }

// Event implements watched.File.
func (k *Keeper) Event(ctx context.Context) { _, _ = k.Look(ctx, false) }

// Look implements watched.File. With force it looks at all sources, due or not. It never waits for them.
func (k *Keeper) Look(ctx context.Context, force bool) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if force = force || k.again; k.looking || k.closed {
		k.again = force // what is being looked at may have answered already
		return false, nil
	}
	k.again = false
	due := slices.DeleteFunc(slices.Clone(k.sources), func(l *syntax.Lookup) bool { return !force && !k.store.due(l) })
	if len(due) == 0 {
		return false, nil
	}
	if force {
		ctx = context.WithoutCancel(ctx) // a request that asks for a reload ends before
	}
	ctx, k.cancel = context.WithCancel(ctx)
	k.looking = true
	k.running.Go(func() { k.look(ctx, due) })
	return false, nil
}

func (k *Keeper) look(ctx context.Context, list []*syntax.Lookup) {
	began := time.Now()
	missing := map[*syntax.Lookup]bool{}
	for _, l := range list {
		_, err := k.store.Copy(l)
		missing[l] = err != nil
	}
	errs := k.store.LookAll(ctx, list, true)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looking = false
	k.cancel()
	for i, l := range list {
		switch {
		case errors.Is(errs[i], context.Canceled) || !slices.Contains(k.sources, l):
			continue
		case errs[i] == nil && missing[l]:
			k.news = true
		}
		k.note(l, errs[i])
	}
	k.log.Debug("looked up", "policy", k.policy, "sources", len(list), "took_seconds", time.Since(began).Seconds())
}

// News reports, once, whether something was found that had no copy before: whoever could not read the policy can try again.
func (k *Keeper) News() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := k.news
	k.news = false
	return news
}

// Wait returns when nothing is being looked up.
func (k *Keeper) Wait() { k.running.Wait() }

// Close ends what is being looked up, and takes the sources out of the results.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	if k.cancel != nil {
		k.cancel()
	}
	for name := range k.said {
		k.results.Drop(name)
	}
	clear(k.said)
	k.sources = nil
	k.mu.Unlock()
	k.running.Wait()
}
