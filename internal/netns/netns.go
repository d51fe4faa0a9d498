// Package netns makes network namespaces without a name, for Linux. What listens on all addresses, or wants a port of its own, does so
// there without being seen outside, and what is emulated there ends with it.
package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with a loopback interface and nothing else. It lives as long as this value is open, or a socket or
// process is in it.
type Namespace struct{ file *os.File }

// New makes a namespace, which takes the right to do so (CAP_SYS_ADMIN) and iproute2.
func New() (*Namespace, error) {
	var ns Namespace
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	// Of a size that packets have on their way through the Internet.
	if err := ns.Run("ip", "link", "set", "lo", "up", "mtu", "1500"); err != nil {
		ns.Close()
		return nil, err
	}
	return &ns, nil
}

// Close lets go of the namespace.
func (ns *Namespace) Close() { ns.file.Close() }

// onThread runs f on a thread of its own, which ends with it: nothing else ever
// runs in a namespace that f enters.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// Do runs f in the namespace: sockets that f makes itself, not in another
// goroutine, belong there, and so do processes that it starts.
func (ns *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// Run runs a command in the namespace, and waits for it. Its error has what the command wrote.
func (ns *Namespace) Run(command ...string) error {
	return ns.Do(func() error {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %.200s", strings.Join(command, " "), err, strings.Join(strings.Fields(string(out)), " "))
		}
		return nil
	})
}

// Path names the namespace for other processes, as long as it is open.
func (ns *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd()) }

// Command prepares a program to run in the namespace, which must be open when it starts. nsenter, of util-linux, replaces itself with the program, so
// that signals reach the right process.
func (ns *Namespace) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + ns.Path(), "--", name}, args...)...)
}

// Listen opens a listening socket in the namespace. It is served from anywhere.
func (ns *Namespace) Listen(network, addr string) (ln net.Listener, err error) {
	err = ns.Do(func() (err error) {
		ln, err = net.Listen(network, addr)
		return err
	})
	return ln, err
}

// Dial connects to an address, not a name, of the namespace.
func (ns *Namespace) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = ns.Do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}
