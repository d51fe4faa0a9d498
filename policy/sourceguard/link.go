package sourceguard

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
)

// link is the compiled policy.
type link struct {
	bindings []Binding
	others   Others
	log      bool // what is denied
	learn    Learn
	life     time.Duration
	places   map[place]kind
	macs     map[flow.MAC][]int32     // by address, the bindings that name it
	prefixes map[netip.Prefix][]int32 // by prefix, the same
	lengths4 []int                    // of the prefixes that there are, the longest first
	lengths6 []int
	named    bool // a place is of one switch only
}

// place is a port of a switch, or of every switch.
type place struct {
	every bool
	sw    flow.DPID
	port  flow.PortNo
}

// kind is what is known of a place.
type kind uint8

const (
	bound  kind = 1 << iota // a binding names it
	anyMAC                  // one without a mac does
	trusted
)

// Compile implements [policy.Source].
func (c *Config) Compile() policy.Link {
	l := &link{bindings: c.Bindings, others: c.Others, log: c.Log, learn: c.Learn, life: c.For, places: make(map[place]kind), macs: make(map[flow.MAC][]int32), prefixes: make(map[netip.Prefix][]int32)}
	add := func(p *Place, k kind) {
		l.named = l.named || !p.Every
		for _, port := range p.Ports {
			l.places[place{p.Every, p.Switch, port}] |= k
		}
	}
	bind := func(p netip.Prefix, i int32) {
		if !slices.Contains(l.prefixes[p], i) { // the link-local address may be listed too
			l.prefixes[p] = append(l.prefixes[p], i)
		}
		lengths := &l.lengths6
		if p.Addr().Is4() {
			lengths = &l.lengths4
		}
		if !slices.Contains(*lengths, p.Bits()) {
			*lengths = append(*lengths, p.Bits())
		}
	}
	for i := range c.Bindings {
		b := &c.Bindings[i]
		k := bound
		if b.HasMAC {
			l.macs[b.MAC] = append(l.macs[b.MAC], int32(i))
			bind(netip.PrefixFrom(LinkLocal(b.MAC), 128), int32(i))
		} else {
			k |= anyMAC
		}
		add(&b.Place, k)
		for _, p := range b.Addresses {
			bind(p, int32(i))
		}
	}
	for i := range c.Trusted {
		add(&c.Trusted[i], trusted)
	}
	for _, lengths := range [][]int{l.lengths4, l.lengths6} {
		slices.SortFunc(lengths, func(a, b int) int { return cmp.Compare(b, a) })
	}
	if c.Learn != Nothing {
		return &learner{l}
	}
	return l
}

// Proactive implements [policy.Link]: what comes is looked at.
func (*link) Proactive(_ *policy.Connected, rules []flow.Rule) []flow.Rule { return rules }

// at is where a packet came in.
type at struct {
	sw   flow.DPID
	port flow.PortNo
	kind kind
}

// owners returns the bindings of an address: those of the longest prefix that holds it.
func (l *link) owners(a netip.Addr) []int32 {
	lengths := l.lengths6
	if a.Is4() {
		lengths = l.lengths4
	}
	for _, bits := range lengths {
		p, _ := a.Prefix(bits)
		if list := l.prefixes[p]; list != nil {
			return list
		}
	}
	return nil
}

// elsewhere returns a place that an address belongs to, of its bindings that are not of this port; nil where it may be shown here. A
// trusted port leads to other switches, so that what belongs to one of those may come from it.
func (l *link) elsewhere(w *at, list []int32) *Binding {
	var other *Binding
	for _, i := range list {
		switch b := &l.bindings[i]; {
		case b.has(w.sw, w.port):
			return nil
		case w.kind&trusted == 0 || b.on(w.sw):
			other = b
		}
	}
	return other
}

// Decide implements [policy.Link]. It denies or passes on.
func (l *link) Decide(p policy.Packet) policy.Outcome {
	g := guard{link: l, p: p, m: p.Match}
	g.packet()
	return g.out
}

// guard looks at one packet.
type guard struct {
	*link
	p      policy.Packet
	m      *flow.Match
	at     at
	memory *memory // nil where nothing is learned
	out    policy.Outcome
}

// deny ends the look at the packet. It reports false, as all that look do then.
func (g *guard) deny(why string) bool {
	g.out.Verdict, g.out.NoReply, g.out.Reason, g.out.Log = flow.Deny, true, Name+": "+why, g.log
	return false
}

// see says that the verdict hangs on fields that a packet of this kind has, and reports whether they are there.
func (g *guard) see(f flow.Field) bool {
	g.out.Depends |= f
	if lost := f &^ g.m.Fields; lost != 0 {
		return g.deny("the packet does not show " + lost.String())
	}
	return true
}

