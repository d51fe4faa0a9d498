package guard

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/flow"
)

// Bounds of a Memory.
const (
	MaxForeign = 65536 // other controllers' rules of which the match is known
	MaxDenies  = 1024  // refused denies that are kept each by itself
)

// Memory holds what a check needs to know beside the answer itself: the rules of other
// controllers in the switch, and the denies that the switch has refused. A session has one.
// The zero value and nil are empty. Any goroutine may use it. Its size is bounded, and while it is
// empty it costs a check nothing.
//
// If there is no more room, it merges entries into wider ones, so that it refuses more
// and not less.
type Memory struct {
	denies  atomic.Int32 // 1 while anything is in refused or shut
	others  atomic.Int32 // 1 while anything is in foreign or crowded
	mu      sync.RWMutex
	refused []deny
	shut    []deny // at most one for a table: what is known of the denies beyond MaxDenies

	foreign map[uint64]uint64 // hash of table, priority and match: cookie
	// crowded has, by table, a bit for each priority at which there are rules of
	// others beyond MaxForeign.
	crowded map[uint8]*[1024]uint64
}

// deny is a rule that the switch refused.
type deny struct {
	rule flow.Rule
	ends time.Time // when its timeout passes; zero is never
}

// Refused says that the switch has refused a rule. If the rule is a deny, Memory keeps
// it. The guard then refuses later rules with actions that overlap the deny, in its table
// at lower or equal priority, until the session ends or [Memory.Installed] says that the
// switch has the deny. Other rules are not kept.
//
// If there are MaxDenies already, Refused drops the denies whose timeouts have passed. If
// none has, it merges the denies of each table into one, which matches all their packets
// and ends when the last of them ends.
func (m *Memory) Refused(r *flow.Rule) {
	if r.Command != flow.Add || r.Forwards() {
		return
	}
	now := time.Now()
	d := deny{rule: flow.Rule{Table: r.Table, Priority: r.Priority, Match: r.Match}}
	if r.HardTimeout > 0 {
		d.ends = now.Add(r.HardTimeout)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.denies.Store(1)
	for i := range m.refused {
		if o := &m.refused[i]; o.rule.Table == d.rule.Table && o.rule.Priority == d.rule.Priority && o.rule.Match == d.rule.Match {
			o.ends = later(o.ends, d.ends)
			return
		}
	}
	if len(m.refused) >= MaxDenies {
		kept := m.refused[:0]
		for _, o := range m.refused {
			if !o.over(now) {
				kept = append(kept, o)
			}
		}
		clear(m.refused[len(kept):])
		m.refused = kept
	}
	if len(m.refused) < MaxDenies {
		m.refused = append(m.refused, d)
		return
	}
	for i := range m.shut {
		s := &m.shut[i]
		if s.rule.Table != d.rule.Table {
			continue
		}
		if s.over(now) {
			*s = d
			return
		}
		s.rule.Priority = max(s.rule.Priority, d.rule.Priority)
		s.rule.Match = common(&s.rule.Match, &d.rule.Match)
		s.ends = later(s.ends, d.ends)
		return
	}
	m.shut = append(m.shut, d)
}

// over reports whether the rule's timeout has passed.
func (d *deny) over(now time.Time) bool { return !d.ends.IsZero() && !now.Before(d.ends) }

func later(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if a.After(b) {
		return a
	}
	return b
}

// common returns the fields of a in which b has the same values. This match covers both.
func common(a, b *flow.Match) flow.Match {
	var same flow.Field
	for rest := a.Fields & b.Fields; rest != 0; rest &= rest - 1 {
		f := rest & -rest
		if a.Keep(f) == b.Keep(f) {
			same |= f
		}
	}
	return a.Keep(same)
}

// Installed says that the switch has a rule, which a BARRIER or the answer to a Write
// has confirmed. Memory forgets the rule.
func (m *Memory) Installed(r *flow.Rule) {
	if m == nil || m.denies.Load() == 0 || r.Forwards() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.refused {
		if o := &m.refused[i].rule; o.Table == r.Table && o.Priority == r.Priority && o.Match == r.Match {
			m.refused[i] = m.refused[len(m.refused)-1]
			m.refused[len(m.refused)-1] = deny{}
			m.refused = m.refused[:len(m.refused)-1]
			break
		}
	}
	if len(m.refused)+len(m.shut) == 0 {
		m.denies.Store(0)
	}
}

// Shields reports whether Memory has a deny that the switch has refused.
func (m *Memory) Shields() bool { return m != nil && m.denies.Load() != 0 }

// empty reports whether Memory has nothing.
func (m *Memory) empty() bool { return m == nil || m.denies.Load()|m.others.Load() == 0 }

// shielding returns the refused deny whose packets r would get, as text, or "".
func (m *Memory) shielding(r *flow.Rule, sw lookup) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i := range m.refused {
		if d := &m.refused[i].rule; shields(d, r, sw) {
			return "the switch has refused " + d.String()
		}
	}
	if len(m.shut) == 0 {
		return ""
	}
	now := time.Now()
	for i := range m.shut {
		if s := &m.shut[i]; !s.over(now) && shields(&s.rule, r, sw) {
			return fmt.Sprintf("the switch has refused more than %d denies; the others are within %s", MaxDenies, s.rule.String())
		}
	}
	return ""
}

