package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// change is one entry to write or remove.
type change struct {
	table    *pipeline.Table
	entry    *p4v1.TableEntry
	key      string        // pipeline.KeyOf(entry)
	idle     time.Duration // 0: no idle timeout
	hard     time.Duration // 0: no hard timeout
	rule     *flow.Rule    // whose NORMAL the gateway resolved; else nil
	leads    []flow.Action // what to
	member   memberID      // of an action profile; zero: none
	made     []memberID    // members that are in the switch for it, and a group of them
	priority int32         // the rule's, also where the table knows none
	shadowed bool          // a rule of the same answer has its place

	// A removal is done only while the entry is the one that was meant.
	remove bool
	meant  bridge.Filter
	why    flow.RemovedReason

	op     p4v1.Update_Type
	parts  updateParts
	err    error
	missed bool              // the book had the entry, and the switch had not
	gone   *flow.FlowRemoved // what a removal has removed
}

// updateParts are the messages around an entry, in one piece with the change: each
// for itself costs more than what it holds.
type updateParts struct {
	update p4v1.Update
	entity p4v1.Entity
	kind   p4v1.Entity_TableEntry
}

// update is the change as P4Runtime has it; it is the change's own.
func (c *change) update() *p4v1.Update {
	p := &c.parts
	p.kind.TableEntry, p.entity.Entity = c.entry, &p.kind
	p.update.Type, p.update.Entity = c.op, &p.entity
	return &p.update
}

// anyPriority is the priority of a removal that the cookie alone identifies.
const anyPriority = -1

// removal takes an entry out, while it is the one that the book has now.
func removal(b *booked, why flow.RemovedReason) *change {
	return &change{remove: true, key: b.key, meant: exactly(b.cookie), priority: anyPriority, why: why}
}

// waiting reports whether something is queued.
func (o *owner) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) > 0
}

// flushRounds bounds how long events wait for what others have queued.
const flushRounds = 16

// flush writes what is queued, table by table, and then lets the packets go that
// waited for it. Its error ends the session: what a switch says of single
// updates is dealt with here.
func (o *owner) flush(ctx context.Context) error {
	for round := range flushRounds {
		requests, staged := o.take(round == 0)
		if len(requests) == 0 {
			return nil
		}
		if err := o.writeAll(ctx, staged); err != nil {
			return err
		}
		now := time.Now()
		o.mu.Lock()
		for _, c := range staged {
			o.applied(c, now)
		}
		o.staged = nil
		unused := len(o.book.unused) > 0
		o.mu.Unlock()
		if unused {
			if err := o.dropMembers(ctx); err != nil {
				return err
			}
		}
		if o.s.cfg.afterFlush != nil && len(staged) > 0 {
			o.s.cfg.afterFlush()
		}
		for _, r := range requests {
			o.settle(r, now)
		}
	}
	return o.Flush() // the loop comes back to what is left
}

// take puts the next batch together: whole requests, as far as no entry is in it
// twice, which would make the outcome hang on the switch's order.
func (o *owner) take(sweep bool) (requests []*request, staged []*change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.handed { // the leader that follows sees to old entries; the switch would end this one's term
		o.queue, o.sweeps = nil, nil
		return nil, nil
	}
	clear(o.keys)
	inserts := map[uint32]int{}
	n := 0
	for ; n < len(o.queue) && len(staged) < o.s.cfg.Batch; n++ {
		r := o.queue[n]
		if n > 0 && slices.ContainsFunc(r.changes, func(c *change) bool { _, twice := o.keys[c.key]; return twice }) {
			break
		}
		staged = o.stage(staged, r, inserts)
	}
	requests = slices.Clone(o.queue[:n])
	o.queue = slices.Delete(o.queue, 0, n)
	if sweep && len(o.queue) == 0 && len(o.sweeps) > 0 {
		r := o.sweeps[0]
		o.sweeps = o.sweeps[1:]
		if n == 0 {
			staged, requests = o.stage(staged, r, inserts), append(requests, r)
		} else {
			o.queue = append(o.queue, r) // the next round's
		}
		if len(o.sweeps) > 0 {
			select {
			case o.wake <- struct{}{}:
			default:
			}
		}
	}
	o.staged = staged
	for _, c := range staged {
		if o.touched != nil {
			o.touched[c.key] = struct{}{}
		}
	}
	return requests, staged
}

