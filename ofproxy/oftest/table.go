package oftest

import (
	"slices"
	"time"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// table is the flow tables of a switch, as far as a controller can tell them
// from real ones. A rule whose time is over is gone; nobody is told.
type table struct {
	entries []*entry
	at      map[identity]int // where in entries; nil where that has changed
}

// identity is what no two rules have in common: an ADD of one replaces the other (OpenFlow 1.3.5, 6.4).
type identity struct {
	table    uint8
	priority uint16
	match    flow.Match
}

func identityOf(r *flow.Rule) identity { return identity{r.Table, r.Priority, r.Match} }

// remove takes out the entries that gone says.
func (t *table) remove(gone func(*entry) bool) {
	n := len(t.entries)
	if t.entries = slices.DeleteFunc(t.entries, gone); len(t.entries) != n {
		t.at = nil
	}
}

// entry is a rule with the time at which it came.
type entry struct {
	ofp.FlowStats
	added time.Time
	used  time.Time // by a packet
}

// over reports whether one of the rule's timeouts has ended it.
func (e *entry) over(now time.Time) bool {
	return e.Rule.HardTimeout > 0 && now.Sub(e.added) >= e.Rule.HardTimeout || e.Rule.IdleTimeout > 0 && now.Sub(e.used) >= e.Rule.IdleTimeout
}

// expire takes out the rules whose time is over.
func (t *table) expire(now time.Time) {
	t.remove(func(e *entry) bool { return e.over(now) })
}

// stats returns the entry with its age.
func (e *entry) stats() ofp.FlowStats {
	st := e.FlowStats
	st.Duration = time.Since(e.added)
	return st
}

// tableAll is OFPTT_ALL (OpenFlow 1.3.5, 7.3.4.1).
const tableAll = 0xff

// apply does what a FLOW_MOD says (OpenFlow 1.3.5, 6.4) and returns the rules
// that it deleted.
func (t *table) apply(v flow.Protocol, r *flow.Rule) (deleted []ofp.FlowStats) {
	if r.Command == flow.ModifyStrict || r.Command == flow.DeleteStrict {
		canonical := *r
		canonical.Match = r.Match.Canonical()
		r = &canonical
	}
	switch r.Command {
	case flow.Add:
		t.add(r)
	case flow.Modify, flow.ModifyStrict:
		found := false
		for i := range t.entries {
			if e := t.entries[i]; selects(v, r, &e.Rule, r.Command == flow.ModifyStrict) {
				found = true
				e.Rule.Actions, e.Rule.Meter, e.Rule.Goto = slices.Clone(r.Actions), r.Meter, r.Goto
			}
		}
		if !found && v == flow.OpenFlow10 { // OpenFlow 1.0.0, 4.6: it acts like an ADD
			t.add(r)
		}
	case flow.Delete, flow.DeleteStrict:
		t.remove(func(e *entry) bool {
			gone := selects(v, r, &e.Rule, r.Command == flow.DeleteStrict) && outputs(&e.Rule, r.OutPort)
			if gone {
				deleted = append(deleted, e.stats())
			}
			return gone
		})
	}
	return deleted
}

func (t *table) add(r *flow.Rule) {
	now := time.Now()
	rule := *r
	rule.Command, rule.BufferID, rule.OutPort, rule.CookieMask = flow.Add, 0, 0, 0
	rule.Match = r.Match.Canonical()
	rule.Actions = slices.Clone(r.Actions)
	if t.at == nil {
		t.at = make(map[identity]int, len(t.entries))
		for i := range t.entries {
			t.at[identityOf(&t.entries[i].Rule)] = i
		}
	}
	e := &entry{FlowStats: ofp.FlowStats{Rule: rule}, added: now, used: now}
	if i, ok := t.at[identityOf(&rule)]; ok {
		t.entries[i] = e
		return
	}
	t.at[identityOf(&rule)] = len(t.entries)
	t.entries = append(t.entries, e)
}

// selects reports whether a MODIFY or DELETE r means the entry e.
func selects(v flow.Protocol, r, e *flow.Rule, strict bool) bool {
	if v != flow.OpenFlow10 {
		deletes := r.Command == flow.Delete || r.Command == flow.DeleteStrict
		if r.Table != e.Table && !(deletes && r.Table == tableAll) {
			return false
		}
		if (e.Cookie^r.Cookie)&r.CookieMask != 0 {
			return false
		}
	}
	if strict {
		return r.Priority == e.Priority && r.Match == e.Match // both are canonical
	}
	return includes(&r.Match, &e.Match)
}

// outputs reports whether e sends packets to port; PortAny and 0 mean any rule.
func outputs(e *flow.Rule, port flow.PortNo) bool {
	if port == flow.PortAny || port == 0 {
		return true
	}
	return slices.ContainsFunc(e.Actions, func(a flow.Action) bool { return a.Type == flow.Output && a.Port == port })
}

// includes reports whether every packet of m is one of g (OpenFlow 1.3.5, 6.4:
// "more specific or equal").
func includes(g, m *flow.Match) bool {
	if !g.Covers(m) {
		return false
	}
	mac := func(f flow.Field, g, m flow.MAC) bool { return f == 0 || m.And(g) == g }
	return mac(g.Fields&flow.FieldEthDst, g.EthDstMask, m.EthDstMask) &&
		mac(g.Fields&flow.FieldEthSrc, g.EthSrcMask, m.EthSrcMask) &&
		(!g.Has(flow.FieldVLAN) || m.VLANMask&g.VLANMask == g.VLANMask) &&
		(!g.Has(flow.FieldIPSrc) || m.IPSrc.Bits() >= g.IPSrc.Bits()) &&
		(!g.Has(flow.FieldIPDst) || m.IPDst.Bits() >= g.IPDst.Bits()) &&
		(!g.Has(flow.FieldARPSPA) || m.ARPSPA.Bits() >= g.ARPSPA.Bits()) &&
		(!g.Has(flow.FieldARPTPA) || m.ARPTPA.Bits() >= g.ARPTPA.Bits()) &&
		(!g.Has(flow.FieldMetadata) || m.MetadataMask&g.MetadataMask == g.MetadataMask) &&
		(!g.Has(flow.FieldTunnelID) || m.TunnelMask&g.TunnelMask == g.TunnelMask)
}

// find returns what a flow statistics request asks for.
func (t *table) find(v flow.Protocol, q *ofp.FlowStatsRequest) []ofp.FlowStats {
	want := flow.Rule{Command: flow.Delete, Table: q.Table, Cookie: q.Cookie, CookieMask: q.CookieMask, Match: q.Match}
	t.expire(time.Now())
	var found []ofp.FlowStats
	for i := range t.entries {
		e := t.entries[i]
		if (q.Table == tableAll || q.Table == e.Rule.Table) && selects(v, &want, &e.Rule, false) && outputs(&e.Rule, q.OutPort) {
			found = append(found, e.stats())
		}
	}
	return found
}

// lookup returns the entry of one table that a packet takes, or nil.
func (t *table) lookup(id uint8, p *flow.Match) *ofp.FlowStats {
	now := time.Now()
	t.expire(now)
	var best *entry
	for i := range t.entries {
		if e := t.entries[i]; e.Rule.Table == id && e.Rule.Match.Covers(p) && (best == nil || e.Rule.Priority > best.Rule.Priority) {
			best = e
		}
	}
	if best == nil {
		return nil
	}
	best.used = now
	return &best.FlowStats
}
