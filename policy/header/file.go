package header

import (
	"fmt"
	"net/netip"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind]. Its items are the rules.
func (Kind) Parse(f *syntax.File, n *syntax.Node) (_ policy.Source, rules []*syntax.Node) {
	c := &Config{}
	f.Mapping(n, Name,
		syntax.Key("rules", func(n *syntax.Node) {
			names := make(map[string]int)
			for i, r := range f.Sequence(n, "header: rules") {
				rule := parseRule(f, r, i)
				if first, taken := names[rule.Name]; taken && rule.Name != "" {
					f.Errorf(r, "header: rule %s: the name is that of the rule on line %d", rule.Name, first)
				}
				names[rule.Name] = r.Line
				c.Rules = append(c.Rules, rule)
				rules = append(rules, r)
			}
		}),
		syntax.Key("max_proactive", func(n *syntax.Node) { c.MaxProactive = int(f.Number(n, "header: max_proactive", 1, 65535)) }),
	)
	return c, rules
}

// defaultPriority is a rule's that names none.
const defaultPriority = 100

func parseRule(f *syntax.File, n *syntax.Node, index int) Rule {
	r := Rule{Priority: defaultPriority}
	// Errors name the rule, so its name is read before the rest.
	where := fmt.Sprintf("header: rule %d", index+1)
	if n.Shape == syntax.Mapping {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" && n.Content[i+1].Shape == syntax.Scalar {
				where = "header: rule " + n.Content[i+1].Value
			}
		}
	}
	acted, replies := false, false
	f.Mapping(n, where,
		syntax.Key("name", func(n *syntax.Node) { r.Name, _ = syntax.Parsed(f, n, where+": name", parseName) }),
		syntax.Key("comment", func(n *syntax.Node) { r.Comment, _ = f.Scalar(n, where+": comment") }),
		syntax.Key("priority", func(n *syntax.Node) {
			r.Priority = uint16(f.Number(n, where+": priority", policy.MinPriority, policy.MaxPriority))
		}),
		syntax.Key("match", func(n *syntax.Node) { r.Match = parseCondition(f, n, where+": match") }),
		syntax.Key("action", func(n *syntax.Node) { acted = true; r.Action = parseAction(f, n, where+": action") }),
		syntax.Key("replies", func(n *syntax.Node) { replies = f.Allow(n, where+": replies") }),
		syntax.Key("proactive", func(n *syntax.Node) { r.Proactive = f.Boolean(n, where+": proactive") }),
	)
	r.Action.Replies = replies // whichever comes first
	if !acted {
		f.Errorf(n, "%s: want an action", where)
	}
	return r
}

// parseName takes what can stand in a reason and a log line.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%.80q: want at most 64 printable characters without spaces", s)
	}
	return s, nil
}

func parseAction(f *syntax.File, n *syntax.Node, where string) (a Action) {
	if n.Shape == syntax.Scalar {
		a.Deny, _ = syntax.Parsed(f, n, where, func(s string) (bool, error) {
			if s != "allow" && s != "deny" {
				return false, fmt.Errorf("%q: want allow, deny, or a mapping with output, set-queue or meter", s)
			}
			return s == "deny", nil
		})
		return a
	}
	f.Mapping(n, where,
		syntax.Key("output", func(n *syntax.Node) {
			ports := []*syntax.Node{n}
			if n.Shape == syntax.Sequence {
				ports = n.Content
			}
			for _, n := range ports {
				if p, ok := syntax.Parsed(f, n, where+": output", flow.ParsePort); ok {
					a.Output = append(a.Output, p)
				}
			}
		}),
		syntax.Key("set-queue", func(n *syntax.Node) {
			a.SetQueue = true
			a.Queue = uint32(f.Number(n, where+": set-queue", 0, 0xfffffffe))
		}),
		syntax.Key("meter", func(n *syntax.Node) { a.Meter = uint32(f.Number(n, where+": meter", 1, 0xffff0000)) }),
	)
	return a
}

