package flow_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// seen are the TCP flags of a packet.
type seen struct {
	flags flow.TCPFlags
	ok    bool
}

func flags(frame []byte, limit uint8) (s seen) {
	m := flow.Parser{VLANLimit: limit}.Parse(frame, len(frame), 1)
	s.flags, s.ok = (&flow.PacketIn{Match: m, Data: frame, TotalLen: len(frame)}).ReadTCPFlags()
	return s
}

func TestTCPFlags(t *testing.T) {
	a, b := frames.Host(1), frames.Host(2)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for bits := range 256 {
		want := seen{flow.TCPFlags(bits), true}
		for name, frame := range map[string][]byte{"v4": frames.TCP(a.At(1), b.At(2), uint8(bits), nil), "v6": frames.TCP(a6.At(1), b6.At(2), uint8(bits), []byte("data"))} {
			tagged := frames.Tagged(frame, 7, 0)
			for what, f := range map[string]seen{
				"plain": flags(frame, 1), "tagged": flags(tagged, 1), "two tags": flags(frames.Tagged(tagged, 8, 0), 2),
			} {
				if f != want {
					t.Errorf("%s, %s: %+v, want %+v", name, what, f, want)
				}
			}
			if f := flags(frames.Tagged(tagged, 8, 0), 1); f.ok {
				t.Errorf("%s: flags behind a tag that is not looked behind: %+v", name, f)
			}
		}
	}
	frame := frames.TCP(a.At(1), b.At(2), uint8(flow.SYN), nil)
	for name, other := range map[string][]byte{
		"fragment": frames.LaterFragment(frame), "cut": frame[:14+20+13], "udp": frames.UDP(a.At(1), b.At(2), make([]byte, 20)), "arp": frames.ARPRequest(a, b.IP),
	} {
		if f := flags(other, 1); f.ok {
			t.Errorf("%s has TCP flags: %+v", name, f)
		}
	}
	told := &flow.PacketIn{TCPFlags: flow.RST, HasTCPFlags: true}
	if f, ok := told.ReadTCPFlags(); f != flow.RST || !ok {
		t.Errorf("what was told is %v, %v", f, ok)
	}
}

// IPv6 extensions, IPv4 options and SNAP are stepped over as gopacket does it.
func TestTCPFlagsBehindMore(t *testing.T) {
	tcp := &layers.TCP{SrcPort: 1, DstPort: 2, SYN: true, ECE: true}
	want := flow.SYN | flow.ECE
	eth := layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	ip4 := &layers.IPv4{Version: 4, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	options := *ip4
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	eth6 := eth
	eth6.EthernetType = layers.EthernetTypeIPv6
	ip6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolIPv6Destination, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)}
	destination := gopacket.Payload([]byte{6, 1, 1, 4, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0}) // 16 bytes, TCP follows
	snap := eth
	snap.EthernetType, snap.Length = layers.EthernetTypeLLC, 48
	for name, list := range map[string][]gopacket.SerializableLayer{
		"options":    {&eth, &options, tcp},
		"extensions": {&eth6, ip6, destination, tcp},
		"snap":       {&snap, gopacket.Payload([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}), ip4, tcp},
	} {
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, list...); err != nil {
			t.Fatal(err)
		}
		if f := flags(buf.Bytes(), 1); f != (seen{want, true}) {
			t.Errorf("%s: %+v, want %#x, of %x", name, f, want, buf.Bytes())
		}
	}
}

func FuzzTCPFlags(f *testing.F) {
	a, b := frames.Host(1), frames.Host(2)
	syn := frames.TCP(a.At(1), b.At(2), frames.SYN, nil)
	f.Add(syn)
	f.Add(frames.Tagged(frames.TooBig(b, syn, 1400), 7, 0))
	f.Add(bytes.Repeat([]byte{0}, 60))
	f.Fuzz(func(t *testing.T, frame []byte) {
		for limit := range uint8(3) {
			flags(frame, limit)
		}
	})
}
