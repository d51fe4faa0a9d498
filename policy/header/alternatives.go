package header

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"switchbridge/flow"
	"switchbridge/policy/syntax"
)

// maxAlternatives is how many conditions one match may be written out to.
const maxAlternatives = 10_000

// Keys of a match that stand for those of fields. ParseConditions writes them out.
const (
	keyFrom    = "from"
	keyTo      = "to"
	keyService = "service"
	keyNot     = "not"
)

// ParseConditions reads a match, which may name groups, have lists of values, and say what must not hold. It returns conditions, each with its
// prerequisites: a packet meets the match if it meets one of them. After it has reported an error to f, it returns none.
func ParseConditions(f *syntax.File, n *syntax.Node, where string) []Condition {
	if n.Shape != syntax.Mapping || !written(f, n) {
		return []Condition{ParseCondition(f, n, where, keyFrom, keyTo, keyService, keyNot)}
	}
	w := writer{f, where, n}
	var all []choices
	number := 1
	for i := 0; i+1 < len(n.Content); i += 2 {
		list := w.key(n.Content[i], n.Content[i+1])
		if len(list) == 0 {
			return nil
		}
		all = append(all, list)
		if number *= len(list); number > maxAlternatives {
			f.Errorf(n, "%s: it stands for more than %d conditions: name fewer values, or use a blocklist", where, maxAlternatives)
			return nil
		}
	}
	// What is wrong with one value is said once.
	faults := len(f.Errs)
	keys := map[string]bool{}
	for i, list := range all {
		name := n.Content[2*i]
		if keys[name.Value] {
			f.Errorf(name, "%s: %s is given twice", where, name.Value)
		}
		keys[name.Value] = true
		for _, c := range list {
			if ParseCondition(f, w.mapping(c), where, keyFrom, keyTo, keyService, keyNot); len(f.Errs) > faults {
				return nil
			}
		}
	}
	conditions := make([]Condition, 0, number)
	var contradiction *syntax.Error
	at := make([]int, len(all))
	for range number {
		var c choice
		for i, list := range all {
			c = append(c, list[at[i]]...)
		}
		condition := ParseCondition(f, w.mapping(c), where, keyFrom, keyTo, keyService, keyNot)
		if err := condition.Validate(); err != nil && len(f.Errs) == faults {
			f.Errorf(n, "%s: %v", where, err)
		}
		if len(f.Errs) > faults { // values of different families or protocols
			contradiction, f.Errs = f.Errs[faults], f.Errs[:faults]
		} else {
			conditions = append(conditions, *condition.Completed())
		}
		for i := len(at) - 1; i >= 0; i-- {
			if at[i]++; at[i] < len(all[i]) {
				break
			}
			at[i] = 0
		}
	}
	if len(conditions) == 0 {
		f.Errs = append(f.Errs, contradiction)
	}
	return conditions
}

// written reports whether a match must be written out.
func written(f *syntax.File, n *syntax.Node) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key, value := n.Content[i].Value, n.Content[i+1]; {
		case key == keyFrom || key == keyTo || key == keyService || key == keyNot || value.Shape == syntax.Sequence || f.Names(value.Value):
			return true
		}
	}
	return false
}

// choice is a list of keys and values, in turn, all of which must hold. Of choices, one must hold.
type (
	choice  []*syntax.Node
	choices []choice
)

// writer writes the keys of a match out.
type writer struct {
	f     *syntax.File
	where string
	n     *syntax.Node
}

func (w *writer) mapping(c choice) *syntax.Node {
	return &syntax.Node{Shape: syntax.Mapping, Line: w.n.Line, Content: c}
}

// is returns the choice of one key and value.
func is(line int, key, value string) choice {
	return choice{{Line: line, Value: key}, {Line: line, Value: value}}
}

// key returns the choices that a key stands for, or none after it has reported an error.
func (w *writer) key(name, value *syntax.Node) (list choices) {
	where := w.where + ": " + name.Value
	switch name.Value {
	case keyFrom, keyTo:
		g, ok := w.f.Hosts(value, where)
		if !ok {
			return nil
		}
		ip, eth := sides(name.Value)
		return append(hostChoices(value.Line, ip, g.Prefixes), macChoices(value.Line, eth, g.MACs)...)
	case keyService:
		g, ok := w.f.Services(value, where)
		if !ok {
			return nil
		}
		for _, s := range g.Services {
			list = append(list, serviceChoice(value.Line, s))
		}
		return list
	case keyNot:
		return w.not(value)
	}
	items := []*syntax.Node{value}
	if value.Shape == syntax.Sequence {
		if items = value.Content; len(items) == 0 {
			w.f.Errorf(value, "%s: want at least one value", where)
			return nil
		}
	}
	x := fieldNamed(name.Value)
	for _, item := range items {
		if !w.f.Names(item.Value) || item.Shape != syntax.Scalar || x == nil || x.Kind != flow.Prefix && x.Kind != flow.MaskedMAC {
			list = append(list, choice{name, item})
			continue
		}
		g, err := w.f.Grouped(item.Value)
		if err != nil {
			w.f.Errorf(item, "%s: %v", where, err)
			return nil
		}
		var of choices
		if x.Kind == flow.Prefix {
			of = hostChoices(item.Line, name.Value, g.Prefixes)
		} else {
			of = macChoices(item.Line, name.Value, g.MACs)
		}
		if len(of) == 0 {
			w.f.Errorf(item, "%s: group %s has no such address", where, item.Value)
			return nil
		}
		list = append(list, of...)
	}
	return list
}

