package draft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/replay/capture"
)

// Bounds of what is suggested.
const (
	maxConversations = 1 << 20
	// spread is to how many hosts outside one speaks by one service before the draft says all of outside.
	spread = 8
	// fewest is how many conversations with the outside make a machine out of a device that asks a name server before each.
	fewest = 3
	// least is how long such a machine lets it speak after a question, at the least.
	least = time.Minute
)

// Observed is what a suggestion was made of.
type Observed struct {
	Packets    int
	Unanswered int // conversations that nobody has answered, such as a scan's: they are not suggested
	Incomplete int // packets that don't show all that they have
}

// ends tells a conversation from others: the side that asks, as far as is known, and the other one.
type ends struct {
	from, to netip.AddrPort
	proto    uint8
}

// talk is a conversation.
type talk struct {
	ends
	first         int // the packet's number
	began, last   time.Time
	there, back   int // packets of the side that asks, and of the other
	syn           bool
	sinceQuestion time.Duration // how long before it the side that asks has asked a name server; negative: never
}

// service is what hosts ask a host for.
type service struct {
	host  netip.Addr // not valid: any outside
	proto uint8
	port  uint16
}

// seen is evidence.
type seen struct {
	talks, packets, first int
	hosts                 map[netip.Addr]bool
}

func (s *seen) text() string {
	text := fmt.Sprintf("%s, %s, the first is %d", count(s.talks, "conversation"), count(s.packets, "packet"), s.first)
	if len(s.hosts) > 1 {
		text += "; " + count(len(s.hosts), "host")
	}
	return text
}

// count writes a number of things.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (s *seen) add(packets, first int, host netip.Addr) {
	if s.talks++; s.first == 0 || first < s.first {
		s.first = first
	}
	s.packets += packets
	if s.hosts == nil {
		s.hosts = make(map[netip.Addr]bool)
	}
	s.hosts[host] = true
}

// plain is a packet that is of no conversation with two ports.
type plain struct {
	ethType  uint16
	from, to netip.Addr
	proto    uint8
	port     uint16
	icmpType uint8
}

// watch gathers what hosts do.
type watch struct {
	Observed
	talks  map[ends]*talk
	order  []*talk
	plains map[plain]*seen
	asked  map[netip.Addr]time.Time // when a host has asked a name server last
}

// Suggest makes a draft that allows what the packets of r show, and nothing else: each service that somebody was answered by, to those who asked
// for it. Hosts with the same services stand together.
func Suggest(ctx context.Context, r *capture.Reader) (*Policy, *Observed, error) {
	w := watch{talks: make(map[ends]*talk), plains: make(map[plain]*seen), asked: make(map[netip.Addr]time.Time)}
	for ctx.Err() == nil {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w.policy(), &w.Observed, nil
		}
		if err == nil {
			err = w.packet(p)
		}
		if err != nil {
			return nil, &w.Observed, err
		}
	}
	return nil, &w.Observed, context.Cause(ctx)
}

// packet takes note of one packet.
func (w *watch) packet(p *capture.Packet) error {
	w.Packets++
	m := flow.Parser{}.Parse(p.Frame, p.WireLen, 1)
	if m.Missing() != 0 {
		w.Incomplete++
		return nil
	}
	if len(w.talks)+len(w.plains) >= maxConversations {
		return fmt.Errorf("%s: packet %d: more than %d conversations", p.File, p.Number, maxConversations)
	}
	one := plain{ethType: m.EthType}
	if m.EthType == flow.EthTypeIPv4 || m.EthType == flow.EthTypeIPv6 {
		one.from, one.to, one.proto = m.IPSrc.Addr(), m.IPDst.Addr(), m.IPProto
	}
	switch {
	case m.EthType == flow.EthTypeARP, dhcp(&m), m.IPProto == flow.ProtoICMPv6 && m.EthType == flow.EthTypeIPv6 && m.ICMPType >= 133 && m.ICMPType <= 136, m.ICMPError():
		return nil // [Basics], and errors about what is allowed pass with its replies
	case m.Has(flow.FieldL4Src | flow.FieldL4Dst):
		if group(&m) {
			one.port = m.L4Dst
			break
		}
		pi := flow.PacketIn{Match: m, Data: p.Frame}
		w.talk(p, &m, &pi)
		return nil
	case m.Has(flow.FieldICMPType):
		if one.icmpType = m.ICMPType; m.ICMPType == 0 && m.EthType == flow.EthTypeIPv4 || m.ICMPType == 129 && m.EthType == flow.EthTypeIPv6 {
			return nil // the answer to a ping
		}
	}
	if w.plains[one] == nil {
		w.plains[one] = new(seen)
	}
	w.plains[one].add(1, p.Number, one.from)
	return nil
}

