package bridge

import (
	"math/rand/v2"
	"testing"
	"time"

	"switchbridge/flow"
)

func on(rules int, states ...flow.StateVersion) *flow.Decision {
	d := &flow.Decision{Read: states}
	for i := range rules {
		d.Rules = append(d.Rules, flow.Rule{Priority: uint16(i + 1), HardTimeout: 10 * time.Second})
	}
	return d
}

func at(key, version uint64) flow.StateVersion { return flow.StateVersion{Key: key, Version: version} }

// put has a decision written down and its rules sent.
func put(t *testing.T, b *book, s *Session, cookie uint64, d *flow.Decision, now time.Time) *entry {
	t.Helper()
	f, e := b.add(s, cookie, d, now)
	if f != current || e == nil {
		t.Fatalf("decision %#x is not taken: %v", cookie, f)
	}
	b.written(e)
	return e
}

func TestBookRemovesWhatIsOlder(t *testing.T) {
	var b book
	s, now := new(Session), time.Now()
	put(t, &b, s, 1, on(2, at(1, 5), at(2, 1)), now)
	put(t, &b, s, 2, on(1, at(2, 1)), now)
	if f, r := b.meet(on(0, at(1, 5)), now); f != current || r != nil {
		t.Errorf("the same version: %v, %v", f, r)
	}
	if f, _ := b.meet(on(0, at(1, 4)), now); f != outdated {
		t.Errorf("an older version: %v", f)
	}
	if f, e := b.add(s, 3, on(1, at(1, 4)), now); f != outdated || e != nil {
		t.Errorf("rules on an older version: %v", f)
	}
	f, r := b.meet(on(0, at(1, 6)), now)
	if f != current || r == nil || len(r.entries) != 1 || r.entries[0].cookie != 1 || len(r.entries[0].rules) != 2 {
		t.Fatalf("a newer version removes %+v (%v)", r, f)
	}
	if b.rules != 1 || len(b.entries) != 1 {
		t.Errorf("%d rules of %d decisions are left, want 1 of 1", b.rules, len(b.entries))
	}
	if _, r := b.meet(&flow.Decision{Revoke: []uint64{2, 99}}, now); r == nil || len(r.entries) != 1 || r.entries[0].cookie != 2 {
		t.Errorf("a revocation removes %+v", r)
	}
}

// A newer version that is seen between a decision's entry and its rules leaves word with the entry.
func TestBookDoomed(t *testing.T) {
	var b book
	s, now := new(Session), time.Now()
	_, e := b.add(s, 1, on(1, at(1, 1)), now)
	_, r := b.meet(on(0, at(1, 2)), now)
	if r == nil || r.left != 1 || len(r.entries) != 0 {
		t.Fatalf("the removal is %+v", r)
	}
	if got := b.written(e); got != r {
		t.Errorf("who has written the rules is told of %v, want %v", got, r)
	}
	if b.rules != 0 {
		t.Errorf("%d rules are left", b.rules)
	}
}

func TestBookForgets(t *testing.T) {
	var b book
	s, other, now := new(Session), new(Session), time.Now()
	put(t, &b, s, 1, on(1, at(1, 1)), now)
	put(t, &b, s, 2, on(2, at(1, 1)), now)
	put(t, &b, other, 2, on(1, at(1, 1)), now)
	b.removed(s, &flow.FlowRemoved{Cookie: 2, Priority: 2})
	b.removed(s, &flow.FlowRemoved{Cookie: 2, Priority: 9})
	b.removed(s, &flow.FlowRemoved{Cookie: 7, Priority: 1})
	if b.rules != 3 {
		t.Errorf("%d rules, want 3", b.rules)
	}
	b.removed(s, &flow.FlowRemoved{Cookie: 2, Priority: 1})
	b.forget(other)
	if b.rules != 1 || len(b.entries) != 1 {
		t.Errorf("%d rules of %d decisions, want 1 of 1", b.rules, len(b.entries))
	}
	later := now.Add(10*time.Second + time.Millisecond) // its hard_timeout is over
	if _, r := b.meet(on(0, at(1, 2)), later); r != nil {
		t.Errorf("a rule is removed that has ended by itself: %+v", r)
	}
	if b.meet(on(0, at(2, 1)), later.Add(keptVersion+time.Second)); len(b.keys) != 1 {
		t.Errorf("%d states are remembered, want that of the latest answer", len(b.keys))
	}
}

// TestBookIsBounded: what finds no room is refused, whole, and nothing is lost of what is there.
func TestBookIsBounded(t *testing.T) {
	var b book
	s, now := new(Session), time.Now()
	for i := range uint64(10 * maxBookRules / 64) {
		f, _ := b.add(s, i, on(64, at(i, 1)), now)
		if want := i < maxBookRules/64; (f == current) != want {
			t.Fatalf("decision %d: %v", i, f)
		}
	}
	if b.rules != maxBookRules {
		t.Errorf("%d rules, want %d", b.rules, maxBookRules)
	}
	for i := range uint64(10 * maxBookKeys) {
		b.meet(on(0, at(1<<40+i, 1)), now)
	}
	if len(b.keys) > maxBookKeys {
		t.Errorf("%d states, at most %d", len(b.keys), maxBookKeys)
	}
	if f, _ := b.meet(on(0, at(1<<50, 1)), now); f != noRoom {
		t.Errorf("a state more than there is room for: %v", f)
	}
	if _, r := b.meet(on(0, at(0, 2)), now); r == nil {
		t.Error("what is in the book is not removed any more")
	}
}

// TestBookModel compares a book with a list that is searched.
func TestBookModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var b book
	s, now := new(Session), time.Now()
	type decision struct {
		cookie uint64
		reads  []flow.StateVersion
	}
	var live []decision
	versions := map[uint64]uint64{}
	for i := range uint64(20000) {
		d := on(1)
		for key := range uint64(4) {
			if random.IntN(2) == 0 {
				d.Read = append(d.Read, at(key, max(1, versions[key]+uint64(random.IntN(8)/7)-uint64(random.IntN(6)/5))))
			}
		}
		old := false
		for _, r := range d.Read {
			old = old || r.Version < versions[r.Key]
		}
		f, r := b.meet(d, now)
		if (f == outdated) != old {
			t.Fatalf("step %d: %+v is %v, versions %v", i, d.Read, f, versions)
		}
		if old {
			continue
		}
		gone := map[uint64]bool{}
		for _, read := range d.Read {
			if read.Version > versions[read.Key] {
				versions[read.Key] = read.Version
				for _, l := range live {
					for _, x := range l.reads {
						gone[l.cookie] = gone[l.cookie] || x.Key == read.Key
					}
				}
			}
		}
		removed := 0
		if r != nil {
			removed = len(r.entries)
			for _, e := range r.entries {
				if !gone[e.cookie] {
					t.Fatalf("step %d: decision %d goes, which rests on nothing that changed", i, e.cookie)
				}
			}
		}
		want := 0
		var left []decision
		for _, l := range live {
			if gone[l.cookie] {
				want++
			} else {
				left = append(left, l)
			}
		}
		live = left
		if removed != want {
			t.Fatalf("step %d: %d decisions go, want %d", i, removed, want)
		}
		if len(d.Read) > 0 {
			put(t, &b, s, i+1, d, now)
			live = append(live, decision{i + 1, d.Read})
		}
	}
}
