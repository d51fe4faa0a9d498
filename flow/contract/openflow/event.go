package openflow

import (
	"encoding/binary"
	"fmt"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// AppendEvent implements [contract.Codec].
func (c Codec) AppendEvent(b []byte, ev *flow.Event) ([]byte, error) {
	start := len(b)
	var err error
	switch ev.Type {
	case flow.EventPolicyCheck:
	case flow.EventHandshake:
		b = append(b, ev.Handshake...)
	default:
		b, err = c.appendMessages(b, ev)
	}
	if err == nil {
		err = checkSize(b[start:])
	}
	if err != nil {
		return b[:start], err
	}
	return b, nil
}

func (c Codec) appendMessages(b []byte, ev *flow.Event) ([]byte, error) {
	v, err := wireVersion(ev.Switch)
	if err != nil {
		return b, err
	}
	if !c.Full || ev.Type == flow.EventSwitchConnected {
		b = ofp.AppendHello(b, ev.XID, v)
		b = ofp.AppendFeaturesReply(b, v, ev.XID, ev.Switch)
	}
	switch {
	case ev.Type == flow.EventSwitchConnected:
		if v == flow.OpenFlow13 {
			b = ofp.AppendPortDescReply(b, ev.XID, ev.Switch.Ports)
		}
		return b, nil
	case ev.Type == flow.EventPacketIn && ev.PacketIn != nil:
		return appendPacketIn(b, v, ev)
	case ev.Type == flow.EventFlowRemoved && ev.FlowRemoved != nil:
		r := ev.FlowRemoved
		if ofp.CheckMatch(v, &r.Match) != nil {
			completed := *r
			if err := complete(v, &completed.Match, nil); err != nil {
				return b, err
			}
			r = &completed
		}
		return ofp.AppendFlowRemoved(b, v, ev.XID, r), nil
	case ev.Type == flow.EventPortStatus && ev.PortStatus != nil:
		return ofp.AppendPortStatus(b, v, ev.XID, ev.PortStatus), nil
	case ev.Type == flow.EventError && ev.Error != nil:
		return ofp.AppendError(b, v, ev.XID, ev.Error.Type, ev.Error.Code, ev.Error.Data), nil
	}
	return b, fmt.Errorf("%v has no content that application/openflow could say", ev.Type)
}

func appendPacketIn(b []byte, v flow.Protocol, ev *flow.Event) ([]byte, error) {
	p := ev.PacketIn
	if len(p.Data) == 0 && ofp.CheckMatch(v, &p.Match) != nil { // a digest of a few headers
		completed := *p
		if err := complete(v, &completed.Match, nil); err != nil {
			return b, err
		}
		p = &completed
	}
	return ofp.AppendPacketIn(b, v, ev.XID, p)
}

// complete adds the prerequisites that a match lacks and checks what is then
// there.
func complete(v flow.Protocol, m, packet *flow.Match) error {
	if err := m.Complete(packet); err != nil {
		return err
	}
	return ofp.CheckMatch(v, m)
}

// ParseEvent implements [contract.Codec]. It takes either form of the
// handshake, and sets what the messages say of the switch.
func (Codec) ParseEvent(body []byte, ev *flow.Event) error {
	if err := checkSize(body); err != nil {
		return err
	}
	switch ev.Type {
	case flow.EventPolicyCheck:
		if len(body) != 0 {
			return fmt.Errorf("%d bytes of body where none is wanted", len(body))
		}
		return nil
	case flow.EventHandshake:
		return parseHandshake(body, ev)
	}
	r := reader{ev: ev}
	if ev.Switch != nil {
		r.sw = *ev.Switch
	}
	for len(body) > 0 {
		h, msg, rest, err := split(body)
		if err != nil {
			return err
		}
		if err := r.message(h, msg); err != nil {
			return err
		}
		body = rest
	}
	return r.finish()
}

// parseHandshake checks the one message of a handshake and learns from it what
// there is to learn of the switch. The HELLO may be of any version.
func parseHandshake(body []byte, ev *flow.Event) error {
	h, msg, rest, err := split(body)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes after the %v", len(rest), h.Type)
	}
	switch h.Type {
	case ofp.TypeHello:
		if _, err := ofp.ParseHello(msg); err != nil {
			return err
		}
	case ofp.TypeFeaturesReply:
		r := reader{ev: ev}
		if ev.Switch != nil {
			r.sw = *ev.Switch
		}
		if err := r.features(msg); err != nil {
			return err
		}
		r.save()
	default:
		return fmt.Errorf("%v where HELLO or FEATURES_REPLY is wanted", h.Type)
	}
	ev.XID, ev.Handshake = h.XID, msg
	return nil
}

// reader takes the messages of an event in the order in which they may come:
// HELLO, FEATURES_REPLY, port description, the event's own message.
type reader struct {
	ev      *flow.Event
	sw      flow.Switch
	last    int // the rank of the latest message
	version flow.Protocol
	ports   bool // a port description is complete
	more    bool // it goes on
}