func dhcp(m *flow.Match) bool {
	return m.IPProto == flow.ProtoUDP && (m.L4Src == 68 && m.L4Dst == 67 || m.L4Src == 67 && m.L4Dst == 68)
}

// group reports whether a packet is for several hosts.
func group(m *flow.Match) bool {
	return m.EthDst.Multicast() || m.IPDst.Addr().IsMulticast() || m.IPDst.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// talk takes note of a packet of a conversation.
func (w *watch) talk(p *capture.Packet, m *flow.Match, pi *flow.PacketIn) {
	e := ends{netip.AddrPortFrom(m.IPSrc.Addr(), m.L4Src), netip.AddrPortFrom(m.IPDst.Addr(), m.L4Dst), m.IPProto}
	flags, _ := pi.ReadTCPFlags()
	asks := flags&(flow.SYN|flow.ACK) == flow.SYN
	if t := w.talks[e]; t != nil {
		t.there, t.last, t.syn = t.there+1, p.Time, t.syn || asks
	} else if t = w.talks[ends{e.to, e.from, e.proto}]; t != nil {
		t.back, t.last = t.back+1, p.Time
		if asks && !t.syn { // the capture began in the middle, or the ports are used again
			t.ends, t.there, t.back, t.syn = e, t.back, t.there, true
			delete(w.talks, ends{e.to, e.from, e.proto})
			w.talks[e] = t
		}
	} else {
		t = &talk{ends: e, first: p.Number, began: p.Time, last: p.Time, there: 1, syn: asks, sinceQuestion: -1}
		if at, ok := w.asked[e.from.Addr()]; ok {
			t.sinceQuestion = p.Time.Sub(at)
		}
		w.talks[e], w.order = t, append(w.order, t)
	}
	if m.IPProto == flow.ProtoUDP && m.L4Dst == 53 {
		w.asked[m.IPSrc.Addr()] = p.Time
	}
}

// serves decides which side of each conversation serves, where no SYN has said it: the one whose address and port more conversations share.
func (w *watch) serves() {
	shared := make(map[netip.AddrPort]int)
	for _, t := range w.order {
		shared[t.from]++
		shared[t.to]++
	}
	for _, t := range w.order {
		if t.syn {
			continue
		}
		a, b := shared[t.from], shared[t.to]
		if a > b || a == b && t.from.Port() < t.to.Port() && t.from.Port() < 1024 {
			t.from, t.to, t.there, t.back = t.to, t.from, t.back, t.there
		}
	}
}

// outside reports whether an address is of no private network.
func outside(a netip.Addr) bool {
	return !a.IsPrivate() && !a.IsLinkLocalUnicast() && !a.IsLoopback() && !a.IsMulticast()
}

// policy makes the draft.
func (w *watch) policy() *Policy {
	w.serves()
	byHost := make(map[netip.Addr]map[service]*seen)
	note := func(from netip.Addr, s service, t *talk, host netip.Addr) {
		if byHost[from] == nil {
			byHost[from] = make(map[service]*seen)
		}
		if byHost[from][s] == nil {
			byHost[from][s] = new(seen)
		}
		byHost[from][s].add(t.there+t.back, t.first, host)
	}
	type way struct {
		from  netip.Addr
		proto uint8
		port  uint16
	}
	far := make(map[way]map[netip.Addr]bool)
	var good []*talk
	for _, t := range w.order {
		if t.there == 0 || t.back == 0 {
			w.Unanswered++
			continue
		}
		good = append(good, t)
		if to := t.to.Addr(); outside(to) {
			k := way{t.from.Addr(), t.proto, t.to.Port()}
			if far[k] == nil {
				far[k] = make(map[netip.Addr]bool)
			}
			far[k][to] = true
		}
	}
	for _, t := range good {
		s := service{t.to.Addr(), t.proto, t.to.Port()}
		if len(far[way{t.from.Addr(), t.proto, t.to.Port()}]) > spread && outside(s.host) {
			s.host = netip.Addr{}
		}
		note(t.from.Addr(), s, t, t.to.Addr())
	}
	p := &Policy{}
	basics := Basics()
	p.Sections = append(p.Sections, basics)
	var devices map[netip.Addr]bool
	p.Machines, devices = machines(good)
	named, sections := groups(byHost, devices)
	p.Groups = named
	p.Sections = append(p.Sections, sections...)
	p.Sections = append(p.Sections, Section{Title: "beside conversations", Rules: w.others()})
	return p
}

var protoNames = map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp"}

func compareServices(a, b service) int {
	return cmp.Or(a.host.Compare(b.host), cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port))
}

// Priorities of a draft: what is said of single hosts comes first; where a host speaks to all of outside, hosts inside are not meant.
const (
	insideFirst  = 60
	outsideAfter = 50
)

