package flow_test

import (
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

func six(n uint8) frames.Endpoint {
	e := frames.Host(n)
	e.IP = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n})
	return e
}

// TestQuestion turns packets round: of the answer to each question comes that question's headers, and what answers nothing has none.
func TestQuestion(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(53)
	group := frames.Endpoint{MAC: flow.MAC{1, 0, 0x5e, 0, 0, 1}, IP: netip.MustParseAddr("224.0.0.1"), Port: 53}
	for name, row := range map[string]struct{ question, answer []byte }{
		"TCP":           {frames.TCP(a, b, frames.SYN, nil), frames.TCP(b, a, frames.ACK, nil)},
		"UDP":           {frames.UDP(a, b, nil), frames.UDP(b, a, nil)},
		"UDP over IPv6": {frames.UDP(six(1).At(1), six(2).At(2), nil), frames.UDP(six(2).At(2), six(1).At(1), nil)},
		"ping":          {frames.Ping(a, b, 1, 1), frames.Pong(b, a, 1, 1)},
		"ping of IPv6":  {frames.Ping(six(1), six(2), 1, 1), frames.Pong(six(2), six(1), 1, 1)},
		"with a tag":    {frames.Tagged(frames.TCP(a, b, 0, nil), 7, 3), frames.Tagged(frames.TCP(b, a, 0, nil), 7, 0)},
	} {
		question, answer := flow.ParseFrame(row.question, 1), flow.ParseFrame(row.answer, 2)
		q, ok := answer.Question()
		if want := question.Keep(flow.Conversation &^ flow.FieldInPort); !ok || q != want {
			t.Errorf("%s: the answer is to %v (%t), want %v", name, q, ok, want)
		}
		if !question.Converses() || !answer.Converses() {
			t.Errorf("%s: no conversation", name)
		}
		if _, ok := question.Question(); ok != (name != "ping" && name != "ping of IPv6") {
			t.Errorf("%s: the question is an answer: %t", name, ok)
		}
	}
	for name, frame := range map[string][]byte{
		"ARP":               frames.ARPReply(a, b),
		"LLDP":              frames.LLDP(a.MAC, 1),
		"to a group":        frames.UDP(a, group, nil),
		"from a group":      frames.UDP(group, a, nil),
		"a broadcast":       frames.UDP(a, frames.Endpoint{MAC: frames.Broadcast, IP: b.IP, Port: 53}, nil),
		"a fragment":        frames.LaterFragment(frames.UDP(a, b, make([]byte, 20))),
		"cut short":         frames.TCP(a, b, 0, nil)[:36],
		"two tags":          frames.Tagged(frames.Tagged(frames.TCP(a, b, 0, nil), 7, 0), 8, 0),
		"neighbours":        frames.NeighborSolicitation(six(1), six(2).IP),
		"an ICMP error":     frames.TooBig(a, frames.TCP(b, a, 0, nil), 1280),
		"no headers at all": nil,
	} {
		m := flow.ParseFrame(frame, 1)
		if q, ok := m.Question(); ok || m.Converses() {
			t.Errorf("%s answers %v, converses %t", name, q, m.Converses())
		}
	}
}

