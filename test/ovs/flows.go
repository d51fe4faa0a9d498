package ovs

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Flows returns for each frame the flow that Open vSwitch extracts from it, as ovs-ofctl prints it. VLAN tags
// are read as with a vlan-limit of 2. All frames go through one process, 100,000 in about a second. It needs
// no switch and no privilege; without ovs-ofctl the test is skipped (with CI set, failed). A frame has at least
// one byte.
func Flows(tb testing.TB, frames ...[]byte) []string {
	tb.Helper()
	ofctl := need(tb, "ovs-ofctl")["ovs-ofctl"]
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(1<<17, layers.LinkTypeEthernet); err != nil {
		tb.Fatal(err)
	}
	for _, frame := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			tb.Fatal(err)
		}
	}
	cmd := exec.Command(ofctl, "-vconsole:off", "parse-pcap", "/dev/stdin")
	cmd.Stdin = &file
	flows := strings.Split(strings.TrimSuffix(run(tb, cmd), "\n"), "\n")
	if len(flows) != len(frames) {
		tb.Fatalf("%d flows for %d frames", len(flows), len(frames))
	}
	return flows
}

// Control is a connection to ovs-vswitchd's control socket. It asks what [Switchd.Appctl] asks, at a hundredth
// of the time, since no process is started.
type Control struct {
	tb   testing.TB
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
	next int
}

// Control connects to the switch's control socket. The connection closes with the test.
func (s *Switchd) Control() *Control {
	s.tb.Helper()
	conn, err := net.Dial("unix", s.path("vswitchd.ctl"))
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { conn.Close() })
	return &Control{tb: s.tb, conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
}

// Ask runs a command, such as ofproto/trace, and returns what it prints.
func (c *Control) Ask(command string, args ...string) string {
	c.tb.Helper()
	c.next++
	c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if args == nil {
		args = []string{} // an array, not null
	}
	if err := c.out.Encode(map[string]any{"id": c.next, "method": command, "params": args}); err != nil {
		c.tb.Fatalf("%s: %v", command, err)
	}
	var reply struct {
		Result string
		Error  any
		ID     int
	}
	if err := c.in.Decode(&reply); err != nil {
		c.tb.Fatalf("%s: %v", command, err)
	}
	if reply.Error != nil || reply.ID != c.next {
		c.tb.Fatalf("%s %s: %v", command, strings.Join(args, " "), reply.Error)
	}
	return reply.Result
}
