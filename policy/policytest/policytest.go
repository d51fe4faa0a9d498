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
//	ip 10.0.0.1 > 10.0.0.2 ip_proto 47
//	eth eth_type 0x88b5
//
// An ICMP error says after "quotes" which packet it is about, in the same form:
//
//	icmp 10.0.0.9 > 10.0.0.1 type 3 code 3 quotes udp 10.0.0.1:40000 > 10.0.0.2:53
//
// TCP packets have the flag SYN unless it is said which, as in "flags fin+ack". Events that are no packets can be written, too:
//
//	event port 3 down                                           (or up, added, added down, deleted)
//	event removed idle tcp 10.0.0.1:40000 > 10.0.0.2:22         (the rule of that packet went; or hard, delete)
//	event switch                                                (it connects)
//
// "switch 1f" at the end of a line says to which switch it comes; it is 1 otherwise.
//
// What begins with "after 30s, " comes so much later than the line before it (see [Wait]).
//
// It comes in by port 1 without a tag unless it says otherwise. Hosts have the
// Ethernet address 02:00:00:00:00:XX, where XX is their address's last byte; an
// ARP request goes to ff:ff:ff:ff:ff:ff. Any other field is said by its name in
// policies, such as "eth_src 02:00:00:00:01:00" or "ip_dscp 46". Who forges says so: "eth 3" is sent by
// 02:00:00:00:00:03, and "sha 3" says that address in ARP, neighbour discovery or DHCP. [Words] writes the line for headers.
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
	head, quoted, quotes := strings.Cut(line, " quotes ")
	words := strings.Fields(head)
	if len(words) == 0 {
		return nil, 0, fmt.Errorf("packet %q: want a protocol", line)
	}
	proto, rest := words[0], words[1:]
	var src, dst netip.AddrPort
	if proto != "lldp" && proto != "eth" {
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
	option, err := options(rest)
	if err != nil {
		return nil, 0, fmt.Errorf("packet %q: %w", line, err)
	}
	if quotes {
		if option.quote, _, err = Packet(quoted); err != nil {
			return nil, 0, err
		}
		if t := flow.ParseFrame(option.quote, 1); !t.Has(flow.FieldIPSrc) || t.VLAN != flow.VLANNone || proto != "icmp" && proto != "icmpv6" {
			return nil, 0, fmt.Errorf("packet %q: want quotes of an IP packet, by icmp or icmpv6", line)
		}
		option.quote = option.quote[14:]
	}
	list, err := build(proto, src, dst, &option)
	if err != nil {
		return nil, 0, fmt.Errorf("packet %q: %w", line, err)
	}
	if extra := option.Fields &^ option.taken; extra != 0 {
		return nil, 0, fmt.Errorf("packet %q: %s has no %v", line, proto, extra)
	}
	for word := range option.words {
		return nil, 0, fmt.Errorf("packet %q: %s has no %s", line, proto, word)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		return nil, 0, fmt.Errorf("packet %q: %w", line, err)
	}
	return buf.Bytes(), option.InPort, nil
}

// said is what a line says of a packet besides its ends, and which of it the packet has a place for.
type said struct {
	flow.Match
	taken flow.Field
	words map[string]uint16 // what is no field: flags, lease
	quote []byte            // the IP packet that an ICMP error is about
}

// word returns what is said that is no field.
func (o *said) word(name string) (v uint16, ok bool) {
	v, ok = o.words[name]
	delete(o.words, name) // what is left has no place in the packet
	return v, ok
}

// station returns an Ethernet address that is said, or else another one.
func (o *said) station(f flow.Field, otherwise net.HardwareAddr) net.HardwareAddr {
	if !o.has(f) {
		return otherwise
	}
	a, _ := f.Info().MAC(&o.Match)
	return a[:]
}

// has reports whether a field is said.
func (o *said) has(f flow.Field) bool {
	o.taken |= f
	return o.Fields&f != 0
}

