package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/watched"
	"switchbridge/policy"
	"switchbridge/settings"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
)

// Bounds of what a shadow is asked.
const (
	// shadowRate is how many events a second it is asked about. More than a gateway of that size needs for a judgement, and a native
	// controller takes half a percent of a core for them.
	shadowRate = 2000
	// shadowWaiting is how many events wait for it.
	shadowWaiting = 1024
	// shadowTick is how often the shadow looks at its queue. Waking a goroutine for each event would cost the session more than the
	// copy does.
	shadowTick = 10 * time.Millisecond
	// shadowKept bounds the packets whose memory is used again, in bytes.
	shadowKept = 2 << 10
	// shadowAsking is how many questions are under way to a remote shadow.
	shadowAsking = flow.DefaultConcurrency
)

// shadow is a second function. The gateway asks it about every decided event and compares its answer with the first function's. The answers
// only appear in figures and in the log: they reach no switch, revoke nothing, and change no store that the first function reads.
//
// A session gives the shadow a copy of an event after it has carried the decision out, and never waits. Events for which the shadow has no room or time are
// dropped and counted.
type shadow struct {
	name     string
	decider  flow.Decider
	timeout  time.Duration    // of a question to a remote one; 0: it is in this process
	file     *policyhost.File // nil: it is remote
	host     *policyhost.Native
	remote   *remote // nil: it is in this process
	settings settings.Shadow
	records  *recordFile
	log      *slog.Logger

	second  atomic.Uint64 // and how many events of it were taken
	unasked atomic.Uint64 // events that were shed
	own     flow.Decision // of one in this process
	waiting chan *question
	spare   sync.Pool    // questions whose memory is used again, the last ones first: they are still in the processor's caches
	pending atomic.Int32 // questions that wait or are being asked
	asking  chan struct{}
	under   sync.WaitGroup
	stop    context.CancelFunc
	done    chan struct{}

	metrics *shadowMetrics
	opened  conversations // of what the shadow allowed
	mu      sync.Mutex
	figures shadowFigures
}

// shadowMetrics count what became of events, over all shadows that a gateway has one after the other.
type shadowMetrics [len(shadowOutcomes)]prometheus.Counter

func newShadowMetrics(reg prometheus.Registerer) *shadowMetrics {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_shadow_events_total",
		Help: "Events beside a shadow: agree, disagree, undecided (there is nothing to compare), failed (it gave no answer), stale (an answer of an older version), shed (it was not asked)."}, []string{"outcome"})
	reg.MustRegister(events)
	m := new(shadowMetrics)
	for o, name := range shadowOutcomes {
		m[o] = events.WithLabelValues(name)
	}
	return m
}

// shadowOutcome is what became of an event beside a shadow.
type shadowOutcome uint8

const (
	agree shadowOutcome = iota
	disagree
	undecided
	failed
	stale
	shed
)

var shadowOutcomes = [...]string{agree: "agree", disagree: "disagree", undecided: "undecided", failed: "failed", stale: "stale", shed: "shed"}

// question is a copy of an event and of how it was decided. A session copies what it uses again, and no more; the rest is made of it by who asks.
type question struct {
	ev      flow.Event
	pi      flow.PacketIn
	data    []byte
	rec     bridge.Record // of ev and d
	d       flow.Decision // what fits into a word or two
	rules   int
	reason  []byte
	actions []flow.Action
	failure error // the first gave no answer

	one    decision // for the record
	first  treatment
	cut    bool // a guardrail refused rules: what the packet does is not known here
	failed bool
}

// newShadow starts what the settings name; nil where they name none.
func newShadow(set *settings.Settings, fs *surroundings, records *recordFile, m *shadowMetrics) (*shadow, error) {
	if !set.Shadow.On() {
		return nil, nil
	}
	s := &shadow{settings: set.Shadow, records: records, log: fs.log, metrics: m}
	var err error
	if f := set.Shadow.Function; f != nil {
		err = s.open(f, bool(set.OpenFlow.Handshake), fs)
	} else {
		err = s.load(set.Shadow.Policy, fs)
	}
	if err != nil {
		return nil, fmt.Errorf("shadow: %w", err)
	}
	s.start()
	return s, nil
}

// start starts a shadow whose function is set.
func (s *shadow) start() {
	s.waiting, s.asking = make(chan *question, shadowWaiting), make(chan struct{}, shadowAsking)
	s.mu.Lock()
	s.figures.reset(flow.PolicyVersion{}, flow.PolicyVersion{}, s.log, 0)
	s.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.done = stop, make(chan struct{})
	go s.run(ctx)
}

