package ofproxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// session is one switch's connection. Its goroutine (run) owns every field that
// no comment gives to somebody else.
type session struct {
	srv    *Server
	cfg    *Config
	log    *slog.Logger
	faults bridge.Mute
	// A switch's ports come and go together, so that one line is not enough.
	portLog bridge.Mute
	conn    net.Conn
	remote  string
	id      string // ce-subject: unique among all sessions
	born    time.Time
	tls     *tls.ConnectionState

	in      framer
	out     outbox                         // safe for all
	core    atomic.Pointer[bridge.Session] // from the moment the switch is known
	version flow.Protocol
	dpid    flow.DPID
	sw      atomic.Pointer[flow.Switch] // replaced, never modified; in the ready state by ports alone
	ports   portList                    // safe for all
	advised bool
	state   atomic.Pointer[state] // for describe
	desc    atomic.Pointer[ofp.Desc]

	began    time.Time // when the switch began to be set up, which must end in time
	now      time.Time // of the latest read
	lastMsg  time.Time // when the latest whole message was in
	armed    time.Time // the read deadline that is set
	echoSent time.Time // zero: no sign of life asked for

	// What the turn is told of next.
	turn   *bridge.Turn
	told   time.Time     // when it was told last
	waited time.Duration // for the switch, since then
	taken  int           // messages since then

	// Where two gateways serve the switch; see standby.go.
	role     atomic.Int32 // a role
	woken    atomic.Bool
	governs  atomic.Uint64 // the generation of the claim that the switch was sent last
	passes   bool          // packets go to the other gateway, since this one led when the switch sent them
	received chan *flow.PacketIn

	pi *flow.PacketIn // the owner's scratch; made with the first packet

	// What alive watches for.
	watched atomic.Int32 // by how many
	heard   atomic.Bool  // whole messages, while it is watched

	mu       sync.Mutex
	infra    map[uint32]string // xids of what the gateway itself sets up, until an error or ready
	queries  map[uint32]*query
	barriers map[uint32]func()
	probes   map[uint32]chan struct{} // xids of alive's ECHO_REQUESTs; closed with the reply
	cause    error

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

func newSession(ctx context.Context, srv *Server, conn net.Conn, secure bool) *session {
	now := time.Now()
	s := &session{
		srv: srv, cfg: &srv.cfg, conn: conn, remote: remoteName(conn), id: rand.Text(), born: now,
		began: now, now: now, lastMsg: now,
		done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.log = srv.log.With("remote", s.remote)
	s.faults.Log, s.faults.Within = s.log, &srv.faults
	s.portLog = bridge.Mute{Log: s.log, Burst: portLines, Within: &srv.faults}
	s.ports.show = s.showPorts
	s.in.r = conn
	s.out = outbox{conn: conn, timeout: srv.cfg.WriteTimeout, limit: outboxLimit}
	if srv.bridge.Pair() != nil {
		s.received = make(chan *flow.PacketIn, maxReceived)
	}
	s.state.Store(stateHello)
	if secure {
		s.state.Store(stateSecure)
	}
	return s
}

// portLines is how many changes of one switch's ports are logged in 10 s.
const portLines = 8

// showPorts replaces the switch's description. It is called by one at a time.
func (s *session) showPorts(ports []flow.Port) {
	sw := *s.sw.Load()
	sw.Ports = ports
	s.sw.Store(&sw)
}

// outboxLimit is how much may wait for a switch that does not read.
const outboxLimit = 4 << 20

func remoteName(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return conn.LocalAddr().Network()
}

// run takes the session from state to state until it ends.
func (s *session) run() {
	gauge := s.cfg.Metrics.sessions
	st := s.state.Load()
	gauge.WithLabelValues(st.name).Inc()
	var err error
	for st != nil && err == nil {
		var next *state
		next, err = st.run(s)
		gauge.WithLabelValues(st.name).Dec()
		if err != nil || next == nil {
			break
		}
		gauge.WithLabelValues(next.name).Inc()
		s.log.Debug("session state", "from", st.name, "to", next.name)
		st = next
		s.state.Store(next)
	}
	s.close(err)
	s.out.flush()
	s.mu.Lock()
	err = s.cause
	queries := s.queries
	s.queries, s.barriers = nil, nil
	s.mu.Unlock()
	for _, q := range queries {
		q.finish(errors.New("the switch disconnected"))
	}
	left := 0
	if core := s.core.Load(); core != nil {
		left = core.Close()
	}
	cause := causeOf(err)
	s.cfg.Metrics.closed.WithLabelValues(cause).Inc()
	level := slog.LevelInfo
	if cause != "closed_by_switch" && cause != "shutdown" {
		level = slog.LevelWarn
	}
	s.srv.faults.Line(s.log, level, "ended "+cause, "session ended", "state", st.name, "cause", cause, "err", inWords(err), "lasted_seconds", time.Since(s.born).Round(time.Millisecond).Seconds(), "dropped_pending", left)
}

// close ends the session. Only the first cause is reported. Any goroutine may call it.
func (s *session) close(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		if cause == nil {
			cause = net.ErrClosed
		}
		s.cause = cause
	}
	s.mu.Unlock()
	s.cancel()
	s.conn.Close()
}

// send appends messages to the outbox; they leave when the owner next waits for input.
func (s *session) send(appendTo func(b []byte) []byte) error { return s.out.put(appendTo) }

// next returns the next message that is not an echo. Echo requests are answered
// here, ahead of all else, in every state. The message is good until next is
// called again.
func (s *session) next() (ofp.Header, []byte, error) {
	for {
		msg, err := s.in.buffered()
		if err != nil {
			return ofp.Header{}, nil, err
		}
		if msg == nil {
			if err := s.out.flush(); err != nil {
				return ofp.Header{}, nil, err
			}
			if s.woken.Swap(false) {
				s.armed = time.Time{}
				return ofp.Header{}, nil, errWoken
			}
			if err := s.fill(); err != nil {
				return ofp.Header{}, nil, err
			}
			if s.version == 0 { // before a HELLO; what is foreign may look like a message that never ends
				if first := s.in.buf[s.in.start:s.in.end]; foreign(first) != "" {
					return ofp.Header{}, nil, endf("not_openflow", "%s (bytes % x)", foreign(first), first[:min(len(first), 16)])
				}
			}
			continue
		}
		s.lastMsg, s.echoSent = s.now, time.Time{}
		if s.watched.Load() > 0 {
			s.heard.Store(true)
		}
		h, err := ofp.ParseHeader(msg)
		if err != nil {
			return h, nil, endf("malformed", "%w", err)
		}
		if s.version != 0 && h.Version != s.version {
			s.send(func(b []byte) []byte {
				return ofp.AppendError(b, s.version, h.XID, ofp.ErrBadRequest, ofp.BadRequestVersion, msg[:min(len(msg), 64)])
			})
			return h, nil, endf("wrong_version", "a message of version %#02x in a session of %v", uint8(h.Version), s.version)
		}
		switch {
		case msg[1] == wireEchoRequest:
			if err := s.send(func(b []byte) []byte { return ofp.AppendEchoReply(b, h.Version, h.XID, msg[ofp.HeaderLen:]) }); err != nil {
				return h, nil, err
			}
		case msg[1] == wireEchoReply:
			s.probed(h.XID)
		default:
			return h, msg, nil
		}
		if s.out.waiting() > outboxFlush {
			if err := s.out.flush(); err != nil {
				return h, nil, err
			}
		}
	}
}

// Echo has the same numbers in every version (7.5.2, 7.5.3), so it can be
// answered before a version is agreed on.
const (
	wireEchoRequest = 2
	wireEchoReply   = 3
)

// fill reads once. When the read deadline passes, it sends an ECHO_REQUEST, or, if
// one is unanswered, returns the error that ends the session.
func (s *session) fill() error {
	due := s.due()
	if s.armed.After(due) || due.Sub(s.armed) > s.cfg.EchoInterval/8 {
		if err := s.conn.SetReadDeadline(due); err != nil {
			return err
		}
		s.armed = due
	}
	before := time.Now()
	err := s.in.fill()
	s.now = time.Now()
	s.waited += s.now.Sub(before)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	s.armed = time.Time{}
	switch due := s.due(); {
	case s.now.Before(due):
		return nil
	case s.handshaking():
		return endf("handshake_timeout", "the switch did not finish the handshake within %v (state %s)", s.cfg.HandshakeTimeout, s.state.Load().name)
	case !s.echoSent.IsZero():
		return endf("dead", "no sign of life: no answer to an echo request within %v", s.cfg.EchoTimeout)
	}
	s.echoSent = s.now
	s.in.relax()
	return s.send(func(b []byte) []byte { return ofp.AppendEchoRequest(b, s.version, s.srv.bridge.Number(), nil) })
}

// handshaking reports whether the switch must make its next step soon.
func (s *session) handshaking() bool {
	st := s.state.Load()
	return st != stateReady && st != stateStandby
}

// due returns until when the switch may send nothing.
func (s *session) due() time.Time {
	switch {
	case s.handshaking():
		return s.began.Add(s.cfg.HandshakeTimeout)
	case !s.echoSent.IsZero():
		return s.echoSent.Add(s.cfg.EchoTimeout)
	}
	return s.lastMsg.Add(s.cfg.EchoInterval)
}

// alive asks the switch for a sign of life and reports whether one came within d: the reply to an ECHO_REQUEST at once, or else, from switches
// that answer none, any message, if the connection is still there when the time is over. What a switch said before it went may still be on its
// way here, followed by the connection's end. Called by other sessions' goroutines.
func (s *session) alive(d time.Duration) bool {
	xid, reply := s.srv.bridge.Number(), make(chan struct{})
	s.mu.Lock()
	if s.probes == nil {
		s.probes = make(map[uint32]chan struct{})
	}
	s.probes[xid] = reply
	s.mu.Unlock()
	if s.watched.Add(1) == 1 {
		s.heard.Store(false)
	}
	defer func() {
		s.watched.Add(-1)
		s.mu.Lock()
		delete(s.probes, xid)
		s.mu.Unlock()
	}()
	if s.send(func(b []byte) []byte { return ofp.AppendEchoRequest(b, s.version, xid, nil) }) != nil {
		return false
	}
	go s.out.flush() // may wait for a switch that does not read
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-reply:
		return true
	case <-s.done:
		return false
	case <-timer.C:
		return s.heard.Load()
	}
}