// short are names of fields that are older than the rule that a field is called as in policies.
var short = map[string]flow.Field{"port": flow.FieldInPort, "vlan": flow.FieldVLAN, "type": flow.FieldICMPType, "code": flow.FieldICMPCode}

// others are words that are not a field's name.
var others = map[string]func(o *said, s string) error{
	"flags": func(o *said, s string) (err error) { o.words["flags"], err = flags(s); return err },
	"lease": func(o *said, s string) error {
		v, err := strconv.ParseUint(s, 10, 16)
		o.words["lease"] = uint16(v)
		return err
	},
	"eth": func(o *said, s string) error { return station(o, flow.FieldEthSrc, s) },
	"sha": func(o *said, s string) error { return station(o, flow.FieldARPSHA, s) },
}

// station reads the number of a host, whose Ethernet address is to be the field's.
func station(o *said, f flow.Field, s string) error {
	v, err := strconv.ParseUint(s, 10, 16)
	f.Info().SetMAC(&o.Match, flow.MAC{2, 0, 0, 0, byte(v >> 8), byte(v)}, flow.MACExact)
	return err
}

// options reads pairs of a field's name and its value.
func options(words []string) (o said, err error) {
	o.SetInPort(1)
	o.taken = flow.FieldInPort | flow.FieldVLAN | flow.FieldVLANPCP | flow.FieldEthSrc | flow.FieldEthDst
	o.words = make(map[string]uint16)
	for ; len(words) > 0; words = words[2:] {
		f := short[words[0]]
		if read := others[words[0]]; read != nil && len(words) > 1 {
			if err := read(&o, words[1]); err != nil {
				return o, fmt.Errorf("%s %q: %w", words[0], words[1], err)
			}
			continue
		}
		for i := range flow.Fields {
			if x := &flow.Fields[i]; x.Name == words[0] && x.Kind != flow.Prefix && x.Kind != flow.Number64 && x.Need != flow.NeedPorts {
				f = x.Field
			}
		}
		switch {
		case f == 0:
			return o, fmt.Errorf("no word %q: want a field's name, port, vlan, type or code", words[0])
		case len(words) == 1:
			return o, fmt.Errorf("want a value after %s", words[0])
		}
		x := f.Info()
		switch x.Kind {
		case flow.Address, flow.MaskedMAC:
			a, err := flow.ParseMAC(words[1])
			if err != nil {
				return o, err
			}
			x.SetMAC(&o.Match, a, flow.MACExact)
		case flow.IPv6:
			a, err := netip.ParseAddr(words[1])
			if err != nil || !a.Is6() {
				return o, fmt.Errorf("%s %q: want an IPv6 address", words[0], words[1])
			}
			x.SetAddr(&o.Match, a)
		case flow.PortNumber:
			p, err := flow.ParsePort(words[1])
			if err != nil {
				return o, err
			}
			o.SetInPort(p)
		default:
			bits := int(x.Bits)
			if f == flow.FieldVLAN {
				bits = 12
			}
			v, err := flow.ParseNumber(words[1], bits)
			if err != nil {
				return o, fmt.Errorf("%s: %w", words[0], err)
			}
			x.SetNumber(&o.Match, v, 0)
		}
	}
	return o, nil
}

// flagNames are those of TCP flags, by bit.
var flagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