// sides are the fields of hosts that send, or of those that packets are for.
func sides(key string) (ip, eth string) {
	if key == keyTo {
		return "ip_dst", "eth_dst"
	}
	return "ip_src", "eth_src"
}

// fieldNamed is the field of a key; nil where that is none of its own, or needs a protocol.
func fieldNamed(key string) *flow.FieldInfo {
	for i := range flow.Fields {
		if x := flow.Printed(i); x.Name == key && x.Field&ruleFields != 0 {
			return x
		}
	}
	return nil
}

func hostChoices(line int, key string, list []netip.Prefix) (out choices) {
	for _, p := range list {
		out = append(out, is(line, key, p.String()))
	}
	return out
}

func macChoices(line int, key string, list []flow.MAC) (out choices) {
	for _, a := range list {
		out = append(out, is(line, key, a.String()))
	}
	return out
}

// protoNames are the words of protocols with ports.
var protoNames = map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp"}

func serviceChoice(line int, s syntax.Service) choice {
	if s.AnyPort() {
		return is(line, "ip_proto", strconv.Itoa(int(s.Proto)))
	}
	return is(line, protoNames[s.Proto]+"_dst", fmt.Sprintf("%d-%d", s.First, s.Last))
}

// not returns the choices that exclude a mapping's values: every key must have another value. A packet that lacks one of these fields doesn't meet them.
func (w *writer) not(n *syntax.Node) choices {
	where := w.where + ": not"
	if n.Shape != syntax.Mapping || len(n.Content) == 0 {
		w.f.Errorf(n, "%s: want a mapping of conditions that must not hold, such as {from: 10.0.0.0/8}", where)
		return nil
	}
	product := choices{nil}
	for i := 0; i+1 < len(n.Content); i += 2 {
		list := w.other(n.Content[i], n.Content[i+1], where+": "+n.Content[i].Value)
		var both choices
		for _, a := range product {
			for _, b := range list {
				if len(both) > maxAlternatives {
					break // which ParseConditions says
				}
				both = append(both, slices.Concat(a, b))
			}
		}
		product = both
	}
	return product
}

// other returns the values of a key other than the given ones, or none after it has reported an error.
func (w *writer) other(name, value *syntax.Node, where string) (list choices) {
	fail := func(format string, args ...any) choices {
		w.f.Errorf(value, "%s: %s", where, fmt.Sprintf(format, args...))
		return nil
	}
	key, x := name.Value, fieldNamed(name.Value)
	switch {
	case key == keyFrom || key == keyTo || x != nil && (x.Kind == flow.Prefix || x.Kind == flow.MaskedMAC):
		g, ok := w.f.Hosts(value, where)
		ip, eth := sides(key)
		if x != nil {
			ip, eth = key, key
		}
		arp := x != nil && x.Need == flow.NeedARP
		switch {
		case !ok:
			return nil
		case len(g.Prefixes) > 0 && len(g.MACs) > 0:
			return fail("it has IP and Ethernet addresses: give each a rule of its own")
		case x != nil && (x.Kind == flow.Prefix) != (len(g.Prefixes) > 0):
			return fail("want addresses of this field's kind")
		case len(g.Prefixes) > 0:
			list = hostChoices(value.Line, ip, beside(netip.PrefixFrom(netip.IPv4Unspecified(), 0), g.Prefixes))
			if !arp {
				list = append(list, hostChoices(value.Line, ip, beside(netip.PrefixFrom(netip.IPv6Unspecified(), 0), g.Prefixes))...)
			}
		default:
			list = otherMACs(value.Line, eth, g.MACs)
		}
	case key == keyService:
		g, ok := w.f.Services(value, where)
		if !ok {
			return nil
		}
		list = otherServices(value.Line, g.Services)
	case portKey(key) != 0:
		taken, ok := w.ports(value, where)
		if !ok {
			return nil
		}
		for _, r := range otherPorts(taken) {
			list = append(list, is(value.Line, key, fmt.Sprintf("%d-%d", r.First, r.Last)))
		}
	default:
		numbers := smallField(key)
		if numbers == nil {
			return fail("packets with other values can't be listed; use a rule of higher priority for packets with this one")
		}
		c := w.key(name, value)
		taken := map[uint64]bool{}
		faults := len(w.f.Errs)
		for _, one := range c {
			condition := ParseCondition(w.f, w.mapping(one), w.where+": not")
			for v := range numbers.size {
				if m, given := numbers.with(v), condition.Header.Keep(numbers.field); given.Overlaps(&m) {
					taken[v] = true
				}
			}
		}
		if len(c) == 0 || len(w.f.Errs) > faults {
			return nil
		}
		for v := range numbers.size {
			if !taken[v] {
				list = append(list, is(value.Line, key, numbers.text(v)))
			}
		}
	}
	if len(list) == 0 {
		return fail("every value is left out")
	}
	return list
}

