package guard

import (
	"fmt"

	"switchbridge/flow"
)

// traitsOf returns the traits of a list of actions.
func traitsOf(list []flow.Action) (k traits) {
	if len(list) > 1 {
		k = several
	}
	for i := range list {
		switch a := &list[i]; a.Type {
		case flow.Output:
			switch a.Port {
			case flow.PortIn, flow.PortNormal, flow.PortFlood, flow.PortAll:
			case flow.PortController:
				k |= toController
			case flow.PortTable:
				k |= toTable
			default:
				k |= toPort
			}
		case flow.SetQueue:
		case flow.PushVLAN, flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP, flow.SetEthSrc, flow.SetEthDst,
			flow.SetIPSrc, flow.SetIPDst, flow.SetIPDSCP, flow.SetL4Src, flow.SetL4Dst, flow.DecTTL:
			k |= rewrites
		default:
			k |= unknown
		}
	}
	return k
}

func outputController(_ *check, _ []flow.Action, _ *flow.Match, _ flow.Field) string {
	return "no output to CONTROLLER is allowed"
}

func outputTable(_ *check, _ []flow.Action, _ *flow.Match, _ flow.Field) string {
	return "no output to TABLE is allowed"
}

// unknownPort refuses an output to a port that the switch doesn't have. If the switch's
// ports aren't known, since P4Runtime doesn't list them, it accepts every port.
func unknownPort(c *check, list []flow.Action, _ *flow.Match, _ flow.Field) string {
	known := c.desc != nil && len(c.desc.Ports) > 0
	for i := range list {
		a := &list[i]
		if a.Type != flow.Output {
			continue
		}
		switch a.Port {
		case flow.PortIn, flow.PortNormal, flow.PortFlood, flow.PortAll, flow.PortController, flow.PortTable:
			continue
		}
		if known && c.desc.Port(a.Port) == nil || !known && a.Port.Reserved() && a.Port != flow.PortLocal {
			return "the switch has no port " + a.Port.String()
		}
	}
	return ""
}

// maxOutputs bounds what one packet can become.
const maxOutputs = 64

func outputs(_ *check, list []flow.Action, _ *flow.Match, _ flow.Field) string {
	n := 0
	var wide [3]bool // NORMAL, FLOOD, ALL
	for i := range list {
		a := &list[i]
		if a.Type != flow.Output {
			continue
		}
		if n++; n > maxOutputs {
			return fmt.Sprintf("more than %d outputs", maxOutputs)
		}
		if a.Port >= flow.PortNormal && a.Port <= flow.PortAll {
			if w := &wide[a.Port-flow.PortNormal]; *w {
				return "two outputs to " + a.Port.String()
			} else {
				*w = true
			}
		}
	}
	return ""
}

func experimenter(_ *check, list []flow.Action, _ *flow.Match, _ flow.Field) string {
	for i := range list {
		if a := &list[i]; traitsOf(list[i:i+1])&unknown != 0 {
			return "the action " + a.String() + " has no name in the contract"
		}
	}
	return ""
}

