package flow_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

func asked(frame []byte) *flow.PacketIn {
	m := flow.ParseFrame(frame, 1)
	return &flow.PacketIn{Match: m, Data: frame, TotalLen: len(frame), Incomplete: m.Missing()}
}

// host6 is a host of IPv6.
func host6(n uint8) frames.Endpoint {
	h := frames.Host(n)
	h.IP = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: n})
	return h
}

// TestRejection has another decoder read the answers, and compute their checksums.
func TestRejection(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(22)
	a6, b6 := host6(1).At(40000), host6(2).At(22)
	withSeq := func(frame []byte, seq, ack uint32) []byte {
		at := 14 + 20
		if binary.BigEndian.Uint16(frame[12:]) == flow.EthTypeIPv6 {
			at = 14 + 40
		}
		binary.BigEndian.PutUint32(frame[at+4:], seq)
		binary.BigEndian.PutUint32(frame[at+8:], ack)
		return frame
	}
	const v4, v6 = "icmp 3/13", "icmpv6 1/1"
	for _, row := range []struct {
		name  string
		frame []byte
		want  string // rst, rst/ack, an ICMP message, or nothing
		seq   uint32
		ack   uint32
	}{
		{"a SYN", withSeq(frames.TCP(a, b, frames.SYN, nil), 1000, 0), "rst/ack", 0, 1001},
		{"a SYN with data", withSeq(frames.TCP(a, b, frames.SYN, []byte("fast open")), 1000, 0), "rst/ack", 0, 1010},
		{"a SYN that wraps", withSeq(frames.TCP(a, b, frames.SYN, nil), 0xffffffff, 0), "rst/ack", 0, 0},
		{"data", withSeq(frames.TCP(a, b, frames.PSH|frames.ACK, []byte("x")), 1000, 77), "rst", 77, 0},
		{"a FIN", withSeq(frames.TCP(a, b, frames.FIN|frames.ACK, nil), 1000, 78), "rst", 78, 0},
		{"a tagged SYN", frames.Tagged(withSeq(frames.TCP(a, b, frames.SYN, nil), 5, 0), 20, 3), "rst/ack", 0, 6},
		{"a SYN of IPv6", withSeq(frames.TCP(a6, b6, frames.SYN, nil), 1000, 0), "rst/ack", 0, 1001},
		{"UDP", frames.UDP(a, b, []byte("question")), v4, 0, 0},
		{"UDP of an odd length", frames.UDP(a, b, []byte("odd")), v4, 0, 0},
		{"long UDP", frames.UDP(a, b, make([]byte, 1400)), v4, 0, 0},
		{"UDP of IPv6", frames.UDP(a6, b6, []byte("odd")), v6, 0, 0},
		{"long UDP of IPv6", frames.UDP(a6, b6, make([]byte, 1400)), v6, 0, 0},
		{"a ping", frames.Ping(a, b, 1, 1), v4, 0, 0},
		{"a ping of IPv6", frames.Ping(a6, b6, 1, 1), v6, 0, 0},

		{"a reset", frames.TCP(a, b, frames.RST|frames.ACK, nil), "", 0, 0},
		{"an echo reply", frames.Pong(a, b, 1, 1), "", 0, 0},
		{"an echo reply of IPv6", frames.Pong(a6, b6, 1, 1), "", 0, 0},
		{"an ICMP error", frames.TooBig(a, frames.UDP(b, a, []byte("x")), 1280), "", 0, 0},
		{"an ICMP error of IPv6", frames.TooBig(a6, frames.UDP(b6, a6, []byte("x")), 1280), "", 0, 0},
		{"neighbour discovery", frames.NeighborSolicitation(a6, b6.IP), "", 0, 0},
		{"a later fragment", frames.LaterFragment(frames.UDP(a, b, []byte("12345678"))), "", 0, 0},
		{"a first fragment", func() []byte {
			f := frames.UDP(a, b, []byte("12345678"))
			f[14+6] |= 0x20
			return f
		}(), "", 0, 0},
		{"ARP", frames.ARPRequest(a, b.IP), "", 0, 0},
		{"LLDP", frames.LLDP(a.MAC, 1), "", 0, 0},
		{"cut short", frames.TCP(a, b, frames.SYN, nil)[:40], "", 0, 0},
		{"two tags", frames.Tagged(frames.Tagged(frames.TCP(a, b, frames.SYN, nil), 20, 0), 30, 0), "", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			was := bytes.Clone(row.frame)
			got, ok := asked(row.frame).Rejection()
			if !bytes.Equal(was, row.frame) {
				t.Error("the packet itself was changed")
			}
			if ok != (row.want != "") {
				t.Fatalf("answered: %v, want %q", ok, row.want)
			}
			if !ok {
				return
			}
			p := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			if p.ErrorLayer() != nil {
				t.Fatal(p.ErrorLayer().Error())
			}
			if mismatches := checksums(t, p); mismatches != nil {
				t.Error(mismatches)
			}
			in, out := flow.ParseFrame(row.frame, 1), flow.ParseFrame(got, 1)
			if out.EthSrc != in.EthDst || out.EthDst != in.EthSrc || out.IPSrc != in.IPDst || out.IPDst != in.IPSrc || out.VLAN != in.VLAN || out.Missing() != 0 {
				t.Errorf("%v answers %v", out, in)
			}
			text, quote := "", []byte(nil)
			if l, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
				if text = "rst"; l.ACK {
					text += "/ack"
				}
				if !l.RST || l.Seq != row.seq || l.Ack != row.ack || l.SYN || l.FIN || int(l.SrcPort) != 22 || int(l.DstPort) != 40000 {
					t.Errorf("%+v, want seq %d, ack %d", l, row.seq, row.ack)
				}
			}
			if l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && l.TypeCode == layers.CreateICMPv4TypeCode(3, 13) {
				text, quote = v4, l.Payload
			}
			if l, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && l.TypeCode == layers.CreateICMPv6TypeCode(1, 1) {
				text, quote = v6, l.Payload[4:]
			}
			if text != row.want {
				t.Errorf("%s, want %s", text, row.want)
			}
			if quote != nil && !bytes.Contains(row.frame, quote) || len(got) > 14+1280 || row.want == v4 && len(got) > 14+576 {
				t.Errorf("%d bytes, of which %d are quoted", len(got), len(quote))
			}
			if again, ok := asked(got).Rejection(); ok {
				t.Errorf("the answer is answered by %x", again)
			}
		})
	}
}

