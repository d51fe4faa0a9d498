package ofproxy

import (
	"context"
	"fmt"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/ofproxy/ofp"
)

// RuleStats is one rule in a switch with its counters.
type RuleStats = ofp.FlowStats

// resyncState says whether a resync runs or is wanted again. Under session.mu.
type resyncState struct {
	running, again bool
}

// resyncWanted brings the switch's proactive rules in and sweeps rules of other
// policy versions, in the background. Wanted while one runs, it runs again.
func (s *session) resyncWanted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resync.running {
		s.resync.again = true
		return
	}
	s.resync.running = true
	go func() {
		for {
			s.resyncOnce()
			s.mu.Lock()
			if !s.resync.again || s.ctx.Err() != nil {
				s.resync.running = false
				s.mu.Unlock()
				return
			}
			s.resync.again = false
			s.mu.Unlock()
		}
	}()
}

// Bounds of the wait between two tries to get a switch's proactive rules.
const (
	resyncRetryMin = time.Second
	resyncRetryMax = 10 * time.Second
)

func (s *session) resyncOnce() {
	version, ok := s.connected()
	if !ok {
		version = s.cfg.Versions.Latest()
	}
	if err := s.sweep(version); err != nil && s.ctx.Err() == nil {
		s.log.Info("rules of older policy versions were not swept; their timeouts remove them", "err", err)
	}
}

// connected asks for proactive rules until there is an answer, installs them,
// and returns the policy version they are of.
func (s *session) connected() (flow.PolicyVersion, bool) {
	for pause := resyncRetryMin; ; pause = min(2*pause, resyncRetryMax) {
		t := &task{s: s, read: time.Now()}
		xid := s.srv.xid()
		t.ev = flow.Event{Type: flow.EventSwitchConnected, ID: fmt.Sprintf("%s-%d", s.id, xid), Session: s.id, Time: t.read, XID: xid, Switch: s.sw.Load()}
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.EventTimeout)
		err := s.cfg.Decider.Decide(ctx, &t.ev, &t.dec)
		cancel()
		if s.ctx.Err() != nil {
			return flow.PolicyVersion{}, false
		}
		t.rec = Record{Event: &t.ev, Decision: &t.dec, Err: err, Decide: time.Since(t.read)}
		s.apply(&t.rec, nil)
		if err := s.out.flush(); err != nil {
			s.close(err)
			return flow.PolicyVersion{}, false
		}
		if err == nil && t.dec.Failure == nil {
			return t.dec.Policy, true
		}
		if err == nil { // one of several functions is away
			err = t.dec.Failure
		}
		if flow.KindOf(err) != flow.Unavailable && flow.KindOf(err) != flow.Overload {
			s.log.Warn("no proactive rules: the function refuses or can't be understood", "err", err)
			return flow.PolicyVersion{}, false
		}
		s.faults.warn("connected", "no proactive rules yet: the function does not answer", "err", err, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return flow.PolicyVersion{}, false
		case <-timer.C:
		}
	}
}

