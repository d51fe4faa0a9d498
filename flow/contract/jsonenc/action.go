package jsonenc

import (
	"encoding/json"
	"errors"
	"fmt"

	"switchbridge/flow"
)

func (w *writer) actions(list []flow.Action) {
	w.key("actions")
	w.open('[')
	for i := range list {
		w.next()
		w.action(&list[i])
	}
	w.close(']')
}

func (w *writer) action(a *flow.Action) {
	w.open('{')
	name := a.Type.String()
	switch a.Type {
	case flow.Output:
		w.string("type", name)
		w.port("port", a.Port)
		if a.MaxLen != 0 {
			w.uint("max_len", uint64(a.MaxLen))
		}
	case flow.SetQueue:
		w.string("type", name)
		w.uint("queue_id", uint64(a.ID))
	case flow.PushVLAN:
		w.string("type", name)
		w.uint("ethertype", uint64(a.Value))
	case flow.PopVLAN, flow.DecTTL:
		w.string("type", name)
	case flow.SetVLANVID: // OFPVID_PRESENT is part of the value (OpenFlow 1.3.5, 7.2.5)
		w.setField("vlan_vid").uint("value", uint64(a.Value)|uint64(flow.VLANPresent))
	case flow.SetVLANPCP:
		w.setField("vlan_pcp").uint("value", uint64(a.Value))
	case flow.SetEthSrc:
		w.setField("eth_src").string("value", a.MAC.String())
	case flow.SetEthDst:
		w.setField("eth_dst").string("value", a.MAC.String())
	case flow.SetIPSrc:
		w.setField(ipName(a)+"_src").string("value", a.Addr.String())
	case flow.SetIPDst:
		w.setField(ipName(a)+"_dst").string("value", a.Addr.String())
	case flow.SetIPDSCP:
		w.setField("ip_dscp").uint("value", uint64(a.Value))
	case flow.SetL4Src:
		w.setField(transportOf(a.IPProto)+"_src").uint("value", uint64(a.Value))
	case flow.SetL4Dst:
		w.setField(transportOf(a.IPProto)+"_dst").uint("value", uint64(a.Value))
	default:
		w.fail("action %v has no JSON", a)
	}
	w.close('}')
}

func (w *writer) setField(name string) *writer {
	w.string("type", "SET_FIELD")
	w.string("field", name)
	return w
}

