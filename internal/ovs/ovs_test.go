package ovs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// findFlow returns the bridge's only flow whose match is the given text.
func findFlow(t *testing.T, s *Switchd, bridge, match string) Flow {
	t.Helper()
	flows := s.DumpFlows(bridge)
	i := slices.IndexFunc(flows, func(f Flow) bool { return f.Match == match })
	if i < 0 {
		t.Fatalf("no flow with match %q in %v", match, flows)
	}
	return flows[i]
}

// TestHosts pairs each thing that a rule blocks with one that it lets through on the same hosts, and looks
// at the rule's counter: a broken cable can't pass for a working rule.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	s.AddBridge("br0", Bridge{DPID: 0x2a})
	h1, h2, h3 := s.AddHost("br0", "h1"), s.AddHost("br0", "h2"), s.AddHost("br0", "h3")
	h2.ServeEcho(80)
	h2.ServeEcho(81)

	if got := s.Ofctl("show", "br0"); !strings.Contains(got, "dpid:000000000000002a") ||
		!strings.Contains(got, " 3(h3): addr:") {
		t.Errorf("bridge isn't as it was asked for:\n%s", got)
	}
	if _, err := h1.Ping(h2.IP, 200*time.Millisecond); err == nil {
		t.Error("a bridge in fail mode secure forwarded without a rule")
	}

	s.Ofctl("add-flow", "br0", "priority=1,actions=NORMAL")
	s.Ofctl("add-flow", "br0", "priority=9,ip,nw_src=10.0.0.3,actions=drop")
	s.Ofctl("add-flow", "br0", "priority=9,tcp,tp_dst=81,actions=drop")
	if _, err := h1.Ping(h2.IP, 2*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := h3.Ping(h2.IP, 200*time.Millisecond); err == nil {
		t.Error("h3 reached h2 past the rule")
	}
	if got := findFlow(t, s, "br0", "ip,nw_src=10.0.0.3"); got.Packets == 0 {
		t.Errorf("the rule against h3 saw nothing: %s", got.Text)
	}
	if _, err := h1.Connect(h2.IP, 80, 5*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := h1.Connect(h2.IP, 81, 200*time.Millisecond); err == nil {
		t.Error("TCP port 81 answered past the rule")
	}
	if got := findFlow(t, s, "br0", "tcp,tp_dst=81"); got.Packets == 0 {
		t.Errorf("the rule against port 81 saw nothing: %s", got.Text)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	s.AddBridge("br0", Bridge{})
	h1, h2 := s.AddHost("br0", "h1"), s.AddHost("br0", "h2")
	s.Ofctl("add-flow", "br0", "actions=NORMAL")
	if _, err := h1.Ping(h2.IP, 2*time.Second); err != nil {
		t.Fatal(err)
	}

	s.Restart()

	if flows := s.DumpFlows("br0"); len(flows) != 0 {
		t.Errorf("flows outlived ovs-vswitchd: %v", flows)
	}
	s.Ofctl("add-flow", "br0", "actions=NORMAL")
	if _, err := h1.Ping(h2.IP, 2*time.Second); err != nil {
		t.Errorf("the hosts' cables didn't come back: %v", err)
	}
}

// TestDaemonsEnd looks for the daemons, and for what they kept on disk, after their test.
func TestDaemonsEnd(t *testing.T) {
	t.Parallel()
	var s *Switchd
	if !t.Run("lifetime", func(t *testing.T) {
		s = Start(t, Options{Dummy: true})
		for _, p := range []*process{s.db, s.vswitchd} {
			if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("%v isn't running: %v", p.cmd.Args, err)
			}
		}
	}) || s == nil {
		return
	}
	for _, p := range []*process{s.db, s.vswitchd} {
		if err := p.cmd.Process.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%v outlived its test: %v", p.cmd.Args, err)
		}
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("%s outlived its test: %v", s.Dir(), err)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Dummy: true})
	s.AddBridge("br0", Bridge{Protocols: []string{"OpenFlow13"}})
	p1, p2, p3 := s.AddPort("br0", "p1", 1), s.AddPort("br0", "p2", 2), s.AddPort("br0", "p3", 7)
	s.Ofctl("add-flow", "br0", "in_port=1,dl_type=0x88b5,actions=output:7")

	known, other := frame(0x88b5, 1), frame(0x88b6, 2)
	p1.Receive(other, known)
	if diff := cmp.Diff([][]byte{known}, p3.WaitSent(1)); diff != "" {
		t.Errorf("out of port 7 (-want +got):\n%s", diff)
	}
	if got := p2.Sent(); len(got) != 0 {
		t.Errorf("out of port 2: %x, want nothing", got)
	}
	if got := findFlow(t, s, "br0", "in_port=1,dl_type=0x88b5"); got.Packets != 1 {
		t.Errorf("%d packets matched, want 1: %s", got.Packets, got.Text)
	}
}

// frame is an Ethernet frame of 64 bytes without meaning.
func frame(etherType uint16, fill byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, bytes.Repeat([]byte{fill}, 50)...)
}

