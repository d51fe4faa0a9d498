// Package task runs what lives as long as the program: listeners, sessions,
// watches, guests. The first that fails ends the others, and the error names it.
package task

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Task is something long-lived. Run returns nil when ctx is done, and any other
// error stops the program. String names the task in that error.
type Task interface {
	Run(ctx context.Context) error
	String() string
}

// New makes a function a Task.
func New(name string, run func(ctx context.Context) error) Task { return &named{name, run} }

type named struct {
	name string
	run  func(ctx context.Context) error
}

func (t *named) Run(ctx context.Context) error { return t.run(ctx) }
func (t *named) String() string                { return t.name }

// Group runs tasks until all have returned.
type Group struct{ group *errgroup.Group }

// NewGroup returns a group and the context that ends when the first of its tasks
// fails.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{g}, ctx
}

// Go starts a task. ctx is the group's, or another one for a task that outlives it.
func (g *Group) Go(ctx context.Context, t Task) {
	g.group.Go(func() error {
		if err := t.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		return nil
	})
}

// Wait returns when every task has, with the error of the first that failed.
func (g *Group) Wait() error { return g.group.Wait() }
