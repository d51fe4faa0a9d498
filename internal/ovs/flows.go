package ovs

import (
	"bytes"
	"os/exec"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Flows returns for each frame the flow that Open vSwitch extracts from it, as ovs-ofctl prints it. VLAN tags
// are read as with a vlan-limit of 2. All frames go through one process, 100,000 in about a second. It needs
// no switch and no privilege; without ovs-ofctl the test is skipped (with CI set, failed). A frame has at least
// one byte.
func Flows(tb TB, frames ...[]byte) []string {
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