// probed takes an ECHO_REPLY, which may be what alive waits for.
func (s *session) probed(xid uint32) {
	if s.watched.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply := s.probes[xid]; reply != nil {
		delete(s.probes, xid)
		close(reply)
	}
}

// turnEvery is how many messages of one switch are handled before rest is called. It is
// also called whenever no message is left.
const turnEvery = 32

// rest pauses if the switch has used more than its share of the gateway's time, or if
// it sends more packets than can be decided.
func (s *session) rest() error {
	now := time.Now()
	pause := s.turn.Spend(s.waited, now.Sub(s.told)-s.waited, now)
	s.told, s.waited, s.taken = now, 0, 0
	if s.core.Load().Crowded() {
		pause = bridge.TurnPause
	}
	if pause == 0 {
		return nil
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	time.Sleep(pause)
	s.waited = pause
	return nil
}

// readyState is the state of a session whose handshake is over.
func (s *session) readyState() (*state, error) {
	s.ready()
	if s.srv.bridge.Pair() != nil {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		go s.attend(ctx)
	}
	err := s.govern()
	if errors.Is(err, errDemoted) {
		s.role.Store(int32(roleStandby))
		s.passes = true
		s.core.Load().Close()
		s.passReceived()
		return stateStandby, nil
	}
	return nil, err
}

// govern decides the switch's packets until the session ends, or until the other gateway of the pair leads.
func (s *session) govern() error {
	s.takeReceived()
	s.turn, s.told = s.srv.bridge.Turn(), time.Now()
	defer s.turn.End()
	for {
		h, msg, err := s.next()
		switch {
		case errors.Is(err, errWoken):
			if err := s.lookUp(); err != nil {
				return err
			}
			s.takeReceived()
			continue
		case err != nil:
			return err
		case h.Type == ofp.TypePacketIn:
			s.packetIn(msg)
		default:
			if err := s.handle(h, msg); err != nil {
				return err
			}
		}
		if s.taken++; s.taken == turnEvery || s.in.empty() {
			if err := s.rest(); err != nil {
				return err
			}
		}
		if s.out.waiting() > outboxFlush {
			if err := s.out.flush(); err != nil {
				return err
			}
		}
	}
}

// handle handles every message except PACKET_IN and echo. Its error ends the session, unless it is [errDemoted]: then the other gateway governs the switch.
func (s *session) handle(h ofp.Header, msg []byte) error {
	var err error
	switch h.Type {
	case ofp.TypeError:
		err = s.switchError(msg)
	case ofp.TypePortStatus:
		err = s.portStatus(msg)
	case ofp.TypeFlowRemoved:
		err = s.flowRemoved(msg)
	case ofp.TypeBarrierReply:
		s.mu.Lock()
		f := s.barriers[h.XID]
		delete(s.barriers, h.XID)
		s.mu.Unlock()
		if f != nil {
			f()
		}
	case ofp.TypeStatsReply:
		err = s.statsReply(h, msg)
	case ofp.TypeRoleReply:
		if s.srv.bridge.Pair() != nil {
			err = s.roleReply(msg)
		}
	}
	if errors.Is(err, errDemoted) {
		return err
	}
	if err != nil {
		// The stream is intact: one unreadable message costs itself.
		s.cfg.Metrics.malformed.WithLabelValues(h.Type.String()).Inc()
		s.faults.Warn("malformed", "message from the switch can't be read", "type", h.Type.String(), "xid", h.XID, "len", h.Length, "err", err)
	}
	return nil
}

func (s *session) noteInfra(xid uint32, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.infra == nil {
		s.infra = make(map[uint32]string)
	}
	s.infra[xid] = what
}

func (s *session) describe() Session {
	d := Session{Remote: s.remote, State: s.state.Load().name, Since: s.born}
	if core := s.core.Load(); core != nil {
		d.Status = core.Status()
	}
	if sw := s.sw.Load(); sw != nil {
		d.Switch = *sw
	}
	if desc := s.desc.Load(); desc != nil {
		d.Desc = desc.Manufacturer + ", " + desc.Hardware + ", " + desc.Software
	}
	return d
}
