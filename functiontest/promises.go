package functiontest

import (
	"net/netip"
	"slices"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// conversation is a packet that others are made of by changing one thing.
type conversation struct {
	proto    byte
	from, to frames.Endpoint
	port     flow.PortNo
	vlan     uint16
	dpid     flow.DPID
}

// conversationOf takes the packet of an event apart; ok is false for those that are not TCP, UDP or an ICMP echo, and for digests.
func conversationOf(ev *flow.Event) (c conversation, ok bool) {
	p := ev.PacketIn
	if p == nil || len(p.Data) == 0 || p.BufferID != flow.NoBuffer {
		return c, false
	}
	m := &p.Match
	c = conversation{m.IPProto, frames.Endpoint{MAC: m.EthSrc, IP: m.IPSrc.Addr(), Port: m.L4Src}, frames.Endpoint{MAC: m.EthDst, IP: m.IPDst.Addr(), Port: m.L4Dst},
		m.InPort, m.VLAN & 0xfff, ev.Switch.DPID}
	if m.Fields&(flow.FieldIPSrc|flow.FieldIPDst) == 0 || m.IPProto != flow.ProtoTCP && m.IPProto != flow.ProtoUDP {
		return c, false
	}
	again := flow.ParseFrame(c.frame(), c.port)
	return c, again.Fields == m.Fields
}

func (c *conversation) frame() []byte {
	var f []byte
	if c.proto == flow.ProtoTCP {
		f = frames.TCP(c.from, c.to, frames.SYN, nil)
	} else {
		f = frames.UDP(c.from, c.to, make([]byte, 12))
	}
	if c.vlan != 0 {
		f = frames.Tagged(f, c.vlan, 0)
	}
	return f
}

// event asks about c on a switch like that of ev.
func (c *conversation) event(ev *flow.Event) *flow.Event {
	e := *ev
	sw := *ev.Switch
	sw.DPID, e.Switch, e.PacketIn, e.State = c.dpid, &sw, PacketIn(c.frame(), c.port), nil
	return &e
}

// turned is the packet that answers c, and comes by another port of another switch.
func (c conversation) turned() conversation {
	c.from, c.to = c.to, c.from
	c.port, c.dpid = 4, c.dpid+1
	return c
}

// variants change one thing each: what a fields are of.
var variants = []struct {
	name   string
	field  flow.Field
	sw     bool
	change func(*conversation)
}{
	{"another port", flow.FieldInPort, false, func(c *conversation) { c.port = 5 - c.port }},
	{"another switch", 0, true, func(c *conversation) { c.dpid++ }},
	{"another source station", flow.FieldEthSrc, false, func(c *conversation) { c.from.MAC[4] ^= 0x55 }},
	{"another destination station", flow.FieldEthDst, false, func(c *conversation) { c.to.MAC[4] ^= 0x55 }},
	{"another source address", flow.FieldIPSrc, false, func(c *conversation) { c.from.IP = beside(c.from.IP) }},
	{"another destination address", flow.FieldIPDst, false, func(c *conversation) { c.to.IP = beside(c.to.IP) }},
	{"another source port", flow.FieldL4Src, false, func(c *conversation) { c.from.Port ^= 0x0155 }},
	{"another VLAN", flow.FieldVLAN, false, func(c *conversation) { c.vlan ^= 7 }},
	{"destination port 22", flow.FieldL4Dst, false, func(c *conversation) { c.to.Port = 22 }},
	{"destination port 443", flow.FieldL4Dst, false, func(c *conversation) { c.to.Port = 443 }},
	{"destination port 53", flow.FieldL4Dst, false, func(c *conversation) { c.to.Port = 53 }},
}

// beside is an address whose last byte differs.
func beside(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] ^= 0x55
	other, _ := netip.AddrFromSlice(b)
	return other
}

