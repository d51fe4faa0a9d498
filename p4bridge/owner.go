package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/p4bridge/mapping"
)

// owner is what one goroutine owns while we are primary: the book, the learned
// addresses, pending decisions and every write. A controller that answers in
// place is asked on that goroutine; one behind a network on others, whose
// results come back over a channel. Nothing here has a lock.
type owner struct {
	s *Session
	c *client

	book    *book
	l2      map[flow.MAC]flow.PortNo
	resync  bool // the switch lost entries behind our back
	synced  time.Time
	pending *decider.Coalescer[event]
	recent  map[flow.Match]*settledFlow
	results chan *job
	flying  int
	stale   []string // keys of entries that an older policy left

	batch   []*change
	inserts map[uint32]int // of the batch, by table
	jobs    []*job         // that wait for the batch
	metrics map[uint32]*tableMetrics
}

// settledFlow is a flow whose rule was written a moment ago.
type settledFlow struct {
	actions []flow.Action
	until   time.Time
}

// job is one event on its way to a decision, and from there to the switch.
type job struct {
	ev     flow.Event
	pin    flow.PacketIn
	from   event // what asked, for EventPacketIn
	flight *decider.Flight[event]
	dec    flow.Decision
	err    error
	took   time.Duration // to decide

	installed int // rules in the switch
	failed    []error
}

// maxRecent bounds the memory of flows just settled; a flood of new flows
// forgets the oldest at once, which costs a repeated decision.
const maxRecent = 8192

func newOwner(s *Session, c *client) *owner {
	return &owner{
		s: s, c: c, book: newBook(), l2: map[flow.MAC]flow.PortNo{},
		pending: decider.NewCoalescer[event](decider.CoalesceLimits{PerKey: s.cfg.Held, Hold: s.cfg.CallTimeout}),
		recent:  map[flow.Match]*settledFlow{},
		inserts: map[uint32]int{},
		metrics: map[uint32]*tableMetrics{},
		results: make(chan *job, s.cfg.InFlight),
	}
}

// serve is the owner's loop.
func (o *owner) serve(ctx context.Context) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	probe := every(o.s.cfg.ProbeEvery)
	counters := every(o.s.cfg.Counters)
	policy := every(o.s.cfg.PolicyCheck)
	defer func() {
		for _, t := range []*time.Ticker{probe, counters, policy} {
			t.Stop()
		}
	}()
	now := make(chan struct{})
	close(now)
	for {
		if ctx.Err() != nil { // select would choose among all that is ready
			return context.Cause(ctx)
		}
		var err error
		var sweep <-chan struct{}
		if len(o.stale) > 0 {
			sweep = now
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case ev := <-o.c.events:
			o.handle(ctx, *ev)
			o.drain(ctx)
			err = o.flush(ctx)
		case j := <-o.results:
			o.flying--
			o.finish(j)
			o.drain(ctx)
			err = o.flush(ctx)
		case n := <-o.c.idle:
			o.idle(ctx, n)
			err = o.flush(ctx)
		case <-sweep:
			o.sweepSome()
			err = o.flush(ctx)
		case t := <-second.C:
			err = o.second(ctx, t)
		case <-probe.C:
			err = o.probe(ctx)
		case <-counters.C:
			err = o.readCounters(ctx)
		case <-policy.C:
			o.start(ctx, o.newJob(flow.EventPolicyCheck))
			err = o.flush(ctx)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
	}
}

