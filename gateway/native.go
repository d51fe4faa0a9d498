package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/policyfile"
)

// Native is the compiled-in controller with a policy file that may change while
// it runs. A new policy is read and compiled beside the old one and takes its
// place in one step; a bad file changes nothing but a log line.
type Native struct {
	path string
	log  *slog.Logger
	now  atomic.Pointer[controller.Controller]
}

// NewNative loads the policy file; an empty path is the policy that allows all.
func NewNative(path string, log *slog.Logger) (*Native, error) {
	n := &Native{path: path, log: log}
	if path == "" {
		log.Warn("no policy is given: every packet is allowed (--policy FILE)")
	}
	p, err := n.read()
	if err != nil {
		return nil, err
	}
	n.now.Store(controller.New(p))
	return n, nil
}

func (n *Native) read() (*policy.Policy, error) {
	if n.path == "" {
		return forward.Default(), nil
	}
	return policyfile.Load(n.path)
}

// Decide implements flow.Decider.
func (n *Native) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	return n.now.Load().Decide(ctx, ev, d)
}

// Local implements flow.Local.
func (n *Native) Local() bool { return true }

func (n *Native) String() string { return "native controller" }

// Version returns the version of the policy that decides now.
func (n *Native) Version() flow.PolicyVersion { return n.now.Load().Version() }

// Reload reads the file again and reports whether its policy is another one.
func (n *Native) Reload() (changed bool, err error) {
	p, err := n.read()
	if err != nil {
		return false, fmt.Errorf("the policy stays as it was: %w", err)
	}
	next := controller.New(p)
	if next.Version() == n.Version() {
		return false, nil
	}
	if old := n.Version(); next.Version().Serial < old.Serial {
		return false, fmt.Errorf("the policy stays as it was: %s: serial %d is below %d, which decides now; serials only grow", n.path, next.Version().Serial, old.Serial)
	}
	n.now.Store(next)
	n.log.Info("policy changed", "file", n.path, "policy", next.Version().String())
	return true, nil
}

// watchInterval is how often the file is looked at.
const watchInterval = time.Second

// Watch reloads the file when it, or a list it names, changes, and calls
// onChange after each new policy, until ctx is done.
func (n *Native) Watch(ctx context.Context, onChange func()) error {
	if n.path == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := n.stamp()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		stamp := n.stamp()
		if stamp == last {
			continue
		}
		last = stamp
		switch changed, err := n.Reload(); {
		case err != nil:
			n.log.Error("policy not reloaded", "err", err)
		case changed && onChange != nil:
			onChange()
		}
	}
}

// stamp sums up the modification times and sizes of the policy's files.
func (n *Native) stamp() string {
	s := ""
	for _, path := range append([]string{n.path}, n.now.Load().Policy().Files...) {
		if info, err := os.Stat(path); err == nil {
			s += fmt.Sprintf("%s %d %d;", path, info.ModTime().UnixNano(), info.Size())
		}
	}
	return s
}
