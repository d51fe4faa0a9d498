package policytest

import (
	"fmt"
	"net/netip"

	"switchbridge/flow"
)

// Words returns the line that [Packet] makes a frame with headers m of. m is of a
// packet that shows all that it has.
func Words(m *flow.Match) string {
	proto, ends := "eth", ""
	protos := map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp"}
	switch m.EthType {
	case flow.EthTypeLLDP:
		proto = "lldp"
	case flow.EthTypeARP:
		proto, ends = "arp", fmt.Sprintf(" %v > %v", m.ARPSPA.Addr(), m.ARPTPA.Addr())
	case flow.EthTypeIPv4, flow.EthTypeIPv6:
		proto, ends = "ip", fmt.Sprintf(" %v > %v", m.IPSrc.Addr(), m.IPDst.Addr())
		switch {
		case m.Has(flow.FieldL4Src | flow.FieldL4Dst):
			proto = protos[m.IPProto]
			ends = fmt.Sprintf(" %v > %v", netip.AddrPortFrom(m.IPSrc.Addr(), m.L4Src), netip.AddrPortFrom(m.IPDst.Addr(), m.L4Dst))
		case m.Has(flow.FieldICMPType) && m.EthType == flow.EthTypeIPv4:
			proto = "icmp"
		case m.Has(flow.FieldICMPType):
			proto = "icmpv6"
		}
	}
	line := proto + ends
	switch proto {
	case "eth":
		line += fmt.Sprintf(" eth_type %#04x", m.EthType)
	case "ip":
		line += fmt.Sprintf(" ip_proto %d", m.IPProto)
	}
	said, err := ParsePacket(line)
	if err != nil {
		return line + " (" + err.Error() + ")" // a packet that can't be
	}
	// What is different in m is said by name.
	for i := range flow.Fields {
		x := flow.Printed(i)
		if m.Fields&x.Field == 0 || x.Kind == flow.Prefix || x.Kind == flow.Number64 || x.Need == flow.NeedPorts {
			continue
		}
		var had, is flow.Match
		x.Copy(&is, m)
		if x.Copy(&had, &said); had == is || x.Kind == flow.IPv6 && x.Addr(m).IsUnspecified() {
			continue
		}
		line += " " + x.Name + " "
		switch x.Kind {
		case flow.Address, flow.MaskedMAC:
			a, _ := x.MAC(m)
			line += a.String()
		case flow.IPv6:
			line += x.Addr(m).String()
		case flow.PortNumber:
			line += m.InPort.String()
		case flow.VLANTag:
			line += fmt.Sprint(m.VLAN &^ flow.VLANPresent)
		default:
			v, _ := x.Number(m)
			line += fmt.Sprintf(x.Verb, v)
		}
	}
	return line
}

// ParsePacket returns the headers of the packet that a line describes.
func ParsePacket(line string) (flow.Match, error) {
	frame, inPort, err := Packet(line)
	if err != nil {
		return flow.Match{}, err
	}
	return flow.ParseFrame(frame, inPort), nil
}
