// Package push writes a compiled policy where a platform's function reads it.
//
// A target's Plan method checks the platform's limits and returns what would be written. It sends nothing. Then:
//
//   - Plan.Current returns the version of the policy that is there.
//   - Plan.Replace writes the new policy, unless the one there is newer, and reads it back.
//   - Plan.Do only writes, in order, and stops at the first write that fails. Functions use the
//     other values only after the last write, so no function decides by half a policy. A write is repeated if
//     the platform doesn't answer or is too busy.
//   - Plan.Clean deletes what older policies have left.
package push

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cenkalti/backoff/v4"

	"switchbridge/faas/instance/guest"
)

// Write is one value that a plan writes.
type Write struct {
	Store string // where, as its platform's users say it, such as "KV store 4d5e"
	Key   string
	Size  int // of the value as it is written, in bytes

	do func(context.Context) error
}

// Delete is one value that nothing needs any more.
type Delete struct {
	Store, Key string

	do func(context.Context) error
}

// Plan is what has to be written for a policy to be decided by.
type Plan struct {
	Target string // the platform, and where it is asked
	Writes []Write

	blob     []byte
	replaced []byte                                // the compiled policy that was there before Replace; nil: none, or it is not known
	ready    func() error                          // says which secret is missing
	read     func(context.Context) ([]byte, error) // the compiled policy that is there, or fs.ErrNotExist
	again    func() backoff.BackOff                // between reads of a platform that takes time; nil: one read says all

	outdated func(context.Context) ([]Delete, error) // what older policies left; nil: they leave nothing
	stale    []Delete                                // what it said before Replace wrote
	staleErr error
}

// Outdated returns what Clean would delete after a Replace that began now. If it returns an error, the
// list may be incomplete; the error names what stays, and why.
func (p *Plan) Outdated(ctx context.Context) ([]Delete, error) {
	if p.outdated == nil || p.ready != nil && p.ready() != nil {
		return nil, nil
	}
	stale, err := p.outdated(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", p.Target, err)
	}
	return stale, err
}

// Clean deletes what Replace found outdated before it wrote. Call it after Replace has returned nil or
// [ErrSame]. It calls deleted, if that isn't nil, after each deletion, and stops at the
// first that fails. After a failure functions read the new policy all the same; the error names everything that is left.
func (p *Plan) Clean(ctx context.Context, deleted func(Delete)) error {
	stale, err := p.stale, p.staleErr
	p.stale, p.staleErr = nil, nil
	for i, d := range stale {
		if failed := d.do(ctx); failed != nil {
			return errors.Join(err, fmt.Errorf("%s: %s is left: %w", p.Target, named(stale[i:]), failed))
		}
		if deleted != nil {
			deleted(d)
		}
	}
	return err
}

// named lists entries.
func named(entries []Delete) string {
	var names []string
	for _, d := range entries {
		names = append(names, d.Store+": key "+d.Key)
	}
	return strings.Join(names, ", ")
}

// Do writes. It calls wrote, if that isn't nil, after each write. An error names platform, store and key.
func (p *Plan) Do(ctx context.Context, wrote func(Write)) error {
	if p.ready != nil {
		if err := p.ready(); err != nil {
			return fmt.Errorf("%s: %w", p.Target, err)
		}
	}
	for i, w := range p.Writes {
		if err := w.do(ctx); err != nil {
			err = fmt.Errorf("%s: %s: key %s: %w", p.Target, w.Store, w.Key, err)
			if i > 0 {
				err = fmt.Errorf("%w (%d of %d writes were done; the policy before still counts)", err, i, len(p.Writes))
			}
			return err
		}
		if wrote != nil {
			wrote(w)
		}
	}
	return nil
}

// checkSize refuses what no function would read.
func checkSize(blob []byte) error {
	if len(blob) == 0 {
		return errors.New("empty policy")
	}
	return atMost("policy", len(blob), guest.MaxPolicy)
}

func atMost(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%s of %d bytes, limit %d", what, n, limit)
	}
	return nil
}

// missing returns an error that names what is empty of pairs of a name and a value.
func missing(pairs ...string) error {
	var errs []error
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			errs = append(errs, fmt.Errorf("%s is missing", pairs[i]))
		}
	}
	return errors.Join(errs...)
}
