package ofproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// role is what a session is to its switch where two gateways serve it.
type role int32

const (
	roleAlone   role = iota // there is one gateway, or this one leads
	roleHolds               // it leads, and is about to hand the lead over: nothing more is sent
	roleStandby             // the other one leads, or none
)

// Times of the roles of a pair.
const (
	// roleEvery is how often a switch is asked for the session's role. OpenFlow 1.3 doesn't notify a controller that it was demoted (6.3.6).
	roleEvery = 300 * time.Millisecond
	// demotedWithin is how long a session that has yielded waits for the other gateway's claim before it gives the switch's leadership back.
	demotedWithin = time.Second
	demotedEvery  = 50 * time.Millisecond
)

// maxReceived bounds the packets of a switch that wait while it changes its gateway.
const maxReceived = 1024

// errDemoted says that the switch obeys the other gateway; errWoken that the reader was to look up.
var (
	errDemoted = errors.New("the switch obeys the other gateway of the pair")
	errWoken   = errors.New("woken")
)

// wake makes next return errWoken soon. Any goroutine may call it.
func (s *session) wake() {
	s.woken.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

// standbyState waits until this gateway leads, and then claims the switch. Until then the session is a slave: the switch accepts no changes from it and
// sends it no packets.
func (s *session) standbyState() (*state, error) {
	s.role.Store(int32(roleStandby))
	pair := s.srv.bridge.Pair()
	yielded := time.Now()
	slave := false
	for {
		t := pair.Term(s.dpid)
		if t.Leads && !t.Holds && !s.asks(&t) {
			got, err := s.claimRole(t.Generation)
			if err != nil {
				return nil, err
			}
			if got {
				s.role.Store(int32(roleAlone))
				s.began, s.passes = time.Now(), false
				s.governs.Store(t.Generation)
				s.newCore()
				return stateConfigure, nil
			}
			continue // the pair has claimed again
		}
		wait := time.Duration(-1)
		if !slave {
			var err error
			if slave, err = s.followRole(t.Generation, s.passes && time.Since(yielded) < demotedWithin); err != nil {
				return nil, err
			}
			if slave {
				s.passes = false
			} else {
				wait = demotedEvery
			}
		}
		if err := s.idle(t.Changed, wait); err != nil {
			return nil, err
		}
		if pair.Term(s.dpid).Generation != t.Generation {
			slave = false
		}
	}
}

// asks reports whether the gateway must ask the other one before it writes: it was stopped for a while, and an OpenFlow 1.0 switch obeys whoever has claimed
// it last, also one that does not know that the other one leads by now. The switch itself refuses such a claim in 1.3.
func (s *session) asks(t *bridge.Term) bool { return t.Unsure && s.version == flow.OpenFlow10 }

// idle reads messages until changed is closed or wait has passed. A negative wait never passes.
func (s *session) idle(changed <-chan struct{}, wait time.Duration) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		var over <-chan time.Time
		if wait >= 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-changed:
		case <-over:
		case <-ctx.Done():
			return
		}
		s.wake()
	}()
	for {
		h, msg, err := s.next()
		if errors.Is(err, errWoken) {
			return nil
		}
		if err != nil {
			return err
		}
		s.aside(h, msg)
	}
}

// aside handles a message of a switch that this gateway doesn't govern now.
func (s *session) aside(h ofp.Header, msg []byte) {
	if h.Type != ofp.TypePacketIn {
		return
	}
	if !s.passes {
		s.srv.bridge.Early(s.version)
		return
	}
	var pi flow.PacketIn
	if ofp.ParsePacketInVLANs(msg, s.cfg.VLANLimit, &pi) == nil {
		s.passOn(&pi)
	}
}

// unsure is asks, for packets.
func (s *session) unsure() bool {
	if s.version != flow.OpenFlow10 || s.received == nil {
		return false
	}
	t := s.srv.bridge.Pair().Term(s.dpid)
	return t.Unsure
}

// keep has a packet wait until it is known who decides it.
func (s *session) keep(msg []byte) {
	pi := new(flow.PacketIn)
	if ofp.ParsePacketInVLANs(msg, s.cfg.VLANLimit, pi) == nil {
		pi.Data = append([]byte(nil), pi.Data...)
		select {
		case s.received <- pi:
			return
		default:
		}
	}
	s.srv.bridge.Early(s.version)
}

// passOn gives a packet to the gateway that leads.
func (s *session) passOn(pi *flow.PacketIn) {
	if pi.TotalLen > len(pi.Data) || !s.srv.bridge.Pair().PassOn(s.dpid, pi) {
		s.srv.bridge.Early(s.version)
	}
}

