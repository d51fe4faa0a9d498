package p4bridge

import (
	"container/heap"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// book is a session's copy of the entries in the switch's tables. It counts them, so
// that the session knows a full table before the switch refuses an entry, and it has
// their deadlines, since P4Runtime has no hard timeouts. A session reads it from the
// switch when it begins; the switch remains the only store of the rules.
type book struct {
	entries  map[string]*booked
	count    map[uint32]int // by table
	ends     deadlines
	readings uint64 // of the switch's tables

	normal  map[flow.MAC]map[string]struct{} // by station: the entries to which NORMAL was resolved
	members map[memberID]int                 // how many entries refer to each
	unused  []memberID                       // that may have lost their last one
}

// booked is an entry; its key is [pipeline.KeyOf]'s.
type booked struct {
	key      string
	table    uint32
	cookie   uint64
	priority int32 // the rule's, which a table of exact keys does not hold; 0 of an entry that was found
	written  time.Time
	idle     time.Duration
	hard     time.Duration
	deadline time.Time  // zero: never
	index    int        // in the heap, -1: not there
	seen     uint64     // the reading that saw it last
	packets  int64      // that its counter had counted when it was last looked at
	rule     *flow.Rule // whose NORMAL the gateway resolved, or may have; else nil
	found    bool       // an earlier session wrote the entry: rule is what it does, whether that was NORMAL or not
	member   memberID
}

func newBook() *book {
	return &book{entries: map[string]*booked{}, count: map[uint32]int{}, normal: map[flow.MAC]map[string]struct{}{}, members: map[memberID]int{}}
}

// mustEntry is [pipeline.EntryOf] for a key of the book's.
func mustEntry(key string) *p4v1.TableEntry {
	e, err := pipeline.EntryOf(key)
	if err != nil {
		panic(err) // KeyOf made it
	}
	return e
}

// put notes an entry that is in the switch now, in place of what the book has
// under its key.
func (b *book) put(e *booked, deadline time.Time) {
	old := b.entries[e.key]
	switch {
	case old == nil:
		b.count[e.table]++
		e.index = -1
	case old != e && old.index >= 0:
		e.index = old.index
		b.ends[e.index] = e
	case old != e:
		e.index = -1
	}
	if old != e {
		b.unlink(old)
		b.link(e)
	}
	b.entries[e.key], e.deadline = e, deadline
	switch {
	case e.index >= 0 && deadline.IsZero():
		heap.Remove(&b.ends, e.index)
	case e.index >= 0:
		heap.Fix(&b.ends, e.index)
	case !deadline.IsZero():
		heap.Push(&b.ends, e)
	}
}

// remove forgets an entry.
func (b *book) remove(key string) {
	e := b.entries[key]
	if e == nil {
		return
	}
	if e.index >= 0 {
		heap.Remove(&b.ends, e.index)
	}
	b.unlink(e)
	delete(b.entries, key)
	b.count[e.table]--
}

// link notes which station or member an entry depends on.
func (b *book) link(e *booked) {
	if e.member != (memberID{}) {
		b.members[e.member]++
	}
	if e.rule != nil {
		of := b.normal[e.rule.Match.EthDst]
		if of == nil {
			of = map[string]struct{}{}
			b.normal[e.rule.Match.EthDst] = of
		}
		of[e.key] = struct{}{}
	}
}

// unlink is link's inverse; e may be nil.
func (b *book) unlink(e *booked) {
	if e == nil {
		return
	}
	if e.member != (memberID{}) {
		if b.members[e.member]--; b.members[e.member] == 0 {
			delete(b.members, e.member)
			b.unused = append(b.unused, e.member)
		}
	}
	if e.rule != nil {
		delete(b.normal[e.rule.Match.EthDst], e.key)
		if len(b.normal[e.rule.Match.EthDst]) == 0 {
			delete(b.normal, e.rule.Match.EthDst)
		}
	}
}

// expired takes the next entry whose time is over out of the heap, or returns nil.
func (b *book) expired(now time.Time) *booked {
	if len(b.ends) == 0 || b.ends[0].deadline.After(now) {
		return nil
	}
	return heap.Pop(&b.ends).(*booked)
}

// deadlines is a heap by time.
type deadlines []*booked

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}
func (d *deadlines) Push(x any) {
	e := x.(*booked)
	e.index = len(*d)
	*d = append(*d, e)
}
func (d *deadlines) Pop() any {
	old := *d
	e := old[len(old)-1]
	e.index = -1
	*d = old[:len(old)-1]
	return e
}
