package p4bridge

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// What follows is called by any goroutine.
var _ bridge.Switch = (*owner)(nil)

func (o *owner) Describe() *flow.Switch { return o.s.desc }

// DeletesByCookie: an entry is removed by its key alone.
func (o *owner) DeletesByCookie() bool { return false }

// Fit says for each candidate table why it can't hold the rule.
func (o *owner) Fit(r *flow.Rule, packet *flow.Match) error {
	if r.Command != flow.Add {
		return fmt.Errorf("%v: only ADD is done for a function", r.Command)
	}
	if err := r.Match.Complete(packet); err != nil {
		return err
	}
	_, _, err := o.fits(r)
	return err
}

// FitActions is Fit for a packet in hand, which a program without packet_out
// never lets go.
func (o *owner) FitActions(actions []flow.Action, packet *flow.Match) error {
	m := o.s.cfg.Mapping
	if m.PacketOut == nil && m.PacketIn == nil || o.s.cfg.Miss == MissClone {
		return nil // there are digests or copies only: nothing is sent, whatever the answer says
	}
	_, err := m.PacketOuts(nil, packet.InPort, o.send(actions, packet))
	return err
}

// Before follows the program: its tables are looked up one after another.
func (o *owner) Before(a, b *flow.Rule) bool {
	if a.Table != b.Table {
		return false
	}
	m := o.s.cfg.Mapping
	_, ta, err := o.fits(a)
	if err != nil {
		return false
	}
	_, tb, err := o.fits(b)
	return err == nil && m.Before(ta, tb)
}

// Standing is what the switch does with an unknown flow, as the rule below all
// others: the default action of the table that misses end in, or its last entry.
func (o *owner) Standing() []flow.Rule {
	cfg := &o.s.cfg
	if cfg.Mapping.Miss.Entry(cfg.Miss) == nil || cfg.Miss == MissFlood && !o.answered.Load() {
		return nil
	}
	return []flow.Rule{o.missRule()}
}

func (o *owner) missRule() flow.Rule {
	m := o.s.cfg.Mapping
	r := flow.Rule{BufferID: flow.NoBuffer, Actions: missActions[o.s.cfg.Miss]}
	if i := slices.IndexFunc(m.Tables, func(t *mapping.Table) bool { return t.P4 == m.Miss.Table }); i >= 0 {
		r.Table = m.Tables[i].OpenFlow
	}
	return r
}

// missActions are what each Miss is to whom the switch's rules are shown.
var missActions = [...][]flow.Action{
	MissDigest: {flow.OutputTo(flow.PortController)}, MissPunt: {flow.OutputTo(flow.PortController)}, MissClone: {flow.OutputTo(flow.PortController)},
	MissFlood: {flow.OutputTo(flow.PortFlood)}, MissDrop: nil,
}

// isStanding reports whether a rule is [owner.Standing]'s: the gateway's own, below
// all that has a priority and matching everything.
func (o *owner) isStanding(r *flow.Rule) bool {
	return o.s.cfg.Bridge.SetUp(r.Cookie) && r.Priority == 0 && r.Match.Fields == 0 && slices.Equal(r.Actions, missActions[o.s.cfg.Miss])
}

// exactly selects the entries of one cookie.
func exactly(cookie uint64) bridge.Filter { return bridge.Filter{Cookie: cookie, Mask: ^uint64(0)} }

// request is one Write of the bridge's, or a change of the gateway's own.
type request struct {
	xid     uint32 // 0: nobody is told
	changes []*change
	packets []*p4v1.PacketOut // that go once the changes are written
	confirm bool
	then    func() // where set, is called when all that was queued before is written
}

// maxWaiting bounds the decisions that wait for a switch which takes its rules
// slowly; the packets of others are dropped and counted.
const maxWaiting = 4096

// backgroundFrom is from how many removals on they may wait for everything else.
const backgroundFrom = 128

var (
	errEnded = errors.New("the switch's session has ended")
	errSlow  = errors.New("the switch does not take its rules as fast as they come")
)