// parseCondition reads a match. The keys of ports and ICMP types say the protocol too.
func parseCondition(f *syntax.File, n *syntax.Node, where string) (c Condition) {
	m := &c.Header
	at := func(name string) string { return where + ": " + name }

	// proto sets ip_proto for a key that implies it.
	proto := func(n *syntax.Node, name string, p uint8) {
		if m.Has(flow.FieldIPProto) && m.IPProto != p {
			f.Errorf(n, "%s: another key asks for ip_proto %d", at(name), m.IPProto)
			return
		}
		m.SetIPProto(p)
	}
	ports := func(name string, p uint8, side **PortRange) syntax.Field {
		return syntax.Key(name, func(n *syntax.Node) {
			proto(n, name, p)
			if r, ok := syntax.Parsed(f, n, at(name), parsePorts); ok {
				*side = &r
			}
		})
	}
	icmp := func(name string, p uint8, field flow.Field, value *uint8) syntax.Field {
		return syntax.Key(name, func(n *syntax.Node) {
			proto(n, name, p)
			m.Fields |= field
			*value = uint8(f.Number(n, at(name), 0, 255))
		})
	}
	mac := func(name string, set func(*flow.Match, flow.MAC, flow.MAC)) syntax.Field {
		return syntax.Key(name, func(n *syntax.Node) {
			if a, ok := syntax.Parsed(f, n, at(name), parseMAC); ok {
				set(m, a.addr, a.mask)
			}
		})
	}
	prefix := func(name string, set func(*flow.Match, netip.Prefix), only4 bool) syntax.Field {
		return syntax.Key(name, func(n *syntax.Node) {
			p, ok := syntax.Parsed(f, n, at(name), syntax.ParsePrefix)
			if ok && only4 && !p.Addr().Is4() {
				f.Errorf(n, "%s: %v is not IPv4", at(name), p)
			} else if ok {
				set(m, p)
			}
		})
	}
	keys := []syntax.Field{
		syntax.Key("in_port", func(n *syntax.Node) {
			if p, ok := syntax.Parsed(f, n, at("in_port"), parseInPort); ok {
				m.SetInPort(p)
			}
		}),
		mac("eth_src", (*flow.Match).SetEthSrc),
		mac("eth_dst", (*flow.Match).SetEthDst),
		syntax.Key("eth_type", func(n *syntax.Node) {
			if t, ok := syntax.Parsed(f, n, at("eth_type"), parseEthType); ok {
				m.SetEthType(t)
			}
		}),
		syntax.Key("vlan_vid", func(n *syntax.Node) {
			if v, ok := syntax.Parsed(f, n, at("vlan_vid"), parseVLAN); ok {
				m.SetVLAN(v.id, v.mask)
			}
		}),
		syntax.Key("ip_proto", func(n *syntax.Node) {
			if p, ok := syntax.Parsed(f, n, at("ip_proto"), parseProto); ok {
				proto(n, "ip_proto", p)
			}
		}),
		prefix("ip_src", (*flow.Match).SetIPSrc, false),
		prefix("ip_dst", (*flow.Match).SetIPDst, false),
		ports("tcp_src", flow.ProtoTCP, &c.Src), ports("tcp_dst", flow.ProtoTCP, &c.Dst),
		ports("udp_src", flow.ProtoUDP, &c.Src), ports("udp_dst", flow.ProtoUDP, &c.Dst),
		ports("sctp_src", flow.ProtoSCTP, &c.Src), ports("sctp_dst", flow.ProtoSCTP, &c.Dst),
		icmp("icmp_type", flow.ProtoICMP, flow.FieldICMPType, &m.ICMPType),
		icmp("icmp_code", flow.ProtoICMP, flow.FieldICMPCode, &m.ICMPCode),
		icmp("icmpv6_type", flow.ProtoICMPv6, flow.FieldICMPType, &m.ICMPType),
		icmp("icmpv6_code", flow.ProtoICMPv6, flow.FieldICMPCode, &m.ICMPCode),
		syntax.Key("arp_op", func(n *syntax.Node) {
			if op, ok := syntax.Parsed(f, n, at("arp_op"), parseARPOp); ok {
				m.Fields |= flow.FieldARPOp
				m.ARPOp = op
			}
		}),
		prefix("arp_spa", (*flow.Match).SetARPSPA, true),
		prefix("arp_tpa", (*flow.Match).SetARPTPA, true),
	}
	f.Mapping(n, where, keys...)
	return c
}