// small is a field with so few values that all but one of them can be written out.
type small struct {
	field flow.Field
	size  uint64
	with  func(v uint64) flow.Match
	text  func(v uint64) string
}

// maxSmall is how many values such a field has at most: those of a VLAN.
const maxSmall = 4096

// smallField is that of a key; nil where there is none.
func smallField(key string) *small {
	field, x := flow.Field(0), fieldNamed(key)
	for i := range flow.Fields {
		if p := flow.Printed(i); p.Need == flow.NeedICMP {
			for _, o := range p.OXM {
				if o.Name == key || (o.Name == "icmpv4_type" || o.Name == "icmpv4_code") && p.Name == key {
					x = p
				}
			}
		}
	}
	if x == nil {
		return nil
	}
	field = x.Field
	s := &small{field: field, size: x.Ones() + 1, text: func(v uint64) string { return strconv.FormatUint(v, 10) }}
	s.with = func(v uint64) (m flow.Match) { x.SetNumber(&m, v, x.Ones()); return m }
	switch {
	case x.Kind == flow.VLANTag: // the last number is none's
		s.size = maxSmall + 1
		s.with = func(v uint64) (m flow.Match) {
			if v == maxSmall {
				m.SetVLAN(flow.VLANNone, flow.VLANExact)
			} else {
				m.SetVLAN(flow.VLANPresent|uint16(v), flow.VLANExact)
			}
			return m
		}
		s.text = func(v uint64) string {
			if v == maxSmall {
				return "none"
			}
			return strconv.FormatUint(v, 10)
		}
	case field == flow.FieldARPOp:
		s.size = 256 // no switch sees a larger one
	case s.size == 0 || s.size > maxSmall:
		return nil
	}
	return s
}

// portKey returns the protocol of a key of ports; 0 where it is none.
func portKey(key string) uint8 {
	for proto, name := range protoNames {
		if key == name+"_src" || key == name+"_dst" {
			return proto
		}
	}
	return 0
}

func (w *writer) ports(n *syntax.Node, where string) (list []PortRange, ok bool) {
	items := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		items = n.Content
	}
	for _, item := range items {
		r, ok := syntax.Parsed(w.f, item, where, parsePorts)
		if !ok {
			return nil, false
		}
		list = append(list, r)
	}
	return list, true
}

// otherPorts returns the ports in none of the ranges.
func otherPorts(taken []PortRange) (list []PortRange) {
	taken = slices.Clone(taken)
	slices.SortFunc(taken, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	next := 0
	for _, r := range taken {
		if int(r.First) > next {
			list = append(list, PortRange{uint16(next), r.First - 1})
		}
		next = max(next, int(r.Last)+1)
	}
	if next <= 0xffff {
		list = append(list, PortRange{uint16(next), 0xffff})
	}
	return list
}

// otherServices returns every other protocol, and the other ports of those that are named with some.
func otherServices(line int, taken []syntax.Service) (list choices) {
	ports := map[uint8][]PortRange{}
	for _, s := range taken {
		ports[s.Proto] = append(ports[s.Proto], PortRange{s.First, s.Last})
	}
	for proto := range 256 {
		of, named := ports[uint8(proto)]
		if !named {
			list = append(list, is(line, "ip_proto", strconv.Itoa(proto)))
			continue
		}
		for _, r := range otherPorts(of) {
			list = append(list, serviceChoice(line, syntax.Service{Proto: uint8(proto), First: r.First, Last: r.Last}))
		}
	}
	return list
}

// beside returns prefixes that together cover p without the addresses in taken.
func beside(p netip.Prefix, taken []netip.Prefix) (list []netip.Prefix) {
	var inside []netip.Prefix
	for _, t := range taken {
		if t.Overlaps(p) {
			if t.Bits() <= p.Bits() {
				return nil
			}
			inside = append(inside, t)
		}
	}
	if len(inside) == 0 {
		return []netip.Prefix{p}
	}
	low, _ := p.Addr().Prefix(p.Bits() + 1)
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	high, _ := netip.AddrFromSlice(b)
	return append(beside(low, inside), beside(netip.PrefixFrom(high, p.Bits()+1), inside)...)
}

// otherMACs returns masked addresses that together cover all addresses but the given ones.
func otherMACs(line int, key string, taken []flow.MAC) (list choices) {
	var prefixes []netip.Prefix // of the first 48 bits
	for _, a := range taken {
		var b [16]byte
		copy(b[:], a[:])
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom16(b), 48))
	}
	for _, p := range beside(netip.PrefixFrom(netip.IPv6Unspecified(), 0), prefixes) {
		b := p.Addr().As16()
		ones := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), p.Bits()).Masked().Addr().As16()
		list = append(list, is(line, key, flow.MAC(b[:6]).String()+"/"+flow.MAC(ones[:6]).String()))
	}
	return list
}
