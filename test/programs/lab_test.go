package programs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/internal/child"
	"switchbridge/internal/frames"
)

const (
	grpcAddr  = "127.0.0.1:9559"
	adminAddr = "127.0.0.1:9653"
)

// need skips where a tool or a right is missing.
func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	for _, tool := range []string{"simple_switch_grpc", "ip", "ethtool", "ping"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on PATH", tool)
		}
	}
}

// lab is a BMv2 with its gateway in one network namespace, and three hosts on its
// ports 1 to 3, each in its own.
type lab struct {
	t       *testing.T
	program string // switchbridge
	cpu     string
	spec    string // run --p4
	dir     string
	sw      *namespace
	hosts   [3]*host
	bmv2    *exec.Cmd
	gateway *exec.Cmd
}

type host struct {
	*namespace
	addr    netip.Addr
	mac     net.HardwareAddr
	socket  int
	arrived [1 << 16]atomic.Int32 // TCP packets to the host, by destination port
	asked   atomic.Int32          // ARP requests for [nobody]
	tagged  atomic.Int32          // of the packets that [lab.tagged] sends
}

// nobody is an address that no host has.
var nobody = netip.MustParseAddr("10.0.0.99")

type namespace struct {
	name string
	file *os.File
}

var serial atomic.Int32

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	ns := &namespace{name: fmt.Sprintf("swb-prog-%d-%d", os.Getpid(), serial.Add(1))}
	run(t, "netns", "add", ns.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns.name).Run() })
	var err error
	if ns.file, err = os.Open("/var/run/netns/" + ns.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.file.Close() })
	run(t, "-n", ns.name, "link", "set", "lo", "up")
	return ns
}

// do runs f on a thread inside the namespace: sockets that it opens stay there.
func (ns *namespace) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (ns *namespace) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = ns.do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
		return err
	})
	return conn, err
}

