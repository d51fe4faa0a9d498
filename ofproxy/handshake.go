package ofproxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// state is one step of a session's life: a name, and a function that does the
// step and says what follows. Only session.run moves between states.
type state struct {
	name string
	run  func(*session) (next *state, err error)
}

// The states, in the order in which a session goes through them. They are
// variables filled by init because they refer to each other.
var (
	stateSecure    = &state{name: "secure"}    // TLS handshake
	stateHello     = &state{name: "hello"}     // OpenFlow 1.3.5, 6.3.1
	stateFeatures  = &state{name: "features"}  // 6.3.2
	stateClaim     = &state{name: "claim"}     // is this DPID this peer's, and free?
	stateStandby   = &state{name: "standby"}   // another gateway leads
	stateConfigure = &state{name: "configure"} // SET_CONFIG, meters, table-miss, ports
	stateReady     = &state{name: "ready"}
)

func init() {
	stateSecure.run = (*session).secureState
	stateHello.run = (*session).helloState
	stateFeatures.run = (*session).featuresState
	stateClaim.run = (*session).claimState
	stateStandby.run = (*session).standbyState
	stateConfigure.run = (*session).configureState
	stateReady.run = (*session).readyState
}

func (s *session) secureState() (*state, error) {
	tc := tls.Server(s.conn, s.cfg.TLS)
	tc.SetDeadline(s.born.Add(s.cfg.HandshakeTimeout))
	if err := tc.Handshake(); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			return nil, endf("tls", "the switch doesn't speak TLS, and this listener does: tell the switch ssl:, or have the gateway listen at tcp: (%w)", err)
		}
		return nil, endf("tls", "TLS: %w", err)
	}
	tc.SetDeadline(time.Time{})
	cs := tc.ConnectionState()
	s.tls, s.in.r = &cs, tc
	s.out.mu.Lock()
	s.out.conn = tc
	s.out.mu.Unlock()
	return stateHello, nil
}

func (s *session) helloState() (*state, error) {
	if err := s.send(func(b []byte) []byte { return ofp.AppendHello(b, s.srv.bridge.Number(), s.cfg.Protocols...) }); err != nil {
		return nil, err
	}
	_, msg, err := s.next()
	if err != nil {
		var ours *sessionError
		if !errors.As(err, &ours) && s.ctx.Err() == nil && slices.Contains(s.cfg.Protocols, flow.OpenFlow13) {
			s.faults.Warn("hello", `the switch hung up on our HELLO, which offers OpenFlow 1.3; if it speaks 1.0 alone, set openflow.versions: ["1.0"]`)
		}
		return nil, err
	}
	h, err := ofp.ParseHeader(msg)
	if err == nil && h.Type == ofp.TypeError {
		e, err := ofp.ParseError(msg)
		if err != nil {
			return nil, endf("malformed", "ERROR: %w", err)
		}
		return nil, endf("refused_by_switch", "the switch refuses our HELLO: %s", errorWords(&e))
	}
	if err != nil || msg[1] != 0 {
		return nil, endf("not_openflow", "the first message is not a HELLO (bytes % x)", msg[:min(len(msg), 16)])
	}
	theirs, err := ofp.ParseHello(msg)
	if err != nil {
		return nil, endf("malformed", "HELLO: %w", err)
	}
	var ours uint32
	for _, p := range s.cfg.Protocols {
		ours |= 1 << p
	}
	common := ours & theirs
	if common == 0 {
		why := fmt.Sprintf("this gateway speaks %s, the switch %s: ovs-vsctl set bridge BRIDGE protocols=OpenFlow10,OpenFlow13", versionNames(ours), versionNames(theirs))
		v := flow.OpenFlow10
		if h.Version >= flow.OpenFlow13 {
			v = flow.OpenFlow13
		}
		s.send(func(b []byte) []byte {
			return ofp.AppendError(b, v, h.XID, ofp.ErrHelloFailed, ofp.HelloIncompatible, []byte(why))
		})
		s.out.flush()
		return nil, endf("version", "no common OpenFlow version: %s", why)
	}
	s.version = flow.Protocol(31 - bits.LeadingZeros32(common))
	if s.cfg.FullHandshake {
		if err := s.functionHandshake(msg); err != nil {
			return nil, err
		}
	}
	return stateFeatures, nil
}

