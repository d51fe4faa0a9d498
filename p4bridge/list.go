package p4bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bridge"
	"switchbridge/p4bridge/pipeline"
)

// List reads the switch's tables, one after another, while the owner goes on
// writing; brings the book in line with what was read; and calls each for every
// entry, learned addresses aside, and for what the switch does with an unknown
// flow. Counters, which cost the switch more, are read where a filter says that
// somebody wants to see rules.
func (o *owner) List(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	o.reading.Lock()
	defer o.reading.Unlock()
	for _, t := range o.tables() {
		found, err := o.readTable(ctx, t, f.Mask != 0, false)
		if err != nil {
			return err
		}
		if o.isL2(t.ID) {
			continue
		}
		for i := range found {
			e, b := found[i].entry, &found[i].booked
			if b.cookie&f.Mask != f.Cookie&f.Mask {
				continue
			}
			r, shown := o.s.cfg.Mapping.Rule(e)
			r.Cookie, r.HardTimeout = b.cookie, b.hard
			if !t.Priority {
				r.Priority = uint16(b.priority)
			}
			err := each(&bridge.Installed{Rule: r, Handle: b.key, Hidden: !shown, Duration: time.Since(b.written),
				Packets: uint64(e.GetCounterData().GetPacketCount()), Bytes: uint64(e.GetCounterData().GetByteCount())})
			if err != nil {
				return err
			}
		}
	}
	return o.listMiss(ctx, f, each)
}

// listMiss tells of the default action behind all rules.
func (o *owner) listMiss(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	m := o.s.cfg.Mapping.Miss
	if m == nil {
		return nil
	}
	entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: m.Table.ID, IsDefaultAction: true}}})
	if err != nil {
		return fmt.Errorf("read the default action of table %s: %w", m.Table.Name, err)
	}
	for _, e := range entities {
		if !e.GetTableEntry().GetIsDefaultAction() {
			continue
		}
		in := bridge.Installed{Rule: o.Standing()[0], Duration: time.Since(o.born)}
		id := e.GetTableEntry().GetAction().GetAction().GetActionId()
		if id == missAction(m, o.s.cfg.Miss).ID {
			in.Rule.Cookie = o.s.cfg.Bridge.OwnCookie() // whoever set it, it is as it must be
		} else {
			in.Hidden, in.Rule.Actions = true, nil
			for miss, actions := range missActions {
				if a := missAction(m, Miss(miss)); a != nil && a.ID == id {
					in.Hidden, in.Rule.Actions = false, actions
				}
			}
		}
		if in.Rule.Cookie&f.Mask != f.Cookie&f.Mask {
			continue
		}
		if err := each(&in); err != nil {
			return err
		}
	}
	return nil
}

// found is an entry as it was read, and what the book knows of it.
type found struct {
	entry  *p4v1.TableEntry
	booked booked
}

// bookChunk is how many entries are compared before others get their turn.
const bookChunk = 1024

// readTable reads a table and brings the book in line with it, but for what the
// owner wrote in the meantime. When the session begins, nothing is known yet.
func (o *owner) readTable(ctx context.Context, t *pipeline.Table, counters, begins bool) ([]found, error) {
	o.mu.Lock()
	o.touched = map[string]struct{}{}
	for _, c := range o.staged {
		o.touched[c.key] = struct{}{}
	}
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.touched = nil
		o.mu.Unlock()
	}()
	ask := &p4v1.TableEntry{TableId: t.ID}
	if counters && t.DirectCounter {
		ask.CounterData = &p4v1.CounterData{}
	}
	entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: ask}})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", t.Name, err)
	}
	list := make([]found, 0, len(entities))
	for _, e := range entities {
		if te := e.GetTableEntry(); te != nil && !te.GetIsDefaultAction() {
			list = append(list, found{te, booked{key: bookKey(te)}})
		}
	}
	now := time.Now()
	o.mu.Lock()
	o.book.readings++
	reading := o.book.readings
	o.mu.Unlock()
	for chunk := range slices.Chunk(list, bookChunk) {
		o.mu.Lock()
		for i := range chunk {
			o.compare(t, &chunk[i], reading, now, begins)
		}
		o.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	lost, example := 0, ""
	for key, b := range o.book.entries {
		if _, written := o.touched[key]; b.table == t.ID && b.seen != reading && !written {
			lost++
			example = entryKey(t, b.entry())
			if o.isL2(t.ID) {
				o.forget(b.entry())
			}
			o.book.remove(key)
		}
	}
	if lost > 0 {
		o.missing(t, example, lost)
	}
	return slices.DeleteFunc(list, func(f found) bool { return f.booked.table == 0 }), nil
}

// compare brings the book in line with an entry that was read, and f with the
// book. The caller holds mu.
func (o *owner) compare(t *pipeline.Table, f *found, reading uint64, now time.Time, begins bool) {
	b := o.book.entries[f.booked.key]
	_, written := o.touched[f.booked.key]
	switch {
	case written && b == nil:
		return // removed since
	case written: // the book knows better
	case b == nil || b.cookie != f.entry.GetControllerMetadata():
		n := &booked{key: f.booked.key, table: t.ID, cookie: f.entry.GetControllerMetadata(), priority: f.entry.GetPriority(),
			written: now, idle: time.Duration(f.entry.GetIdleTimeoutNs())}
		if begins {
			// It was there before us. How old it is cannot be told; it is older than this
			// session, and gets the default hard timeout from now on.
			n.written = o.born.Add(-time.Minute)
			if o.s.cfg.Bridge.Owns(n.cookie) && !o.isL2(t.ID) {
				n.hard = now.Add(o.s.cfg.HardTimeout).Sub(n.written)
			}
		}
		o.book.put(n, end(n.written, n.hard))
		b = n
		if o.isL2(t.ID) {
			o.relearn(f.entry)
		}
	}
	b.seen = reading
	f.booked = *b
}

// readTables fills the book when a session begins.
func (o *owner) readTables(ctx context.Context) error {
	o.reading.Lock()
	defer o.reading.Unlock()
	for _, t := range o.tables() {
		if _, err := o.readTable(ctx, t, false, true); err != nil {
			return err
		}
	}
	return nil
}

// tables are the P4 tables that the gateway may have written to, each once.
func (o *owner) tables() []*pipeline.Table {
	cfg := &o.s.cfg
	set := map[*pipeline.Table]bool{}
	for _, t := range cfg.Mapping.Tables {
		set[t.P4] = true
	}
	if l := cfg.Mapping.L2; l != nil {
		set[l.Table] = true
	}
	if cfg.Entries {
		for _, t := range cfg.Pipeline.Tables {
			set[t] = !t.Const && !t.Indirect && len(t.Fields) > 0
		}
	}
	maps.DeleteFunc(set, func(_ *pipeline.Table, may bool) bool { return !may })
	return slices.SortedFunc(maps.Keys(set), func(a, b *pipeline.Table) int { return int(a.ID) - int(b.ID) })
}