// stage says of each change of a request what it is to the switch, and leaves
// out what needs no writing. It refuses what a table has no room for. The caller
// holds mu.
func (o *owner) stage(staged []*change, r *request, inserts map[uint32]int) []*change {
	for _, c := range r.changes {
		b := o.book.entries[c.key]
		switch {
		case c.err != nil || c.shadowed:
			continue
		case c.remove:
			if b == nil || !c.meant.Selects(b.cookie) || c.priority != anyPriority && c.priority != b.priority {
				continue // gone, or another's by now
			}
			c.op, c.table, c.entry = p4v1.Update_DELETE, o.s.cfg.Pipeline.TableByID(b.table), mustEntry(c.key)
		case c.entry.GetIsDefaultAction() || b != nil:
			c.op = p4v1.Update_MODIFY
		default:
			c.op = p4v1.Update_INSERT
			if c.err = o.full(c, inserts[c.table.ID]); c.err != nil {
				o.s.metrics.update(c.table.Name, "full")
				if o.isL2(c.table.ID) {
					o.forget(c.entry) // it floods, which is right, if slow
				}
				continue
			}
			inserts[c.table.ID]++
		}
		o.keys[c.key] = struct{}{}
		staged = append(staged, c)
	}
	return staged
}

// maxNamed bounds the entries that one line names; maxRefusals the decisions of
// which there are lines within ten seconds.
const (
	maxNamed    = 20
	maxRefusals = 20
)

// settle tells the bridge what became of a request, and lets its packet go.
func (o *owner) settle(r *request, now time.Time) {
	var refused []string
	for i, c := range r.changes {
		switch {
		case c.err != nil && r.xid != 0:
			why := refusal(c)
			refused = append(refused, strings.TrimPrefix(why.Rule+": "+why.Name, ": "))
			o.core.Written(r.xid, i, why)
		case c.err != nil && !errors.Is(c.err, ErrTableFull): // an address that has no room is flooded to
			o.s.faults.Warn("refused "+c.table.Name, "the switch refused an entry of the gateway's own", "err", c.err)
		case c.gone != nil:
			o.core.Removed(c.gone, now)
		}
	}
	if n := len(refused); n > 1 { // of a single one the bridge's line says all
		o.refusals.Warn("refused", "several entries of one decision are refused", "decision", r.xid, "number", n, "entries", refused[:min(n, maxNamed)])
	}
	for _, p := range r.packets {
		if !o.c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Packet{Packet: p}}) {
			o.core.Drop("slow_reader")
		}
	}
	if r.then != nil {
		r.then()
	}
	if r.confirm {
		o.core.Written(r.xid, -1, nil)
	}
	if r.xid != 0 && o.answered.CompareAndSwap(false, true) && o.s.cfg.Miss == MissFlood {
		_ = o.core.InstallStanding() // an error means that the session ends
	}
}

