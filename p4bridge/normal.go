package p4bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// NORMAL of a program that has no such action is resolved by the gateway: a rule
// becomes an output to the port at which the station was seen last, and is
// written anew when it moves. A station that nobody has seen is flooded to, where
// the program has an action for that, and else the rule waits: the packet in hand
// is flooded by the gateway.

// stations are the addresses that the gateway has learned of one switch.
type stations struct {
	at    map[flow.MAC]*station
	swept time.Time // when room was last made
}

type station struct {
	port flow.PortNo
	seen time.Time
}

// maxStations bounds the addresses that are learned of one switch. Packets for a
// station that was not learned are flooded.
const maxStations = 8192

// see notes where a station is, and reports whether that has changed. If there is no
// room, it forgets the stations that were not seen for age (0: none). It does so at most
// once a second, so that made-up addresses cost little.
func (s *stations) see(mac flow.MAC, port flow.PortNo, now time.Time, age time.Duration) bool {
	have := s.at[mac]
	switch {
	case have != nil && have.port == port:
		have.seen = now
		return false
	case have == nil && len(s.at) >= maxStations:
		if now.Sub(s.swept) >= time.Second && age > 0 {
			s.swept = now
			maps.DeleteFunc(s.at, func(_ flow.MAC, old *station) bool { return now.Sub(old.seen) > age })
		}
		if len(s.at) >= maxStations {
			return false
		}
	}
	s.at[mac] = &station{port, now}
	return true
}

// isNormal reports whether a list is NORMAL alone.
func isNormal(list []flow.Action) bool {
	return len(list) == 1 && list[0].Type == flow.Output && list[0].Port == flow.PortNormal
}

var errNormal = errors.New("the program has no NORMAL, and the gateway resolves it for rules that name in_port and one eth_dst")

// translate makes c's entry from a rule, and returns its table. If NORMAL has to be
// resolved, c says which actions it stands for. c has no entry if the station isn't
// known and the program can't flood.
func (o *owner) translate(c *change, r *flow.Rule) (t *mapping.Table, err error) {
	m := o.s.cfg.Mapping
	if c.entry, t, err = m.Entry(r, nil); err == nil || !isNormal(r.Actions) {
		return t, err
	}
	if _, t, err = o.fits(r); err != nil {
		return nil, err
	}
	o.mu.Lock()
	list, known := o.resolve(&r.Match)
	o.mu.Unlock()
	as := *r
	as.Actions = list
	e, at, err := m.Entry(&as, nil)
	switch {
	case err == nil:
		normal := *r
		normal.Actions = slices.Clone(r.Actions)
		c.entry, c.rule, c.leads = e, &normal, list
		return at, nil
	case known:
		return nil, err
	}
	return t, nil
}

// fits makes an entry like r's, with some actions in place of NORMAL, to see whether it
// can be made.
func (o *owner) fits(r *flow.Rule) (*p4v1.TableEntry, *mapping.Table, error) {
	m := o.s.cfg.Mapping
	e, t, err := m.Entry(r, nil)
	if err == nil || !isNormal(r.Actions) {
		return e, t, err
	}
	if !resolvable(&r.Match) {
		return nil, nil, fmt.Errorf("%w; %w", err, errNormal)
	}
	as := *r
	as.Actions = []flow.Action{flow.OutputTo(flow.PortNo(o.s.cfg.Ports[0]))}
	if e, t, other := m.Entry(&as, nil); other == nil {
		return e, t, nil
	}
	return nil, nil, err
}

// resolve returns the actions that NORMAL stands for, for packets of a match. known is
// false if their station isn't known. The caller holds mu.
func (o *owner) resolve(m *flow.Match) (list []flow.Action, known bool) {
	if !m.Has(flow.FieldEthDst) || m.EthDstMask != flow.MACExact {
		return []flow.Action{flow.OutputTo(flow.PortFlood)}, false
	}
	at := o.stations.at[m.EthDst]
	switch {
	case at == nil:
		return []flow.Action{flow.OutputTo(flow.PortFlood)}, false
	case m.Has(flow.FieldInPort) && at.port == m.InPort:
		return nil, true // a packet never goes back out of the port it came in by
	}
	return []flow.Action{flow.OutputTo(at.port)}, true
}

