package mapping

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// setup is what the gateway keeps in tables whatever the policy says: an entry, one
// for each port, or a default action.
type setup struct {
	place string // for errors
	each  bool
	entry flow.Entry       // without an action
	ways  []way            // one, or those among which the table's selector chooses
	def   *p4v1.TableEntry // nil: an entry
}

// way is an action of an entry, with its weight among others.
type way struct {
	action string
	params map[string]string
	weight int32
}

// Multicast is a multicast group and its members; no Ports is every port of the
// switch. With Each there is one for each port N, numbered Group+N, of all
// others.
type Multicast struct {
	Group uint32
	Ports []uint32
	Each  bool
}

// Clone is a clone session and where its copies go.
type Clone struct {
	Session  uint32
	Ports    []uint32
	Truncate uint16 // bytes; 0: all
}

// eachPort is what stands for a port's number, or what is to be added to it.
var eachPort = regexp.MustCompile(`^port(?:\+([0-9]{1,9}))?$`)

func (b *binder) setup(raw *rawSetup) []setup {
	t := b.named("setup", raw.Table)
	if t == nil {
		return nil
	}
	place := "setup: table " + t.Name
	line := raw.Table.line
	if raw.Default != nil {
		if len(raw.Match) > 0 || raw.Action.string != "" || len(raw.OneOf) > 0 || raw.Each.string != "" {
			b.errorf(line, place, "default_action stands alone: it has no match, and is for no port")
		}
		return b.defaultAction(place, line, t, raw.Default)
	}
	if raw.Each.string != "" && raw.Each.string != "port" {
		b.errorf(raw.Each.line, place, "each: %q is not `port`", raw.Each.string)
	}
	s := setup{place: fmt.Sprintf("%s:%d: %s", b.file, line, place), each: raw.Each.string != "",
		entry: flow.Entry{Table: t.FullName, Priority: int32(raw.Priority), Match: map[string]string{}}}
	for n, v := range raw.Match {
		s.entry.Match[n.string] = v.string
	}
	ways := raw.OneOf
	switch {
	case len(ways) == 0:
		ways = []rawWay{{Action: raw.Action, Params: raw.Params}}
	case raw.Action.string != "" || len(raw.Params) > 0:
		b.errorf(line, place, "action and one_of: an entry has one or the other")
	case t.Profile == nil || !t.Profile.Selector:
		b.errorf(line, place, "one_of: its actions do not come from a selector, which is what chooses one")
		return nil
	}
	for _, w := range ways {
		to := way{w.Action.string, map[string]string{}, int32(max(1, w.Weight))}
		for n, v := range w.Params {
			to.params[n.string] = v.string
		}
		s.ways = append(s.ways, to)
	}
	if _, err := s.entries(b.p, []uint32{1}); err != nil {
		b.errorf(line, place, "%v", err)
	}
	return []setup{s}
}

// defaultAction is a default action that a table is given.
func (b *binder) defaultAction(place string, line int, t *pipeline.Table, raw *rawCall) []setup {
	c := b.call(place+": default_action", t.Defaults, "the table can have", raw)
	switch {
	case c == nil:
		return nil
	case t.ConstMiss == c.P4:
		return nil // it is there
	case t.ConstMiss != nil:
		b.errorf(line, place, "default_action: it is fixed to %s", t.ConstMiss.Name)
	}
	return []setup{{def: &p4v1.TableEntry{TableId: t.ID, IsDefaultAction: true,
		Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: c.Action()}}}}}
}

// entries makes the entries of one setup on a switch with these ports.
func (s *setup) entries(p *pipeline.Pipeline, ports []uint32) (list []*p4v1.TableEntry, err error) {
	if s.def != nil {
		return []*p4v1.TableEntry{s.def}, nil
	}
	if !s.each {
		ports = ports[:1]
	}
	for _, port := range ports {
		// filled has the port's number in the place of what stands for it.
		filled := func(values map[string]string) map[string]string {
			values = maps.Clone(values)
			for n, v := range values {
				if of := eachPort.FindStringSubmatch(v); s.each && of != nil {
					more, _ := strconv.ParseUint(of[1], 10, 32) // nothing is 0
					values[n] = strconv.FormatUint(uint64(port)+more, 10)
				}
			}
			return values
		}
		e := s.entry
		e.Match = filled(e.Match)
		var entry *p4v1.TableEntry
		for i, w := range s.ways {
			e.Action, e.Params = w.action, filled(w.params)
			te, _, err := Direct(p, &e)
			if err != nil {
				return nil, err
			}
			set := te.GetAction().GetActionProfileActionSet()
			if set != nil {
				set.ActionProfileActions[0].Weight = w.weight
			}
			if i == 0 {
				entry = te
				continue
			}
			all := entry.GetAction().GetActionProfileActionSet() // setup saw to it that there is a selector
			all.ActionProfileActions = append(all.ActionProfileActions, set.ActionProfileActions...)
		}
		list = append(list, entry)
	}
	return list, nil
}

