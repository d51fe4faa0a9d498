package eval

import "switchbridge/flow"

// conversations are the packets of a capture that a switch would have the rules of, by their headers without in_port: a capture does not
// say by which ports its packets came.
type conversations map[flow.Match]struct{}

// settle makes d the decision that the gateway comes to: an answer to one of the packets before it is allowed.
func (c conversations) settle(ev *flow.Event, d *flow.Decision) {
	if r := d.IfReply; r != nil && c.asked(ev.PacketIn) {
		d.Verdict, d.Reason, d.Rules, d.HasPacketOut, d.PacketOut = flow.Allow, r.Reason, r.Rules, r.HasPacketOut, r.PacketOut
	}
	d.IfReply = nil
	key := ev.PacketIn.Match.Keep(flow.Conversation &^ flow.FieldInPort)
	for i := range d.Rules {
		if key.OpenedBy(&d.Rules[i]) {
			c[key] = struct{}{}
		}
	}
}

// asked reports whether a packet is an answer to one of c, or an ICMP error about one.
func (c conversations) asked(pi *flow.PacketIn) bool {
	m := &pi.Match
	if about, ok := pi.Quoted(); ok {
		m = &about
	}
	q, ok := m.Question()
	_, asked := c[q]
	return ok && asked
}