// reuse tries what an answer promises of other packets: those with the same values in its fields get the same answer. What differs in
// fields that the answer names gets any.
func (s *session) reuse() {
	said := 0
	for a, d := range s.decisions {
		if d.Reuse.For <= 0 {
			continue
		}
		said++
		if d.IfReply != nil || len(d.State)+len(d.Read)+len(d.Revoke)+len(d.Entries) > 0 {
			s.fail("%s: reuse beside if_reply, state, states, revoke or entries: it is not used", a.name)
		}
		c, ok := conversationOf(a.ev)
		if !ok {
			continue
		}
		for _, v := range variants {
			if d.Reuse.Fields&v.field != 0 || v.sw && d.Reuse.Switch {
				continue
			}
			other := c
			v.change(&other)
			if now := s.ask(a.name, other.event(a.ev), nil); !now.decided() {
				s.fail("%s: reuse holds for %s, and it gets %v", a.name, v.name, now.refusal())
			} else if e := now.decision(); effect(now, e) != effect(a, d) {
				s.fail("%s: reuse holds for %s, and it gets %q where this one gets %q", a.name, v.name, effect(now, e), effect(a, d))
			}
		}
		s.replyOf(a, d, c)
	}
	if said == 0 && s.row.Status == Passed {
		s.skip("no answer has reuse")
	}
}

// replyOf tries what the member reply of an answer promises of the packet that answers.
func (s *session) replyOf(a *answer, d *flow.Decision, c conversation) {
	r := d.Reuse.Reply
	if r == nil {
		return
	}
	if drops(a, d) {
		s.fail("%s: reply beside an answer that drops the packet", a.name)
	}
	turned := c.turned()
	now := s.ask(a.name, turned.event(a.ev), nil)
	if !now.decided() {
		s.fail("%s: reply says what becomes of its answer, and that gets %v", a.name, now.refusal())
		return
	}
	switch e := now.decision(); {
	case !drops(now, e):
		s.fail("%s: reply says that its answer is denied unless it is a reply, and it is allowed", a.name)
	case e.IfReply == nil:
		s.fail("%s: reply says what becomes of its answer, and that gets no if_reply", a.name)
	}
}

// portsTried are destination ports that packets of a fragment's hosts are asked with.
var portsTried = []uint16{1, 22, 23, 53, 80, 443, 3389, 8080}

// incomplete holds what is said of a fragment against what is said of the packets that it may be of.
func (s *session) incomplete() {
	for _, c := range s.conversations() {
		whole := c.event(s.cases[0].Event)
		whole.Type, whole.Handshake, whole.Accepts = flow.EventPacketIn, nil, flow.AcceptsAll
		fragment := *whole
		fragment.PacketIn = PacketIn(frames.LaterFragment(c.frame()), c.port)
		what := "a fragment of " + c.from.IP.String() + " to " + c.to.IP.String()
		f := s.ask(what, &fragment, nil)
		if err := f.fault(); err != nil {
			s.fail("%s: %v", what, err)
		}
		if !f.decided() {
			continue
		}
		d := f.decision()
		covers := len(d.Rules) > 0 && d.Rules[0].CoversIncomplete
		if d.Stateful || drops(f, d) && !covers { // it is asked about again
			continue
		}
		for _, port := range s.ports() {
			c.to.Port = port
			e := c.event(whole)
			now := s.ask(what, e, nil)
			if !now.decided() {
				continue
			}
			w := now.decision()
			switch {
			case w.Stateful || w.IfReply != nil:
			case drops(now, w) && !drops(f, d):
				s.fail("%s is allowed, but a packet with port %d, to which it may belong, is denied", what, port)
			case covers && effect(now, w) != effect(f, d):
				s.fail("%s gets a rule that covers_incomplete with %q, and the packet with port %d gets %q", what, effect(f, d), port, effect(now, w))
			}
		}
	}
}

// conversations are the hosts that fragments are made of: TCP and UDP in IPv4, without a tag.
func (s *session) conversations() (list []conversation) {
	type key struct {
		proto    byte
		from, to netip.Addr
	}
	seen := make(map[key]bool)
	for _, c := range s.cases {
		v, ok := conversationOf(c.Event)
		k := key{v.proto, v.from.IP, v.to.IP}
		if ok && v.from.IP.Is4() && v.vlan == 0 && !seen[k] {
			seen[k] = true
			list = append(list, v)
		}
	}
	return list
}

// ports are those tried, and those of the cases.
func (s *session) ports() []uint16 {
	list := slices.Clone(portsTried)
	seen := make(map[uint16]bool)
	for _, p := range list {
		seen[p] = true
	}
	for _, c := range s.cases {
		if v, ok := conversationOf(c.Event); ok && !seen[v.to.Port] {
			seen[v.to.Port] = true
			list = append(list, v.to.Port)
		}
	}
	return list
}
