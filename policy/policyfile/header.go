package policyfile

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
)

func (d *decoder) header(n *yaml.Node) policy.Source {
	c := &header.Config{}
	d.mapping(n, "header", []key{
		{"rules", func(n *yaml.Node) {
			names := make(map[string]int)
			for i, r := range d.sequence(n, "header: rules") {
				rule := d.rule(r, i)
				if first, taken := names[rule.Name]; taken && rule.Name != "" {
					d.errorf(r, "header: rule %s: the name is that of the rule on line %d", rule.Name, first)
				}
				names[rule.Name] = r.Line
				c.Rules = append(c.Rules, rule)
				d.rules[c] = append(d.rules[c], r)
			}
		}},
		{"max_proactive", func(n *yaml.Node) { c.MaxProactive = int(d.number(n, "header: max_proactive", 1, 65535)) }},
	})
	return c
}

// defaultPriority is a rule's that names none.
const defaultPriority = 100

func (d *decoder) rule(n *yaml.Node, index int) header.Rule {
	r := header.Rule{Priority: defaultPriority}
	// Errors name the rule, so its name is read before the rest.
	where := fmt.Sprintf("header: rule %d", index+1)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" && n.Content[i+1].Kind == yaml.ScalarNode {
				where = "header: rule " + n.Content[i+1].Value
			}
		}
	}
	acted := false
	d.mapping(n, where, []key{
		{"name", func(n *yaml.Node) { r.Name, _ = parsed(d, n, where+": name", parseName) }},
		{"comment", func(n *yaml.Node) { r.Comment, _ = d.scalar(n, where+": comment") }},
		{"priority", func(n *yaml.Node) {
			r.Priority = uint16(d.number(n, where+": priority", policy.MinPriority, policy.MaxPriority))
		}},
		{"match", func(n *yaml.Node) { r.Match = d.condition(n, where+": match") }},
		{"action", func(n *yaml.Node) { acted = true; r.Action = d.action(n, where+": action") }},
		{"proactive", func(n *yaml.Node) { r.Proactive = d.boolean(n, where+": proactive") }},
	})
	if !acted {
		d.errorf(n, "%s: want an action", where)
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

func (d *decoder) action(n *yaml.Node, where string) (a header.Action) {
	if n.Kind == yaml.ScalarNode {
		a.Deny, _ = parsed(d, n, where, func(s string) (bool, error) {
			if s != "allow" && s != "deny" {
				return false, fmt.Errorf("%q: want allow, deny, or a mapping with output, set-queue or meter", s)
			}
			return s == "deny", nil
		})
		return a
	}
	d.mapping(n, where, []key{
		{"output", func(n *yaml.Node) {
			ports := []*yaml.Node{n}
			if n.Kind == yaml.SequenceNode {
				ports = n.Content
			}
			for _, n := range ports {
				if p, ok := parsed(d, n, where+": output", flow.ParsePort); ok {
					a.Output = append(a.Output, p)
				}
			}
		}},
		{"set-queue", func(n *yaml.Node) {
			a.SetQueue = true
			a.Queue = uint32(d.number(n, where+": set-queue", 0, 0xfffffffe))
		}},
		{"meter", func(n *yaml.Node) { a.Meter = uint32(d.number(n, where+": meter", 1, 0xffff0000)) }},
	})
	return a
}

// condition reads a match. The keys of ports and ICMP types say the protocol too.
func (d *decoder) condition(n *yaml.Node, where string) (c header.Condition) {
	m := &c.Header
	at := func(name string) string { return where + ": " + name }

	// proto sets ip_proto for a key that implies it.
	proto := func(n *yaml.Node, name string, p uint8) {
		if m.Has(flow.FieldIPProto) && m.IPProto != p {
			d.errorf(n, "%s: another key asks for ip_proto %d", at(name), m.IPProto)
			return
		}
		m.SetIPProto(p)
	}
	ports := func(name string, p uint8, side **header.PortRange) key {
		return key{name, func(n *yaml.Node) {
			proto(n, name, p)
			if r, ok := parsed(d, n, at(name), parsePorts); ok {
				*side = &r
			}
		}}
	}
	icmp := func(name string, p uint8, f flow.Field, value *uint8) key {
		return key{name, func(n *yaml.Node) {
			proto(n, name, p)
			m.Fields |= f
			*value = uint8(d.number(n, at(name), 0, 255))
		}}
	}
	mac := func(name string, set func(*flow.Match, flow.MAC, flow.MAC)) key {
		return key{name, func(n *yaml.Node) {
			if a, ok := parsed(d, n, at(name), parseMAC); ok {
				set(m, a.addr, a.mask)
			}
		}}
	}
	prefix := func(name string, set func(*flow.Match, netip.Prefix), only4 bool) key {
		return key{name, func(n *yaml.Node) {
			p, ok := parsed(d, n, at(name), parsePrefix)
			if ok && only4 && !p.Addr().Is4() {
				d.errorf(n, "%s: %v is not IPv4", at(name), p)
			} else if ok {
				set(m, p)
			}
		}}
	}
	keys := []key{
		{"in_port", func(n *yaml.Node) {
			if p, ok := parsed(d, n, at("in_port"), parseInPort); ok {
				m.SetInPort(p)
			}
		}},
		mac("eth_src", (*flow.Match).SetEthSrc),
		mac("eth_dst", (*flow.Match).SetEthDst),
		{"eth_type", func(n *yaml.Node) {
			if t, ok := parsed(d, n, at("eth_type"), parseEthType); ok {
				m.SetEthType(t)
			}
		}},
		{"vlan_vid", func(n *yaml.Node) {
			if v, ok := parsed(d, n, at("vlan_vid"), parseVLAN); ok {
				m.SetVLAN(v.id, v.mask)
			}
		}},
		{"ip_proto", func(n *yaml.Node) {
			if p, ok := parsed(d, n, at("ip_proto"), parseProto); ok {
				proto(n, "ip_proto", p)
			}
		}},
		prefix("ip_src", (*flow.Match).SetIPSrc, false),
		prefix("ip_dst", (*flow.Match).SetIPDst, false),
		ports("tcp_src", flow.ProtoTCP, &c.Src), ports("tcp_dst", flow.ProtoTCP, &c.Dst),
		ports("udp_src", flow.ProtoUDP, &c.Src), ports("udp_dst", flow.ProtoUDP, &c.Dst),
		ports("sctp_src", flow.ProtoSCTP, &c.Src), ports("sctp_dst", flow.ProtoSCTP, &c.Dst),
		icmp("icmp_type", flow.ProtoICMP, flow.FieldICMPType, &m.ICMPType),
		icmp("icmp_code", flow.ProtoICMP, flow.FieldICMPCode, &m.ICMPCode),
		icmp("icmpv6_type", flow.ProtoICMPv6, flow.FieldICMPType, &m.ICMPType),
		icmp("icmpv6_code", flow.ProtoICMPv6, flow.FieldICMPCode, &m.ICMPCode),
		{"arp_op", func(n *yaml.Node) {
			if op, ok := parsed(d, n, at("arp_op"), parseARPOp); ok {
				m.Fields |= flow.FieldARPOp
				m.ARPOp = op
			}
		}},
		prefix("arp_spa", (*flow.Match).SetARPSPA, true),
		prefix("arp_tpa", (*flow.Match).SetARPTPA, true),
	}
	d.mapping(n, where, keys)
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
func parsePorts(s string) (r header.PortRange, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err1 := flow.ParseNumber(strings.TrimSpace(first), 16)
	b, err2 := flow.ParseNumber(strings.TrimSpace(last), 16)
	if err1 != nil || err2 != nil || a > b {
		return r, fmt.Errorf("%q: want a port such as 22, or a range such as 8000-8080", s)
	}
	return header.PortRange{First: uint16(a), Last: uint16(b)}, nil
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