// every is a ticker, or one that never ticks.
func every(d time.Duration) *time.Ticker {
	if d > 0 {
		return time.NewTicker(d)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// drain takes what else is there, so that under load one Write carries many
// events' rules, and alone an event waits for nobody.
func (o *owner) drain(ctx context.Context) {
	for len(o.batch) < o.s.cfg.Batch && len(o.jobs) < o.s.cfg.Batch {
		select {
		case ev := <-o.c.events:
			o.handle(ctx, *ev)
		case j := <-o.results:
			o.flying--
			o.finish(j)
		default:
			return
		}
	}
}

// handle is a packet's way in.
func (o *owner) handle(ctx context.Context, ev event) {
	o.learn(&ev.match)
	if r := o.recent[ev.match]; r != nil {
		if ev.read.Before(r.until) {
			if ev.frame == nil {
				o.s.metrics.drop("repeat")
			} else {
				o.send(&ev, r.actions)
			}
			o.c.settled(ev.list)
			return
		}
		delete(o.recent, ev.match)
	}
	flight, place := o.pending.Join(&ev.match, ev, len(ev.frame), ev.read)
	switch place {
	case decider.Waits:
		return
	case decider.Full:
		o.s.metrics.drop("held")
		o.c.settled(ev.list)
		return
	}
	o.ask(ctx, ev, flight)
}

// ask makes an event of what the switch sent, and has it decided.
func (o *owner) ask(ctx context.Context, ev event, flight *decider.Flight[event]) {
	j := o.newJob(flow.EventPacketIn)
	j.from, j.flight = ev, flight
	j.ev.Time = ev.read
	j.pin = flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(ev.frame), Reason: ev.reason, Match: ev.match, Data: ev.frame,
		Incomplete: o.s.cfg.Mapping.Incomplete(&ev.match)}
	j.ev.PacketIn = &j.pin
	o.start(ctx, j)
}

func (o *owner) newJob(t flow.EventType) *job {
	j := &job{ev: flow.Event{Type: t, Session: o.s.String(), Time: time.Now(), Switch: o.s.desc}}
	for j.ev.XID == 0 {
		j.ev.XID = o.s.decisions.Add(1)
	}
	j.ev.ID = o.s.dpid + "-" + strconv.FormatInt(j.ev.Time.UnixNano(), 36) + "-" + strconv.FormatUint(uint64(j.ev.XID), 10)
	return j
}

// start has a job decided: here, or on a goroutine of a bounded number.
func (o *owner) start(ctx context.Context, j *job) {
	if flow.IsLocal(o.s.decider) {
		o.decide(ctx, j)
		o.finish(j)
		return
	}
	if o.flying >= o.s.cfg.InFlight {
		j.err = flow.Errorf(flow.Overload, "%d decisions are under way already", o.flying)
		o.finish(j)
		return
	}
	o.flying++
	go func() {
		o.decide(ctx, j)
		o.results <- j // never waits: it has room for all that fly
	}()
}

func (o *owner) decide(ctx context.Context, j *job) {
	j.dec.Reset()
	start := time.Now()
	j.err = o.s.decider.Decide(ctx, &j.ev, &j.dec)
	j.took = time.Since(start)
}

// record tells OnDecision. An event given up with its session is nobody's failure.
func (o *owner) record(j *job) {
	if o.s.cfg.OnDecision == nil || j.ev.Type == flow.EventPolicyCheck || errors.Is(j.err, context.Canceled) {
		return
	}
	o.s.cfg.OnDecision(&Record{Event: &j.ev, Decision: &j.dec, Err: j.err, Decide: j.took, Total: time.Since(j.ev.Time)})
}

// finish turns a decision into changes of the batch. The packet goes on once
// they are written.
func (o *owner) finish(j *job) {
	o.jobs = append(o.jobs, j)
	o.record(j)
	if j.err != nil {
		o.s.metrics.decided(flow.KindOf(j.err).String())
		if !errors.Is(j.err, context.Canceled) {
			o.s.status.fault(o.s.log, "no decision", "", j.err, "event", j.ev.Type.String(), "decision", j.ev.XID)
		}
		return
	}
	o.s.metrics.decided("decided")
	fresh, latest := o.s.versions.Observe(j.dec.Policy)
	switch fresh {
	case decider.Older:
		decider.Expire(&j.dec)
	case decider.Newer:
		defer o.newPolicy(latest, j)
	}
	for i := range j.dec.Rules {
		r := j.dec.Rules[i]
		r.Cookie = cookie(o.s.cfg.GatewayID, j.dec.Policy, j.ev.XID)
		if err := o.install(j, &r); err != nil {
			j.failed = append(j.failed, err)
			o.s.metrics.update("none", "no_fit")
			o.s.status.fault(o.s.log, "rule not installed", "", err, "decision", j.ev.XID, "reason", j.dec.Reason, "rule", r.String())
			if errors.Is(err, ErrTableFull) { // the switch's refusal, that we knew of before
				o.refused(o.c.ctx, j, r.String(), err)
			}
		}
	}
	for i := range j.dec.Entries {
		if err := o.installDirect(j, &j.dec.Entries[i]); err != nil {
			j.failed = append(j.failed, err)
			o.s.metrics.update("none", "no_fit")
			o.s.status.fault(o.s.log, "entry not installed", "", err, "decision", j.ev.XID, "reason", j.dec.Reason)
		}
	}
}

// installDirect puts an entry that names its table itself into the batch.
func (o *owner) installDirect(j *job, e *flow.Entry) error {
	if !o.s.cfg.Entries {
		return errors.New("entries are not enabled for this switch")
	}
	te, t, err := mapping.Direct(o.s.cfg.Pipeline, e)
	if err != nil {
		return err
	}
	te.ControllerMetadata = cookie(o.s.cfg.GatewayID, j.dec.Policy, j.ev.XID)
	hard := e.HardTimeout
	if hard == 0 && j.ev.PacketIn != nil {
		hard = o.s.cfg.HardTimeout
	}
	return o.add(&change{job: j, entry: te, table: t, hard: hard})
}

// install puts a rule into the batch.
func (o *owner) install(j *job, r *flow.Rule) error {
	if r.Command != flow.Add {
		return fmt.Errorf("%v: only ADD is done for a function", r.Command)
	}
	var packet *flow.Match
	if j.ev.PacketIn != nil {
		packet = &j.pin.Match
	}
	e, t, err := o.s.cfg.Mapping.Entry(r, packet)
	if err != nil {
		return err
	}
	return o.add(&change{job: j, entry: e, table: t.P4, hard: r.HardTimeout})
}

// settle ends a job after its changes were written: its packet goes on, and
// those that waited for it.
func (o *owner) settle(ctx context.Context, j *job, now time.Time) {
	o.c.settled(j.from.list)
	if j.ev.Type != flow.EventPacketIn {
		return
	}
	o.s.metrics.answer.WithLabelValues(o.s.metrics.device).Observe(now.Sub(j.from.read).Seconds())
	key := j.pin.Match
	if j.err == nil {
		actions, rule := j.dec.PacketActions(&key)
		if j.from.frame != nil {
			o.send(&j.from, actions)
		}
		if rule >= 0 && len(j.failed) == 0 && j.installed > 0 && o.s.cfg.Settle > 0 {
			if len(o.recent) >= maxRecent {
				clear(o.recent)
			}
			o.recent[key] = &settledFlow{actions: actions, until: now.Add(o.s.cfg.Settle)}
		}
		o.pending.Decided(j.flight, &j.dec, now)
	}
	waiting, actions, follow := o.pending.Release(j.flight)
	for i := range waiting {
		w := waiting[i]
		switch {
		case w.frame == nil && follow:
			o.s.metrics.drop("repeat")
			o.c.settled(w.list)
		case follow:
			o.send(&w, actions)
			o.c.settled(w.list)
		case w.frame == nil: // a digest that repeats what was just refused
			o.s.metrics.drop("repeat")
			o.c.settled(w.list)
		default:
			o.ask(ctx, w, nil)
		}
	}
}

// send sends a held packet on; an empty list drops it.
func (o *owner) send(ev *event, actions []flow.Action) {
	outs, err := o.s.cfg.Mapping.PacketOuts(ev.frame, ev.match.InPort, actions)
	if err != nil {
		o.s.metrics.drop("cant_send")
		o.s.status.fault(o.s.log, "packet not sent", "", err)
		return
	}
	for _, p := range outs {
		o.c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Packet{Packet: p}})
	}
}

