package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace of our own, with a loopback interface and
// nothing else. It has no name: it lives as long as this file and the sockets
// made in it, and no other program sees it.
type namespace struct{ file *os.File }

// newNamespace needs the right to make one (CAP_SYS_ADMIN) and iproute2.
func newNamespace() (*namespace, error) {
	var ns namespace
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
	if err := ns.run("ip", "link", "set", "lo", "up", "mtu", "1500"); err != nil {
		ns.close()
		return nil, err
	}
	return &ns, nil
}

func (ns *namespace) close() { ns.file.Close() }

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

// inside runs f in the namespace: sockets that f makes itself, not in another
// goroutine, belong there, and so do processes that it starts.
func (ns *namespace) inside(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

func (ns *namespace) run(command ...string) error {
	return ns.inside(func() error {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %.200s", strings.Join(command, " "), err, strings.Join(strings.Fields(string(out)), " "))
		}
		return nil
	})
}

// delay holds every packet back by tc's netem. A round trip crosses the loopback
// interface twice.
func (ns *namespace) delay(oneWay, jitter time.Duration) error {
	args := []string{"tc", "qdisc", "replace", "dev", "lo", "root", "netem", "limit", "100000", "delay", fmt.Sprintf("%dus", oneWay.Microseconds())}
	if jitter > 0 {
		args = append(args, fmt.Sprintf("%dus", jitter.Microseconds()))
	}
	return ns.run(args...)
}

func (ns *namespace) listen() (ln net.Listener, err error) {
	err = ns.inside(func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	return ln, err
}

// dial connects to an address, not a name, of the namespace.
func (ns *namespace) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = ns.inside(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// NetemMissing says why the kernel can't emulate distance here, or is nil: it
// takes the right to make a network namespace, ip and tc of iproute2, and the
// kernel's module sch_netem.
func NetemMissing() error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	defer ns.close()
	return ns.delay(time.Millisecond, 0)
}