// FlagWords is what follows "flags" in a line.
func FlagWords(f flow.TCPFlags) string {
	var names []string
	for i, name := range flagNames {
		if f>>i&1 != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// flags reads names of TCP flags with + between, or none.
func flags(s string) (v uint16, err error) {
	if s == "none" {
		return 0, nil
	}
	for name := range strings.SplitSeq(s, "+") {
		i := slices.Index(flagNames, name)
		if i < 0 {
			return 0, fmt.Errorf("no flag %q", name)
		}
		v |= 1 << i
	}
	return v, nil
}

// Wait takes "after 30s, " or "at mon 08:00, " off a line: how long it is from now until the packet comes. The second is the next such moment, in UTC.
func Wait(line string, now time.Time) (wait time.Duration, rest string, err error) {
	if rest, ok := strings.CutPrefix(line, "after "); ok {
		wait, rest, _ := strings.Cut(rest, ", ")
		d, err := time.ParseDuration(wait)
		return d, rest, err
	}
	rest, ok := strings.CutPrefix(line, "at ")
	if !ok {
		return 0, line, nil
	}
	moment, rest, _ := strings.Cut(rest, ", ")
	day, clock, _ := strings.Cut(moment, " ")
	at, err := time.Parse("15:04", clock)
	days := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	if on := slices.Index(days, day); err == nil && on >= 0 {
		now = now.UTC()
		then := time.Date(now.Year(), now.Month(), now.Day()+(on-int(now.Weekday())+7)%7, at.Hour(), at.Minute(), 0, 0, time.UTC)
		if then.Before(now) {
			then = then.AddDate(0, 0, 7)
		}
		return then.Sub(now), rest, nil
	}
	return 0, rest, fmt.Errorf("%q: want a day and a time, such as mon 08:00", moment)
}

// end reads ADDRESS or ADDRESS:PORT.
func end(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		err = fmt.Errorf("%.80q: want an address, or an address and a port from 0 to 65535, such as 10.0.0.1:22 or [2001:db8::1]:22", s)
	}
	return a, err
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

func build(proto string, src, dst netip.AddrPort, option *said) ([]gopacket.SerializableLayer, error) {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 0}, DstMAC: net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}, EthernetType: layers.EthernetTypeLinkLayerDiscovery}
	payload := gopacket.Payload("payload of a packet that a test made")
	tail := []gopacket.SerializableLayer{payload}
	if option.quote != nil {
		payload = option.quote
	}
	var ipProto layers.IPProtocol
	overIP := true
	switch proto {
	case "lldp":
		overIP = false
	case "eth":
		overIP = false
		if !option.has(flow.FieldEthType) {
			return nil, fmt.Errorf("want an eth_type")
		}
		if eth.EthernetType = layers.EthernetType(option.EthType); option.EthType < 0x0600 {
			eth.EthernetType = layers.EthernetTypeLLC // 802.3, by the length of what follows
			tail = []gopacket.SerializableLayer{gopacket.Payload("\x42\x42\x03 of a packet that a test made")}
			eth.Length = uint16(len(tail[0].(gopacket.Payload)))
		}
	case "arp":
		overIP = false
		if !src.Addr().Is4() || !dst.Addr().Is4() {
			return nil, fmt.Errorf("ARP is IPv4's, not of %v and %v", src.Addr(), dst.Addr())
		}
		eth.SrcMAC, eth.DstMAC, eth.EthernetType = mac(src.Addr()), layers.EthernetBroadcast, layers.EthernetTypeARP
		arp := &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: option.station(flow.FieldARPSHA, eth.SrcMAC), SourceProtAddress: src.Addr().AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: dst.Addr().AsSlice(),
		}
		if option.has(flow.FieldARPOp) {
			arp.Operation = option.ARPOp
		}
		if option.has(flow.FieldARPTHA) {
			arp.DstHwAddress = option.ARPTHA[:]
		}
		tail = []gopacket.SerializableLayer{arp}
	case "tcp":
		ipProto = layers.IPProtocolTCP
		f, given := option.word("flags")
		if !given {
			f = 1 << 1
		}
		tail = []gopacket.SerializableLayer{&layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()),
			FIN: f&1 != 0, SYN: f&2 != 0, RST: f&4 != 0, PSH: f&8 != 0, ACK: f&16 != 0, URG: f&32 != 0, ECE: f&64 != 0, CWR: f&128 != 0}, payload}
	case "udp":
		ipProto = layers.IPProtocolUDP
		tail = []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, payload}
	case "sctp":
		ipProto = layers.IPProtocolSCTP
		tail = []gopacket.SerializableLayer{&layers.SCTP{SrcPort: layers.SCTPPort(src.Port()), DstPort: layers.SCTPPort(dst.Port())}, payload}
	case "ip":
		if !option.has(flow.FieldIPProto) {
			return nil, fmt.Errorf("want an ip_proto")
		}
		ipProto = layers.IPProtocol(option.IPProto)
	case "dhcp":
		ipProto = layers.IPProtocolUDP
		tail = []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, dhcp(src, dst, option)}
	case "icmp":
		ipProto = layers.IPProtocolICMPv4
		option.has(flow.FieldICMPType | flow.FieldICMPCode)
		tail = []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(option.ICMPType, option.ICMPCode)}, payload}
	case "icmpv6":
		ipProto = layers.IPProtocolICMPv6
		option.has(flow.FieldICMPType | flow.FieldICMPCode)
		if option.quote != nil {
			payload = append(make([]byte, 4), payload...)
		}
		tail = []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(option.ICMPType, option.ICMPCode)}, payload}
		target := net.IP(make([]byte, 16))
		if option.has(flow.FieldNDTarget) {
			target = option.NDTarget.AsSlice()
		}
		switch t := option.ICMPType; {
		case t >= 133 && t <= 137 && (option.ICMPCode != 0 || t != 135 && t != 136): // the message without options; a target is the sender's own
			message := make([]byte, []int{4, 12, 20, 20, 36}[t-133])
			if t >= 135 {
				copy(message[4:], src.Addr().AsSlice())
				if option.has(flow.FieldNDTarget) {
					copy(message[4:], option.NDTarget.AsSlice())
				}
			}
			tail[1] = gopacket.Payload(message)
		case option.ICMPCode != 0:
		case option.ICMPType == layers.ICMPv6TypeNeighborSolicitation:
			sent := &layers.ICMPv6NeighborSolicitation{TargetAddress: target}
			if option.has(flow.FieldNDSLL) {
				sent.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: option.NDSLL[:]}}
			}
			tail[1] = sent
		case option.ICMPType == layers.ICMPv6TypeNeighborAdvertisement:
			tail[1] = &layers.ICMPv6NeighborAdvertisement{TargetAddress: target}
		}
		if t := option.ICMPType; t >= 133 && t <= 137 && option.has(flow.FieldARPSHA) { // another's address, in an option of the kind that no field shows
			kind := byte(layers.ICMPv6OptTargetAddress)
			if t == layers.ICMPv6TypeNeighborAdvertisement {
				kind = byte(layers.ICMPv6OptSourceAddress)
			}
			tail = append(tail, gopacket.Payload(append([]byte{kind, 1}, option.ARPSHA[:]...)))
		}
	case "na":
		ipProto = layers.IPProtocolICMPv6
		tail = []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
			&layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: src.Addr().AsSlice(), Options: layers.ICMPv6Options{
				{Type: layers.ICMPv6OptTargetAddress, Data: option.station(flow.FieldARPSHA, mac(src.Addr()))}}}}
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
				{Type: layers.ICMPv6OptSourceAddress, Data: option.station(flow.FieldARPSHA, mac(src.Addr()))}}}}
	case "fragment":
		ipProto = layers.IPProtocolTCP
	default:
		return nil, fmt.Errorf("no protocol %q: want one of tcp, udp, sctp, icmp, icmpv6, ip, dhcp, arp, nd, na, fragment, eth, lldp", proto)
	}
	if overIP {
		ip, err := network(proto, ipProto, src.Addr(), dst.Addr(), eth, option)
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
	eth.SrcMAC, eth.DstMAC = option.station(flow.FieldEthSrc, eth.SrcMAC), option.station(flow.FieldEthDst, eth.DstMAC)
	if option.has(flow.FieldVLAN | flow.FieldVLANPCP) {
		tag := &layers.Dot1Q{VLANIdentifier: option.VLAN, Priority: option.VLANPCP, Type: eth.EthernetType}
		if eth.EthernetType == layers.EthernetTypeLLC {
			tag.Type = layers.EthernetType(eth.Length)
		}
		tail = append([]gopacket.SerializableLayer{tag}, tail...)
		eth.EthernetType, eth.Length = layers.EthernetTypeDot1Q, 0
	}
	return append([]gopacket.SerializableLayer{eth}, tail...), nil
}