// idle removes entries that the switch says are idle: it never does so itself.
func (o *owner) idle(ctx context.Context, n *p4v1.IdleTimeoutNotification) {
	for _, e := range n.GetTableEntry() {
		o.retire(ctx, bookKey(e), e, flow.RemovedIdle)
	}
}

// retire deletes an entry whose time is over, and tells the controller.
func (o *owner) retire(ctx context.Context, key string, e *p4v1.TableEntry, why flow.RemovedReason) {
	t := o.s.cfg.Pipeline.TableByID(e.GetTableId())
	if t == nil {
		return
	}
	if o.isL2(t.ID) {
		o.forget(e)
	}
	b := o.book.entries[key]
	if b == nil {
		return // another client's, or one that is gone already
	}
	_ = o.add(&change{remove: true, entry: &p4v1.TableEntry{TableId: e.GetTableId(), Match: e.GetMatch(), Priority: e.GetPriority()}, table: t, key: key})
	if !o.s.cfg.FlowRemoved || !o.ours(b.cookie) {
		return
	}
	match, mt, ok := o.s.cfg.Mapping.Match(e)
	if !ok {
		return
	}
	j := o.newJob(flow.EventFlowRemoved)
	j.ev.FlowRemoved = &flow.FlowRemoved{
		Reason: why, Table: mt.OpenFlow, Priority: uint16(e.GetPriority()), Cookie: b.cookie, Match: match,
		Duration: time.Since(b.written), Idle: time.Duration(e.GetIdleTimeoutNs()),
	}
	o.start(ctx, j)
}