func ipName(a *flow.Action) string {
	if a.Addr.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// parseActions appends a list of actions to list. The instructions METER and
// GOTO_TABLE, which ofctl_rest writes as actions, go to r; nil where there is
// no rule to take them.
func parseActions(raw json.RawMessage, list []flow.Action, r *flow.Rule) ([]flow.Action, error) {
	err := elements(raw, maxActions, func(_ int, v json.RawMessage) error {
		a, err := parseAction(v, r)
		if err == nil && a.Type != 0 {
			list = append(list, a)
		}
		return err
	})
	return list, err
}

// operands are an action's members but its type.
type operands map[string]json.RawMessage

// take removes and returns a member that must be there.
func (o operands) take(name string) (json.RawMessage, error) {
	v, ok := o[name]
	if !ok {
		return nil, fmt.Errorf("member %q is missing", name)
	}
	delete(o, name)
	return v, nil
}

// number takes a member that is a number of at most limit.
func number[T unsigned](o operands, name string, limit T) (T, error) {
	v, err := o.take(name)
	if err != nil {
		return 0, err
	}
	n, err := limited(v, limit)
	return n, at(name, err)
}

const (
	max16 = 0xffff
	max32 = 0xffffffff
)

// parseAction reads one action; for an instruction, which goes to r, it returns
// the zero action.
func parseAction(raw json.RawMessage, r *flow.Rule) (a flow.Action, err error) {
	o := operands{}
	name := ""
	err = members(raw, func(member string, v json.RawMessage) (err error) {
		if member == "type" {
			name, err = stringOf(v)
			return err
		}
		o[member] = v
		return nil
	})
	if err != nil {
		return a, err
	}
	if name == "" {
		return a, errors.New(`member "type" is missing`)
	}
	switch name {
	case "OUTPUT":
		a.Type = flow.Output
		var v json.RawMessage
		if v, err = o.take("port"); err == nil {
			a.Port, err = portOf(v)
			err = at("port", err)
		}
		if _, ok := o["max_len"]; ok && err == nil {
			a.MaxLen, err = number[uint16](o, "max_len", max16)
		}
	case "SET_QUEUE":
		a.Type = flow.SetQueue
		a.ID, err = number[uint32](o, "queue_id", max32)
	case "PUSH_VLAN":
		a.Type = flow.PushVLAN
		a.Value, err = number[uint32](o, "ethertype", max16)
		if err == nil && a.Value != flow.EthTypeVLAN && a.Value != flow.EthTypeQinQ {
			err = at("ethertype", fmt.Errorf("%#04x, want 0x8100 or 0x88a8", a.Value))
		}
	case "POP_VLAN":
		a.Type = flow.PopVLAN
	case "DEC_NW_TTL":
		a.Type = flow.DecTTL
	case "SET_FIELD":
		a, err = parseSetField(o)
	case "METER", "GOTO_TABLE":
		err = parseInstruction(name, o, r)
	default:
		return a, at("type", fmt.Errorf("unknown action %q", name))
	}
	if err != nil {
		return a, err
	}
	for left := range o {
		return a, at(left, errUnknown)
	}
	return a, nil
}

func parseInstruction(name string, o operands, r *flow.Rule) error {
	if r == nil {
		return at("type", fmt.Errorf("%s is of a rule, not of a packet", name))
	}
	if name == "METER" {
		v, err := o.take("meter_id")
		if err != nil {
			return err
		}
		return at("meter_id", once(&r.Meter, v))
	}
	v, err := o.take("table_id")
	if err != nil {
		return err
	}
	return at("table_id", once(&r.Goto, v))
}

// parseSetField reads the field's name and value. A VID may come with or
// without OFPVID_PRESENT.
func parseSetField(o operands) (a flow.Action, err error) {
	f, err := o.take("field")
	if err != nil {
		return a, err
	}
	field, err := stringOf(f)
	if err != nil {
		return a, at("field", err)
	}
	v, err := o.take("value")
	if err != nil {
		return a, err
	}
	port := func(t flow.ActionType) {
		a.Type, a.IPProto = t, names[field].oxm.Proto
		a.Value, err = limited[uint32](v, max16)
	}
	address := func(t flow.ActionType) {
		a.Type = t
		var text string
		if text, err = stringOf(v); err == nil {
			a.Addr, err = addrOf(text, names[field].oxm.EthType == flow.EthTypeIPv4)
		}
	}
	switch field {
	case "vlan_vid":
		a.Type = flow.SetVLANVID
		a.Value, err = limited[uint32](v, uint32(flow.VLANExact))
		a.Value &^= uint32(flow.VLANPresent)
	case "vlan_pcp":
		a.Type = flow.SetVLANPCP
		a.Value, err = limited[uint32](v, 7)
	case "ip_dscp":
		a.Type = flow.SetIPDSCP
		a.Value, err = limited[uint32](v, 63)
	case "eth_src":
		a.Type = flow.SetEthSrc
		a.MAC, err = macOf(v)
	case "eth_dst":
		a.Type = flow.SetEthDst
		a.MAC, err = macOf(v)
	case "ipv4_src", "ipv6_src":
		address(flow.SetIPSrc)
	case "ipv4_dst", "ipv6_dst":
		address(flow.SetIPDst)
	case "tcp_src", "udp_src", "sctp_src", "tp_src":
		port(flow.SetL4Src)
	case "tcp_dst", "udp_dst", "sctp_dst", "tp_dst":
		port(flow.SetL4Dst)
	default:
		return a, at("field", fmt.Errorf("%q can't be set", field))
	}
	return a, at("value", err)
}