// sweep removes this gateway's rules of other policy versions. OpenFlow 1.3
// deletes by masked cookie, one message a version that statistics show; 1.0,
// whose deletes know no cookie, deletes each rule strictly. Nothing of another
// gateway or of none is touched; nothing happens while no version is known.
func (s *session) sweep(current flow.PolicyVersion) error {
	q := ofp.FlowStatsRequest{Table: 0xff, OutPort: flow.PortAny}
	old := make(map[uint16]int) // version's tag: rules
	var strict []flow.Rule
	foreign, example := 0, ""
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ResyncTimeout)
	defer cancel()
	err := s.flowStats(ctx, &q, func(st *ofp.FlowStats) error {
		r := &st.Rule
		_, tag, _ := decider.SplitCookie(r.Cookie)
		switch {
		case !s.cfg.Gateway.Owns(r.Cookie):
			if st.MayForward() {
				if foreign++; foreign == 1 {
					example = st.String()
				}
			}
		case tag == 0 || tag == decider.Tag(current): // 0: what the gateway sets up itself, and rules of no version
		case s.version == flow.OpenFlow10:
			d := *r
			d.Command, d.Actions, d.OutPort = flow.DeleteStrict, nil, flow.PortAny
			strict = append(strict, d)
			old[tag]++
		default:
			old[tag]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if foreign > 0 {
		s.faults.warn("foreign", "the switch has rules that are not this gateway's and that forward packets; it will not be asked about those",
			"rules", foreign, "example", example, "mend", "ovs-ofctl del-flows BRIDGE COOKIE/-1, if they are not wanted")
	}
	if current.IsZero() || len(old) == 0 {
		return nil
	}
	swept := 0
	b, err := s.out.begin()
	if err != nil {
		return err
	}
	for tag, n := range old {
		swept += n
		if s.version == flow.OpenFlow10 {
			continue
		}
		r := flow.Rule{Command: flow.Delete, Table: 0xff, OutPort: flow.PortAny, Cookie: uint64(s.cfg.Gateway)<<48 | uint64(tag)<<32, CookieMask: decider.VersionMask}
		next, err := ofp.AppendFlowMod(b, s.version, s.srv.xid(), &r, flow.NoBuffer)
		if err != nil {
			s.out.end(b)
			return err
		}
		b = next
	}
	for i := range strict {
		next, err := ofp.AppendFlowMod(b, s.version, s.srv.xid(), &strict[i], flow.NoBuffer)
		if err != nil {
			s.faults.warn("sweep", "rule not swept", "rule", strict[i].String(), "err", err)
			continue
		}
		b = next
	}
	s.out.end(b)
	if err := s.out.flush(); err != nil {
		return err
	}
	s.cfg.Metrics.swept.Add(float64(swept))
	s.log.Info("swept rules of older policy versions", "rules", swept, "policy", current.String())
	return nil
}

// query is a request for statistics that is under way.
type query struct {
	want ofp.StatsType
	each func(*ofp.FlowStats) error
	done chan error // capacity 1
}

func (q *query) finish(err error) {
	select {
	case q.done <- err:
	default:
	}
}

// flowStats asks for flow statistics and calls each, on the owner's goroutine,
// for every entry. It returns when the last part is in or ctx is done.
func (s *session) flowStats(ctx context.Context, req *ofp.FlowStatsRequest, each func(*ofp.FlowStats) error) error {
	q := &query{want: ofp.StatsFlow, each: each, done: make(chan error, 1)}
	xid := s.srv.xid()
	var failed error
	s.mu.Lock()
	if s.queries == nil {
		s.queries = make(map[uint32]*query)
	}
	s.queries[xid] = q
	s.mu.Unlock()
	err := s.send(func(b []byte) []byte {
		next, err := ofp.AppendFlowStatsRequest(b, s.version, xid, req)
		if err != nil {
			failed = err
			return b
		}
		return next
	})
	if err == nil && failed == nil {
		err = s.out.flush()
	}
	if err == nil {
		err = failed
	}
	if err == nil {
		select {
		case err = <-q.done:
		case <-s.ctx.Done():
			err = fmt.Errorf("the switch disconnected")
		case <-ctx.Done():
			err = fmt.Errorf("the switch gave no flow statistics: %w", context.Cause(ctx))
		}
	}
	s.mu.Lock()
	delete(s.queries, xid)
	s.mu.Unlock()
	return err
}

func (s *session) statsReply(h ofp.Header, msg []byte) error {
	kind, _, err := ofp.ParseStatsType(msg)
	if err != nil {
		return err
	}
	if kind == ofp.StatsDesc {
		d, err := ofp.ParseDescReply(msg)
		if err != nil {
			return err
		}
		s.desc.Store(&d)
		if s.state.Load() == stateReady {
			s.advise(&d)
		}
		return nil
	}
	s.mu.Lock()
	q := s.queries[h.XID]
	s.mu.Unlock()
	if q == nil || kind != q.want {
		return nil
	}
	more, err := ofp.ParseFlowStatsReply(msg, q.each)
	if err != nil || !more {
		q.finish(err)
	}
	return err
}

// maxListedRules bounds what the admin API shows of one switch.
const maxListedRules = 100_000

// rules returns this gateway's rules in the switch.
func (s *session) rules(ctx context.Context) ([]RuleStats, error) {
	req := ofp.FlowStatsRequest{Table: 0xff, OutPort: flow.PortAny}
	if s.version == flow.OpenFlow13 {
		req.Cookie, req.CookieMask = s.cfg.Gateway.Cookie(flow.PolicyVersion{}, 0), decider.GatewayMask
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ResyncTimeout)
	defer cancel()
	var list []RuleStats
	err := s.flowStats(ctx, &req, func(st *ofp.FlowStats) error {
		if s.cfg.Gateway.Owns(st.Rule.Cookie) && len(list) < maxListedRules {
			one := *st
			one.Rule.Actions = append([]flow.Action(nil), st.Rule.Actions...)
			list = append(list, one)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("switch %v: %w", s.dpid, err)
	}
	return list, nil
}