// TestQuoted reads the packets that ICMP errors quote, as their senders sent them, and nothing of errors that are cut, lie or quote what is
// of no conversation.
func TestQuoted(t *testing.T) {
	a, b := frames.Host(1).At(40000), frames.Host(2).At(80)
	router := frames.Endpoint{MAC: b.MAC, IP: frames.Host(200).IP}
	router6 := frames.Endpoint{MAC: b.MAC, IP: six(200).IP}
	tcp, tcp6 := frames.TCP(a, b, frames.ACK, make([]byte, 100)), frames.TCP(six(1).At(1), six(2).At(2), frames.ACK, nil)
	of := func(frame []byte) *flow.PacketIn {
		m := flow.ParseFrame(frame, 2)
		return &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: m, Incomplete: m.Missing()}
	}
	for name, row := range map[string]struct{ frame, quoted []byte }{
		"TCP":        {frames.TooBig(router, tcp, 1280), tcp},
		"with a tag": {frames.Tagged(frames.TooBig(router, tcp, 1280), 7, 0), frames.Tagged(tcp, 7, 0)},
		"IPv6":       {frames.TooBig(router6, tcp6, 1280), tcp6},
		"a ping":     {frames.TooBig(router, frames.Ping(a, b, 1, 1), 1280), frames.Ping(a, b, 1, 1)},
	} {
		m := flow.ParseFrame(row.quoted, 1)
		q, ok := of(row.frame).Quoted()
		if want := m.Keep(flow.Conversation &^ flow.FieldInPort); !ok || q != want {
			t.Errorf("%s: quoted is %v (%t), want %v", name, q, ok, want)
		}
		for n := range row.frame { // whatever is missing, nothing is read that is not there
			if q, ok := of(row.frame[:n]).Quoted(); ok && q.Missing()&flow.Conversation&^flow.FieldInPort != 0 {
				t.Errorf("%s, cut to %d bytes: %v", name, n, q)
			}
		}
	}
	lie := frames.TooBig(router, tcp, 1280)
	lie[33] ^= 7 // another host than the one that sent what it quotes
	twice := frames.TooBig(router, frames.TooBig(a, tcp, 1280), 1280)
	for name, frame := range map[string][]byte{
		"no error":           tcp,
		"to another host":    lie,
		"about an error":     twice,
		"about a fragment":   frames.TooBig(router, frames.LaterFragment(tcp), 1280),
		"about ARP":          append(frames.TooBig(router, tcp, 1280)[:42], frames.ARPRequest(a, b.IP)[14:]...),
		"with two tags":      frames.Tagged(frames.Tagged(frames.TooBig(router, tcp, 1280), 7, 0), 8, 0),
		"without a quote":    frames.TooBig(router, tcp, 1280)[:42],
		"of half a header":   frames.TooBig(router, tcp, 1280)[:52],
		"of no ports of TCP": frames.TooBig(router, tcp, 1280)[:64],
	} {
		if q, ok := of(frame).Quoted(); ok {
			t.Errorf("%s: quoted is %v", name, q)
		}
	}
}

// TestOpenedBy says which rules are of one conversation, and let it pass.
func TestOpenedBy(t *testing.T) {
	m := flow.ParseFrame(frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(80), frames.SYN, nil), 1)
	q := m.Keep(flow.Conversation &^ flow.FieldInPort)
	out := []flow.Action{flow.OutputTo(flow.PortNormal)}
	for name, row := range map[string]struct {
		rule flow.Rule
		want bool
	}{
		"exact":                  {flow.Rule{Match: m.Keep(flow.Conversation), Actions: out}, true},
		"with more headers":      {flow.Rule{Match: m, Actions: out}, true},
		"by another table":       {flow.Rule{Match: m.Keep(flow.Conversation), Goto: 1}, true},
		"a deny":                 {flow.Rule{Match: m.Keep(flow.Conversation)}, false},
		"to the gateway":         {flow.Rule{Match: m.Keep(flow.Conversation), Actions: []flow.Action{flow.OutputTo(flow.PortController)}}, false},
		"without in_port":        {flow.Rule{Match: q, Actions: out}, false},
		"without a port":         {flow.Rule{Match: m.Keep(flow.Conversation &^ flow.FieldL4Src), Actions: out}, false},
		"without an address":     {flow.Rule{Match: m.Keep(flow.Conversation &^ flow.FieldEthDst), Actions: out}, false},
		"of a whole network":     {flow.Rule{Match: wide(m.Keep(flow.Conversation)), Actions: out}, false},
		"another conversation's": {flow.Rule{Match: flow.ParseFrame(frames.TCP(frames.Host(1).At(40001), frames.Host(2).At(80), 0, nil), 1).Keep(flow.Conversation), Actions: out}, false},
	} {
		if got := q.OpenedBy(&row.rule); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func wide(m flow.Match) flow.Match {
	m.SetIPSrc(netip.MustParsePrefix("10.0.0.0/24"))
	return m
}
