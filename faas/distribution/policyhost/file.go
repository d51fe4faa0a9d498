package policyhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/files"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
)

// Host is what decides by a policy that can change while it runs.
type Host interface {
	flow.Decider
	Version() flow.PolicyVersion
	SetPolicy(ctx context.Context, p *policy.Policy) error
}

// File is a policy file that may change while it is in use: a policy as people write it, with
// the lists that it names, or a compiled one. A bad file changes nothing but a log line.
type File struct {
	Watched
	path string
}

// Open reads a policy file; an empty path is the policy that allows all.
func Open(path string, log *slog.Logger) (*File, *policy.Policy, error) {
	f := &File{Watched: newWatched(log), path: path}
	if path == "" {
		log.Warn("no policy is given: every packet is allowed (--policy FILE)")
		return f, forward.Default(), nil
	}
	p, err := f.read()
	return f, p, err
}

func (f *File) read() (*policy.Policy, error) {
	p, err := load(f.path)
	if err != nil {
		return nil, err
	}
	f.files = append([]string{f.path}, p.Files...)
	f.stamp = f.look()
	return p, nil
}

// load reads a policy in either form.
func load(path string) (*policy.Policy, error) {
	compiled, err := isBlob(path)
	if err != nil {
		return nil, err
	}
	if !compiled {
		return policyfile.Load(path)
	}
	b, err := files.ReadFile(path, MaxConfiguration)
	if err != nil {
		return nil, err
	}
	p, err := blob.Unpack(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// isBlob looks at a file's first bytes.
func isBlob(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [8]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return blob.Is(head[:n]), nil
}

// Watch gives host the new policy whenever a file has changed, and calls onChange, if not nil,
// after each, until ctx is done. It returns nil.
func (f *File) Watch(ctx context.Context, host Host, onChange func()) error {
	f.watch(ctx, func(ctx context.Context) error {
		changed, err := f.reload(ctx, host)
		if changed && onChange != nil {
			onChange()
		}
		return err
	})
	return nil
}

func (f *File) reload(ctx context.Context, host Host) (changed bool, err error) {
	if f.path == "" {
		return false, nil
	}
	p, err := f.read()
	if err != nil {
		return false, err
	}
	old, next := host.Version(), p.Version()
	switch {
	case next == old:
		f.log.Info("the policy is read, and is the same", "file", f.path, "policy", next.String())
		return false, nil
	case next.Serial <= old.Serial:
		return false, fmt.Errorf("%s: its content changed and its serial, %d, is not above %d: serials only grow", f.path, next.Serial, old.Serial)
	}
	start := time.Now()
	if err := host.SetPolicy(ctx, p); err != nil {
		return false, err
	}
	f.log.Info("policy changed", "file", f.path, "policy", next.String(), "before", old.String(), "took", time.Since(start))
	return true, nil
}
