package decider

import "switchbridge/flow"

// Class separates the packets without which a network can't start (ARP, DHCP,
// neighbour discovery) from the others, so that a storm of other packets doesn't
// starve them.
type Class uint8

const (
	Ordinary   Class = iota
	Essentials       // ARP, DHCP, LLDP, IPv6 neighbour discovery
)

func (c Class) String() string {
	if c == Essentials {
		return "essentials"
	}
	return "ordinary"
}

// ICMPv6 types of neighbour discovery (RFC 4861, 4): router solicitation to redirect.
const (
	ndFirst = 133
	ndLast  = 137
)

// ClassOf returns the class of a packet with headers p.
func ClassOf(p *flow.Match) Class {
	if !p.Has(flow.FieldEthType) {
		return Ordinary
	}
	switch p.EthType {
	case flow.EthTypeARP, flow.EthTypeLLDP:
		return Essentials
	case flow.EthTypeIPv4:
		if p.Has(flow.FieldIPProto|flow.FieldL4Src|flow.FieldL4Dst) && p.IPProto == flow.ProtoUDP && dhcp(p, 67, 68) {
			return Essentials
		}
	case flow.EthTypeIPv6:
		switch {
		case !p.Has(flow.FieldIPProto):
		case p.IPProto == flow.ProtoUDP && p.Has(flow.FieldL4Src|flow.FieldL4Dst) && dhcp(p, 547, 546):
			return Essentials
		case p.IPProto == flow.ProtoICMPv6 && p.Has(flow.FieldICMPType) && p.ICMPType >= ndFirst && p.ICMPType <= ndLast:
			return Essentials
		}
	}
	return Ordinary
}

// dhcp reports whether p goes between a client and a server, or between two
// servers (relays speak from and to the server's port).
func dhcp(p *flow.Match, server, client uint16) bool {
	return p.L4Dst == server && (p.L4Src == client || p.L4Src == server) || p.L4Src == server && p.L4Dst == client
}