// checksums returns what gopacket finds wrong with a packet's.
func checksums(t *testing.T, p gopacket.Packet) (wrong []string) {
	t.Helper()
	var list []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			_ = c.SetNetworkLayerForChecksum(network)
		}
		s, ok := l.(gopacket.SerializableLayer)
		if !ok {
			break
		}
		list = append(list, s)
		if l.LayerType() == layers.LayerTypeICMPv4 || l.LayerType() == layers.LayerTypeICMPv6 {
			list = append(list, gopacket.Payload(l.LayerPayload()))
			break
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(buf.Bytes(), p.Data()) { // which pads short frames
		wrong = append(wrong, "checksums differ from gopacket's")
	}
	return wrong
}

// TestRejectionOfNoSingleHost: what is from or for anything but one host is never answered.
func TestRejectionOfNoSingleHost(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(22)
	a6, b6 := host6(1).At(40000), host6(2).At(22)
	for name, change := range map[string]func(a, b *frames.Endpoint){
		"an Ethernet group":         func(_, b *frames.Endpoint) { b.MAC[0] |= 1 },
		"from an Ethernet group":    func(a, _ *frames.Endpoint) { a.MAC[0] |= 1 },
		"a multicast address":       func(_, b *frames.Endpoint) { b.IP = netip.MustParseAddr("239.1.2.3") },
		"broadcast":                 func(_, b *frames.Endpoint) { b.IP = netip.MustParseAddr("255.255.255.255") },
		"from nobody":               func(a, _ *frames.Endpoint) { a.IP = netip.IPv4Unspecified() },
		"from this network":         func(a, _ *frames.Endpoint) { a.IP = netip.MustParseAddr("0.0.0.7") },
		"from a multicast address":  func(a, _ *frames.Endpoint) { a.IP = netip.MustParseAddr("224.0.0.1") },
		"from the loopback address": func(a, _ *frames.Endpoint) { a.IP = netip.MustParseAddr("127.0.0.1") },
		"from itself":               func(a, b *frames.Endpoint) { a.IP = b.IP },
	} {
		from, to := a, b
		change(&from, &to)
		if got, ok := asked(frames.UDP(from, to, []byte("x"))).Rejection(); ok {
			t.Errorf("%s: %x", name, got)
		}
	}
	for name, change := range map[string]func(a, b *frames.Endpoint){
		"a multicast address":       func(_, b *frames.Endpoint) { b.IP = netip.MustParseAddr("ff02::1") },
		"from nobody":               func(a, _ *frames.Endpoint) { a.IP = netip.IPv6Unspecified() },
		"from the loopback address": func(a, _ *frames.Endpoint) { a.IP = netip.IPv6Loopback() },
	} {
		from, to := a6, b6
		change(&from, &to)
		if got, ok := asked(frames.UDP(from, to, []byte("x"))).Rejection(); ok {
			t.Errorf("IPv6, %s: %x", name, got)
		}
	}
}

// FuzzRejection: no frame is answered by one that would be answered, and none makes it fail.
func FuzzRejection(f *testing.F) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(22)
	a6, b6 := host6(1).At(40000), host6(2).At(22)
	for _, frame := range [][]byte{frames.TCP(a, b, frames.SYN, nil), frames.UDP(a, b, []byte("x")), frames.UDP(a6, b6, nil), frames.Ping(a6, b6, 1, 1), frames.Tagged(frames.TCP(a6, b6, frames.SYN, nil), 7, 1)} {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, ok := asked(frame).Rejection()
		if !ok {
			return
		}
		if m := flow.ParseFrame(got, 1); m.Missing() != 0 {
			t.Errorf("%x is answered by %x, which lacks %v", frame, got, m.Missing())
		}
		if again, ok := asked(got).Rejection(); ok {
			t.Errorf("%x is answered by %x, and that by %x", frame, got, again)
		}
	})
}