// errorWords is an ERROR's name, and what the switch wrote beside it.
func errorWords(e *flow.SwitchError) string {
	if text := ofp.ErrorText(e); text != "" {
		return fmt.Sprintf("%s: %q", e.Name, text)
	}
	return e.Name
}

func versionNames(bitmap uint32) string {
	s := ""
	for v := 1; v < 32; v++ {
		if bitmap&(1<<v) == 0 {
			continue
		}
		if s != "" {
			s += ", "
		}
		if v <= 6 {
			s += fmt.Sprintf("1.%d", v-1)
		} else {
			s += fmt.Sprintf("version %#02x", v)
		}
	}
	if s == "" {
		return "no version"
	}
	return s
}

func (s *session) featuresState() (*state, error) {
	if err := s.send(func(b []byte) []byte { return ofp.AppendFeaturesRequest(b, s.version, s.srv.bridge.Number()) }); err != nil {
		return nil, err
	}
	sw := new(flow.Switch)
	msg, err := s.await(func(h ofp.Header, msg []byte) (bool, error) {
		if h.Type != ofp.TypeFeaturesReply {
			return false, nil
		}
		return true, ofp.ParseFeaturesReply(msg, sw)
	})
	if err != nil {
		return nil, err
	}
	if sw.Auxiliary != 0 {
		return nil, endf("auxiliary", "datapath %v opened auxiliary connection %d; only main connections are served", sw.DPID, sw.Auxiliary)
	}
	s.dpid = sw.DPID
	s.sw.Store(sw)
	s.log = s.log.With("dpid", sw.DPID.String())
	s.faults.Log, s.portLog.Log = s.log, s.log
	if s.cfg.FullHandshake {
		if err := s.functionHandshake(msg); err != nil {
			return nil, err
		}
	}
	return stateClaim, nil
}

func (s *session) claimState() (*state, error) {
	if s.cfg.Authorize != nil {
		if err := s.cfg.Authorize(s.tls, s.dpid); err != nil {
			return nil, endf("not_authorized", "datapath %v: %w", s.dpid, err)
		}
	}
	if err := s.srv.claim(s); err != nil {
		return nil, err
	}
	if s.srv.bridge.Pair() != nil {
		return stateStandby, nil
	}
	s.newCore()
	return stateConfigure, nil
}

// newCore makes the bridge's session for the switch.
func (s *session) newCore() {
	s.core.Store(s.srv.bridge.NewSession(s.ctx, s, bridge.SessionOptions{Remote: s.remote, Logger: s.log, Faults: &s.faults, ID: s.id, Settle: settle}))
}

// settle is how long after the BARRIER a decision still answers packets with the
// same headers. The switch sent them before it had the rules.
const settle = 50 * time.Millisecond

// maxPortReplies bounds the parts of a port description.
const maxPortReplies = 256

