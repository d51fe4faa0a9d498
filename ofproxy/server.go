package ofproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/listen"
)

// probeTimeout is how long the holder of a DPID has to show that it lives when
// another connection claims the same DPID.
const probeTimeout = 2 * time.Second

// Server accepts switches and runs their sessions.
type Server struct {
	cfg    Config
	bridge *bridge.Bridge
	log    *slog.Logger
	faults bridge.Mute // of all connections together
	poll   pollers

	mu       sync.Mutex
	conns    map[*session]struct{}
	bound    listen.Bound // of connections
	switches map[flow.DPID]*session
	draining bool
	wg       sync.WaitGroup
}

// NewServer checks the configuration. Nothing runs until Serve is called.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Bridge == nil {
		return nil, errors.New("ofproxy: no bridge")
	}
	cfg.setDefaults()
	for _, p := range cfg.Protocols {
		if p != flow.OpenFlow10 && p != flow.OpenFlow13 {
			return nil, fmt.Errorf("ofproxy: %v is not supported; use 1.0 and 1.3", p)
		}
	}
	s := &Server{
		cfg:      cfg,
		bridge:   cfg.Bridge,
		log:      cfg.Logger,
		conns:    make(map[*session]struct{}),
		bound:    listen.Bound{Max: cfg.MaxSessions, PerAddress: cfg.MaxPerAddress},
		switches: make(map[flow.DPID]*session),
	}
	s.faults = bridge.Mute{Log: cfg.Logger, Burst: logLines}
	s.poll.share = cfg.Poll
	return s, nil
}

// logLines is how many lines of one kind all connections together may log in
// 10 s: enough for a rack of switches that comes up, and no more than that for
// whoever connects ten thousand times.
const logLines = 32

// Serve accepts connections from l, which it closes when ctx is done. Cancelled,
// it lets pending decisions finish (see [bridge.Bridge.Drain]), closes all
// sessions and returns nil. Several Serve calls may run at a time.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure bool) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			s.drain()
			return nil
		case errors.Is(err, net.ErrClosed):
			return errors.New("the listener closed")
		case err != nil: // out of file descriptors, say: what runs goes on
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.faults.Line(s.log, slog.LevelError, "accept", "accept failed", "listen", l.Addr().String(), "err", err, "again_in_seconds", pause.Seconds())
			time.Sleep(pause)
			continue
		}
		pause = 0
		s.start(ctx, conn, secure)
	}
}

// ServeConn runs one session on conn until it ends, as Serve does for each
// connection it accepts. Fakes in tests use it.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	if sess := s.start(ctx, conn, false); sess != nil {
		<-sess.done
	}
}

func (s *Server) start(ctx context.Context, conn net.Conn, secure bool) *session {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		conn.Close()
		return nil
	}
	free, cause := s.bound.Take(conn)
	if cause != "" {
		s.mu.Unlock()
		conn.Close()
		s.cfg.Metrics.closed.WithLabelValues(cause).Inc()
		key, limit := "openflow.max_sessions", s.bound.Max
		if cause == listen.TooManyFromAddress {
			key, limit = "openflow.max_per_address", s.bound.PerAddress
		}
		s.faults.Warn(cause, "connection refused", "remote", remoteName(conn), "limit", limit, "why", "there are as many connections as "+key+" allows")
		return nil
	}
	sess := newSession(ctx, s, s.poll.wrap(conn), secure)
	s.conns[sess] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		defer close(sess.done)
		sess.run()
		s.mu.Lock()
		delete(s.conns, sess)
		if s.switches[sess.dpid] == sess {
			delete(s.switches, sess.dpid)
		}
		s.mu.Unlock()
		free()
	}()
	return sess
}

// drain ends all sessions: no more PACKET_INs are taken, pending decisions may
// come back, and what waits in the outboxes is written.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	open := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	s.bridge.Drain()
	for _, sess := range open {
		sess.out.flush()
		sess.close(errShutdown)
	}
	s.wg.Wait()
}

// claim makes sess the session of its DPID. A live session keeps it; one that
// shows no sign of life within probeTimeout gives it up.
func (s *Server) claim(sess *session) error {
	for {
		s.mu.Lock()
		old := s.switches[sess.dpid]
		if old == nil || old == sess {
			s.switches[sess.dpid] = sess
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if old.alive(probeTimeout) {
			return &sessionError{cause: "duplicate_dpid", err: fmt.Errorf("datapath %v is connected from %s already and answers; give one of the two switches another datapath id (ovs-vsctl set bridge BRIDGE other-config:datapath-id=<16 hex digits>)", sess.dpid, old.remote)}
		}
		old.close(&sessionError{cause: "replaced", err: fmt.Errorf("no sign of life within %v while %s claims the same datapath id", probeTimeout, sess.remote)})
		<-old.done
	}
}

// Session describes one connection for status and the admin API.
type Session struct {
	Switch        flow.Switch
	Remote        string
	State         string
	Since         time.Time
	Desc          string // hardware and software as the switch describes itself
	bridge.Status        // zero until the switch is known
}

// Sessions returns the open connections, ordered by DPID.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	list := make([]Session, 0, len(open))
	for _, sess := range open {
		list = append(list, sess.describe())
	}
	slices.SortFunc(list, func(a, b Session) int {
		if a.Switch.DPID != b.Switch.DPID {
			if a.Switch.DPID < b.Switch.DPID {
				return -1
			}
			return 1
		}
		return a.Since.Compare(b.Since)
	})
	return list
}

// maxListedRules bounds what Rules shows of one switch.
const maxListedRules = 100_000

// Rules asks the switch for this gateway's rules in it.
func (s *Server) Rules(ctx context.Context, dpid flow.DPID) ([]bridge.Installed, error) {
	s.mu.Lock()
	sess := s.switches[dpid]
	s.mu.Unlock()
	if sess == nil {
		return nil, fmt.Errorf("no switch with datapath id %v is connected", dpid)
	}
	core := sess.core.Load()
	if core == nil {
		return nil, fmt.Errorf("switch %v: its handshake has not ended", dpid)
	}
	list, err := core.Rules(ctx, maxListedRules)
	if err != nil {
		return nil, fmt.Errorf("switch %v: %w", dpid, err)
	}
	return list, nil
}