// Foreign replaces what is known of other controllers' rules in the switch. read calls
// its argument once for each rule; nothing of the rule is kept. Foreign returns how many
// rules there are, and how many of them are beyond MaxForeign. Of those it keeps table and
// priority only, and the guard refuses every rule of that table and priority.
func (m *Memory) Foreign(read func(yield func(r *flow.Rule))) (rules, beyond int) {
	known := make(map[uint64]uint64)
	var crowded map[uint8]*[1024]uint64
	read(func(r *flow.Rule) {
		rules++
		h := hashOf(r)
		if _, twice := known[h]; twice || len(known) < MaxForeign {
			known[h] = r.Cookie
			return
		}
		beyond++
		if crowded == nil {
			crowded = make(map[uint8]*[1024]uint64)
		}
		if crowded[r.Table] == nil {
			crowded[r.Table] = new([1024]uint64)
		}
		crowded[r.Table][r.Priority>>6] |= 1 << (r.Priority & 63)
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.foreign, m.crowded = known, crowded
	m.others.Store(int32(min(rules, 1)))
	return rules, beyond
}

// foreignTo returns whose rule r would replace, as text, or "".
func (m *Memory) foreignTo(r *flow.Rule) string {
	if m.others.Load() == 0 {
		return ""
	}
	h := hashOf(r)
	m.mu.RLock()
	defer m.mu.RUnlock()
	if cookie, ok := m.foreign[h]; ok {
		return fmt.Sprintf("it would replace the rule with cookie %#016x, which is not this gateway's", cookie)
	}
	if t := m.crowded[r.Table]; t != nil && t[r.Priority>>6]>>(r.Priority&63)&1 != 0 {
		return fmt.Sprintf("the switch has more than %d rules of others, and this could replace one of them at its priority", MaxForeign)
	}
	return ""
}

// seed makes the hash unpredictable, so that nobody outside can find two rules with the same hash.
var seed = maphash.MakeSeed()

// hashOf returns a hash of table, priority and match. Two matches that a switch may
// treat as one have the same hash.
func hashOf(r *flow.Rule) uint64 {
	m := r.Match.Canonical()
	m = m.Keep(^m.Vacuous())
	if m.Has(flow.FieldVLAN) && m.VLANMask&flow.VLANPresent != 0 && m.VLAN&flow.VLANPresent == 0 {
		m.SetVLAN(flow.VLANNone, flow.VLANExact) // also where the mask has that bit alone, as OpenFlow 1.0 has it
	}
	var room [384]byte
	b, be := room[:0], binary.BigEndian
	b = append(b, r.Table)
	b = be.AppendUint16(b, r.Priority)
	b = be.AppendUint32(b, uint32(m.Fields))
	for rest := m.Fields; rest != 0; rest &= rest - 1 {
		switch x := (rest & -rest).Info(); x.Kind {
		case flow.Address, flow.MaskedMAC:
			a, mask := x.MAC(&m)
			b = append(append(b, a[:]...), mask[:]...)
		case flow.Prefix:
			p := x.Prefix(&m)
			a := p.Addr().As16() // eth_type says whether it is IPv4
			b = append(append(b, a[:]...), byte(p.Bits()))
		case flow.IPv6:
			a := x.Addr(&m).As16()
			b = append(b, a[:]...)
		default:
			v, mask := x.Number(&m)
			b = be.AppendUint64(be.AppendUint64(b, v), mask)
		}
	}
	return maphash.Bytes(seed, b)
}