// rank orders the messages; 0 is one that no event has.
func rank(t ofp.Type) int {
	switch t {
	case ofp.TypeHello:
		return 1
	case ofp.TypeFeaturesReply:
		return 2
	case ofp.TypeStatsReply:
		return 3
	case ofp.TypePacketIn, ofp.TypeFlowRemoved, ofp.TypePortStatus, ofp.TypeError:
		return 4
	}
	return 0
}

func (r *reader) message(h ofp.Header, msg []byte) error {
	n := rank(h.Type)
	if n == 0 || n < r.last || n == r.last && !r.more || r.more && h.Type != ofp.TypeStatsReply {
		return fmt.Errorf("%v is out of place in %v", h.Type, r.ev.Type)
	}
	if r.last != 0 && h.Version != r.version {
		return fmt.Errorf("%v of %v after a message of %v", h.Type, h.Version, r.version)
	}
	if h.Version != flow.OpenFlow10 && h.Version != flow.OpenFlow13 {
		return fmt.Errorf("%v: wire version %#02x is not spoken here", h.Type, uint8(h.Version))
	}
	r.last, r.version = n, h.Version
	r.sw.Protocol, r.ev.XID = h.Version, h.XID

	ev := r.ev
	var err error
	switch {
	case h.Type == ofp.TypeHello:
		_, err = ofp.ParseHello(msg)
	case h.Type == ofp.TypeFeaturesReply:
		err = r.features(msg)
	case h.Type == ofp.TypeStatsReply && ev.Type == flow.EventSwitchConnected:
		err = r.portDesc(msg)
	case h.Type == ofp.TypePacketIn && ev.Type == flow.EventPacketIn:
		ev.PacketIn = new(flow.PacketIn)
		err = ofp.ParsePacketIn(msg, ev.PacketIn)
		if isDigest(ev.PacketIn) {
			ev.PacketIn.Incomplete = 0
		}
	case h.Type == ofp.TypeFlowRemoved && ev.Type == flow.EventFlowRemoved:
		ev.FlowRemoved = new(flow.FlowRemoved)
		err = ofp.ParseFlowRemoved(msg, ev.FlowRemoved)
	case h.Type == ofp.TypePortStatus && ev.Type == flow.EventPortStatus:
		ev.PortStatus = new(flow.PortStatus)
		err = ofp.ParsePortStatus(msg, ev.PortStatus)
	case h.Type == ofp.TypeError && ev.Type == flow.EventError:
		ev.Error, err = parseError(msg)
	default:
		err = fmt.Errorf("%v is out of place in %v", h.Type, ev.Type)
	}
	return err
}

// isDigest reports whether a PACKET_IN presents a P4 digest: it has no packet, not
// even a length of one, as a packet that a switch keeps or cuts to nothing has.
// What its program leaves out no packet of the program shows, so nothing is
// hidden; an OpenFlow switch's packet without data hides all that its match lacks.
func isDigest(p *flow.PacketIn) bool {
	return len(p.Data) == 0 && p.TotalLen == 0 && p.BufferID == flow.NoBuffer
}

// features reads a FEATURES_REPLY, which must be of the switch that the
// envelope names.
func (r *reader) features(msg []byte) error {
	dpid := r.sw.DPID
	if err := ofp.ParseFeaturesReply(msg, &r.sw); err != nil {
		return err
	}
	if r.ev.Switch != nil && dpid != r.sw.DPID {
		return fmt.Errorf("FEATURES_REPLY of switch %v in an event of switch %v", r.sw.DPID, dpid)
	}
	return nil
}

func (r *reader) portDesc(msg []byte) error {
	ports, more, err := ofp.ParsePortDescReply(msg)
	if err != nil {
		return err
	}
	if r.more {
		r.sw.Ports = append(r.sw.Ports, ports...)
	} else {
		r.sw.Ports = ports
	}
	r.more, r.ports = more, !more
	return nil
}

// parseError reads an ERROR. The header's xid is the event's own; the refused
// message's, and so the decision's, is in what the switch sent back of it.
func parseError(msg []byte) (*flow.SwitchError, error) {
	e, err := ofp.ParseError(msg)
	if err != nil {
		return nil, err
	}
	if len(e.Data) >= ofp.HeaderLen {
		e.XID = binary.BigEndian.Uint32(e.Data[4:])
	}
	return &e, nil
}

// finish checks that nothing is missing and hands the switch over.
func (r *reader) finish() error {
	ev := r.ev
	var ok bool
	switch ev.Type {
	case flow.EventSwitchConnected:
		ok = r.last == 2 && r.version == flow.OpenFlow10 || r.ports
	case flow.EventPacketIn:
		ok = ev.PacketIn != nil
	case flow.EventFlowRemoved:
		ok = ev.FlowRemoved != nil
	case flow.EventPortStatus:
		ok = ev.PortStatus != nil
	case flow.EventError:
		ok = ev.Error != nil
	}
	if !ok {
		return fmt.Errorf("the body ends before what %v is about", ev.Type)
	}
	r.save()
	return nil
}

// save writes the switch where the envelope has put one, or makes one.
func (r *reader) save() {
	if r.ev.Switch == nil {
		r.ev.Switch = new(flow.Switch)
	}
	*r.ev.Switch = r.sw
}