// inside are private networks.
var inside = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10")}

// maxGroup is how many hosts stand in one group: a rule is written out for each.
const maxGroup = 1000

// groups writes the services of each host. Hosts that behave alike are a group, and have their rules together; devices, whose machines are about each by
// itself, are in one section.
func groups(byHost map[netip.Addr]map[service]*seen, devices map[netip.Addr]bool) (named []Group, list []Section) {
	same := make(map[string][]netip.Addr)
	for host, services := range byHost {
		key := fmt.Sprintf("%t %t;", host.Is4(), devices[host])
		for _, s := range slices.SortedFunc(maps.Keys(services), compareServices) {
			key += fmt.Sprintf("%v %d %d;", s.host, s.proto, s.port)
		}
		same[key] = append(same[key], host)
	}
	for _, hosts := range same {
		slices.SortFunc(hosts, netip.Addr.Compare)
	}
	for _, key := range slices.SortedFunc(maps.Keys(same), func(a, b string) int { return same[a][0].Compare(same[b][0]) }) {
		for hosts := range slices.Chunk(same[key], maxGroup) {
			services := byHost[hosts[0]]
			section := Section{Title: title(hosts)}
			if len(hosts) > 1 && !devices[hosts[0]] {
				g := Group{Name: "like-" + strings.NewReplacer(".", "-", ":", "-").Replace(hosts[0].String()), Hosts: hosts,
					Evidence: fmt.Sprintf("these %d hosts ask for the same, %s", len(hosts), count(len(services), "service"))}
				named = append(named, g)
				for _, s := range slices.SortedFunc(maps.Keys(services), compareServices) {
					var all seen
					for _, host := range hosts {
						all.join(byHost[host][s])
					}
					section.Rules = append(section.Rules, allowing(g.Name, hosts[0].Is4(), s, all.text()+fmt.Sprintf("; of %d hosts", len(hosts)), false)...)
				}
				list = append(list, section)
				continue
			}
			for _, host := range hosts {
				for _, s := range slices.SortedFunc(maps.Keys(services), compareServices) {
					section.Rules = append(section.Rules, allowing(host.String(), host.Is4(), s, byHost[host][s].text(), devices[host])...)
				}
			}
			list = append(list, section)
		}
	}
	return named, list
}

// title names hosts.
func title(hosts []netip.Addr) string {
	var names []string
	for _, h := range hosts[:min(len(hosts), spread)] {
		names = append(names, h.String())
	}
	text := strings.Join(names, ", ")
	if more := len(hosts) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(hosts) > 1 {
		text += ": these behave alike"
	}
	return text
}

// join adds another host's evidence for the same.
func (s *seen) join(o *seen) {
	if s.first == 0 || o.first < s.first {
		s.first = o.first
	}
	s.talks, s.packets = s.talks+o.talks, s.packets+o.packets
	if s.hosts == nil {
		s.hosts = make(map[netip.Addr]bool)
	}
	maps.Copy(s.hosts, o.hosts)
}

// allowing are the rules that let a host or a group, of IPv4 or IPv6, ask for a service. A device's answers have rules of their own: whether a packet is a reply
// can't be told where machines decide.
func allowing(who string, is4 bool, s service, evidence string, device bool) (list []Rule) {
	proto, port := protoNames[s.proto], strconv.Itoa(int(s.port))
	name := fmt.Sprintf("%s-%s-%d", who, proto, s.port)
	there, back := []Condition{{"ip_src", who}}, []Condition{{"ip_dst", who}}
	priority := 0
	if s.host.IsValid() {
		there, back = append(there, Condition{"ip_dst", s.host.String()}), append(back, Condition{"ip_src", s.host.String()})
	} else {
		for _, p := range inside {
			if p.Addr().Is4() == is4 {
				list = append(list, Rule{Name: name + "-inside", Priority: insideFirst, Match: append(slices.Clone(there), Address("ip_dst", p), Condition{proto + "_dst", port}), Deny: true})
			}
		}
		priority = outsideAfter
	}
	list = append(list, Rule{Name: name, Priority: priority, Match: append(there, Condition{proto + "_dst", port}), Replies: !device, Evidence: evidence})
	if device {
		list = append(list, Rule{Name: name + "-answer", Priority: priority, Match: append(back, Condition{proto + "_src", port})})
	}
	return list
}

