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

func facts(frame []byte, limit uint8) *flow.Facts {
	m := flow.Parser{VLANLimit: limit}.Parse(frame, len(frame), 1)
	return (&flow.PacketIn{Match: m, Data: frame, TotalLen: len(frame)}).ReadFacts(new(flow.Facts))
}

func TestTCPFlags(t *testing.T) {
	a, b := frames.Host(1), frames.Host(2)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for flags := range 256 {
		for name, frame := range map[string][]byte{"v4": frames.TCP(a.At(1), b.At(2), uint8(flags), nil), "v6": frames.TCP(a6.At(1), b6.At(2), uint8(flags), []byte("data"))} {
			tagged := frames.Tagged(frame, 7, 0)
			for what, f := range map[string]*flow.Facts{
				"plain": facts(frame, 1), "tagged": facts(tagged, 1), "two tags": facts(frames.Tagged(tagged, 8, 0), 2),
			} {
				if !f.HasTCPFlags || f.TCPFlags != flow.TCPFlags(flags) || f.Quoted.Fields != 0 {
					t.Errorf("%s, %s: flags %#x: %+v", name, what, flags, f)
				}
			}
			if f := facts(frames.Tagged(tagged, 8, 0), 1); f.HasTCPFlags {
				t.Errorf("%s: flags behind a tag that is not looked behind: %+v", name, f)
			}
		}
	}
	frame := frames.TCP(a.At(1), b.At(2), uint8(flow.SYN), nil)
	for name, other := range map[string][]byte{
		"fragment": frames.LaterFragment(frame), "cut": frame[:14+20+13], "udp": frames.UDP(a.At(1), b.At(2), make([]byte, 20)), "arp": frames.ARPRequest(a, b.IP),
	} {
		if f := facts(other, 1); f.HasTCPFlags {
			t.Errorf("%s has TCP flags: %+v", name, f)
		}
	}
	known := &flow.Facts{TCPFlags: flow.RST, HasTCPFlags: true}
	if f := (&flow.PacketIn{Facts: known, Data: frame}).ReadFacts(new(flow.Facts)); f != known {
		t.Errorf("what is known is read again: %+v", f)
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
		if f := facts(buf.Bytes(), 1); !f.HasTCPFlags || f.TCPFlags != want {
			t.Errorf("%s: %+v, want %#x, of %x", name, f, want, buf.Bytes())
		}
	}
}

func TestQuotedPacket(t *testing.T) {
	a, b := frames.Host(1), frames.Host(2)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for _, pair := range [][2]frames.Endpoint{{a, b}, {a6, b6}} {
		from, to := pair[0], pair[1]
		for _, about := range [][]byte{frames.TCP(from.At(40000), to.At(443), frames.SYN, make([]byte, 1000)), frames.UDP(from.At(40000), to.At(53), make([]byte, 100)), frames.Ping(from, to, 1, 1)} {
			want := flow.ParseFrame(about, 1).Keep(^(flow.FieldInPort | flow.FieldEthSrc | flow.FieldEthDst | flow.FieldVLAN))
			frame := frames.TooBig(to, about, 1400)
			f := facts(frame, 1)
			if f.Quoted != want || f.HasTCPFlags {
				t.Errorf("quoted %v\nwant   %v", f.Quoted, want)
			}
			if f := facts(frames.Tagged(frame, 7, 0), 1); f.Quoted != want {
				t.Errorf("tagged: quoted %v\nwant %v", f.Quoted, want)
			}
			for n := range frame { // whatever is cut is not shown, or right
				got := facts(frame[:n:n], 1).Quoted
				if bad := got.Fields &^ want.Fields; bad != 0 || got != want.Keep(got.Fields) {
					t.Errorf("cut to %d: quoted %v\nwant %v or less", n, got, want)
				}
			}
		}
		if f := facts(frames.Ping(from, to, 1, 1), 1); f.Quoted.Fields != 0 {
			t.Errorf("an echo request quotes %v", f.Quoted)
		}
	}
}

func FuzzFacts(f *testing.F) {
	a, b := frames.Host(1), frames.Host(2)
	syn := frames.TCP(a.At(1), b.At(2), frames.SYN, nil)
	f.Add(syn)
	f.Add(frames.Tagged(frames.TooBig(b, syn, 1400), 7, 0))
	f.Add(bytes.Repeat([]byte{0}, 60))
	f.Fuzz(func(t *testing.T, frame []byte) {
		for limit := range uint8(3) {
			if f := facts(frame, limit); f.HasTCPFlags && f.Quoted.Fields != 0 {
				t.Errorf("a packet of TCP that quotes: %+v", f)
			}
		}
	})
}