// setField checks that the packets of m have the fields that the actions write
// (OpenFlow 1.3.5, 7.2.5: a set-field has the prerequisites of its field). Fields that an
// incomplete packet doesn't show are left to the switch, which sees them.
func setField(c *check, list []flow.Action, m *flow.Match, withheld flow.Field) string {
	tags, tagKnown := 0, m.Has(flow.FieldVLAN) && m.VLANMask&flow.VLANPresent != 0
	if tagKnown && m.VLAN&flow.VLANPresent != 0 {
		tags = 1
	}
	makesTags := c.protocol() == flow.OpenFlow10 // SET_VLAN_VID adds a tag where none is (1.0.0, 5.2.4)
	family := func(a *flow.Action, want uint16) string {
		switch {
		case !m.Has(flow.FieldEthType) && withheld&flow.FieldEthType != 0:
			return ""
		case m.Has(flow.FieldEthType) && (m.EthType == want || want == 0 && (m.EthType == flow.EthTypeIPv4 || m.EthType == flow.EthTypeIPv6)):
			return ""
		case want == 0:
			return a.String() + " needs packets of eth_type 0x0800 or 0x86dd"
		}
		return fmt.Sprintf("%v needs packets of eth_type %#04x", a, want)
	}
	most := func(a *flow.Action, limit uint32) string {
		if a.Value > limit {
			return fmt.Sprintf("%v: the largest value is %d", a, limit)
		}
		return ""
	}
	for i := range list {
		a := &list[i]
		detail := ""
		switch a.Type {
		case flow.PushVLAN:
			if a.Value != flow.EthTypeVLAN && a.Value != flow.EthTypeQinQ {
				detail = fmt.Sprintf("push_vlan: a tag of ethertype %#x; want 0x8100 or 0x88a8", a.Value)
			}
			tags++
		case flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP:
			switch {
			case a.Type == flow.SetVLANVID && a.Value > 0xfff:
				detail = most(a, 0xfff)
			case a.Type == flow.SetVLANPCP && a.Value > 7:
				detail = most(a, 7)
			case tags > 0 || makesTags:
			case !tagKnown && (withheld&flow.FieldVLAN != 0 || c.protocol() == flow.P4Runtime): // a program may know the tag by other means
			default:
				detail = a.String() + " needs packets with a VLAN tag, or a PUSH_VLAN before it"
			}
			if a.Type == flow.PopVLAN {
				tags = max(0, tags-1)
			} else if makesTags {
				tags = 1
			}
		case flow.SetIPSrc, flow.SetIPDst:
			switch {
			case a.Addr.Is4():
				detail = family(a, flow.EthTypeIPv4)
			case a.Addr.Is6():
				detail = family(a, flow.EthTypeIPv6)
			default:
				detail = a.String() + " has no address"
			}
		case flow.SetIPDSCP:
			if detail = most(a, 0x3f); detail == "" {
				detail = family(a, 0)
			}
		case flow.DecTTL:
			detail = family(a, 0)
		case flow.SetL4Src, flow.SetL4Dst:
			if detail = most(a, 0xffff); detail == "" {
				detail = ports(a, m, withheld)
			}
		}
		if detail != "" {
			return detail
		}
	}
	return ""
}

// ports checks that packets of m have the ports that a writes.
func ports(a *flow.Action, m *flow.Match, withheld flow.Field) string {
	hasPorts := func(proto uint8) bool {
		return proto == flow.ProtoTCP || proto == flow.ProtoUDP || proto == flow.ProtoSCTP
	}
	switch {
	case a.IPProto != 0 && !hasPorts(a.IPProto):
		return fmt.Sprintf("%v of ip_proto %d, which has no ports", a, a.IPProto)
	case !m.Has(flow.FieldIPProto) && withheld&flow.FieldIPProto != 0:
		return ""
	case !m.Has(flow.FieldIPProto) || !hasPorts(m.IPProto):
		return a.String() + " needs packets of ip_proto 6, 17 or 132"
	case a.IPProto != 0 && a.IPProto != m.IPProto:
		return fmt.Sprintf("%v is of ip_proto %d, and the packets are of %d", a, a.IPProto, m.IPProto)
	}
	return ""
}

// written returns the fields that a list of actions may change.
func written(list []flow.Action) (f flow.Field) {
	for i := range list {
		switch list[i].Type {
		case flow.PushVLAN, flow.PopVLAN, flow.SetVLANVID, flow.SetVLANPCP:
			f |= flow.FieldVLAN | flow.FieldVLANPCP
		case flow.SetEthSrc:
			f |= flow.FieldEthSrc
		case flow.SetEthDst:
			f |= flow.FieldEthDst
		case flow.SetIPSrc:
			f |= flow.FieldIPSrc
		case flow.SetIPDst:
			f |= flow.FieldIPDst
		case flow.SetIPDSCP:
			f |= flow.FieldIPDSCP
		case flow.SetL4Src:
			f |= flow.FieldL4Src
		case flow.SetL4Dst:
			f |= flow.FieldL4Dst
		case flow.Unsupported:
			f = ^flow.Field(0)
		}
	}
	return f
}