// claims looks at addresses that the packet gives its sender; an invalid one is none.
func (g *guard) claims(m flow.MAC, a netip.Addr) bool {
	why := g.mac(m)
	if why == "" && a.IsValid() {
		why = g.address(a, m)
	}
	return why == "" || g.deny(why)
}

// mac says what is wrong with an Ethernet address as that of a station at this port; "" is nothing.
func (g *guard) mac(m flow.MAC) (why string) {
	if m.Multicast() || m == (flow.MAC{}) {
		return m.String() + " is no station's"
	}
	list := g.macs[m]
	if b := g.elsewhere(&g.at, list); b != nil {
		return m.String() + " belongs to " + b.Place.String()
	}
	if list != nil {
		return ""
	}
	if g.at.kind&(bound|anyMAC) == bound {
		return m.String() + " is not bound to port " + g.at.port.String()
	}
	return g.learned(subject{mac: m}, m)
}

// address says what is wrong with an address as that of a station at this port with the Ethernet address m, which is good; "" is nothing.
func (g *guard) address(a netip.Addr, m flow.MAC) (why string) {
	if !station(a) {
		return a.String() + " is no station's"
	}
	list := g.owners(a)
	if b := g.elsewhere(&g.at, list); b != nil {
		return a.String() + " belongs to " + b.Place.String()
	}
	var owner *Binding // at this port
	for _, i := range list {
		if b := &g.bindings[i]; b.has(g.at.sw, g.at.port) {
			if !b.HasMAC || b.MAC == m {
				return ""
			}
			owner = b
		}
	}
	switch {
	case owner != nil:
		return a.String() + " belongs to " + owner.MAC.String()
	case list != nil: // of another switch, by a trusted port
		return ""
	case g.at.kind&bound != 0 && !g.any(m):
		return a.String() + " is not bound to port " + g.at.port.String()
	}
	return g.learned(subject{addr: a}, m)
}

// any reports whether a binding of this port leaves a station every address.
func (g *guard) any(m flow.MAC) bool {
	return slices.ContainsFunc(g.macs[m], func(i int32) bool {
		b := &g.bindings[i]
		return b.has(g.at.sw, g.at.port) && len(b.Addresses) == 0
	})
}

func (g *guard) packet() bool {
	if g.p.Supposed {
		return true
	}
	if !g.see(flow.FieldInPort) {
		return false
	}
	g.out.Switch = g.named
	g.at.port = g.m.InPort
	if g.p.Switch != nil {
		g.at.sw = g.p.Switch.DPID
	}
	g.at.kind = g.places[place{every: true, port: g.at.port}] | g.places[place{sw: g.at.sw, port: g.at.port}]
	if g.at.kind == 0 && g.others == Deny {
		return g.deny("port " + g.at.port.String() + " is not listed")
	}
	if !g.see(flow.FieldEthSrc) || !g.claims(g.m.EthSrc, netip.Addr{}) || !g.see(flow.FieldEthType) {
		return false
	}
	switch t := g.m.EthType; {
	case t == flow.EthTypeARP:
		return g.arp()
	case t == flow.EthTypeIPv4:
		return g.ipv4()
	case t == flow.EthTypeIPv6:
		return g.ipv6()
	case t == flow.EthTypeVLAN || t == flow.EthTypeQinQ:
		return g.see(flow.FieldIPSrc) // it is behind a tag that the switch does not look behind
	case t < 0x0600 && g.at.kind&trusted == 0:
		// There may be IP inside that some hosts take and no switch sees (LLC; VU#855201).
		return g.deny("an 802.3 frame hides its addresses")
	}
	return true
}

// arp looks at a packet's sender. One without an address asks whether somebody has the target's, to take it if not (RFC 5227, 2.1.1).
func (g *guard) arp() bool {
	if !g.see(flow.FieldARPSPA) {
		return false
	}
	sender := g.m.ARPSHA
	if !g.m.Has(flow.FieldARPSHA) { // P4: no program tells it, and no table matches it
		in, ok := g.whole()
		if !ok {
			return false
		}
		m := flow.ParseFrame(in.Data, g.m.InPort)
		if !m.Has(flow.FieldARPSHA) || m.ARPSPA != g.m.ARPSPA {
			return g.deny("the packet does not show arp_sha")
		}
		sender = m.ARPSHA
		g.out.NoRule = "arp_sha here"
	}
	g.out.Depends |= flow.FieldARPSHA
	claimed := g.m.ARPSPA.Addr()
	if claimed.IsUnspecified() {
		if !g.see(flow.FieldARPTPA) {
			return false
		}
		claimed = g.m.ARPTPA.Addr()
	}
	return g.claims(g.m.EthSrc, claimed) && g.claims(sender, claimed)
}

