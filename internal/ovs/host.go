package ovs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Host is a network namespace with one interface, eth0, on a bridge. It speaks IPv4 only, so that nothing
// but what a test asks of it (and ARP) reaches the switch. [Host.SpeakIPv6] has it speak IPv6, too.
type Host struct {
	Name string
	// IP is 10.0.0.N/24, IPv6 fd00::N/64, MAC 02:00:00:00:00:N and Port, the bridge's OpenFlow port, N, for the Nth host.
	IP   netip.Addr
	IPv6 netip.Addr
	MAC  net.HardwareAddr
	Port uint32

	s  *Switchd
	ns *namespace
}

// AddHost puts a new host on a bridge. The switch's end of its cable is an interface with the host's name.
func (s *Switchd) AddHost(bridge, name string) *Host {
	s.tb.Helper()
	if s.dummy {
		s.tb.Fatal("AddHost on the dummy datapath: it has ports, see AddPort")
	}
	need(s.tb, "ethtool")
	s.hosts++
	if s.hosts > 254 {
		s.tb.Fatal("AddHost: more than 254 hosts")
	}
	h := &Host{
		Name: name,
		IP:   netip.AddrFrom4([4]byte{10, 0, 0, byte(s.hosts)}),
		IPv6: netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(s.hosts)}),
		MAC:  net.HardwareAddr{2, 0, 0, 0, 0, byte(s.hosts)},
		Port: uint32(s.hosts),
		s:    s,
		ns:   newNamespace(s.tb),
	}
	for _, ns := range []*namespace{s.ns, h.ns} {
		if err := ns.do(disableIPv6); err != nil {
			s.tb.Fatal(err)
		}
	}
	run(s.tb, s.ns.command("ip", "link", "add", name, "up", "type", "veth",
		"peer", "name", "eth0", "address", h.MAC.String(), "netns", h.ns.Path()))
	run(s.tb, h.ns.command("ip", "addr", "add", h.IP.String()+"/24", "dev", "eth0"))
	run(s.tb, h.ns.command("ip", "link", "set", "eth0", "up"))
	// Over veth the kernel leaves TCP's checksum to a card that isn't there, and the userspace datapath
	// passes it on as it is: the receiver would drop every segment.
	run(s.tb, h.ns.command("ethtool", "-K", "eth0", "tx", "off"))
	s.Vsctl("add-port", bridge, name, "--", "set", "interface", name, fmt.Sprintf("ofport_request=%d", h.Port))
	return h
}

// disableIPv6 stops router solicitations and duplicate address detection: they would ask the controller too.
func disableIPv6() error {
	for _, name := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !os.IsNotExist(err) { // a kernel without IPv6 has no such file
			return err
		}
	}
	return nil
}

// SpeakIPv6 gives the host its IPv6 address, without a link-local one, duplicate address detection and router solicitations. It skips the test where the
// kernel has no IPv6. The kernel reports the groups in which the host now is (MLD), all of which go to ff02::16.
func (h *Host) SpeakIPv6() {
	h.s.tb.Helper()
	const script = `for d in all default eth0; do sysctl -qw net.ipv6.conf.$d.addr_gen_mode=1 net.ipv6.conf.$d.router_solicitations=0; done
for d in all default eth0; do sysctl -qw net.ipv6.conf.$d.disable_ipv6=0; done
ip -6 addr add "$0/64" dev eth0 nodad`
	if out, err := h.Command("sh", "-c", script, h.IPv6.String()).CombinedOutput(); err != nil {
		h.s.tb.Skipf("no IPv6 here: %v\n%s", err, out)
	}
	// The kernel lets the host send before it takes what comes for the address: it adds that route a little later.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := h.Command("ip", "-6", "route", "show", "table", "local", h.IPv6.String()).Output()
		if err == nil && len(out) > 0 {
			return
		}
		if time.Now().After(end) {
			h.s.tb.Fatalf("%s takes nothing for its IPv6 address: %v", h.Name, err)
		}
	}
}

// Command prepares a program to run on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd { return h.ns.command(name, args...) }

// Listen opens a listener on the host; the caller closes it.
func (h *Host) Listen(network, addr string) (net.Listener, error) { return h.ns.listen(network, addr) }

// Dial connects from the host. addr is numeric.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.ns.dial(ctx, network, addr)
}

// ListenPacket opens a socket for datagrams on the host; the caller closes it.
func (h *Host) ListenPacket(network, addr string) (c net.PacketConn, err error) {
	err = h.ns.do(func() (err error) {
		c, err = net.ListenPacket(network, addr)
		return err
	})
	return c, err
}

// Ping sends ICMP echo requests, one a second as ping(8) does, and returns the time from the first to
// an answer, or an error when there is none within the timeout. A switch that has only just connected
// drops what reaches it before its rules do.
func (h *Host) Ping(dst netip.Addr, timeout time.Duration) (time.Duration, error) {
	network, from, proto := "ip4:icmp", "0.0.0.0", ipv4.ICMPTypeEchoReply.Protocol()
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if dst.Is6() {
		network, from, proto = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoReply.Protocol()
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn *icmp.PacketConn
	err := h.ns.do(func() (err error) {
		conn, err = icmp.ListenPacket(network, from)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()

	start := time.Now()
	echo := icmp.Echo{ID: int(start.UnixNano() & 0xffff), Data: []byte(start.Format(time.RFC3339Nano))}
	buf := make([]byte, 1500)
	for left := timeout; left > 0; left = timeout - time.Since(start) {
		echo.Seq++
		b, err := (&icmp.Message{Type: request, Body: &echo}).Marshal(nil)
		if err != nil {
			return 0, err
		}
		if err := conn.SetDeadline(time.Now().Add(min(left, time.Second))); err != nil {
			return 0, err
		}
		if _, err := conn.WriteTo(b, &net.IPAddr{IP: dst.AsSlice()}); err != nil {
			return 0, err
		}
		for {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return 0, fmt.Errorf("ping %s from %s: %w", dst, h.Name, err)
			}
			got, err := icmp.ParseMessage(proto, buf[:n])
			if err != nil || got.Type != reply || from.String() != dst.String() {
				continue
			}
			if e, ok := got.Body.(*icmp.Echo); ok && e.ID == echo.ID && bytes.Equal(e.Data, echo.Data) {
				return time.Since(start), nil
			}
		}
	}
	return 0, fmt.Errorf("ping %s from %s: no answer to %d requests in %v", dst, h.Name, echo.Seq, timeout)
}

// ServeEcho answers TCP connections to the port with what they send, until the test ends.
func (h *Host) ServeEcho(port uint16) {
	h.s.tb.Helper()
	l, err := h.Listen("tcp", fmt.Sprint(":", port))
	if err != nil {
		h.s.tb.Fatal(err)
	}
	h.s.tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// Connect opens a TCP connection to a port that [Host.ServeEcho] serves, exchanges a few bytes, and
// returns how long it all took, or an error when that failed or took longer than the timeout.
func (h *Host) Connect(dst netip.Addr, port uint16, timeout time.Duration) (time.Duration, error) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(timeout))
	defer cancel()
	c, err := h.Dial(ctx, "tcp", netip.AddrPortFrom(dst, port).String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(start.Add(timeout))
	sent := []byte("switchbridge")
	if _, err := c.Write(sent); err != nil {
		return 0, err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return 0, err
	}
	if !bytes.Equal(got, sent) {
		return 0, fmt.Errorf("tcp %s:%d echoed %q for %q", dst, port, got, sent)
	}
	return time.Since(start), nil
}
