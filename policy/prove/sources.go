package prove

import (
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/sourceguard"
)

// What a source guard denies by a packet alone, as conditions: what is bound to another place, what a port's bindings don't have, what is no station's.
// What it has learned besides is in learned.go.
//
// Some of a packet is in no field: the switch to which it comes, and what neighbour discovery and DHCP say behind their headers. Of the latter two kinds count, since a
// switch's rule tells no more: a message that says the truth, and one that lies (see sayPlace).

// What a message says, at sayPlace.
const (
	saysPlain = iota // neighbour discovery says nothing that is another's; what is sent to a DHCP server's port is no DHCP
	saysLie          // an option of neighbour discovery has a link-layer address that nobody has
	saysDHCP         // what is sent to a DHCP server's port is a client's message
)

func says(what uint64) atom { return numbers(sayPlace, what, what) }

func onSwitch(sw flow.DPID) atom { return numbers(switchPlace, uint64(sw), uint64(sw)) }

// sources is a source guard whose conditions are written out.
type sources struct {
	*sourceguard.Config
	switches []flow.DPID // which it names; there is one class of places for each, and a last one for all others

	trusted, bound, stations []set // ports, by class; of stations those bound to which all have an Ethernet address
	macs                     map[flow.MAC][]int
	prefixes                 map[netip.Prefix][]int
	listedMACs               set
	listed                   [2]set // addresses, by family
	owned                    map[netip.Prefix]set
}

func portSet(ports []flow.PortNo) set {
	var list []span
	for _, p := range ports {
		list = append(list, span{number(uint64(p), 32), cube{number(uint64(p), 32), leading(32)}.last()})
	}
	return newSet(list)
}

var allPorts = set{{word{}, not(word{})}}

func (s set) or(o set) set { return newSet(slices.Concat(s, o)) }

func spanOf(c cube) span { return span{c.value, c.last()} }

func prefixSpan(p netip.Prefix) span {
	return spanOf(cube{addressOf(p.Masked().Addr()), leading(p.Bits())})
}

func newSources(c *sourceguard.Config) *sources {
	g := &sources{Config: c, macs: make(map[flow.MAC][]int), prefixes: make(map[netip.Prefix][]int), owned: make(map[netip.Prefix]set)}
	see := func(p *sourceguard.Place) {
		if !p.Every && !slices.Contains(g.switches, p.Switch) {
			g.switches = append(g.switches, p.Switch)
		}
	}
	for i := range c.Bindings {
		see(&c.Bindings[i].Place)
	}
	for i := range c.Trusted {
		see(&c.Trusted[i])
	}
	slices.Sort(g.switches)
	bind := func(p netip.Prefix, i int) {
		if !slices.Contains(g.prefixes[p], i) {
			g.prefixes[p] = append(g.prefixes[p], i)
		}
	}
	var macs []span
	for i := range c.Bindings {
		b := &c.Bindings[i]
		if b.HasMAC {
			g.macs[b.MAC] = append(g.macs[b.MAC], i)
			macs = append(macs, spanOf(cube{macWord(b.MAC), leading(48)}))
			bind(netip.PrefixFrom(sourceguard.LinkLocal(b.MAC), 128), i)
		}
		for _, p := range b.Addresses {
			bind(p, i)
		}
	}
	g.listedMACs = newSet(macs)
	for class := range len(g.switches) + 1 {
		var trusted, bound, any []flow.PortNo
		for i := range c.Trusted {
			if t := &c.Trusted[i]; g.on(t, class) {
				trusted = append(trusted, t.Ports...)
			}
		}
		for i := range c.Bindings {
			if b := &c.Bindings[i]; g.on(&b.Place, class) {
				if bound = append(bound, b.Ports...); !b.HasMAC {
					any = append(any, b.Ports...)
				}
			}
		}
		g.trusted = append(g.trusted, portSet(trusted))
		g.bound = append(g.bound, portSet(bound))
		g.stations = append(g.stations, portSet(bound).minus(portSet(any)))
	}
	g.own()
	return g
}

