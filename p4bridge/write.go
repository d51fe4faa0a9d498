package p4bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/p4bridge/pipeline"
)

// change is one entry to write or remove.
type change struct {
	job    *job // whose decision it is; nil: the gateway's own
	table  *pipeline.Table
	entry  *p4v1.TableEntry
	key    string // bookKey(entry)
	remove bool
	hard   time.Duration // 0: no hard timeout
	op     p4v1.Update_Type
	err    error
}

// add puts a change into the batch. It refuses what the table has no room for:
// BMv2 would say UNKNOWN, and that does not say full.
func (o *owner) add(c *change) error {
	if c.key == "" {
		c.key = bookKey(c.entry)
	}
	switch {
	case c.remove:
		c.op = p4v1.Update_DELETE
	case o.book.has(c.key):
		c.op = p4v1.Update_MODIFY
	default:
		c.op = p4v1.Update_INSERT
		if size := c.table.Size; size > 0 && int64(o.book.count[c.table.ID]+o.inserts[c.table.ID]) >= size {
			o.s.metrics.update(c.table.Name, "full")
			return fmt.Errorf("table %s: %w: it holds %d of %d entries; key %s", c.table.Name, ErrTableFull, o.book.count[c.table.ID], size, entryKey(c.table, c.entry))
		}
	}
	if c.op == p4v1.Update_INSERT {
		o.inserts[c.table.ID]++
	}
	o.batch = append(o.batch, c)
	return nil
}

// flush writes the batch, table by table, and then lets the packets go that
// waited for it. Its error ends the session: what a switch says of single
// updates is dealt with here.
func (o *owner) flush(ctx context.Context) error {
	for len(o.batch) > 0 || len(o.jobs) > 0 {
		batch, jobs := o.batch, o.jobs
		o.batch, o.jobs = nil, nil
		clear(o.inserts)
		if err := o.writeAll(ctx, latest(batch)); err != nil {
			return err
		}
		if o.s.cfg.afterFlush != nil && len(batch) > 0 {
			o.s.cfg.afterFlush()
		}
		now := time.Now()
		for _, c := range batch {
			o.applied(ctx, c, now)
		}
		for _, j := range jobs {
			o.settle(ctx, j, now)
		}
	}
	return nil
}

// latest keeps the last change of each entry: one entry twice in a batch would
// make the outcome hang on the switch's order.
func latest(batch []*change) []*change {
	if len(batch) < 2 {
		return batch
	}
	at := make(map[string]int, len(batch))
	out := batch[:0:0]
	for _, c := range batch {
		if i, ok := at[c.key]; ok {
			if out[i].op == p4v1.Update_INSERT && !c.remove {
				c.op = p4v1.Update_INSERT
			}
			out[i] = c
			continue
		}
		at[c.key] = len(out)
		out = append(out, c)
	}
	return out
}

// writeAll writes each table's changes with one call; tables, which lock each
// for itself in BMv2, go side by side.
func (o *owner) writeAll(ctx context.Context, batch []*change) error {
	if oneTable(batch) {
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

func oneTable(batch []*change) bool {
	for _, c := range batch {
		if c.table != batch[0].table {
			return false
		}
	}
	return true
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
	for try := 0; len(changes) > 0; try++ {
		updates := make([]*p4v1.Update, len(changes))
		for i, c := range changes {
			updates[i] = &p4v1.Update{Type: c.op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: c.entry}}}
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
				c.op = p4v1.Update_INSERT
				c.err = errMissing
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

// errMissing marks a change that met an entry which the book had and the switch had not.
var errMissing = errors.New("the entry was missing")

// applied brings book and metrics up to date with a change that was written.
func (o *owner) applied(ctx context.Context, c *change, now time.Time) {
	name, count := c.table.Name, o.tableMetrics(c.table)
	if errors.Is(c.err, errMissing) {
		// The switch lost entries behind our back; the book is wrong about others too.
		o.resync, c.err = true, nil
		o.book.remove(c.key)
		o.s.log.Warn("the switch lost an entry", "table", name, "key", entryKey(c.table, c.entry))
	}
	if c.err != nil {
		count.refused.Inc()
		if b := o.book.entries[c.key]; b != nil && c.remove {
			o.book.put(c.key, b.table, b.cookie, b.written, now.Add(retryRemove))
		}
		if !c.remove && o.isL2(c.table.ID) {
			o.forget(c.entry) // it is learned anew from the next event
		}
		attrs := []any{"key", entryKey(c.table, c.entry)}
		if c.job != nil {
			c.job.failed = append(c.job.failed, c.err)
			attrs = append(attrs, "decision", c.job.ev.XID, "reason", c.job.dec.Reason)
		}
		o.s.status.fault(o.s.log, "the switch refused an entry", name, c.err, attrs...)
		o.refused(ctx, c.job, "table "+name+": "+entryKey(c.table, c.entry), c.err)
		return
	}
	if c.job != nil {
		c.job.installed++
	}
	if c.remove {
		o.book.remove(c.key)
		count.deleted.Inc()
	} else {
		deadline := time.Time{}
		if c.hard > 0 {
			deadline = now.Add(c.hard)
		}
		o.book.put(c.key, c.table.ID, c.entry.GetControllerMetadata(), now, deadline)
		count.written.Inc()
	}
	count.entries.Set(float64(o.book.count[c.table.ID]))
}

func (o *owner) tableMetrics(t *pipeline.Table) *tableMetrics {
	m := o.metrics[t.ID]
	if m == nil {
		m = o.s.metrics.table(t.Name)
		o.metrics[t.ID] = m
	}
	return m
}