// Write translates changes and packet, and queues them for the owner. A change
// that can't be is refused when its turn comes.
//
// Removals of a sweep go to a queue of their own, of which the owner takes a
// chunk between events: they come by the thousand and nobody waits for them.
func (o *owner) Write(xid uint32, changes []bridge.Change, p *bridge.Packet, confirm bool) error {
	r := &request{xid: xid, confirm: confirm, changes: make([]*change, len(changes))}
	sweep := p == nil && !confirm && len(changes) >= backgroundFrom
	for i := range changes {
		r.changes[i] = o.change(&changes[i], p != nil)
		sweep = sweep && r.changes[i].remove
	}
	shadow(r.changes)
	if p != nil && len(p.In.Data) > 0 && !o.copied(p.In) { // else it is a digest, or a copy: there is nothing to send
		var err error
		if r.packets, err = o.s.cfg.Mapping.PacketOuts(bytes.Clone(p.In.Data), p.In.Match.InPort, o.send(p.Actions, &p.In.Match)); err != nil {
			o.core.Drop("packet_out_not_expressible")
			o.core.Warn("packet_out", "packet dropped: its actions can't be expressed", "decision", xid, "actions", flow.ActionsString(p.Actions), "err", err)
		}
	}
	if p != nil && (len(p.Actions) > 0 || slices.ContainsFunc(changes, func(c bridge.Change) bool { return c.Entry != nil })) {
		o.learn(&p.In.Match) // of what is let pass, as a switch that learns does: who forges an address must not move its owner's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.holds:
		if p != nil {
			o.passOn(p.In)
		}
		return bridge.ErrElsewhere
	case o.ended:
		return errEnded
	case sweep:
		o.sweeps = append(o.sweeps, r)
	case p != nil && len(o.queue) >= maxWaiting:
		return errSlow
	default:
		o.queue = append(o.queue, r)
	}
	return nil
}

// copied reports whether a packet is a copy of one that has gone its way.
func (o *owner) copied(p *flow.PacketIn) bool {
	return o.s.cfg.Miss == MissClone && p.Reason == flow.ReasonNoMatch
}

func (o *owner) wakeUp() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Flush wakes the owner. It does not wait: the owner's own goroutine calls it,
// too.
func (o *owner) Flush() error {
	o.wakeUp()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return errEnded
	}
	return nil
}

// change translates one of the bridge's.
func (o *owner) change(b *bridge.Change, answersPacket bool) *change {
	cfg, c := &o.s.cfg, new(change)
	var t *mapping.Table
	switch {
	case b.Remove != nil:
		c.remove, c.meant, c.priority, c.why = true, exactly(b.Remove.Rule.Cookie), anyPriority, flow.RemovedDelete
		var named bool
		if c.key, named = b.Remove.Handle.(string); !named {
			var e *p4v1.TableEntry
			if e, _, c.err = o.fits(&b.Remove.Rule); c.err == nil {
				c.key, c.priority = pipeline.KeyOf(e), int32(b.Remove.Rule.Priority)
			}
			c.err = nil // what no table can hold is not there
		}
		return c
	case b.Entry != nil:
		if !cfg.Entries {
			c.err = errors.New("entries are not enabled for this switch")
			return c
		}
		if c.entry, c.table, c.err = mapping.Direct(cfg.Pipeline, b.Entry); c.err == nil {
			c.entry.ControllerMetadata = b.Cookie
			c.idle, c.hard, c.priority = b.Entry.IdleTimeout, b.Entry.HardTimeout, b.Entry.Priority
			if c.hard == 0 && answersPacket {
				c.hard = cfg.HardTimeout
			}
		}
	case o.isStanding(b.Rule):
		c.table, c.entry = cfg.Mapping.Miss.Table, cfg.Mapping.Miss.Entry(cfg.Miss)
		c.entry.ControllerMetadata = b.Rule.Cookie
	default:
		if t, c.err = o.translate(c, b.Rule); c.err == nil {
			c.table, c.idle, c.hard, c.priority = t.P4, b.Rule.IdleTimeout, b.Rule.HardTimeout, int32(b.Rule.Priority)
		}
		if c.err == nil && c.entry == nil {
			c.shadowed = true // until its station is known
			return c
		}
	}
	if c.err == nil {
		c.key = pipeline.KeyOf(c.entry)
	}
	return c
}

