package ovs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// Outside runs f with what stands for a test, so that a program which is none may have a private Open vSwitch. Where f, or what it calls,
// fails or skips, Outside returns why. It cleans up before it returns.
func Outside(ctx context.Context, f func(tb testing.TB) error) error {
	o := &outside{ctx: ctx}
	done := make(chan error, 1)
	go func() {
		err := errors.New("the lab has stopped")
		defer func() {
			o.mu.Lock()
			why := o.why
			o.mu.Unlock()
			if why != nil {
				err = why
			}
			for i := len(o.cleanups) - 1; i >= 0; i-- {
				o.cleanups[i]()
			}
			done <- err
		}()
		err = f(o)
	}()
	return <-done
}

// outside is a testing.TB of its own. Its methods are called by f's goroutine.
type outside struct {
	testing.TB // what is not below panics
	ctx        context.Context
	cleanups   []func()

	mu  sync.Mutex
	why error
}

func (o *outside) Helper()                  {}
func (o *outside) Context() context.Context { return o.ctx }
func (o *outside) Name() string             { return "lab" }
func (o *outside) Cleanup(f func())         { o.cleanups = append(o.cleanups, f) }
func (o *outside) Log(...any)               {}
func (o *outside) Logf(string, ...any)      {}

func (o *outside) Failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why != nil
}

func (o *outside) note(why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why == nil {
		o.why = errors.New(why)
	}
}

func (o *outside) stop(why string) {
	o.note(why)
	runtime.Goexit()
}

func (o *outside) Error(args ...any)                 { o.note(fmt.Sprint(args...)) }
func (o *outside) Errorf(format string, args ...any) { o.note(fmt.Sprintf(format, args...)) }
func (o *outside) Fatal(args ...any)                 { o.stop(fmt.Sprint(args...)) }
func (o *outside) Fatalf(format string, args ...any) { o.stop(fmt.Sprintf(format, args...)) }
func (o *outside) Skip(args ...any)                  { o.stop(fmt.Sprint(args...)) }
func (o *outside) Skipf(format string, args ...any)  { o.stop(fmt.Sprintf(format, args...)) }
