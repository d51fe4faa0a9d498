package ofproxy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// ready announces the switch and hands it to the bridge.
func (s *session) ready() {
	sw := s.sw.Load()
	s.srv.faults.Line(s.log, slog.LevelInfo, "connected", "switch connected", "protocol", sw.Protocol.String(), "ports", len(sw.Ports), "buffers", sw.NBuffers, "tables", sw.NTables)
	if d := s.desc.Load(); d != nil { // else it is still on its way
		s.advise(d)
	}
	s.core.Load().Ready()
}

func (s *session) packetIn(msg []byte) {
	core := s.core.Load()
	if role(s.role.Load()) != roleAlone {
		s.passes = true
		s.aside(ofp.Header{Type: ofp.TypePacketIn}, msg)
		return
	}
	if s.unsure() {
		s.keep(msg)
		return
	}
	if s.pi == nil {
		s.pi = new(flow.PacketIn)
	}
	if err := ofp.ParsePacketInVLANs(msg, s.cfg.VLANLimit, s.pi); err != nil {
		s.cfg.Metrics.malformed.WithLabelValues("PACKET_IN").Inc()
		core.Drop("malformed")
		core.Warn("packet_in", "PACKET_IN can't be read", "len", len(msg), "err", err)
		return
	}
	core.PacketIn(s.pi, s.now, nil)
}

// portStatus updates the port list and passes the event on.
func (s *session) portStatus(msg []byte) error {
	var ps flow.PortStatus
	if err := ofp.ParsePortStatus(msg, &ps); err != nil {
		return err
	}
	if err := s.ports.change(&ps); err != nil {
		return err
	}
	s.portLog.Info("port", "port", "what", ps.Reason.String(), "port", ps.Port.No.String(), "name", ps.Port.Name, "up", ps.Port.Up())
	s.core.Load().Port(&ps, s.now)
	return nil
}

func (s *session) flowRemoved(msg []byte) error {
	var fr flow.FlowRemoved
	if err := ofp.ParseFlowRemoved(msg, &fr); err != nil {
		return err
	}
	s.core.Load().Removed(&fr, s.now)
	return nil
}

// switchError ties an ERROR to what caused it, by xid: a decision of this
// session, or something that the gateway set up itself.
func (s *session) switchError(msg []byte) error {
	e, err := ofp.ParseError(msg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	infra := s.infra[e.XID]
	q := s.queries[e.XID]
	delete(s.queries, e.XID)
	s.mu.Unlock()
	if strings.HasSuffix(infra, ": add") && strings.Contains(e.Name, "METER_EXISTS") {
		return nil // the MODIFY that follows sets it
	}
	s.cfg.Metrics.errors.WithLabelValues(errorLabel(s.version, &e)).Inc()
	if s.srv.bridge.Pair() != nil && isSlave(s.version, &e) {
		s.srv.bridge.Pair().Lost(s.dpid, 0)
		return errDemoted
	}
	if q != nil {
		q.finish(fmt.Errorf("the switch refuses: %s", e.Name))
		return nil
	}
	if infra != "" {
		s.faults.Warn("infra", "the switch refuses what the gateway set up", "what", infra, "error", e.Name)
		return nil
	}
	why := &bridge.Refusal{SwitchError: e,
		Full:   strings.Contains(e.Name, "TABLE_FULL") || strings.Contains(e.Name, "ALL_TABLES_FULL"),
		Buffer: strings.Contains(e.Name, "BUFFER_UNKNOWN") || strings.Contains(e.Name, "BUFFER_EMPTY")}
	core := s.core.Load()
	if !core.Written(e.XID, s.refusedRule(&e), why) {
		core.Warn("error", "error from the switch, tied to no decision", "error", e.Name, "xid", e.XID)
	}
	return nil
}

// refusedRule returns the index of the rule that an ERROR is about. The ERROR's
// data is the beginning of the refused message (OpenFlow 1.3.5, 7.4.4). The index is
// -1 if no rule's message begins like that, or several do.
func (s *session) refusedRule(e *flow.SwitchError) int {
	which := -1
	s.core.Load().Sent(e.XID, func(rules []flow.Rule, releasing int, buffer uint32) {
		if len(rules) == 1 {
			which = 0
			return
		}
		found := 0
		for i := range rules {
			msg, err := ofp.AppendFlowMod(nil, s.version, e.XID, &rules[i], s.buffer(i, releasing, buffer))
			if err == nil && len(e.Data) > ofp.HeaderLen && bytes.HasPrefix(msg, e.Data[:min(len(e.Data), len(msg))]) {
				which = i
				found++
			}
		}
		if found > 1 {
			which = -1
		}
	})
	return which
}

// functionHandshake sends a message of OpenFlow's handshake to the function (the
// contract's full handshake) and checks the messages that it answers with. They are not
// sent to the switch: the gateway has already sent HELLO and the request for features
// itself. If the function can't be reached, the session goes on without its answer.
func (s *session) functionHandshake(msg []byte) error {
	sw := s.sw.Load()
	if sw == nil {
		sw = &flow.Switch{Protocol: s.version}
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.HandshakeTimeout/3)
	defer cancel()
	answer, err := s.srv.bridge.Handshake(ctx, s.id, sw, msg)
	if err != nil {
		s.faults.Warn("function_handshake", "the function did not take part in the handshake", "err", err)
		return nil
	}
	for rest := answer; len(rest) > 0; {
		h, err := ofp.ParseHeader(rest)
		if err != nil || h.Length > len(rest) {
			return endf("function_handshake", "the function's answer to the handshake is not OpenFlow (bytes % x)", rest[:min(len(rest), 16)])
		}
		if h.Type != ofp.TypeHello && h.Type != ofp.TypeFeaturesRequest {
			return endf("function_handshake", "the function answers the handshake with %v", h.Type)
		}
		rest = rest[h.Length:]
	}
	return nil
}

// advise logs, once for a session, which settings of an Open vSwitch let packets
// past the gateway, as far as the gateway can see them, and the command that changes
// them.
func (s *session) advise(d *ofp.Desc) {
	if s.advised || !strings.Contains(d.Hardware, "Open vSwitch") {
		return
	}
	s.advised = true
	bridge := "BRIDGE"
	if p := s.sw.Load().Port(flow.PortLocal); p != nil && p.Name != "" {
		bridge = p.Name
	}
	args := []any{"fail_mode", fmt.Sprintf("ovs-vsctl set-fail-mode %s secure", bridge),
		"why", "a bridge without it forwards everything by itself while the gateway is away"}
	level := slog.LevelInfo
	if host, _, err := net.SplitHostPort(s.remote); err == nil && net.ParseIP(host).IsLoopback() {
		level = slog.LevelWarn
		args = append(args, "in_band", fmt.Sprintf("ovs-vsctl set bridge %s other-config:disable-in-band=true", bridge),
			"why_in_band", "a bridge whose controller is on loopback has hidden rules above all others that let traffic past it")
	}
	s.srv.faults.Line(s.log, level, "advice", "this gateway can't see whether the bridge is governed without gaps; make sure of it", args...)
}
