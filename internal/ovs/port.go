package ovs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

// Port is a port of a bridge on the dummy datapath.
type Port struct {
	Name   string
	Number uint32 // the OpenFlow port

	s    *Switchd
	pcap string
}

// AddPort gives a bridge on the dummy datapath a port of the given OpenFlow number.
func (s *Switchd) AddPort(bridge, name string, number uint32) *Port {
	s.tb.Helper()
	if !s.dummy {
		s.tb.Fatal("AddPort needs the dummy datapath; AddHost puts a host on a bridge")
	}
	p := &Port{Name: name, Number: number, s: s, pcap: s.path(name + ".pcap")}
	s.Vsctl("add-port", bridge, name, "--", "set", "interface", name, "type=dummy",
		fmt.Sprintf("ofport_request=%d", number), "options:tx_pcap="+p.pcap)
	return p
}

// Receive lets the port receive Ethernet frames, in order, as if they came over its cable.
func (p *Port) Receive(frames ...[]byte) {
	p.s.tb.Helper()
	args := []string{"netdev-dummy/receive", p.Name}
	for _, frame := range frames {
		args = append(args, hex.EncodeToString(frame))
	}
	p.s.Appctl(args...)
}

// Sent returns the frames that the switch has sent out of this port since it was added or the switch
// restarted, oldest first.
func (p *Port) Sent() [][]byte {
	p.s.tb.Helper()
	f, err := os.Open(p.pcap)
	if err != nil {
		p.s.tb.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if errors.Is(err, io.EOF) {
		return nil // the file's header isn't written yet
	}
	if err != nil {
		p.s.tb.Fatalf("%s: %v", p.pcap, err)
	}
	var frames [][]byte
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return frames // a frame that is only half written counts next time
		}
		if err != nil {
			p.s.tb.Fatalf("%s: %v", p.pcap, err)
		}
		frames = append(frames, frame)
	}
}

// WaitSent returns the frames sent out of this port once there are at least n. The test fails when there
// are fewer after five seconds.
func (p *Port) WaitSent(n int) [][]byte {
	p.s.tb.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		frames := p.Sent()
		if len(frames) >= n {
			return frames
		}
		if time.Now().After(deadline) {
			p.s.tb.Fatalf("port %s sent %d frames in 5 s, want %d", p.Name, len(frames), n)
		}
	}
}