// claimRole asks the switch to make this gateway its master. It returns false if the switch has seen a later claim, and tells the pair of it.
func (s *session) claimRole(generation uint64) (bool, error) {
	got, _, err := s.exchange(ofp.RoleMaster, generation)
	var no *refusedRole
	switch {
	case errors.As(err, &no) && no.stale:
		_, seen, err := s.exchange(ofp.RoleNoChange, 0)
		if err != nil && !errors.As(err, &no) {
			return false, err
		}
		s.srv.bridge.Pair().Seen(s.dpid, seen)
		if s.srv.bridge.Pair().Term(s.dpid).Generation == generation {
			return false, endf("role", "the switch takes generation %d for stale and names none that is later", generation)
		}
		return false, nil
	case errors.As(err, &no):
		s.faults.Warn("no_roles", "the switch knows no roles, so that it can't tell the gateways of a pair apart", "err", err)
		return true, nil
	case err != nil:
		return false, err
	}
	if got != ofp.RoleMaster {
		return false, endf("role", "the switch gives this gateway the role %v instead of master", got)
	}
	return true, nil
}

// followRole makes this session a slave. With patient it only asks whether the other gateway's claim has already done so.
func (s *session) followRole(generation uint64, patient bool) (slave bool, err error) {
	var no *refusedRole
	if s.version == flow.OpenFlow10 {
		if patient {
			return false, nil // there is no question that changes nothing
		}
		_, _, err := s.exchange(ofp.RoleSlave, 0)
		if err != nil && !errors.As(err, &no) {
			return false, err
		}
		return true, nil
	}
	got, seen, err := s.exchange(ofp.RoleNoChange, 0)
	if errors.As(err, &no) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if got == ofp.RoleSlave {
		return true, nil
	}
	if patient {
		return false, nil
	}
	if seen == ^uint64(0) { // none yet
		seen = generation
	}
	s.srv.bridge.Pair().Seen(s.dpid, seen)
	got, _, err = s.exchange(ofp.RoleSlave, seen)
	if errors.As(err, &no) {
		return false, nil // it is tried again
	}
	return got == ofp.RoleSlave, err
}

// refusedRole is an ERROR to a role request.
type refusedRole struct {
	name  string
	stale bool
}

func (e *refusedRole) Error() string { return "the switch refuses a role request: " + e.name }

// exchange asks for a role and returns the answer.
func (s *session) exchange(want ofp.Role, generation uint64) (got ofp.Role, seen uint64, err error) {
	xid := s.srv.bridge.Number()
	err = s.send(func(b []byte) []byte {
		if s.version == flow.OpenFlow10 {
			return ofp.AppendNiciraRole(b, xid, want)
		}
		return ofp.AppendRoleRequest(b, xid, want, generation)
	})
	for err == nil {
		var h ofp.Header
		var msg []byte
		h, msg, err = s.next()
		switch {
		case errors.Is(err, errWoken):
			err = nil
		case err != nil:
		case h.XID == xid && h.Type == ofp.TypeRoleReply:
			return ofp.ParseRole(msg)
		case h.XID == xid && h.Type == ofp.TypeExperimenter:
			got, _, err = ofp.ParseNiciraRole(msg)
			return got, 0, err
		case h.XID == xid && h.Type == ofp.TypeError:
			e, err := ofp.ParseError(msg)
			if err != nil {
				return 0, 0, endf("malformed", "ERROR: %w", err)
			}
			return 0, 0, &refusedRole{e.Name, strings.HasPrefix(e.Name, "ROLE_REQUEST_FAILED: STALE")}
		default:
			s.aside(h, msg)
		}
	}
	return 0, 0, err
}

// attend asks the switch for the role at intervals, and wakes the owner when the pair's lead changes, until ctx is done.
func (s *session) attend(ctx context.Context) {
	pair := s.srv.bridge.Pair()
	ticker := time.NewTicker(roleEvery)
	defer ticker.Stop()
	for {
		t := pair.Term(s.dpid)
		if !t.Leads || t.Generation != s.governs.Load() || len(s.received) > 0 {
			s.wake()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.Changed:
		case <-ticker.C:
			if s.version == flow.OpenFlow10 {
				continue
			}
			if s.send(func(b []byte) []byte { return ofp.AppendRoleRequest(b, s.srv.bridge.Number(), ofp.RoleNoChange, 0) }) != nil {
				return
			}
			_ = s.out.flush() // the owner learns of the error
		}
	}
}