// ipv4 looks at the source. Who has none yet may ask for one by DHCP, and say which groups to send it (RFC 3376, 4.2.13).
func (g *guard) ipv4() bool {
	if !g.see(flow.FieldIPSrc) {
		return false
	}
	src := g.m.IPSrc.Addr()
	none := src.IsUnspecified()
	if !none && !g.claims(g.m.EthSrc, src) {
		return false
	}
	if g.learn == DHCP && g.at.kind&bound == 0 && !g.dhcp() {
		return false
	}
	if !none || g.at.kind&trusted != 0 {
		return true
	}
	if !g.see(flow.FieldIPProto) {
		return false
	}
	const igmp = 2
	switch g.m.IPProto {
	case igmp:
		return true
	case flow.ProtoUDP:
		if !g.see(flow.FieldL4Src | flow.FieldL4Dst) {
			return false
		}
		if g.m.L4Src == dhcpClient && g.m.L4Dst == dhcpServer {
			return true
		}
	}
	return g.deny("0.0.0.0 is no station's")
}

// Messages of neighbour discovery (RFC 4861, 4) and of multicast listeners (RFC 2710, RFC 3810).
const (
	listenerReport1       = 131
	listenerDone          = 132
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	redirect              = 137
	listenerReport2       = 143
)

// ipv6 looks at the source, and at what neighbour discovery says besides.
func (g *guard) ipv6() bool {
	if !g.see(flow.FieldIPSrc) {
		return false
	}
	src := g.m.IPSrc.Addr()
	none := src.IsUnspecified()
	if !none && !g.claims(g.m.EthSrc, src) || !g.see(flow.FieldIPProto) {
		return false
	}
	if g.m.IPProto == flow.ProtoICMPv6 {
		if !g.see(flow.FieldICMPType) {
			return false
		}
		switch t := g.m.ICMPType; t {
		case routerSolicitation, routerAdvertisement, neighborSolicitation, neighborAdvertisement, redirect:
			return g.discovery(none)
		case listenerReport1, listenerDone, listenerReport2:
			return true // also before there is an address (RFC 3590)
		}
	}
	return !none || g.at.kind&trusted != 0 || g.deny(":: is no station's")
}

// discovery looks at the options that no rule can match: a link-layer address tells others where to send. none says that the source is
// not there: who asks for a neighbour then asks whether somebody has the address that it wants (RFC 4862, 5.4).
func (g *guard) discovery(none bool) bool {
	g.out.NoRule = "what neighbour discovery says of link-layer addresses"
	in, ok := g.whole()
	if !ok {
		return false
	}
	l4 := in.Layer4()
	var claimed netip.Addr // by the message
	options := 0           // where they begin
	switch g.m.ICMPType {
	case routerSolicitation:
		options = 8
	case routerAdvertisement:
		options = 16
	case neighborSolicitation:
		options = 24
	case neighborAdvertisement:
		options = 24
	case redirect:
		options = 40
	}
	if len(l4) < options || l4[0] != g.m.ICMPType {
		return g.deny("neighbour discovery is not whole")
	}
	if g.m.ICMPType == neighborAdvertisement || g.m.ICMPType == redirect || g.m.ICMPType == neighborSolicitation && none {
		claimed = netip.AddrFrom16([16]byte(l4[8:24]))
		if g.m.ICMPType == redirect && g.at.kind&trusted != 0 {
			return true // a router says where another station is
		}
		if !g.claims(g.m.EthSrc, claimed) {
			return false
		}
	}
	if none && g.m.ICMPType != neighborSolicitation && g.m.ICMPType != routerSolicitation {
		return g.deny(":: is no station's")
	}
	for rest := l4[options:]; len(rest) > 0; {
		length := 0
		if len(rest) >= 2 {
			length = int(rest[1]) * 8
		}
		if length == 0 || length > len(rest) {
			return g.deny("neighbour discovery has an option that can't be read")
		}
		if kind := rest[0]; kind == 1 || kind == 2 { // source, target link-layer address (RFC 4861, 4.6.1)
			if !g.claims(flow.MAC(rest[2:8]), claimed) {
				return false
			}
		}
		rest = rest[length:]
	}
	return true
}

// whole returns the packet as it was asked about. It is not where the switch has sent a part of it, or headers alone.
func (g *guard) whole() (*flow.PacketIn, bool) {
	switch in := g.p.In; {
	case in != nil && in.Withheld:
		g.out.Unseen = true
		return nil, false
	case in == nil || len(in.Data) == 0 || in.TotalLen > len(in.Data):
		return nil, g.deny("the switch does not show the whole packet")
	default:
		return in, true
	}
}