func (s *session) configureState() (*state, error) {
	v := s.version
	barrier, desc := s.srv.bridge.Number(), s.srv.bridge.Number()
	if err := s.send(func(b []byte) []byte {
		b = ofp.AppendSetConfig(b, v, s.srv.bridge.Number(), 0xffff)
		b = ofp.AppendDescRequest(b, v, desc)
		if v == flow.OpenFlow13 {
			b = ofp.AppendPortDescRequest(b, s.srv.bridge.Number())
		}
		return b
	}); err != nil {
		return nil, err
	}
	if v == flow.OpenFlow13 {
		if err := s.configureTables(); err != nil {
			return nil, err
		}
	}
	if err := s.send(func(b []byte) []byte { return ofp.AppendBarrierRequest(b, v, barrier) }); err != nil {
		return nil, err
	}

	var ports []flow.Port
	havePorts, haveBarrier, parts := v == flow.OpenFlow10, v == flow.OpenFlow10, 0
	if v == flow.OpenFlow10 {
		// What 1.0 needs came with FEATURES_REPLY, and benchmarks that speak 1.0
		// answer no barrier.
		s.ports.set(s.sw.Load().Ports)
		return stateReady, nil
	}
	for !havePorts || !haveBarrier {
		_, err := s.await(func(h ofp.Header, msg []byte) (bool, error) {
			switch h.Type {
			case ofp.TypeBarrierReply:
				haveBarrier = haveBarrier || h.XID == barrier
				return true, nil
			case ofp.TypeStatsReply:
				kind, _, err := ofp.ParseStatsType(msg)
				if err != nil {
					return false, err
				}
				if kind != ofp.StatsPortDesc {
					return false, nil
				}
				some, more, err := ofp.ParsePortDescReply(msg)
				if err != nil {
					return false, err
				}
				ports = append(ports, some...)
				if parts++; parts > maxPortReplies || len(ports) > maxPorts {
					return false, errors.New("port description has no end")
				}
				havePorts = havePorts || !more
				return true, nil
			}
			return false, nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.ports.set(ports)
	return stateReady, nil
}

// configureTables defines the meters and the table-miss entry, which
// OpenFlow 1.3 lacks (5.4).
func (s *session) configureTables() error {
	err := s.send(func(b []byte) []byte {
		for _, m := range s.cfg.Meters {
			// ADD fails where the meter is there already, and then MODIFY sets it.
			xid := s.srv.bridge.Number()
			s.noteInfra(xid, fmt.Sprintf("meter %d: add", m.ID))
			b = ofp.AppendMeterAdd(b, xid, m)
			xid = s.srv.bridge.Number()
			s.noteInfra(xid, fmt.Sprintf("meter %d", m.ID))
			b = ofp.AppendMeterModify(b, xid, m)
		}
		return b
	})
	if err != nil {
		return err
	}
	return s.core.Load().InstallStanding()
}

// missRules returns the rules that send packets without a rule to the gateway. It is
// one rule, unless there is a meter. Then further rules above it let ARP, DHCP and
// LLDP bypass the meter, since a network can't work without them.
func missRules(meter uint32) []flow.Rule {
	toGateway := []flow.Action{{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}}
	rules := []flow.Rule{{Meter: meter, Actions: toGateway}}
	if meter == 0 {
		return rules
	}
	add := func(set func(m *flow.Match)) {
		r := flow.Rule{Priority: 1, Actions: toGateway}
		set(&r.Match)
		rules = append(rules, r)
	}
	add(func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) })
	add(func(m *flow.Match) { m.SetEthType(flow.EthTypeLLDP) })
	for _, dhcp := range []struct {
		ethType uint16
		port    uint16
	}{{flow.EthTypeIPv4, 67}, {flow.EthTypeIPv4, 68}, {flow.EthTypeIPv6, 546}, {flow.EthTypeIPv6, 547}} {
		add(func(m *flow.Match) {
			m.SetEthType(dhcp.ethType)
			m.SetIPProto(flow.ProtoUDP)
			m.SetL4Dst(dhcp.port)
		})
	}
	return rules
}

// await reads messages until want accepts one, and returns a copy of that one. It
// drops and counts PACKET_INs, which come too early, and handles everything else as
// in the ready state.
func (s *session) await(want func(h ofp.Header, msg []byte) (bool, error)) ([]byte, error) {
	for {
		h, msg, err := s.next()
		if err != nil {
			return nil, err
		}
		found, err := want(h, msg)
		switch {
		case err != nil:
			return nil, endf("malformed", "%v: %w", h.Type, err)
		case found:
			return append([]byte(nil), msg...), nil
		case h.Type == ofp.TypePacketIn:
			s.early(msg)
		case s.state.Load() == stateConfigure:
			if err := s.handle(h, msg); err != nil {
				return nil, err
			}
		case h.Type == ofp.TypeError:
			e, err := ofp.ParseError(msg)
			if err != nil {
				return nil, endf("malformed", "ERROR: %w", err)
			}
			return nil, endf("refused_by_switch", "the switch refuses: %s", errorWords(&e))
		}
	}
}
