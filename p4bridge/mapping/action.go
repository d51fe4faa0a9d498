package mapping

import (
	"fmt"
	"slices"
	"strings"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// An action list's signature is what its actions do, in order, joined by
// commas: "output", "normal", "set_eth_dst,output". An empty list is "drop".
// Each part gives the P4 action's parameters a value under a name:

// sources names the value that each part of a signature gives; empty is none.
var sources = map[string]string{
	"output": "port", "normal": "", "flood": "", "controller": "", "drop": "",
	"set_queue": "queue", "pop_vlan": "", "push_vlan": "vlan_type",
	"set_vlan_vid": "vlan_vid", "set_vlan_pcp": "vlan_pcp", "set_eth_src": "eth_src", "set_eth_dst": "eth_dst",
	"set_ip_src": "ip_src", "set_ip_dst": "ip_dst", "set_ip_dscp": "ip_dscp", "set_l4_src": "l4_src", "set_l4_dst": "l4_dst",
	"dec_nw_ttl": "",
}

func signatureSources(sig string) ([]string, error) {
	var have []string
	for part := range strings.SplitSeq(sig, ",") {
		src, ok := sources[part]
		if !ok {
			return nil, fmt.Errorf("%q is no action; there are output, normal, flood, controller, drop, set_* and their lists such as set_eth_dst,output", part)
		}
		if src == "" {
			continue
		}
		if slices.Contains(have, src) {
			return nil, fmt.Errorf("%q gives %s twice", sig, src)
		}
		have = append(have, src)
	}
	return have, nil
}

// part returns an action's part of the signature, and its value.
func part(a *flow.Action, inPort flow.PortNo) (string, []byte) {
	be32 := func(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	switch a.Type {
	case flow.Output:
		switch a.Port {
		case flow.PortNormal:
			return "normal", nil
		case flow.PortFlood, flow.PortAll:
			return "flood", nil
		case flow.PortController:
			return "controller", nil
		case flow.PortIn:
			return "output", be32(uint32(inPort))
		}
		return "output", be32(uint32(a.Port))
	case flow.SetQueue:
		return strings.ToLower(a.Type.String()), be32(a.ID)
	case flow.SetEthSrc, flow.SetEthDst:
		return strings.ToLower(a.Type.String()), slices.Clone(a.MAC[:])
	case flow.SetIPSrc, flow.SetIPDst:
		return strings.ToLower(a.Type.String()), a.Addr.AsSlice()
	}
	return strings.ToLower(a.Type.String()), be32(a.Value)
}

// action fills out with the P4 action that a list of actions is.
func (t *Table) action(out *p4v1.Action, list []flow.Action, m *flow.Match) error {
	sig := "drop"
	type given struct {
		source string
		value  []byte
	}
	var room [4]given // most lists have one
	values := room[:0]
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
		p, v := part(&list[i], m.InPort)
		if i == 0 {
			sig = p
		} else {
			sig += "," + p
		}
		values = append(values, given{sources[p], v})
	}
	a := t.actions[sig]
	if a == nil {
		return fmt.Errorf("no P4 action is mapped for %q", sig)
	}
	out.ActionId = a.p4.ID
	for _, prm := range a.params {
		at := slices.IndexFunc(values, func(g given) bool { return g.source == prm.source }) // signatureSources saw it there
		v, err := pipeline.Pad(values[at].value, prm.Width)
		if err != nil {
			return fmt.Errorf("action %s: parameter %s: %w", a.p4.Name, prm.Name, err)
		}
		out.Params = append(out.Params, &p4v1.Action_Param{ParamId: prm.ID, Value: pipeline.Canonical(v)})
	}
	return nil
}