// second does what is due by time: hard timeouts, memory of settled flows, and
// reading a table again whose entries went missing.
func (o *owner) second(ctx context.Context, now time.Time) error {
	for e := o.book.expired(now); e != nil; e = o.book.expired(now) {
		o.retire(ctx, e.key, e.entry(), flow.RemovedHard)
	}
	for k, r := range o.recent {
		if now.After(r.until) {
			delete(o.recent, k)
		}
	}
	if o.resync && now.Sub(o.synced) > 5*time.Second {
		o.resync, o.synced = false, now
		if err := o.readTables(ctx); err != nil {
			return err
		}
		if err := o.proactive(ctx); err != nil {
			return err
		}
	}
	o.publish()
	return o.flush(ctx)
}

// probe asks whether the switch is there, and still runs our program.
func (o *owner) probe(ctx context.Context) error {
	have, err := o.c.installedCookie(ctx)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if have != o.s.cfg.Pipeline.Cookie {
		return fmt.Errorf("probe: the switch runs another program now (cookie %#x)", have)
	}
	return nil
}

// newPolicy makes the switch's rules those of a new policy: first the new
// proactive rules, then the rules of older versions go.
func (o *owner) newPolicy(v flow.PolicyVersion, because *job) {
	o.s.log.Info("new policy", "version", v.String())
	if because.ev.Type != flow.EventSwitchConnected {
		j := o.newJob(flow.EventSwitchConnected)
		o.start(o.c.ctx, j)
	}
	o.sweep(v)
}

// sweep marks this gateway's rules of other policy versions for removal. Learned
// addresses are no policy's. The loop removes them a batch at a time, between
// events, so that a full table delays nobody.
func (o *owner) sweep(v flow.PolicyVersion) {
	o.stale = o.stale[:0]
	for key, b := range o.book.entries {
		if o.ours(b.cookie) && !o.isL2(b.table) && policyTag(b.cookie) != v.Tag() {
			o.stale = append(o.stale, key)
		}
	}
}

// sweepSome removes one batch of what sweep marked, except what the new policy
// has written again since.
func (o *owner) sweepSome() {
	n := min(len(o.stale), o.s.cfg.Batch)
	tag := o.s.versions.Latest().Tag()
	for _, key := range o.stale[:n] {
		if b := o.book.entries[key]; b != nil && policyTag(b.cookie) != tag {
			_ = o.add(&change{remove: true, entry: b.entry(), table: o.s.cfg.Pipeline.TableByID(b.table), key: key})
		}
	}
	if o.stale = o.stale[n:]; len(o.stale) == 0 {
		o.stale = nil
	}
}

// Cookies: bits 63 to 48 the gateway's id, 47 to 32 the policy version's tag, 31
// to 0 the decision's number.

func cookie(gateway uint16, v flow.PolicyVersion, decision uint32) uint64 {
	tag := uint16(0)
	if !v.IsZero() {
		tag = v.Tag()
	}
	return uint64(gateway)<<48 | uint64(tag)<<32 | uint64(decision)
}

func policyTag(cookie uint64) uint16 { return uint16(cookie >> 32) }

func (o *owner) ours(cookie uint64) bool { return uint16(cookie>>48) == o.s.cfg.GatewayID }
