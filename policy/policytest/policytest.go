// Package policytest writes packets and decisions as one line of text, so that
// tests, READMEs and example policies can say what is expected in a form that
// people read.
//
// A packet is a protocol, two ends, and what is said of it besides:
//
//	tcp 10.0.0.1:40000 > 10.0.0.2:22
//	udp [2001:db8::1]:5353 > [ff02::fb]:5353 port 3 vlan 7
//	icmp 10.0.0.1 > 10.0.0.2 type 8
//	arp 10.0.0.1 > 10.0.0.2
//	nd 2001:db8::1 > 2001:db8::2      (a neighbour solicitation: who has 2001:db8::2?)
//	na 2001:db8::1 > 2001:db8::2      (a neighbour advertisement: 2001:db8::1 is here)
//	fragment 10.0.0.1 > 10.0.0.2      (a later fragment of TCP)
//	dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3          (a DHCP message: 1 discover, 3 request, 5 acknowledgement)
//	dhcp 10.0.0.53:67 > 10.0.0.7:68 type 5 lease 3600    (10.0.0.7 is given to 02:00:00:00:00:07)
//	lldp
//
// TCP packets have the flag SYN unless it is said which, as in "flags fin+ack". Two events that are no packets can be written, too:
//
//	event port 3 down                 (or up)
//	event switch
//
// What begins with "after 30s, " comes so much later than the line before it (see [Wait]).
//
// It comes in by port 1 without a tag unless it says otherwise. Hosts have the
// Ethernet address 02:00:00:00:00:XX, where XX is their address's last byte; an
// ARP request goes to ff:ff:ff:ff:ff:ff. Who forges says so: "eth 3" is sent by
// 02:00:00:00:00:03, and "sha 3" says that address in ARP or neighbour discovery; "eth_src 02:00:00:00:01:00" is another way to say it.
package policytest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"switchbridge/flow"
)

// Packet returns the frame that a line describes and the port it comes in by.
func Packet(line string) (frame []byte, inPort flow.PortNo, err error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil, 0, fmt.Errorf("packet %q: want a protocol", line)
	}
	proto, rest := words[0], words[1:]
	var src, dst netip.AddrPort
	if proto != "lldp" {
		if len(rest) < 3 || rest[1] != ">" {
			return nil, 0, fmt.Errorf("packet %q: want SOURCE > DESTINATION after %s", line, proto)
		}
		if src, err = end(rest[0]); err == nil {
			dst, err = end(rest[2])
		}
		if err != nil {
			return nil, 0, fmt.Errorf("packet %q: %w", line, err)
		}
		rest = rest[3:]
	}
	option, macs := map[string]uint16{"port": 1}, map[string]flow.MAC{}
	for ; len(rest) >= 2; rest = rest[2:] {
		v, err := strconv.ParseUint(rest[1], 10, 16)
		switch rest[0] {
		case "flags":
			v, err = flags(rest[1])
		case "eth_src", "eth_dst":
			a, macErr := flow.ParseMAC(rest[1])
			macs[rest[0]], err = a, macErr
		}
		if err != nil {
			return nil, 0, fmt.Errorf("packet %q: %s %q: want a number", line, rest[0], rest[1])
		}
		option[rest[0]] = uint16(v)
	}
	list, err := build(proto, src, dst, option)
	if err != nil || len(rest) != 0 {
		return nil, 0, fmt.Errorf("packet %q: %v", line, err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		return nil, 0, fmt.Errorf("packet %q: %w", line, err)
	}
	frame = buf.Bytes()
	for name, at := range map[string]int{"eth_dst": 0, "eth_src": 6} {
		if a, ok := macs[name]; ok {
			copy(frame[at:], a[:])
		}
	}
	return frame, flow.PortNo(option["port"]), nil
}

// flags reads names of TCP flags with + between.
func flags(s string) (v uint64, err error) {
	for name := range strings.SplitSeq(s, "+") {
		i := slices.Index([]string{"fin", "syn", "rst", "psh", "ack"}, name)
		if i < 0 {
			return 0, fmt.Errorf("no flag %q", name)
		}
		v |= 1 << i
	}
	return v, nil
}

// Wait takes "after 30s, " off a line: the time that passes before it.
func Wait(line string) (time.Duration, string, error) {
	rest, ok := strings.CutPrefix(line, "after ")
	if !ok {
		return 0, line, nil
	}
	wait, rest, _ := strings.Cut(rest, ", ")
	d, err := time.ParseDuration(wait)
	return d, rest, err
}

// end reads ADDRESS or ADDRESS:PORT.
func end(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(s)
}

