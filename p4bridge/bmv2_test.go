package p4bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/internal/child"
)

// bmv2 is a simple_switch_grpc in a network namespace of the test's own, with a
// veth pair for each port whose other end is a raw socket.
type bmv2 struct {
	ns      string
	nsMu    sync.Mutex
	nsFile  *os.File // nil: the test is over. Under nsMu
	dir     string
	ports   []uint32
	cmd     *exec.Cmd
	sockets map[uint32]int
	out     chan portFrame

	mu   sync.Mutex
	done chan struct{}
}

type portFrame struct {
	port uint32
	data []byte
}

const bmv2Addr = "127.0.0.1:9559"

// bmv2Path finds the switch, or skips the test.
func bmv2Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv("SIMPLE_SWITCH_GRPC")
	if path == "" {
		path, _ = exec.LookPath("simple_switch_grpc")
	}
	switch {
	case path == "":
		t.Skip("simple_switch_grpc is not on PATH, and SIMPLE_SWITCH_GRPC is not set")
	case os.Geteuid() != 0:
		t.Skip("making a network namespace needs root")
	case testing.Short():
		t.Skip("BMv2 takes seconds")
	}
	return path
}

var nsSerial atomic.Int32

func newBMv2(t testing.TB, ports ...uint32) *bmv2 {
	path := bmv2Path(t)
	b := &bmv2{
		ns: fmt.Sprintf("swb-p4-%d-%d", os.Getpid(), nsSerial.Add(1)), dir: t.TempDir(), ports: ports,
		sockets: map[uint32]int{}, out: make(chan portFrame, 4096), done: make(chan struct{}),
	}
	run := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
	}
	run("netns", "add", b.ns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", b.ns).Run() })
	in := func(args ...string) { run(append([]string{"-n", b.ns}, args...)...) }
	in("link", "set", "lo", "up")
	for _, p := range ports {
		sw, host := fmt.Sprintf("s%d", p), fmt.Sprintf("h%d", p)
		in("link", "add", sw, "type", "veth", "peer", "name", host)
		_ = exec.Command("ip", "netns", "exec", b.ns, "sysctl", "-qw", "net.ipv6.conf."+sw+".disable_ipv6=1", "net.ipv6.conf."+host+".disable_ipv6=1").Run()
		in("link", "set", sw, "up")
		in("link", "set", host, "up")
	}
	f, err := os.Open("/var/run/netns/" + b.ns)
	if err != nil {
		t.Fatal(err)
	}
	b.nsFile = f
	for _, p := range ports {
		b.open(t, p)
	}
	b.start(t, path)
	t.Cleanup(func() {
		close(b.done)
		b.stop()
		for _, fd := range b.sockets {
			unix.Close(fd)
		}
		b.nsMu.Lock() // a gateway that is being stopped may still dial
		defer b.nsMu.Unlock()
		f.Close()
		b.nsFile = nil
	})
	return b
}

// enter has the thread be in the switch's namespace.
func (b *bmv2) enter() error {
	b.nsMu.Lock()
	defer b.nsMu.Unlock()
	if b.nsFile == nil {
		return os.ErrClosed
	}
	return unix.Setns(int(b.nsFile.Fd()), unix.CLONE_NEWNET)
}

// inside runs f on a thread that is in the switch's namespace. A socket made
// there stays there.
func (b *bmv2) inside(f func() error) error {
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := b.enter(); err != nil {
			errs <- err
			return
		}
		errs <- f()
	}()
	return <-errs
}

func (b *bmv2) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = b.inside(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		return err
	})
	return conn, err
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (b *bmv2) open(t testing.TB, port uint32) {
	err := b.inside(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		ifi, err := net.InterfaceByName(fmt.Sprintf("h%d", port))
		if err != nil {
			return err
		}
		b.sockets[port] = fd
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	go func(fd int) {
		buf := make([]byte, 2048)
		for {
			select {
			case <-b.done:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
					continue
				}
				return
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue // what we sent ourselves
			}
			select {
			case b.out <- portFrame{port, bytes.Clone(buf[:n])}:
			default:
			}
		}
	}(b.sockets[port])
}

func (b *bmv2) start(t testing.TB, path string) {
	args := []string{"netns", "exec", b.ns, path, "--no-p4", "--device-id", "1", "--thrift-port", "9090", "--log-file", filepath.Join(b.dir, "bmv2"), "-L", "warn"}
	for _, p := range b.ports {
		args = append(args, "-i", fmt.Sprintf("%d@s%d", p, p))
	}
	args = append(args, "--", "--grpc-server-addr", bmv2Addr, "--cpu-port", "510")
	cmd := exec.Command("ip", args...)
	cmd.Dir = b.dir
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.cmd = cmd
	b.mu.Unlock()
	for end := time.Now().Add(10 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := b.dial(ctx, bmv2Addr)
		cancel()
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("simple_switch_grpc does not listen: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // another process's start: there is nothing to wait on
	}
}

func (b *bmv2) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(unix.SIGTERM)
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

func (b *bmv2) send(port uint32, frame []byte) error {
	_, err := unix.Write(b.sockets[port], frame)
	return err
}