// send brings the actions of a packet in hand into what the program does with a
// packet_out: NORMAL is resolved and FLOOD is each port, where it knows neither.
func (o *owner) send(list []flow.Action, packet *flow.Match) []flow.Action {
	m := o.s.cfg.Mapping
	special := func(a flow.Action) bool {
		return a.Type == flow.Output && (a.Port == flow.PortNormal || a.Port == flow.PortFlood || a.Port == flow.PortAll) &&
			!m.Sends(a.Port) && !(a.Port == flow.PortAll && m.Sends(flow.PortFlood))
	}
	if !slices.ContainsFunc(list, special) {
		return list
	}
	var out []flow.Action
	for _, a := range list {
		if !special(a) {
			out = append(out, a)
			continue
		}
		as := []flow.Action{flow.OutputTo(flow.PortFlood)}
		if a.Port == flow.PortNormal {
			o.mu.Lock()
			as, _ = o.resolve(packet)
			o.mu.Unlock()
		}
		if len(as) == 1 && as[0].Port == flow.PortFlood && !m.Sends(flow.PortFlood) {
			as = nil
			for _, p := range o.s.cfg.Ports {
				if flow.PortNo(p) != packet.InPort {
					as = append(as, flow.OutputTo(flow.PortNo(p)))
				}
			}
		}
		out = append(out, as...)
	}
	return out
}

// leads returns what an entry of an earlier session does, where that may be what
// NORMAL was resolved to: it sends packets for one station to one port, or floods
// them. Else it returns nil. An entry that drops is none of these, though NORMAL
// can be that, too: behind a deny that is taken out, a rule below may let pass.
func (o *owner) leads(e *p4v1.TableEntry) *flow.Rule {
	if !o.resolves {
		return nil
	}
	r, shown, _ := o.s.cfg.Mapping.Rule(o.members.plain(e))
	if !shown || !resolvable(&r.Match) || len(r.Actions) != 1 || r.Actions[0].Type != flow.Output {
		return nil
	}
	if p := r.Actions[0].Port; p.Reserved() && p != flow.PortFlood {
		return nil
	}
	return &r
}

// resolvable reports whether NORMAL can be resolved for a rule with this match.
func resolvable(m *flow.Match) bool {
	return m.Has(flow.FieldInPort|flow.FieldEthDst) && m.EthDstMask == flow.MACExact
}

// moved rewrites the rules that send packets to a station which has moved. The caller
// holds mu.
func (o *owner) moved(mac flow.MAC, now time.Time) {
	var changes []*change
	for key := range o.book.normal[mac] {
		b := o.book.entries[key]
		if b == nil || b.rule == nil {
			continue
		}
		r := *b.rule
		r.Actions, _ = o.resolve(&r.Match)
		if b.found { // it goes, and the next packet asks: only the function knows whether NORMAL was meant
			if !slices.Equal(r.Actions, b.rule.Actions) {
				changes = append(changes, removal(b, flow.RemovedDelete))
			}
			continue
		}
		e, t, err := o.s.cfg.Mapping.Entry(&r, nil)
		if err != nil || pipeline.KeyOf(e) != key { // it fits no more where it was: the next packet asks
			changes = append(changes, removal(b, flow.RemovedDelete))
			continue
		}
		c := &change{entry: e, table: t.P4, key: key, idle: b.idle, priority: b.priority, rule: b.rule, leads: r.Actions}
		if b.hard > 0 {
			c.hard = max(time.Second, b.hard-now.Sub(b.written))
		}
		changes = append(changes, c)
	}
	if len(changes) > 0 {
		o.queue = append(o.queue, &request{changes: changes})
		o.wakeUp()
	}
}
