package mapping

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// An action list's signature is what its actions do, in order, joined by
// commas: "output", "normal", "set_eth_dst,output". An empty list is "drop".
// Each part gives the P4 action's parameters a value under a name.

// part is one action of a list in the list's signature.
type part struct {
	source   string // the name of its value; empty: it has none
	min, max int    // the widths in bits of a parameter that the value is for
	action   flow.Action
	value    valueKind
}

// valueKind is the place of a part's value in an action.
type valueKind uint8

const (
	noValue valueKind = iota
	portValue
	idValue
	macValue
	addrValue
	numberValue
)

var parts = map[string]part{
	"drop":         {},
	"output":       {"port", portBits, 32, flow.Action{Type: flow.Output}, portValue},
	"normal":       {action: flow.OutputTo(flow.PortNormal)},
	"flood":        {action: flow.OutputTo(flow.PortFlood)},
	"controller":   {action: flow.OutputTo(flow.PortController)},
	"set_queue":    {"queue", 1, 32, flow.Action{Type: flow.SetQueue}, idValue},
	"push_vlan":    {"vlan_type", 16, 16, flow.Action{Type: flow.PushVLAN}, numberValue},
	"pop_vlan":     {action: flow.Action{Type: flow.PopVLAN}},
	"set_vlan_vid": {"vlan_vid", 12, 16, flow.Action{Type: flow.SetVLANVID}, numberValue},
	"set_vlan_pcp": {"vlan_pcp", 3, 3, flow.Action{Type: flow.SetVLANPCP}, numberValue},
	"set_eth_src":  {"eth_src", 48, 48, flow.Action{Type: flow.SetEthSrc}, macValue},
	"set_eth_dst":  {"eth_dst", 48, 48, flow.Action{Type: flow.SetEthDst}, macValue},
	"set_ip_src":   {"ip_src", 32, 128, flow.Action{Type: flow.SetIPSrc}, addrValue},
	"set_ip_dst":   {"ip_dst", 32, 128, flow.Action{Type: flow.SetIPDst}, addrValue},
	"set_ip_dscp":  {"ip_dscp", 6, 6, flow.Action{Type: flow.SetIPDSCP}, numberValue},
	"set_l4_src":   {"l4_src", 16, 16, flow.Action{Type: flow.SetL4Src}, numberValue},
	"set_l4_dst":   {"l4_dst", 16, 16, flow.Action{Type: flow.SetL4Dst}, numberValue},
	"dec_nw_ttl":   {action: flow.Action{Type: flow.DecTTL}},
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// of returns the part's value in an action.
func (k valueKind) of(a *flow.Action, inPort flow.PortNo) bits {
	switch k {
	case portValue:
		if a.Port == flow.PortIn {
			return bits{lo: uint64(inPort)}
		}
		return bits{lo: uint64(a.Port)}
	case idValue:
		return bits{lo: uint64(a.ID)}
	case macValue:
		return fromBytes(a.MAC[:])
	case addrValue:
		full := a.Addr.As16() // an IPv4 address is the low 32 bits
		if a.Addr.Is4() {
			return fromBytes(full[12:])
		}
		return fromBytes(full[:])
	}
	return bits{lo: uint64(a.Value)}
}

// put writes a part's value, of width bits, into an action. It is the inverse of [part.of].
func (k valueKind) put(a *flow.Action, v []byte, width int) bool {
	v, err := pipeline.Pad(v, width)
	if err != nil {
		return false
	}
	switch k {
	case macValue:
		a.MAC = flow.MAC(v)
	case addrValue:
		a.Addr, _ = netip.AddrFromSlice(v)
		return a.Addr.IsValid()
	default:
		n, err := pipeline.ToUint(v)
		if err != nil || n > uint64(^uint32(0)) || k == portValue && n > uint64(flow.PortMax) {
			return false
		}
		switch k {
		case portValue:
			a.Port = flow.PortNo(n)
		case idValue:
			a.ID = uint32(n)
		case numberValue:
			a.Value = uint32(n)
		}
	}
	return true
}

// partName returns an action's part of the signature.
func partName(a *flow.Action) string {
	if a.Type == flow.Output {
		switch a.Port {
		case flow.PortNormal:
			return "normal"
		case flow.PortFlood, flow.PortAll:
			return "flood"
		case flow.PortController:
			return "controller"
		}
	}
	return strings.ToLower(a.Type.String())
}

// signature checks a mapping's name of an action list, and returns its parts.
func signature(sig string) ([]part, error) {
	var list []part
	sent := false
	for name := range strings.SplitSeq(sig, ",") {
		p, ok := parts[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%q is no action; there are output, normal, flood, controller, drop, set_* and their lists such as set_eth_dst,output", name)
		case name == "drop" && sig != name:
			return nil, fmt.Errorf("%q: drop is a list of its own", sig)
		case p.action.Type == flow.Output:
			sent = true
		case sent && name != "drop":
			return nil, fmt.Errorf("%q: %s comes after the packet was sent and changes nothing", sig, name)
		}
		if p.source != "" && slices.ContainsFunc(list, func(o part) bool { return o.source == p.source }) {
			return nil, fmt.Errorf("%q gives %s twice", sig, p.source)
		}
		list = append(list, p)
	}
	return list, nil
}

// action maps a list of flow actions, by its signature, to a P4 action.
type action struct {
	sig    string
	p4     *pipeline.Action
	parts  []part
	params []param
	only   []implied // what a rule must match for this action to do the same as the list
}

// compare orders the lists that one P4 action may stand for: first those with the most
// parameters, then the shortest.
func (as *action) compare(other *action) int {
	constants := func(a *action) (n int) {
		for _, p := range a.params {
			if p.source == "" {
				n++
			}
		}
		return n
	}
	return cmp.Or(constants(other)-constants(as), len(as.parts)-len(other.parts), strings.Compare(as.sig, other.sig))
}

// param is a parameter and the source of its value: a part of the list, or a constant of
// the mapping.
type param struct {
	pipeline.Member
	source   string // empty: constant
	constant []byte
}

// Call is a P4 action with the parameters that a mapping gives it.
type Call struct {
	P4     *pipeline.Action
	params []*p4v1.Action_Param
}

// Action returns the call as a message of P4Runtime.
func (c *Call) Action() *p4v1.Action { return &p4v1.Action{ActionId: c.P4.ID, Params: c.params} }

// Is reports whether a is this call, with the same parameters.
func (c *Call) Is(a *p4v1.Action) bool {
	return a.GetActionId() == c.P4.ID && slices.EqualFunc(c.params, a.GetParams(), func(x, y *p4v1.Action_Param) bool {
		return x.ParamId == y.GetParamId() && string(x.Value) == string(pipeline.Canonical(y.GetValue()))
	})
}

// action writes the P4 action for a list of actions to out.
func (t *Table) action(out *p4v1.Action, list []flow.Action, m *flow.Match, ports *portNames) error {
	sig := "drop"
	for i := range list {
		if list[i].Type == flow.Output && list[i].Port.Reserved() {
			switch list[i].Port {
			case flow.PortNormal, flow.PortFlood, flow.PortAll, flow.PortController:
			case flow.PortIn:
				if !m.Has(flow.FieldInPort) {
					return fmt.Errorf("output:IN_PORT of a rule that does not name in_port")
				}
			default:
				return fmt.Errorf("output:%v has no meaning here", list[i].Port)
			}
		}
		if i == 0 {
			sig = partName(&list[i])
		} else {
			sig += "," + partName(&list[i])
		}
	}
	a := t.actions[sig]
	if a == nil {
		return fmt.Errorf("no P4 action is mapped for %q", sig)
	}
	for i := range a.only {
		if !a.only[i].said(m) {
			return fmt.Errorf("P4 action %s is for rules of %s %#x only", a.p4.Name, a.only[i].name, a.only[i].value)
		}
	}
	out.ActionId = a.p4.ID
	for i := range a.params {
		prm := &a.params[i]
		value := prm.constant
		if prm.source != "" {
			at := slices.IndexFunc(a.parts, func(p part) bool { return p.source == prm.source }) // Bind saw it there
			v := a.parts[at].value.of(&list[at], m.InPort)
			switch n := v.width(); {
			case prm.String:
				value = []byte(ports.name(uint32(v.lo)))
			case n > prm.Width:
				return fmt.Errorf("action %s: parameter %s: value %#x has %d bits, more than the %d of its type", a.p4.Name, prm.Name, v.append(nil), n, prm.Width)
			default:
				value = v.append(nil)
			}
		}
		out.Params = append(out.Params, &p4v1.Action_Param{ParamId: prm.ID, Value: value})
	}
	return nil
}

// list returns the list of actions for a P4 action. It is the inverse of action.
func (t *Table) list(a *p4v1.Action, ports *portNames) ([]flow.Action, bool) {
	for _, as := range t.order {
		if as.p4.ID == a.GetActionId() {
			if list, ok := as.read(a, ports); ok {
				return list, true
			}
		}
	}
	return nil, false
}

func (as *action) read(a *p4v1.Action, ports *portNames) ([]flow.Action, bool) {
	list := make([]flow.Action, len(as.parts))
	for i := range list {
		list[i] = as.parts[i].action
	}
	if len(a.GetParams()) != len(as.params) {
		return nil, false
	}
	for i := range as.params {
		prm := &as.params[i]
		at := slices.IndexFunc(a.GetParams(), func(p *p4v1.Action_Param) bool { return p.GetParamId() == prm.ID })
		if at < 0 {
			return nil, false
		}
		value := a.GetParams()[at].GetValue()
		if prm.source == "" {
			if string(pipeline.Canonical(value)) != string(prm.constant) {
				return nil, false
			}
			continue
		}
		width := prm.Width
		if prm.String {
			no, ok := ports.number(string(value))
			if !ok {
				return nil, false
			}
			value, width = be32(no), 32
		}
		for j, p := range as.parts {
			if p.source == prm.source && !p.value.put(&list[j], value, width) {
				return nil, false
			}
		}
	}
	if len(list) == 1 && list[0].Type == 0 { // drop
		return nil, true
	}
	return list, true
}