// lookUp reacts to a change of the pair's lead while this gateway governs the switch.
func (s *session) lookUp() error {
	t := s.srv.bridge.Pair().Term(s.dpid)
	switch {
	case !t.Leads:
		return errDemoted
	case t.Holds, s.asks(&t):
		return nil
	}
	s.role.Store(int32(roleAlone)) // a handover may have failed
	if s.governs.Swap(t.Generation) == t.Generation {
		return nil
	}
	return s.send(func(b []byte) []byte {
		if s.version == flow.OpenFlow10 {
			return ofp.AppendNiciraRole(b, s.srv.bridge.Number(), ofp.RoleMaster)
		}
		return ofp.AppendRoleRequest(b, s.srv.bridge.Number(), ofp.RoleMaster, t.Generation)
	})
}

// roleReply reads a ROLE_REPLY. It returns [errDemoted] if the session is no longer the master.
func (s *session) roleReply(msg []byte) error {
	got, seen, err := ofp.ParseRole(msg)
	if err != nil || got != ofp.RoleSlave {
		return err
	}
	s.srv.bridge.Pair().Lost(s.dpid, seen)
	return errDemoted
}

// isSlave reports whether an ERROR says that the switch takes nothing from this gateway.
func isSlave(v flow.Protocol, e *flow.SwitchError) bool {
	if v == flow.OpenFlow10 {
		return e.Type == ofp.ErrBadRequest && (e.Code == ofp.BadRequestEperm || e.Code == niciraIsSlave)
	}
	return strings.HasSuffix(e.Name, ": IS_SLAVE")
}

// niciraIsSlave is Open vSwitch's code of IS_SLAVE in OpenFlow 1.0, which has none.
const niciraIsSlave = 530

// Hold prepares a handover of the lead: it sends a BARRIER to every switch, waits for the answers, and sends nothing more. It returns an error if a switch
// doesn't answer before ctx is done.
func (s *Server) Hold(ctx context.Context) error {
	var waits []chan struct{}
	for _, sess := range s.ready() {
		done := make(chan struct{})
		b, err := sess.out.begin()
		if err != nil {
			continue // it is about to end
		}
		sess.role.Store(int32(roleHolds)) // what is queued after the BARRIER would come too late
		b = sess.onBarrier(b, func() { close(done) })
		sess.out.end(b)
		_ = sess.out.flush() // its owner learns of the error
		waits = append(waits, done)
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("a switch has not confirmed what it was sent: %w", context.Cause(ctx))
		}
	}
	return nil
}

// ready returns the sessions whose switches this gateway governs.
func (s *Server) ready() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*session
	for sess := range s.conns {
		if sess.state.Load() == stateReady {
			list = append(list, sess)
		}
	}
	return list
}

// Receive takes a packet that the other gateway of the pair has received from a switch. It returns an error if this gateway doesn't govern the switch yet.
func (s *Server) Receive(dpid flow.DPID, p *flow.PacketIn) error {
	sessions := s.ready()
	i := slices.IndexFunc(sessions, func(sess *session) bool { return sess.dpid == dpid })
	if i < 0 || role(sessions[i].role.Load()) != roleAlone {
		return fmt.Errorf("switch %v is not governed here", dpid)
	}
	sess := sessions[i]
	p.Match = flow.Parser{VLANLimit: sess.cfg.VLANLimit}.Parse(p.Data, p.TotalLen, p.Match.InPort)
	p.Incomplete = p.Match.Missing()
	select {
	case sess.received <- p:
		sess.wake()
		return nil
	default:
		return fmt.Errorf("switch %v has too many packets to decide", dpid)
	}
}

// early handles a packet that comes before the switch is set up. If the switch has just been taken over from the other gateway, the packet waits; otherwise
// it is dropped.
func (s *session) early(msg []byte) {
	if s.received != nil && s.state.Load() == stateConfigure {
		s.keep(msg)
		return
	}
	s.srv.bridge.Early(s.version)
}

// passReceived passes on what has waited here in vain.
func (s *session) passReceived() {
	for {
		select {
		case p := <-s.received:
			s.passOn(p)
		default:
			return
		}
	}
}

// takeReceived decides the packets that the other gateway has passed on, and those that have waited until this one knew that it leads. The owner calls it.
func (s *session) takeReceived() {
	if s.unsure() {
		return
	}
	for {
		select {
		case p := <-s.received:
			s.core.Load().PacketIn(p, time.Now(), nil)
		default:
			return
		}
	}
}