// dhcp is a client's message where its source is the client's port, and otherwise a server's, to the destination.
func dhcp(src, dst netip.AddrPort, option *said) *layers.DHCPv4 {
	option.has(flow.FieldICMPType) // the message's
	d := &layers.DHCPv4{Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 1,
		ClientIP: src.Addr().AsSlice(), ClientHWAddr: option.station(flow.FieldARPSHA, option.station(flow.FieldEthSrc, mac(src.Addr()))),
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{option.ICMPType})}}
	if src.Port() != 68 && (dst.Port() != 67 || src.Port() == 67) {
		d.Operation, d.ClientIP, d.YourClientIP = layers.DHCPOpReply, nil, dst.Addr().AsSlice()
		d.ClientHWAddr = option.station(flow.FieldARPSHA, mac(dst.Addr()))
	}
	if lease, _ := option.word("lease"); lease > 0 {
		d.Options = append(d.Options, layers.NewDHCPOption(layers.DHCPOptLeaseTime, []byte{0, 0, byte(lease >> 8), byte(lease)}))
	}
	return d
}

func network(proto string, p layers.IPProtocol, src, dst netip.Addr, eth *layers.Ethernet, option *said) (gopacket.SerializableLayer, error) {
	eth.SrcMAC, eth.DstMAC = mac(src), mac(dst)
	if src.Is4() != dst.Is4() {
		return nil, fmt.Errorf("%v and %v are of two families", src, dst)
	}
	option.has(flow.FieldIPDSCP | flow.FieldIPECN)
	tos := option.IPDSCP<<2 | option.IPECN
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TOS: tos, TTL: 64, Protocol: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if proto == "fragment" {
			ip.FragOffset = 185
		}
		return ip, nil
	}
	if proto == "fragment" {
		return nil, fmt.Errorf("fragments are IPv4")
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	option.has(flow.FieldFlowLabel)
	return &layers.IPv6{Version: 6, TrafficClass: tos, FlowLabel: option.FlowLabel, HopLimit: 64, NextHeader: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}, nil
}

