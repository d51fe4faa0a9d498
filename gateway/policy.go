package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
)

// PolicyHost is what decides by a policy that can change while it runs.
type PolicyHost interface {
	flow.Decider
	Version() flow.PolicyVersion
	SetPolicy(ctx context.Context, p *policy.Policy) error
}

// PolicyFile is a policy file that may change while it is in use. A bad file
// changes nothing but a log line.
type PolicyFile struct {
	path  string
	log   *slog.Logger
	files []string // path, and the lists that the policy names
	stamp string
}

// OpenPolicy reads a policy file; an empty path is the policy that allows all.
func OpenPolicy(path string, log *slog.Logger) (*PolicyFile, *policy.Policy, error) {
	f := &PolicyFile{path: path, log: log}
	if path == "" {
		log.Warn("no policy is given: every packet is allowed (--policy FILE)")
		return f, forward.Default(), nil
	}
	p, err := f.read()
	return f, p, err
}

func (f *PolicyFile) read() (*policy.Policy, error) {
	p, err := policyfile.Load(f.path)
	if err != nil {
		return nil, err
	}
	f.files = append([]string{f.path}, p.Files...)
	f.stamp = f.look()
	return p, nil
}

// look sums up the modification times and sizes of the files.
func (f *PolicyFile) look() string {
	var b strings.Builder
	for _, path := range f.files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%s %d %d;", path, info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

// watchInterval is how often the files are looked at.
const watchInterval = time.Second

// Watch gives host the new policy whenever a file has changed, and calls
// onChange, if not nil, after each, until ctx is done. It returns nil.
func (f *PolicyFile) Watch(ctx context.Context, host PolicyHost, onChange func()) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		stamp := f.look()
		if stamp == f.stamp {
			continue
		}
		switch changed, err := f.reload(ctx, host); {
		case err != nil:
			f.log.Error("the policy stays as it was", "err", err)
			f.stamp = stamp // said once
		case changed && onChange != nil:
			onChange()
		}
	}
}

func (f *PolicyFile) reload(ctx context.Context, host PolicyHost) (changed bool, err error) {
	p, err := f.read()
	if err != nil {
		return false, err
	}
	old, next := host.Version(), p.Version()
	switch {
	case next == old:
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
