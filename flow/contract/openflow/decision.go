package openflow

import (
	"bytes"
	"errors"
	"fmt"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// AppendDecision implements [contract.Codec]: FLOW_MODs, then a PACKET_OUT
// where the decision has one. Prerequisites that a rule's match lacks are
// added. A rule that the switch's version can't express is left out; the packet
// fares as it would with the rule, by a PACKET_OUT of its own.
func (Codec) AppendDecision(b []byte, ev *flow.Event, d *flow.Decision) ([]byte, error) {
	start := len(b)
	var err error
	switch ev.Type {
	case flow.EventPolicyCheck:
	case flow.EventHandshake:
		b = append(b, d.Handshake...)
	default:
		b, err = appendDecision(b, ev, d)
	}
	if err == nil {
		err = checkSize(b[start:])
	}
	if err != nil {
		return b[:start], err
	}
	return b, nil
}

func appendDecision(b []byte, ev *flow.Event, d *flow.Decision) ([]byte, error) {
	v, err := wireVersion(ev.Switch)
	if err != nil {
		return b, err
	}
	all := true
	for i := range d.Rules {
		b, err = appendRule(b, v, ev, &d.Rules[i])
		if inexpressible := (*ofp.UnsupportedError)(nil); errors.As(err, &inexpressible) {
			all = false
		} else if err != nil {
			return b, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	if ev.Type != flow.EventPacketIn || ev.PacketIn == nil || !d.HasPacketOut && all {
		return b, nil
	}
	p := ev.PacketIn
	actions, _ := d.PacketActions(&p.Match)
	out := ofp.PacketOut{BufferID: p.BufferID, InPort: p.Match.InPort, Actions: actions, Match: &p.Match}
	if len(actions) > 0 {
		out.Data = p.Data
	}
	b, err = ofp.AppendPacketOut(b, v, ev.XID, &out)
	if err != nil {
		return b, fmt.Errorf("packet_out: %w", err)
	}
	return b, nil
}

func appendRule(b []byte, v flow.Protocol, ev *flow.Event, r *flow.Rule) ([]byte, error) {
	next, err := ofp.AppendFlowMod(b, v, ev.XID, r, flow.NoBuffer)
	if err == nil || ofp.CheckMatch(v, &r.Match) == nil {
		return next, err
	}
	var packet *flow.Match
	if ev.PacketIn != nil {
		packet = &ev.PacketIn.Match
	}
	completed := *r
	if err := complete(v, &completed.Match, packet); err != nil {
		return b, err
	}
	return ofp.AppendFlowMod(b, v, ev.XID, &completed, flow.NoBuffer)
}

// ParseDecision implements [contract.Codec]. What is out of place, of another
// version or another xid than the event's, or a PACKET_OUT of another packet, is
// an error.
func (Codec) ParseDecision(body []byte, ev *flow.Event, d *flow.Decision) error {
	if err := checkSize(body); err != nil {
		return err
	}
	switch ev.Type {
	case flow.EventPolicyCheck:
		if len(body) != 0 {
			return fmt.Errorf("%d bytes of body in answer to %v", len(body), ev.Type)
		}
		return nil
	case flow.EventHandshake:
		return parseHandshakeAnswer(body, d)
	}
	v, err := wireVersion(ev.Switch)
	if err != nil {
		return err
	}
	for n := 1; len(body) > 0; n++ {
		h, msg, rest, err := split(body)
		if err == nil {
			err = parseAnswer(h, msg, v, ev, d)
		}
		if err != nil {
			return fmt.Errorf("message %d of the answer: %w", n, err)
		}
		body = rest
	}
	return nil
}

func parseHandshakeAnswer(body []byte, d *flow.Decision) error {
	for rest := body; len(rest) > 0; {
		h, _, next, err := split(rest)
		if err != nil {
			return err
		}
		if h.Type != ofp.TypeHello && h.Type != ofp.TypeFeaturesRequest {
			return fmt.Errorf("%v in answer to a handshake: want HELLO and FEATURES_REQUEST", h.Type)
		}
		rest = next
	}
	d.Handshake = append(d.Handshake[:0], body...)
	return nil
}

func parseAnswer(h ofp.Header, msg []byte, v flow.Protocol, ev *flow.Event, d *flow.Decision) error {
	switch {
	case h.Type == ofp.TypeHello || h.Type == ofp.TypeFeaturesRequest:
		return nil // of a function that answers the handshake with all else
	case h.Type == ofp.TypeError:
		e, err := ofp.ParseError(msg)
		if err != nil {
			return err
		}
		return fmt.Errorf("the function answers with the error %s %.64q", e.Name, e.Data)
	case h.Type != ofp.TypeFlowMod && h.Type != ofp.TypePacketOut:
		return fmt.Errorf("%v: want FLOW_MOD or PACKET_OUT", h.Type)
	case h.Version != v:
		return fmt.Errorf("%v of wire version %#02x, to a switch of %v", h.Type, uint8(h.Version), v)
	case h.XID != ev.XID:
		return fmt.Errorf("%v with xid %#08x, where the event has %#08x", h.Type, h.XID, ev.XID)
	case h.Type == ofp.TypeFlowMod:
		return parseRule(msg, d)
	}
	return parsePacketOut(msg, ev, d)
}

// parseRule adds a rule to d. Its actions are new: those of an earlier rule in
// the same place may be its Decider's own.
func parseRule(msg []byte, d *flow.Decision) error {
	n := len(d.Rules)
	d.Rules = append(d.Rules, flow.Rule{})
	if err := ofp.ParseFlowMod(msg, &d.Rules[n]); err != nil {
		d.Rules = d.Rules[:n]
		return err
	}
	return nil
}

// parsePacketOut reads what becomes of the event's packet. The message may name
// the packet by its buffer, by its data, or, for short, by neither.
func parsePacketOut(msg []byte, ev *flow.Event, d *flow.Decision) error {
	if ev.Type != flow.EventPacketIn || ev.PacketIn == nil {
		return fmt.Errorf("PACKET_OUT in answer to %v", ev.Type)
	}
	if d.HasPacketOut {
		return errors.New("a second PACKET_OUT: the event has one packet")
	}
	p := ofp.PacketOut{Actions: d.PacketOut}
	if err := ofp.ParsePacketOut(msg, &p); err != nil {
		return err
	}
	if p.BufferID != flow.NoBuffer && p.BufferID != ev.PacketIn.BufferID {
		return fmt.Errorf("PACKET_OUT of buffer %#x, where the event's packet has %#x", p.BufferID, ev.PacketIn.BufferID)
	}
	if len(p.Data) > 0 && !bytes.Equal(p.Data, ev.PacketIn.Data) {
		return errors.New("PACKET_OUT of another packet than the event's")
	}
	d.HasPacketOut, d.PacketOut = true, p.Actions
	for i := range d.PacketOut {
		if a := &d.PacketOut[i]; (a.Type == flow.SetL4Src || a.Type == flow.SetL4Dst) && a.IPProto == 0 {
			a.IPProto = ev.PacketIn.Match.IPProto
		}
	}
	return nil
}
