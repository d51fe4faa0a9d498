package p4bridge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// List reads the switch's tables while the owner goes on writing, and corrects the book
// by what it read. It calls each for every entry except learned addresses, and for
// what the switch does with an unknown flow. Reading counters costs the switch more, so
// List reads them only if the filter asks for them.
func (o *owner) List(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	if f.Match != nil {
		return o.find(ctx, f, each)
	}
	o.reading.Lock()
	defer o.reading.Unlock()
	miss := o.missKey()
	for _, t := range o.tables() {
		err := o.readTable(ctx, t, f.Mask != 0, false, func(e *p4v1.TableEntry, b *booked) error {
			if o.isL2(t.ID) || b.key == miss || !f.Selects(b.cookie) {
				return nil
			}
			return each(o.installed(t, e, b))
		})
		if err != nil {
			return err
		}
	}
	if err := o.lookDefaults(ctx); err != nil {
		return err
	}
	return o.listMiss(ctx, f, each)
}

// TableRule is one of this gateway's rules in a P4 table.
type TableRule struct {
	bridge.Installed
	P4Table string
}

// maxListedRules bounds what Rules shows.
const maxListedRules = 100_000

// Rules lists this gateway's rules in the switch in the order in which the program looks them up, at most 100,000 of them, and last what it
// does with an unknown flow. The error is of a switch that is not served now, or does not answer.
func (s *Session) Rules(ctx context.Context) ([]TableRule, error) {
	o := s.serves.Load()
	if o == nil {
		return nil, fmt.Errorf("%s: it is not served by this gateway now: %s", s.name, s.Status().State)
	}
	list, err := o.core.Rules(ctx, maxListedRules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	m := s.cfg.Mapping
	rules := make([]TableRule, len(list))
	for i := range list {
		t := m.Miss.Table // a default action has no key
		if key, ok := list[i].Handle.(string); ok {
			t = s.cfg.Pipeline.TableByID(mustEntry(key).GetTableId())
		}
		rules[i] = TableRule{Installed: list[i], P4Table: t.Name}
	}
	turn := m.Turns()
	slices.SortStableFunc(rules, func(a, b TableRule) int {
		return cmp.Or(cmp.Compare(a.Rule.Table, b.Rule.Table), cmp.Compare(turn[a.P4Table], turn[b.P4Table]), cmp.Compare(b.Rule.Priority, a.Rule.Priority))
	})
	return rules, nil
}

// installed is an entry as the bridge sees it.
func (o *owner) installed(t *pipeline.Table, e *p4v1.TableEntry, b *booked) *bridge.Installed {
	in := &bridge.Installed{Handle: b.key, Duration: time.Since(b.written),
		Packets: uint64(e.GetCounterData().GetPacketCount()), Bytes: uint64(e.GetCounterData().GetByteCount())}
	var shown, drops bool
	in.Rule, shown, drops = o.s.cfg.Mapping.Rule(o.members.plain(e))
	in.Rule.Cookie, in.Rule.HardTimeout, in.Rule.Priority, in.Forwards = b.cookie, b.hard, uint16(b.priority), !drops
	if !shown {
		in.Text = "table " + t.Name + ": " + entryKey(t, e)
		in.Hidden = !o.s.cfg.Bridge.Owns(b.cookie)
	}
	return in
}

// find is List for a match that leaves in_port open. P4Runtime reads an exact table by whole keys or all of it, so the keys are those of the
// match with each port that a packet has come in by. Only what the book has is read: it has every entry of this gateway's.
func (o *owner) find(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	m := o.s.cfg.Mapping
	var found []booked
	exact := false
	o.mu.Lock()
	for port := range o.inPorts {
		match := *f.Match
		match.SetInPort(port)
		for _, e := range m.Keys(&match) {
			exact = true
			if b := o.book.entries[pipeline.KeyOf(e)]; b != nil && f.Selects(b.cookie) {
				found = append(found, *b)
			}
		}
	}
	if !exact { // a program that has such rules in tables with priorities, which are small
		for key, b := range o.book.entries {
			if !f.Selects(b.cookie) {
				continue
			}
			if match, _, ok := m.Match(mustEntry(key)); ok && f.Match.Covers(&match) {
				found = append(found, *b)
			}
		}
	}
	o.mu.Unlock()
	for i := range found {
		b := &found[i]
		entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: mustEntry(b.key)}})
		if status.Code(err) == codes.NotFound {
			continue
		}
		if err != nil {
			return fmt.Errorf("read an entry: %w", err)
		}
		for _, e := range entities {
			te := e.GetTableEntry()
			if te == nil || pipeline.KeyOf(te) != b.key {
				continue
			}
			if err := each(o.installed(o.s.cfg.Pipeline.TableByID(te.GetTableId()), te, b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxInPorts bounds the ports that are remembered.
const maxInPorts = 4096

// heard notes a port by which packets come in.
func (o *owner) heard(m *flow.Match) {
	if !m.Has(flow.FieldInPort) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.inPorts[m.InPort]; !known && len(o.inPorts) < maxInPorts {
		o.inPorts[m.InPort] = struct{}{}
	}
}

// missKey is the key of the entry that stands for a miss; empty where it is a
// default action, or the program's own.
func (o *owner) missKey() string {
	cfg := &o.s.cfg
	if e := cfg.Mapping.Miss.Entry(cfg.Miss); e != nil && !e.GetIsDefaultAction() {
		return pipeline.KeyOf(e)
	}
	return ""
}

// listMiss calls each for the default action, or for the entry that stands for it.
func (o *owner) listMiss(ctx context.Context, f bridge.Filter, each func(*bridge.Installed) error) error {
	m := o.s.cfg.Mapping.Miss
	want := m.Entry(o.s.cfg.Miss)
	if want == nil {
		return nil
	}
	ask := &p4v1.TableEntry{TableId: want.TableId, IsDefaultAction: want.IsDefaultAction, Match: want.Match, Priority: want.Priority}
	entities, err := o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: ask}})
	if err != nil {
		return fmt.Errorf("read what table %s does with a miss: %w", m.Table.Name, err)
	}
	for _, e := range entities {
		have := e.GetTableEntry()
		if have.GetIsDefaultAction() != want.IsDefaultAction || pipeline.KeyOf(have) != pipeline.KeyOf(want) {
			continue
		}
		in := bridge.Installed{Rule: o.missRule(), Duration: time.Since(o.born)}
		kind, known := m.Kind(o.members.action(have))
		if known && kind == o.s.cfg.Miss {
			in.Rule.Cookie = o.s.cfg.Bridge.OwnCookie() // whoever set it, it is as it must be
		} else {
			in.Hidden, in.Rule.Actions, in.Text = true, nil, "what table "+m.Table.Name+" does with a miss"
		}
		in.Forwards = !known || kind != mapping.MissDrop
		if f.Selects(in.Rule.Cookie) {
			return each(&in)
		}
	}
	return nil
}

