package header

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/syntax"
)

// Parse implements [policy.Kind]. Its items are the rules.
func (Kind) Parse(f *syntax.File, n *syntax.Node) (_ policy.Source, rules []*syntax.Node) {
	c := &Config{Zone: zone(f)}
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
	if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return len(r.Hours) > 0 }) {
		c.Zone = nil
	}
	return c, rules
}

func zone(f *syntax.File) []Shift {
	if f.Zone == nil {
		return nil
	}
	return ShiftsOf(f.Zone)
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
	acted, log := false, false
	var replies *bool // whichever comes first
	strict := false
	days, hours, timed := [7]bool{true, true, true, true, true, true, true}, [][2]int{{0, day}}, false
	f.Mapping(n, where,
		syntax.Key("name", func(n *syntax.Node) { r.Name, _ = syntax.Parsed(f, n, where+": name", parseName) }),
		syntax.Key("comment", func(n *syntax.Node) { r.Comment, _ = f.Scalar(n, where+": comment") }),
		syntax.Key("priority", func(n *syntax.Node) {
			r.Priority = uint16(f.Number(n, where+": priority", policy.MinPriority, policy.MaxPriority))
		}),
		syntax.Key("match", func(n *syntax.Node) {
			if list := ParseConditions(f, n, where+": match"); len(list) > 0 {
				if r.Match = list[0]; len(list) > 1 {
					r.Or = list[1:]
				}
			}
		}),
		syntax.Key("tcp_flags", func(n *syntax.Node) { r.Flags = ParseFlags(f, n, where+": tcp_flags") }),
		syntax.Key("hours", func(n *syntax.Node) { hours, timed = listOf(f, n, where+": hours", parseHours), true }),
		syntax.Key("days", func(n *syntax.Node) {
			days, timed = [7]bool{}, true
			for _, list := range listOf(f, n, where+": days", parseDays) {
				for d := range days {
					days[d] = days[d] || list[d]
				}
			}
		}),
		syntax.Key("action", func(n *syntax.Node) { acted = true; r.Action = parseAction(f, n, where+": action") }),
		syntax.Key("replies", func(n *syntax.Node) { allow := f.Allow(n, where+": replies"); replies = &allow }),
		syntax.Key("tcp", func(n *syntax.Node) { strict = f.Strict(n, where+": tcp") }),
		syntax.Key("log", func(n *syntax.Node) { log = f.Boolean(n, where+": log") }),
		syntax.Key("proactive", func(n *syntax.Node) { r.Proactive = f.Boolean(n, where+": proactive") }),
	)
	r.Action.Log = log
	if timed {
		r.Hours = spans(days, hours)
	}
	r.Action.Strict = strict
	if replies != nil {
		r.Action.Replies, r.Action.NoReply = *replies, !*replies && r.Action.Deny
	}
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
		word, _ := syntax.Parsed(f, n, where, func(s string) (string, error) {
			if s != "allow" && s != "deny" && s != "reject" {
				return "", fmt.Errorf("%q: want allow, deny, reject, or a mapping with output, set-queue or meter", s)
			}
			return s, nil
		})
		a.Deny, a.Reject = word == "deny" || word == "reject", word == "reject"
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

// ParseCondition reads a match. The keys of ports and ICMP types say the protocol too. more are keys that n has not, and that the
// error about an unknown one names beside those of a match, for a mapping of which n is a part.
func ParseCondition(f *syntax.File, n *syntax.Node, where string, more ...string) (c Condition) {
	r := conditionReader{f: f, at: where + ": ", c: &c}
	var keys []syntax.Field
	for _, name := range more {
		keys = append(keys, syntax.Key(name, func(*syntax.Node) {}))
	}
	for i := range flow.Fields {
		if x := flow.Printed(i); x.Field&ruleFields != 0 {
			keys = append(keys, r.keys(x)...)
		}
	}
	f.Mapping(n, where, keys...)
	return c
}

// conditionReader reads the keys of a match.
type conditionReader struct {
	f  *syntax.File
	at string // for errors, before a key's name
	c  *Condition
	by string // the key that says the protocol
}

// keys returns the keys of a field: those that say a protocol, or its name alone.
func (r *conditionReader) keys(x *flow.FieldInfo) (keys []syntax.Field) {
	if x.Need != flow.NeedPorts && x.Need != flow.NeedICMP {
		return []syntax.Field{syntax.Key(x.Name, func(n *syntax.Node) { r.value(n, x.Name, x) })}
	}
	for i := range x.OXM {
		o := &x.OXM[i]
		name := o.Name
		if name == "icmpv4_type" || name == "icmpv4_code" {
			name = x.Name
		}
		keys = append(keys, syntax.Key(name, func(n *syntax.Node) {
			r.proto(n, name, o.Proto)
			r.value(n, name, x)
		}))
	}
	return keys
}

// proto sets ip_proto, which other keys may imply.
func (r *conditionReader) proto(n *syntax.Node, name string, p uint8) {
	m := &r.c.Header
	if m.Has(flow.FieldIPProto) && m.IPProto != p {
		r.f.Errorf(n, "%s%s: it is of %s, and %s of %s: a packet has one protocol", r.at, name, protoWord(p), cmp.Or(r.by, "another key"), protoWord(m.IPProto))
		return
	}
	m.SetIPProto(p)
	r.by = name
}

// value reads the value of a field.
func (r *conditionReader) value(n *syntax.Node, name string, x *flow.FieldInfo) {
	f, at, m := r.f, r.at+name, &r.c.Header
	switch {
	case x.Need == flow.NeedPorts:
		if ports, ok := syntax.Parsed(f, n, at, parsePorts); ok && x.Field == flow.FieldL4Src {
			r.c.Src = &ports
		} else if ok {
			r.c.Dst = &ports
		}
	case x.Field == flow.FieldIPProto:
		if p, ok := syntax.Parsed(f, n, at, numberParser(x)); ok {
			r.proto(n, name, uint8(p))
		}
	case x.Kind == flow.PortNumber:
		if p, ok := syntax.Parsed(f, n, at, parseInPort); ok {
			x.SetNumber(m, uint64(p), 0)
		}
	case x.Kind == flow.VLANTag:
		if v, ok := syntax.Parsed(f, n, at, parseVLAN); ok {
			x.SetNumber(m, uint64(v.id), uint64(v.mask))
		}
	case x.Kind == flow.MaskedMAC:
		if a, ok := syntax.Parsed(f, n, at, parseMAC); ok {
			x.SetMAC(m, a.addr, a.mask)
		}
	case x.Kind == flow.Address:
		if a, ok := syntax.Parsed(f, n, at, flow.ParseMAC); ok {
			x.SetMAC(m, a, flow.MACExact)
		}
	case x.Kind == flow.Prefix:
		p, ok := syntax.Parsed(f, n, at, syntax.ParsePrefix)
		if ok && x.Need == flow.NeedARP && !p.Addr().Is4() {
			f.Errorf(n, "%s: %v is not IPv4", at, p)
		} else if ok {
			x.SetPrefix(m, p)
		}
	case x.Kind == flow.IPv6:
		if p, ok := syntax.Parsed(f, n, at, syntax.ParsePrefix); ok && p.IsSingleIP() && p.Addr().Is6() {
			x.SetAddr(m, p.Addr())
		} else if ok {
			f.Errorf(n, "%s: %v is not an IPv6 address", at, p)
		}
	default:
		if v, ok := syntax.Parsed(f, n, at, numberParser(x)); ok {
			x.SetNumber(m, v, 0)
		}
	}
}

// words are what stands for numbers.
var words = map[flow.Field][]struct {
	word  string
	value uint64
}{
	flow.FieldEthType: {{"ipv4", flow.EthTypeIPv4}, {"ipv6", flow.EthTypeIPv6}, {"arp", flow.EthTypeARP}, {"lldp", flow.EthTypeLLDP}},
	flow.FieldIPProto: {{"tcp", flow.ProtoTCP}, {"udp", flow.ProtoUDP}, {"sctp", flow.ProtoSCTP}, {"icmp", flow.ProtoICMP}, {"icmpv6", flow.ProtoICMPv6}},
	flow.FieldARPOp:   {{"request", 1}, {"reply", 2}},
}

// protoWord is how policies write a protocol.
func protoWord(p uint8) string {
	for _, w := range words[flow.FieldIPProto] {
		if w.value == uint64(p) {
			return w.word
		}
	}
	return fmt.Sprintf("ip_proto %d", p)
}

// numberParser reads a number that a field has room for, or a word for one.
func numberParser(x *flow.FieldInfo) func(string) (uint64, error) {
	return func(s string) (uint64, error) {
		want := "want "
		for _, w := range words[x.Field] {
			if s == w.word {
				return w.value, nil
			}
			want += w.word + ", "
		}
		v, err := flow.ParseNumber(s, 64)
		if x.Field == flow.FieldEthType && (err != nil || v < 0x05ff || v > 0xffff || v == flow.EthTypeVLAN || v == flow.EthTypeQinQ) {
			return 0, fmt.Errorf("%q: %sor a number from 0x0600 (0x05ff: 802.3) in decimal or in hexadecimal after 0x, and vlan_vid for tags", s, want)
		}
		if len(words[x.Field]) > 0 {
			want += "or "
		}
		if err != nil || v > x.Ones() {
			return 0, fmt.Errorf("%q: %sa number from 0 to %d, in decimal or in hexadecimal after 0x", s, want, x.Ones())
		}
		return v, nil
	}
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
	r.First, r.Last, err = syntax.ParsePorts(s)
	return r, err
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
