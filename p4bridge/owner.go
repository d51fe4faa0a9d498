package p4bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// owner serves a switch while this gateway is its primary. The goroutine in serve reads
// events, calls the bridge and makes every write. Other goroutines (remote decisions,
// sweeps) put their writes into a queue for it. owner is the bridge's [bridge.Switch].
type owner struct {
	s    *Session
	c    *client
	core *bridge.Session
	born time.Time

	wake    chan struct{} // capacity 1: there is something in the queue
	stop    chan struct{} // closed: write what is queued and end
	used    chan []string // keys of entries whose counters are to be looked at
	metrics map[uint32]*tableMetrics
	members *members

	refusals bridge.Mute // of decisions with several refused entries

	setup    []*p4v1.TableEntry // what the gateway keeps in tables whatever the policy says
	resolves bool               // the gateway says what NORMAL is
	wanted   map[string]bool    // keys of those that are entries, and of the entry for misses

	answered atomic.Bool // the bridge has written something: the proactive rules are in
	program  uint64      // the cookie of the program in the switch
	synced   time.Time   // when entries that were lost were last asked for again

	reading sync.Mutex // one List at a time

	mu       sync.Mutex // guards what follows; never held while the switch is asked
	ended    bool       // nothing is queued any more
	holds    bool       // nor while the lead is handed over to the other gateway of a pair
	handed   bool       // and what was queued before that is written: nothing more is
	queue    []*request
	sweeps   []*request // removals that may wait
	book     *book
	l2       map[flow.MAC]flow.PortNo // what the program's table of stations has
	stations stations                 // of a program without NORMAL
	inPorts  map[flow.PortNo]struct{} // by which packets have come in
	keys     map[string]struct{}      // of the batch that is being put together
	staged   []*change                // the batch that is being written
	touched  map[string]struct{}      // keys that were written while tables are read; nil: nobody reads
	lost     bool                     // the switch lost entries behind our back
	kept     bool                     // the entries of setup must be looked after
	changed  map[string]bool          // keys of setup's default actions that somebody else has changed
}

func newOwner(s *Session, c *client, ctx context.Context) *owner {
	o := &owner{
		s: s, c: c, born: time.Now(), book: newBook(), l2: map[flow.MAC]flow.PortNo{}, inPorts: map[flow.PortNo]struct{}{},
		keys: map[string]struct{}{}, metrics: map[uint32]*tableMetrics{}, stations: stations{at: map[flow.MAC]*station{}}, members: newMembers(s.cfg.Pipeline),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), used: make(chan []string, 1), wanted: map[string]bool{}, changed: map[string]bool{},
	}
	o.resolves = s.cfg.Mapping.Resolves()
	o.setup, _ = s.cfg.Mapping.Setup(s.cfg.Ports) // check saw to the error
	for _, e := range o.setup {
		if e.ControllerMetadata = s.cfg.Bridge.OwnCookie(); !e.GetIsDefaultAction() {
			o.wanted[pipeline.KeyOf(e)] = true
		}
	}
	if miss := o.missKey(); miss != "" {
		o.wanted[miss] = true
	}
	o.refusals.Log, o.refusals.Burst = s.log, maxRefusals
	o.core = s.cfg.Bridge.NewSession(ctx, o, bridge.SessionOptions{
		Remote: s.cfg.Addr, Logger: s.log, Faults: &s.faults, Held: s.cfg.Held, Settle: s.cfg.Settle})
	c.core.Store(o.core)
	return o
}

// end refuses further writes and drops those in the queue.
func (o *owner) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.passAll()
	o.core.Drops("disconnected", o.c.events.len())
	if left := o.core.Close(); left > 0 {
		o.s.faults.Info("given_up", "the session ended before these events were decided", "events", left)
	}
}

// serve is the owner's loop.
func (o *owner) serve(ctx context.Context) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	turn, told := o.c.turn.Beside(), time.Now()
	defer turn.End()
	for {
		if ctx.Err() != nil { // select would choose among all that is ready
			return context.Cause(ctx)
		}
		var pause time.Duration
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.c.events.ready:
			begin := time.Now()
			end := o.handleWaiting(begin)
			pause = turn.Spend(begin.Sub(told), end.Sub(begin), end)
			told = end
			if o.core.Crowded() {
				pause = bridge.TurnPause
			}
		case n := <-o.c.idle:
			o.idle(n)
		case <-o.wake:
		case now := <-second.C:
			o.second(now)
		case <-o.stop:
			if err := o.flush(ctx); err != nil || !o.waiting() {
				o.c.finish()
				return errStopped
			}
		}
		if err := o.flush(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		time.Sleep(pause)
	}
}

