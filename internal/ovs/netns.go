package ovs

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name: it lives as long as the file, or a process or socket in
// it, does.
type namespace struct {
	file *os.File
}

// newNamespace makes an empty network namespace with its loopback up, and closes it with the test.
func newNamespace(tb TB) *namespace {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: a network namespace can't be made without")
	}
	need(tb, "nsenter", "ip")
	var ns namespace
	err := inThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		tb.Skipf("no network namespace can be made here: %v", err)
	}
	tb.Cleanup(func() { ns.file.Close() })

	run(tb, ns.command("ip", "link", "set", "lo", "up"))
	return &ns
}

// path names the namespace for other processes, as long as this one runs.
func (ns *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// command prepares a program to run inside the namespace. A nil namespace is the test's own.
func (ns *namespace) command(name string, args ...string) *exec.Cmd {
	if path, err := lookTool(name); err == nil {
		name = path
	}
	if ns == nil {
		return exec.Command(name, args...)
	}
	// nsenter replaces itself with the program, so the process that the test signals is the right one.
	return exec.Command("nsenter", append([]string{"--net=" + ns.path(), "--", name}, args...)...)
}

// do runs f on a thread inside the namespace. Sockets that f opens stay there; goroutines that it starts
// don't. A nil namespace is the test's own.
func (ns *namespace) do(f func() error) error {
	if ns == nil {
		return f()
	}
	return inThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// listen opens a listening socket inside the namespace. It is served from any goroutine.
func (ns *namespace) listen(network, addr string) (l net.Listener, err error) {
	err = ns.do(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// dial connects from inside the namespace. addr is numeric: a look-up would happen on another goroutine.
func (ns *namespace) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = ns.do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// inThread runs f on an operating system thread of its own and throws the thread away afterwards: f may
// change the thread's namespace without restoring it.
func inThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		done <- f()
	}()
	return <-done
}
