package ovs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
)

// TB is what this package needs of a test. A *testing.T and a *testing.B are one.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
	Skipf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
	TempDir() string
}

// Outside runs f with what stands for a test, so that a program which is none may have a private Open vSwitch. Where f, or what it calls,
// fails or skips, Outside returns why. It cleans up before it returns.
func Outside(f func(tb TB) error) error {
	o := new(outside)
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

// outside is a TB. Its methods are called by f's goroutine.
type outside struct {
	cleanups []func()

	mu  sync.Mutex
	why error
}

func (o *outside) Helper()             {}
func (o *outside) Cleanup(f func())    { o.cleanups = append(o.cleanups, f) }
func (o *outside) Logf(string, ...any) {}

func (o *outside) TempDir() string {
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (o *outside) Failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why != nil
}

func (o *outside) stop(why string) {
	o.mu.Lock()
	if o.why == nil {
		o.why = errors.New(why)
	}
	o.mu.Unlock()
	runtime.Goexit()
}

func (o *outside) Fatal(args ...any)                 { o.stop(fmt.Sprint(args...)) }
func (o *outside) Fatalf(format string, args ...any) { o.stop(fmt.Sprintf(format, args...)) }
func (o *outside) Skip(args ...any)                  { o.stop(fmt.Sprint(args...)) }
func (o *outside) Skipf(format string, args ...any)  { o.stop(fmt.Sprintf(format, args...)) }
