package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cenkalti/backoff/v4"

	"switchbridge/flow"
	"switchbridge/policy/blob"
)

// Errors that Replace's errors wrap.
var (
	ErrSame     = errors.New("the same policy is there already")
	ErrNewer    = errors.New("a newer policy is there")
	ErrUnknown  = errors.New("it is not known whether a newer policy is there")
	ErrReadBack = errors.New("what was written isn't what is read")
)

// Current returns the version of the policy that is there, or an error: fs.ErrNotExist if there is none.
func (p *Plan) Current(ctx context.Context) (flow.PolicyVersion, error) {
	_, version, err := p.current(ctx)
	return version, err
}

func (p *Plan) current(ctx context.Context) (b []byte, version flow.PolicyVersion, err error) {
	if p.ready != nil {
		err = p.ready()
	}
	if err == nil {
		b, err = p.read(ctx)
	}
	if err != nil {
		return nil, version, fmt.Errorf("%s: %w", p.where(), err)
	}
	there, err := blob.Unpack(b)
	if err != nil {
		return b, version, fmt.Errorf("%s: %w", p.where(), err)
	}
	return b, there.Version(), nil
}

// Replaced returns the compiled policy that was there before [Plan.Replace] wrote; nil where there was none, or nobody looked.
func (p *Plan) Replaced() []byte { return p.replaced }

// where names the last write: it makes the others count, and is read first.
func (p *Plan) where() string {
	last := p.Writes[len(p.Writes)-1]
	return fmt.Sprintf("%s: %s: key %s", p.Target, last.Store, last.Key)
}

// Replace is Do for a policy that replaces another. Without force it writes nothing if the same policy is
// there ([ErrSame]), if one with a larger serial is there ([ErrNewer]), or if what is there can't be read
// ([ErrUnknown]): it may be a newer policy. Afterwards Replace reads the policy back, and returns
// [ErrReadBack] if it isn't there. It deletes nothing; [Plan.Clean] does.
func (p *Plan) Replace(ctx context.Context, force bool, wrote func(Write)) error {
	ours, err := blob.Unpack(p.blob)
	if err != nil {
		return err
	}
	p.stale, p.staleErr = nil, nil
	if !force {
		there, version, err := p.current(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		case bytes.Equal(there, p.blob):
			p.stale, p.staleErr = p.Outdated(ctx)
			return fmt.Errorf("%s: %w", p.where(), ErrSame)
		case version.Serial > ours.Serial:
			return fmt.Errorf("%s: %w: %v, and not %v", p.where(), ErrNewer, version, ours.Version())
		}
		p.replaced = there
	}
	// Looked for before the first write, and kept once the last is read back: what a reader may
	// still be sent to by the policy that counts now is not among it.
	stale, staleErr := p.Outdated(ctx)
	if err := p.Do(ctx, wrote); err != nil {
		return err
	}
	if err := p.verify(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.where(), err)
	}
	p.stale, p.staleErr = stale, staleErr
	return nil
}

// verify reads until what was written is there: a store at many places may take a moment.
func (p *Plan) verify(ctx context.Context) error {
	var pauses backoff.BackOff = new(backoff.StopBackOff)
	if p.again != nil {
		pauses = p.again()
	}
	return backoff.Retry(func() error {
		b, err := p.read(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrReadBack, err)
		case !bytes.Equal(b, p.blob):
			return fmt.Errorf("%w: %d bytes, and not the %d that were written", ErrReadBack, len(b), len(p.blob))
		}
		return nil
	}, backoff.WithContext(pauses, ctx))
}
