package ofproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// ready announces the switch, asks for its proactive rules and starts the sweep.
func (s *session) ready() {
	sw := s.sw.Load()
	s.log.Info("switch connected", "protocol", sw.Protocol.String(), "ports", len(sw.Ports), "buffers", sw.NBuffers, "tables", sw.NTables)
	if d := s.desc.Load(); d != nil { // else it is still on its way
		s.advise(d)
	}
	s.resyncWanted()
}

// portStatus keeps the port list true, and passes the event on where subscribed.
func (s *session) portStatus(msg []byte) error {
	var ps flow.PortStatus
	if err := ofp.ParsePortStatus(msg, &ps); err != nil {
		return err
	}
	s.cfg.Metrics.events.WithLabelValues("port_status").Inc()
	sw := *s.sw.Load()
	ports := make([]flow.Port, 0, len(sw.Ports)+1)
	for _, p := range sw.Ports {
		if p.No != ps.Port.No {
			ports = append(ports, p)
		}
	}
	if ps.Reason != flow.PortDeleted {
		ports = append(ports, ps.Port)
	}
	if len(ports) > maxPorts {
		return fmt.Errorf("more than %d ports", maxPorts)
	}
	sw.Ports = ports
	s.sw.Store(&sw)
	s.log.Info("port", "what", ps.Reason.String(), "port", ps.Port.No.String(), "name", ps.Port.Name, "up", ps.Port.Up())
	s.event(&task{ev: flow.Event{Type: flow.EventPortStatus, PortStatus: &ps}})
	return nil
}

// maxPorts bounds what a switch can make the gateway remember.
const maxPorts = 65536

func (s *session) flowRemoved(msg []byte) error {
	var fr flow.FlowRemoved
	if err := ofp.ParseFlowRemoved(msg, &fr); err != nil {
		return err
	}
	s.cfg.Metrics.events.WithLabelValues("flow_removed").Inc()
	s.event(&task{ev: flow.Event{Type: flow.EventFlowRemoved, FlowRemoved: &fr}})
	return nil
}

// event passes an event on if the configuration subscribes to its type.
func (s *session) event(t *task) {
	if !s.cfg.Subscribe[t.ev.Type] || s.draining.Load() {
		return
	}
	s.events.Add(1)
	t.s, t.read = s, s.now
	if !s.srv.local {
		s.enqueue(t)
		return
	}
	t.ev.Session, t.ev.Time, t.ev.XID, t.ev.Switch = s.id, t.read, s.srv.xid(), s.sw.Load()
	start := time.Now()
	err := s.cfg.Decider.Decide(s.ctx, &t.ev, &t.dec)
	t.rec = Record{Event: &t.ev, Decision: &t.dec, Err: err, Decide: time.Since(start)}
	s.apply(&t.rec, nil)
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
	s.cfg.Metrics.errors.WithLabelValues(e.Name).Inc()
	if q != nil {
		q.finish(fmt.Errorf("the switch refuses: %s", e.Name))
		return nil
	}
	if infra != "" {
		s.log.Warn("the switch refuses what the gateway set up", "what", infra, "error", e.Name)
		return nil
	}

	s.out.mu.Lock()
	entry, rule, found := s.ledger.find(e.XID, e.Data)
	s.out.mu.Unlock()
	if !found {
		s.faults.warn("error", "error from the switch, tied to no decision", "error", e.Name, "xid", e.XID)
		return nil
	}
	s.cfg.Metrics.rules.WithLabelValues("refused_by_switch").Inc()
	args := []any{"decision", e.XID, "error", e.Name, "reason", entry.reason, "policy", entry.policy.String()}
	if rule != nil {
		e.Rule = rule.String()
		args = append(args, "rule", e.Rule)
	}
	s.faults.warn("refused_rule", "the switch refuses a decision's message", args...)
	if entry.event != flow.EventError { // an answer to an error that fails must not go round
		s.event(&task{ev: flow.Event{Type: flow.EventError, Error: &e}})
	}
	return nil
}

// functionHandshake takes the function through its part of OpenFlow's handshake
// (the full handshake of the contract). The gateway has said HELLO for it and
// asks for the features itself, so what comes back is checked and not sent on.
// A function that can't be reached costs the handshake event, not the session.
func (s *session) functionHandshake(msg []byte) error {
	sw := s.sw.Load()
	if sw == nil {
		sw = &flow.Switch{Protocol: s.version}
	}
	ev := flow.Event{Type: flow.EventHandshake, Session: s.id, Time: s.now, XID: s.srv.xid(), Switch: sw, Handshake: append([]byte(nil), msg...)}
	ev.ID = fmt.Sprintf("%s-%d", s.id, ev.XID)
	ctx, cancel := context.WithTimeout(s.ctx, min(s.cfg.EventTimeout, s.cfg.HandshakeTimeout/3))
	defer cancel()
	var d flow.Decision
	if err := s.cfg.Decider.Decide(ctx, &ev, &d); err != nil {
		s.log.Warn("the function did not take part in the handshake", "err", err)
		return nil
	}
	for rest := d.Handshake; len(rest) > 0; {
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

// advise says, once a session, what would let packets past the gateway on an
// Open vSwitch, as far as it can be seen from here, and the line that mends it.
func (s *session) advise(d *ofp.Desc) {
	if !strings.Contains(d.Hardware, "Open vSwitch") {
		return
	}
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
	s.log.Log(context.Background(), level, "this gateway can't see whether the bridge is governed without gaps; make sure of it", args...)
}