// beside does what only reads, on a goroutine of its own: a large read must not
// keep packets waiting. An error ends the connection.
func (o *owner) beside(ctx context.Context) {
	probe, counters := every(o.s.cfg.ProbeEvery), every(o.s.cfg.Counters)
	defer probe.Stop()
	defer counters.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-probe.C:
			err = o.probe(ctx)
		case <-counters.C:
			err = o.readCounters(ctx)
		case keys := <-o.used:
			err = o.lookUsed(ctx, keys)
		}
		if err != nil && ctx.Err() == nil {
			o.c.cancel(err)
			return
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

// handleWaiting handles the events that wait, so that under load one Write carries
// many events' rules, and alone an event waits for nobody. It stops after a batch, or
// when other switches' packets have waited long enough, and returns when it stopped.
func (o *owner) handleWaiting(begin time.Time) time.Time {
	end := begin
	for n := 0; n < o.s.cfg.Batch && end.Sub(begin) < bridge.TurnPause; n++ {
		ev := o.c.events.take()
		if ev == nil {
			break
		}
		o.handle(ev)
		end = time.Now()
	}
	return end
}

// handle handles one event of the switch.
func (o *owner) handle(ev *event) {
	if o.s.cfg.Bridge.Pair() != nil && o.held() {
		o.passOn(&ev.pi)
		return // a list of digests is acknowledged by who leads
	}
	o.heard(&ev.pi.Match)
	var done func()
	if ev.list != nil {
		done = func() { o.c.settle(ev.list, 1) }
	}
	o.core.PacketIn(&ev.pi, ev.read, done)
}

// idle removes entries that the switch says are idle: it never does so itself.
func (o *owner) idle(n *p4v1.IdleTimeoutNotification) {
	for _, e := range n.GetTableEntry() {
		if o.crowded() {
			return // it is told again
		}
		o.retire(pipeline.KeyOf(e), flow.RemovedIdle)
	}
}

// crowded reports whether the queue of writes is full.
func (o *owner) crowded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) >= maxWaiting
}

// retire removes an entry whose time is over, if it is this gateway's.
func (o *owner) retire(key string, why flow.RemovedReason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.book.entries[key]
	if b == nil || !o.s.cfg.Bridge.Owns(b.cookie) {
		return // another client's, or one that is gone already
	}
	o.queue = append(o.queue, &request{changes: []*change{removal(b, why)}})
}

// second is called every second. It removes entries whose timeouts have passed, and asks
// again for the proactive rules if entries have disappeared.
func (o *owner) second(now time.Time) {
	var look []string
	for {
		o.mu.Lock()
		e := o.book.expired(now)
		o.mu.Unlock()
		if e == nil {
			break
		}
		t := o.s.cfg.Pipeline.TableByID(e.table)
		switch hard := e.hard > 0 && !now.Before(e.written.Add(e.hard)); {
		case hard || e.idle == 0 || t.IdleTimeout:
			o.retire(e.key, flow.RemovedHard)
		case t.DirectCounter && len(look) < readWhole:
			look = append(look, e.key)
		default:
			o.retire(e.key, flow.RemovedIdle)
		}
	}
	if len(look) > 0 {
		select {
		case o.used <- look:
		default: // the last ones are still being looked at
			for _, key := range look {
				o.again(key, now.Add(time.Second))
			}
		}
	}
	o.mu.Lock()
	resync, keep := o.lost && now.Sub(o.synced) > 5*time.Second, o.kept
	if resync {
		o.lost, o.synced = false, now
	}
	o.kept = false
	o.mu.Unlock()
	if resync {
		o.core.Resync()
	}
	if keep {
		o.keep(false)
	}
	o.publish()
}

// again sets when an entry's timeout is looked at next.
func (o *owner) again(key string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.book.entries[key]; b != nil && b.index < 0 {
		o.book.put(b, at)
	}
}

// lookUsed reads the counters of entries whose idle timeout, which the gateway
// keeps, is over: one that counted packets in the meantime is not idle.
func (o *owner) lookUsed(ctx context.Context, keys []string) error {
	counted := map[string]int64{}
	for part := range slices.Chunk(keys, readPart) {
		ask := make([]*p4v1.Entity, len(part))
		for i, key := range part {
			e := mustEntry(key)
			e.CounterData = &p4v1.CounterData{}
			ask[i] = &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: e}}
		}
		entities, err := o.c.read(ctx, ask...)
		if err != nil {
			return fmt.Errorf("read counters of entries: %w", err)
		}
		for _, e := range entities {
			counted[pipeline.KeyOf(e.GetTableEntry())] = e.GetTableEntry().GetCounterData().GetPacketCount()
		}
	}
	now := time.Now()
	for _, key := range keys {
		o.mu.Lock()
		b := o.book.entries[key]
		idle := true
		if b != nil && counted[key] > b.packets {
			idle, b.packets = false, counted[key]
			o.book.put(b, o.deadline(b, now))
		}
		o.mu.Unlock()
		if idle {
			o.retire(key, flow.RemovedIdle)
		}
	}
	o.wakeUp()
	return nil
}

// probe asks whether the switch is there, and still runs our program.
func (o *owner) probe(ctx context.Context) error {
	have, err := o.c.installedCookie(ctx)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if have != o.program {
		return fmt.Errorf("probe: the switch runs another program now (cookie %#x)", have)
	}
	return nil
}