// TestController has a bridge of every kind reach a listener of every kind.
func TestController(t *testing.T) {
	t.Parallel()
	for _, dummy := range []bool{true, false} {
		for _, network := range []string{"tcp", "unix"} {
			for _, version := range []struct {
				name string
				wire byte
			}{{"OpenFlow10", 1}, {"OpenFlow13", 4}} {
				name := "namespace"
				if dummy {
					name = "dummy"
				}
				t.Run(name+"/"+network+"/"+version.name, func(t *testing.T) {
					s := Start(t, Options{Dummy: dummy})
					var l net.Listener
					if network == "tcp" {
						l = s.Listen()
					} else {
						l = s.ListenUnix()
					}
					s.AddBridge("br0", Bridge{
						Protocols:   []string{version.name},
						Controllers: []string{Target(l)},
						Probe:       time.Second,
					})
					if got := s.Vsctl("get", "controller", "br0", "inactivity_probe"); got != "1000\n" {
						t.Errorf("inactivity probe is %q ms, want 1000", got)
					}
					c, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(5 * time.Second))
					var hello [8]byte
					if _, err := io.ReadFull(c, hello[:]); err != nil {
						t.Fatal(err)
					}
					if hello[0] != version.wire || hello[1] != 0 {
						t.Errorf("first bytes %x, want a HELLO of version %d", hello, version.wire)
					}
					if _, err := c.Write([]byte{version.wire, 0, 0, 8, 0, 0, 0, 1}); err != nil {
						t.Fatal(err)
					}
					s.WaitConnected("br0")
				})
			}
		}
	}
}

// TestBridgeIsGoverned checks the promise of the zero Bridge: no hidden rule forwards around the controller.
func TestBridgeIsGoverned(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	l := s.Listen()
	for name, b := range map[string]Bridge{"br0": {}, "br1": {InBand: true}} {
		b.Controllers = []string{Target(l)}
		s.AddBridge(name, b)
	}
	hidden := func(bridge string) int { return strings.Count(s.Appctl("bridge/dump-flows", bridge), "priority=1800") }
	for deadline := time.Now().Add(5 * time.Second); hidden("br1") == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no in-band rules where they were asked for:\n%s", s.Appctl("bridge/dump-flows", "br1"))
		}
	}
	if n := hidden("br0"); n != 0 {
		t.Errorf("%d hidden rules on a governed bridge:\n%s", n, s.Appctl("bridge/dump-flows", "br0"))
	}
	if got := s.Vsctl("get-fail-mode", "br0"); got != "secure\n" {
		t.Errorf("fail mode is %q, want secure", got)
	}
}

func TestParseFlow(t *testing.T) {
	for _, test := range []struct {
		line string
		want Flow
	}{
		{"cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, actions=NORMAL",
			Flow{Priority: 32768, Actions: "NORMAL"}},
		{"cookie=0xbeef000000000001, duration=0.011s, table=3, n_packets=12, n_bytes=98, idle_timeout=30, " +
			"hard_timeout=300, idle_age=0, priority=9,tcp,nw_dst=10.0.0.2,tp_dst=80 actions=set_queue:1,NORMAL",
			Flow{Table: 3, Priority: 9, Cookie: 0xbeef000000000001, Packets: 12, IdleTimeout: 30 * time.Second,
				HardTimeout: 5 * time.Minute, Match: "tcp,nw_dst=10.0.0.2,tp_dst=80", Actions: "set_queue:1,NORMAL"}},
		{"cookie=0x0, duration=0.1s, table=0, n_packets=0, n_bytes=0, send_flow_rem priority=0 actions=CONTROLLER:65535",
			Flow{Actions: "CONTROLLER:65535"}},
		{"cookie=0x0, duration=0.1s, table=0, n_packets=0, n_bytes=0, idle_timeout=30, send_flow_rem in_port=1 actions=drop",
			Flow{Priority: 32768, IdleTimeout: 30 * time.Second, Match: "in_port=1", Actions: "drop"}},
	} {
		got, err := parseFlow(test.line)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(Flow{}, "Text")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.line, diff)
		}
	}
	if _, err := parseFlow("priority=x actions=drop"); err == nil {
		t.Error("a priority that is no number was taken")
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	hello := []byte{4, 0, 0, 16, 0, 0, 0, 3, 0, 1, 0, 8, 0, 0, 0, 0x12}
	shortFlowMod := []byte{4, 14, 0, 16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}
	echo := []byte{1, 3, 0, 8, 0, 0, 0, 9}
	got := Print(t, hello, shortFlowMod, echo)
	want := []string{
		"OFPT_HELLO (OF1.3) (xid=0x3):\n version bitmap: 0x01, 0x04\n",
		"decode error: OFPBRC_BAD_LEN",
		"OFPT_ECHO_REPLY (xid=0x9): 0 bytes of payload\n",
	}
	for i, text := range got {
		if !strings.Contains(text, want[i]) {
			t.Errorf("message %d prints as %q, want %q", i, text, want[i])
		}
	}
	if got := OFPPrint(t, echo); got != want[2] {
		t.Errorf("OFPPrint: %q, want %q", got, want[2])
	}
}