// own finds the addresses whose longest prefix each one is.
func (g *sources) own() {
	var list []netip.Prefix
	for p := range g.prefixes {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int { // the longest first; those of one family together
		if a.Addr().BitLen() != b.Addr().BitLen() {
			return a.Addr().BitLen() - b.Addr().BitLen()
		}
		return b.Bits() - a.Bits()
	})
	var longer []span
	for i, p := range list {
		if i > 0 && list[i-1].Addr().Is4() != p.Addr().Is4() {
			longer = nil
		}
		if g.owned[p] = (set{prefixSpan(p)}); !p.IsSingleIP() && len(longer) > 0 {
			inside := slices.DeleteFunc(slices.Clone(longer), func(s span) bool { return !p.Contains(addressIn(s.first, p.Addr().Is4())) })
			g.owned[p] = g.owned[p].minus(newSet(inside))
		}
		longer = append(longer, prefixSpan(p))
		f := family(p)
		g.listed[f] = append(g.listed[f], prefixSpan(p))
	}
	for i := range g.listed {
		g.listed[i] = newSet(g.listed[i])
	}
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// on reports whether a place is on the switches of a class.
func (g *sources) on(p *sourceguard.Place, class int) bool {
	return p.Every || class < len(g.switches) && p.Switch == g.switches[class]
}

// at are the conditions of places: by class, the ports.
func (g *sources) at(ports func(class int) set) (list [][]atom) {
	classes := len(g.switches) + 1
	done := make([]bool, classes)
	sets := make([]set, classes)
	for i := range sets {
		sets[i] = ports(i)
	}
	for i, s := range sets {
		if done[i] || len(s) == 0 {
			continue
		}
		var in, out []span // switches
		same, others := 0, false
		for j := range classes {
			if j < i || done[j] || !sets[j].equal(s) {
				if j < len(g.switches) {
					out = append(out, oneSwitch(g.switches[j]))
				}
				continue
			}
			done[j] = true
			if same++; j < len(g.switches) {
				in = append(in, oneSwitch(g.switches[j]))
			} else {
				others = true
			}
		}
		var atoms []atom
		if !s.equal(allPorts) {
			atoms = append(atoms, inSet(place(flow.FieldInPort), s))
		}
		switch {
		case same == classes:
		case others:
			a := inSet(switchPlace, newSet(out))
			a.not = true
			atoms = append(atoms, a)
		default:
			atoms = append(atoms, inSet(switchPlace, newSet(in)))
		}
		list = append(list, atoms)
	}
	return list
}

func oneSwitch(sw flow.DPID) span { return spanOf(cube{number(uint64(sw), 64), leading(64)}) }

// inSet is the condition that what is at a place is in a set: bits where that says it.
func inSet(place uint8, s set) atom {
	if len(s) == 1 {
		for n := bitsOf(place); n >= 0; n-- {
			c := cube{s[0].first, leading(n)}
			if and(s[0].first, c.mask) != s[0].first || less(s[0].last, c.last()) {
				break
			}
			if c.last() == s[0].last {
				return atom{field: place, bits: c}
			}
		}
	}
	return atom{field: place, set: s}
}

// outOf is inSet's opposite.
func outOf(place uint8, s set) (list []atom) {
	if len(s) == 0 {
		return nil
	}
	a := inSet(place, s)
	a.not = true
	return []atom{a}
}

// elsewhere are places to which none of some bindings belongs, where that counts. A trusted port leads to other switches, so that what belongs to one of those may come from it.
func (g *sources) elsewhere(list []int) [][]atom {
	return g.at(func(class int) set {
		var ports []flow.PortNo
		on := false
		for _, i := range list {
			if b := &g.Bindings[i]; g.on(&b.Place, class) {
				on, ports = true, append(ports, b.Ports...)
			}
		}
		may := portSet(ports)
		if !on {
			may = may.or(g.trusted[class])
		}
		return allPorts.minus(may)
	})
}

func (g *sources) untrusted() [][]atom {
	return g.at(func(class int) set { return allPorts.minus(g.trusted[class]) })
}

// open are places that are neither bound nor trusted.
func (g *sources) open() [][]atom {
	return g.at(func(class int) set { return allPorts.minus(g.trusted[class]).minus(g.bound[class]) })
}

// denied are the conditions of what the guard denies by packets alone.
func (g *sources) denied() (list [][]atom) {
	add := func(lists ...[][]atom) { list = append(list, all(lists...)...) }
	of := func(atoms ...atom) [][]atom { return [][]atom{atoms} }
	ethSrc, sha, sll := place(flow.FieldEthSrc), place(flow.FieldARPSHA), place(flow.FieldNDSLL)
	src, target := place(flow.FieldIPSrc), place(flow.FieldNDTarget)

	if g.Others == sourceguard.Deny {
		add(g.open())
	}
	g.mac(add, ethSrc)

	arp := is(flow.FieldEthType, flow.EthTypeARP)
	g.mac(add, sha, arp)
	noSPA, noTPA := is(flow.FieldARPSPA, 0), is(flow.FieldARPTPA, 0)
	add(of(arp, noSPA, noTPA))
	for _, mac := range []uint8{ethSrc, sha} {
		g.address(add, place(flow.FieldARPSPA), 0, mac, arp, negated(noSPA))
		g.address(add, place(flow.FieldARPTPA), 0, mac, arp, noSPA)
	}

	four := is(flow.FieldEthType, flow.EthTypeIPv4)
	none := atom{field: src, bits: cube{mask: leading(32)}}
	g.address(add, src, 0, ethSrc, four, negated(none))
	udp := is(flow.FieldIPProto, flow.ProtoUDP)
	add(g.untrusted(), of(four, none, negated(udp), negated(is(flow.FieldIPProto, 2))))
	add(g.untrusted(), of(four, none, udp, negated(is(flow.FieldL4Src, 68))))
	add(g.untrusted(), of(four, none, udp, negated(is(flow.FieldL4Dst, 67))))
	if g.Learn == sourceguard.DHCP {
		add(g.open(), of(four, udp, is(flow.FieldL4Src, 67)))
		add(g.open(), of(four, udp, is(flow.FieldL4Dst, 67), negated(says(saysDHCP))))
	}

	six, icmp := is(flow.FieldEthType, flow.EthTypeIPv6), is(flow.FieldIPProto, flow.ProtoICMPv6)
	none = atom{field: src, bits: cube{mask: leading(128)}}
	g.address(add, src, 1, ethSrc, six, negated(none))
	add(g.untrusted(), of(six, none, negated(icmp)))
	add(g.untrusted(), of(six, none, icmp, between(flow.FieldICMPType, 0, 130)))
	add(g.untrusted(), of(six, none, icmp, between(flow.FieldICMPType, 138, 142)))
	add(g.untrusted(), of(six, none, icmp, between(flow.FieldICMPType, 144, 255)))

	kind := func(t uint64) atom { return is(flow.FieldICMPType, t) }
	code := is(flow.FieldICMPCode, 0)
	add(of(six, icmp, between(flow.FieldICMPType, 133, 136), says(saysLie)))
	add(g.untrusted(), of(six, icmp, kind(137), says(saysLie)))
	add(of(six, icmp, none, kind(134)))
	add(of(six, icmp, none, kind(136)))
	add(g.untrusted(), of(six, icmp, none, kind(137)))
	// Without a code of 0 the target is in no field. It may be the sender's own, where there is one; else it is what no error quotes.
	g.address(add, target, 1, ethSrc, six, icmp, kind(advertisement), code)
	g.address(add, target, 1, ethSrc, six, icmp, kind(solicitation), code, none)
	said := negated(atom{field: sll, bits: cube{mask: leading(48)}})
	g.mac(add, sll, six, icmp, kind(solicitation), code, said)
	g.address(add, target, 1, sll, six, icmp, kind(solicitation), code, none, said)
	g.address(add, quotedDst, 1, ethSrc, six, icmp, kind(solicitation), negated(code), none)

	add(g.untrusted(), of(between(flow.FieldEthType, 0, 0x05ff)))
	return list
}

func negated(a atom) atom {
	a.not = !a.not
	return a
}

// mac adds what is denied because of an Ethernet address at a place, of packets that meet others.
func (g *sources) mac(add func(...[][]atom), at uint8, others ...atom) {
	of := [][]atom{others}
	add(of, [][]atom{{{field: at, bits: cube{macWord(flow.MAC{1}), macWord(flow.MAC{1})}}}})
	add(of, [][]atom{{{field: at, bits: cube{mask: leading(48)}}}})
	for _, i := range g.firsts() {
		m := g.Bindings[i].MAC
		add(of, [][]atom{{{field: at, bits: cube{macWord(m), leading(48)}}}}, g.elsewhere(g.macs[m]))
	}
	add(of, [][]atom{outOf(at, g.listedMACs)}, g.at(func(class int) set { return g.stations[class] }))
}

// firsts are the first bindings of each Ethernet address.
func (g *sources) firsts() (list []int) {
	for i := range g.Bindings {
		if b := &g.Bindings[i]; b.HasMAC && g.macs[b.MAC][0] == i {
			list = append(list, i)
		}
	}
	return list
}

// nobodys are addresses that no station has.
var nobodys = func() (list [2]set) {
	for _, s := range []string{"0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/127", "ff00::/8", "::ffff:127.0.0.0/104", "::ffff:224.0.0.0/100"} {
		p := netip.MustParsePrefix(s)
		list[family(p)] = append(list[family(p)], prefixSpan(p))
	}
	return [2]set{newSet(list[0]), newSet(list[1])}
}()

// address adds what is denied because of an address at a place, of a family, as that of the station whose Ethernet address is at the place mac.
func (g *sources) address(add func(...[][]atom), at uint8, family4or6 int, mac uint8, others ...atom) {
	of := [][]atom{others}
	add(of, [][]atom{{inSet(at, nobodys[family4or6])}})
	for p, list := range g.ownedPrefixes(family4or6) {
		in := [][]atom{{inSet(at, g.owned[p])}}
		add(of, in, g.elsewhere(list))
		// At a port of theirs, of another station.
		for _, group := range g.tied(list) {
			add(of, in, group.at, [][]atom{outOf(mac, group.macs)})
		}
	}
	// An address that nobody has, from a station to which some are bound.
	var with []int // stations that may use them
	for i := range g.Bindings {
		if b := &g.Bindings[i]; b.HasMAC && len(b.Addresses) == 0 {
			with = append(with, i)
		}
	}
	unlisted := [][]atom{outOf(at, g.listed[family4or6])}
	for _, group := range g.tied(with) {
		add(of, unlisted, group.at, [][]atom{outOf(mac, group.macs)})
	}
	add(of, unlisted, g.at(func(class int) set {
		var ports []flow.PortNo
		for _, i := range with {
			if b := &g.Bindings[i]; g.on(&b.Place, class) {
				ports = append(ports, b.Ports...)
			}
		}
		return g.bound[class].minus(portSet(ports))
	}))
}

// ownedPrefixes calls each with the prefixes of a family and their bindings, in an order that is always the same.
func (g *sources) ownedPrefixes(f int) func(func(netip.Prefix, []int) bool) {
	var list []netip.Prefix
	for p := range g.prefixes {
		if family(p) == f && len(g.owned[p]) > 0 {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return func(yield func(netip.Prefix, []int) bool) {
		for _, p := range list {
			if !yield(p, g.prefixes[p]) {
				return
			}
		}
	}
}

// tie is places to which only some stations are tied.
type tie struct {
	at   [][]atom
	macs set
}

// tied are the places of bindings that all have Ethernet addresses there, and which these are.
func (g *sources) tied(list []int) (ties []tie) {
	type spot struct {
		class int
		port  flow.PortNo
	}
	macs := make(map[spot][]span)
	free := make(map[spot]bool)
	var order []spot
	for class := range len(g.switches) + 1 {
		for _, i := range list {
			b := &g.Bindings[i]
			if !g.on(&b.Place, class) {
				continue
			}
			for _, port := range b.Ports {
				s := spot{class, port}
				if _, ok := macs[s]; !ok {
					order = append(order, s)
				}
				if macs[s] = append(macs[s], spanOf(cube{macWord(b.MAC), leading(48)})); !b.HasMAC {
					free[s] = true
				}
			}
		}
	}
	byMACs := make(map[string][]spot)
	var keys []string
	sets := make(map[string]set)
	for _, s := range order {
		if free[s] {
			continue
		}
		m := newSet(macs[s])
		key := ""
		for _, one := range m {
			key += macOf(one.first).String() + macOf(one.last).String()
		}
		if byMACs[key] == nil {
			keys = append(keys, key)
			sets[key] = m
		}
		byMACs[key] = append(byMACs[key], s)
	}
	for _, key := range keys {
		ties = append(ties, tie{macs: sets[key], at: g.at(func(class int) set {
			var ports []flow.PortNo
			for _, s := range byMACs[key] {
				if s.class == class {
					ports = append(ports, s.port)
				}
			}
			return portSet(ports)
		})})
	}
	return ties
}

// reads are the conditions of packets of which something is looked up that was learned.
func (g *sources) reads() (list [][]atom) {
	if g.Learn == sourceguard.Nothing {
		return nil
	}
	of := func(at uint8, s set, others ...atom) { list = append(list, append(others, outOf(at, s)...)) }
	of(place(flow.FieldEthSrc), g.listedMACs)
	arp, four, six := is(flow.FieldEthType, flow.EthTypeARP), is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldEthType, flow.EthTypeIPv6)
	of(place(flow.FieldARPSHA), g.listedMACs, arp)
	of(place(flow.FieldARPSPA), g.listed[0], arp, negated(is(flow.FieldARPSPA, 0)))
	of(place(flow.FieldARPTPA), g.listed[0], arp, is(flow.FieldARPSPA, 0))
	src := place(flow.FieldIPSrc)
	of(src, g.listed[0], four, negated(atom{field: src, bits: cube{mask: leading(32)}}))
	of(src, g.listed[1], six, negated(atom{field: src, bits: cube{mask: leading(128)}}))
	icmp := is(flow.FieldIPProto, flow.ProtoICMPv6)
	of(place(flow.FieldNDTarget), g.listed[1], six, icmp, between(flow.FieldICMPType, solicitation, advertisement), is(flow.FieldICMPCode, 0))
	of(quotedDst, g.listed[1], six, icmp, is(flow.FieldICMPType, solicitation), negated(is(flow.FieldICMPCode, 0)), atom{field: src, bits: cube{mask: leading(128)}})
	of(place(flow.FieldNDSLL), g.listedMACs, six, icmp, is(flow.FieldICMPType, solicitation), is(flow.FieldICMPCode, 0), negated(atom{field: place(flow.FieldNDSLL), bits: cube{mask: leading(48)}}))
	return list
}

// binds are the conditions of packets by which something may be learned, or which may be denied for what was: those of which something is looked up, and those that
// say it behind their headers.
func (g *sources) binds() (list [][]atom) {
	if list = g.reads(); list == nil {
		return nil
	}
	four, six := is(flow.FieldEthType, flow.EthTypeIPv4), is(flow.FieldEthType, flow.EthTypeIPv6)
	return append(list,
		[]atom{four, is(flow.FieldIPProto, flow.ProtoUDP), is(flow.FieldL4Src, 67), is(flow.FieldL4Dst, 68)},
		[]atom{six, is(flow.FieldIPProto, flow.ProtoICMPv6), between(flow.FieldICMPType, 133, 137)})
}

// sourceguard adds the rules of a source guard.
func (c *chain) sourceguard(at int, s *sourceguard.Config) {
	g := newSources(s)
	entry := Entry{at, -1}
	denied := g.denied()
	exact, hidden := make([][]atom, 0, len(denied)), [][]atom(nil)
	for _, atoms := range denied {
		if _, ok := newRegion(atoms); !ok {
			continue
		}
		if slices.ContainsFunc(atoms, func(a atom) bool { return fieldAt(a.field) == 0 }) {
			hidden = append(hidden, atoms)
		} else {
			exact = append(exact, atoms)
		}
	}
	c.add(entry, sourceguard.Name, flow.Deny, policy.Treatment{}, exact...)
	c.add(entry, sourceguard.Name, flow.Deny, policy.Treatment{}, hidden...)
	c.last().guarded = true
	if len(g.switches) > 0 {
		c.bySwitch = true
	}
	if s.Learn == sourceguard.Nothing {
		return
	}
	c.add(entry, sourceguard.Name, flow.NoVerdict, policy.Treatment{}, g.reads()...)
	c.last().passes = true
	link, _ := s.Compile().(policy.Machines)
	c.learns = &learns{sources: g, at: at, rule: len(c.rules) - 1, link: link, behind: len(c.machines) > 0}
}