// load makes the shadow the controller in this process. It has states of its own, which begin when it does.
func (s *shadow) load(path string, fs *surroundings) error {
	file, p, err := policyhost.OpenAs("shadow", path, fs.log, fs.results)
	if err != nil {
		return err
	}
	host := policyhost.NewNative(p)
	memory := stores.Default()
	memory.URL = "memory:"
	keeper, err := stores.Open(context.Background(), memory, every.Openers, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	kept, err := keeper.Keep("shadow", host, stores.OneGateway)
	if err != nil {
		return err
	}
	file.Follow(host, func(p *policy.Policy) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.figures.reset(s.figures.first, p.Version(), s.log, s.unasked.Load())
	})
	s.name, s.file, s.host, s.decider = path, file, host, kept.Decider(host)
	return nil
}

// open makes the shadow a function behind URLs.
func (s *shadow) open(f *settings.Function, fullHandshake bool, fs *surroundings) error {
	r, err := newRemote("shadow", f, fullHandshake, fs.log, fs.metrics, fs.results)
	if err != nil {
		return err
	}
	budget := decider.NewBudget(r.client, decider.BudgetLimits{PerHour: f.Budget.PerHour, PerDay: f.Budget.PerDay, Alarm: f.Budget.Alarm, Refuse: true}, nil)
	s.name, s.remote, s.decider, s.timeout = f.URLs[0], r, budget, f.Timeout
	return nil
}

// files are those to watch.
func (s *shadow) files() []watched.File {
	switch {
	case s == nil:
		return nil
	case s.file != nil:
		return s.file.Files()
	}
	return s.remote.files()
}

// close ends the shadow. What waits gets its record without it.
func (s *shadow) close() {
	if s == nil {
		return
	}
	s.stop()
	<-s.done
	if s.file != nil {
		s.file.Close()
	}
	if s.remote != nil {
		_ = s.remote.close()
	}
}

// offer takes an event that was decided, and reports whether it did. The record of the decision is the shadow's to write then. It never waits.
func (s *shadow) offer(rec *bridge.Record, failure error) bool {
	switch rec.Event.Type {
	case flow.EventPolicyCheck, flow.EventHandshake:
		return false
	}
	if !spend(&s.second, uint32(rec.Event.Time.Add(rec.Total).Unix()), 1, shadowRate, true) {
		s.shed()
		return false
	}
	if s.pending.Add(1) > shadowWaiting {
		s.pending.Add(-1)
		s.shed()
		return false
	}
	q, _ := s.spare.Get().(*question)
	if q == nil {
		q = new(question)
	}
	q.fill(rec, failure, s.timeout > 0)
	s.waiting <- q // there is room for all that are pending
	return true
}

func (s *shadow) shed() {
	s.unasked.Add(1) // the metric follows
}

// fill copies what the session uses again. A shadow that keeps states of its own moves them; a remote one is told that nothing comes of its answer.
func (q *question) fill(rec *bridge.Record, failure error, remote bool) {
	q.ev = *rec.Event
	q.ev.State, q.ev.States, q.ev.Rehearsal = nil, nil, remote
	if pi := rec.Event.PacketIn; pi != nil {
		q.pi, q.ev.PacketIn = *pi, &q.pi
		if pi.Data != nil {
			q.data = append(q.data[:0], pi.Data...)
			q.pi.Data = q.data
		}
	}
	q.rec = *rec
	q.rec.Event, q.rec.Decision, q.failure = &q.ev, &q.d, failure
	if rec.Err != nil {
		return
	}
	d := rec.Decision
	q.d.Verdict, q.d.Policy, q.d.Reject, q.d.Log, q.d.Reused = d.Verdict, d.Policy, d.Reject, d.Log, d.Reused
	q.rules, q.reason = len(d.Rules), append(q.reason[:0], d.Reason...)
	if failure == nil && rec.Event.PacketIn != nil {
		actions, _ := d.PacketActions(&q.pi.Match)
		q.actions = append(q.actions[:0], actions...)
	}
}

// read makes of the copy what is compared and recorded. last is a reason that may be the same, of which there are few.
func (q *question) read(last *string) {
	q.one.fillWith(&q.rec, q.failure)
	q.cut, q.failed, q.first = q.rec.Refused > 0, q.failure != nil, treatment{}
	if !q.one.decided {
		return
	}
	if *last != string(q.reason) {
		*last = string(q.reason)
	}
	q.one.rules, q.one.reason = q.rules, *last
	if !q.failed {
		q.first = treatment{verdict: q.d.Verdict, reason: *last, rules: q.rules, reject: q.d.Reject}
		if q.ev.PacketIn != nil {
			q.first.actions = q.actions
		}
	}
}

// give returns a question's memory for reuse.
func (s *shadow) give(q *question) {
	if cap(q.data) > shadowKept {
		q.data = nil
	}
	s.spare.Put(q)
	s.pending.Add(-1)
}