// readTable reads a table and brings the book in line with it, but for what the
// owner wrote in the meantime; each gets a copy of what the book has then. When a
// session begins, nothing is known yet.
func (o *owner) readTable(ctx context.Context, t *pipeline.Table, counters, begins bool, each func(*p4v1.TableEntry, *booked) error) error {
	o.mu.Lock()
	o.touched = map[string]struct{}{}
	for _, c := range o.staged {
		o.touched[c.key] = struct{}{}
	}
	o.book.readings++
	reading := o.book.readings
	keys := []string{""}
	if o.book.count[t.ID] > readWhole && !begins {
		keys = keys[:0]
		for key, b := range o.book.entries {
			if b.table == t.ID {
				keys = append(keys, key)
			}
		}
	}
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.touched = nil
		o.mu.Unlock()
	}()
	for part := range slices.Chunk(keys, readPart) {
		ask := make([]*p4v1.Entity, len(part))
		for i, key := range part {
			e := &p4v1.TableEntry{TableId: t.ID}
			if key != "" {
				e = mustEntry(key)
			}
			if counters && t.DirectCounter {
				e.CounterData = &p4v1.CounterData{}
			}
			ask[i] = &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: e}}
		}
		entities, err := o.c.read(ctx, ask...)
		if err != nil {
			return fmt.Errorf("read table %s: %w", t.Name, err)
		}
		for _, e := range entities {
			te := e.GetTableEntry()
			if te == nil || te.GetIsDefaultAction() {
				continue
			}
			if b, ok := o.compare(t, te, reading, begins); ok {
				if err := each(te, &b); err != nil {
					return err
				}
			}
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	lost, example := 0, ""
	for key, b := range o.book.entries {
		if _, written := o.touched[key]; b.table == t.ID && b.seen != reading && !written {
			lost, example = lost+1, entryKey(t, mustEntry(key))
			if o.isL2(t.ID) {
				o.forget(mustEntry(key))
			}
			o.book.remove(key)
		}
	}
	if lost > 0 {
		o.missing(t, example, lost)
	}
	return nil
}