func parseInPort(s string) (flow.PortNo, error) {
	p, err := flow.ParsePort(s)
	if err == nil && (p == 0 || p.Reserved() && p != flow.PortLocal) {
		err = fmt.Errorf("%q: packets come from a port of the switch, or LOCAL", s)
	}
	return p, err
}

// parsePorts reads 22 or 8000-8080.
func parsePorts(s string) (r PortRange, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err1 := flow.ParseNumber(strings.TrimSpace(first), 16)
	b, err2 := flow.ParseNumber(strings.TrimSpace(last), 16)
	if err1 != nil || err2 != nil || a > b {
		return r, fmt.Errorf("%q: want a port such as 22, or a range such as 8000-8080", s)
	}
	return PortRange{First: uint16(a), Last: uint16(b)}, nil
}

type maskedMAC struct{ addr, mask flow.MAC }

// parseMAC reads an address, or an address/mask of the same form.
func parseMAC(s string) (m maskedMAC, err error) {
	addr, mask, masked := strings.Cut(s, "/")
	m.mask = flow.MACExact
	if m.addr, err = flow.ParseMAC(addr); err != nil {
		return m, err
	}
	if masked {
		if m.mask, err = flow.ParseMAC(mask); err != nil {
			return m, fmt.Errorf("mask: %w", err)
		}
		if m.addr.And(m.mask) != m.addr {
			return m, fmt.Errorf("%s has bits that its mask leaves out", s)
		}
	}
	return m, nil
}

var ethTypes = map[string]uint16{
	"ipv4": flow.EthTypeIPv4, "arp": flow.EthTypeARP, "ipv6": flow.EthTypeIPv6, "lldp": flow.EthTypeLLDP,
}

func parseEthType(s string) (uint16, error) {
	if t, ok := ethTypes[s]; ok {
		return t, nil
	}
	v, err := flow.ParseNumber(s, 16)
	if err != nil || v < 0x05ff || v == flow.EthTypeVLAN || v == flow.EthTypeQinQ {
		return 0, fmt.Errorf("%q: want ipv4, ipv6, arp, lldp, or a number from 0x0600 (0x05ff: 802.3) in decimal or in hexadecimal after 0x, and vlan_vid for tags", s)
	}
	return uint16(v), nil
}

type vlan struct{ id, mask uint16 }

// parseVLAN reads a VID, none for packets without a tag, or any for those with one.
func parseVLAN(s string) (vlan, error) {
	switch s {
	case "none":
		return vlan{flow.VLANNone, flow.VLANExact}, nil
	case "any":
		return vlan{flow.VLANPresent, flow.VLANPresent}, nil
	}
	v, err := flow.ParseNumber(s, 16)
	if err != nil || v > 4095 {
		return vlan{}, fmt.Errorf("%q: want 0 to 4095 in decimal or in hexadecimal after 0x, none or any", s)
	}
	return vlan{flow.VLANPresent | uint16(v), flow.VLANExact}, nil
}

var protocols = map[string]uint8{
	"icmp": flow.ProtoICMP, "tcp": flow.ProtoTCP, "udp": flow.ProtoUDP, "icmpv6": flow.ProtoICMPv6, "sctp": flow.ProtoSCTP,
}

func parseProto(s string) (uint8, error) {
	if p, ok := protocols[s]; ok {
		return p, nil
	}
	v, err := flow.ParseNumber(s, 8)
	if err != nil {
		return 0, fmt.Errorf("%q: want tcp, udp, sctp, icmp, icmpv6 or a number to 255, in decimal or in hexadecimal after 0x", s)
	}
	return uint8(v), nil
}

func parseARPOp(s string) (uint16, error) {
	switch s {
	case "request":
		return 1, nil
	case "reply":
		return 2, nil
	}
	v, err := flow.ParseNumber(s, 16)
	if err != nil {
		return 0, fmt.Errorf("%q: want request, reply or a number, in decimal or in hexadecimal after 0x", s)
	}
	return uint16(v), nil
}
