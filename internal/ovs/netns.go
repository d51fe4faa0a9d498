package ovs

import (
	"context"
	"net"
	"os"
	"os/exec"

	"switchbridge/internal/netns"
)

// namespace is a network namespace, or the test's own where it is nil.
type namespace struct{ *netns.Namespace }

// newNamespace makes an empty network namespace with its loopback up, and closes it with the test.
func newNamespace(tb TB) *namespace {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: a network namespace can't be made without")
	}
	need(tb, "nsenter", "ip")
	ns, err := netns.New()
	if err != nil {
		tb.Skipf("no network namespace can be made here: %v", err)
	}
	tb.Cleanup(ns.Close)
	return &namespace{ns}
}

// command prepares a program to run inside the namespace.
func (ns *namespace) command(name string, args ...string) *exec.Cmd {
	if path, err := lookTool(name); err == nil {
		name = path
	}
	if ns == nil {
		return exec.Command(name, args...)
	}
	return ns.Command(name, args...)
}

// do runs f on a thread inside the namespace. Sockets that f opens stay there; goroutines that it starts don't.
func (ns *namespace) do(f func() error) error {
	if ns == nil {
		return f()
	}
	return ns.Do(f)
}

// listen opens a listening socket inside the namespace. It is served from any goroutine.
func (ns *namespace) listen(network, addr string) (net.Listener, error) {
	if ns == nil {
		return net.Listen(network, addr)
	}
	return ns.Listen(network, addr)
}

// dial connects from inside the namespace. addr is numeric: a look-up would happen on another goroutine.
func (ns *namespace) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if ns == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return ns.Dial(ctx, network, addr)
}