// compare brings the book in line with an entry that was read, and returns what
// the book has; false where the entry has gone since, or was seen already.
func (o *owner) compare(t *pipeline.Table, e *p4v1.TableEntry, reading uint64, begins bool) (booked, bool) {
	key := pipeline.KeyOf(e)
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.book.entries[key]
	if _, written := o.touched[key]; written && b == nil || b != nil && b.seen == reading {
		return booked{}, false
	} else if !written && (b == nil || !exactly(e.GetControllerMetadata()).Selects(b.cookie)) {
		var ends time.Time
		b = &booked{key: key, table: t.ID, cookie: e.GetControllerMetadata(), priority: e.GetPriority(),
			written: time.Now(), idle: time.Duration(e.GetIdleTimeoutNs())}
		b.member = memberOf(t, e)
		if begins {
			// How old it is cannot be told, but that it is older than this session, nor
			// whether it had a hard timeout. It ends after the default one from now on.
			b.written = o.born.Add(-time.Minute)
			switch cfg := &o.s.cfg; {
			case !cfg.Bridge.Owns(b.cookie) || o.wanted[key]:
			case !o.isL2(t.ID):
				ends = time.Now().Add(cfg.HardTimeout)
				b.rule, b.found = o.leads(e), true
			case !t.IdleTimeout && o.l2Age() > 0:
				b.idle, ends = o.l2Age(), time.Now().Add(o.l2Age())
			}
		}
		o.book.put(b, ends)
		if o.isL2(t.ID) {
			o.relearn(e)
		} else if m, _, ok := o.s.cfg.Mapping.Match(e); ok && m.Has(flow.FieldInPort) && len(o.inPorts) < maxInPorts {
			o.inPorts[m.InPort] = struct{}{}
		}
	}
	b.seen = reading
	return *b, true
}

// readTables fills the book when a session begins.
func (o *owner) readTables(ctx context.Context) error {
	o.reading.Lock()
	defer o.reading.Unlock()
	for _, t := range o.tables() {
		if err := o.readTable(ctx, t, false, true, func(*p4v1.TableEntry, *booked) error { return nil }); err != nil {
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
	for key := range o.wanted {
		set[cfg.Pipeline.TableByID(mustEntry(key).GetTableId())] = true
	}
	if cfg.Entries {
		for _, t := range cfg.Pipeline.Tables {
			set[t] = !t.Const && len(t.Fields) > 0
		}
	}
	maps.DeleteFunc(set, func(_ *pipeline.Table, may bool) bool { return !may })
	return slices.SortedFunc(maps.Keys(set), func(a, b *pipeline.Table) int { return int(a.ID) - int(b.ID) })
}
