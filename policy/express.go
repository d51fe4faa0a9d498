package policy

import (
	"slices"

	"switchbridge/flow"
)

// Expressible returns the fields of m that a rule in the given protocol can
// match on. OpenFlow 1.0 (5.2.3, struct ofp_match) knows no masks but those of
// IPv4 addresses, nothing of IPv6 packets above layer 2, and no ports but those
// of TCP and UDP; an ARP operation shares ip_proto's eight bits.
func Expressible(p flow.Protocol, m *flow.Match) flow.Field {
	if p != flow.OpenFlow10 {
		return ^flow.Field(0)
	}
	can := flow.FieldInPort | flow.FieldEthType | flow.FieldVLANPCP
	if m.EthSrcMask == flow.MACExact {
		can |= flow.FieldEthSrc
	}
	if m.EthDstMask == flow.MACExact {
		can |= flow.FieldEthDst
	}
	if m.VLANMask == flow.VLANExact {
		can |= flow.FieldVLAN
	}
	if !m.Has(flow.FieldEthType) {
		return can
	}
	switch m.EthType {
	case flow.EthTypeIPv4:
		can |= flow.FieldIPProto | flow.FieldIPSrc | flow.FieldIPDst | flow.FieldIPDSCP
		switch m.IPProto {
		case flow.ProtoTCP, flow.ProtoUDP:
			can |= flow.FieldL4Src | flow.FieldL4Dst
		case flow.ProtoICMP:
			can |= flow.FieldICMPType | flow.FieldICMPCode
		}
	case flow.EthTypeARP:
		can |= flow.FieldARPSPA | flow.FieldARPTPA
		if m.ARPOp <= 0xff {
			can |= flow.FieldARPOp
		}
	}
	return can
}

// Effect is what a rule in the given table does to the packets that t treats, where allow is the mode
// of the chain's forward link. It reports false for what the protocol can't do.
func (t *Treatment) Effect(allow ForwardMode, p flow.Protocol, table uint8) (e flow.Effect, ok bool) {
	if t.Meter != 0 && p != flow.OpenFlow13 {
		return e, false
	}
	e.Meter = t.Meter
	mode := t.Mode
	if mode == 0 {
		mode = allow
	}
	if mode == Learn && p == flow.OpenFlow13 && t.Actions == nil {
		// The queue holds for what the next table does, too.
		e.Actions, e.Goto = t.Before, table+1
		return e, true
	}
	e.Actions = t.Actions
	if e.Actions == nil {
		e.Actions = ActionsOf(mode.In(p))
	}
	if t.Before == nil {
		return e, true
	}
	if p == flow.OpenFlow10 && !Queueable(e.Actions) {
		return e, false
	}
	e.Actions = slices.Concat(t.Before, e.Actions)
	return e, true
}

// In returns the mode that m comes down to in a protocol: learn needs the
// second table of OpenFlow 1.3, and elsewhere leaves learning to the switch.
func (m ForwardMode) In(p flow.Protocol) ForwardMode {
	if m == Learn && p != flow.OpenFlow13 {
		return Normal
	}
	return m
}

// Queueable reports whether OpenFlow 1.0's ENQUEUE, which is an output too, can
// take the place of each output (1.0, 5.2.4: a physical port or IN_PORT).
func Queueable(actions []flow.Action) bool {
	for _, a := range actions {
		if a.Port.Reserved() && a.Port != flow.PortIn {
			return false
		}
	}
	return true
}