// others are rules for what is no conversation with two ports.
func (w *watch) others() (list []Rule) {
	for _, p := range slices.SortedFunc(maps.Keys(w.plains), func(a, b plain) int {
		return cmp.Or(cmp.Compare(a.ethType, b.ethType), a.from.Compare(b.from), a.to.Compare(b.to), cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port), cmp.Compare(a.icmpType, b.icmpType))
	}) {
		e := w.plains[p]
		r := Rule{Evidence: fmt.Sprintf("%s, the first is %d", count(e.packets, "packet"), e.first)}
		if !p.from.IsValid() {
			r.Name, r.Match = fmt.Sprintf("type-%#04x", p.ethType), []Condition{{"eth_type", fmt.Sprintf("%#04x", p.ethType)}}
			list = append(list, r)
			continue
		}
		r.Match = []Condition{{"ip_src", p.from.String()}, {"ip_dst", p.to.String()}}
		switch icmp := map[uint8]string{flow.ProtoICMP: "icmp", flow.ProtoICMPv6: "icmpv6"}[p.proto]; {
		case p.port != 0:
			r.Match, r.Name = append(r.Match, Condition{protoNames[p.proto] + "_dst", strconv.Itoa(int(p.port))}), fmt.Sprintf("%s-to-group-%d", p.from, p.port)
		case icmp != "":
			r.Match, r.Name = append(r.Match, Condition{icmp + "_type", strconv.Itoa(int(p.icmpType))}), fmt.Sprintf("%s-%s-%d", p.from, icmp, p.icmpType)
			r.Replies = (p.icmpType == 8 && icmp == "icmp" || p.icmpType == 128 && icmp == "icmpv6") && !p.to.IsMulticast()
		default:
			r.Match, r.Name = append(r.Match, Condition{"ip_proto", strconv.Itoa(int(p.proto))}), fmt.Sprintf("%s-proto-%d", p.from, p.proto)
		}
		list = append(list, r)
	}
	return list
}

// machines are those of devices that have asked a name server before each conversation with the outside: they may speak to it, and be spoken to by it, only
// after that.
func machines(talks []*talk) (list []Machine, which map[netip.Addr]bool) {
	which = make(map[netip.Addr]bool)
	type device struct {
		talks   int
		longest time.Duration
		without bool
		dns     map[netip.Addr]bool
	}
	devices := make(map[netip.Addr]*device)
	for _, t := range talks {
		from := t.from.Addr()
		if devices[from] == nil {
			devices[from] = &device{dns: make(map[netip.Addr]bool)}
		}
		d := devices[from]
		if t.proto == flow.ProtoUDP && t.to.Port() == 53 {
			d.dns[t.to.Addr()] = true
			continue
		}
		if !outside(t.to.Addr()) {
			continue
		}
		d.talks++
		d.without = d.without || t.sinceQuestion < 0
		d.longest = max(d.longest, t.sinceQuestion+t.last.Sub(t.began))
	}
	for _, host := range slices.SortedFunc(maps.Keys(devices), netip.Addr.Compare) {
		d := devices[host]
		if d.without || d.talks < fewest || len(d.dns) == 0 || !host.Is4() {
			continue
		}
		open := max(least, 2*d.longest).Round(time.Second)
		which[host] = true
		name := "device-" + host.String()
		var b strings.Builder
		fmt.Fprintf(&b, "        - name: %s\n          for: {ip_src: %s}\n          key: network\n          start: quiet\n          states:\n            quiet:\n              rules:\n", name, host)
		near := append(inside[:4:4], netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"))
		for i, p := range near {
			fmt.Fprintf(&b, "                - {name: inside-%d, match: {ip_dst: %s}, action: next}\n", i+1, p)
		}
		servers := slices.SortedFunc(maps.Keys(d.dns), netip.Addr.Compare)
		for _, server := range servers {
			fmt.Fprintf(&b, "                - {name: dns-%s, match: {ip_dst: %s, udp_dst: 53}, action: next}\n", server, server)
		}
		fmt.Fprintf(&b, "              action: deny\n            asked: next\n          transitions:\n")
		for _, server := range servers {
			fmt.Fprintf(&b, "            - {from: any, to: asked, match: {ip_dst: %s, udp_dst: 53}}\n", server)
		}
		fmt.Fprintf(&b, "            - {from: asked, to: quiet, after: %v}\n", open)
		fmt.Fprintf(&b, "        - name: to-%s\n          for: {ip_dst: %s}\n          key: network\n          start: only\n          states:\n            only:\n              rules:\n", name, host)
		for i, p := range inside[:4] {
			fmt.Fprintf(&b, "                - {name: inside-%d, match: {ip_src: %s}, action: next}\n", i+1, p)
		}
		fmt.Fprintf(&b, "                - {name: asked-for, match: {ip_dst: %s}, when: {%s: asked}, action: next}\n              action: deny\n", host, name)
		list = append(list, Machine{Evidence: fmt.Sprintf("each of the %d conversations of %v with the outside came after a question to a name server; the longest ended %v after it", d.talks, host, d.longest.Round(time.Second)), Text: b.String()})
	}
	return list, which
}