// Setup returns the entries and default actions that the gateway keeps in the
// tables of a switch with these ports, of which there is at least one.
func (m *Mapping) Setup(ports []uint32) (list []*p4v1.TableEntry, err error) {
	for i := range m.setup {
		es, err := m.setup[i].entries(m.Pipeline, ports)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.setup[i].place, err)
		}
		list = append(list, es...)
	}
	return list, nil
}

// Groups returns the multicast groups of a switch with these ports, and their
// members.
func (m *Mapping) Groups(ports []uint32) map[uint32][]uint32 {
	groups := map[uint32][]uint32{}
	for _, g := range m.Multicast {
		switch {
		case g.Each:
			for _, p := range ports {
				groups[g.Group+p] = slices.DeleteFunc(slices.Clone(ports), func(o uint32) bool { return o == p })
			}
		case len(g.Ports) > 0:
			groups[g.Group] = g.Ports
		default:
			groups[g.Group] = ports
		}
	}
	return groups
}

func (b *binder) multicast(raw *rawFile) (list []Multicast) {
	if raw.FloodGroup != 0 {
		list = append(list, Multicast{Group: raw.FloodGroup})
	}
	for _, g := range raw.Multicast {
		if g.Each.string != "" && (g.Each.string != "port" || len(g.Ports) > 0) {
			b.errorf(g.Each.line, "multicast", "each: want `port`, and no ports beside it: a group N above `group` for each port N, of all others")
		}
		if g.Group == 0 && g.Each.string == "" || slices.ContainsFunc(list, func(o Multicast) bool { return o.Group == g.Group }) {
			b.errorf(g.Each.line, "multicast", "group %d is there twice, or zero", g.Group)
		}
		list = append(list, Multicast{g.Group, g.Ports, g.Each.string != ""})
	}
	return list
}

// MeterConfig is green up to a rate and red beyond it, never yellow.
func MeterConfig(rate, burst int64) *p4v1.MeterConfig {
	return &p4v1.MeterConfig{Cir: rate, Cburst: burst, Pir: rate, Pburst: burst}
}

// Meter is what a rule's meter lets pass, by the gateway's configuration.
type Meter struct {
	ID          uint32
	Rate, Burst uint32 // packets a second, and packets; Burst 0 is Rate
	Kilobits    bool   // or kilobits
}

// WithMeters returns m for a gateway that defines meters: a rule's is the direct
// meter of its entry.
func (m *Mapping) WithMeters(list []Meter) *Mapping {
	with := *m
	with.meters = map[uint32]Meter{}
	for _, meter := range list {
		with.meters[meter.ID] = meter
	}
	return &with
}

// meter is what an entry of t says of the meter that a rule names.
func (m *Mapping) meter(t *pipeline.Table, id uint32) (*p4v1.MeterConfig, error) {
	meter, defined := m.meters[id]
	switch {
	case id == 0:
		return nil, nil
	case t.DirectMeter == nil:
		return nil, fmt.Errorf("meter %d: its entries have no meters", id)
	case !defined:
		return nil, fmt.Errorf("meter %d: the gateway defines none", id)
	case meter.Kilobits == t.DirectMeter.Packets:
		return nil, fmt.Errorf("meter %d: one of packets, the other of bytes: meter %s of the program", id, t.DirectMeter.Name)
	}
	unit := int64(1)
	if meter.Kilobits {
		unit = 1000 / 8
	}
	return MeterConfig(int64(meter.Rate)*unit, int64(cmp.Or(meter.Burst, meter.Rate))*unit), nil
}

func (b *binder) clones(raw *rawFile) (list []Clone) {
	for _, c := range raw.Clone {
		if c.Session == 0 || slices.ContainsFunc(list, func(o Clone) bool { return o.Session == c.Session }) {
			b.errorf(0, "clone", "session %d is there twice, or zero", c.Session)
		}
		if len(c.Ports) == 0 {
			if raw.CPUPort == 0 {
				b.errorf(0, "clone", "session %d has no ports, and there is no cpu_port", c.Session)
			}
			c.Ports = []uint32{raw.CPUPort}
		}
		list = append(list, Clone(c))
	}
	return list
}