// writeAll writes each table's changes with one call; tables, which lock each
// for itself in BMv2, go side by side.
func (o *owner) writeAll(ctx context.Context, batch []*change) error {
	if !slices.ContainsFunc(batch, func(c *change) bool { return c.table != batch[0].table }) {
		return o.writeChunks(ctx, batch)
	}
	var order []uint32
	byTable := map[uint32][]*change{}
	for _, c := range batch {
		if byTable[c.table.ID] == nil {
			order = append(order, c.table.ID)
		}
		byTable[c.table.ID] = append(byTable[c.table.ID], c)
	}
	errs := make([]error, len(order))
	var wg sync.WaitGroup
	for i, id := range order {
		wg.Go(func() { errs[i] = o.writeChunks(ctx, byTable[id]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// writeChunks keeps each call within the batch's size.
func (o *owner) writeChunks(ctx context.Context, changes []*change) error {
	for chunk := range slices.Chunk(changes, o.s.cfg.Batch) {
		if err := o.writeTable(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// writeTable writes changes of one table. INSERT of what is there becomes
// MODIFY, and MODIFY of what is not there INSERT: the switch knows better than
// the book.
func (o *owner) writeTable(ctx context.Context, changes []*change) error {
	if len(changes) > 0 && o.members.serve(changes[0].table) {
		if err := o.useMembers(ctx, changes); err != nil {
			return err
		}
		changes = slices.DeleteFunc(slices.Clone(changes), func(c *change) bool { return c.err != nil })
	}
	for try := 0; len(changes) > 0; try++ {
		updates := make([]*p4v1.Update, len(changes))
		for i, c := range changes {
			updates[i] = c.update()
		}
		err := o.c.write(ctx, updates)
		if err == nil {
			return nil
		}
		var we *WriteError
		if !errors.As(err, &we) {
			if status.Code(err) == codes.PermissionDenied {
				return fmt.Errorf("%w: %w", errDemoted, err)
			}
			return fmt.Errorf("write to table %s: %w", changes[0].table.Name, err)
		}
		var again []*change
		for i, u := range we.Updates {
			c := changes[i]
			switch {
			case u == nil:
			case c.remove && u.Code == codes.NotFound: // gone already
			case try == 0 && c.op == p4v1.Update_INSERT && u.Code == codes.AlreadyExists:
				c.op = p4v1.Update_MODIFY
				again = append(again, c)
			case try == 0 && c.op == p4v1.Update_MODIFY && u.Code == codes.NotFound:
				c.op, c.missed = p4v1.Update_INSERT, true
				again = append(again, c)
			default:
				c.err = u
			}
		}
		changes = again
	}
	return nil
}

// retryRemove is when an entry that the switch would not remove is tried again.
const retryRemove = 10 * time.Second

// applied brings book and metrics up to date with a change that was written. The
// caller holds mu.
func (o *owner) applied(c *change, now time.Time) {
	count := o.tableMetrics(c.table)
	b := o.book.entries[c.key]
	if c.missed { // the book is wrong about others too
		o.book.remove(c.key)
		o.missing(c.table, entryKey(c.table, c.entry), 1)
	}
	switch {
	case c.err != nil:
		count.refused.Inc()
		o.book.unused = append(o.book.unused, c.made...) // nothing may refer to them
		if c.remove && b != nil {
			o.book.put(b, now.Add(retryRemove))
		} else if o.isL2(c.table.ID) {
			o.forget(c.entry) // it is learned anew from the next event
		}
	case c.remove:
		count.deleted.Inc()
		if o.isL2(c.table.ID) {
			o.forget(c.entry)
		} else if match, mt, ok := o.s.cfg.Mapping.Match(c.entry); ok && b != nil && !o.s.cfg.Bridge.SetUp(b.cookie) {
			c.gone = &flow.FlowRemoved{Reason: c.why, Table: mt.OpenFlow, Priority: uint16(b.priority), Cookie: b.cookie, Match: match,
				Duration: now.Sub(b.written), Idle: b.idle, Hard: b.hard}
		}
		o.book.remove(c.key)
	case !c.entry.GetIsDefaultAction():
		count.written.Inc()
		b := &booked{key: c.key, table: c.table.ID, cookie: c.entry.GetControllerMetadata(), priority: c.priority,
			written: now, idle: c.idle, hard: c.hard, rule: c.rule, member: c.member}
		o.book.put(b, o.deadline(b, now))
		if c.rule != nil {
			if list, _ := o.resolve(&c.rule.Match); !slices.Equal(list, c.leads) {
				o.moved(c.rule.Match.EthDst, now) // its station was seen while the entry was on its way
			}
		}
	}
	count.entries.Set(float64(o.book.count[c.table.ID]))
}

// deadline is when an entry that is used now ends by the gateway's clock; zero is
// never. The gateway keeps hard timeouts, and the idle timeouts of tables that
// have none.
func (o *owner) deadline(b *booked, now time.Time) (end time.Time) {
	if b.hard > 0 {
		end = b.written.Add(b.hard)
	}
	if t := o.s.cfg.Pipeline.TableByID(b.table); b.idle > 0 && !t.IdleTimeout {
		if idle := now.Add(b.idle); end.IsZero() || idle.Before(end) {
			end = idle
		}
	}
	return end
}

// missing notes that the switch lost entries behind our back. The caller holds mu.
func (o *owner) missing(t *pipeline.Table, example string, n int) {
	o.lost, o.kept = true, true
	o.s.faults.Warn("lost "+t.Name, "the switch lost entries", "table", t.Name, "entries", n, "example", example)
}

func (o *owner) tableMetrics(t *pipeline.Table) *tableMetrics {
	m := o.metrics[t.ID]
	if m == nil {
		m = o.s.metrics.table(t.Name)
		o.metrics[t.ID] = m
	}
	return m
}