// shadow takes care of rules of one answer that are the same entry, since their
// table knows no priorities: the highest is written, as it would win.
func shadow(changes []*change) {
	for i, c := range changes {
		if c.err != nil || c.remove {
			continue
		}
		for _, above := range changes[:i] {
			switch {
			case above.err != nil || above.shadowed || above.key != c.key:
			case above.priority > c.priority:
				c.shadowed = true
			default:
				above.shadowed = true
			}
		}
	}
}

// learn notes where stations are, from eth_src and in_port of packets that are
// let pass; the newest wins. Where the program has a table of them, which is what
// NORMAL means and which a P4 switch does not fill by itself, it fills that, whose
// entries age by the switch's own idle timeout.
func (o *owner) learn(m *flow.Match) {
	l := o.s.cfg.Mapping.L2
	if !m.Has(flow.FieldEthSrc|flow.FieldInPort) || m.EthSrc.Multicast() || m.InPort.Reserved() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.resolves {
		if now := time.Now(); o.stations.see(m.EthSrc, m.InPort, now, o.s.cfg.L2Age) {
			o.moved(m.EthSrc, now)
		}
	}
	if l == nil {
		return
	}
	if port, ok := o.l2[m.EthSrc]; ok && port == m.InPort {
		return
	}
	port, err := pipeline.Uint(uint64(m.InPort), l.Port.Width)
	if err != nil {
		return // the switch itself reported the port, as wide as its own type
	}
	e := &p4v1.TableEntry{
		TableId: l.Table.ID,
		Match: []*p4v1.FieldMatch{{FieldId: l.MAC.ID, FieldMatchType: &p4v1.FieldMatch_Exact_{
			Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(bytes.Clone(m.EthSrc[:]))}}}},
		Action: mapping.WithAction(l.Table, &p4v1.Action{
			ActionId: l.Action.ID, Params: []*p4v1.Action_Param{{ParamId: l.Port.ID, Value: port}},
		}),
		ControllerMetadata: o.s.cfg.Bridge.OwnCookie(),
	}
	if l.Table.IdleTimeout {
		e.IdleTimeoutNs = o.l2Age().Nanoseconds()
	}
	o.l2[m.EthSrc] = m.InPort
	o.queue = append(o.queue, &request{changes: []*change{{entry: e, table: l.Table, key: pipeline.KeyOf(e), idle: o.l2Age()}}})
}

// l2Age is the idle timeout of learned addresses; 0 is none. Where neither the
// switch nor a counter tells what is idle, an address stays until it moves: to
// take it out by the clock would flood what goes to a station that is there.
func (o *owner) l2Age() time.Duration {
	if t := o.s.cfg.Mapping.L2.Table; !t.IdleTimeout && !t.DirectCounter {
		return 0
	}
	return max(0, o.s.cfg.L2Age)
}

func (o *owner) isL2(table uint32) bool {
	l := o.s.cfg.Mapping.L2
	return l != nil && l.Table.ID == table
}

// forget lets an address be learned anew. The caller holds mu.
func (o *owner) forget(e *p4v1.TableEntry) {
	if mac, ok := macOf(e); ok {
		delete(o.l2, mac)
	}
}

// relearn notes an entry that was found in the switch. The caller holds mu.
func (o *owner) relearn(e *p4v1.TableEntry) {
	mac, ok := macOf(e)
	params := mapping.ActionOf(e.GetAction()).GetParams()
	if !ok || len(params) != 1 {
		return
	}
	if port, err := pipeline.ToUint(params[0].GetValue()); err == nil {
		o.l2[mac] = flow.PortNo(port)
	}
}

func macOf(e *p4v1.TableEntry) (mac flow.MAC, ok bool) {
	if len(e.GetMatch()) != 1 {
		return mac, false
	}
	b, err := pipeline.Pad(e.GetMatch()[0].GetExact().GetValue(), 48)
	if err != nil {
		return mac, false
	}
	return flow.MAC(b), true
}