// Event returns the event of a switch with four ports that has no rule for the
// packet.
func Event(line string, p flow.Protocol) (*flow.Event, error) {
	sw := Switch(p)
	if at := strings.LastIndex(line, " switch "); at >= 0 {
		dpid, err := flow.ParseDPID(line[at+len(" switch "):])
		if err != nil {
			return nil, fmt.Errorf("event %q: %w", line, err)
		}
		sw.DPID, line = dpid, line[:at]
	}
	if text, ok := strings.CutPrefix(line, "event "); ok {
		return notPacket(text, sw)
	}
	frame, inPort, err := Packet(line)
	if err != nil {
		return nil, err
	}
	m := flow.ParseFrame(frame, inPort)
	return &flow.Event{Type: flow.EventPacketIn, Switch: sw, PacketIn: &flow.PacketIn{
		BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: m, Incomplete: m.Missing(),
	}}, nil
}

func notPacket(text string, sw *flow.Switch) (*flow.Event, error) {
	if text == "switch" {
		return &flow.Event{Type: flow.EventSwitchConnected, Switch: sw}, nil
	}
	words := strings.Fields(text)
	if len(words) > 2 && words[0] == "port" {
		no, err := flow.ParsePort(words[1])
		e := &flow.PortStatus{Reason: flow.PortModified, Port: flow.Port{No: no}}
		switch what := strings.Join(words[2:], " "); what {
		case "up", "down":
		case "added", "added down":
			e.Reason = flow.PortAdded
		case "deleted":
			e.Reason = flow.PortDeleted
		default:
			return nil, fmt.Errorf("event %q: want up, down, added, added down, or deleted", text)
		}
		if words[len(words)-1] == "down" {
			e.Port.State = 1
		}
		return &flow.Event{Type: flow.EventPortStatus, Switch: sw, PortStatus: e}, err
	}
	if rest, ok := strings.CutPrefix(text, "removed "); ok {
		reason, packet, _ := strings.Cut(rest, " ")
		i := slices.Index([]string{"idle", "hard", "delete"}, reason)
		if i < 0 {
			return nil, fmt.Errorf("event %q: want removed idle, hard or delete, and a packet that the rule was of", text)
		}
		m, err := ParsePacket(packet)
		return &flow.Event{Type: flow.EventFlowRemoved, Switch: sw, FlowRemoved: &flow.FlowRemoved{Reason: flow.RemovedReason(i), Match: m}}, err
	}
	return nil, fmt.Errorf("event %q: want port NUMBER up, port NUMBER down, removed REASON PACKET, or switch", text)
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
//
// The reason may be left out.
type Expectation struct {
	Packet, Want string

	File string // where it is written; empty where nobody said
	Line int
}

// ParseExpectation reads what follows "expect:".
func ParseExpectation(line string) (e Expectation, err error) {
	packet, want, ok := strings.Cut(line, " => ")
	if !ok {
		return e, fmt.Errorf("expectation %q: want PACKET => VERDICT (REASON)", strings.TrimSpace(line))
	}
	e = Expectation{Packet: strings.TrimSpace(packet), Want: strings.TrimSpace(want)}
	verdict, _, _ := strings.Cut(e.Want, " ")
	if words := []string{"allow", "deny", "reject", "none"}; !slices.Contains(words, verdict) {
		return e, fmt.Errorf("expectation %q: %q: want %s, and the reason in parentheses", strings.TrimSpace(line), verdict, strings.Join(words, ", "))
	}
	return e, nil
}

// Expectations returns those of a policy file's text.
func Expectations(policy string) (list []Expectation, err error) {
	return ReadExpectations(policy, "", true)
}

// ReadExpectations returns those in a file: in the comments of a policy, or else on each line that is not empty and no comment. A comment that is meant as one and
// is written otherwise is an error, since nobody would notice that it is never tried.
func ReadExpectations(text, file string, inComments bool) (list []Expectation, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		comment, ok := strings.CutPrefix(line, "#")
		if line == "" || ok != inComments {
			continue
		}
		if inComments {
			comment = strings.TrimSpace(comment)
			if line, ok = strings.CutPrefix(comment, "expect:"); !ok {
				if word, _, _ := strings.Cut(comment, " "); strings.Contains(comment, " => ") && strings.HasPrefix(strings.ToLower(word), "expect") {
					return nil, fmt.Errorf("%s:%d: %q: want expect: and a colon behind it", file, number, word)
				}
				continue
			}
		}
		e, err := ParseExpectation(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		e.File, e.Line = file, number
		list = append(list, e)
	}
	return list, nil
}

// Met reports whether a decision is what is wanted.
func (e *Expectation) Met(d *flow.Decision) bool {
	return Sum(d) == e.Want || d.Word() == e.Want
}

// Sum writes the part of a decision that policies are about: "deny (reason)",
// and what becomes of the packet if it is a reply, where that is said.
func Sum(d *flow.Decision) string {
	s := d.Word() + " (" + d.Reason + ")"
	if d.IfReply != nil {
		s += ", if a reply allow (" + d.IfReply.Reason + ")"
	}
	return s
}

// Whole writes a decision with all that it does, one part a line.
func Whole(d *flow.Decision) string {
	var b strings.Builder
	b.WriteString(d.Word() + " (" + d.Reason + ")")
	for i := range d.Rules {
		b.WriteString("\nrule " + d.Rules[i].String())
	}
	if d.HasPacketOut {
		b.WriteString("\npacket " + flow.ActionsString(d.PacketOut))
	}
	return b.String()
}
