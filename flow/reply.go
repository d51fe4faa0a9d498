package flow

import (
	"math"
	"time"
)

// Reply is what a function that denies a packet would have done with it if the packet is a reply: if the switch still holds the rule of
// the packet that it answers. The gateway finds that out and takes one of the two.
type Reply struct {
	Rules        []Rule // exact ones, which end no later than the rule that the packet answers
	HasPacketOut bool
	PacketOut    []Action
	Reason       string
}

// ReplyLife is how long a deny may live whose packet might have been a reply: a question may open its conversation at any moment.
const ReplyLife = 2 * time.Second

// The timeouts of rules for a conversation that may be answered, where nothing else is said. An idle SSH session, or an MQTT client that
// speaks once a minute, outlives the first.
const (
	ConversationIdleTCP = 120 * time.Second
	ConversationIdle    = 60 * time.Second
	ConversationHard    = 3600 * time.Second
)

// Question returns the headers of the packet that a packet with headers m would answer: addresses and ports the other way round, as far as
// they tell one conversation from another. What it came by nobody knows, so that in_port is absent.
//
// ok is false where m answers nothing: it is not IP, has or comes from a group address, does not show its ports, or is an ICMP message
// other than a reply.
func (m *Match) Question() (q Match, ok bool) {
	if !m.Converses() {
		return q, false
	}
	q = m.Keep(Conversation &^ FieldInPort)
	if m.Fields&FieldICMPType != 0 {
		if q.ICMPType, ok = asked(m.IPProto, m.ICMPType); !ok {
			return Match{}, false
		}
	}
	q.turn()
	return q, true
}

// Answer returns the headers of the packet that would answer one with headers m, as [Match.Question] returns those of the one that m
// answers. ok is false where nothing answers it.
func (m *Match) Answer() (a Match, ok bool) {
	if !m.Converses() {
		return a, false
	}
	a = m.Keep(Conversation &^ FieldInPort)
	if m.Fields&FieldICMPType != 0 {
		if a.ICMPType, ok = answered(m.IPProto, m.ICMPType); !ok {
			return Match{}, false
		}
	}
	a.turn()
	return a, true
}

// turn has source and destination change sides.
func (m *Match) turn() {
	m.EthSrc, m.EthDst = m.EthDst, m.EthSrc
	m.IPSrc, m.IPDst = m.IPDst, m.IPSrc
	m.L4Src, m.L4Dst = m.L4Dst, m.L4Src
}

// Converses reports whether a packet with headers m is of a conversation between two hosts, which is told from others by them.
func (m *Match) Converses() bool {
	const needs = FieldEthSrc | FieldEthDst | FieldEthType | FieldVLAN | FieldIPProto | FieldIPSrc | FieldIPDst
	if !m.Has(needs) || m.Missing()&Conversation&^FieldInPort != 0 || m.EthSrc.Multicast() || m.EthDst.Multicast() ||
		m.IPSrc.Addr().IsMulticast() || m.IPDst.Addr().IsMulticast() {
		return false
	}
	switch m.IPProto {
	case ProtoICMP, ProtoICMPv6:
		if m.ICMPCode != 0 {
			return false
		}
		_, answers := asked(m.IPProto, m.ICMPType)
		_, asks := answered(m.IPProto, m.ICMPType)
		return answers || asks
	}
	return true
}

// queries are the ICMP messages that are answered, and their answers (RFC 792, RFC 950, RFC 4443).
var queries = []struct{ proto, query, answer uint8 }{
	{ProtoICMP, 8, 0}, {ProtoICMP, 13, 14}, {ProtoICMP, 15, 16}, {ProtoICMP, 17, 18}, {ProtoICMPv6, 128, 129},
}

// asked returns the type of the message that one of type t answers.
func asked(proto, t uint8) (query uint8, ok bool) {
	for _, q := range queries {
		if q.proto == proto && q.answer == t {
			return q.query, true
		}
	}
	return 0, false
}

// answered returns the type of the message that answers one of type t.
func answered(proto, t uint8) (answer uint8, ok bool) {
	for _, q := range queries {
		if q.proto == proto && q.query == t {
			return q.answer, true
		}
	}
	return 0, false
}

// ICMPError reports whether m is of an ICMP message that quotes the packet which it is about: destination unreachable, time exceeded and
// parameter problem (RFC 792), and in IPv6 packet too big (RFC 4443).
func (m *Match) ICMPError() bool {
	if m.Fields&FieldICMPType == 0 {
		return false
	}
	switch m.IPProto {
	case ProtoICMP:
		return m.ICMPType == 3 || m.ICMPType == 11 || m.ICMPType == 12
	case ProtoICMPv6:
		return m.ICMPType >= 1 && m.ICMPType <= 4
	}
	return false
}

// Quoted returns the headers of the packet that an ICMP error quotes, as the host that it is for has sent it by the way that the error
// came: from the error's Ethernet destination to its source. By which port the packet came in nobody knows, so that in_port is absent.
//
// ok is false where p is no ICMP error, does not show enough of the quote, or quotes a packet that the host did not send.
func (p *PacketIn) Quoted() (q Match, ok bool) {
	m := &p.Match
	if !m.ICMPError() || p.Incomplete != 0 || !m.Has(FieldEthSrc|FieldEthDst|FieldVLAN) || doubleTagged(p.Data) {
		return q, false
	}
	b := p.Data[min(14, len(p.Data)):]
	if m.VLAN != VLANNone {
		b = b[min(4, len(b)):]
	}
	header := 40 // of IPv6 without extensions
	if m.EthType == EthTypeIPv4 && len(b) > 0 {
		header = int(b[0]&0x0f) * 4
	} else if len(b) < 40 || b[6] != ProtoICMPv6 {
		return q, false
	}
	b = b[min(header+8, len(b)):] // the quote follows the ICMP header
	q.SetEthSrc(m.EthDst, MACExact)
	q.SetEthDst(m.EthSrc, MACExact)
	q.SetVLAN(m.VLAN, VLANExact)
	q.SetEthType(m.EthType)
	switch {
	case m.EthType == EthTypeIPv4 && len(b) >= 20 && b[0]>>4 == 4:
		q.parseIPv4(b, math.MaxInt)
	case m.EthType == EthTypeIPv6 && len(b) >= 40 && b[0]>>4 == 6:
		q.parseIPv6(b, math.MaxInt)
	}
	if q = q.Keep(Conversation); !q.Converses() || q.IPSrc != m.IPDst {
		return Match{}, false
	}
	return q, true
}

// Questions returns the packets of which it is asked, to find out whether a denied packet is let in, if they were allowed: the one that it would answer;
// of an ICMP error the one that it quotes, and if that one is an answer, what it answers.
func (p *PacketIn) Questions() (q [2]Match, n int) {
	if !p.Match.ICMPError() {
		if m, ok := p.Match.Question(); ok {
			q[0], n = m, 1
		}
		return q, n
	}
	m, ok := p.Quoted()
	if !ok {
		return q, 0
	}
	q[0], n = m, 1
	if m, ok = m.Question(); ok {
		q[1], n = m, 2
	}
	return q, n
}

// OpenedBy reports whether the rule r is one for a single conversation in which q is a packet that asks, and lets it pass: r has all of q's
// headers, and the port by which such packets come. It may have others beside.
func (q *Match) OpenedBy(r *Rule) bool {
	return r.Passes() && r.Match.Has(FieldInPort) && r.Match.Keep(Conversation&^FieldInPort) == *q
}