// exec prepares a program to run in the namespace. It leads a process group of its own.
func (ns *namespace) exec(args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns.name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func newLab(t *testing.T, program, cpu, spec string) *lab {
	l := &lab{t: t, program: program, cpu: cpu, spec: spec, dir: t.TempDir(), sw: newNamespace(t)}
	if err := os.WriteFile(filepath.Join(l.dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range l.hosts {
		l.hosts[i] = l.host(i + 1)
	}
	t.Cleanup(func() {
		l.stopGateway()
		l.stopSwitch()
	})
	return l
}

// host makes the host at a port.
func (l *lab) host(port int) *host {
	h := &host{namespace: newNamespace(l.t), addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(port)}), mac: net.HardwareAddr{2, 0, 0, 0, 0, byte(port)}}
	veth := fmt.Sprintf("s%d", port)
	run(l.t, "-n", l.sw.name, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	for _, at := range [][2]string{{l.sw.name, veth}, {h.name, "eth0"}} {
		_ = exec.Command("ip", "netns", "exec", at[0], "sysctl", "-qw", "net.ipv6.conf."+at[1]+".disable_ipv6=1").Run()
		// BMv2 takes frames as they are: their checksums must be there.
		_ = exec.Command("ip", "netns", "exec", at[0], "ethtool", "-K", at[1], "tx", "off", "rx", "off", "gro", "off", "txvlan", "off", "rxvlan", "off").Run()
	}
	run(l.t, "-n", h.name, "link", "set", "eth0", "address", h.mac.String())
	run(l.t, "-n", l.sw.name, "link", "set", veth, "up")
	run(l.t, "-n", h.name, "link", "set", "eth0", "up")
	run(l.t, "-n", h.name, "addr", "add", h.addr.String()+"/24", "dev", "eth0")
	if err := h.do(func() error { return h.listen(l.t) }); err != nil {
		l.t.Fatal(err)
	}
	return h
}

// listen opens the host's services and looks at what arrives.
func (h *host) listen(t *testing.T) error {
	for _, port := range []int{22, 80} {
		ln, err := net.Listen("tcp", fmt.Sprintf("%v:%d", h.addr, port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, all)
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
		return err
	}
	h.socket = fd
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() { h.look(stop) })
	t.Cleanup(func() {
		close(stop)
		done.Wait()
		unix.Close(fd)
	})
	return nil
}

// look counts what arrives.
func (h *host) look(stop chan struct{}) {
	buf := make([]byte, 2048)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(h.socket, buf, 0)
		if ll, ok := from.(*unix.SockaddrLinklayer); err != nil || n < 42 || ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		switch binary.BigEndian.Uint16(buf[12:]) {
		case unix.ETH_P_IP:
			if bytes.Contains(buf[:n], []byte(marker)) {
				h.tagged.Add(1)
			}
			if head := 14 + int(buf[14]&15)*4; buf[23] == unix.IPPROTO_TCP && n >= head+4 && bytes.Equal(buf[30:34], h.addr.AsSlice()) {
				h.arrived[binary.BigEndian.Uint16(buf[head+2:])].Add(1)
			}
		case unix.ETH_P_ARP:
			if bytes.Equal(buf[38:42], nobody.AsSlice()) {
				h.asked.Add(1)
			}
		}
	}
}

func (l *lab) start(ns *namespace, log string, args ...string) *exec.Cmd {
	cmd := ns.exec(args...)
	f, err := os.OpenFile(filepath.Join(l.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, f, f
	if err := child.Start(cmd); err != nil {
		l.t.Fatal(err)
	}
	return cmd
}

func stop(cmd **exec.Cmd) {
	if *cmd != nil {
		_ = (*cmd).Process.Signal(unix.SIGTERM)
		_ = (*cmd).Wait()
		*cmd = nil
	}
}

func (l *lab) startSwitch() {
	l.t.Helper()
	args := []string{"simple_switch_grpc", "--no-p4", "--device-id", "1", "-L", "warn", "--log-file", filepath.Join(l.dir, "bmv2")}
	for i := range l.hosts {
		args = append(args, "-i", fmt.Sprintf("%d@s%d", i+1, i+1))
	}
	l.bmv2 = l.start(l.sw, "switch.out", append(args, "--", "--grpc-server-addr", grpcAddr, "--cpu-port", l.cpu)...)
	within(l.t, 20*time.Second, "BMv2 listens", func() bool {
		ctx, cancel := context.WithTimeout(l.t.Context(), time.Second)
		defer cancel()
		conn, err := l.sw.dial(ctx, grpcAddr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (l *lab) stopSwitch() { stop(&l.bmv2) }

func (l *lab) startGateway() {
	l.gateway = l.start(l.sw, "gateway.out", l.program, "run", "--function", "native", "--policy", filepath.Join(l.dir, "policy.yaml"), "--p4", l.spec)
}

func (l *lab) stopGateway() { stop(&l.gateway) }

// ready waits until the gateway serves the switch.
func (l *lab) ready() {
	l.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return l.sw.dial(ctx, addr)
	}}}
	get := func(path string) (int, string) {
		ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+adminAddr+path, nil)
		resp, err := client.Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, _ := get("/readyz")
		_, sw := get("/api/v1/p4")
		if status == http.StatusOK && strings.Contains(sw, `"serving"`) {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("the gateway does not serve the switch: %s\n%s", sw, l.log())
		}
	}
}

// log is what gateway and switch said last.
func (l *lab) log() string {
	var b strings.Builder
	for _, name := range []string{"gateway.out", "bmv2.txt", "switch.out"} {
		text, _ := os.ReadFile(filepath.Join(l.dir, name))
		if n := len(text) - 6000; n > 0 {
			text = text[n:]
		}
		fmt.Fprintf(&b, "--- %s\n%s", name, text)
	}
	return b.String()
}

// ping asks the second host from the first. Where a digest asks, the first packet of each flow is lost.
func (l *lab) ping() (string, bool) {
	out, err := l.hosts[0].exec("ping", "-c", "2", "-w", "12", "-i", "0.5", l.hosts[1].addr.String()).CombinedOutput()
	return string(out), err == nil
}

// connects opens a TCP connection from the first host to the second.
func (l *lab) connects(port int) bool {
	ctx, cancel := context.WithTimeout(l.t.Context(), 4*time.Second)
	defer cancel()
	conn, err := l.hosts[0].dial(ctx, fmt.Sprintf("%v:%d", l.hosts[1].addr, port))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// arrived counts TCP packets to a port that reached the second host.
func (l *lab) arrived(port int) int { return int(l.hosts[1].arrived[port].Load()) }

// marker is the payload of packets with a VLAN tag.
const marker = "behind a VLAN tag"

// tagged sends packets with a VLAN tag from the first host to the second, and says how they fared. A
// program that does not look behind a tag shows nothing of them to be decided by: a policy that
// looks at ports denies them. What must not be is that some get lost, or that TCP port 22 is reached.
// (A host's own VLAN interface would be more like life, and not every kernel has those.)
func (l *lab) tagged() (fared string, err error) {
	const sent = 6
	from, to := frames.Host(1).At(5000), frames.Host(2).At(5000)
	for range sent {
		for _, frame := range [][]byte{frames.UDP(from, to, []byte(marker)), frames.TCP(from, to.At(22), frames.SYN, nil)} {
			if _, err := unix.Write(l.hosts[0].socket, frames.Tagged(frame, 20, 0)); err != nil {
				l.t.Fatal(err)
			}
		}
		time.Sleep(300 * time.Millisecond) // longer than a decision and its rule take
	}
	time.Sleep(300 * time.Millisecond)
	switch got := l.hosts[1].tagged.Load(); {
	case l.arrived(22) > 0:
		return "**no**", errors.New("TCP port 22 is reached behind a VLAN tag")
	case got == 0:
		return "denied", nil
	case got < sent/2 || got > sent: // where a digest asks, the packets until its rule is there are lost
		return "**no**", fmt.Errorf("of %d packets with a VLAN tag %d arrived", sent, got)
	}
	return "yes", nil
}

// floods sends ARP requests that nobody answers from the first host.
func (l *lab) floods() (bool, string) {
	const sent = 3
	request := bytes.Join([][]byte{
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.hosts[0].mac, {8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, l.hosts[0].mac, l.hosts[0].addr.AsSlice(),
		make([]byte, 6), nobody.AsSlice(), make([]byte, 18),
	}, nil)
	for range sent {
		if _, err := unix.Write(l.hosts[0].socket, request); err != nil {
			l.t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // the time between a host's own requests is 1 s
	}
	var got [3]int32
	for i := range l.hosts {
		got[i] = l.hosts[i].asked.Load()
	}
	text := fmt.Sprintf("of %d requests %d came back to the sender, %d reached the second host and %d the third", sent, got[0], got[1], got[2])
	return got[0] == 0 && got[1] >= 1 && got[1] <= sent && got[2] == got[1], text
}
