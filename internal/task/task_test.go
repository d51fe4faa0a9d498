package task

import (
	"context"
	"errors"
	"testing"
)

func TestGroup(t *testing.T) {
	broken := errors.New("port is taken")
	group, ctx := NewGroup(t.Context())
	outlives, end := context.WithCancel(context.Background())
	ended := false
	group.Go(ctx, New("watch", func(ctx context.Context) error {
		<-ctx.Done()
		end()
		return nil
	}))
	group.Go(outlives, New("guest", func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return nil
	}))
	group.Go(ctx, New("listener", func(context.Context) error { return broken }))
	if err := group.Wait(); !errors.Is(err, broken) || err.Error() != "listener: port is taken" {
		t.Errorf("error %v", err)
	}
	if !ended {
		t.Error("Wait returned before a task did")
	}
}

func TestGroupCancelled(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	group, ctx := NewGroup(parent)
	group.Go(ctx, New("session", func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}))
	cancel()
	if err := group.Wait(); err != nil {
		t.Errorf("cancellation: %v", err)
	}
}
