package flow

import (
	"encoding/binary"
	"slices"
)

// Conversation are the fields that tell one conversation from another.
const Conversation = FieldInPort | ethFields | ipFields | portFields | icmpFields | arpFields

// RuleMatch returns the narrowest match that a rule in sw can have for the
// conversation of packet p: its [Conversation] fields, and none that changes
// within a conversation, such as ECN. A rule with this match covers p, and the
// switch finds it for p.
//
// ok is false where there is no such match: p is incomplete; the switch's
// protocol, or its P4 program, can't match one of the fields; or the match would
// cover packets of other conversations too. One exception is left: switches take
// a later fragment's ICMP type and code for 0, so the match of an echo reply
// covers the ICMP fragments of the same two hosts. They are worth nothing without
// their first one, and asking about every echo reply would cost more.
func RuleMatch(sw *Switch, p *PacketIn) (m Match, ok bool) {
	if p.Incomplete != 0 || doubleTagged(p.Data) {
		return Match{}, false
	}
	fields := p.Match.Fields & Conversation
	if p.Match.IPProto == ProtoICMP && p.Match.EthType != EthTypeIPv4 || p.Match.IPProto == ProtoICMPv6 && p.Match.EthType != EthTypeIPv6 {
		fields &^= icmpFields // no switch looks into one family's ICMP in the other's IP
	}
	switch {
	case fields&(FieldInPort|FieldEthSrc) == 0:
		return Match{}, false // the guardrails want one of them
	case fields&portFields != 0 && p.Match.L4Src|p.Match.L4Dst == 0:
		return Match{}, false // switches take a later fragment's ports for 0
	case fields&FieldARPOp != 0 && p.Match.ARPOp > 0xff:
		return Match{}, false // Open vSwitch has 8 bits for it in every version, OpenFlow 1.0 by its specification
	}
	protocol := OpenFlow13
	if sw != nil && sw.Protocol != 0 {
		protocol = sw.Protocol
	}
	if protocol == P4Runtime {
		missing := p.Match.Missing() // which counts where the table could match it
		holds := func(table Field) bool { return fields&^table == 0 && missing&table == 0 }
		if !slices.ContainsFunc(sw.Matchable, holds) {
			return Match{}, false
		}
	} else if p.Match.Missing() != 0 || fields&^Expressible(protocol, &p.Match) != 0 {
		return Match{}, false
	}
	return p.Match.Keep(fields), true
}

// doubleTagged reports whether a frame has more than one VLAN tag. Switches
// differ in how many they look behind: Open vSwitch's default is one.
func doubleTagged(frame []byte) bool {
	return len(frame) >= 18 && isTag(binary.BigEndian.Uint16(frame[12:])) && isTag(binary.BigEndian.Uint16(frame[16:]))
}

func isTag(ethType uint16) bool { return ethType == EthTypeVLAN || ethType == EthTypeQinQ }

// Expressible returns the fields of m that a rule in the given protocol can
// match on. OpenFlow 1.0 (5.2.3, struct ofp_match) knows no masks but those of
// IPv4 addresses, nothing of IPv6 packets above layer 2, and no ports but those
// of TCP and UDP; an ARP operation shares ip_proto's eight bits.
func Expressible(p Protocol, m *Match) Field {
	if p != OpenFlow10 {
		return ^Field(0)
	}
	can := Fields10 & (NeedNothing.Fields() | NeedTag.Fields())
	if m.EthSrcMask != MACExact {
		can &^= FieldEthSrc
	}
	if m.EthDstMask != MACExact {
		can &^= FieldEthDst
	}
	if m.VLANMask != VLANExact {
		can &^= FieldVLAN
	}
	if !m.Has(FieldEthType) {
		return can
	}
	switch m.EthType {
	case EthTypeIPv4:
		can |= Fields10 & NeedIP.Fields()
		switch m.IPProto {
		case ProtoTCP, ProtoUDP:
			can |= NeedPorts.Fields()
		case ProtoICMP:
			can |= NeedICMP.Fields()
		}
	case EthTypeARP:
		can |= Fields10 & NeedARP.Fields()
		if m.ARPOp > 0xff {
			can &^= FieldARPOp
		}
	}
	return can
}