func mac(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	switch {
	case a.IsMulticast() && a.Is6():
		return append(net.HardwareAddr{0x33, 0x33}, b[12:]...)
	case a.IsMulticast():
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{2, 0, 0, 0, 0, b[len(b)-1]}
}

func build(proto string, src, dst netip.AddrPort, option map[string]uint16) ([]gopacket.SerializableLayer, error) {
	station := func(key string, otherwise net.HardwareAddr) net.HardwareAddr {
		if n, ok := option[key]; ok {
			return net.HardwareAddr{2, 0, 0, 0, byte(n >> 8), byte(n)}
		}
		return otherwise
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 0}, DstMAC: net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}, EthernetType: layers.EthernetTypeLinkLayerDiscovery}
	payload := gopacket.Payload("payload of a packet that a test made")
	tail := []gopacket.SerializableLayer{payload}
	var ipProto layers.IPProtocol
	switch proto {
	case "lldp":
	case "arp":
		s, d := src.Addr().AsSlice(), dst.Addr().AsSlice()
		eth.SrcMAC, eth.DstMAC, eth.EthernetType = mac(src.Addr()), layers.EthernetBroadcast, layers.EthernetTypeARP
		tail = []gopacket.SerializableLayer{&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: station("sha", eth.SrcMAC), SourceProtAddress: s, DstHwAddress: make([]byte, 6), DstProtAddress: d,
		}}
	case "tcp":
		ipProto = layers.IPProtocolTCP
		f, given := option["flags"]
		if !given {
			f = 1 << 1
		}
		tail = []gopacket.SerializableLayer{&layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()),
			FIN: f&1 != 0, SYN: f&2 != 0, RST: f&4 != 0, PSH: f&8 != 0, ACK: f&16 != 0}, payload}
	case "udp":
		ipProto = layers.IPProtocolUDP
		tail = []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, payload}
	case "dhcp":
		ipProto = layers.IPProtocolUDP
		tail = []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, dhcp(src, dst, option, station)}
	case "icmp":
		ipProto = layers.IPProtocolICMPv4
		tail = []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.ICMPv4TypeCode(option["type"]<<8 | option["code"])}, payload}
	case "icmpv6":
		ipProto = layers.IPProtocolICMPv6
		tail = []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.ICMPv6TypeCode(option["type"]<<8 | option["code"])}, payload}
	case "na":
		ipProto = layers.IPProtocolICMPv6
		tail = []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
			&layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: src.Addr().AsSlice(), Options: layers.ICMPv6Options{
				{Type: layers.ICMPv6OptTargetAddress, Data: station("sha", mac(src.Addr()))}}}}
	case "nd":
		target := dst.Addr()
		if !target.Is6() {
			return nil, fmt.Errorf("neighbour discovery is IPv6's, not of %v", target)
		}
		group := netip.MustParseAddr("ff02::1:ff00:0").As16() // the solicited-node address (RFC 4291, 2.7.1)
		b := target.As16()
		copy(group[13:], b[13:])
		dst = netip.AddrPortFrom(netip.AddrFrom16(group), 0)
		ipProto = layers.IPProtocolICMPv6
		tail = []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)},
			&layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice(), Options: layers.ICMPv6Options{
				{Type: layers.ICMPv6OptSourceAddress, Data: station("sha", mac(src.Addr()))}}}}
	case "fragment":
		ipProto = layers.IPProtocolTCP
	default:
		return nil, fmt.Errorf("no protocol %q", proto)
	}
	if ipProto != 0 {
		ip, err := network(proto, ipProto, src.Addr(), dst.Addr(), eth)
		if err != nil {
			return nil, err
		}
		if t, ok := tail[0].(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := t.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
				return nil, err
			}
		}
		tail = append([]gopacket.SerializableLayer{ip}, tail...)
	}
	eth.SrcMAC = station("eth", eth.SrcMAC)
	if vid, ok := option["vlan"]; ok {
		tail = append([]gopacket.SerializableLayer{&layers.Dot1Q{VLANIdentifier: vid, Type: eth.EthernetType}}, tail...)
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	return append([]gopacket.SerializableLayer{eth}, tail...), nil
}

// dhcp is a client's message where its source is the client's port, and otherwise a server's, to the destination.
func dhcp(src, dst netip.AddrPort, option map[string]uint16, station func(string, net.HardwareAddr) net.HardwareAddr) *layers.DHCPv4 {
	d := &layers.DHCPv4{Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 1,
		ClientIP: src.Addr().AsSlice(), ClientHWAddr: station("sha", station("eth", mac(src.Addr()))),
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(option["type"])})}}
	if src.Port() != 68 {
		d.Operation, d.ClientIP, d.YourClientIP = layers.DHCPOpReply, nil, dst.Addr().AsSlice()
		d.ClientHWAddr = station("sha", mac(dst.Addr()))
	}
	if lease := option["lease"]; lease > 0 {
		d.Options = append(d.Options, layers.NewDHCPOption(layers.DHCPOptLeaseTime, []byte{0, 0, byte(lease >> 8), byte(lease)}))
	}
	return d
}

