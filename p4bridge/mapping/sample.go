package mapping

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
)

// Sample is a rule that a table can hold, and its entry: for trying out whether a
// switch takes such entries.
type Sample struct {
	Actions string // their name in the mapping
	Rule    flow.Rule
	Entry   *p4v1.TableEntry
}

// Samples returns one for each list of actions that the table has, about the
// first of packets that fits the table. Outputs go to port.
func (m *Mapping) Samples(t *Table, packets []flow.Match, port flow.PortNo) ([]Sample, error) {
	var fields flow.Field
	for i := range t.keys {
		for _, o := range t.keys[i].oxms {
			fields |= o.field
		}
	}
	for _, i := range t.implied {
		fields |= i.field
	}
	var last error
	for i := range packets {
		match := packets[i].Keep(fields)
		var list []Sample
		for _, name := range slices.Sorted(maps.Keys(t.actions)) {
			r := flow.Rule{Table: t.OpenFlow, Priority: max(1, t.MinPrio), BufferID: flow.NoBuffer, Match: match, Actions: t.actions[name].sample(port, &match)}
			e, err := t.entry(&r, &match, m)
			if err != nil {
				list, last = nil, fmt.Errorf("%s: %w", name, err)
				break
			}
			list = append(list, Sample{name, r, e})
		}
		if len(list) > 0 {
			return list, nil
		}
	}
	return nil, last
}

// sample is a list of actions that the action stands for.
func (as *action) sample(port flow.PortNo, m *flow.Match) []flow.Action {
	var list []flow.Action
	for _, p := range as.parts {
		a := p.action
		switch p.value {
		case portValue:
			a.Port = port
		case idValue:
			a.ID = 1
		case macValue:
			a.MAC = flow.MAC{2, 0, 0, 0, 0, 1}
		case addrValue:
			a.Addr = netip.AddrFrom4([4]byte{192, 0, 2, 1})
			if m.EthType == flow.EthTypeIPv6 {
				a.Addr = netip.MustParseAddr("2001:db8::1")
			}
		case numberValue:
			a.Value = 1
			if a.Type == flow.PushVLAN {
				a.Value = 0x8100
			}
		}
		if a.Type != 0 { // not drop, which is an empty list
			list = append(list, a)
		}
	}
	return list
}