// run asks about what waits until ctx is done.
func (s *shadow) run(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(shadowTick)
	defer tick.Stop()
	told := uint64(0) // of the events that were shed
	var last string   // reason
	tell := func() {
		n := s.unasked.Load()
		s.metrics[shed].Add(float64(n - told))
		told = n
	}
	defer tell()
	for {
		select {
		case <-ctx.Done():
			s.under.Wait()
			for {
				select {
				case q := <-s.waiting:
					q.read(&last)
					s.records.write(&q.one)
				default:
					return
				}
			}
		case <-tick.C:
			tell()
		}
		for more := true; more && ctx.Err() == nil; {
			select {
			case q := <-s.waiting:
				q.read(&last)
				s.next(ctx, q)
			default:
				more = false
			}
		}
	}
}

// next asks about one event: in place, or on a goroutine where the shadow is remote and others may wait less long.
func (s *shadow) next(ctx context.Context, q *question) {
	if s.timeout == 0 {
		s.ask(ctx, q)
		return
	}
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		s.records.write(&q.one)
		return
	}
	s.under.Go(func() {
		defer func() { <-s.asking }()
		s.ask(ctx, q)
	})
}

// ask asks about one event and compares.
func (s *shadow) ask(ctx context.Context, q *question) {
	d := &s.own
	if s.timeout == 0 {
		d.Reset()
	} else {
		d = new(flow.Decision)
		if q.ev.ID == "" {
			q.ev.ID = fmt.Sprintf("%s-%d", q.ev.Session, q.ev.XID)
		}
		q.ev.ID += "-shadow"
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	err := s.decide(ctx, &q.ev, d)
	if err == nil {
		err = d.Failure
	}
	s.compare(q, d, err)
	s.records.write(&q.one)
	s.give(q)
}

// decide asks. A mistake in the shadow's controller costs its answer alone.
func (s *shadow) decide(ctx context.Context, ev *flow.Event, d *flow.Decision) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	return s.decider.Decide(ctx, ev, d)
}

// compare takes note of the shadow's answer.
func (s *shadow) compare(q *question, d *flow.Decision, err error) {
	if err != nil {
		q.one.shadowFailure = err.Error()
		s.note(failed, q, nil, err)
		return
	}
	second := s.settle(q, d)
	q.one.shadowed, q.one.shadowVerdict, q.one.shadowReason, q.one.shadowPolicy = true, second.verdict, second.reason, d.Policy
	switch {
	case q.failed || second.open:
		s.note(undecided, q, &second, nil)
	case q.first.same(&second, q.cut, q.ev.PacketIn != nil):
		s.note(agree, q, &second, nil)
	default:
		s.note(disagree, q, &second, nil)
	}
}

// settle returns what the shadow's answer does with the packet. If the answer depends on whether the packet is a reply, settle asks what the first
// function's session has found out, and which conversations the shadow has allowed. If neither tells, the answer stays undecided.
func (s *shadow) settle(q *question, d *flow.Decision) (t treatment) {
	t = treatment{verdict: d.Verdict, reason: d.Reason, rules: len(d.Rules), reject: d.Reject}
	if q.ev.PacketIn == nil {
		return t
	}
	m := &q.pi.Match
	t.actions, _ = d.PacketActions(m)
	s.opened.note(m, d, q.one.at)
	if d.IfReply == nil {
		return t
	}
	found := q.rec.Reply
	if found == bridge.ReplyUnknown && s.opened.answers(&q.pi, q.one.at) {
		found = bridge.IsReply
	}
	switch found {
	case bridge.ReplyUnknown:
		t.open = true
	case bridge.IsReply:
		own := flow.Decision{Rules: d.IfReply.Rules, HasPacketOut: d.IfReply.HasPacketOut, PacketOut: d.IfReply.PacketOut}
		t.verdict, t.reason = flow.Allow, d.IfReply.Reason
		t.actions, _ = own.PacketActions(m)
	}
	return t
}

// note counts one event and, where the two disagree or the shadow fails, logs it.
func (s *shadow) note(outcome shadowOutcome, q *question, second *treatment, err error) {
	s.mu.Lock()
	if outcome != failed && !q.failed && !s.figures.versions(q.one.policy, q.one.shadowPolicy, s.log, s.unasked.Load()) {
		outcome = stale
	}
	kind := s.figures.note(outcome, q, second)
	mute := s.figures.mute
	s.mu.Unlock()
	s.metrics[outcome].Inc()
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		mute.Warn("failed", "the shadow gives no answer", "shadow", s.name, "decision", q.one.number, "err", err)
	case outcome == disagree:
		mute.Info(kind, "the shadow disagrees", "dpid", q.one.dpid.String(), "decision", q.one.number, "match", q.one.match.String(),
			"verdict", q.first.word(), "reason", q.one.reason, "shadow_verdict", second.word(), "shadow_reason", second.reason)
	}
}