func network(proto string, p layers.IPProtocol, src, dst netip.Addr, eth *layers.Ethernet) (gopacket.SerializableLayer, error) {
	eth.SrcMAC, eth.DstMAC = mac(src), mac(dst)
	if src.Is4() != dst.Is4() {
		return nil, fmt.Errorf("%v and %v are of two families", src, dst)
	}
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if proto == "fragment" {
			ip.FragOffset = 185
		}
		return ip, nil
	}
	if proto == "fragment" {
		return nil, fmt.Errorf("fragments are IPv4")
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}, nil
}

// Event returns the event of a switch with four ports that has no rule for the
// packet.
func Event(line string, p flow.Protocol) (*flow.Event, error) {
	if text, ok := strings.CutPrefix(line, "event "); ok {
		return notPacket(text, Switch(p))
	}
	frame, inPort, err := Packet(line)
	if err != nil {
		return nil, err
	}
	m := flow.ParseFrame(frame, inPort)
	return &flow.Event{Type: flow.EventPacketIn, Switch: Switch(p), PacketIn: &flow.PacketIn{
		BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: m, Incomplete: m.Missing(),
	}}, nil
}

func notPacket(text string, sw *flow.Switch) (*flow.Event, error) {
	if text == "switch" {
		return &flow.Event{Type: flow.EventSwitchConnected, Switch: sw}, nil
	}
	words := strings.Fields(text)
	if len(words) == 3 && words[0] == "port" && (words[2] == "up" || words[2] == "down") {
		no, err := flow.ParsePort(words[1])
		port := flow.Port{No: no}
		if words[2] == "down" {
			port.State = 1
		}
		return &flow.Event{Type: flow.EventPortStatus, Switch: sw, PortStatus: &flow.PortStatus{Reason: flow.PortModified, Port: port}}, err
	}
	return nil, fmt.Errorf("event %q: want port NUMBER up, port NUMBER down, or switch", text)
}

// Switch returns a switch with the ports 1 to 4 and LOCAL.
func Switch(p flow.Protocol) *flow.Switch {
	sw := &flow.Switch{DPID: 1, Protocol: p, NTables: 254}
	for no := flow.PortNo(1); no <= 4; no++ {
		sw.Ports = append(sw.Ports, flow.Port{No: no, Name: "port" + no.String(), HWAddr: flow.MAC{2, 1, 0, 0, 0, byte(no)}})
	}
	sw.Ports = append(sw.Ports, flow.Port{No: flow.PortLocal, Name: "br0"})
	return sw
}

// Expectation is what a policy file's comment says that a packet gets:
//
//	# expect: PACKET => VERDICT (REASON)
type Expectation struct{ Packet, Want string }

// ParseExpectation reads what follows "expect:".
func ParseExpectation(line string) (e Expectation, err error) {
	packet, want, ok := strings.Cut(line, " => ")
	if !ok {
		return e, fmt.Errorf("expectation %q: want PACKET => VERDICT (REASON)", line)
	}
	return Expectation{strings.TrimSpace(packet), strings.TrimSpace(want)}, nil
}

// Expectations returns those of a policy file's text.
func Expectations(policy string) (list []Expectation, err error) {
	for line := range strings.Lines(policy) {
		if text, ok := strings.CutPrefix(line, "# expect: "); ok {
			e, err := ParseExpectation(text)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
	}
	return list, nil
}

// Sum writes the part of a decision that policies are about: "deny (reason)",
// and what becomes of the packet if it is a reply, where that is said.
func Sum(d *flow.Decision) string {
	s := d.Verdict.String() + " (" + d.Reason + ")"
	if d.IfReply != nil {
		s += ", if a reply allow (" + d.IfReply.Reason + ")"
	}
	return s
}

// Whole writes a decision with all that it does, one part a line.
func Whole(d *flow.Decision) string {
	var b strings.Builder
	b.WriteString(d.Verdict.String() + " (" + d.Reason + ")")
	for i := range d.Rules {
		b.WriteString("\nrule " + d.Rules[i].String())
	}
	if d.HasPacketOut {
		b.WriteString("\npacket " + flow.ActionsString(d.PacketOut))
	}
	return b.String()
}
